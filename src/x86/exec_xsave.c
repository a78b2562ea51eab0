/* FXSAVE, FXRSTOR and the XSAVE family on the guest's own state (SDM 1 10.5.1, 13.4 to 13.12). */
#include "x86/exec_host.h"

#include <Zydis/Zydis.h>

#define XSAVE_HEADER   512u
#define XSAVE_EXTENDED 576u
#define HEADER_SIZE    64u
#define COMPACTED      BIT(63)
#define COMPONENTS     8u

/* --- The legacy region --- */

/* i->opsize 8: FXSAVE64 and the like, with 64-bit pointers. */
static bool pointers64(const struct x86_insn *i) { return i->opsize == 8; }

/* XMM registers, and the parts of YMM and ZMM registers: 8 outside 64-bit mode. */
static unsigned vector_count(const struct vcpu *v) { return x86_64bit(&v->cpu) ? 16 : 8; }

/* Bytes 0..23 and 32..159 of an image: the x87 state. */
static void build_x87(const struct vcpu *v, bool wide, u8 *image)
{
	const struct x86_cpu *cpu = &v->cpu;

	memcpy(image, cpu->xsave, FX_MXCSR);
	image[5] = 0;
	if (!wide) {
		bool keeps = !cpuid_bit(v->vm, CPUID_NO_FCS_FDS);

		le_store(image + FX_FIP + 4, keeps ? fpu_get16(cpu, FX_FCS) : 0, 4);
		le_store(image + FX_FDP + 4, keeps ? fpu_get16(cpu, FX_FDS) : 0, 4);
	}
	/* AMD stores the pointers of pending exceptions alone (APM 2 11.4.4; CPUID 8000_0008h
	 * EBX bit 2). */
	if (cpuid_bit(v->vm, CPUID_XSAVEERPTR) && !(fpu_get16(cpu, FX_FSW) & FSW_ES))
		memset(image + FX_FOP, 0, FX_MXCSR - FX_FOP);
	for (unsigned k = 0; k < 8; k++) {
		memcpy(image + FX_ST + 16 * k, cpu->xsave + FX_ST + 16 * k, 10);
		memset(image + FX_ST + 16 * k + 10, 0, 6);
	}
}

static void load_x87(struct vcpu *v, bool wide, const u8 *image)
{
	struct x86_cpu *cpu = &v->cpu;
	u16 fcw = (u16)((le_load(image + FX_FCW, 2) & 0x1f3f) | 0x40);

	memcpy(cpu->xsave, image, FX_MXCSR);
	fpu_set16(cpu, FX_FCW, fcw);
	fpu_set16(cpu, FX_FSW, fpu_fsw_derive(fcw, (u16)le_load(image + FX_FSW, 2)));
	cpu->xsave[5] = 0;
	fpu_set16(cpu, FX_FOP, le_load(image + FX_FOP, 2) & 0x7ff);
	fpu_set32(cpu, FX_FCS, 0);
	if (!wide) {
		fpu_set16(cpu, FX_FCS, le_load(image + FX_FIP + 4, 2));
		fpu_set16(cpu, FX_FDS, le_load(image + FX_FDP + 4, 2));
		fpu_set32(cpu, FX_FIP + 4, 0);
		fpu_set32(cpu, FX_FDP + 4, 0);
	}
	for (unsigned k = 0; k < 8; k++) {
		memset(cpu->xsave + FX_ST + 16 * k, 0, 16);
		memcpy(cpu->xsave + FX_ST + 16 * k, image + FX_ST + 16 * k, 10);
	}
	fpu_use(cpu, XC_X87);
}

static void init_x87(struct x86_cpu *cpu)
{
	x86_fpu_finit(cpu);
	memset(cpu->xsave + FX_ST, 0, 128);
}

/* MXCSR and its mask, which lie between the two halves of the x87 state. */
static void build_mxcsr(const struct vcpu *v, u8 *image)
{
	le_store(image + FX_MXCSR, fpu_get32(&v->cpu, FX_MXCSR), 4);
	le_store(image + FX_MXCSR_MASK, fpu_mxcsr_mask(v), 4);
}

static void check_mxcsr(struct vcpu *v, const u8 *image)
{
	if ((u32)le_load(image + FX_MXCSR, 4) & ~fpu_mxcsr_mask(v))
		x86_raise_gp0(v);
}

/* --- FXSAVE and FXRSTOR --- */

/* Without OSFXSR the instructions leave out MXCSR and the XMM registers (SDM 2A FXSAVE leaves it
 * open, APM 5 says so). */
static bool with_sse(const struct vcpu *v)
{
	return (v->cpu.cr4 & CR4_OSFXSR) && cpuid_bit(v->vm, CPUID_SSE);
}

static void begin_fx(struct vcpu *v)
{
	if (!cpuid_bit(v->vm, CPUID_FXSR))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_FXSR);
}

static gva_t aligned_operand(struct vcpu *v, const struct x86_insn *i, unsigned size,
			     unsigned align, enum x86_access acc)
{
	gva_t a = x86_operand(v, i, size, acc);

	if (a & (align - 1))
		x86_raise_gp0(v);
	return a;
}

static void exec_fxsave(struct vcpu *v, const struct x86_insn *i)
{
	u8 image[FX_SIZE] = { 0 };
	unsigned size = FX_XMM;
	gva_t a;

	begin_fx(v);
	a = aligned_operand(v, i, FX_SIZE, 16, ACC_WRITE);
	build_x87(v, pointers64(i), image);
	if (with_sse(v)) {
		build_mxcsr(v, image);
		size += 16 * vector_count(v);
		memcpy(image + FX_XMM, v->cpu.xsave + FX_XMM, size - FX_XMM);
	}
	x86_write_bytes(v, a, image, size);
}

static void exec_fxrstor(struct vcpu *v, const struct x86_insn *i)
{
	u8 image[FX_SIZE];

	begin_fx(v);
	x86_read_bytes(v, aligned_operand(v, i, FX_SIZE, 16, ACC_READ), image, FX_SIZE);
	if (with_sse(v)) {
		check_mxcsr(v, image);
		fpu_set32(&v->cpu, FX_MXCSR, le_load(image + FX_MXCSR, 4));
		memcpy(v->cpu.xsave + FX_XMM, image + FX_XMM, 16 * vector_count(v));
		fpu_use(&v->cpu, XC_SSE);
	}
	load_x87(v, pointers64(i), image);
}

/* --- XSAVE --- */

/* A component beyond the legacy region: where it is kept, and how many bytes the present mode
 * can reach. */
static unsigned component_size(const struct vcpu *v, unsigned c)
{
	if (x86_64bit(&v->cpu))
		return xsave_layout()->size[c];
	switch (c) {
	case 2: return 8 * 16;
	case 6: return 8 * 32;
	case 7: return 0;
	default: return xsave_layout()->size[c];
	}
}

/* Offset of component c in an image; format is XCOMP_BV, or 0 for the standard format. */
static unsigned image_offset(u64 format, unsigned c)
{
	const struct xsave_layout *l = xsave_layout();
	unsigned offset = XSAVE_EXTENDED;

	if (!(format & COMPACTED))
		return l->offset[c];
	for (unsigned k = 2; k < c; k++)
		if (format & BIT(k))
			offset += l->size[k];
	return offset;
}

static unsigned image_end(u64 format, u64 components)
{
	unsigned end = XSAVE_EXTENDED;

	for (unsigned c = 2; c < COMPONENTS; c++)
		if (components & BIT(c))
			end = MAX(end, image_offset(format, c) + xsave_layout()->size[c]);
	return end;
}

struct xsave_form {
	u16 feature;
	bool compacted, supervisor, optimised;
};

static struct xsave_form form_of(unsigned mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		return (struct xsave_form){ .feature = CPUID_XSAVEOPT, .optimised = true };
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
		return (struct xsave_form){ .feature = CPUID_XSAVEC,
					    .optimised = true,
					    .compacted = true };
	case ZYDIS_MNEMONIC_XSAVES:
	case ZYDIS_MNEMONIC_XSAVES64:
	case ZYDIS_MNEMONIC_XRSTORS:
	case ZYDIS_MNEMONIC_XRSTORS64:
		return (struct xsave_form){ .feature = CPUID_XSAVES,
					    .optimised = true,
					    .compacted = true,
					    .supervisor = true };
	default: return (struct xsave_form){ .feature = CPUID_XSAVE };
	}
}

/* The checks that come first; returns RFBM. */
static u64 begin_xsave(struct vcpu *v, const struct xsave_form *f)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 enabled = cpu->xcr0 | (f->supervisor ? cpu->xss : 0);

	if (!cpuid_bit(v->vm, f->feature) || !(cpu->cr4 & CR4_OSXSAVE))
		x86_raise_ud(v);
	if (cpu->cr0 & CR0_TS)
		x86_raise(v, EXC_NM);
	if (f->supervisor && cpu->cpl != 0)
		x86_raise_gp0(v);
	return enabled & (cpu->gpr[RDX] << 32 | (u32)cpu->gpr[RAX]);
}

/* Pieces of an image to be written, all of them checked before the first is. */
struct pieces {
	unsigned count;
	struct {
		unsigned offset, size;
	} at[4 + COMPONENTS];
};

static void piece_add(struct pieces *p, unsigned offset, unsigned size)
{
	if (p->count != 0 && p->at[p->count - 1].offset + p->at[p->count - 1].size == offset) {
		p->at[p->count - 1].size += size;
	} else if (size != 0) {
		p->at[p->count].offset = offset;
		p->at[p->count++].size = size;
	}
}

/* Fills the image with the components in `saved`, and lists what is to be written, in order of
 * offset. */
static void build_components(const struct vcpu *v, const struct x86_insn *i, u64 saved, bool mxcsr,
			     u64 format, u8 *image, struct pieces *p)
{
	const struct x86_cpu *cpu = &v->cpu;

	if (saved & XC_X87) {
		build_x87(v, pointers64(i), image);
		piece_add(p, 0, FX_MXCSR);
	}
	if (mxcsr) {
		build_mxcsr(v, image);
		piece_add(p, FX_MXCSR, 8);
	}
	if (saved & XC_X87)
		piece_add(p, FX_ST, FX_XMM - FX_ST);
	if (saved & XC_SSE) {
		memcpy(image + FX_XMM, cpu->xsave + FX_XMM, 16 * vector_count(v));
		piece_add(p, FX_XMM, 16 * vector_count(v));
	}
	piece_add(p, XSAVE_HEADER, format & COMPACTED ? 16 : 8);
	for (unsigned c = 2; c < COMPONENTS; c++) {
		unsigned size = component_size(v, c), offset = image_offset(format, c);

		if (!(saved & BIT(c)) || size == 0)
			continue;
		memcpy(image + offset, cpu->xsave + xsave_layout()->offset[c], size);
		piece_add(p, offset, size);
	}
}

static void exec_xsave(struct vcpu *v, const struct x86_insn *i)
{
	struct xsave_form f = form_of(i->mnemonic);
	u64 rfbm = begin_xsave(v, &f), inuse = x86_xinuse(&v->cpu), saved, format = 0, bv;
	u8 image[X86_XSAVE_SIZE];
	struct pieces p = { 0 };
	bool mxcsr;
	gva_t a;

	a = aligned_operand(v, i, image_end(0, 0), 64, ACC_WRITE);
	if (f.compacted) {
		/* 13.10: MXCSR counts as part of SSE here. */
		if (fpu_get32(&v->cpu, FX_MXCSR) != MXCSR_INIT)
			inuse |= XC_SSE;
		format = COMPACTED | rfbm;
		bv = rfbm & inuse;
	} else {
		bv = (x86_read_rmw(v, a + XSAVE_HEADER, 8) & ~rfbm) | (inuse & rfbm);
	}
	saved = f.optimised ? rfbm & inuse : rfbm;
	mxcsr = f.compacted ? saved & XC_SSE : rfbm & (XC_SSE | XC_AVX);
	a = x86_operand(v, i, image_end(format, rfbm), ACC_WRITE);
	build_components(v, i, saved, mxcsr, format, image, &p);
	le_store(image + XSAVE_HEADER, bv, 8);
	le_store(image + XSAVE_HEADER + 8, format, 8);
	for (unsigned k = 0; k < p.count; k++)
		x86_probe(v, a + p.at[k].offset, p.at[k].size, ACC_WRITE);
	for (unsigned k = 0; k < p.count; k++)
		x86_write_bytes(v, a + p.at[k].offset, image + p.at[k].offset, p.at[k].size);
}

/* --- XRSTOR --- */

/* The rules of 13.8 and 13.12; returns XCOMP_BV, 0 for the standard format. */
static u64 check_header(struct vcpu *v, const struct xsave_form *f, const u8 *header)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 bv = le_load(header, 8), comp = le_load(header + 8, 8), rest = 0;
	u64 enabled = cpu->xcr0 | (f->supervisor ? cpu->xss : 0);
	bool bad;

	for (unsigned k = 16; k < HEADER_SIZE; k += 8)
		rest |= le_load(header + k, 8);
	if (comp & COMPACTED)
		bad = !(cpuid_bit(v->vm, CPUID_XSAVEC) || f->supervisor) ||
		      (comp & ~COMPACTED & ~enabled) || (bv & ~comp) || (bv & COMPACTED) ||
		      rest != 0;
	else
		bad = f->supervisor || comp != 0 || le_load(header + 16, 8) != 0 ||
		      (bv & ~cpu->xcr0);
	if (bad)
		x86_raise_gp0(v);
	return comp;
}

static void restore_sse(struct vcpu *v, bool load, const u8 *image)
{
	u8 *xmm = v->cpu.xsave + FX_XMM;

	if (load)
		memcpy(xmm, image + FX_XMM, 16 * vector_count(v));
	else
		memset(xmm, 0, 16 * vector_count(v));
}

static void restore_components(struct vcpu *v, u64 rfbm, u64 bv, u64 format, const u8 *image)
{
	struct x86_cpu *cpu = &v->cpu;

	for (unsigned c = 2; c < COMPONENTS; c++) {
		u8 *state = cpu->xsave + xsave_layout()->offset[c];
		unsigned size = component_size(v, c);

		if (!(rfbm & BIT(c)))
			continue;
		if (bv & BIT(c))
			memcpy(state, image + image_offset(format, c), size);
		else
			memset(state, 0, size);
	}
	/* Outside 64-bit mode the upper registers may still hold something. */
	if (!x86_64bit(cpu))
		bv |= x86_xinuse(cpu);
	fpu_set64(cpu, XS_BV, (x86_xinuse(cpu) & ~rfbm) | (bv & rfbm));
}

static void exec_xrstor(struct vcpu *v, const struct x86_insn *i)
{
	struct xsave_form f = form_of(i->mnemonic);
	u64 rfbm = begin_xsave(v, &f), format, bv, needed;
	u8 image[X86_XSAVE_SIZE];
	bool mxcsr;
	gva_t a;

	a = aligned_operand(v, i, XSAVE_EXTENDED, 64, ACC_READ);
	x86_read_bytes(v, a, image, XSAVE_EXTENDED);
	format = check_header(v, &f, image + XSAVE_HEADER);
	bv = le_load(image + XSAVE_HEADER, 8);
	needed = rfbm & bv;
	if (format & COMPACTED)
		mxcsr = needed & XC_SSE;
	else
		mxcsr = rfbm & (XC_SSE | XC_AVX);
	if (mxcsr)
		check_mxcsr(v, image);
	x86_operand(v, i, image_end(format, needed), ACC_READ);
	for (unsigned c = 2; c < COMPONENTS; c++)
		if (needed & BIT(c))
			x86_read_bytes(v, a + image_offset(format, c),
				       image + image_offset(format, c), xsave_layout()->size[c]);
	/* Nothing faults from here on. */
	if (mxcsr)
		fpu_set32(&v->cpu, FX_MXCSR, le_load(image + FX_MXCSR, 4));
	else if ((format & COMPACTED) && (rfbm & XC_SSE))
		fpu_set32(&v->cpu, FX_MXCSR, MXCSR_INIT);
	if (rfbm & XC_SSE)
		restore_sse(v, bv & XC_SSE, image);
	if (needed & XC_X87)
		load_x87(v, pointers64(i), image);
	else if (rfbm & XC_X87)
		init_x87(&v->cpu);
	restore_components(v, rfbm, bv, format, image);
}

x86_exec_fn *x86_bind_xsave(struct x86_insn *i, const struct x86_zydis *z)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64: return exec_fxsave;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: return exec_fxrstor;
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVES:
	case ZYDIS_MNEMONIC_XSAVES64: return exec_xsave;
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XRSTORS:
	case ZYDIS_MNEMONIC_XRSTORS64: return exec_xrstor;
	default: return host_bind_x87env(i, z);
	}
}
