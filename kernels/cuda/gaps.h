/* The operators that have no CUDA kernel, each as FG_NO_KERNEL(cuda, NAME): for the plugin's table and
 * the harness's. Included by one file of each. */
#ifndef FG_CUDA_GAPS_H
#define FG_CUDA_GAPS_H

#include "call.h"

#endif
