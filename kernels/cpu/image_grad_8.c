/* A first convolution's gradient for AVX2: up to 12 sums, and the windows that they share. */
#define LANES 8
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15
#define PLACES(c) ((c) == 1 ? 8 : 12 / (c))
#define ROW fg_image_row_8
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "image_grad_lanes.h"
