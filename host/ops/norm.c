/* Normalisations and the per-channel affine step: affine, batch_norm (statistics given),
 * layer_norm, softmax, and their ONNX operators. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* An attribute's axis as stored in attrs: already normalised. */
static fgsm_status check_axis(int rank, int axis) {
  if (axis < 0 || axis >= rank)
    return FG_FAIL(MODEL, "axis %d is out of range for rank %d", axis, rank);
  return FGSM_OK;
}

/* All axes of a value but one, as a mask. */
static uint32_t all_but(int rank, int axis) {
  return ((1u << rank) - 1) & ~(1u << axis);
}

/* ---- affine */

static fgsm_status infer_affine(const struct fg_graph *g, struct fg_node *node,
                                struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 3));
  FG_TRY(fg_rule_reals(g, node, 7));
  FG_TRY(fg_rule_unary(&node->attrs.affine.act));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(check_axis(x->rank, node->attrs.affine.axis));
  int64_t channels = x->dim[node->attrs.affine.axis];
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 1), channels, "scale"));
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 2), channels, "shift"));
  return fg_rule_output(out, x->type, x->rank, x->dim);
}

static fgsm_status affine(struct fg_graph *g, int axis, fg_id x, fg_id scale, fg_id shift,
                          fg_id *out) {
  union fg_attrs a = {.affine = {.axis = axis}};
  return fg_rule_append(g, FG_OP_affine, &a, 3, (fg_id[]){x, scale, shift}, out);
}

static fgsm_status grad_affine(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  fg_id x = node->in[0], scale = node->n_in > 1 ? node->in[1] : FG_ABSENT, dy = ctx->out_grad[0];
  int axis = node->attrs.affine.axis;
  uint32_t others = all_but(fg_value(ctx->g, x)->rank, axis);
  FG_TRY(fg_rule_plain(&node->attrs.affine.act));
  if (ctx->wanted[0]) {
    ctx->in_grad[0] = dy;
    if (scale != FG_ABSENT)
      FG_TRY(affine(ctx->g, axis, dy, scale, FG_ABSENT, &ctx->in_grad[0]));
  }
  if (ctx->wanted[1]) {
    fg_id both;
    FG_TRY(fg_binary(ctx->g, FG_BINARY_mul, dy, x, &both));
    FG_TRY(fg_reduce(ctx->g, FG_REDUCE_sum, both, others, false, &ctx->in_grad[1]));
  }
  if (ctx->wanted[2])
    FG_TRY(fg_reduce(ctx->g, FG_REDUCE_sum, dy, others, false, &ctx->in_grad[2]));
  return FGSM_OK;
}

static double flops_affine(const struct fg_graph *g, const struct fg_node *node) {
  return 2.0 * (double)fg_value_count(g, node->out[0]);
}

const struct fg_op_def fg_def_affine = {infer_affine, grad_affine, flops_affine};

/* ---- batch_norm */

static fgsm_status check_epsilon(double epsilon) {
  if (!(epsilon >= 0) || isinf(epsilon))
    return FG_FAIL(MODEL, "epsilon %g must be finite and not negative", epsilon);
  return FGSM_OK;
}

static fgsm_status infer_batch_norm(const struct fg_graph *g, struct fg_node *node,
                                    struct fg_value *out) {
  static const char *const what[] = {"x", "scale", "bias", "mean", "variance"};
  FG_TRY(fg_rule_inputs(g, node, 5, 5));
  FG_TRY(fg_rule_reals(g, node, 31));
  FG_TRY(check_epsilon(node->attrs.batch_norm.epsilon));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  if (x->rank < 2)
    return FG_FAIL(UNSUPPORTED, "x has shape %s: at least [N, C] is needed", FG_SHAPE(x));
  for (int i = 1; i < 5; i++)
    FG_TRY(fg_rule_vector(fg_rule_input(g, node, i), x->dim[1], what[i]));
  return fg_rule_output(out, x->type, x->rank, x->dim);
}

static fgsm_status grad_batch_norm(struct fg_grad_ctx *ctx) {
  struct fg_graph *g = ctx->g;
  const fg_id *in = ctx->node->in;
  fg_id dy = ctx->out_grad[0], epsilon, rstd, slope;
  uint32_t others = all_but(fg_value(g, in[0])->rank, 1);
  if (ctx->wanted[3] || ctx->wanted[4])
    return FG_FAIL(UNSUPPORTED, "the statistics are given, their gradient is not computed");
  FG_TRY(fg_graph_scalar(g, ctx->node->attrs.batch_norm.epsilon, &epsilon));
  FG_TRY(fg_binary(g, FG_BINARY_add, in[4], epsilon, &rstd));
  FG_TRY(fg_unary(g, FG_UNARY_power, -0.5, 0, rstd, &rstd));
  if (ctx->wanted[0]) {
    FG_TRY(fg_binary(g, FG_BINARY_mul, in[1], rstd, &slope));
    FG_TRY(affine(g, 1, dy, slope, FG_ABSENT, &ctx->in_grad[0]));
  }
  if (ctx->wanted[1]) { /* sum dy (x - mean) rstd */
    fg_id minus, centred;
    FG_TRY(fg_unary(g, FG_UNARY_neg, 0, 0, in[3], &minus));
    FG_TRY(affine(g, 1, in[0], FG_ABSENT, minus, &centred));
    FG_TRY(fg_binary(g, FG_BINARY_mul, dy, centred, &centred));
    FG_TRY(fg_reduce(g, FG_REDUCE_sum, centred, others, false, &centred));
    FG_TRY(fg_binary(g, FG_BINARY_mul, centred, rstd, &ctx->in_grad[1]));
  }
  if (ctx->wanted[2])
    FG_TRY(fg_reduce(g, FG_REDUCE_sum, dy, others, false, &ctx->in_grad[2]));
  return FGSM_OK;
}

const struct fg_op_def fg_def_batch_norm = {infer_batch_norm, grad_batch_norm, flops_affine};

/* ---- layer_norm */

/* scale and bias have the shape of x's last axes from `axis` on. */
static fgsm_status check_tail(const struct fg_value *v, const struct fg_value *x, int axis,
                              const char *what) {
  if (!v)
    return FGSM_OK;
  struct fg_value tail = {.rank = x->rank - axis};
  memcpy(tail.dim, x->dim + axis, (size_t)tail.rank * sizeof *tail.dim);
  return fg_rule_same_shape(v, &tail, what);
}

/* x's shape with the normalised axes 1. */
static void statistics_shape(const struct fg_value *x, int axis, int64_t *dim) {
  for (int i = 0; i < x->rank; i++)
    dim[i] = i < axis ? x->dim[i] : 1;
}

static fgsm_status infer_layer_norm(const struct fg_graph *g, struct fg_node *node,
                                    struct fg_value *out) {
  int64_t dim[FG_MAX_RANK];
  int axis = node->attrs.layer_norm.axis;
  FG_TRY(fg_rule_inputs(g, node, 1, 3));
  FG_TRY(fg_rule_reals(g, node, 7));
  FG_TRY(check_epsilon(node->attrs.layer_norm.epsilon));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(check_axis(x->rank, axis));
  FG_TRY(check_tail(fg_rule_input(g, node, 1), x, axis, "scale"));
  FG_TRY(check_tail(fg_rule_input(g, node, 2), x, axis, "bias"));
  statistics_shape(x, axis, dim);
  FG_TRY(fg_rule_output(&out[0], x->type, x->rank, x->dim));
  FG_TRY(fg_rule_output(&out[1], x->type, x->rank, dim));
  return fg_rule_output(&out[2], x->type, x->rank, dim);
}

static fgsm_status grad_layer_norm(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  fg_id scale = node->n_in > 1 ? node->in[1] : FG_ABSENT, dy = ctx->out_grad[0], out[FG_MAX_OUT];
  if (ctx->out_grad[1] != FG_ABSENT || ctx->out_grad[2] != FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "no gradient passes through the mean and deviation that "
                                "LayerNormalization hands out");
  if (ctx->wanted[0] || ctx->wanted[1]) {
    fg_id in[] = {dy, node->in[0], scale, node->out[1], node->out[2]};
    FG_TRY(fg_graph_add(ctx->g, FG_OP_layer_norm_grad, "", &node->attrs, 5, in, out));
    ctx->in_grad[0] = out[0];
    ctx->in_grad[1] = out[1];
  }
  if (ctx->wanted[2]) {
    if (ctx->wanted[0] || ctx->wanted[1])
      ctx->in_grad[2] = out[2];
    if (ctx->in_grad[2] == FG_ABSENT)
      FG_TRY(fg_sum_to(ctx->g, dy, node->in[2], &ctx->in_grad[2]));
  }
  return FGSM_OK;
}

static double flops_layer_norm(const struct fg_graph *g, const struct fg_node *node) {
  return 8.0 * (double)fg_value_count(g, node->out[0]);
}

const struct fg_op_def fg_def_layer_norm = {infer_layer_norm, grad_layer_norm, flops_layer_norm};

/* dscale and dbias exist where scale does. */
static fgsm_status infer_layer_norm_grad(const struct fg_graph *g, struct fg_node *node,
                                         struct fg_value *out) {
  int64_t dim[FG_MAX_RANK];
  int axis = node->attrs.layer_norm.axis;
  FG_TRY(fg_rule_inputs(g, node, 2, 5));
  FG_TRY(fg_rule_reals(g, node, 31));
  FG_TRY(check_epsilon(node->attrs.layer_norm.epsilon));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *x = fg_rule_input(g, node, 1),
                        *scale = fg_rule_input(g, node, 2);
  FG_TRY(fg_rule_same_shape(dy, x, "dy"));
  FG_TRY(check_axis(x->rank, axis));
  FG_TRY(check_tail(scale, x, axis, "scale"));
  statistics_shape(x, axis, dim);
  struct fg_value statistics = {.rank = x->rank};
  memcpy(statistics.dim, dim, (size_t)x->rank * sizeof *dim);
  for (int i = 3; i < 5; i++) {
    const struct fg_value *v = fg_rule_input(g, node, i);
    if (!v)
      return FG_FAIL(INTERNAL, "takes the mean and deviation that layer_norm found");
    FG_TRY(fg_rule_same_shape(v, &statistics, i == 3 ? "mean" : "rstd"));
  }
  FG_TRY(fg_rule_output(&out[0], x->type, x->rank, x->dim));
  if (scale) {
    FG_TRY(fg_rule_output(&out[1], x->type, scale->rank, scale->dim));
    FG_TRY(fg_rule_output(&out[2], x->type, scale->rank, scale->dim));
  }
  return FGSM_OK;
}

const struct fg_op_def fg_def_layer_norm_grad = {infer_layer_norm_grad, NULL, flops_layer_norm};

/* ---- softmax */

static fgsm_status infer_softmax(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(check_axis(x->rank, node->attrs.softmax.axis));
  return fg_rule_output(out, x->type, x->rank, x->dim);
}

static fgsm_status grad_softmax(struct fg_grad_ctx *ctx) {
  fg_id in[] = {ctx->node->out[0], ctx->out_grad[0]};
  return fg_rule_append(ctx->g, FG_OP_softmax_grad, &ctx->node->attrs, 2, in, &ctx->in_grad[0]);
}

static double flops_softmax(const struct fg_graph *g, const struct fg_node *node) {
  return 4.0 * (double)fg_value_count(g, node->out[0]);
}

const struct fg_op_def fg_def_softmax = {infer_softmax, grad_softmax, flops_softmax};

static fgsm_status infer_softmax_grad(const struct fg_graph *g, struct fg_node *node,
                                      struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 3));
  const struct fg_value *y = fg_rule_input(g, node, 0), *dy = fg_rule_input(g, node, 1);
  FG_TRY(fg_rule_same_shape(dy, y, "dy"));
  FG_TRY(check_axis(y->rank, node->attrs.softmax.axis));
  return fg_rule_output(out, y->type, y->rank, y->dim);
}

const struct fg_op_def fg_def_softmax_grad = {infer_softmax_grad, NULL, flops_softmax};

/* ---- ONNX */

fgsm_status fg_import_BatchNormalization(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t training, spatial;
  fg_id in[5];
  for (int i = 0; i < 5; i++)
    FG_TRY(fg_input(im, i, &in[i]));
  FG_TRY(fg_attr_float(im, "epsilon", 1e-5f, &a.batch_norm.epsilon));
  FG_TRY(fg_attr_int(im, "training_mode", 0, &training));
  FG_TRY(fg_attr_int(im, "spatial", 1, &spatial));
  fg_import_omit(im, 1);
  for (int i = 1; i < im->n_out; i++) /* before opset 14 these ask for training */
    training |= im->out_used[i];
  if (training || !spatial)
    return FG_FAIL(UNSUPPORTED, "%s: export the model in inference mode",
                   training ? "statistics of the batch (training)"
                            : "statistics per place (spatial = 0)");
  return fg_import_append(im, FG_OP_batch_norm, &a, 5, in, &im->out[0]);
}

/* Brings scale or bias to the normalised axes' shape: ONNX lets it broadcast. */
static fgsm_status widen(struct fg_import *im, fg_id x, int axis, fg_id *v) {
  struct fg_value from = *fg_value(im->g, *v), to = {.rank = 0};
  const struct fg_value *shape = fg_value(im->g, x);
  to.rank = shape->rank - axis;
  memcpy(to.dim, shape->dim + axis, (size_t)to.rank * sizeof *to.dim);
  bool same = from.rank == to.rank && !memcmp(from.dim, to.dim, (size_t)to.rank * sizeof *to.dim);
  if (same)
    return FGSM_OK;
  while (from.rank > to.rank && from.dim[0] == 1) {
    from.rank--;
    memmove(from.dim, from.dim + 1, (size_t)from.rank * sizeof *from.dim);
  }
  if (from.rank > to.rank)
    return FG_FAIL(UNSUPPORTED,
                   "scale or bias of shape %s varies outside the normalised axes %s: "
                   "apply it with Mul and Add instead",
                   FG_SHAPE(&from), FG_SHAPE(&to));
  FG_TRY(fg_reshape(im->g, *v, from.rank, from.dim, v));
  return fg_expand(im->g, *v, to.rank, to.dim, v);
}

fgsm_status fg_import_LayerNormalization(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t axis;
  fg_id x, in[3], out[FG_MAX_OUT];
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "axis", -1, &axis));
  FG_TRY(fg_attr_float(im, "epsilon", 1e-5f, &a.layer_norm.epsilon));
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &a.layer_norm.axis));
  in[0] = x;
  for (int i = 1; i < 3; i++) {
    in[i] = fg_import_optional(im, i);
    if (in[i] != FG_ABSENT)
      FG_TRY(widen(im, x, a.layer_norm.axis, &in[i]));
  }
  FG_TRY(fg_graph_add(im->g, FG_OP_layer_norm, im->name, &a, 3, in, out));
  for (int i = 0; i < im->n_out && i < 3; i++)
    im->out[i] = out[i];
  return FGSM_OK;
}

/* Before opset 13 the axes from `axis` on are taken as one. */
static fgsm_status softmax(struct fg_import *im, bool log) {
  union fg_attrs a = {.softmax = {.log = log}};
  int64_t axis, flat[2] = {1, 1};
  fg_id x, y;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_attr_int(im, "axis", im->opset < 13 ? 1 : -1, &axis));
  FG_TRY(fg_check_axis(v.rank, axis, &a.softmax.axis));
  if (im->opset >= 13 || a.softmax.axis == v.rank - 1)
    return fg_import_append(im, FG_OP_softmax, &a, 1, &x, &im->out[0]);
  for (int i = 0; i < v.rank; i++)
    flat[i >= a.softmax.axis] *= v.dim[i];
  a.softmax.axis = 1;
  FG_TRY(fg_reshape(im->g, x, 2, flat, &x));
  FG_TRY(fg_import_append(im, FG_OP_softmax, &a, 1, &x, &y));
  return fg_reshape(im->g, y, v.rank, v.dim, &im->out[0]);
}

fgsm_status fg_import_Softmax(struct fg_import *im) {
  return softmax(im, false);
}
fgsm_status fg_import_LogSoftmax(struct fg_import *im) {
  return softmax(im, true);
}
