/* Virtio over PCI (Virtio 1.2, 4.1): one memory BAR with four structures, one for MSI-X. */
#include "dev/virtio/virtio_pci.h"

#include "base/trace.h"

/* BAR 0: the structures, a page each, so that a guest can map them apart. */
#define REGS_BAR      0
#define MSIX_BAR      1
#define COMMON_OFFSET 0x0000u
#define ISR_OFFSET    0x1000u
#define DEVICE_OFFSET 0x2000u
#define NOTIFY_OFFSET 0x3000u
#define REGS_SIZE     0x4000u

#define NOTIFY_MULTIPLIER 4u /* bytes between the notify registers of two queues */
#define COMMON_SIZE       0x38u

/* struct virtio_pci_cap (4.1.4), from the start of the capability. */
#define CAP_LEN        2
#define CAP_CFG_TYPE   3
#define CAP_BAR        4
#define CAP_OFFSET     8
#define CAP_LENGTH     12
#define CAP_SIZE       16
#define CAP_MULTIPLIER 16 /* notify capability */
#define CAP_DATA       16 /* configuration access capability: pci_cfg_data */

enum cfg_type { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };

static struct virtio_pci *from_virtio(struct virtio *v)
{
	return container_of(v, struct virtio_pci, virtio);
}

/* --- Common configuration (4.1.4.3) --------------------------------------------------------- */

static u64 common_read(struct virtio_pci *p, unsigned offset, unsigned size)
{
	struct virtio *v = &p->virtio;
	const struct virtio_regs *r = v->regs;
	unsigned q = r->queue_select;
	u8 image[COMMON_SIZE] = { 0 };

	if (offset + size > COMMON_SIZE)
		return 0;
	le_store(image + 0x00, r->device_feature_select, 4);
	if (r->device_feature_select < 2)
		le_store(image + 0x04, virtio_features(v) >> (32 * r->device_feature_select), 4);
	le_store(image + 0x08, r->driver_feature_select, 4);
	if (r->driver_feature_select < 2)
		le_store(image + 0x0c, r->driver_feature >> (32 * r->driver_feature_select), 4);
	le_store(image + 0x10, r->config_msix_vector, 2);
	le_store(image + 0x12, v->kind->queues, 2);
	image[0x14] = r->device_status;
	/* config_generation stays 0: no field changes while a driver can see it in parts. */
	le_store(image + 0x16, q, 2);
	if (q < v->kind->queues) {
		le_store(image + 0x18, r->queue_size[q], 2);
		le_store(image + 0x1a, r->queue_msix_vector[q], 2);
		le_store(image + 0x1c, r->queue_enable[q], 2);
		le_store(image + 0x1e, q, 2); /* queue_notify_off */
		le_store(image + 0x20, r->queue_desc[q], 8);
		le_store(image + 0x28, r->queue_driver[q], 8);
		le_store(image + 0x30, r->queue_device[q], 8);
	}
	return le_load(image + offset, size);
}

/* A vector the function does not have reads back as NO_VECTOR (4.1.5.1.2). */
static u16 vector_number(const struct virtio_pci *p, u64 value)
{
	return value < p->func.msix_vectors ? (u16)value : VIRTIO_NO_VECTOR;
}

/* Writes one half of a 64-bit field, or one 32-bit half of the features. */
static void set_half(u64 *field, unsigned half, u64 value)
{
	u64 mask = 0xffffffffull << (32 * half);

	*field = (*field & ~mask) | (value << (32 * half) & mask);
}

#define ACCESS(offset, size) ((offset) << 4 | (size))

static void queue_write(struct virtio_pci *p, unsigned offset, u64 value, unsigned size)
{
	struct virtio *v = &p->virtio;
	struct virtio_regs *r = v->regs;
	unsigned q = r->queue_select;

	if (q >= v->kind->queues)
		return;
	if (ACCESS(offset, size) == ACCESS(0x1a, 2)) {
		r->queue_msix_vector[q] = vector_number(p, value);
		return;
	}
	if (r->queue_enable[q]) /* 4.1.4.3.2: fixed from then on */
		return;
	switch (ACCESS(offset, size)) {
	case ACCESS(0x18, 2): r->queue_size[q] = (u16)value; break;
	case ACCESS(0x1c, 2):
		if (value == 1)
			virtio_queue_enable(v, q);
		break;
	case ACCESS(0x20, 4): set_half(&r->queue_desc[q], 0, value); break;
	case ACCESS(0x24, 4): set_half(&r->queue_desc[q], 1, value); break;
	case ACCESS(0x28, 4): set_half(&r->queue_driver[q], 0, value); break;
	case ACCESS(0x2c, 4): set_half(&r->queue_driver[q], 1, value); break;
	case ACCESS(0x30, 4): set_half(&r->queue_device[q], 0, value); break;
	case ACCESS(0x34, 4): set_half(&r->queue_device[q], 1, value); break;
	}
}

/* The driver uses the natural width of each field, 32 bits for 64-bit ones (4.1.3.1); other writes
 * are dropped. */
static void common_write(struct virtio_pci *p, unsigned offset, u64 value, unsigned size)
{
	struct virtio *v = &p->virtio;
	struct virtio_regs *r = v->regs;

	switch (ACCESS(offset, size)) {
	case ACCESS(0x00, 4): r->device_feature_select = (u32)value; break;
	case ACCESS(0x08, 4): r->driver_feature_select = (u32)value; break;
	case ACCESS(0x0c, 4):
		if (r->driver_feature_select < 2 && !(r->device_status & VIRTIO_FEATURES_OK))
			set_half(&r->driver_feature, r->driver_feature_select, value);
		break;
	case ACCESS(0x10, 2): r->config_msix_vector = vector_number(p, value); break;
	case ACCESS(0x14, 1):
		virtio_set_status(v, (u8)value);
		if (value == 0)
			pci_intx_set(&p->func, false);
		break;
	case ACCESS(0x16, 2): r->queue_select = (u16)value; break;
	default: queue_write(p, offset, value, size); break;
	}
}

/* --- The BAR -------------------------------------------------------------------------------- */

static u64 device_read(struct virtio_pci *p, unsigned offset, unsigned size)
{
	const struct virtio_kind *kind = p->virtio.kind;
	u64 value = 0;

	if (offset < kind->config_size)
		kind->config_read(&p->virtio, offset, &value,
				  MIN(size, kind->config_size - offset));
	return value;
}

static void device_write(struct virtio_pci *p, unsigned offset, u64 value, unsigned size)
{
	const struct virtio_kind *kind = p->virtio.kind;

	if (offset < kind->config_size && kind->config_write)
		kind->config_write(&p->virtio, offset, &value,
				   MIN(size, kind->config_size - offset));
}

static u64 isr_read(struct virtio_pci *p, unsigned offset)
{
	u64 value = p->virtio.regs->isr_status;

	if (offset)
		return 0;
	p->virtio.regs->isr_status = 0; /* 4.1.4.5: reading acknowledges */
	pci_intx_set(&p->func, false);
	return value;
}

static u64 regs_read(void *dev, u64 offset, unsigned size)
{
	struct virtio_pci *p = dev;
	unsigned at = offset % 0x1000;

	switch (offset - at) {
	case COMMON_OFFSET: return common_read(p, at, size);
	case ISR_OFFSET: return isr_read(p, at);
	case DEVICE_OFFSET: return device_read(p, at, size);
	default: return 0;
	}
}

static void regs_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct virtio_pci *p = dev;
	unsigned at = offset % 0x1000;

	switch (offset - at) {
	case COMMON_OFFSET: common_write(p, at, value, size); break;
	case DEVICE_OFFSET: device_write(p, at, value, size); break;
	case NOTIFY_OFFSET:
		if (at % NOTIFY_MULTIPLIER == 0)
			virtio_notified(&p->virtio, at / NOTIFY_MULTIPLIER);
		break;
	}
}

static const struct bus_ops regs_ops = { regs_read, regs_write, 4 };

/* --- Configuration access capability (4.1.4.9) ---------------------------------------------- */

/* Where the driver points the window: BAR, offset and width, if that is a place that exists. */
static bool cfg_window(const struct virtio_pci *p, unsigned *bar, u32 *offset, u32 *length)
{
	const u8 *cap = p->func.regs->config + p->cfg_cap;

	*bar = cap[CAP_BAR];
	*offset = (u32)le_load(cap + CAP_OFFSET, 4);
	*length = (u32)le_load(cap + CAP_LENGTH, 4);
	if (*bar >= PCI_BARS || (*length != 1 && *length != 2 && *length != 4))
		return false;
	return *offset % *length == 0 && *offset < p->func.bars[*bar].size;
}

static bool touches_window(const struct virtio_pci *p, unsigned offset, unsigned size)
{
	unsigned data = p->cfg_cap + CAP_DATA;

	return offset < data + 4 && offset + size > data;
}

static void config_read(struct pci_func *f, unsigned offset, unsigned size)
{
	struct virtio_pci *p = f->opaque;
	unsigned bar;
	u32 at, length;

	if (touches_window(p, offset, size) && cfg_window(p, &bar, &at, &length))
		le_store(f->regs->config + p->cfg_cap + CAP_DATA, pci_bar_read(f, bar, at, length),
			 length);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
	struct virtio_pci *p = f->opaque;
	unsigned bar;
	u32 at, length;

	if (touches_window(p, offset, size) && cfg_window(p, &bar, &at, &length))
		pci_bar_write(f, bar, at, le_load(f->regs->config + p->cfg_cap + CAP_DATA, length),
			      length);
	/* Buffers may have been waiting for the bus master bit. */
	if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND) {
		for (unsigned q = 0; q < p->virtio.kind->queues; q++)
			virtio_notified(&p->virtio, q);
	}
}

/* --- Transport ------------------------------------------------------------------------------ */

static void interrupt(struct virtio *v, enum virtio_isr reason, u16 vector)
{
	struct virtio_pci *p = from_virtio(v);

	trace(VIRTIO, "%s: interrupt, %s", v->name,
	      reason == VIRTIO_ISR_QUEUE ? "queue" : "config");
	if (pci_msix_enabled(&p->func)) {
		if (reason == VIRTIO_ISR_CONFIG) /* 4.1.4.5.1: with MSI-X, for this reason alone */
			v->regs->isr_status |= VIRTIO_ISR_CONFIG;
		pci_msix_notify(&p->func, vector);
	} else {
		v->regs->isr_status |= reason;
		pci_intx_set(&p->func, true);
	}
}

static bool dma_allowed(const struct virtio *v)
{
	const struct virtio_pci *p = container_of(v, struct virtio_pci, virtio);

	return pci_command(&p->func) & PCI_COMMAND_MASTER;
}

static unsigned add_cap(struct pci_func *f, enum cfg_type type, u32 offset, u32 length,
			unsigned size)
{
	unsigned cap = pci_cap_add(f, PCI_CAP_VENDOR, size);

	f->initial[cap + CAP_LEN] = (u8)size;
	f->initial[cap + CAP_CFG_TYPE] = type;
	f->initial[cap + CAP_BAR] = REGS_BAR;
	le_store(f->initial + cap + CAP_OFFSET, offset, 4);
	le_store(f->initial + cap + CAP_LENGTH, length, 4);
	return cap;
}

static void add_caps(struct virtio_pci *p)
{
	struct pci_func *f = &p->func;
	unsigned cap;

	add_cap(f, CFG_COMMON, COMMON_OFFSET, COMMON_SIZE, CAP_SIZE);
	add_cap(f, CFG_ISR, ISR_OFFSET, 1, CAP_SIZE);
	if (p->virtio.kind->config_size)
		add_cap(f, CFG_DEVICE, DEVICE_OFFSET, p->virtio.kind->config_size, CAP_SIZE);
	cap = add_cap(f, CFG_NOTIFY, NOTIFY_OFFSET, NOTIFY_MULTIPLIER * p->virtio.kind->queues,
		      CAP_SIZE + 4);
	le_store(f->initial + cap + CAP_MULTIPLIER, NOTIFY_MULTIPLIER, 4);
	cap = add_cap(f, CFG_PCI, 0, 0, CAP_SIZE + 4);
	f->writable[cap + CAP_BAR] = 0xff;
	memset(f->writable + cap + CAP_OFFSET, 0xff, 12); /* offset, length, pci_cfg_data */
	p->cfg_cap = (u8)cap;
	pci_msix_init(f, MSIX_BAR, p->virtio.kind->queues + 1);
}

int virtio_pci_init(struct virtio_pci *p, const struct virtio_kind *kind, struct pci_regs *pci,
		    struct virtio_regs *regs)
{
	struct pci_func *f = &p->func;

	p->virtio.kind = kind;
	p->virtio.regs = regs;
	p->virtio.mem = p->dev.platform->mem;
	p->virtio.name = p->dev.name;
	p->virtio.interrupt = interrupt;
	p->virtio.dma_allowed = dma_allowed;
	f->regs = pci;
	f->opaque = p;
	f->config_read = config_read;
	f->config_written = config_written;
	/* 4.1.2: device IDs from 1040h, revision 1 and subsystem IDs from 40h without legacy. */
	pci_func_init(f, p->dev.name, 0x1af4, (u16)(0x1040 + kind->device_id), kind->class_code, 1);
	le_store(f->initial + PCI_SUBSYS_VENDOR, 0x1af4, 2);
	le_store(f->initial + PCI_SUBSYS_ID, 0x40u + kind->device_id, 2);
	f->initial[PCI_INTR_PIN] = 1;
	pci_bar_init(f, REGS_BAR, false, REGS_SIZE, &regs_ops, p);
	add_caps(p);
	virtio_reset(&p->virtio);
	return pci_add(f);
}

void virtio_pci_reset(struct virtio_pci *p)
{
	virtio_reset(&p->virtio);
	pci_func_reset(&p->func);
}

void virtio_pci_fini(struct virtio_pci *p)
{
	virtio_reset(&p->virtio);
	pci_remove(&p->func);
}
