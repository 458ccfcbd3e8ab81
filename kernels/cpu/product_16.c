/* Tiles of products for AVX-512: 14 rows by 2 vectors of 16 columns fill 28 of 32 registers. */
#define LANES 16
#define GROUP 14
#define PANEL 2
#define TURNS 0
#define UNROLL
#define UNROLL_TERMS
#define HEIGHTS(X)                                                                                 \
  X(1)                                                                                             \
  X(2)                                                                                             \
  X(3)                                                                                             \
  X(4)                                                                                             \
  X(5)                                                                                             \
  X(6)                                                                                             \
  X(7)                                                                                             \
  X(8)                                                                                             \
  X(9)                                                                                             \
  X(10)                                                                                            \
  X(11)                                                                                            \
  X(12)                                                                                            \
  X(13)                                                                                            \
  X(14)
#define WIDTHS(X, rows)                                                                            \
  X(rows, 1)                                                                                       \
  X(rows, 2)
#define ENDS 0
#define WAY fg_product_way_16
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
#include "product_lanes.h"
