/* BIOS services for real-mode setup code: INT 10h text output (to the first serial port), 11h,
 * 12h, 15h memory size and map, 16h without keys, 13h and the rest fail as on a machine without
 * them. This is not firmware: it never looks for hardware and starts no disk. */
#include "machine/bios_stub.h"

#define SEGMENT   0xf000
#define BASE      0xe000 /* offset in its segment; the stub fills the last 8 KiB below 1 MiB */
#define SIZE      0x2000
#define E820_ROOM 8 /* entries */

/* clang-format off */

/* Assembled into read-only data; runs at F000:E000. AT(label) is the label's offset in the
 * segment. */
#define AT(label) "(" #label " - bios_stub + 0xe000)"
__asm__(".pushsection .rodata\n"
	".globl bios_stub, bios_stub_end, bios_int10, bios_int11, bios_int12, bios_int13\n"
	".globl bios_int15, bios_int16, bios_int1a, bios_int_none, bios_irq, bios_irq_slave\n"
	".globl bios_reset, bios_e820, bios_e820_end, bios_e801, bios_ext_kib\n"
	".hidden bios_stub, bios_stub_end, bios_int10, bios_int11, bios_int12, bios_int13\n"
	".hidden bios_int15, bios_int16, bios_int1a, bios_int_none, bios_irq, bios_irq_slave\n"
	".hidden bios_reset, bios_e820, bios_e820_end, bios_e801, bios_ext_kib\n"
	".code16\n"
	"bios_stub:\n"
	/* Data that is filled in: memory map, E801 (KiB from 1 to 16 MiB, 64 KiB blocks above),
	 * 88h. */
	"bios_e820:     .fill 20 * 8, 1, 0\n"
	"bios_e820_end: .word 0\n" /* bytes in use */
	"bios_e801:     .word 0, 0\n"
	"bios_ext_kib:  .word 0\n"

	/* Ways out: IRET with the caller's CF clear, set, or ZF set. */
	"clear_cf:\n"
	"	push %bp\n"
	"	mov %sp, %bp\n"
	"	andw $0xfffe, 6(%bp)\n"
	"	pop %bp\n"
	"	iret\n"
	"fail_86:\n" /* function not supported */
	"	mov $0x86, %ah\n"
	"set_cf:\n"
	"	push %bp\n"
	"	mov %sp, %bp\n"
	"	orw $1, 6(%bp)\n"
	"	pop %bp\n"
	"	iret\n"
	"set_zf:\n"
	"	push %bp\n"
	"	mov %sp, %bp\n"
	"	orw $0x40, 6(%bp)\n"
	"	pop %bp\n"
	"return:\n"
	"bios_int_none:\n"
	"	iret\n"

	/* INT 10h: teletype output, cursor position, video mode. */
	"bios_int10:\n"
	"	cmp $0x0e, %ah\n"
	"	je 1f\n"
	"	cmp $0x03, %ah\n"
	"	je 2f\n"
	"	cmp $0x0f, %ah\n"
	"	jne return\n"
	"	mov $0x5003, %ax\n" /* 80 columns, mode 3 */
	"	xor %bh, %bh\n"
	"	iret\n"
	"1:	push %dx\n"
	"	mov $0x3f8, %dx\n"
	"	out %al, %dx\n"
	"	pop %dx\n"
	"	iret\n"
	"2:	mov $0x0607, %cx\n"
	"	xor %dx, %dx\n"
	"	iret\n"

	"bios_int11:\n"
	"	mov $0x0022, %ax\n" /* coprocessor, 80-column colour text */
	"	iret\n"
	"bios_int12:\n"
	"	mov $639, %ax\n" /* KiB below the EBDA */
	"	iret\n"

	/* INT 13h: there are no disks here. */
	"bios_int13:\n"
	"	mov $0x01, %ah\n"
	"	jmp set_cf\n"

	/* INT 15h */
	"bios_int15:\n"
	"	cmp $0xe820, %ax\n"
	"	je e820\n"
	"	cmp $0xe801, %ax\n"
	"	je e801\n"
	"	cmp $0x88, %ah\n"
	"	je ext_mem\n"
	"	cmp $0x24, %ah\n"
	"	jne fail_86\n"
	/* 24xxh: A20 is on, and is not switched off here. */
	"	cmp $0x01, %al\n"
	"	je a20_done\n"
	"	cmp $0x02, %al\n"
	"	je a20_status\n"
	"	cmp $0x03, %al\n"
	"	jne fail_86\n"
	"	mov $0x0003, %bx\n" /* keyboard controller and port 92h */
	"	jmp a20_done\n"
	"a20_status:\n"
	"	mov $0x01, %al\n"
	"a20_done:\n"
	"	xor %ah, %ah\n"
	"	jmp clear_cf\n"
	"ext_mem:\n"
	"	mov %cs:" AT(bios_ext_kib) ", %ax\n"
	"	jmp clear_cf\n"
	"e801:\n"
	"	mov %cs:" AT(bios_e801) ", %ax\n"
	"	mov %cs:" AT(bios_e801) " + 2, %bx\n"
	"	mov %ax, %cx\n"
	"	mov %bx, %dx\n"
	"	jmp clear_cf\n"
	/* EBX is the offset of the entry in the map; 20 bytes go to ES:DI. */
	"e820:\n"
	"	cmp $0x534d4150, %edx\n"
	"	jne fail_86\n"
	"	cmp $20, %ecx\n"
	"	jb fail_86\n"
	"	cmpw %cs:" AT(bios_e820_end) ", %bx\n"
	"	jae fail_86\n"
	"	push %si\n"
	"	push %di\n"
	"	mov %bx, %si\n"
	"	add $" AT(bios_e820) ", %si\n"
	"	mov $10, %cx\n"
	"	cld\n"
	"	rep movsw %cs:(%si), %es:(%di)\n"
	"	pop %di\n"
	"	pop %si\n"
	"	mov %edx, %eax\n"
	"	mov $20, %ecx\n"
	"	add $20, %bx\n"
	"	movzwl %bx, %ebx\n"
	"	cmpw %cs:" AT(bios_e820_end) ", %bx\n"
	"	jb clear_cf\n"
	"	xor %ebx, %ebx\n"
	"	jmp clear_cf\n"

	/* INT 16h: no key is waiting; shift keys up; reads return nothing. */
	"bios_int16:\n"
	"	test $0x0f, %ah\n"
	"	jz 1f\n"
	"	test $0x01, %ah\n"
	"	jnz set_zf\n"
	"	xor %al, %al\n"
	"	iret\n"
	"1:	xor %ax, %ax\n"
	"	iret\n"

	/* INT 1Ah: ticks since midnight stand still; no clock, no PCI BIOS. */
	"bios_int1a:\n"
	"	test %ah, %ah\n"
	"	jnz fail_86\n"
	"	xor %al, %al\n"
	"	xor %cx, %cx\n"
	"	xor %dx, %dx\n"
	"	jmp clear_cf\n"

	/* Hardware interrupts: acknowledged. */
	"bios_irq_slave:\n"
	"	push %ax\n"
	"	mov $0x20, %al\n"
	"	out %al, $0xa0\n"
	"	jmp 1f\n"
	"bios_irq:\n"
	"	push %ax\n"
	"	mov $0x20, %al\n"
	"1:	out %al, $0x20\n"
	"	pop %ax\n"
	"	iret\n"

	/* INT 18h, 19h, and a jump to the reset vector: a hard reset through port CF9h. */
	"bios_reset:\n"
	"	mov $0xcf9, %dx\n"
	"	mov $0x02, %al\n"
	"	out %al, %dx\n"
	"	mov $0x06, %al\n"
	"	out %al, %dx\n"
	"1:	cli\n"
	"	hlt\n"
	"	jmp 1b\n"

	"	.org bios_stub + 0x1ff0\n"
	"	ljmp $0xf000, $" AT(bios_reset) "\n"
	"	.ascii \"11/21/26\"\n" /* where a BIOS has its date */
	"	.byte 0, 0xfc, 0\n"    /* model: PC AT */
	"bios_stub_end:\n"
	".code64\n"
	".popsection\n");

/* clang-format on */

extern const u8 bios_stub[], bios_stub_end[], bios_int10[], bios_int11[], bios_int12[],
	bios_int13[], bios_int15[], bios_int16[], bios_int1a[], bios_int_none[], bios_irq[],
	bios_irq_slave[], bios_reset[], bios_e820[], bios_e820_end[], bios_e801[], bios_ext_kib[];

_Static_assert(E820_ROOM >= BOOT_RANGES, "memory map fits the stub");

void bios_stub_install(struct boot *b)
{
	struct boot_range ranges[BOOT_RANGES];
	unsigned count = boot_memory_map(b->mem, ranges);
	u8 image[SIZE];
	u64 above_1m = (b->mem->low_end - BOOT_HIGH) / KIB, above_16m;

	memcpy(image, bios_stub, sizeof(image));
	for (unsigned i = 0; i < count; i++) {
		u8 *e = image + (bios_e820 - bios_stub) + 20 * i;

		le_store(e, ranges[i].base, 8);
		le_store(e + 8, ranges[i].size, 8);
		le_store(e + 16, ranges[i].type, 4);
	}
	above_16m = above_1m > 15 * KIB ? above_1m - 15 * KIB : 0;
	le_store(image + (bios_e820_end - bios_stub), 20 * count, 2);
	le_store(image + (bios_e801 - bios_stub), MIN(above_1m, 15 * KIB), 2);
	le_store(image + (bios_e801 - bios_stub) + 2, above_16m / 64, 2);
	le_store(image + (bios_ext_kib - bios_stub), MIN(above_1m, 0xfc00), 2);
	boot_write(b, SEGMENT * 16 + BASE, image, sizeof(image));
}

/* Vectors other than those that only return. */
static const struct {
	u8 first, last;
	const u8 *handler;
} vectors[] = {
	{ 0x08, 0x0f, bios_irq },   { 0x70, 0x77, bios_irq_slave }, { 0x10, 0x10, bios_int10 },
	{ 0x11, 0x11, bios_int11 }, { 0x12, 0x12, bios_int12 },     { 0x13, 0x13, bios_int13 },
	{ 0x15, 0x15, bios_int15 }, { 0x16, 0x16, bios_int16 },     { 0x1a, 0x1a, bios_int1a },
	{ 0x18, 0x19, bios_reset },
};

static u32 far_pointer(const u8 *handler)
{
	return (u32)SEGMENT << 16 | (u32)(BASE + (handler - bios_stub));
}

static struct x86_seg real_seg(u16 sel, u32 type)
{
	return (struct x86_seg){
		.sel = sel,
		.ar = (u32)(AR_P | AR_S | AR_WR | AR_A) | type,
		.limit = 0xffff,
		.base = (u64)sel << 4,
	};
}

void bios_stub_enter(struct boot *b, u16 cs, u16 ss, u16 sp)
{
	struct x86_cpu *cpu = b->cpu;
	u32 ivt[256];

	for (unsigned i = 0; i < ARRAY_LEN(ivt); i++)
		ivt[i] = far_pointer(bios_int_none);
	for (unsigned n = 0; n < ARRAY_LEN(vectors); n++) {
		for (unsigned i = vectors[n].first; i <= vectors[n].last; i++)
			ivt[i] = far_pointer(vectors[n].handler);
	}
	boot_write(b, 0, ivt, sizeof(ivt));
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	for (unsigned s = ES; s <= GS; s++)
		cpu->seg[s] = real_seg(ss, 0);
	cpu->seg[CS] = real_seg(cs, AR_CODE);
	cpu->rip = 0;
	cpu->gpr[RSP] = sp;
	x86_set_rflags(cpu, FL_FIXED);
}
