/* Copies of strided views: what transpose, expand, concat, slice and pad come down to. */
#ifndef FG_CPU_COPY_H
#define FG_CPU_COPY_H

#include "cpu.h"

/* to[index . to_stride] = from[index . from_stride] for every index below dim; elements of 1, 2, 4
 * or 8 bytes, strides in elements (0 repeats, negative runs backward). The views do not overlap. */
void fg_cpu_copy(size_t size, int rank, const int64_t *dim, void *to, const int64_t *to_stride,
                 const void *from, const int64_t *from_stride);

/* Row-major strides of a shape. */
void fg_cpu_strides(int rank, const int64_t *dim, int64_t *stride);

/* Fills n elements of `size` bytes with one element. */
void fg_cpu_fill(size_t size, void *to, const void *value, int64_t n);

#endif
