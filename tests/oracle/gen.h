/* Between the generators of single instructions and of sequences. */
#ifndef TESTS_ORACLE_GEN_H
#define TESTS_ORACLE_GEN_H

#include "forms.h"

/* An instruction of the form with random registers, addressing, prefixes and immediates: bytes, len, insn, ops. False if the draw
 * did not come out as that form. */
bool gen_draw(struct rng *r, unsigned mode, const struct form *form, struct oracle_case *c);
/* Decodes c->bytes into insn and ops. */
bool gen_redecode(struct oracle_case *c);
u64 gen_edge_value(struct rng *r);
/* Everything but rip. */
void gen_state(struct rng *r, unsigned mode, struct oracle_state *s);
/* Offset in its segment of a place in the data pages: mostly well inside, sometimes across a page, beyond the end or before the
 * start. */
u32 gen_data_offset(struct rng *r, unsigned mode);
/* The number of an address register, -1 for none. */
int gen_slot(ZydisRegister reg);

#endif
