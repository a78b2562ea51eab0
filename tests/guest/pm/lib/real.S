/*
 * The way into and out of real-address mode: see real_probe() in real.c. Everything that runs with
 * PE clear is in .low, in the segment LOW_SEG. The IVT points at 256 stubs that come back.
 */
#include "sel.h"

/* Offsets in LOW_SEG are 32 bits wide here: gas cannot store the addend -LOW in 16. */
	.section .low, "awx"
	.code16
/* Entered with PE set through CS16. */
to_real:
	movl %cr0, %eax
	andb $0xfe, %al
	movl %eax, %cr0
	ljmpl $LOW_SEG, $(1f - LOW)
1:	movw %cs, %ax
	movw %ax, %ds
	movl $(real_regs - LOW), %esi
	movw 52(%si), %es
	movw 56(%si), %fs
	movw 60(%si), %gs
	movw 44(%si), %ss
	movl 16(%si), %esp
	pushw 36(%si)
	pushw 40(%si)
	pushw 32(%si)
	movl (%si), %eax
	movl 4(%si), %ecx
	movl 8(%si), %edx
	movl 12(%si), %ebx
	movl 20(%si), %ebp
	movl 28(%si), %edi
	pushw 48(%si)
	movl 24(%si), %esi
	popw %ds
	iretw

	.balign 4
	.globl real_regs, real_saved, real_ss, real_vector
real_regs:
	.skip 64
real_saved:
	.skip 48	/* PUSHAL, EFLAGS, then GS, FS, ES, DS as words */
real_ss:
	.word 0
real_vector:
	.word 0

from_real:
	addr32 popw %cs:real_vector - LOW
	addr32 movl %eax, %cs:real_saved - LOW + 28
	addr32 movw %ss, %cs:real_ss - LOW
	movw %sp, %ax
	addr32 movw %ax, %cs:real_sp - LOW
	pushfl
	addr32 popl %cs:real_saved - LOW + 32
	/* PUSHAL would need room on the probe's stack. */
	addr32 movl %ecx, %cs:real_saved - LOW + 24
	addr32 movl %edx, %cs:real_saved - LOW + 20
	addr32 movl %ebx, %cs:real_saved - LOW + 16
	addr32 movl %ebp, %cs:real_saved - LOW + 8
	addr32 movl %esi, %cs:real_saved - LOW + 4
	addr32 movl %edi, %cs:real_saved - LOW
	addr32 movw %gs, %cs:real_saved - LOW + 36
	addr32 movw %fs, %cs:real_saved - LOW + 38
	addr32 movw %es, %cs:real_saved - LOW + 40
	addr32 movw %ds, %cs:real_saved - LOW + 42
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $KCS, $back
	.globl real_sp
real_sp:
	.word 0

	.balign 8
	.set vector, 0
	.globl real_stubs
real_stubs:
	.rept 256
	pushw $vector
	.byte 0xe9	/* a near jump of two bytes, so that all stubs have one size */
	.word from_real - . - 2
	.balign 8
	.set vector, vector + 1
	.endr

	.text
	.code32
/* void real_enter(u32 data): to real mode; DS and ES pass through the selector data on the way. */
	.globl real_enter
real_enter:
	pushl %ebp
	pushl %ebx
	pushl %esi
	pushl %edi
	movl %esp, resume_esp
	movl 20(%esp), %eax
	lidt real_idtr
	movl $DS16, %ecx
	movl %ecx, %ss
	movl %eax, %ds
	movl %eax, %es
	movl %ecx, %fs
	movl %ecx, %gs
	ljmp $CS16, $(to_real - LOW)

back:
	movl $KDS, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl resume_esp, %esp
	lidt idtr
	popl %edi
	popl %esi
	popl %ebx
	popl %ebp
	ret

	.data
real_idtr:
	.word 0x3ff
	.long 0
