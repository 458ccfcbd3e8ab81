/* What conv.c shows to the test that builds its graphs without a card. */
#ifndef FG_CUDA_CONV_H
#define FG_CUDA_CONV_H

#include "dnn_graph.h"

/* Writes down the graph that computes the call, all of it; a form that leaves some of it to epilogue.cu is
 * the graph of the call's head (conv_tail.h). Tensors are bound by FG_UID_IN + input, FG_UID_OUT + output, and 0,
 * a float of the host's, which a mask is made with, by FG_UID_ZERO. */
enum { FG_UID_OUT = 1, FG_UID_IN = FG_UID_OUT + FG_MAX_OUT, FG_UID_ZERO = FG_UID_IN + FG_MAX_IN };
fgsm_status fg_cuda_conv_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) FGSM_MUST_USE;
/* How many links of the call's tail cuDNN has words for, from the first on. */
int fg_cuda_conv_fusible(const struct fg_call *call);
/* Whether the call is one that conv.c takes: checks shapes and types, as prepare does. */
fgsm_status fg_cuda_conv_check(const struct fg_call *call) FGSM_MUST_USE;

#endif
