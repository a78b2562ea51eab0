/* Virtio devices and split virtqueues (Virtio 1.2, chapters 2 and 3). */
#include "dev/virtio/virtio.h"

#include "base/trace.h"

#include <stdatomic.h>

/* Descriptor (2.7.5) */
#define DESC_SIZE     16u
#define DESC_NEXT     BIT(0)
#define DESC_WRITE    BIT(1)
#define DESC_INDIRECT BIT(2)

/* Available ring: flags, idx, ring[size], used_event. Used ring: flags, idx, { id, len }[size],
 * avail_event. */
#define AVAIL_NO_INTERRUPT BIT(0)
#define AVAIL_IDX          2u
#define AVAIL_RING         4u
#define USED_IDX           2u
#define USED_RING          4u
#define USED_ELEM          8u

struct desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};

_Static_assert(sizeof(struct desc) == DESC_SIZE, "descriptor as in guest memory");

void virtio_reset(struct virtio *v)
{
	struct virtio_regs *r = v->regs;

	v->kind->reset(v);
	memset(r, 0, sizeof(*r));
	r->config_msix_vector = VIRTIO_NO_VECTOR;
	for (unsigned q = 0; q < VIRTIO_QUEUES; q++) {
		r->queue_size[q] = q < v->kind->queues ? VIRTIO_QUEUE_SIZE : 0;
		r->queue_msix_vector[q] = VIRTIO_NO_VECTOR;
	}
}

u64 virtio_features(struct virtio *v)
{
	return v->kind->features(v) | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
	       VIRTIO_F_VERSION_1;
}

bool virtio_running(const struct virtio *v)
{
	return (v->regs->device_status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) ==
		       VIRTIO_DRIVER_OK &&
	       v->dma_allowed(v);
}

void virtio_config_changed(struct virtio *v)
{
	v->interrupt(v, VIRTIO_ISR_CONFIG, v->regs->config_msix_vector);
}

void virtio_broken(struct virtio *v, const char *why)
{
	trace(VIRTIO, "%s: needs reset: %s", v->name, why);
	if (v->regs->device_status & VIRTIO_NEEDS_RESET)
		return;
	v->regs->device_status |= VIRTIO_NEEDS_RESET;
	if (v->regs->device_status & VIRTIO_DRIVER_OK) /* 2.1.2: only then a notification */
		virtio_config_changed(v);
}

void virtio_set_status(struct virtio *v, u8 status)
{
	struct virtio_regs *r = v->regs;
	u8 old = r->device_status;

	trace(VIRTIO, "%s: status %#x", v->name, status);
	if (status == 0) {
		virtio_reset(v);
		return;
	}
	/* The driver only ever adds bits (2.1.1); NEEDS_RESET is the device's own. */
	status = (u8)((status | old) & ~VIRTIO_NEEDS_RESET) | (old & VIRTIO_NEEDS_RESET);
	/* 3.1.1: an unacceptable set of features is refused by leaving FEATURES_OK clear. This
	 * device has no legacy interface, so VERSION_1 is a must (6.2). */
	if ((status & ~old & VIRTIO_FEATURES_OK) &&
	    ((r->driver_feature & ~virtio_features(v)) || !virtio_has(v, VIRTIO_F_VERSION_1)))
		status &= (u8)~VIRTIO_FEATURES_OK;
	if (!(status & VIRTIO_FEATURES_OK))
		status &= (u8)~VIRTIO_DRIVER_OK;
	r->device_status = status;
	/* Buffers that were made available before DRIVER_OK are served now. */
	if (status & ~old & VIRTIO_DRIVER_OK) {
		for (unsigned q = 0; q < v->kind->queues; q++)
			virtio_notified(v, q);
	}
}

void virtio_queue_enable(struct virtio *v, unsigned queue)
{
	struct virtio_regs *r = v->regs;
	u16 size;

	if (queue >= v->kind->queues || r->queue_enable[queue])
		return;
	size = r->queue_size[queue];
	if (size == 0 || size > VIRTIO_QUEUE_SIZE || (size & (size - 1)))
		virtio_broken(v, "queue size");
	else if (r->queue_desc[queue] % 16 || r->queue_driver[queue] % 2 ||
		 r->queue_device[queue] % 4)
		virtio_broken(v, "ring alignment");
	else
		r->queue_enable[queue] = 1;
}

void virtio_notified(struct virtio *v, unsigned queue)
{
	if (virtio_running(v) && queue < v->kind->queues && v->regs->queue_enable[queue])
		v->kind->notify(v, queue);
}

/* --- Rings ---------------------------------------------------------------------------------- */

static bool load16(struct virtio *v, gpa_t addr, u16 *value)
{
	return mem_read(v->mem, addr, value, sizeof(*value));
}

/* Whether the driver has made entries available beyond avail_index; -1 if the ring is bad. */
static int available(struct virtio *v, unsigned q)
{
	u16 index, size = v->regs->queue_size[q];

	if (!load16(v, v->regs->queue_driver[q] + AVAIL_IDX, &index)) {
		virtio_broken(v, "available ring is not in RAM");
		return -1;
	}
	if ((u16)(index - v->regs->avail_index[q]) > size) {
		virtio_broken(v, "available index is ahead of the ring");
		return -1;
	}
	return index != v->regs->avail_index[q];
}

/* Asks for a notification of the next entry; true if one has become available meanwhile. */
static int ask_notification(struct virtio *v, unsigned q)
{
	struct virtio_regs *r = v->regs;
	gpa_t event = r->queue_device[q] + USED_RING + USED_ELEM * r->queue_size[q];

	if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
		return 0;
	if (!mem_write(v->mem, event, &r->avail_index[q], 2)) {
		virtio_broken(v, "used ring is not in RAM");
		return -1;
	}
	atomic_thread_fence(memory_order_seq_cst);
	return available(v, q);
}

/* Appends one descriptor to the chain, or says why not. */
static const char *add_segment(struct virtio_chain *c, const struct desc *d)
{
	if (c->count == VIRTIO_CHAIN)
		return "descriptor chain too long or looped";
	if (!(d->flags & DESC_WRITE)) {
		if (c->readable != c->count)
			return "readable descriptor after a writable one";
		c->readable++;
	}
	c->seg[c->count++] = (struct virtio_segment){ d->addr, d->len };
	return NULL;
}

/* Walks a table of `count` descriptors from entry `i`. An indirect table is reached from the
 * queue's own, never from another. Bounded by VIRTIO_CHAIN segments a level. */
static const char *walk(struct virtio *v, struct virtio_chain *c, gpa_t table, u32 count, u32 i,
			bool indirect)
{
	const char *bad = NULL;
	struct desc d;

	do {
		if (i >= count)
			return "descriptor number beyond the table";
		if (!mem_read(v->mem, table + DESC_SIZE * (u64)i, &d, sizeof(d)))
			return "descriptor table is not in RAM";
		if (!(d.flags & DESC_INDIRECT))
			bad = add_segment(c, &d);
		else if (indirect || (d.flags & DESC_NEXT) || !d.len || d.len % DESC_SIZE ||
			 !virtio_has(v, VIRTIO_F_INDIRECT_DESC))
			bad = "indirect descriptor";
		else
			bad = walk(v, c, d.addr, d.len / DESC_SIZE, 0, true);
		i = d.next;
	} while (!bad && (d.flags & DESC_NEXT));
	return bad;
}

int virtio_pop(struct virtio *v, unsigned q, struct virtio_chain *c)
{
	struct virtio_regs *r = v->regs;
	gpa_t entry;
	const char *bad;
	int more;

	if (!virtio_running(v) || !r->queue_enable[q])
		return 0;
	more = available(v, q);
	if (more == 0)
		more = ask_notification(v, q);
	if (more <= 0)
		return more;
	/* The index was read before the entry that it covers. */
	atomic_thread_fence(memory_order_acquire);
	entry = r->queue_driver[q] + AVAIL_RING +
		2ull * (r->avail_index[q] & (r->queue_size[q] - 1u));
	if (!load16(v, entry, &c->head)) {
		virtio_broken(v, "available ring is not in RAM");
		return -1;
	}
	c->count = c->readable = 0;
	bad = walk(v, c, r->queue_desc[q], r->queue_size[q], c->head, false);
	if (bad) {
		virtio_broken(v, bad);
		return -1;
	}
	r->avail_index[q]++;
	return 1;
}

void virtio_push(struct virtio *v, unsigned q, u16 head, u32 written)
{
	struct virtio_regs *r = v->regs;
	struct {
		u32 id, len;
	} elem = { head, written };
	gpa_t entry = r->queue_device[q] + USED_RING +
		      USED_ELEM * (u64)(r->used_index[q] & (r->queue_size[q] - 1u));
	u16 index = (u16)(r->used_index[q] + 1);

	if (!virtio_running(v))
		return;
	if (!mem_write(v->mem, entry, &elem, sizeof(elem))) {
		virtio_broken(v, "used ring is not in RAM");
		return;
	}
	atomic_thread_fence(memory_order_release);
	r->used_index[q] = index;
	if (!mem_write(v->mem, r->queue_device[q] + USED_IDX, &index, 2))
		virtio_broken(v, "used ring is not in RAM");
}

/* 2.7.7.2: what the driver asked for about the entries from notified_index to used_index. */
static bool wants_interrupt(struct virtio *v, unsigned q)
{
	struct virtio_regs *r = v->regs;
	u16 new = r->used_index[q], old = r->notified_index[q], value;

	if (new == old)
		return false;
	if (virtio_has(v, VIRTIO_F_EVENT_IDX)) {
		if (!load16(v, r->queue_driver[q] + AVAIL_RING + 2ull * r->queue_size[q], &value))
			return false;
		return (u16)(new - value - 1) < (u16)(new - old);
	}
	return load16(v, r->queue_driver[q], &value) && !(value & AVAIL_NO_INTERRUPT);
}

void virtio_notify(struct virtio *v, unsigned q)
{
	bool wanted;

	if (!virtio_running(v))
		return;
	atomic_thread_fence(memory_order_seq_cst);
	wanted = wants_interrupt(v, q);
	v->regs->notified_index[q] = v->regs->used_index[q];
	if (wanted)
		v->interrupt(v, VIRTIO_ISR_QUEUE, v->regs->queue_msix_vector[q]);
}

/* --- Buffers -------------------------------------------------------------------------------- */

u64 virtio_chain_length(const struct virtio_chain *c, unsigned from, unsigned to)
{
	u64 length = 0;

	for (unsigned i = from; i < to; i++)
		length += c->seg[i].len;
	return length;
}

static bool chain_copy(struct virtio *v, const struct virtio_chain *c, unsigned from, unsigned to,
		       u64 offset, u8 *buf, u64 size, bool write)
{
	if (!virtio_running(v))
		return false;
	for (unsigned i = from; i < to && size; i++) {
		u64 len = c->seg[i].len, n;
		gpa_t addr = c->seg[i].addr;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		n = MIN(len - offset, size);
		if (addr + len < addr || (write ? !mem_write(v->mem, addr + offset, buf, n)
						: !mem_read(v->mem, addr + offset, buf, n)))
			return false;
		offset = 0;
		buf += n;
		size -= n;
	}
	return size == 0;
}

bool virtio_chain_read(struct virtio *v, const struct virtio_chain *c, u64 offset, void *buf,
		       u64 size)
{
	return chain_copy(v, c, 0, c->readable, offset, buf, size, false);
}

bool virtio_chain_write(struct virtio *v, const struct virtio_chain *c, u64 offset, const void *buf,
			u64 size)
{
	return chain_copy(v, c, c->readable, c->count, offset, (u8 *)(uintptr_t)buf, size, true);
}
