#include "control/qmp.h"

#include "control/suggest.h"
#include "control/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define COMMANDS_MAX 128u

/* --- Commands -------------------------------------------------------------------------------- */

/* What a request said is part of some texts, cut anywhere: no more than ASCII is passed on. */
static json_t *error(const char *class, const char *desc)
{
	char text[320];
	size_t n = 0;

	for (; desc[n] && n < sizeof(text) - 1; n++)
		text[n] = desc[n] >= ' ' && desc[n] < 0x7f ? desc[n] : '?';
	text[n] = 0;
	return json_pack("{s:{s:s, s:s}}", "error", "class", class, "desc", text);
}

static const struct qmp_command *command_find(const char *name)
{
	for (const struct qmp_command *const *t = qmp_tables; *t; t++)
		for (const struct qmp_command *c = *t; c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	return NULL;
}

static json_t *unknown_command(const char *name)
{
	const char *names[COMMANDS_MAX], *nearest;
	char text[256];
	unsigned n = 0;

	for (const struct qmp_command *const *t = qmp_tables; *t; t++)
		for (const struct qmp_command *c = *t; c->name && n < COMMANDS_MAX; c++)
			names[n++] = c->name;
	nearest = suggest_nearest(name, names, n);
	if (nearest)
		snprintf(text, sizeof(text), "there is no command '%.60s'; did you mean '%s'?",
			 name, nearest);
	else
		snprintf(text, sizeof(text),
			 "there is no command '%.60s'; query-commands lists them", name);
	return error("CommandNotFound", text);
}

/* One word of a row's args. */
struct arg_rule {
	char name[32];
	bool optional;
	char type;
};

/* The next word; false at the end. */
static bool next_arg(const char **text, struct arg_rule *a)
{
	const char *t = *text + strspn(*text, " ");
	size_t n = strcspn(t, "?:");

	if (!*t || n >= sizeof(a->name))
		return false;
	memcpy(a->name, t, n);
	a->name[n] = 0;
	a->optional = t[n] == '?';
	t += n + a->optional;
	a->type = t[1];
	*text = t + 2;
	return true;
}

static const char *type_name(char type)
{
	return type == 's'   ? "a string"
	       : type == 'i' ? "an integer"
	       : type == 'b' ? "true or false"
			     : "an array";
}

static bool type_fits(const json_t *value, char type)
{
	return type == 's'   ? json_is_string(value)
	       : type == 'i' ? json_is_integer(value)
	       : type == 'b' ? json_is_boolean(value)
			     : json_is_array(value);
}

static bool known_arg(const struct qmp_command *c, const char *name)
{
	const char *text = c->args;
	struct arg_rule a;

	while (next_arg(&text, &a))
		if (!strcmp(a.name, name))
			return true;
	return false;
}

static bool check_args(const struct qmp_command *c, json_t *args, char *text, size_t size)
{
	const char *rules = c->args, *key;
	struct arg_rule a;
	json_t *value;

	json_object_foreach(args, key, value)
	{
		if (known_arg(c, key))
			continue;
		snprintf(text, size, "%s has no argument '%.60s'; its arguments: %s", c->name, key,
			 *c->args ? c->args : "none");
		return false;
	}
	while (next_arg(&rules, &a)) {
		value = json_object_get(args, a.name);
		if (value ? type_fits(value, a.type) : a.optional)
			continue;
		snprintf(text, size, "%s: the argument '%s' must be %s", c->name, a.name,
			 type_name(a.type));
		return false;
	}
	return true;
}

static json_t *execute(struct instance *instance, const char *name, json_t *args)
{
	const struct qmp_command *c = command_find(name);
	struct qmp_call call = { .instance = instance, .args = args };
	json_t *empty = NULL, *result = NULL;

	if (!c)
		return unknown_command(name);
	if (!args)
		call.args = empty = json_object();
	if (check_args(c, call.args, call.error, sizeof(call.error)))
		result = c->run(&call);
	json_decref(empty);
	return result ? json_pack("{s:o}", "return", result) : error("GenericError", call.error);
}

/* jansson follows nested values by recursion, and allows many. */
static bool too_deep(const char *line, size_t size)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t n = 0; n < size; n++) {
		char c = line[n];

		if (in_string && c == '\\')
			n++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
			depth++;
		else if (!in_string && (c == '}' || c == ']') && depth)
			depth--;
		if (depth > QMP_DEPTH)
			return true;
	}
	return false;
}

static json_t *dispatch(struct instance *instance, bool *agreed, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "execute")), *key;
	json_t *args = json_object_get(request, "arguments"), *value;

	json_object_foreach((json_t *)(uintptr_t)request, key, value) if (
		strcmp(key, "execute") && strcmp(key, "arguments") &&
		strcmp(key,
		       "id")) return error("GenericError",
					   "a request has execute, arguments and id, and nothing else");
	if (!name)
		return error("GenericError",
			     "not a request; write {\"execute\": \"query-commands\"}");
	if (args && !json_is_object(args))
		return error("GenericError", "arguments must be an object");
	if (!strcmp(name, "qmp_capabilities")) {
		*agreed = true;
		return json_pack("{s:{}}", "return");
	}
	if (!*agreed)
		return error("CommandNotFound",
			     "the first command must be {\"execute\": \"qmp_capabilities\"}");
	return execute(instance, name, args);
}

json_t *qmp_answer(struct instance *instance, bool *agreed, const char *line, size_t size)
{
	json_error_t where;
	json_t *request, *answer, *id;
	char text[256];

	if (strspn(line, " \t\r") >= size)
		return NULL;
	if (too_deep(line, size))
		return error("GenericError", "the request is nested too deeply");
	request = json_loadb(line, size, JSON_REJECT_DUPLICATES, &where);
	if (!request) {
		snprintf(text, sizeof(text),
			 "not JSON: %.180s; a request is one object on one line", where.text);
		return error("GenericError", text);
	}
	answer = json_is_object(request)
			 ? dispatch(instance, agreed, request)
			 : error("GenericError", "a request is an object: {\"execute\": \"NAME\"}");
	id = json_object_get(request, "id");
	if (id && answer)
		json_object_set(answer, "id", id);
	json_decref(request);
	return answer;
}

/* --- Clients --------------------------------------------------------------------------------- */

static void client_ready(void *arg, short revents);

static void client_close(struct qmp_client *c)
{
	if (c->fd < 0)
		return;
	if (c->events)
		loop_remove(c->qmp->loop, c->fd);
	close(c->fd);
	free(c->in);
	free(c->out);
	*c = (struct qmp_client){ .fd = -1 };
}

static void client_watch(struct qmp_client *c)
{
	/* Who does not read answers is not asked for more requests. */
	short events = c->out_count ? POLLOUT : POLLIN;

	if (events == c->events || c->fd < 0)
		return;
	if (c->events)
		loop_remove(c->qmp->loop, c->fd);
	c->events = events;
	if (loop_add(c->qmp->loop, c->fd, events, client_ready, c)) {
		c->events = 0;
		client_close(c);
	}
}

static void client_flush(struct qmp_client *c)
{
	while (c->out_count) {
		ssize_t n = send(c->fd, c->out + c->out_first, c->out_count,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			client_close(c);
			return;
		}
		c->out_first += (size_t)n;
		c->out_count -= (size_t)n;
	}
	c->out_first = 0;
	if (c->leaving)
		client_close(c);
}

/* Queues one line; a client that has not read QMP_OUT_MAX bytes is gone. Drops value. */
static void client_put(struct qmp_client *c, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;

	json_decref(value);
	if (c->out_first + c->out_count + n + 1 > QMP_OUT_MAX) {
		memmove(c->out, c->out + c->out_first, c->out_count);
		c->out_first = 0;
	}
	if (!text || c->out_count + n + 1 > QMP_OUT_MAX) {
		free(text);
		client_close(c);
		return;
	}
	memcpy(c->out + c->out_first + c->out_count, text, n);
	c->out_count += n;
	c->out[c->out_first + c->out_count++] = '\n';
	free(text);
}

/* Answers the lines that are complete, as long as answers are read. */
static void client_lines(struct qmp_client *c)
{
	char *end;

	while (c->fd >= 0 && !c->out_count && (end = memchr(c->in, '\n', c->in_count))) {
		size_t n = (size_t)(end - c->in);
		json_t *answer;

		*end = 0;
		answer = qmp_answer(c->qmp->instance, &c->agreed, c->in, n);
		c->in_count -= n + 1;
		memmove(c->in, end + 1, c->in_count);
		if (answer)
			client_put(c, answer);
		if (c->fd >= 0)
			client_flush(c);
	}
	if (c->fd < 0 || c->in_count < QMP_LINE_MAX || c->out_count)
		return;
	c->leaving = true;
	c->in_count = 0;
	client_put(c, error("GenericError", "the request is longer than 64 KiB"));
	if (c->fd >= 0)
		client_flush(c);
}

static void client_ready(void *arg, short revents)
{
	struct qmp_client *c = arg;

	if (revents & POLLOUT)
		client_flush(c);
	if (c->fd >= 0 && (revents & (POLLIN | POLLHUP | POLLERR)) && c->in_count < QMP_LINE_MAX) {
		ssize_t n = read(c->fd, c->in + c->in_count, QMP_LINE_MAX - c->in_count);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			client_close(c);
			return;
		}
		c->in_count += n > 0 ? (size_t)n : 0;
	}
	if (c->fd >= 0)
		client_lines(c);
	if (c->fd >= 0)
		client_watch(c);
}

static json_t *greeting(void)
{
	int major = 0, minor = 0, micro = 0;

	sscanf(POGO_VERSION, "%d.%d.%d", &major, &minor, &micro);
	/* QMP's clients look for the numbers under this name. */
	return json_pack("{s:{s:{s:{s:i, s:i, s:i}, s:s}, s:[]}}", "QMP", "version", "qemu",
			 "major", major, "minor", minor, "micro", micro, "package",
			 "pogo " POGO_VERSION, "capabilities");
}

static bool client_open(struct qmp *q, int fd)
{
	for (unsigned n = 0; n < QMP_CLIENTS; n++) {
		struct qmp_client *c = &q->client[n];

		if (c->fd >= 0)
			continue;
		*c = (struct qmp_client){ .qmp = q,
					  .fd = fd,
					  .in = malloc(QMP_LINE_MAX + 1),
					  .out = malloc(QMP_OUT_MAX) };
		if (!c->in || !c->out) {
			client_close(c);
			return true;
		}
		client_put(c, greeting());
		if (c->fd >= 0)
			client_flush(c);
		client_watch(c);
		return true;
	}
	return false;
}

static void on_connection(void *arg, short revents)
{
	static const char full[] =
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"too many connections; close one\"}}\n";
	struct qmp *q = arg;
	int fd = accept4(q->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0 || client_open(q, fd))
		return;
	(void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

void qmp_event(struct qmp *q, const char *name, json_t *data)
{
	struct timeval now;
	json_t *event;

	gettimeofday(&now, NULL);
	event = json_pack("{s:s, s:o*, s:{s:I, s:I}}", "event", name, "data", data, "timestamp",
			  "seconds", (json_int_t)now.tv_sec, "microseconds",
			  (json_int_t)now.tv_usec);
	for (unsigned n = 0; n < QMP_CLIENTS && event; n++) {
		struct qmp_client *c = &q->client[n];

		if (c->fd < 0 || !c->agreed)
			continue;
		client_put(c, json_incref(event));
		if (c->fd >= 0)
			client_flush(c);
		if (c->fd >= 0 && q->loop)
			client_watch(c);
	}
	json_decref(event);
}

bool qmp_open(struct qmp *q, struct instance *instance, const char *path, char *err, size_t errlen)
{
	*q = (struct qmp){ .instance = instance };
	for (unsigned n = 0; n < QMP_CLIENTS; n++)
		q->client[n].fd = -1;
	q->listener = unix_listen(path, err, errlen);
	return q->listener >= 0;
}

int qmp_attach(struct qmp *q, struct loop *loop)
{
	q->loop = loop;
	return loop_add(loop, q->listener, POLLIN, on_connection, q);
}

void qmp_close(struct qmp *q)
{
	for (unsigned n = 0; n < QMP_CLIENTS; n++)
		client_close(&q->client[n]);
	if (q->listener < 0)
		return;
	if (q->loop)
		loop_remove(q->loop, q->listener);
	close(q->listener);
	q->listener = -1;
	q->loop = NULL;
}
