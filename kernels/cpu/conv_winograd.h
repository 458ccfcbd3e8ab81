/* Winograd's way of a convolution call, forward or input gradient (winograd.h), for conv.c. */
#ifndef FG_CPU_CONV_WINOGRAD_H
#define FG_CPU_CONV_WINOGRAD_H

#include "dnnl_shim.h"
#include "winograd.h"

struct fg_conv_winograd;

/* Whether the call is a 3x3 or 5x5 window of stride 1, or for vectors of 8 channels a 3x3 window of stride 2, over constant weights, with no tail but bias,
 * residual and ReLU, or ReLU's slope, and equal windows need not have equal sums. */
bool fg_conv_winograd_fits(const struct fg_call *call);

/* m: 2, or 4 for 3x3, which a stride of 2 has alone. *kept_bytes: of weights that nobody had transformed before. */
fgsm_status fg_conv_winograd_create(struct fg_cpu_device *device, const struct fg_call *call, int m,
                                    struct fg_conv_winograd **out,
                                    size_t *kept_bytes) FGSM_MUST_USE;
size_t fg_conv_winograd_scratch_bytes(const struct fg_conv_winograd *w);
void fg_conv_winograd_run(const struct fg_conv_winograd *w, const struct fg_call *call,
                          void *scratch);
void fg_conv_winograd_destroy(struct fg_conv_winograd *w);

/* As fg_winograd_cut, for the call. */
void fg_conv_winograd_cut(const struct fg_call *call, int m, int threads, struct fg_winograd *plan);

#endif
