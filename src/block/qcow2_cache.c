/* Tables of qcow2 images in memory: a hash over their offsets, and a clock that finds a clean one to forget. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>

#define TABLES_MIN 4u

static struct qcow2_table **bucket(struct qcow2_cache *c, u64 offset)
{
	u64 hash = offset / c->table_size * 0x9e3779b97f4a7c15ull;

	return &c->buckets[hash >> 40 & c->bucket_mask];
}

int qcow2_cache_init(struct qcow2_cache *c, u32 table_size, u64 bytes)
{
	u32 buckets = 1;

	c->table_size = table_size;
	c->limit = MAX((u32)(bytes / table_size), TABLES_MIN);
	while (buckets < c->limit)
		buckets *= 2;
	c->bucket_mask = buckets - 1;
	c->tables = calloc(c->limit, sizeof(*c->tables));
	c->buckets = calloc(buckets,
			    sizeof(struct qcow2_table *)); /* NOLINT(bugprone-sizeof-expression) */
	return c->tables && c->buckets ? 0 : -ENOMEM;
}

void qcow2_cache_free(struct qcow2_cache *c)
{
	for (u32 i = 0; c->tables && i < c->used; i++)
		free(c->tables[i].data);
	free(c->tables);
	free(c->buckets);
}

struct qcow2_table *qcow2_cache_find(struct qcow2_cache *c, u64 offset)
{
	struct qcow2_table *t = *bucket(c, offset);

	while (t && t->offset != offset)
		t = t->next;
	if (t)
		t->recent = true;
	return t;
}

static void forget(struct qcow2_cache *c, struct qcow2_table *t)
{
	struct qcow2_table **link = bucket(c, t->offset);

	while (*link != t)
		link = &(*link)->next;
	*link = t->next;
	t->offset = 0;
}

/* A place that holds no table, or held a clean one. */
static struct qcow2_table *find_place(struct qcow2_cache *c)
{
	if (c->used < c->limit) {
		struct qcow2_table *t = &c->tables[c->used];

		t->data = malloc(c->table_size);
		c->used += t->data != NULL;
		return t->data ? t : NULL;
	}
	if (c->dirty >= c->limit - c->limit / 4)
		return NULL; /* also keeps the hand's way short */
	for (u32 tries = 0; tries < 2 * c->limit; tries++) {
		struct qcow2_table *t = &c->tables[c->hand];

		c->hand = (c->hand + 1) % c->limit;
		if (t->dirty_from != t->dirty_to)
			continue;
		if (t->offset == 0)
			return t;
		if (!t->recent) {
			forget(c, t);
			return t;
		}
		t->recent = false;
	}
	return NULL;
}

static struct qcow2_table *add(struct qcow2_cache *c, u64 offset)
{
	struct qcow2_table *t = find_place(c), **head = bucket(c, offset);

	if (!t)
		return NULL;
	t->offset = offset;
	t->dirty_from = t->dirty_to = 0;
	t->fresh = false;
	t->recent = true;
	t->next = *head;
	*head = t;
	return t;
}

void qcow2_cache_drop(struct qcow2_cache *c, u64 offset)
{
	struct qcow2_table *t = qcow2_cache_find(c, offset);

	if (!t)
		return;
	c->dirty -= t->dirty_from != t->dirty_to;
	t->dirty_from = t->dirty_to = 0;
	forget(c, t);
}

void qcow2_cache_mark(struct qcow2_cache *c, struct qcow2_table *t, u32 from, u32 size)
{
	if (t->dirty_from == t->dirty_to) {
		c->dirty++;
		t->dirty_from = from;
		t->dirty_to = from + size;
	}
	t->dirty_from = MIN(t->dirty_from, from);
	t->dirty_to = MAX(t->dirty_to, from + size);
}

static int write_table(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_table *t)
{
	u32 from = t->dirty_from, size = t->dirty_to - from;
	int r = size ? qcow2_file_write(q, t->data + from, size, t->offset + from) : 0;

	if (r)
		return r;
	c->dirty -= size != 0;
	t->dirty_from = t->dirty_to = 0;
	return 0;
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c, bool fresh)
{
	int r = 0;

	for (u32 i = 0; i < c->used && c->dirty && !r; i++)
		if (!fresh || c->tables[i].fresh)
			r = write_table(q, c, &c->tables[i]);
	return r;
}

int qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *c, u64 offset, struct qcow2_table **t)
{
	int r;

	if (qcow2_cache_find(c, offset))
		return -EIO; /* the image is damaged: what is in use was said to be free */
	*t = add(c, offset);
	if (*t)
		return 0;
	/* Refcount blocks may be written at any time. */
	r = c == &q->l2 ? qcow2_commit(q) : qcow2_cache_write(q, c, false);
	if (r)
		return r;
	*t = add(c, offset);
	return *t ? 0 : -ENOMEM;
}

int qcow2_cache_load(struct qcow2 *q, struct qcow2_cache *c, u64 offset, struct qcow2_table **t)
{
	int r;

	*t = qcow2_cache_find(c, offset);
	if (*t)
		return 0;
	if (offset % q->cluster_size || offset >= q->block.file->size ||
	    (c == &q->l2 && qcow2_guarded(q, offset, q->cluster_size)))
		return -EIO;
	r = qcow2_cache_add(q, c, offset, t);
	if (r)
		return r;
	r = block_file_read(q->block.file, (*t)->data, q->cluster_size, offset);
	if (r)
		qcow2_cache_drop(c, offset);
	return r;
}
