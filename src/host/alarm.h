/* An alarm: a moment at which bits are set in a word that a running thread looks at. The bits are set by a signal handler, on
 * whatever thread the signal finds. */
#ifndef HOST_ALARM_H
#define HOST_ALARM_H

#include "base/types.h"

#include <stdatomic.h>
#include <time.h>

struct alarm {
	timer_t timer;
	bool made;
	_Atomic(_Atomic u32 *) word;
	u32 bits;
};

/* Negative errno. The alarm keeps its address until alarm_fini. */
int alarm_init(struct alarm *alarm) must_check;
void alarm_fini(struct alarm *alarm);
/* Sets bits in *word after ns nanoseconds (at least 1), unless it is set anew or cancelled before. */
void alarm_set(struct alarm *alarm, u64 ns, _Atomic u32 *word, u32 bits);
/* Afterwards the word is not touched any more. */
void alarm_cancel(struct alarm *alarm);

#endif
