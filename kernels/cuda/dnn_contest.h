/* A call that kernels of our own compute, or a plan of cuDNN's where that is faster on this card. Which, is
 * found by trying them; what was found is kept (choice_cache.h). */
#ifndef FG_CUDA_DNN_CONTEST_H
#define FG_CUDA_DNN_CONTEST_H

#include "device.h"
#include "dnn_run.h"

/* The first member of the call's state, which is malloc's. */
struct fg_dnn_contest {
  cudnnHandle_t handle;
  fg_cudnn plan;      /* NULL: our own kernels */
  size_t front_bytes; /* of a plan's scratch, for what the caller keeps in front of the workspace */
  size_t workspace_bytes, own_bytes;
};

/* Chooses for a call that our own kernels are prepared for: c becomes its state, and scratch_bytes what the
 * choice needs. `run` runs the call by its state. An engine that fails is passed over, a card that fails is
 * not; then c is freed. */
fgsm_status fg_dnn_contest_prepare(
    struct fg_call *call, struct fg_device *device, struct fg_dnn_contest *c,
    fgsm_status (*graph)(const struct fg_call *call, const struct fg_cudnn_target *target,
                         struct fg_cudnn_graph *g),
    fgsm_status (*run)(const struct fg_call *call, void *scratch, void *stream)) FGSM_MUST_USE;
/* Frees the call's state, where it has one. */
void fg_dnn_contest_release(struct fg_call *call);
/* Where in the scratch what is in front of the workspace begins. */
size_t fg_dnn_align(size_t n);

/* Runs the plan; front: what fg_dnn_align makes of the scratch. */
fgsm_status fg_dnn_contest_run(const struct fg_dnn_contest *c, const struct fg_call *call,
                               const struct fg_dnn_bound *b, char *front,
                               void *stream) FGSM_MUST_USE;

#endif
