/* quantize: bytes that keep to the ball, and what they cost. */
#include "ref.h"

enum { X, X0, PARAMS };
enum { Q, STATS };

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 7, 1));
  FG_TRY(fg_ref_check_real(call, 3, 1 << STATS));
  const struct fg_tensor *x = &call->in[X], *stats = fg_ref_out(call, STATS);
  FG_REF_NEED(call, x->rank >= 1, "x has no batch axis");
  FG_REF_NEED(call, fg_same_shape(x, &call->in[X0]) && fg_same_shape(x, &call->out[Q]),
              "shapes differ");
  FG_REF_NEED(call, call->out[Q].type == FG_U8, "q is %s", fg_type_name(call->out[Q].type));
  FG_REF_NEED(call,
              !stats || (stats->rank == 2 && stats->dim[0] == x->dim[0] && stats->dim[1] == 2),
              "stats are not [N, 2]");
  FG_REF_NEED(call, fg_ref_are_params(&call->in[PARAMS], x->dim[0]), "params are not float64 [%d]",
              (int)FG_PARAM_COUNT);
  return FGSM_OK;
}

/* The whole number in lo..hi (within 0..255) nearest to v; halves go up, NaN to lo. */
static double nearest(double v, double lo, double hi) {
  v = floor(v + 0.5);
  return v >= hi ? hi : v > lo ? v : lo;
}

/* Levels by which x0, a byte over 255 rounded to float32, may lie off the lattice. */
static const double SLACK = 2e-5;

static double byte_of(double x, double x0, double eps, bool project) {
  double lo = 0, hi = 255;
  if (project) {
    lo = fmax(lo, ceil(255 * (x0 - eps) - SLACK));
    hi = fmin(hi, floor(255 * (x0 + eps) + SLACK));
  }
  return lo <= hi && !isnan(x) ? nearest(255 * x, lo, hi) : nearest(255 * x0, 0, 255);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_step_attrs *a = &call->attrs->step;
  const struct fg_tensor *x = &call->in[X], *x0 = &call->in[X0];
  int64_t n = fg_ref_features(x);
  for (int64_t s = 0; s < x->dim[0]; s++) {
    double eps = fg_ref_params(&call->in[PARAMS], s)[FG_PARAM_eps], linf = 0, squares = 0;
    for (int64_t i = s * n; i < (s + 1) * n; i++) {
      double from = fg_ref_get(x0, i);
      double q = byte_of(fg_ref_get(x, i), from, eps, a->project && a->norm == FG_NORM_linf);
      double d = fabs(q / 255 - from);
      linf = d > linf ? d : linf;
      squares += d * d;
      fg_ref_put(&call->out[Q], i, q);
    }
    if (fg_ref_out(call, STATS)) {
      fg_ref_put(&call->out[STATS], s * 2, linf);
      fg_ref_put(&call->out[STATS], s * 2 + 1, sqrt(squares));
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_quantize = {prepare, run, NULL};
