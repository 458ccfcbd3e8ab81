/* exp, tanh, erf and Phi of floats as straight-line code, so that loops over them vectorise. Polynomials
 * are minimax (Remez) fits of our own in the reduced argument; errors, measured against double over
 * the whole range, are at most 1 ulp for exp and 1.5 ulp for tanh and erf. NaN stays NaN; exp
 * overflows to infinity and underflows through denormals to 0. */
#ifndef FG_VMATH_H
#define FG_VMATH_H

#include <math.h>
#include <string.h>

#include "cpu.h"

FG_INLINE float fg_bits_to_float(int32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

FG_INLINE int32_t fg_float_to_bits(float f) {
  int32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

/* e^x = 2^k e^r, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer whose low bits are k; 2^k
 * is applied in two factors, since k reaches 128 and -150. (Unsigned shifts, because a NaN's k is
 * any number.) */
FG_INLINE float fg_vexpf(float x) {
  const float magic = 0x1.8p23f;
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  float shifted = x * 1.44269504e+00f + magic, k = shifted - magic;
  float r = x - k * 0x1.62e400p-1f;
  r = r - k * 0x1.7f7d1cp-20f;
  float p = 1.990770675e-04f;
  p = p * r + 1.393373292e-03f;
  p = p * r + 8.333285832e-03f;
  p = p * r + 4.166646417e-02f;
  p = p * r + 1.666666676e-01f;
  p = p * r + 5.000000014e-01f;
  p = p * (r * r) + r + 1.0f;
  int32_t whole = fg_float_to_bits(shifted) - fg_float_to_bits(magic), half = whole >> 1;
  float low = fg_bits_to_float((int32_t)((uint32_t)(half + 127) << 23));
  float high = fg_bits_to_float((int32_t)((uint32_t)(whole - half + 127) << 23));
  return p * low * high;
}

FG_INLINE float fg_vtanhf(float x) {
  float t = fabsf(x), s = x * x;
  float p = -6.113192923e-03f;
  p = p * s + 2.101008256e-02f;
  p = p * s - 5.385407006e-02f;
  p = p * s + 1.333279455e-01f;
  p = p * s - 3.333332925e-01f;
  float small = x + x * s * p;
  float big = copysignf(1.0f - 2.0f / (fg_vexpf(2.0f * t) + 1.0f), x);
  return t < 0.625f ? small : big;
}

/* erf(x) = x (1 + P(x^2)) for small |x|; else 1 - exp(Q(|x|)), Q a fit of log erfc. */
FG_INLINE float fg_verff(float x) {
  float t = fabsf(x), s = x * x;
  float p = -5.892720638e-04f;
  p = p * s + 4.974318979e-03f;
  p = p * s - 2.675417396e-02f;
  p = p * s + 1.128149006e-01f;
  p = p * s - 3.761246493e-01f;
  p = p * s + 1.283791458e-01f;
  float small = x + x * p;
  t = t > 4.0f ? 4.0f : t;
  float q = -2.121785715e-05f;
  q = q * t + 4.358840134e-04f;
  q = q * t - 4.177958941e-03f;
  q = q * t + 2.513761310e-02f;
  q = q * t - 1.083082586e-01f;
  q = q * t - 6.333212625e-01f;
  q = q * t - 1.129527643e+00f;
  q = q * t + 1.773337659e-04f;
  float big = copysignf(1.0f - fg_vexpf(q), x);
  return t < 0.94f ? small : big;
}

/* The normal distribution's Phi(x), and *bell = e^(-x^2 / 2), which is all of the exponentials that it
 * takes: Phi(-t) = e^(-t^2 / 2) u P(u), u = 1 / (1 + 0.3 t) for t >= 0 (the form of Abramowitz & Stegun
 * 7.1.26). Relative to Phi(-t) the fit is off by 1.5e-7 at most. */
FG_INLINE float fg_vnormalf(float x, float *bell) {
  float u = 1.0f / (1.0f + 0.3f * fabsf(x)), e = fg_vexpf(-0.5f * x * x);
  float p = 3.567477856e-02f;
  p = p * u - 1.572031010e-01f;
  p = p * u + 2.063535370e-01f;
  p = p * u - 5.368365417e-02f;
  p = p * u + 1.285616403e-01f;
  p = p * u + 9.991348824e-02f;
  p = p * u + 1.207539566e-01f;
  p = p * u + 1.196292988e-01f;
  float tail = e * (u * p);
  *bell = e;
  return x > 0 ? 1.0f - tail : tail;
}

/* The largest of sign * x, apart from NaN; -inf of nothing. In lanes by hand: not every compiler
 * vectorises a maximum that must respect NaN. */
FG_INLINE float fg_vtopf(const float *x, int64_t n, float sign) {
  float lane[16], top = -INFINITY;
  int64_t i = 0;
  for (int l = 0; l < 16; l++)
    lane[l] = -INFINITY;
  for (; i + 16 <= n; i += 16)
#pragma omp simd
    for (int l = 0; l < 16; l++) {
      float v = sign * x[i + l];
      lane[l] = v > lane[l] ? v : lane[l];
    }
  for (int l = 0; l < 16; l++)
    top = lane[l] > top ? lane[l] : top;
  for (; i < n; i++)
    top = sign * x[i] > top ? sign * x[i] : top;
  return top;
}

/* y[i] = exp(x[i] - top) and their sum. The rest of a row is filled up to full lanes, so that no
 * element is worked on alone; rows of attention are short. */
FG_INLINE float fg_vexp_row(const float *x, float *y, int64_t n, float top) {
  float sums[16] = {0}, sum = 0, rest[16];
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
#pragma omp simd
    for (int l = 0; l < 16; l++) {
      float e = fg_vexpf(x[i + l] - top);
      y[i + l] = e;
      sums[l] += e;
    }
  for (int l = 0; l < 16; l++)
    rest[l] = i + l < n ? x[i + l] : -INFINITY;
#pragma omp simd
  for (int l = 0; l < 16; l++)
    rest[l] = fg_vexpf(rest[l] - top);
  for (int l = 0; i + l < n; l++) {
    y[i + l] = rest[l];
    sums[l] += rest[l];
  }
  for (int l = 0; l < 16; l++)
    sum += sums[l];
  return sum;
}

#endif
