/* The cuDNN graphs of conv, conv_grad_input and conv_grad_weight, in NCHW, in float32 or half precision
 * with sums in float32, and what they ask of a call. No card is needed here. */
#include "conv.h"

#include "epilogue.h"

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

bool fg_cuda_conv_can_fuse(const struct fg_call *call) {
  const struct fg_unary_attrs *act = &call->attrs->conv.act;
  return call->op == FG_OP_conv && fg_cuda_has_epilogue(call, act) && fg_cudnn_has_activation(act);
}

/* The value after the next operation: the result if that is the last. */
static fg_cudnn next(struct fg_cudnn_graph *g, const struct fg_tensor *y, int *left) {
  bool last = --*left == 0;
  return fg_cudnn_tensor(g, last ? y->type : FG_F32, y->rank, y->dim,
                         last ? FG_UID_OUT : FG_VIRTUAL);
}

/* Residual, bias, activation: in the order that most engines know. */
static void fuse(struct fg_cudnn_graph *g, const struct fg_call *call, fg_cudnn x, fg_cudnn w) {
  const struct fg_unary_attrs *act = &call->attrs->conv.act;
  const struct fg_tensor *y = &call->out[0], *bias = fg_cuda_in(call, 2),
                         *residual = fg_cuda_in(call, 3);
  int left = 1 + (bias != NULL) + (residual != NULL) + (act->kind != FG_UNARY_identity);
  fg_cudnn at = next(g, y, &left), to;
  fg_cudnn_conv(g, FG_CUDNN_FORWARD, &call->attrs->conv, x, w, at);
  if (residual) {
    fg_cudnn z = fg_cudnn_tensor(g, residual->type, y->rank, y->dim, FG_UID_IN + 3);
    to = next(g, y, &left);
    fg_cudnn_add(g, at, z, to);
    at = to;
  }
  if (bias) {
    int64_t dim[FG_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    dim[1] = y->dim[1];
    fg_cudnn b = fg_cudnn_tensor(g, bias->type, y->rank, dim, FG_UID_IN + 2);
    to = next(g, y, &left);
    fg_cudnn_add(g, at, b, to);
    at = to;
  }
  if (act->kind != FG_UNARY_identity)
    fg_cudnn_activation(g, act, at, next(g, y, &left));
}

static fg_cudnn tensor(struct fg_cudnn_graph *g, const struct fg_tensor *t, int64_t uid) {
  return fg_cudnn_tensor(g, t->type, t->rank, t->dim, uid);
}

fgsm_status fg_cuda_conv_graph(const struct fg_call *call, bool fused,
                               const struct fg_cudnn_target *target, struct fg_cudnn_graph *g) {
  struct parts p = parts_of(call);
  fg_cudnn_begin(g);
  fg_cudnn w = tensor(g, p.w, p.w_uid), x = tensor(g, p.x, p.x_uid);
  if (fused)
    fuse(g, call, x, w);
  else
    fg_cudnn_conv(g, p.kind, &call->attrs->conv, x, w, tensor(g, p.y, p.y_uid));
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
  FG_TRY(fg_cuda_check_real(call, 15, 1));
  struct parts p = parts_of(call);
  FG_CUDA_NEED(call, call->in[0].type == call->in[1].type && call->in[0].type == call->out[0].type,
               "%s of %s and %s", fg_type_name(call->out[0].type), fg_type_name(call->in[0].type),
               fg_type_name(call->in[1].type));
  FG_CUDA_NEED(call, a->spatial == 2 || a->spatial == 3, "%d spatial dims", a->spatial);
  FG_CUDA_NEED(call,
               p.x->rank == a->spatial + 2 && p.w->rank == p.x->rank && p.y->rank == p.x->rank,
               "ranks %d, %d and %d", p.x->rank, p.w->rank, p.y->rank);
  FG_CUDA_NEED(call, fg_count(p.x) && fg_count(p.w) && fg_count(p.y), "an empty tensor");
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
  FG_CUDA_NEED(call,
               call->op != FG_OP_conv_grad_input || (!fg_cuda_in(call, 2) && !fg_cuda_in(call, 3)),
               "an activation's gradient is a call of its own");
  if (call->op != FG_OP_conv)
    return FGSM_OK;
  const struct fg_tensor *bias = fg_cuda_in(call, 2), *residual = fg_cuda_in(call, 3);
  FG_CUDA_NEED(call, (unsigned)a->act.kind < FG_UNARY_COUNT, "unknown activation");
  FG_CUDA_NEED(call, !bias || (bias->rank == 1 && bias->dim[0] == p.y->dim[1]), "bias's shape");
  FG_CUDA_NEED(call, !residual || fg_same_shape(residual, p.y), "residual's shape");
  return FGSM_OK;
}
