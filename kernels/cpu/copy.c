/* See copy.h. Axes that move alike are merged first. Then a copy is either rows (the innermost
 * axis, cut into chunks), or, where the innermost axis of the target is not that of the source,
 * tiles over both innermost axes, so that neither side is walked by whole cache lines per element.
 */
#include "copy.h"

#include <string.h>

#define CHUNK 16384
#define TILE 32

struct copy {
  size_t size;
  int rank; /* of the outer axes */
  int64_t dim[FG_MAX_RANK], to_stride[FG_MAX_RANK], from_stride[FG_MAX_RANK];
  int64_t n, to_step, from_step; /* the row: elements and strides */
  int64_t chunks, chunk;
  int64_t m, to_cross; /* tiles: the axis along which `from` is contiguous */
  char *to;
  const char *from;
};

void fg_cpu_strides(int rank, const int64_t *dim, int64_t *stride) {
  int64_t next = 1;
  for (int i = rank - 1; i >= 0; i--) {
    stride[i] = next;
    next *= dim[i];
  }
}

/* ---- rows */

#define ROW(type)                                                                                  \
  FG_CLONES static void copy_row_##type(type *restrict to, int64_t to_step,                        \
                                        const type *restrict from, int64_t from_step, int64_t n) { \
    if (to_step == 1 && from_step == 0) {                                                          \
      const type v = from[0];                                                                      \
      for (int64_t i = 0; i < n; i++)                                                              \
        to[i] = v;                                                                                 \
    } else if (to_step == 1 && from_step == -1) {                                                  \
      for (int64_t i = 0; i < n; i++)                                                              \
        to[i] = from[-i];                                                                          \
    } else if (to_step == 1) {                                                                     \
      for (int64_t i = 0; i < n; i++)                                                              \
        to[i] = from[i * from_step];                                                               \
    } else {                                                                                       \
      for (int64_t i = 0; i < n; i++)                                                              \
        to[i * to_step] = from[i * from_step];                                                     \
    }                                                                                              \
  }
ROW(uint8_t)
ROW(uint16_t)
ROW(uint32_t)
ROW(uint64_t)

static void copy_row(const struct copy *c, char *to, const char *from, int64_t n) {
  if (c->to_step == 1 && c->from_step == 1)
    memcpy(to, from, (size_t)n * c->size);
  else if (c->size == 1)
    copy_row_uint8_t((uint8_t *)to, c->to_step, (const uint8_t *)from, c->from_step, n);
  else if (c->size == 2)
    copy_row_uint16_t((uint16_t *)to, c->to_step, (const uint16_t *)from, c->from_step, n);
  else if (c->size == 4)
    copy_row_uint32_t((uint32_t *)to, c->to_step, (const uint32_t *)from, c->from_step, n);
  else
    copy_row_uint64_t((uint64_t *)to, c->to_step, (const uint64_t *)from, c->from_step, n);
}

/* An index over the outer axes and the offsets, in bytes, that it stands for. */
struct place {
  int64_t index[FG_MAX_RANK], to, from;
};

static void start(const struct copy *c, int64_t i, struct place *p) {
  memset(p, 0, sizeof *p);
  for (int d = c->rank - 1; d >= 0; d--) {
    p->index[d] = i % c->dim[d];
    i /= c->dim[d];
    p->to += p->index[d] * c->to_stride[d] * (int64_t)c->size;
    p->from += p->index[d] * c->from_stride[d] * (int64_t)c->size;
  }
}

static void next(const struct copy *c, struct place *p) {
  for (int d = c->rank - 1; d >= 0; d--) {
    p->to += c->to_stride[d] * (int64_t)c->size;
    p->from += c->from_stride[d] * (int64_t)c->size;
    if (++p->index[d] < c->dim[d])
      return;
    p->to -= c->dim[d] * c->to_stride[d] * (int64_t)c->size;
    p->from -= c->dim[d] * c->from_stride[d] * (int64_t)c->size;
    p->index[d] = 0;
  }
}

static void rows(const void *ctx, int64_t begin, int64_t end) {
  const struct copy *c = ctx;
  struct place p;
  int64_t chunk = begin % c->chunks, size = (int64_t)c->size;
  start(c, begin / c->chunks, &p);
  for (int64_t i = begin; i < end; i++) {
    int64_t at = chunk * c->chunk, left = c->n - at;
    copy_row(c, c->to + p.to + at * c->to_step * size, c->from + p.from + at * c->from_step * size,
             left < c->chunk ? left : c->chunk);
    if (++chunk == c->chunks) {
      chunk = 0;
      next(c, &p);
    }
  }
}

/* ---- tiles */

typedef uint32_t quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t lanes __attribute__((vector_size(16)));

#ifdef __clang__
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (lanes){i, j, k, l})
#endif

/* to[i * to_step + j] = from[j * from_step + i], four by four. */
static void turn_quad(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step) {
  quad a = *(const quad *)from, b = *(const quad *)(from + from_step);
  quad c = *(const quad *)(from + 2 * from_step), d = *(const quad *)(from + 3 * from_step);
  quad ab = MIX(a, b, 0, 4, 1, 5), cd = MIX(c, d, 0, 4, 1, 5);
  quad ef = MIX(a, b, 2, 6, 3, 7), gh = MIX(c, d, 2, 6, 3, 7);
  *(quad *)to = MIX(ab, cd, 0, 1, 4, 5);
  *(quad *)(to + to_step) = MIX(ab, cd, 2, 3, 6, 7);
  *(quad *)(to + 2 * to_step) = MIX(ef, gh, 0, 1, 4, 5);
  *(quad *)(to + 3 * to_step) = MIX(ef, gh, 2, 3, 6, 7);
}

/* m rows of the target, `to_step` apart, of n elements; the source's rows are `from_step` apart. */
static void turn_words(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step,
                       int64_t m, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) {
    int64_t j = 0;
    for (; j + 4 <= n; j += 4)
      turn_quad(to + i * to_step + j, to_step, from + j * from_step + i, from_step);
    for (; j < n; j++)
      for (int64_t k = i; k < i + 4; k++)
        to[k * to_step + j] = from[j * from_step + k];
  }
  for (; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      to[i * to_step + j] = from[j * from_step + i];
}

static void turn_tile(const struct copy *c, char *to, const char *from, int64_t m, int64_t n) {
  if (c->size == 4) {
    turn_words((uint32_t *)to, c->to_cross, (const uint32_t *)from, c->from_step, m, n);
    return;
  }
  for (int64_t i = 0; i < m; i++)
    copy_row(c, to + i * c->to_cross * (int64_t)c->size, from + i * (int64_t)c->size, n);
}

/* Items: strips of TILE rows of the target's plane. */
static void tiles(const void *ctx, int64_t begin, int64_t end) {
  const struct copy *c = ctx;
  int64_t strips = (c->m + TILE - 1) / TILE, size = (int64_t)c->size;
  for (int64_t item = begin; item < end; item++) {
    struct place p;
    start(c, item / strips, &p);
    int64_t i = item % strips * TILE, m = c->m - i < TILE ? c->m - i : TILE;
    for (int64_t j = 0; j < c->n; j += TILE)
      turn_tile(c, c->to + p.to + (i * c->to_cross + j) * size,
                c->from + p.from + (j * c->from_step + i) * size, m,
                c->n - j < TILE ? c->n - j : TILE);
  }
}

/* ---- planning */

static bool merge(struct copy *c, int rank, const int64_t *dim, const int64_t *to_stride,
                  const int64_t *from_stride) {
  c->rank = 0;
  for (int i = 0; i < rank; i++) {
    if (dim[i] == 0)
      return false;
    if (dim[i] == 1)
      continue;
    int last = c->rank - 1;
    if (last >= 0 && c->to_stride[last] == to_stride[i] * dim[i] &&
        c->from_stride[last] == from_stride[i] * dim[i]) {
      c->dim[last] *= dim[i];
    } else {
      last = c->rank++;
      c->dim[last] = dim[i];
    }
    c->to_stride[last] = to_stride[i];
    c->from_stride[last] = from_stride[i];
  }
  return true;
}

/* Takes the axis along which the source is contiguous out of the outer ones, if tiles are due. */
static bool take_cross_axis(struct copy *c) {
  if (c->to_step != 1 || c->from_step == 1 || c->from_step == 0)
    return false;
  for (int i = 0; i < c->rank; i++) {
    if (c->from_stride[i] != 1)
      continue;
    c->m = c->dim[i];
    c->to_cross = c->to_stride[i];
    c->rank--;
    for (int k = i; k < c->rank; k++) {
      c->dim[k] = c->dim[k + 1];
      c->to_stride[k] = c->to_stride[k + 1];
      c->from_stride[k] = c->from_stride[k + 1];
    }
    return true;
  }
  return false;
}

void fg_cpu_copy(size_t size, int rank, const int64_t *dim, void *to, const int64_t *to_stride,
                 const void *from, const int64_t *from_stride) {
  struct copy c = {.size = size, .n = 1, .to_step = 1, .from_step = 1, .to = to, .from = from};
  if (!merge(&c, rank, dim, to_stride, from_stride))
    return;
  if (c.rank > 0) {
    int last = --c.rank;
    c.n = c.dim[last];
    c.to_step = c.to_stride[last];
    c.from_step = c.from_stride[last];
  }
  bool tiled = take_cross_axis(&c);
  int64_t outer = 1;
  for (int i = 0; i < c.rank; i++)
    outer *= c.dim[i];
  if (tiled) {
    int64_t strips = (c.m + TILE - 1) / TILE, rows_a_strip = c.m < TILE ? c.m : TILE;
    fg_cpu_parallel(outer * strips, 1, 0.5 * (double)(rows_a_strip * c.n), tiles, &c);
    return;
  }
  c.chunk = c.n < CHUNK ? c.n : CHUNK;
  c.chunks = (c.n + c.chunk - 1) / c.chunk;
  double each = c.to_step == 1 && c.from_step == 1 ? 0.05 * (double)size : 1;
  fg_cpu_parallel(outer * c.chunks, 1, 3 + each * (double)c.chunk, rows, &c);
}

void fg_cpu_fill(size_t size, void *to, const void *value, int64_t n) {
  const int64_t one = 1, none = 0;
  fg_cpu_copy(size, 1, &n, to, &one, value, &none);
}
