/* Random cases: operands, addresses that mostly hit the data pages, and states rich in edge values. */
#include "gen.h"

#include "x86/decoder.h"

#include <string.h>

u64 rng_next(struct rng *r)
{
	u64 z = r->s += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

unsigned rng_below(struct rng *r, unsigned n) { return (unsigned)(rng_next(r) >> 32) % n; }

/* What stands in no comparison with the host, by mnemonic; each row with its reason. */
static const struct {
	const char *why;
	u16 mnemonics[40];
} excluded[] = {
	{ "the host kernel or hypervisor emulates it or answers for itself",
	  { ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT, ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_SMSW,
	    ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_VMCALL, ZYDIS_MNEMONIC_VMMCALL,
	    ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_INT,
	    ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO } },
	{ "the result changes from run to run",
	  { ZYDIS_MNEMONIC_RDTSC, ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_RDPMC,
	    ZYDIS_MNEMONIC_RDRAND, ZYDIS_MNEMONIC_RDSEED, ZYDIS_MNEMONIC_RDPID,
	    ZYDIS_MNEMONIC_RDPRU, ZYDIS_MNEMONIC_XGETBV } },
	{ "descriptor tables are the host's; the system test guests cover it",
	  { ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL, ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW,
	    ZYDIS_MNEMONIC_LDS, ZYDIS_MNEMONIC_LES, ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS,
	    ZYDIS_MNEMONIC_LSS, ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ,
	    ZYDIS_MNEMONIC_RDFSBASE, ZYDIS_MNEMONIC_RDGSBASE, ZYDIS_MNEMONIC_WRFSBASE,
	    ZYDIS_MNEMONIC_WRGSBASE } },
	{ "saves state components that host and guest need not share; the system test guests cover it",
	  { ZYDIS_MNEMONIC_XSAVE, ZYDIS_MNEMONIC_XSAVE64, ZYDIS_MNEMONIC_XSAVEC,
	    ZYDIS_MNEMONIC_XSAVEC64, ZYDIS_MNEMONIC_XSAVEOPT, ZYDIS_MNEMONIC_XSAVEOPT64,
	    ZYDIS_MNEMONIC_XRSTOR, ZYDIS_MNEMONIC_XRSTOR64, ZYDIS_MNEMONIC_FXSAVE,
	    ZYDIS_MNEMONIC_FXSAVE64, ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64,
	    ZYDIS_MNEMONIC_FNSAVE, ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_FNSTENV,
	    ZYDIS_MNEMONIC_FLDENV } },
	{ "not offered by any CPU model",
	  { ZYDIS_MNEMONIC_CLZERO,    ZYDIS_MNEMONIC_MONITORX,  ZYDIS_MNEMONIC_MWAITX,
	    ZYDIS_MNEMONIC_MONITOR,   ZYDIS_MNEMONIC_MWAIT,     ZYDIS_MNEMONIC_RDPKRU,
	    ZYDIS_MNEMONIC_WRPKRU,    ZYDIS_MNEMONIC_MOVDIR64B, ZYDIS_MNEMONIC_MOVDIRI,
	    ZYDIS_MNEMONIC_SERIALIZE, ZYDIS_MNEMONIC_ENQCMD,    ZYDIS_MNEMONIC_ENQCMDS,
	    ZYDIS_MNEMONIC_UMONITOR,  ZYDIS_MNEMONIC_UMWAIT,    ZYDIS_MNEMONIC_TPAUSE,
	    ZYDIS_MNEMONIC_XBEGIN,    ZYDIS_MNEMONIC_XEND,      ZYDIS_MNEMONIC_XABORT,
	    ZYDIS_MNEMONIC_XTEST,     ZYDIS_MNEMONIC_XRESLDTRK, ZYDIS_MNEMONIC_XSUSLDTRK,
	    ZYDIS_MNEMONIC_GETSEC,    ZYDIS_MNEMONIC_PCONFIG,   ZYDIS_MNEMONIC_ENCLS,
	    ZYDIS_MNEMONIC_ENCLU,     ZYDIS_MNEMONIC_ENCLV,     ZYDIS_MNEMONIC_PTWRITE,
	    ZYDIS_MNEMONIC_MCOMMIT,   ZYDIS_MNEMONIC_HRESET,    ZYDIS_MNEMONIC_CLUI,
	    ZYDIS_MNEMONIC_STUI,      ZYDIS_MNEMONIC_TESTUI,    ZYDIS_MNEMONIC_UIRET,
	    ZYDIS_MNEMONIC_SENDUIPI,  ZYDIS_MNEMONIC_INVLPGB,   ZYDIS_MNEMONIC_TLBSYNC,
	    ZYDIS_MNEMONIC_RMPADJUST, ZYDIS_MNEMONIC_PVALIDATE, ZYDIS_MNEMONIC_PSMASH } },
};

bool gen_fault_is_loose(const ZydisDecodedInstruction *insn)
{
	return insn->mnemonic == ZYDIS_MNEMONIC_POPA || insn->mnemonic == ZYDIS_MNEMONIC_POPAD;
}

static bool segment_register(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

bool gen_excluded(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *ops,
		  const char **why)
{
	for (unsigned r = 0; r < ARRAY_LEN(excluded); r++)
		for (const u16 *m = excluded[r].mnemonics; *m; m++)
			if (insn->mnemonic == *m) {
				*why = excluded[r].why;
				return true;
			}
	*why = "privileged or a far transfer; the system test guests cover it";
	if (insn->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED ||
	    insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return true;
	if (insn->meta.category == ZYDIS_CATEGORY_IO ||
	    insn->meta.category == ZYDIS_CATEGORY_IOSTRINGOP ||
	    insn->mnemonic == ZYDIS_MNEMONIC_CLI || insn->mnemonic == ZYDIS_MNEMONIC_STI)
		return true;
	*why = "segment registers are the host's";
	for (unsigned n = 0; n < insn->operand_count_visible; n++)
		if (segment_register(&ops[n]) || (ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
						  ops[n].mem.segment >= ZYDIS_REGISTER_FS &&
						  ops[n].mem.segment <= ZYDIS_REGISTER_GS))
			return true;
	*why = "not offered by any CPU model";
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_AMX_TILE:
	case ZYDIS_CATEGORY_CET:
	case ZYDIS_CATEGORY_KEYLOCKER:
	case ZYDIS_CATEGORY_KEYLOCKER_WIDE:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_SGX:
	case ZYDIS_CATEGORY_PADLOCK:
	case ZYDIS_CATEGORY_KNC:
	case ZYDIS_CATEGORY_KNCMASK:
	case ZYDIS_CATEGORY_KNCSCALAR: return true;
	default: break;
	}
	return insn->meta.isa_ext == ZYDIS_ISA_EXT_SVM || insn->meta.isa_ext == ZYDIS_ISA_EXT_VTX;
}

/* --- State ----------------------------------------------------------------------------------- */

u64 gen_edge_value(struct rng *r)
{
	static const u64 edges[] = { 0,
				     1,
				     2,
				     0x7f,
				     0x80,
				     0xff,
				     0x7fff,
				     0x8000,
				     0xffff,
				     0x7fffffff,
				     0x80000000,
				     0xffffffff,
				     0x7fffffffffffffff,
				     0x8000000000000000,
				     ~0ull };
	u64 v = rng_next(r);

	switch (rng_below(r, 4)) {
	case 0: return edges[rng_below(r, ARRAY_LEN(edges))];
	case 1: return v >> rng_below(r, 64);
	case 2: return (u64)bits_sext(v & 0xff, 8);
	default: return v;
	}
}

static u32 float_value(struct rng *r)
{
	static const u32 edges[] = { 0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
				     0xff800000, 0x7fc00000, 0x7f800001, 1,          0x807fffff,
				     0x00800000, 0x7f7fffff, 0x4f000000, 0x40490fdb };

	return rng_below(r, 2) ? edges[rng_below(r, ARRAY_LEN(edges))] : (u32)rng_next(r);
}

static u64 double_value(struct rng *r)
{
	static const u64 edges[] = { 0,
				     1ull << 63,
				     0x3ff0000000000000,
				     0xbff0000000000000,
				     0x7ff0000000000000,
				     0xfff0000000000000,
				     0x7ff8000000000000,
				     0x7ff0000000000001,
				     1,
				     0x000fffffffffffff,
				     0x0010000000000000,
				     0x7fefffffffffffff,
				     0x41e0000000000000,
				     0x43e0000000000000,
				     0x400921fb54442d18 };

	return rng_below(r, 2) ? edges[rng_below(r, ARRAY_LEN(edges))] : rng_next(r);
}

static void random_bytes(struct rng *r, u8 *p, size_t n)
{
	unsigned kind = rng_below(r, 4);

	for (size_t k = 0; k + 8 <= n; k += 8) {
		u64 v = kind == 0   ? (u64)float_value(r) << 32 | float_value(r)
			: kind == 1 ? double_value(r)
			: kind == 2 ? gen_edge_value(r)
				    : rng_next(r);

		memcpy(p + k, &v, 8);
	}
}

static void random_x87(struct rng *r, u8 *x)
{
	static const u16 exponents[] = { 0,      1,      0x3fff, 0x7ffe, 0x7fff,
					 0x8000, 0xbfff, 0xffff, 0x403e };
	u16 fcw = rng_below(r, 4) ? 0x37f : (u16)(rng_next(r) & 0x0f3f) | 0x40;
	u16 fsw = (u16)(rng_below(r, 8) << 11 | (rng_below(r, 2) ? rng_next(r) & 0x4740 : 0));

	if ((fcw & 0x3f) == 0x3f && !rng_below(r, 4))
		fsw |= (u16)rng_below(r, 0x40);
	le_store(x, fcw, 2);
	le_store(x + 2, fsw, 2);
	x[4] = rng_below(r, 3) ? 0xff : (u8)rng_next(r);
	for (unsigned n = 0; n < 8; n++) {
		u64 m = rng_below(r, 3)   ? rng_next(r) | BIT(63)
			: rng_below(r, 2) ? BIT(63)
					  : gen_edge_value(r);

		le_store(x + 32 + 16 * n, m, 8);
		le_store(x + 40 + 16 * n,
			 rng_below(r, 2) ? exponents[rng_below(r, ARRAY_LEN(exponents))]
					 : 0x3fff - 40 + rng_below(r, 80),
			 2);
	}
}

static void random_extended(struct rng *r, u8 *x)
{
	u64 components = host_xcr0();

	memset(x, 0, X86_XSAVE_SIZE);
	random_x87(r, x);
	le_store(x + 24, rng_below(r, 3) ? 0x1f80 : 0x1f80 | (rng_next(r) & 0xe07f), 4);
	random_bytes(r, x + 160, 256);
	for (unsigned c = 2; c < 8; c++) {
		u32 size = 0, offset = 0, ecx = c, edx;

		if (!(components & BIT(c)))
			continue;
		asm volatile("cpuid" : "=a"(size), "=b"(offset), "+c"(ecx), "=d"(edx) : "a"(0xd));
		if (offset + size <= X86_XSAVE_SIZE)
			random_bytes(r, x + offset, size);
	}
	le_store(x + 512, components, 8);
}

void gen_state(struct rng *r, unsigned mode, struct oracle_state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned n = 0; n < (mode == 64 ? 16u : 8u); n++)
		s->gpr[n] = mode == 64 ? gen_edge_value(r) : (u32)gen_edge_value(r);
	s->flags = (rng_next(r) & (FL_STATUS | FL_DF)) | FL_FIXED | FL_IF;
	if (!rng_below(r, 30))
		s->flags |= FL_AC;
	random_extended(r, s->xsave);
	random_bytes(r, s->data, DATA_SIZE);
}

/* --- Addresses ------------------------------------------------------------------------------- */

/* Offset in its segment of a place in the data pages: mostly well inside, sometimes across a page, beyond the end or before
 * the start. */
u32 gen_data_offset(struct rng *r, unsigned mode)
{
	u32 at = 512 + rng_below(r, DATA_SIZE - 1024);

	if (!rng_below(r, 8))
		at = 4096 - 1 - rng_below(r, 64);
	else if (!rng_below(r, 20))
		at = DATA_SIZE - 1 - rng_below(r, 64);
	else if (!rng_below(r, 40))
		at = 0u - rng_below(r, 64);
	if (rng_below(r, 3))
		at &= ~63u;
	return mode == 16 ? at + (DATA_PAGE - SEG16_BASE) : DATA_PAGE + at;
}

int gen_slot(ZydisRegister reg)
{
	return reg == ZYDIS_REGISTER_NONE ? -1 : ZydisRegisterGetId(reg);
}

static u64 address_mask(const struct oracle_case *c) { return bits_mask(c->insn.address_width); }

/* Index vectors of gathers and scatters: small offsets. */
static void place_vsib(struct rng *r, struct oracle_case *c, const ZydisDecodedOperandMem *m)
{
	unsigned reg = (unsigned)ZydisRegisterGetId(m->index);
	u32 offsets[3] = { 160, 0, 0 }, size, ecx, edx;

	asm volatile("cpuid"
		     : "=a"(size), "=b"(offsets[1]), "=c"(ecx), "=d"(edx)
		     : "a"(0xd), "c"(2));
	asm volatile("cpuid"
		     : "=a"(size), "=b"(offsets[2]), "=c"(ecx), "=d"(edx)
		     : "a"(0xd), "c"(6));
	for (unsigned k = 0; k < 16; k++) {
		u32 value = rng_below(r, 256);
		u8 *at = NULL;

		if (!rng_below(r, 12))
			value = (u32) - (i32)rng_below(r, 64);
		if (reg < 16)
			at = k < 4   ? c->before.xsave + 160 + 16 * reg + 4 * k
			     : k < 8 ? c->before.xsave + offsets[1] + 16 * reg + 4 * (k - 4)
				     : c->before.xsave + offsets[2] + 32 * reg + 4 * (k - 8);
		else if (offsets[2]) {
			asm volatile("cpuid"
				     : "=a"(size), "=b"(offsets[0]), "=c"(ecx), "=d"(edx)
				     : "a"(0xd), "c"(7));
			at = c->before.xsave + offsets[0] + 64 * (reg - 16) + 4 * k;
		}
		/* As quadwords the odd halves are the sign. */
		if (at && at + 4 <= c->before.xsave + X86_XSAVE_SIZE)
			le_store(at, k & 1 && rng_below(r, 4) ? 0 : value, 4);
	}
}

bool gen_redecode(struct oracle_case *c)
{
	ZydisDecoder d;

	x86_decoder_init(&d, c->mode);
	return ZYAN_SUCCESS(x86_decoder_decode(&d, c->bytes, INSN_MAX, &c->insn, c->ops));
}

/* Makes the explicit memory operand point at linear-offset `want`. */
static bool place_operand(struct rng *r, struct oracle_case *c, const ZydisDecodedOperandMem *m,
			  u32 want)
{
	u64 *gpr = c->before.gpr;
	int base = gen_slot(m->base), index = gen_slot(m->index);
	i64 disp = m->disp.value;
	bool rip = m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP;
	ZydisRegisterClass ic = ZydisRegisterGetClass(m->index);

	if (m->type == ZYDIS_MEMOP_TYPE_VSIB || ic == ZYDIS_REGCLASS_XMM ||
	    ic == ZYDIS_REGCLASS_YMM || ic == ZYDIS_REGCLASS_ZMM) {
		place_vsib(r, c, m);
		if (base < 0)
			return false;
		gpr[base] = (DATA_PAGE + 1024) - (u64)disp;
		return c->mode != 16;
	}
	if (rip || (base < 0 && index < 0)) {
		u64 value = rip ? want - (c->before.rip + c->insn.length) : want;

		if (c->insn.raw.disp.size == 8)
			return false;
		memcpy(c->bytes + c->insn.raw.disp.offset, &value, c->insn.raw.disp.size / 8);
		return gen_redecode(c);
	}
	if (base < 0) {
		gpr[index] = (want - (u64)disp) / m->scale;
	} else if (base == index) {
		gpr[base] = (want - (u64)disp) / (1 + m->scale);
	} else {
		if (index >= 0)
			gpr[index] = gen_edge_value(r) & (c->mode == 64 ? ~0ull : 0xffffffff);
		gpr[base] = (want - (u64)disp - (index >= 0 ? gpr[index] * m->scale : 0)) &
			    (c->mode == 64 ? address_mask(c) : 0xffffffff);
	}
	return true;
}

static u64 operand_offset(const struct oracle_case *c, const ZydisDecodedOperandMem *m)
{
	int base = gen_slot(m->base), index = gen_slot(m->index);
	u64 a = (u64)m->disp.value;

	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP)
		a += c->before.rip + c->insn.length;
	else if (base >= 0)
		a += c->before.gpr[base];
	if (index >= 0)
		a += c->before.gpr[index] * m->scale;
	return a & address_mask(c);
}

/* In 64-bit code a wild access could reach the child's own memory. */
static bool operand_safe(const struct oracle_case *c, const ZydisDecodedOperandMem *m)
{
	u64 a = operand_offset(c, m);

	return c->mode != 64 || (a >= DATA_PAGE - 2048 && a < DATA_PAGE + DATA_SIZE + 2048);
}

static bool bit_string(const struct oracle_case *c)
{
	u16 m = c->insn.mnemonic;

	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

/* Registers that instructions use as addresses on their own, and counts. */
static void place_implicit(struct rng *r, struct oracle_case *c)
{
	u64 *gpr = c->before.gpr;

	gpr[RSP] = gen_data_offset(r, c->mode) & (rng_below(r, 4) ? ~7ull : ~0ull);
	switch (c->insn.meta.category) {
	case ZYDIS_CATEGORY_STRINGOP:
		gpr[RSI] = gen_data_offset(r, c->mode);
		gpr[RDI] = gen_data_offset(r, c->mode);
		/* The host steps single iterations. */
		if (c->insn.attributes &
		    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
			gpr[RCX] = rng_below(r, 4) != 0;
		break;
	default: break;
	}
	switch (c->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE: gpr[RBP] = gen_data_offset(r, c->mode); break;
	case ZYDIS_MNEMONIC_XLAT: gpr[RBX] = gen_data_offset(r, c->mode); break;
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU: gpr[RDI] = gen_data_offset(r, c->mode); break;
	default: break;
	}
}

static bool place(struct rng *r, struct oracle_case *c)
{
	place_implicit(r, c);
	for (unsigned n = 0; n < c->insn.operand_count; n++) {
		const ZydisDecodedOperandMem *m = &c->ops[n].mem;

		if (c->ops[n].type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    c->ops[n].visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			continue;
		if (m->type == ZYDIS_MEMOP_TYPE_AGEN || c->insn.meta.category == ZYDIS_CATEGORY_NOP)
			continue;
		if (bit_string(c) && c->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
			c->before.gpr[gen_slot(c->ops[1].reg.value)] =
				(u64)bits_sext(rng_next(r), 12);
		if (!place_operand(r, c, m, gen_data_offset(r, c->mode)))
			return false;
		if (m->type == ZYDIS_MEMOP_TYPE_MEM &&
		    ZydisRegisterGetClass(m->index) < ZYDIS_REGCLASS_XMM &&
		    !operand_safe(c, &c->ops[n].mem))
			return false;
		if (bit_string(c) && c->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    c->mode == 64) {
			i64 bit = bits_sext(c->before.gpr[gen_slot(c->ops[1].reg.value)],
					    c->ops[1].size);

			if (bit < -8192 || bit > 8192)
				return false;
		}
	}
	return true;
}

/* --- Encodings ------------------------------------------------------------------------------- */

static void insert_prefix(struct oracle_case *c, unsigned at, u8 value)
{
	memmove(c->bytes + at + 1, c->bytes + at, INSN_MAX - 1 - at);
	c->bytes[at] = value;
}

/* Any of the 16 or 32 registers: REX.RXB, VEX.RXB and vvvv, EVEX.RXBR'. Returns the bytes that this adds. */
static unsigned widen_registers(struct rng *r, struct oracle_case *c, unsigned head)
{
	u8 *b = c->bytes;
	u8 bits = (u8)rng_next(r);
	unsigned p = b[0] == 0x66 || b[0] == 0xf2 || b[0] == 0xf3;
	bool vector = head >= 4 && (b[0] == 0xc4 || b[0] == 0x62); /* not BOUND */

	if (vector && (b[2] & 0x78) != 0x78) /* a form that uses vvvv */
		b[2] = (u8)((b[2] & 0x87) | (bits & 0x78) | (c->mode == 64 ? 0 : 0x40));
	if (c->mode != 64 || rng_below(r, 2))
		return 0;
	if (vector) {
		b[1] ^= (u8)(rng_next(r) & (b[0] == 0x62 ? 0xf0 : 0xe0));
		return 0;
	}
	if ((b[p] & 0xf0) == 0x40) {
		b[p] |= bits & 7;
		return 0;
	}
	insert_prefix(c, p, 0x40 | (bits & 7));
	return 1;
}

bool gen_draw(struct rng *r, unsigned mode, const struct form *form, struct oracle_case *c)
{
	const char *why;
	unsigned head = form->head;

	c->mode = mode;
	memcpy(c->bytes, form->bytes, INSN_MAX);
	head += widen_registers(r, c, head);
	for (unsigned n = head + 1; n < INSN_MAX; n++)
		c->bytes[n] = (u8)rng_next(r);
	if (form->modrm) {
		/* Other registers and addressing; reg and rm may be part of the opcode, which the form's key tells. */
		u8 modrm = c->bytes[head];

		if (modrm >= 0xc0)
			modrm = (u8)(0xc0 | (rng_below(r, 2) ? modrm & 0x38 : rng_next(r) & 0x38) |
				     (rng_below(r, 8) ? rng_next(r) & 7 : modrm & 7));
		else
			modrm = (u8)(rng_below(r, 3) << 6 |
				     (rng_below(r, 2) ? modrm & 0x38 : rng_next(r) & 0x38) |
				     (rng_next(r) & 7));
		c->bytes[head] = modrm;
	}
	if (!rng_below(r, 16))
		insert_prefix(c, 0, 0x67);
	if (!gen_redecode(c) || form_key(&c->insn, c->ops) != form->key)
		return false;
	if (c->insn.attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK && !rng_below(r, 4)) {
		insert_prefix(c, 0, 0xf0);
		if (!gen_redecode(c))
			return false;
	}
	c->len = c->insn.length;
	return !gen_excluded(&c->insn, c->ops, &why);
}

bool gen_case(struct rng *r, unsigned mode, const struct form *form, struct oracle_case *c)
{
	if (!gen_draw(r, mode, form, c))
		return false;
	c->to_halt = false;
	gen_state(r, mode, &c->before);
	c->before.rip = mode == 16 ? CODE_OFFSET : CODE_PAGE + CODE_OFFSET;
	if (!place(r, c))
		return false;
	c->len = c->insn.length;
	c->undefined = c->insn.cpu_flags ? c->insn.cpu_flags->undefined : 0;
	return true;
}
