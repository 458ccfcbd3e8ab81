/* Elements by computed or listed places: scatter, and the ONNX operators that gather and scatter
 * elements or n-dimensional places. All are one-dimensional here: x is flattened as far as the
 * places reach, and the places become positions in it by arithmetic on I64, which folds where they
 * are constant. A computed place that is out of range becomes a position past the end, which the
 * kernels refuse; it never names another element.
 *
 * Gradients are those of PyTorch's scatter and scatter_reduce. */
#include <string.h>

#include "rules.h"

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  enum fg_scatter_kind kind = node->attrs.scatter.kind;
  FG_TRY(fg_rule_inputs(g, node, 3, 3));
  const struct fg_value *x = fg_rule_input(g, node, 0), *index = fg_rule_input(g, node, 1),
                        *u = fg_rule_input(g, node, 2);
  if ((int)kind < 0 || kind >= FG_SCATTER_COUNT)
    return FG_FAIL(INTERNAL, "there is no scatter %d", (int)kind);
  if (x->type != u->type)
    return FG_FAIL(MODEL, "x is %s, the updates are %s", fg_type_name(x->type),
                   fg_type_name(u->type));
  if (x->type == FG_BOOL && kind != FG_SCATTER_none)
    return FG_FAIL(MODEL, "arithmetic in bool is not defined");
  bool fits = x->rank >= 1 && u->rank == x->rank && index->rank == 1 && u->dim[0] == index->dim[0];
  for (int i = 1; fits && i < x->rank; i++)
    fits = u->dim[i] == x->dim[i];
  if (!fits)
    return FG_FAIL(MODEL, "updates of shape %s at places of shape %s do not fit x of shape %s",
                   FG_SHAPE(u), FG_SHAPE(index), FG_SHAPE(x));
  FG_TRY(fg_rule_index(g, node->in[1], x->dim[0]));
  return fg_rule_output(out, x->type, x->rank, x->dim);
}

static fgsm_status put(struct fg_graph *g, enum fg_scatter_kind kind, fg_id x, fg_id index, fg_id u,
                       fg_id *out) {
  union fg_attrs a = {.scatter = {kind}};
  return fg_rule_append(g, FG_OP_scatter, &a, 3, (fg_id[]){x, index, u}, out);
}

static fgsm_status rows(struct fg_graph *g, fg_id x, fg_id index, fg_id *out) {
  union fg_attrs a = {0};
  return fg_rule_append(g, FG_OP_gather, &a, 2, (fg_id[]){x, index}, out);
}

/* dx is dy but for the rows that were replaced; du is dy's rows. */
static fgsm_status grad_none(struct fg_grad_ctx *ctx, fg_id dy) {
  struct fg_graph *g = ctx->g;
  fg_id index = ctx->node->in[1], zero;
  if (ctx->wanted[0]) {
    struct fg_value u = *fg_value(g, ctx->node->in[2]);
    FG_TRY(fg_graph_scalar(g, 0, &zero));
    FG_TRY(fg_expand(g, zero, u.rank, u.dim, &zero));
    FG_TRY(put(g, FG_SCATTER_none, dy, index, zero, &ctx->in_grad[0]));
  }
  return ctx->wanted[2] ? rows(g, dy, index, &ctx->in_grad[2]) : FGSM_OK;
}

/* Each factor's gradient is dy times the product of the others: that of all nonzero factors over
 * itself, or 0 where another factor is zero. */
static fgsm_status grad_mul(struct fg_grad_ctx *ctx, fg_id dy) {
  struct fg_graph *g = ctx->g;
  fg_id index = ctx->node->in[1], zero, one, is_zero[2], zeros[2], factor[2], product, all;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  for (int i = 0; i < 2; i++) {
    fg_id v = ctx->node->in[2 * i];
    FG_TRY(fg_binary(g, FG_BINARY_equal, v, zero, &is_zero[i]));
    FG_TRY(fg_cast(g, is_zero[i], fg_value(g, v)->type, 0, &zeros[i]));
    FG_TRY(fg_rule_choose(g, is_zero[i], one, v, &factor[i]));
  }
  FG_TRY(put(g, FG_SCATTER_mul, factor[0], index, factor[1], &product));
  FG_TRY(put(g, FG_SCATTER_add, zeros[0], index, zeros[1], &all));
  FG_TRY(fg_binary(g, FG_BINARY_mul, dy, product, &product));
  for (int i = 0; i < 2; i++) {
    fg_id whole = product, others = all, *d = &ctx->in_grad[2 * i];
    if (!ctx->wanted[2 * i])
      continue;
    if (i) {
      FG_TRY(rows(g, product, index, &whole));
      FG_TRY(rows(g, all, index, &others));
    }
    FG_TRY(fg_binary(g, FG_BINARY_sub, others, zeros[i], &others));
    FG_TRY(fg_binary(g, FG_BINARY_equal, others, zero, &others));
    FG_TRY(fg_binary(g, FG_BINARY_div, whole, factor[i], d));
    FG_TRY(fg_rule_choose(g, others, *d, zero, d));
  }
  return FGSM_OK;
}

/* dy is shared evenly by all that are equal to the result. */
static fgsm_status grad_extreme(struct fg_grad_ctx *ctx, fg_id dy) {
  struct fg_graph *g = ctx->g;
  fg_id x = ctx->node->in[0], index = ctx->node->in[1], u = ctx->node->in[2], y, wins[2], ties;
  enum fg_type type = fg_value(g, x)->type;
  FG_TRY(rows(g, ctx->node->out[0], index, &y));
  FG_TRY(fg_binary(g, FG_BINARY_equal, x, ctx->node->out[0], &wins[0]));
  FG_TRY(fg_binary(g, FG_BINARY_equal, u, y, &wins[1]));
  for (int i = 0; i < 2; i++)
    FG_TRY(fg_cast(g, wins[i], type, 0, &wins[i]));
  FG_TRY(put(g, FG_SCATTER_add, wins[0], index, wins[1], &ties));
  FG_TRY(fg_binary(g, FG_BINARY_div, dy, ties, &dy));
  if (ctx->wanted[0])
    FG_TRY(fg_binary(g, FG_BINARY_mul, wins[0], dy, &ctx->in_grad[0]));
  if (!ctx->wanted[2])
    return FGSM_OK;
  FG_TRY(rows(g, dy, index, &dy));
  return fg_binary(g, FG_BINARY_mul, wins[1], dy, &ctx->in_grad[2]);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  fg_id dy = ctx->out_grad[0];
  switch (ctx->node->attrs.scatter.kind) {
  case FG_SCATTER_none:
    return grad_none(ctx, dy);
  case FG_SCATTER_add:
    ctx->in_grad[0] = dy;
    return ctx->wanted[2] ? rows(ctx->g, dy, ctx->node->in[1], &ctx->in_grad[2]) : FGSM_OK;
  case FG_SCATTER_mul:
    return grad_mul(ctx, dy);
  default:
    return grad_extreme(ctx, dy);
  }
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return (double)fg_value_count(g, node->in[0]) + (double)fg_value_count(g, node->in[2]);
}

const struct fg_op_def fg_def_scatter = {infer, grad, flops};

/* ---- places as positions */

fgsm_status fg_import_steps(struct fg_graph *g, int64_t n, int64_t step, int rank, int axis,
                            fg_id *out) {
  enum { MOST = 1 << 24 };
  int64_t dim[FG_MAX_RANK];
  if (n < 0 || n > MOST)
    return FG_FAIL(UNSUPPORTED, "an axis of %lld places: at most %d are supported here",
                   (long long)n, MOST);
  int64_t *at = fg_arena_alloc(&g->arena, (size_t)(n ? n : 1) * sizeof *at);
  if (!at)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++)
    at[i] = i * step;
  for (int i = 0; i < rank; i++)
    dim[i] = i == axis ? n : 1;
  return fg_graph_constant(g, "", FG_I64, rank, dim, at, out);
}

static fgsm_status i64(struct fg_graph *g, int64_t v, fg_id *out) {
  return fg_graph_constant(g, "", FG_I64, 0, NULL, &v, out);
}

/* Places on axes of `size` (an I64 that broadcasts over the index), as I64 and not negative. *bad:
 * which of them are out of range, FG_ABSENT where none can be: a constant index is checked now. */
static fgsm_status in_range(struct fg_graph *g, fg_id index, fg_id size, fg_id *out, fg_id *bad) {
  fg_id zero, below, wrapped, above;
  enum fg_type type = fg_value(g, index)->type;
  if (type != FG_I64 && type != FG_I32)
    return FG_FAIL(MODEL, "the index is %s, not int64 or int32", fg_type_name(type));
  *bad = FG_ABSENT;
  if (fg_value_is_constant(g, index)) {
    int64_t n = fg_value_count(g, index), sizes = fg_value_count(g, size);
    for (int64_t i = 0; i < n; i++) {
      int64_t at = fg_constant_int(g, index, i), end = fg_constant_int(g, size, i % sizes);
      if (at < -end || at >= end)
        return FG_FAIL(MODEL, "index %lld is out of range for an axis of %lld", (long long)at,
                       (long long)end);
    }
  }
  FG_TRY(fg_cast(g, index, FG_I64, 0, &index));
  FG_TRY(i64(g, 0, &zero));
  FG_TRY(fg_binary(g, FG_BINARY_less, index, zero, &below));
  FG_TRY(fg_binary(g, FG_BINARY_add, index, size, &wrapped));
  FG_TRY(fg_rule_choose(g, below, wrapped, index, out));
  if (fg_value_is_constant(g, index))
    return FGSM_OK;
  FG_TRY(i64(g, 1, &above));
  FG_TRY(fg_binary(g, FG_BINARY_sub, size, above, &above));
  FG_TRY(fg_binary(g, FG_BINARY_greater, *out, above, &above));
  FG_TRY(fg_binary(g, FG_BINARY_less, *out, zero, &below));
  return fg_binary(g, FG_BINARY_bit_or, above, below, bad);
}

/* Positions in flat x of the elements that `index` names along `axis`. */
static fgsm_status element_positions(struct fg_graph *g, const struct fg_value *x, fg_id index,
                                     int axis, fg_id *out) {
  struct fg_value v = *fg_value(g, index);
  fg_id size, bad, step, more;
  int64_t stride[FG_MAX_RANK], next = 1;
  for (int i = x->rank - 1; i >= 0; i--) {
    stride[i] = next;
    next *= x->dim[i];
  }
  for (int i = 0; i < x->rank; i++)
    if (i != axis && v.dim[i] > x->dim[i])
      return FG_FAIL(MODEL, "an index of shape %s reaches beyond x of shape %s", FG_SHAPE(&v),
                     FG_SHAPE(x));
  FG_TRY(i64(g, x->dim[axis], &size));
  FG_TRY(i64(g, stride[axis], &step));
  FG_TRY(in_range(g, index, size, out, &bad));
  FG_TRY(fg_binary(g, FG_BINARY_mul, *out, step, out));
  for (int i = 0; i < x->rank; i++)
    if (i != axis && v.dim[i] > 1) {
      FG_TRY(fg_import_steps(g, v.dim[i], stride[i], v.rank, i, &more));
      FG_TRY(fg_binary(g, FG_BINARY_add, *out, more, out));
    }
  if (bad == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(i64(g, next, &size));
  return fg_rule_choose(g, bad, size, *out, out);
}

static fgsm_status flat(struct fg_graph *g, fg_id x, fg_id *out) {
  int64_t n = fg_value_count(g, x);
  return fg_reshape(g, x, 1, &n, out);
}

fgsm_status fg_import_take(struct fg_import *im, fg_id x, fg_id index, int axis, fg_id *out) {
  union fg_attrs a = {0};
  struct fg_value v = *fg_value(im->g, x);
  fg_id in[2];
  if (v.rank != fg_value(im->g, index)->rank)
    return FG_FAIL(MODEL, "the index has shape %s, x has shape %s",
                   FG_SHAPE(fg_value(im->g, index)), FG_SHAPE(&v));
  FG_TRY(element_positions(im->g, &v, index, axis, &in[1]));
  FG_TRY(flat(im->g, x, &in[0]));
  return fg_import_append(im, FG_OP_gather, &a, 2, in, out);
}

fgsm_status fg_import_pick(struct fg_import *im, fg_id x, int axis, int64_t n, const int64_t *from,
                           fg_id *out) {
  union fg_attrs a = {.axis = {.axis = axis}};
  fg_id in[2] = {x, FG_ABSENT};
  FG_TRY(fg_graph_constant(im->g, "", FG_I64, 1, &n, from, &in[1]));
  return fg_import_append(im, FG_OP_gather, &a, 2, in, out);
}

/* Positions of the rows that the last axis of `index` names on x's axes from `batch` on, those
 * before it going along. *covered: how many axes of x a position stands for. */
static fgsm_status row_positions(struct fg_graph *g, const struct fg_value *x, fg_id index,
                                 int64_t batch, fg_id *out, int *covered) {
  struct fg_value v = *fg_value(g, index);
  int64_t size[FG_MAX_RANK], step[FG_MAX_RANK], n_rows = 1;
  fg_id sizes, steps, bad, more;
  if (v.rank < 1 || batch < 0 || batch >= v.rank || batch >= x->rank || v.dim[v.rank - 1] < 1 ||
      v.dim[v.rank - 1] > x->rank - batch)
    return FG_FAIL(MODEL, "an index of shape %s with %lld batch axes does not fit x of shape %s",
                   FG_SHAPE(&v), (long long)batch, FG_SHAPE(x));
  int b = (int)batch, n = (int)v.dim[v.rank - 1];
  uint32_t last = 1u << (v.rank - 1);
  *covered = b + n;
  for (int i = *covered - 1; i >= 0; i--) {
    step[i] = n_rows;
    size[i] = x->dim[i];
    n_rows *= x->dim[i];
  }
  for (int i = 0; i < b; i++)
    if (v.dim[i] != x->dim[i])
      return FG_FAIL(MODEL, "batch axis %d is %lld in the index and %lld in x", i,
                     (long long)v.dim[i], (long long)x->dim[i]);
  FG_TRY(fg_import_ints(g, n, size + b, &sizes));
  FG_TRY(fg_import_ints(g, n, step + b, &steps));
  FG_TRY(in_range(g, index, sizes, out, &bad));
  FG_TRY(fg_binary(g, FG_BINARY_mul, *out, steps, out));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, *out, last, false, out));
  for (int i = 0; i < b; i++) {
    FG_TRY(fg_import_steps(g, x->dim[i], step[i], v.rank - 1, i, &more));
    FG_TRY(fg_binary(g, FG_BINARY_add, *out, more, out));
  }
  if (bad == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(fg_reduce(g, FG_REDUCE_max, bad, last, false, &bad));
  FG_TRY(i64(g, n_rows, &more));
  return fg_rule_choose(g, bad, more, *out, out);
}

/* x as a matrix whose rows are what lies behind its first `covered` axes. */
static fgsm_status as_rows(struct fg_graph *g, fg_id x, int covered, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  int64_t dim[2] = {1, 1};
  for (int i = 0; i < v.rank; i++)
    dim[i >= covered] *= v.dim[i];
  return fg_reshape(g, x, 2, dim, out);
}

/* ---- ONNX */

fgsm_status fg_import_GatherElements(struct fg_import *im) {
  int64_t axis;
  int at;
  fg_id x, index;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &index));
  FG_TRY(fg_attr_int(im, "axis", 0, &axis));
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &at));
  return fg_import_take(im, x, index, at, &im->out[0]);
}

fgsm_status fg_import_GatherND(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t batch, dim[2 * FG_MAX_RANK];
  int covered, rank = 0;
  fg_id x, index, at, y;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &index));
  FG_TRY(fg_attr_int(im, "batch_dims", 0, &batch));
  struct fg_value v = *fg_value(im->g, x), places = *fg_value(im->g, index);
  FG_TRY(row_positions(im->g, &v, index, batch, &at, &covered));
  for (int i = 0; i < places.rank - 1; i++)
    dim[rank++] = places.dim[i];
  for (int i = covered; i < v.rank; i++)
    dim[rank++] = v.dim[i];
  FG_TRY(as_rows(im->g, x, covered, &x));
  FG_TRY(flat(im->g, at, &at));
  FG_TRY(fg_import_append(im, FG_OP_gather, &a, 2, (fg_id[]){x, at}, &y));
  return fg_reshape(im->g, y, rank, dim, &im->out[0]);
}

static fgsm_status reduction(const struct fg_import *im, union fg_attrs *a) {
  static const char *const name[] = {
#define X(kind) #kind,
    FG_SCATTER_MAP(X)
#undef X
  };
  const char *text;
  FG_TRY(fg_attr_text(im, "reduction", "none", &text));
  for (int i = 0; i < FG_SCATTER_COUNT; i++)
    if (!strcmp(text, name[i])) {
      a->scatter.kind = (enum fg_scatter_kind)i;
      return FGSM_OK;
    }
  return FG_FAIL(UNSUPPORTED, "reduction '%.60s': none, add, mul, max and min are known", text);
}

fgsm_status fg_import_ScatterElements(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t axis;
  int along;
  fg_id x, index, u, at, y;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &index));
  FG_TRY(fg_input(im, 2, &u));
  FG_TRY(fg_attr_int(im, "axis", 0, &axis));
  FG_TRY(reduction(im, &a));
  struct fg_value v = *fg_value(im->g, x), places = *fg_value(im->g, index);
  FG_TRY(fg_check_axis(v.rank, axis, &along));
  FG_TRY(fg_rule_same_shape(fg_value(im->g, u), &places, "the updates"));
  if (places.rank != v.rank)
    return FG_FAIL(MODEL, "the index has shape %s, x has shape %s", FG_SHAPE(&places),
                   FG_SHAPE(&v));
  FG_TRY(element_positions(im->g, &v, index, along, &at));
  FG_TRY(flat(im->g, at, &at));
  FG_TRY(flat(im->g, x, &x));
  FG_TRY(flat(im->g, u, &u));
  FG_TRY(fg_import_append(im, FG_OP_scatter, &a, 3, (fg_id[]){x, at, u}, &y));
  return fg_reshape(im->g, y, v.rank, v.dim, &im->out[0]);
}

/* Opsets 9 and 10. */
fgsm_status fg_import_Scatter(struct fg_import *im) {
  return fg_import_ScatterElements(im);
}

fgsm_status fg_import_ScatterND(struct fg_import *im) {
  union fg_attrs a = {0};
  int covered;
  fg_id x, index, u, at, y;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &index));
  FG_TRY(fg_input(im, 2, &u));
  FG_TRY(reduction(im, &a));
  struct fg_value v = *fg_value(im->g, x), places = *fg_value(im->g, index),
                  updates = *fg_value(im->g, u);
  FG_TRY(row_positions(im->g, &v, index, 0, &at, &covered));
  bool fits = updates.rank == places.rank - 1 + v.rank - covered;
  for (int i = 0; fits && i < updates.rank; i++)
    fits = updates.dim[i] ==
           (i < places.rank - 1 ? places.dim[i] : v.dim[i - (places.rank - 1) + covered]);
  if (!fits)
    return FG_FAIL(MODEL, "updates of shape %s at places of shape %s do not fit x of shape %s",
                   FG_SHAPE(&updates), FG_SHAPE(&places), FG_SHAPE(&v));
  FG_TRY(flat(im->g, at, &at));
  FG_TRY(as_rows(im->g, x, covered, &x));
  FG_TRY(as_rows(im->g, u, places.rank - 1, &u));
  FG_TRY(fg_import_append(im, FG_OP_scatter, &a, 3, (fg_id[]){x, at, u}, &y));
  return fg_reshape(im->g, y, v.rank, v.dim, &im->out[0]);
}
