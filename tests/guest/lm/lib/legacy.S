/*
 * Out of long mode and back: legacy_enter() leaves it for 32-bit protected mode without paging
 * (SDM 3A 9.8.5.4), with an IDT of 32-bit gates; legacy_exit returns to the caller in 64-bit mode
 * from any 32-bit state without paging or with identity paging.
 */

#define EFER 0xc0000080

	.text
	.code64

/* void legacy_enter(u32 code): jump to 32-bit code with flat segments and a stack */
	.globl legacy_enter
legacy_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	cli
	movq %rsp, legacy_sp
	movl %edi, %ebx
	pushq $0x18
	pushq $1f
	lretq
	.code32
1:	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl $EFER, %ecx
	rdmsr
	andl $~0x100, %eax
	wrmsr
	lidt legacy_idt_pointer
	andb $~2, gdt + 0xb0 + 5
	movl $0xb0, %eax
	ltr %ax
	movl $legacy_stack_top, %esp
	jmp *%ebx

	.globl legacy_exit
legacy_exit:
	cli
	cld
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	xorl %eax, %eax
	movl %eax, %cr4
	andb $~2, gdt + 0xb0 + 5 /* a 16-bit TSS in TR would keep long mode out */
	movl $0xb0, %eax
	ltr %ax
	movl $legacy_stack_top, %esp
	call long_mode
	ljmp $0x08, $1f
	.code64
1:	lidt idt_pointer
	andb $~2, gdt + 0x40 + 5
	movl $0x40, %eax
	ltr %ax
	xorl %eax, %eax
	lldt %ax
	movq legacy_sp, %rsp
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

/* Load legacy_regs (in the order of PUSHAL) and jump to legacy_start: for legacy_enter. */
	.code32
	.globl legacy_load
legacy_load:
	movl $legacy_regs, %esp
	popal
	movl $legacy_stack_top - 64, %esp
	jmp *legacy_start

	.globl legacy_stubs
	.balign 16
legacy_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushl $0
	.endif
	pushl $vector
	jmp legacy_common
	.set vector, vector + 1
	.endr

legacy_common:
	pushal
	cld
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %esp, %esi
	movl $legacy_out, %edi
	movl $13, %ecx
	rep movsl %ss:(%esi), %es:(%edi)
	jmp legacy_exit

	.data
	.balign 8
legacy_idt_pointer:
	.word 0x7ff
	.long legacy_idt

	.bss
	.balign 16
	.globl legacy_idt, legacy_out, legacy_regs, legacy_start
legacy_idt:
	.skip 2048
legacy_out:
	.skip 64
legacy_regs:
	.skip 32
legacy_start:
	.skip 4
	.balign 8
legacy_sp:
	.skip 8
	.skip 8192
	.globl legacy_stack_top
legacy_stack_top:

	.section .note.GNU-stack, "", @progbits
