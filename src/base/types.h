/* Integer types and compiler attributes used everywhere. */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

typedef u64 gpa_t; /* guest-physical address */
typedef u64 gva_t; /* guest-linear address: segment base already added, before paging */

#define likely(x)              __builtin_expect(!!(x), 1)
#define unlikely(x)            __builtin_expect(!!(x), 0)
#define must_check             __attribute__((warn_unused_result))
#define noreturn_fn            __attribute__((noreturn))
#define noinline_fn            __attribute__((noinline))
#define unused_arg             __attribute__((unused))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

#endif
