/* The instruction families. Each exec_FAMILY.c offers one binder: it looks at a decoded instruction and, if it is one of its own,
 * returns the function that runs it (and sets INSN_BRANCH, INSN_END and aux as needed), else NULL. x86_decode asks them in
 * the order below; an instruction that nobody takes raises #UD. */
#ifndef X86_EXEC_H
#define X86_EXEC_H

#include "x86/vcpu.h"

struct ZydisDecodedInstruction_;
struct ZydisDecodedOperand_;

/* What Zydis said, for binders that need more than x86_insn holds. */
struct x86_zydis {
	const struct ZydisDecodedInstruction_ *insn;
	const struct ZydisDecodedOperand_ *ops; /* all operands, hidden ones included */
};

typedef x86_exec_fn *x86_bind_fn(struct x86_insn *i, const struct x86_zydis *z);

x86_bind_fn
	x86_bind_alu; /* add or adc sbb and sub xor cmp test inc dec neg not, xadd cmpxchg cmpxchg8b/16b */
x86_bind_fn
	x86_bind_mov; /* mov movzx movsx movsxd lea xchg bswap cmovcc setcc movbe cbw..cqo xlat, mov moffs, movnti, nop, prefetch */
x86_bind_fn x86_bind_stack;  /* push pop pusha popa enter leave pushf popf (v8086 and VME rules) */
x86_bind_fn x86_bind_branch; /* near jmp call ret jcc loop jcxz */
x86_bind_fn x86_bind_shift;  /* shl shr sar rol ror rcl rcr shld shrd */
x86_bind_fn x86_bind_bit;    /* bt bts btr btc bsf bsr */
x86_bind_fn x86_bind_muldiv; /* mul imul div idiv aam aad aaa aas daa das */
x86_bind_fn x86_bind_string; /* movs cmps stos lods scas ins outs with rep */
x86_bind_fn x86_bind_flag;   /* clc stc cmc cld std lahf sahf cli sti clac stac salc */
x86_bind_fn
	x86_bind_far; /* far call jmp ret, int n, int3, into, int1, iret, syscall sysret sysenter sysexit, bound */
x86_bind_fn
	x86_bind_seg; /* mov/push/pop of segment registers, lds.., lar lsl verr verw arpl, lgdt lidt lldt ltr sgdt sidt sldt str, swapgs, rd/wr fs/gs base */
x86_bind_fn
	x86_bind_sys; /* mov cr/dr, clts lmsw smsw invlpg invpcid invd wbinvd hlt rdmsr wrmsr rdtsc rdtscp rdpmc cpuid xgetbv xsetbv in out, monitor mwait, ud0-2, rsm, rdpid, pause, fences */
x86_bind_fn
	x86_bind_xsave; /* fxsave fxrstor xsave xsavec xsaves xsaveopt xrstor, fnsave frstor fldenv fnstenv ldmxcsr stmxcsr: state in x86_cpu.xsave */
x86_bind_fn
	x86_bind_host; /* all that runs on the host's own units: x87, MMX, SSE, AVX, AVX-512, and integer extensions (BMI, ADX, CRC32, POPCNT, LZCNT, RDRAND...) */

/* --- Shared by families and engines ----------------------------------------------------------- */

/* exec_seg.c / seg.c: segment loads with all checks (SDM 3A 5.4-5.6); raise and change nothing on a fault. */
void x86_load_seg(struct vcpu *v, unsigned seg, u16 sel); /* DS ES FS GS SS, in any mode */
void x86_load_ldt(struct vcpu *v, u16 sel);
void x86_load_tr(struct vcpu *v, u16 sel);
/* Reads the 8-byte descriptor of a selector from GDT or LDT; false if beyond the limit (or a null LDT). */
bool x86_read_desc(struct vcpu *v, u16 sel, u64 *desc);
struct x86_seg x86_seg_from_desc(u16 sel, u64 desc);
/* Real-mode and v8086 load. */
void x86_set_real_seg(struct vcpu *v, unsigned seg, u16 sel);

/* far.c, task.c */
enum x86_task_source { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
void x86_task_switch(struct vcpu *v, u16 sel, enum x86_task_source source, u64 next_rip,
		     bool has_error, u32 error);

/* Checks the TSS's I/O permission bitmap (SDM 1 19.5.2); raises #GP(0) if the access is not allowed. */
void x86_check_io(struct vcpu *v, u16 port, unsigned size);
/* Port access through v->exit (checked already); also runs I/O breakpoints. */
u64 x86_port_in(struct vcpu *v, u16 port, unsigned size);
void x86_port_out(struct vcpu *v, u16 port, u64 value, unsigned size);

/* sys.c, msr.c */
void x86_set_cr0(struct vcpu *v, u64 value);
void x86_set_cr3(struct vcpu *v, u64 value);
void x86_set_cr4(struct vcpu *v, u64 value);
bool x86_msr_read(struct vcpu *v, u32 index, u64 *value) must_check; /* false: #GP(0) */
bool x86_msr_write(struct vcpu *v, u32 index, u64 value) must_check;
u64 x86_rdtsc(struct vcpu *v);
/* PAE: loads the four PDPTEs that CR3 points at; raises #GP(0) on reserved bits (SDM 3A 4.4.1). */
void x86_load_pdptes(struct vcpu *v, u64 cr3);

/* debug.c: DR7 breakpoints. */
bool x86_code_breakpoint(struct vcpu *v, gva_t a,
			 u64 *dr6); /* an enabled instruction breakpoint at a */
void x86_data_breakpoint(struct vcpu *v, gva_t a, unsigned size,
			 bool write); /* records a hit in pending_dr6 + ATT_TRAP */
bool x86_page_watched(const struct vcpu *v, gva_t page); /* a data breakpoint lies on this page */

/* cpuid.c: what the guest sees; regs is eax ebx ecx edx, in: eax leaf, ecx subleaf. */
void x86_cpuid(struct vcpu *v, u32 regs[4]);
const struct cpuid_model *cpuid_model_find(const char *name); /* NULL if unknown */
const char *cpuid_model_list(void);
/* Feature bits that the model has, after masking with host and Pogo. */
enum cpuid_feature {
	FEAT_PCID,
	FEAT_INVPCID,
	FEAT_SMEP,
	FEAT_SMAP,
	FEAT_UMIP,
	FEAT_FSGSBASE,
	FEAT_XSAVE,
	FEAT_NX,
	FEAT_1G,
	FEAT_RDTSCP,
	FEAT_LM,
	FEAT_PAE,
	FEAT_PSE,
	FEAT_PSE36,
	FEAT_PGE,
	FEAT_VME,
	FEAT_DE,
	FEAT_SEP,
	FEAT_SYSCALL,
	FEAT_FXSR,
	FEAT_SSE,
	FEAT_X2APIC,
	FEAT_TSC_DEADLINE,
	FEAT_RDPID,
	FEAT_MOVBE,
	FEAT_CX16,
	FEAT_AVX,
	FEAT_AVX512,
	FEAT_PKU,
	FEAT_XSAVES,
	FEAT_XSAVEC,
	FEAT_XSAVEOPT,
	FEAT_MTRR,
	FEAT_PAT,
};
bool cpuid_has(const struct vm *vm, enum cpuid_feature f);
unsigned cpuid_phys_bits(const struct vm *vm);
u64 cpuid_xcr0_mask(const struct vm *vm); /* XCR0 bits the guest may set */
bool cpuid_is_amd(const struct vm *vm);
unsigned cpuid_xsave_size(const struct vm *vm, u64 xcr0); /* standard format, bytes */

#endif
