/*
 * Interrupt and exception entry for all 256 vectors, and the two halves of a try: enter a snippet
 * with a given register state, and come back with what stopped it.
 */

	.text
	.code64
	.globl trap_stubs
	.balign 16
trap_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	/* Vectors with an error code: SDM 3A 6.15 (8, 10..14, 17, 21), AMD's 29 and 30. */
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

trap_common:
	pushq %r15
	pushq %r14
	pushq %r13
	pushq %r12
	pushq %r11
	pushq %r10
	pushq %r9
	pushq %r8
	pushq %rdi
	pushq %rsi
	pushq %rbp
	pushq %rsp /* holds the place of rsp in the order of the registers */
	pushq %rbx
	pushq %rdx
	pushq %rcx
	pushq %rax
	cld
	movq %rsp, %rdi
	movq %rsp, %rbx
	andq $-16, %rsp /* the gate may be tested with any stack */
	call trap
	movq %rbx, %rsp
	popq %rax
	popq %rcx
	popq %rdx
	popq %rbx
	addq $8, %rsp
	popq %rbp
	popq %rsi
	popq %rdi
	popq %r8
	popq %r9
	popq %r10
	popq %r11
	popq %r12
	popq %r13
	popq %r14
	popq %r15
	addq $16, %rsp
	iretq

/* void try_enter(struct try *): offsets as in struct try of lm.h */
	.globl try_enter
try_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	movq %rsp, try_sp
	pushq 152(%rdi) /* ss */
	pushq 32(%rdi)  /* rsp */
	pushq 144(%rdi) /* rflags */
	pushq 136(%rdi) /* cs */
	pushq 128(%rdi) /* rip */
	movq 160(%rdi), %rax
	movl %eax, %ds
	movl %eax, %es
	movq 0(%rdi), %rax
	movq 8(%rdi), %rcx
	movq 16(%rdi), %rdx
	movq 24(%rdi), %rbx
	movq 40(%rdi), %rbp
	movq 48(%rdi), %rsi
	movq 64(%rdi), %r8
	movq 72(%rdi), %r9
	movq 80(%rdi), %r10
	movq 88(%rdi), %r11
	movq 96(%rdi), %r12
	movq 104(%rdi), %r13
	movq 112(%rdi), %r14
	movq 120(%rdi), %r15
	movq 56(%rdi), %rdi
	.globl try_iret
try_iret:
	iretq

/* Return from the try_enter that is under way, on its stack. */
	.globl try_leave
try_leave:
	movq try_sp, %rsp
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.bss
	.balign 8
try_sp:
	.skip 8

	.section .note.GNU-stack, "", @progbits
