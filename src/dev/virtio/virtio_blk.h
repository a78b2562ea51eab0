/* Virtio block device (Virtio 1.2, 5.2). */
#ifndef DEV_VIRTIO_VIRTIO_BLK_H
#define DEV_VIRTIO_VIRTIO_BLK_H

#include "block/block.h"
#include "dev/virtio/virtio_pci.h"

#define VIRTIO_BLK_REQUESTS 8           /* in flight at once */
#define VIRTIO_BLK_BUFFER   (128 * KIB) /* moved at once */
#define VIRTIO_BLK_SERIAL   20

struct virtio_blk_regs {
	struct pci_regs pci;
	struct virtio_regs virtio;
	u8 writeback; /* the configuration field: 1 if writes may stay in a cache until a flush */
};

struct virtio_blk;

/* One request under way. */
struct virtio_blk_request {
	struct virtio_blk *blk;
	struct block_req io;
	bool busy;    /* holds a buffer of the guest */
	bool pending; /* io is with the backend */
	bool stepping;
	u8 status;
	u32 type;
	u64 sector;
	u64 length;  /* bytes of data between header and status */
	u64 done;    /* of them */
	u64 cost;    /* bytes that the backend was asked to handle */
	u64 in_size; /* bytes that the device may write, status included */
	bool synced; /* write-through: the flush after the last write is done */
	struct virtio_chain chain;
	u8 *buf;
};

struct virtio_blk {
	struct virtio_pci vpci; /* first */
	struct virtio_blk_regs regs;
	struct block *block;            /* set before init; stays the board's */
	char serial[VIRTIO_BLK_SERIAL]; /* for GET_ID, padded with zeros; set before init */
	struct timer more;              /* goes on with a queue that was left for the next round */
	bool resetting;
	struct virtio_blk_request requests[VIRTIO_BLK_REQUESTS];
};

extern const struct device_type virtio_blk_type;

#endif
