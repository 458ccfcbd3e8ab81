/* Reductions over axes; ONNX ReduceMean, ReduceSum, ReduceMax, ReduceMin. A maximum's gradient is
 * divided evenly among the ties, as torch.amax does. */
#include <string.h>

#include "rules.h"

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  const struct fg_reduce_attrs *a = &node->attrs.reduce;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  int64_t dim[FG_MAX_RANK];
  int rank = 0;
  if ((int)a->kind < 0 || a->kind >= FG_REDUCE_COUNT)
    return FG_FAIL(INTERNAL, "there is no reduction %d", (int)a->kind);
  bool whole = x->type == FG_I64 || x->type == FG_I32;
  if (!fg_type_is_real(x->type) && (!whole || a->kind == FG_REDUCE_mean))
    return FG_FAIL(UNSUPPORTED, "x is %s: cast it to float32 first", fg_type_name(x->type));
  if (a->axes >> x->rank)
    return FG_FAIL(MODEL, "an axis is out of range for x of shape %s", FG_SHAPE(x));
  for (int i = 0; i < x->rank; i++) {
    bool over = a->axes >> i & 1;
    if (x->dim[i] == 0)
      return FG_FAIL(UNSUPPORTED, "x of shape %s has nothing to reduce over", FG_SHAPE(x));
    if (!over || a->keep)
      dim[rank++] = over ? 1 : x->dim[i];
  }
  return fg_rule_output(out, x->type, rank, dim);
}

/* A reduced value with the axes it lost back as 1. */
static fgsm_status keep_axes(struct fg_graph *g, fg_id x, uint32_t axes, fg_id y, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  for (int i = 0; i < v.rank; i++)
    if (axes >> i & 1)
      v.dim[i] = 1;
  return fg_reshape(g, y, v.rank, v.dim, out);
}

/* dx = (x == y) dy / (number of ties) */
static fgsm_status grad_extreme(struct fg_grad_ctx *ctx, fg_id dy) {
  struct fg_graph *g = ctx->g;
  const struct fg_reduce_attrs *a = &ctx->node->attrs.reduce;
  fg_id x = ctx->node->in[0], y, ties, n;
  FG_TRY(keep_axes(g, x, a->axes, ctx->node->out[0], &y));
  FG_TRY(fg_binary(g, FG_BINARY_equal, x, y, &ties));
  FG_TRY(fg_cast(g, ties, fg_value(g, x)->type, 0, &ties));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, ties, a->axes, true, &n));
  FG_TRY(fg_binary(g, FG_BINARY_div, dy, n, &dy));
  return fg_binary(g, FG_BINARY_mul, ties, dy, &ctx->in_grad[0]);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  struct fg_graph *g = ctx->g;
  const struct fg_reduce_attrs *a = &ctx->node->attrs.reduce;
  fg_id dy, share;
  struct fg_value x = *fg_value(g, ctx->node->in[0]);
  FG_TRY(keep_axes(g, ctx->node->in[0], a->axes, ctx->out_grad[0], &dy));
  if (a->kind == FG_REDUCE_max || a->kind == FG_REDUCE_min)
    return grad_extreme(ctx, dy);
  if (a->kind == FG_REDUCE_mean) {
    double n = 1;
    for (int i = 0; i < x.rank; i++)
      n *= a->axes >> i & 1 ? (double)x.dim[i] : 1;
    FG_TRY(fg_graph_scalar(g, 1 / n, &share));
    FG_TRY(fg_binary(g, FG_BINARY_mul, dy, share, &dy));
  }
  return fg_expand(g, dy, x.rank, x.dim, &ctx->in_grad[0]);
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_reduce = {infer, grad, flops};

/* ---- ONNX */

/* The mean over both spatial axes is what pools are fast at. */
static fgsm_status mean_of_image(struct fg_import *im, fg_id x, bool keep) {
  struct fg_value v = *fg_value(im->g, x);
  union fg_attrs a = {.pool = {.spatial = 2,
                               .window = {(int)v.dim[2], (int)v.dim[3]},
                               .stride = {1, 1},
                               .dilation = {1, 1}}};
  FG_TRY(fg_import_append(im, FG_OP_avg_pool, &a, 1, &x, &im->out[0]));
  return keep ? FGSM_OK : fg_reshape(im->g, im->out[0], 2, v.dim, &im->out[0]);
}

static fgsm_status reduce(struct fg_import *im, enum fg_reduce_kind kind) {
  union fg_attrs a = {.reduce = {.kind = kind}};
  int64_t keep, keep_all;
  int axes[FG_MAX_RANK], n;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "keepdims", 1, &keep));
  FG_TRY(fg_attr_int(im, "noop_with_empty_axes", 0, &keep_all));
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_import_axes(im, 1, v.rank, axes, &n));
  if (n <= 0 && keep_all) {
    im->out[0] = x;
    return FGSM_OK;
  }
  for (int i = 0; i < n; i++)
    a.reduce.axes |= 1u << axes[i];
  if (n <= 0)
    a.reduce.axes = (1u << v.rank) - 1;
  a.reduce.keep = keep != 0;
  const int64_t most = 1 << 15;
  if (kind == FG_REDUCE_mean && v.rank == 4 && a.reduce.axes == 12 && fg_type_is_real(v.type) &&
      v.dim[2] <= most && v.dim[3] <= most)
    return mean_of_image(im, x, a.reduce.keep);
  return fg_import_append(im, FG_OP_reduce, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_ReduceMean(struct fg_import *im) {
  return reduce(im, FG_REDUCE_mean);
}
fgsm_status fg_import_ReduceSum(struct fg_import *im) {
  return reduce(im, FG_REDUCE_sum);
}
fgsm_status fg_import_ReduceMax(struct fg_import *im) {
  return reduce(im, FG_REDUCE_max);
}
fgsm_status fg_import_ReduceMin(struct fg_import *im) {
  return reduce(im, FG_REDUCE_min);
}
