/* Parts of values and their composition: concat, slice, gather, with the gradients of slice and
 * gather as operators of their own; ONNX Concat, Split, Slice, Gather. */
#include <math.h>
#include <string.h>

#include "rules.h"

static double no_flops(const struct fg_graph *g, const struct fg_node *node) {
  (void)g;
  (void)node;
  return 0;
}

/* ---- concat */

static fgsm_status infer_concat(const struct fg_graph *g, struct fg_node *node,
                                struct fg_value *out) {
  int axis = node->attrs.axis.axis;
  FG_TRY(fg_rule_inputs(g, node, node->n_in > 0 ? node->n_in : 1, FG_MAX_IN));
  struct fg_value y = *fg_rule_input(g, node, 0);
  if (axis < 0 || axis >= y.rank)
    return FG_FAIL(MODEL, "axis %d is out of range for rank %d", axis, y.rank);
  for (int i = 1; i < node->n_in; i++) {
    const struct fg_value *x = fg_rule_input(g, node, i);
    bool fits = x->type == y.type && x->rank == y.rank;
    for (int k = 0; fits && k < y.rank; k++)
      fits = k == axis || x->dim[k] == y.dim[k];
    if (!fits)
      return FG_FAIL(MODEL, "input %d, %s%s, does not continue %s%s along axis %d", i,
                     fg_type_name(x->type), FG_SHAPE(x), fg_type_name(y.type), FG_SHAPE(&y), axis);
    if (!fg_add_ok(y.dim[axis], x->dim[axis], &y.dim[axis]))
      return FG_FAIL(UNSUPPORTED, "the result is too large");
  }
  return fg_rule_output(out, y.type, y.rank, y.dim);
}

static fgsm_status grad_concat(struct fg_grad_ctx *ctx) {
  int axis = ctx->node->attrs.axis.axis;
  int64_t at = 0;
  for (int i = 0; i < ctx->node->n_in; i++) {
    int64_t size = fg_value(ctx->g, ctx->node->in[i])->dim[axis];
    if (ctx->wanted[i])
      FG_TRY(fg_rule_cut(ctx->g, ctx->out_grad[0], axis, at, size, &ctx->in_grad[i]));
    at += size;
  }
  return FGSM_OK;
}

const struct fg_op_def fg_def_concat = {infer_concat, grad_concat, no_flops};

/* ---- slice */

/* Every place that a slice of n[] places takes lies in whole[]. A step that is never made becomes
 * 1, so that kernels may multiply by it. */
static fgsm_status check_slice(struct fg_slice_attrs *a, int rank, const int64_t *n,
                               const int64_t *whole) {
  for (int i = 0; i < rank; i++) {
    int64_t last;
    bool fits = a->step[i] != 0 && n[i] >= 0;
    if (fits && n[i] > 0)
      fits = a->start[i] >= 0 && a->start[i] < whole[i] &&
             !__builtin_mul_overflow(n[i] - 1, a->step[i], &last) &&
             !__builtin_add_overflow(last, a->start[i], &last) && last >= 0 && last < whole[i];
    if (!fits)
      return FG_FAIL(MODEL, "%lld places from %lld in steps of %lld do not lie in an axis of %lld",
                     (long long)n[i], (long long)a->start[i], (long long)a->step[i],
                     (long long)whole[i]);
    if (n[i] <= 1)
      a->step[i] = 1;
  }
  return FGSM_OK;
}

static fgsm_status infer_slice(const struct fg_graph *g, struct fg_node *node,
                               struct fg_value *out) {
  struct fg_slice_attrs *a = &node->attrs.slice;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(check_slice(a, x->rank, a->dim, x->dim));
  return fg_rule_output(out, x->type, x->rank, a->dim);
}

static fgsm_status grad_slice(struct fg_grad_ctx *ctx) {
  union fg_attrs a = ctx->node->attrs;
  memcpy(a.slice.dim, fg_value(ctx->g, ctx->node->in[0])->dim, sizeof a.slice.dim);
  return fg_rule_append(ctx->g, FG_OP_slice_grad, &a, 1, ctx->out_grad, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_slice = {infer_slice, grad_slice, no_flops};

static fgsm_status infer_slice_grad(const struct fg_graph *g, struct fg_node *node,
                                    struct fg_value *out) {
  struct fg_slice_attrs *a = &node->attrs.slice;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *dy = fg_rule_input(g, node, 0);
  FG_TRY(check_slice(a, dy->rank, dy->dim, a->dim));
  return fg_rule_output(out, dy->type, dy->rank, a->dim);
}

const struct fg_op_def fg_def_slice_grad = {infer_slice_grad, NULL, no_flops};

/* ---- gather */

static fgsm_status infer_gather(const struct fg_graph *g, struct fg_node *node,
                                struct fg_value *out) {
  int axis = node->attrs.axis.axis, rank = 0;
  int64_t dim[2 * FG_MAX_RANK];
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  const struct fg_value *x = fg_rule_input(g, node, 0), *index = fg_rule_input(g, node, 1);
  if (axis < 0 || axis >= x->rank)
    return FG_FAIL(MODEL, "axis %d is out of range for rank %d", axis, x->rank);
  FG_TRY(fg_rule_index(g, node->in[1], x->dim[axis]));
  for (int i = 0; i < axis; i++)
    dim[rank++] = x->dim[i];
  for (int i = 0; i < index->rank; i++)
    dim[rank++] = index->dim[i];
  for (int i = axis + 1; i < x->rank; i++)
    dim[rank++] = x->dim[i];
  return fg_rule_output(out, x->type, rank, dim);
}

static fgsm_status grad_gather(struct fg_grad_ctx *ctx) {
  union fg_attrs a = ctx->node->attrs;
  fg_id in[] = {ctx->out_grad[0], ctx->node->in[1]};
  a.axis.size = fg_value(ctx->g, ctx->node->in[0])->dim[a.axis.axis];
  return fg_rule_append(ctx->g, FG_OP_gather_grad, &a, 2, in, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_gather = {infer_gather, grad_gather, no_flops};

static fgsm_status infer_gather_grad(const struct fg_graph *g, struct fg_node *node,
                                     struct fg_value *out) {
  int axis = node->attrs.axis.axis, rank = 0;
  int64_t dim[FG_MAX_RANK + 1];
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *index = fg_rule_input(g, node, 1);
  bool fits = axis >= 0 && axis + index->rank <= dy->rank;
  for (int i = 0; fits && i < index->rank; i++)
    fits = dy->dim[axis + i] == index->dim[i];
  if (!fits)
    return FG_FAIL(MODEL, "dy of shape %s does not hold an index of shape %s at axis %d",
                   FG_SHAPE(dy), FG_SHAPE(index), axis);
  FG_TRY(fg_rule_index(g, node->in[1], node->attrs.axis.size));
  for (int i = 0; i < axis; i++)
    dim[rank++] = dy->dim[i];
  dim[rank++] = node->attrs.axis.size;
  for (int i = axis + index->rank; i < dy->rank; i++)
    dim[rank++] = dy->dim[i];
  return fg_rule_output(out, dy->type, rank, dim);
}

const struct fg_op_def fg_def_gather_grad = {infer_gather_grad, NULL, NULL};

/* ---- ONNX */

fgsm_status fg_import_Concat(struct fg_import *im) {
  int64_t axis;
  int at, n = 0;
  fg_id first;
  FG_TRY(fg_input(im, 0, &first));
  if (!fg_attr_find(im, "axis"))
    return FG_FAIL(MODEL, "attribute axis is missing");
  FG_TRY(fg_attr_int(im, "axis", 0, &axis));
  FG_TRY(fg_check_axis(fg_value(im->g, first)->rank, axis, &at));
  fg_id *list = fg_arena_alloc(&im->g->arena, (size_t)im->n_in * sizeof *list);
  if (!list)
    return FGSM_MEMORY;
  for (int i = 0; i < im->n_in; i++)
    FG_TRY(fg_input(im, i, &list[n++]));
  return fg_rule_join(im->g, im->name, at, n, list, &im->out[0]);
}

/* The sizes of Split's parts. */
static fgsm_status split_sizes(struct fg_import *im, int64_t whole, int64_t *size) {
  int64_t parts, sum = 0;
  int n;
  FG_TRY(fg_attr_int(im, "num_outputs", im->n_out, &parts));
  if (im->opset >= 13)
    FG_TRY(fg_input_ints(im, 1, im->n_out, size, &n));
  else
    FG_TRY(fg_attr_ints(im, "split", im->n_out, size, &n));
  if (n < 0) {
    if (parts < im->n_out || parts < 1)
      return FG_FAIL(MODEL, "%d outputs of %lld parts", im->n_out, (long long)parts);
    bool even = whole % parts == 0;
    if (!even && im->opset < 18)
      return FG_FAIL(MODEL, "an axis of %lld does not divide into %lld equal parts",
                     (long long)whole, (long long)parts);
    int64_t each = whole / parts + !even;
    for (int i = 0; i < im->n_out; i++) {
      size[i] = whole - sum < each ? whole - sum : each;
      sum += size[i];
    }
    return FGSM_OK;
  }
  for (int i = 0; i < n; i++)
    if (!fg_add_ok(sum, size[i], &sum))
      return FG_FAIL(MODEL, "part %d has %lld places", i, (long long)size[i]);
  if (n != im->n_out || sum != whole)
    return FG_FAIL(MODEL, "%d parts with %lld places for %d outputs and an axis of %lld", n,
                   (long long)sum, im->n_out, (long long)whole);
  return FGSM_OK;
}

fgsm_status fg_import_Split(struct fg_import *im) {
  int64_t axis, at = 0;
  int along;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "axis", 0, &axis));
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &along));
  int64_t *size = fg_arena_alloc(&im->g->arena, (size_t)im->n_out * sizeof *size + 1);
  if (!size)
    return FGSM_MEMORY;
  FG_TRY(split_sizes(im, fg_value(im->g, x)->dim[along], size));
  for (int i = 0; i < im->n_out; i++) {
    if (im->out_used[i])
      FG_TRY(fg_rule_cut(im->g, x, along, at, size[i], &im->out[i]));
    at += size[i];
  }
  return FGSM_OK;
}

/* One axis of Slice: ONNX's ends, clamped, become a start in range and a count. */
static fgsm_status clamp(int64_t whole, int64_t start, int64_t end, int64_t step, int64_t *from,
                         int64_t *n) {
  if (step == 0)
    return FG_FAIL(MODEL, "a step of 0");
  if (step == INT64_MIN)
    return FG_FAIL(UNSUPPORTED, "a step of %lld", (long long)step);
  bool up = step > 0;
  start += start < 0 ? whole : 0;
  end += end < 0 ? whole : 0;
  int64_t low = up ? 0 : -1, high = up ? whole : whole - 1;
  start = start < 0 ? 0 : start > high ? high : start;
  end = end < low ? low : end > high ? high : end;
  int64_t reach = up ? end - start : start - end, stride = up ? step : -step;
  *n = reach > 0 ? (reach - 1) / stride + 1 : 0;
  *from = *n ? start : 0;
  return FGSM_OK;
}

/* One list of Slice: an attribute before opset 10, an input since. */
static fgsm_status slice_list(const struct fg_import *im, int i, const char *name, int64_t *list,
                              int *n) {
  if (im->opset < 10)
    return fg_attr_ints(im, name, FG_MAX_RANK, list, n);
  return fg_input_ints(im, i, FG_MAX_RANK, list, n);
}

fgsm_status fg_import_Slice(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t starts[FG_MAX_RANK], ends[FG_MAX_RANK], axes[FG_MAX_RANK], steps[FG_MAX_RANK];
  int n, n_ends, n_axes, n_steps = -1;
  uint32_t seen = 0;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(slice_list(im, 1, "starts", starts, &n));
  FG_TRY(slice_list(im, 2, "ends", ends, &n_ends));
  FG_TRY(slice_list(im, 3, "axes", axes, &n_axes));
  if (im->opset >= 10)
    FG_TRY(fg_input_ints(im, 4, FG_MAX_RANK, steps, &n_steps));
  if (n < 0 || n_ends != n || (n_axes >= 0 && n_axes != n) || (n_steps >= 0 && n_steps != n))
    return FG_FAIL(MODEL, "starts, ends, axes and steps differ in length");
  struct fg_value v = *fg_value(im->g, x);
  for (int i = 0; i < v.rank; i++) {
    a.slice.step[i] = 1;
    a.slice.dim[i] = v.dim[i];
  }
  bool still = true;
  for (int i = 0; i < n; i++) {
    int axis;
    FG_TRY(fg_check_axis(v.rank, n_axes < 0 ? i : axes[i], &axis));
    if (seen >> axis & 1)
      return FG_FAIL(MODEL, "axis %d is sliced twice", axis);
    seen |= 1u << axis;
    int64_t step = n_steps < 0 ? 1 : steps[i];
    FG_TRY(clamp(v.dim[axis], starts[i], ends[i], step, &a.slice.start[axis], &a.slice.dim[axis]));
    a.slice.step[axis] = step;
    still &= step > 0 && a.slice.dim[axis] == v.dim[axis];
  }
  im->out[0] = x;
  return still ? FGSM_OK : fg_import_append(im, FG_OP_slice, &a, 1, &x, &im->out[0]);
}

/* A single index is a slice, whose gradient needs no sums. */
static fgsm_status pick(struct fg_import *im, fg_id x, fg_id index, int axis) {
  struct fg_value v = *fg_value(im->g, x), at = *fg_value(im->g, index);
  int64_t i = fg_constant_int(im->g, index, 0), dim[2 * FG_MAX_RANK];
  int rank = 0;
  i += i < 0 ? v.dim[axis] : 0;
  FG_TRY(fg_rule_cut(im->g, x, axis, i, 1, &x));
  for (int k = 0; k < axis; k++)
    dim[rank++] = v.dim[k];
  for (int k = 0; k < at.rank; k++)
    dim[rank++] = 1;
  for (int k = axis + 1; k < v.rank; k++)
    dim[rank++] = v.dim[k];
  return fg_reshape(im->g, x, rank, dim, &im->out[0]);
}

fgsm_status fg_import_Gather(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t axis;
  fg_id in[2];
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  FG_TRY(fg_attr_int(im, "axis", 0, &axis));
  FG_TRY(fg_check_axis(fg_value(im->g, in[0])->rank, axis, &a.axis.axis));
  FG_TRY(fg_rule_index(im->g, in[1], fg_value(im->g, in[0])->dim[a.axis.axis]));
  if (fg_value_is_constant(im->g, in[1]) && fg_value_count(im->g, in[1]) == 1)
    return pick(im, in[0], in[1], a.axis.axis);
  return fg_import_append(im, FG_OP_gather, &a, 2, in, &im->out[0]);
}
