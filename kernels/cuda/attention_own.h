/* Attention's own kernels (attention.cu), which attention.c lets compete with cuDNN's. */
#ifndef FG_CUDA_ATTENTION_OWN_H
#define FG_CUDA_ATTENTION_OWN_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct fg_kernel fg_cuda_own_attention, fg_cuda_own_attention_grad;

#ifdef __cplusplus
}
#endif
#endif
