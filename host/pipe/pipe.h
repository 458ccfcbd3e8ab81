/* The scheduler: slots circulate between a reader, a device and a writer thread.
 *
 * Memory is the slots', whatever the dataset's size; no free slot is back-pressure. The first
 * failure of any stage stops the others, and is what the run returns. Each stage accounts for the
 * time that it worked and waited. */
#ifndef FG_PIPE_H
#define FG_PIPE_H

#include "base.h"

enum fg_stage { FG_STAGE_read, FG_STAGE_compute, FG_STAGE_write, FG_STAGE_COUNT };

struct fg_stage_times {
  double busy_seconds, wait_seconds;
};

/* One batch on its way. The stages own what `user` points to. */
struct fg_slot {
  int64_t n;     /* samples; 0 ends the run */
  int64_t first; /* dataset position of the first */
  void *user;
};

struct fg_pipe {
  int n_slots;
  struct fg_slot *slots;
  void *user;
  /* Each works on one slot at a time, slots in dataset order. read sets n (0: the end). */
  fgsm_status (*stage[FG_STAGE_COUNT])(void *user, struct fg_slot *slot);
};

/* Runs until read answers n = 0 and everything is written; `times` receives FG_STAGE_COUNT items.
 */
fgsm_status fg_pipe_run(const struct fg_pipe *pipe, struct fg_stage_times *times) FGSM_MUST_USE;

#endif
