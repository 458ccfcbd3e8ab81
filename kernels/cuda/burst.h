/* What a card can do at most (burst.cu), as struct fg_backend says; in the device's precision. fp16 is
 * measured with bfloat16, which tensor cores multiply as fast. */
#ifndef FG_CUDA_BURST_H
#define FG_CUDA_BURST_H

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

fgsm_status fg_cuda_burst(struct fg_device *device, enum fg_burst kind, void *memory, size_t bytes,
                          int64_t rounds, void *stream, double *amount);

#ifdef __cplusplus
}
#endif
#endif
