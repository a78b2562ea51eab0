/* Packets of gdb's remote protocol (GDB manual, E.1): what they are made of, how they come and go. The machine's thread. */
#ifndef CONTROL_GDB_WIRE_H
#define CONTROL_GDB_WIRE_H

#include "base/types.h"

#define WIRE_PACKET_MAX 4096
#define WIRE_CHUNK_MAX  1024 /* bytes of text or memory in one reply: two digits each */

struct wire {
	int fd;      /* the debugger, -1 if none */
	bool no_ack; /* packets are not acknowledged any more */
	char in[WIRE_PACKET_MAX];
	size_t in_len;
	char out[1 + 2 * WIRE_PACKET_MAX + 3]; /* "$", the packet, "#", its sum */
	size_t out_len;                        /* with the "$" */
};

/* Listens on [HOST]:PORT, without HOST on the loopback address. The socket, or -1 with a line in err. */
int wire_listen(const char *address, char *err, size_t errlen) must_check;
/* The port of that socket, which the user may have left to the system (port 0); 0: unknown. */
unsigned wire_port(int listener);
/* Takes the next debugger from the listener. Its socket, or -1. */
int wire_accept(int listener) must_check;
/* The debugger has gone, and the news of it waits to be read. */
bool wire_has_left(const struct wire *w);

/* Text, or bytes as hex digits, at the end of the packet to send; what does not fit is dropped. */
void wire_put(struct wire *w, const char *text);
void wire_put_bytes(struct wire *w, const char *text, size_t n);
void wire_put_hex(struct wire *w, const void *data, size_t n);
/* Sends the packet. A debugger that does not read is gone: the socket is shut down, and wire_receive says so. */
void wire_reply(struct wire *w);
/* The same with this text at its end; OK or an error. */
void wire_reply_text(struct wire *w, const char *text);
void wire_reply_bool(struct wire *w, bool good);

enum wire_event { WIRE_NOTHING, WIRE_PACKET, WIRE_INTERRUPT };

/* Reads what has come. False: the debugger is gone, or sends a packet that is longer than announced. */
bool wire_receive(struct wire *w) must_check;
/* Takes one thing from the front of what has come; a packet's text goes to `text`, its sum has been checked and acknowledged. */
enum wire_event wire_next(struct wire *w, char text[WIRE_PACKET_MAX]);

/* Each takes what it knows from the front of *p; false, and *p somewhere on the way, if it is not there. */
bool wire_take(const char **p, char c);
bool wire_take_word(const char **p, const char *word);
/* n bytes written as hex digits. */
bool wire_take_hex(const char **p, void *data, size_t n);
/* A number in hex. */
bool wire_take_number(const char **p, u64 *value);

#endif
