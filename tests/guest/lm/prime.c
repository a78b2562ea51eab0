/*
 * The loop that docs/bt.md follows from guest bytes to host bytes: is a number prime? Here it
 * counts the primes below 1000.
 */
#include "lib/lm.h"

/* EDI: a number above 1; EAX: whether it is prime. */
u32 is_prime(u32 n);
__asm__(".pushsection .text\n"
	".p2align 12\n"
	"is_prime:\n"
	"	movl $2, %ecx\n"
	"1:	cmpl %edi, %ecx\n"
	"	jge 2f\n"
	"	movl %edi, %eax\n"
	"	cltd\n"
	"	idivl %ecx\n"
	"	testl %edx, %edx\n"
	"	jz 3f\n"
	"	addl $1, %ecx\n"
	"	jmp 1b\n"
	"2:	movl $1, %eax\n"
	"	ret\n"
	"3:	xorl %eax, %eax\n"
	"	ret\n"
	".popsection\n");

void lm_main(void)
{
	u32 primes = 0;

	for (u32 n = 2; n < 1000; n++)
		primes += is_prime(n);
	tap_equal(primes, 168, "primes below 1000");
}
