/* Convolution over two or three axes and its two gradients, which are operators of their own with
 * the result's shape in `dim`; ONNX Conv and ConvTranspose, which is the input gradient run
 * forward. Over one axis it is taken as over two, one of them of length 1. Invariant: attrs that
 * passed `check` describe a window that fits. */
#include <string.h>

#include "rules.h"

/* x [N, C, spatial...] and w [K, C/group, window...] fit each other; y's shape. */
static fgsm_status check(const struct fg_conv_attrs *a, const int64_t *x, const int64_t *w,
                         int64_t *y) {
  int64_t channels;
  FG_TRY(fg_rule_unary(&a->act));
  if (a->group < 1 || w[0] < 1 || w[0] % a->group)
    return FG_FAIL(MODEL, "%lld filters do not divide into %d groups", (long long)w[0], a->group);
  if (w[1] < 1 || !fg_mul_ok(w[1], a->group, &channels) || channels != x[1])
    return FG_FAIL(MODEL, "x has %lld channels where the weight takes %d x %lld", (long long)x[1],
                   a->group, (long long)w[1]);
  y[0] = x[0];
  y[1] = w[0];
  for (int i = 0; i < a->spatial; i++)
    FG_TRY(fg_window_places(x[2 + i], w[2 + i], a->stride[i], a->dilation[i], a->pad_lo[i],
                            a->pad_hi[i], &y[2 + i]));
  return FGSM_OK;
}

/* v has as many axes as the convolution wants, which are 4 or 5. */
static fgsm_status check_rank(const struct fg_conv_attrs *a, const struct fg_value *v,
                              const char *what) {
  if (a->spatial != 2 && a->spatial != 3)
    return FG_FAIL(UNSUPPORTED, "a convolution over %d axes: only two and three are supported",
                   a->spatial);
  if (v->rank != a->spatial + 2)
    return FG_FAIL(UNSUPPORTED, "%s has shape %s: rank %d is needed", what, FG_SHAPE(v),
                   a->spatial + 2);
  return FGSM_OK;
}

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  const struct fg_conv_attrs *a = &node->attrs.conv;
  struct fg_value y = {.rank = a->spatial + 2};
  FG_TRY(fg_rule_inputs(g, node, 2, 4));
  FG_TRY(fg_rule_reals(g, node, 15));
  const struct fg_value *x = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1),
                        *residual = fg_rule_input(g, node, 3);
  FG_TRY(check_rank(a, x, "x"));
  FG_TRY(check_rank(a, w, "the weight"));
  FG_TRY(check(a, x->dim, w->dim, y.dim));
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 2), w->dim[0], "the bias"));
  if (residual)
    FG_TRY(fg_rule_same_shape(residual, &y, "the residual"));
  return fg_rule_output(out, x->type, y.rank, y.dim);
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
    FG_TRY(fg_reduce(ctx->g, FG_REDUCE_sum, dy, (1u << (a.conv.spatial + 2)) - 1 - 2u, false,
                     &ctx->in_grad[2]));
  if (ctx->wanted[3])
    ctx->in_grad[3] = dy;
  return FGSM_OK;
}

/* Two for each of y's elements and each of the C/group R S weights that it sums. */
static double flops_of(const struct fg_graph *g, const struct fg_conv_attrs *a, fg_id y,
                       const int64_t *w) {
  double n = 2.0 * (double)fg_value_count(g, y) * (double)w[1];
  for (int i = 0; i < a->spatial; i++)
    n *= (double)w[2 + i];
  return n;
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, &node->attrs.conv, node->out[0], fg_value(g, node->in[1])->dim);
}

const struct fg_op_def fg_def_conv = {infer, grad, flops};

/* dy, w and a result of shape x: checked as the convolution whose gradient this is. */
static fgsm_status check_grad(const struct fg_conv_attrs *a, const int64_t *x, const int64_t *w,
                              const struct fg_value *dy) {
  struct fg_value y = {.rank = a->spatial + 2};
  FG_TRY(check_rank(a, dy, "dy"));
  FG_TRY(check(a, x, w, y.dim));
  return fg_rule_same_shape(dy, &y, "dy");
}

static fgsm_status infer_grad_input(const struct fg_graph *g, struct fg_node *node,
                                    struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 4));
  FG_TRY(fg_rule_reals(g, node, 15));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1);
  FG_TRY(check_rank(&node->attrs.conv, w, "the weight"));
  FG_TRY(fg_rule_output(out, dy->type, w->rank, node->attrs.conv.dim));
  if (fg_rule_input(g, node, 2))
    FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 2), out, "what the slope is of"));
  if (fg_rule_input(g, node, 3))
    FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 3), out, "the gradient that is added"));
  return check_grad(&node->attrs.conv, node->attrs.conv.dim, w->dim, dy);
}

/* The input gradient is linear in dy and w, so it has a gradient of its own: the convolution. */
static fgsm_status grad_grad_input(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  union fg_attrs a = node->attrs;
  fg_id dy = node->in[0], w = node->in[1], dx = ctx->out_grad[0];
  FG_TRY(fg_rule_plain(&a.conv.act));
  memset(a.conv.dim, 0, sizeof a.conv.dim);
  if (ctx->wanted[0])
    FG_TRY(fg_rule_append(ctx->g, FG_OP_conv, &a, 2, (fg_id[]){dx, w}, &ctx->in_grad[0]));
  memcpy(a.conv.dim, fg_value(ctx->g, w)->dim, sizeof a.conv.dim);
  if (ctx->wanted[1])
    FG_TRY(
        fg_rule_append(ctx->g, FG_OP_conv_grad_weight, &a, 2, (fg_id[]){dx, dy}, &ctx->in_grad[1]));
  return FGSM_OK;
}

static double flops_grad_input(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, &node->attrs.conv, node->in[0], fg_value(g, node->in[1])->dim);
}

const struct fg_op_def fg_def_conv_grad_input = {infer_grad_input, grad_grad_input,
                                                 flops_grad_input};

static fgsm_status infer_grad_weight(const struct fg_graph *g, struct fg_node *node,
                                     struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 3));
  const struct fg_value *x = fg_rule_input(g, node, 0), *dy = fg_rule_input(g, node, 1);
  FG_TRY(check_rank(&node->attrs.conv, x, "x"));
  FG_TRY(fg_rule_output(out, x->type, x->rank, node->attrs.conv.dim));
  return check_grad(&node->attrs.conv, x->dim, node->attrs.conv.dim, dy);
}

static double flops_grad_weight(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, &node->attrs.conv, node->in[1], node->attrs.conv.dim);
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
  FG_TRY(check_rank(a, w, "the weight"));
  FG_TRY(check_rank(a, x0, "x0"));
  FG_TRY(fg_rule_same_shape(x, x0, "x"));
  if (index) {
    FG_TRY(fg_rule_pool_grad(&node->attrs.conv_step.pool, dy, index));
    memcpy(y.dim, node->attrs.conv_step.pool.dim, sizeof y.dim);
  }
  FG_TRY(check_grad(a, x0->dim, w->dim, &y));
  FG_TRY(fg_rule_step(&node->attrs.conv_step.step, x0, fg_rule_input(g, node, 4),
                      fg_rule_input(g, node, 5), fg_rule_input(g, node, 6)));
  FG_TRY(fg_rule_output(&out[0], x0->type, x0->rank, x0->dim));
  FG_TRY(fg_rule_output(&out[1], x0->type, x0->rank, x0->dim));
  FG_TRY(fg_rule_output(&out[2], x0->type, 2, (int64_t[]){x0->dim[0], 3}));
  return fg_rule_output(&out[3], FG_U8, x0->rank, x0->dim);
}

/* What the convolution's gradient costs; its dy has the shape of the pool's argument, if there is a
 * pool. */
static double flops_step(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_value *dy = fg_value(g, node->in[0]), *w = fg_value(g, node->in[1]);
  const int64_t *y = fg_rule_input(g, node, 7) ? node->attrs.conv_step.pool.dim : dy->dim;
  double n = 2;
  for (int i = 0; i < dy->rank; i++)
    n *= (double)y[i] * (i ? (double)w->dim[i] : 1);
  return n;
}

const struct fg_op_def fg_def_conv_grad_input_step = {infer_step, NULL, flops_step};

/* ---- ONNX */

/* What Conv and ConvTranspose share: x, the weight and the groups; *spatial axes are the model's.
 */
static fgsm_status operands(const struct fg_import *im, fg_id in[2], int *spatial, int *group) {
  int64_t groups;
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  FG_TRY(fg_attr_int(im, "group", 1, &groups));
  const struct fg_value *x = fg_value(im->g, in[0]), *w = fg_value(im->g, in[1]);
  *spatial = x->rank - 2;
  if (*spatial < 1 || w->rank != x->rank)
    return FG_FAIL(MODEL, "x of shape %s and a weight of shape %s do not convolve", FG_SHAPE(x),
                   FG_SHAPE(w));
  if (*spatial > 3)
    return FG_FAIL(UNSUPPORTED,
                   "a convolution over %d axes (x has shape %s): at most three are supported",
                   *spatial, FG_SHAPE(x));
  if (groups < 1 || groups > INT32_MAX)
    return FG_FAIL(MODEL, "group = %lld", (long long)groups);
  *group = (int)groups;
  return FGSM_OK;
}

/* One axis becomes two. */
static fgsm_status widen(struct fg_import *im, int spatial, fg_id in[2]) {
  if (spatial > 1)
    return FGSM_OK;
  FG_TRY(fg_import_to_2d(im->g, in[0], &in[0]));
  return fg_import_to_2d(im->g, in[1], &in[1]);
}

static void set_window(struct fg_conv_attrs *a, int spatial, const struct fg_window *win) {
  a->spatial = spatial == 1 ? 2 : spatial;
  for (int i = 0; i < a->spatial; i++) {
    int from = i - (a->spatial - spatial); /* -1: the axis of one place that 1-D lacks */
    a->stride[i] = from < 0 ? 1 : (int)win->stride[from];
    a->dilation[i] = from < 0 ? 1 : (int)win->dilation[from];
    a->pad_lo[i] = from < 0 ? 0 : (int)win->lo[from];
    a->pad_hi[i] = from < 0 ? 0 : (int)win->hi[from];
  }
}

fgsm_status fg_import_Conv(struct fg_import *im) {
  union fg_attrs a = {0};
  struct fg_window win;
  int spatial;
  fg_id in[3] = {FG_ABSENT, FG_ABSENT, fg_import_optional(im, 2)};
  FG_TRY(operands(im, in, &spatial, &a.conv.group));
  FG_TRY(fg_import_window(im, spatial, fg_value(im->g, in[1])->dim + 2,
                          fg_value(im->g, in[0])->dim + 2, &win));
  FG_TRY(widen(im, spatial, in));
  set_window(&a.conv, spatial, &win);
  FG_TRY(fg_import_append(im, FG_OP_conv, &a, 3, in, &im->out[0]));
  return spatial == 1 ? fg_import_to_1d(im->g, im->out[0], &im->out[0]) : FGSM_OK;
}

/* y's axis i: what the window leaves of it, or what output_shape or auto_pad ask for, by which the
 * padding is then found (the odd one first, except with SAME_UPPER). */
static fgsm_status transposed_axis(struct fg_window *w, int i, int64_t in, int64_t extra,
                                   int64_t wanted, bool upper, int64_t *y) {
  int64_t full;
  FG_TRY(fg_window_check(w->window[i], w->stride[i], w->dilation[i], 0, 0));
  if (extra < 0 || (extra >= w->stride[i] && extra >= w->dilation[i]))
    return FG_FAIL(MODEL, "an output padding of %lld at stride %lld", (long long)extra,
                   (long long)w->stride[i]);
  if (!fg_mul_ok(in - 1, w->stride[i], &full) ||
      !fg_add_ok(full, extra + (w->window[i] - 1) * w->dilation[i] + 1, &full))
    return FG_FAIL(MODEL, "the result's axis %d is too long", i);
  if (wanted >= 0) {
    int64_t total = full - wanted;
    w->lo[i] = total < 0 ? 0 : upper ? total / 2 : total - total / 2;
    w->hi[i] = total - w->lo[i]; /* below 0: the result goes on past what the window reaches */
  }
  *y = full - w->lo[i] - w->hi[i];
  return FGSM_OK;
}

static fgsm_status transposed_window(const struct fg_import *im, int spatial, const int64_t *in,
                                     struct fg_window *w, int64_t *y) {
  int64_t extra[3] = {0}, wanted[5];
  int n_extra, n_wanted;
  const char *mode;
  FG_TRY(fg_attr_text(im, "auto_pad", "NOTSET", &mode));
  FG_TRY(fg_attr_ints(im, "output_padding", 3, extra, &n_extra));
  FG_TRY(fg_attr_ints(im, "output_shape", 5, wanted, &n_wanted));
  if ((n_extra > 0 && n_extra != spatial) ||
      (n_wanted > 0 && n_wanted != spatial && n_wanted != spatial + 2))
    return FG_FAIL(MODEL, "output_padding or output_shape has not %d numbers", spatial);
  const int64_t *shape = wanted + (n_wanted > spatial ? 2 : 0);
  bool same = !strncmp(mode, "SAME", 4);
  for (int i = 0; i < spatial; i++) {
    int64_t axis = n_wanted > 0 ? shape[i] : same ? in[i] * w->stride[i] : -1;
    FG_TRY(transposed_axis(w, i, in[i], extra[i], axis, !strcmp(mode, "SAME_UPPER"), &y[i]));
    if (w->hi[i] < 0) { /* zeros that the window does not reach, appended afterwards */
      w->extra[i] = -w->hi[i];
      y[i] -= w->extra[i];
      w->hi[i] = 0;
    }
  }
  return FGSM_OK;
}

fgsm_status fg_import_ConvTranspose(struct fg_import *im) {
  union fg_attrs a = {0}, more = {0}, shift = {.affine = {.axis = 1}};
  struct fg_window win;
  int spatial;
  int64_t y[3];
  fg_id in[2], b = fg_import_optional(im, 2), out;
  FG_TRY(operands(im, in, &spatial, &a.conv.group));
  struct fg_value x = *fg_value(im->g, in[0]), w = *fg_value(im->g, in[1]);
  FG_TRY(fg_import_strides(im, spatial, w.dim + 2, x.dim + 2, &win));
  FG_TRY(transposed_window(im, spatial, x.dim + 2, &win, y));
  FG_TRY(widen(im, spatial, in));
  set_window(&a.conv, spatial, &win);
  a.conv.dim[0] = x.dim[0];
  if (!fg_mul_ok(w.dim[1], a.conv.group, &a.conv.dim[1]))
    return FG_FAIL(MODEL, "%d groups of %lld channels", a.conv.group, (long long)w.dim[1]);
  a.conv.dim[2] = 1;
  for (int i = 0; i < spatial; i++)
    a.conv.dim[2 + i + (spatial == 1)] = y[i];
  FG_TRY(fg_import_append(im, FG_OP_conv_grad_input, &a, 2, in, &out));
  bool longer = false;
  for (int i = 0; i < spatial; i++) {
    more.pad.hi[2 + i + (spatial == 1)] = win.extra[i];
    longer |= win.extra[i] > 0;
  }
  if (longer)
    FG_TRY(fg_rule_append(im->g, FG_OP_pad, &more, 1, &out, &out));
  if (b != FG_ABSENT)
    FG_TRY(fg_rule_append(im->g, FG_OP_affine, &shift, 3, (fg_id[]){out, FG_ABSENT, b}, &out));
  im->out[0] = out;
  return spatial == 1 ? fg_import_to_1d(im->g, out, &im->out[0]) : FGSM_OK;
}
