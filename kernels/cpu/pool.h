/* A pool's geometry, which its rows in channel blocks (pool_lanes.h) see too. */
#ifndef FG_CPU_POOL_H
#define FG_CPU_POOL_H

#include "cpu.h"

struct fg_pool {
  const float *in;
  float *out;
  void *index; /* U8 or I32, or NULL */
  bool wide;   /* index is I32 */
  int64_t h, w, oh, ow, kh, kw, sh, sw, dh, dw, ph, pw;
  int64_t lanes;
  bool include_pad;
};

/* Of an image and results with these axes [n, c, y, x]; what lies where is the caller's to say. */
static inline struct fg_pool fg_pool_of(const struct fg_pool_attrs *a, const int64_t *image,
                                        const int64_t *results) {
  return (struct fg_pool){.wide = (int64_t)a->window[0] * a->window[1] > 255,
                          .h = image[2],
                          .w = image[3],
                          .oh = results[2],
                          .ow = results[3],
                          .kh = a->window[0],
                          .kw = a->window[1],
                          .sh = a->stride[0],
                          .sw = a->stride[1],
                          .dh = a->dilation[0],
                          .dw = a->dilation[1],
                          .ph = a->pad_lo[0],
                          .pw = a->pad_lo[1]};
}

/* Whether all windows are of 2 x 2, side by side, and on the image. */
static inline bool fg_pool_in_pairs(const struct fg_pool *p) {
  return p->kh == 2 && p->kw == 2 && p->sh == 2 && p->sw == 2 && p->dh == 1 && p->dw == 1 &&
         p->ph == 0 && p->pw == 0 && 2 * p->oh <= p->h && 2 * p->ow <= p->w;
}

/* a / b of numbers that are not negative; windows mostly step by 1 or 2. */
FG_INLINE int64_t fg_pool_over(int64_t a, int64_t b) {
  return b == 1 ? a : b == 2 ? a >> 1 : a / b;
}

/* Places along one axis that fall on the image, of the window at output o: [*first, *last). */
FG_INLINE void fg_pool_places(int64_t o, int64_t stride, int64_t dilation, int64_t pad,
                              int64_t size, int64_t k, int64_t *first, int64_t *last) {
  int64_t at = o * stride - pad;
  int64_t lo = at >= 0 ? 0 : fg_pool_over(-at + dilation - 1, dilation);
  int64_t hi = at >= size ? 0 : fg_pool_over(size - 1 - at, dilation) + 1;
  *last = hi < k ? hi : k;
  *first = lo < *last ? lo : *last;
}

/* Row o of the outputs of a plane `x` in channel blocks: maxima, and their places, from `at` on. */
typedef void fg_pool_max_row(const struct fg_pool *p, const float *x, int64_t at, int64_t o);
/* What row o's outputs, from `at` on, give back to the plane `dx`, added there. */
typedef void fg_pool_max_grad_row(const struct fg_pool *p, const float *dy, int64_t at, int64_t o,
                                  float *dx);
fg_pool_max_row fg_pool_max_row_8, fg_pool_max_row_16;
fg_pool_max_grad_row fg_pool_max_grad_row_8, fg_pool_max_grad_row_16;

#endif
