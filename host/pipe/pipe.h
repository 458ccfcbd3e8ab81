/* The scheduler: slots circulate between a reader, one or more workers that compute, and a writer.
 *
 * Memory is the slots', whatever the dataset's size; no free slot is back-pressure. Workers take
 * slots in dataset order and may finish them in any; the writer gets them in dataset order again.
 * The first failure of any stage stops the others, and is what the run returns. Each stage accounts
 * for the time that it worked and waited, its workers' times added up. */
#ifndef FG_PIPE_H
#define FG_PIPE_H

#include "base.h"

enum fg_stage { FG_STAGE_read, FG_STAGE_compute, FG_STAGE_write, FG_STAGE_COUNT };

enum { FG_MOST_WORKERS = 64 };

struct fg_stage_times {
  double busy_seconds, wait_seconds;
};

/* One batch on its way. The stages own what `user` points to. */
struct fg_slot {
  int64_t n;     /* samples; 0 ends the run */
  int64_t first; /* dataset position of the first */
  int worker;    /* set for the compute stage: which worker has it, from 0 */
  void *user;
};

struct fg_pipe {
  int n_slots;
  struct fg_slot *slots;
  void *user;
  /* Each works on one slot at a time (compute: each worker does), slots in dataset order. read sets
   * n (0: the end). */
  fgsm_status (*stage[FG_STAGE_COUNT])(void *user, struct fg_slot *slot);
  int n_workers; /* of the compute stage; 0: one */
};

/* Runs until read answers n = 0 and everything is written; `times` receives FG_STAGE_COUNT items.
 */
fgsm_status fg_pipe_run(const struct fg_pipe *pipe, struct fg_stage_times *times) FGSM_MUST_USE;

#endif
