/* The product of mlp_net.h for a tile, which is VECS vectors of LANES samples. Included by a file per width, which
 * defines LANES, ROWS (results that are worked out side by side), EACH_ROWS (every number of them), TARGET and
 * PRODUCT. */
#include "mlp_net.h"

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
enum { VECS = FG_MLP_VECS };

FG_INLINE void tile_rows(int rows, const float *w, int64_t pitch, const float *in, int64_t n,
                         const float *from, float *out) {
  vec sum[ROWS][VECS];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECS; v++)
      sum[r][v] = (vec){0} + (from ? from[r] : 0.0f);
  for (int64_t i = 0; i < n; i++) {
    const vec *x = (const vec *)in + i * VECS;
    const float *factor = w + i * pitch;
    for (int r = 0; r < rows; r++)
      for (int v = 0; v < VECS; v++)
        sum[r][v] += x[v] * factor[r];
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECS; v++)
      ((vec *)out)[r * VECS + v] = sum[r][v];
}

/* Cut into pieces of like size. */
TARGET void PRODUCT(const float *w, const float *in, int64_t n, const float *from, float *out,
                    int64_t m) {
  int64_t pitch = fg_mlp_padded(m);
  for (int64_t left = m, take; left; left -= take) {
    take = fg_up(left, fg_up(left, ROWS));
#define CASE(k)                                                                                    \
  case k:                                                                                          \
    tile_rows(k, w, pitch, in, n, from, out);                                                      \
    break;
    switch (take) { EACH_ROWS(CASE) }
#undef CASE
    w += take;
    from = from ? from + take : NULL;
    out += take * VECS * LANES;
  }
}
