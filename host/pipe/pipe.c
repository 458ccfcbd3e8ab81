/* The scheduler. One lock, one ring of slot numbers per stage: ring s holds the slots that wait for
 * stage s, so the reader's ring is the free slots. Every ring has room for every slot, so only
 * taking ever waits; a stage that closes its successor's ring ends it once that is empty. The
 * compute stage runs in the caller's thread. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pipe.h"

struct ring {
  int *items; /* slot numbers, n_slots of them */
  int head, count;
  bool closed; /* nothing more will come */
  pthread_cond_t ready;
};

struct run {
  const struct fg_pipe *pipe;
  pthread_mutex_t lock;
  struct ring ring[FG_STAGE_COUNT];
  bool stop; /* a stage failed: all end */
  fgsm_status status;
  char message[1024]; /* of the first failure */
  struct fg_stage_times *times;
};

struct stage_thread {
  struct run *run;
  enum fg_stage stage;
};

/* The next slot for the stage, waiting for it; -1: the stage is over. */
static int take(struct run *run, enum fg_stage stage) {
  struct ring *ring = &run->ring[stage];
  int slot = -1;
  pthread_mutex_lock(&run->lock);
  while (!ring->count && !ring->closed && !run->stop)
    pthread_cond_wait(&ring->ready, &run->lock);
  if (ring->count && !run->stop) {
    slot = ring->items[ring->head];
    ring->head = (ring->head + 1) % run->pipe->n_slots;
    ring->count--;
  }
  pthread_mutex_unlock(&run->lock);
  return slot;
}

static void put(struct run *run, enum fg_stage stage, int slot) {
  struct ring *ring = &run->ring[stage];
  pthread_mutex_lock(&run->lock);
  ring->items[(ring->head + ring->count) % run->pipe->n_slots] = slot;
  ring->count++;
  pthread_cond_signal(&ring->ready);
  pthread_mutex_unlock(&run->lock);
}

static void close_ring(struct run *run, enum fg_stage stage) {
  pthread_mutex_lock(&run->lock);
  run->ring[stage].closed = true;
  pthread_cond_signal(&run->ring[stage].ready);
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

/* One stage until its ring is closed and empty, or something failed. Interruption is looked for
 * before each slot: while one stage waits, another works and will look. */
static void work(struct run *run, enum fg_stage stage) {
  const struct fg_pipe *pipe = run->pipe;
  struct fg_stage_times *times = &run->times[stage];
  for (;;) {
    double began = fg_now();
    int slot = take(run, stage);
    double taken = fg_now();
    times->wait_seconds += taken - began;
    if (slot < 0)
      break;
    fgsm_status status = fg_check_interrupt();
    if (status == FGSM_OK)
      status = pipe->stage[stage](pipe->user, &pipe->slots[slot]);
    times->busy_seconds += fg_now() - taken;
    if (status != FGSM_OK) {
      fail(run, status);
      return;
    }
    if (stage == FG_STAGE_read && pipe->slots[slot].n == 0)
      break;
    put(run, (stage + 1) % FG_STAGE_COUNT, slot);
  }
  if (stage + 1 < FG_STAGE_COUNT)
    close_ring(run, stage + 1);
}

static void *thread_main(void *argument) {
  struct stage_thread *thread = argument;
  work(thread->run, thread->stage);
  return NULL;
}

/* Starts a stage's thread with every signal blocked: signals are the application's. */
static fgsm_status start(struct stage_thread *stage, pthread_t *thread) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(thread, NULL, thread_main, stage);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error ? FG_FAIL(MEMORY, "cannot start a thread: %s", strerror(error)) : FGSM_OK;
}

fgsm_status fg_pipe_run(const struct fg_pipe *pipe, struct fg_stage_times *times) {
  struct run run = {.pipe = pipe, .times = times};
  struct stage_thread reader = {&run, FG_STAGE_read}, writer = {&run, FG_STAGE_write};
  pthread_t reader_thread, writer_thread;
  int n = pipe->n_slots;
  int *items = calloc((size_t)n * FG_STAGE_COUNT, sizeof *items);
  if (!items)
    return FG_FAIL(MEMORY, "no memory for a pipe of %d slots", n);
  memset(times, 0, FG_STAGE_COUNT * sizeof *times);
  pthread_mutex_init(&run.lock, NULL);
  for (int s = 0; s < FG_STAGE_COUNT; s++) {
    run.ring[s].items = items + s * n;
    pthread_cond_init(&run.ring[s].ready, NULL);
  }
  for (int i = 0; i < n; i++)
    run.ring[FG_STAGE_read].items[run.ring[FG_STAGE_read].count++] = i;

  fgsm_status status = start(&reader, &reader_thread);
  if (status != FGSM_OK)
    goto destroy;
  status = start(&writer, &writer_thread);
  if (status != FGSM_OK)
    fail(&run, status);
  else
    work(&run, FG_STAGE_compute);
  pthread_join(reader_thread, NULL);
  if (status == FGSM_OK)
    pthread_join(writer_thread, NULL);
  status = run.stop ? fg_error_restore(run.status, run.message) : FGSM_OK;
destroy:
  for (int s = 0; s < FG_STAGE_COUNT; s++)
    pthread_cond_destroy(&run.ring[s].ready);
  pthread_mutex_destroy(&run.lock);
  free(items);
  return status;
}
