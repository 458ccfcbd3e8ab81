/* Tiles of products for AVX2: 6 rows by 2 vectors of 8 columns fill 12 of 16 registers. */
#define LANES 8
#define GROUP 6
#define HEIGHTS(X)                                                                                 \
  X(1)                                                                                             \
  X(2)                                                                                             \
  X(3)                                                                                             \
  X(4)                                                                                             \
  X(5)                                                                                             \
  X(6)
#define WAY fg_product_way_8
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "product_lanes.h"
