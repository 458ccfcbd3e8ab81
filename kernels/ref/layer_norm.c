/* layer_norm, layer_norm_grad: statistics over the last axes of each row.
 *
 *   xhat = (x - mean) rstd,  y = xhat scale + bias;  with g = dy scale:
 *   dx = rstd (g - mean(g) - xhat mean(g xhat)),  dscale = sum dy xhat,  dbias = sum dy over rows.
 */
#include "ref.h"

/* t is absent or has x's last axes' shape. */
static bool is_row(const struct fg_tensor *t, const struct fg_tensor *x, int axis) {
  if (!t)
    return true;
  if (t->rank != x->rank - axis)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != x->dim[axis + i])
      return false;
  return true;
}

/* t is absent or has x's shape with the last axes 1. */
static bool is_statistic(const struct fg_tensor *t, const struct fg_tensor *x, int axis) {
  if (!t)
    return true;
  if (t->rank != x->rank)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != (i < axis ? x->dim[i] : 1))
      return false;
  return true;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  FG_TRY(fg_ref_check_real(call, 7, 7));
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->layer_norm.axis;
  FG_REF_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  for (int i = 1; i < 3; i++) {
    FG_REF_NEED(call, is_row(fg_ref_in(call, i), x, axis), "input %d has another shape", i);
    FG_REF_NEED(call, is_statistic(fg_ref_out(call, i), x, axis), "output %d has another shape", i);
  }
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_layer_norm_attrs *a = &call->attrs->layer_norm;
  const struct fg_tensor *x = &call->in[0], *scale = fg_ref_in(call, 1), *bias = fg_ref_in(call, 2);
  int64_t rows = fg_ref_span(x, 0, a->axis), n = fg_ref_span(x, a->axis, x->rank);
  for (int64_t r = 0; r < rows; r++) {
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++)
      mean += fg_ref_get(x, r * n + i) / (double)n;
    for (int64_t i = 0; i < n; i++) {
      double d = fg_ref_get(x, r * n + i) - mean;
      var += d * d / (double)n;
    }
    double rstd = 1 / sqrt(var + a->epsilon);
    for (int64_t i = 0; i < n; i++) {
      double y = (fg_ref_get(x, r * n + i) - mean) * rstd;
      y = scale ? y * fg_ref_get(scale, i) : y;
      fg_ref_put(&call->out[0], r * n + i, bias ? y + fg_ref_get(bias, i) : y);
    }
    if (fg_ref_out(call, 1))
      fg_ref_put(&call->out[1], r, mean);
    if (fg_ref_out(call, 2))
      fg_ref_put(&call->out[2], r, rstd);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_layer_norm = {prepare, run, NULL};

enum { DY, X, SCALE, MEAN, RSTD };
enum { DX, DSCALE, DBIAS };

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1 << DY | 1 << X | 1 << MEAN | 1 << RSTD, 0));
  FG_TRY(fg_ref_check_real(call, 31, 7));
  const struct fg_tensor *x = &call->in[X], *dx = fg_ref_out(call, DX);
  int axis = call->attrs->layer_norm.axis;
  FG_REF_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_REF_NEED(call, fg_same_shape(x, &call->in[DY]) && (!dx || fg_same_shape(x, dx)),
              "shapes differ");
  FG_REF_NEED(call,
              is_row(fg_ref_in(call, SCALE), x, axis) &&
                  is_row(fg_ref_out(call, DSCALE), x, axis) &&
                  is_row(fg_ref_out(call, DBIAS), x, axis),
              "scale, dscale or dbias has another shape");
  FG_REF_NEED(call,
              is_statistic(&call->in[MEAN], x, axis) && is_statistic(&call->in[RSTD], x, axis),
              "mean or rstd has another shape");
  call->scratch_bytes = 2 * (size_t)fg_ref_span(x, axis, x->rank) * sizeof(double);
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *x = &call->in[X], *dy = &call->in[DY], *scale = fg_ref_in(call, SCALE);
  int axis = call->attrs->layer_norm.axis;
  int64_t rows = fg_ref_span(x, 0, axis), n = fg_ref_span(x, axis, x->rank);
  double *dscale = scratch, *dbias = dscale + n;
  for (int64_t i = 0; i < n; i++)
    dscale[i] = dbias[i] = 0;
  for (int64_t r = 0; r < rows; r++) {
    double mean = fg_ref_get(&call->in[MEAN], r), rstd = fg_ref_get(&call->in[RSTD], r);
    double sum_g = 0, sum_gx = 0;
    for (int64_t i = 0; i < n; i++) {
      double d = fg_ref_get(dy, r * n + i), xhat = (fg_ref_get(x, r * n + i) - mean) * rstd;
      double g = scale ? d * fg_ref_get(scale, i) : d;
      sum_g += g / (double)n;
      sum_gx += g * xhat / (double)n;
      dscale[i] += d * xhat;
      dbias[i] += d;
    }
    for (int64_t i = 0; fg_ref_out(call, DX) && i < n; i++) {
      double d = fg_ref_get(dy, r * n + i), xhat = (fg_ref_get(x, r * n + i) - mean) * rstd;
      double g = scale ? d * fg_ref_get(scale, i) : d;
      fg_ref_put(&call->out[DX], r * n + i, rstd * (g - sum_g - xhat * sum_gx));
    }
  }
  if (fg_ref_out(call, DSCALE))
    fg_ref_store(&call->out[DSCALE], 0, n, dscale);
  if (fg_ref_out(call, DBIAS))
    fg_ref_store(&call->out[DBIAS], 0, n, dbias);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_layer_norm_grad = {prepare_grad, run_grad, NULL};
