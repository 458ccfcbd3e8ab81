/* Trying ways of computing a call on the card: memory of the trial's own in the call's shapes, a stream
 * and a clock. Whoever chooses by time (conv.c, matmul_choice.c, dnn_contest.c) keeps what it chose (choice_cache.h). */
#ifndef FG_CUDA_TRIAL_H
#define FG_CUDA_TRIAL_H

#include "device.h"

struct fg_trial {
  struct fg_cuda_device *device;
  struct fg_call call; /* with that memory */
  void *memory[FG_MAX_IN + FG_MAX_OUT], *workspace;
  int n_memory;
  size_t workspace_bytes;
  cudaStream_t stream;
  cudaEvent_t began, ended;
};

/* A workspace of a quarter of the memory that is free. */
#define FG_TRIAL_QUARTER SIZE_MAX

/* To be ended whatever comes of it. All data is zero. */
fgsm_status fg_trial_begin(struct fg_trial *t, struct fg_cuda_device *device,
                           const struct fg_call *call, size_t workspace_bytes) FGSM_MUST_USE;
/* Milliseconds of one of several runs of t->call, after some that are not timed. */
fgsm_status fg_trial_time(struct fg_trial *t,
                          fgsm_status (*run)(const struct fg_call *call, void *scratch,
                                             void *stream),
                          float *milliseconds) FGSM_MUST_USE;
void fg_trial_end(struct fg_trial *t);

#endif
