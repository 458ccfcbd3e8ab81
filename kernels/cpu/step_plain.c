/* See fg_cpu_plain_step: what it leaves open is done again with more care. That is rare, but not among
 * bytes: a pixel of as many levels as eps has is moved beside 0, and that distance rounds to eps. */
#include "step.h"

#include <string.h>

enum { FEW = 128 }; /* features that are looked through where one of them is open */

FG_CLONES static int32_t step_plain_few(const float *x0, const float *x, const float *g, double eps,
                                        double alpha, float lo, float hi, float *next,
                                        int32_t *open, int64_t n) {
  int32_t any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t i = 0; i < n; i++) {
    int32_t here = 0;
    next[i] = fg_cpu_plain_step(x0[i], x[i], g[i], eps, alpha, lo, hi, &here);
    open[i] = here;
    any |= here;
  }
  return any;
}

bool fg_cpu_step_is_plain(const struct fg_cpu_step *c) {
  return c->attrs.norm == FG_NORM_linf && c->attrs.project && !c->m && !c->mask && !c->eps_map;
}

static float exactly(const double *params, float x0, float x, float g) {
  double sign = (g > 0 ? 1.0 : 0.0) - (g < 0 ? 1.0 : 0.0);
  double v = fg_cpu_hold(x + sign * params[FG_PARAM_alpha], x0, params[FG_PARAM_eps]);
  return fg_cpu_into_box(v, params[FG_PARAM_lo], params[FG_PARAM_hi]);
}

void fg_cpu_step_plainly(const double *params, const float *x0, const float *x, const float *g,
                         float *next, int64_t n) {
  float to[FEW]; /* next may be x, which is needed again for what is open */
  int32_t open[FEW];
  double eps = params[FG_PARAM_eps], alpha = params[FG_PARAM_alpha];
  double least = params[FG_PARAM_lo], most = params[FG_PARAM_hi];
  float lo = fg_cpu_into_box(-INFINITY, least, most), hi = fg_cpu_into_box(INFINITY, least, most);
  for (int64_t from = 0, m; from < n; from += m) {
    m = n - from < FEW ? n - from : FEW;
    const float *a = x0 + from, *b = x + from, *c = g + from;
    if (step_plain_few(a, b, c, eps, alpha, lo, hi, to, open, m))
      for (int64_t i = 0; i < m; i++)
        if (open[i])
          to[i] = exactly(params, a[i], b[i], c[i]);
    memcpy(next + from, to, (size_t)m * sizeof *to);
  }
}
