/* layer_norm and its gradient over the last axes. A row is what one mean and variance are taken of.
 *   dx = rstd (g - mean g - xhat mean(g xhat)), g = dy scale;  dscale = sum dy xhat;  dbias = sum
 * dy. Sums are in double: a row's in one order, a parameter's down its column, so that neither
 * depends on how the work was cut. */
#include "cpu.h"

#include <math.h>

struct norm {
  const float *x, *dy, *scale, *bias;
  float *y, *mean, *rstd; /* y: dx for the gradient; mean and rstd are read there */
  float *dscale, *dbias;
  int64_t rows, n;
  double epsilon;
};

FG_CLONES static void moments(const float *x, int64_t n, double epsilon, double *mean,
                              double *rstd) {
  double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++)
    sum += x[i];
  double m = sum / (double)n;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; i++) {
    double d = x[i] - m;
    squares += d * d;
  }
  *mean = m;
  *rstd = 1 / sqrt(squares / (double)n + epsilon);
}

FG_CLONES static void normalise(const float *x, const float *scale, const float *bias, float *y,
                                int64_t n, double mean, double rstd) {
  float m = (float)mean, r = (float)rstd, rest = (float)(mean - m);
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = (x[i] - m - rest) * r;
    v = scale ? v * scale[i] : v;
    y[i] = bias ? v + bias[i] : v;
  }
}

static void forward(const void *ctx, int64_t begin, int64_t end) {
  const struct norm *c = ctx;
  for (int64_t i = begin; i < end; i++) {
    double mean, rstd;
    moments(c->x + i * c->n, c->n, c->epsilon, &mean, &rstd);
    normalise(c->x + i * c->n, c->scale, c->bias, c->y + i * c->n, c->n, mean, rstd);
    if (c->mean)
      c->mean[i] = (float)mean;
    if (c->rstd)
      c->rstd[i] = (float)rstd;
  }
}

FG_CLONES static void layer_norm_row_grad(const float *x, const float *dy, const float *scale,
                                          float *dx, int64_t n, float mean, float rstd) {
  double sum = 0, along = 0;
#pragma omp simd reduction(+ : sum, along)
  for (int64_t i = 0; i < n; i++) {
    float g = scale ? dy[i] * scale[i] : dy[i];
    sum += g;
    along += (double)g * ((x[i] - mean) * rstd);
  }
  float of_g = (float)(sum / (double)n), of_gx = (float)(along / (double)n);
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float g = scale ? dy[i] * scale[i] : dy[i];
    dx[i] = rstd * (g - of_g - (x[i] - mean) * rstd * of_gx);
  }
}

static void backward(const void *ctx, int64_t begin, int64_t end) {
  const struct norm *c = ctx;
  for (int64_t i = begin; i < end; i++)
    layer_norm_row_grad(c->x + i * c->n, c->dy + i * c->n, c->scale, c->y + i * c->n, c->n,
                        c->mean[i], c->rstd[i]);
}

#define COLUMNS 128

FG_CLONES static void columns_grad(const struct norm *c, int64_t from, int64_t w) {
  double scale[COLUMNS] = {0}, bias[COLUMNS] = {0};
  for (int64_t i = 0; i < c->rows; i++) {
    const float *x = c->x + i * c->n + from, *dy = c->dy + i * c->n + from;
    float mean = c->mean[i], rstd = c->rstd[i];
#pragma omp simd
    for (int64_t j = 0; j < w; j++) {
      scale[j] += (double)dy[j] * ((x[j] - mean) * rstd);
      bias[j] += dy[j];
    }
  }
  for (int64_t j = 0; j < w; j++) {
    if (c->dscale)
      c->dscale[from + j] = (float)scale[j];
    if (c->dbias)
      c->dbias[from + j] = (float)bias[j];
  }
}

static void parameters(const void *ctx, int64_t begin, int64_t end) {
  const struct norm *c = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * COLUMNS, left = c->n - from;
    columns_grad(c, from, left < COLUMNS ? left : COLUMNS);
  }
}

/* ---- the kernels */

static void *optional(const struct fg_tensor *t, int i, int n) {
  return i < n && fg_cpu_present(&t[i]) ? t[i].data : NULL;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, call->n_in, call->n_out));
  return fg_cpu_need_plain(call);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_layer_norm_attrs *a = &call->attrs->layer_norm;
  const struct fg_tensor *x = &call->in[0];
  struct norm c = {.x = x->data,
                   .scale = optional(call->in, 1, call->n_in),
                   .bias = optional(call->in, 2, call->n_in),
                   .y = call->out[0].data,
                   .mean = optional(call->out, 1, call->n_out),
                   .rstd = optional(call->out, 2, call->n_out),
                   .rows = fg_cpu_span(x, 0, a->axis),
                   .n = fg_cpu_span(x, a->axis, x->rank),
                   .epsilon = a->epsilon};
  fg_cpu_parallel(c.rows, 1, 20 + 0.6 * (double)c.n, forward, &c);
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[1];
  int axis = call->attrs->layer_norm.axis;
  struct norm c = {.dy = call->in[0].data,
                   .x = x->data,
                   .scale = optional(call->in, 2, call->n_in),
                   .mean = call->in[3].data,
                   .rstd = call->in[4].data,
                   .y = optional(call->out, 0, call->n_out),
                   .dscale = optional(call->out, 1, call->n_out),
                   .dbias = optional(call->out, 2, call->n_out),
                   .rows = fg_cpu_span(x, 0, axis),
                   .n = fg_cpu_span(x, axis, x->rank)};
  if (c.y)
    fg_cpu_parallel(c.rows, 1, 20 + 0.8 * (double)c.n, backward, &c);
  if (c.dscale || c.dbias)
    fg_cpu_parallel((c.n + COLUMNS - 1) / COLUMNS, 1, 0.5 * COLUMNS * (double)c.rows, parameters,
                    &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_layer_norm = {prepare, run, NULL};
const struct fg_kernel fg_cpu_layer_norm_grad = {prepare, run_grad, NULL};
