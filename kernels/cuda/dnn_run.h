/* Running a cuDNN plan. */
#ifndef FG_CUDA_DNN_RUN_H
#define FG_CUDA_DNN_RUN_H

#include "dnn_graph.h"

/* Addresses under the numbers that a graph knows them by. */
struct fg_dnn_bound {
  int64_t n, uid[FG_MAX_IN + FG_MAX_OUT + 4];
  void *address[FG_MAX_IN + FG_MAX_OUT + 4];
};
void fg_dnn_bind(struct fg_dnn_bound *b, int64_t uid, void *address);
/* The call's tensors that are there, numbered from in_uid and out_uid. */
void fg_dnn_bind_call(struct fg_dnn_bound *b, const struct fg_call *call, int64_t in_uid,
                      int64_t out_uid);

/* Puts the plan on the stream, on those addresses. Makes and frees memory of the host's alone. `what` is for
 * the words of a failure. */
fgsm_status fg_cudnn_run(cudnnHandle_t handle, fg_cudnn plan, const struct fg_dnn_bound *bound,
                         void *workspace, void *stream, const char *what) FGSM_MUST_USE;

#endif
