/* `pogo view`: a VNC viewer on a machine's screen. */
#include "base/log.h"
#include "control/client.h"
#include "control/command.h"
#include "control/json_print.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct view_config {
	bool json;
	const char *viewer;
};

static const struct opt view_opts[] = {
	{ .key = "viewer",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct view_config, viewer),
	  .value = "PROGRAM",
	  .help = "the viewer to start (default: the first installed of those above)" },
	{ .key = "json",
	  .kind = OPT_FLAG,
	  .offset = offsetof(struct view_config, json),
	  .help = "print where the screen is instead of starting a viewer" },
	{ .key = "help", .kind = OPT_HELP, .help = "this text" },
	{ 0 },
};

void command_view_usage(void *file)
{
	fputs("Shows the screen of a machine that runs, and connects keyboard and mouse to it: starts a VNC viewer.\n\n"
	      "  pogo view web\n"
	      "  pogo view web --viewer gvncviewer\n\n"
	      "The viewer is the first installed of vncviewer, xtigervncviewer, ssvncviewer, remote-viewer, gvncviewer and\n"
	      "vinagre that can reach the machine; the first three connect to unix sockets too. Without one, where the screen\n"
	      "is and how to get there is printed.\n\n"
	      "Options:\n",
	      file);
	opt_help(view_opts, file);
	fputs("\nExit codes: that of the viewer; 1 error, 2 wrong usage.\n", file);
}

/* How a viewer wants to be told where to connect. */
enum form {
	FORM_PORT,    /* HOST::PORT */
	FORM_URI,     /* vnc://HOST:PORT */
	FORM_DISPLAY, /* HOST:DISPLAY, which is the port less 5900 */
};

static const struct viewer {
	const char *program;
	enum form form;
	bool sockets; /* takes the path of a unix socket */
} viewers[] = {
	{ "vncviewer", FORM_PORT, true },      { "xtigervncviewer", FORM_PORT, true },
	{ "ssvncviewer", FORM_PORT, true },    { "remote-viewer", FORM_URI, false },
	{ "gvncviewer", FORM_DISPLAY, false }, { "vinagre", FORM_URI, false },
};

static bool installed(const char *program)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (strchr(program, '/'))
		return !access(program, X_OK);
	for (; path; path = strchr(path, ':')) {
		path += *path == ':';
		snprintf(file, sizeof(file), "%.*s/%s", (int)strcspn(path, ":"), path, program);
		if (!access(file, X_OK))
			return true;
		if (!*path)
			break;
	}
	return false;
}

static const struct viewer *find_viewer(const char *wanted, bool socket)
{
	const char *slash = wanted ? strrchr(wanted, '/') : NULL,
		   *name = slash ? slash + 1 : wanted;

	for (unsigned n = 0; n < ARRAY_LEN(viewers); n++)
		if (wanted ? !strcmp(viewers[n].program, name)
			   : installed(viewers[n].program) && (!socket || viewers[n].sockets))
			return &viewers[n];
	/* One that is not known takes what most do. */
	return wanted ? &viewers[0] : NULL;
}

/* What the viewer's argument is for a service as query-vnc tells it. */
static void format_target(const struct viewer *v, const char *service, char *out, size_t size)
{
	const char *colon = strrchr(service, ':');
	int host = (int)(colon - service), port = atoi(colon + 1);

	if (!strncmp(service, "unix:", 5))
		snprintf(out, size, "%s", service + 5);
	else if (v->form == FORM_URI)
		snprintf(out, size, "vnc://%s", service);
	else if (v->form == FORM_DISPLAY)
		snprintf(out, size, "%.*s:%d", host, service, port - 5900);
	else
		snprintf(out, size, "%.*s::%d", host, service, port);
}

static int no_viewer(const char *name, const char *service)
{
	const char *path = strncmp(service, "unix:", 5) ? NULL : service + 5;

	printf("%s\n", service);
	if (path)
		log_error(
			"%s: no VNC viewer that takes a unix socket is installed; install tigervnc-viewer, or lead another one there: socat TCP-LISTEN:5900,bind=127.0.0.1 UNIX:%s",
			name, path);
	else
		log_error(
			"%s: no VNC viewer is installed; install tigervnc-viewer, or connect one from elsewhere to %s",
			name, service);
	return EXIT_ERROR;
}

static int start_viewer(const char *name, const char *service, const struct view_config *cfg)
{
	bool socket = !strncmp(service, "unix:", 5);
	const struct viewer *v = find_viewer(cfg->viewer, socket);
	const char *program = cfg->viewer ? cfg->viewer : v ? v->program : NULL;
	char target[PATH_MAX];

	if (!v || !strrchr(service, ':'))
		return no_viewer(name, service);
	format_target(v, service, target, sizeof(target));
	fflush(NULL);
	execlp(program, program, target, (char *)NULL);
	log_error("%s cannot be started: %s; name another one with --viewer, the screen is at %s",
		  program, strerror(errno), service);
	return EXIT_ERROR;
}

static int view(const char *arg, const struct view_config *cfg)
{
	struct client_target t;
	char err[PATH_MAX + 256];
	json_t *answer = NULL;
	int code = EXIT_ERROR;

	if (client_find_running(&t, arg, err, sizeof(err)))
		answer = client_ask(t.name, "query-vnc", NULL, err, sizeof(err));
	const char *service = json_string_value(json_object_get(answer, "service"));

	if (answer && !service)
		snprintf(
			err, sizeof(err),
			"%s shows its screen nowhere; add <graphics type='vnc'/> to the devices in %s and start it again",
			t.name, *t.file ? t.file : "its file");
	if (!service)
		log_error("%s", err);
	else if (cfg->json)
		code = (json_print(json_pack("{s:s, s:s}", "name", t.name, "vnc", service)),
			EXIT_OK);
	else
		code = start_viewer(t.name, service, cfg);
	json_decref(answer);
	return code;
}

int command_view(int argc, char **argv)
{
	struct view_config cfg = { 0 };
	int code;
	const char *name =
		command_parse_name(view_opts, command_view_usage, &cfg, argc, argv, &code);

	return name ? view(name, &cfg) : code;
}
