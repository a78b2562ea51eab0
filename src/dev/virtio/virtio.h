/* Virtio 1.2 devices, whatever their transport: status, features, split virtqueues.
 * Everything in guest memory is copied in and checked before use. A queue that breaks the rules
 * stops the device with DEVICE_NEEDS_RESET. All functions: the caller holds the device lock. */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "base/bits.h"
#include "core/device.h"

#define VIRTIO_QUEUES     4   /* of one device */
#define VIRTIO_QUEUE_SIZE 256 /* largest ring offered */
#define VIRTIO_CHAIN      256 /* descriptors of one chain, through an indirect table or not */
#define VIRTIO_NO_VECTOR  0xffffu

/* Device status (2.1). */
#define VIRTIO_ACKNOWLEDGE BIT(0)
#define VIRTIO_DRIVER      BIT(1)
#define VIRTIO_DRIVER_OK   BIT(2)
#define VIRTIO_FEATURES_OK BIT(3)
#define VIRTIO_NEEDS_RESET BIT(6)
#define VIRTIO_FAILED      BIT(7)

/* Feature bits that belong to queues and transport (6). */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_VERSION_1     BIT(32)

enum virtio_isr { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

/* Guest-visible state that all virtio devices have; part of the device's regs block. Names are
 * those of the common configuration structure (4.1.4.3); arrays are indexed by queue. */
struct virtio_regs {
	u32 device_feature_select, driver_feature_select;
	u64 driver_feature;
	u16 config_msix_vector, queue_select;
	u8 device_status, isr_status;
	u16 queue_size[VIRTIO_QUEUES];
	u16 queue_msix_vector[VIRTIO_QUEUES];
	u8 queue_enable[VIRTIO_QUEUES];
	u64 queue_desc[VIRTIO_QUEUES], queue_driver[VIRTIO_QUEUES], queue_device[VIRTIO_QUEUES];
	/* Ring positions: next available entry to take, next used entry to write, and the used
	 * index at the last notification. */
	u16 avail_index[VIRTIO_QUEUES], used_index[VIRTIO_QUEUES], notified_index[VIRTIO_QUEUES];
};

#define VIRTIO_STATE_ROWS(type, member)                                                            \
	STATE_ROW(type, member.device_feature_select),                                             \
		STATE_ROW(type, member.driver_feature_select),                                     \
		STATE_ROW(type, member.driver_feature),                                            \
		STATE_ROW(type, member.config_msix_vector), STATE_ROW(type, member.queue_select),  \
		STATE_ROW(type, member.device_status), STATE_ROW(type, member.isr_status),         \
		STATE_ARRAY(type, member.queue_size), STATE_ARRAY(type, member.queue_msix_vector), \
		STATE_ARRAY(type, member.queue_enable), STATE_ARRAY(type, member.queue_desc),      \
		STATE_ARRAY(type, member.queue_driver), STATE_ARRAY(type, member.queue_device),    \
		STATE_ARRAY(type, member.avail_index), STATE_ARRAY(type, member.used_index),       \
		STATE_ARRAY(type, member.notified_index)

struct virtio;

/* One kind of device. */
struct virtio_kind {
	u16 device_id;  /* 5: 2 is a block device */
	u32 class_code; /* for PCI */
	unsigned queues;
	u32 config_size;
	/* Features offered, beyond those that virtio.c adds itself. */
	u64 (*features)(struct virtio *v);
	/* Device-specific configuration; the access lies within config_size. */
	void (*config_read)(struct virtio *v, u32 offset, void *buf, unsigned size);
	void (*config_write)(struct virtio *v, u32 offset, const void *buf,
			     unsigned size); /* or NULL */
	/* The driver has added buffers to an enabled queue of a device that runs. */
	void (*notify)(struct virtio *v, unsigned queue);
	/* Forgets all that is under way; nothing is written to guest memory afterwards. */
	void (*reset)(struct virtio *v);
};

struct virtio {
	const struct virtio_kind *kind;
	struct virtio_regs *regs;
	struct mem *mem;
	const char *name;
	/* The transport: an interrupt for a reason, with the vector chosen for it. */
	void (*interrupt)(struct virtio *v, enum virtio_isr reason, u16 vector);
	/* The transport: the device may reach guest memory now. */
	bool (*dma_allowed)(const struct virtio *v);
};

/* A buffer's descriptors in order: first `readable` ones that the device reads, then the
 * writable. */
struct virtio_segment {
	gpa_t addr;
	u32 len;
};

struct virtio_chain {
	u16 head;
	unsigned count, readable;
	struct virtio_segment seg[VIRTIO_CHAIN];
};

/* Device state as after power-on. */
void virtio_reset(struct virtio *v);
u64 virtio_features(struct virtio *v);
/* The driver has accepted all bits of `feature`. */
static inline bool virtio_has(const struct virtio *v, u64 feature)
{
	return (v->regs->driver_feature & feature) == feature;
}
/* Registers with side effects: the transport passes writes here. */
void virtio_set_status(struct virtio *v, u8 status);
void virtio_queue_enable(struct virtio *v, unsigned queue);
/* A notification from the driver, for any number it may give. */
void virtio_notified(struct virtio *v, unsigned queue);
/* The device may use its queues: DRIVER_OK, not broken, DMA allowed. */
bool virtio_running(const struct virtio *v);

/* Takes the next buffer. 1: taken; 0: none available (the driver will notify); -1: the ring is bad
 * and the device now needs a reset. */
int virtio_pop(struct virtio *v, unsigned queue, struct virtio_chain *chain);
/* Returns a buffer into which `written` bytes were stored, without telling the driver yet.
 * Dropped if the device does not run. */
void virtio_push(struct virtio *v, unsigned queue, u16 head, u32 written);
/* Tells the driver about returned buffers if it wants to know. */
void virtio_notify(struct virtio *v, unsigned queue);
/* The driver broke the rules. */
void virtio_broken(struct virtio *v, const char *why);
/* The device-specific configuration has changed. */
void virtio_config_changed(struct virtio *v);

/* Total length of segments from..to-1. */
u64 virtio_chain_length(const struct virtio_chain *chain, unsigned from, unsigned to);
/* Copies `size` bytes at `offset` from the readable part, or to the writable part. False,
 * perhaps after some bytes, if the part is shorter than that, a byte is not RAM, or the device
 * does not run. */
bool virtio_chain_read(struct virtio *v, const struct virtio_chain *chain, u64 offset, void *buf,
		       u64 size) must_check;
bool virtio_chain_write(struct virtio *v, const struct virtio_chain *chain, u64 offset,
			const void *buf, u64 size) must_check;

#endif
