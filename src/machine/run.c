/* The run loop: slices of guest code, guest timers, host events, all on one thread. vCPUs take turns in a fixed order, so that
 * with the counted clock the same machine runs the same way twice. */
#include "base/log.h"
#include "base/trace.h"
#include "machine/internal.h"
#include "x86/debugger.h"

#include <poll.h>
#include <time.h>

#define SLICE_ONE 40000 /* instructions: about 0.1 ms, which bounds how late a timer fires */
#define SLICE_SMP 8000 /* shorter, so that a CPU that spins on another one does not spin for long */
#define SLICE_NS \
	1000000 /* the same for engines that do not count: until a timer is due, but no longer */
#define SLICE_SMP_NS  100000
#define SLICE_MIN_NS  20000
#define POLL_EVERY_NS 1000000 /* host events are looked at this often while guest code runs */

static u64 host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

/* With the counted clock a slice ends where the next timer is due. */
static u64 slice_insns(struct machine *m)
{
	u64 slice = m->vm.nvcpus > 1 ? SLICE_SMP : SLICE_ONE;

	if (m->clock.kind == CLOCK_KIND_INSNS) {
		u64 now = clock_now(&m->clock), next = clock_next(&m->clock);

		slice = MIN(slice, next > now ? next - now : 1);
	}
	return slice;
}

/* Lets one CPU run for a slice. */
static enum stop run_slice(struct machine *m, struct vcpu *v)
{
	const struct engine_ops *engine = m->vm.engine;
	u64 now, next, slice = m->vm.nvcpus > 1 ? SLICE_SMP_NS : SLICE_NS;
	enum stop why;

	if (m->check)
		return check_run(m->check, v->index, slice_insns(m));
	if (!engine->timed || m->clock.kind == CLOCK_KIND_INSNS)
		return engine->run(v, slice_insns(m));
	now = clock_now(&m->clock);
	next = clock_next(&m->clock);
	if (next < now + slice)
		slice = next > now + SLICE_MIN_NS ? next - now : SLICE_MIN_NS;
	alarm_set(&m->slice_end, slice, &v->attention, ATT_YIELD);
	why = engine->run(v, UINT64_MAX);
	alarm_cancel(&m->slice_end);
	vcpu_unattend(v, ATT_YIELD);
	return why;
}

/* True if the debugger has taken the stop. */
static bool debugger_takes(struct machine *m, struct vcpu *v, enum stop why)
{
	if (!m->on_debug)
		return false;
	machine_pause(m, true);
	if (m->on_debug(m->debug_opaque, v, why))
		return true;
	machine_pause(m, false);
	return false;
}

/* A debugger keeps the CPU where it is. */
static bool is_held(const struct vcpu *v) { return unlikely(v->dbg) && v->dbg->held; }

/* True if something has come up for a CPU since it halted: from a timer, or from a CPU whose turn was later. */
static bool any_woken(const struct machine *m)
{
	for (unsigned n = 0; n < m->vm.nvcpus; n++)
		if (!is_held(m->vm.vcpus[n]) &&
		    atomic_load(&m->vm.vcpus[n]->attention) & ~m->halted_attention[n])
			return true;
	return false;
}

static void run_timers(struct machine *m)
{
	clock_run(&m->clock);
	if (m->check)
		clock_run(&check_follower(m->check)->clock);
}

/* Runs each CPU once. Returns true if all of them are halted with nothing to do. */
static bool run_round(struct machine *m)
{
	bool idle = true;

	for (unsigned n = 0; n < m->vm.nvcpus && !m->end && !m->paused && !m->reset_wanted; n++) {
		struct vcpu *v = m->vm.vcpus[n];

		if (is_held(v))
			continue;
		m->current = v;
		switch (run_slice(m, v)) {
		case STOP_HALT: m->halted_attention[n] = atomic_load(&v->attention); break;
		case STOP_SHUTDOWN:
			trace(RUN, "cpu%u: triple fault", n);
			if (debugger_takes(m, v, STOP_SHUTDOWN))
				break;
			m->crashed = v;
			machine_end(m, END_CRASH);
			break;
		case STOP_DEBUG:
			(void)debugger_takes(m, v, STOP_DEBUG);
			idle = false;
			break;
		case STOP_BUDGET:
		case STOP_KICK: idle = false; break;
		}
		run_timers(m);
	}
	return idle && !any_woken(m);
}

/* Nothing runs until a timer or a host event. */
static void wait_idle(struct machine *m)
{
	u64 next = clock_next(&m->clock), now = clock_now(&m->clock);

	if (next <= now) {
		run_timers(m);
		return;
	}
	if (m->clock.kind == CLOCK_KIND_INSNS && next != CLOCK_NEVER) {
		clock_skip(&m->clock, next);
		if (m->check)
			clock_skip(&check_follower(m->check)->clock, next);
		loop_wait(&m->loop, 0);
	} else {
		clock_idle(&m->clock, true);
		loop_wait(&m->loop, next == CLOCK_NEVER ? LOOP_FOREVER : next - now);
		clock_idle(&m->clock, false);
	}
	run_timers(m);
}

static void machine_tick(struct machine *m)
{
	if (m->interrupted)
		machine_end(m, END_INTERRUPTED);
	if (m->cfg.timeout_s && host_ns() - m->started_ns >= (u64)m->cfg.timeout_s * 1000000000)
		machine_end(m, END_TIMEOUT);
}

static void on_wake(void *arg, short revents)
{
	struct machine *m = arg;
	u64 count;

	(void)revents;
	(void)!read(m->wake_fd, &count, sizeof(count));
	machine_tick(m);
}

static void tell(struct machine *m, enum machine_event event)
{
	if (m->on_event)
		m->on_event(m->event_opaque, event);
}

static void handle_reset(struct machine *m)
{
	char err[256];

	m->reset_wanted = false;
	if (m->cfg.no_reboot && m->guest_reset) {
		machine_end(m, END_RESET);
		return;
	}
	bool guest = m->guest_reset;

	m->guest_reset = false;
	trace(RUN, "reset");
	if (board_power_on(m, err, sizeof(err)) ||
	    (m->check && board_power_on(check_follower(m->check), err, sizeof(err)))) {
		log_error("reset: %s", err);
		machine_end(m, END_ERROR);
		return;
	}
	tell(m, guest ? MACHINE_GUEST_RESET : MACHINE_RESET);
}

int machine_loop_init(struct machine *m)
{
	m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->timeout_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (m->wake_fd < 0 || m->timeout_fd < 0)
		return -errno;
	int err = alarm_init(&m->slice_end);

	if (!err)
		err = loop_add(&m->loop, m->wake_fd, POLLIN, on_wake, m);

	return err ? err : loop_add(&m->loop, m->timeout_fd, POLLIN, on_wake, m);
}

enum machine_end machine_run(struct machine *m)
{
	u64 polled = 0;
	struct itimerspec timeout = { .it_value = { .tv_sec = m->cfg.timeout_s } };

	m->started_ns = host_ns();
	timerfd_settime(m->timeout_fd, 0, &timeout, NULL);
	if (!m->paused)
		clock_start(&m->clock);
	while (!m->end) {
		if (m->reset_wanted)
			handle_reset(m);
		if (m->paused) {
			loop_wait(&m->loop, LOOP_FOREVER);
			continue;
		}
		bool idle = run_round(m);

		if (m->end || m->paused || m->reset_wanted)
			continue;
		if (idle) {
			wait_idle(m);
			polled = 0;
		} else if (host_ns() - polled >= POLL_EVERY_NS) {
			loop_wait(&m->loop, 0);
			polled = host_ns();
			machine_tick(m);
		}
	}
	clock_stop(&m->clock);
	if (m->check)
		check_finish(m->check);
	return m->end;
}

void machine_end(struct machine *m, enum machine_end end)
{
	if (!m->end)
		m->end = end;
	board_kick(m);
}

void machine_reset(struct machine *m)
{
	m->reset_wanted = true;
	board_kick(m);
}

void machine_pause(struct machine *m, bool paused)
{
	if (m->paused == paused)
		return;
	m->paused = paused;
	if (paused)
		clock_stop(&m->clock);
	else
		clock_start(&m->clock);
	board_kick(m);
	tell(m, paused ? MACHINE_PAUSED : MACHINE_RESUMED);
}

void machine_power_button(struct machine *m)
{
	acpi_pm_power_button(&m->acpi_pm);
	if (m->check)
		acpi_pm_power_button(&check_follower(m->check)->acpi_pm);
}

bool machine_paused(const struct machine *m) { return m->paused; }

void machine_interrupt(struct machine *m)
{
	u64 one = 1;

	m->interrupted = 1;
	(void)!write(m->wake_fd, &one, sizeof(one));
}
