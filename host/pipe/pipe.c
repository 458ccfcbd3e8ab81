/* The scheduler. One lock, one ring of slot numbers per stage: ring s holds the slots that wait for
 * stage s, so the reader's ring is the free slots. Every ring has room for every slot, so only
 * taking ever waits. A slot has a ticket, its place in the dataset: a ring's place for it is known
 * before it arrives, and taking goes ticket by ticket, so that slots which workers finish out of
 * order are written in order. A stage whose last thread ends closes its successor's ring. The first
 * worker of the compute stage runs in the caller's thread. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pipe.h"

enum { NOT_HERE = -1, MOST_THREADS = FG_STAGE_COUNT - 1 + FG_MOST_WORKERS };

struct ring {
  int *items;    /* by ticket modulo n_slots: a slot's number, or NOT_HERE */
  int64_t next;  /* the ticket to be taken next                            */
  int producers; /* threads that may still put something                   */
  pthread_cond_t ready;
};

struct run {
  const struct fg_pipe *pipe;
  pthread_mutex_t lock;
  struct ring ring[FG_STAGE_COUNT];
  int64_t freed; /* tickets of the reader's ring that were given out */
  bool stop;     /* a stage failed: all end */
  fgsm_status status;
  char message[1024]; /* of the first failure */
};

struct worker {
  struct run *run;
  enum fg_stage stage;
  int number;
  struct fg_stage_times times;
  pthread_t thread;
};

/* The next slot for the stage and its ticket, waiting for it; NOT_HERE: the stage is over. */
static int take(struct run *run, enum fg_stage stage, int64_t *ticket) {
  struct ring *ring = &run->ring[stage];
  int slot = NOT_HERE;
  pthread_mutex_lock(&run->lock);
  for (;;) {
    int *item = &ring->items[ring->next % run->pipe->n_slots];
    if (run->stop || (*item == NOT_HERE && !ring->producers))
      break;
    if (*item != NOT_HERE) {
      slot = *item;
      *item = NOT_HERE;
      *ticket = ring->next++;
      break;
    }
    pthread_cond_wait(&ring->ready, &run->lock);
  }
  pthread_mutex_unlock(&run->lock);
  return slot;
}

/* Hands the slot to the stage. Free slots have tickets of their own, in the order of being freed. */
static void put(struct run *run, enum fg_stage stage, int slot, int64_t ticket) {
  struct ring *ring = &run->ring[stage];
  pthread_mutex_lock(&run->lock);
  if (stage == FG_STAGE_read)
    ticket = run->freed++;
  ring->items[ticket % run->pipe->n_slots] = slot;
  pthread_cond_broadcast(&ring->ready);
  pthread_mutex_unlock(&run->lock);
}

static void leave(struct run *run, enum fg_stage stage) {
  pthread_mutex_lock(&run->lock);
  if (--run->ring[stage].producers == 0)
    pthread_cond_broadcast(&run->ring[stage].ready);
  pthread_mutex_unlock(&run->lock);
}

/* Keeps the first failure, with the words of the thread that failed, and stops every stage. */
static void fail(struct run *run, fgsm_status status) {
  pthread_mutex_lock(&run->lock);
  if (!run->stop) {
    run->stop = true;
    run->status = status;
    fg_error_copy(run->message, sizeof run->message);
  }
  for (int s = 0; s < FG_STAGE_COUNT; s++)
    pthread_cond_broadcast(&run->ring[s].ready);
  pthread_mutex_unlock(&run->lock);
}

/* One thread of a stage until its ring has nothing more to come, or something failed. Interruption
 * is looked for before each slot: while one stage waits, another works and will look. */
static void work(struct worker *worker) {
  struct run *run = worker->run;
  const struct fg_pipe *pipe = run->pipe;
  enum fg_stage stage = worker->stage;
  for (;;) {
    int64_t ticket = 0;
    double began = fg_now();
    int slot = take(run, stage, &ticket);
    double taken = fg_now();
    worker->times.wait_seconds += taken - began;
    if (slot == NOT_HERE)
      break;
    fgsm_status status = fg_check_interrupt();
    if (stage == FG_STAGE_compute)
      pipe->slots[slot].worker = worker->number;
    if (status == FGSM_OK)
      status = pipe->stage[stage](pipe->user, &pipe->slots[slot]);
    worker->times.busy_seconds += fg_now() - taken;
    if (status != FGSM_OK) {
      fail(run, status);
      return;
    }
    if (stage == FG_STAGE_read && pipe->slots[slot].n == 0)
      break;
    put(run, (stage + 1) % FG_STAGE_COUNT, slot, ticket);
  }
  if (stage + 1 < FG_STAGE_COUNT)
    leave(run, stage + 1);
}

static void *thread_main(void *argument) {
  work(argument);
  return NULL;
}

/* Starts a thread with every signal blocked: signals are the application's. */
static fgsm_status start(struct worker *worker) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&worker->thread, NULL, thread_main, worker);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error ? FG_FAIL(MEMORY, "cannot start a thread: %s", strerror(error)) : FGSM_OK;
}

/* Every ring empty but the reader's, which has all slots. */
static void fill_rings(struct run *run, int *items, int n_workers) {
  int n = run->pipe->n_slots;
  const int producers[FG_STAGE_COUNT] = {1, 1, n_workers};
  pthread_mutex_init(&run->lock, NULL);
  for (int s = 0; s < FG_STAGE_COUNT; s++) {
    run->ring[s].items = items + s * n;
    run->ring[s].producers = producers[s];
    pthread_cond_init(&run->ring[s].ready, NULL);
    for (int i = 0; i < n; i++)
      run->ring[s].items[i] = s == FG_STAGE_read ? i : NOT_HERE;
  }
  run->freed = n;
}

/* workers[0] is the caller's; the others get threads, as many as there are. */
static void run_all(struct run *run, struct worker *workers, int n) {
  int started = 1;
  fgsm_status status = FGSM_OK;
  while (started < n && status == FGSM_OK) {
    status = start(&workers[started]);
    started += status == FGSM_OK;
  }
  if (status != FGSM_OK)
    fail(run, status);
  else
    work(&workers[0]);
  for (int i = 1; i < started; i++)
    pthread_join(workers[i].thread, NULL);
}

fgsm_status fg_pipe_run(const struct fg_pipe *pipe, struct fg_stage_times *times) {
  struct run run = {.pipe = pipe};
  struct worker workers[MOST_THREADS];
  int n_workers = pipe->n_workers ? pipe->n_workers : 1, n = 0;
  if (n_workers > FG_MOST_WORKERS)
    return FG_FAIL(USAGE, "%d workers are more than a pipe's %d", n_workers, FG_MOST_WORKERS);
  int *items = calloc((size_t)pipe->n_slots * FG_STAGE_COUNT, sizeof *items);
  if (!items)
    return FG_FAIL(MEMORY, "no memory for a pipe of %d slots", pipe->n_slots);
  memset(times, 0, FG_STAGE_COUNT * sizeof *times);
  fill_rings(&run, items, n_workers);
  for (int i = 0; i < n_workers; i++)
    workers[n++] = (struct worker){.run = &run, .stage = FG_STAGE_compute, .number = i};
  workers[n++] = (struct worker){.run = &run, .stage = FG_STAGE_read};
  workers[n++] = (struct worker){.run = &run, .stage = FG_STAGE_write};
  run_all(&run, workers, n);
  for (int i = 0; i < n; i++) {
    times[workers[i].stage].busy_seconds += workers[i].times.busy_seconds;
    times[workers[i].stage].wait_seconds += workers[i].times.wait_seconds;
  }
  fgsm_status status = run.stop ? fg_error_restore(run.status, run.message) : FGSM_OK;
  for (int s = 0; s < FG_STAGE_COUNT; s++)
    pthread_cond_destroy(&run.ring[s].ready);
  pthread_mutex_destroy(&run.lock);
  free(items);
  return status;
}
