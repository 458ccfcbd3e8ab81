/* softmax, softmax_grad along one axis, and their logarithmic form.
 *   softmax: dx = y (dy - sum dy y);  log: dx = dy - exp(y) sum dy.
 * An axis whose elements are adjacent is one row after the other; else columns are worked on side
 * by side, a tile of them at a time. Sums are of the row's own elements only, in a fixed order. */
#include "cpu.h"

#include <math.h>

#include "vmath.h"

struct softmax {
  const float *x, *dy; /* x: y for the gradient */
  float *out;
  int64_t n, inner;
  bool log;
};

/* ---- adjacent elements */

/* y may be x; the logarithm needs x again, so it only sums. */
FG_CLONES static void row(const float *x, float *y, int64_t n, bool logarithm) {
  float top = fg_vtopf(x, n, 1);
  if (logarithm) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
      sum += fg_vexpf(x[i] - top);
    float shift = logf(sum);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = x[i] - top - shift;
  } else {
    float share = 1.0f / fg_vexp_row(x, y, n, top);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] *= share;
  }
}

FG_CLONES static void softmax_row_grad(const float *y, const float *dy, float *dx, int64_t n,
                                       bool logarithm) {
  float sum = 0;
  if (logarithm) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
      sum += dy[i];
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      dx[i] = dy[i] - fg_vexpf(y[i]) * sum;
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
      sum += dy[i] * y[i];
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      dx[i] = y[i] * (dy[i] - sum);
  }
}

static void rows(const void *ctx, int64_t begin, int64_t end) {
  const struct softmax *c = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t at = i * c->n;
    if (c->dy)
      softmax_row_grad(c->x + at, c->dy + at, c->out + at, c->n, c->log);
    else
      row(c->x + at, c->out + at, c->n, c->log);
  }
}

/* ---- columns */

#define TILE 64

/* w columns (at most TILE), their elements `step` apart. */
FG_CLONES static void tile(const float *x, float *y, int64_t n, int64_t step, int64_t w,
                           bool logarithm) {
  float top[TILE], sum[TILE];
  for (int64_t j = 0; j < w; j++) {
    top[j] = -INFINITY;
    sum[j] = 0;
  }
  for (int64_t i = 0; i < n; i++)
#pragma omp simd
    for (int64_t j = 0; j < w; j++)
      top[j] = x[i * step + j] > top[j] ? x[i * step + j] : top[j];
  for (int64_t i = 0; i < n; i++)
#pragma omp simd
    for (int64_t j = 0; j < w; j++)
      sum[j] += fg_vexpf(x[i * step + j] - top[j]);
  for (int64_t j = 0; j < w; j++)
    sum[j] = logarithm ? logf(sum[j]) : 1.0f / sum[j];
  for (int64_t i = 0; i < n; i++)
#pragma omp simd
    for (int64_t j = 0; j < w; j++) {
      float d = x[i * step + j] - top[j];
      y[i * step + j] = logarithm ? d - sum[j] : fg_vexpf(d) * sum[j];
    }
}

FG_CLONES static void tile_grad(const float *y, const float *dy, float *dx, int64_t n, int64_t step,
                                int64_t w, bool logarithm) {
  float sum[TILE];
  for (int64_t j = 0; j < w; j++)
    sum[j] = 0;
  for (int64_t i = 0; i < n; i++)
#pragma omp simd
    for (int64_t j = 0; j < w; j++)
      sum[j] += logarithm ? dy[i * step + j] : dy[i * step + j] * y[i * step + j];
  for (int64_t i = 0; i < n; i++)
#pragma omp simd
    for (int64_t j = 0; j < w; j++) {
      float d = dy[i * step + j], v = y[i * step + j];
      dx[i * step + j] = logarithm ? d - fg_vexpf(v) * sum[j] : v * (d - sum[j]);
    }
}

static void tiles(const void *ctx, int64_t begin, int64_t end) {
  const struct softmax *c = ctx;
  int64_t across = (c->inner + TILE - 1) / TILE;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i % across * TILE, w = c->inner - from < TILE ? c->inner - from : TILE;
    int64_t at = i / across * c->n * c->inner + from;
    if (c->dy)
      tile_grad(c->x + at, c->dy + at, c->out + at, c->n, c->inner, w, c->log);
    else
      tile(c->x + at, c->out + at, c->n, c->inner, w, c->log);
  }
}

/* ---- the kernels */

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, call->n_in, 1));
  return fg_cpu_need_plain(call);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->softmax.axis;
  if (fg_count(x) == 0)
    return FGSM_OK;
  struct softmax c = {.x = x->data,
                      .dy = call->op == FG_OP_softmax_grad ? call->in[1].data : NULL,
                      .out = call->out[0].data,
                      .n = x->dim[axis],
                      .inner = fg_cpu_span(x, axis + 1, x->rank),
                      .log = call->attrs->softmax.log};
  int64_t outer = fg_cpu_span(x, 0, axis);
  if (c.inner == 1)
    fg_cpu_parallel(outer, 1, 20 + (double)c.n, rows, &c);
  else
    fg_cpu_parallel(outer * ((c.inner + TILE - 1) / TILE), 1, (double)(c.n * TILE), tiles, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_softmax = {prepare, run, NULL};
const struct fg_kernel fg_cpu_softmax_grad = {prepare, run, NULL};
