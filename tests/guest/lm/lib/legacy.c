/*
 * Tables and reports for tries outside of long mode.
 */
#include "legacy.h"

struct tss32 legacy_tss;

void legacy_init(void)
{
	for (unsigned i = 0; i < 256; i++) {
		u64 at = (u64)legacy_stubs + 16 * i;

		/* 32-bit interrupt gates, SDM 3A 6.11 */
		legacy_idt[i] = (at & 0xffff) | (u64)SEL_CODE32 << 16 | 0x8eull << 40 |
				(at >> 16) << 48;
	}
	legacy_tss.esp0 = (u32)(u64)legacy_stack_top - 4096;
	legacy_tss.ss0 = SEL_DATA;
	legacy_tss.iomap = sizeof(legacy_tss);
	gdt[SEL_TSS32 >> 3] = desc((u32)(u64)&legacy_tss, sizeof(legacy_tss) - 1, 0x89, 0);
}

void legacy_run(const void *code)
{
	legacy_start = (u32)(u64)code;
	legacy_enter((u32)(u64)legacy_load);
}

static bool legacy_check(const void *code, bool ok, const char *rule)
{
	if (tap_check(ok, rule))
		return true;
	say("vector", legacy_out.vector);
	say("error", legacy_out.error);
	say("eip - start", legacy_out.eip - (u32)(u64)code);
	return false;
}

bool legacy_faults(const void *code, u32 offset, u32 vector, u32 error, const char *rule)
{
	legacy_run(code);
	return legacy_check(code,
			    legacy_out.vector == vector && legacy_out.error == error &&
				    legacy_out.eip == (u32)(u64)code + offset,
			    rule);
}

bool legacy_runs(const void *code, const char *rule)
{
	legacy_run(code);
	return legacy_check(code, legacy_out.vector == DONE, rule);
}
