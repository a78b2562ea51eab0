/* Segment descriptors (SDM 3A 3.4.5, 3.5, 5.8.3, 7.2) and the checks that several families of
 * instructions and event delivery share. A descriptor that has been read is handled as the struct
 * x86_seg it would load. */
#ifndef X86_SEG_H
#define X86_SEG_H

#include "x86/exec.h"
#include "x86/mem.h"

/* Types of system descriptors, as S and type of the access rights. The 16-bit kinds do not exist in
 * long mode. */
enum {
	DESC_TSS16 = 1,
	DESC_LDT = 2,
	DESC_TSS16_BUSY = 3,
	DESC_CALL16 = 4,
	DESC_TASK_GATE = 5,
	DESC_INT16 = 6,
	DESC_TRAP16 = 7,
	DESC_TSS32 = 9,
	DESC_TSS32_BUSY = 11,
	DESC_CALL32 = 12,
	DESC_INT32 = 14,
	DESC_TRAP32 = 15,
};
#define DESC_TSS_BUSY_BIT 2u

#define SEL_RPL 3u
#define SEL_TI  4u

static inline u32 desc_ar(u64 desc) { return (u32)(desc >> 40) & 0xf0ff; }

static inline unsigned ar_dpl(u32 ar) { return (unsigned)((ar & AR_DPL) >> AR_DPL_SHIFT); }

/* Type of a system descriptor; -1 for code and data. */
static inline int ar_system(u32 ar) { return ar & AR_S ? -1 : (int)(ar & AR_TYPE); }

static inline bool ar_is_code(u32 ar) { return (ar & (AR_S | AR_CODE)) == (AR_S | AR_CODE); }

static inline bool ar_is_conforming(u32 ar)
{
	return (ar & (AR_S | AR_CODE | AR_DC)) == (AR_S | AR_CODE | AR_DC);
}

static inline bool ar_is_writable_data(u32 ar)
{
	return (ar & (AR_S | AR_CODE | AR_WR)) == (AR_S | AR_WR);
}

static inline bool sel_null(u16 sel) { return !(sel & ~SEL_RPL); }

/* A gate: call, interrupt, trap or task (SDM 3A figures 5-8, 6-2, 5-9, 6-8). */
struct x86_gate {
	u32 ar;
	u16 sel;
	u8 params;  /* words or doublewords a call gate copies */
	u8 ist;     /* long mode */
	u64 offset; /* 16 bits for the 16-bit kinds */
};

/* A linear address as the CPU forms it: 32 bits wide outside long mode. */
static inline gva_t x86_wrap_linear(const struct x86_cpu *cpu, u64 a)
{
	return x86_long(cpu) ? a : (u32)a;
}

/* Parts of x86_bind_far and x86_bind_sys: exec_syscall.c, exec_io.c. */
x86_bind_fn x86_bind_syscall;
x86_bind_fn x86_bind_io;

/* Raises vector with the selector's index and TI as the error code, and ext (0 or 1) in bit 0. */
noreturn_fn void x86_raise_sel(struct vcpu *v, enum x86_vector vector, u16 sel, u32 ext);

/* Linear address of size bytes of the descriptor of sel; false if beyond the table's limit. */
bool seg_desc_address(const struct vcpu *v, u16 sel, unsigned size, gva_t *a);
/* The descriptor of sel, with sel in it. Raises vector(sel | ext) if it is beyond the limit. */
struct x86_seg seg_fetch(struct vcpu *v, u16 sel, enum x86_vector vector, u32 ext);
/* An LDT or TSS descriptor: 16 bytes in long mode. */
struct x86_seg seg_fetch_system(struct vcpu *v, u16 sel, enum x86_vector vector, u32 ext);
/* The gate that the descriptor of sel is: 16 bytes for a call gate in long mode. */
struct x86_gate seg_fetch_gate(struct vcpu *v, u16 sel, enum x86_vector vector, u32 ext);
struct x86_gate gate_from_desc(u64 low, u64 high);

/* Sets the accessed bit of a code or data descriptor, in memory and in *seg. */
void seg_mark_accessed(struct vcpu *v, struct x86_seg *seg);
/* Sets or clears the busy bit of the TSS descriptor of sel. */
void seg_set_busy(struct vcpu *v, u16 sel, bool busy);

/* What a segment register holds after a null selector. SS keeps a DPL in long mode (SDM 3A
 * 5.8.5). */
struct x86_seg seg_null(u16 sel, unsigned dpl);
/* The checks of a load of SS at privilege level cpl, all with vector(sel | ext), or #SS if not
 * present. Nothing is changed. null_ok: a null selector with RPL = cpl is fine (64-bit mode, cpl
 * below 3). */
struct x86_seg seg_check_stack(struct vcpu *v, u16 sel, unsigned cpl, enum x86_vector vector,
			       u32 ext, bool null_ok);
/* The checks of a code segment whose type the caller has found to be code: L and D, presence. */
void seg_check_code(struct vcpu *v, const struct x86_seg *cs, u32 ext);
/* Raises #GP(ext) if rip is beyond the segment or not canonical. */
void seg_check_rip(struct vcpu *v, const struct x86_seg *cs, u64 rip, u32 ext);

/* True if [off, off + size) lies within the segment (SDM 3A 5.3). */
bool seg_holds(const struct x86_seg *s, u64 off, unsigned size);
/* Bytes of the stack pointer of a stack segment, with the code segment that will use it. */
unsigned seg_stack_size(const struct x86_cpu *cpu, const struct x86_seg *cs,
			const struct x86_seg *ss);

/* Loads CS and CPL; marks the segment accessed first. RPL becomes cpl. */
void seg_enter_code(struct vcpu *v, struct x86_seg cs, unsigned cpl);
/* On a return to an outer ring: data segments that the ring may not use become null (SDM 3A
 * 5.8.6). */
void seg_drop_inaccessible(struct vcpu *v);

/* A stack that is being built or read before anything is committed. */
struct x86_stack {
	struct x86_seg ss;
	unsigned cpl;     /* whose rights accesses have */
	unsigned sp_size; /* 2, 4, 8 */
	u64 sp;           /* 64 bits; only sp_size of them count */
	u32 fault;        /* error code of #SS if the stack is too small or not canonical */
};

struct x86_stack stack_current(const struct vcpu *v);
/* The stack that the TSS names for privilege level cpl, checked; outside long mode (SDM 3A 5.8.5,
 * 7.2). */
struct x86_stack stack_from_tss(struct vcpu *v, unsigned cpl, u32 ext);
/* The same in long mode: RSPn, or ISTi if ist is not 0 (SDM 3A 7.7). SS is null with RPL = cpl if
 * cpl changes. */
struct x86_stack stack_from_tss64(struct vcpu *v, unsigned cpl, unsigned ist, u32 ext);
/* Raises #SS unless bytes can be pushed. Page faults may still come with the pushes. */
void stack_check(struct vcpu *v, const struct x86_stack *s, unsigned bytes);
void stack_push(struct vcpu *v, struct x86_stack *s, u64 value, unsigned size);
u64 stack_pop(struct vcpu *v, struct x86_stack *s, unsigned size);
/* RSP after the stack has been used: the bits beyond sp_size are old's. */
u64 stack_merge(const struct x86_stack *s, u64 old);

#endif
