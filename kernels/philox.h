/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11):
 * a counter in, four independent 32-bit words out, no state. Noise keyed by (seed, sample, stream,
 * element) is the same for every batch size, order, thread and device. */
#ifndef FG_PHILOX_H
#define FG_PHILOX_H

#include <stdint.h>

struct fg_philox {
  uint32_t word[4];
};

#ifdef __CUDACC__
#define FG_PHILOX_FN static __host__ __device__ inline
#else
#define FG_PHILOX_FN static inline
#endif

FG_PHILOX_FN struct fg_philox fg_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                        uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t d0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, d2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = d0;
    c2 = d2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  struct fg_philox r = {{c0, c1, c2, c3}};
  return r;
}

/* The words for elements 4 * block .. 4 * block + 3 of one sample. */
FG_PHILOX_FN struct fg_philox fg_philox_sample(uint64_t seed, int64_t sample, uint32_t stream,
                                               uint32_t block) {
  return fg_philox((uint32_t)sample, (uint32_t)((uint64_t)sample >> 32), stream, block,
                   (uint32_t)seed, (uint32_t)(seed >> 32));
}

/* Uniform in [0, 1), 24 bits: exact in float, equal on every machine. */
FG_PHILOX_FN float fg_philox_unit(uint32_t word) {
  return (float)(word >> 8) * 0x1p-24f;
}

/* Uniform in [-1, 1), exact in float. */
FG_PHILOX_FN float fg_philox_symmetric(uint32_t word) {
  return (float)((int32_t)word >> 8) * 0x1p-23f;
}

#endif
