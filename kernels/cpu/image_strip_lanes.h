/* Vectors of image_strip.c and image_strip_rows.c. */
#ifndef FG_CPU_IMAGE_STRIP_LANES_H
#define FG_CPU_IMAGE_STRIP_LANES_H

#include "image_strip.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif

enum { LANES = 8 };

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* Numbers of even places and of odd ones, to 2 * LANES floats. */
FG_INLINE void put_pairs(const vec *even, const vec *odd, float *to) {
  vec a = __builtin_shufflevector(*even, *odd, 0, 8, 1, 9, 4, 12, 5, 13);
  vec b = __builtin_shufflevector(*even, *odd, 2, 10, 3, 11, 6, 14, 7, 15);
  *(vec *)to = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
  *(vec *)(to + LANES) = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

#endif
