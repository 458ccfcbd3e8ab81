/* What shape and gradient rules have in common. Invariant: a result that fg_rule_output filled can
 * be held: its rank, dims and byte count are in range. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rules.h"

/* A window, stride or padding past this is a mistake or an attack. */
static const int64_t MOST_WINDOW = 1 << 20;

fgsm_status fg_no_grad(struct fg_grad_ctx *ctx) {
  for (int i = 0; i < FG_MAX_IN; i++)
    ctx->in_grad[i] = FG_ABSENT;
  return FGSM_OK;
}

const char *fg_shape_text(int rank, const int64_t *dim, char *text, size_t size) {
  size_t at = 0;
  at += (size_t)snprintf(text, size, "[");
  for (int i = 0; i < rank && i < FG_MAX_RANK && at < size; i++)
    at += (size_t)snprintf(text + at, size - at, i ? ",%lld" : "%lld", (long long)dim[i]);
  if (at < size)
    snprintf(text + at, size - at, "]");
  return text;
}

fgsm_status fg_broadcast_shape(const struct fg_value *a, const struct fg_value *b,
                               struct fg_value *out) {
  int64_t dim[FG_MAX_RANK] = {0};
  int rank = a->rank > b->rank ? a->rank : b->rank;
  for (int i = 0; i < rank; i++) {
    int ia = i - (rank - a->rank), ib = i - (rank - b->rank);
    int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
    if (da != db && da != 1 && db != 1)
      return FG_FAIL(MODEL, "shapes %s and %s do not broadcast", FG_SHAPE(a), FG_SHAPE(b));
    dim[i] = da == 1 ? db : da;
  }
  out->rank = rank;
  memcpy(out->dim, dim, sizeof dim);
  return FGSM_OK;
}

fgsm_status fg_check_axis(int rank, int64_t axis, int *out) {
  if (axis < -rank || axis >= rank)
    return FG_FAIL(MODEL, "axis %lld is out of range for rank %d", (long long)axis, rank);
  *out = (int)(axis < 0 ? axis + rank : axis);
  return FGSM_OK;
}

const struct fg_value *fg_rule_input(const struct fg_graph *g, const struct fg_node *node, int i) {
  return i < node->n_in && node->in[i] != FG_ABSENT ? fg_value(g, node->in[i]) : NULL;
}

fgsm_status fg_rule_inputs(const struct fg_graph *g, const struct fg_node *node, int least,
                           int most) {
  if (node->n_in > most)
    return FG_FAIL(INTERNAL, "takes at most %d inputs, not %d", most, node->n_in);
  for (int i = 0; i < least; i++)
    if (!fg_rule_input(g, node, i))
      return FG_FAIL(MODEL, "input %d is missing", i);
  return FGSM_OK;
}

fgsm_status fg_rule_reals(const struct fg_graph *g, const struct fg_node *node, uint32_t mask) {
  const struct fg_value *first = NULL;
  for (int i = 0; i < node->n_in; i++) {
    const struct fg_value *v = fg_rule_input(g, node, i);
    if (!(mask >> i & 1) || !v)
      continue;
    if (!fg_type_is_real(v->type))
      return FG_FAIL(UNSUPPORTED, "input %d is %s, only floating point is supported here: cast it",
                     i, fg_type_name(v->type));
    if (first && first->type != v->type)
      return FG_FAIL(MODEL, "input %d is %s where %s is expected", i, fg_type_name(v->type),
                     fg_type_name(first->type));
    first = first ? first : v;
  }
  return FGSM_OK;
}

fgsm_status fg_rule_output(struct fg_value *out, enum fg_type type, int rank, const int64_t *dim) {
  int64_t n = 1, bytes;
  if (rank < 0 || rank > FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "the result has rank %d, at most %d is supported", rank,
                   FG_MAX_RANK);
  for (int i = 0; i < rank; i++) {
    if (dim[i] < 0)
      return FG_FAIL(MODEL, "the result would have a negative dimension: %s",
                     fg_shape_text(rank, dim, (char[160]){0}, 160));
    if (dim[i] == 0 && fg_type_is_real(type))
      return FG_FAIL(UNSUPPORTED, "the result has no elements: %s",
                     fg_shape_text(rank, dim, (char[160]){0}, 160));
    if (!fg_mul_ok(n, dim[i] ? dim[i] : 1, &n)) /* strides must fit even where a dim is 0 */
      return FG_FAIL(UNSUPPORTED, "the result is too large: %s",
                     fg_shape_text(rank, dim, (char[160]){0}, 160));
  }
  if (!fg_mul_ok(n, (int64_t)fg_type_size(type), &bytes))
    return FG_FAIL(UNSUPPORTED, "the result is too large: %s",
                   fg_shape_text(rank, dim, (char[160]){0}, 160));
  out->type = type;
  out->rank = rank;
  if (rank)
    memmove(out->dim, dim, (size_t)rank * sizeof *dim);
  return FGSM_OK;
}

fgsm_status fg_rule_vector(const struct fg_value *v, int64_t n, const char *what) {
  if (v && (v->rank != 1 || v->dim[0] != n))
    return FG_FAIL(MODEL, "%s has shape %s where [%lld] is expected", what, FG_SHAPE(v),
                   (long long)n);
  return FGSM_OK;
}

fgsm_status fg_rule_same_shape(const struct fg_value *a, const struct fg_value *b,
                               const char *what) {
  bool same = a->rank == b->rank;
  for (int i = 0; same && i < a->rank; i++)
    same = a->dim[i] == b->dim[i];
  if (!same)
    return FG_FAIL(MODEL, "%s has shape %s where %s is expected", what, FG_SHAPE(a), FG_SHAPE(b));
  return FGSM_OK;
}

fgsm_status fg_rule_index(const struct fg_graph *g, fg_id index, int64_t n) {
  const struct fg_value *v = fg_value(g, index);
  if (v->type != FG_I64 && v->type != FG_I32)
    return FG_FAIL(MODEL, "the index is %s, not int64 or int32", fg_type_name(v->type));
  if (!fg_value_is_constant(g, index))
    return FGSM_OK;
  for (int64_t i = 0, count = fg_value_count(g, index); i < count; i++) {
    int64_t at = fg_constant_int(g, index, i);
    if (at < -n || at >= n)
      return FG_FAIL(MODEL, "index %lld is out of range for an axis of %lld", (long long)at,
                     (long long)n);
  }
  return FGSM_OK;
}

fgsm_status fg_rule_unary(const struct fg_unary_attrs *a) {
  if ((int)a->kind < 0 || a->kind >= FG_UNARY_COUNT)
    return FG_FAIL(INTERNAL, "there is no unary kind %d", (int)a->kind);
  if (isnan(a->alpha) || isnan(a->beta))
    return FG_FAIL(MODEL, "%s with a parameter that is not a number", fg_unary_name(a->kind));
  return FGSM_OK;
}

fgsm_status fg_rule_append(struct fg_graph *g, enum fg_op op, const union fg_attrs *attrs, int n_in,
                           const fg_id *in, fg_id *out) {
  fg_id all[FG_MAX_OUT];
  FG_TRY(fg_graph_add(g, op, "", attrs, n_in, in, all));
  *out = all[0];
  return FGSM_OK;
}

fgsm_status fg_rule_cut(struct fg_graph *g, fg_id x, int axis, int64_t from, int64_t n,
                        fg_id *out) {
  union fg_attrs a = {0};
  const struct fg_value *v = fg_value(g, x);
  if (from == 0 && n == v->dim[axis]) {
    *out = x;
    return FGSM_OK;
  }
  for (int i = 0; i < v->rank; i++) {
    a.slice.step[i] = 1;
    a.slice.dim[i] = v->dim[i];
  }
  a.slice.start[axis] = from;
  a.slice.dim[axis] = n;
  return fg_rule_append(g, FG_OP_slice, &a, 1, &x, out);
}

fgsm_status fg_rule_join(struct fg_graph *g, const char *name, int axis, int64_t n, fg_id *ids,
                         fg_id *out) {
  union fg_attrs a = {.axis = {.axis = axis}};
  fg_id made_ids[FG_MAX_OUT];
  while (n > 1) {
    int64_t made = 0;
    for (int64_t i = 0; i < n; i += FG_MAX_IN) {
      int part = (int)(n - i < FG_MAX_IN ? n - i : FG_MAX_IN);
      made_ids[0] = ids[i];
      if (part > 1)
        FG_TRY(fg_graph_add(g, FG_OP_concat, name, &a, part, ids + i, made_ids));
      ids[made++] = made_ids[0];
    }
    n = made;
  }
  *out = ids[0];
  return FGSM_OK;
}

fgsm_status fg_rule_choose(struct fg_graph *g, fg_id c, fg_id a, fg_id b, fg_id *out) {
  return fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){c, a, b}, out);
}

fgsm_status fg_rule_plain(const struct fg_unary_attrs *act) {
  if (act->kind != FG_UNARY_identity)
    return FG_FAIL(UNSUPPORTED, "a fused %s has no gradient: take gradients before fusing",
                   fg_unary_name(act->kind));
  return FGSM_OK;
}

fgsm_status fg_window_check(int64_t window, int64_t stride, int64_t dilation, int64_t lo,
                            int64_t hi) {
  if (window < 1 || stride < 1 || dilation < 1)
    return FG_FAIL(MODEL, "window %lld, stride %lld and dilation %lld must be at least 1",
                   (long long)window, (long long)stride, (long long)dilation);
  if (lo < 0 || hi < 0)
    return FG_FAIL(UNSUPPORTED, "negative padding (%lld, %lld): cut with Slice first",
                   (long long)lo, (long long)hi);
  if (window > MOST_WINDOW || stride > MOST_WINDOW || dilation > MOST_WINDOW || lo > MOST_WINDOW ||
      hi > MOST_WINDOW)
    return FG_FAIL(UNSUPPORTED,
                   "window %lld, stride %lld, dilation %lld or padding (%lld, %lld) is past %lld",
                   (long long)window, (long long)stride, (long long)dilation, (long long)lo,
                   (long long)hi, (long long)MOST_WINDOW);
  return FGSM_OK;
}

fgsm_status fg_window_places(int64_t in, int64_t window, int64_t stride, int64_t dilation,
                             int64_t lo, int64_t hi, int64_t *places) {
  FG_TRY(fg_window_check(window, stride, dilation, lo, hi));
  int64_t reach = (window - 1) * dilation + 1, padded;
  if (!fg_add_ok(in, lo + hi, &padded))
    return FG_FAIL(UNSUPPORTED, "an axis of %lld places is too long", (long long)in);
  if (padded < reach)
    return FG_FAIL(MODEL,
                   "a window that reaches over %lld places does not fit into %lld + %lld + %lld",
                   (long long)reach, (long long)lo, (long long)in, (long long)hi);
  *places = (padded - reach) / stride + 1;
  return FGSM_OK;
}
