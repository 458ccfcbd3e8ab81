/* See split_tile.h. Elsewhere than on x86-64 there are no tiles, and nothing here is called. */
#include "split_tile.h"

#include <stddef.h>

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VECTORS __attribute__((target("arch=x86-64-v4")))
#define TILES __attribute__((target("arch=x86-64-v4,amx-tile,amx-bf16")))

enum { HALF = 16, TILE = HALF * FG_SPLIT_TERMS, PART = 2 * TILE, TILE_BYTES_OF_ROW = 64 };

/* ---- leave */

static bool may;

/* Linux gives the tiles' state, 8 KiB a thread, to processes that ask for it. */
static void ask(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  may = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool fg_split_may(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, ask);
  return may;
}

/* Eight tiles of 16 rows of 64 bytes. */
static const struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} config = {
    .palette = 1,
    .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {HALF, HALF, HALF, HALF, HALF, HALF, HALF, HALF},
};

TILES void fg_split_begin(void) {
  _tile_loadconfig(&config);
}

TILES void fg_split_end(void) {
  _tile_release();
}

/* ---- parts */

/* The upper half of a float32 is a bfloat16, cut off; what is left of the number is exact. */
VECTORS static inline void split(__m512 x, __m256i part[FG_SPLIT_PARTS]) {
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
  for (int p = 0; p < FG_SPLIT_PARTS; p++) {
    __m512i cut = _mm512_and_si512(_mm512_castps_si512(x), upper);
    part[p] = _mm512_cvtepi32_epi16(_mm512_srli_epi32(cut, 16));
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(cut));
  }
}

VECTORS void fg_split_rows(const float *const *row, int64_t rows, int64_t k, int64_t step,
                           uint16_t *to) {
  for (int64_t first = 0; first < k; first += FG_SPLIT_TERMS, to += FG_SPLIT_BLOCK)
    for (int64_t r = 0; r < FG_SPLIT_ROWS; r++)
      for (int64_t half = 0; half < 2; half++) {
        int64_t left = r < rows ? k - first - half * HALF : 0;
        __mmask16 there = left >= HALF ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0;
        __m512 x = _mm512_setzero_ps();
        __m256i part[FG_SPLIT_PARTS];
        if (there)
          x = _mm512_maskz_loadu_ps(there, row[r] + (first / HALF + half) * step);
        split(x, part);
        for (int p = 0; p < FG_SPLIT_PARTS; p++)
          _mm256_store_si256((__m256i *)(to + p * PART + r * FG_SPLIT_TERMS + half * HALF),
                             part[p]);
      }
}

VECTORS void fg_split_block(const float *b, uint16_t *to) {
  for (int64_t t = 0; t < FG_SPLIT_TERMS; t++)
    for (int64_t half = 0; half < 2; half++) {
      uint16_t part[FG_SPLIT_PARTS][HALF] __attribute__((aligned(32)));
      __m256i cut[FG_SPLIT_PARTS];
      split(_mm512_loadu_ps(b + t * FG_SPLIT_COLUMNS + half * HALF), cut);
      memcpy(part, cut, sizeof part);
      for (int p = 0; p < FG_SPLIT_PARTS; p++)
        for (int64_t c = 0; c < HALF; c++)
          to[p * PART + half * TILE + (t / 2 * HALF + c) * 2 + t % 2] = part[p][c];
    }
}

/* ---- sums */

#define INLINE TILES static inline __attribute__((always_inline))

/* Tiles 0 to 3 hold sums; 4 and 5 a part of a's two halves, of which few rows leave one; 6 and 7 one of b's. */
INLINE void load_a(const uint16_t *a, int part, bool both) {
  _tile_loadd(4, a + part * PART, TILE_BYTES_OF_ROW);
  if (both)
    _tile_loadd(5, a + part * PART + TILE, TILE_BYTES_OF_ROW);
}

INLINE void load_b(const uint16_t *b, int part) {
  _tile_loadd(6, b + part * PART, TILE_BYTES_OF_ROW);
  _tile_loadd(7, b + part * PART + TILE, TILE_BYTES_OF_ROW);
}

INLINE void multiply(bool both) {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if (both) {
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/* Of a block: the small products first, in an order that loads parts as seldom as four tiles allow. */
INLINE void add_products(const uint16_t *a, const uint16_t *b, bool both) {
  load_a(a, 0, both);
  load_b(b, 2);
  multiply(both);
  load_b(b, 1);
  multiply(both);
  load_a(a, 1, both);
  multiply(both);
  load_b(b, 0);
  multiply(both);
  load_a(a, 2, both);
  multiply(both);
  load_a(a, 0, both);
  multiply(both);
}

TILES void fg_split_tile(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows,
                         float *sums) {
  const size_t row_bytes = FG_SPLIT_COLUMNS * sizeof *sums;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (rows > HALF)
    for (int64_t k = 0; k < blocks; k++)
      add_products(a + k * FG_SPLIT_BLOCK, b + k * FG_SPLIT_BLOCK, true);
  else
    for (int64_t k = 0; k < blocks; k++)
      add_products(a + k * FG_SPLIT_BLOCK, b + k * FG_SPLIT_BLOCK, false);
  _tile_stored(0, sums, row_bytes);
  _tile_stored(1, sums + HALF, row_bytes);
  _tile_stored(2, sums + HALF * FG_SPLIT_COLUMNS, row_bytes);
  _tile_stored(3, sums + HALF * FG_SPLIT_COLUMNS + HALF, row_bytes);
}

/* ---- what becomes of them */

/* NaN stays NaN. */
VECTORS void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                             int64_t columns) {
  const struct fg_split_end e = *end;
  const __m512 alpha = _mm512_set1_ps(e.alpha), zero = _mm512_setzero_ps();
  for (int64_t half = 0; half * HALF < columns; half++) {
    int64_t left = columns - half * HALF;
    __mmask16 there = left >= HALF ? 0xffff : (__mmask16)((1u << left) - 1);
    __m512 bias = e.bias ? _mm512_maskz_loadu_ps(there, e.bias + half * HALF) : zero;
    for (int64_t r = 0; r < rows; r++) {
      int64_t at = e.at[r] + half * e.step;
      __m512 y = _mm512_loadu_ps(sums + r * FG_SPLIT_COLUMNS + half * HALF);
      __mmask16 off = 0;
      y = _mm512_add_ps(_mm512_mul_ps(y, alpha), bias);
      if (e.add)
        y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(there, e.add + at));
      if (e.mask)
        off = _mm512_cmp_ps_mask(_mm512_maskz_loadu_ps(there, e.mask + at), zero, _CMP_LE_OQ);
      else if (e.relu)
        off = _mm512_cmp_ps_mask(y, zero, _CMP_LE_OQ);
      _mm512_mask_storeu_ps(e.to + at, there, _mm512_mask_mov_ps(y, off, zero));
    }
  }
}

/* ---- columns that are pixels */

/* Rows become columns, of 16 x 16 numbers. */
VECTORS static inline void turn(__m512 x[HALF]) {
  __m512 y[HALF];
#pragma GCC unroll 8
  for (int i = 0; i < HALF; i += 2) { /* [a0 b0 a1 b1], [a2 b2 a3 b3] of each four columns */
    y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < HALF; i += 4) /* x[i + m]: columns m, m + 4 .. of rows i .. i + 3 */
    for (int m = 0; m < 2; m++) {
      __m512d a = _mm512_castps_pd(y[i + m]), b = _mm512_castps_pd(y[i + 2 + m]);
      x[i + 2 * m] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      x[i + 2 * m + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
#pragma GCC unroll 8
  for (int m = 0; m < 4; m++)
    for (int i = 0; i < HALF; i += 8) { /* lanes 0 and 2, and 1 and 3, of eight rows */
      y[i + m] = _mm512_shuffle_f32x4(x[i + m], x[i + 4 + m], 0x88);
      y[i + 4 + m] = _mm512_shuffle_f32x4(x[i + m], x[i + 4 + m], 0xdd);
    }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    x[i] = _mm512_shuffle_f32x4(y[i], y[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_f32x4(y[i], y[i + 8], 0xdd);
  }
}

/* As split, of the even and the odd term of 16 pairs, which lie side by side: to[part][16][2]. */
VECTORS static inline void split_pairs(__m512 even, __m512 odd, uint16_t *to) {
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
  for (int p = 0; p < FG_SPLIT_PARTS; p++) {
    __m512i a = _mm512_and_si512(_mm512_castps_si512(even), upper);
    __m512i b = _mm512_and_si512(_mm512_castps_si512(odd), upper);
    _mm512_store_si512(to + p * PART, _mm512_or_si512(_mm512_srli_epi32(a, 16), b));
    even = _mm512_sub_ps(even, _mm512_castsi512_ps(a));
    odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(b));
  }
}

/* The 16 pixels from x on, of which there are so many, and their 16 channels: 8 rows of a tile. */
VECTORS static inline void split_pixels(const float *x, int64_t there, uint16_t *to) {
  __m512 v[HALF];
  for (int i = 0; i < HALF; i++)
    v[i] = i < there ? _mm512_loadu_ps(x + i * HALF) : _mm512_setzero_ps();
  turn(v);
  for (int i = 0; i < HALF; i += 2)
    split_pairs(v[i], v[i + 1], to + i * HALF);
}

VECTORS void fg_split_columns(const float *pixels, int64_t columns, int64_t k, int64_t step,
                              uint16_t *to) {
  for (int64_t first = 0; first < k; first += FG_SPLIT_TERMS, to += FG_SPLIT_BLOCK)
    for (int64_t terms = 0; terms < FG_SPLIT_TERMS; terms += HALF)
      for (int64_t half = 0; half < 2; half++) {
        int64_t there = first + terms < k ? columns - half * HALF : 0;
        split_pixels(pixels + (first + terms) / HALF * step + half * HALF * HALF, there,
                     to + half * TILE + terms * HALF);
      }
}

INLINE void load_first(const uint16_t *b, int part) {
  _tile_loadd(6, b + part * PART, TILE_BYTES_OF_ROW);
}

INLINE void multiply_first(bool both) {
  _tile_dpbf16ps(0, 4, 6);
  if (both)
    _tile_dpbf16ps(2, 5, 6);
}

/* add_products, of b's first half alone. */
INLINE void add_first(const uint16_t *a, const uint16_t *b, bool both) {
  load_a(a, 0, both);
  load_first(b, 2);
  multiply_first(both);
  load_first(b, 1);
  multiply_first(both);
  load_a(a, 1, both);
  multiply_first(both);
  load_first(b, 0);
  multiply_first(both);
  load_a(a, 2, both);
  multiply_first(both);
  load_a(a, 0, both);
  multiply_first(both);
}

TILES void fg_split_tile_within(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows,
                                int64_t columns, float *sums, int64_t step) {
  const size_t row_bytes = (size_t)step * sizeof *sums;
  const bool tall = rows > HALF, wide = columns > HALF;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < blocks; k++, a += FG_SPLIT_BLOCK, b += FG_SPLIT_BLOCK)
    if (tall && wide)
      add_products(a, b, true);
    else if (wide)
      add_products(a, b, false);
    else if (tall)
      add_first(a, b, true);
    else
      add_first(a, b, false);
  _tile_stored(0, sums, row_bytes);
  if (wide)
    _tile_stored(1, sums + HALF, row_bytes);
  if (tall)
    _tile_stored(2, sums + HALF * step, row_bytes);
  if (tall && wide)
    _tile_stored(3, sums + HALF * step + HALF, row_bytes);
}
#else
bool fg_split_may(void) {
  return false;
}
void fg_split_begin(void) {
}
void fg_split_end(void) {
}
void fg_split_rows(const float *const *row, int64_t rows, int64_t k, int64_t step, uint16_t *to) {
  (void)row, (void)rows, (void)k, (void)step, (void)to;
}
void fg_split_block(const float *b, uint16_t *to) {
  (void)b, (void)to;
}
void fg_split_tile(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows,
                   float *sums) {
  (void)a, (void)b, (void)blocks, (void)rows, (void)sums;
}
void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                     int64_t columns) {
  (void)end, (void)sums, (void)rows, (void)columns;
}
void fg_split_columns(const float *pixels, int64_t columns, int64_t k, int64_t step, uint16_t *to) {
  (void)pixels, (void)columns, (void)k, (void)step, (void)to;
}
void fg_split_tile_within(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows,
                          int64_t columns, float *sums, int64_t step) {
  (void)a, (void)b, (void)blocks, (void)rows, (void)columns, (void)sums, (void)step;
}
#endif
