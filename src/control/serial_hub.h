/* The host end of a background machine's first serial port: what the guest sends goes into a ring, from which each that is attached reads
 * at its own pace; what any of them sends goes to the guest. Nothing here waits. On the machine's thread. */
#ifndef CONTROL_SERIAL_HUB_H
#define CONTROL_SERIAL_HUB_H

#include "control/spec.h"

/* Bytes that are kept for those who attach later, or read slowly; a power of two. */
#define HUB_RING    (64 * KIB)
#define HUB_CLIENTS 6u

struct hub_client {
	struct serial_hub *hub;
	int fd;       /* -1: free */
	u64 sent;     /* of the ring's bytes, counted from the machine's start */
	short events; /* that the loop watches for */
	bool pty;     /* the master of a pseudo-terminal: stays */
};

struct serial_hub {
	struct machine *machine; /* NULL: not attached yet */
	struct loop *loop;
	u8 ring[HUB_RING];
	u64 written;      /* bytes that the guest has sent; the last HUB_RING are in the ring */
	u8 pending[4096]; /* input that the guest has not taken yet */
	size_t first, count;
	int listener[2]; /* -1: none */
	int file;        /* gets all output; -1: none */
	/* Held open, or the master would be at its end whenever nobody else has it open. */
	int pty_slave;
	struct hub_client client[HUB_CLIENTS];
	char pty_name[64]; /* "" without one */
};

/* Opens what the port's description names. socket: where `pogo console` finds it, or NULL. False with a line in err; the hub is to be
 * closed in either case. */
bool hub_open(struct serial_hub *hub, const struct spec_chardev *port, const char *path,
	      const char *socket, char *err, size_t errlen) must_check;
/* What machine_new needs; the machine may write before hub_attach. */
struct machine_console hub_wires(struct serial_hub *hub);
/* Serves attachments from the machine's loop. Negative errno. */
int hub_attach(struct serial_hub *hub, struct machine *m) must_check;
/* Before the machine is freed. */
void hub_detach(struct serial_hub *hub);
/* Detaches, and closes what hub_open opened; the names of sockets stay. */
void hub_close(struct serial_hub *hub);

#endif
