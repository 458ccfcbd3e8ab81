/* top: where the k best elements of each line lie. The positions of a line are sorted by merging;
 * the order is total, since positions decide between equals. */
#include "ref.h"

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  const struct fg_top_attrs *a = &call->attrs->top;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_REF_NEED(call, a->axis >= 0 && a->axis < x->rank, "axis %d of rank %d", a->axis, x->rank);
  FG_REF_NEED(call, fg_ref_is_real(x->type) || fg_ref_is_int(x->type), "%s operand",
              fg_type_name(x->type));
  FG_REF_NEED(call, y->type == FG_I64 && y->rank == x->rank, "the result is %s of rank %d",
              fg_type_name(y->type), y->rank);
  FG_REF_NEED(call, a->k >= 0 && a->k <= x->dim[a->axis], "%lld of %lld elements", (long long)a->k,
              (long long)x->dim[a->axis]);
  for (int i = 0; i < x->rank; i++)
    FG_REF_NEED(call, y->dim[i] == (i == a->axis ? a->k : x->dim[i]), "dim %d of the result", i);
  call->scratch_bytes = (size_t)x->dim[a->axis] * 2 * sizeof(int64_t);
  return FGSM_OK;
}

/* A line: element i is x[start + i * step]. */
struct line {
  const struct fg_top_attrs *attrs;
  const struct fg_tensor *x;
  int64_t start, step;
};

/* Whether the element at position a comes before that at b. */
static bool precedes(const struct line *l, int64_t a, int64_t b) {
  int64_t at = l->start + a * l->step, bt = l->start + b * l->step;
  int sign = 0;
  if (fg_ref_is_real(l->x->type)) {
    double va = fg_ref_get(l->x, at), vb = fg_ref_get(l->x, bt);
    if (isnan(va) || isnan(vb))
      return isnan(va) && isnan(vb) ? (a < b) != l->attrs->last : isnan(va);
    sign = (va > vb) - (va < vb);
  } else {
    int64_t va = fg_ref_get_int(l->x, at), vb = fg_ref_get_int(l->x, bt);
    sign = (va > vb) - (va < vb);
  }
  if (sign == 0)
    return (a < b) != l->attrs->last;
  return (sign > 0) != l->attrs->smallest;
}

/* Sorts the positions 0 .. n-1 of a line into one half of `room`, which is returned. */
static const int64_t *sort(const struct line *l, int64_t *room, int64_t n) {
  int64_t *from = room, *to = room + n;
  for (int64_t i = 0; i < n; i++)
    from[i] = i;
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t lo = 0; lo < n; lo += 2 * width) {
      int64_t mid = fg_ref_min(lo + width, n), hi = fg_ref_min(lo + 2 * width, n);
      for (int64_t i = lo, j = mid, at = lo; at < hi; at++)
        to[at] = j >= hi || (i < mid && precedes(l, from[i], from[j])) ? from[i++] : from[j++];
    }
    int64_t *swap = from;
    from = to;
    to = swap;
  }
  return from;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_top_attrs *a = &call->attrs->top;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t outer = fg_ref_span(x, 0, a->axis), inner = fg_ref_span(x, a->axis + 1, x->rank);
  int64_t n = x->dim[a->axis];
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++) {
      struct line l = {a, x, o * n * inner + i, inner};
      const int64_t *order = sort(&l, scratch, n);
      for (int64_t k = 0; k < a->k; k++)
        fg_ref_put_int(y, (o * a->k + k) * inner + i, order[k]);
    }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_top = {prepare, run, NULL};
