/* See fg_cpu_plain_step: features that it leaves open make their tile step.c's. */
#include "step.h"

#include <string.h>

FG_CLONES static int32_t step_plain_tile(const float *x0, const float *x, const float *g,
                                         double eps, double alpha, float lo, float hi, float *next,
                                         int64_t n) {
  int32_t open = 0;
#pragma omp simd reduction(| : open)
  for (int64_t i = 0; i < n; i++)
    next[i] = fg_cpu_plain_step(x0[i], x[i], g[i], eps, alpha, lo, hi, &open);
  return open;
}

bool fg_cpu_step_is_plain(const struct fg_cpu_step *c) {
  return c->attrs.norm == FG_NORM_linf && c->attrs.project && !c->m && !c->mask && !c->eps_map;
}

bool fg_cpu_step_plainly(const double *params, const float *x0, const float *x, const float *g,
                         float *next, int64_t n) {
  float to[FG_CPU_TILE]; /* next may be x, which is needed again where this fails */
  double lo = params[FG_PARAM_lo], hi = params[FG_PARAM_hi];
  if (step_plain_tile(x0, x, g, params[FG_PARAM_eps], params[FG_PARAM_alpha],
                      fg_cpu_into_box(-INFINITY, lo, hi), fg_cpu_into_box(INFINITY, lo, hi), to, n))
    return false;
  memcpy(next, to, (size_t)n * sizeof *to);
  return true;
}
