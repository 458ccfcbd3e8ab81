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

VECTORS void fg_split_block(const float *b, uint16_t *to) {
  enum { PART = 2 * TILE };
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
  for (int64_t i = 0; i < FG_SPLIT_TERMS; i += 2)
    for (int64_t half = 0; half < 2; half++) {
      const float *row = b + half * HALF;
      __m512 x = _mm512_loadu_ps(row + term_of(i) * FG_SPLIT_COLUMNS),
             y = _mm512_loadu_ps(row + term_of(i + 1) * FG_SPLIT_COLUMNS);
      for (int p = 0; p < FG_SPLIT_PARTS; p++) {
        __m512i u = _mm512_and_si512(_mm512_castps_si512(x), upper),
                v = _mm512_and_si512(_mm512_castps_si512(y), upper);
        _mm512_storeu_si512(to + p * PART + half * TILE + i * HALF,
                            _mm512_or_si512(_mm512_srli_epi32(u, 16), v));
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(u));
        y = _mm512_sub_ps(y, _mm512_castsi512_ps(v));
      }
    }
}

/* ---- sums */

#define INLINE TILES static inline __attribute__((always_inline))

/* Tiles 0 to 3 hold sums; 4 and 5 a part of a's two halves, of which there may be one; 6 and 7 one of b's. */
struct operands {
  const uint16_t *first, *second, *b;
};

INLINE void with_part_of_a(const struct operands *o, int part, bool both) {
  _tile_loadd(4, o->first + part * (ptrdiff_t)FG_SPLIT_TERMS, PLACE_BYTES);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if (both) {
    _tile_loadd(5, o->second + part * (ptrdiff_t)FG_SPLIT_TERMS, PLACE_BYTES);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

INLINE void with_part_of_b(const struct operands *o, int part, bool both) {
  const uint16_t *b = o->b + part * (ptrdiff_t)(2 * TILE);
  _tile_loadd(6, b, TILE_BYTES_OF_ROW);
  _tile_dpbf16ps(0, 4, 6);
  if (both)
    _tile_dpbf16ps(2, 5, 6);
  _tile_loadd(7, b + TILE, TILE_BYTES_OF_ROW);
  _tile_dpbf16ps(1, 4, 7);
  if (both)
    _tile_dpbf16ps(3, 5, 7);
}

/* The small products first, in an order that loads parts as seldom as four tiles allow. */
INLINE void add_products(const struct operands *o, bool both) {
  _tile_loadd(6, o->b + 2 * (ptrdiff_t)(2 * TILE), TILE_BYTES_OF_ROW);
  _tile_loadd(7, o->b + 2 * (ptrdiff_t)(2 * TILE) + TILE, TILE_BYTES_OF_ROW);
  with_part_of_a(o, 0, both);
  with_part_of_b(o, 1, both);
  with_part_of_a(o, 1, both);
  with_part_of_b(o, 0, both);
  with_part_of_a(o, 2, both);
  with_part_of_a(o, 0, both);
}

INLINE void add_all(const struct fg_split_walk *w, struct operands o, bool both) {
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
      add_products(&o, both);
    }
}

TILES void fg_split_sum(const struct fg_split_walk *walk, const uint16_t *const a[2],
                        const uint16_t *b, float *sums) {
  const size_t row_bytes = FG_SPLIT_COLUMNS * sizeof *sums;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (a[1])
    add_all(walk, (struct operands){a[0], a[1], b}, true);
  else
    add_all(walk, (struct operands){a[0], a[0], b}, false);
  _tile_stored(0, sums, row_bytes);
  _tile_stored(1, sums + HALF, row_bytes);
  _tile_stored(2, sums + HALF * FG_SPLIT_COLUMNS, row_bytes);
  _tile_stored(3, sums + HALF * FG_SPLIT_COLUMNS + HALF, row_bytes);
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
void fg_split_sum(const struct fg_split_walk *walk, const uint16_t *const a[2], const uint16_t *b,
                  float *sums) {
  (void)walk, (void)a, (void)b, (void)sums;
}
void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                     int64_t columns) {
  (void)end, (void)sums, (void)rows, (void)columns;
}
#endif
