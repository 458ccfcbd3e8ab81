/* Zeros of a that are not multiplied (product.h), under AVX2: a row at a time, whose sums of four panels fill 12 of 16
 * registers. A row's terms are taken one after another as its bits tell, so that each sum is as a tile's: a product
 * with zero would leave it as it is. Cores run far ahead of the multiply-adds, so that a row's end, which they guess
 * wrongly, costs little.
 *
 * Gong et al. 2020, "SparseTrain: Leveraging Dynamic Sparsity in Software for Training DNNs on General-Purpose SIMD
 * Processors". */
#include "product.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { LANES = 8, PANEL = 3, WIDE = PANEL * LANES, LINE = FG_PRODUCT_LINE };

#define UNROLL _Pragma("GCC unroll 12")
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif

typedef float vec __attribute__((vector_size(LANES * 4), may_alias));
typedef float loose __attribute__((vector_size(LANES * 4), may_alias, aligned(4)));

/* ---- rows in order */

/* A bit for each number that is not zero; a NaN is not. */
TARGET FG_INLINE uint64_t bits_of(vec x) {
#if defined(__x86_64__)
  return (uint64_t)_mm256_movemask_ps((__m256)(x != 0));
#else
  uint64_t bits = 0;
  for (int i = 0; i < LANES; i++)
    bits |= (uint64_t)(x[i] != 0) << i;
  return bits;
#endif
}

TARGET FG_INLINE uint64_t copy_row(const float *from, int64_t terms, float *to) {
  uint64_t bits = 0;
  int64_t k = 0;
  for (; k + LANES <= terms; k += LANES) {
    vec x = *(const loose *)(from + k);
    *(vec *)(to + k) = x;
    bits |= bits_of(x) << k;
  }
  for (; k < terms; k++) {
    to[k] = from[k];
    bits |= (uint64_t)(from[k] != 0) << k;
  }
  return bits;
}

TARGET void fg_product_skip_copy(const float *from, int64_t rows, int64_t apart, int64_t terms,
                                 float *to, int64_t pitch, uint64_t *bits) {
  for (int64_t r = 0; r < rows; r++, from += apart, to += pitch)
    bits[r] = copy_row(from, terms, to);
}

/* ---- sums */

FG_INLINE void fetch(const struct fg_product_skip *s, int64_t row, int panels) {
  const float *at = s->ahead + row * s->lines * LINE;
  for (int64_t i = 0; i < s->lines; i++, at += LINE)
    UNROLL for (int p = 0; p < panels; p++) __builtin_prefetch(at + p * s->apart, 0, 2);
}

FG_INLINE const vec *beyond(const float *from, int64_t bytes) {
  return (const vec *)((const char *)from + bytes);
}

/* A term lies as far in each panel, which have an address each: in bytes, so that one offset serves all. */
FG_INLINE void add_row(const struct fg_product_skip *s, const float *a, uint64_t bits, float *sums,
                       int panels) {
  vec sum[FG_PRODUCT_SKIP_PANELS * PANEL];
  UNROLL for (int i = 0; i < panels * PANEL; i++) sum[i] =
      s->go_on ? *(const vec *)(sums + i * LANES) : (vec){0};
  for (; bits; bits &= bits - 1) {
    int64_t k = __builtin_ctzll(bits), term = k * (WIDE * (int64_t)sizeof(float));
    const float x = a[k];
    UNROLL for (int i = 0; i < panels * PANEL; i++) sum[i] +=
        x * *beyond(s->b[i / PANEL], term + i % PANEL * (int64_t)sizeof(vec));
  }
  UNROLL for (int i = 0; i < panels * PANEL; i++) * (vec *)(sums + i * LANES) = sum[i];
}

FG_INLINE void add(const struct fg_product_skip *given, int panels) {
  const struct fg_product_skip s = *given; /* stores of sums might alias it */
  for (int64_t r = 0; r < s.rows; r++) {
    fetch(&s, r, panels);
    add_row(&s, s.a + r * s.pitch, s.bits[r], s.sums + r * panels * WIDE, panels);
  }
}

TARGET static void add_2(const struct fg_product_skip *s) {
  add(s, 2);
}

TARGET static void add_3(const struct fg_product_skip *s) {
  add(s, 3);
}

TARGET static void add_4(const struct fg_product_skip *s) {
  add(s, 4);
}

void fg_product_skip(const struct fg_product_skip *s, int64_t panels) {
  static void (*const adds[])(const struct fg_product_skip *) = {add_2, add_3, add_4};
  adds[panels - 2](s);
}
