/* The cache of shapes. The head of an instruction is found here with two small tables, and is then
 * the key. Zydis has the last word when a shape is made: only if displacement and immediate fill
 * exactly what follows the head, and are values of operands and nothing else, is the shape kept. So
 * an opcode that the tables do not know costs speed, not correctness. Without a shape stay: what has
 * an immediate that selects a register (/is4) or the operation (3DNow!), two immediates (ENTER), far
 * pointers, heads of more than 8 bytes, and what is no instruction. */
#include "x86/decode_cache.h"

#include "base/bits.h"
#include "x86/decoder.h"

#include <stdlib.h>

#define SHAPE_SETS  2048u
#define SHAPE_WAYS  4u
#define SHAPE_FIRST offsetof(struct x86_insn, fn)
#define SHAPE_BYTES (offsetof(struct x86_insn, bytes) - SHAPE_FIRST)
#define MAX_LEN     15u

/* A field behind the head: the 8 bytes from `at`, shifted left and then, with the sign, right. */
struct field {
	u8 at, left, right;
};

struct shape {
	u64 key;   /* the head, zeros above */
	u8 tag;    /* code size: 16, 32, 64; 0 while there is no shape; see also cut_tag */
	u8 factor; /* of the displacement, 0 if it has none; more than 1: compressed (SDM 2 2.7.5) */
	u8 rip; /* added to the displacement: length of an instruction with RIP-relative operand */
	struct field disp, imm;
	bool has_imm;
	u8 imm_cut;  /* bits above an immediate that is not sign-extended */
	u8 constant; /* the immediate of an instruction that has none in its bytes */
	u8 some_of;  /* unless 0: only for an immediate with one of these bits */
	u8 len;
	_Alignas(8) u8 fields[SHAPE_BYTES]; /* fn to op of x86_insn */
};

struct shape_set {
	_Alignas(64) struct shape way[SHAPE_WAYS];
};

_Static_assert(sizeof(struct shape) == 64, "a shape is a cache line");

/* --- The head --------------------------------------------------------------------------------- */

enum {
	MODRM = 1,
	PREFIX = 2,
	REX = 4,     /* a prefix in 64-bit mode */
	ESCAPE = 8,  /* 0F */
	VECTOR = 16, /* VEX, EVEX */
};

/* SDM 2 tables. */
static const u8 one_byte[256] = {
	[0x00 ... 0x03] = MODRM,  [0x08 ... 0x0b] = MODRM,
	[0x10 ... 0x13] = MODRM,  [0x18 ... 0x1b] = MODRM,
	[0x20 ... 0x23] = MODRM,  [0x28 ... 0x2b] = MODRM,
	[0x30 ... 0x33] = MODRM,  [0x38 ... 0x3b] = MODRM,
	[0x0f] = ESCAPE,          [0x26] = PREFIX,
	[0x2e] = PREFIX,          [0x36] = PREFIX,
	[0x3e] = PREFIX,          [0x40 ... 0x4f] = REX,
	[0x62] = MODRM | VECTOR,  [0x63] = MODRM,
	[0x64 ... 0x67] = PREFIX, [0x69] = MODRM,
	[0x6b] = MODRM,           [0x80 ... 0x8f] = MODRM,
	[0xc0 ... 0xc1] = MODRM,  [0xc4 ... 0xc5] = MODRM | VECTOR,
	[0xc6 ... 0xc7] = MODRM,  [0xd0 ... 0xd3] = MODRM,
	[0xd8 ... 0xdf] = MODRM,  [0xf0] = PREFIX,
	[0xf2 ... 0xf3] = PREFIX, [0xf6 ... 0xf7] = MODRM,
	[0xfe ... 0xff] = MODRM,
};

static const u8 two_byte[256] = {
	[0x00 ... 0x03] = MODRM, [0x0d] = MODRM,          [0x0f ... 0x2f] = MODRM,
	[0x40 ... 0x76] = MODRM, [0x78 ... 0x7f] = MODRM, [0x90 ... 0x9f] = MODRM,
	[0xa3 ... 0xa5] = MODRM, [0xab ... 0xaf] = MODRM, [0xb0 ... 0xc7] = MODRM,
	[0xd0 ... 0xff] = MODRM,
};

/* Whether C4, C5 or 62 are prefixes here and not LES, LDS, BOUND. w starts at the opcode. */
static bool is_vector(u64 w, unsigned mode) { return mode == 64 || (w & 0xc000) == 0xc000; }

/* ModRM and SIB at the start of w. */
static unsigned modrm_bytes(u64 w, bool address16)
{
	return (w & 7) == 4 && (w & 0xc0) != 0xc0 && !address16 ? 2 : 1;
}

/* Bytes of VEX or EVEX prefix, opcode, ModRM and SIB. */
static unsigned vector_bytes(u64 w, bool address16)
{
	unsigned prefix = (u8)w == 0xc5 ? 2 : (u8)w == 0xc4 ? 3 : 4;

	w >>= 8 * prefix;
	if ((u8)w == 0x77 && prefix != 4)
		return prefix + 1; /* VZEROUPPER, VZEROALL */
	return prefix + 1 + modrm_bytes(w >> 8, address16);
}

/* Bytes of the head of the instruction that starts with w, or more than 8 if they are not all in
 * w. Which they are is decided by the bytes of the head alone, in order. */
static inline unsigned head_bytes(u64 w, unsigned mode)
{
	unsigned prefixes = mode == 64 ? PREFIX | REX : PREFIX;
	bool address16 = mode == 16;
	unsigned n = 0, class = one_byte[(u8)w];

	while (unlikely(class & prefixes)) {
		if (n == 7)
			return 9;
		if ((u8)w == 0x67)
			address16 = mode == 32;
		w >>= 8;
		n++;
		class = one_byte[(u8)w];
	}
	if (class & ESCAPE) {
		w >>= 8;
		n++;
		class = two_byte[(u8)w];
		if ((w & 0xfd) == 0x38) { /* 0F 38 and 0F 3A */
			w >>= 8;
			n++;
			class = MODRM;
		}
	} else if (unlikely(class & VECTOR) && is_vector(w, mode)) {
		return n + vector_bytes(w, address16);
	}
	return n + 1 + (class & MODRM ? modrm_bytes(w >> 8, address16) : 0);
}

/* --- Shapes ----------------------------------------------------------------------------------- */

static inline i64 field_signed(struct field f, const u8 *bytes)
{
	return (i64)(le_load(bytes + f.at, 8) << f.left) >> f.right;
}

/* The field of so many bits at that byte of an instruction. */
static struct field field_at(unsigned byte, unsigned bits)
{
	unsigned at = MIN(byte, MAX_LEN - 8); /* the load stays within MAX_LEN bytes */

	return (struct field){
		.at = (u8)at,
		.left = (u8)(64 - bits - 8 * (byte - at)),
		.right = (u8)(64 - bits),
	};
}

/* The immediate of an instruction of this shape. Here and in shape_use there are as few branches as
 * can be: which shape comes next is hard to predict. */
static inline u64 shape_imm_value(const struct shape *s, const u8 *bytes)
{
	u64 value = (u64)field_signed(s->imm, bytes) & ~0ull >> s->imm_cut;

	return (value & -(u64)s->has_imm) | s->constant;
}

static bool shape_disp(struct shape *s, const struct x86_insn *i, const ZydisDecodedInstruction *z,
		       const ZydisDecodedOperand *ops, const u8 *bytes)
{
	bool evex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX, memory = false;
	i64 value, raw;

	if (z->raw.disp.size == 0)
		return i->disp == 0 && !(i->flags & INSN_RIP_REL);
	for (unsigned n = 0; n < z->operand_count_visible; n++)
		memory |= ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
	s->disp = field_at(z->raw.disp.offset, z->raw.disp.size);
	s->rip = i->flags & INSN_RIP_REL ? i->len : 0;
	s->factor = 1;
	raw = field_signed(s->disp, bytes);
	value = i->disp - s->rip;
	if (evex && z->raw.disp.size == 8) {
		/* The factor shows in any value but 0. */
		if (raw == 0 || value % raw != 0 || value / raw < 1 || value / raw > 64)
			return false;
		s->factor = (u8)(value / raw);
	}
	return memory && raw * s->factor == value;
}

static bool shape_imm(struct shape *s, const struct x86_insn *i, const ZydisDecodedInstruction *z,
		      const ZydisDecodedOperand *ops, const u8 *bytes)
{
	unsigned immediates = 0;

	for (unsigned n = 0; n < z->operand_count; n++) {
		if (ops[n].encoding == ZYDIS_OPERAND_ENCODING_IS4 ||
		    ops[n].type == ZYDIS_OPERAND_TYPE_POINTER)
			return false;
		immediates += ops[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	}
	if (z->raw.imm[0].size == 0) {
		s->constant = (u8)i->imm;
		return s->constant == i->imm;
	}
	s->has_imm = true;
	s->imm = field_at(z->raw.imm[0].offset, z->raw.imm[0].size);
	s->imm_cut = z->raw.imm[0].is_signed ? 0 : s->imm.right;
	/* The one immediate that a binder looks at: a shift by 0 has a function of its own. */
	if (z->meta.category == ZYDIS_CATEGORY_SHIFT) {
		s->some_of = i->opsize == 8 ? 63 : 31;
		if (!(i->imm & s->some_of))
			return false;
	}
	return immediates == 1 && shape_imm_value(s, bytes) == i->imm;
}

/* The shape of an instruction whose head has that many bytes. False: it has none. */
static bool shape_make(struct shape *s, const struct x86_insn *i, const ZydisDecodedInstruction *z,
		       const ZydisDecodedOperand *ops, unsigned head)
{
	unsigned disp = z->raw.disp.size / 8u, imm = z->raw.imm[0].size / 8u;
	u8 bytes[MAX_LEN] = { 0 };

	if (head + disp + imm != z->length || (disp && z->raw.disp.offset != head) ||
	    (imm && z->raw.imm[0].offset != head + disp))
		return false;
	memcpy(bytes, i->bytes, i->len);
	*s = (struct shape){ .tag = i->mode, .len = i->len };
	s->key = le_load(bytes, 8) & bits_mask(8 * head);
	memcpy(s->fields, (const u8 *)i + SHAPE_FIRST, SHAPE_BYTES);
	return shape_disp(s, i, z, ops, bytes) && shape_imm(s, i, z, ops, bytes);
}

/* Makes the instruction out of its shape. False if the shape does not hold for this immediate. */
static inline bool shape_use(const struct shape *s, struct x86_insn *i, const u8 *bytes)
{
	static const u8 masks[2 * MAX_LEN] = { [0 ... MAX_LEN - 1] = 0xff };
	const u8 *mask = masks + MAX_LEN - s->len;
	u64 imm = shape_imm_value(s, bytes);

	if (unlikely((s->some_of != 0) & !(imm & s->some_of)))
		return false;
	memcpy((u8 *)i + SHAPE_FIRST, s->fields, SHAPE_BYTES);
	i->imm = imm;
	i->disp = field_signed(s->disp, bytes) * s->factor + s->rip;
	i->aux = NULL;
	/* Zeros from len on; the two stores share a byte. */
	le_store(i->bytes, le_load(bytes, 8) & le_load(mask, 8), 8);
	le_store(i->bytes + 7, le_load(bytes + 7, 8) & le_load(mask + 7, 8), 8);
	return true;
}

/* --- The cache -------------------------------------------------------------------------------- */

struct decode_cache *decode_cache_new(void)
{
	struct decode_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->sets = aligned_alloc(64, SHAPE_SETS * sizeof(*c->sets));
	if (!c->sets) {
		free(c);
		return NULL;
	}
	memset(c->sets, 0, SHAPE_SETS * sizeof(*c->sets));
	return c;
}

void decode_cache_free(struct decode_cache *c)
{
	if (!c)
		return;
	free(c->sets);
	free(c);
}

static inline struct shape_set *set_of(struct decode_cache *c, u64 key, unsigned tag)
{
	u64 h = (key ^ (u64)tag << 56) * 0x9e3779b97f4a7c15ull;

	return &c->sets[(h ^ h >> 32) >> 20 & (SHAPE_SETS - 1)];
}

static inline const struct shape *find(struct decode_cache *c, u64 key, unsigned tag)
{
	const struct shape *s = set_of(c, key, tag)->way;

	for (unsigned n = 0; n < SHAPE_WAYS; n++, s++)
		if (likely(!((s->key ^ key) | (s->tag ^ tag))))
			return s;
	return NULL;
}

/* What came first stays in front, where it is found first: shapes that come early are common. A full
 * set loses one in turn. */
static void insert(struct decode_cache *c, const struct shape *s)
{
	struct shape_set *set = set_of(c, s->key, s->tag);
	unsigned way = 0;

	while (way < SHAPE_WAYS && set->way[way].tag)
		way++;
	set->way[way < SHAPE_WAYS ? way : c->misses % SHAPE_WAYS] = *s;
}

/* Code that runs across two pages comes here twice each time, at first with what the first page
 * has. If that is 1 to 7 bytes and less than a head, it is kept as the shape of what needs more. */
static unsigned cut_tag(unsigned avail, unsigned mode) { return mode + avail; }

static noinline_fn int decode_miss(struct decode_cache *c, struct x86_insn *i, const u8 *bytes,
				   unsigned avail, unsigned mode, unsigned head)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct shape s;
	int result = x86_decode_full(i, bytes, avail, mode, &z, ops);

	c->misses++;
	if (result == 1 && head <= 8 && shape_make(&s, i, &z, ops, head)) {
		insert(c, &s);
	} else if (result == 0 && avail - 1 < 7) {
		s = (struct shape){ .tag = (u8)cut_tag(avail, mode) };
		memcpy(&s.key, bytes, avail);
		insert(c, &s);
	} else {
		c->unshaped++;
	}
	return result;
}

static int needs_more(struct decode_cache *c, struct x86_insn *i, unsigned mode)
{
	*i = (struct x86_insn){ .mode = (u8)mode };
	c->hits++;
	return 0;
}

int x86_decode_cached(struct decode_cache *c, struct x86_insn *i, const u8 *bytes, unsigned avail,
		      unsigned mode)
{
	const u8 *text = bytes;
	u8 padded[MAX_LEN];

	if (unlikely(!c))
		return x86_decode(i, bytes, avail, mode);
	if (unlikely(avail < MAX_LEN)) {
		memset(padded, 0, sizeof(padded));
		memcpy(padded, bytes, avail);
		text = padded;
	}

	u64 w = le_load(text, 8);
	unsigned head = head_bytes(w, mode);

	if (likely(head <= 8)) {
		const struct shape *s = find(c, w & bits_mask(8 * head), mode);

		/* Bytes beyond avail are zeros here. An instruction that has some of them is cut
		 * off: whatever they are, it needs more than avail. */
		if (s && unlikely(s->len > avail))
			return needs_more(c, i, mode);
		if (likely(s && shape_use(s, i, text))) {
			c->hits++;
			return 1;
		}
	}
	if (unlikely(avail - 1 < 7) && find(c, w, cut_tag(avail, mode)))
		return needs_more(c, i, mode);
	return decode_miss(c, i, bytes, avail, mode, head);
}
