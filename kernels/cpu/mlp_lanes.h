/* The product of mlp_net.h for a tile, which is VECS vectors of LANES samples. Included by a file per width, which
 * defines LANES, ROWS (results that are worked out side by side), EACH_ROWS (every number of them), TARGET and
 * PRODUCT. */
#include "mlp_net.h"

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * sizeof(float)), may_alias));
enum { VECS = FG_MLP_VECS };

/* Loops over results are unrolled by pragmas: gcc 12 leaves sums in memory where they are not. */

/* ReLU of it, and it times ReLU's slope at v, as unary.c has them. NaN stays NaN. */
FG_INLINE void relu(vec *x) {
  *x = (vec)(~(*x <= 0) & (bits)*x);
}

FG_INLINE void slope(const vec *v, vec *d) {
  const vec one = (vec){0} + 1.0f;
  *d *= (vec)(~(*v <= 0) & (bits)one);
}

FG_INLINE void tile_rows(int rows, const float *w, int64_t pitch, const float *in, int64_t n,
                         const float *from, struct fg_mlp_end end, float *out) {
  vec sum[ROWS][VECS];
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECS; v++)
      sum[r][v] = (vec){0} + (from ? from[r] : 0.0f);
  for (int64_t i = 0; i < n; i++) {
    const vec *x = (const vec *)in + i * VECS;
    const float *factor = w + i * pitch;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
      for (int v = 0; v < VECS; v++)
        sum[r][v] += x[v] * factor[r];
  }
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECS; v++) {
      if (end.relu)
        relu(&sum[r][v]);
      if (end.slope_of)
        slope((const vec *)end.slope_of + r * VECS + v, &sum[r][v]);
      ((vec *)out)[r * VECS + v] = sum[r][v];
    }
}

/* Cut into pieces of like size. */
TARGET void PRODUCT(const float *w, const float *in, int64_t n, const float *from,
                    struct fg_mlp_end end, float *out, int64_t m) {
  int64_t pitch = fg_mlp_padded(m);
  for (int64_t left = m, take; left; left -= take) {
    take = fg_up(left, fg_up(left, ROWS));
#define CASE(k)                                                                                    \
  case k:                                                                                          \
    tile_rows(k, w, pitch, in, n, from, end, out);                                                 \
    break;
    switch (take) { EACH_ROWS(CASE) }
#undef CASE
    w += take;
    from = from ? from + take : NULL;
    out += take * VECS * LANES;
    end.slope_of = end.slope_of ? end.slope_of + take * VECS * LANES : NULL;
  }
}
