/* Probes in real-address mode: see real.h, and real.S for the way there. */
#include "real.h"

extern struct regs real_regs;
extern u32 real_saved[12];
extern u16 real_ss, real_sp, real_vector;
void real_enter(u32 data);

void real_probe(const struct regs *r, u32 data)
{
	const u16 *frame, *segs = (u16 *)&real_saved[9];

	for (unsigned v = 0; v < 256; v++)
		*mem32(4 * v) = (u32)LOW_SEG << 16 | (u16)((u32)real_stubs + 8 * v - LOW);
	real_regs = *r;
	memset(&t, 0, sizeof(t));
	real_enter(data);
	frame = (u16 *)((u32)real_ss * 16 + real_sp);
	t = (struct trap){ .vector = real_vector,
			   .eax = real_saved[7],
			   .ecx = real_saved[6],
			   .edx = real_saved[5],
			   .ebx = real_saved[4],
			   .ebp = real_saved[2],
			   .esi = real_saved[1],
			   .edi = real_saved[0],
			   .h_eflags = real_saved[8],
			   .eip = frame[0],
			   .cs = frame[1],
			   .eflags = frame[2],
			   .h_ss = real_ss,
			   .ss = real_ss,
			   .h_esp = real_sp,
			   .esp = (u16)(real_sp + 6),
			   .gs = segs[0],
			   .fs = segs[1],
			   .es = segs[2],
			   .ds = segs[3],
			   .h_cs = LOW_SEG,
			   .cr0 = cr0_get(),
			   .dr6 = dr6_get() };
	dr7_set(0x400);
}
