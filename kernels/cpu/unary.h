/* What other kernels do to rows which are still in cache. */
#ifndef FG_CPU_UNARY_H
#define FG_CPU_UNARY_H

#include "cpu.h"

/* y[i] = f(y[i]) for i in [0, n). */
void fg_cpu_act(const struct fg_unary_attrs *act, float *y, int64_t n);

/* d[i] = f'(v[i]) d[i]; v is x or y, as FG_UNARY_MAP says. */
void fg_cpu_act_grad(const struct fg_unary_attrs *act, const float *v, float *d, int64_t n);

/* to[i] += from[i] */
void fg_cpu_add(float *restrict to, const float *restrict from, int64_t n);

#endif
