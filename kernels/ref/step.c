/* step: one step of the attack and back into what is allowed (attrs.h has the formulas).
 *
 * What it promises, whatever the tensor's type: x' lies in the box, and for linf |x' - x0| <= eps
 * in real arithmetic; the box wins over the ball where x0 itself lies outside of it by more than
 * eps. Both are made true by moving to a neighbouring number, never by a tolerance. */
#include "ref.h"

#include <stdlib.h>

enum { X0, X, G, M, EPS_MAP, MASK, PARAMS };
enum { NEXT, M_NEXT, STATS };

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1 << X0 | 1 << X | 1 << G | 1 << PARAMS, 1 << NEXT));
  FG_TRY(fg_ref_check_real(call, 1 << X0 | 1 << X | 1 << G | 1 << M,
                           1 << NEXT | 1 << M_NEXT | 1 << STATS));
  const struct fg_step_attrs *a = &call->attrs->step;
  const struct fg_tensor *x0 = &call->in[X0], *stats = fg_ref_out(call, STATS);
  FG_REF_NEED(call, x0->rank >= 1, "x0 has no batch axis");
  for (int i = X; i <= M; i++)
    FG_REF_NEED(call, !fg_ref_in(call, i) || fg_same_shape(x0, &call->in[i]),
                "input %d has another shape than x0", i);
  for (int i = NEXT; i <= M_NEXT; i++)
    FG_REF_NEED(call, !fg_ref_out(call, i) || fg_same_shape(x0, &call->out[i]),
                "output %d has another shape than x0", i);
  FG_REF_NEED(call, fg_ref_in(call, M) || !fg_ref_out(call, M_NEXT), "no momentum to continue");
  FG_REF_NEED(call,
              !stats || (stats->rank == 2 && stats->dim[0] == x0->dim[0] && stats->dim[1] == 3),
              "stats are not [N, 3]");
  FG_REF_NEED(call,
              fg_ref_is_feature(fg_ref_in(call, EPS_MAP), x0) &&
                  fg_ref_is_feature(fg_ref_in(call, MASK), x0),
              "eps_map or mask has another shape than a sample");
  FG_REF_NEED(call, fg_ref_are_params(&call->in[PARAMS], x0->dim[0]), "params are not float64 [%d]",
              (int)FG_PARAM_COUNT);
  FG_REF_NEED(call, a->norm >= FG_NORM_linf && a->norm <= FG_NORM_l1, "unknown norm");
  call->scratch_bytes = 3 * (size_t)fg_ref_features(x0) * sizeof(double);
  return FGSM_OK;
}

/* One sample: g is masked in place. True if every component is finite. */
static bool measure(const struct fg_call *call, int64_t s, double *g, int64_t n) {
  const struct fg_tensor *mask = fg_ref_in(call, MASK), *stats = fg_ref_out(call, STATS);
  double sum = 0;
  int64_t zeros = 0, free_places = 0, broken = 0;
  for (int64_t i = 0; i < n; i++) {
    bool kept = mask && fg_ref_get(mask, i) == 0;
    g[i] = kept ? 0 : g[i];
    free_places += !kept;
    zeros += !kept && g[i] == 0;
    broken += !isfinite(g[i]);
    sum += fabs(g[i]);
  }
  if (stats) {
    fg_ref_put(stats, s * 3, sum);
    fg_ref_put(stats, s * 3 + 1, free_places ? (double)zeros / (double)free_places : 1);
    fg_ref_put(stats, s * 3 + 2, (double)broken);
  }
  return broken == 0;
}

/* g becomes m' = decay m + g / mean |g|. */
static void gather_momentum(const struct fg_call *call, int64_t s, double *g, int64_t n,
                            double decay) {
  double mean = 0;
  for (int64_t i = 0; i < n; i++)
    mean += fabs(g[i]) / (double)n;
  for (int64_t i = 0; i < n; i++) {
    g[i] = decay * fg_ref_get(&call->in[M], s * n + i) + (mean > 0 ? g[i] / mean : 0);
    if (fg_ref_out(call, M_NEXT))
      fg_ref_put(&call->out[M_NEXT], s * n + i, g[i]);
  }
}

/* g becomes the direction of ascent. */
static void direct(enum fg_norm norm, double *g, int64_t n) {
  int64_t top = 0;
  double squares = 0, most = 0;
  for (int64_t i = 0; i < n; i++)
    if (fabs(g[i]) > most) {
      most = fabs(g[i]);
      top = i;
    }
  for (int64_t i = 0; most > 0 && i < n; i++)
    squares += g[i] / most * (g[i] / most);
  for (int64_t i = 0; i < n; i++) {
    double sign = g[i] > 0 ? 1 : g[i] < 0 ? -1 : 0;
    if (norm == FG_NORM_linf)
      g[i] = sign;
    else if (norm == FG_NORM_l2)
      g[i] = most > 0 ? g[i] / most / sqrt(squares) : 0;
    else
      g[i] = i == top ? sign : 0;
  }
}

static int descending(const void *a, const void *b) {
  double u = *(const double *)a, v = *(const double *)b;
  return (u < v) - (u > v);
}

/* Duchi et al. 2008, fig. 1: soft-thresholding at the theta that makes the sum eps. */
static void onto_l1_ball(double *d, double *sorted, int64_t n, double eps) {
  double sum = 0, theta = 0;
  for (int64_t i = 0; i < n; i++) {
    sorted[i] = fabs(d[i]);
    sum += sorted[i];
  }
  if (sum <= eps)
    return;
  qsort(sorted, (size_t)n, sizeof *sorted, descending);
  sum = 0;
  for (int64_t j = 0; j < n; j++) {
    sum += sorted[j];
    double t = (sum - eps) / (double)(j + 1);
    if (sorted[j] <= t)
      break;
    theta = t;
  }
  for (int64_t i = 0; i < n; i++)
    d[i] = copysign(fmax(fabs(d[i]) - theta, 0), d[i]);
}

static void onto_l2_ball(double *d, int64_t n, double eps) {
  double squares = 0;
  for (int64_t i = 0; i < n; i++)
    squares += d[i] * d[i];
  double length = sqrt(squares);
  for (int64_t i = 0; length > eps && i < n; i++)
    d[i] *= eps / length;
}

/* The sign of a - b - c in real arithmetic. */
static int compare_difference(double a, double b, double c) {
  double s = a - b, t = s - a, rest = (a - (s - t)) - (b + t); /* s + rest is a - b (Knuth) */
  if (s != c)
    return s > c ? 1 : -1;
  return rest > 0 ? 1 : rest < 0 ? -1 : 0;
}

/* The number nearest to v that is within eps of x0 exactly; x0 itself where none of v's neighbours
 * is (eps below a rounding step, or no number at all). */
static double hold(enum fg_type type, double v, double x0, double eps) {
  v = v > x0 + eps ? x0 + eps : v < x0 - eps ? x0 - eps : v;
  double y = type == FG_F32 ? (double)(float)v : v;
  for (int i = 0; i < 3; i++) {
    if (compare_difference(y, x0, eps) <= 0 && compare_difference(y, x0, -eps) >= 0)
      return y;
    y = type == FG_F32 ? (double)nextafterf((float)y, (float)x0) : nextafter(y, x0);
  }
  return x0;
}

static void move(const struct fg_call *call, int64_t s, double *direction, double *d,
                 double *sorted, int64_t n) {
  const struct fg_step_attrs *a = &call->attrs->step;
  const struct fg_tensor *x0 = &call->in[X0], *x = &call->in[X], *map = fg_ref_in(call, EPS_MAP);
  const double *p = fg_ref_params(&call->in[PARAMS], s);
  double eps = p[FG_PARAM_eps];
  bool linf = a->norm == FG_NORM_linf;
  for (int64_t i = 0; i < n; i++) {
    double alpha = fg_ref_scale(p[FG_PARAM_alpha], eps, map, i);
    d[i] = fg_ref_get(x, s * n + i) + (direction[i] == 0 ? 0 : alpha * direction[i]);
    if (a->project && !linf)
      d[i] -= fg_ref_get(x0, s * n + i);
  }
  if (a->project && a->norm == FG_NORM_l2)
    onto_l2_ball(d, n, eps);
  if (a->project && a->norm == FG_NORM_l1)
    onto_l1_ball(d, sorted, n, eps);
  for (int64_t i = 0; i < n; i++) {
    double from = fg_ref_get(x0, s * n + i), v = d[i];
    if (a->project)
      v = linf ? hold(x0->type, v, from, map ? fg_ref_get(map, i) : eps) : from + v;
    fg_ref_put(&call->out[NEXT], s * n + i,
               fg_ref_into_box(x0->type, v, p[FG_PARAM_lo], p[FG_PARAM_hi]));
  }
}

static void keep(const struct fg_call *call, int64_t s, int64_t n) {
  for (int64_t i = s * n; i < (s + 1) * n; i++) {
    fg_ref_put(&call->out[NEXT], i, fg_ref_get(&call->in[X0], i));
    if (fg_ref_out(call, M_NEXT))
      fg_ref_put(&call->out[M_NEXT], i, 0);
  }
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *x0 = &call->in[X0];
  int64_t n = fg_ref_features(x0);
  double *g = scratch, *d = g + n, *sorted = d + n;
  for (int64_t s = 0; s < x0->dim[0]; s++) {
    fg_ref_load(&call->in[G], s * n, n, g);
    if (!measure(call, s, g, n)) {
      keep(call, s, n);
      continue;
    }
    if (fg_ref_in(call, M))
      gather_momentum(call, s, g, n, fg_ref_params(&call->in[PARAMS], s)[FG_PARAM_decay]);
    direct(call->attrs->step.norm, g, n);
    move(call, s, g, d, sorted, n);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_step = {prepare, run, NULL};
