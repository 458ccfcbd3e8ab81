/* Max-pools in channel blocks for AVX2: any, and windows of 2 x 2 side by side, four results at a time. */
#define LANES 8
#define LINKAGE static
#define MAX_ROW any_max_row
#define MAX_GRAD_ROW any_max_grad_row
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
#include "pool_lanes.h"

enum { AT_ONCE = 4, PLACES = 4 };

typedef uint8_t packed __attribute__((vector_size(AT_ONCE * LANES), aligned(1), may_alias));

static bool in_fours(const struct fg_pool *p) {
  return fg_pool_in_pairs(p) && p->ow >= AT_ONCE;
}

/* The window's maximum and its place: `a` and `b` are its rows. */
FG_INLINE void of_window(const float *a, const float *b, vec *top, bits *index) {
  const vec v[PLACES] = {*(const vec *)a, *(const vec *)(a + LANES), *(const vec *)b,
                         *(const vec *)(b + LANES)};
  *top = v[0];
  *index = (bits){0};
  for (int i = 1; i < PLACES; i++) {
    bits better = ~(v[i] <= *top) & (*top <= INFINITY); /* a NaN is, once */
    *top = (vec)((better & (bits)v[i]) | (~better & (bits)*top));
    *index = (better & i) | (~better & *index);
  }
}

/* Four results from `at` on; the last four of a row may overlap those before. */
TARGET static void max_row_of_pairs(const struct fg_pool *pool, const float *x, int64_t at,
                                    int64_t o) {
  const struct fg_pool geometry = *pool, *p = &geometry;
  const float *a = x + 2 * o * p->w * LANES, *b = a + p->w * LANES;
  for (int64_t i = 0; i < p->ow; i += AT_ONCE) {
    int64_t c = fg_least(i, p->ow - AT_ONCE);
    bits places = {0};
    for (int k = 0; k < AT_ONCE; k++) {
      __builtin_prefetch(a + (2 * p->w + 2 * (c + k)) * LANES); /* the rows below */
      __builtin_prefetch(b + (2 * p->w + 2 * (c + k)) * LANES);
      vec top;
      bits index;
      of_window(a + 2 * (c + k) * LANES, b + 2 * (c + k) * LANES, &top, &index);
      *(vec *)(p->out + at + (c + k) * LANES) = top;
      places |= index << (8 * k);
    }
    packed bytes = (packed)places;
    if (p->index)
      *(packed *)((uint8_t *)p->index + at + c * LANES) = __builtin_shufflevector(
          bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29, 2, 6, 10, 14, 18,
          22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
  }
}

/* Windows that do not overlap give each place once. */
TARGET static void max_grad_row_of_pairs(const struct fg_pool *p, const float *dy, int64_t at,
                                         int64_t o, float *dx) {
  const uint8_t *index = (const uint8_t *)p->index + at;
  const int64_t many = p->ow;
  float *a = dx + 2 * o * p->w * LANES, *b = a + p->w * LANES;
  dy += at;
  for (int64_t c = 0; c < many; c++, a += 2 * LANES, b += 2 * LANES) {
    bits d = *(const bits *)(dy + c * LANES);
    bits place = __builtin_convertvector(*(const narrow *)(index + c * LANES), bits);
    *(bits *)a = d & (place == 0);
    *(bits *)(a + LANES) = d & (place == 1);
    *(bits *)b = d & (place == 2);
    *(bits *)(b + LANES) = d & (place == 3);
  }
}

void fg_pool_max_row_8(const struct fg_pool *p, const float *x, int64_t at, int64_t o) {
  (in_fours(p) ? max_row_of_pairs : any_max_row)(p, x, at, o);
}

void fg_pool_max_grad_row_8(const struct fg_pool *p, const float *dy, int64_t at, int64_t o,
                            float *dx) {
  (in_fours(p) ? max_grad_row_of_pairs : any_max_grad_row)(p, dy, at, o, dx);
}
