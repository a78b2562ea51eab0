/* The fixed code between C and units (see bt.h): it stores the guest's registers where C finds them, calls C, loads them and goes on
 * where C says. */
#include "engine/bt/fp.h"
#include "engine/bt/tr.h"

const u8 bt_home[16] = {
	[RAX] = H_R10, [RCX] = H_R11, [RDX] = H_R14,  [RBX] = H_RBX,
	[RSP] = H_R15, [RBP] = H_RBP, [RSI] = H_RSI,  [RDI] = H_RDI,
	[R8] = H_R8,   [R9] = H_R9,   [R10] = H_NONE, [R11] = H_NONE,
	[R12] = H_R12, [R13] = H_R13, [R14] = H_NONE, [R15] = H_NONE,
};

/* What the System V ABI lets a function change no more than its caller's. */
static const u8 saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };

#define ALIGN_AT_ENTRY 64

static void push(struct as *a, unsigned reg)
{
	if (reg & 8)
		as_byte(a, 0x41);
	as_byte(a, 0x50 | (reg & 7));
}

static void pop(struct as *a, unsigned reg)
{
	if (reg & 8)
		as_byte(a, 0x41);
	as_byte(a, 0x58 | (reg & 7));
}

/* Flags to x86_cpu.cc, as LAHF and SETO leave them. Uses RAX. */
static void save_flags(struct as *a)
{
	as_flags_to_ax(a);
	as_store(a, 2, rm_ctx(CTX(cpu.cc)), H_RAX);
}

/* Uses RAX. */
static void load_flags(struct as *a)
{
	as_loadz(a, 2, H_RAX, rm_ctx(CTX(cpu.cc)));
	as_flags_from_ax(a);
}

static void load_all(struct as *a)
{
	for (unsigned r = 0; r < 16; r++)
		if (bt_home[r] != H_NONE)
			as_load(a, 8, bt_home[r], rm_ctx(CTX_GPR(r)));
	load_flags(a);
}

static void save_all(struct as *a)
{
	save_flags(a);
	for (unsigned r = 0; r < 16; r++)
		if (bt_home[r] != H_NONE)
			as_store(a, 8, rm_ctx(CTX_GPR(r)), bt_home[r]);
}

/* Goes to the host address in RDX with the guest's registers loaded and its rip in RAX. */
static void go(struct as *a)
{
	load_all(a);
	as_load(a, 8, H_RAX, rm_ctx(CTX(cpu.rip)));
	as_jmp_reg(a, H_RDX);
}

/* u64 enter(struct vcpu *v, uintptr_t target): the caller has set GS. */
static void make_enter(struct as *a)
{
	for (unsigned n = 0; n < ARRAY_LEN(saved); n++)
		push(a, saved[n]);
	as_store(a, 8, rm_ctx(CTX_BT(host_sp)), H_RSP);
	as_op(a, 0, 0x83, 8, 4, rm_reg(H_RSP)); /* and rsp, -64 */
	as_byte(a, 0x100 - ALIGN_AT_ENTRY);
	as_lea(a, 8, H_RSP, rm_mem(H_RSP, (i32)BT_SP_SHIFT - ALIGN_AT_ENTRY));
	as_mov(a, 8, H_RDX, H_RSI);
	go(a);
}

/* RDX: the C function; ECX: its second argument. */
static uintptr_t make_call(struct as *a, const struct vm *vm)
{
	uintptr_t at = as_here(a);

	save_all(a);
	as_load(a, 8, H_RDI, rm_ctx(CTX_BT(self)));
	as_mov(a, 4, H_RSI, H_RCX);
	as_mov(a, 8, H_RBX, H_RDX);
	fp_emit_save(a, vm);
	as_lea(a, 8, H_RSP, rm_mem(H_RSP, -(i32)BT_SP_SHIFT));
	as_op(a, 0, 0xff, 4, 2, rm_reg(H_RBX));
	as_lea(a, 8, H_RSP, rm_mem(H_RSP, (i32)BT_SP_SHIFT));
	as_op(a, 0, 0x85, 8, H_RAX, rm_reg(H_RAX));

	u8 *leave = as_jcc(a, 4);

	as_mov(a, 8, H_RBX, H_RAX);
	fp_emit_restore(a, vm);
	as_mov(a, 8, H_RDX, H_RBX);
	go(a);
	as_patch_here(a, leave);
	as_load(a, 8, H_RSP, rm_ctx(CTX_BT(host_sp)));
	for (unsigned n = ARRAY_LEN(saved); n-- > 0;)
		pop(a, saved[n]);
	as_byte(a, 0xc3);
	return at;
}

static uintptr_t make_stub(struct as *a, uintptr_t call, u64 (*fn)(struct vcpu *, u32))
{
	uintptr_t at = as_here(a);

	as_mov_imm(a, H_RDX, (u64)(uintptr_t)fn);
	as_jmp_to(a, call);
	return at;
}

void bt_make_stubs(struct bt *bt)
{
	struct as as = { .p = bt->fixed, .exec = bt->exec }, *a = &as;
	uintptr_t call;

	bt->stub.enter = as_here(a);
	make_enter(a);
	call = make_call(a, bt->vm);
	bt->stub.insn = make_stub(a, call, bt_do_insn);
	bt->stub.exit = make_stub(a, call, bt_do_exit);
	bt->stub.entry = make_stub(a, call, bt_do_entry);
	bt->stub.fp = make_stub(a, call, bt_do_fp);
	bt->stub.miss = as_here(a);
	as_store(a, 8, rm_ctx(CTX(cpu.rip)), H_RAX);
	make_stub(a, call, bt_do_miss);
	/* Where the signal handler sends a fault: RCX is the host address, EAX the vector. */
	bt->stub.fault = as_here(a);
	as_store(a, 8, rm_ctx(CTX_BT(fault_at)), H_RCX);
	as_mov(a, 4, H_RCX, H_RAX);
	make_stub(a, call, bt_do_fault);
	emit_sys_stubs(bt, a);
	bt->stub.end = as_here(a);
}
