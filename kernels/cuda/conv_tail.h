/* What follows a convolution's product, and where a call is cut: the first operations of the tail may be in
 * one graph with the product (conv_graph.c), the rest is done behind it, in place (epilogue.cu).
 *
 *   conv               residual (in[3]), bias (in[2]), activation, its mask (out[1])
 *   conv_grad_input    another gradient (in[3]), the activation's slope (of in[2])
 *
 * Each is linear up to the activation, so what is added is added in whatever order a library knows. */
#ifndef FG_CUDA_CONV_TAIL_H
#define FG_CUDA_CONV_TAIL_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

enum fg_conv_link { FG_CONV_SECOND, FG_CONV_BIAS, FG_CONV_ACT, FG_CONV_MASK, FG_CONV_SLOPE };
struct fg_conv_tail {
  enum fg_conv_link link[4];
  int n;
};
struct fg_conv_tail fg_cuda_conv_tail(const struct fg_call *call);
/* Whether its mask, made or read, is one of bits, which must be a product's (conv_product.h). */
bool fg_cuda_conv_has_bits(const struct fg_call *call);

/* The call without what follows its tail's first n links; its attributes are put into *attrs. */
void fg_cuda_conv_head(const struct fg_call *call, int n, struct fg_call *head,
                       union fg_attrs *attrs);
/* Does that rest to out[0] (and makes out[1] of it), which holds what the head computes. */
fgsm_status fg_cuda_conv_rest(const struct fg_call *call, int n, void *stream);

/* Whether the tail's tensors fit the result; reason as decline. */
fgsm_status fg_cuda_conv_tail_check(const struct fg_call *call);

#ifdef __cplusplus
}
#endif
#endif
