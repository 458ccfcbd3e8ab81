/* cast: integers to integers keep their low bits, to reals round once; reals to integers truncate
 * toward zero and saturate, NaN giving 0. */
#include "ref.h"

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_REF_NEED(call, fg_same_shape(x, y), "shapes differ");
  FG_REF_NEED(call, y->type == (enum fg_type)call->attrs->cast.type, "the result is %s",
              fg_type_name(y->type));
  FG_REF_NEED(call,
              (fg_ref_is_real(x->type) || fg_ref_is_int(x->type)) &&
                  (fg_ref_is_real(y->type) || fg_ref_is_int(y->type)),
              "%s to %s", fg_type_name(x->type), fg_type_name(y->type));
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  double divisor = x->type == FG_U8 && fg_ref_is_real(y->type) ? call->attrs->cast.divisor : 0;
  int64_t n = fg_count(x);
  for (int64_t i = 0; i < n; i++) {
    if (fg_ref_is_real(x->type))
      fg_ref_put(y, i, fg_ref_get(x, i));
    else if (fg_ref_is_int(y->type))
      fg_ref_put_int(y, i, fg_ref_get_int(x, i));
    else if (divisor != 0)
      fg_ref_put(y, i, fg_ref_get(x, i) / divisor);
    else if (y->type == FG_F32)
      ((float *)y->data)[i] = (float)fg_ref_get_int(x, i);
    else
      fg_ref_put(y, i, fg_ref_get(x, i));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_cast = {prepare, run, NULL};
