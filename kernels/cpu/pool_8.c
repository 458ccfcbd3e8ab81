/* Max-pools in channel blocks for AVX2. */
#define LANES 8
#define MAX_ROW fg_pool_max_row_8
#define MAX_GRAD_ROW fg_pool_max_grad_row_8
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "pool_lanes.h"
