/* Integer operations run on the host's own ALU, so that the status flags are the hardware's,
 * undefined ones included; and the condition codes of Jcc, SETcc and CMOVcc (SDM 1 appendix B). The
 * flags are kept as LAHF and SETO leave them in AX, which costs two instructions after the
 * operation and none that would need the stack as PUSHF does. */
#ifndef X86_ALU_H
#define X86_ALU_H

#include "x86/operand.h"

/* AX from the status flags, and the status flags from AX: 127 + OF overflows exactly if OF is set;
 * SAHF then sets the others and leaves OF alone. */
#define CC_SAVE    "\n\tlahf\n\tseto %%al"
#define CC_LOAD    "addb $127, %%al\n\tsahf\n\t"
#define CC_LOAD_CF "btw $8, %%ax\n\t"

/* One host instruction of each operand size on a (operand 0), with flags to f (operand 1). ax is
 * "=a", or "+a" if the code in `in` takes flags from f; the rest are the further inputs. */
#define HOST_SIZES(in, name, form, ax, ...)                                                \
	switch (size) {                                                                    \
	case 1: asm(in name "b " form("b") CC_SAVE : "+q"(a), ax(f) : __VA_ARGS__); break; \
	case 2: asm(in name "w " form("w") CC_SAVE : "+q"(a), ax(f) : __VA_ARGS__); break; \
	case 4: asm(in name "l " form("k") CC_SAVE : "+q"(a), ax(f) : __VA_ARGS__); break; \
	default: asm(in name "q " form("q") CC_SAVE : "+q"(a), ax(f) : __VA_ARGS__);       \
	}
#define HOST_ONE(s)   "%" s "0"
#define HOST_TWO(s)   "%" s "2, %" s "0"
#define HOST_BY_CL(s) "%%cl, %" s "0"

enum alu_op {
	ALU_ADD,
	ALU_OR,
	ALU_ADC,
	ALU_SBB,
	ALU_AND,
	ALU_SUB,
	ALU_XOR,
	ALU_CMP,
	ALU_TEST,
	ALU_OPS
};

inline_fn bool alu_writes(enum alu_op op) { return op != ALU_CMP && op != ALU_TEST; }

/* a OP b, where the high bytes of a and b beyond size do not matter; those of the result are
 * undefined. *cc: the flags before, then after. */
inline_fn u64 alu_binary(enum alu_op op, unsigned size, u64 a, u64 b, u16 *cc)
{
	u16 f = *cc;

	switch (op) {
	case ALU_ADD: HOST_SIZES("", "add", HOST_TWO, "=a", "q"(b)) break;
	case ALU_OR: HOST_SIZES("", "or", HOST_TWO, "=a", "q"(b)) break;
	case ALU_ADC: HOST_SIZES(CC_LOAD_CF, "adc", HOST_TWO, "+a", "q"(b)) break;
	case ALU_SBB: HOST_SIZES(CC_LOAD_CF, "sbb", HOST_TWO, "+a", "q"(b)) break;
	case ALU_AND: HOST_SIZES("", "and", HOST_TWO, "=a", "q"(b)) break;
	case ALU_SUB: HOST_SIZES("", "sub", HOST_TWO, "=a", "q"(b)) break;
	case ALU_XOR: HOST_SIZES("", "xor", HOST_TWO, "=a", "q"(b)) break;
	case ALU_CMP: HOST_SIZES("", "cmp", HOST_TWO, "=a", "q"(b)) break;
	default: HOST_SIZES("", "test", HOST_TWO, "=a", "q"(b)) break;
	}
	*cc = f;
	return a;
}

enum alu_unary { ALU_INC, ALU_DEC, ALU_NEG, ALU_NOT, ALU_UNARIES };

inline_fn u64 alu_one(enum alu_unary op, unsigned size, u64 a, u16 *cc)
{
	u16 f = *cc;

	switch (op) {
	case ALU_INC: HOST_SIZES(CC_LOAD_CF, "inc", HOST_ONE, "+a", ) break;
	case ALU_DEC: HOST_SIZES(CC_LOAD_CF, "dec", HOST_ONE, "+a", ) break;
	case ALU_NEG: HOST_SIZES("", "neg", HOST_ONE, "=a", ) break;
	default: return ~a;
	}
	*cc = f;
	return a;
}

/* True if condition cond (the low four bits of the opcode) holds. */
inline_fn bool cc_test(u16 cc, unsigned cond)
{
	bool less = ((cc >> 15) ^ cc) & 1; /* SF != OF */
	bool t;

	switch (cond >> 1) {
	case 0: t = cc & CC_OF; break;
	case 1: t = cc & CC_CF; break;
	case 2: t = cc & CC_ZF; break;
	case 3: t = cc & (CC_CF | CC_ZF); break;
	case 4: t = cc & CC_SF; break;
	case 5: t = cc & CC_PF; break;
	case 6: t = less; break;
	default: t = less || (cc & CC_ZF);
	}
	return t != (cond & 1);
}

/* The conditions in the order of their encoding. */
#define CONDITIONS(X, ...)     \
	X(0, o, __VA_ARGS__)   \
	X(1, no, __VA_ARGS__)  \
	X(2, b, __VA_ARGS__)   \
	X(3, ae, __VA_ARGS__)  \
	X(4, e, __VA_ARGS__)   \
	X(5, ne, __VA_ARGS__)  \
	X(6, be, __VA_ARGS__)  \
	X(7, a, __VA_ARGS__)   \
	X(8, s, __VA_ARGS__)   \
	X(9, ns, __VA_ARGS__)  \
	X(10, p, __VA_ARGS__)  \
	X(11, np, __VA_ARGS__) \
	X(12, l, __VA_ARGS__)  \
	X(13, ge, __VA_ARGS__) \
	X(14, le, __VA_ARGS__) \
	X(15, g, __VA_ARGS__)

#endif
