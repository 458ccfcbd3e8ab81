/* Running a cuDNN plan. */
#ifndef FG_CUDA_DNN_RUN_H
#define FG_CUDA_DNN_RUN_H

#include "dnn_graph.h"

/* Puts the plan on the stream, with `address[i]` for the tensor that is bound by uid[i]. Makes and frees
 * memory of the host's alone. `what` is for the words of a failure. */
fgsm_status fg_cudnn_run(cudnnHandle_t handle, fg_cudnn plan, int64_t n, const int64_t *uid,
                         void *const *address, void *workspace, void *stream,
                         const char *what) FGSM_MUST_USE;

#endif
