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
/* out[0] = act'(v) (out[0] + added), added NULL or there: what follows an input gradient. v may be a mask, of
 * elements as out[0]'s lie. */
fgsm_status fg_cuda_epilogue_grad(const struct fg_call *call, const struct fg_unary_attrs *act,
                                  const struct fg_tensor *v, const struct fg_tensor *added,
                                  void *stream);
/* The mask of out[0], a relu's result, which is as it lies, into out[1]. */
fgsm_status fg_cuda_epilogue_mask(const struct fg_call *call, void *stream);

#ifdef __cplusplus
}
#endif
#endif
