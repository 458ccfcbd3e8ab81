/* One row of a first convolution's gradient (image_grad.h), by vectors of 16 channels of dy, for AVX-512: up to 24
 * sums of neighbours of a row, and the windows that they share. */
#include "image_grad.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
#define LANES 16
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30 /* lanes of two vectors */
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define PLACES(c)                                                                                  \
  ((c) == 1 ? 16 : 24 / (c)) /* neighbours whose sums, of c channels, fill the registers */

typedef float vec __attribute__((vector_size(LANES * 4), may_alias));
enum { MOST_SUMS = 2 * LANES };

/* v[0] becomes the sums of each of LANES vectors' lanes. */
FG_INLINE void sum_lanes(vec *v) {
  for (int n = LANES / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++)
      v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], EVENS) +
             __builtin_shufflevector(v[2 * i], v[2 * i + 1], ODDS);
}

/* `places` neighbours from the first on, of c channels: to[c][places]. On an edge, dy ends before the
 * neighbours do. */
FG_INLINE void sum_places(const struct fg_image_shape *t, const float *w, const float *dy,
                          const struct fg_image_taps *rows, const struct fg_image_taps *columns,
                          int64_t first, int c, int places, bool edge, float *to) {
  vec sum[MOST_SUMS];
  for (int i = 0; i < MOST_SUMS; i++)
    sum[i] = (vec){0};
  for (int64_t k = 0; k < t->k / LANES; k++)
    for (int a = 0; a < rows->n; a++) {
      const float *row = dy + (k * t->p + rows->at[a]) * t->q * LANES;
      const float *taps = w + (k * t->r + rows->tap[a]) * t->s * c * LANES;
      for (int b = 0; b < columns->n; b++) {
        int64_t column = first + columns->at[b];
        vec factor[FG_IMAGE_CHANNELS];
        for (int i = 0; i < c; i++)
          factor[i] = *(const vec *)(taps + (columns->tap[b] * c + i) * LANES);
        for (int v = 0; v < places; v++) {
          bool inside = !edge || (column + v >= 0 && column + v < t->q);
          vec x = inside ? *(const vec *)(row + (column + v) * LANES) : (vec){0};
          for (int i = 0; i < c; i++)
            sum[i * places + v] += x * factor[i];
        }
      }
    }
  for (int i = 0; i < c * places; i += LANES) {
    sum_lanes(sum + i);
    *(vec *)(to + i) = sum[i];
  }
}

typedef void places_fn(const struct fg_image_shape *t, const float *w, const float *dy,
                       const struct fg_image_taps *rows, const struct fg_image_taps *columns,
                       int64_t first, bool edge, float *to);

#define PLACES_OF(c)                                                                               \
  TARGET static void places_of_##c(const struct fg_image_shape *t, const float *w,                 \
                                   const float *dy, const struct fg_image_taps *rows,              \
                                   const struct fg_image_taps *columns, int64_t first, bool edge,  \
                                   float *to) {                                                    \
    if (edge)                                                                                      \
      sum_places(t, w, dy, rows, columns, first, c, PLACES(c), true, to);                          \
    else                                                                                           \
      sum_places(t, w, dy, rows, columns, first, c, PLACES(c), false, to);                         \
  }
PLACES_OF(1)
PLACES_OF(2)
PLACES_OF(3)
PLACES_OF(4)

static const struct {
  int places;
  places_fn *run;
} by_channels[FG_IMAGE_CHANNELS] = {{PLACES(1), places_of_1},
                                    {PLACES(2), places_of_2},
                                    {PLACES(3), places_of_3},
                                    {PLACES(4), places_of_4}};

/* Whether some tap of the neighbours falls beside dy. */
static bool is_edge(const struct fg_image_shape *t, const struct fg_image_taps *columns,
                    int64_t first, int places) {
  for (int b = 0; b < columns->n; b++)
    if (first + columns->at[b] < 0 || first + columns->at[b] + places > t->q)
      return true;
  return false;
}

void fg_image_row_16(const struct fg_image_shape *t, const float *packed, const float *dy,
                     int64_t n, int64_t y, float *dx) {
  struct fg_image_taps rows, columns;
  const int places = by_channels[t->c - 1].places;
  float sums[MOST_SUMS] __attribute__((aligned(64)));
  dy += n * t->k * t->p * t->q;
  fg_image_rows(t, y, &rows);
  for (int64_t residue = 0; residue < t->stride[1] && residue < t->w; residue++) {
    int64_t many = (t->w - residue + t->stride[1] - 1) / t->stride[1];
    fg_image_columns(t, residue, &columns);
    for (int64_t first = 0; first < many; first += places) {
      int64_t here = many - first < places ? many - first : places;
      by_channels[t->c - 1].run(t, packed, dy, &rows, &columns, first,
                                is_edge(t, &columns, first, places), sums);
      for (int64_t c = 0; c < t->c; c++) {
        float *to = dx + ((n * t->c + c) * t->h + y) * t->w + residue + first * t->stride[1];
        for (int64_t i = 0; i < here; i++)
          to[i * t->stride[1]] = sums[c * places + i];
      }
    }
  }
}
