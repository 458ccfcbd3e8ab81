/* A first convolution's gradient for AVX-512: up to 24 sums, and the windows that they share. */
#define LANES 16
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define PLACES(c) ((c) == 1 ? 16 : 24 / (c))
#define ROW fg_image_row_16
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
#include "image_grad_lanes.h"
