/* What a kernel runs on each way in and out: SYSCALL and SYSRET of 64-bit code, SWAPGS and the other moves of FS and GS bases, STAC and
 * CLAC, STI. Only what they do in an ordinary kernel is done here, in 64-bit mode; where a check fails C runs the instruction. */
#include "engine/bt/tr.h"

#include "x86/cpuid.h"

#include <Zydis/Zydis.h>

/* Host instructions that do change flags, for stubs that have saved the guest's. */
enum { OP_OR = 1, OP_AND = 4 };
enum { SHIFT_LEFT = 4, SHIFT_RIGHT = 5 };

static void alu_imm(struct as *a, unsigned op, unsigned reg, u32 imm)
{
	as_op(a, 0, 0x81, 4, op, rm_reg(reg));
	as_u32(a, imm);
}

static void shift_imm(struct as *a, unsigned op, unsigned reg, unsigned count)
{
	as_op(a, 0, 0xc1, 4, op, rm_reg(reg));
	as_byte(a, count);
}

static struct as_rm seg_sel(unsigned seg)
{
	return rm_ctx(CTX(cpu.seg) + seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, sel));
}

static struct as_rm seg_ar(unsigned seg)
{
	return rm_ctx(CTX(cpu.seg) + seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, ar));
}

static struct as_rm seg_limit(unsigned seg)
{
	return rm_ctx(CTX(cpu.seg) + seg * sizeof(struct x86_seg) +
		      offsetof(struct x86_seg, limit));
}

static struct as_rm seg_base(unsigned seg)
{
	return rm_ctx(CTX(cpu.seg) + seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, base));
}

/* Goes on if the 64-bit RCX is 0, else to C. */
static void go_on_if_zero(struct tr *t)
{
	u8 *zero = as_jrcxz(&t->a);

	tr_slow_jmp(t);
	as_short_here(&t->a, zero);
}

/* To C unless CPL is 0. */
static void need_cpl0(struct tr *t)
{
	as_loadz(&t->a, 1, H_RCX, rm_ctx(CTX(cpu.cpl)));
	go_on_if_zero(t);
}

/* To C unless `bit` of CR4 is set. */
static void need_cr4(struct tr *t, u32 bit)
{
	struct as *a = &t->a;

	as_load(a, 4, H_RCX, rm_ctx(CTX(cpu.cr4)));
	as_op(a, 0, 0xf7, 4, 2, rm_reg(H_RCX)); /* not */
	as_mov_imm(a, H_RDX, bit);
	as_pext(a, H_RCX, H_RCX, H_RDX);
	go_on_if_zero(t);
}

/* --- FS and GS bases ------------------------------------------------------------------------------ */

static bool emit_swapgs(struct tr *t)
{
	struct as *a = &t->a;

	if (t->mode != 64)
		return false;
	need_cpl0(t);
	as_load(a, 8, H_RCX, seg_base(GS));
	as_load(a, 8, H_RDX, rm_ctx(CTX(cpu.kernel_gs_base)));
	as_store(a, 8, seg_base(GS), H_RDX);
	as_store(a, 8, rm_ctx(CTX(cpu.kernel_gs_base)), H_RCX);
	return true;
}

static bool emit_read_base(struct tr *t)
{
	const struct x86_operand *o = &t->i->op[0];
	unsigned seg = t->i->mnemonic == ZYDIS_MNEMONIC_RDFSBASE ? FS : GS, to;

	if (t->mode != 64 || o->kind != OPK_GPR || o->size < 4)
		return false;
	need_cr4(t, CR4_FSGSBASE);
	to = tr_def(o->reg, H_RAX);
	as_load(&t->a, o->size, to, seg_base(seg));
	tr_done(t, o->reg, to);
	return true;
}

static bool emit_write_base(struct tr *t)
{
	const struct x86_operand *o = &t->i->op[0];
	unsigned seg = t->i->mnemonic == ZYDIS_MNEMONIC_WRFSBASE ? FS : GS;
	struct as *a = &t->a;

	if (t->mode != 64 || o->kind != OPK_GPR || o->size < 4)
		return false;
	need_cr4(t, CR4_FSGSBASE);
	as_mov(a, o->size, H_RAX, tr_use(t, o->reg, H_RAX));
	if (o->size == 8) { /* canonical: a + 2^47 is below 2^48 */
		as_mov_imm(a, H_RCX, BIT(47));
		as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RAX, 0, 0));
		as_mov_imm(a, H_RDX, 48);
		as_shrx(a, H_RCX, H_RCX, H_RDX);
		go_on_if_zero(t);
	}
	as_store(a, 8, seg_base(seg), H_RAX);
	return true;
}

/* --- STI ------------------------------------------------------------------------------------------ */

/* No interrupt is taken within a unit, so the shadow needs nothing if the next instruction is in the same unit. */
static bool emit_sti(struct tr *t)
{
	struct as *a = &t->a;
	u32 bit = FL_IF >> 8;

	/* In lockstep both engines are to see the same shadow. */
	if (t->k + 1 >= t->u->count || t->bt->vm->pace != PACE_FREE)
		return false;
	/* An interrupt that was put aside is for C. */
	as_loadz(a, 1, H_RCX, rm_ctx(CTX(cpu.cpl)));
	as_loadz(a, 1, H_RDX, rm_ctx(CTX_BT(irq_held)));
	as_lea(a, 4, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));
	go_on_if_zero(t);
	as_loadz(a, 1, H_RCX, rm_ctx(CTX(cpu.rflags) + 1));
	as_mov_imm(a, H_RDX, 0xff & ~bit);
	as_pext(a, H_RCX, H_RCX, H_RDX);
	as_pdep(a, H_RCX, H_RCX, H_RDX);
	as_lea(a, 4, H_RCX, rm_mem(H_RCX, (i32)bit));
	as_store(a, 1, rm_ctx(CTX(cpu.rflags) + 1), H_RCX);
	t->ends = false;
	return true;
}

/* --- Another table of rights ---------------------------------------------------------------------- */

/* vcpu.tlb. Uses RDX. */
static void set_tlb(struct as *a, enum tlb_mode mode)
{
	as_load(a, 8, H_RDX, rm_ctx(CTX_BT(self)));
	as_lea(a, 8, H_RDX, rm_mem(H_RDX, (i32)(CTX(tlbs) + mode * sizeof(struct tlb))));
	as_store(a, 8, rm_ctx(CTX(tlb)), H_RDX);
}

static u32 key_of_mode(u32 key, enum tlb_mode mode)
{
	return (key & ~KEY_TLB) | (u32)mode << KEY_TLB_POS;
}

/* Goes to the rip in RAX with the jump cache of key, which need not be what the cache holds. */
static void jump_to_key(struct as *a, struct bt *bt, u32 key)
{
	size_t jump = CTX_BT(jump) + jump_index(bt, key) * sizeof(struct jump_cache);
	u8 *hit, *other;

	as_load(a, 4, H_RCX, rm_ctx(jump + offsetof(struct jump_cache, key)));
	as_lea(a, 4, H_RCX, rm_mem(H_RCX, -(i32)key));
	other = as_jrcxz(a);
	as_mov_imm(a, H_RCX, 0);
	as_jmp_to(a, bt->stub.miss);
	as_short_here(a, other);
	as_loadz(a, 2, H_RCX, rm_reg(H_RAX));
	as_load(a, 8, H_RDX, rm_ctx_array(jump + offsetof(struct jump_cache, entry), H_RCX));
	as_load(a, 8, H_RCX, rm_ctx_array(jump + offsetof(struct jump_cache, tag), H_RCX));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RAX, 0, 0));
	hit = as_jrcxz(a);
	as_mov_imm(a, H_RCX, 0);
	as_jmp_to(a, bt->stub.miss);
	as_short_here(a, hit);
	as_jmp_reg(a, H_RDX);
}

/* SMAP's override. In TLB_SUPER CR4.SMAP is set and AC clear; in TLB_SUPER_AC, with CR4.SMAP, AC is set. */
static bool emit_ac(struct tr *t)
{
	bool set = t->i->mnemonic == ZYDIS_MNEMONIC_STAC;
	enum tlb_mode to = set ? TLB_SUPER_AC : TLB_SUPER;
	struct as_rm flags = rm_ctx(CTX(cpu.rflags) + 2);
	struct as *a = &t->a;

	if (t->tlb == TLB_USER || t->tlb == TLB_CHECKED || !(t->key & KEY_CS_LINK) ||
	    !cpuid_has(t->bt->vm, FEAT_SMAP))
		return false;
	need_cpl0(t);
	if (t->tlb == TLB_SUPER_AC)
		need_cr4(t, CR4_SMAP);
	if (t->tlb == (unsigned)to) {
		t->ends = false;
		return true;
	}
	as_loadz(a, 1, H_RCX, flags);
	as_lea(a, 4, H_RCX, rm_mem(H_RCX, set ? (i32)(FL_AC >> 16) : -(i32)(FL_AC >> 16)));
	as_store(a, 1, flags, H_RCX);
	set_tlb(a, to);
	tr_rip(t, H_RAX, tr_next(t));
	jump_to_key(a, t->bt, key_of_mode(t->key, to));
	return true;
}

/* --- SYSCALL, SYSRET ------------------------------------------------------------------------------ */

#define KEY_LONG    (KEY_64 | KEY_CS_WIDE | KEY_CS_LINK)
#define FLAGS_KNOWN (FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_VIF | FL_VIP | FL_ID)
/* What SYSRET takes from R11 (SDM 2B SYSRET). */
#define SYSRET_FLAGS 0x3c7fd7u

#define AR_CODE_64   (AR_P | AR_S | AR_CODE | AR_WR | AR_A | AR_G | AR_L)
#define AR_DATA_FLAT (AR_P | AR_S | AR_WR | AR_A | AR_G | AR_DB)

/* Stubs: 0 in RCX goes on, anything else lets C run the instruction that bt_cpu.sys_id names. */
static void stub_check(struct as *a, struct bt *bt)
{
	u8 *zero = as_jrcxz(a);

	as_load(a, 4, H_RCX, rm_ctx(CTX_BT(sys_id)));
	as_jmp_to(a, bt->stub.insn);
	as_short_here(a, zero);
}

/* EFER.SCE clear as bit 0 of RCX. Uses RDX. */
static void sce_clear(struct as *a)
{
	as_load(a, 4, H_RCX, rm_ctx(CTX(cpu.efer)));
	as_op(a, 0, 0xf7, 4, 2, rm_reg(H_RCX)); /* not */
	as_mov_imm(a, H_RDX, (u32)EFER_SCE);
	as_pext(a, H_RCX, H_RCX, H_RDX);
}

/* The flat segments that both load, but for the selector. */
static void load_flat(struct as *a, unsigned seg, u32 ar, unsigned cpl)
{
	as_store_imm(a, 4, seg_ar(seg), ar | cpl << AR_DPL_SHIFT);
	as_store_imm(a, 4, seg_limit(seg), 0xffffffff);
	as_store_imm(a, 8, seg_base(seg), 0);
}

/* RFLAGS from ECX, of which EDX is left with what is in x86_cpu; host flags from it. Uses RAX. */
static void load_rflags(struct as *a)
{
	as_mov(a, 4, H_RDX, H_RCX);
	alu_imm(a, OP_AND, H_RDX, (u32)FLAGS_KNOWN);
	alu_imm(a, OP_OR, H_RDX, (u32)FL_FIXED);
	as_store(a, 8, rm_ctx(CTX(cpu.rflags)), H_RDX);
	/* As LAHF and SETO have them: the low byte to AH, OF to AL. */
	as_mov(a, 4, H_RAX, H_RCX);
	shift_imm(a, SHIFT_LEFT, H_RAX, 8);
	shift_imm(a, SHIFT_RIGHT, H_RCX, 11);
	alu_imm(a, OP_AND, H_RCX, 1);
	alu_imm(a, OP_AND, H_RAX, 0xff00);
	as_op(a, 0, 0x0b, 4, H_RAX, rm_reg(H_RCX)); /* or */
}

/* RAX: rip of the next instruction. */
static uintptr_t make_syscall(struct as *a, struct bt *bt)
{
	uintptr_t at = as_here(a);

	as_store(a, 4, rm_ctx(CTX_BT(sys_id)), H_RCX);
	sce_clear(a);
	stub_check(a, bt);
	/* From here on it completes. RFLAGS whole, without RF, goes to R11. */
	as_mov(a, 8, bt_home[RCX], H_RAX);
	as_flags_to_ax(a);
	as_loadz(a, 1, H_RDX, rm_reg(H_RAX));
	shift_imm(a, SHIFT_LEFT, H_RDX, 11);
	as_rorx(a, false, H_RCX, H_RAX, 8);
	as_loadz(a, 1, H_RCX, rm_reg(H_RCX));
	as_op(a, 0, 0x0b, 4, H_RCX, rm_reg(H_RDX));
	as_op(a, 0, 0x0b, 4, H_RCX, rm_ctx(CTX(cpu.rflags)));
	alu_imm(a, OP_AND, H_RCX, ~(u32)FL_RF);
	as_store(a, 8, rm_ctx(CTX_GPR(R11)), H_RCX);
	as_load(a, 4, H_RDX, rm_ctx(CTX(cpu.fmask)));
	as_op(a, 0, 0xf7, 4, 2, rm_reg(H_RDX));     /* not */
	as_op(a, 0, 0x23, 4, H_RCX, rm_reg(H_RDX)); /* and */

	as_load(a, 4, H_RAX, rm_ctx(CTX(cpu.star) + 4));
	alu_imm(a, OP_AND, H_RAX, 0xfffc);
	as_store(a, 2, seg_sel(CS), H_RAX);
	as_lea(a, 4, H_RAX, rm_mem(H_RAX, 8));
	as_store(a, 2, seg_sel(SS), H_RAX);
	load_flat(a, CS, (u32)AR_CODE_64, 0);
	load_flat(a, SS, (u32)AR_DATA_FLAT, 0);
	as_store_imm(a, 1, rm_ctx(CTX(cpu.cpl)), 0);
	load_rflags(a);

	/* With SMAP in force and AC clear: TLB_SUPER. */
	as_load(a, 4, H_RCX, rm_ctx(CTX(cpu.cr4)));
	as_op(a, 0, 0xf7, 4, 2, rm_reg(H_RCX)); /* not */
	shift_imm(a, SHIFT_RIGHT, H_RCX, 21);
	alu_imm(a, OP_AND, H_RCX, 1);
	alu_imm(a, OP_AND, H_RDX, (u32)FL_AC);
	as_op(a, 0, 0x0b, 4, H_RCX, rm_reg(H_RDX));
	as_flags_from_ax(a);
	as_load(a, 8, H_RAX, rm_ctx(CTX(cpu.lstar)));

	u8 *smap = as_jrcxz(a), *over = as_jmp(a);

	as_short_here(a, smap);
	set_tlb(a, TLB_SUPER);
	jump_to_key(a, bt, key_of_mode(KEY_LONG, TLB_SUPER));
	as_patch_here(a, over);
	set_tlb(a, TLB_SUPER_AC);
	jump_to_key(a, bt, key_of_mode(KEY_LONG, TLB_SUPER_AC));
	return at;
}

/* With REX.W. Where IF may come to be set while an interrupt is put aside, or TF or AC is, C does it. */
static uintptr_t make_sysret(struct as *a, struct bt *bt)
{
	uintptr_t at = as_here(a);
	bool amd = cpuid_is_amd(bt->vm);

	as_store(a, 4, rm_ctx(CTX_BT(sys_id)), H_RCX);
	sce_clear(a);
	as_loadz(a, 1, H_RDX, rm_ctx(CTX(cpu.cpl)));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));
	as_loadz(a, 1, H_RDX, rm_ctx(CTX_BT(irq_held)));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));
	as_load(a, 4, H_RDX, rm_ctx(CTX_GPR(R11)));
	as_mov_imm(a, H_RAX, (u32)(FL_TF | FL_AC));
	as_pext(a, H_RDX, H_RDX, H_RAX);
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));
	as_mov_imm(a, H_RDX, BIT(47)); /* a canonical rip */
	as_lea(a, 8, H_RDX, rm_index(H_RDX, bt_home[RCX], 0, 0));
	as_mov_imm(a, H_RAX, 48);
	as_shrx(a, H_RDX, H_RDX, H_RAX);
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));
	stub_check(a, bt);

	as_loadz(a, 2, H_RAX, rm_ctx(CTX(cpu.star) + 6));
	as_lea(a, 4, H_RCX, rm_mem(H_RAX, 16));
	alu_imm(a, OP_OR, H_RCX, 3);
	as_store(a, 2, seg_sel(CS), H_RCX);
	load_flat(a, CS, (u32)AR_CODE_64, 3);
	as_lea(a, 4, H_RCX, rm_mem(H_RAX, 8));
	if (!amd) {
		alu_imm(a, OP_OR, H_RCX, 3);
		load_flat(a, SS, (u32)AR_DATA_FLAT, 3);
	}
	as_store(a, 2, seg_sel(SS), H_RCX);
	as_store_imm(a, 1, rm_ctx(CTX(cpu.cpl)), 3);
	as_load(a, 4, H_RCX, rm_ctx(CTX_GPR(R11)));
	alu_imm(a, OP_AND, H_RCX, SYSRET_FLAGS);
	load_rflags(a);
	as_flags_from_ax(a);
	set_tlb(a, TLB_USER);
	as_mov(a, 8, H_RAX, bt_home[RCX]);
	jump_to_key(a, bt, key_of_mode(KEY_LONG, TLB_USER));
	return at;
}

static bool emit_syscall(struct tr *t)
{
	if (t->mode != 64 || t->tlb == TLB_CHECKED)
		return false;
	tr_rip(t, H_RAX, tr_next(t));
	as_mov_imm(&t->a, H_RCX, bt_id(t->bt, &t->u->insn[t->k]));
	as_jmp_to(&t->a, t->bt->stub.syscall);
	return true;
}

static bool emit_sysret(struct tr *t)
{
	const struct x86_insn *i = t->i;

	if (t->mode != 64 || i->len < 3 || (i->bytes[i->len - 3] & 0xf8) != 0x48)
		return false;
	as_mov_imm(&t->a, H_RCX, bt_id(t->bt, &t->u->insn[t->k]));
	as_jmp_to(&t->a, t->bt->stub.sysret);
	return true;
}

void emit_sys_stubs(struct bt *bt, struct as *a)
{
	bt->stub.syscall = make_syscall(a, bt);
	bt->stub.sysret = make_sysret(a, bt);
}

void emit_sys_init(struct bt *bt)
{
	static const struct {
		u16 mnemonic;
		bt_emit_fn *fn;
		bool goes_on;
	} rows[] = {
		{ ZYDIS_MNEMONIC_SWAPGS, emit_swapgs, false },
		{ ZYDIS_MNEMONIC_RDFSBASE, emit_read_base, false },
		{ ZYDIS_MNEMONIC_RDGSBASE, emit_read_base, false },
		{ ZYDIS_MNEMONIC_WRFSBASE, emit_write_base, false },
		{ ZYDIS_MNEMONIC_WRGSBASE, emit_write_base, false },
		{ ZYDIS_MNEMONIC_STI, emit_sti, true },
		{ ZYDIS_MNEMONIC_STAC, emit_ac, false },
		{ ZYDIS_MNEMONIC_CLAC, emit_ac, false },
		{ ZYDIS_MNEMONIC_SYSCALL, emit_syscall, false },
		{ ZYDIS_MNEMONIC_SYSRET, emit_sysret, false },
	};

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		bt->emit[rows[n].mnemonic] = rows[n].fn;
		bt->goes_on[rows[n].mnemonic] = rows[n].goes_on;
	}
}
