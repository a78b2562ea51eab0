/* Trace points: one row per category; `--trace=irq,mmu` turns categories on. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/types.h"

#define TRACE_CATEGORIES(X)                                                            \
	X(IRQ, "irq", "interrupt lines, delivery to a CPU")                            \
	X(PIC, "pic", "8259 register accesses")                                        \
	X(APIC, "apic", "local APIC and IOAPIC registers, inter-processor interrupts") \
	X(TIMER, "timer", "PIT, RTC, APIC timer programming and expiry")               \
	X(PCI, "pci", "configuration space accesses")                                  \
	X(VIRTIO, "virtio", "virtio queues and requests")                              \
	X(IDE, "ide", "IDE commands and their errors")                                 \
	X(SERIAL, "serial", "16550A registers")                                        \
	X(I8042, "i8042", "keyboard controller")                                       \
	X(ACPI, "acpi", "power management registers")                                  \
	X(DMA, "dma", "8237 registers and transfers")                                  \
	X(FLOPPY, "floppy", "floppy controller commands")                              \
	X(PARALLEL, "parallel", "parallel port registers")                             \
	X(PORT, "port", "each port access with its device")                            \
	X(MMIO, "mmio", "each memory-mapped access with its device")                   \
	X(MMU, "mmu", "page faults, TLB flushes, CR3 loads")                           \
	X(EXC, "exc", "exceptions and their delivery")                                 \
	X(SEG, "seg", "segment loads, task switches, mode changes")                    \
	X(MSR, "msr", "model-specific registers, CPUID")                               \
	X(CODE, "code", "decoded blocks, invalidation")                                \
	X(BOOT, "boot", "loaders, firmware tables")                                    \
	X(FIRMWARE, "firmware", "what firmware reads of the machine, and its log")     \
	X(RUN, "run", "machine start, stop, reset, halt")

enum trace_category {
#define X(id, name, help) TRACE_##id,
	TRACE_CATEGORIES(X)
#undef X
		TRACE_COUNT
};

extern u64 trace_enabled; /* bit per category; part of the log sink */

/* Turns on a comma-separated list ("irq,pic", "all"). Returns NULL; or where in the list the first
 * unknown name starts (it ends at a comma or the end of the list), and nothing is turned on. */
const char *trace_enable(const char *list);
/* Prints the categories with their help texts to stdout. */
void trace_help(void);
/* One line "category: message" on stderr and into the ring, cut at 159 bytes. Any thread. */
void trace_print(enum trace_category cat, const char *fmt, ...) printf_like(2, 3);
/* Prints the last 256 lines of the categories that are on, oldest first, to stderr: for a crash
 * report. */
void trace_ring_dump(void);

#define trace_on(cat) unlikely(trace_enabled &(1ull << TRACE_##cat))
#define trace(cat, ...)                                        \
	do {                                                   \
		if (trace_on(cat))                             \
			trace_print(TRACE_##cat, __VA_ARGS__); \
	} while (0)

#endif
