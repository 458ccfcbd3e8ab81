/* A convolution's tail, and the call cut in two. No library is needed here. */
#include "conv_tail.h"

#include "conv_product.h"
#include "epilogue.h"

struct fg_conv_tail fg_cuda_conv_tail(const struct fg_call *call) {
  struct fg_conv_tail tail = {.n = 0};
  if (call->op == FG_OP_conv_grad_weight)
    return tail;
  bool forward = call->op == FG_OP_conv;
  if (fg_cuda_in(call, 3))
    tail.link[tail.n++] = FG_CONV_SECOND;
  if (forward && fg_cuda_in(call, 2))
    tail.link[tail.n++] = FG_CONV_BIAS;
  if (call->attrs->conv.act.kind != FG_UNARY_identity)
    tail.link[tail.n++] = forward ? FG_CONV_ACT : FG_CONV_SLOPE;
  if (forward && fg_cuda_out(call, 1))
    tail.link[tail.n++] = FG_CONV_MASK;
  return tail;
}

bool fg_cuda_conv_has_bits(const struct fg_call *call) {
  const struct fg_tensor *of = fg_cuda_in(call, 2), *mask = fg_cuda_out(call, 1);
  return (of && of->type == FG_U8) || (mask && mask->type == FG_U8);
}

/* Takes a link out of the call. */
static void take_out(struct fg_call *call, union fg_attrs *attrs, enum fg_conv_link link) {
  if (link == FG_CONV_SECOND)
    call->in[3].type = FG_NONE;
  if (link == FG_CONV_BIAS || link == FG_CONV_SLOPE)
    call->in[2].type = FG_NONE;
  if (link == FG_CONV_MASK)
    call->out[1].type = FG_NONE;
  if (link == FG_CONV_ACT || link == FG_CONV_SLOPE)
    attrs->conv.act = (struct fg_unary_attrs){.kind = FG_UNARY_identity};
}

/* The call with the links first .. last - 1 of its tail alone. */
static void cut(const struct fg_call *call, int first, int last, struct fg_call *part,
                union fg_attrs *attrs) {
  const struct fg_conv_tail tail = fg_cuda_conv_tail(call);
  *part = *call;
  *attrs = *call->attrs;
  part->attrs = attrs;
  for (int i = 0; i < tail.n; i++)
    if (i < first || i >= last)
      take_out(part, attrs, tail.link[i]);
}

void fg_cuda_conv_head(const struct fg_call *call, int n, struct fg_call *head,
                       union fg_attrs *attrs) {
  cut(call, 0, n, head, attrs);
}

fgsm_status fg_cuda_conv_rest(const struct fg_call *call, int n, void *stream) {
  union fg_attrs attrs;
  struct fg_call rest;
  int all = fg_cuda_conv_tail(call).n;
  if (n == all)
    return FGSM_OK;
  cut(call, n, all, &rest, &attrs);
  if (call->op == FG_OP_conv_grad_input)
    return fg_cuda_epilogue_grad(&rest, &attrs.conv.act, &rest.in[2], fg_cuda_in(&rest, 3), stream);
  if (fg_cuda_has_epilogue(&rest, &attrs.conv.act))
    FG_TRY(fg_cuda_epilogue(&rest, &attrs.conv.act, 1, stream));
  return fg_cuda_out(&rest, 1) ? fg_cuda_epilogue_mask(&rest, stream) : FGSM_OK;
}

fgsm_status fg_cuda_conv_tail_check(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const struct fg_tensor *y = &call->out[0], *two = fg_cuda_in(call, 2),
                         *three = fg_cuda_in(call, 3);
  FG_CUDA_NEED(call, (unsigned)a->act.kind < FG_UNARY_COUNT, "unknown activation");
  if (call->op == FG_OP_conv_grad_weight)
    return FGSM_OK;
  FG_CUDA_NEED(call, !three || (fg_same_shape(three, y) && three->layout == y->layout),
               "the shape of what is added");
  FG_CUDA_NEED(call, !fg_cuda_conv_has_bits(call) || fg_conv_is_product(call),
               "bits of what is no product");
  if (call->op == FG_OP_conv) {
    FG_CUDA_NEED(call, !two || (two->rank == 1 && two->dim[0] == y->dim[1]), "bias's shape");
    return fg_cuda_check_mask(call, fg_cuda_out(call, 1), &a->act);
  }
  FG_CUDA_NEED(call, (two != NULL) == (a->act.kind != FG_UNARY_identity) && (two || !three),
               "an activation's gradient without what it is computed from");
  return fg_cuda_check_slope(call, 2, &a->act);
}
