/* The worker threads of a disk. Submitted requests wait in one list, served ones in another until
 * the submitting thread collects them; an eventfd tells its event loop. */
#include "block/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct list {
	struct block_req *head, **tail;
};

#define WORKERS 4u /* of a parallel format */

struct block_thread {
	pthread_t worker[WORKERS];
	unsigned workers;
	pthread_mutex_t lock;
	pthread_cond_t submitted, served;
	struct list todo, finished;
	unsigned inflight; /* submitted and not yet handed back by poll; the submitting thread's */
	bool stop;
	int event;
};

static void list_init(struct list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static void list_append(struct list *list, struct block_req *req)
{
	req->next = NULL;
	*list->tail = req;
	list->tail = &req->next;
}

static struct block_req *list_take(struct list *list)
{
	struct block_req *req = list->head;

	if (!req)
		return NULL;
	list->head = req->next;
	if (!list->head)
		list->tail = &list->head;
	return req;
}

static void *worker(void *arg)
{
	struct block *block = arg;
	struct block_thread *t = block->thread;

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		struct block_req *req = list_take(&t->todo);

		if (!req) {
			pthread_cond_wait(&t->submitted, &t->lock);
			continue;
		}
		pthread_mutex_unlock(&t->lock);
		block->ops->submit(block, req);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static int start_workers(struct block *block, unsigned count)
{
	struct block_thread *t = block->thread;
	sigset_t all, old;
	int r = 0;

	/* Signals are for the thread that runs the machine. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (t->workers < count && !r) {
		r = -pthread_create(&t->worker[t->workers], NULL, worker, block);
		t->workers += !r;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return t->workers ? 0 : r; /* fewer will do */
}

int block_thread_start(struct block *block)
{
	struct block_thread *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->event < 0) {
		r = -errno;
		free(t);
		return r;
	}
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->submitted, NULL);
	pthread_cond_init(&t->served, NULL);
	list_init(&t->todo);
	list_init(&t->finished);
	block->thread = t;
	r = start_workers(block, block->ops->parallel ? WORKERS : 1);
	if (r)
		block_thread_stop(block);
	return r;
}

void block_thread_stop(struct block *block)
{
	struct block_thread *t = block->thread;

	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->submitted);
	pthread_mutex_unlock(&t->lock);
	for (unsigned n = 0; n < t->workers; n++)
		pthread_join(t->worker[n], NULL);
	pthread_cond_destroy(&t->submitted);
	pthread_cond_destroy(&t->served);
	pthread_mutex_destroy(&t->lock);
	close(t->event);
	free(t);
	block->thread = NULL;
}

void block_thread_submit(struct block *block, struct block_req *req)
{
	struct block_thread *t = block->thread;

	t->inflight++;
	pthread_mutex_lock(&t->lock);
	list_append(&t->todo, req);
	pthread_cond_signal(&t->submitted);
	pthread_mutex_unlock(&t->lock);
}

void block_thread_complete(struct block *block, struct block_req *req)
{
	struct block_thread *t = block->thread;
	u64 one = 1;

	pthread_mutex_lock(&t->lock);
	list_append(&t->finished, req);
	pthread_cond_signal(&t->served);
	pthread_mutex_unlock(&t->lock);
	/* Cannot fail: the counter is cleared long before it could overflow. */
	(void)!write(t->event, &one, sizeof(one));
}

bool block_thread_busy(const struct block *block) { return block->thread->inflight > 0; }

int block_thread_fd(const struct block *block) { return block->thread->event; }

void block_thread_poll(struct block *block)
{
	struct block_thread *t = block->thread;
	struct block_req *req, *next;
	u64 count;

	(void)!read(t->event, &count, sizeof(count)); /* clears it; EAGAIN if it was clear */
	pthread_mutex_lock(&t->lock);
	req = t->finished.head;
	list_init(&t->finished);
	pthread_mutex_unlock(&t->lock);
	for (; req; req = next) {
		next = req->next; /* done may submit the request again */
		t->inflight--;
		block_done(block, req);
	}
}

void block_thread_drain(struct block *block)
{
	struct block_thread *t = block->thread;

	while (t->inflight) {
		pthread_mutex_lock(&t->lock);
		while (!t->finished.head)
			pthread_cond_wait(&t->served, &t->lock);
		pthread_mutex_unlock(&t->lock);
		block_thread_poll(block);
	}
}
