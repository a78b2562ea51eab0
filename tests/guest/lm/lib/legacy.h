/*
 * Tries in 32-bit protected mode outside of long mode, without paging (see legacy.S).
 */
#ifndef TESTS_GUEST_LEGACY_H
#define TESTS_GUEST_LEGACY_H

#include "lm.h"

struct legacy_regs {
	u32 edi, esi, ebp, esp, ebx, edx, ecx, eax; /* the order of PUSHAL */
};

struct legacy_frame {
	struct legacy_regs regs;
	u32 vector, error, eip, cs, eflags;
};

struct tss32 {
	u32 link, esp0, ss0, more[22];
	u16 trap, iomap;
};

extern struct legacy_regs legacy_regs; /* what a try starts with */
extern struct legacy_frame legacy_out; /* what ended it */
extern u32 legacy_start;
extern u64 legacy_idt[256];
extern u8 legacy_stubs[], legacy_load[], legacy_stack_top[];
extern struct tss32 legacy_tss;

/* Leave long mode, run code there, come back. The code ends by legacy_exit. */
void legacy_enter(u32 code);

/*
 * Run 32-bit code outside long mode, with CR4 and EFER as long mode has them but for EFER.LME, until
 * a fault or INT 0x81. It must have paging off then. True: vector, error and offset are as given.
 */
bool legacy_faults(const void *code, u32 offset, u32 vector, u32 error, const char *rule);
/* The same, wanting the end of the code. */
bool legacy_runs(const void *code, const char *rule);
void legacy_run(const void *code);
/* Once before the others. */
void legacy_init(void);

#endif
