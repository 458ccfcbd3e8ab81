/* The same elements under another shape, order or multiplicity: reshape, expand, transpose,
 * reorder; and the ONNX operators that only rename axes. */
#include <string.h>

#include "rules.h"

static fgsm_status check_rank(int rank) {
  if (rank < 0 || rank > FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "rank %d: at most %d axes are supported", rank, FG_MAX_RANK);
  return FGSM_OK;
}

static fgsm_status infer_reshape(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  const struct fg_shape_attrs *a = &node->attrs.shape;
  int64_t have = 1, want = 1;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(check_rank(a->rank));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(fg_rule_output(out, x->type, a->rank, a->dim));
  for (int i = 0; i < x->rank; i++)
    have *= x->dim[i];
  for (int i = 0; i < a->rank; i++)
    want *= a->dim[i];
  if (have != want)
    return FG_FAIL(MODEL, "x of shape %s does not have the %lld elements of %s", FG_SHAPE(x),
                   (long long)want, FG_SHAPE(a));
  return FGSM_OK;
}

static fgsm_status grad_reshape(struct fg_grad_ctx *ctx) {
  struct fg_value x = *fg_value(ctx->g, ctx->node->in[0]);
  return fg_reshape(ctx->g, ctx->out_grad[0], x.rank, x.dim, &ctx->in_grad[0]);
}

static double no_flops(const struct fg_graph *g, const struct fg_node *node) {
  (void)g;
  (void)node;
  return 0;
}

const struct fg_op_def fg_def_reshape = {infer_reshape, grad_reshape, no_flops};

static fgsm_status infer_expand(const struct fg_graph *g, struct fg_node *node,
                                struct fg_value *out) {
  const struct fg_shape_attrs *a = &node->attrs.shape;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(check_rank(a->rank));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  bool fits = x->rank <= a->rank;
  for (int i = 0; fits && i < x->rank; i++)
    fits = x->dim[i] == 1 || x->dim[i] == a->dim[i + a->rank - x->rank];
  if (!fits)
    return FG_FAIL(MODEL, "x of shape %s does not broadcast to %s", FG_SHAPE(x), FG_SHAPE(a));
  return fg_rule_output(out, x->type, a->rank, a->dim);
}

static fgsm_status grad_expand(struct fg_grad_ctx *ctx) {
  return fg_sum_to(ctx->g, ctx->out_grad[0], ctx->node->in[0], &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_expand = {infer_expand, grad_expand, no_flops};

static fgsm_status infer_transpose(const struct fg_graph *g, struct fg_node *node,
                                   struct fg_value *out) {
  const int *perm = node->attrs.transpose.perm;
  int64_t dim[FG_MAX_RANK];
  uint32_t seen = 0;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  for (int i = 0; i < x->rank; i++) {
    if (perm[i] < 0 || perm[i] >= x->rank || seen >> perm[i] & 1)
      return FG_FAIL(MODEL, "perm is no order of the %d axes of x", x->rank);
    seen |= 1u << perm[i];
    dim[i] = x->dim[perm[i]];
  }
  return fg_rule_output(out, x->type, x->rank, dim);
}

static fgsm_status grad_transpose(struct fg_grad_ctx *ctx) {
  int back[FG_MAX_RANK] = {0};
  for (int i = 0; i < fg_value(ctx->g, ctx->node->in[0])->rank; i++)
    back[ctx->node->attrs.transpose.perm[i]] = i;
  return fg_transpose(ctx->g, ctx->out_grad[0], back, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_transpose = {infer_transpose, grad_transpose, no_flops};

static fgsm_status infer_reorder(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  if (x->rank != 4)
    return FG_FAIL(INTERNAL, "only a value of rank 4 has another layout, not %s", FG_SHAPE(x));
  return fg_rule_output(out, x->type, 4, x->dim);
}

static fgsm_status grad_reorder(struct fg_grad_ctx *ctx) {
  ctx->in_grad[0] = ctx->out_grad[0];
  return FGSM_OK;
}

const struct fg_op_def fg_def_reorder = {infer_reorder, grad_reorder, no_flops};

/* ---- ONNX */

/* The shape that Reshape asks for: 0 copies (unless allowed as such), one -1 is what remains. */
static fgsm_status resolve(const struct fg_value *x, bool allow_zero, int n, int64_t *dim) {
  int64_t rest = 1, known = 1;
  int open = -1;
  for (int i = 0; i < n; i++) {
    if (dim[i] == 0 && !allow_zero) {
      if (i >= x->rank)
        return FG_FAIL(MODEL, "the shape copies axis %d, which x of shape %s lacks", i,
                       FG_SHAPE(x));
      dim[i] = x->dim[i];
    }
    if (dim[i] < -1 || (dim[i] == -1 && open >= 0))
      return FG_FAIL(MODEL, "the shape has %s", dim[i] < -1 ? "a negative dimension" : "two of -1");
    if (dim[i] == -1)
      open = i;
    else if (!fg_mul_ok(known, dim[i], &known))
      return FG_FAIL(MODEL, "the shape is too large");
  }
  for (int i = 0; i < x->rank; i++)
    rest *= x->dim[i];
  if (open >= 0 && (known == 0 || rest % known))
    return FG_FAIL(MODEL, "x of shape %s does not divide into rows of %lld", FG_SHAPE(x),
                   (long long)known);
  if (open >= 0)
    dim[open] = rest / known;
  return FGSM_OK;
}

static fgsm_status append(struct fg_import *im, fg_id x, int rank, const int64_t *dim) {
  union fg_attrs a = {.shape = {.rank = rank}};
  memcpy(a.shape.dim, dim, (size_t)rank * sizeof *dim);
  const struct fg_value *v = fg_value(im->g, x);
  if (v->rank == rank && !memcmp(v->dim, dim, (size_t)rank * sizeof *dim)) {
    im->out[0] = x;
    return FGSM_OK;
  }
  return fg_import_append(im, FG_OP_reshape, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_Reshape(struct fg_import *im) {
  int64_t dim[FG_MAX_RANK], allow_zero;
  fg_id x;
  int n;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "allowzero", 0, &allow_zero));
  FG_TRY(fg_input_ints(im, 1, FG_MAX_RANK, dim, &n));
  if (n < 0)
    FG_TRY(fg_attr_ints(im, "shape", FG_MAX_RANK, dim, &n));
  if (n < 0)
    return FG_FAIL(MODEL, "the shape (input 1) is missing");
  FG_TRY(resolve(fg_value(im->g, x), allow_zero != 0, n, dim));
  return append(im, x, n, dim);
}

fgsm_status fg_import_Flatten(struct fg_import *im) {
  int64_t axis, dim[2] = {1, 1};
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "axis", 1, &axis));
  struct fg_value v = *fg_value(im->g, x);
  if (axis < -v.rank || axis > v.rank)
    return FG_FAIL(MODEL, "axis %lld is out of range for rank %d", (long long)axis, v.rank);
  axis += axis < 0 ? v.rank : 0;
  for (int i = 0; i < v.rank; i++)
    dim[i >= axis] *= v.dim[i];
  return append(im, x, 2, dim);
}

fgsm_status fg_import_Squeeze(struct fg_import *im) {
  int axes[FG_MAX_RANK], n, rank = 0;
  int64_t dim[FG_MAX_RANK];
  uint32_t drop = 0;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_import_axes(im, 1, v.rank, axes, &n));
  for (int i = 0; i < n; i++) {
    if (v.dim[axes[i]] != 1)
      return FG_FAIL(MODEL, "axis %d of %s is not 1", axes[i], FG_SHAPE(&v));
    drop |= 1u << axes[i];
  }
  for (int i = 0; i < v.rank; i++)
    if (n < 0 ? v.dim[i] != 1 : !(drop >> i & 1))
      dim[rank++] = v.dim[i];
  return append(im, x, rank, dim);
}

fgsm_status fg_import_Unsqueeze(struct fg_import *im) {
  int axes[FG_MAX_RANK], n, from = 0;
  int64_t dim[FG_MAX_RANK], raw[FG_MAX_RANK];
  uint32_t new = 0;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_input_ints(im, 1, FG_MAX_RANK, raw, &n));
  if (n < 0)
    FG_TRY(fg_attr_ints(im, "axes", FG_MAX_RANK, raw, &n));
  if (n < 0)
    return FG_FAIL(MODEL, "axes are missing");
  FG_TRY(check_rank(v.rank + n));
  FG_TRY(fg_import_axes(im, 1, v.rank + n, axes, &n));
  for (int i = 0; i < n; i++)
    new |= 1u << axes[i];
  for (int i = 0; i < v.rank + n; i++)
    dim[i] = new >> i & 1 ? 1 : v.dim[from++];
  return append(im, x, v.rank + n, dim);
}

fgsm_status fg_import_Transpose(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t perm[FG_MAX_RANK];
  bool still = true;
  int n;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  int rank = fg_value(im->g, x)->rank;
  FG_TRY(fg_attr_ints(im, "perm", FG_MAX_RANK, perm, &n));
  if (n >= 0 && n != rank)
    return FG_FAIL(MODEL, "perm has %d numbers for %d axes", n, rank);
  for (int i = 0; i < rank; i++) {
    int64_t from = n < 0 ? rank - 1 - i : perm[i];
    if (from < 0 || from >= rank)
      return FG_FAIL(MODEL, "perm has axis %lld for rank %d", (long long)from, rank);
    a.transpose.perm[i] = (int)from;
    still &= from == i;
  }
  im->out[0] = x;
  return still ? FGSM_OK : fg_import_append(im, FG_OP_transpose, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_Expand(struct fg_import *im) {
  union fg_attrs a = {0};
  struct fg_value want = {.rank = 0}, shape;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input_ints(im, 1, FG_MAX_RANK, want.dim, &want.rank));
  if (want.rank < 0)
    return FG_FAIL(MODEL, "the shape (input 1) is missing");
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_broadcast_shape(&v, &want, &shape));
  im->out[0] = x;
  if (shape.rank == v.rank && !memcmp(shape.dim, v.dim, (size_t)v.rank * sizeof *v.dim))
    return FGSM_OK;
  a.shape.rank = shape.rank;
  memcpy(a.shape.dim, shape.dim, sizeof a.shape.dim);
  return fg_import_append(im, FG_OP_expand, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_Identity(struct fg_import *im) {
  return fg_input(im, 0, &im->out[0]);
}

fgsm_status fg_import_Dropout(struct fg_import *im) {
  fg_id training = im->opset >= 12 ? fg_import_optional(im, 2) : FG_ABSENT;
  if (training != FG_ABSENT &&
      (!fg_value_is_constant(im->g, training) || fg_value_count(im->g, training) != 1 ||
       fg_constant_int(im->g, training, 0)))
    return FG_FAIL(UNSUPPORTED, "training_mode is on, or computed: export the model in inference "
                                "mode");
  FG_TRY(fg_input(im, 0, &im->out[0]));
  fg_import_omit(im, 1);
  if (im->n_out < 2 || !im->out_used[1])
    return FGSM_OK;
  struct fg_value v = *fg_value(im->g, im->out[0]);
  bool kept = true;
  fg_id mask;
  FG_TRY(fg_graph_constant(im->g, "", FG_BOOL, 0, NULL, &kept, &mask));
  FG_TRY(fg_cast(im->g, mask, im->opset < 10 ? im->g->real : FG_BOOL, 0, &mask));
  return fg_expand(im->g, mask, v.rank, v.dim, &im->out[1]);
}
