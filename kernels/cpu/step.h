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

#endif
