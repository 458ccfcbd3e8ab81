/* Tiles of products for AVX2: 4 rows by 3 vectors of 8 columns fill 12 of 16 registers. */
#define LANES 8
#define GROUP 4
#define PANEL 3
#define TURNS 1
#define UNROLL _Pragma("GCC unroll 12")
#define UNROLL_TERMS _Pragma("GCC unroll 2") /* of eight, GCC spills sums */
#define HEIGHTS(X)                                                                                 \
  X(1)                                                                                             \
  X(2)                                                                                             \
  X(3)                                                                                             \
  X(4)
#define WIDTHS(X, rows)                                                                            \
  X(rows, 1)                                                                                       \
  X(rows, 2)                                                                                       \
  X(rows, 3)
#define ENDS 1
#define WAY fg_product_way_8
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "product_lanes.h"
