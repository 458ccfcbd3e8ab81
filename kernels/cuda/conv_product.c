/* Convolutions of one place. */
#include "conv_product.h"

bool fg_conv_is_product(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const struct fg_tensor *w = &call->in[1];
  if ((call->op != FG_OP_conv && call->op != FG_OP_conv_grad_input) || a->spatial != 2 ||
      a->group != 1 || call->out[0].layout != FG_NHWC)
    return false;
  for (int i = 0; i < 2; i++)
    if (w->dim[2 + i] != 1 || a->stride[i] != 1 || a->pad_lo[i] != 0 || a->pad_hi[i] != 0)
      return false;
  return true;
}

/* Places, or filters, by channels; what is absent stays so, and vectors are what they are. */
static struct fg_tensor flat(const struct fg_tensor *t) {
  struct fg_tensor m = *t;
  if (t->type == FG_NONE || t->rank != 4)
    return m;
  m.layout = FG_PLAIN;
  m.rank = 2;
  m.dim[0] = t->dim[0] * t->dim[2] * t->dim[3];
  m.dim[1] = t->dim[1];
  return m;
}

void fg_conv_as_product(const struct fg_call *call, struct fg_call *product,
                        union fg_attrs *attrs) {
  bool forward = call->op == FG_OP_conv;
  struct fg_tensor absent = {.type = FG_NONE};
  *product = (struct fg_call){.op = FG_OP_matmul,
                              .n_in = 5,
                              .n_out = 2,
                              .constant = call->constant & 3,
                              .attrs = attrs,
                              .trial = call->trial};
  attrs->matmul =
      (struct fg_matmul_attrs){.trans_b = forward, .alpha = 1, .act = call->attrs->conv.act};
  for (int i = 0; i < 2; i++)
    product->in[i] = flat(&call->in[i]);
  const struct fg_tensor *two = fg_cuda_in(call, 2), *three = fg_cuda_in(call, 3),
                         *mask = fg_cuda_out(call, 1);
  product->in[2] = two && forward ? *two : absent;
  product->in[3] = three ? flat(three) : absent;
  product->in[4] = two && !forward ? flat(two) : absent;
  product->out[0] = flat(&call->out[0]);
  product->out[1] = mask ? flat(mask) : absent;
}
