/* gather, gather_grad: rows of x by index along one axis. y's shape is x's with that axis replaced
 * by the index's dims. An index out of range is bad data, found in run. */
#include "ref.h"

/* x is the side that is indexed, y the one that has a row for each index. */
static fgsm_status check(const struct fg_call *call, const struct fg_tensor *x,
                         const struct fg_tensor *index, const struct fg_tensor *y) {
  int axis = call->attrs->axis.axis;
  FG_REF_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_REF_NEED(call, index->type == FG_I64 || index->type == FG_I32, "the index is %s",
              fg_type_name(index->type));
  FG_REF_NEED(call, x->type == y->type, "types differ");
  FG_REF_NEED(call, y->rank == x->rank - 1 + index->rank, "the result has rank %d", y->rank);
  for (int i = 0; i < y->rank; i++) {
    int64_t want = i < axis                 ? x->dim[i]
                   : i < axis + index->rank ? index->dim[i - axis]
                                            : x->dim[i - index->rank + 1];
    FG_REF_NEED(call, y->dim[i] == want, "dim %d of the result is not %lld", i, (long long)want);
  }
  return FGSM_OK;
}

/* The row that index i names, or -1. */
static int64_t row_of(const struct fg_tensor *index, int64_t i, int64_t rows) {
  int64_t r = fg_ref_get_int(index, i);
  r = r < 0 ? r + rows : r;
  return r >= 0 && r < rows ? r : -1;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 1));
  return check(call, &call->in[0], &call->in[1], &call->out[0]);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *index = &call->in[1], *y = &call->out[0];
  int axis = call->attrs->axis.axis;
  int64_t outer = fg_ref_span(x, 0, axis), rows = x->dim[axis], n = fg_count(index);
  int64_t bytes = fg_ref_span(x, axis + 1, x->rank) * (int64_t)fg_type_size(x->type);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < n; i++) {
      int64_t r = row_of(index, i, rows);
      if (r < 0)
        return FG_FAIL(DATA, "ref: gather: index %lld of %lld rows",
                       (long long)fg_ref_get_int(index, i), (long long)rows);
      memcpy((char *)y->data + (o * n + i) * bytes, (const char *)x->data + (o * rows + r) * bytes,
             (size_t)bytes);
    }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_gather = {prepare, run, NULL};

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 1, 1));
  FG_TRY(check(call, &call->out[0], &call->in[1], &call->in[0]));
  call->scratch_bytes = (size_t)fg_count(&call->out[0]) * sizeof(double);
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *dy = &call->in[0], *index = &call->in[1], *dx = &call->out[0];
  int axis = call->attrs->axis.axis;
  int64_t outer = fg_ref_span(dx, 0, axis), rows = dx->dim[axis], n = fg_count(index);
  int64_t inner = fg_ref_span(dx, axis + 1, dx->rank), count = fg_count(dx);
  double *sum = scratch;
  for (int64_t i = 0; i < count; i++)
    sum[i] = 0;
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < n; i++) {
      int64_t r = row_of(index, i, rows);
      if (r < 0)
        return FG_FAIL(DATA, "ref: gather_grad: index %lld of %lld rows",
                       (long long)fg_ref_get_int(index, i), (long long)rows);
      for (int64_t j = 0; j < inner; j++)
        sum[(o * rows + r) * inner + j] += fg_ref_get(dy, (o * n + i) * inner + j);
    }
  fg_ref_store(dx, 0, count, sum);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_gather_grad = {prepare_grad, run_grad, NULL};
