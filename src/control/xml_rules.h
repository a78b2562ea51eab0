/* The grammar of the machine file as tables: which element may stand where, and where in the spec its values go. */
#ifndef CONTROL_XML_RULES_H
#define CONTROL_XML_RULES_H

#include "control/spec.h"

enum xml_kind {
	XML_NOTHING, /* no value: white space at most */
	XML_PRESENT, /* bool: set by the element's being there */
	XML_STRING,  /* const char *: any text of one line */
	XML_PATH,    /* const char *: the same, not empty */
	XML_NAME,    /* const char *: spec_name_good */
	XML_UUID,    /* const char *: spec_uuid_good */
	XML_MODEL,   /* const char *: a CPU model */
	XML_ENGINE,  /* const char *: an engine */
	XML_WORD,    /* const char *: one of the words */
	XML_CHOICE,  /* u32: which of the words */
	XML_SWITCH,  /* bool: the second of two words */
	XML_FIXED,   /* one of the words, which all mean what is so anyway */
	XML_NUMBER,  /* u32, decimal, min to max */
	XML_PORT,    /* u32, 0x and hexadecimal digits, min to max */
	XML_SIZE, /* u64 bytes in the unit of the element's attribute `unit`; min to max bytes, both whole MiB */
};

struct xml_value {
	enum xml_kind kind;
	u32 offset; /* in the object at hand */
	const char *const *words;
	u64 min, max;
};

struct xml_attr {
	const char *name;
	bool required;
	struct xml_value value;
};

struct xml_reader;

struct xml_rule {
	const char *name;
	const struct xml_attr *attrs; /* ended by name == NULL; NULL: none */
	/* Ended by rule == NULL; NULL: none, the element has the value `text`. */
	const struct xml_child *children;
	struct xml_value text;
	/* What offsets of this element and those in it are in; NULL: the object of the element around it. Returns NULL after
	 * xml_fail. */
	void *(*open)(struct xml_reader *r, u32 line);
	/* Called when all of the element has been read. False after xml_fail. */
	bool (*close)(struct xml_reader *r, void *object, u32 line);
};

struct xml_child {
	const struct xml_rule *rule;
	u32 max; /* how often */
	bool required;
};

#define XML_CHILDREN 24 /* of one element: rules, not elements */

struct xml_reader {
	struct machine_spec *spec;
	struct spec_disk *disk; /* the last one opened */
	char *err;
	size_t errlen;
};

/* Always false: "FILE:LINE: " and the text in r->err. */
bool xml_fail(struct xml_reader *r, u32 line, const char *fmt, ...) printf_like(3, 4);

/* The machine file's root element. */
extern const struct xml_rule xml_domain;
/* Units of memory and their bytes. */
extern const char *const xml_units[];
/* 0: no such unit. */
u64 xml_unit_bytes(const char *unit);

#endif
