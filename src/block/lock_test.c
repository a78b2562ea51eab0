/* Locks on images: who is kept out, what is said, what is left behind. */
#include "base/test.h"
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

static char dir[] = "/var/tmp/pogo-lock-XXXXXX";
static char image[64], record[80], other[80];

static int setup(void **state)
{
	int fd = open(image, O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)state;
	unlink(record);
	if (fd < 0 || ftruncate(fd, 4096))
		return -1;
	return close(fd);
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static struct block_file *open_ok(const char *path, bool readonly)
{
	struct block_file *f;
	char err[512];

	if (block_file_open(&f, path, readonly, err, sizeof(err)))
		fail_msg("%s", err);
	return f;
}

static void open_fails(bool readonly, const char *says, const char *too)
{
	struct block_file *f;
	char err[512];

	assert_int_equal(block_file_open(&f, image, readonly, err, sizeof(err)), -EBUSY);
	if (!strstr(err, says) || !strstr(err, too))
		fail_msg("'%s' does not say '%s' and '%s'", err, says, too);
}

static void write_record(const char *text)
{
	FILE *f = fopen(record, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void writer_leaves_nothing(void **state)
{
	struct block_file *f;
	struct statfs fs;

	(void)state;
	if (statfs(dir, &fs) || fs.f_type == TMPFS_MAGIC)
		skip();
	f = open_ok(image, false);
	assert_true(exists(record));
	block_file_close(f);
	assert_false(exists(record));
}

static void reader_needs_no_record(void **state)
{
	struct block_file *a = open_ok(image, true), *b = open_ok(image, true);

	(void)state;
	assert_false(exists(record));
	open_fails(false, "this same process", image);
	block_file_close(a);
	block_file_close(b);
	block_file_close(open_ok(image, false));
}

/* By any name. */
static void holder_is_named(void **state)
{
	int ready[2], status;
	char pid[32], byte;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		struct block_file *f;
		char err[512];

		byte = (char)block_file_open(&f, other, false, err, sizeof(err));
		(void)!write(ready[1], &byte, 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 0);
	snprintf(pid, sizeof(pid), "process %d (", (int)child);
	open_fails(false, pid, "lock_test");
	open_fails(true, pid, "writes to it");
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(ready[0]);
	close(ready[1]);
	/* It left its record. Readers do not mind, a writer makes it its own. */
	block_file_close(open_ok(image, true));
	block_file_close(open_ok(image, false));
	assert_false(exists(record));
}

static void other_hosts_are_refused(void **state)
{
	struct statfs fs;

	(void)state;
	if (statfs(dir, &fs) || fs.f_type == TMPFS_MAGIC)
		skip();
	write_record("host far\nmachine 0123\nboot 4567\npid 89\ncommand pogo run x\n");
	open_fails(false, "host far by process 89 (pogo run x)", record);
	open_fails(true, "host far", "remove");
	assert_true(exists(record));
	write_record("\x01\x02 nonsense");
	open_fails(false, "nobody knows whose lock", record);
	write_record("");
	open_fails(false, "nobody knows", record);
	unlink(record);
	assert_int_equal(mkdir(record, 0700), 0);
	open_fails(false, "nobody knows", record);
	assert_int_equal(rmdir(record), 0);
	block_file_close(open_ok(image, false));
}

/* Somebody cleared our record and took its place: it is not ours to remove. */
static void only_our_record_goes(void **state)
{
	struct block_file *f = open_ok(image, false);

	(void)state;
	unlink(record);
	write_record("host far\nmachine 0123\nboot 4567\npid 89\ncommand pogo run x\n");
	block_file_close(f);
	assert_true(exists(record));
	unlink(record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(writer_leaves_nothing, setup),
		cmocka_unit_test_setup(reader_needs_no_record, setup),
		cmocka_unit_test_setup(holder_is_named, setup),
		cmocka_unit_test_setup(other_hosts_are_refused, setup),
		cmocka_unit_test_setup(only_our_record_goes, setup),
	};
	int failed;

	assert_non_null(mkdtemp(dir));
	snprintf(image, sizeof(image), "%s/disk.img", dir);
	snprintf(other, sizeof(other), "%s/link.img", dir);
	snprintf(record, sizeof(record), "%s.lock", image);
	assert_int_equal(symlink(image, other), 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests_name("lock", tests, NULL, NULL);
	unlink(other);
	unlink(image);
	rmdir(dir);
	return failed;
}
