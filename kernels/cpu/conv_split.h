/* A convolution, forward or for the input, by split.h, for conv.c and conv_choice.c. */
#ifndef FG_CPU_CONV_SPLIT_H
#define FG_CPU_CONV_SPLIT_H

#include "dnnl_shim.h"
#include "split.h"

struct fg_conv_split;

/* Whether the call is one of small windows, forward or for the input, of constant weights and channels that may lie in
 * blocks of 16, with no tail but what split.h knows; and the machine has the tiles. However they lie: what is
 * asked while graphs are being fused, and again when layouts are settled, is answered alike. */
bool fg_conv_split_fits(const struct fg_call *call);

fgsm_status fg_conv_split_create(struct fg_cpu_device *device, const struct fg_call *call,
                                 struct fg_conv_split **out, size_t *kept_bytes) FGSM_MUST_USE;
size_t fg_conv_split_scratch_bytes(const struct fg_conv_split *s);
void fg_conv_split_run(const struct fg_conv_split *s, const struct fg_call *call, void *scratch);
void fg_conv_split_destroy(struct fg_conv_split *s); /* or NULL */

#endif
