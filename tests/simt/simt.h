/* CUDA kernels on the host: one OS thread, one fiber per CUDA thread, the blocks one after another.
 *
 * A kernel file includes this (through fgsm_cuda.h) instead of the CUDA runtime when a C++ compiler
 * compiles it. Barriers and warp collectives switch fibers; shared memory is a fresh, poisoned heap
 * block per CUDA block; errors that a card would not report are counted and named by source line.
 * SIMT_SCHED=fwd|rev|rand:SEED chooses the order in which the threads of a block run. */
#ifndef SIMT_H
#define SIMT_H

#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "simt_half.h"
#include "simt_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

/* What the harness has found wrong since the program began. */
extern "C" unsigned long simt_error_count(void);
/* Kernels launched so far. */
extern "C" unsigned long simt_launch_count(void);

#ifndef SIMT_CHECK
#define SIMT_CHECK 0 /* 1 in the race-check build: every access goes through simt_check.cpp */
#endif
#define SIMT_INTRINSIC static inline __attribute__((always_inline, unused))
#define SIMT_UNSEEN __attribute__((no_sanitize("thread")))
#define SIMT_LOC simt::Loc loc_ = simt::Loc::here()
#define SIMT_SITE                                                                                  \
  simt::Loc {                                                                                      \
    __FILE__, __LINE__, __COUNTER__                                                                \
  }

namespace simt {

/* A call site: it survives inlining and duplicated code. */
struct Loc {
  const char *file;
  int line, id;
  static constexpr Loc here(const char *f = __builtin_FILE(), int l = __builtin_LINE()) {
    return {f, l, 0};
  }
  bool operator==(const Loc &o) const {
    return line == o.line && id == o.id && file == o.file;
  }
};

struct LaunchConfig {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
};
cudaError_t run(const LaunchConfig &config, const void *kernel, const char *name,
                void (*thunk)(void *), void *args, size_t args_bytes);

void error(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum Vote { COUNT, AND, OR };
void barrier(Loc loc);
int barrier_vote(int predicate, Vote vote, Loc loc);
/* Waits for the lanes in `mask`, then one of them runs resolve over all lanes' records. */
void warp_exchange(unsigned mask, void *mine, void (*resolve)(void **lanes, unsigned mask),
                   Loc loc);
void *shared_static(const void *key, size_t bytes);
void *shared_dynamic();
unsigned lane();
void atomic_access(void *p, size_t bytes, const void *pc);
void vector_copy(void *to, const void *from, unsigned bytes, bool write, Loc loc);
void cp_async(void *to, const void *from, unsigned bytes, Loc loc);
void cp_commit();
void cp_wait(unsigned keep);

template <class... P> struct Pack {
  void (*kernel)(P...);
  std::tuple<std::decay_t<P>...> args;
};
template <class... P> void thunk(void *v) {
  auto *pack = static_cast<Pack<P...> *>(v);
  /* By value: each thread has its own copy, as on a card. */
  std::apply([&](auto... x) { pack->kernel(x...); }, pack->args);
}
template <class... P, class... A>
cudaError_t launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, void (*kernel)(P...), A &&...a) {
  static_assert(sizeof...(P) == sizeof...(A), "wrong number of kernel arguments");
  static_assert((std::is_trivially_copyable_v<std::decay_t<P>> && ...),
                "kernel parameters are copied to the card byte by byte");
  static_assert((sizeof(std::decay_t<P>) + ... + 0) <= 4096, "a kernel has 4 KiB of parameters");
  Pack<P...> pack{kernel, {static_cast<P>(std::forward<A>(a))...}};
  return run(LaunchConfig{grid, block, shared_bytes, stream},
             reinterpret_cast<const void *>(kernel), name, &thunk<P...>, &pack, sizeof pack);
}
} // namespace simt

/* ---- launches, shared memory, wide accesses (see fgsm_cuda.h) */

#define FGSM_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                \
  simt::launch(#kernel, (grid), (block), (shared_bytes), (stream), kernel, __VA_ARGS__)
#define FGSM_UNROLL
#define FGSM_NO_UNROLL
#define FGSM_SHARED(type, name, dims)                                                              \
  using name##_simt_type = type dims;                                                              \
  static const char name##_simt_key = 0;                                                           \
  name##_simt_type &name = *static_cast<name##_simt_type *>(                                       \
      simt::shared_static(&name##_simt_key, sizeof(name##_simt_type)))
#define FGSM_SHARED_DYN(type, name) type *name = static_cast<type *>(simt::shared_dynamic())

template <class V> SIMT_INTRINSIC V fgsm_ldv(const void *p, SIMT_LOC) {
  V v;
  if (SIMT_CHECK || ((uintptr_t)p & (sizeof(V) - 1)))
    simt::vector_copy(&v, p, sizeof(V), false, loc_);
  else
    __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class V> SIMT_INTRINSIC void fgsm_stv(void *p, V v, SIMT_LOC) {
  if (SIMT_CHECK || ((uintptr_t)p & (sizeof(V) - 1)))
    simt::vector_copy(p, &v, sizeof(V), true, loc_);
  else
    __builtin_memcpy(p, &v, sizeof(V));
}
SIMT_INTRINSIC void fgsm_st4_global(float *p, float4 v, SIMT_LOC) {
  fgsm_stv(p, v, loc_);
}
SIMT_INTRINSIC void fgsm_cp_async16(void *shared_to, const void *from, SIMT_LOC) {
  simt::cp_async(shared_to, from, 16, loc_);
}
SIMT_INTRINSIC void fgsm_cp_async_commit() {
  simt::cp_commit();
}
template <int N> SIMT_INTRINSIC void fgsm_cp_async_wait() {
  simt::cp_wait(N);
}

#include "simt_device.h"
#include "simt_warp.h"

#endif
