/* The tiles of product.h, for vectors of LANES numbers. Included by a file per width, which defines LANES,
 * GROUP and PANEL (the most rows and vectors of a tile), HEIGHTS and WIDTHS (every number up to them), TURNS,
 * UNROLL, UNROLL_TERMS, ENDS (whether whole tiles end in registers), TARGET and WAY.
 *
 * A group's rows of a lie in vectors of their terms, or, where it TURNS them, all rows of a term beside each
 * other: a tile then reads a cache line from end to end before the next. */
#include <string.h>

#include "product.h"

typedef float vec __attribute__((vector_size(LANES * 4), may_alias));
typedef float loose __attribute__((vector_size(LANES * 4), may_alias, aligned(4)));
typedef int32_t bits __attribute__((vector_size(LANES * 4), may_alias));

/* ---- what becomes of a sum */

/* A vector of which `lanes` are there. */
FG_INLINE void get(const float *from, int64_t lanes, vec *to) {
  if (lanes >= LANES) {
    *to = *(const loose *)from;
  } else {
    *to = (vec){0};
    memcpy(to, from, (size_t)lanes * sizeof *from);
  }
}

FG_INLINE void put(const vec *from, float *to, int64_t lanes) {
  if (lanes >= LANES)
    *(loose *)to = *from;
  else
    memcpy(to, from, (size_t)lanes * sizeof *to);
}

/* `column` numbers from the tile's first, which lie `at` from it in y. NaN stays NaN. */
FG_INLINE void finish(const struct fg_product_end *e, const vec *sum, int64_t column, int64_t at,
                      int64_t lanes) {
  vec y = *sum * e->alpha, other;
  if (e->bias) {
    get(e->bias + column, lanes, &other);
    y += other;
  }
  if (e->add) {
    get(e->add + at, lanes, &other);
    y += other;
  }
  if (e->relu)
    y = (vec)(~(y <= 0) & (bits)y);
  put(&y, e->to + at, lanes);
}

/* ---- sums */

/* Where a term of a vector of terms lies in a group's rows. */
FG_INLINE int place(int row, int term) {
  return TURNS ? term * GROUP + row : row * LANES + term;
}

/* What becomes of sums that are in registers yet. */
FG_INLINE void finish_tile(const struct fg_product_end *given, const vec *sum, int rows, int vecs) {
  const struct fg_product_end e = *given;
  UNROLL for (int v = 0; v < vecs; v++) UNROLL for (int r = 0; r < rows; r++)
      finish(&e, &sum[r * vecs + v], v * LANES, r * e.row + v * LANES, LANES);
}

FG_INLINE void tile(const float *a, const float *b, int64_t k_vecs,
                    const struct fg_product_ahead *ahead, bool go_on,
                    const struct fg_product_end *end, float *sums, int rows, int vecs) {
  const float *next = ahead->at;
  int64_t apart = ahead->apart, step = ahead->step;
  int lines = ahead->lines;
  vec sum[GROUP * PANEL];
  UNROLL for (int i = 0; i < rows * vecs; i++) sum[i] =
      go_on ? *(const vec *)(sums + i * LANES) : (vec){0};
  for (int64_t k = 0; k < k_vecs; k++, a += GROUP * LANES, next += step) {
    for (int i = 0; i < lines; i++)
      __builtin_prefetch(next + i * apart, 0, 2);
    UNROLL_TERMS for (int l = 0; l < LANES; l++, b += vecs * LANES) {
      vec w[PANEL];
      UNROLL for (int v = 0; v < vecs; v++) w[v] = *(const vec *)(b + v * LANES);
      if (!TURNS)
        __builtin_prefetch(a + (GROUP + l) * LANES);
      UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < vecs; v++)
          sum[r * vecs + v] += w[v] * a[place(r, l)];
    }
  }
  if (ENDS && end) {
    finish_tile(end, sum, rows, vecs);
    return;
  }
  UNROLL for (int i = 0; i < rows * vecs; i++) * (vec *)(sums + i * LANES) = sum[i];
}

#define TILE(rows, vecs)                                                                           \
  TARGET static void tile_##rows##x##vecs(const float *a, const float *b, int64_t k_vecs,          \
                                          const struct fg_product_ahead *ahead, bool go_on,        \
                                          const struct fg_product_end *end, float *sums) {         \
    tile(a, b, k_vecs, ahead, go_on, end, sums, rows, vecs);                                       \
  }
#define TILES(rows) WIDTHS(TILE, rows)
HEIGHTS(TILES)

static fg_product_tile *const tiles[][FG_PRODUCT_PANEL] = {
#define WIDTH(rows, vecs) tile_##rows##x##vecs,
#define HEIGHT(rows) {WIDTHS(WIDTH, rows)},
    HEIGHTS(HEIGHT)};

/* ---- the end of sums that lay in memory */

/* The end is copied first, because stores of vectors may alias it. */
TARGET static void end_of(const struct fg_product_end *given, const float *sums, int64_t rows,
                          int64_t columns) {
  const struct fg_product_end e = *given;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t column = 0, at = r * e.row; column < columns;
         column += LANES, at += LANES, sums += LANES)
      finish(&e, (const vec *)sums, column, at, columns - column);
}

/* ---- rows in order */

#if TURNS

typedef float half __attribute__((vector_size(LANES * 2), may_alias));

/* Two rows' terms by turns: terms 0, 1, 4 and 5, or 2, 3, 6 and 7. */
FG_INLINE void by_turns(const vec *rows, bool later, vec *to) {
  *to = later ? __builtin_shufflevector(rows[0], rows[1], 2, 10, 3, 11, 6, 14, 7, 15)
              : __builtin_shufflevector(rows[0], rows[1], 0, 8, 1, 9, 4, 12, 5, 13);
}

/* Of four rows eight terms each. */
FG_INLINE void turn(const vec *row, float *to) {
  for (int later = 0; later < 2; later++, to += 2 * GROUP) {
    vec x, y;
    by_turns(row, later, &x);
    by_turns(row + 2, later, &y);
    *(half *)to = __builtin_shufflevector(x, y, 0, 1, 8, 9);
    *(half *)(to + GROUP) = __builtin_shufflevector(x, y, 2, 3, 10, 11);
    *(half *)(to + 4 * GROUP) = __builtin_shufflevector(x, y, 4, 5, 12, 13);
    *(half *)(to + 5 * GROUP) = __builtin_shufflevector(x, y, 6, 7, 14, 15);
  }
}

/* In place of rows that are not there stands the last one. */
TARGET static void copy_rows(const float *from, int64_t rows, int64_t apart, int64_t terms,
                             float *to) {
  for (int64_t k = 0; k < terms; k += LANES, to += GROUP * LANES) {
    vec row[GROUP];
    UNROLL for (int r = 0; r < GROUP; r++)
        get(from + (r < rows ? r : rows - 1) * apart + k, terms - k, &row[r]);
    turn(row, to);
  }
}

#else

/* A row's terms to places `step` apart, filled up with zeros. */
TARGET static void copy_row(const float *from, int64_t terms, float *to, int64_t step) {
  for (int64_t k = 0; k < terms; k += LANES, to += step)
    get(from + k, terms - k, (vec *)to);
}

static void copy_rows(const float *from, int64_t rows, int64_t apart, int64_t terms, float *to) {
  for (int64_t r = 0; r < rows; r++)
    copy_row(from + r * apart, terms, to + r * LANES, (int64_t)GROUP * LANES);
}

#endif

const struct fg_product_way WAY = {GROUP, PANEL, ENDS, tiles, end_of, copy_rows};
