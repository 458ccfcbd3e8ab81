/* The scheduler's promises: order, bounded slots, the first failure wins and is carried with its
 * words, interruption, and honest times. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>

#include "pipe.h"

enum { SLOTS = 3 };

struct trial {
  int batches;              /* that read hands out          */
  int fail_stage, fail_at;  /* stage < 0: none              */
  int interrupt_at;         /* batch read; < 0: never       */
  int nap_stage;            /* this stage sleeps 2 ms a batch */
  int workers;              /* 0: one                       */
  int next[FG_STAGE_COUNT]; /* the batch that each stage expects */
  int value[SLOTS];         /* what the slot carries        */
  bool in_order;
  atomic_int under_way, most_under_way, finished;
  atomic_bool out_of_order;
};

static void nap(void) {
  nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static fgsm_status step(struct trial *t, int stage, int batch) {
  if (t->nap_stage == stage)
    nap();
  if (t->fail_stage == stage && t->fail_at == batch)
    return FG_FAIL(DATA, "stage %d broke at batch %d", stage, batch);
  if (t->next[stage]++ != batch)
    t->in_order = false;
  return FGSM_OK;
}

static fgsm_status read_batch(void *user, struct fg_slot *slot) {
  struct trial *t = user;
  int batch = t->next[FG_STAGE_read];
  slot->n = batch < t->batches ? 10 : 0;
  if (!slot->n)
    return FGSM_OK;
  if (batch == t->interrupt_at)
    fgsm_interrupt();
  int now = atomic_fetch_add(&t->under_way, 1) + 1;
  if (now > atomic_load(&t->most_under_way))
    atomic_store(&t->most_under_way, now);
  slot->first = batch * 10;
  *(int *)slot->user = batch;
  return step(t, FG_STAGE_read, batch);
}

static fgsm_status compute_batch(void *user, struct fg_slot *slot) {
  int *value = slot->user;
  fgsm_status status = step(user, FG_STAGE_compute, *value);
  *value += 1000;
  return status;
}

static fgsm_status write_batch(void *user, struct fg_slot *slot) {
  struct trial *t = user;
  int batch = *(int *)slot->user - 1000;
  if (slot->first != batch * 10)
    t->in_order = false;
  atomic_fetch_sub(&t->under_way, 1);
  return step(t, FG_STAGE_write, batch);
}

static fgsm_status run(struct trial *t, struct fg_stage_times *times) {
  struct fg_slot slots[SLOTS];
  memset(slots, 0, sizeof slots);
  t->in_order = true;
  for (int i = 0; i < SLOTS; i++)
    slots[i].user = &t->value[i];
  struct fg_pipe pipe = {SLOTS, slots, t, {read_batch, compute_batch, write_batch}, t->workers};
  return fg_pipe_run(&pipe, times);
}

Test(pipe, every_batch_passes_every_stage_once_and_in_order) {
  struct trial t = {.batches = 500, .fail_stage = -1, .interrupt_at = -1, .nap_stage = -1};
  struct fg_stage_times times[FG_STAGE_COUNT];
  cr_assert_eq(run(&t, times), FGSM_OK, "%s", fgsm_last_error());
  cr_expect(t.in_order);
  for (int s = 0; s < FG_STAGE_COUNT; s++)
    cr_expect_eq(t.next[s], 500, "stage %d saw %d batches", s, t.next[s]);
}

/* Each batch naps for a time of its own, so that workers finish out of order; compute_batch's own
 * check of order does not hold then. */
static fgsm_status compute_at_leisure(void *user, struct fg_slot *slot) {
  struct trial *t = user;
  int *value = slot->user;
  if (slot->worker < 0 || slot->worker >= t->workers)
    return FG_FAIL(INTERNAL, "worker %d of %d", slot->worker, t->workers);
  nanosleep(&(struct timespec){.tv_nsec = *value * 7919 % 11 * 200000}, NULL);
  int now = atomic_fetch_add(&t->finished, 1);
  if (now != *value)
    atomic_store(&t->out_of_order, true);
  *value += 1000;
  return FGSM_OK;
}

Test(pipe, workers_finish_in_any_order_and_the_writer_gets_the_dataset_s) {
  struct trial t = {.batches = 200,
                    .fail_stage = -1,
                    .interrupt_at = -1,
                    .nap_stage = -1,
                    .workers = SLOTS,
                    .in_order = true};
  struct fg_stage_times times[FG_STAGE_COUNT];
  struct fg_slot slots[SLOTS];
  memset(slots, 0, sizeof slots);
  for (int i = 0; i < SLOTS; i++)
    slots[i].user = &t.value[i];
  struct fg_pipe pipe = {SLOTS, slots, &t, {read_batch, compute_at_leisure, write_batch}, SLOTS};
  cr_assert_eq(fg_pipe_run(&pipe, times), FGSM_OK, "%s", fgsm_last_error());
  cr_expect(t.in_order);
  cr_expect_eq(t.next[FG_STAGE_write], 200);
  cr_expect(atomic_load(&t.out_of_order), "no worker overtook another: nothing was tested");
}

Test(pipe, an_empty_dataset_ends_at_once) {
  struct trial t = {.fail_stage = -1, .interrupt_at = -1, .nap_stage = -1};
  struct fg_stage_times times[FG_STAGE_COUNT];
  cr_assert_eq(run(&t, times), FGSM_OK);
  cr_expect_eq(t.next[FG_STAGE_write], 0);
}

/* What takes its time depends on what else the machine does: one of so many tries has to show it. */
enum { TRIES = 10 };

Test(pipe, a_slow_stage_holds_the_reader_back) {
  for (int stage = 0; stage < FG_STAGE_COUNT; stage++) {
    int most = 0;
    for (int i = 0; i < TRIES && (i == 0 || (stage == FG_STAGE_write && most < SLOTS)); i++) {
      struct trial t = {.batches = 30, .fail_stage = -1, .interrupt_at = -1, .nap_stage = stage};
      struct fg_stage_times times[FG_STAGE_COUNT];
      cr_assert_eq(run(&t, times), FGSM_OK);
      most = atomic_load(&t.most_under_way);
      cr_expect_leq(most, SLOTS, "%d batches were under way in %d slots", most, SLOTS);
    }
    if (stage == FG_STAGE_write)
      cr_expect_eq(most, SLOTS, "a slow writer left slots unused: %d", most);
  }
}

/* Whether others than the stage that naps spend their time waiting, and it does not. */
static bool blames(const struct fg_stage_times times[FG_STAGE_COUNT], int stage) {
  for (int s = 0; s < FG_STAGE_COUNT; s++)
    if (s != stage && times[s].wait_seconds <= 0.04)
      return false;
  return times[stage].wait_seconds < times[stage].busy_seconds;
}

Test(pipe, the_time_goes_to_the_stage_that_takes_it) {
  for (int stage = 0; stage < FG_STAGE_COUNT; stage++) {
    bool blamed = false;
    for (int i = 0; i < TRIES && !blamed; i++) {
      struct trial t = {.batches = 40, .fail_stage = -1, .interrupt_at = -1, .nap_stage = stage};
      struct fg_stage_times times[FG_STAGE_COUNT];
      cr_assert_eq(run(&t, times), FGSM_OK);
      cr_expect_geq(times[stage].busy_seconds, 0.08);
      blamed = blames(times, stage);
    }
    cr_expect(blamed, "stage %d naps, and another is said to", stage);
  }
}

Test(pipe, the_first_failure_of_any_stage_is_what_the_run_returns) {
  for (int stage = 0; stage < FG_STAGE_COUNT; stage++)
    for (int at = 0; at < 20; at += 7) {
      struct trial t = {
          .batches = 20, .fail_stage = stage, .fail_at = at, .interrupt_at = -1, .nap_stage = -1};
      struct fg_stage_times times[FG_STAGE_COUNT];
      char want[64];
      snprintf(want, sizeof want, "stage %d broke at batch %d", stage, at);
      (void)!FG_FAIL(INTERNAL, "an older error of the calling thread");
      cr_expect_eq(run(&t, times), FGSM_DATA);
      cr_expect_str_eq(fgsm_last_error(), want);
      cr_expect_leq(t.next[FG_STAGE_write], stage == FG_STAGE_read ? at + SLOTS : at);
      cr_expect(t.in_order);
    }
}

Test(pipe, an_interruption_stops_it_soon) {
  struct trial t = {.batches = 100000, .fail_stage = -1, .interrupt_at = 5, .nap_stage = -1};
  struct fg_stage_times times[FG_STAGE_COUNT];
  cr_expect_eq(run(&t, times), FGSM_INTERRUPTED);
  cr_expect_leq(t.next[FG_STAGE_read], 6 + SLOTS);
  fgsm_interrupt_clear();
}
