/* cumsum: running sums along an axis, in double or in wrapping integers. */
#include "ref.h"

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->cumsum.axis;
  FG_REF_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]) && x->type == call->out[0].type,
              "the result has another shape or type");
  FG_REF_NEED(call, fg_ref_is_real(x->type) || (fg_ref_is_int(x->type) && x->type != FG_BOOL),
              "%s operand", fg_type_name(x->type));
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_cumsum_attrs *a = &call->attrs->cumsum;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t outer = fg_ref_span(x, 0, a->axis), inner = fg_ref_span(x, a->axis + 1, x->rank);
  int64_t n = x->dim[a->axis];
  for (int64_t line = 0; line < outer * inner; line++) {
    int64_t start = line / inner * n * inner + line % inner;
    double real = 0;
    uint64_t whole = 0;
    for (int64_t k = 0; k < n; k++) {
      int64_t at = start + (a->reverse ? n - 1 - k : k) * inner;
      double before = real;
      uint64_t whole_before = whole;
      if (fg_ref_is_real(x->type)) {
        real += fg_ref_get(x, at);
        fg_ref_put(y, at, a->exclusive ? before : real);
      } else {
        whole += (uint64_t)fg_ref_get_int(x, at);
        fg_ref_put_int(y, at, (int64_t)(a->exclusive ? whole_before : whole));
      }
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_cumsum = {prepare, run, NULL};
