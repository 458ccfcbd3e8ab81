/* A step of one sample, for kernels that have its gradient at hand. */
#ifndef FG_CPU_STEP_H
#define FG_CPU_STEP_H

#include "feature.h"

struct fg_cpu_step {
  const struct fg_tensor *eps_map, *mask; /* NULL: absent */
  const double *params;
  int64_t param_step; /* from a sample's params to the next one's: 0, where they are everyone's */
  const float *x0, *x, *g, *m; /* m NULL: no momentum */
  float *next, *m_next, *stats;
  int64_t n; /* features */
  struct fg_step_attrs attrs;
};

/* Sample i of all of these. `x` and `next` may be the same memory. */
void fg_cpu_step_sample(const struct fg_cpu_step *c, int64_t i);
/* The first n samples, in parallel. */
void fg_cpu_step_samples(const struct fg_cpu_step *c, int64_t n);

/* Whether the step is plain: linf, projected, without momentum, mask or map (step_plain.c). */
bool fg_cpu_step_is_plain(const struct fg_cpu_step *c);
/* Moves n features, at most FG_CPU_TILE; `next` may be x. */
void fg_cpu_step_plainly(const double *params, const float *x0, const float *x, const float *g,
                         float *next, int64_t n);

/* By how much |y - x0| exceeds eps: the sign is that of real arithmetic, whatever the rounding. d +
 * rest is exactly y - x0 (Knuth's two-sum); d - eps is exact where the two are close (Sterbenz),
 * and far larger than rest where they are not. */
FG_INLINE double fg_cpu_excess(double y, double x0, double eps) {
  double d = y - x0, t = d - y, rest = (y - (d - t)) - (x0 + t);
  double above = (d - eps) + rest, below = -((d + eps) + rest);
  return above > below ? above : below;
}

/* The float nearest to v within eps of x0; x0 itself where neither v's float nor the next two
 * toward x0 are (eps below a rounding step, or no number at all). */
FG_INLINE double fg_cpu_hold(double v, float x0, double eps) {
  double from = x0, most = from + eps, least = from - eps;
  v = v > most ? most : v;
  v = v < least ? least : v;
  float a = (float)v;
  int32_t step = a < x0 ? 1 : -1;
  float b = fg_cpu_beside(a, step), c = fg_cpu_beside(b, step);
  double y = fg_cpu_excess(c, from, eps) <= 0 ? (double)c : from;
  y = fg_cpu_excess(b, from, eps) <= 0 ? (double)b : y;
  return fg_cpu_excess(a, from, eps) <= 0 ? (double)a : y;
}

/* Feature g of a plain step: x'. The nearest float within eps of x0 is v's own or the next toward x0,
 * and whether a float lies within eps shows in its rounded distance d from x0. Rounding keeps order, so
 * d < eps and d > eps hold as they do in real arithmetic. Only where d equals eps may it have been
 * rounded there, unless nothing was rounded: from x0 = 0, or to x0 itself. Then *open is set, and x'
 * may be wrong. lo, hi: floats within the box. */
FG_INLINE float fg_cpu_plain_step(float x0, float x, float g, double eps, double alpha, float lo,
                                  float hi, int32_t *open) {
  double from = x0, most = from + eps, least = from - eps;
  double v = x + ((g > 0 ? alpha : 0.0) - (g < 0 ? alpha : 0.0));
  v = v > most ? most : v;
  v = v < least ? least : v;
  float a = (float)v, b = fg_cpu_beside(a, a < x0 ? 1 : -1);
  double of_a = fabs((double)a - from), of_b = fabs((double)b - from);
  bool out = of_a > eps;
  double d = out ? of_b : of_a;
  float y = out ? b : a;
  *open |= !((d < eps) | ((d == eps) & ((from == 0) | (d == 0))));
  y = y > hi ? hi : y;
  return y < lo ? lo : y;
}

#endif
