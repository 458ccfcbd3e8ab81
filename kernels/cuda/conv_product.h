/* A convolution of one place, channels last, as the product of matrices that it is, of n places:
 *   y [n, K] = x [n, C] w [K, C]'          dx [n, C] = dy [n, K] w [K, C]
 * with all that follows it. So cuBLASLt's algorithms compete with cuDNN's engines; and masks of bits, which
 * cuDNN has no type for, are made and read within the product. No library is needed here. */
#ifndef FG_CUDA_CONV_PRODUCT_H
#define FG_CUDA_CONV_PRODUCT_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

bool fg_conv_is_product(const struct fg_call *call);
/* The same as a call of matmul, without scratch and state; its attributes are put into *attrs. */
void fg_conv_as_product(const struct fg_call *call, struct fg_call *product, union fg_attrs *attrs);

#ifdef __cplusplus
}
#endif
#endif
