/* From a matmul call to column-major products. */
#include "gemm.h"

/* A leading axis: its length, and how far each matrix moves along it. */
struct axis {
  int64_t n, first, second, result;
};

static int64_t matrix(const struct fg_tensor *t) {
  return t->dim[t->rank - 2] * t->dim[t->rank - 1];
}

/* Length of t's leading axis d of y's (counted from y's front), 1 where t has none. */
static int64_t lead(const struct fg_tensor *t, const struct fg_tensor *y, int d) {
  int own = d - (y->rank - t->rank);
  return own < 0 ? 1 : t->dim[own];
}

static fgsm_status check(const struct fg_call *call) {
  const struct fg_matmul_attrs *at = &call->attrs->matmul;
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, 15, 1));
  FG_TRY(fg_cuda_check_slope(call, 4, &at->act));
  FG_TRY(fg_cuda_check_mask(call, fg_cuda_out(call, 1), &at->act));
  FG_CUDA_NEED(call, a->type == b->type, "operands are %s and %s", fg_type_name(a->type),
               fg_type_name(b->type));
  FG_CUDA_NEED(call, a->rank >= 2 && b->rank >= 2 && y->rank >= 2, "ranks %d and %d", a->rank,
               b->rank);
  FG_CUDA_NEED(call, (unsigned)at->act.kind < FG_UNARY_COUNT, "unknown activation");
  int64_t m = a->dim[a->rank - (at->trans_a ? 1 : 2)], k = a->dim[a->rank - (at->trans_a ? 2 : 1)];
  int64_t n = b->dim[b->rank - (at->trans_b ? 2 : 1)];
  FG_CUDA_NEED(call, b->dim[b->rank - (at->trans_b ? 1 : 2)] == k, "inner dims differ");
  FG_CUDA_NEED(call, y->dim[y->rank - 2] == m && y->dim[y->rank - 1] == n, "the result's shape");
  FG_CUDA_NEED(call, a->rank <= y->rank && b->rank <= y->rank, "the result's rank");
  for (int d = 0; d < y->rank - 2; d++) {
    int64_t of_a = lead(a, y, d), of_b = lead(b, y, d);
    FG_CUDA_NEED(call,
                 (of_a == y->dim[d] || of_a == 1) && (of_b == y->dim[d] || of_b == 1) &&
                     (of_a == y->dim[d] || of_b == y->dim[d]),
                 "leading axes do not broadcast to the result's");
  }
  const struct fg_tensor *bias = fg_cuda_in(call, 2), *residual = fg_cuda_in(call, 3);
  FG_CUDA_NEED(call, !bias || (bias->rank == 1 && bias->dim[0] == n), "bias's shape");
  FG_CUDA_NEED(call, !residual || fg_same_shape(residual, y), "residual's shape");
  FG_CUDA_NEED(call, !fg_cuda_in(call, 4) || (!bias && !fg_cuda_out(call, 1)),
               "a slope goes without bias and mask");
  FG_CUDA_NEED(call, k > 0 || fg_count(y) == 0, "sums of nothing");
  return FGSM_OK;
}

/* The leading axes, those of length 1 left out, merged where every matrix goes on evenly. */
static int list_axes(const struct fg_call *call, struct axis *axes) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  int64_t far_first = matrix(b), far_second = matrix(a), far_result = matrix(y);
  int n = 0;
  for (int d = y->rank - 3; d >= 0; d--) { /* from the innermost out */
    int64_t of_b = lead(b, y, d), of_a = lead(a, y, d);
    struct axis now = {y->dim[d], of_b == 1 ? 0 : far_first, of_a == 1 ? 0 : far_second,
                       far_result};
    far_first *= of_b;
    far_second *= of_a;
    far_result *= y->dim[d];
    if (now.n == 1)
      continue;
    struct axis *last = n ? &axes[n - 1] : NULL;
    if (last && now.first == last->first * last->n && now.second == last->second * last->n &&
        now.result == last->result * last->n)
      last->n *= now.n;
    else
      axes[n++] = now;
  }
  return n;
}

fgsm_status fg_cuda_gemm(const struct fg_call *call, struct fg_gemm *out) {
  struct axis axes[FG_MAX_RANK];
  FG_TRY(check(call));
  const struct fg_matmul_attrs *at = &call->attrs->matmul;
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  int n = list_axes(call, axes), from = 0;
  *out = (struct fg_gemm){.m = y->dim[y->rank - 1],
                          .n = y->dim[y->rank - 2],
                          .k = a->dim[a->rank - (at->trans_a ? 2 : 1)],
                          .trans_first = at->trans_b,
                          .trans_second = at->trans_a,
                          .ld_first = b->dim[b->rank - 1],
                          .ld_second = a->dim[a->rank - 1],
                          .ld_result = y->dim[y->rank - 1],
                          .batch = 1};
  /* One b for all of them: the batch is only more columns. */
  if (n && axes[0].first == 0 && !at->trans_a && axes[0].second == out->n * out->ld_second &&
      axes[0].result == out->n * out->ld_result) {
    out->n *= axes[0].n;
    from = 1;
  }
  if (from < n) {
    out->batch = axes[from].n;
    out->step_first = axes[from].first;
    out->step_second = axes[from].second;
    out->step_result = axes[from].result;
    from++;
  }
  for (int i = from; i < n; i++) {
    out->count[out->loops] = axes[i].n;
    out->loop_first[out->loops] = axes[i].first;
    out->loop_second[out->loops] = axes[i].second;
    out->loop_result[out->loops++] = axes[i].result;
  }
  return FGSM_OK;
}

int64_t fg_cuda_gemm_calls(const struct fg_gemm *g) {
  int64_t n = 1;
  for (int i = 0; i < g->loops; i++)
    n *= g->count[i];
  return n;
}

void fg_cuda_gemm_offsets(const struct fg_gemm *g, int64_t i, int64_t *first, int64_t *second,
                          int64_t *result) {
  *first = *second = *result = 0;
  for (int d = 0; d < g->loops; d++) {
    int64_t at = i % g->count[d];
    i /= g->count[d];
    *first += at * g->loop_first[d];
    *second += at * g->loop_second[d];
    *result += at * g->loop_result[d];
  }
}
