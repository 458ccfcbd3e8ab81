/* The operators that have no CUDA kernel: for the plugin's table and the harness's. Included by one
 * file of each. */
#ifndef FG_CUDA_GAPS_H
#define FG_CUDA_GAPS_H

#include "call.h"

FG_NO_KERNEL(cuda, batch_norm_train);
FG_NO_KERNEL(cuda, batch_norm_train_grad);
FG_NO_KERNEL(cuda, descend);
FG_NO_KERNEL(cuda, average);
FG_NO_KERNEL(cuda, all_reduce);

#endif
