/* Convolution and its two gradients, which are operators of their own with the result's shape in
 * `dim`; ONNX Conv. Invariant: attrs that passed `check` describe a window that fits. */
#include <string.h>

#include "rules.h"

/* x [N, C, H, W] and w [K, C/group, R, S] fit each other; y's shape. */
static fgsm_status check(const struct fg_conv_attrs *a, const int64_t *x, const int64_t *w,
                         int64_t *y) {
  int64_t channels;
  if (a->spatial != 2)
    return FG_FAIL(UNSUPPORTED, "a convolution over %d axes: only two are supported", a->spatial);
  FG_TRY(fg_rule_unary(&a->act));
  if (a->group < 1 || w[0] < 1 || w[0] % a->group)
    return FG_FAIL(MODEL, "%lld filters do not divide into %d groups", (long long)w[0], a->group);
  if (w[1] < 1 || !fg_mul_ok(w[1], a->group, &channels) || channels != x[1])
    return FG_FAIL(MODEL, "x has %lld channels where the weight takes %d x %lld", (long long)x[1],
                   a->group, (long long)w[1]);
  y[0] = x[0];
  y[1] = w[0];
  for (int i = 0; i < 2; i++)
    FG_TRY(fg_window_places(x[2 + i], w[2 + i], a->stride[i], a->dilation[i], a->pad_lo[i],
                            a->pad_hi[i], &y[2 + i]));
  return FGSM_OK;
}

static fgsm_status rank_4(const struct fg_value *v, const char *what) {
  if (v->rank != 4)
    return FG_FAIL(UNSUPPORTED, "%s has shape %s: rank 4 is needed", what, FG_SHAPE(v));
  return FGSM_OK;
}

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  struct fg_value y = {.rank = 4};
  FG_TRY(fg_rule_inputs(g, node, 2, 4));
  FG_TRY(fg_rule_reals(g, node, 15));
  const struct fg_value *x = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1),
                        *residual = fg_rule_input(g, node, 3);
  FG_TRY(rank_4(x, "x"));
  FG_TRY(rank_4(w, "the weight"));
  FG_TRY(check(&node->attrs.conv, x->dim, w->dim, y.dim));
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 2), w->dim[0], "the bias"));
  if (residual)
    FG_TRY(fg_rule_same_shape(residual, &y, "the residual"));
  return fg_rule_output(out, x->type, 4, y.dim);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  union fg_attrs a = node->attrs;
  fg_id x = node->in[0], w = node->in[1], dy = ctx->out_grad[0];
  FG_TRY(fg_rule_plain(&a.conv.act));
  if (ctx->wanted[0]) {
    memcpy(a.conv.dim, fg_value(ctx->g, x)->dim, sizeof a.conv.dim);
    FG_TRY(
        fg_rule_append(ctx->g, FG_OP_conv_grad_input, &a, 2, (fg_id[]){dy, w}, &ctx->in_grad[0]));
  }
  if (ctx->wanted[1]) {
    memcpy(a.conv.dim, fg_value(ctx->g, w)->dim, sizeof a.conv.dim);
    FG_TRY(
        fg_rule_append(ctx->g, FG_OP_conv_grad_weight, &a, 2, (fg_id[]){x, dy}, &ctx->in_grad[1]));
  }
  if (ctx->wanted[2])
    FG_TRY(
        fg_reduce(ctx->g, FG_REDUCE_sum, dy, 1u << 0 | 1u << 2 | 1u << 3, false, &ctx->in_grad[2]));
  if (ctx->wanted[3])
    ctx->in_grad[3] = dy;
  return FGSM_OK;
}

/* Two for each of y's elements and each of the C/group R S weights that it sums. */
static double flops_of(const struct fg_graph *g, fg_id y, const int64_t *w) {
  return 2.0 * (double)fg_value_count(g, y) * (double)w[1] * (double)w[2] * (double)w[3];
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, node->out[0], fg_value(g, node->in[1])->dim);
}

const struct fg_op_def fg_def_conv = {infer, grad, flops};

/* dy, w and a result of shape x: checked as the convolution whose gradient this is. */
static fgsm_status check_grad(const struct fg_conv_attrs *a, const int64_t *x, const int64_t *w,
                              const struct fg_value *dy) {
  struct fg_value y = {.rank = 4};
  FG_TRY(rank_4(dy, "dy"));
  FG_TRY(check(a, x, w, y.dim));
  return fg_rule_same_shape(dy, &y, "dy");
}

static fgsm_status infer_grad_input(const struct fg_graph *g, struct fg_node *node,
                                    struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 3));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1);
  FG_TRY(rank_4(w, "the weight"));
  FG_TRY(fg_rule_output(out, dy->type, 4, node->attrs.conv.dim));
  return check_grad(&node->attrs.conv, node->attrs.conv.dim, w->dim, dy);
}

static double flops_grad_input(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, node->in[0], fg_value(g, node->in[1])->dim);
}

const struct fg_op_def fg_def_conv_grad_input = {infer_grad_input, NULL, flops_grad_input};

static fgsm_status infer_grad_weight(const struct fg_graph *g, struct fg_node *node,
                                     struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 3));
  const struct fg_value *x = fg_rule_input(g, node, 0), *dy = fg_rule_input(g, node, 1);
  FG_TRY(rank_4(x, "x"));
  FG_TRY(fg_rule_output(out, x->type, 4, node->attrs.conv.dim));
  return check_grad(&node->attrs.conv, x->dim, node->attrs.conv.dim, dy);
}

static double flops_grad_weight(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, node->in[1], node->attrs.conv.dim);
}

const struct fg_op_def fg_def_conv_grad_weight = {infer_grad_weight, NULL, flops_grad_weight};

/* conv_grad_input_step: dy, w, x0, x, eps_map?, mask?, params, index? -> x', gradient, stats,
 * bytes.
 */
static fgsm_status infer_step(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  const struct fg_conv_attrs *a = &node->attrs.conv_step.conv;
  FG_TRY(fg_rule_inputs(g, node, 4, 8));
  FG_TRY(fg_rule_grad_step_reals(g, node));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1),
                        *x0 = fg_rule_input(g, node, 2), *x = fg_rule_input(g, node, 3),
                        *index = fg_rule_input(g, node, 7);
  struct fg_value y = *dy;
  FG_TRY(rank_4(w, "the weight"));
  FG_TRY(rank_4(x0, "x0"));
  FG_TRY(fg_rule_same_shape(x, x0, "x"));
  if (index) {
    FG_TRY(fg_rule_pool_grad(&node->attrs.conv_step.pool, dy, index));
    memcpy(y.dim, node->attrs.conv_step.pool.dim, sizeof y.dim);
  }
  FG_TRY(check_grad(a, x0->dim, w->dim, &y));
  FG_TRY(fg_rule_step(&node->attrs.conv_step.step, x0, fg_rule_input(g, node, 4),
                      fg_rule_input(g, node, 5), fg_rule_input(g, node, 6)));
  FG_TRY(fg_rule_output(&out[0], x0->type, 4, x0->dim));
  FG_TRY(fg_rule_output(&out[1], x0->type, 4, x0->dim));
  FG_TRY(fg_rule_output(&out[2], x0->type, 2, (int64_t[]){x0->dim[0], 3}));
  return fg_rule_output(&out[3], FG_U8, 4, x0->dim);
}

/* What the convolution's gradient costs; its dy has the pool's argument's shape, where there is
 * one.
 */
static double flops_step(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_value *index = fg_rule_input(g, node, 7), *dy = fg_value(g, node->in[0]);
  const int64_t *y = index ? node->attrs.conv_step.pool.dim : dy->dim;
  const int64_t *w = fg_value(g, node->in[1])->dim;
  return 2.0 * (double)y[0] * (double)y[1] * (double)y[2] * (double)y[3] * (double)w[1] *
         (double)w[2] * (double)w[3];
}

const struct fg_op_def fg_def_conv_grad_input_step = {infer_step, NULL, flops_step};

/* ---- ONNX */

fgsm_status fg_import_Conv(struct fg_import *im) {
  union fg_attrs a = {.conv = {.spatial = 2}};
  struct fg_window win;
  int64_t group;
  fg_id in[3] = {FG_ABSENT, FG_ABSENT, fg_import_optional(im, 2)};
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  FG_TRY(fg_attr_int(im, "group", 1, &group));
  const struct fg_value *x = fg_value(im->g, in[0]), *w = fg_value(im->g, in[1]);
  int spatial = x->rank - 2;
  if (spatial < 1 || w->rank != x->rank)
    return FG_FAIL(MODEL, "x of shape %s and a weight of shape %s do not convolve", FG_SHAPE(x),
                   FG_SHAPE(w));
  if (spatial > 2)
    return FG_FAIL(UNSUPPORTED,
                   "a convolution over %d axes (x has shape %s): only one and two are "
                   "supported",
                   spatial, FG_SHAPE(x));
  if (group < 1 || group > INT32_MAX)
    return FG_FAIL(MODEL, "group = %lld", (long long)group);
  FG_TRY(fg_import_window(im, spatial, w->dim + 2, x->dim + 2, &win));
  if (spatial == 1) {
    FG_TRY(fg_import_to_2d(im->g, in[0], &in[0]));
    FG_TRY(fg_import_to_2d(im->g, in[1], &in[1]));
  }
  a.conv.group = (int)group;
  for (int i = 0; i < 2; i++) {
    int from = i - (2 - spatial); /* -1: the axis of one place that 1-D lacks */
    a.conv.stride[i] = from < 0 ? 1 : (int)win.stride[from];
    a.conv.dilation[i] = from < 0 ? 1 : (int)win.dilation[from];
    a.conv.pad_lo[i] = from < 0 ? 0 : (int)win.lo[from];
    a.conv.pad_hi[i] = from < 0 ? 0 : (int)win.hi[from];
  }
  FG_TRY(fg_import_append(im, FG_OP_conv, &a, 3, in, &im->out[0]));
  return spatial == 1 ? fg_import_to_1d(im->g, im->out[0], &im->out[0]) : FGSM_OK;
}
