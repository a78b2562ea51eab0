/* The host CPU as the oracle. A child process runs one case after the other: the signal handler stores the state that the kernel
 * saved, loads the next case into the frame, and returns into it. 16 and 32-bit code runs in LDT segments.
 *
 * A single instruction is stepped with TF. A sequence runs freely to the HLT that follows it, which raises #GP at CPL 3: so PUSHF
 * stores the flags as they are, POPF cannot lose the trap, and string instructions are not cut into iterations. A timer ends one
 * that goes astray. */
#include "oracle.h"

#include <asm/ldt.h>
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define SIGNAL_FRAME_MAGIC 0x46505853u /* FP_XSTATE_MAGIC1: the kernel saved extended state */
#define SELECTOR(index)    ((index) << 3 | 7) /* LDT, RPL 3 */
#define TICK_US            100000             /* of the child's own CPU time */
#define CASE_TICKS         5
#define UC_SS_FLAGS        6 /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */

struct shared {
	unsigned n;    /* cases in the batch */
	unsigned next; /* the case that runs */
	struct oracle_case cases[HOST_BATCH];
	struct oracle_result results[HOST_BATCH];
};

struct host {
	unsigned mode;
	pid_t child;
	int to_child[2], from_child[2];
	struct shared *shared;
};

/* The child's. */
static struct shared *batch;
static unsigned child_mode;
static bool started;
static unsigned ticking, ticks; /* of the timer, within that case */
static ucontext_t home;         /* where the handler goes when the batch is done */
static u8 home_fp[4096] __attribute__((aligned(64)));
static size_t frame_size; /* of the XSAVE image in a signal frame */

u64 host_xcr0(void)
{
	u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return ((u64)high << 32 | low) & 0xe7;
}

static void fp_load(u8 *frame, const u8 *xsave)
{
	/* Bytes 464..511 are the kernel's own description of the frame. */
	u8 sw[48];

	memcpy(sw, frame + 464, sizeof(sw));
	memcpy(frame, xsave, MIN(frame_size, (size_t)X86_XSAVE_SIZE));
	memcpy(frame + 464, sw, sizeof(sw));
}

static void case_load(ucontext_t *uc, const struct oracle_case *c)
{
	static const u8 order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				      REG_R12, REG_R13, REG_R14, REG_R15 };
	greg_t *g = uc->uc_mcontext.gregs;
	u8 *code = (u8 *)(uintptr_t)CODE_PAGE;

	memset(code + CODE_OFFSET, HLT, CODE_AREA);
	memcpy(code + (c->before.rip & 0xfff), c->bytes, c->len);
	memcpy((void *)(uintptr_t)DATA_PAGE, c->before.data, DATA_SIZE);
	for (unsigned n = 0; n < 16; n++)
		g[order[n]] = (greg_t)c->before.gpr[n];
	g[REG_RIP] = (greg_t)c->before.rip;
	g[REG_EFL] = (greg_t)(c->before.flags | (c->to_halt ? 0 : FL_TF) | FL_IF);
	if (child_mode != 64) {
		u64 cs = SELECTOR(child_mode == 16 ? 0 : 1),
		    ss = SELECTOR(child_mode == 16 ? 2 : 3);

		g[REG_CSGSFS] =
			(greg_t)(cs | ((u64)g[REG_CSGSFS] & 0x0000ffffffff0000ull) | ss << 48);
		uc->uc_flags |= UC_SS_FLAGS;
	}
	fp_load((u8 *)uc->uc_mcontext.fpregs, c->before.xsave);
}

static void case_store(const ucontext_t *uc, int sig, const struct oracle_case *c,
		       struct oracle_result *r)
{
	static const u8 order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				      REG_R12, REG_R13, REG_R14, REG_R15 };
	const greg_t *g = uc->uc_mcontext.gregs;

	for (unsigned n = 0; n < 16; n++)
		r->after.gpr[n] = (u64)g[order[n]];
	r->after.rip = (u64)g[REG_RIP];
	r->after.flags = (u64)g[REG_EFL];
	memcpy(r->after.xsave, uc->uc_mcontext.fpregs, MIN(frame_size, (size_t)X86_XSAVE_SIZE));
	memcpy(r->after.data, (const void *)(uintptr_t)DATA_PAGE, DATA_SIZE);
	r->end = (struct oracle_end){ .fault = sig != SIGTRAP || g[REG_TRAPNO] != EXC_DB,
				      .vector = (u8)g[REG_TRAPNO] };
	if (c->to_halt && sig == SIGSEGV && r->end.vector == EXC_GP &&
	    r->after.rip == c->before.rip + c->len)
		r->end = (struct oracle_end){ 0 };
	if (sig == SIGVTALRM)
		r->end = (struct oracle_end){ .vector = EXC_NONE };
	if (!r->end.fault)
		return;
	if (oracle_has_error(r->end.vector))
		r->end.error = (u32)g[REG_ERR];
	if (r->end.vector == EXC_PF)
		r->end.cr2 = (u64)g[REG_CR2];
}

/* Counts the timer's signals that one case sees. */
static bool ran_away(void)
{
	if (!started || ticking != batch->next) {
		ticking = batch->next;
		ticks = 0;
		return false;
	}
	return ++ticks >= CASE_TICKS;
}

static void on_signal(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;

	/* AC, NT and ID are the case's. Our own accesses need not be aligned; NT and ID stay as they are here, for the
	 * kernel does not load them for a case. */
	asm volatile("pushf\n\tandl $~0x244000, (%%rsp)\n\tpopf" : : : "memory", "cc");
	(void)si;
	if (sig == SIGVTALRM && !ran_away())
		return;
	if (!started) { /* the first signal comes from raise: keep the way home */
		const struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;
		u32 magic, size;

		memcpy(&magic, (const u8 *)fp + 464, 4);
		memcpy(&size, (const u8 *)fp + 480, 4);
		frame_size = magic == SIGNAL_FRAME_MAGIC ? MIN((size_t)size, sizeof(home_fp)) : 512;
		started = true;
		home = *uc;
		memcpy(home_fp, fp, frame_size);
	} else {
		case_store(uc, sig, &batch->cases[batch->next], &batch->results[batch->next]);
		batch->next++;
	}
	if (batch->next < batch->n) {
		case_load(uc, &batch->cases[batch->next]);
		return;
	}
	struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;

	uc->uc_flags = home.uc_flags;
	memcpy(uc->uc_mcontext.gregs, home.uc_mcontext.gregs, sizeof(home.uc_mcontext.gregs));
	memcpy((u8 *)fp, home_fp, frame_size);
	started = false;
}

static void set_segment(unsigned index, u32 base, bool code, bool wide)
{
	struct user_desc d = {
		.entry_number = index,
		.base_addr = base,
		.limit = wide ? 0xfffff : 0xffff,
		.seg_32bit = wide,
		.contents = code ? 2 : 0,
		.limit_in_pages = wide,
		.useable = 1,
	};

	if (syscall(SYS_modify_ldt, 1, &d, sizeof(d))) {
		perror("oracle: modify_ldt");
		_exit(1);
	}
}

static void map_fixed(u32 at, size_t size, int prot)
{
	void *want = (void *)(uintptr_t)at;

	if (mmap(want, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    want) {
		perror("oracle: mmap");
		_exit(1);
	}
}

static void child_setup(void)
{
	static const int signals[] = {
		SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGUSR1, SIGVTALRM
	};
	struct sigaction sa = { .sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t stack = { .ss_size = 65536 };
	const struct itimerval tick = { { 0, TICK_US }, { 0, TICK_US } };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	sigaltstack(&stack, NULL);
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGVTALRM);
	for (unsigned n = 0; n < ARRAY_LEN(signals); n++)
		sigaction(signals[n], &sa, NULL);
	setitimer(ITIMER_VIRTUAL, &tick, NULL);
	map_fixed(CODE_PAGE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_fixed(DATA_PAGE, DATA_SIZE, PROT_READ | PROT_WRITE);
	memset((void *)(uintptr_t)CODE_PAGE, HLT, 4096);
	set_segment(0, CODE16_BASE, true, false);
	set_segment(1, 0, true, true);
	set_segment(2, SEG16_BASE, false, false);
	set_segment(3, 0, false, true);
	if (child_mode != 64) {
		/* DS and ES are the thread's; signals leave them alone. */
		u16 data = (u16)SELECTOR(child_mode == 16 ? 2 : 3);

		asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(data));
	}
}

static noreturn_fn void child_main(struct host *h)
{
	char go;

	batch = h->shared;
	child_mode = h->mode;
	child_setup();
	while (read(h->to_child[0], &go, 1) == 1) {
		batch->next = 0;
		raise(SIGUSR1); /* returns when the batch is done */
		if (write(h->from_child[1], &go, 1) != 1)
			break;
	}
	_exit(0);
}

struct host *host_start(unsigned mode)
{
	struct host *h = calloc(1, sizeof(*h));

	h->mode = mode;
	h->shared = mmap(NULL, sizeof(*h->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (h->shared == MAP_FAILED || pipe(h->to_child) || pipe(h->from_child))
		return NULL;
	fflush(NULL);
	h->child = fork();
	if (h->child == 0) {
		close(h->to_child[1]);
		child_main(h);
	}
	close(h->to_child[0]);
	close(h->from_child[1]);
	return h;
}

void host_run(struct host *h, const struct oracle_case *cases, struct oracle_result *results,
	      unsigned n)
{
	char go = 'g';

	memcpy(h->shared->cases, cases, n * sizeof(*cases));
	h->shared->n = n;
	if (write(h->to_child[1], &go, 1) != 1 || read(h->from_child[0], &go, 1) != 1) {
		int status = 0;

		waitpid(h->child, &status, 0);
		fprintf(stderr,
			"oracle: the host's child ended (status %x) at case %u of its batch\n",
			status, h->shared->next);
		exit(1);
	}
	memcpy(results, h->shared->results, n * sizeof(*results));
}

void host_stop(struct host *h)
{
	close(h->to_child[1]);
	waitpid(h->child, NULL, 0);
	close(h->from_child[0]);
	munmap(h->shared, sizeof(*h->shared));
	free(h);
}
