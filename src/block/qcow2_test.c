/* qcow2 images in memory: random requests against a shadow, in all sizes of clusters and refcounts; damaged images; failed flushes. What other
 * programs make of them, and snapshots: tests/image/qcow2. Power cuts: powercut_test.
 *
 *     qcow2_test write IMAGE RAW SEED [COUNT]     the same random changes to both, for that script */
#include "block/qcow2.h"
#include "block/block_test.h"

#include <errno.h>

#define DISK_SIZE  (3 * MIB + 1536) /* the last cluster is a short one */
#define SHADOW_MAX (8 * MIB)

struct rig {
	struct fault_disk *disk;
	struct block *block;
	u64 size, rng;
	u8 *shadow, *buf;
};

static struct block *open_image(struct fault_disk *disk, bool readonly, char *err, size_t errlen,
				int *result)
{
	struct block_options o = { .path = "test.qcow2",
				   .readonly = readonly,
				   .backing = BLOCK_BACKING_NONE };
	struct block_file *file = fault_disk_open(disk, "test.qcow2", readonly);
	struct block *block = NULL;

	assert_non_null(file);
	*result = block_qcow2.open(&block, file, &o, err, errlen);
	if (*result) {
		block_file_close(file);
		return NULL;
	}
	block->readonly = readonly;
	return block;
}

static void reopen(struct rig *rig)
{
	char err[512] = "";
	int r;

	if (rig->block)
		rig->block->ops->close(rig->block);
	rig->block = open_image(rig->disk, false, err, sizeof(err), &r);
	if (!rig->block)
		fail_msg("%d: %s", r, err);
	assert_int_equal(rig->block->size, rig->size);
}

static void create(struct fault_disk *disk, const char *variant, u32 cluster, u64 size)
{
	struct block_create c = { .path = "test.qcow2",
				  .format = "qcow2",
				  .variant = variant,
				  .size = size,
				  .cluster_size = cluster };
	struct block_file *file = fault_disk_open(disk, "test.qcow2", false);
	char err[512] = "";

	assert_non_null(file);
	if (block_qcow2.create(file, &c, NULL, err, sizeof(err)))
		fail_msg("%s", err);
	block_file_close(file);
}

/* Turns the refcounts of a new image of version 3, whose only refcount block counts all its clusters, into ones of another width. */
static void set_order(struct fault_disk *disk, unsigned order)
{
	unsigned cluster_bits = disk->data[23];
	u64 clusters = disk->size >> cluster_bits;
	u8 *block = disk->data + (2ull << cluster_bits);

	assert_true(clusters <= 1ull << (cluster_bits + 3 - order));
	disk->data[99] = (u8)order;
	memset(block, 0, 1ull << cluster_bits);
	for (u64 i = 0; i < clusters; i++) {
		if (order < 3)
			block[i << order >> 3] |= (u8)(1u << (i << order & 7));
		else
			block[((i + 1) << order >> 3) - 1] = 1;
	}
}

static void rig_start(struct rig *rig, const char *variant, u32 cluster, unsigned order)
{
	*rig = (struct rig){ .disk = fault_disk_new(1),
			     .size = DISK_SIZE,
			     .rng = cluster + order + 1 };
	rig->shadow = calloc(1, SHADOW_MAX);
	rig->buf = malloc(SHADOW_MAX);
	assert_true(rig->disk && rig->shadow && rig->buf);
	create(rig->disk, variant, cluster, rig->size);
	if (order != 4)
		set_order(rig->disk, order);
	reopen(rig);
}

static void check_clean(struct block *block)
{
	struct block_check c = { 0 };

	assert_int_equal(block->ops->check(block, &c, false), 0);
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.leaks, 0);
}

static void rig_end(struct rig *rig)
{
	rig->block->ops->close(rig->block);
	fault_disk_free(rig->disk);
	free(rig->shadow);
	free(rig->buf);
}

static void request_done(struct block_req *req) { ++*(unsigned *)req->opaque; }

static int request(struct block *block, enum block_op op, u64 offset, u64 size, void *buf,
		   bool unmap)
{
	unsigned done = 0;
	struct block_req req = { .op = op,
				 .offset = offset,
				 .size = size,
				 .buf = buf,
				 .unmap = unmap,
				 .done = request_done,
				 .opaque = &done };

	block_submit(block, &req);
	assert_int_equal(done, 1);
	return req.result;
}

static void expect_all(struct rig *rig)
{
	memset(rig->buf, 0xee, rig->size);
	assert_int_equal(request(rig->block, BLOCK_READ, 0, rig->size, rig->buf, false), 0);
	assert_memory_equal(rig->buf, rig->shadow, rig->size);
}

/* Whole clusters that are discarded read as zeros here; the ends of a range stay. */
static void shadow_discard(struct rig *rig, u64 offset, u64 size)
{
	u64 cluster = ((struct qcow2 *)rig->block)->cluster_size, from = align_up(offset, cluster),
	    to = offset + size == rig->size ? rig->size : align_down(offset + size, cluster);

	if (from < to)
		memset(rig->shadow + from, 0, to - from);
}

static void random_request(struct rig *rig)
{
	static const u64 sizes[] = { 1, 8, 200, 1000 };
	u64 sectors = rig->size / 512, at = fault_random(&rig->rng) % sectors,
	    n = fault_random(&rig->rng) % sizes[fault_random(&rig->rng) % 4] + 1,
	    what = fault_random(&rig->rng) % 16;
	u64 offset = at * 512, size = MIN(n, sectors - at) * 512;

	if (what < 8) {
		for (u64 i = 0; i < size; i += 8) {
			u64 word = fault_random(&rig->rng);

			memcpy(rig->shadow + offset + i, &word, 8);
		}
		assert_int_equal(request(rig->block, BLOCK_WRITE, offset, size,
					 rig->shadow + offset, false),
				 0);
	} else if (what < 11) {
		assert_int_equal(request(rig->block, BLOCK_READ, offset, size, rig->buf, false), 0);
		assert_memory_equal(rig->buf, rig->shadow + offset, size);
	} else if (what < 13) {
		shadow_discard(rig, offset, size);
		assert_int_equal(request(rig->block, BLOCK_DISCARD, offset, size, NULL, false), 0);
	} else if (what < 15) {
		memset(rig->shadow + offset, 0, size);
		assert_int_equal(
			request(rig->block, BLOCK_WRITE_ZEROES, offset, size, NULL, what & 1), 0);
	} else {
		assert_int_equal(request(rig->block, BLOCK_FLUSH, 0, 0, NULL, false), 0);
	}
}

static void random_requests(struct rig *rig, unsigned count)
{
	for (unsigned n = 1; n <= count; n++) {
		random_request(rig);
		if (n % 50 == 0)
			expect_all(rig);
		if (n % 100 == 0)
			reopen(rig);
	}
	check_clean(rig->block);
	expect_all(rig);
}

static void sizes_and_versions(void **state)
{
	static const u32 clusters[] = { 512, 1024, 4096, 65536, 2 * MIB };
	struct rig rig;

	for (size_t i = 0; i < ARRAY_LEN(clusters); i++) {
		rig_start(&rig, i % 2 ? "v2" : "v3", clusters[i], 4);
		random_requests(&rig, 200);
		rig_end(&rig);
	}
}

/* With 64-bit counts in small clusters the refcount table soon has to move. */
static void refcount_widths(void **state)
{
	struct rig rig;

	for (unsigned order = 0; order <= 6; order++) {
		u64 was;

		rig_start(&rig, "v3", order < 6 ? 1024 : 512, order);
		was = ((struct qcow2 *)rig.block)->reftable_offset;
		random_requests(&rig, 200);
		if (order > 5)
			assert_int_not_equal(((struct qcow2 *)rig.block)->reftable_offset, was);
		rig_end(&rig);
	}
}

static void grows(void **state)
{
	struct rig rig;
	char err[256];

	rig_start(&rig, "v3", 512, 4);
	random_requests(&rig, 100);
	for (unsigned n = 0; n < 4; n++) {
		rig.size += MIB + 512;
		assert_int_equal(rig.block->ops->resize(rig.block, rig.size, err, sizeof(err)), 0);
		expect_all(&rig);
		random_requests(&rig, 100);
	}
	assert_int_equal(rig.block->ops->resize(rig.block, MIB, err, sizeof(err)), -EOPNOTSUPP);
	assert_non_null(strstr(err, "cannot shrink"));
	rig_end(&rig);
}

/* Space that was discarded is used again. */
static void reuses_space(void **state)
{
	struct rig rig;
	u64 end;

	rig_start(&rig, "v3", 4096, 4);
	memset(rig.buf, 0x5a, 2 * MIB);
	assert_int_equal(request(rig.block, BLOCK_WRITE, 0, 2 * MIB, rig.buf, false), 0);
	end = rig.disk->size;
	for (unsigned n = 0; n < 5; n++) {
		assert_int_equal(request(rig.block, BLOCK_DISCARD, 0, 2 * MIB, NULL, false), 0);
		assert_int_equal(request(rig.block, BLOCK_FLUSH, 0, 0, NULL, false), 0);
		assert_int_equal(request(rig.block, BLOCK_WRITE, MIB, 2 * MIB, rig.buf, false), 0);
		assert_int_equal(request(rig.block, BLOCK_DISCARD, MIB, 2 * MIB, NULL, false), 0);
		assert_int_equal(request(rig.block, BLOCK_FLUSH, 0, 0, NULL, false), 0);
		assert_int_equal(request(rig.block, BLOCK_WRITE, 0, 2 * MIB, rig.buf, false), 0);
	}
	reopen(&rig);
	assert_true(rig.disk->size <= end + 64 * KIB);
	check_clean(rig.block);
	rig_end(&rig);
}

static void failed_flush_stays(void **state)
{
	struct rig rig;

	rig_start(&rig, "v3", 65536, 4);
	assert_int_equal(request(rig.block, BLOCK_WRITE, 0, 65536, rig.buf, false), 0);
	rig.disk->fail_at = 1;
	rig.disk->fail_calls = 1u << FAULT_FLUSH;
	rig.disk->fail_error = -EIO;
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(request(rig.block, BLOCK_FLUSH, 0, 0, NULL, false), -EIO);
	rig.disk->fail_calls = 0;
	reopen(&rig);
	assert_int_equal(request(rig.block, BLOCK_FLUSH, 0, 0, NULL, false), 0);
	rig_end(&rig);
}

static void refused(struct fault_disk *good, unsigned at, unsigned size, u64 value, bool readonly,
		    const char *says)
{
	struct fault_disk *disk = fault_disk_copy(good);
	char err[512] = "";
	struct block *block;
	int r;

	assert_non_null(disk);
	be_store(disk->data + at, value, size);
	block = open_image(disk, readonly, err, sizeof(err), &r);
	if (block)
		fail_msg("opens with %llu at %u", (unsigned long long)value, at);
	if (!strstr(err, says) || !strstr(err, "test.qcow2"))
		fail_msg("'%s' does not say '%s'", err, says);
	fault_disk_free(disk);
}

static void bad_headers(void **state)
{
	struct fault_disk *d = fault_disk_new(1);

	create(d, "v3", 65536, MIB);
	refused(d, QCOW2_H_MAGIC, 4, 1, true, "not a qcow2 image");
	refused(d, QCOW2_H_VERSION, 4, 4, true, "version 4");
	refused(d, QCOW2_H_CLUSTER_BITS, 4, 8, true, "2^8");
	refused(d, QCOW2_H_CLUSTER_BITS, 4, 22, true, "2^22");
	refused(d, QCOW2_H_CRYPT, 4, 2, true, "encrypted");
	refused(d, QCOW2_H_SIZE, 8, 1ull << 60, true, "damaged");
	refused(d, QCOW2_H_SIZE, 8, 0, true, "damaged");
	refused(d, QCOW2_H_L1_SIZE, 4, 0xffffffff, true, "too large");
	refused(d, QCOW2_H_L1_SIZE, 4, QCOW2_L1_MAX / 8, true, "outside the file");
	refused(d, QCOW2_H_L1_OFFSET, 8, 1, true, "outside the file");
	refused(d, QCOW2_H_L1_OFFSET, 8, ~0ull << 16, true, "outside the file");
	refused(d, QCOW2_H_REFTABLE_OFFSET, 8, 1ull << 40, true, "outside the file");
	refused(d, QCOW2_H_REFTABLE_CLUSTERS, 4, 0xffffffff, true, "outside the file");
	refused(d, QCOW2_H_REFTABLE_CLUSTERS, 4, 0, true, "outside the file");
	refused(d, QCOW2_H_SNAPSHOTS, 4, 100000, true, "too many");
	refused(d, QCOW2_H_SNAPSHOTS, 4, 1, true, "outside the file");
	refused(d, QCOW2_H_BACKING_OFFSET, 8, 1ull << 50, true, "parent");
	refused(d, QCOW2_H_REFCOUNT_ORDER, 4, 7, true, "refcounts");
	refused(d, QCOW2_H_LENGTH, 4, 100, true, "header");
	refused(d, QCOW2_H_LENGTH, 4, 0xfffffff8, true, "header");
	refused(d, QCOW2_H_INCOMPATIBLE, 8, QCOW2_EXTERNAL_DATA, true, "another file");
	refused(d, QCOW2_H_INCOMPATIBLE, 8, QCOW2_EXTENDED_L2, true, "subclusters");
	refused(d, QCOW2_H_INCOMPATIBLE, 8, QCOW2_COMPRESSION_TYPE, true, "two ways");
	refused(d, QCOW2_H_INCOMPATIBLE, 8, 1ull << 33, true, "'bit 33'");
	refused(d, QCOW2_H_INCOMPATIBLE, 8, QCOW2_CORRUPT, false, "pogo disk check --repair");
	refused(d, QCOW2_H_COMPRESSION, 1, 1, true, "two ways");
	refused(d, QCOW2_H_COMPRESSION, 1, 2, true, "compression type 2");
	refused(d, QCOW2_H_V3_LENGTH + 4, 4, 0xffffffff, true, "extension");
	/* The name of a feature comes from the image: here the table's first entry, "dirty bit", becomes bit 40. */
	d->data[QCOW2_H_V3_LENGTH + 8 + 1] = 40;
	refused(d, QCOW2_H_INCOMPATIBLE, 8, 1ull << 40, true, "'dirty bit'");
	/* Refcount blocks, L1 table and refcount table in each other. */
	refused(d, 65536, 8, 65536, false, "in each other");
	refused(d, QCOW2_H_L1_OFFSET, 8, 65536, false, "in each other");
	fault_disk_free(d);
}

/* Tables in each other, which can be read as far as they are no L2 table. */
static void table_in_another(void **state)
{
	struct fault_disk *d = fault_disk_new(1);
	char err[512], buf[512] = { 1 };
	struct block *block;
	u64 l2;
	int r;

	create(d, "v3", 4096, MIB);
	block = open_image(d, false, err, sizeof(err), &r);
	assert_non_null(block);
	assert_int_equal(block_write_now(block, buf, sizeof(buf), 0), 0);
	assert_int_equal(block_write_now(block, buf, sizeof(buf), MIB / 2), 0);
	block->ops->close(block);
	l2 = be_load(d->data + be_load(d->data + QCOW2_H_L1_OFFSET, 8), 8) & QCOW2_OFFSET;
	/* The refcount table reaches over the L1 table, which ends before the L2 table does. */
	be_store(d->data + QCOW2_H_REFTABLE_CLUSTERS, l2 / 4096, 4);
	be_store(d->data + QCOW2_H_SNAPSHOTS, 1, 4);
	be_store(d->data + QCOW2_H_SNAPSHOTS_OFFSET, l2 + 2 * 4096, 8);
	block = open_image(d, true, err, sizeof(err), &r);
	assert_non_null(block);
	assert_int_equal(block_read_now(block, buf, sizeof(buf), 0), -EIO);
	block->ops->close(block);
	assert_null(open_image(d, false, err, sizeof(err), &r));
	fault_disk_free(d);
}

/* Two entries of the disk share a cluster; one of them is written. */
static void shared_no_more(void **state)
{
	struct block_check c = { 0 };
	u8 buf[512] = { 1 }, again[512];
	struct rig rig;
	u64 l2, data;

	rig_start(&rig, "v3", 4096, 4);
	assert_int_equal(block_write_now(rig.block, buf, sizeof(buf), 0), 0);
	rig.block->ops->close(rig.block);
	rig.block = NULL;
	l2 = be_load(rig.disk->data + be_load(rig.disk->data + QCOW2_H_L1_OFFSET, 8), 8);
	l2 &= QCOW2_OFFSET;
	data = be_load(rig.disk->data + l2, 8) & QCOW2_OFFSET;
	be_store(rig.disk->data + l2, data, 8);
	be_store(rig.disk->data + l2 + 8, data, 8);
	be_store(rig.disk->data + 2 * 4096 + 2 * (data / 4096), 2, 2);
	reopen(&rig);
	check_clean(rig.block);
	buf[0] = 2;
	assert_int_equal(block_write_now(rig.block, buf, sizeof(buf), 4096), 0);
	assert_int_equal(block_read_now(rig.block, again, sizeof(again), 0), 0);
	assert_int_equal(again[0], 1);
	assert_int_equal(rig.block->ops->check(rig.block, &c, true), 0);
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.leaks, 1);
	assert_int_equal(c.repaired, 1);
	check_clean(rig.block);
	rig_end(&rig);
}

/* Marked dirty, with refcounts that are too high and too low: opening for writing puts them right. */
static void dirty_is_repaired(void **state)
{
	struct rig rig;
	char err[512];
	int r;

	rig_start(&rig, "v3", 512, 4);
	random_requests(&rig, 100);
	rig.block->ops->close(rig.block);
	rig.disk->data[QCOW2_H_INCOMPATIBLE + 7] |= QCOW2_DIRTY;
	for (u64 entry = 0; entry < 8; entry++) {
		u64 block = be_load(rig.disk->data + 512 + 8 * entry, 8);

		if (block)
			rig.disk->data[block + 60] ^= 1;
	}
	be_store(rig.disk->data + 512 + 8, 0, 8); /* a block that was never linked */
	rig.block = open_image(rig.disk, true, err, sizeof(err), &r);
	assert_non_null(rig.block);
	expect_all(&rig);
	reopen(&rig);
	assert_int_equal(rig.disk->data[QCOW2_H_INCOMPATIBLE + 7], 0);
	check_clean(rig.block);
	random_requests(&rig, 100);
	rig_end(&rig);
}

static struct block *open_repair(struct fault_disk *disk)
{
	struct block_options o = { .path = "test.qcow2", .repair = true };
	struct block_file *file = fault_disk_open(disk, "test.qcow2", false);
	struct block *block = NULL;
	char err[512] = "";

	assert_non_null(file);
	if (block_qcow2.open(&block, file, &o, err, sizeof(err)))
		fail_msg("%s", err);
	return block;
}

/* A repair that puts many counts right but not an entry that means nothing: it does not say that all is well, nor unmark the image, until
 * the entry is gone. */
static void repaired_in_part(void **state)
{
	struct fault_disk *d;
	struct block_check c;
	struct block *block;
	struct rig rig;
	u8 *l2;

	rig_start(&rig, "v3", 512, 4);
	random_requests(&rig, 100);
	memset(rig.shadow, 0xa5, 4096);
	assert_int_equal(request(rig.block, BLOCK_WRITE, 0, 4096, rig.shadow, true), 0);
	rig.block->ops->close(rig.block);
	rig.block = NULL;
	d = rig.disk;
	l2 = d->data +
	     (be_load(d->data + be_load(d->data + QCOW2_H_L1_OFFSET, 8), 8) & QCOW2_OFFSET);
	assert_true(l2 > d->data);
	be_store(l2, 0x1fe, 8);                 /* bits that must be 0 */
	be_store(d->data + 512, 1ull << 40, 8); /* the first refcount block: behind the end */
	d->data[QCOW2_H_INCOMPATIBLE + 7] |= QCOW2_CORRUPT;
	for (unsigned n = 0; n < 2; n++) {
		c = (struct block_check){ 0 };
		block = open_repair(d);
		assert_int_equal(block->ops->check(block, &c, true), 0);
		block->ops->close(block);
		assert_int_equal(c.repaired, c.leaks + c.errors - 1);
		assert_int_equal(d->data[QCOW2_H_INCOMPATIBLE + 7], QCOW2_CORRUPT);
	}
	be_store(l2, 0, 8);
	block = open_repair(d);
	c = (struct block_check){ 0 };
	assert_int_equal(block->ops->check(block, &c, true), 0);
	check_clean(block);
	block->ops->close(block);
	assert_int_equal(d->data[QCOW2_H_INCOMPATIBLE + 7], 0);
	reopen(&rig);
	rig_end(&rig);
}

/* A file that has lost its end, with an L2 table: a repair, which makes it longer, does not make believe that the table is there. */
static void lost_end(void **state)
{
	struct block_check c = { 0 };
	struct block_file *file;
	struct rig rig;
	u64 l2;

	rig_start(&rig, "v3", 4096, 4);
	assert_int_equal(block_write_now(rig.block, rig.shadow, 512, 0), 0);
	rig.block->ops->close(rig.block);
	rig.block = NULL;
	l2 = be_load(rig.disk->data + be_load(rig.disk->data + QCOW2_H_L1_OFFSET, 8), 8);
	file = fault_disk_open(rig.disk, "test.qcow2", false);
	assert_non_null(file);
	assert_int_equal(file->ops->resize(file, l2 & QCOW2_OFFSET), 0);
	block_file_close(file);
	for (unsigned n = 0; n < 3; n++) {
		c = (struct block_check){ 0 };
		rig.block = open_repair(rig.disk);
		assert_int_equal(rig.block->ops->check(rig.block, &c, true), 0);
		assert_true(c.errors > 0 && c.repaired == 0);
		assert_int_equal(block_read_now(rig.block, rig.buf, 512, 0), -EIO);
		rig.block->ops->close(rig.block);
	}
	rig.block = NULL;
	fault_disk_free(rig.disk);
	free(rig.shadow);
	free(rig.buf);
}

/* A long file, and a cluster in its middle that has no refcount: the refcount table grows for that, and lies behind the end itself. */
static void repair_of_a_long_file(void **state)
{
	struct block_check c = { 0 };
	struct block_file *file;
	struct rig rig;
	u64 l2;

	rig_start(&rig, "v3", 512, 6);
	memset(rig.shadow, 0xa5, 20 * 512);
	assert_int_equal(block_write_now(rig.block, rig.shadow, 20 * 512ull, 0), 0);
	rig.block->ops->close(rig.block);
	file = fault_disk_open(rig.disk, "test.qcow2", false);
	assert_non_null(file);
	assert_int_equal(block_file_write(file, rig.shadow, 512, 4 * MIB), 0);
	assert_int_equal(file->ops->resize(file, 12 * MIB), 0);
	block_file_close(file);
	l2 = be_load(rig.disk->data + be_load(rig.disk->data + QCOW2_H_L1_OFFSET, 8), 8);
	be_store(rig.disk->data + (l2 & QCOW2_OFFSET), 4 * MIB | QCOW2_COPIED, 8);
	rig.block = open_repair(rig.disk);
	assert_int_equal(rig.block->ops->check(rig.block, &c, true), 0);
	assert_int_equal(c.repaired, c.leaks + c.errors);
	check_clean(rig.block);
	rig.block->ops->close(rig.block);
	rig.block = NULL;
	reopen(&rig);
	check_clean(rig.block);
	expect_all(&rig);
	random_requests(&rig, 100);
	rig_end(&rig);
}

/* Random damage: whatever comes of it, no crash, no hang, no file of a size that nobody wrote. */
static void damaged(void **state)
{
	static u8 buf[256 * KIB];
	struct fault_disk *good = fault_disk_new(1);
	u64 rng = 7;
	char err[512];

	create(good, "v3", 512, 256 * KIB);
	for (unsigned n = 0; n < 400; n++) {
		struct fault_disk *d = fault_disk_copy(good);
		struct block_check c = { 0 };
		struct block *block;
		int r;

		for (unsigned flips = 0; flips < 3; flips++) {
			u64 at = fault_random(&rng) % MIN(d->size, 8192u);

			if (n % 4 == 0)
				at %= 112;
			d->data[at] = (u8)fault_random(&rng);
		}
		block = open_image(d, n & 1, err, sizeof(err), &r);
		if (block) {
			u64 size = MIN(sizeof(buf), block->size);

			r = block_read_now(block, buf, size, 0);
			for (unsigned w = 0; w < 10 && !block->readonly; w++) {
				u64 at = fault_random(&rng) % (size / 512) * 512;
				u64 length = MIN(4096u, size - at);

				r |= request(block, w % 3 ? BLOCK_WRITE : BLOCK_WRITE_ZEROES, at,
					     length, buf, w & 1);
			}
			r |= block->ops->check(block, &c, !block->readonly);
			block->ops->close(block);
		}
		if (n % 100 == 50) { /* go on from an image with more in it */
			struct rig rig = { .disk = good, .size = 256 * KIB, .rng = n };

			rig.shadow = calloc(1, SHADOW_MAX);
			rig.buf = malloc(SHADOW_MAX);
			reopen(&rig);
			assert_int_equal(block_read_now(rig.block, rig.shadow, rig.size, 0), 0);
			for (unsigned w = 0; w < 30; w++)
				random_request(&rig);
			rig.block->ops->close(rig.block);
			free(rig.shadow);
			free(rig.buf);
		}
		fault_disk_free(d);
	}
	fault_disk_free(good);
}

static int change_both(const char *image, const char *raw, u64 seed, unsigned count)
{
	struct block_options o[] = {
		{ .path = image, .format = "qcow2", .backing = BLOCK_BACKING_ANY },
		{ .path = raw, .format = "raw" },
	};
	static u8 buf[300 * KIB];
	struct block *block[2];
	u64 rng = seed * 2 + 1;
	char err[1024];

	for (unsigned i = 0; i < 2; i++)
		if (block_open(&block[i], &o[i], err, sizeof(err))) {
			fprintf(stderr, "%s\n", err);
			return 1;
		}
	for (unsigned n = 0; n < count; n++) {
		u64 sectors = block[0]->size / 512, at = fault_random(&rng) % sectors,
		    max = fault_random(&rng) % 3 ? 20 : sizeof(buf) / 512,
		    wanted = fault_random(&rng) % max + 1, size = MIN(wanted, sectors - at) * 512;
		u64 what = fault_random(&rng) % 8;

		for (u64 i = 0; i < size; i += 8) {
			u64 word = fault_random(&rng);

			memcpy(buf + i, &word, 8);
		}
		for (unsigned i = 0; i < 2; i++) {
			int r = what == 0 ? request(block[i], BLOCK_FLUSH, 0, 0, NULL, false)
					  : request(block[i],
						    what < 6 ? BLOCK_WRITE : BLOCK_WRITE_ZEROES,
						    at * 512, size, buf, what == 7);

			if (r) {
				fprintf(stderr, "%s: %s\n", o[i].path, strerror(-r));
				return 1;
			}
		}
	}
	block_close(block[0]);
	block_close(block[1]);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_and_versions),
		cmocka_unit_test(refcount_widths),
		cmocka_unit_test(grows),
		cmocka_unit_test(reuses_space),
		cmocka_unit_test(failed_flush_stays),
		cmocka_unit_test(bad_headers),
		cmocka_unit_test(table_in_another),
		cmocka_unit_test(shared_no_more),
		cmocka_unit_test(dirty_is_repaired),
		cmocka_unit_test(repaired_in_part),
		cmocka_unit_test(lost_end),
		cmocka_unit_test(repair_of_a_long_file),
		cmocka_unit_test(damaged),
	};

	if (argc >= 5 && !strcmp(argv[1], "write"))
		return change_both(argv[2], argv[3], strtoull(argv[4], NULL, 10),
				   argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 100);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("qcow2", tests, NULL, NULL);
}
