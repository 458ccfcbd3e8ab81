/* Which samples share a tile (mlp_net.h). A tile leaves out what is zero in all of its samples, so those that lie
 * near each other go together. */
#ifndef FG_CPU_MLP_ORDER_H
#define FG_CPU_MLP_ORDER_H

#include "mlp_net.h"

/* Samples that are ordered at once. */
enum { FG_MLP_RUN = 1024 };

/* order: the samples [first, first + n), at most FG_MLP_RUN, of x [samples][the net's features], those of a tile after
 * one another. Space is cut in cells, along the features that matter most: by net->reach, times their deviation among
 * some of the samples. `memory`: three floats of each feature. */
void fg_mlp_order(const float *x, int64_t first, int64_t n, const struct fg_mlp_net *net,
                  float *memory, int32_t *order);

#endif
