/* Our own kernel of attention (attention.cu), which attention.c lets compete with cuDNN's. */
#ifndef FG_CUDA_ATTENTION_OWN_H
#define FG_CUDA_ATTENTION_OWN_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct fg_kernel fg_cuda_own_attention;

#ifdef __cplusplus
}
#endif
#endif
