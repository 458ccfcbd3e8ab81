/* max_pool, avg_pool and their gradients in two spatial dims, plain or in channel blocks.
 *
 * A plane is [H, W, lanes]: one channel, or a block of them. Padding is never a maximum; the index
 * is the first maximum's place in the window (row * width + column), NaN counting as a maximum; a
 * window on padding alone has the maximum -inf at place 0 and the mean 0. Each plane is one
 * thread's, so the overlapping sums of the gradients need no order but the plane's own. */
#include "pool.h"

#include <math.h>
#include <string.h>

/* Outputs along an axis whose window has place t on the image: [*first, *last). */
FG_INLINE void outputs(int64_t t, int64_t stride, int64_t dilation, int64_t pad, int64_t size,
                       int64_t n, int64_t *first, int64_t *last) {
  int64_t shift = t * dilation - pad;
  int64_t lo = shift >= 0 ? 0 : fg_pool_over(-shift + stride - 1, stride);
  int64_t hi = size - 1 - shift < 0 ? 0 : fg_pool_over(size - 1 - shift, stride) + 1;
  *last = hi < n ? hi : n;
  *first = lo < *last ? lo : *last;
}

/* ---- max */

#define TILE 128 /* outputs (or output lanes) that are worked on side by side */

/* index -1: nothing seen yet. */
FG_INLINE void consider(float v, int32_t place, float *top, int32_t *index) {
  bool better = (*index < 0) | (v > *top) | ((v != v) & (*top == *top));
  *top = better ? v : *top;
  *index = better ? place : *index;
}

FG_INLINE void put(const struct fg_pool *p, int64_t at, const float *top, const int32_t *index,
                   int64_t n) {
  memcpy(p->out + at, top, (size_t)n * sizeof *top);
  if (!p->index)
    return;
  int32_t *wide = (int32_t *)p->index + at;
  uint8_t *narrow = (uint8_t *)p->index + at;
  if (p->wide)
    for (int64_t i = 0; i < n; i++)
      wide[i] = index[i] < 0 ? 0 : index[i];
  else
    for (int64_t i = 0; i < n; i++)
      narrow[i] = (uint8_t)(index[i] < 0 ? 0 : index[i]);
}

/* Outputs [from, from + n) of one row of a plain plane. */
FG_CLONES static void max_row(const struct fg_pool *p, const float *x, int64_t at, int64_t o,
                              int64_t from, int64_t n) {
  float top[TILE];
  int32_t index[TILE];
  int64_t r0, r1;
  for (int64_t i = 0; i < n; i++) {
    top[i] = -INFINITY;
    index[i] = -1;
  }
  fg_pool_places(o, p->sh, p->dh, p->ph, p->h, p->kh, &r0, &r1);
  for (int64_t r = r0; r < r1; r++) {
    const float *row = x + (o * p->sh + r * p->dh - p->ph) * p->w;
    for (int64_t t = 0; t < p->kw; t++) {
      int64_t c0, c1, shift = t * p->dw - p->pw;
      int32_t place = (int32_t)(r * p->kw + t);
      outputs(t, p->sw, p->dw, p->pw, p->w, p->ow, &c0, &c1);
      c0 = c0 > from ? c0 : from;
      c1 = c1 < from + n ? c1 : from + n;
      if (p->sw == 1)
#pragma omp simd
        for (int64_t c = c0; c < c1; c++)
          consider(row[c + shift], place, &top[c - from], &index[c - from]);
      else if (p->sw == 2)
#pragma omp simd
        for (int64_t c = c0; c < c1; c++)
          consider(row[2 * c + shift], place, &top[c - from], &index[c - from]);
      else
        for (int64_t c = c0; c < c1; c++)
          consider(row[c * p->sw + shift], place, &top[c - from], &index[c - from]);
    }
  }
  put(p, at, top, index, n);
}

/* Items: output rows of all planes. */
static void max_body(const void *ctx, int64_t begin, int64_t end) {
  const struct fg_pool *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    const float *x = p->in + i / p->oh * p->h * p->w * p->lanes;
    int64_t at = i * p->ow * p->lanes;
    if (p->lanes > 1)
      (p->lanes == 16 ? fg_pool_max_row_16 : fg_pool_max_row_8)(p, x, at, i % p->oh);
    else
      for (int64_t from = 0; from < p->ow; from += TILE) {
        int64_t left = p->ow - from;
        max_row(p, x, at + from, i % p->oh, from, left < TILE ? left : TILE);
      }
  }
}

static void max_grad_plain(const struct fg_pool *p, const float *dy, int64_t at, int64_t o,
                           float *dx) {
  for (int64_t c = 0; c < p->ow; c++, at++) {
    int32_t place =
        p->wide ? ((const int32_t *)p->index)[at] : (int32_t)((const uint8_t *)p->index)[at];
    int32_t width = (int32_t)p->kw;
    int64_t y = o * p->sh + place / width * p->dh - p->ph;
    int64_t x = c * p->sw + place % width * p->dw - p->pw;
    if (place >= 0 && y >= 0 && y < p->h && x >= 0 && x < p->w)
      dx[y * p->w + x] += dy[at];
  }
}

/* Items: planes. An index that is no place on the image (padding alone) gets nothing. */
static void max_grad_body(const void *ctx, int64_t begin, int64_t end) {
  const struct fg_pool *p = ctx;
  int64_t plane = p->h * p->w * p->lanes, row = p->ow * p->lanes;
  for (int64_t i = begin; i < end; i++) {
    float *dx = p->out + i * plane;
    memset(dx, 0, (size_t)plane * sizeof *dx);
    for (int64_t o = 0; o < p->oh; o++)
      (p->lanes == 16  ? fg_pool_max_grad_row_16
       : p->lanes == 8 ? fg_pool_max_grad_row_8
                       : max_grad_plain)(p, p->in, (i * p->oh + o) * row, o, dx);
  }
}

/* ---- mean */

/* What a window with `rows` by `columns` places on the image is multiplied by. */
FG_INLINE float share(const struct fg_pool *p, int64_t rows, int64_t columns) {
  int64_t n = p->include_pad ? p->kh * p->kw : rows * columns;
  return 1.0f / (float)(n > 0 ? n : 1);
}

FG_CLONES static double sum_run(const float *x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++)
    sum += x[i];
  return sum;
}

static void avg_plain(const struct fg_pool *p, const float *x, int64_t at, int64_t o) {
  int64_t r0, r1, t0, t1;
  fg_pool_places(o, p->sh, p->dh, p->ph, p->h, p->kh, &r0, &r1);
  for (int64_t c = 0; c < p->ow; c++) {
    double sum = 0;
    fg_pool_places(c, p->sw, p->dw, p->pw, p->w, p->kw, &t0, &t1);
    for (int64_t r = r0; r < r1; r++) {
      const float *row = x + (o * p->sh + r * p->dh - p->ph) * p->w + c * p->sw - p->pw;
      if (p->dw == 1 && t1 - t0 >= 8)
        sum += sum_run(row + t0, t1 - t0);
      else
        for (int64_t t = t0; t < t1; t++)
          sum += row[t * p->dw];
    }
    p->out[at + c] = (float)sum * share(p, r1 - r0, t1 - t0);
  }
}

FG_CLONES static void avg_lanes(const struct fg_pool *p, const float *x, int64_t at, int64_t o) {
  int64_t r0, r1, t0, t1, lanes = p->lanes;
  fg_pool_places(o, p->sh, p->dh, p->ph, p->h, p->kh, &r0, &r1);
  for (int64_t c = 0; c < p->ow; c++) {
    double sum[16] = {0};
    fg_pool_places(c, p->sw, p->dw, p->pw, p->w, p->kw, &t0, &t1);
    for (int64_t r = r0; r < r1; r++)
      for (int64_t t = t0; t < t1; t++) {
        const float *v =
            x + ((o * p->sh + r * p->dh - p->ph) * p->w + c * p->sw + t * p->dw - p->pw) * lanes;
#pragma omp simd
        for (int64_t l = 0; l < lanes; l++)
          sum[l] += v[l];
      }
    float each = share(p, r1 - r0, t1 - t0);
    for (int64_t l = 0; l < lanes; l++)
      p->out[at + c * lanes + l] = (float)sum[l] * each;
  }
}

static void avg_body(const void *ctx, int64_t begin, int64_t end) {
  const struct fg_pool *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    const float *x = p->in + i / p->oh * p->h * p->w * p->lanes;
    if (p->lanes > 1)
      avg_lanes(p, x, i * p->ow * p->lanes, i % p->oh);
    else
      avg_plain(p, x, i * p->ow, i % p->oh);
  }
}

/* Adds each lane's share to n places that lie `step` apart. */
FG_CLONES static void spread(float *dx, const float *value, int64_t n, int64_t step,
                             int64_t lanes) {
  if (lanes == 1 && step == 1) {
    const float v = value[0];
#pragma omp simd
    for (int64_t t = 0; t < n; t++)
      dx[t] += v;
    return;
  }
  for (int64_t t = 0; t < n; t++)
#pragma omp simd
    for (int64_t l = 0; l < lanes; l++)
      dx[t * step + l] += value[l];
}

static void avg_grad_body(const void *ctx, int64_t begin, int64_t end) {
  const struct fg_pool *p = ctx;
  int64_t plane = p->h * p->w * p->lanes, lanes = p->lanes, r0, r1, t0, t1;
  for (int64_t i = begin; i < end; i++) {
    float *dx = p->out + i * plane;
    memset(dx, 0, (size_t)plane * sizeof *dx);
    for (int64_t o = 0; o < p->oh; o++) {
      fg_pool_places(o, p->sh, p->dh, p->ph, p->h, p->kh, &r0, &r1);
      for (int64_t c = 0; c < p->ow; c++) {
        const float *dy = p->in + ((i * p->oh + o) * p->ow + c) * lanes;
        fg_pool_places(c, p->sw, p->dw, p->pw, p->w, p->kw, &t0, &t1);
        float value[16], each = share(p, r1 - r0, t1 - t0);
        for (int64_t l = 0; l < lanes; l++)
          value[l] = dy[l] * each;
        for (int64_t r = r0; r < r1; r++) {
          int64_t y = o * p->sh + r * p->dh - p->ph, x = c * p->sw + t0 * p->dw - p->pw;
          float *at = dx + (y * p->w + x) * lanes;
          if (lanes == 1 && t1 - t0 < 8)
            for (int64_t t = 0; t < t1 - t0; t++)
              at[t * p->dw] += value[0];
          else
            spread(at, value, t1 - t0, p->dw * lanes, lanes);
        }
      }
    }
  }
}

/* ---- the kernels */

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_pool_attrs *a = &call->attrs->pool;
  bool is_max_grad = call->op == FG_OP_max_pool_grad;
  FG_TRY(fg_cpu_need_f32(call, 1, 1));
  FG_TRY(fg_cpu_need_same_layout(call));
  if (a->spatial != 2 || call->in[0].rank != 4 || call->out[0].rank != 4)
    return FG_FAIL(UNSUPPORTED, "cpu: %s is two-dimensional", fg_op_name(call->op));
  const struct fg_tensor *index = is_max_grad                                     ? &call->in[1]
                                  : call->op == FG_OP_max_pool && call->n_out > 1 ? &call->out[1]
                                                                                  : NULL;
  int64_t count = (int64_t)a->window[0] * a->window[1];
  if (index && fg_cpu_present(index) && index->type != (count <= 255 ? FG_U8 : FG_I32))
    return FG_FAIL(UNSUPPORTED, "cpu: %s's index is %s", fg_op_name(call->op),
                   fg_type_name(index->type));
  return FGSM_OK;
}

static struct fg_pool geometry(const struct fg_call *call, const struct fg_tensor *x,
                               const struct fg_tensor *y) {
  struct fg_pool p = fg_pool_of(&call->attrs->pool, x->dim, y->dim);
  p.in = call->in[0].data;
  p.out = call->out[0].data;
  p.lanes = fg_cpu_planes(x).lanes;
  p.include_pad = call->attrs->pool.include_pad;
  return p;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  struct fg_pool p = geometry(call, x, y);
  if (call->op == FG_OP_max_pool && call->n_out > 1 && fg_cpu_present(&call->out[1]))
    p.index = call->out[1].data;
  if (fg_count(y) == 0)
    return FGSM_OK;
  double cost = (double)(p.ow * p.lanes * p.kh * p.kw) * (p.lanes > 1 ? 0.2 : 0.8);
  fg_cpu_parallel(fg_cpu_planes(y).groups * p.oh, 1, 5 + cost,
                  call->op == FG_OP_max_pool ? max_body : avg_body, &p);
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *dy = &call->in[0], *dx = &call->out[0];
  bool is_max = call->op == FG_OP_max_pool_grad;
  struct fg_pool p = geometry(call, dx, dy);
  if (is_max)
    p.index = call->in[1].data;
  if (fg_count(dx) == 0)
    return FGSM_OK;
  double cost = (double)(p.h * p.w * p.lanes) * 0.2 + (double)(p.oh * p.ow * p.lanes) * 2;
  fg_cpu_parallel(fg_cpu_planes(dx).groups, 1, cost, is_max ? max_grad_body : avg_grad_body, &p);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_max_pool = {prepare, run, NULL};
const struct fg_kernel fg_cpu_max_pool_grad = {prepare, run_grad, NULL};
const struct fg_kernel fg_cpu_avg_pool = {prepare, run, NULL};
const struct fg_kernel fg_cpu_avg_pool_grad = {prepare, run_grad, NULL};
