/* The gradient of a first convolution from a dy in channel blocks, on the processor's tiles (split.h). A row of dy
 * is multiplied by all taps of the windows at once, [c r s, k] x [k, q], and each number of dx is then the sum of
 * the products that reach it. Those of one tap lie side by side, as their places in a row of dx of one residue
 * do, so that sums are vectors; and only so many rows' products are kept as a row of dx needs. */
#ifndef FG_CPU_IMAGE_SPLIT_H
#define FG_CPU_IMAGE_SPLIT_H

#include "dnnl_shim.h"
#include "image_grad.h"

struct fg_image_split;

/* Whether the call, of that shape, is one of constant weights and blocks of 16 channels, fills tiles, and need not
 * go by plain sums; and the machine has the tiles and a cache for the products. */
bool fg_image_split_fits(const struct fg_cpu_device *device, const struct fg_call *call,
                         const struct fg_image_shape *shape);

/* Of windows [k, c, r, s]. */
fgsm_status fg_image_split_create(const struct fg_image_shape *shape, const float *w, int threads,
                                  struct fg_image_split **out, size_t *kept_bytes) FGSM_MUST_USE;
size_t fg_image_split_scratch_bytes(const struct fg_image_split *s);
/* Every number is one sum, over channels for each tap and then over taps in order, whatever the threads. */
void fg_image_split_run(const struct fg_image_split *s, const float *dy, float *dx, void *scratch);
void fg_image_split_destroy(struct fg_image_split *s); /* or NULL */

#endif
