/* Many short runs of the scheduler with random numbers of slots, delays, failures and
 * interruptions, for ThreadSanitizer and AddressSanitizer, which Criterion's process model does not
 * suit. Has its own main: stress-pipe [RUNS [SEED]]; 0 if every run kept order and answered as it
 * had to. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pipe.h"

enum { MOST_SLOTS = 5, PAYLOAD = 64 };

struct trial {
  uint64_t seed;
  int batches, n_slots, workers;
  int fail_stage, fail_at; /* stage < 0: none */
  int interrupt_at;        /* batch written at which another thread interrupts; < 0: never */
  int next[FG_STAGE_COUNT];
  bool broken;
};

static uint32_t draw(uint64_t seed, uint32_t a, uint32_t b) {
  uint64_t x = seed + a * 0x9e3779b97f4a7c15u + b * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)(x >> 32);
}

static fgsm_status step(struct trial *t, int stage, int batch) {
  uint32_t r = draw(t->seed, (uint32_t)stage, (uint32_t)batch);
  if (r % 8 == 0)
    nanosleep(&(struct timespec){.tv_nsec = r % 50000}, NULL);
  else if (r % 8 == 1)
    sched_yield();
  /* Workers overtake each other; readers and writers may not. */
  if (stage != FG_STAGE_compute && t->next[stage]++ != batch)
    t->broken = true;
  if (t->fail_stage == stage && t->fail_at == batch)
    return FG_FAIL(IO, "stage %d, batch %d", stage, batch);
  return FGSM_OK;
}

static fgsm_status read_batch(void *user, struct fg_slot *slot) {
  struct trial *t = user;
  int batch = t->next[FG_STAGE_read];
  slot->n = batch < t->batches;
  slot->first = batch;
  if (!slot->n)
    return FGSM_OK;
  for (int i = 0; i < PAYLOAD; i++)
    ((int *)slot->user)[i] = batch;
  return step(t, FG_STAGE_read, batch);
}

static fgsm_status compute_batch(void *user, struct fg_slot *slot) {
  for (int i = 0; i < PAYLOAD; i++)
    ((int *)slot->user)[i] *= 2;
  return step(user, FG_STAGE_compute, (int)slot->first);
}

static void *interrupt(void *unused) {
  (void)unused;
  fgsm_interrupt();
  return NULL;
}

static fgsm_status write_batch(void *user, struct fg_slot *slot) {
  struct trial *t = user;
  for (int i = 0; i < PAYLOAD; i++)
    if (((int *)slot->user)[i] != 2 * slot->first)
      t->broken = true;
  if (slot->first == t->interrupt_at) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, interrupt, NULL) == 0)
      pthread_join(thread, NULL);
  }
  return step(t, FG_STAGE_write, (int)slot->first);
}

/* Whether the run's answer is one that the trial allows. */
static bool answered_well(const struct trial *t, fgsm_status status) {
  char want[64];
  snprintf(want, sizeof want, "stage %d, batch %d", t->fail_stage, t->fail_at);
  bool fails = t->fail_stage >= 0 && t->fail_at < t->batches;
  bool stops = t->interrupt_at >= 0 && t->interrupt_at < t->batches;
  if (status == FGSM_IO)
    return fails && strcmp(fgsm_last_error(), want) == 0;
  if (status == FGSM_INTERRUPTED)
    return stops;
  /* An interruption from the last write comes too late to be seen. */
  return status == FGSM_OK && !fails && (!stops || t->interrupt_at == t->batches - 1) &&
         t->next[FG_STAGE_write] == t->batches;
}

static bool try(uint64_t seed) {
  static int payload[MOST_SLOTS][PAYLOAD];
  struct trial t = {.seed = seed, .fail_stage = -1, .interrupt_at = -1};
  t.n_slots = 1 + (int)(draw(seed, 10, 0) % MOST_SLOTS);
  t.workers = 1 + (int)(draw(seed, 17, 0) % MOST_SLOTS);
  t.batches = (int)(draw(seed, 11, 0) % 60);
  if (draw(seed, 12, 0) % 2) {
    t.fail_stage = (int)(draw(seed, 13, 0) % FG_STAGE_COUNT);
    t.fail_at = (int)(draw(seed, 14, 0) % 60);
  }
  if (draw(seed, 15, 0) % 5 == 0)
    t.interrupt_at = (int)(draw(seed, 16, 0) % 60);
  struct fg_slot slots[MOST_SLOTS];
  memset(slots, 0, sizeof slots);
  for (int i = 0; i < t.n_slots; i++)
    slots[i].user = payload[i];
  struct fg_pipe pipe = {t.n_slots, slots, &t, {read_batch, compute_batch, write_batch}, t.workers};
  struct fg_stage_times times[FG_STAGE_COUNT];
  fgsm_status status = fg_pipe_run(&pipe, times);
  fgsm_interrupt_clear();
  if (!t.broken && answered_well(&t, status))
    return true;
  fprintf(stderr, "seed %llu: %s %s (%s)\n", (unsigned long long)seed,
          t.broken ? "order or contents broken," : "unexpected answer:", fgsm_status_name(status),
          fgsm_last_error());
  return false;
}

int main(int argc, char **argv) {
  long runs = argc > 1 ? strtol(argv[1], NULL, 10) : 2000;
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
  for (long i = 0; i < runs; i++)
    if (!try(seed + (uint64_t)i))
      return 1;
  printf("stress-pipe: %ld runs kept order and answered as they had to\n", runs);
  return runs > 0 ? 0 : 1;
}
