#ifndef TESTS_ORACLE_FORMS_H
#define TESTS_ORACLE_FORMS_H

#include "oracle.h"

#define FORMS_MAX 32768u

struct form {
	u64 key;
	u8 bytes[15]; /* a template */
	u8 head;      /* bytes before ModRM */
	bool modrm;
	u16 mnemonic;
	u32 runs;      /* cases compared */
	u32 completed; /* of them, without a fault */
};

struct forms {
	struct form *list;
	u32 *table; /* hash: index + 1 */
	unsigned count;
};

/* Every form of a code size that is not excluded. */
struct forms *forms_new(unsigned mode);
void forms_free(struct forms *f);
struct form *forms_find(struct forms *f, u64 key);
u64 form_key(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *ops);

#endif
