/* Channels last: which calls may lie so, and the plain calls that they are. Host code alone. */
#include "layouts.h"

#include <string.h>

/* Where N, C, H, W stand in memory, and what stands there. */
static const int place[4] = {0, 3, 1, 2}, axis_at[4] = {0, 2, 3, 1};
enum { CHANNELS = 1 << 1, IMAGE = 1 << 2 | 1 << 3 };

static bool lies(const struct fg_tensor *t) {
  return !t || (t->layout == FG_NHWC && t->rank == 4);
}

/* All that is there, but a single number, which lies as it likes. */
static bool all_lie(const struct fg_call *call) {
  for (int i = 0; i < call->n_in; i++)
    if (!lies(fg_cuda_in(call, i)) && fg_count(&call->in[i]) != 1)
      return false;
  for (int i = 0; i < call->n_out; i++)
    if (!lies(fg_cuda_out(call, i)))
      return false;
  return true;
}

static bool in_lies(const struct fg_call *call, int i) {
  return lies(fg_cuda_in(call, i));
}

/* Bits have an order of their own. */
static bool mask_lies(const struct fg_tensor *t) {
  return lies(t) || t->type == FG_U8;
}

static bool others_plain(const struct fg_call *call, uint32_t but) {
  for (int i = 0; i < call->n_in; i++)
    if (!(but >> i & 1) && call->in[i].layout != FG_PLAIN)
      return false;
  for (int i = 0; i < call->n_out; i++)
    if (call->out[i].layout != FG_PLAIN)
      return false;
  return true;
}

/* What is left of the axes must be in one order either way. */
static bool reduce_takes(const struct fg_call *call) {
  const struct fg_reduce_attrs *a = &call->attrs->reduce;
  if (a->keep)
    return all_lie(call);
  return in_lies(call, 0) && call->out[0].layout == FG_PLAIN &&
         (a->axes & CHANNELS || (a->axes & IMAGE) == IMAGE);
}

bool fg_cuda_lies(const struct fg_call *call) {
  for (int i = 0; i < call->n_in; i++)
    if (fg_cuda_in(call, i) && call->in[i].layout == FG_NHWC)
      return true;
  for (int i = 0; i < call->n_out; i++)
    if (fg_cuda_out(call, i) && call->out[i].layout == FG_NHWC)
      return true;
  return false;
}

bool fg_cuda_takes_nhwc(const struct fg_call *call) {
  switch (call->op) {
  case FG_OP_conv: /* all but the bias */
    return call->attrs->conv.spatial == 2 && in_lies(call, 0) && in_lies(call, 1) &&
           in_lies(call, 3) && lies(&call->out[0]) && mask_lies(fg_cuda_out(call, 1));
  case FG_OP_conv_grad_input:
    return call->attrs->conv.spatial == 2 && in_lies(call, 0) && in_lies(call, 1) &&
           mask_lies(fg_cuda_in(call, 2)) && in_lies(call, 3) && lies(&call->out[0]);
  case FG_OP_conv_grad_weight:
    return call->attrs->conv.spatial == 2 && all_lie(call);
  case FG_OP_max_pool:
  case FG_OP_max_pool_grad:
  case FG_OP_avg_pool:
  case FG_OP_avg_pool_grad:
    return call->attrs->pool.spatial == 2 && all_lie(call);
  case FG_OP_unary:
  case FG_OP_unary_grad:
  case FG_OP_binary:
  case FG_OP_where:
  case FG_OP_cast:
  case FG_OP_concat:
  case FG_OP_slice:
  case FG_OP_slice_grad:
  case FG_OP_pad:
  case FG_OP_expand:
    return all_lie(call);
  case FG_OP_reduce:
    return reduce_takes(call);
  case FG_OP_affine:
  case FG_OP_batch_norm:
  case FG_OP_batch_norm_train:
    return in_lies(call, 0) && lies(&call->out[0]);
  case FG_OP_batch_norm_train_grad:
    return in_lies(call, 0) && in_lies(call, 1) && lies(fg_cuda_out(call, 0));
  case FG_OP_conv_grad_input_step: /* dy and the pool's index */
    return in_lies(call, 0) && in_lies(call, 7) && others_plain(call, 1u << 0 | 1u << 7);
  case FG_OP_reorder:
    return call->in[0].rank == 4 && call->in[0].layout != call->out[0].layout &&
           call->in[0].layout != FG_BLOCKED && call->out[0].layout != FG_BLOCKED;
  default:
    return false;
  }
}

bool fg_cuda_knows_nhwc(enum fg_op op) {
  switch (op) {
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
  case FG_OP_conv_grad_weight:
  case FG_OP_max_pool:
  case FG_OP_max_pool_grad:
  case FG_OP_avg_pool:
  case FG_OP_avg_pool_grad:
  case FG_OP_batch_norm:
  case FG_OP_batch_norm_train:
  case FG_OP_batch_norm_train_grad:
  case FG_OP_conv_grad_input_step:
  case FG_OP_reorder:
    return true;
  default:
    return false;
  }
}

/* ---- as if it were plain */

static void turn(int64_t *of) {
  int64_t was[4];
  memcpy(was, of, sizeof was);
  for (int i = 0; i < 4; i++)
    of[i] = was[axis_at[i]];
}

static void turn_tensor(struct fg_tensor *t) {
  if (t->type == FG_NONE || t->layout != FG_NHWC)
    return;
  t->layout = FG_PLAIN;
  turn(t->dim);
}

static uint32_t turn_axes(uint32_t axes) {
  uint32_t turned = 0;
  for (int i = 0; i < 4; i++)
    turned |= (axes >> i & 1) << place[i];
  return turned;
}

static void turn_attrs(enum fg_op op, union fg_attrs *a) {
  switch (op) {
  case FG_OP_affine:
    a->affine.axis = place[a->affine.axis & 3];
    break;
  case FG_OP_concat:
    a->axis.axis = place[a->axis.axis & 3];
    break;
  case FG_OP_reduce:
    a->reduce.axes = turn_axes(a->reduce.axes);
    break;
  case FG_OP_slice:
  case FG_OP_slice_grad:
    turn(a->slice.start);
    turn(a->slice.step);
    turn(a->slice.dim);
    break;
  case FG_OP_pad:
    turn(a->pad.lo);
    turn(a->pad.hi);
    break;
  case FG_OP_expand:
    turn(a->shape.dim);
    break;
  default:
    break;
  }
}

void fg_cuda_as_plain(const struct fg_call *call, struct fg_call *plain, union fg_attrs *attrs) {
  *plain = *call;
  *attrs = *call->attrs;
  plain->attrs = attrs;
  for (int i = 0; i < call->n_in; i++)
    turn_tensor(&plain->in[i]);
  for (int i = 0; i < call->n_out; i++)
    turn_tensor(&plain->out[i]);
  turn_attrs(call->op, attrs);
}
