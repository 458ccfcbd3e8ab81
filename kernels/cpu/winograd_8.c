/* Winograd's products for AVX2: 6 tiles by 2 vectors of 8 channels fill 12 of 16 registers. */
#define LANES 8
#define GROUP 6
#define HEIGHTS(X)                                                                                 \
  X(6)                                                                                             \
  X(4)                                                                                             \
  X(3)                                                                                             \
  X(2)                                                                                             \
  X(1)
#define ITEM fg_winograd_item_8
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "winograd_lanes.h"
