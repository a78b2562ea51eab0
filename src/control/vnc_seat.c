/* One client of VNC, on a thread of its own. What libvncserver is given is a copy of the frame that nobody else touches; its sockets are ours. */
#include "control/vnc_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <rfb/rfbregion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENT_MS \
	5000 /* a client that takes nothing for so long is dropped, or leaves a message unfinished */
#define HANDSHAKE_MS 20000
#define PAUSE_NS     10000000
#define VERSION_SIZE 12 /* RFC 6143, 7.1.1 */

/* --- Input ------------------------------------------------------------------------------------ */

static void put(struct vnc_seat *s, struct vnc_input in)
{
	struct vnc *v = s->vnc;

	in.seat = s;
	pthread_mutex_lock(&v->lock);
	if (v->inputs < VNC_INPUT)
		v->input[v->inputs++] = in;
	pthread_mutex_unlock(&v->lock);
	vnc_ring(v->input_fd);
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr client)
{
	put(client->screen->screenData,
	    (struct vnc_input){ .key = true, .down = down, .keysym = keysym });
}

/* VNC's button 1 is left, 2 middle, 3 right. */
static void on_pointer(int mask, int x, int y, rfbClientPtr client)
{
	u8 buttons = (u8)((mask & 1) | (mask & 4 ? 2 : 0) | (mask & 2 ? 4 : 0));

	put(client->screen->screenData, (struct vnc_input){ .x = x, .y = y, .buttons = buttons });
}

static rfbBool check_password(rfbClientPtr client, const char *response, int n)
{
	struct vnc_seat *s = client->screen->screenData;

	s->proved = rfbCheckPasswordByList(client, response, n);
	return s->proved;
}

/* --- Pixels ----------------------------------------------------------------------------------- */

/* The screen's format: 00RRGGBBh. */
static void set_format(rfbPixelFormat *f)
{
	f->redShift = 16;
	f->greenShift = 8;
	f->blueShift = 0;
}

static void copy_rect(struct vnc_seat *s, const struct screen_rect *r)
{
	const struct vnc *v = s->vnc;

	for (u32 y = r->y; y < r->y + r->height; y++)
		memcpy(s->pixels + (size_t)y * s->width + r->x,
		       v->frame + (size_t)y * v->width + r->x, (size_t)r->width * 4);
}

/* The server forgets its format with each frame buffer. */
static bool resize(struct vnc_seat *s, rfbClientPtr client)
{
	const struct vnc *v = s->vnc;
	u32 *pixels = calloc((size_t)v->width * v->height, 4), *old = s->pixels;

	if (!pixels)
		return false;
	s->pixels = pixels;
	s->width = v->width;
	s->height = v->height;
	rfbNewFramebuffer(s->server, (char *)pixels, (int)s->width, (int)s->height, 8, 3, 4);
	set_format(&s->server->serverFormat);
	free(old);
	return s->server->setTranslateFunction(client);
}

/* What the client is to see becomes what the screen is now. False: no memory. */
static bool take_damage(struct vnc_seat *s, rfbClientPtr client)
{
	struct vnc *v = s->vnc;
	struct screen_rect damage[VNC_DAMAGE];
	unsigned n = 0;
	bool good = true;

	pthread_mutex_lock(&v->lock);
	if (v->frame && (v->width != s->width || v->height != s->height)) {
		good = resize(s, client);
		s->whole = true;
	}
	if (good && v->frame && s->whole) {
		damage[n++] = (struct screen_rect){ 0, 0, s->width, s->height };
	} else if (good && v->frame) {
		n = s->damaged;
		memcpy(damage, s->damage, n * sizeof(damage[0]));
	}
	for (unsigned k = 0; k < n; k++)
		copy_rect(s, &damage[k]);
	if (good && v->frame) {
		s->damaged = 0;
		s->whole = false;
	}
	pthread_mutex_unlock(&v->lock);
	for (unsigned k = 0; k < n; k++)
		rfbMarkRectAsModified(s->server, (int)damage[k].x, (int)damage[k].y,
				      (int)(damage[k].x + damage[k].width),
				      (int)(damage[k].y + damage[k].height));
	return good;
}

/* --- The connection --------------------------------------------------------------------------- */

/* libvncserver looks at the first bytes of a connection, and would take an HTTP request for a web page that wants to be a client: any page in
 * a browser of this host. So it starts on a socket that says nothing; then the client takes that one's place. */
static rfbClientPtr meet(struct vnc_seat *s)
{
	char version[VERSION_SIZE];
	int pair[2], on = 1;
	rfbClientPtr client = NULL;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return NULL;
	if (pair[0] < FD_SETSIZE)
		client = rfbNewClient(s->server, pair[0]);
	else
		close(pair[0]);
	bool good = client && recv(pair[1], version, sizeof(version), 0) == sizeof(version) &&
		    dup3(s->fd, pair[0], O_CLOEXEC) >= 0 &&
		    send(pair[0], version, sizeof(version), MSG_NOSIGNAL) == sizeof(version);

	close(pair[1]);
	if (good) {
		/* Neither is known to a unix socket. */
		(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		(void)setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	} else if (client) {
		rfbCloseClient(client);
	}
	return client;
}

/* Whether a message of the handshake is there in full: it is answered under a lock. */
static bool is_whole(rfbClientPtr client)
{
	int wanted = client->state == RFB_PROTOCOL_VERSION ? VERSION_SIZE
		     : client->state == RFB_AUTHENTICATION ? CHALLENGESIZE
							   : 1,
	    there = 0;

	return ioctl(client->sock, FIONREAD, &there) || there >= wanted;
}

/* RFC 6143, 7.5, and SetDesktopSize, which is refused politely. Scaling, file transfer, chat and what else libvncserver knows is not for guests. */
static bool is_welcome(rfbClientPtr client)
{
	static const u8 known[] = { rfbSetPixelFormat, rfbSetEncodings, rfbFramebufferUpdateRequest,
				    rfbKeyEvent,       rfbPointerEvent, rfbClientCutText,
				    rfbSetDesktopSize };
	u8 type;

	/* Where there is nothing, the read that follows says why. */
	return recv(client->sock, &type, 1, MSG_PEEK | MSG_DONTWAIT) != 1 ||
	       memchr(known, type, sizeof(known));
}

static void answer_handshake(struct vnc_seat *s, rfbClientPtr client, short revents)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct vnc *v = s->vnc;

	if (!is_whole(client) && !(revents & (POLLHUP | POLLERR | POLLRDHUP))) {
		nanosleep(&pause, NULL);
		return;
	}
	/* The size of the screen is in the last answer. */
	if (!take_damage(s, client)) {
		rfbCloseClient(client);
		return;
	}
	bool proving = client->state == RFB_AUTHENTICATION;

	pthread_mutex_lock(&v->handshake);
	rfbProcessClientMessage(client);
	pthread_mutex_unlock(&v->handshake);
	bool inside = client->state == RFB_INITIALISATION || client->state == RFB_NORMAL;

	if (client->sock >= 0 && v->password[0] && !s->proved && (inside || proving))
		rfbCloseClient(client);
}

/* Whatever the client and the machine have to say to each other. */
static void serve_once(struct vnc_seat *s, rfbClientPtr client, int wait_ms)
{
	struct pollfd p[2] = { { client->sock, POLLIN | POLLRDHUP, 0 }, { s->wake, POLLIN, 0 } };
	u64 count;

	if (poll(p, 2, wait_ms) <= 0)
		return;
	if (p[1].revents)
		(void)!read(s->wake, &count, sizeof(count));
	if (p[0].revents && client->state != RFB_NORMAL) {
		answer_handshake(s, client, p[0].revents);
	} else if (p[0].revents) {
		if (is_welcome(client))
			rfbProcessClientMessage(client);
		else
			rfbCloseClient(client);
	}
	if (client->sock < 0 || client->state != RFB_NORMAL)
		return;
	/* Of a client that does not ask, nothing is copied. */
	if (sraRgnEmpty(client->requestedRegion))
		return;
	if (take_damage(s, client))
		rfbUpdateClient(client);
	else
		rfbCloseClient(client);
}

static bool stopping(struct vnc *v)
{
	bool stop;

	pthread_mutex_lock(&v->lock);
	stop = v->stop;
	pthread_mutex_unlock(&v->lock);
	return stop;
}

void *seat_serve(void *arg)
{
	struct vnc_seat *s = arg;
	struct vnc *v = s->vnc;
	u64 deadline = vnc_now_ms() + HANDSHAKE_MS;
	rfbClientPtr client = meet(s);

	s->proved = false;
	while (client && client->sock >= 0 && !stopping(v)) {
		u64 now = vnc_now_ms();
		bool shaking = client->state != RFB_NORMAL;

		if (shaking && now >= deadline)
			break;
		serve_once(s, client, shaking ? (int)(deadline - now) : -1);
	}
	if (client) {
		if (client->sock >= 0)
			rfbCloseClient(client);
		rfbClientConnectionGone(client);
	}
	pthread_mutex_lock(&v->lock);
	close(s->fd);
	s->fd = -1;
	s->state = SEAT_LEFT;
	pthread_mutex_unlock(&v->lock);
	vnc_ring(v->input_fd);
	return NULL;
}

/* --- The seat --------------------------------------------------------------------------------- */

bool seat_init(struct vnc_seat *s, struct vnc *v)
{
	rfbScreenInfoPtr server;

	*s = (struct vnc_seat){ .vnc = v, .fd = -1, .width = VNC_WIDTH, .height = VNC_HEIGHT };
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->pixels = calloc((size_t)s->width * s->height, 4);
	if (s->wake < 0 || !s->pixels)
		return false;
	rfbLogEnable(FALSE);
	server = s->server = rfbGetScreen(NULL, NULL, VNC_WIDTH, VNC_HEIGHT, 8, 3, 4);
	if (!server)
		return false;
	set_format(&server->serverFormat);
	server->frameBuffer = (char *)s->pixels;
	server->screenData = s;
	server->desktopName = "Pogo";
	server->alwaysShared = TRUE;
	server->cursor = NULL; /* the guest draws its own */
	server->permitFileTransfer = FALSE;
	server->maxClientWait = CLIENT_MS;
	server->deferUpdateTime = 0;
	server->deferPtrUpdateTime = 0;
	server->kbdAddEvent = on_key;
	server->ptrAddEvent = on_pointer;
	if (v->password[0]) {
		server->authPasswdData = v->passwords;
		server->passwordCheck = check_password;
	}
	return true;
}

void seat_free(struct vnc_seat *s)
{
	if (!s->vnc)
		return;
	if (s->server)
		rfbScreenCleanup(s->server);
	free(s->pixels);
	if (s->wake >= 0)
		close(s->wake);
}
