/* Intrinsics of one thread: barriers, atomics, bit casts, rounding. Part of simt.h. */
#ifndef SIMT_DEVICE_H
#define SIMT_DEVICE_H

#define __syncthreads() simt::barrier(SIMT_SITE)
#define __syncthreads_count(p) simt::barrier_vote((p), simt::COUNT, SIMT_SITE)
#define __syncthreads_and(p) simt::barrier_vote((p), simt::AND, SIMT_SITE)
#define __syncthreads_or(p) simt::barrier_vote((p), simt::OR, SIMT_SITE)
SIMT_INTRINSIC void __threadfence() {
}
SIMT_INTRINSIC void __threadfence_block() {
}
template <class T> SIMT_INTRINSIC T __ldg(const T *p) {
  return *p;
}
SIMT_INTRINSIC float __int_as_float(int i) {
  return simt::float_of((unsigned)i);
}
SIMT_INTRINSIC float __uint_as_float(unsigned i) {
  return simt::float_of(i);
}
SIMT_INTRINSIC int __float_as_int(float f) {
  return (int)simt::bits_of(f);
}
SIMT_INTRINSIC unsigned __float_as_uint(float f) {
  return simt::bits_of(f);
}
SIMT_INTRINSIC int __popc(unsigned v) {
  return __builtin_popcount(v);
}
SIMT_INTRINSIC int __ffs(int v) {
  return __builtin_ffs(v);
}
SIMT_INTRINSIC int __clz(int v) {
  return v ? __builtin_clz((unsigned)v) : 32;
}
/* These must not be contracted: the harness is compiled with -ffp-contract=off. */
SIMT_INTRINSIC float __fadd_rn(float a, float b) {
  return a + b;
}
SIMT_INTRINSIC float __fsub_rn(float a, float b) {
  return a - b;
}
SIMT_INTRINSIC float __fmul_rn(float a, float b) {
  return a * b;
}
SIMT_INTRINSIC float __fdiv_rn(float a, float b) {
  return a / b;
}
SIMT_INTRINSIC float __fmaf_rn(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
SIMT_INTRINSIC double __dadd_rn(double a, double b) {
  return a + b;
}
SIMT_INTRINSIC double __dsub_rn(double a, double b) {
  return a - b;
}
SIMT_INTRINSIC double __dmul_rn(double a, double b) {
  return a * b;
}
SIMT_INTRINSIC float __saturatef(float a) {
  return a > 0 ? (a < 1 ? a : 1) : 0;
}
SIMT_INTRINSIC float rsqrtf(float a) {
  return 1 / std::sqrt(a);
}
SIMT_INTRINSIC double rsqrt(double a) {
  return 1 / std::sqrt(a);
}
template <class T> SIMT_INTRINSIC std::enable_if_t<std::is_arithmetic_v<T>, T> min(T a, T b) {
  return b < a ? b : a;
}
template <class T> SIMT_INTRINSIC std::enable_if_t<std::is_arithmetic_v<T>, T> max(T a, T b) {
  return a < b ? b : a;
}

/* One OS thread: an atomic is a plain read and write of which the checker is told. */
#define SIMT_ATOMIC(name, expression)                                                              \
  template <class T> SIMT_UNSEEN __attribute__((noinline)) T name(T *p, std::common_type_t<T> v) { \
    simt::atomic_access(p, sizeof(T), __builtin_return_address(0));                                \
    T old = *p;                                                                                    \
    *p = static_cast<T>(expression);                                                               \
    return old;                                                                                    \
  }
SIMT_ATOMIC(atomicAdd, old + v)
SIMT_ATOMIC(atomicMax, old > v ? old : v)
SIMT_ATOMIC(atomicMin, old < v ? old : v)
SIMT_ATOMIC(atomicExch, v)
SIMT_ATOMIC(atomicOr, old | v)
#undef SIMT_ATOMIC
template <class T>
SIMT_UNSEEN __attribute__((noinline)) T atomicCAS(T *p, std::common_type_t<T> expected,
                                                  std::common_type_t<T> v) {
  simt::atomic_access(p, sizeof(T), __builtin_return_address(0));
  T old = *p;
  if (old == expected)
    *p = v;
  return old;
}

#endif
