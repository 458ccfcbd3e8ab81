/* Where the best elements lie: top; ONNX ArgMax, ArgMin, TopK, Hardmax and OneHot. Only positions
 * are computed by a kernel; values are gathered by them, so that their gradient is that of
 * GatherElements. */
#include <string.h>

#include "rules.h"

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  const struct fg_top_attrs *a = &node->attrs.top;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  struct fg_value x = *fg_rule_input(g, node, 0);
  if (a->axis < 0 || a->axis >= x.rank)
    return FG_FAIL(MODEL, "axis %d is out of range for rank %d", a->axis, x.rank);
  if (a->k < 0 || a->k > x.dim[a->axis])
    return FG_FAIL(MODEL, "%lld elements are asked of axis %d of %s", (long long)a->k, a->axis,
                   FG_SHAPE(&x));
  x.dim[a->axis] = a->k;
  return fg_rule_output(out, FG_I64, x.rank, x.dim);
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_top = {infer, fg_no_grad, flops};

/* ---- ONNX */

/* Drops an axis of size 1. */
static fgsm_status drop(struct fg_graph *g, fg_id x, int axis, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  int64_t dim[FG_MAX_RANK];
  int rank = 0;
  for (int i = 0; i < v.rank; i++)
    if (i != axis)
      dim[rank++] = v.dim[i];
  return fg_reshape(g, x, rank, dim, out);
}

static fgsm_status arg(struct fg_import *im, bool smallest) {
  int64_t axis, keep, last;
  union fg_attrs a = {.top = {.k = 1, .smallest = smallest}};
  fg_id x, y;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "axis", 0, &axis));
  FG_TRY(fg_attr_int(im, "keepdims", 1, &keep));
  FG_TRY(fg_attr_int(im, "select_last_index", 0, &last));
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &a.top.axis));
  a.top.last = last != 0;
  FG_TRY(fg_import_append(im, FG_OP_top, &a, 1, &x, &y));
  im->out[0] = y;
  return keep ? FGSM_OK : drop(im->g, y, a.top.axis, &im->out[0]);
}

fgsm_status fg_import_ArgMax(struct fg_import *im) {
  return arg(im, false);
}
fgsm_status fg_import_ArgMin(struct fg_import *im) {
  return arg(im, true);
}

fgsm_status fg_import_TopK(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t axis, largest, k;
  int n;
  fg_id x, index;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "axis", -1, &axis));
  FG_TRY(fg_attr_int(im, "largest", 1, &largest));
  if (im->opset >= 10) {
    FG_TRY(fg_input_ints(im, 1, 1, &k, &n));
    if (n != 1)
      return FG_FAIL(MODEL, "k (input 1) is missing");
  } else {
    FG_TRY(fg_attr_int(im, "k", -1, &k));
  }
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &a.top.axis));
  a.top.k = k;
  a.top.smallest = !largest;
  FG_TRY(fg_import_append(im, FG_OP_top, &a, 1, &x, &index));
  if (im->n_out > 1)
    im->out[1] = index;
  return im->out_used[0] ? fg_import_take(im, x, index, a.top.axis, &im->out[0]) : FGSM_OK;
}

/* Whether place j along `axis` is the one that `index`, 1 along it, names: BOOL, `n` along it. */
static fgsm_status hits(struct fg_graph *g, fg_id index, int axis, int64_t n, fg_id *out) {
  fg_id places;
  FG_TRY(fg_import_steps(g, n, 1, fg_value(g, index)->rank, axis, &places));
  return fg_binary(g, FG_BINARY_equal, index, places, out);
}

/* 1 at the first maximum, 0 elsewhere; before opset 13 over all axes from `axis` on as one. */
fgsm_status fg_import_Hardmax(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs a = {.top = {.k = 1}};
  int64_t axis, dim[2] = {1, 1};
  fg_id x, y;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(g, x);
  FG_TRY(fg_attr_int(im, "axis", im->opset < 13 ? 1 : -1, &axis));
  FG_TRY(fg_check_axis(v.rank, axis, &a.top.axis));
  if (im->opset < 13) {
    for (int i = 0; i < v.rank; i++)
      dim[i >= a.top.axis] *= v.dim[i];
    FG_TRY(fg_reshape(g, x, 2, dim, &x));
    a.top.axis = 1;
  }
  int64_t n = fg_value(g, x)->dim[a.top.axis];
  FG_TRY(fg_import_append(im, FG_OP_top, &a, 1, &x, &y));
  FG_TRY(hits(g, y, a.top.axis, n, &y));
  FG_TRY(fg_cast(g, y, v.type, 0, &y));
  return fg_reshape(g, y, v.rank, v.dim, &im->out[0]);
}

/* values[at] as a scalar. */
static fgsm_status one_of(struct fg_graph *g, fg_id values, int64_t at, fg_id *out) {
  union fg_attrs a = {.slice = {.start = {at}, .step = {1}, .dim = {1}}};
  FG_TRY(fg_rule_append(g, FG_OP_slice, &a, 1, &values, out));
  return fg_reshape(g, *out, 0, NULL, out);
}

/* `on` where the new axis names the index, `off` elsewhere and where it is out of range. */
fgsm_status fg_import_OneHot(struct fg_import *im) {
  struct fg_graph *g = im->g;
  int64_t axis, dim[FG_MAX_RANK];
  fg_id x, depth, values, zero, wide, below, on, off;
  int at, rank = 0;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &depth));
  FG_TRY(fg_input(im, 2, &values));
  FG_TRY(fg_attr_int(im, "axis", -1, &axis));
  struct fg_value v = *fg_value(g, x);
  if (!fg_value_is_constant(g, depth) || fg_value_count(g, depth) != 1)
    return FG_FAIL(UNSUPPORTED, "the depth is not a constant scalar: export with fixed shapes");
  if (fg_value(g, values)->rank != 1 || fg_value(g, values)->dim[0] != 2)
    return FG_FAIL(MODEL, "values have shape %s where [2] is expected",
                   FG_SHAPE(fg_value(g, values)));
  if (v.rank >= FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "rank %d: at most %d axes are supported", v.rank + 1, FG_MAX_RANK);
  double asked = fg_constant_real(g, depth, 0);
  if (!(asked >= 1 && asked <= 1 << 24))
    return FG_FAIL(UNSUPPORTED, "a depth of %g", asked);
  int64_t n = (int64_t)asked;
  FG_TRY(fg_check_axis(v.rank + 1, axis, &at));
  for (int i = 0; i <= v.rank; i++)
    dim[i] = i == at ? 1 : v.dim[rank++];
  FG_TRY(fg_cast(g, x, FG_I64, 0, &x));
  FG_TRY(fg_import_scalar(g, FG_I64, 0, &zero));
  FG_TRY(fg_import_scalar(g, FG_I64, (double)n, &wide));
  FG_TRY(fg_binary(g, FG_BINARY_less, x, zero, &below));
  FG_TRY(fg_binary(g, FG_BINARY_add, x, wide, &wide));
  FG_TRY(fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){below, wide, x}, &x));
  FG_TRY(fg_reshape(g, x, v.rank + 1, dim, &x));
  FG_TRY(hits(g, x, at, n, &x));
  FG_TRY(one_of(g, values, 1, &on));
  FG_TRY(one_of(g, values, 0, &off));
  return fg_import_append(im, FG_OP_where, NULL, 3, (fg_id[]){x, on, off}, &im->out[0]);
}
