/* affine, batch_norm: y = act(x * scale[c] + shift[c]), c along one axis. batch_norm is an affine
 * whose scale and shift are worked out first, into scratch. The activation follows on each row
 * while it is in cache. */
#include "unary.h"

#include <math.h>

/* x seen as [outer, C, inner]; when blocked (axis 1) as [N, C / lanes, spatial, lanes], where the
 * scale varies along the last. */
struct affine {
  const float *x, *scale, *shift;
  float *y;
  int64_t c, inner, lanes;
  const struct fg_unary_attrs *act;
};

FG_CLONES static void row_fixed(const float *x, float *y, float scale, float shift, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    y[i] = x[i] * scale + shift;
}

FG_CLONES static void row_varying(const float *x, float *y, const float *scale, const float *shift,
                                  int64_t n) {
  if (scale && shift) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = x[i] * scale[i] + shift[i];
  } else if (scale) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = x[i] * scale[i];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = x[i] + (shift ? shift[i] : 0.0f);
  }
}

/* Items: planes of `inner` elements with one channel. */
static void planes(const void *ctx, int64_t begin, int64_t end) {
  const struct affine *a = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t c = i % a->c;
    float *y = a->y + i * a->inner;
    row_fixed(a->x + i * a->inner, y, a->scale ? a->scale[c] : 1.0f, a->shift ? a->shift[c] : 0.0f,
              a->inner);
    fg_cpu_act(a->act, y, a->inner);
  }
}

/* Items: rows over which the channel runs through all of C (inner is 1). */
static void rows(const void *ctx, int64_t begin, int64_t end) {
  const struct affine *a = ctx;
  for (int64_t i = begin; i < end; i++) {
    row_varying(a->x + i * a->c, a->y + i * a->c, a->scale, a->shift, a->c);
    fg_cpu_act(a->act, a->y + i * a->c, a->c);
  }
}

/* Items: blocked planes, [inner, lanes]. */
FG_CLONES static void blocked_plane(const float *x, float *y, const float *scale,
                                    const float *shift, int64_t n, int64_t lanes) {
  for (int64_t i = 0; i < n; i++)
#pragma omp simd
    for (int64_t l = 0; l < lanes; l++)
      y[i * lanes + l] = x[i * lanes + l] * scale[l] + shift[l];
}

static void blocked(const void *ctx, int64_t begin, int64_t end) {
  const struct affine *a = ctx;
  float scale[16], shift[16];
  for (int64_t i = begin; i < end; i++) {
    int64_t c = i % (a->c / a->lanes) * a->lanes, n = a->inner * a->lanes;
    for (int64_t l = 0; l < a->lanes; l++) {
      scale[l] = a->scale ? a->scale[c + l] : 1.0f;
      shift[l] = a->shift ? a->shift[c + l] : 0.0f;
    }
    blocked_plane(a->x + i * n, a->y + i * n, scale, shift, a->inner, a->lanes);
    fg_cpu_act(a->act, a->y + i * n, n);
  }
}

static void compute(struct affine *a, const struct fg_tensor *x, int axis) {
  int64_t outer = fg_cpu_span(x, 0, axis);
  a->c = x->dim[axis];
  a->inner = fg_cpu_span(x, axis + 1, x->rank);
  if (fg_count(x) == 0)
    return;
  if (x->layout == FG_BLOCKED) {
    a->lanes = fg_cpu_block();
    double each = (double)(a->inner * a->lanes);
    fg_cpu_parallel(outer * a->c / a->lanes, 1, 5 + 0.4 * each, blocked, a);
  } else if (a->inner == 1) {
    fg_cpu_parallel(outer, 1, 5 + 0.4 * (double)a->c, rows, a);
  } else {
    fg_cpu_parallel(outer * a->c, 1, 5 + 0.4 * (double)a->inner, planes, a);
  }
}

static fgsm_status prepare_affine(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, call->n_in, 1));
  if (call->in[0].layout != call->out[0].layout ||
      (call->in[0].layout == FG_BLOCKED && call->attrs->affine.axis != 1))
    return FG_FAIL(UNSUPPORTED, "cpu: affine of such layouts");
  return FGSM_OK;
}

static fgsm_status run_affine(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  struct affine a = {.x = call->in[0].data,
                     .scale = call->n_in > 1 && fg_cpu_present(&call->in[1]) ? call->in[1].data : 0,
                     .shift = call->n_in > 2 && fg_cpu_present(&call->in[2]) ? call->in[2].data : 0,
                     .y = call->out[0].data,
                     .act = &call->attrs->affine.act};
  compute(&a, &call->in[0], call->attrs->affine.axis);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_affine = {prepare_affine, run_affine, NULL};

static fgsm_status prepare_batch_norm(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, 5, 1));
  FG_TRY(fg_cpu_need_plain(call));
  if (call->in[0].rank < 2)
    return FG_FAIL(UNSUPPORTED, "cpu: batch_norm needs a channel axis");
  call->scratch_bytes = 2 * sizeof(float) * (size_t)call->in[0].dim[1];
  return FGSM_OK;
}

/* (x - mean) r scale + bias is folded in double, so that a large mean costs one rounding. */
static fgsm_status run_batch_norm(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  static const struct fg_unary_attrs none = {.kind = FG_UNARY_identity};
  const struct fg_tensor *x = &call->in[0];
  const float *gain = call->in[1].data, *bias = call->in[2].data;
  const float *mean = call->in[3].data, *var = call->in[4].data;
  float *scale = scratch, *shift = scale + x->dim[1];
  for (int64_t c = 0; c < x->dim[1]; c++) {
    double r = gain[c] / sqrt((double)var[c] + call->attrs->batch_norm.epsilon);
    scale[c] = (float)r;
    shift[c] = (float)(bias[c] - mean[c] * r);
  }
  struct affine a = {
      .x = x->data, .scale = scale, .shift = shift, .y = call->out[0].data, .act = &none};
  compute(&a, x, 1);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_batch_norm = {prepare_batch_norm, run_batch_norm, NULL};
