/* Pools and their gradients; ONNX MaxPool, AveragePool and their global forms. Invariant: every
 * window covers at least one place of x, so that a maximum's position always points into x and a
 * mean never divides by zero. */
#include <string.h>

#include "rules.h"

/* The position in the window is stored in 32 bits, and one axis' share of it in a word of attrs. */
static const int64_t MOST_POOL_WINDOW = 1 << 15;

/* Windows that begin before x must reach into it, and the last must not begin after it. */
static fgsm_status check_cover(int64_t in, int64_t places, int64_t window, int64_t stride,
                               int64_t dilation, int64_t lo) {
  bool covered = (places - 1) * stride - lo < in;
  for (int64_t at = -lo, i = 0; covered && at < 0 && i < places; at += stride, i++) {
    int64_t tap = (-at + dilation - 1) / dilation;
    covered = tap < window && at + tap * dilation < in;
  }
  if (!covered)
    return FG_FAIL(
        UNSUPPORTED,
        "a window of %lld places (stride %lld, dilation %lld, padding %lld) lies wholly in "
        "the padding of an axis of %lld",
        (long long)window, (long long)stride, (long long)dilation, (long long)lo, (long long)in);
  return FGSM_OK;
}

/* y's shape from x's. */
static fgsm_status check(const struct fg_pool_attrs *a, const int64_t *x, int64_t *y) {
  if (a->spatial != 2)
    return FG_FAIL(UNSUPPORTED, "a pool over %d axes: only two are supported", a->spatial);
  y[0] = x[0];
  y[1] = x[1];
  for (int i = 0; i < 2; i++) {
    FG_TRY(fg_window_places(x[2 + i], a->window[i], a->stride[i], a->dilation[i], a->pad_lo[i],
                            a->pad_hi[i], &y[2 + i]));
    if (a->window[i] > MOST_POOL_WINDOW)
      return FG_FAIL(UNSUPPORTED, "a window of %d places: at most %lld are supported", a->window[i],
                     (long long)MOST_POOL_WINDOW);
    FG_TRY(
        check_cover(x[2 + i], y[2 + i], a->window[i], a->stride[i], a->dilation[i], a->pad_lo[i]));
  }
  return FGSM_OK;
}

static fgsm_status infer_y(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(fg_rule_reals(g, node, 1));
  int64_t dim[4];
  const struct fg_value *x = fg_rule_input(g, node, 0);
  if (x->rank != 4)
    return FG_FAIL(UNSUPPORTED, "x has shape %s: rank 4 is needed", FG_SHAPE(x));
  FG_TRY(check(&node->attrs.pool, x->dim, dim));
  return fg_rule_output(out, x->type, 4, dim);
}

static enum fg_type index_type(const struct fg_pool_attrs *a) {
  return a->window[0] * a->window[1] <= 255 ? FG_U8 : FG_I32;
}

static fgsm_status infer_max(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  FG_TRY(infer_y(g, node, out));
  return fg_rule_output(&out[1], index_type(&node->attrs.pool), 4, out[0].dim);
}

/* The gradient's attributes: the pool's, and x's shape. */
static union fg_attrs grad_attrs(const struct fg_grad_ctx *ctx) {
  union fg_attrs a = ctx->node->attrs;
  memcpy(a.pool.dim, fg_value(ctx->g, ctx->node->in[0])->dim, sizeof a.pool.dim);
  return a;
}

static fgsm_status grad_max(struct fg_grad_ctx *ctx) {
  union fg_attrs a = grad_attrs(ctx);
  fg_id in[] = {ctx->out_grad[0], ctx->node->out[1]};
  return fg_rule_append(ctx->g, FG_OP_max_pool_grad, &a, 2, in, &ctx->in_grad[0]);
}

static fgsm_status grad_avg(struct fg_grad_ctx *ctx) {
  union fg_attrs a = grad_attrs(ctx);
  return fg_rule_append(ctx->g, FG_OP_avg_pool_grad, &a, 1, ctx->out_grad, &ctx->in_grad[0]);
}

static double flops_of(const struct fg_graph *g, const struct fg_node *node, fg_id y) {
  const int *window = node->attrs.pool.window;
  return (double)fg_value_count(g, y) * window[0] * window[1];
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, node, node->out[0]);
}

static double flops_grad(const struct fg_graph *g, const struct fg_node *node) {
  return flops_of(g, node, node->in[0]);
}

const struct fg_op_def fg_def_max_pool = {infer_max, grad_max, flops};
const struct fg_op_def fg_def_avg_pool = {infer_y, grad_avg, flops};

static fgsm_status infer_avg_grad(const struct fg_graph *g, struct fg_node *node,
                                  struct fg_value *out) {
  struct fg_value y = {.rank = 4};
  FG_TRY(fg_rule_inputs(g, node, 1, 2));
  FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *dy = fg_rule_input(g, node, 0);
  FG_TRY(fg_rule_output(out, dy->type, 4, node->attrs.pool.dim));
  FG_TRY(check(&node->attrs.pool, node->attrs.pool.dim, y.dim));
  return fg_rule_same_shape(dy, &y, "dy");
}

static fgsm_status infer_max_grad(const struct fg_graph *g, struct fg_node *node,
                                  struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(infer_avg_grad(g, node, out));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *index = fg_rule_input(g, node, 1);
  FG_TRY(fg_rule_same_shape(index, dy, "index"));
  if (index->type != index_type(&node->attrs.pool))
    return FG_FAIL(INTERNAL, "index is %s", fg_type_name(index->type));
  return FGSM_OK;
}

fgsm_status fg_rule_pool_grad(const struct fg_pool_attrs *a, const struct fg_value *dy,
                              const struct fg_value *index) {
  struct fg_value y = {.rank = 4};
  FG_TRY(check(a, a->dim, y.dim));
  FG_TRY(fg_rule_same_shape(dy, &y, "dy"));
  FG_TRY(fg_rule_same_shape(index, &y, "index"));
  if (index->type != index_type(a))
    return FG_FAIL(INTERNAL, "index is %s", fg_type_name(index->type));
  return FGSM_OK;
}

const struct fg_op_def fg_def_max_pool_grad = {infer_max_grad, NULL, NULL};
const struct fg_op_def fg_def_avg_pool_grad = {infer_avg_grad, NULL, flops_grad};

/* ---- ONNX */

/* x as [N, C, H, W]; *spatial is how many axes the model pools over. */
static fgsm_status pooled(struct fg_import *im, int *spatial, fg_id *x) {
  FG_TRY(fg_input(im, 0, x));
  const struct fg_value *v = fg_value(im->g, *x);
  *spatial = v->rank - 2;
  if (*spatial < 1 || *spatial > 3)
    return FG_FAIL(UNSUPPORTED,
                   "a pool over x of shape %s: only one to three axes behind [N, C] are "
                   "supported",
                   FG_SHAPE(v));
  return FGSM_OK;
}

/* The window's last two axes; one of one place stands for what 1-D lacks. */
static void set_window(struct fg_pool_attrs *a, int spatial, const struct fg_window *win) {
  a->spatial = 2;
  for (int i = 0; i < 2; i++) {
    int from = i - (2 - spatial);
    a->window[i] = from < 0 ? 1 : (int)win->window[from];
    a->stride[i] = from < 0 ? 1 : (int)win->stride[from];
    a->dilation[i] = from < 0 ? 1 : (int)win->dilation[from];
    a->pad_lo[i] = from < 0 ? 0 : (int)win->lo[from];
    a->pad_hi[i] = from < 0 ? 0 : (int)win->hi[from];
  }
}

/* Three axes: the last two first, then the first alone. Maxima come apart so, and so do means,
 * since the places that count in a divisor are a product over the axes too. */
static fgsm_status append_3d(struct fg_import *im, enum fg_op op, const union fg_attrs *a,
                             const struct fg_window *win, fg_id x) {
  union fg_attrs first = {.pool = {.spatial = 2,
                                   .window = {(int)win->window[0], 1},
                                   .stride = {(int)win->stride[0], 1},
                                   .dilation = {(int)win->dilation[0], 1},
                                   .pad_lo = {(int)win->lo[0], 0},
                                   .pad_hi = {(int)win->hi[0], 0},
                                   .include_pad = a->pool.include_pad}};
  struct fg_value v = *fg_value(im->g, x), y;
  int64_t planes;
  if (!fg_mul_ok(v.dim[1], v.dim[2], &planes))
    return FG_FAIL(MODEL, "x has shape %s", FG_SHAPE(&v));
  FG_TRY(fg_reshape(im->g, x, 4, (int64_t[]){v.dim[0], planes, v.dim[3], v.dim[4]}, &x));
  FG_TRY(fg_import_append(im, op, a, 1, &x, &x));
  y = *fg_value(im->g, x);
  FG_TRY(
      fg_reshape(im->g, x, 4, (int64_t[]){v.dim[0], v.dim[1], v.dim[2], y.dim[2] * y.dim[3]}, &x));
  FG_TRY(fg_import_append(im, op, &first, 1, &x, &x));
  int64_t dim[5] = {v.dim[0], v.dim[1], fg_value(im->g, x)->dim[2], y.dim[2], y.dim[3]};
  return fg_reshape(im->g, x, 5, dim, &im->out[0]);
}

static fgsm_status append(struct fg_import *im, enum fg_op op, const union fg_attrs *a,
                          const struct fg_window *win, fg_id x) {
  int spatial = fg_value(im->g, x)->rank - 2;
  if (spatial == 3)
    return append_3d(im, op, a, win, x);
  if (spatial == 1)
    FG_TRY(fg_import_to_2d(im->g, x, &x));
  FG_TRY(fg_import_append(im, op, a, 1, &x, &im->out[0]));
  return spatial == 1 ? fg_import_to_1d(im->g, im->out[0], &im->out[0]) : FGSM_OK;
}

/* The positions of the maxima, over one or two axes. */
static fgsm_status with_positions(struct fg_import *im, const union fg_attrs *a, fg_id x) {
  int64_t columns_first;
  fg_id both[FG_MAX_OUT], at;
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_attr_int(im, "storage_order", 0, &columns_first));
  if (v.rank == 3)
    FG_TRY(fg_import_to_2d(im->g, x, &x));
  FG_TRY(fg_graph_add(im->g, FG_OP_max_pool, im->name, a, 1, &x, both));
  FG_TRY(fg_import_pool_positions(im->g, &a->pool, fg_value(im->g, x)->dim, columns_first != 0,
                                  both[1], &at));
  im->out[0] = both[0];
  im->out[1] = at;
  for (int i = 0; i < 2 && v.rank == 3; i++)
    FG_TRY(fg_import_to_1d(im->g, im->out[i], &im->out[i]));
  return FGSM_OK;
}

fgsm_status fg_import_MaxPool(struct fg_import *im) {
  union fg_attrs a = {0};
  struct fg_window win;
  int spatial;
  fg_id x;
  fg_import_omit(im, 1);
  FG_TRY(pooled(im, &spatial, &x));
  FG_TRY(fg_import_window(im, spatial, NULL, fg_value(im->g, x)->dim + 2, &win));
  set_window(&a.pool, spatial, &win);
  if (im->n_out > 1 && im->out_used[1] && spatial < 3)
    return with_positions(im, &a, x);
  return append(im, FG_OP_max_pool, &a, &win, x);
}

/* What ceil_mode adds past the padding never counts in the divisor, padding does if asked: so here
 * the padding becomes zeros of x, and only what hangs over stays padding. */
static fgsm_status pad_for_mean(struct fg_graph *g, int spatial, struct fg_window *win, fg_id *x) {
  union fg_attrs a = {0};
  for (int i = 0; i < spatial; i++) {
    a.pad.lo[2 + i] = win->lo[i];
    a.pad.hi[2 + i] = win->hi[i] - win->extra[i];
    win->lo[i] = 0;
    win->hi[i] = win->extra[i];
  }
  return fg_rule_append(g, FG_OP_pad, &a, 1, x, x);
}

fgsm_status fg_import_AveragePool(struct fg_import *im) {
  union fg_attrs a = {0};
  struct fg_window win;
  int64_t include_pad;
  int spatial;
  fg_id x;
  bool padded = false, hangs = false;
  FG_TRY(pooled(im, &spatial, &x));
  FG_TRY(fg_attr_int(im, "count_include_pad", 0, &include_pad));
  FG_TRY(fg_import_window(im, spatial, NULL, fg_value(im->g, x)->dim + 2, &win));
  for (int i = 0; i < spatial; i++) {
    padded |= win.lo[i] || win.hi[i] > win.extra[i];
    hangs |= win.extra[i] > 0;
  }
  bool by_hand = include_pad && padded && hangs;
  if (by_hand)
    FG_TRY(pad_for_mean(im->g, spatial, &win, &x));
  set_window(&a.pool, spatial, &win);
  a.pool.include_pad = include_pad && padded && !by_hand;
  return append(im, FG_OP_avg_pool, &a, &win, x);
}

/* |x|^p */
static fgsm_status power(struct fg_graph *g, double p, fg_id x, fg_id *out) {
  if (p == 2)
    return fg_binary(g, FG_BINARY_mul, x, x, out);
  FG_TRY(fg_unary(g, FG_UNARY_abs, 0, 0, x, out));
  return p == 1 ? FGSM_OK : fg_unary(g, FG_UNARY_power, p, 0, *out, out);
}

/* y^(1/p), y not negative */
static fgsm_status root(struct fg_graph *g, double p, fg_id y, fg_id *out) {
  *out = y;
  if (p == 2)
    return fg_unary(g, FG_UNARY_sqrt, 0, 0, y, out);
  return p == 1 ? FGSM_OK : fg_unary(g, FG_UNARY_power, 1 / p, 0, y, out);
}

static fgsm_status exponent(const struct fg_import *im, double *p) {
  int64_t n;
  FG_TRY(fg_attr_int(im, "p", 2, &n));
  *p = (double)n;
  return n < 1 ? FG_FAIL(MODEL, "p = %lld", (long long)n) : FGSM_OK;
}

/* The sum is the mean times the places, padding included. */
fgsm_status fg_import_LpPool(struct fg_import *im) {
  union fg_attrs a = {.pool = {.include_pad = true}};
  struct fg_window win;
  int spatial;
  double p, places = 1;
  fg_id x, c;
  FG_TRY(pooled(im, &spatial, &x));
  FG_TRY(exponent(im, &p));
  FG_TRY(fg_import_window(im, spatial, NULL, fg_value(im->g, x)->dim + 2, &win));
  set_window(&a.pool, spatial, &win);
  a.pool.include_pad = true;
  for (int i = 0; i < spatial; i++)
    places *= (double)win.window[i];
  FG_TRY(power(im->g, p, x, &x));
  FG_TRY(append(im, FG_OP_avg_pool, &a, &win, x));
  FG_TRY(fg_graph_scalar(im->g, places, &c));
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, im->out[0], c, &x));
  return root(im->g, p, x, &im->out[0]);
}

fgsm_status fg_import_GlobalLpPool(struct fg_import *im) {
  double p;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(exponent(im, &p));
  int rank = fg_value(im->g, x)->rank;
  if (rank < 3)
    return FG_FAIL(MODEL, "x has shape %s: there is nothing behind [N, C]",
                   FG_SHAPE(fg_value(im->g, x)));
  FG_TRY(power(im->g, p, x, &x));
  FG_TRY(fg_reduce(im->g, FG_REDUCE_sum, x, ((1u << rank) - 1) & ~3u, true, &x));
  return root(im->g, p, x, &im->out[0]);
}

/* A window as large as x. */
static fgsm_status global(struct fg_import *im, enum fg_op op, enum fg_reduce_kind otherwise) {
  union fg_attrs a = {0};
  struct fg_window win = {{0}, {1, 1, 1}, {1, 1, 1}, {0}, {0}, {0}};
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  int spatial = v.rank - 2;
  bool small = spatial == 1 || spatial == 2;
  if (spatial < 1)
    return FG_FAIL(MODEL, "x has shape %s: there is nothing behind [N, C]", FG_SHAPE(&v));
  for (int i = 0; i < spatial && small; i++) {
    win.window[i] = v.dim[2 + i];
    small = v.dim[2 + i] <= MOST_POOL_WINDOW;
  }
  if (!small)
    return fg_reduce(im->g, otherwise, x, ((1u << v.rank) - 1) & ~3u, true, &im->out[0]);
  set_window(&a.pool, spatial, &win);
  return append(im, op, &a, &win, x);
}

/* Over one axis it is what exporters of TensorFlow make of a mean along the last axis. */
fgsm_status fg_import_GlobalAveragePool(struct fg_import *im) {
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  if (fg_value(im->g, x)->rank == 3)
    return fg_reduce(im->g, FG_REDUCE_mean, x, 4, true, &im->out[0]);
  return global(im, FG_OP_avg_pool, FG_REDUCE_mean);
}
fgsm_status fg_import_GlobalMaxPool(struct fg_import *im) {
  return global(im, FG_OP_max_pool, FG_REDUCE_max);
}
