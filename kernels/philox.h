/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11):
 * a counter in, four independent 32-bit words out, no state. Noise keyed by (seed, sample, stream,
 * element) is the same for every batch size, order, thread and device. */
#ifndef FG_PHILOX_H
#define FG_PHILOX_H

#include <math.h>
#include <stdbool.h>
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

/* The sign of a normal: +1 or -1. */
FG_PHILOX_FN float fg_philox_sign(uint32_t word) {
  return word >> 31 ? -1.0f : 1.0f;
}

/* Two standard normals from two words (Box & Muller 1958): words 0, 1 of a block give elements 0, 1
 * and words 2, 3 give elements 2, 3. */
FG_PHILOX_FN void fg_philox_normal(uint32_t a, uint32_t b, double *first, double *second) {
  double r = sqrt(-2 * log(((double)a + 0.5) * 0x1p-32)), t = 6.283185307179586 * 0x1p-32 * b;
  *first = r * cos(t);
  *second = r * sin(t);
}

/* How an image is moved and mirrored when it is drawn for the stream-th time: by up to `pad` places each
 * way, and half of the time. Of a stream that no noise has. */
#define FG_PHILOX_MOVE_STREAM 0xFFFFFFFFu
struct fg_philox_move {
  int64_t dy, dx;
  bool mirrored;
};
FG_PHILOX_FN struct fg_philox_move fg_philox_move(uint64_t seed, int64_t sample, uint32_t stream,
                                                  int pad, bool flip) {
  struct fg_philox r = fg_philox_sample(seed, sample, FG_PHILOX_MOVE_STREAM, stream);
  uint32_t ways = 2 * (uint32_t)pad + 1;
  struct fg_philox_move m = {(int64_t)(r.word[0] % ways) - pad, (int64_t)(r.word[1] % ways) - pad,
                             flip && r.word[2] >> 31};
  return m;
}

/* The block that no element reaches: its word 0 draws the length of an L2 start. */
#define FG_PHILOX_LENGTH_BLOCK 0xFFFFFFFFu

#endif
