/* attention as cuDNN's graph: scaled dot-product attention in one pass over k and v (flash attention), for
 * half precision. Needs no card. */
#ifndef FG_CUDA_ATTENTION_GRAPH_H
#define FG_CUDA_ATTENTION_GRAPH_H

#include "dnn_graph.h"

/* What tensors are bound by: an output or input of the call by its number; scale, a float of the host's. */
enum { FG_SDPA_OUT = 100, FG_SDPA_IN = 200, FG_SDPA_SCALE = 300 };

/* Whether cuDNN has words for the call: in half precision, without a bias, heads of multiples of 8 up to
 * 128. */
bool fg_cuda_sdpa_can(const struct fg_call *call);
fgsm_status fg_cuda_sdpa_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) FGSM_MUST_USE;

#endif
