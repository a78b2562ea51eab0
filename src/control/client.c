/* The other end of the command socket. */
#include "control/client.h"

#include "control/machine_xml.h"
#include "control/places.h"
#include "control/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX MIB
#define WAIT_MS    10000 /* a machine looks at its sockets every millisecond */

bool client_find(struct client_target *t, const char *arg, char *err, size_t errlen)
{
	struct machine_spec *spec;
	char path[PATH_MAX];
	bool good;

	*t = (struct client_target){ 0 };
	/* Who runs needs no file any more. */
	if (spec_name_good(arg) && (t->pid = claim_holder(arg))) {
		snprintf(t->name, sizeof(t->name), "%.48s", arg);
		if (registry_find(arg, path, err, errlen))
			snprintf(t->file, sizeof(t->file), "%s", path);
		return true;
	}
	if (!registry_find(arg, path, err, errlen))
		return false;
	spec = malloc(sizeof(*spec));
	if (!spec) {
		snprintf(err, errlen, "no memory");
		return false;
	}
	good = machine_xml_read(spec, path, err, errlen);
	if (good) {
		snprintf(t->name, sizeof(t->name), "%.48s", spec->name);
		snprintf(t->file, sizeof(t->file), "%s", path);
		t->pid = claim_holder(t->name);
		spec_free(spec);
	}
	free(spec);
	return good;
}

bool client_find_running(struct client_target *t, const char *arg, char *err, size_t errlen)
{
	if (!client_find(t, arg, err, errlen))
		return false;
	if (!t->pid)
		snprintf(err, errlen, "%s does not run; `pogo start %s` starts it", t->name, arg);
	return t->pid;
}

/* Lines of the socket: what has come and was not taken yet. */
struct reader {
	int fd;
	char *buf; /* ANSWER_MAX + 1 bytes */
	size_t count;
	u64 deadline_ms;
};

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* One JSON object; NULL at the end, after too long a time, or if it is none. */
static json_t *read_object(struct reader *r)
{
	for (;;) {
		char *end = memchr(r->buf, '\n', r->count);
		u64 now = now_ms();
		struct pollfd p = { .fd = r->fd, .events = POLLIN };

		if (end) {
			json_t *object = json_loadb(r->buf, (size_t)(end - r->buf), 0, NULL);

			r->count -= (size_t)(end + 1 - r->buf);
			memmove(r->buf, end + 1, r->count);
			return object;
		}
		if (r->count == ANSWER_MAX || now >= r->deadline_ms ||
		    poll(&p, 1, (int)(r->deadline_ms - now)) <= 0)
			return NULL;
		ssize_t n = read(r->fd, r->buf + r->count, ANSWER_MAX - r->count);

		if (n <= 0)
			return NULL;
		r->count += (size_t)n;
	}
}

/* The answer to a request; events on the way are passed over. */
static json_t *exchange(struct reader *r, json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	json_t *answer;

	json_decref(request);
	if (!text)
		return NULL;
	text[n] = '\n';
	bool sent = send(r->fd, text, n + 1, MSG_NOSIGNAL) == (ssize_t)(n + 1);

	free(text);
	if (!sent)
		return NULL;
	while ((answer = read_object(r)) && json_object_get(answer, "event"))
		json_decref(answer);
	return answer;
}

static json_t *ask(struct reader *r, const char *name, const char *command, json_t *args, char *err,
		   size_t errlen)
{
	json_t *greeting = read_object(r),
	       *answer = greeting ? exchange(r, json_pack("{s:s}", "execute", "qmp_capabilities"))
				  : NULL;

	json_decref(greeting);
	if (answer && json_object_get(answer, "return")) {
		json_decref(answer);
		answer = exchange(r,
				  json_pack("{s:s, s:O*}", "execute", command, "arguments", args));
	}
	json_t *result = json_object_get(answer, "return");
	const char *desc =
		json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));

	if (!result)
		snprintf(
			err, errlen, "%s: %s", name,
			desc ? desc
			     : "the machine does not answer on its command socket; `pogo ls` shows whether it still runs");
	json_incref(result);
	json_decref(answer);
	return result;
}

json_t *client_ask(const char *name, const char *command, json_t *args, char *err, size_t errlen)
{
	struct reader r = { .deadline_ms = now_ms() + WAIT_MS };
	char path[PATH_MAX];
	json_t *result = NULL;

	if (!place_file(name, PLACE_COMMAND, path, err, errlen))
		goto out;
	r.fd = unix_connect(path);
	if (r.fd < 0) {
		snprintf(err, errlen,
			 r.fd == -ENOENT || r.fd == -ECONNREFUSED
				 ? "%s does not run; `pogo start %s` starts it"
				 : "%s: its command socket cannot be reached: %s",
			 name, r.fd == -ENOENT || r.fd == -ECONNREFUSED ? name : strerror(-r.fd));
		goto out;
	}
	r.buf = malloc(ANSWER_MAX + 1);
	if (r.buf)
		result = ask(&r, name, command, args, err, errlen);
	else
		snprintf(err, errlen, "no memory");
	free(r.buf);
	close(r.fd);
out:
	json_decref(args);
	return result;
}
