/* reduce: sum, mean, max, min, prod over a set of axes. Integers are summed and multiplied in
 * wrapping integers and have no mean; max and min propagate NaN; over no elements the sum is 0, the
 * mean NaN and the product 1. */
#include "ref.h"

static bool is_reduced(const struct fg_call *call, int axis) {
  return call->attrs->reduce.axes >> axis & 1;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  const struct fg_reduce_attrs *a = &call->attrs->reduce;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_REF_NEED(call, (unsigned)a->kind < FG_REDUCE_COUNT, "unknown kind %d", (int)a->kind);
  FG_REF_NEED(call, a->axes >> x->rank == 0, "axes beyond rank %d", x->rank);
  FG_REF_NEED(call, x->type == y->type, "types differ");
  FG_REF_NEED(call,
              fg_ref_is_real(x->type) || (fg_ref_is_int(x->type) && a->kind != FG_REDUCE_mean),
              "%s operand", fg_type_name(x->type));
  int rank = 0;
  for (int i = 0; i < x->rank; i++)
    if (!is_reduced(call, i) || a->keep) {
      FG_REF_NEED(call, rank < y->rank && y->dim[rank] == (is_reduced(call, i) ? 1 : x->dim[i]),
                  "the result has another shape");
      rank++;
    }
  FG_REF_NEED(call, rank == y->rank, "the result has rank %d, not %d", y->rank, rank);
  FG_REF_NEED(call,
              (a->kind != FG_REDUCE_max && a->kind != FG_REDUCE_min) || fg_count(x) > 0 ||
                  fg_count(y) == 0,
              "no elements to choose from");
  _Static_assert(sizeof(double) == sizeof(int64_t), "accumulators share the scratch");
  call->scratch_bytes = (size_t)fg_count(y) * (sizeof(double) + 1);
  return FGSM_OK;
}

static double real_fold(enum fg_reduce_kind kind, double a, double v) {
  if (kind == FG_REDUCE_max)
    return isnan(a) || a > v ? a : v;
  if (kind == FG_REDUCE_min)
    return isnan(a) || a < v ? a : v;
  return kind == FG_REDUCE_prod ? a * v : a + v;
}

static int64_t whole_fold(enum fg_reduce_kind kind, int64_t a, int64_t v) {
  if (kind == FG_REDUCE_max)
    return a > v ? a : v;
  if (kind == FG_REDUCE_min)
    return a < v ? a : v;
  if (kind == FG_REDUCE_prod)
    return (int64_t)((uint64_t)a * (uint64_t)v);
  return (int64_t)((uint64_t)a + (uint64_t)v);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  enum fg_reduce_kind kind = call->attrs->reduce.kind;
  int64_t stride[FG_MAX_RANK], n = fg_count(x), m = fg_count(y), next = 1;
  for (int i = x->rank - 1; i >= 0; i--) {
    stride[i] = is_reduced(call, i) ? 0 : next;
    next *= is_reduced(call, i) ? 1 : x->dim[i];
  }
  double *real = scratch;
  int64_t *whole = scratch;
  unsigned char *begun = (unsigned char *)scratch + m * (int64_t)sizeof(double);
  bool is_real = fg_ref_is_real(x->type);
  memset(scratch, 0, (size_t)m * (sizeof(double) + 1)); /* all bits zero: 0.0, 0 and false */
  struct fg_ref_walk w = {.rank = x->rank, .dim = x->dim, .stride = {stride, NULL, NULL}};
  for (int64_t i = 0; i < n; i++, fg_ref_step_walk(&w)) {
    int64_t o = w.offset[0];
    if (is_real)
      real[o] = begun[o] ? real_fold(kind, real[o], fg_ref_get(x, i)) : fg_ref_get(x, i);
    else
      whole[o] = begun[o] ? whole_fold(kind, whole[o], fg_ref_get_int(x, i)) : fg_ref_get_int(x, i);
    begun[o] = 1;
  }
  double share = m ? (double)n / (double)m : 1;
  for (int64_t o = 0; o < m; o++) {
    if (kind == FG_REDUCE_prod && !begun[o] && is_real)
      real[o] = 1;
    else if (kind == FG_REDUCE_prod && !begun[o])
      whole[o] = 1;
    if (is_real)
      fg_ref_put(y, o, kind == FG_REDUCE_mean ? real[o] / share : real[o]);
    else
      fg_ref_put_int(y, o, whole[o]);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_reduce = {prepare, run, NULL};
