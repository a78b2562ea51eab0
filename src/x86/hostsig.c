/* Signals of host faults inside thunks: see hostsig.h. */
#include "x86/hostsig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define RANGES    64
#define STACK_MIN 65536

#define VECTOR_PF 14
#define VECTOR_XM 19
#define EFLAGS_AC 0x40000
#define EFLAGS_DF 0x400

static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };

/* A slot is in use while begin is not 0; it is written last and cleared first. */
static struct {
	_Atomic uintptr_t begin;
	struct hostsig_range range;
} slots[RANGES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous[ARRAY_LEN(signals)];
static _Thread_local void *alt_stack;
static _Thread_local size_t alt_size;

static const struct hostsig_range *find(uintptr_t rip)
{
	for (unsigned k = 0; k < RANGES; k++) {
		uintptr_t begin = atomic_load_explicit(&slots[k].begin, memory_order_acquire);

		if (begin != 0 && rip >= begin && rip < slots[k].range.end)
			return &slots[k].range;
	}
	return NULL;
}

/* Not ours: what would have happened without us happens. */
static void chain(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *old = NULL;

	for (unsigned k = 0; k < ARRAY_LEN(signals); k++)
		if (signals[k] == sig)
			old = &previous[k];
	if (old != NULL && (old->sa_flags & SA_SIGINFO)) {
		old->sa_sigaction(sig, info, context);
	} else if (old != NULL && old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(sig);
	} else {
		/* The faulting instruction runs again, or the signal that was sent is sent
		 * again, with the default action. */
		signal(sig, SIG_DFL);
		if (info->si_code <= 0)
			raise(sig);
	}
}

static void handle(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	const struct hostsig_range *range = find((uintptr_t)g[REG_RIP]);
	greg_t vector = g[REG_TRAPNO];
	uintptr_t rip = (uintptr_t)g[REG_RIP];

	/* si_code <= 0: sent by a process, not by the CPU. A page fault in a thunk is the
	 * monitor's own mistake. */
	if (range == NULL || info->si_code <= 0 || vector == VECTOR_PF) {
		int saved = errno;

		chain(sig, info, context);
		errno = saved;
		return;
	}
	g[REG_RIP] = (greg_t)(vector == VECTOR_XM ? range->exit_simd : range->exit);
	g[REG_RCX] = (greg_t)rip;
	g[REG_RAX] = HOSTSIG_FAULT | vector;
	g[REG_EFL] &= ~(greg_t)(EFLAGS_AC | EFLAGS_DF);
}

/* Takes each signal whose handler is not ours: for the first time, or again if somebody has
 * taken it since. */
static int install(void)
{
	struct sigaction action, now;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handle;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	sigemptyset(&action.sa_mask);
	for (unsigned k = 0; k < ARRAY_LEN(signals); k++) {
		if (sigaction(signals[k], NULL, &now) != 0)
			return -errno;
		if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle)
			continue;
		previous[k] = now;
		if (sigaction(signals[k], &action, NULL) != 0)
			return -errno;
	}
	return 0;
}

int hostsig_add(const struct hostsig_range *range)
{
	unsigned k = 0;
	int error;

	pthread_mutex_lock(&lock);
	error = install();
	while (error == 0 && k < RANGES && atomic_load(&slots[k].begin) != 0)
		k++;
	if (error == 0 && k == RANGES)
		error = -ENOSPC;
	if (error == 0) {
		slots[k].range = *range;
		atomic_store_explicit(&slots[k].begin, range->begin, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return error;
}

void hostsig_remove(uintptr_t begin)
{
	pthread_mutex_lock(&lock);
	for (unsigned k = 0; k < RANGES; k++)
		if (atomic_load(&slots[k].begin) == begin)
			atomic_store(&slots[k].begin, 0);
	pthread_mutex_unlock(&lock);
}

int hostsig_init_thread(void)
{
	stack_t now, mine;
	long need = sysconf(_SC_SIGSTKSZ);
	void *stack;

	if (sigaltstack(NULL, &now) != 0)
		return -errno;
	if (!(now.ss_flags & SS_DISABLE))
		return 0;
	alt_size = need > STACK_MIN ? (size_t)need : STACK_MIN;
	stack = mmap(NULL, alt_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	memset(&mine, 0, sizeof(mine));
	mine.ss_sp = stack;
	mine.ss_size = alt_size;
	if (sigaltstack(&mine, NULL) != 0) {
		int error = errno;

		munmap(stack, alt_size);
		return -error;
	}
	alt_stack = stack;
	return 0;
}

void hostsig_fini_thread(void)
{
	stack_t off;

	if (alt_stack == NULL)
		return;
	memset(&off, 0, sizeof(off));
	off.ss_flags = SS_DISABLE;
	sigaltstack(&off, NULL);
	munmap(alt_stack, alt_size);
	alt_stack = NULL;
}
