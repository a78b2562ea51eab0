/*
 * Boot stub of the long-mode test images: multiboot 1 entry, page tables, GDT, TSS and the switch
 * to 64-bit mode (SDM 3A 9.8.5), for the first CPU and, from a real-mode trampoline, for the
 * second one.
 *
 * The first 4 GiB are mapped one to one by 2 MiB pages: supervisor and writable, except
 * 4..6 MiB, which are user pages, and the APIC range from 0xfe000000, which is uncached.
 */

#define CR0_PE 0x00000001
#define CR0_PG 0x80000000
#define CR0_RUN 0x80010033 /* PG WP NE ET MP PE */
#define EFER 0xc0000080

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002
	.long 0x00000003 /* page-align modules, memory information */
	.long -(0x1badb002 + 0x00000003)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	movl %eax, mb_magic
	movl %ebx, mb_info
	movl $boot_stack_top, %esp

	/* Four page directories of 512 entries, in one run. */
	movl $boot_pd, %edi
	movl $0x83, %eax /* P W PS */
	movl $2048, %ecx
1:	movl %eax, (%edi)
	movl $0, 4(%edi)
	cmpl $0xfe000083, %eax
	jb 2f
	orl $0x18, (%edi) /* PWT PCD */
2:	addl $0x200000, %eax
	addl $8, %edi
	loop 1b
	orl $4, boot_pd + 2 * 8 /* 4..6 MiB: U */

	movl $boot_pd + 0x007, %eax
	movl $boot_pdpt, %edi
	movl $4, %ecx
3:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	loop 3b
	movl $boot_pdpt + 0x007, boot_pml4

	lgdt gdt_pointer
	call long_mode
	ljmp $0x08, $1f
	.code64
1:	movl $boot_stack_top, %esp
	call lm_tables
	movl $0x40, %ebx
	call cpu_tables
	call lm_start
2:	cli
	hlt
	jmp 2b

	.code32
/* Turn on paging and with it long mode. What runs next is compatibility mode. */
	.globl long_mode
long_mode:
	movl %cr4, %eax
	orl $0x20, %eax /* PAE */
	movl %eax, %cr4
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $0x80000001, %eax
	cpuid
	movl %edx, %esi
	movl $EFER, %ecx
	rdmsr
	orl $0x100, %eax /* LME */
	testl $0x100000, %esi
	jz 1f
	orl $0x800, %eax /* NXE */
1:	wrmsr
	movl $CR0_RUN, %eax
	movl %eax, %cr0
	ret

	.code64
/* Load segments, IDT and the task register with the selector in ebx. */
cpu_tables:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	lidt idt_pointer
	lldt %ax
	ltr %bx
	ret

/*
 * The second CPU starts here in real mode, copied to physical AP_PAGE. It notes CS and IP-relative
 * facts for the tests at the end of its page, then joins the kernel.
 */
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	movw %ax, (ap_seen_cs - ap_trampoline)
	movl %cr0, %ebx
	movl %ebx, (ap_seen_cr0 - ap_trampoline)
	movl %edx, (ap_seen_edx - ap_trampoline)
	movl %esi, (ap_seen_esi - ap_trampoline)
	lgdtl (ap_gdt_pointer - ap_trampoline)
	movl $0x11, %eax
	movl %eax, %cr0
	ljmpl $0x18, $ap_protected
	.balign 8
ap_gdt_pointer:
	.word 0x3ff
	.long gdt
	.globl ap_seen_cs, ap_seen_cr0, ap_seen_edx, ap_seen_esi
	.balign 4
ap_seen_cs:
	.long 0xffffffff
ap_seen_cr0:
	.long 0xffffffff
ap_seen_edx:
	.long 0xffffffff
ap_seen_esi:
	.long 0xffffffff
ap_trampoline_end:

	.code32
ap_protected:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $ap_stack_top, %esp
	call long_mode
	ljmp $0x08, $1f
	.code64
1:	movl $ap_stack_top, %esp
	andb $~2, gdt + 0x65 /* a second start finds its TSS busy */
	movl $0x60, %ebx
	call cpu_tables
	call ap_main
2:	cli
	hlt
	jmp 2b

	.data
	.balign 16
	.globl gdt, gdt_pointer, idt_pointer
gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 08 code, 64-bit, DPL 0 */
	.quad 0x00cf93000000ffff /* 10 data, DPL 0 */
	.quad 0x00cf9b000000ffff /* 18 code, 32-bit, DPL 0 */
	.quad 0x00cffb000000ffff /* 20 code, 32-bit, DPL 3 */
	.quad 0x00cff3000000ffff /* 28 data, DPL 3 */
	.quad 0x00affb000000ffff /* 30 code, 64-bit, DPL 3 */
	.quad 0x008f9b000000ffff /* 38 code, 16-bit, DPL 0 */
	.quad 0, 0               /* 40 TSS of the first CPU */
	.quad 0, 0               /* 50 LDT */
	.quad 0, 0               /* 60 TSS of the second CPU */
	.quad 0x008f93000000ffff /* 70 data, 16-bit stack, DPL 0 */
	.quad 0x008ffb000000ffff /* 78 code, 16-bit, DPL 3 */
	.quad 0x00af9b000000ffff /* 80 SYSENTER: code, 64-bit, DPL 0 */
	.quad 0x00cf93000000ffff /* 88 its stack */
	.quad 0x00cffb000000ffff /* 90 SYSEXIT: code, 32-bit, DPL 3 */
	.quad 0x00cff3000000ffff /* 98 its stack */
	.quad 0x00affb000000ffff /* a0 SYSEXIT: code, 64-bit, DPL 3 */
	.quad 0x00cff3000000ffff /* a8 its stack */
	.fill 128 - 22, 8, 0     /* b0 TSS of legacy.S, c0 and up: for the tests */
	.balign 8
gdt_pointer:
	.word 0x3ff
	.quad gdt
	.balign 8
idt_pointer:
	.word 0xfff
	.quad idt
	.globl mb_magic, mb_info
mb_magic:
	.long 0
mb_info:
	.long 0

	.bss
	.balign 4096
	.globl boot_pml4, boot_pdpt, boot_pd
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pd:
	.skip 4 * 4096
	.skip 32768
boot_stack_top:
	.skip 16384
ap_stack_top:

	.section .note.GNU-stack, "", @progbits
