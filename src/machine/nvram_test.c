#include "base/test.h"
#include "machine/nvram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE 8192

struct fixture {
	char dir[32], template_path[64], path[64], err[1024];
};

static void write_file(const char *path, int fill, size_t size)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	while (size--)
		fputc(fill, f);
	fclose(f);
}

static int setup(void **state)
{
	static struct fixture f;

	strcpy(f.dir, "/tmp/pogo-nvram-XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	snprintf(f.template_path, sizeof(f.template_path), "%s/template", f.dir);
	snprintf(f.path, sizeof(f.path), "%s/vars", f.dir);
	write_file(f.template_path, 0x77, SIZE);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->template_path);
	unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0); /* nothing else was left behind */
	return 0;
}

static int open_vars(struct fixture *f, struct block_file **file, const char *path, bool scratch)
{
	return nvram_open(file, path, f->template_path, scratch, f->err, sizeof(f->err));
}

static u8 first_byte(struct block_file *file)
{
	u8 byte;

	assert_int_equal(block_file_read(file, &byte, 1, 0), 0);
	return byte;
}

static void is_made_and_kept(void **state)
{
	struct fixture *f = *state;
	struct block_file *file, *second;

	assert_int_equal(open_vars(f, &file, f->path, false), 0);
	assert_int_equal(file->size, SIZE);
	assert_int_equal(first_byte(file), 0x77);
	assert_int_equal(block_file_write(file, "x", 1, 0), 0);
	/* One machine at a time. */
	assert_true(open_vars(f, &second, f->path, false) < 0);
	assert_non_null(strstr(f->err, f->path));
	block_file_close(file);
	assert_int_equal(open_vars(f, &file, f->path, false), 0);
	assert_int_equal(first_byte(file), 'x');
	block_file_close(file);
	/* Scratch machines share it. */
	assert_int_equal(open_vars(f, &file, f->path, true), 0);
	assert_int_equal(open_vars(f, &second, f->path, true), 0);
	assert_true(file->readonly);
	assert_int_equal(first_byte(second), 'x');
	block_file_close(second);
	block_file_close(file);
}

static void scratch_makes_nothing(void **state)
{
	struct fixture *f = *state;
	struct block_file *file;

	assert_int_equal(open_vars(f, &file, f->path, true), 0);
	assert_true(file->readonly);
	assert_int_equal(first_byte(file), 0x77);
	block_file_close(file);
	assert_int_not_equal(access(f->path, F_OK), 0);
	assert_int_equal(open_vars(f, &file, NULL, false), 0);
	assert_true(file->readonly);
	block_file_close(file);
}

static void errors(void **state)
{
	struct fixture *f = *state;
	struct block_file *file = NULL;

	write_file(f->path, 0, SIZE + 4096);
	assert_int_equal(open_vars(f, &file, f->path, false), -EINVAL);
	assert_null(file);
	assert_non_null(strstr(f->err, "12288"));
	assert_int_equal(open_vars(f, &file, "/nonexistent/vars", false), -ENOENT);
	assert_non_null(strstr(f->err, "/nonexistent/vars"));
	unlink(f->template_path);
	assert_int_equal(open_vars(f, &file, f->path, false), -ENOENT);
	assert_non_null(strstr(f->err, f->template_path));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(is_made_and_kept), TEST(scratch_makes_nothing),
					    TEST(errors) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("nvram", tests, NULL, NULL);
}
