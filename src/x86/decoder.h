/* The one configuration of Zydis: what decodes an instruction twice must see the same one. */
#ifndef X86_DECODER_H
#define X86_DECODER_H

#include <Zydis/Zydis.h>

/* Readies a decoder for a code size of 16, 32 or 64. */
void x86_decoder_init(ZydisDecoder *d, unsigned mode);

#endif
