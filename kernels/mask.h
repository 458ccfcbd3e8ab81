/* Masks: what is kept of a ReLU's result where only its slope is wanted, a bit or a byte an element. What
 * they mean, and who makes and reads them, is stated in attrs.h. */
#ifndef FG_MASK_H
#define FG_MASK_H

#include "kernel.h"

enum { FG_MASK_WIDTH = 128 }; /* bits: channels come in so many */

static inline bool fg_is_mask(const struct fg_tensor *t) {
  return t->type == FG_BOOL || t->type == FG_U8;
}

/* The axis of the operator's result y whose elements are next to each other among bits. */
static inline int fg_mask_axis(enum fg_op op, const struct fg_tensor *y) {
  return op == FG_OP_conv || op == FG_OP_conv_grad_input ? 1 : y->rank - 1;
}

/* A mask of y in that form, FG_BOOL or FG_U8, without data; absent where there can be none. */
static inline struct fg_tensor fg_mask_of(enum fg_op op, const struct fg_tensor *y,
                                          enum fg_type form) {
  struct fg_tensor mask = *y;
  mask.data = NULL;
  mask.type = form;
  if (form == FG_BOOL)
    return mask;
  mask.layout = FG_PLAIN;
  mask.rank = 1;
  mask.dim[0] = fg_count(y) / 8;
  if (y->rank < 2 || y->dim[fg_mask_axis(op, y)] % FG_MASK_WIDTH != 0)
    mask.type = FG_NONE;
  return mask;
}

/* Whether it is one of y's. */
static inline bool fg_mask_fits(enum fg_op op, const struct fg_tensor *mask,
                                const struct fg_tensor *y) {
  struct fg_tensor want = fg_mask_of(op, y, mask->type);
  return fg_is_mask(mask) && want.type == mask->type && want.layout == mask->layout &&
         fg_same_shape(&want, mask);
}

#endif
