/* What machine files and the command socket reach beyond the parsers: engines that do not run, a machine that only remembers whether it is
 * paused, a listening socket without a place in the file system. */
#include "outside.h"

#include "control/screenshot.h"
#include "control/unix_socket.h"
#include "engine/engine.h"
#include "host/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *fits(void) { return NULL; }

const struct engine_ops engine_bt = { .name = "bt", .unfit = fits },
			engine_interp = { .name = "interp", .unfit = fits };

/* --- The machine ---------------------------------------------------------------------------- */

static bool paused;
static struct vm vm = { .nvcpus = 2 };

void machine_pause(struct machine *m, bool on) { paused = on; }
bool machine_paused(const struct machine *m) { return paused; }
void machine_reset(struct machine *m) {}
void machine_power_button(struct machine *m) {}
void machine_end(struct machine *m, enum machine_end end) {}
struct vm *machine_vm(struct machine *m) { return &vm; }
const struct machine_disk_error *machine_disk_error(const struct machine *m) { return NULL; }
void machine_disk_error_text(const struct machine *m, char *text, size_t size) { *text = 0; }
/* It has no screen: no file is written at a name that the fuzzer makes up. */
struct screen *machine_screen(struct machine *m) { return NULL; }
int screenshot_png(struct screen *s, const char *path, char *err, size_t errlen) { abort(); }
char *screenshot_text(struct screen *s) { abort(); }
bool machine_key(struct machine *m, u16 code, bool down) { return true; }
struct loop *machine_loop(struct machine *m) { abort(); }
const char *vnc_address(const struct vnc *v) { return "127.0.0.1:5900"; }

/* --- The socket ----------------------------------------------------------------------------- */

static struct sockaddr_un address;
static socklen_t address_size;

/* An abstract name that the kernel chooses. */
int unix_listen(const char *path, char *err, size_t errlen)
{
	sa_family_t family = AF_UNIX;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address_size = sizeof(address);
	if (fd < 0 || bind(fd, (struct sockaddr *)&family, sizeof(family)) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&address, &address_size)) {
		perror("socket");
		exit(1);
	}
	return fd;
}

int outside_connect(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, address_size)) {
		perror("connect");
		exit(1);
	}
	return fd;
}

void outside_serve(struct loop *loop) { loop_wait(loop, 0); }
