/* The product of mlp_net.h for a tile, which is VECS vectors of LANES samples. Included by a file per width, which
 * defines LANES, ROWS (results that are worked out side by side), EACH_ROWS (every number of them), TARGET and
 * PRODUCT. */
#include "mlp_net.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * sizeof(float)), may_alias));
enum { VECS = FG_MLP_VECS };

enum ending { PLAIN, RELU, SLOPE };

/* Loops over results are unrolled by pragmas: gcc 12 leaves sums in memory where they are not. */

/* ReLU of a row, NaN staying NaN; whether a bit of it is set then. */
TARGET FG_INLINE bool relu(vec *x) {
  bits set = {0};
  for (int i = 0; i < VECS; i++) {
#if defined(__x86_64__) && LANES == 8
    x[i] = (vec)_mm256_max_ps(_mm256_setzero_ps(), (__m256)x[i]);
#elif defined(__x86_64__)
    x[i] = (vec)_mm512_max_ps(_mm512_setzero_ps(), (__m512)x[i]);
#else
    x[i] = (vec)(~(x[i] <= 0) & (bits)x[i]);
#endif
    set |= (bits)x[i];
  }
#if defined(__x86_64__) && LANES == 8
  return !_mm256_testz_si256((__m256i)set, (__m256i)set);
#elif defined(__x86_64__)
  return _mm512_test_epi32_mask((__m512i)set, (__m512i)set) != 0;
#else
  bool any = false;
  for (int i = 0; i < LANES; i++)
    any |= set[i] != 0;
  return any;
#endif
}

/* Sums of a gradient where ReLU gave h. As PyTorch has it, and unlike unary.c, a sum that is not finite is zero too
 * where ReLU's slope is, so that rows may be left out unseen. */
FG_INLINE void slope(const vec *h, vec *d) {
  for (int i = 0; i < VECS; i++)
    d[i] = (vec)(~(h[i] <= 0) & (bits)d[i]);
}

/* The sums of `rows` rows from number k on of those that are asked for; returns how many `live` has then, which had
 * `found`. */
TARGET FG_INLINE int64_t tile_rows(const int rows, const enum ending ending,
                                   const struct fg_mlp_product p, int64_t k, int32_t *live,
                                   int64_t found) {
  const int32_t *arg = p.args.at, *last = arg + p.args.n;
  const vec *in = (const vec *)p.in, *h = (const vec *)p.relu_of;
  const float *w[ROWS];
  int64_t row[ROWS];
  vec sum[ROWS][VECS], *out = (vec *)p.out;
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) {
    row[r] = ending == SLOPE ? p.rows.at[k + r] : k + r;
    w[r] = p.w + row[r] * p.pitch;
    for (int i = 0; i < VECS; i++)
      sum[r][i] = (p.from ? p.from[row[r]] : 0.0f) - (vec){0};
  }
  for (; arg < last; arg++) {
    const vec *x = in + (int64_t)*arg * VECS;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < VECS; i++)
        sum[r][i] += x[i] * w[r][*arg];
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) {
    if (ending == RELU) {
      live[found] = (int32_t)row[r];
      found += relu(sum[r]);
    }
    if (ending == SLOPE)
      slope(h + row[r] * VECS, sum[r]);
    for (int i = 0; i < VECS; i++)
      out[row[r] * VECS + i] = sum[r][i];
  }
  return found;
}

/* Cut into pieces of like size. */
TARGET FG_INLINE void all_rows(const enum ending ending, const struct fg_mlp_product p) {
  const int n = (int)p.rows.n, pieces = (n + ROWS - 1) / ROWS, least = pieces ? n / pieces : 0;
  int32_t *live = ending == RELU ? p.live->at : NULL;
  int64_t found = 0, k = 0;
  for (int i = 0, take; i < pieces; i++, k += take) {
    take = least + (i < n - least * pieces);
#define CASE(c)                                                                                    \
  case c:                                                                                          \
    found = tile_rows(c, ending, p, k, live, found);                                               \
    break;
    switch (take) { EACH_ROWS(CASE) }
#undef CASE
  }
  if (ending == RELU)
    p.live->n = found;
}

TARGET void PRODUCT(const struct fg_mlp_product *p) {
  if (p->live)
    all_rows(RELU, *p);
  else if (p->relu_of)
    all_rows(SLOPE, *p);
  else
    all_rows(PLAIN, *p);
}
