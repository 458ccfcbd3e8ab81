/* Winograd's products for AVX-512: 14 tiles by 2 vectors of 16 channels fill 28 of 32 registers. */
#define LANES 16
#define GROUP 14
#define HEIGHTS(X)                                                                                 \
  X(14)                                                                                            \
  X(10)                                                                                            \
  X(8)                                                                                             \
  X(6)                                                                                             \
  X(4)                                                                                             \
  X(2)                                                                                             \
  X(1)
#define ITEM fg_winograd_item_16
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
#include "winograd_lanes.h"
