/* The tiles of product.h, for vectors of LANES numbers. Included by a file per width, which defines LANES,
 * GROUP (the most rows of a tile), HEIGHTS (every number of rows up to it), TARGET and WAY. */
#include <string.h>

#include "product.h"

typedef float vec __attribute__((vector_size(LANES * 4), may_alias));
typedef float loose __attribute__((vector_size(LANES * 4), may_alias, aligned(4)));
typedef int32_t bits __attribute__((vector_size(LANES * 4), may_alias));
enum { PANEL = FG_PRODUCT_PANEL };

/* ---- sums */

FG_INLINE void tile(const float *a, const float *b, int64_t k_vecs,
                    const struct fg_product_ahead *ahead, bool go_on, float *sums, int rows,
                    int vecs) {
  const float *next = ahead->at;
  int64_t apart = ahead->apart, step = ahead->step;
  int lines = ahead->lines;
  vec sum[GROUP * PANEL];
  for (int i = 0; i < rows * vecs; i++)
    sum[i] = go_on ? *(const vec *)(sums + i * LANES) : (vec){0};
  for (int64_t k = 0; k < k_vecs; k++, a += GROUP * LANES, next += step) {
    for (int i = 0; i < lines; i++)
      __builtin_prefetch(next + i * apart, 0, 2);
    for (int l = 0; l < LANES; l++, b += vecs * LANES) {
      vec w[PANEL];
      for (int v = 0; v < vecs; v++)
        w[v] = *(const vec *)(b + v * LANES);
      __builtin_prefetch(a + (GROUP + l) * LANES);
      for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
          sum[r * vecs + v] += w[v] * a[r * LANES + l];
    }
  }
  for (int i = 0; i < rows * vecs; i++)
    *(vec *)(sums + i * LANES) = sum[i];
}

#define TILE(rows, vecs)                                                                           \
  TARGET static void tile_##rows##x##vecs(const float *a, const float *b, int64_t k_vecs,          \
                                          const struct fg_product_ahead *ahead, bool go_on,        \
                                          float *sums) {                                           \
    tile(a, b, k_vecs, ahead, go_on, sums, rows, vecs);                                            \
  }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
HEIGHTS(TILES)

static fg_product_tile *const tiles[][PANEL] = {
#define HEIGHT(rows) {tile_##rows##x1, tile_##rows##x2},
    HEIGHTS(HEIGHT)};

/* ---- what becomes of them */

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

/* A row's terms to places `step` apart, filled up with zeros. */
TARGET static void copy_row(const float *from, int64_t terms, float *to, int64_t step) {
  for (int64_t k = 0; k < terms; k += LANES, to += step)
    get(from + k, terms - k, (vec *)to);
}

/* The end is copied first, because stores of vectors may alias it. */
TARGET static void end_of(const struct fg_product_end *given, const float *sums, int64_t rows,
                          int64_t columns) {
  const struct fg_product_end e = *given;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t column = 0, at = r * e.row; column < columns;
         column += LANES, at += LANES, sums += LANES)
      finish(&e, (const vec *)sums, column, at, columns - column);
}

const struct fg_product_way WAY = {GROUP, tiles, end_of, copy_row};
