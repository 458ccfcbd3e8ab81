/* What Winograd's items of both widths share (winograd_8.c and winograd_16.c): the transforms along one axis, a
 * plain tensor's channels, and the table of products. Included by a file per width, which defines LANES, HEIGHTS (the
 * numbers of rows of its blocks of products, the whole group's first), TARGET and the type product_fn of its
 * functions product_<rows>x<vectors>. */
#include "winograd.h"

typedef float vec __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * 4), may_alias));
enum { MOST = 6, PANEL = FG_WINOGRAD_PANEL };

/* B' d, for n values. */
FG_INLINE void forward(const vec *d, vec *to, int n) {
  if (n == 4) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[1] - d[3];
    return;
  }
  if (n == 5) {
    vec a = d[3] - d[1];
    to[0] = 2 * (d[0] - d[2]) + a;
    to[1] = a - (d[1] + d[2]);
    to[2] = 3 * (d[1] - d[2]) + a;
    to[3] = a;
    to[4] = (d[4] - d[2]) - 2 * a;
    return;
  }
  vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
  to[0] = (4 * d[0] - 5 * d[2]) + d[4];
  to[1] = a + b;
  to[2] = a - b;
  to[3] = e + f;
  to[4] = e - f;
  to[5] = (4 * d[1] - 5 * d[3]) + d[5];
}

/* A' d, from n to m values. */
FG_INLINE void backward(const vec *d, vec *to, int n, int m) {
  vec a = d[1] + d[2], b = d[1] - d[2];
  if (n == 4) {
    to[0] = d[0] + a;
    to[1] = b - d[3];
    return;
  }
  if (n == 5) {
    to[0] = d[0] + a + d[3];
    to[1] = b + 2 * d[3];
    to[2] = a + 4 * d[3];
    to[3] = b + 8 * d[3] + d[4];
    return;
  }
  vec e = d[3] + d[4], f = d[3] - d[4];
  to[0] = d[0] + a + e;
  to[1] = b + 2 * f;
  if (m == 2) {
    to[1] += d[5];
    return;
  }
  to[2] = a + 4 * e;
  to[3] = b + 8 * f + d[5];
}

/* The vector's channels at one place of a plain tensor, and back. */
FG_INLINE void pick(const float *from, int64_t plane, int64_t lanes, vec *to) {
  *to = (vec){0};
  for (int64_t l = 0; l < lanes; l++)
    (*to)[l] = from[l * plane];
}

FG_INLINE void put(const vec *value, float *to, int64_t plane, int64_t lanes) {
  for (int64_t l = 0; l < lanes; l++)
    to[l * plane] = (*value)[l];
}

/* Blocks of fewer rows are for a last group that is not full. Where none is as low as the group, the
 * rows above it are computed from whatever lies there, and nobody reads them. */
#define DECLARE(rows) TARGET static product_fn product_##rows##x1, product_##rows##x2;
HEIGHTS(DECLARE)

static const struct height {
  int rows;
  product_fn *run[PANEL];
} heights[] = {
#define HEIGHT(rows) {rows, {product_##rows##x1, product_##rows##x2}},
    HEIGHTS(HEIGHT)};

/* The lowest block that holds so many rows. */
static const struct height *height_for(int64_t rows) {
  const struct height *h = heights + sizeof heights / sizeof *heights - 1;
  while (h->rows < rows)
    h--;
  return h;
}
