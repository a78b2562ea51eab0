/* Selectors of the default GDT and constants shared by C and assembly. */
#ifndef TESTS_GUEST_PM_SEL_H
#define TESTS_GUEST_PM_SEL_H

#define KCS         0x08 /* flat code and data, one pair per privilege level */
#define KDS         0x10
#define CS1         0x19
#define DS1         0x21
#define CS2         0x2a
#define DS2         0x32
#define UCS         0x3b
#define UDS         0x43
#define SEL_TSS     0x48 /* the TSS that TR holds */
#define SEL_LDT     0x50
#define CCS         0x58 /* flat conforming code, DPL 0 */
#define CS16        0x60 /* 16-bit code and data, DPL 0, base LOW, limit 0xffff */
#define DS16        0x68
#define SEL_NONE    0x70 /* a descriptor of zeros */
#define T0          0x80 /* free for the rules: T(0) to T(15) */
#define T(n)        (T0 + 8 * (n))
#define L(n)        (8 * (n) + 4) /* the same in the LDT: L(0) to L(7) */
#define GDT_ENTRIES 32
#define LDT_ENTRIES 8

#define LOW     0x10000 /* where probes live: linear address, and base of CS16 and DS16 */
#define LOW_SEG 0x1000

#define FL_CF      0x1
#define FL_ZF      0x40
#define FL_TF      0x100
#define FL_IF      0x200
#define FL_OF      0x800
#define FL_IOPL(n) ((n) << 12)
#define FL_NT      0x4000
#define FL_RF      0x10000
#define FL_VM      0x20000
#define FL_AC      0x40000
#define FL_VIF     0x80000
#define FL_VIP     0x100000
#define FL_ID      0x200000

#define TRAP_RAW_WORDS 26

#endif
