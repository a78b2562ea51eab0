/* The first virtio disk with its one queue, polled (Virtio 1.2: 3.1.1 the start, 4.1 registers, 2.7 the queue, 5.2 requests). Memory is
 * mapped one to one. */
#ifndef TESTS_GUEST_VIRTIO_H
#define TESTS_GUEST_VIRTIO_H

#include "pci.h"

#define VIRTIO_QUEUE 32u

enum { VIRTIO_NEXT = 1, VIRTIO_WRITE = 2 };
enum { VIRTIO_T_IN = 0, VIRTIO_T_OUT = 1, VIRTIO_T_FLUSH = 4, VIRTIO_T_WRITE_ZEROES = 13 };
#define VIRTIO_BLK_F_FLUSH        (1u << 9)
#define VIRTIO_BLK_F_WRITE_ZEROES (1u << 14)

struct virtio_header {
	uint32_t type, reserved;
	uint64_t sector;
};

static struct virtio_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
} virtio_table[VIRTIO_QUEUE] __attribute__((aligned(16)));
static volatile struct {
	uint16_t flags, index, ring[VIRTIO_QUEUE];
} virtio_available;
static volatile struct {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[VIRTIO_QUEUE];
} virtio_used __attribute__((aligned(4)));
static volatile uint8_t *virtio_common, *virtio_notify;

static inline void virtio_reg16(unsigned at, uint16_t value)
{
	*(volatile uint16_t *)(virtio_common + at) = value;
}

static inline void virtio_reg32(unsigned at, uint32_t value)
{
	*(volatile uint32_t *)(virtio_common + at) = value;
}

static inline void virtio_reg_address(unsigned at, const volatile void *value)
{
	virtio_reg32(at, (uint32_t)(uintptr_t)value);
	virtio_reg32(at + 4, (uint32_t)((uint64_t)(uintptr_t)value >> 32));
}

/* 4.1.4: behind the vendor capabilities; 1 is the common structure, 2 notification. */
static inline void virtio_find_registers(unsigned devfn)
{
	unsigned cap = pci_read(devfn, PCI_CAPABILITIES) & 0xfc;

	for (unsigned n = 0; cap && n < 48; n++) {
		uint32_t head = pci_read(devfn, cap), bar = pci_read(devfn, cap + 4) & 7;

		if ((head & 0xff) == 9 && bar < 6 && (head >> 24 == 1 || head >> 24 == 2)) {
			uintptr_t base = pci_read(devfn, PCI_BAR0 + 4 * bar) & ~15u;

			*(head >> 24 == 1 ? &virtio_common : &virtio_notify) =
				(volatile uint8_t *)(base + pci_read(devfn, cap + 8));
		}
		cap = head >> 8 & 0xfc;
	}
}

/* Sets it up with these features of the disk. False: there is none, or it does not want them. */
static inline bool virtio_start(uint32_t features)
{
	unsigned devfn = pci_find(0x10421af4);

	if (devfn == PCI_NONE)
		return false;
	virtio_find_registers(devfn);
	if (!virtio_common || !virtio_notify)
		return false;
	pci_enable(devfn, PCI_MEMORY | PCI_MASTER);
	virtio_common[0x14] = 0;
	virtio_common[0x14] = 1;
	virtio_common[0x14] = 3;
	virtio_reg32(8, 0);
	virtio_reg32(0xc, features);
	virtio_reg32(8, 1);
	virtio_reg32(0xc, 1); /* VIRTIO_F_VERSION_1 */
	virtio_common[0x14] = 0xb;
	virtio_reg16(0x16, 0);
	virtio_reg16(0x18, VIRTIO_QUEUE);
	virtio_reg_address(0x20, virtio_table);
	virtio_reg_address(0x28, &virtio_available);
	virtio_reg_address(0x30, &virtio_used);
	virtio_reg16(0x1c, 1);
	virtio_common[0x14] = 0xf;
	return virtio_common[0x14] == 0xf;
}

/* Makes the request whose descriptors begin at `first` available. */
static inline void virtio_offer(unsigned first)
{
	__asm__ volatile("" : : : "memory");
	virtio_available.ring[virtio_available.index % VIRTIO_QUEUE] = (uint16_t)first;
	__asm__ volatile("mfence" : : : "memory");
	virtio_available.index++;
	__asm__ volatile("mfence" : : : "memory");
}

static inline void virtio_kick(void) { *(volatile uint16_t *)virtio_notify = 0; }

/* Whether all that was offered has been answered. */
static inline bool virtio_idle(void) { return virtio_used.index == virtio_available.index; }

#endif
