/* affine, batch_norm: a scale and a shift for each place along one axis. */
#include "ref.h"

/* Whether t is absent or [C]. */
static bool is_channel(const struct fg_tensor *t, int64_t c) {
  return !t || (t->rank == 1 && t->dim[0] == c);
}

static fgsm_status prepare_affine(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  FG_TRY(fg_ref_check_real(call, 7, 1));
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->affine.axis;
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  FG_REF_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_REF_NEED(call, (unsigned)call->attrs->affine.act.kind < FG_UNARY_COUNT, "unknown activation");
  for (int i = 1; i < 3; i++)
    FG_REF_NEED(call, is_channel(fg_ref_in(call, i), x->dim[axis]), "input %d is not [%lld]", i,
                (long long)x->dim[axis]);
  return FGSM_OK;
}

static fgsm_status run_affine(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_affine_attrs *a = &call->attrs->affine;
  const struct fg_tensor *x = &call->in[0], *scale = fg_ref_in(call, 1),
                         *shift = fg_ref_in(call, 2);
  int64_t n = fg_count(x), inner = fg_ref_span(x, a->axis + 1, x->rank);
  for (int64_t i = 0; i < n; i++) {
    int64_t c = i / inner % x->dim[a->axis];
    double v = fg_ref_get(x, i);
    v = scale ? v * fg_ref_get(scale, c) : v;
    v = shift ? v + fg_ref_get(shift, c) : v;
    fg_ref_put(&call->out[0], i, fg_ref_unary_value(&a->act, v));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_affine = {prepare_affine, run_affine, NULL};

static fgsm_status prepare_batch_norm(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 31, 1));
  FG_TRY(fg_ref_check_real(call, 31, 1));
  const struct fg_tensor *x = &call->in[0];
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  FG_REF_NEED(call, x->rank >= 2, "rank %d has no channel axis", x->rank);
  for (int i = 1; i < 5; i++)
    FG_REF_NEED(call, is_channel(&call->in[i], x->dim[1]), "input %d is not [%lld]", i,
                (long long)x->dim[1]);
  return FGSM_OK;
}

static fgsm_status run_batch_norm(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0];
  int64_t n = fg_count(x), inner = fg_ref_span(x, 2, x->rank);
  for (int64_t i = 0; i < n; i++) {
    int64_t c = i / inner % x->dim[1];
    double scale = fg_ref_get(&call->in[1], c), bias = fg_ref_get(&call->in[2], c);
    double mean = fg_ref_get(&call->in[3], c), var = fg_ref_get(&call->in[4], c);
    double y = (fg_ref_get(x, i) - mean) / sqrt(var + call->attrs->batch_norm.epsilon);
    fg_ref_put(&call->out[0], i, y * scale + bias);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_batch_norm = {prepare_batch_norm, run_batch_norm, NULL};
