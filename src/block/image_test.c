/* Images as files: formats found and forced, parents under each policy, chains, new images, overlays. */
#include "base/test.h"
#include "block/block.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (4 * MIB)

static char dir[] = "/tmp/pogo-chain-XXXXXX";
static const char *const child_formats[] = { "vhd", "qcow2" };

static void make(const char *path, const char *format, const char *parent)
{
	struct block_create c = {
		.path = path, .format = format, .size = parent ? 0 : SIZE, .parent = parent
	};
	char err[1024];

	unlink(path);
	if (block_create(&c, err, sizeof(err)))
		fail_msg("%s", err);
}

static struct block *open_ok(const struct block_options *o)
{
	struct block *block = NULL;
	char err[1024];

	if (block_open(&block, o, err, sizeof(err)))
		fail_msg("%s", err);
	return block;
}

static int open_fails(const struct block_options *o, const char *says)
{
	struct block *block = NULL;
	char err[1024] = "";
	int r = block_open(&block, o, err, sizeof(err));

	assert_true(r < 0);
	assert_null(block);
	if (!strstr(err, says))
		fail_msg("'%s' does not say '%s'", err, says);
	return r;
}

static void fill(const char *path, const char *format, u8 with, u64 offset)
{
	struct block *block = open_ok(&(struct block_options){
		.path = path, .format = format, .backing = BLOCK_BACKING_ANY });
	u8 buf[512];

	memset(buf, with, sizeof(buf));
	assert_int_equal(block_write_now(block, buf, sizeof(buf), offset), 0);
	block_close(block);
}

static u8 peek(struct block *block, u64 offset)
{
	u8 buf[512];

	assert_int_equal(block_read_now(block, buf, sizeof(buf), offset), 0);
	return buf[0];
}

static void formats_are_found(void **state)
{
	(void)state;
	for (const struct block_ops *const *f = block_formats; *f; f++) {
		struct block *block;

		make("found", (*f)->name, NULL);
		block = open_ok(&(struct block_options){ .path = "found", .readonly = true });
		assert_ptr_equal(block->ops, *f);
		assert_true(block->size >= SIZE);
		block_close(block);
		unlink("found");
	}
	assert_ptr_equal(block_format_by_extension("a.vhd/b.IMG"), &block_raw);
	assert_null(block_format_by_extension("a.img/b"));
	assert_null(block_format_by_extension("img"));
}

static int write_sector(struct block *block, const u8 *sector, u64 offset)
{
	return block_write_now(block, sector, 512, offset);
}

/* A guest cannot turn its raw disk into an image that names a file of the host. */
static void raw_stays_raw(void **state)
{
	u8 head[2][512], tail[512];
	struct block *block;
	FILE *f;

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(child_formats); n++) {
		make("image", child_formats[n], NULL);
		f = fopen("image", "r");
		assert_int_equal(fread(head[n], 512, 1, f), 1);
		fseek(f, -512, SEEK_END);
		assert_int_equal(fread(tail, 512, 1, f), 1);
		fclose(f);
		make("disk", "raw", NULL);
		block = open_ok(&(struct block_options){ .path = "disk" });
		assert_ptr_equal(block->ops, &block_raw);
		if (block_format_probe(head[n], (u8[512]){ 0 }, SIZE) != &block_raw)
			assert_int_equal(write_sector(block, head[n], 0), -EPERM);
		assert_int_equal(write_sector(block, head[n], 512), 0);
		if (block_format_probe((u8[512]){ 0 }, tail, SIZE) != &block_raw)
			assert_int_equal(write_sector(block, tail, SIZE - 512), -EPERM);
		block_close(block);
		block = open_ok(&(struct block_options){ .path = "disk", .threaded = true });
		if (block_format_probe(head[n], (u8[512]){ 0 }, SIZE) != &block_raw) {
			struct block_req req = { .op = BLOCK_WRITE, .size = 512, .buf = head[n] };

			assert_int_equal(block_write_now(block, req.buf, req.size, 0), -EPERM);
		}
		block_close(block);
		/* Who says that it is raw may do as he likes, and finds what he wrote. */
		block = open_ok(&(struct block_options){ .path = "disk", .format = "raw" });
		assert_int_equal(write_sector(block, head[n], 0), 0);
		block_close(block);
		block = open_ok(&(struct block_options){ .path = "disk", .format = "raw" });
		assert_int_equal(peek(block, 0), head[n][0]);
		block_close(block);
	}
	unlink("image");
	unlink("disk");
}

static void parents_by_policy(void **state)
{
	(void)state;
	mkdir("sub", 0700);
	for (unsigned n = 0; n < ARRAY_LEN(child_formats); n++) {
		const char *format = child_formats[n];
		struct block_options o = { .path = "child", .format = format };
		struct block *block;

		make("base", format, NULL);
		fill("base", format, 7, 4096);
		make("sub/mid", format, "base");
		make("child", format, "sub/mid");
		assert_int_equal(open_fails(&o, "<backingStore>"), -EPERM);
		o.backing = BLOCK_BACKING_ANY;
		block = open_ok(&o);
		assert_int_equal(peek(block, 4096), 7);
		assert_non_null(block->parent);
		block_close(block);
		o.backing = BLOCK_BACKING_NAMED;
		open_fails(&o, "<backingStore>");
		o.parent = "sub/mid";
		open_fails(&o, "sub/mid"); /* the link below it is not named */
		o.below = &(struct block_below){ .path = "base", .format = format };
		block = open_ok(&o);
		assert_int_equal(peek(block, 4096), 7);
		block_close(block);
		o.backing = BLOCK_BACKING_UNSEEN;
		unlink("base");
		block = open_ok(&o);
		assert_null(block->parent);
		block_close(block);
		o.backing = BLOCK_BACKING_ANY;
		open_fails(&o, "rebase --unsafe");
		unlink("sub/mid");
		unlink("child");
	}
	rmdir("sub");
}

static void loops_end(void **state)
{
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(child_formats); n++) {
		const char *format = child_formats[n];

		make("a", format, NULL);
		make("b", format, "a");
		make("c", format, "b");
		assert_int_equal(rename("c", "a"), 0); /* b names a, a names b */
		for (unsigned readonly = 0; readonly < 2; readonly++)
			assert_int_equal(
				open_fails(&(struct block_options){ .path = "b",
								    .format = format,
								    .readonly = readonly,
								    .backing = BLOCK_BACKING_ANY },
					   "above it in the same chain"),
				-ELOOP);
		unlink("a");
		unlink("b");
	}
}

static void long_chains_are_refused(void **state)
{
	char name[8], below[8];

	(void)state;
	make("0", "qcow2", NULL);
	for (unsigned n = 1; n < BLOCK_CHAIN_MAX + 1; n++) {
		struct block_create c = {
			.path = name, .format = "qcow2", .size = SIZE, .parent = below
		};
		char err[1024];
		int r;

		snprintf(name, sizeof(name), "%u", n);
		snprintf(below, sizeof(below), "%u", n - 1);
		r = block_create(&c, err, sizeof(err));
		assert_int_equal(r, 0);
	}
	block_close(open_ok(&(struct block_options){
		.path = "31", .format = "qcow2", .backing = BLOCK_BACKING_ANY }));
	assert_int_equal(open_fails(&(struct block_options){ .path = "32",
							     .format = "qcow2",
							     .backing = BLOCK_BACKING_ANY },
				    "more than 32"),
			 -ELOOP);
	for (unsigned n = 0; n < BLOCK_CHAIN_MAX + 1; n++) {
		snprintf(name, sizeof(name), "%u", n);
		unlink(name);
	}
}

static void names_from_images(void **state)
{
	char name[PATH_MAX];

	(void)state;
	mkdir("x", 0700);
	mkdir("x/y", 0700);
	mkdir("xz", 0700);
	assert_int_equal(block_path_from(name, sizeof(name), "x/y/child", "base"), 0);
	assert_string_equal(name, "../../base");
	assert_int_equal(block_path_from(name, sizeof(name), "child", "x/y/base"), 0);
	assert_string_equal(name, "x/y/base");
	assert_int_equal(block_path_from(name, sizeof(name), "x/child", "xz/base"), 0);
	assert_string_equal(name, "../xz/base");
	assert_int_equal(block_path_from(name, sizeof(name), "./x/child", "x/../x/base"), 0);
	assert_string_equal(name, "base");
	assert_int_equal(block_path_from(name, sizeof(name), "x/child", "/base"), 0);
	assert_string_equal(name, "/base");
	assert_int_equal(block_path_from(name, sizeof(name), "nowhere/child", "base"), -ENOENT);
	assert_int_equal(block_path_from(name, 8, "x/y/child", "base"), -ENAMETOOLONG);
	rmdir("x/y");
	rmdir("x");
	rmdir("xz");
}

static void overlays(void **state)
{
	struct block_options o = { .path = "over.qcow2",
				   .format = "qcow2",
				   .backing = BLOCK_BACKING_NAMED,
				   .parent = "base.img",
				   .parent_format = "raw" };
	struct block *block;
	char err[1024];

	(void)state;
	make("base.img", "raw", NULL);
	make("other.img", "raw", NULL);
	fill("base.img", "raw", 5, 0);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(block_overlay_prepare("over.qcow2", NULL, "base.img", "raw", err,
						       sizeof(err)),
				 0);
		block = open_ok(&o);
		assert_int_equal(peek(block, 0), round ? 6 : 5);
		block_close(block);
		if (!round) {
			block = open_ok(&o);
			assert_int_equal(write_sector(block, memset((u8[512]){ 0 }, 6, 512), 0), 0);
			block_close(block);
		}
	}
	block = open_ok(&(struct block_options){ .path = "base.img" });
	assert_int_equal(peek(block, 0), 5);
	block_close(block);
	assert_true(block_overlay_prepare("over.qcow2", NULL, "other.img", "raw", err,
					  sizeof(err)) < 0);
	assert_non_null(strstr(err, "not to 'other.img'"));
	assert_true(block_overlay_prepare("other.img", NULL, "base.img", "raw", err, sizeof(err)) <
		    0);
	assert_non_null(strstr(err, "disk of its own"));
	unlink("over.qcow2");
	unlink("base.img");
	unlink("other.img");
}

static void failed_creation_leaves_nothing(void **state)
{
	struct block_create c = { .path = "x.qcow2", .parent = "nowhere" };
	char err[1024];

	(void)state;
	assert_int_equal(block_create(&c, err, sizeof(err)), -ENOENT);
	assert_int_not_equal(access("x.qcow2", F_OK), 0);
	c = (struct block_create){ .path = "x.img", .size = SIZE, .variant = "dynamic" };
	assert_int_equal(block_create(&c, err, sizeof(err)), -EINVAL);
	assert_int_not_equal(access("x.img", F_OK), 0);
	c = (struct block_create){ .path = "x.img", .size = 1000 };
	assert_int_equal(block_create(&c, err, sizeof(err)), -EINVAL);
	assert_int_not_equal(access("x.img", F_OK), 0);
}

/* What an image calls its parent does nothing to the terminal that shows it. */
static void names_are_printable(void **state)
{
	char text[] = "\x1b[2Ja\nb\x7f\xc2\x9b"
		      "c \xc3\xa9\xc2\xa0",
	     err[512] = "";
	struct block_create c = { .path = "base.qcow2", .size = SIZE };
	struct block_options o = { .path = "top.qcow2" };
	struct block *b;

	block_printable(text);
	assert_string_equal(text, "?[2Ja?b???c \xc3\xa9\xc2\xa0");
	assert_int_equal(block_create(&c, err, sizeof(err)), 0);
	assert_int_equal(rename("base.qcow2", "ba\ne.qcow2"), 0);
	c = (struct block_create){ .path = "top.qcow2",
				   .parent = "ba\ne.qcow2",
				   .parent_format = "qcow2" };
	assert_int_equal(block_create(&c, err, sizeof(err)), 0);
	assert_true(block_open(&b, &o, err, sizeof(err)) < 0);
	if (!strstr(err, "'ba?e.qcow2'"))
		fail_msg("%s", err);
	unlink("ba\ne.qcow2");
	unlink("top.qcow2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_found),
		cmocka_unit_test(raw_stays_raw),
		cmocka_unit_test(parents_by_policy),
		cmocka_unit_test(loops_end),
		cmocka_unit_test(long_chains_are_refused),
		cmocka_unit_test(names_from_images),
		cmocka_unit_test(overlays),
		cmocka_unit_test(failed_creation_leaves_nothing),
		cmocka_unit_test(names_are_printable),
	};
	int failed;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests_name("image", tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
