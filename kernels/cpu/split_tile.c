/* See split_tile.h. Elsewhere than on x86-64 there are no tiles, and nothing here is called. */
#include "split_tile.h"

#include <stddef.h>

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VECTORS __attribute__((target("arch=x86-64-v4")))
#define TILES __attribute__((target("arch=x86-64-v4,amx-tile,amx-bf16")))

enum {
  HALF = FG_SPLIT_HALF,
  TILE = HALF * FG_SPLIT_TERMS,
  PART = 2 * TILE,
  TILE_BYTES_OF_ROW = 64,
  LINE_BYTES = 64,
  PLACE_BYTES = FG_SPLIT_PLACE * 2
};

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

/* Of two vectors: the upper halves of float32s are bfloat16s, cut off, and what is left of the numbers is exact. Terms come to
 * lie in the order of `term_of`, for a cache line of them is packed from the lanes of both. */
VECTORS static inline void split(__m512 x, __m512 y, __m512i part[FG_SPLIT_PARTS]) {
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
  for (int p = 0; p < FG_SPLIT_PARTS; p++) {
    __m512i u = _mm512_castps_si512(x), v = _mm512_castps_si512(y);
    part[p] = _mm512_packus_epi32(_mm512_srli_epi32(u, 16), _mm512_srli_epi32(v, 16));
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_and_si512(u, upper)));
    y = _mm512_sub_ps(y, _mm512_castsi512_ps(_mm512_and_si512(v, upper)));
  }
}

/* The term that comes to lie at `i`. */
static int64_t term_of(int64_t i) {
  return i / 8 * 4 + i % 4 + i / 4 % 2 * HALF;
}

static __mmask16 first_lanes(int64_t n) {
  return n >= HALF ? 0xffff : n > 0 ? (__mmask16)((1u << n) - 1) : 0;
}

VECTORS static inline __m512i lanes_apart(int64_t step) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)step));
}

VECTORS static inline __m512 load(const float *x, __mmask16 there, bool apart, __m512i lanes) {
  if (apart)
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, lanes, x, sizeof *x);
  return _mm512_maskz_loadu_ps(there, x);
}

VECTORS void fg_split_places(const struct fg_split_source *from, int64_t n, uint16_t *to,
                             int64_t step) {
  const struct fg_split_source s = *from;
  const __mmask16 first = first_lanes(s.terms), second = first_lanes(s.terms - HALF);
  const __m512i lanes = lanes_apart(s.channel);
  const bool apart = s.channel != 1;
  for (int64_t i = 0; i < n; i++, to += step) {
    const float *x = s.at + i * s.place;
    __m512i parts[FG_SPLIT_PARTS];
    split(load(x, first, apart, lanes), load(second ? x + s.block : x, second, apart, lanes),
          parts);
    for (int p = 0; p < FG_SPLIT_PARTS; p++)
      _mm512_store_si512(to + p * (ptrdiff_t)FG_SPLIT_TERMS, parts[p]);
  }
}

/* Of the even and the odd term of 16 pairs, which lie side by side: to[part][..][16][2]. */
VECTORS static inline void split_pairs(__m512 even, __m512 odd, uint16_t *to) {
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
  for (int p = 0; p < FG_SPLIT_PARTS; p++) {
    __m512i a = _mm512_and_si512(_mm512_castps_si512(even), upper);
    __m512i b = _mm512_and_si512(_mm512_castps_si512(odd), upper);
    _mm512_storeu_si512(to + p * (ptrdiff_t)PART, _mm512_or_si512(_mm512_srli_epi32(a, 16), b));
    even = _mm512_sub_ps(even, _mm512_castsi512_ps(a));
    odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(b));
  }
}

VECTORS void fg_split_block(const float *b, uint16_t *to) {
  for (int64_t i = 0; i < FG_SPLIT_TERMS; i += 2)
    for (int64_t half = 0; half < 2; half++) {
      const float *row = b + half * HALF;
      split_pairs(_mm512_loadu_ps(row + term_of(i) * FG_SPLIT_COLUMNS),
                  _mm512_loadu_ps(row + term_of(i + 1) * FG_SPLIT_COLUMNS),
                  to + half * TILE + i * HALF);
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

/* The 16 pixels from x on, of which there are so many, and their 16 channels, of a block's first or second: to the
 * rows that those terms come to lie in. */
VECTORS static inline void split_pixels(const float *x, int64_t there, int64_t second,
                                        uint16_t *to) {
  __m512 v[HALF];
  for (int i = 0; i < HALF; i++)
    v[i] = i < there ? _mm512_loadu_ps(x + i * HALF) : _mm512_setzero_ps();
  turn(v);
  for (int i = 0; i < HALF; i += 2)
    split_pairs(v[i], v[i + 1], to + (i / 4 * 8 + second * 4 + i % 4) * HALF);
}

VECTORS void fg_split_columns(const float *pixels, int64_t columns, int64_t k, int64_t step,
                              uint16_t *to) {
  for (int64_t first = 0; first < k; first += FG_SPLIT_TERMS, to += FG_SPLIT_BLOCK)
    for (int64_t second = 0; second < 2; second++)
      for (int64_t half = 0; half < 2; half++) {
        int64_t terms = first + second * HALF, there = terms < k ? columns - half * HALF : 0;
        split_pixels(pixels + terms / HALF * step + half * HALF * HALF, there, second,
                     to + half * TILE);
      }
}

/* ---- sums */

#define INLINE TILES static inline __attribute__((always_inline))

/* Tiles 0 to 3 hold sums; 4 and 5 a part of a's two halves, of which there may be one; 6 and 7 one of b's, likewise. */
struct operands {
  const uint16_t *first, *second, *b;
};

INLINE void with_part_of_a(const struct operands *o, int part, bool both, bool wide) {
  _tile_loadd(4, o->first + part * (ptrdiff_t)FG_SPLIT_TERMS, PLACE_BYTES);
  _tile_dpbf16ps(0, 4, 6);
  if (wide)
    _tile_dpbf16ps(1, 4, 7);
  if (both) {
    _tile_loadd(5, o->second + part * (ptrdiff_t)FG_SPLIT_TERMS, PLACE_BYTES);
    _tile_dpbf16ps(2, 5, 6);
    if (wide)
      _tile_dpbf16ps(3, 5, 7);
  }
}

INLINE void load_part_of_b(const struct operands *o, int part, bool wide) {
  _tile_loadd(6, o->b + part * (ptrdiff_t)PART, TILE_BYTES_OF_ROW);
  if (wide)
    _tile_loadd(7, o->b + part * (ptrdiff_t)PART + TILE, TILE_BYTES_OF_ROW);
}

INLINE void with_part_of_b(const struct operands *o, int part, bool both, bool wide) {
  load_part_of_b(o, part, wide);
  _tile_dpbf16ps(0, 4, 6);
  if (both)
    _tile_dpbf16ps(2, 5, 6);
  if (wide)
    _tile_dpbf16ps(1, 4, 7);
  if (both && wide)
    _tile_dpbf16ps(3, 5, 7);
}

/* The small products first, in an order that loads parts as seldom as four tiles allow. */
INLINE void add_products(const struct operands *o, bool both, bool wide) {
  load_part_of_b(o, 2, wide);
  with_part_of_a(o, 0, both, wide);
  with_part_of_b(o, 1, both, wide);
  with_part_of_a(o, 1, both, wide);
  with_part_of_b(o, 0, both, wide);
  with_part_of_a(o, 2, both, wide);
  with_part_of_a(o, 0, both, wide);
}

INLINE void add_all(const struct fg_split_walk *w, struct operands o, bool both, bool wide) {
  const struct operands first = o;
  const char *ahead = w->ahead;
  for (int64_t block = 0; block < w->blocks; block++)
    for (int i = 0; i < w->taps; i++) {
      int64_t a = block * w->a_block + w->a_tap[w->tap[i]];
      o.first = first.first + a;
      o.second = first.second + a;
      o.b = first.b + block * w->b_block + w->b_tap[w->tap[i]];
      for (int line = 0; line < w->lines; line++, ahead += LINE_BYTES)
        _mm_prefetch(ahead, _MM_HINT_T1);
      add_products(&o, both, wide);
    }
}

TILES void fg_split_sum(const struct fg_split_walk *walk, const uint16_t *const a[2],
                        const uint16_t *b, int64_t columns, float *sums, int64_t step) {
  const size_t row_bytes = (size_t)step * sizeof *sums;
  const struct operands o = {a[0], a[1] ? a[1] : a[0], b};
  const bool both = a[1], wide = columns > HALF;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (both && wide)
    add_all(walk, o, true, true);
  else if (both)
    add_all(walk, o, true, false);
  else if (wide)
    add_all(walk, o, false, true);
  else
    add_all(walk, o, false, false);
  _tile_stored(0, sums, row_bytes);
  if (wide)
    _tile_stored(1, sums + HALF, row_bytes);
  if (both)
    _tile_stored(2, sums + HALF * step, row_bytes);
  if (both && wide)
    _tile_stored(3, sums + HALF * step + HALF, row_bytes);
}

/* ---- what becomes of them */

VECTORS static inline void store(float *x, __mmask16 there, bool apart, __m512i lanes, __m512 y) {
  if (apart)
    _mm512_mask_i32scatter_ps(x, there, lanes, y, sizeof *x);
  else
    _mm512_mask_storeu_ps(x, there, y);
}

/* NaN stays NaN. */
VECTORS void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                             int64_t columns) {
  const struct fg_split_end e = *end;
  const __m512 alpha = _mm512_set1_ps(e.alpha), zero = _mm512_setzero_ps();
  const __m512i lanes = lanes_apart(e.channel);
  const bool apart = e.channel != 1;
  for (int64_t half = 0; half * HALF < columns; half++) {
    __mmask16 there = first_lanes(columns - half * HALF);
    __m512 bias = e.bias ? _mm512_maskz_loadu_ps(there, e.bias + half * HALF) : zero;
    for (int64_t r = 0; r < rows; r++) {
      if (e.at[r] < 0)
        continue;
      int64_t at = e.at[r] + half * e.block;
      __m512 y = _mm512_loadu_ps(sums + r * FG_SPLIT_COLUMNS + half * HALF);
      __mmask16 off = 0;
      y = _mm512_add_ps(_mm512_mul_ps(y, alpha), bias);
      if (e.add)
        y = _mm512_add_ps(y, load(e.add + at, there, apart, lanes));
      if (e.mask)
        off = _mm512_cmp_ps_mask(load(e.mask + at, there, apart, lanes), zero, _CMP_LE_OQ);
      else if (e.relu)
        off = _mm512_cmp_ps_mask(y, zero, _CMP_LE_OQ);
      store(e.to + at, there, apart, lanes, _mm512_mask_mov_ps(y, off, zero));
    }
  }
}
#else
bool fg_split_may(void) {
  return false;
}
void fg_split_begin(void) {
}
void fg_split_end(void) {
}
void fg_split_places(const struct fg_split_source *from, int64_t n, uint16_t *to, int64_t step) {
  (void)from, (void)n, (void)to, (void)step;
}
void fg_split_block(const float *b, uint16_t *to) {
  (void)b, (void)to;
}
void fg_split_columns(const float *pixels, int64_t columns, int64_t k, int64_t step, uint16_t *to) {
  (void)pixels, (void)columns, (void)k, (void)step, (void)to;
}
void fg_split_sum(const struct fg_split_walk *walk, const uint16_t *const a[2], const uint16_t *b,
                  int64_t columns, float *sums, int64_t step) {
  (void)walk, (void)a, (void)b, (void)columns, (void)sums, (void)step;
}
void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                     int64_t columns) {
  (void)end, (void)sums, (void)rows, (void)columns;
}
#endif
