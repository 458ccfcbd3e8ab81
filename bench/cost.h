/* What a call must cost whoever computes it: the bytes that have to cross memory once, and the
 * operations that have to be done. A kernel's floor is the longer of the times that they take at the
 * rates of the machine; what a kernel does beyond them is its own. */
#ifndef FG_BENCH_COST_H
#define FG_BENCH_COST_H

#include "kernel.h"

/* Operands read once, results written once; of a gather or a slice only what is taken. */
double bench_bytes(const struct fg_call *call);
/* Additions, multiplications and comparisons; an exponential counts as one. */
double bench_flops(const struct fg_call *call);
/* Whether those are multiplications of matrices, which run at another rate than the rest. */
bool bench_is_product(enum fg_op op);

#endif
