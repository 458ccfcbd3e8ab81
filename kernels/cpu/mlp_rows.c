/* See mlp_rows.h. */
#include "mlp_rows.h"

#include <math.h>
#include <string.h>

/* ---- loss */

typedef float vec __attribute__((vector_size(32), may_alias));
typedef int32_t bits __attribute__((vector_size(32), may_alias));
typedef double wide __attribute__((vector_size(32)));
typedef uint64_t wide_bits __attribute__((vector_size(32)));
typedef float half __attribute__((vector_size(16), may_alias));
enum { LANES = 8 };

/* Vectors go by address, for gcc's sake, which warns of how else they would be passed. */

/* *x = *a where the mask is set. */
FG_INLINE void put_where(const bits *mask, const vec *a, vec *x) {
  *x = (vec)((*mask & (bits)*a) | (~*mask & (bits)*x));
}

/* fg_vexpf, by lanes. */
FG_INLINE void exp_of(vec *x) {
  float lane[LANES];
  memcpy(lane, x, sizeof lane);
#pragma omp simd
  for (int i = 0; i < LANES; i++)
    lane[i] = fg_vexpf(lane[i]);
  memcpy(x, lane, sizeof lane);
}

/* A row's LANES samples, or the one alone. */
FG_INLINE void load(const float *row, const int tile, vec *x) {
  *x = tile == 1 ? (vec){row[0]} : *(const vec *)row;
}

FG_INLINE void store(const vec *x, const int tile, float *row) {
  if (tile == 1)
    row[0] = (*x)[0];
  else
    *(vec *)row = *x;
}

/* Of LANES samples: the largest logit, where it is first, the largest of the classes that are not the label's, and the
 * label's; the sum of exp(z - other) over those classes; whether a logit is NaN. */
struct found {
  vec top, other, own;
  bits first, broken;
  wide rest[2];
};

FG_INLINE void find_largest(const float *z, int64_t k, const bits *label, const int tile,
                            struct found *of) {
  load(z, tile, &of->top);
  of->other = -INFINITY - (vec){0};
  of->own = (vec){0};
  of->first = of->broken = (bits){0};
  for (int32_t j = 0; j < k; j++) {
    vec v;
    load(z + j * tile, tile, &v);
    bits is_own = *label == j, larger = v > of->top, larger_other = ~is_own & (v > of->other);
    of->broken |= ((bits)v & INT32_MAX) > 0x7f800000; /* NaN */
    of->first = (larger & j) | (~larger & of->first);
    put_where(&larger, &v, &of->top);
    put_where(&is_own, &v, &of->own);
    put_where(&larger_other, &v, &of->other);
  }
}

/* d, where it is wanted, are the sum's terms times `sign`. */
FG_INLINE void sum_others(const float *z, int64_t k, const bits *label, const int tile, float sign,
                          float *d, struct found *of) {
  of->rest[0] = of->rest[1] = (wide){0};
  for (int32_t j = 0; j < k; j++) {
    vec e;
    load(z + j * tile, tile, &e);
    e -= of->other;
    exp_of(&e);
    e = (vec)((bits)e & (*label != j));
    of->rest[0] += __builtin_convertvector(__builtin_shufflevector(e, e, 0, 1, 2, 3), wide);
    of->rest[1] += __builtin_convertvector(__builtin_shufflevector(e, e, 4, 5, 6, 7), wide);
    e *= sign;
    if (d)
      store(&e, tile, d + j * tile);
  }
}

/* log x of x >= 1: x = 2^k m with m from sqrt(1/2) to sqrt(2), and log m = 2 (s + s^3 / 3 + ... + s^13 / 13) with
 * s = (m - 1) / (m + 1), whose next term is less than 10^-12 of it. */
FG_INLINE void log_of(wide *x) {
  wide_bits whole = (wide_bits)*x, k = (whole - 0x3fe6a09e667f3bcd) >> 52;
  wide m = (wide)(whole - (k << 52)), power = (wide)(k | 0x4330000000000000) - 0x1p52;
  wide s = (m - 1) / (m + 1), z = s * s;
  wide series =
      z * (z * (z * (z * (z * (z / 13 + 1 / 11.0) + 1 / 9.0) + 1 / 7.0) + 1 / 5.0) + 1 / 3.0);
  wide log = power * 0x1.62e42fefa39efp-1 + 2 * s * (series + 1);
  wide_bits finite = (wide_bits)(*x < INFINITY);
  *x = (wide)((finite & (wide_bits)log) | (~finite & whole));
}

/* The losses. With r the sum of the others' exp(z - other) and q = exp(-|z_label - other|) one is log(1 + r q) where the
 * label's logit is the largest, and else log(r + q) + largest - z_label. */
FG_INLINE void losses_of(const struct found *of, float *loss) {
  vec q = (vec)((bits)(of->own - of->other) | INT32_MIN);
  exp_of(&q);
  for (int i = 0; i < 2; i++) {
    wide own = __builtin_convertvector(((const half *)&of->own)[i], wide);
    wide other = __builtin_convertvector(((const half *)&of->other)[i], wide);
    wide top = __builtin_convertvector(((const half *)&of->top)[i], wide);
    wide factor = __builtin_convertvector(((const half *)&q)[i], wide), r = of->rest[i];
    wide_bits largest = (wide_bits)(own > other);
    wide here = 1 + r * factor, there = r + factor;
    wide sum = (wide)((largest & (wide_bits)here) | (~largest & (wide_bits)there));
    log_of(&sum);
    half losses = __builtin_convertvector(sum + (top - own), half);
    memcpy(loss + i * LANES / 2, &losses, sizeof losses);
  }
}

/* What samples have whose label is no class, and else what those have of which a logit is NaN. */
FG_INLINE void correct(const bits *aimless, const bits *broken, int64_t k, int64_t n,
                       const int tile, float *d, float *loss) {
  for (int s = 0; s < LANES && s < n; s++) {
    if (!(*aimless)[s] && !(*broken)[s])
      continue;
    if (loss)
      loss[s] = NAN;
    for (int64_t j = 0; d && j < k; j++)
      d[j * tile + s] = (*aimless)[s] ? 0.0f : NAN;
  }
}

/* Of LANES samples, or one alone, of which the first n count. */
FG_INLINE void loss_lanes(const float *z, int64_t k, const int32_t *labels, int64_t n,
                          const int tile, bool targeted, float *d, float *loss,
                          int32_t *prediction) {
  struct found of;
  bits label = {0};
  const float sign = targeted ? -1 : 1;
  memcpy(&label, labels, (size_t)(tile == 1 ? 1 : LANES) * sizeof *labels);
  find_largest(z, k, &label, tile, &of);
  bits aimless = (label < 0) | (label >= (int32_t)k),
       said = of.first | of.broken; /* -1 where broken */
  memcpy(prediction, &said, sizeof said);
  if (!d && !loss)
    return;
  sum_others(z, k, &label, tile, sign, d, &of);
  if (loss)
    losses_of(&of, loss);
  for (int s = 0; d && s < LANES && s < n; s++)
    if (!aimless[s])
      d[labels[s] * tile + s] = -sign * (float)of.rest[s / 4][s % 4];
  wide_bits odd = (wide_bits)(aimless | of.broken);
  if (odd[0] | odd[1] | odd[2] | odd[3])
    correct(&aimless, &of.broken, k, n, tile, d, loss);
}

FG_INLINE void loss_rows(const float *z, int64_t k, const int32_t *labels, int64_t n,
                         const int tile, bool targeted, float *d, float *loss,
                         int32_t *prediction) {
  for (int64_t s = 0; s < n; s += LANES)
    loss_lanes(z + s, k, labels + s, n - s, tile, targeted, d ? d + s : NULL,
               loss ? loss + s : NULL, prediction + s);
  for (int64_t j = 0, s = fg_up(n, LANES) * LANES; d && s < tile && j < k; j++)
    memset(d + j * tile + s, 0, (size_t)(tile - s) * sizeof *d);
}

FG_CLONES static void mlp_loss_rows(const float *z, int64_t k, const int32_t *labels, int64_t n,
                                    int64_t tile, bool targeted, float *d, float *loss,
                                    int32_t *prediction) {
  if (tile == 1)
    loss_rows(z, k, labels, n, 1, targeted, d, loss, prediction);
  else
    loss_rows(z, k, labels, n, (int)tile, targeted, d, loss, prediction);
}

void fg_mlp_rows_loss(const float *z, int64_t k, const int32_t *labels, int64_t n, int64_t tile,
                      bool targeted, float *d, float *loss, int32_t *prediction) {
  mlp_loss_rows(z, k, labels, n, tile, targeted, d, loss, prediction);
}

/* ---- step */

/* Of the samples' gradients: the sums of sizes and the shares of zeros; `open` as for fg_cpu_plain_step, of all. */
struct totals {
  float sum[FG_MLP_TILE], zeros[FG_MLP_TILE];
  int32_t open;
};

FG_INLINE void step_rows(const struct fg_cpu_step *c, const float *x0, const float *x,
                         const float *g, int64_t n, const int tile, float *next,
                         struct totals *totals) {
  double eps = c->params[FG_PARAM_eps], alpha = c->params[FG_PARAM_alpha];
  double least = c->params[FG_PARAM_lo], most = c->params[FG_PARAM_hi];
  float lo = fg_cpu_into_box(-INFINITY, least, most), hi = fg_cpu_into_box(INFINITY, least, most);
  double sum[FG_MLP_TILE];
  int32_t open = 0, broken[FG_MLP_TILE], zeros[FG_MLP_TILE];
  for (int s = 0; s < tile; s++) {
    sum[s] = 0;
    zeros[s] = broken[s] = 0;
  }
  for (int64_t f = 0; f < c->n; f++)
#pragma omp simd reduction(| : open)
    for (int s = 0; s < tile; s++) {
      int64_t i = f * tile + s;
      float size = fabsf(g[i]);
      sum[s] += size;
      zeros[s] += size == 0;
      broken[s] |= !(size <= 0x1.fffffep127f);
      next[i] = fg_cpu_plain_step(x0[i], x[i], g[i], eps, alpha, lo, hi, &open);
    }
#pragma omp simd reduction(| : open)
  for (int s = 0; s < tile; s++) {
    open |= s < n ? broken[s] : 0;
    totals->sum[s] = (float)sum[s];
    totals->zeros[s] = (float)((double)zeros[s] / (double)c->n);
  }
  totals->open = open;
}

FG_CLONES static void mlp_step_rows(const struct fg_cpu_step *c, const float *x0, const float *x,
                                    const float *g, int64_t n, int64_t tile, float *next,
                                    struct totals *totals) {
  if (tile == 1)
    step_rows(c, x0, x, g, n, 1, next, totals);
  else if (tile == FG_MLP_SMALL_TILE)
    step_rows(c, x0, x, g, n, FG_MLP_SMALL_TILE, next, totals);
  else
    step_rows(c, x0, x, g, n, FG_MLP_TILE, next, totals);
}

bool fg_mlp_rows_step(const struct fg_cpu_step *c, const int32_t *who, const float *x,
                      const float *g, int64_t n, int64_t tile, float (*stats)[3]) {
  struct totals totals;
  float next[FG_MLP_MOST_ROWS * FG_MLP_TILE]; /* c->next may be what step.c needs yet */
  float from[FG_MLP_MOST_ROWS * FG_MLP_TILE];
  const float *x0 = c->x0 == c->x ? x : from;
  for (int64_t f = 0; x0 == from && f < c->n; f++)
    for (int64_t s = 0; s < tile; s++)
      from[f * tile + s] = s < n ? c->x0[who[s] * c->n + f] : 0;
  mlp_step_rows(c, x0, x, g, n, tile, next, &totals);
  if (totals.open)
    return false;
  for (int64_t s = 0; s < n; s++) {
    for (int64_t f = 0; f < c->n; f++)
      c->next[who[s] * c->n + f] = next[f * tile + s];
    stats[s][0] = totals.sum[s];
    stats[s][1] = totals.zeros[s];
    stats[s][2] = 0;
  }
  return true;
}
