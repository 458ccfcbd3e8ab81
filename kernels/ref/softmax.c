/* softmax, softmax_grad along one axis, and their logarithmic form.
 *   softmax: dx = y (dy - sum dy y);  log: dx = dy - exp(y) sum dy. */
#include "ref.h"

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, call->op == FG_OP_softmax ? 1 : 3, 1));
  FG_TRY(fg_ref_check_real(call, 3, 1));
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->softmax.axis;
  FG_REF_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  FG_REF_NEED(call, call->op == FG_OP_softmax || fg_same_shape(x, &call->in[1]), "shapes differ");
  return FGSM_OK;
}

/* One row of n elements, `step` apart. y may lie over x. */
static void row(const struct fg_tensor *x, const struct fg_tensor *y, int64_t at, int64_t n,
                int64_t step, bool logarithm) {
  double top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++)
    top = fmax(top, fg_ref_get(x, at + i * step));
  for (int64_t i = 0; i < n; i++)
    sum += exp(fg_ref_get(x, at + i * step) - top);
  for (int64_t i = 0; i < n; i++) {
    double d = fg_ref_get(x, at + i * step) - top;
    fg_ref_put(y, at + i * step, logarithm ? d - log(sum) : exp(d) / sum);
  }
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_softmax_attrs *a = &call->attrs->softmax;
  const struct fg_tensor *x = &call->in[0];
  int64_t outer = fg_ref_span(x, 0, a->axis), n = x->dim[a->axis];
  int64_t inner = fg_ref_span(x, a->axis + 1, x->rank);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++)
      row(x, &call->out[0], o * n * inner + i, n, inner, a->log);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_softmax = {prepare, run, NULL};

static void row_grad(const struct fg_call *call, int64_t at, int64_t n, int64_t step) {
  const struct fg_tensor *y = &call->in[0], *dy = &call->in[1];
  bool logarithm = call->attrs->softmax.log;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fg_ref_get(dy, at + i * step);
    sum += logarithm ? d : d * fg_ref_get(y, at + i * step);
  }
  for (int64_t i = 0; i < n; i++) {
    double d = fg_ref_get(dy, at + i * step), v = fg_ref_get(y, at + i * step);
    fg_ref_put(&call->out[0], at + i * step, logarithm ? d - exp(v) * sum : v * (d - sum));
  }
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->in[0];
  int axis = call->attrs->softmax.axis;
  int64_t outer = fg_ref_span(y, 0, axis), n = y->dim[axis];
  int64_t inner = fg_ref_span(y, axis + 1, y->rank);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++)
      row_grad(call, o * n * inner + i, n, inner);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_softmax_grad = {prepare, run_grad, NULL};
