/* The product of mlp_net.h for a tile, which is VECS vectors of LANES samples. Included by a file per width, which
 * defines LANES, ROWS (results that are worked out side by side), EACH_ROWS (every number of them), TARGET and PRODUCT.
 * What counts is how few instructions there are beside the multiply-adds: a core that another thread shares is busy with
 * all of them. */
#include "mlp_net.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * sizeof(float)), may_alias));
enum { VECS = FG_MLP_VECS };

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

/* A count that leads through a list leads through the rows that it names too: each is as many times as large. */
enum { EACH = sizeof(struct fg_mlp_row), VALUES = VECS * sizeof(vec) / EACH };

/* sum[][] += each of the list's rows times its weights, in order: of result r w[r][number] backward, and forward
 * w[0][weights + r]. */
FG_INLINE void add_args(const int rows, const bool back, const float *const *w,
                        const struct fg_mlp_list *list, const vec *in, vec (*sum)[VECS]) {
  const char *args = (const char *)(list->at + list->n);
  const char *values = (const char *)(in + list->n * VECS);
  __asm__("" : "+r"(args), "+r"(values)); /* whole, or gcc adds their parts up in each turn */
  for (int64_t i = -list->n * EACH; i; i += EACH) {
    const struct fg_mlp_row *arg = (const struct fg_mlp_row *)(args + i);
    const vec *x = (const vec *)(values + i * VALUES);
    uint64_t at = (uint32_t)(back ? arg->number : arg->weights);
    __asm__("" : "+r"(at)); /* an index as it is, and not a product for each row's address */
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
      for (int v = 0; v < VECS; v++)
        sum[r][v] += x[v] * (back ? w[r] : w[0] + r)[at];
  }
}

/* Rows [k, k + rows) of those that are asked for. Where some are left out, what is stored ends at `end` of the list;
 * returns where it ends then. */
TARGET FG_INLINE int64_t tile_rows(const int rows, const enum fg_mlp_way way,
                                   const struct fg_mlp_product p, int64_t k, int64_t end) {
  const bool back = way == FG_MLP_BACKWARD || way == FG_MLP_BACKWARD_SLOPE;
  const struct fg_mlp_row *row = p.rows.at + k;
  const int64_t least = p.keeps ? EACH : 0;
  const float *w[ROWS] = {p.w + k};
  vec sum[ROWS][VECS], *out = (vec *)p.out + k * VECS;
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) {
    if (back)
      w[r] = p.w + row[r].weights;
    if (back || r == 0)
      __asm__("" : "+r"(w[r])); /* whole too */
    for (int v = 0; v < VECS; v++)
      sum[r][v] = (back ? 0.0f : p.from[k + r]) - (vec){0};
  }
  add_args(rows, back, w, &p.args, (const vec *)p.in, sum);
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) {
    vec *to = out + r * VECS;
    if (way == FG_MLP_FORWARD_RELU) {
      to = (vec *)((char *)p.out + end * VALUES);
      *(struct fg_mlp_row *)((char *)p.live + end) = row[r];
      end += relu(sum[r]) ? EACH : least;
    }
    if (way == FG_MLP_BACKWARD_SLOPE)
      slope((const vec *)p.relu_of + (k + r) * VECS, sum[r]);
    for (int v = 0; v < VECS; v++)
      to[v] = sum[r][v];
  }
  return end;
}

/* Pieces of like size, the larger ones first; returns how many rows are stored. */
TARGET FG_INLINE int64_t all_rows(const enum fg_mlp_way way, const struct fg_mlp_product p) {
  const int n = (int)p.rows.n, pieces = (n + ROWS - 1) / ROWS, least = pieces ? n / pieces : 0;
  int64_t k = 0, end = 0;
  for (int take = least + 1; take >= least; take--) {
    int64_t last = take > least ? (n - least * pieces) * take : n;
#define CASE(c)                                                                                    \
  case c:                                                                                          \
    for (; k < last; k += c)                                                                       \
      end = tile_rows(c, way, p, k, end);                                                          \
    break;
    switch (take) { EACH_ROWS(CASE) }
#undef CASE
  }
  return way == FG_MLP_FORWARD_RELU ? end / EACH : n;
}

TARGET int64_t PRODUCT(const struct fg_mlp_product *p) {
  switch (p->way) {
  case FG_MLP_FORWARD_RELU:
    return all_rows(FG_MLP_FORWARD_RELU, *p);
  case FG_MLP_BACKWARD:
    return all_rows(FG_MLP_BACKWARD, *p);
  case FG_MLP_BACKWARD_SLOPE:
    return all_rows(FG_MLP_BACKWARD_SLOPE, *p);
  default:
    return all_rows(FG_MLP_FORWARD, *p);
  }
}
