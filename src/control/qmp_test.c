#include "base/test.h"
#include "control/instance.h"
#include "control/unix_socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is answered, without a machine: up to where one would be asked. */
static void check_error(const char *line, bool agreed, const char *class, const char *desc)
{
	json_t *answer = qmp_answer(NULL, &agreed, line, strlen(line));
	const json_t *error = json_object_get(answer, "error");
	const char *said = json_string_value(json_object_get(error, "desc"));

	assert_non_null(said);
	assert_string_equal(json_string_value(json_object_get(error, "class")), class);
	if (!strstr(said, desc))
		fail_msg("'%s' has no '%s'", said, desc);
	json_decref(answer);
}

static void handshake(void **state)
{
	static const char hello[] = "{\"execute\": \"qmp_capabilities\", \"id\": 7}";
	bool agreed = false;
	json_t *answer;

	check_error("{\"execute\": \"stop\"}", false, "CommandNotFound", "qmp_capabilities");
	assert_null(qmp_answer(NULL, &agreed, " \t\r", 3));
	assert_null(qmp_answer(NULL, &agreed, "", 0));
	answer = qmp_answer(NULL, &agreed, hello, strlen(hello));
	assert_true(agreed);
	assert_true(json_is_object(json_object_get(answer, "return")));
	assert_int_equal(json_integer_value(json_object_get(answer, "id")), 7);
	json_decref(answer);
}

static void refusals(void **state)
{
	char deep[QMP_DEPTH + 4];

	check_error("nonsense", true, "GenericError", "not JSON");
	check_error("{\"execute\": \"stop\"", true, "GenericError", "not JSON");
	check_error("{\"execute\": \"stop\"} {}", true, "GenericError", "not JSON");
	check_error("[]", true, "GenericError", "a request is an object");
	check_error("{}", true, "GenericError", "not a request");
	check_error("{\"execute\": \"sotp\"}", true, "CommandNotFound", "did you mean 'stop'?");
	check_error("{\"execute\": \"x\"}", true, "CommandNotFound", "query-commands lists them");
	check_error("{\"execute\": \"stop\", \"arguments\": []}", true, "GenericError",
		    "must be an object");
	check_error("{\"execute\": \"stop\", \"arguments\": {\"a\": 1}}", true, "GenericError",
		    "stop has no argument 'a'");
	check_error("{\"execute\": \"stop\", \"exec\": 1}", true, "GenericError", "nothing else");
	/* A letter outside ASCII, cut in two by the length of the message. */
	check_error("{\"execute\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "\xc3\xa4\"}",
		    true, "CommandNotFound", "there is no command 'aaa");
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	check_error(deep, true, "GenericError", "nested too deeply");
	/* Brackets in a string do not nest. */
	check_error("{\"execute\": \"[[[[[[[[[[[[[[[[[[[[\\\"[[[\"}", true, "CommandNotFound",
		    "there is no command");
}

/* A socket is its owner's alone, replaces a dead one, and neither a live one nor anything else. */
static void sockets(void **state)
{
	char dir[] = "/tmp/pogo-test-XXXXXX", path[64], err[256] = "";
	struct stat st;
	int first, second, client;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.sock", dir);
	assert_true(unix_connect(path) < 0);
	first = unix_listen(path, err, sizeof(err));
	assert_true(first >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	client = unix_connect(path);
	assert_true(client >= 0);
	close(client);
	assert_int_equal(unix_listen(path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "a.sock: no socket can be made there"));
	close(first);
	second = unix_listen(path, err, sizeof(err));
	assert_true(second >= 0);
	close(second);
	unlink(path);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fclose(f);
	assert_int_equal(unix_listen(path, err, sizeof(err)), -1);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	rmdir(dir);
	char deep[200];

	memset(deep, 'a', sizeof(deep) - 1);
	deep[0] = '/';
	deep[sizeof(deep) - 1] = 0;
	assert_int_equal(unix_listen(deep, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "longer than the 107 bytes"));
}

/* What the guest sends goes to the file, and the last of it is kept for whoever attaches. */
static void ring(void **state)
{
	char path[] = "/tmp/pogo-test-XXXXXX", err[256];
	static const struct spec_chardev port = { .type = SPEC_CHAR_FILE };
	struct serial_hub *h = malloc(sizeof(*h));
	struct stat st;
	u8 block[1000];

	assert_non_null(h);
	close(mkstemp(path));
	assert_true(hub_open(h, &port, path, NULL, err, sizeof(err)));
	struct machine_console wires = hub_wires(h);

	for (unsigned n = 0; n < 100; n++) {
		memset(block, (int)n, sizeof(block));
		wires.write(wires.opaque, block, sizeof(block));
	}
	assert_int_equal(h->written, 100000);
	for (u64 n = h->written - HUB_RING; n < h->written; n++)
		assert_int_equal(h->ring[n % HUB_RING], n / 1000);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 100000);
	wires.ready(wires.opaque);
	hub_close(h);
	free(h);
	unlink(path);
}

/* --- Keys: a keyboard for which one movement waits already queues all others ------------------- */

static struct keyboard *waiting_keyboard(struct instance *i, struct screens *screens)
{
	*screens = (struct screens){ .keyboard = { .pace = { .on = true }, .count = 1 } };
	*i = (struct instance){ .screens = screens };
	return &screens->keyboard;
}

static void check_keys(const struct keyboard *k, const char *expected)
{
	char text[256] = "";
	size_t n = 0;

	for (u32 at = 1; at < k->count; at++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%x%c", at > 1 ? " " : "",
				      k->code[at], k->down[at] ? '+' : '-');
	assert_string_equal(text, expected);
}

/* The error's text, to be freed; NULL: none. */
static char *ask(struct instance *i, const char *line)
{
	bool agreed = true;
	json_t *answer = qmp_answer(i, &agreed, line, strlen(line));
	const char *desc =
		json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
	char *text = desc ? strdup(desc) : NULL;

	json_decref(answer);
	return text;
}

static void check_refused(struct instance *i, const char *line, const char *desc)
{
	char *said = ask(i, line);

	assert_non_null(said);
	if (!strstr(said, desc))
		fail_msg("'%s' has no '%s'", said, desc);
	free(said);
}

static void check_done(struct instance *i, const char *line)
{
	char *said = ask(i, line);

	if (said)
		fail_msg("'%s'", said);
}

static void typing(void **state)
{
	static struct screens screens;
	struct instance i;
	struct keyboard *k = waiting_keyboard(&i, &screens);

	check_done(&i, "{\"execute\": \"x-pogo-type\", \"arguments\": {\"text\": \"aB\\n\"}}");
	check_keys(k, "1e+ 1e- 2a+ 30+ 30- 2a- 1c+ 1c-");
	/* All or nothing, if there is no key for it. */
	check_refused(&i, "{\"execute\": \"x-pogo-type\", \"arguments\": {\"text\": \"a\u00e4\"}}",
		      "character 2 (c3h)");
	assert_int_equal(k->count, 9);
	k->count = KEYBOARD_QUEUE - 7;
	check_done(&i, "{\"execute\": \"x-pogo-type\", \"arguments\": {\"text\": \"AB\"}}");
	assert_int_equal(k->count, KEYBOARD_QUEUE - 3);
}

static void chords(void **state)
{
	static struct screens screens;
	struct instance i;
	struct keyboard *k = waiting_keyboard(&i, &screens);

	check_done(&i, "{\"execute\": \"send-key\", \"arguments\": {\"keys\": ["
		       "{\"type\": \"qcode\", \"data\": \"ctrl\"}, "
		       "{\"type\": \"number\", \"data\": 56}, "
		       "{\"type\": \"number\", \"data\": 211}]}}");
	check_keys(k, "1d+ 38+ e053+ e053- 38- 1d-");
	k->count = 1;
	check_refused(&i, "{\"execute\": \"send-key\", \"arguments\": {\"keys\": []}}",
		      "1 to 16 elements");
	check_refused(&i, "{\"execute\": \"send-key\", \"arguments\": {\"keys\": [7]}}",
		      "element 0 of keys is no key");
	check_refused(
		&i,
		"{\"execute\": \"send-key\", \"arguments\": {\"keys\": ["
		"{\"type\": \"qcode\", \"data\": \"a\"}, {\"type\": \"qcode\", \"data\": \"any\"}]}}",
		"element 1 of keys is no key");
	check_refused(&i,
		      "{\"execute\": \"send-key\", \"arguments\": {\"keys\": ["
		      "{\"type\": \"number\", \"data\": 256}]}}",
		      "element 0 of keys is no key");
	assert_int_equal(k->count, 1);
	i.screens = NULL;
	check_refused(&i, "{\"execute\": \"x-pogo-type\", \"arguments\": {\"text\": \"a\"}}",
		      "no keyboard");
	check_refused(
		&i,
		"{\"execute\": \"screendump\", \"arguments\": {\"filename\": \"a\", \"format\": \"ppm\"}}",
		"the only format is png");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake), cmocka_unit_test(refusals), cmocka_unit_test(sockets),
		cmocka_unit_test(ring),      cmocka_unit_test(typing),   cmocka_unit_test(chords),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
