/* A virtual CPU as engines run it: architectural state, the soft TLB, pending events, and the one door to the machine. */
#ifndef X86_VCPU_H
#define X86_VCPU_H

#include "core/clock.h"
#include "core/mem.h"
#include "x86/cpu.h"
#include "x86/insn.h"

#include <setjmp.h>
#include <stdatomic.h>

#define VM_MAX_VCPUS     64
#define VCPU_ENGINE_AREA (18u << 20)

enum exit_kind {
	EXIT_PORT_IN,
	EXIT_PORT_OUT,
	EXIT_MMIO_READ,
	EXIT_MMIO_WRITE,
	EXIT_MSR_READ,
	EXIT_MSR_WRITE,
	EXIT_TPR_READ,
	EXIT_TPR_WRITE,
	EXIT_KINDS
};

/* Work that belongs to the machine. The handler fills in value for reads. */
struct exit {
	enum exit_kind kind;
	u8 size;    /* port and MMIO: 1, 2, 4, 8 */
	bool fault; /* out, MSR only: the access raises #GP(0) */
	u64 addr;   /* port, gpa, MSR index */
	u64 value;
};

enum stop {
	STOP_BUDGET,   /* the instructions are used up */
	STOP_HALT,     /* halted or waiting for SIPI with nothing pending */
	STOP_KICK,     /* ATT_STOP was set */
	STOP_SHUTDOWN, /* triple fault */
	STOP_DEBUG,    /* a debugger's breakpoint or step; rip is at the instruction */
};

/* Bits of vcpu.attention, set by anyone (atomically), consumed by x86_attend at the next boundary. */
#define ATT_IRQ \
	BIT(0) /* take_irq may have a vector; level: the interrupt controller sets and clears it */
#define ATT_NMI  BIT(1)
#define ATT_INIT BIT(2)
#define ATT_SIPI BIT(3) /* vector in sipi_vector */
#define ATT_STOP BIT(4)
#define ATT_SHADOW \
	BIT(5) /* own thread: interrupts are held back until one more instruction has run (STI, MOV SS) */
#define ATT_TRAP BIT(6) /* own thread: pending_dr6 holds a #DB to deliver after this instruction */
#define ATT_SLOW \
	BIT(7) /* own thread: run one instruction at a time: TF, DR7 breakpoints, RF, or a debugger */

#define ATT_YIELD BIT(10) /* the slice ends: the engine's run is to return STOP_BUDGET */

#define TLB_BITS 16
#define TLB_SIZE (1u << TLB_BITS)

/* Which permissions a table holds. TLB_CHECKED is CPL 3 with alignment checks in force: nothing is ever readable or writable
 * there, so that each access takes the slow path, which looks at its alignment and then has the rights of TLB_USER. */
enum tlb_mode { TLB_SUPER, TLB_USER, TLB_SUPER_AC, TLB_CHECKED, TLB_MODES };

/* The soft TLB of one mode, direct-mapped; slot i may hold any page whose number ends in i. A tag for each kind of access is minus
 * the linear page address where the access may go directly to RAM. It is tlb_invalid(i) where the access must take the slow path
 * (not mapped, not permitted, dirty bit not yet set, MMIO, cached code on the page, watchpoint). Arrays, and tags that are added
 * rather than compared, let translated code do without the host's flags. */
struct tlb {
	u64 read[TLB_SIZE], write[TLB_SIZE], exec[TLB_SIZE];
	u64 addend[TLB_SIZE]; /* host address minus linear address */
};

/* The page last used through one base register: filled by an engine, emptied by every flush. There is no slot to tell the pages
 * apart, so tlb_covers also takes an access that starts just below the page: whoever uses it must rule that out. */
struct tlb_near {
	u64 read, read_addend, write, write_addend;
};

/* Matches non-canonical addresses alone, and the host faults on those. */
#define TLB_NEAR_INVALID (1ull << 63)

/* A set of slots that costs what it holds to go through: bit n of summary is set if word n may have a member. */
struct tlb_set {
	u64 summary[TLB_SIZE / 64 / 64];
	u64 word[TLB_SIZE / 64];
};

enum tlb_scope { TLB_LOCAL, TLB_GLOBAL, TLB_SCOPES };

/* What an engine must forget, for mapping_dropped. */
enum tlb_drop {
	TLB_DROP_ALL,
	TLB_DROP_NONGLOBAL, /* global pages stay */
	TLB_DROP_PAGE       /* the 4 KiB page of an address */
};

struct x86_exception {
	u8 vector;
	bool has_error;
	bool soft; /* INT n, INT3, INTO: DPL of the gate is checked, EXT is clear */
	u32 error;
};

struct vm;

struct vcpu {
	struct x86_cpu cpu;
	_Atomic u32 attention;
	struct tlb *tlb; /* the table for the present mode: x86_mode_changed sets it */
	struct vm *vm;
	unsigned index; /* 0 is the boot processor */
	u32 apic_id;
	jmp_buf *catch;           /* where x86_raise goes */
	struct x86_exception exc; /* what was raised */
	bool delivering;          /* an event is being delivered: a fault now is nested */
	u8 shadow;       /* interrupt shadow in force: 1 STI, 2 MOV SS/POP SS (also holds #DB) */
	u64 pending_dr6; /* with ATT_TRAP */
	u8 sipi_vector;
	const struct x86_insn *insn; /* being executed, for reports; may be NULL */
	u64 icount; /* instructions completed; engine keeps it exact at exits (see vcpu_icount) */
	/* Set by the machine. */
	void (*exit)(struct vcpu *v, struct exit *e);
	/* Moves up to n elements of a repeated INS (write: OUTS) between a port and memory, as so many exits would, as far as the device can do so at
	 * once; how many. NULL: never. */
	unsigned (*port_block)(struct vcpu *v, u16 port, u8 *buf, unsigned size, unsigned n,
			       bool write);
	int (*take_irq)(struct vcpu *v); /* acknowledges and returns the vector to deliver, or -1 */
	void *engine;                    /* the engine's own */
	/* The engine's: mappings have been dropped from the TLB, and may be gone. May be NULL. */
	void (*mapping_dropped)(struct vcpu *v, enum tlb_drop what, gva_t a);
	struct debugger *dbg; /* NULL if none is attached */
	u64 exits[EXIT_KINDS];
	u64 exceptions[256], interrupts; /* counters for --stats */
	struct {
		u64 vector, error, rip, cr2;
	} last_exc[8]; /* the last exceptions, for crash reports; newest at last_exc_count - 1 modulo 8 */
	u64 last_exc_count;
	struct tlb_near near[TLB_MODES][16]; /* by base register */
	u64 near_drops; /* times that they were emptied: what else was taken from the TLB is void too */
	/* The slots that are filled, each in one scope; and hashes of the places where large pages were. */
	struct tlb_set filled[TLB_MODES][TLB_SCOPES], large[TLB_SCOPES];
	_Alignas(4096) struct tlb tlbs[TLB_MODES];
	/* The engine's own, zero at first: here because it is at a fixed distance from the CPU's state. */
	_Alignas(4096) u8 engine_area[VCPU_ENGINE_AREA];
};

/* How an engine's run() goes about its work: see engine.h. */
enum vm_pace {
	PACE_FREE,
	PACE_UNITS, /* the leader of a lockstep */
	PACE_EXACT, /* its follower */
};

struct engine_ops;
struct cpuid_model;
struct thunk_cache;
struct decode_cache;

struct vm {
	struct mem *mem;
	struct clock *clock;
	struct vcpu *vcpus[VM_MAX_VCPUS];
	unsigned nvcpus;
	const struct engine_ops *engine;
	void *engine_vm;   /* the engine's own, shared by the vCPUs */
	enum vm_pace pace; /* set before the engine's vm_init, and for good */
	size_t cache_size; /* for host code and what belongs to it; 0: the engine's default */
	bool perf_map;     /* host code is to be named for perf */
	const struct cpuid_model *model;
	struct thunk_cache *thunks;  /* host code for FP and SIMD instructions (thunk.h) */
	struct decode_cache *decode; /* shapes of instructions (decode_cache.h); may be NULL */
	u64 tsc_hz;
	void (*tsc_changed)(
		struct vcpu *v); /* the machine's: the guest has set its TSC; may be NULL */
	gpa_t a20_mask; /* ANDed to every physical address of a CPU: all ones while A20 is enabled */
	u64 (*icount)(const struct vcpu *v); /* the engine's */
	/* Bytes of a page marked MEM_PAGE_CODE are about to change; set by the engine. May be NULL. */
	void (*code_written)(struct vm *vm, const u8 *host, u64 size);
};

/* Raises an exception on the instruction being executed: does not return. x86_raise for vectors without an error code. Only
 * while v->catch is set, that is within an engine's run or an event's delivery. */
noreturn_fn void x86_raise(struct vcpu *v, enum x86_vector vector);
noreturn_fn void x86_raise_error(struct vcpu *v, enum x86_vector vector, u32 error);
noreturn_fn void x86_raise_pf(struct vcpu *v, gva_t addr, u32 error); /* sets CR2 */
static inline noreturn_fn void x86_raise_ud(struct vcpu *v) { x86_raise(v, EXC_UD); }
static inline noreturn_fn void x86_raise_gp0(struct vcpu *v) { x86_raise_error(v, EXC_GP, 0); }

static inline unsigned tlb_slot(gva_t a) { return (unsigned)(a >> 12) & (TLB_SIZE - 1); }

/* A tag of a page that no access found through this slot can touch, not even one that begins below it or wraps around. So it is 0,
 * and fresh memory is an empty table, except where page 0 is near: in the first slot and the last. */
static inline u64 tlb_invalid(unsigned slot)
{
	return ((slot + 1) & (TLB_SIZE - 1)) < 2 ? (u64)-8192 : 0;
}

/* Whether [a, a + size) lies in the page of a tag that was found in the slot of a; size is in 1..4096. */
static inline bool tlb_covers(u64 tag, gva_t a, unsigned size) { return a + tag + size - 1 < 4096; }

/* Instructions this vCPU has completed, exact also inside a handler. */
static inline u64 vcpu_icount(const struct vcpu *v)
{
	return v->vm->icount ? v->vm->icount(v) : v->icount;
}

/* Sets attention bits from any thread. */
static inline void vcpu_attend(struct vcpu *v, u32 bits)
{
	atomic_fetch_or_explicit(&v->attention, bits, memory_order_release);
}

static inline void vcpu_unattend(struct vcpu *v, u32 bits)
{
	atomic_fetch_and_explicit(&v->attention, ~bits, memory_order_relaxed);
}

/* A CPU of vm with everything zero but an empty TLB, or NULL if there is no memory. Memory of the TLB is used as it fills. */
struct vcpu *vcpu_new(struct vm *vm);
/* v may be NULL. */
void vcpu_free(struct vcpu *v);

/* State after power-on or RESET (SDM 3A table 10-1); the boot processor at F000:FFF0, others waiting for SIPI. */
void x86_reset(struct vcpu *v);
/* The same for INIT: keeps what INIT keeps. */
void x86_init_reset(struct vcpu *v);

/* After any change of CPL, CR0 (PG, AM), CR4.SMAP, EFER, RFLAGS.AC/TF, DR7: picks the TLB table and keeps ATT_SLOW right. */
void x86_mode_changed(struct vcpu *v);

/* At an instruction boundary with attention bits set: delivers at most one event by the priority of SDM 3A table 6-2.
 * Returns true if the engine goes on, false with *stop set if run() must return. Never leaves through x86_raise. */
bool x86_attend(struct vcpu *v, enum stop *stop);
/* After x86_raise has landed in the engine's run: delivers v->exc through the IDT with double- and triple-fault rules.
 * Returns false on shutdown. Never leaves through x86_raise. */
bool x86_deliver_fault(struct vcpu *v);

#endif
