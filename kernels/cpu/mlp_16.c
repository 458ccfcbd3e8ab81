/* Products of small dense nets for AVX-512: 8 results of 2 vectors of samples, as many as rows have addresses in
 * registers, are twice what keeps two units busy. */
#define LANES 16
#define ROWS 8
#define EACH_ROWS(X)                                                                               \
  X(1)                                                                                             \
  X(2)                                                                                             \
  X(3)                                                                                             \
  X(4)                                                                                             \
  X(5)                                                                                             \
  X(6)                                                                                             \
  X(7)                                                                                             \
  X(8)
#define PRODUCT fg_mlp_product_16
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
#include "mlp_lanes.h"
