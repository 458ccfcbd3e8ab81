/* What every form of the step promises of its numbers, for the step and perturbation by themselves and
 * for kernels that end in one: they keep to the ball and to the box exactly, in double, by moving to a
 * neighbouring float, never by a tolerance; and what is said of a sample's gradient. */
#ifndef FGSM_KEEP_CUH
#define FGSM_KEEP_CUH

#include "cuda.h"

namespace fgsm {

/* The float beside y: above it for 1, below it for -1. Bits of floats, those of negative ones
 * turned over, are integers in the same order; -0 (there -1) is stepped over. */
__device__ __forceinline__ float beside(float y, int step) {
  int bits = __float_as_int(y + 0.0f);
  int key = (int)((unsigned)(bits ^ ((bits >> 31) & 0x7fffffff)) + (unsigned)step);
  key = key == -1 ? key + (step - 1) / 2 : key;
  return __int_as_float(key ^ ((key >> 31) & 0x7fffffff));
}

/* By how much |y - x0| exceeds eps; its sign is that of real arithmetic (Knuth's two-sum). */
__device__ __forceinline__ double excess(double y, double x0, double eps) {
  double d = y - x0, t = d - y, rest = (y - (d - t)) - (x0 + t);
  double above = (d - eps) + rest, below = -((d + eps) + rest);
  return above > below ? above : below;
}

/* The float nearest to v within eps of x0; x0 where neither it nor the next two toward x0 are. */
__device__ __forceinline__ double hold(double v, float x0, double eps) {
  double from = x0, most = from + eps, least = from - eps;
  v = v > most ? most : v;
  v = v < least ? least : v;
  float y = (float)v;
  const int step = y < x0 ? 1 : -1;
  for (int i = 0; i < 3; i++) {
    if (excess(y, from, eps) <= 0)
      return y;
    y = beside(y, step);
  }
  return from;
}

__device__ __forceinline__ float into_box(double v, double lo, double hi) {
  v = v > hi ? hi : v < lo ? lo : v;
  float y = (float)v;
  y = (double)y > hi ? beside(y, -1) : y;
  return (double)y < lo ? beside(y, 1) : y;
}

/* quantize's byte; 2e-5 levels of slack let an x0 that was a byte stay one. */
__device__ __forceinline__ uint8_t byte_of(float x, float x0, double eps, bool project) {
  double lo = 0, hi = 255, v = 255.0 * (double)x;
  if (project) {
    const double least = ceil(255 * ((double)x0 - eps) - 2e-5);
    const double most = floor(255 * ((double)x0 + eps) + 2e-5);
    lo = least > lo ? least : lo;
    hi = most < hi ? most : hi;
  }
  if (!(lo <= hi) || x != x) {
    v = 255.0 * (double)x0;
    lo = 0;
    hi = 255;
  }
  v = floor(v + 0.5);
  return (uint8_t)(v >= hi ? hi : v > lo ? v : lo);
}

/* What is known of a gradient, to stats [3]. */
__device__ __forceinline__ void write_stats(float *to, double sum, int64_t zeros,
                                            int64_t free_places, int64_t broken) {
  to[0] = (float)sum;
  to[1] = free_places ? (float)((double)zeros / (double)free_places) : 1.0f;
  to[2] = (float)broken;
}

} // namespace fgsm
#endif
