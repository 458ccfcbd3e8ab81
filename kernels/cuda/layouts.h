/* Calls whose tensors lie channels last (FG_NHWC): which kernels take them, and as what.
 *
 * Most kernels need not know of it: where all 4-D tensors lie so, the call is one on plain tensors of
 * shape [N, H, W, C], its axes renamed. That one is made here, and put in front of prepare and run by
 * cuda.h. Convolutions, pools, batch normalisation and reorders look at the layout themselves. */
#ifndef FG_CUDA_LAYOUTS_H
#define FG_CUDA_LAYOUTS_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether any tensor of the call lies channels last. */
bool fg_cuda_lies(const struct fg_call *call);
/* Whether the kernel takes the call as it lies. */
bool fg_cuda_takes_nhwc(const struct fg_call *call);
/* Whether the operator's kernel looks at the layout itself. */
bool fg_cuda_knows_nhwc(enum fg_op op);
/* The call on plain tensors, of an operator that does not; its attributes are put into *attrs. */
void fg_cuda_as_plain(const struct fg_call *call, struct fg_call *plain, union fg_attrs *attrs);

#ifdef __cplusplus
}
#endif
#endif
