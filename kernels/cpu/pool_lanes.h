/* Rows of max_pool and of its gradient in channel blocks (pool.h). Included by a file per width, which
 * defines LANES, TARGET, LINKAGE, MAX_ROW and MAX_GRAD_ROW. The width has a file of its own, rather than clones
 * of one function, because gcc takes comparisons of vectors apart before it knows a clone's machine. */
#include <math.h>

#include "pool.h"

/* Channels as vectors: floats, what comparing them gives, which is places' type too, and places as
 * they are stored where they are narrow. */
typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint8_t narrow __attribute__((vector_size(LANES), aligned(1), may_alias));

/* Where a window begins along one axis, and which of its places lie on the image. */
struct span {
  int64_t at, first, last;
};

FG_INLINE struct span rows_at(const struct fg_pool *p, int64_t o) {
  struct span s = {.at = o * p->sh - p->ph};
  fg_pool_places(o, p->sh, p->dh, p->ph, p->h, p->kh, &s.first, &s.last);
  return s;
}

FG_INLINE struct span columns_at(const struct fg_pool *p, int64_t c) {
  struct span s = {.at = c * p->sw - p->pw};
  fg_pool_places(c, p->sw, p->dw, p->pw, p->w, p->kw, &s.first, &s.last);
  return s;
}

TARGET LINKAGE void MAX_ROW(const struct fg_pool *pool, const float *x, int64_t at, int64_t o) {
  const struct fg_pool geometry = *pool; /* no vector that is written is part of it */
  const struct fg_pool *p = &geometry;
  const struct span rows = rows_at(p, o);
  for (int64_t c = 0; c < p->ow; c++, at += LANES) {
    const struct span columns = columns_at(p, c);
    vec top = (vec){0} - INFINITY;
    bits index = (bits){0} - 1;
    for (int64_t r = rows.first; r < rows.last; r++) {
      const float *row = x + ((rows.at + r * p->dh) * p->w + columns.at) * LANES;
      for (int64_t t = columns.first; t < columns.last; t++) {
        vec v = *(const vec *)(row + t * p->dw * LANES);
        bits better = (index < 0) | (~(v <= top) & (top <= INFINITY)); /* a NaN is, once */
        top = (vec)((better & (bits)v) | (~better & (bits)top));
        index = (better & (int32_t)(r * p->kw + t)) | (~better & index);
      }
    }
    *(vec *)(p->out + at) = top;
    index &= ~(index < 0);
    if (p->index && p->wide)
      *(bits *)((int32_t *)p->index + at) = index;
    else if (p->index)
      *(narrow *)((uint8_t *)p->index + at) = __builtin_convertvector(index, narrow);
  }
}

TARGET LINKAGE void MAX_GRAD_ROW(const struct fg_pool *pool, const float *dy, int64_t at, int64_t o,
                                 float *dx) {
  const struct fg_pool geometry = *pool;
  const struct fg_pool *p = &geometry;
  const struct span rows = rows_at(p, o);
  for (int64_t c = 0; c < p->ow; c++, at += LANES) {
    const struct span columns = columns_at(p, c);
    bits d = *(const bits *)(dy + at);
    bits index =
        p->wide ? *(const bits *)((const int32_t *)p->index + at)
                : __builtin_convertvector(*(const narrow *)((const uint8_t *)p->index + at), bits);
    for (int64_t r = rows.first; r < rows.last; r++) {
      float *row = dx + ((rows.at + r * p->dh) * p->w + columns.at) * LANES;
      for (int64_t t = columns.first; t < columns.last; t++)
        *(vec *)(row + t * p->dw * LANES) += (vec)(d & (index == (int32_t)(r * p->kw + t)));
    }
  }
}
