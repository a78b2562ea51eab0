/* Fuzzes the command socket: the bytes of an input come through a connection, in pieces of a size that its first byte says, and each line
 * also comes to qmp_answer alone, as the rest of the input. */
#include "outside.h"

#include "host/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static _Noreturn void wrong(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

/* An answer is an object with a result or an error, of one line. */
static void check_answer(json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");
	char *text = json_dumps(answer, JSON_COMPACT);

	if (!json_is_object(answer) || !error == !json_object_get(answer, "return"))
		wrong("an answer that is neither a result nor an error");
	if (error && !json_is_string(json_object_get(error, "desc")))
		wrong("an error without a reason");
	if (!text || strchr(text, '\n'))
		wrong("an answer that is no line");
	free(text);
	json_decref(answer);
}

static void answer_lines(struct instance *instance, const u8 *data, size_t size)
{
	bool agreed = size % 2;

	while (size) {
		const u8 *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;
		char *line = malloc(n + 1); /* qmp_answer may look at the end's place */
		json_t *answer;

		memcpy(line, data, n);
		line[n] = 0;
		answer = qmp_answer(instance, &agreed, line, n);
		if (answer)
			check_answer(answer);
		free(line);
		size -= end ? n + 1 : n;
		data += end ? n + 1 : n;
	}
}

/* What the socket says is lines of JSON. reading: at once, not only at the end. */
static void speak(struct instance *instance, const u8 *data, size_t size, size_t piece,
		  bool reading)
{
	static char in[1 << 20];
	size_t count = 0, sent = 0;
	unsigned events = 0;
	struct loop loop = { 0 };
	char err[256];
	int fd;

	if (!qmp_open(&instance->qmp, instance, "", err, sizeof(err)) ||
	    qmp_attach(&instance->qmp, &loop))
		wrong("no socket");
	fd = outside_connect();
	outside_serve(&loop);
	for (unsigned idle = 0; idle < 4; idle++) {
		ssize_t n = sent < size ? send(fd, data + sent, MIN(piece, size - sent),
					       MSG_DONTWAIT | MSG_NOSIGNAL)
					: 0;

		if (n > 0) {
			sent += (size_t)n;
			idle = 0;
		} else if (n < 0 && errno != EAGAIN) {
			sent = size;
		}
		outside_serve(&loop);
		if (idle && events++ < 4)
			qmp_event(&instance->qmp, "STOP", NULL);
		n = reading || sent == size ? read(fd, in + count, sizeof(in) - count) : 0;
		if (n > 0) {
			count += (size_t)n;
			idle = 0;
		}
	}
	close(fd);
	outside_serve(&loop);
	qmp_close(&instance->qmp);
	if (loop.count)
		wrong("something stays in the loop");
	for (char *line = in, *end; (end = memchr(line, '\n', count - (size_t)(line - in)));
	     line = end + 1) {
		json_t *said = json_loadb(line, (size_t)(end - line), 0, NULL);

		if (!json_is_object(said))
			wrong("the socket says what is no JSON");
		json_decref(said);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct machine_spec spec;
	struct instance instance = { .spec = &spec, .config = { .engine = "bt", .cpu = "max" } };
	unsigned how;

	if (!spec.name) {
		spec_init(&spec);
		spec.name = "web";
		spec.file = "web.xml";
		spec.disks = 1;
		spec.disk[0] = (struct spec_disk){ .target = "vda", .source = "web.vhd" };
	}
	if (size < 2)
		return 0;
	how = data[0];
	answer_lines(&instance, data + 1, size - 1);
	if (how & 1)
		speak(&instance, data + 1, size - 1, how & 2 ? 7 : 4096, !(how & 4));
	return 0;
}
