/* Reductions over axes, and ONNX's Reduce* as compositions of them. A maximum's gradient is divided
 * evenly among the ties, as torch.amax does; a product's is exact where factors are zero; that of a
 * norm of zeros is zero. */
#include <float.h>
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
  bool extreme = a->kind == FG_REDUCE_max || a->kind == FG_REDUCE_min;
  if (!fg_type_is_real(x->type) && (a->kind == FG_REDUCE_mean || (x->type == FG_BOOL && !extreme)))
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

/* dx_i = dy times the product of the others: that of all nonzero factors over x_i, or 0 where
 * another factor is zero. */
static fgsm_status grad_product(struct fg_grad_ctx *ctx, fg_id dy) {
  struct fg_graph *g = ctx->g;
  uint32_t axes = ctx->node->attrs.reduce.axes;
  fg_id x = ctx->node->in[0], zero, one, is_zero, factors, product, zeros, others, *dx;
  dx = &ctx->in_grad[0];
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_binary(g, FG_BINARY_equal, x, zero, &is_zero));
  FG_TRY(fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){is_zero, one, x}, &factors));
  FG_TRY(fg_reduce(g, FG_REDUCE_prod, factors, axes, true, &product));
  FG_TRY(fg_cast(g, is_zero, fg_value(g, x)->type, 0, &zeros));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, zeros, axes, true, &others));
  FG_TRY(fg_binary(g, FG_BINARY_sub, others, zeros, &others));
  FG_TRY(fg_binary(g, FG_BINARY_equal, others, zero, &others));
  FG_TRY(fg_binary(g, FG_BINARY_mul, dy, product, &dy));
  FG_TRY(fg_binary(g, FG_BINARY_div, dy, factors, dx));
  return fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){others, *dx, zero}, dx);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  struct fg_graph *g = ctx->g;
  const struct fg_reduce_attrs *a = &ctx->node->attrs.reduce;
  fg_id dy, share;
  struct fg_value x = *fg_value(g, ctx->node->in[0]);
  FG_TRY(keep_axes(g, ctx->node->in[0], a->axes, ctx->out_grad[0], &dy));
  if (a->kind == FG_REDUCE_max || a->kind == FG_REDUCE_min)
    return grad_extreme(ctx, dy);
  if (a->kind == FG_REDUCE_prod)
    return grad_product(ctx, dy);
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

/* What a Reduce node says: its input, axes and whether they stay; still: it changes nothing. */
struct request {
  fg_id x;
  uint32_t axes;
  bool keep, still;
};

static fgsm_status read_request(struct fg_import *im, struct request *r) {
  int64_t keep, keep_all;
  int axes[FG_MAX_RANK], n;
  *r = (struct request){0};
  FG_TRY(fg_input(im, 0, &r->x));
  FG_TRY(fg_attr_int(im, "keepdims", 1, &keep));
  FG_TRY(fg_attr_int(im, "noop_with_empty_axes", 0, &keep_all));
  int rank = fg_value(im->g, r->x)->rank;
  FG_TRY(fg_import_axes(im, 1, rank, axes, &n));
  r->keep = keep != 0;
  r->still = n <= 0 && keep_all;
  for (int i = 0; i < n; i++)
    r->axes |= 1u << axes[i];
  if (n <= 0 && !r->still)
    r->axes = (1u << rank) - 1;
  return FGSM_OK;
}

static fgsm_status append(struct fg_import *im, enum fg_reduce_kind kind, const struct request *r,
                          fg_id x, fg_id *out) {
  union fg_attrs a = {.reduce = {kind, r->axes, r->keep}};
  *out = x;
  return r->still ? FGSM_OK : fg_import_append(im, FG_OP_reduce, &a, 1, &x, out);
}

static fgsm_status reduce(struct fg_import *im, enum fg_reduce_kind kind) {
  const int64_t most = 1 << 15;
  struct request r;
  FG_TRY(read_request(im, &r));
  const struct fg_value *v = fg_value(im->g, r.x);
  if (kind == FG_REDUCE_mean && v->rank == 4 && r.axes == 12 && fg_type_is_real(v->type) &&
      v->dim[2] <= most && v->dim[3] <= most)
    return mean_of_image(im, r.x, r.keep);
  return append(im, kind, &r, r.x, &im->out[0]);
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
fgsm_status fg_import_ReduceProd(struct fg_import *im) {
  return reduce(im, FG_REDUCE_prod);
}

/* Norms and logarithms of integers are computed in floats. */
static fgsm_status needs_real(const struct fg_import *im, const struct request *r) {
  enum fg_type type = fg_value(im->g, r->x)->type;
  if (!fg_type_is_real(type))
    return FG_FAIL(UNSUPPORTED, "x is %s: cast it to float32 first", fg_type_name(type));
  return FGSM_OK;
}

fgsm_status fg_import_ReduceL1(struct fg_import *im) {
  struct request r;
  fg_id minus, size;
  FG_TRY(read_request(im, &r));
  if (fg_type_is_real(fg_value(im->g, r.x)->type)) {
    FG_TRY(fg_unary(im->g, FG_UNARY_abs, 0, 0, r.x, &size));
  } else {
    FG_TRY(fg_import_scalar(im->g, fg_value(im->g, r.x)->type, 0, &minus));
    FG_TRY(fg_binary(im->g, FG_BINARY_sub, minus, r.x, &minus));
    FG_TRY(fg_binary(im->g, FG_BINARY_max, r.x, minus, &size));
  }
  return append(im, FG_REDUCE_sum, &r, size, &im->out[0]);
}

fgsm_status fg_import_ReduceSumSquare(struct fg_import *im) {
  struct request r;
  fg_id square;
  FG_TRY(read_request(im, &r));
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, r.x, r.x, &square));
  return append(im, FG_REDUCE_sum, &r, square, &im->out[0]);
}

/* The root of the sum of squares. A sum of 0 becomes 1 in front of the root and 0 again behind it,
 * so that its gradient is 0, as PyTorch's, and not 0 times infinity. */
fgsm_status fg_import_ReduceL2(struct fg_import *im) {
  struct fg_graph *g = im->g;
  struct request r;
  fg_id sum, zero, one, none, root;
  FG_TRY(read_request(im, &r));
  FG_TRY(needs_real(im, &r));
  FG_TRY(fg_unary(g, FG_UNARY_power, 2, 0, r.x, &sum));
  FG_TRY(append(im, FG_REDUCE_sum, &r, sum, &sum));
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_binary(g, FG_BINARY_equal, sum, zero, &none));
  FG_TRY(fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){none, one, sum}, &root));
  FG_TRY(fg_unary(g, FG_UNARY_sqrt, 0, 0, root, &root));
  return fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){none, zero, root}, &im->out[0]);
}

fgsm_status fg_import_ReduceLogSum(struct fg_import *im) {
  struct request r;
  fg_id sum;
  FG_TRY(read_request(im, &r));
  FG_TRY(needs_real(im, &r));
  FG_TRY(append(im, FG_REDUCE_sum, &r, r.x, &sum));
  return fg_unary(im->g, FG_UNARY_log, 0, 0, sum, &im->out[0]);
}

/* log(sum(exp(x - m))) + m, with m the maximum rounded down: it is a shift that no gradient flows
 * through, so that what comes out is the softmax and no difference of large numbers. m is kept
 * finite, so that infinities pass. */
fgsm_status fg_import_ReduceLogSumExp(struct fg_import *im) {
  struct fg_graph *g = im->g;
  struct request r;
  fg_id shift, y;
  FG_TRY(read_request(im, &r));
  FG_TRY(needs_real(im, &r));
  FG_TRY(fg_reduce(g, FG_REDUCE_max, r.x, r.axes, true, &shift));
  FG_TRY(fg_unary(g, FG_UNARY_floor, 0, 0, shift, &shift));
  FG_TRY(fg_unary(g, FG_UNARY_clip, -FLT_MAX, FLT_MAX, shift, &shift));
  FG_TRY(fg_binary(g, FG_BINARY_sub, r.x, shift, &y));
  FG_TRY(fg_unary(g, FG_UNARY_exp, 0, 0, y, &y));
  FG_TRY(append(im, FG_REDUCE_sum, &r, y, &y));
  FG_TRY(fg_unary(g, FG_UNARY_log, 0, 0, y, &y));
  const struct fg_value *v = fg_value(g, y);
  FG_TRY(fg_reshape(g, shift, v->rank, v->dim, &shift));
  return fg_binary(g, FG_BINARY_add, y, shift, &im->out[0]);
}
