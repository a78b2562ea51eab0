/* The host end of a character device. Who creates the pair (chip, backend) wires both directions.
 * Calls come with the device lock held. */
#ifndef CORE_CHARDEV_H
#define CORE_CHARDEV_H

#include "base/types.h"

struct chardev {
	/* The chip sends bytes; the backend takes all of them. NULL: nothing is connected, output
	 * vanishes. */
	void (*write)(void *opaque, const u8 *buf, size_t n);
	/* The chip has room again after its receive function took less than it was offered. May be
	 * NULL. */
	void (*can_receive)(void *opaque);
	void *opaque;
};

#endif
