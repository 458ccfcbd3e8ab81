/* The rungs of the ladder: forms of the same work, by name out of the bench's sizes. */
#ifndef FG_BENCH_RUNGS_H
#define FG_BENCH_RUNGS_H

#include "harness.h"

struct rung {
  const char *ladder; /* what is compared with what: the first of them is the measure */
  const struct fg_case *of;
  const struct fg_kernel *kernel;
  bool on_tensor_cores, long_on_cpu;
  int x0; /* which input x' is to stay near; -1: the result is no x' */
};

int rung_count(void);
const struct rung *rung_at(int i);
/* Makes the case one of so many samples; 0: as many as it has. */
void rung_resize(struct fg_case *c, int64_t samples);

#endif
