/* Products of small dense nets for AVX2: 6 results of 2 vectors of samples fill 12 of 16 registers. */
#define LANES 8
#define ROWS 6
#define EACH_ROWS(X)                                                                               \
  X(1)                                                                                             \
  X(2)                                                                                             \
  X(3)                                                                                             \
  X(4)                                                                                             \
  X(5)                                                                                             \
  X(6)
#define PRODUCT fg_mlp_product_8
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "mlp_lanes.h"
