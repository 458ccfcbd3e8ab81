/* Layer normalisation's own kernels (layer_norm.cu), which layer_norm.c lets compete with cuDNN's. */
#ifndef FG_CUDA_LAYER_NORM_OWN_H
#define FG_CUDA_LAYER_NORM_OWN_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct fg_kernel fg_cuda_own_layer_norm, fg_cuda_own_layer_norm_grad;

#ifdef __cplusplus
}
#endif
#endif
