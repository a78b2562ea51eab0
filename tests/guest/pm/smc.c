/*
 * Self-modifying code in real-address mode, 16-bit and 32-bit protected mode at CPL 0, at CPL 3 and
 * in virtual-8086 mode: SDM 3A 8.1.3. Each program patches itself with a random sequence and counts
 * in EBP how often it saw anything but what it had stored. EDI is its own offset.
 */
#include "real.h"

#define TIMES 2000

enum mode { REAL16, PROT16, PROT32, USER32, V86, MODES };
static const char *const mode_names[MODES] = { "real", "16-bit, CPL 0", "32-bit, CPL 0",
					       "32-bit, CPL 3", "virtual-8086" };
static unsigned total_made, total_stale;

static bool is_wide(enum mode m) { return m == PROT32 || m == USER32; }
static bool has_selectors(enum mode m) { return m != REAL16 && m != V86; }

/*
 * Run a program. DS and ES reach its bytes at EDI; in the modes without selectors DS starts 4 KiB
 * below CS, so that the stores go through another segment and offset.
 */
static void run(enum mode m, u32 wide, u32 narrow)
{
	static const u16 cs[MODES] = { LOW_SEG, CS16, KCS, UCS, LOW_SEG };
	static const u16 ds[MODES] = { LOW_SEG - 0x100, KDS, KDS, UDS, LOW_SEG - 0x100 };
	u32 start = is_wide(m) ? wide : narrow;
	struct regs r = { .ecx = TIMES,
			  .edx = 0x2468ace1,
			  .edi = has_selectors(m) ? start : start - LOW + 0x1000,
			  .eip = is_wide(m) ? start : start - LOW,
			  .eflags = 2,
			  .cs = cs[m],
			  .ds = ds[m],
			  .es = ds[m],
			  .fs = ds[m],
			  .gs = ds[m],
			  .ss = has_selectors(m) ? ds[m] : LOW_STACK >> 4,
			  .esp = has_selectors(m) ? LOW_STACK + 0x8000 : 0x8000 };

	if (m == REAL16) {
		real_probe(&r, DS16);
		return;
	}
	if (m == V86)
		r.eflags |= FL_VM | FL_IOPL(3);
	probe(&r);
}

static void patched(enum mode m, u32 wide, u32 narrow, const char *name)
{
	bool end;

	run(m, wide, narrow);
	end = m == REAL16 ? t.vector == BP && *mem32(t.cs * 16 + t.eip) == 0x656e6f64 : done();
	total_made += TIMES;
	total_stale += t.ebp;
	rule_report(name, end && !t.ebp && !t.ecx, "the program ends, EBP is 0");
}

#define PATCHED(m, text, name) patched(m, CODE("9: " text), CODE_16("9: " text), name)

/* edx = edx * 1664525 + 1013904223 */
#define RANDOM "imul edx, edx, 1664525\n add edx, 1013904223\n"
/* Count a pass that left something else than EDX in EAX, and go on. */
#define COUNT "cmp eax, edx\n je 8f\n inc ebp\n 8: dec ecx\n jnz 1b\n"

static void programs(enum mode m)
{
	PATCHED(m, "1: " RANDOM "mov [edi + 2f - 9b - 4], edx\n mov eax, 0x12345678\n 2: " COUNT,
		"SDM 3A 8.1.3 a store of 4 bytes into the next instruction");
	PATCHED(m,
		"1: " RANDOM "mov [edi + 2f - 9b - 4], dl\n mov [edi + 2f - 9b - 3], dh\n"
		"mov esi, edx\n shr esi, 16\n mov [edi + 2f - 9b - 2], si\n"
		"add ebx, 1\n ror ebx, 3\n mov eax, 0x12345678\n 2: " COUNT,
		"SDM 3A 8.1.3 stores of 1 and 2 bytes into the block, further ahead");
	PATCHED(m,
		"jmp 3f\n 1: mov eax, 0x12345678\n 2: cmp eax, edx\n je 8f\n inc ebp\n"
		"8: dec ecx\n jz 4f\n 3: " RANDOM "mov [edi + 2b - 9b - 4], edx\n jmp 1b\n 4:",
		"SDM 3A 8.1.3 a loop that patches what is behind it");
	PATCHED(m,
		"1: " RANDOM "push ecx\n push edi\n lea edi, [edi + 2f - 9b - 4]\n mov eax, edx\n"
		"mov ecx, 1\n rep stos dword ptr es:[edi], eax\n pop edi\n pop ecx\n"
		"mov eax, 0x12345678\n 2: " COUNT,
		"SDM 3A 8.1.3 a REP STOS into the block");
	PATCHED(m,
		"1: " RANDOM "mov [edi + 2f - 9b - 4], edx\n call 3f\n" COUNT "jmp 4f\n"
		"3: mov eax, 0x12345678\n 2: ret\n 4:",
		"SDM 3A 8.1.3 a store into a function, then its call");
	/* 28h in the ModRM byte makes ADD SUB, and back. */
	PATCHED(m,
		"xor ebx, ebx\n xor esi, esi\n 1: xor byte ptr [edi + 2f - 9b - 2], 0x28\n"
		"xor ebx, 0xfffffffb\n nop\n add esi, 5\n 2: mov eax, esi\n mov edx, ebx\n" COUNT,
		"SDM 3A 8.1.3 an opcode that changes on every pass");
	/* The branch skips up to 7 of 7 INC. */
	PATCHED(m,
		"mov esi, edx\n 1: mov edx, esi\n" RANDOM "mov esi, edx\n shr edx, 29\n"
		"mov [edi + 2f - 9b - 1], dl\n xor eax, eax\n jmp 2f\n"
		"2: .fill 7, 1, 0x40\n neg edx\n add edx, 7\n" COUNT,
		"SDM 3A 8.1.3 the displacement of the next branch");
}

void test_main(void)
{
	for (enum mode m = 0; m < MODES; m++) {
		tap_puts("# mode ");
		tap_puts(mode_names[m]);
		tap_putc('\n');
		programs(m);
	}
	tap_equal(total_stale, 0, "SDM 3A 8.1.3 no stale execution in all");
	tap_puts("# patches ");
	tap_put_dec(total_made);
	tap_puts(", stale executions ");
	tap_put_dec(total_stale);
	tap_putc('\n');
}
