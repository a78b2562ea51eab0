/* MC146818A. Nothing ticks by itself: time and flags are computed from the guest clock when looked
 * at, and a timer runs only while an enabled interrupt is ahead. Names are the data sheet's. */
#include "dev/mc146818.h"

#include "base/bits.h"
#include "base/trace.h"

#define NS ((i64)CLOCK_NS_PER_S)
/* either side of 1970: all that the bytes can say, and more */
#define SECONDS_MAX (10000 * 366 * 86400ll)
/* The chip stands still from here on, 146 years after power-on. A guest that sleeps on the counted
 * clock can get that far, and the sums below are signed. */
#define NOW_MAX (1ll << 62)

enum {
	R_SECONDS = 0,
	R_SECONDS_ALARM,
	R_MINUTES,
	R_MINUTES_ALARM,
	R_HOURS,
	R_HOURS_ALARM,
	R_WEEKDAY,
	R_DAY,
	R_MONTH,
	R_YEAR,
	R_A,
	R_B,
	R_C,
	R_D,
	R_FLOPPY = 0x10,
	R_EQUIPMENT = 0x14,
	R_BASE_LOW = 0x15,
	R_EXT_LOW = 0x17,
	R_SUM_FIRST = 0x10,
	R_SUM_LAST = 0x2d,
	R_SUM_HIGH = 0x2e,
	R_EXT_FOUND_LOW = 0x30,
	R_CENTURY = 0x32,
	R_ABOVE_16M_LOW = 0x34,
	/* Third boot device in bits 7..4; bit 0: no signature is asked of a floppy. */
	R_BOOT_LAST = 0x38,
	R_TRANSLATION = 0x39, /* two bits an IDE drive */
	R_BOOT_FIRST = 0x3d,  /* first boot device in bits 3..0, second in 7..4 */
	R_ABOVE_4G_LOW = 0x5b,
	R_MORE_CPUS = 0x5f, /* beside the first */
};

#define A_UIP    0x80
#define A_DV     0x70
#define A_DV_RUN 0x20 /* 32.768 kHz crystal */
#define A_RS     0x0f

#define B_SET    0x80
#define B_PIE    0x40
#define B_AIE    0x20
#define B_UIE    0x10
#define B_BINARY 0x04
#define B_24H    0x02

#define C_IRQF 0x80
#define C_PF   0x40
#define C_AF   0x20
#define C_UF   0x10

#define D_VRT 0x80

#define HOUR_PM   0x80
#define ALARM_ANY 0xc0

/* Update in progress: from 244 us before the update, which itself takes 1984 us (table 6). The
 * bytes change at its end. */
#define UIP_NS ((244 + 1984) * 1000)

static const struct state_field mc146818_rows[] = {
	STATE_ROW(struct mc146818_regs, index),    STATE_ARRAY(struct mc146818_regs, cmos),
	STATE_ROW(struct mc146818_regs, seconds),  STATE_ROW(struct mc146818_regs, base_ns),
	STATE_ROW(struct mc146818_regs, flags_ns),
};
static STATE_DESC(mc146818_state, struct mc146818_regs, "mc146818", mc146818_rows);

static i64 rtc_now(const struct mc146818 *rtc)
{
	return (i64)MIN(clock_now(rtc->dev.platform->clock), (u64)NOW_MAX);
}

/* Division that rounds towards minus infinity, and what is left. */
static i64 floor_div(i64 a, i64 b) { return a / b - (a % b < 0); }

static i64 floor_mod(i64 a, i64 b) { return a - floor_div(a, b) * b; }

/* --- Calendar ------------------------------------------------------------------------------- */

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar; month is 1..12. Years start
 * in March here, so that the leap day comes last. */
static i64 days_from_date(i64 year, unsigned month, unsigned day)
{
	i64 y = year - (month <= 2);
	i64 era = floor_div(y, 400), in_era = y - era * 400;
	i64 in_year = (153 * ((i64)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

struct date {
	i64 year;
	unsigned month, day;
};

static struct date date_from_days(i64 days)
{
	i64 era = floor_div(days + 719468, 146097), d = days + 719468 - era * 146097;
	i64 in_era = (d - d / 1460 + d / 36524 - d / 146096) / 365;
	i64 in_year = d - (365 * in_era + in_era / 4 - in_era / 100);
	i64 m = (5 * in_year + 2) / 153;
	unsigned month = (unsigned)(m < 10 ? m + 3 : m - 9);

	return (struct date){ in_era + era * 400 + (month <= 2), month,
			      (unsigned)(in_year - (153 * m + 2) / 5 + 1) };
}

/* --- Formats of the time bytes -------------------------------------------------------------- */

static u8 to_byte(const struct mc146818_regs *r, unsigned value)
{
	return (u8)(r->cmos[R_B] & B_BINARY ? value : value / 10 % 10 << 4 | value % 10);
}

static unsigned from_byte(const struct mc146818_regs *r, u8 byte)
{
	return r->cmos[R_B] & B_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
}

static u8 hour_to_byte(const struct mc146818_regs *r, unsigned hour)
{
	if (r->cmos[R_B] & B_24H)
		return to_byte(r, hour);
	return to_byte(r, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned hour_from_byte(const struct mc146818_regs *r, u8 byte)
{
	if (r->cmos[R_B] & B_24H)
		return from_byte(r, byte);
	return from_byte(r, byte & 0x7f) % 12 + (byte & HOUR_PM ? 12 : 0);
}

/* --- Time ----------------------------------------------------------------------------------- */

static bool updates_run(const struct mc146818_regs *r)
{
	return !(r->cmos[R_B] & B_SET) && (r->cmos[R_A] & A_DV) == A_DV_RUN;
}

/* Updates since base_ns at time ns. */
static i64 updates_at(const struct mc146818_regs *r, i64 ns)
{
	return floor_div(ns - r->base_ns, NS);
}

static void time_to_bytes(struct mc146818_regs *r, i64 seconds)
{
	i64 days = floor_div(seconds, 86400);
	unsigned of_day = (unsigned)floor_mod(seconds, 86400);
	struct date date = date_from_days(days);

	r->cmos[R_SECONDS] = to_byte(r, of_day % 60);
	r->cmos[R_MINUTES] = to_byte(r, of_day / 60 % 60);
	r->cmos[R_HOURS] = hour_to_byte(r, of_day / 3600);
	r->cmos[R_WEEKDAY] = (u8)(floor_mod(days + 4, 7) + 1); /* Sunday is 1 */
	r->cmos[R_DAY] = to_byte(r, date.day);
	r->cmos[R_MONTH] = to_byte(r, date.month);
	r->cmos[R_YEAR] = to_byte(r, (unsigned)floor_mod(date.year, 100));
	/* The firmware's byte, not the chip's: always BCD. */
	date.year = floor_mod(date.year, 10000);
	r->cmos[R_CENTURY] = (u8)(date.year / 1000 << 4 | date.year / 100 % 10);
}

/* Bytes out of range give some time or other; the chip does not check either. */
static i64 time_from_bytes(const struct mc146818_regs *r)
{
	unsigned century = (r->cmos[R_CENTURY] >> 4) * 10u + (r->cmos[R_CENTURY] & 15);
	unsigned month = from_byte(r, r->cmos[R_MONTH]);
	i64 year = century * 100 + from_byte(r, r->cmos[R_YEAR]);
	i64 days =
		days_from_date(year, month < 1 ? 1 : MIN(month, 12), from_byte(r, r->cmos[R_DAY]));

	return days * 86400 + hour_from_byte(r, r->cmos[R_HOURS]) * 3600ll +
	       from_byte(r, r->cmos[R_MINUTES]) * 60ll + from_byte(r, r->cmos[R_SECONDS]);
}

static void time_to_now(struct mc146818 *rtc)
{
	struct mc146818_regs *r = &rtc->regs;

	if (updates_run(r))
		time_to_bytes(r, r->seconds + updates_at(r, rtc_now(rtc)));
}

/* The bytes as they stand are the time now; the phase of the seconds stays. */
static void time_from_now(struct mc146818 *rtc)
{
	struct mc146818_regs *r = &rtc->regs;

	if (updates_run(r))
		r->seconds = time_from_bytes(r) - updates_at(r, rtc_now(rtc));
}

/* --- Interrupts ----------------------------------------------------------------------------- */

/* Ticks of 32.768 kHz between periodic interrupts (table 5); 0: there are none. */
static i64 period_ticks(const struct mc146818_regs *r)
{
	unsigned rs = r->cmos[R_A] & A_RS;

	if (!rs || (r->cmos[R_A] & A_DV) != A_DV_RUN)
		return 0;
	return 1 << (rs < 3 ? rs + 6 : rs - 1);
}

/* Ticks since base_ns at time ns: one divider chain makes the seconds and the periods. */
static i64 ticks_at(const struct mc146818_regs *r, i64 ns)
{
	i64 from_base = ns - r->base_ns, second = floor_div(from_base, NS);

	return second * 32768 + (i64)clock_ns_to_ticks((u64)floor_mod(from_base, NS), 32768);
}

/* Time of the first end of a period after ns. */
static i64 next_period(const struct mc146818_regs *r, i64 ns, i64 period)
{
	i64 tick = (floor_div(ticks_at(r, ns), period) + 1) * period;

	return r->base_ns + tick / 32768 * NS + (i64)clock_ticks_to_ns((u64)(tick % 32768), 32768);
}

static bool alarm_matches(u8 alarm, u8 byte)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == byte;
}

/* Whether any time of day matches the alarm bytes. */
static bool alarm_possible(const struct mc146818_regs *r)
{
	bool second = false, minute = false, hour = false;

	for (unsigned i = 0; i < 60; i++) {
		second |= alarm_matches(r->cmos[R_SECONDS_ALARM], to_byte(r, i));
		minute |= alarm_matches(r->cmos[R_MINUTES_ALARM], to_byte(r, i));
		hour |= i < 24 && alarm_matches(r->cmos[R_HOURS_ALARM], hour_to_byte(r, i));
	}
	return second && minute && hour;
}

/* Seconds from the time `from` to the first at or after it that matches the alarm bytes; -1 if none
 * does. Goes hour by hour to the hour, then minute by minute, then second by second: a few hundred
 * steps at most. */
static i64 alarm_distance(const struct mc146818_regs *r, i64 from)
{
	i64 distance = 0;

	if (!alarm_possible(r))
		return -1;
	for (;;) {
		unsigned t = (unsigned)floor_mod(from + distance, 86400);

		if (!alarm_matches(r->cmos[R_HOURS_ALARM], hour_to_byte(r, t / 3600)))
			distance += 3600 - t % 3600;
		else if (!alarm_matches(r->cmos[R_MINUTES_ALARM], to_byte(r, t / 60 % 60)))
			distance += 60 - t % 60;
		else if (!alarm_matches(r->cmos[R_SECONDS_ALARM], to_byte(r, t % 60)))
			distance++;
		else
			return distance;
	}
}

/* Brings register C up to now: flags are set whether their interrupt is enabled or not. */
static void flags_to_now(struct mc146818 *rtc)
{
	struct mc146818_regs *r = &rtc->regs;
	i64 now = rtc_now(rtc), then = r->flags_ns, period = period_ticks(r);
	u8 flags = 0;

	if (updates_run(r)) {
		i64 first = updates_at(r, then) + 1, last = updates_at(r, now);

		if (first <= last) {
			i64 distance = alarm_distance(r, r->seconds + first);

			flags |= C_UF;
			if (distance >= 0 && distance <= last - first)
				flags |= C_AF;
		}
	}
	if (period && floor_div(ticks_at(r, now), period) != floor_div(ticks_at(r, then), period))
		flags |= C_PF;
	r->flags_ns = now;
	r->cmos[R_C] |= flags;
}

/* Guest time of the next event that raises the interrupt; CLOCK_NEVER. */
static u64 next_interrupt(const struct mc146818_regs *r)
{
	i64 now = r->flags_ns, period = period_ticks(r);
	u64 next = CLOCK_NEVER;

	if (now == NOW_MAX)
		return next;
	if (r->cmos[R_B] & B_PIE && period)
		next = (u64)next_period(r, now, period);
	if (updates_run(r) && r->cmos[R_B] & (B_UIE | B_AIE)) {
		i64 update = updates_at(r, now) + 1, distance = 0;

		if (!(r->cmos[R_B] & B_UIE))
			distance = alarm_distance(r, r->seconds + update);
		if (distance >= 0)
			next = MIN(next, (u64)(r->base_ns + (update + distance) * NS));
	}
	return next;
}

static void rtc_update(struct mc146818 *rtc)
{
	struct mc146818_regs *r = &rtc->regs;
	bool irq;

	flags_to_now(rtc);
	/* The enables of B stand where the flags of C do. */
	irq = r->cmos[R_B] & r->cmos[R_C] & (C_PF | C_AF | C_UF);
	r->cmos[R_C] = (u8)((r->cmos[R_C] & ~C_IRQF) | (irq ? C_IRQF : 0));
	irq_set(&rtc->irq, irq);
	/* While the line is up nothing can raise it. */
	timer_set(rtc->dev.platform->clock, &rtc->timer, irq ? CLOCK_NEVER : next_interrupt(r));
}

static void rtc_due(void *opaque)
{
	trace(TIMER, "rtc interrupt due");
	rtc_update(opaque);
}

/* --- Registers ------------------------------------------------------------------------------ */

static u8 read_a(const struct mc146818 *rtc)
{
	const struct mc146818_regs *r = &rtc->regs;
	i64 left = NS - floor_mod(rtc_now(rtc) - r->base_ns, NS);

	return r->cmos[R_A] | (updates_run(r) && left <= UIP_NS ? A_UIP : 0);
}

static void write_a(struct mc146818 *rtc, u8 value)
{
	struct mc146818_regs *r = &rtc->regs;
	bool ran = (r->cmos[R_A] & A_DV) == A_DV_RUN;

	time_to_now(rtc);
	r->cmos[R_A] = value & (A_DV | A_RS);
	/* The first update follows half a second after the divider's release. */
	if (!ran && (value & A_DV) == A_DV_RUN)
		r->base_ns = rtc_now(rtc) - NS / 2;
	time_from_now(rtc);
}

static void write_b(struct mc146818 *rtc, u8 value)
{
	struct mc146818_regs *r = &rtc->regs;

	/* SET also clears UIE. */
	if (value & B_SET)
		value &= (u8)~B_UIE;
	/* The bytes are kept, not converted, when the format changes (register B, DM and 24/12):
	 * the time must be set anew then. */
	time_to_now(rtc);
	r->cmos[R_B] = value;
	time_from_now(rtc);
}

static u8 read_c(struct mc146818 *rtc)
{
	u8 value = rtc->regs.cmos[R_C];

	rtc->regs.cmos[R_C] = 0;
	rtc_update(rtc);
	return value;
}

static bool is_time(unsigned index) { return index <= R_YEAR || index == R_CENTURY; }

static u64 mc146818_read(void *dev, u64 offset, unsigned size)
{
	struct mc146818 *rtc = dev;
	unsigned index = rtc->regs.index & 0x7f;
	u8 value;

	if (!offset)
		return 0xff; /* the index is for writing only */
	rtc_update(rtc);
	if (is_time(index))
		time_to_now(rtc);
	if (index == R_A)
		value = read_a(rtc);
	else if (index == R_C)
		value = read_c(rtc);
	else
		value = rtc->regs.cmos[index];
	trace(TIMER, "rtc read %02x = %02x", index, value);
	return value;
}

static void mc146818_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct mc146818 *rtc = dev;
	struct mc146818_regs *r = &rtc->regs;
	unsigned index = r->index & 0x7f;

	if (!offset) {
		r->index = (u8)value;
		return;
	}
	trace(TIMER, "rtc write %02x = %02llx", index, (unsigned long long)value);
	flags_to_now(rtc);
	if (index == R_A) {
		write_a(rtc, (u8)value);
	} else if (index == R_B) {
		write_b(rtc, (u8)value);
	} else if (is_time(index)) {
		time_to_now(rtc);
		r->cmos[index] = (u8)value;
		time_from_now(rtc);
	} else if (index != R_C && index != R_D) {
		r->cmos[index] = (u8)value;
	}
	rtc_update(rtc);
}

static const struct bus_ops mc146818_ops = { mc146818_read, mc146818_write, 1 };

/* --- Life ----------------------------------------------------------------------------------- */

static void put16(struct mc146818_regs *r, unsigned index, u64 value)
{
	le_store(&r->cmos[index], MIN(value, 0xffff), 2);
}

/* Floppy drives, also in the equipment byte (bit 0: any, bits 7..6: how many more than one), and
 * what firmware starts from. */
static void fill_drives(struct mc146818 *rtc)
{
	u8 *cmos = rtc->regs.cmos;

	cmos[R_FLOPPY] = (u8)((rtc->floppy[0] & 15) << 4 | (rtc->floppy[1] & 15));
	if (rtc->floppy[0] || rtc->floppy[1])
		cmos[R_EQUIPMENT] |= rtc->floppy[0] && rtc->floppy[1] ? 0x41 : 0x01;
	cmos[R_BOOT_FIRST] = (u8)((rtc->boot[1] & 15) << 4 | (rtc->boot[0] & 15));
	cmos[R_BOOT_LAST] = (u8)((rtc->boot[2] & 15) << 4);
	for (unsigned n = 0; n < 4; n++)
		cmos[R_TRANSLATION] |= (u8)((rtc->translated >> n & 1) << (2 * n)); /* 1: LBA */
}

/* What the firmware of a PC leaves in the memory: sizes of RAM, equipment, checksum. */
static void fill_memory(struct mc146818 *rtc)
{
	struct mc146818_regs *r = &rtc->regs;
	u64 low = rtc->ram_low_end;
	unsigned sum = 0;

	put16(r, R_BASE_LOW, 640);
	put16(r, R_EXT_LOW, (low - MIN(low, MIB)) / KIB);
	put16(r, R_EXT_FOUND_LOW, (low - MIN(low, MIB)) / KIB);
	put16(r, R_ABOVE_16M_LOW, (low - MIN(low, 16 * MIB)) / (64 * KIB));
	le_store(&r->cmos[R_ABOVE_4G_LOW], MIN(rtc->ram_high / (64 * KIB), 0xffffff), 3);
	r->cmos[R_EQUIPMENT] = 0x06; /* coprocessor, PS/2 pointing device */
	fill_drives(rtc);
	r->cmos[R_MORE_CPUS] = (u8)(MIN(MAX(rtc->cpus, 1u), 256u) - 1);
	for (unsigned i = R_SUM_FIRST; i <= R_SUM_LAST; i++)
		sum += r->cmos[i];
	r->cmos[R_SUM_HIGH] = (u8)(sum >> 8);
	r->cmos[R_SUM_HIGH + 1] = (u8)sum;
}

/* The reset pin clears the interrupt enables and flags; time and memory live on. */
static void mc146818_reset(struct device *dev)
{
	struct mc146818 *rtc = container_of(dev, struct mc146818, dev);

	rtc->regs.cmos[R_B] &= (u8) ~(B_PIE | B_AIE | B_UIE | 0x08);
	flags_to_now(rtc);
	rtc->regs.cmos[R_C] = 0;
	rtc_update(rtc);
}

/* Times that no clock can have come to are brought to ones that can. */
static void mc146818_loaded(struct device *dev)
{
	struct mc146818 *rtc = container_of(dev, struct mc146818, dev);
	struct mc146818_regs *r = &rtc->regs;
	i64 now = rtc_now(rtc);

	r->seconds = MAX(-SECONDS_MAX, MIN(SECONDS_MAX, r->seconds));
	r->base_ns = MAX(-NS, MIN(now, r->base_ns));
	r->flags_ns = MAX(r->base_ns, MIN(now, r->flags_ns));
	rtc_update(rtc);
}

static int mc146818_init(struct device *dev)
{
	struct mc146818 *rtc = container_of(dev, struct mc146818, dev);
	struct clock *clock = dev->platform->clock;
	struct mc146818_regs *r = &rtc->regs;
	int err = timer_init(clock, &rtc->timer, "rtc", rtc_due, rtc);

	if (err < 0)
		return err;
	err = bus_map(dev->platform->ports, 0x70, 2, &mc146818_ops, rtc, dev->name);
	if (err < 0)
		return err;
	*r = (struct mc146818_regs){ 0 };
	r->cmos[R_A] = A_DV_RUN | 6; /* 1024 Hz, as firmware leaves it */
	r->cmos[R_B] = B_24H;
	r->cmos[R_D] = D_VRT;
	r->seconds = clock->wall_offset_s;
	r->flags_ns = rtc_now(rtc);
	fill_memory(rtc);
	time_to_now(rtc);
	mc146818_reset(dev);
	return 0;
}

const struct device_type mc146818_type = {
	.name = "mc146818",
	.help = "real-time clock and CMOS memory",
	.size = sizeof(struct mc146818),
	.regs_offset = offsetof(struct mc146818, regs),
	.regs = &mc146818_state,
	.init = mc146818_init,
	.reset = mc146818_reset,
	.loaded = mc146818_loaded,
};
