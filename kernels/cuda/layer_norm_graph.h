/* layer_norm and layer_norm_grad as cuDNN's graphs. Needs no card. */
#ifndef FG_CUDA_LAYER_NORM_GRAPH_H
#define FG_CUDA_LAYER_NORM_GRAPH_H

#include "dnn_graph.h"

/* What tensors are bound by: an output or input of the call by its number; epsilon, a float of the host's. */
enum { FG_NORM_OUT = 100, FG_NORM_IN = 200, FG_NORM_EPSILON = 300 };

/* Whether cuDNN has words for the call: forward with scale and bias, and both statistics or neither; of the
 * gradient dx, with a scale. */
bool fg_cuda_norm_can(const struct fg_call *call);
/* Of the gradient dscale and dbias are always written. */
fgsm_status fg_cuda_norm_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) FGSM_MUST_USE;

#endif
