/* What follows from a state table: show, compare, save, load. Elements are little-endian, as the
 * host is. */
#include "core/state.h"

#include "base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool field_is_number(const struct state_field *f)
{
	return f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8;
}

static u32 field_bytes(const struct state_field *f) { return (u32)f->size * f->count; }

static void show_element(const struct state_field *f, const u8 *p, FILE *file)
{
	if (field_is_number(f)) {
		fprintf(file, " %llx", (unsigned long long)le_load(p, f->size));
		return;
	}
	fputc(' ', file);
	for (unsigned i = 0; i < f->size; i++)
		fprintf(file, "%02x", p[i]);
}

static void show_field(const struct state_field *f, const void *regs, FILE *file)
{
	const u8 *p = (const u8 *)regs + f->offset;

	for (unsigned i = 0; i < f->count; i++)
		show_element(f, p + (size_t)i * f->size, file);
	fputc('\n', file);
}

void state_show(const struct state_desc *desc, const void *regs, const char *prefix, void *file)
{
	for (unsigned i = 0; i < desc->count; i++) {
		fprintf(file, "%s%s", prefix, desc->fields[i].name);
		show_field(&desc->fields[i], regs, file);
	}
}

unsigned state_diff(const struct state_desc *desc, const void *a, const void *b, void *file)
{
	unsigned differ = 0;

	for (unsigned i = 0; i < desc->count; i++) {
		const struct state_field *f = &desc->fields[i];

		if (!memcmp((const u8 *)a + f->offset, (const u8 *)b + f->offset, field_bytes(f)))
			continue;
		differ++;
		if (!file)
			continue;
		fprintf(file, "%s.%s\n  -", desc->name, f->name);
		show_field(f, a, file);
		fprintf(file, "  +");
		show_field(f, b, file);
	}
	return differ;
}

size_t state_save(const struct state_desc *desc, const void *regs, u8 *buf, size_t cap)
{
	size_t need = 0;

	for (unsigned i = 0; i < desc->count; i++)
		need += 1 + strlen(desc->fields[i].name) + 4 + field_bytes(&desc->fields[i]);
	if (need > cap)
		return need;
	for (unsigned i = 0; i < desc->count; i++) {
		const struct state_field *f = &desc->fields[i];
		size_t len = strlen(f->name);

		*buf++ = (u8)len;
		memcpy(buf, f->name, len);
		buf += len;
		le_store(buf, f->size, 2);
		le_store(buf + 2, f->count, 2);
		memcpy(buf + 4, (const u8 *)regs + f->offset, field_bytes(f));
		buf += 4 + field_bytes(f);
	}
	return need;
}

static const struct state_field *field_find(const struct state_desc *desc, const u8 *name,
					    size_t len)
{
	for (unsigned i = 0; i < desc->count; i++)
		if (strlen(desc->fields[i].name) == len && !memcmp(desc->fields[i].name, name, len))
			return &desc->fields[i];
	return NULL;
}

/* Takes one field off the input; its elements are at *data then. NULL if it does not fit. */
static const struct state_field *field_parse(const struct state_desc *desc, const u8 **buf,
					     size_t *size, const u8 **data)
{
	const struct state_field *f;
	size_t len = **buf, head = 1 + len + 4;

	if (*size < head)
		return NULL;
	f = field_find(desc, *buf + 1, len);
	if (!f || le_load(*buf + 1 + len, 2) != f->size ||
	    le_load(*buf + 1 + len + 2, 2) != f->count || *size - head < field_bytes(f))
		return NULL;
	*data = *buf + head;
	*buf += head + field_bytes(f);
	*size -= head + field_bytes(f);
	for (unsigned i = 0; f->is_bool && i < f->count; i++)
		if ((*data)[i] > 1)
			return NULL;
	return f;
}

int state_load(const struct state_desc *desc, void *regs, const u8 *buf, size_t size)
{
	const u8 *p = buf, *data;
	size_t left = size;

	while (left)
		if (!field_parse(desc, &p, &left, &data))
			return -EINVAL;
	while (size) {
		const struct state_field *f = field_parse(desc, &buf, &size, &data);

		memcpy((u8 *)regs + f->offset, data, field_bytes(f));
	}
	return 0;
}
