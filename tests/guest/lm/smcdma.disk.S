/*
 * The disk of the DMA test guest: 256 sectors, each of eight functions of 64 bytes:
 * mov eax, 8 * sector + number; ret
 */
	.text
	.set number, 0
	.rept 256 * 8
	movl $number, %eax
	ret
	.balign 64, 0xcc
	.set number, number + 1
	.endr

	.section .note.GNU-stack, "", @progbits
