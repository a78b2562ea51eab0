/*
 * Multiboot entry, the 256 exception and interrupt stubs, and the way into and out of a probe
 * (a short piece of code under test; see pm.h).
 */
#include "sel.h"

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.globl start
start:
	cli
	cld
	movl $stack_top, %esp
	movl $low_image, %esi
	movl $low_start, %edi
	movl $low_end, %ecx
	subl %edi, %ecx
	rep movsb
	movl $bss_start, %edi
	movl $bss_end, %ecx
	subl %edi, %ecx
	xorl %eax, %eax
	rep stosb
	call pm_main
1:	cli
	hlt
	jmp 1b

/* void pm_load_tables(void): GDTR, IDTR, flat segments, LDTR and TR from the default tables. */
	.globl pm_load_tables
pm_load_tables:
	lgdt gdtr
	lidt idtr
	ljmp $KCS, $1f
1:	movl $KDS, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	movl $SEL_LDT, %eax
	lldt %ax
	movl $SEL_TSS, %eax
	ltr %ax
	ret

/*
 * void probe_enter(const struct regs *): leave for the probe through IRET. Returns through
 * trap_common when any exception or interrupt ends the probe. Offsets are those of struct regs.
 */
	.globl probe_enter
probe_enter:
	pushl %ebp
	pushl %ebx
	pushl %esi
	pushl %edi
	movl %esp, resume_esp
	movl 20(%esp), %esi
	testl $FL_VM, 36(%esi)
	jnz 3f
	movw 52(%esi), %es
	movw 56(%esi), %fs
	movw 60(%esi), %gs
	testb $3, 40(%esi)
	jnz 4f
	movl 16(%esi), %eax
	movw 44(%esi), %ss
	movl %eax, %esp
	jmp 5f
3:	pushl 60(%esi)
	pushl 56(%esi)
	pushl 48(%esi)
	pushl 52(%esi)
4:	pushl 44(%esi)
	pushl 16(%esi)
5:	pushl 36(%esi)
	pushl 40(%esi)
	pushl 32(%esi)
	movl 48(%esi), %eax
	testl $FL_VM, 36(%esi)
	jz 6f
	movl $KDS, %eax
6:	pushl %eax
	pushl 24(%esi)
	movl (%esi), %eax
	movl 4(%esi), %ecx
	movl 8(%esi), %edx
	movl 12(%esi), %ebx
	movl 20(%esi), %ebp
	movl 28(%esi), %edi
	popl %esi
	popl %ds
	iretl

/*
 * Every stub comes here with the vector on the stack, and below it a filler where the exception
 * has no error code. The stack is whatever the processor delivered on, so it is copied through SS.
 */
trap_common:
	pushfl
	pushal
	pushl %ds
	pushl %es
	pushl %fs
	pushl %gs
	movl %esp, %esi
	movl %ss, %ebx
	movl %cs, %ebp
	larl %ebx, %eax
	jnz 1f /* the descriptor has changed since; the rules that do so use flat stacks */
	testl $0x400000, %eax
	jnz 1f
	movzwl %si, %esi /* B is clear: the upper half of ESP means nothing */
1:
	movl $KDS, %eax
	movl %eax, %ds
	movl %eax, %es
	cld
	movl $trap_raw, %edi
	movl $TRAP_RAW_WORDS, %ecx
2:	movl %ss:(%esi), %eax
	stosl
	addl $4, %esi
	loop 2b
	movl %ebx, trap_ss
	movl %ebp, trap_cs
	movl $KDS, %eax
	movl %eax, %ss
	movl resume_esp, %esp
	call trap_decode
	movl resume_esp, %esp
	popl %edi
	popl %esi
	popl %ebx
	popl %ebp
	ret

	.set vector, 0
	.balign 16
	.globl trap_stubs
trap_stubs:
	.rept 256
	.balign 16
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
	.else
	pushl $0
	.endif
	pushl $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

	.bss
	.balign 16
	.skip 16384
	.globl stack_top
stack_top:
	.skip 64
	.globl resume_esp
resume_esp:
	.long 0
