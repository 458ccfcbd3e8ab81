/* What the machine can do at most, for a roofline: multiply-adds in registers, and copying. Every
 * thread works by itself from beginning to end, so that nothing but the two units is measured. */
#include <string.h>

#include "cpu.h"

/* Enough independent chains for the latency of a multiply-add on two ports, and no more than the
 * registers hold. */
enum { CHAINS = 12, ROUND = 256 };

/* The result is used, so that the work is done. */
#define MULTIPLY_ADD(name, vector_bytes)                                                           \
  typedef float name##_vector __attribute__((vector_size(vector_bytes)));                          \
  static void name(int64_t rounds, float *result) {                                                \
    name##_vector chain[CHAINS], zero = {0}, factor = zero + 0.999999F, term = zero + 1e-6F;       \
    for (int k = 0; k < CHAINS; k++)                                                               \
      chain[k] = zero + (float)k;                                                                  \
    for (int64_t r = 0; r < rounds * ROUND; r++)                                                   \
      for (int k = 0; k < CHAINS; k++)                                                             \
        chain[k] = chain[k] * factor + term;                                                       \
    for (int k = 0; k < CHAINS; k++)                                                               \
      *result += chain[k][0];                                                                      \
  }

MULTIPLY_ADD(multiply_add_16, 16)
#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
MULTIPLY_ADD(multiply_add_32, 32)
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif
MULTIPLY_ADD(multiply_add_64, 64)
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#define multiply_add_32 multiply_add_16
#define multiply_add_64 multiply_add_16
#endif

struct burst {
  int lanes; /* floats of a vector */
  char *memory;
  size_t half_bytes;
  int64_t rounds;
};

static void multiply_add(const void *ctx, int64_t begin, int64_t end) {
  const struct burst *b = ctx;
  for (int64_t i = begin; i < end; i++) {
    float *result = (float *)(void *)(b->memory + 64 * i);
    if (b->lanes == 16)
      multiply_add_64(b->rounds, result);
    else if (b->lanes == 8)
      multiply_add_32(b->rounds, result);
    else
      multiply_add_16(b->rounds, result);
  }
}

static void copy(const void *ctx, int64_t begin, int64_t end) {
  const struct burst *b = ctx;
  for (int64_t r = 0; r < b->rounds; r++) {
    memcpy(b->memory + b->half_bytes + begin, b->memory + begin, (size_t)(end - begin));
    __asm__ volatile("" ::: "memory"); /* each round is a copy of its own */
  }
}

fgsm_status fg_cpu_burst(struct fg_device *device, enum fg_burst kind, void *memory, size_t bytes,
                         int64_t rounds, void *stream, double *amount) {
  const double ALWAYS = 1e12; /* as cost: worth every thread */
  int block = fg_cpu_block();
  struct burst b = {block ? block : 4, memory, bytes / 2 / 64 * 64, rounds};
  (void)stream;
  if (kind == FG_BURST_copy) {
    fg_cpu_parallel((int64_t)b.half_bytes, 64, ALWAYS, copy, &b);
    *amount = 2 * (double)b.half_bytes * (double)rounds;
    return FGSM_OK;
  }
  if (bytes < 64 * (size_t)device->threads)
    return FG_FAIL(INTERNAL, "a burst of %d threads needs 64 bytes for each", device->threads);
  memset(memory, 0, 64 * (size_t)device->threads);
  fg_cpu_parallel(device->threads, 1, ALWAYS, multiply_add, &b);
  *amount = 2.0 * CHAINS * b.lanes * ROUND * (double)rounds * device->threads;
  return FGSM_OK;
}
