/* The one header that a kernel file opens with: how CUDA is spelt here.
 *
 * Compiled by nvcc these are CUDA itself; compiled as C++17 they are the harness in tests/simt,
 * which runs the same source thread by thread on the CPU. What a host compiler cannot see through
 * has a name: launches (FGSM_LAUNCH), shared memory (FGSM_SHARED, FGSM_SHARED_DYN), accesses wider
 * than a scalar (fgsm_ldv, fgsm_stv) and every PTX instruction (fgsm_mma_..., fgsm_ldmatrix_...,
 * fgsm_cp_async...). A kernel that writes <<<>>>, __shared__ or asm itself does not compile here.
 */
#ifndef FGSM_CUDA_H
#define FGSM_CUDA_H

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

/* Launches and yields the launch's cudaError_t. A kernel with commas goes in parentheses. (In C++17
 * clang-format takes <<< in a macro for shifts.) */
// clang-format off
#define FGSM_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                \
  ((kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__), cudaGetLastError())
// clang-format on

/* In front of a loop whose arrays must lie in registers, and of one that would be too much code. */
#define FGSM_UNROLL _Pragma("unroll")
#define FGSM_NO_UNROLL _Pragma("unroll 1")

/* FGSM_SHARED(float, tile, [8][33]); 16-byte aligned, without a value until written. */
#define FGSM_SHARED(type, name, dims) __shared__ __align__(16) type name dims
#define FGSM_SHARED_DYN(type, name)                                                                \
  extern __shared__ __align__(16) unsigned char fgsm_dynamic_shared[];                             \
  type *name = reinterpret_cast<type *>(fgsm_dynamic_shared)

/* One access of sizeof(V) bytes, aligned to them. */
template <class V> __device__ __forceinline__ V fgsm_ldv(const void *p) {
  return *reinterpret_cast<const V *>(p);
}
template <class V> __device__ __forceinline__ void fgsm_stv(void *p, V v) {
  *reinterpret_cast<V *>(p) = v;
}
/* 16 bytes to device memory as one store even beside a branch that stores them one by one, with
 * which the compiler would merge it. */
__device__ __forceinline__ void fgsm_st4_global(float *p, float4 v) {
  __stwb(reinterpret_cast<float4 *>(p), v);
}

/* d = a b + c of one warp: a 16x16 row-major, b 16x8 column-major, bfloat16; c, d float. */
__device__ __forceinline__ void fgsm_mma_m16n8k16_bf16(float d[4], const unsigned a[4],
                                                       const unsigned b[2], const float c[4]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                 "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

/* The same of a 16x8 and b 8x8 of floats, read as TF32. */
__device__ __forceinline__ void fgsm_mma_m16n8k8_tf32(float d[4], const unsigned a[4],
                                                      const unsigned b[2], const float c[4]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                 "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

/* Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8. */
__device__ __forceinline__ void fgsm_ldmatrix_x4(unsigned r[4], const void *shared_row) {
  unsigned p = (unsigned)__cvta_generic_to_shared(shared_row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(p)
               : "memory");
}

/* The same, each of the four transposed: lane l has column l / 4, rows l % 4 * 2 and the next. */
__device__ __forceinline__ void fgsm_ldmatrix_x4_trans(unsigned r[4], const void *shared_row) {
  unsigned p = (unsigned)__cvta_generic_to_shared(shared_row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(p)
               : "memory");
}

/* Two floats rounded to bfloat16, `low` in the low half; and one back. */
__device__ __forceinline__ unsigned fgsm_pack_bf16(float low, float high) {
  unsigned v;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
  return v;
}
__device__ __forceinline__ float fgsm_bf16_float(unsigned bits) {
  return __uint_as_float(bits << 16);
}

/* The same of IEEE's half. */
__device__ __forceinline__ unsigned fgsm_pack_half(float low, float high) {
  unsigned v;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
  return v;
}
__device__ __forceinline__ float fgsm_half_float(unsigned bits) {
  return __half2float(__ushort_as_half((unsigned short)bits));
}

/* 16 bytes from device to shared memory; they are there once the group that was committed has been
 * waited for (all but the last N groups) and the threads that read have met at a barrier. */
__device__ __forceinline__ void fgsm_cp_async16(void *shared_to, const void *from) {
  unsigned p = (unsigned)__cvta_generic_to_shared(shared_to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(p), "l"(from) : "memory");
}
__device__ __forceinline__ void fgsm_cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> __device__ __forceinline__ void fgsm_cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#else
#include "simt.h"
#endif
#endif
