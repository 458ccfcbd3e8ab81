/* Half-precision formats to float32 and back, round to nearest even (IEEE 754 binary16; bfloat16). */
#include <math.h>
#include <string.h>

#include "base.h"

static float from_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

static uint32_t to_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

float fg_half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
  if (exponent == 31)
    return from_bits(sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  float tiny = (float)mantissa * 0x1p-24f;
  return sign ? -tiny : tiny;
}

float fg_bfloat_to_float(uint16_t b) {
  return from_bits((uint32_t)b << 16);
}

uint16_t fg_float_to_half(float f) {
  uint32_t u = to_bits(f);
  uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  u &= 0x7fffffff;
  if (u > 0x7f800000)
    return sign | 0x7e00;
  if (u >= 0x477ff000) /* rounds past the largest finite half */
    return sign | 0x7c00;
  if (u < 0x38800000) /* subnormal: an integer number of 2^-24 */
    return (uint16_t)(sign | (uint16_t)lrintf(from_bits(u) * 0x1p24f));
  uint32_t rounded = u + 0xfff + (u >> 13 & 1);
  return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

uint16_t fg_float_to_bfloat(float f) {
  uint32_t u = to_bits(f);
  if ((u & 0x7fffffff) > 0x7f800000)
    return (uint16_t)(u >> 16 | 64);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
