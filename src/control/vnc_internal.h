/* The parts of VNC: vnc.c is the machine's side, vnc_seat.c serves one client each, vnc_listen.c finds the address. */
#ifndef CONTROL_VNC_INTERNAL_H
#define CONTROL_VNC_INTERNAL_H

#include "control/keysyms.h"
#include "control/pointer.h"
#include "control/vnc.h"

#include <pthread.h>
#include <rfb/rfb.h>

#define VNC_SEATS  4u
#define VNC_INPUT  1024u
#define VNC_DAMAGE 64u

/* The width and height of a screen that shows nothing yet. */
#define VNC_WIDTH  640u
#define VNC_HEIGHT 480u

enum seat_state {
	SEAT_FREE,
	SEAT_BUSY,
	SEAT_LEFT, /* its client has gone, its keys are still to be released */
};

/* A place for one client, with a thread and a server of its own while there is one: a client that is slow, or stops in the middle of a message,
 * holds up nobody else. */
struct vnc_seat {
	struct vnc *vnc;
	int wake; /* eventfd: there is damage, or the end has come */
	/* The seat's thread. */
	rfbScreenInfoPtr server;
	u32 *pixels; /* what the server shows: width * height */
	u32 width, height;
	bool proved; /* the client knows the password */
	/* The thread that accepts. */
	pthread_t thread;
	bool joinable;
	/* The machine's thread. */
	struct keysyms keys;
	/* All, under the lock. */
	enum seat_state state;
	int fd; /* of the connection, -1: none */
	struct screen_rect damage[VNC_DAMAGE];
	unsigned damaged;
	bool whole; /* all of the frame is damage */
};

struct vnc_input {
	struct vnc_seat *seat;
	bool key, down;
	u32 keysym;
	int x, y;
	u8 buttons;
};

struct vnc {
	struct machine *machine;
	struct keyboard *keyboard;
	struct pointer pointer;
	char address[300], socket_path[108];
	char *passwords[2]; /* a list that NULL ends */
	char password[9];
	int listener, input_fd, stop_fd;
	pthread_t thread; /* accepts */
	bool running;
	/* libvncserver keeps its security types in one list for all. Held while a message of a handshake is answered, which does not wait. */
	pthread_mutex_t handshake;
	/* The machine's thread. */
	struct ticker frames; /* on while there are clients */
	bool fresh;           /* they have seen nothing yet */
	u32 seen;             /* the screen's updates then */
	bool caps;            /* the guest's Caps Lock as it will be when it has taken all keys, */
	u64 caps_ms;          /* until then; afterwards the keyboard's light tells */
	int x, y;             /* of the pointer */
	u8 buttons;
	/* All, under the lock. */
	pthread_mutex_t lock;
	u32 *frame; /* the screen as it was last: width * height */
	u32 width, height;
	struct vnc_input input[VNC_INPUT];
	unsigned inputs;
	bool stop;
	struct vnc_seat seat[VNC_SEATS];
};

/* Binds v->listener, sets v->address. Negative errno with a line in err. */
int vnc_listen(struct vnc *v, const char *where, char *err, size_t errlen) must_check;
/* Whether the seat could be made; seat_free takes it in any state, once its thread has ended. */
bool seat_init(struct vnc_seat *s, struct vnc *v) must_check;
void seat_free(struct vnc_seat *s);
/* The thread of a busy seat: ends when its client has gone. */
void *seat_serve(void *seat);
/* An eventfd gets one more. */
void vnc_ring(int fd);
u64 vnc_now_ms(void);

#endif
