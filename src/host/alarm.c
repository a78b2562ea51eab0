#include "host/alarm.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define ALARM_SIGNAL SIGRTMIN

static void ring(int sig, siginfo_t *info, void *context)
{
	const struct alarm *alarm = info->si_value.sival_ptr;
	_Atomic u32 *word;

	(void)sig;
	(void)context;
	if (info->si_code != SI_TIMER)
		return;
	word = atomic_load_explicit(&alarm->word, memory_order_acquire);
	if (word)
		atomic_fetch_or(word, alarm->bits);
}

int alarm_init(struct alarm *alarm)
{
	struct sigaction action = { .sa_sigaction = ring,
				    .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = ALARM_SIGNAL,
				  .sigev_value.sival_ptr = alarm };

	*alarm = (struct alarm){ .made = false };
	sigemptyset(&action.sa_mask);
	if (sigaction(ALARM_SIGNAL, &action, NULL) ||
	    timer_create(CLOCK_MONOTONIC, &event, &alarm->timer))
		return -errno;
	alarm->made = true;
	return 0;
}

void alarm_fini(struct alarm *alarm)
{
	if (alarm->made)
		timer_delete(alarm->timer);
	alarm->made = false;
}

void alarm_set(struct alarm *alarm, u64 ns, _Atomic u32 *word, u32 bits)
{
	struct itimerspec when = { .it_value = { .tv_sec = (time_t)(ns / 1000000000),
						 .tv_nsec = (long)(ns % 1000000000) } };

	alarm->bits = bits;
	atomic_store_explicit(&alarm->word, word, memory_order_release);
	timer_settime(alarm->timer, 0, &when, NULL);
}

void alarm_cancel(struct alarm *alarm)
{
	const struct itimerspec never = { .it_value = { .tv_sec = 0 } };

	timer_settime(alarm->timer, 0, &never, NULL);
	atomic_store_explicit(&alarm->word, NULL, memory_order_release);
}
