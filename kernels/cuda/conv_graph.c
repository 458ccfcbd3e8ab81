/* The cuDNN graphs of conv, conv_grad_input and conv_grad_weight, in NCHW or NHWC, in float32 or half precision
 * with sums in float32, and what they ask of a call. No card is needed here. */
#include "conv.h"

#include "conv_tail.h"

/* Which of x, w, y each tensor of the call is. */
struct parts {
  enum fg_cudnn_conv kind;
  const struct fg_tensor *x, *w, *y;
  int64_t x_uid, w_uid, y_uid;
};

static struct parts parts_of(const struct fg_call *call) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
  switch (call->op) {
  case FG_OP_conv_grad_input:
    return (struct parts){FG_CUDNN_INPUT, c, b, a, FG_UID_OUT, FG_UID_IN + 1, FG_UID_IN};
  case FG_OP_conv_grad_weight:
    return (struct parts){FG_CUDNN_WEIGHT, a, c, b, FG_UID_IN, FG_UID_OUT, FG_UID_IN + 1};
  default:
    return (struct parts){FG_CUDNN_FORWARD, a, b, c, FG_UID_IN, FG_UID_IN + 1, FG_UID_OUT};
  }
}

/* Bits are no type of cuDNN's. */
static bool is_said(const struct fg_call *call, enum fg_conv_link link) {
  const struct fg_unary_attrs *act = &call->attrs->conv.act;
  switch (link) {
  case FG_CONV_ACT:
    return fg_cudnn_has_activation(act);
  case FG_CONV_MASK:
    return call->out[1].type == FG_BOOL;
  case FG_CONV_SLOPE:
    return call->in[2].type == FG_BOOL || (!fg_is_mask(&call->in[2]) && fg_cudnn_has_slope(act));
  default:
    return true;
  }
}

int fg_cuda_conv_fusible(const struct fg_call *call) {
  const struct fg_conv_tail tail = fg_cuda_conv_tail(call);
  int n = 0;
  while (n < tail.n && is_said(call, tail.link[n]))
    n++;
  return n;
}

/* The call's tensors, and the value that its operations have come to. */
struct chain {
  struct fg_cudnn_graph *g;
  const struct fg_call *call;
  int left; /* operations to come, up to the result */
  fg_cudnn at, before;
};

/* What the next operation writes: the result if it is the last. */
static fg_cudnn next(struct chain *c) {
  struct fg_tensor y = c->call->out[0];
  bool last = --c->left == 0;
  y.type = last ? y.type : FG_F32;
  return fg_cudnn_tensor_of(c->g, &y, last ? FG_UID_OUT : FG_VIRTUAL);
}

static void add(struct chain *c, fg_cudnn other) {
  fg_cudnn to = next(c);
  fg_cudnn_add(c->g, c->at, other, to);
  c->at = to;
}

static void follow(struct chain *c, enum fg_conv_link link) {
  const struct fg_call *call = c->call;
  const struct fg_tensor *two = fg_cuda_in(call, 2);
  switch (link) {
  case FG_CONV_SECOND:
    add(c, fg_cudnn_tensor_of(c->g, &call->in[3], FG_UID_IN + 3));
    break;
  case FG_CONV_BIAS: {
    struct fg_tensor b = {
        .type = two->type, .layout = call->out[0].layout, .rank = call->out[0].rank};
    for (int i = 0; i < b.rank; i++)
      b.dim[i] = i == 1 ? two->dim[0] : 1;
    add(c, fg_cudnn_tensor_of(c->g, &b, FG_UID_IN + 2));
    break;
  }
  case FG_CONV_ACT:
    c->before = c->at;
    c->at = next(c);
    fg_cudnn_activation(c->g, &call->attrs->conv.act, c->before, c->at);
    break;
  case FG_CONV_MASK:
    fg_cudnn_exceeds(c->g, c->before, call->out[0].rank, FG_UID_ZERO,
                     fg_cudnn_tensor_of(c->g, &call->out[1], FG_UID_OUT + 1));
    break;
  case FG_CONV_SLOPE: {
    fg_cudnn v = fg_cudnn_tensor_of(c->g, two, FG_UID_IN + 2);
    if (two->type == FG_BOOL)
      fg_cudnn_mul(c->g, c->at, v, next(c));
    else
      fg_cudnn_slope(c->g, &call->attrs->conv.act, v, c->at, next(c));
  }
  }
}

fgsm_status fg_cuda_conv_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) {
  const struct fg_conv_tail tail = fg_cuda_conv_tail(call);
  const struct parts p = parts_of(call);
  struct chain c = {g, call, 1 + tail.n - (fg_cuda_out(call, 1) != NULL), NULL, NULL};
  fg_cudnn_begin(g);
  c.at = next(&c);
  if (p.kind == FG_CUDNN_FORWARD)
    fg_cudnn_conv(g, p.kind, &call->attrs->conv, fg_cudnn_tensor_of(g, p.x, p.x_uid),
                  fg_cudnn_tensor_of(g, p.w, p.w_uid), c.at);
  else if (p.kind == FG_CUDNN_INPUT)
    fg_cudnn_conv(g, p.kind, &call->attrs->conv, c.at, fg_cudnn_tensor_of(g, p.w, p.w_uid),
                  fg_cudnn_tensor_of(g, p.y, p.y_uid));
  else
    fg_cudnn_conv(g, p.kind, &call->attrs->conv, fg_cudnn_tensor_of(g, p.x, p.x_uid), c.at,
                  fg_cudnn_tensor_of(g, p.y, p.y_uid));
  for (int i = 0; i < tail.n; i++)
    follow(&c, tail.link[i]);
  fgsm_status status = fg_cudnn_finish(g, target);
  if (status != FGSM_OK)
    fg_cudnn_graph_destroy(g);
  return status;
}

/* ---- checks */

static int64_t placed(const struct fg_conv_attrs *a, int64_t x, int64_t w, int i) {
  int64_t room = x + a->pad_lo[i] + a->pad_hi[i] - (int64_t)a->dilation[i] * (w - 1) - 1;
  return room < 0 ? 0 : room / a->stride[i] + 1;
}

fgsm_status fg_cuda_conv_check(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, call->op == FG_OP_conv_grad_input ? 11 : 15, 1));
  struct parts p = parts_of(call);
  FG_CUDA_NEED(call, call->in[0].type == call->in[1].type && call->in[0].type == call->out[0].type,
               "%s of %s and %s", fg_type_name(call->out[0].type), fg_type_name(call->in[0].type),
               fg_type_name(call->in[1].type));
  FG_CUDA_NEED(call, a->spatial == 2 || a->spatial == 3, "%d spatial dims", a->spatial);
  FG_CUDA_NEED(call,
               p.x->rank == a->spatial + 2 && p.w->rank == p.x->rank && p.y->rank == p.x->rank,
               "ranks %d, %d and %d", p.x->rank, p.w->rank, p.y->rank);
  FG_CUDA_NEED(call, fg_count(p.w) && (!p.x->dim[0] || (fg_count(p.x) && fg_count(p.y))),
               "an empty image or filter");
  FG_CUDA_NEED(
      call, a->group >= 1 && p.w->dim[1] * a->group == p.x->dim[1] && p.w->dim[0] % a->group == 0,
      "%lld channels in %d groups for weights of %lld", (long long)p.x->dim[1], a->group,
      (long long)p.w->dim[1]);
  FG_CUDA_NEED(call, p.y->dim[0] == p.x->dim[0] && p.y->dim[1] == p.w->dim[0],
               "batch or channels differ");
  for (int i = 0; i < a->spatial; i++) {
    FG_CUDA_NEED(call,
                 a->stride[i] > 0 && a->dilation[i] > 0 && a->pad_lo[i] >= 0 && a->pad_hi[i] >= 0,
                 "stride, dilation or padding of axis %d", i);
    FG_CUDA_NEED(call, placed(a, p.x->dim[i + 2], p.w->dim[i + 2], i) == p.y->dim[i + 2],
                 "axis %d does not fit its window", i);
  }
  return fg_cuda_conv_tail_check(call);
}
