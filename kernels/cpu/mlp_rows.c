/* See mlp_rows.h. */
#include "mlp_rows.h"

#include <math.h>

/* ---- loss */

FG_INLINE void loss_rows(const float *z, int64_t k, const int32_t *labels, int64_t n,
                         const int tile, bool targeted, float *d, float *loss,
                         int32_t *prediction) {
  float top[FG_MLP_TILE], other[FG_MLP_TILE];
  int32_t first[FG_MLP_TILE], broken[FG_MLP_TILE], label[FG_MLP_TILE];
  double sum[FG_MLP_TILE], rest[FG_MLP_TILE];
  for (int s = 0; s < tile; s++) {
    label[s] = s < n ? labels[s] : 0;
    top[s] = z[s];
    other[s] = -INFINITY;
    first[s] = broken[s] = 0;
    sum[s] = rest[s] = 0;
  }
  for (int32_t j = 0; j < k; j++)
#pragma omp simd
    for (int s = 0; s < tile; s++) {
      float v = z[j * tile + s];
      broken[s] |= v != v;
      first[s] = v > top[s] ? j : first[s];
      top[s] = v > top[s] ? v : top[s];
      other[s] = ((j != label[s]) & (v > other[s])) ? v : other[s];
    }
  for (int32_t j = 0; j < k; j++)
#pragma omp simd
    for (int s = 0; s < tile; s++)
      sum[s] += fg_vexpf(z[j * tile + s] - top[s]);
  for (int32_t j = 0; d && j < k; j++)
#pragma omp simd
    for (int s = 0; s < tile; s++) {
      float e = fg_vexpf(z[j * tile + s] - other[s]);
      e = j == label[s] ? 0.0f : targeted ? -e : e;
      d[j * tile + s] = e;
      rest[s] += e;
    }
  for (int s = 0; s < n; s++) {
    bool aimless = label[s] < 0 || label[s] >= k;
    prediction[s] = broken[s] ? -1 : first[s];
    if (loss)
      loss[s] = aimless || broken[s]
                    ? NAN
                    : (float)(log(sum[s]) + ((double)top[s] - z[label[s] * tile + s]));
    for (int64_t j = 0; d && (aimless || broken[s]) && j < k; j++)
      d[j * tile + s] = aimless ? 0.0f : NAN;
    if (d && !aimless && !broken[s])
      d[label[s] * tile + s] = (float)-rest[s];
  }
}

FG_CLONES static void mlp_loss_rows(const float *z, int64_t k, const int32_t *labels, int64_t n,
                                    int64_t tile, bool targeted, float *d, float *loss,
                                    int32_t *prediction) {
  if (tile == 1)
    loss_rows(z, k, labels, n, 1, targeted, d, loss, prediction);
  else if (tile == FG_MLP_SMALL_TILE)
    loss_rows(z, k, labels, n, FG_MLP_SMALL_TILE, targeted, d, loss, prediction);
  else
    loss_rows(z, k, labels, n, FG_MLP_TILE, targeted, d, loss, prediction);
}

void fg_mlp_rows_loss(const float *z, int64_t k, const int32_t *labels, int64_t n, int64_t tile,
                      bool targeted, float *d, float *loss, int32_t *prediction) {
  mlp_loss_rows(z, k, labels, n, tile, targeted, d, loss, prediction);
}

/* ---- step */

/* What is found of the samples' gradients; `open` as for fg_cpu_plain_step, of all of them. */
struct found {
  double sum[FG_MLP_TILE];
  int32_t zeros[FG_MLP_TILE], broken[FG_MLP_TILE], open;
};

FG_INLINE void step_rows(const struct fg_cpu_step *c, const float *x, const float *g, int64_t n,
                         const int tile, float *next, struct found *found) {
  double eps = c->params[FG_PARAM_eps], alpha = c->params[FG_PARAM_alpha];
  double least = c->params[FG_PARAM_lo], most = c->params[FG_PARAM_hi];
  float lo = fg_cpu_into_box(-INFINITY, least, most), hi = fg_cpu_into_box(INFINITY, least, most);
  int32_t open = 0;
  for (int64_t f = 0; f < c->n; f++) {
    float x0[FG_MLP_TILE] = {0};
    for (int64_t s = 0; s < n; s++)
      x0[s] = c->x0[s * c->n + f];
#pragma omp simd reduction(| : open)
    for (int s = 0; s < tile; s++) {
      float v = g[f * tile + s], size = fabsf(v);
      found->sum[s] += size;
      found->zeros[s] += size == 0;
      found->broken[s] |= !(size <= 0x1.fffffep127f);
      next[f * tile + s] = fg_cpu_plain_step(x0[s], x[f * tile + s], v, eps, alpha, lo, hi, &open);
    }
  }
  for (int64_t s = 0; s < n; s++)
    open |= found->broken[s];
  found->open = open;
}

FG_CLONES static void mlp_step_rows(const struct fg_cpu_step *c, const float *x, const float *g,
                                    int64_t n, int64_t tile, float *next, struct found *found) {
  if (tile == 1)
    step_rows(c, x, g, n, 1, next, found);
  else if (tile == FG_MLP_SMALL_TILE)
    step_rows(c, x, g, n, FG_MLP_SMALL_TILE, next, found);
  else
    step_rows(c, x, g, n, FG_MLP_TILE, next, found);
}

bool fg_mlp_rows_step(const struct fg_cpu_step *c, const float *x, const float *g, int64_t n,
                      int64_t tile, float *const *stats) {
  struct found found = {0};
  float next[FG_MLP_MOST_ROWS * FG_MLP_TILE]; /* c->next may be what step.c needs yet */
  mlp_step_rows(c, x, g, n, tile, next, &found);
  if (found.open)
    return false;
  for (int64_t s = 0; s < n; s++) {
    for (int64_t f = 0; f < c->n; f++)
      c->next[s * c->n + f] = next[f * tile + s];
    stats[s][0] = (float)found.sum[s];
    stats[s][1] = (float)((double)found.zeros[s] / (double)c->n);
    stats[s][2] = 0;
  }
  return true;
}
