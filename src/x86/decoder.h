/* What stays between decode.c and those who ask Zydis themselves. One configuration: what decodes an
 * instruction twice must see the same one. */
#ifndef X86_DECODER_H
#define X86_DECODER_H

#include "base/types.h"

#include <Zydis/Zydis.h>

struct x86_insn;

/* Readies a decoder for a code size of 16, 32 or 64. */
void x86_decoder_init(ZydisDecoder *d, unsigned mode);
/* ZydisDecoderDecodeFull into ops[ZYDIS_MAX_OPERAND_COUNT], with what Zydis 4.0 gets wrong put right. */
ZyanStatus x86_decoder_decode(const ZydisDecoder *d, const u8 *bytes, unsigned avail,
			      ZydisDecodedInstruction *z, ZydisDecodedOperand *ops) must_check;

/* x86_decode that also gives what Zydis said: *z and ops[ZYDIS_MAX_OPERAND_COUNT] are valid if it
 * returns 1. */
int x86_decode_full(struct x86_insn *i, const u8 *bytes, unsigned avail, unsigned mode,
		    ZydisDecodedInstruction *z, ZydisDecodedOperand *ops) must_check;

#endif
