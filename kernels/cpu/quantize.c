/* quantize: bytes that keep to the ball and what they cost. One thread computes a sample, in one order. */
#include "feature.h"

#include <math.h>
#include <string.h>

enum { X, START, PARAMS };

struct quantize {
  const float *x, *x0;
  uint8_t *q;
  float *stats;
  int64_t n;         /* features */
  const double *eps; /* of the first sample; of the next one `eps_step` on */
  int64_t eps_step;
  bool ball;
};

FG_INLINE double clamp(double v, double lo, double hi) {
  v = v > lo ? v : lo;
  return v >= hi ? hi : v;
}

/* Levels by which x0, a byte over 255 rounded to float32, may lie off the lattice. */
#define SLACK 2e-5

/* The byte nearest to 255 x in the ball and in 0..255; nearest to x0 where there is none. Halves go
 * up, NaN to 0. */
FG_INLINE double byte_of(double x, double x0, double eps, bool ball) {
  double lo = ball ? ceil(255 * (x0 - eps) - SLACK) : 0;
  double hi = ball ? floor(255 * (x0 + eps) + SLACK) : 255;
  lo = lo > 0 ? lo : 0;
  hi = hi < 255 ? hi : 255;
  bool possible = (lo <= hi) & (x == x);
  double from = clamp(floor(255 * x0 + 0.5), 0, 255);
  return possible ? clamp(floor(255 * x + 0.5), lo, hi) : from;
}

/* One tile: bytes, and how far each is from x0. */
FG_CLONES static void quantize_tile(const float *x, const float *x0, double eps, bool ball,
                                    uint8_t *restrict q, double *restrict distance, int64_t n) {
  double level[FG_CPU_TILE];
  if (ball)
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      level[i] = byte_of(x[i], x0[i], eps, true);
  else
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      level[i] = byte_of(x[i], x0[i], eps, false);
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    distance[i] = fabs(level[i] / 255 - x0[i]);
  for (int64_t i = 0; i < n; i++)
    q[i] = (uint8_t)(int32_t)level[i];
}

FG_CLONES static void measure_distances(const double *distance, int64_t n, double *most,
                                        double *squares) {
  double top = *most, sum = 0;
  for (int64_t i = 0; i < n; i++)
    top = distance[i] > top ? distance[i] : top;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++)
    sum += distance[i] * distance[i];
  *most = top;
  *squares += sum;
}

static void quantize_sample(const struct quantize *c, int64_t s) {
  double most = 0, squares = 0, distance[FG_CPU_TILE];
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = c->n - from < FG_CPU_TILE ? c->n - from : FG_CPU_TILE, at = s * c->n + from;
    quantize_tile(c->x + at, c->x0 + at, c->eps[s * c->eps_step], c->ball, c->q + at, distance, n);
    measure_distances(distance, n, &most, &squares);
  }
  if (c->stats) {
    c->stats[s * 2] = (float)most;
    c->stats[s * 2 + 1] = (float)sqrt(squares);
  }
}

static void quantize_samples(const void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++)
    quantize_sample(ctx, i);
}

static fgsm_status prepare_quantize(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *x = &call->in[X];
  FG_TRY(fg_cpu_need_f32(call, 2, 0));
  FG_TRY(fg_cpu_check_features(call, x, FG_MAX_IN, FG_MAX_IN));
  FG_TRY(fg_cpu_check_params(call, PARAMS, x->dim[0]));
  if (!fg_same_shape(x, &call->in[START]) || call->out[0].type != FG_U8)
    return FG_FAIL(UNSUPPORTED, "cpu: quantize: x and x0 have one shape, q is uint8");
  return FGSM_OK;
}

static fgsm_status run_quantize(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[X];
  const struct fg_step_attrs *a = &call->attrs->step;
  struct quantize c = {.x = x->data,
                       .x0 = call->in[START].data,
                       .q = call->out[0].data,
                       .stats = call->n_out > 1 && fg_cpu_present(&call->out[1]) ? call->out[1].data
                                                                                 : NULL,
                       .n = fg_cpu_features(x),
                       .eps = (const double *)call->in[PARAMS].data + FG_PARAM_eps,
                       .eps_step = call->in[PARAMS].rank == 2 ? FG_PARAM_COUNT : 0,
                       .ball = a->project && a->norm == FG_NORM_linf};
  fg_cpu_parallel(x->dim[0], 1, 20 + 2 * (double)c.n, quantize_samples, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_quantize = {prepare_quantize, run_quantize, NULL};
