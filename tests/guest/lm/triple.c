/*
 * A triple fault on purpose: SDM 3A 6.15. The processor enters shutdown, and the machine resets or
 * stops; nothing after it may run. The verdict is the monitor's exit code, so there is no plan.
 */
#include "lib/lm.h"

static struct {
	u16 limit;
	u64 base;
} __attribute__((packed)) empty;

void lm_main(void)
{
	tap_puts("# triple fault\n");
	__asm__ volatile("lidt %0; ud2" : : "m"(empty));
	tap_check(false, "SDM 3A 6.15 a fault on delivery of #DF stops the processor");
}
