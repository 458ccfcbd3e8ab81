/* What the CPU kernels share: how a loop is cut over threads and compiled for several machines.
 *
 * A kernel is a driver that checks a call and a body that computes items [begin, end) of it. The
 * driver hands the body to fg_cpu_parallel, which cuts the items into one contiguous piece per
 * thread; no result depends on where the cuts fall or on which piece runs first. Bodies carry
 * FG_CLONES: the compiler emits each for AVX-512, AVX2 with FMA and the baseline, and the loader
 * picks. Loops are plain C that the compiler vectorises. */
#ifndef FG_CPU_H
#define FG_CPU_H

#include "kernel.h"

/* clang gives every clone's resolver external linkage: names of cloned functions are unique here. */
#if defined(FG_SANITIZED) || !defined(__x86_64__)
#define FG_CLONES
#elif defined(__clang__)
#define FG_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FG_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

/* For helpers of cloned bodies: inlined, so that they are compiled for the body's machine. */
#define FG_INLINE static inline __attribute__((always_inline))

/* Of numbers that are not negative: how many b hold a; the smaller; the larger. */
static inline int64_t fg_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
static inline int64_t fg_least(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t fg_most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

typedef void (*fg_cpu_body)(const void *ctx, int64_t begin, int64_t end);

/* Runs body over [0, n) with as many threads as the work (n times `cost`, in units of about a
 * nanosecond) is worth. Cuts fall on multiples of `align`. */
void fg_cpu_parallel(int64_t n, int64_t align, double cost, fg_cpu_body body, const void *ctx);

/* Elementwise shorthand: cuts at multiples of a cache line of floats. */
static inline void fg_cpu_flat(int64_t n, double cost, fg_cpu_body body, const void *ctx) {
  fg_cpu_parallel(n, 64, cost, body, ctx);
}

/* The threads that a kernel of the calling thread may use. */
int fg_cpu_threads(void);
void fg_cpu_set_threads(int threads); /* from here on */

/* Product of dims [from, to). */
static inline int64_t fg_cpu_span(const struct fg_tensor *t, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; i++)
    n *= t->dim[i];
  return n;
}

static inline bool fg_cpu_present(const struct fg_tensor *t) {
  return t->type != FG_NONE;
}

/* FGSM_UNSUPPORTED unless every present tensor among in[0..n_in) and out[0..n_out) is float32. */
fgsm_status fg_cpu_need_f32(const struct fg_call *call, int n_in, int n_out) FGSM_MUST_USE;

/* FGSM_UNSUPPORTED unless every present tensor of the call is FG_PLAIN. */
fgsm_status fg_cpu_need_plain(const struct fg_call *call) FGSM_MUST_USE;

/* FGSM_UNSUPPORTED unless all present tensors have one layout. */
fgsm_status fg_cpu_need_same_layout(const struct fg_call *call) FGSM_MUST_USE;

/* channel_block of the machine (see struct fg_device): 16, 8 or 0. */
int fg_cpu_block(void);
/* Of a core's second-level cache; half a MiB where the system does not say. */
int64_t fg_cpu_second_level_bytes(void);

/* As struct fg_backend says (burst.c). */
fgsm_status fg_cpu_burst(struct fg_device *device, enum fg_burst kind, void *memory, size_t bytes,
                         int64_t rounds, void *stream, double *amount);

/* How a 4-D tensor's memory is walked: [groups, spatial, lanes], where plain tensors have one lane
 * and N * C groups, blocked ones channel_block lanes and N * C / block groups. */
struct fg_cpu_planes {
  int64_t groups;  /* N * C / lanes    */
  int64_t spatial; /* elements a plane */
  int64_t lanes;
};
struct fg_cpu_planes fg_cpu_planes(const struct fg_tensor *t);

#endif
