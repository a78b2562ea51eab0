/* The instruction forms of one code size: found by walking through the opcode space with the decoder. A form is a mnemonic with an
 * encoding and the kinds and sizes of its operands. */
#include "forms.h"

#include "x86/decoder.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_SIZE 65536u /* power of two, well above the number of forms */

static u64 mix(u64 h, u64 v)
{
	h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdull;
}

u64 form_key(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *ops)
{
	u64 h = mix(insn->mnemonic, insn->encoding);

	h = mix(h, insn->opcode | (u64)insn->opcode_map << 8);
	h = mix(h, insn->operand_width);
	h = mix(h, insn->avx.vector_length | (u64)insn->avx.broadcast.mode << 8 |
			   (u64)insn->avx.mask.mode << 16);
	for (unsigned n = 0; n < insn->operand_count_visible; n++) {
		h = mix(h, (u64)ops[n].type << 32 | ops[n].size);
		if (ops[n].type == ZYDIS_OPERAND_TYPE_REGISTER)
			h = mix(h, ZydisRegisterGetClass(ops[n].reg.value));
	}
	return h;
}

static unsigned slot_of(const struct forms *f, u64 key)
{
	unsigned s = (unsigned)key & (TABLE_SIZE - 1);

	while (f->table[s] && f->list[f->table[s] - 1].key != key)
		s = (s + 1) & (TABLE_SIZE - 1);
	return s;
}

struct form *forms_find(struct forms *f, u64 key)
{
	unsigned n = f->table[slot_of(f, key)];

	return n ? &f->list[n - 1] : NULL;
}

static void consider(struct forms *f, const ZydisDecoder *d, const u8 *bytes, unsigned head)
{
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	const char *why;

	if (!ZYAN_SUCCESS(x86_decoder_decode(d, bytes, 15, &insn, ops)) ||
	    gen_excluded(&insn, ops, &why))
		return;
	u64 key = form_key(&insn, ops);
	unsigned s = slot_of(f, key);

	if (f->table[s] || f->count == FORMS_MAX)
		return;
	struct form *form = &f->list[f->count++];

	f->table[s] = f->count;
	*form = (struct form){ .key = key,
			       .mnemonic = insn.mnemonic,
			       .head = (u8)head,
			       .modrm = insn.attributes & ZYDIS_ATTRIB_HAS_MODRM };
	memcpy(form->bytes, bytes, sizeof(form->bytes));
}

/* All values of the byte that follows the opcode which can tell forms apart. */
static void with_modrm(struct forms *f, const ZydisDecoder *d, u8 *bytes, unsigned head)
{
	for (unsigned m = 0; m < 256; m++) {
		unsigned mod = m >> 6, rm = m & 7;

		if (mod == 1 || mod == 2 || (mod == 0 && rm != 3))
			continue;
		bytes[head] = (u8)m;
		consider(f, d, bytes, head);
	}
}

static void legacy(struct forms *f, const ZydisDecoder *d, unsigned mode)
{
	static const u8 prefixes[] = { 0, 0x66, 0xf2, 0xf3 };
	static const char *const maps[] = { "", "\x0f", "\x0f\x38", "\x0f\x3a" };

	for (unsigned p = 0; p < 4; p++)
		for (unsigned w = 0; w < (mode == 64 ? 2u : 1u); w++)
			for (unsigned map = 0; map < 4; map++)
				for (unsigned op = 0; op < 256; op++) {
					u8 b[15] = { 0 };
					unsigned n = 0;

					if (prefixes[p])
						b[n++] = prefixes[p];
					if (w)
						b[n++] = 0x48;
					for (const char *m = maps[map]; *m; m++)
						b[n++] = (u8)*m;
					b[n++] = (u8)op;
					with_modrm(f, d, b, n);
				}
}

static void vex(struct forms *f, const ZydisDecoder *d)
{
	for (unsigned map = 1; map <= 3; map++)
		for (unsigned low = 0; low < 16; low++) /* W, L, pp */
			for (unsigned op = 0; op < 256; op++)
				for (unsigned v = 0; v < 2; v++) { /* vvvv unused or used */
					u8 b[15] = { 0xc4, (u8)(0xe0 | map),
						     (u8)((low & 8) << 4 | (v ? 0x70 : 0x78) |
							  (low & 7)),
						     (u8)op };

					with_modrm(f, d, b, 4);
				}
}

static void evex(struct forms *f, const ZydisDecoder *d)
{
	for (unsigned map = 1; map <= 6; map++)
		for (unsigned low = 0; low < 8; low++)             /* W, pp */
			for (unsigned high = 0; high < 32; high++) /* z, L'L, b, mask */
				for (unsigned op = 0; op < 256; op++)
					for (unsigned v = 0; v < 2; v++) {
						u8 b[15] = { 0x62, (u8)(0xf0 | map),
							     (u8)((low & 4) << 5 |
								  (v ? 0x74 : 0x7c) | (low & 3)),
							     (u8)((high & 16) << 3 |
								  (high & 12) << 3 |
								  (high & 2) << 3 | 8 | (high & 1)),
							     (u8)op };

						b[5] = 0xc1;
						consider(f, d, b, 5);
						b[5] = 0x03;
						consider(f, d, b, 5);
						if (op >= 0x70 && op <= 0x73)
							with_modrm(f, d, b, 5);
						if (op >= 0xc6 && op <= 0xc7)
							with_modrm(f, d, b, 5);
					}
}

struct forms *forms_new(unsigned mode)
{
	struct forms *f = calloc(1, sizeof(*f));
	ZydisDecoder d;

	f->list = calloc(FORMS_MAX, sizeof(*f->list));
	f->table = calloc(TABLE_SIZE, sizeof(*f->table));
	x86_decoder_init(&d, mode);
	legacy(f, &d, mode);
	vex(f, &d);
	evex(f, &d);
	return f;
}

void forms_free(struct forms *f)
{
	free(f->list);
	free(f->table);
	free(f);
}
