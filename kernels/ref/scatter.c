/* scatter: a copy of x, into whose rows those of u are put, one after the other as the index lists
 * them. An index out of range is bad data, found in run. */
#include "ref.h"

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 7, 1));
  const struct fg_tensor *x = &call->in[0], *index = &call->in[1], *u = &call->in[2];
  enum fg_scatter_kind kind = call->attrs->scatter.kind;
  FG_REF_NEED(call, (unsigned)kind < FG_SCATTER_COUNT, "unknown kind %d", (int)kind);
  FG_REF_NEED(call, index->type == FG_I64 || index->type == FG_I32, "the index is %s",
              fg_type_name(index->type));
  FG_REF_NEED(call, x->type == u->type && x->type == call->out[0].type, "types differ");
  FG_REF_NEED(call,
              kind == FG_SCATTER_none || fg_ref_is_real(x->type) ||
                  (fg_ref_is_int(x->type) && x->type != FG_BOOL),
              "arithmetic of %s", fg_type_name(x->type));
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]), "the result has another shape");
  FG_REF_NEED(call, x->rank >= 1 && u->rank == x->rank && index->rank == 1, "ranks do not fit");
  FG_REF_NEED(call, u->dim[0] == index->dim[0], "%lld rows for %lld indices", (long long)u->dim[0],
              (long long)index->dim[0]);
  for (int i = 1; i < x->rank; i++)
    FG_REF_NEED(call, u->dim[i] == x->dim[i], "rows of another shape");
  return FGSM_OK;
}

static double real_value(enum fg_scatter_kind kind, double a, double b) {
  switch (kind) {
  case FG_SCATTER_add:
    return a + b;
  case FG_SCATTER_mul:
    return a * b;
  case FG_SCATTER_max:
    return isnan(a) || a > b ? a : b;
  default:
    return isnan(a) || a < b ? a : b;
  }
}

static int64_t whole_value(enum fg_scatter_kind kind, int64_t a, int64_t b) {
  switch (kind) {
  case FG_SCATTER_add:
    return (int64_t)((uint64_t)a + (uint64_t)b);
  case FG_SCATTER_mul:
    return (int64_t)((uint64_t)a * (uint64_t)b);
  case FG_SCATTER_max:
    return a > b ? a : b;
  default:
    return a < b ? a : b;
  }
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *index = &call->in[1], *u = &call->in[2];
  const struct fg_tensor *y = &call->out[0];
  enum fg_scatter_kind kind = call->attrs->scatter.kind;
  int64_t rows = x->dim[0], n = fg_count(index), inner = fg_ref_span(x, 1, x->rank);
  size_t bytes = (size_t)inner * fg_type_size(x->type);
  if (fg_bytes(x))
    memcpy(y->data, x->data, fg_bytes(x));
  for (int64_t m = 0; m < n; m++) {
    int64_t r = fg_ref_get_int(index, m);
    r += r < 0 ? rows : 0;
    if (r < 0 || r >= rows)
      return FG_FAIL(DATA, "ref: scatter: index %lld of %lld rows",
                     (long long)fg_ref_get_int(index, m), (long long)rows);
    if (kind == FG_SCATTER_none && bytes)
      memcpy((char *)y->data + (size_t)r * bytes, (const char *)u->data + (size_t)m * bytes, bytes);
    for (int64_t j = 0; kind != FG_SCATTER_none && j < inner; j++) {
      int64_t at = r * inner + j, from = m * inner + j;
      if (fg_ref_is_real(x->type))
        fg_ref_put(y, at, real_value(kind, fg_ref_get(y, at), fg_ref_get(u, from)));
      else
        fg_ref_put_int(y, at, whole_value(kind, fg_ref_get_int(y, at), fg_ref_get_int(u, from)));
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_scatter = {prepare, run, NULL};
