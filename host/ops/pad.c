/* pad, and ONNX Pad in all its modes: with a constant, or with values of x itself (reflect, edge,
 * wrap), which are picked by index, so that their gradients sum in the order of the result. */
#include <string.h>

#include "rules.h"

static double no_flops(const struct fg_graph *g, const struct fg_node *node) {
  (void)g;
  (void)node;
  return 0;
}

static fgsm_status infer_pad(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  const struct fg_pad_attrs *a = &node->attrs.pad;
  int64_t dim[FG_MAX_RANK];
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  for (int i = 0; i < x->rank; i++) {
    /* Cuts from one end must leave something of x: what is padded on the other is not cut again. */
    bool fits = !__builtin_add_overflow(x->dim[i], a->lo[i], &dim[i]) && dim[i] >= 0 &&
                !__builtin_add_overflow(dim[i], a->hi[i], &dim[i]) && dim[i] >= 0 &&
                !(a->lo[i] < 0 && a->lo[i] < -x->dim[i]) && !(a->hi[i] < -x->dim[i]);
    if (!fits)
      return FG_FAIL(MODEL, "axis %d of x of shape %s cannot be padded by (%lld, %lld)", i,
                     FG_SHAPE(x), (long long)a->lo[i], (long long)a->hi[i]);
  }
  return fg_rule_output(out, x->type, x->rank, dim);
}

static fgsm_status grad_pad(struct fg_grad_ctx *ctx) {
  union fg_attrs a = {0};
  for (int i = 0; i < fg_value(ctx->g, ctx->node->in[0])->rank; i++) {
    a.pad.lo[i] = -ctx->node->attrs.pad.lo[i];
    a.pad.hi[i] = -ctx->node->attrs.pad.hi[i];
  }
  return fg_rule_append(ctx->g, FG_OP_pad, &a, 1, ctx->out_grad, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_pad = {infer_pad, grad_pad, no_flops};

/* ---- ONNX */

/* Pad's fill value: an attribute before opset 11, an input since. */
static fgsm_status pad_value(const struct fg_import *im, double *value) {
  *value = 0;
  if (im->opset < 11)
    return fg_attr_float(im, "value", 0, value);
  fg_id v = fg_import_optional(im, 2);
  if (v == FG_ABSENT)
    return FGSM_OK;
  if (!fg_value_is_constant(im->g, v) || fg_value_count(im->g, v) != 1)
    return FG_FAIL(UNSUPPORTED, "the value to pad with is not a constant scalar");
  *value = fg_constant_real(im->g, v, 0);
  return FGSM_OK;
}

/* Where place i of an axis of n, padded at its ends, takes its value from. */
static int64_t source(const char *mode, int64_t i, int64_t n) {
  if (!strcmp(mode, "edge"))
    return i < 0 ? 0 : i >= n ? n - 1 : i;
  if (!strcmp(mode, "wrap"))
    return (i % n + n) % n;
  int64_t period = 2 * (n - 1), at = period ? (i % period + period) % period : 0;
  return at < n ? at : period - at;
}

/* Padding with values of x is picking places of it, one axis after the other. */
static fgsm_status pad_from_x(struct fg_import *im, const char *mode, const struct fg_pad_attrs *a,
                              fg_id x) {
  enum { MOST = 1 << 24 };
  struct fg_value v = *fg_value(im->g, x);
  if (strcmp(mode, "reflect") && strcmp(mode, "edge") && strcmp(mode, "wrap"))
    return FG_FAIL(UNSUPPORTED, "mode '%.60s': constant, reflect, edge and wrap are known", mode);
  for (int axis = 0; axis < v.rank; axis++) {
    int64_t n = v.dim[axis], lo = a->lo[axis], hi = a->hi[axis];
    if (lo == 0 && hi == 0)
      continue;
    if (lo > MOST || hi > MOST || n > MOST || lo < -MOST || hi < -MOST || n < 1 || n + lo + hi < 0)
      return FG_FAIL(UNSUPPORTED, "axis %d of %s cannot be padded by (%lld, %lld)", axis,
                     FG_SHAPE(&v), (long long)lo, (long long)hi);
    int64_t *from = fg_arena_alloc(&im->g->arena, (size_t)(n + lo + hi + 1) * sizeof *from);
    if (!from)
      return FGSM_MEMORY;
    for (int64_t i = 0; i < n + lo + hi; i++)
      from[i] = source(mode, i - lo, n);
    FG_TRY(fg_import_pick(im, x, axis, n + lo + hi, from, &x));
  }
  im->out[0] = x;
  return FGSM_OK;
}

fgsm_status fg_import_Pad(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t pads[2 * FG_MAX_RANK];
  int n, axes[FG_MAX_RANK], n_axes = -1;
  const char *mode;
  bool still = true;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_text(im, "mode", "constant", &mode));
  if (im->opset < 11)
    FG_TRY(fg_attr_ints(im, "pads", 2 * FG_MAX_RANK, pads, &n));
  else
    FG_TRY(fg_input_ints(im, 1, 2 * FG_MAX_RANK, pads, &n));
  FG_TRY(pad_value(im, &a.pad.value));
  int rank = fg_value(im->g, x)->rank;
  if (im->opset >= 18)
    FG_TRY(fg_import_axes(im, 3, rank, axes, &n_axes));
  int padded = n_axes < 0 ? rank : n_axes;
  if (n != 2 * padded)
    return FG_FAIL(MODEL, "pads has %d numbers for %d axes", n, padded);
  for (int i = 0; i < padded; i++) {
    int axis = n_axes < 0 ? i : axes[i];
    a.pad.lo[axis] = pads[i];
    a.pad.hi[axis] = pads[i + padded];
    still &= !pads[i] && !pads[i + padded];
  }
  im->out[0] = x;
  if (!still && strcmp(mode, "constant"))
    return pad_from_x(im, mode, &a.pad, x);
  return still ? FGSM_OK : fg_import_append(im, FG_OP_pad, &a, 1, &x, &im->out[0]);
}
