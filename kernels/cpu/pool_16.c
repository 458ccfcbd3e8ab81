/* Max-pools in channel blocks for AVX-512. */
#define LANES 16
#define LINKAGE
#define MAX_ROW fg_pool_max_row_16
#define MAX_GRAD_ROW fg_pool_max_grad_row_16
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
#include "pool_lanes.h"
