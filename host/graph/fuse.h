/* What the files of the fuse pass share. A rule looks at one node of a sweep (rewrite.h), and
 * returns whether it changed the graph. */
#ifndef FG_FUSE_H
#define FG_FUSE_H

#include "rewrite.h"

/* Whether the device can run the node. Of the mask pass too. */
bool fg_fuse_accepts(const struct fg_graph *g, const struct fg_node *node,
                     struct fg_device *device);

/* Whether a binary node adds two values of its result's shape. */
bool fg_fuse_is_sum(const struct fg_graph *g, const struct fg_node *node);

/* ties.c: marks the convolutions that must be computed by plain sums. */
fgsm_status fg_keep_ties(struct fg_graph *g) FGSM_MUST_USE;

/* fuse_pool.c: the gradient of an activation, whose dy is a max-pool's gradient. */
bool fg_fuse_pooled_slope(struct fg_rewrite *rw, int64_t at, struct fg_device *device);

/* fuse_concat.c: a sum of the gradients of slices that together are the whole. */
bool fg_fuse_concat(struct fg_rewrite *rw, int64_t at, struct fg_device *device);

/* fuse_step.c: a conv_grad_input, or a matmul, whose only user is a step. */
bool fg_fuse_conv_step(struct fg_rewrite *rw, int64_t at, struct fg_device *device);
bool fg_fuse_gemm_step(struct fg_rewrite *rw, int64_t at, struct fg_device *device);

/* fuse_mlp.c: a step along the gradient of a dense network's loss, or the loss alone. May fail for want of memory. */
fgsm_status fg_fuse_mlp(struct fg_rewrite *rw, int64_t at, struct fg_device *device,
                        bool *changed) FGSM_MUST_USE;

#endif
