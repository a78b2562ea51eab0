/* State tables: the guest-visible state of a part, declared once as rows over a plain struct. Save,
 * load, show and compare follow from the table. */
#ifndef CORE_STATE_H
#define CORE_STATE_H

#include "base/types.h"

struct state_field {
	const char *name;
	u32 offset;
	u16 size;     /* bytes of one element: 1, 2, 4, 8; other sizes are opaque bytes */
	u16 count;    /* elements, 1 for a scalar */
	bool is_bool; /* only 0 and 1 may be loaded */
};

struct state_desc {
	const char *name;
	const struct state_field *fields;
	u32 count;
	u32 size; /* of the struct */
};

#define STATE_IS_BOOL(value)    _Generic((value), bool : true, default : false)
#define STATE_ROW(type, member) STATE_FIELD(type, member, ((type *)0)->member, 1)
#define STATE_ARRAY(type, member) \
	STATE_FIELD(type, member, ((type *)0)->member[0], ARRAY_LEN(((type *)0)->member))
#define STATE_FIELD(type, member, element, elements)                                        \
	{                                                                                   \
		.name = #member, .offset = offsetof(type, member), .size = sizeof(element), \
		.count = (elements), .is_bool = STATE_IS_BOOL(element)                      \
	}
#define STATE_DESC(ident, type, title, rows) \
	const struct state_desc ident = { title, rows, ARRAY_LEN(rows), sizeof(type) }

/* Text, one "name value" line per field, arrays as a list; `prefix` is put before each name. */
void state_show(const struct state_desc *desc, const void *regs, const char *prefix, void *file);
/* Prints each field in which a and b differ; returns the number of them. file may be NULL. */
unsigned state_diff(const struct state_desc *desc, const void *a, const void *b, void *file);
/* Self-describing serialization: for each field u8 length of the name, name, u16 element size, u16
 * count, little-endian elements. state_save returns the bytes needed (and writes them if cap
 * suffices). state_load accepts fields in any order and leaves missing ones as they are; -EINVAL,
 * and nothing is changed, for input that is damaged or has a field that is unknown or of another
 * shape. */
size_t state_save(const struct state_desc *desc, const void *regs, u8 *buf, size_t cap);
int state_load(const struct state_desc *desc, void *regs, const u8 *buf, size_t size) must_check;

#endif
