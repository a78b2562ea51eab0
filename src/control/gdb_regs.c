#include "control/gdb_regs.h"

#include "x86/fpu.h"

#include <stdio.h>
#include <string.h>

enum reg_kind {
	REG_GPR,
	REG_PC,
	REG_FLAGS,
	REG_SELECTOR,
	REG_BASE,
	REG_ST,
	REG_FX16, /* 16 bits of the FXSAVE image, shown in 32; index: offset */
	REG_FX32,
	REG_FSW,
	REG_FTAG,
	REG_XMM,
	REG_MXCSR,
	REG_SYSTEM, /* 64 bits of struct x86_cpu; index: offset / 8. Read-only */
};

struct reg {
	const char *name, *type, *group; /* group may be NULL: gdb decides */
	u8 size;                         /* bytes */
	u8 kind;                         /* enum reg_kind */
	u16 index;
};

#define GPR64(name, index)                             \
	{                                              \
		name, "int64", NULL, 8, REG_GPR, index \
	}
#define GPR32(name, index)                             \
	{                                              \
		name, "int32", NULL, 4, REG_GPR, index \
	}
#define SELECTOR(name, index)                               \
	{                                                   \
		name, "int32", NULL, 4, REG_SELECTOR, index \
	}
#define ST(name, index)                                   \
	{                                                 \
		name, "i387_ext", NULL, 10, REG_ST, index \
	}
#define FP(name, kind, index)                        \
	{                                            \
		name, "int", "float", 4, kind, index \
	}
#define XMM(n)                                           \
	{                                                \
		"xmm" #n, "vec128", NULL, 16, REG_XMM, n \
	}
#define SYSTEM(name, field)                                                             \
	{                                                                               \
		name, "int64", NULL, 8, REG_SYSTEM, offsetof(struct x86_cpu, field) / 8 \
	}

static const struct reg general64[] = {
	GPR64("rax", RAX),
	GPR64("rbx", RBX),
	GPR64("rcx", RCX),
	GPR64("rdx", RDX),
	GPR64("rsi", RSI),
	GPR64("rdi", RDI),
	{ "rbp", "data_ptr", NULL, 8, REG_GPR, RBP },
	{ "rsp", "data_ptr", NULL, 8, REG_GPR, RSP },
	GPR64("r8", R8),
	GPR64("r9", R9),
	GPR64("r10", R10),
	GPR64("r11", R11),
	GPR64("r12", R12),
	GPR64("r13", R13),
	GPR64("r14", R14),
	GPR64("r15", R15),
	{ "rip", "code_ptr", NULL, 8, REG_PC, 0 },
};

static const struct reg general32[] = {
	GPR32("eax", RAX),
	GPR32("ecx", RCX),
	GPR32("edx", RDX),
	GPR32("ebx", RBX),
	{ "esp", "data_ptr", NULL, 4, REG_GPR, RSP },
	{ "ebp", "data_ptr", NULL, 4, REG_GPR, RBP },
	GPR32("esi", RSI),
	GPR32("edi", RDI),
	{ "eip", "code_ptr", NULL, 4, REG_PC, 0 },
};

static const struct reg core_rest[] = {
	{ "eflags", "i386_eflags", NULL, 4, REG_FLAGS, 0 },
	SELECTOR("cs", CS),
	SELECTOR("ss", SS),
	SELECTOR("ds", DS),
	SELECTOR("es", ES),
	SELECTOR("fs", FS),
	SELECTOR("gs", GS),
	ST("st0", 0),
	ST("st1", 1),
	ST("st2", 2),
	ST("st3", 3),
	ST("st4", 4),
	ST("st5", 5),
	ST("st6", 6),
	ST("st7", 7),
	FP("fctrl", REG_FX16, FX_FCW),
	FP("fstat", REG_FSW, 0),
	FP("ftag", REG_FTAG, 0),
	FP("fiseg", REG_FX16, FX_FCS),
	FP("fioff", REG_FX32, FX_FIP),
	FP("foseg", REG_FX16, FX_FDS),
	FP("fooff", REG_FX32, FX_FDP),
	FP("fop", REG_FX16, FX_FOP),
};

static const struct reg xmm[] = {
	XMM(0), XMM(1), XMM(2),  XMM(3),  XMM(4),  XMM(5),  XMM(6),  XMM(7),
	XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
};

static const struct reg mxcsr[] = { { "mxcsr", "i386_mxcsr", "vector", 4, REG_MXCSR, 0 } };

static const struct reg bases[] = { { "fs_base", "int", NULL, 8, REG_BASE, FS },
				    { "gs_base", "int", NULL, 8, REG_BASE, GS } };

static const struct reg system_regs[] = {
	SYSTEM("cr0", cr0), SYSTEM("cr2", cr2), SYSTEM("cr3", cr3),
	SYSTEM("cr4", cr4), SYSTEM("cr8", cr8), SYSTEM("efer", efer),
};

/* Part of a register set; feature NULL: goes on in the feature before. */
struct chunk {
	const char *feature;
	const struct reg *regs;
	unsigned count;
};

static const struct chunk set64[] = {
	{ "org.gnu.gdb.i386.core", general64, ARRAY_LEN(general64) },
	{ NULL, core_rest, ARRAY_LEN(core_rest) },
	{ "org.gnu.gdb.i386.sse", xmm, 16 },
	{ NULL, mxcsr, 1 },
	{ "org.gnu.gdb.i386.segments", bases, ARRAY_LEN(bases) },
	{ "org.pogo.system", system_regs, ARRAY_LEN(system_regs) },
	{ 0 },
};

static const struct chunk set32[] = {
	{ "org.gnu.gdb.i386.core", general32, ARRAY_LEN(general32) },
	{ NULL, core_rest, ARRAY_LEN(core_rest) },
	{ "org.gnu.gdb.i386.sse", xmm, 8 },
	{ NULL, mxcsr, 1 },
	{ "org.pogo.system", system_regs, ARRAY_LEN(system_regs) },
	{ 0 },
};

static const struct reg *reg_find(bool wide, unsigned n)
{
	for (const struct chunk *c = wide ? set64 : set32; c->count; n -= c->count, c++)
		if (n < c->count)
			return &c->regs[n];
	return NULL;
}

u64 gdb_pc(const struct x86_cpu *cpu)
{
	return x86_64bit(cpu) ? cpu->rip : (u32)(cpu->seg[CS].base + cpu->rip);
}

/* --- Values --------------------------------------------------------------------------------- */

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

/* What the tag word of FSAVE says of a register's contents (SDM 1 8.1.7). */
static unsigned tag_of(const u8 *st)
{
	u64 mantissa;
	u16 exponent;

	memcpy(&mantissa, st, sizeof(mantissa));
	memcpy(&exponent, st + 8, sizeof(exponent));
	exponent &= 0x7fff;
	if (!exponent && !mantissa)
		return TAG_ZERO;
	return exponent && exponent != 0x7fff && mantissa >> 63 ? TAG_VALID : TAG_SPECIAL;
}

/* The 16-bit tag word from the image's bit a register. */
static u64 ftag_get(const struct x86_cpu *cpu)
{
	u64 word = 0;

	for (unsigned n = 0; n < 8; n++) {
		bool used = cpu->xsave[FX_FTW] >> n & 1;
		unsigned st = (n - fpu_top(cpu)) & 7;

		word |= (u64)(used ? tag_of(cpu->xsave + FX_ST + 16 * st) : TAG_EMPTY) << 2 * n;
	}
	return word;
}

static void ftag_set(struct x86_cpu *cpu, u64 word)
{
	u8 used = 0;

	for (unsigned n = 0; n < 8; n++)
		used = (u8)(used | ((word >> 2 * n & 3) != TAG_EMPTY) << n);
	cpu->xsave[FX_FTW] = used;
}

static u64 small_get(const struct x86_cpu *cpu, const struct reg *r)
{
	switch ((enum reg_kind)r->kind) {
	case REG_GPR: return cpu->gpr[r->index];
	case REG_PC: return gdb_pc(cpu);
	case REG_FLAGS: return x86_rflags(cpu);
	case REG_SELECTOR: return cpu->seg[r->index].sel;
	case REG_BASE: return cpu->seg[r->index].base;
	case REG_FX16: return fpu_get16(cpu, r->index);
	case REG_FX32: return fpu_get32(cpu, r->index);
	case REG_FSW: return fpu_get16(cpu, FX_FSW);
	case REG_FTAG: return ftag_get(cpu);
	case REG_MXCSR: return fpu_get32(cpu, FX_MXCSR);
	case REG_SYSTEM: return ((const u64 *)(const void *)cpu)[r->index];
	case REG_ST:
	case REG_XMM: break; /* not small */
	}
	return 0;
}

unsigned gdb_reg_get(const struct x86_cpu *cpu, bool wide, unsigned n, u8 buf[GDB_REG_MAX])
{
	const struct reg *r = reg_find(wide, n);

	if (!r)
		return 0;
	if (r->kind == REG_ST)
		memcpy(buf, cpu->xsave + FX_ST + 16 * r->index, 10);
	else if (r->kind == REG_XMM)
		memcpy(buf, cpu->xsave + FX_XMM + 16 * r->index, 16);
	else
		le_store(buf, small_get(cpu, r), r->size == 8 ? 8 : 4);
	return r->size;
}

/* VM and RF stay: they would change the mode of the CPU behind its back. */
static void flags_set(struct x86_cpu *cpu, u64 value)
{
	u64 keep = FL_VM | FL_RF;

	x86_set_rflags(cpu, (value & ~keep) | (cpu->rflags & keep));
}

static bool small_set(struct vcpu *v, const struct reg *r, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;

	switch ((enum reg_kind)r->kind) {
	case REG_GPR: cpu->gpr[r->index] = x86_long(cpu) ? value : (u32)value; return true;
	case REG_PC:
		cpu->rip = x86_64bit(cpu) ? value : (u32)(value - cpu->seg[CS].base);
		cpu->halted = cpu->wait_sipi; /* it goes on from there */
		return true;
	case REG_FLAGS: flags_set(cpu, value); return true;
	case REG_BASE:
		if (!x86_canonical(value))
			return false;
		cpu->seg[r->index].base = value;
		return true;
	case REG_FX16:
		fpu_set16(cpu, r->index, r->index == FX_FOP ? value & 0x7ff : value);
		fpu_set16(cpu, FX_FSW,
			  fpu_fsw_derive(fpu_get16(cpu, FX_FCW), fpu_get16(cpu, FX_FSW)));
		break;
	case REG_FX32: fpu_set64(cpu, r->index, value); break;
	case REG_FSW:
		fpu_set16(cpu, FX_FSW, fpu_fsw_derive(fpu_get16(cpu, FX_FCW), (u16)value));
		break;
	case REG_FTAG: ftag_set(cpu, value); break;
	case REG_MXCSR:
		if (value & ~(u64)fpu_mxcsr_mask(v))
			return false;
		fpu_set32(cpu, FX_MXCSR, value);
		fpu_use(cpu, XC_SSE);
		return true;
	case REG_SELECTOR:
	case REG_SYSTEM:
	case REG_ST:
	case REG_XMM: return false;
	}
	fpu_use(cpu, XC_X87);
	return true;
}

bool gdb_reg_set(struct vcpu *v, bool wide, unsigned n, const u8 buf[GDB_REG_MAX])
{
	const struct reg *r = reg_find(wide, n);
	struct x86_cpu *cpu = &v->cpu;
	u8 now[GDB_REG_MAX];

	/* gdb writes whole sets: what has not changed is left alone, so that no more of the register counts than what gdb sees. */
	if (!memcmp(buf, now, gdb_reg_get(cpu, wide, n, now)))
		return true;
	if (r->kind == REG_ST) {
		memcpy(cpu->xsave + FX_ST + 16 * r->index, buf, 10);
		fpu_use(cpu, XC_X87);
		return true;
	}
	if (r->kind == REG_XMM) {
		memcpy(cpu->xsave + FX_XMM + 16 * r->index, buf, 16);
		fpu_use(cpu, XC_SSE);
		return true;
	}
	return small_set(v, r, le_load(buf, r->size == 8 ? 8 : 4));
}

/* --- Description ---------------------------------------------------------------------------- */

/* The types that the features above use, so that gdb prints flags by name and vectors by element. */
static const char core_types[] =
	"<flags id=\"i386_eflags\" size=\"4\">"
	"<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/><field name=\"PF\" start=\"2\" end=\"2\"/>"
	"<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
	"<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"DF\" start=\"10\" end=\"10\"/>"
	"<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
	"<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/><field name=\"VIF\" start=\"19\" end=\"19\"/>"
	"<field name=\"VIP\" start=\"20\" end=\"20\"/><field name=\"ID\" start=\"21\" end=\"21\"/></flags>";

static const char sse_types[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
	"<flags id=\"i386_mxcsr\" size=\"4\">"
	"<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/><field name=\"ZE\" start=\"2\" end=\"2\"/>"
	"<field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
	"<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/><field name=\"DM\" start=\"8\" end=\"8\"/>"
	"<field name=\"ZM\" start=\"9\" end=\"9\"/><field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>"
	"<field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" end=\"15\"/></flags>";

static const char *feature_types(const char *feature)
{
	if (!strcmp(feature, "org.gnu.gdb.i386.core"))
		return core_types;
	return strcmp(feature, "org.gnu.gdb.i386.sse") ? "" : sse_types;
}

void gdb_reg_describe(bool wide, const char *architecture, void *file)
{
	const struct chunk *set = wide ? set64 : set32;

	fprintf(file,
		"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target><architecture>%s</architecture>",
		architecture);
	for (const struct chunk *c = set; c->count; c++) {
		if (c->feature)
			fprintf(file, "%s<feature name=\"%s\">%s", c == set ? "" : "</feature>",
				c->feature, feature_types(c->feature));
		for (unsigned n = 0; n < c->count; n++) {
			const struct reg *r = &c->regs[n];

			fprintf(file, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", r->name,
				8u * r->size, r->type);
			if (r->group)
				fprintf(file, " group=\"%s\"", r->group);
			fputs("/>", file);
		}
	}
	fputs("</feature></target>", file);
}
