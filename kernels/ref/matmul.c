/* matmul: batched products with broadcast leading axes, bias, residual and activation. Both
 * matrices are loaded into doubles first, so that the inner loops see no types. */
#include "ref.h"

struct sizes {
  int64_t m, n, k;
};

static struct sizes sizes_of(const struct fg_call *call) {
  const struct fg_matmul_attrs *t = &call->attrs->matmul;
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1];
  return (struct sizes){.m = a->dim[a->rank - (t->trans_a ? 1 : 2)],
                        .n = b->dim[b->rank - (t->trans_b ? 2 : 1)],
                        .k = a->dim[a->rank - (t->trans_a ? 2 : 1)]};
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 15, 1));
  const struct fg_matmul_attrs *t = &call->attrs->matmul;
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  const struct fg_tensor *bias = fg_ref_in(call, 2), *residual = fg_ref_in(call, 3);
  FG_REF_NEED(call, a->rank >= 2 && b->rank >= 2, "ranks %d and %d", a->rank, b->rank);
  FG_REF_NEED(call, (unsigned)t->act.kind < FG_UNARY_COUNT, "unknown activation");
  struct sizes s = sizes_of(call);
  FG_REF_NEED(call, b->dim[b->rank - (t->trans_b ? 1 : 2)] == s.k, "inner dims differ");
  struct fg_tensor lead_a = *a, lead_b = *b, lead_y = *y;
  FG_REF_NEED(call, y->rank >= 2 && y->dim[y->rank - 2] == s.m && y->dim[y->rank - 1] == s.n,
              "the result is not [..., %lld, %lld]", (long long)s.m, (long long)s.n);
  lead_a.rank -= 2, lead_b.rank -= 2, lead_y.rank -= 2;
  FG_REF_NEED(call,
              fg_ref_broadcasts_to((const struct fg_tensor *const[]){&lead_a, &lead_b}, 2, &lead_y),
              "leading axes do not broadcast to the result's");
  FG_REF_NEED(call, !bias || (bias->rank == 1 && bias->dim[0] == s.n), "bias is not [%lld]",
              (long long)s.n);
  FG_REF_NEED(call, !residual || fg_same_shape(residual, y), "residual and result differ in shape");
  FG_REF_NEED(call, !fg_ref_in(call, 4) || (!bias && !fg_ref_out(call, 1)),
              "a slope goes without bias and mask");
  FG_TRY(fg_ref_check_slope(call, 4, &t->act));
  FG_TRY(fg_ref_check_mask(call, fg_ref_out(call, 1), y, &t->act));
  call->scratch_bytes = (size_t)(s.m * s.k + s.k * s.n + s.n) * sizeof(double);
  return FGSM_OK;
}

/* Loads a matrix [rows, cols], transposed where asked, as [rows, cols] or [cols, rows]. */
static void load(const struct fg_tensor *t, int64_t at, int64_t rows, int64_t cols, bool transposed,
                 double *to) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++)
      to[i * cols + j] = fg_ref_get(t, at + (transposed ? j * rows + i : i * cols + j));
}

static void product(const struct fg_call *call, struct sizes s, const double *a, const double *b,
                    double *row, int64_t at) {
  const struct fg_matmul_attrs *t = &call->attrs->matmul;
  const struct fg_tensor *y = &call->out[0], *mask = fg_ref_out(call, 1);
  const struct fg_tensor *bias = fg_ref_in(call, 2), *residual = fg_ref_in(call, 3),
                         *slope_of = fg_ref_in(call, 4);
  for (int64_t i = 0; i < s.m; i++) {
    for (int64_t j = 0; j < s.n; j++)
      row[j] = 0;
    for (int64_t k = 0; k < s.k; k++)
      for (int64_t j = 0; j < s.n; j++)
        row[j] += a[i * s.k + k] * b[k * s.n + j];
    for (int64_t j = 0; j < s.n; j++) {
      double v = t->alpha * row[j];
      v = bias ? v + fg_ref_get(bias, j) : v;
      int64_t e = at + i * s.n + j;
      v = residual ? v + fg_ref_get(residual, e) : v;
      fg_ref_put(y, e,
                 slope_of
                     ? v * fg_ref_unary_slope(&t->act, fg_ref_get_slope_of(call, slope_of, y, e))
                     : fg_ref_unary_value(&t->act, v));
      if (mask)
        fg_ref_put_mask(call, mask, y, e, v > 0);
    }
  }
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_matmul_attrs *t = &call->attrs->matmul;
  struct sizes s = sizes_of(call);
  struct fg_tensor lead_a = call->in[0], lead_b = call->in[1], lead_y = call->out[0];
  double *a = scratch, *b = a + s.m * s.k, *row = b + s.k * s.n;
  int64_t stride_a[FG_MAX_RANK], stride_b[FG_MAX_RANK];
  lead_a.rank -= 2, lead_b.rank -= 2, lead_y.rank -= 2;
  fg_ref_broadcast(&lead_a, lead_y.rank, stride_a);
  fg_ref_broadcast(&lead_b, lead_y.rank, stride_b);
  struct fg_ref_walk w = {
      .rank = lead_y.rank, .dim = lead_y.dim, .stride = {stride_a, stride_b, NULL}};
  int64_t n = fg_count(&lead_y);
  for (int64_t i = 0; i < n; i++, fg_ref_step_walk(&w)) {
    load(&call->in[0], w.offset[0] * s.m * s.k, s.m, s.k, t->trans_a, a);
    load(&call->in[1], w.offset[1] * s.k * s.n, s.k, s.n, t->trans_b, b);
    product(call, s, a, b, row, i * s.m * s.n);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_matmul = {prepare, run, NULL};
