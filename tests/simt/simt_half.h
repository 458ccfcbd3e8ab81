/* half and bfloat16 on the host: storage, conversions (round to nearest even) and arithmetic that
 * rounds once per operation, under CUDA's names. */
#ifndef SIMT_HALF_H
#define SIMT_HALF_H

#include <cmath>
#include <cstdint>

#include "simt_types.h"

#define SIMT_FN static inline __attribute__((unused))

namespace simt {
SIMT_FN uint32_t bits_of(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}
SIMT_FN float float_of(uint32_t u) {
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
} // namespace simt

struct __nv_bfloat16 {
  uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
struct __half {
  uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
typedef __half half;
typedef __half2 half2;
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

SIMT_FN float __bfloat162float(__nv_bfloat16 v) {
  return simt::float_of((uint32_t)v.bits << 16);
}
SIMT_FN __nv_bfloat16 __float2bfloat16_rn(float f) {
  uint32_t u = simt::bits_of(f);
  if (f != f)
    return {0x7FFF};
  return {(uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16)};
}
SIMT_FN __nv_bfloat16 __float2bfloat16(float f) {
  return __float2bfloat16_rn(f);
}

SIMT_FN float __half2float(__half v) {
  uint32_t sign = (uint32_t)(v.bits & 0x8000u) << 16, rest = v.bits & 0x7FFFu;
  if (rest >= 0x7C00u) /* inf, NaN */
    return simt::float_of(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  if (rest >= 0x400u)
    return simt::float_of(sign | ((rest << 13) + (112u << 23)));
  float f = (float)rest * 0x1p-24f; /* subnormal */
  return sign ? -f : f;
}
SIMT_FN __half __float2half_rn(float f) {
  uint32_t u = simt::bits_of(f), sign = u >> 16 & 0x8000u;
  float a = std::fabs(f);
  if (f != f)
    return {0x7FFF};
  if (a >= 65520.0f)
    return {(uint16_t)(sign | 0x7C00u)};
  if (a < 0x1p-14f) /* the host's rounding of the sum is the rounding wanted */
    return {(uint16_t)(sign | (simt::bits_of(a + 0.5f) - simt::bits_of(0.5f)))};
  uint32_t v = simt::bits_of(a) - (112u << 23);
  return {(uint16_t)(sign | (v + 0xFFFu + (v >> 13 & 1)) >> 13)};
}
SIMT_FN __half __float2half(float f) {
  return __float2half_rn(f);
}

#define SIMT_HALF(T, T2, to, from, pair)                                                           \
  SIMT_FN T __hadd(T a, T b) {                                                                     \
    return from(to(a) + to(b));                                                                    \
  }                                                                                                \
  SIMT_FN T __hsub(T a, T b) {                                                                     \
    return from(to(a) - to(b));                                                                    \
  }                                                                                                \
  SIMT_FN T __hmul(T a, T b) {                                                                     \
    return from(to(a) * to(b));                                                                    \
  }                                                                                                \
  SIMT_FN T __hfma(T a, T b, T c) {                                                                \
    return from(__builtin_fmaf(to(a), to(b), to(c)));                                              \
  }                                                                                                \
  SIMT_FN bool __hgt(T a, T b) {                                                                   \
    return to(a) > to(b);                                                                          \
  }                                                                                                \
  SIMT_FN bool __hlt(T a, T b) {                                                                   \
    return to(a) < to(b);                                                                          \
  }                                                                                                \
  SIMT_FN bool __hisnan(T a) {                                                                     \
    return to(a) != to(a);                                                                         \
  }                                                                                                \
  SIMT_FN T2 __hadd2(T2 a, T2 b) {                                                                 \
    return {__hadd(a.x, b.x), __hadd(a.y, b.y)};                                                   \
  }                                                                                                \
  SIMT_FN T2 __hmul2(T2 a, T2 b) {                                                                 \
    return {__hmul(a.x, b.x), __hmul(a.y, b.y)};                                                   \
  }                                                                                                \
  SIMT_FN T2 __hfma2(T2 a, T2 b, T2 c) {                                                           \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};                                         \
  }                                                                                                \
  SIMT_FN T2 pair(float a, float b) {                                                              \
    return {from(a), from(b)};                                                                     \
  }
SIMT_HALF(__nv_bfloat16, __nv_bfloat162, __bfloat162float, __float2bfloat16_rn,
          __floats2bfloat162_rn)
SIMT_HALF(__half, __half2, __half2float, __float2half_rn, __floats2half2_rn)
#undef SIMT_HALF

SIMT_FN float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {__bfloat162float(v.x), __bfloat162float(v.y)};
}
SIMT_FN float2 __half22float2(__half2 v) {
  return {__half2float(v.x), __half2float(v.y)};
}
#undef SIMT_FN

#endif
