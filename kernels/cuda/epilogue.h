/* What follows a product (epilogue.cu): bias, residual and activation; an activation's gradient. */
#ifndef FG_CUDA_EPILOGUE_H
#define FG_CUDA_EPILOGUE_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether conv or matmul has anything to add to the product: in[2] bias, in[3] residual, act. */
static inline bool fg_cuda_has_epilogue(const struct fg_call *call,
                                        const struct fg_unary_attrs *act) {
  return fg_cuda_in(call, 2) || fg_cuda_in(call, 3) || act->kind != FG_UNARY_identity;
}
/* out[0] = act(out[0] + in[2] along `axis` + in[3]). */
fgsm_status fg_cuda_epilogue(const struct fg_call *call, const struct fg_unary_attrs *act, int axis,
                             void *stream);
/* out[0] = act'(in[2]) (out[0] + in[3]), in[3] there or not: what follows an input gradient. */
fgsm_status fg_cuda_epilogue_grad(const struct fg_call *call, const struct fg_unary_attrs *act,
                                  void *stream);

#ifdef __cplusplus
}
#endif
#endif
