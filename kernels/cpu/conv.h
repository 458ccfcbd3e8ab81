/* Which way a convolution is computed: what conv.c, conv_choice.c and conv_direct.c ask of each other. */
#ifndef FG_CPU_CONV_H
#define FG_CPU_CONV_H

#include "dnnl_shim.h"

/* A call seen alike in all three directions: x and y are the tensors on the image's and on the
 * result's side, whichever of them is computed. */
struct fg_conv_sides {
  enum fg_dnnl_direction direction;
  const struct fg_tensor *x, *w, *y, *bias, *residual;
};
struct fg_conv_sides fg_conv_sides_of(const struct fg_call *call);

bool fg_conv_is_gradient(const struct fg_call *call); /* of the input */
/* Whether another way than plain sums is open, as far as the window does not matter: forward or input gradient by
 * constant weights, with no tail but bias, residual and ReLU, or ReLU's slope and another gradient. */
bool fg_conv_may_be_fast(const struct fg_call *call);

/* oneDNN's plain sums for the call (FGSM_UNSUPPORTED where it has none), and their run. */
fgsm_status fg_conv_direct(struct fg_cpu_device *device, struct fg_call *call,
                           struct fg_dnnl_primitive *p) FGSM_MUST_USE;
fgsm_status fg_conv_direct_run(const struct fg_dnnl_primitive *p, const struct fg_call *call,
                               void *scratch) FGSM_MUST_USE;

/* Which way: Winograd's tile, 2 or 4, or one of these. */
enum { FG_CONV_PLAIN_WAY = 0, FG_CONV_SPLIT_WAY = 1 };
int fg_conv_choose(struct fg_cpu_device *device, const struct fg_call *call);

/* What a choice (of `what`) depends on: direction, processor, shapes, layouts; and the choices, as
 * small numbers. recall: -1 where there is none. */
enum { FG_CONV_KEY_SIZE = 512 };
void fg_conv_key(const char *what, const struct fg_call *call, char key[FG_CONV_KEY_SIZE]);
int fg_conv_recall(const char *key);
void fg_conv_remember(const char *key, int choice);

/* For trials: zeros, 64-byte aligned, or NULL. */
void *fg_conv_zeros(size_t bytes);

#endif
