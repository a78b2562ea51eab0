/* Makes a unit: decodes guest instructions up to the end of the page, of the run or of the limit, lets the family of each write its
 * host code, and has C do what no family takes. */
#include "engine/bt/tr.h"

#include "base/trace.h"
#include "engine/granule.h"
#include "x86/mem.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

/* --- Registers ------------------------------------------------------------------------------------ */

unsigned tr_use_byte(struct tr *t, const struct x86_operand *o, unsigned scratch)
{
	if (o->kind == OPK_GPR)
		return tr_use(t, o->reg, scratch);
	as_rorx(&t->a, false, scratch, bt_home[o->reg], 8);
	return scratch;
}

void tr_done_byte(struct tr *t, const struct x86_operand *o, unsigned reg, unsigned spare)
{
	unsigned home = bt_home[o->reg];

	if (o->kind == OPK_GPR) {
		tr_done(t, o->reg, reg);
		return;
	}
	/* Into bits 8..15: rotated down, merged, rotated back. */
	as_rorx(&t->a, true, spare, home, 8);
	as_op(&t->a, 0, 0x8a, 1, spare, rm_reg(reg));
	as_rorx(&t->a, true, home, spare, 56);
}

unsigned tr_use_op(struct tr *t, const struct x86_operand *o, unsigned scratch)
{
	return o->size == 1 ? tr_use_byte(t, o, scratch) : tr_use(t, o->reg, scratch);
}

void tr_done_op(struct tr *t, const struct x86_operand *o, unsigned reg, unsigned spare)
{
	if (o->size == 1)
		tr_done_byte(t, o, reg, spare);
	else
		tr_done(t, o->reg, reg);
}

/* --- Leaving the unit ----------------------------------------------------------------------------- */

void tr_rip(struct tr *t, unsigned reg, i64 off)
{
	as_load(&t->a, 8, reg, rm_ctx(CTX_BT(vrip)));
	if (off != (i32)off) { /* RIP-relative, at the far end of the page */
		as_lea(&t->a, 8, reg, rm_mem(reg, 4095));
		off -= 4095;
	}
	as_lea(&t->a, t->mode == 64 ? 8 : 4, reg, rm_mem(reg, (i32)off));
}

void tr_jump_rax(struct tr *t)
{
	struct as *a = &t->a;
	size_t jump = CTX_BT(jump) + jump_index(t->bt, t->key) * sizeof(struct jump_cache);

	as_loadz(a, 2, H_RCX, rm_reg(H_RAX));
	as_load(a, 8, H_RDX, rm_ctx_array(jump + offsetof(struct jump_cache, entry), H_RCX));
	as_load(a, 8, H_RCX, rm_ctx_array(jump + offsetof(struct jump_cache, tag), H_RCX));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RAX, 0, 0));

	u8 *hit = as_jrcxz(a);

	/* An address that no code can have faults in the instruction that jumps. */
	as_mov_imm(a, H_RCX, t->i ? bt_id(t->bt, &t->u->insn[t->k]) : 0);
	as_jmp_to(a, t->bt->stub.miss);
	as_short_here(a, hit);
	as_jmp_reg(a, H_RDX);
}

void tr_exit(struct tr *t, int cond, i64 target)
{
	struct bt_exit *x = &t->exit[t->nexits++];

	assert(t->nexits <= ARRAY_LEN(t->exit));
	*x = (struct bt_exit){ .target = target, .give_back = t->k };
	x->at = cond < 0 ? as_jmp(&t->a) : as_jcc(&t->a, (unsigned)cond);
}

void tr_exit_single(struct tr *t, unsigned k)
{
	struct bt_exit *x = &t->exit[t->nexits];

	tr_exit(t, -1, (i64)t->page_off + t->insn[k].off);
	x->single = true;
	x->give_back = k - 1; /* instructions behind this one are left out: k is */
}

/* Counted: a side exit gives back what was paid for instructions that it leaves out. */
static void give_back(struct tr *t, u32 insns)
{
	if (!t->bt->counted || !insns)
		return;
	as_load(&t->a, 8, H_RCX, rm_ctx(CTX_BT(left)));
	as_lea(&t->a, 8, H_RCX, rm_mem(H_RCX, (i32)insns));
	as_store(&t->a, 8, rm_ctx(CTX_BT(left)), H_RCX);
}

/* Whether there is an instruction across two pages at offset `target` of the page. */
static bool leads_across(const struct tr *t, u32 target)
{
	struct x86_insn i;

	return target >= BT_CROSS_OFF && (t->key & KEY_CS_WIDE) &&
	       x86_decode_cached(t->bt->vm->decode, &i, granule_page(t->u->guest) + target,
				 4096 - target, t->mode) == 0;
}

static void emit_exits(struct tr *t)
{
	struct as *a = &t->a;

	for (unsigned n = 0; n < t->nexits; n++) {
		struct bt_exit *x = &t->exit[n];
		struct bt_exit *mine = &t->u->exit[n];
		u32 left_out = t->u->count - 1u - x->give_back;
		bool in_page = x->target >= 0 && x->target < 4096 && (t->key & KEY_CS_LINK) &&
			       !leads_across(t, (u32)x->target);

		as_patch_here(a, x->at);
		give_back(t, left_out);
		*mine = *x;
		mine->from = t->u;
		mine->give_back = left_out;
		if (in_page) {
			/* Counted, the jump that is linked is the one after the counting. */
			if (t->bt->counted && left_out) {
				mine->at = as_jmp(a);
				as_patch_here(a, mine->at);
			}
			mine->stub = as_here(a);
			as_mov_imm(a, H_RCX, bt_id(t->bt, mine));
			as_jmp_to(a, t->bt->stub.exit);
		} else {
			tr_rip(t, H_RAX, x->target);
			/* Jumps wrap in their segment; what goes on behind 64 KiB does not. */
			if (t->mode == 16 && !x->falls)
				as_loadz(a, 2, H_RAX, rm_reg(H_RAX));
			if (t->key & KEY_CS_LINK)
				tr_jump_rax(t);
			else {
				as_mov_imm(a, H_RCX, 0);
				as_jmp_to(a, t->bt->stub.miss);
			}
		}
	}
}

/* --- One instruction ------------------------------------------------------------------------------ */

/* C runs the present instruction, and goes on behind it if it can. */
static void emit_fallback(struct tr *t)
{
	t->u->insn[t->k].kept = (u8)t->nkept;
	t->kept[t->nkept++] = (u8)t->k;
	as_mov_imm(&t->a, H_RCX, bt_id(t->bt, &t->u->insn[t->k]));
	as_jmp_to(&t->a, t->bt->stub.insn);
}

static bool loads_segment(const struct x86_insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS: return true;
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_POP: return i->nops && i->op[0].kind == OPK_SEG;
	default: return false;
	}
}

static bool is_string(const struct x86_insn *i)
{
	return (i->flags & (INSN_REP | INSN_REPNE)) && (i->flags & INSN_BRANCH);
}

/* Nothing behind the instruction may be executed without looking at the CPU's state again. */
static bool ends_unit(const struct x86_insn *i)
{
	if (i->flags & INSN_END)
		return true;
	if (i->flags & INSN_BRANCH)
		return !is_string(i);
	return loads_segment(i);
}

/* MOVSD and CMPSD are also names of SSE2 instructions, which have operands to see. */
static bt_emit_fn *emit_fn(const struct tr *t)
{
	u16 m = t->i->mnemonic;

	if (t->i->nops == 0 && (m == ZYDIS_MNEMONIC_MOVSD || m == ZYDIS_MNEMONIC_CMPSD))
		return emit_string_d;
	return t->bt->emit[m];
}

/* False if C runs it. */
static bool emit_insn(struct tr *t)
{
	bt_emit_fn *emit = emit_fn(t);
	u8 *start = t->a.p;
	unsigned slows = t->slows, nexits = t->nexits;
	struct tr_group group[16];

	memcpy(group, t->group, sizeof(group));
	t->ends = ends_unit(t->i);
	t->writes = TR_WRITES_ALL;
	t->opened = GROUP_NONE;
	if (emit && emit(t))
		return true;
	/* What it may have written before it gave up does not count. */
	t->a.p = start;
	memcpy(t->group, group, sizeof(group));
	t->slows = slows;
	t->nexits = nexits;
	/* C may do anything. */
	t->wrote = true;
	t->u->insn[t->k].gate = GATE_NONE;
	/* C may close gates. */
	t->fp_ready = 0;
	t->opened = GROUP_NONE;
	emit_fallback(t);
	return false;
}

/* --- The unit ------------------------------------------------------------------------------------- */

/* Bytes of an immediate that changes where code is patched, if the emitter can take it from the guest's code: of an operation on a whole
 * register. There is no displacement, and no prefix looks like one of these opcodes. */
static unsigned live_bytes(const struct x86_insn *i)
{
	const u8 *end = i->bytes + i->len;

	if (i->nops < 2 || i->op[0].kind != OPK_GPR || i->op[0].size < 4 ||
	    i->op[1].kind != OPK_IMM || i->len < 5)
		return 0;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (i->op[0].size == 8 && i->len >= 10 && (end[-9] & 0xf8) == 0xb8)
			return 8;
		return 4;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_CMP:
		return (end[-5] & 0xc7) == 0x05 || (i->len >= 6 && end[-6] == 0x81) ? 4 : 0;
	default: return 0;
	}
}

bool tr_live_imm(struct tr *t)
{
	unsigned bytes = t->live[t->k];

	if (bytes)
		as_mov_imm(&t->a, H_RDX,
			   (u64)(uintptr_t)(t->u->guest + t->i->off + t->i->len - bytes));
	return bytes;
}

static void decode(struct tr *t, const u8 *guest)
{
	struct unit *u = t->u;
	unsigned room = t->crosses ? 15 : 4096 - t->page_off;

	while (u->count < t->limit && u->bytes < room) {
		struct x86_insn *i = &t->insn[u->count];
		unsigned avail = MIN(room - u->bytes, 15u);

		int got = x86_decode_cached(t->bt->vm->decode, i, guest + u->bytes, avail, t->mode);

		if (got == 0 || u->bytes + i->len > 255u)
			break;
		if (got < 0) /* C raises #UD */
			i->mnemonic = ZYDIS_MNEMONIC_INVALID;
		i->off = (u8)u->bytes;
		t->live[u->count] = u->checked ? (u8)live_bytes(i) : 0;
		u->insn[u->count] = (struct unit_insn){
			.off = i->off, .k = u->count, .kept = NOT_KEPT, .group = NO_GROUP
		};
		u->bytes = (u16)(u->bytes + i->len);
		u->count++;
		if (ends_unit(i)) {
			/* A conditional jump goes on where it is not taken. */
			if (!t->bt->goes_on[i->mnemonic])
				break;
		}
	}
}

/* --- Units that check themselves ------------------------------------------------------------------- */

static void make_words(struct tr *t)
{
	struct unit *u = t->u;
	u8 keep[256];

	memset(keep, 0xff, u->bytes);
	for (unsigned k = 0; k < u->count; k++)
		memset(keep + t->insn[k].off + t->insn[k].len - t->live[k], 0, t->live[k]);
	for (unsigned n = 0; n < u->bytes; n += 8) {
		struct unit_word *w = &u->word[u->words];

		/* At the end of the page the last word begins earlier, maybe in front of the unit. */
		*w = (struct unit_word){ .off = (i32)(t->crosses ? n
								 : MIN(n, 4088 - t->page_off)) };
		for (i32 b = 0; b < 8; b++)
			if (w->off + b >= 0 && w->off + b < u->bytes)
				w->mask |= (u64)keep[w->off + b] << 8 * b;
		w->value = le_load(u->guest + w->off, 8) & w->mask;
		if (w->mask)
			u->words++;
	}
}

bool bt_unit_holds(const struct unit *u)
{
	for (unsigned n = 0; n < u->words; n++)
		if ((le_load(u->guest + u->word[n].off, 8) & u->word[n].mask) != u->word[n].value)
			return false;
	return true;
}

/* The bytes of value under mask, side by side, as PEXT has them. */
static u64 extract(u64 value, u64 mask)
{
	u64 sum = 0;
	unsigned at = 0;

	for (unsigned b = 0; b < 64; b += 8)
		if (mask >> b & 0xff) {
			sum |= (value >> b & 0xff) << at;
			at += 8;
		}
	return sum;
}

/* Jumps to where the unit gives up, if the guest's bytes are not those that it was made of. */
static void emit_check(struct tr *t, u8 **out)
{
	struct as *a = &t->a;

	as_mov_imm(a, H_RAX, (u64)(uintptr_t)t->u->guest);
	for (unsigned n = 0; n < t->u->words; n++) {
		const struct unit_word *w = &t->u->word[n];
		u64 minus = -extract(w->value, w->mask);

		as_load(a, 8, H_RCX, rm_mem(H_RAX, w->off));
		if (~w->mask) {
			as_mov_imm(a, H_RDX, w->mask);
			as_pext(a, H_RCX, H_RCX, H_RDX);
		}
		as_mov_imm(a, H_RDX, minus);
		as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));

		u8 *same = as_jrcxz(a);

		out[n] = as_jmp(a);
		as_short_here(a, same);
	}
}

static void emit_entry(struct tr *t, u8 **out)
{
	struct as *a = &t->a;

	as_lea(a, t->mode == 64 ? 8 : 4, H_RAX, rm_mem(H_RAX, -(i32)t->page_off));
	as_store(a, 8, rm_ctx(CTX_BT(vrip)), H_RAX);
	t->u->near = (u16)(a->p - t->u->code);
	if (t->bt->counted) {
		as_load(a, 8, H_RCX, rm_ctx(CTX_BT(left)));
		as_lea(a, 8, H_RCX, rm_mem(H_RCX, -(i32)t->u->count));
		as_rorx(a, true, H_RDX, H_RCX, 32);
		as_store(a, 8, rm_ctx(CTX_BT(left)), H_RCX);
		as_mov(a, 4, H_RCX, H_RDX);

		u8 *paid = as_jrcxz(a);

		out[0] = as_jmp(a);
		as_short_here(a, paid);
	}
	as_load(a, 4, H_RCX, rm_ctx(CTX(attention)));

	u8 *calm = as_jrcxz(a);

	out[1] = as_jmp(a);
	as_short_here(a, calm);
	t->u->body = (u16)(a->p - t->u->code);
	if (t->u->checked)
		emit_check(t, out + 2);
}

static void emit_out(struct tr *t, u8 **out)
{
	struct as *a = &t->a;

	t->u->size = (u32)(a->p - t->u->code);
	/* A dead unit's entry leads here: rip is in RAX. */
	as_lea(a, t->mode == 64 ? 8 : 4, H_RAX, rm_mem(H_RAX, -(i32)t->page_off));
	as_store(a, 8, rm_ctx(CTX_BT(vrip)), H_RAX);
	as_mov_imm(a, H_RCX, bt_id(t->bt, t->u));
	as_jmp_to(a, t->bt->stub.entry);
	for (unsigned n = 0; n < t->u->words + 2u; n++)
		if (out[n])
			as_patch_here(a, out[n]);
	give_back(t, t->u->count);
	as_mov_imm(a, H_RCX, bt_id(t->bt, t->u));
	as_jmp_to(a, t->bt->stub.entry);
}

/* False if an instruction that may write must be the last one of the unit: limit says so then. */
static bool emit_unit(struct tr *t)
{
	struct unit *u = t->u;
	u8 *out[2 + UNIT_MAX_WORDS] = { NULL };

	emit_entry(t, out);
	for (t->k = 0; t->k < u->count; t->k++) {
		struct unit_insn *n = &u->insn[t->k];

		t->i = &t->insn[t->k];
		n->host = (u16)(t->a.p - u->code);
		group_next(t, !emit_insn(t));
		n->end = (u16)(t->a.p - u->code);
		if (u->checked && t->wrote && t->k + 1 < u->count) {
			t->limit = t->k + 1;
			return false;
		}
	}
	t->k = u->count - 1u;
	u->falls = !t->ends;
	if (u->falls) {
		tr_exit(t, -1, (i64)t->page_off + u->bytes);
		t->exit[t->nexits - 1].falls = true;
	}
	t->i = NULL;
	tr_emit_slow(t);
	emit_exits(t);
	emit_out(t, out);
	u->total = (u32)(t->a.p - u->code);
	return true;
}

const struct x86_insn *bt_insn(const struct bt *bt, const struct unit_insn *n,
			       struct x86_insn *room)
{
	const struct unit *u = unit_of(n);

	if (n->kept != NOT_KEPT)
		return &u->kept[n->kept];
	if (x86_decode_cached(bt->vm->decode, room, u->guest + n->off,
			      MIN((unsigned)u->bytes - n->off, 15u), key_bits(u->key)) == 0) {
		assert(u->checked);
		return NULL;
	}
	room->off = n->off;
	return room;
}

/* Makes the unit in t->u. False if not even one instruction lies in the page. */
static bool make_unit(struct tr *t, const u8 *guest, bool checked)
{
	struct unit *u = t->u;
	u8 *code = t->a.p;

	t->limit = t->crosses ? 1 : UNIT_MAX_INSNS;
	do {
		*u = (struct unit){
			.guest = guest, .code = code, .key = t->key, .checked = checked
		};
		t->a.p = code;
		t->slows = t->nexits = t->nkept = t->fp_ready = 0;
		memset(t->group, 0, sizeof(t->group));
		t->wrote = false;
		decode(t, guest);
		if (!u->count)
			return false;
		u->word = (struct unit_word *)(void *)&u->insn[u->count];
		if (checked)
			make_words(t);
		u->exit = (struct bt_exit *)(void *)&u->word[u->words];
	} while (!emit_unit(t));
	u->exits = (u8)t->nexits;
	u->kept = (struct x86_insn *)(void *)&u->exit[u->exits];
	for (unsigned n = 0; n < t->nkept; n++)
		u->kept[n] = t->insn[t->kept[n]];
	return true;
}

struct unit *bt_translate(struct bt *bt, struct vcpu *v, const u8 *guest, u64 rip, u32 key,
			  bool crosses)
{
	struct bt_segment *s = bt_cache_room(bt);
	struct unit *u = (struct unit *)(void *)(s->meta + s->meta_used);
	u64 meta;
	struct tr t;

	memset(&t, 0, offsetof(struct tr, insn));
	t.a = (struct as){ .p = s->code + s->code_used, .exec = bt->exec };
	t.bt = bt;
	t.v = v;
	t.u = u;
	t.key = key;
	t.mode = key_bits(key);
	t.tlb = key_tlb(key);
	t.crosses = crosses;
	t.page_off = (u32)((uintptr_t)guest & 0xfff);
	t.rip_page = rip - t.page_off;
	if (!make_unit(&t, guest, crosses || bt_cache_hot(bt, guest)))
		return NULL;
	meta = (u64)((u8 *)&u->kept[t.nkept] - (u8 *)u);
	s->code_used += (u32)align_up(u->total, 16);
	s->meta_used += (u32)align_up(meta, 16);
	bt->stats.guest_bytes += u->bytes;
	bt->stats.code_bytes += u->total;
	bt->stats.meta_bytes += meta;
	bt_cache_publish(bt, u);
	bt_count_made(&bt->stats, guest, key);
	bt->stats.units[key & KEY_SIZE]++;
	bt->stats.insns[key & KEY_SIZE] += u->count;
	trace(CODE, "unit %#llx: %u instructions, %u-bit", (unsigned long long)rip, u->count,
	      t.mode);
	if (unlikely(bt->dump))
		bt_dump_unit(bt, u, rip, bt->dump);
	if (unlikely(bt->perf))
		bt_perf_unit(bt, u, rip);
	return u;
}
