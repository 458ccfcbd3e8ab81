/* What a strip of image_strip.h reads: rows of dy, or what a max-pool gives back. */
#include <string.h>

#include "image_strip_lanes.h"

enum { AHEAD = 64 }; /* places of dy that are fetched before they are needed */

typedef int32_t bits __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint8_t places_vec __attribute__((vector_size(LANES), aligned(1), may_alias));

struct job {
  const struct fg_image_strips *s;
  const float *dy;
  const uint8_t *index;
};

/* ---- rows of dy */

/* Row i of v becomes column i. */
FG_INLINE void turn(vec v[LANES]) {
  vec a[LANES], b[LANES];
  for (int i = 0; i < LANES; i += 2) {
    a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < LANES; i += 4)
    for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = __builtin_shufflevector(a[i + j], a[i + 2 + j], 0, 1, 8, 9, 4, 5, 12, 13);
      b[i + 2 * j + 1] =
          __builtin_shufflevector(a[i + j], a[i + 2 + j], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; i++) {
    v[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

/* A row of a block of channels: n places of LANES channels each, to each channel's row. */
TARGET static void turn_row(const float *from, int64_t n, float *to, int64_t plane) {
  for (int64_t q = 0; q < n; q += LANES) {
    vec v[LANES];
    for (int i = 0; i < LANES; i += 2)
      __builtin_prefetch(from + (q + i + AHEAD) * LANES);
    for (int i = 0; i < LANES; i++)
      v[i] = q + i < n ? *(const vec *)(from + (q + i) * LANES) : (vec){0};
    turn(v);
    for (int i = 0; i < LANES; i++)
      *(vec *)(to + i * plane + q) = v[i];
  }
}

/* Of `lanes` channels from k on, clears row `i` of a room, from the first place of dy. */
static void clear_row(const struct fg_image_strips *s, float *room, int64_t k, int64_t i) {
  for (int64_t l = 0; l < s->lanes; l++)
    memset(room + (k + l) * s->plane + i * s->pitch, 0, (size_t)s->of.q * sizeof *room);
}

/* Rows of sample n to a room that begins with row p0, from its row `first` on; zeros where there are none. */
static void copy_rows(const struct job *j, int64_t n, int64_t p0, int64_t first, float *room) {
  const struct fg_image_strips *s = j->s;
  const struct fg_image_shape *t = &s->of;
  for (int64_t k = 0; k < t->k; k += s->lanes)
    for (int64_t i = first; i < s->rows; i++) {
      int64_t p = p0 + i;
      float *to = room + k * s->plane + i * s->pitch;
      const float *from = j->dy + ((n * t->k + k) * t->p + p * s->lanes) * t->q;
      if (p < 0 || p >= t->p)
        clear_row(s, room, k, i);
      else if (s->lanes > 1)
        turn_row(from, t->q, to, s->plane);
      else
        memcpy(to, from, (size_t)t->q * sizeof *to);
    }
}

/* ---- what a pool gives back */

/* Where a window's places lie in a room, from its first. */
struct places {
  int64_t n, y[256], x[256], at[256];
};

static void find_places(const struct fg_image_strips *s, struct places *to) {
  const struct fg_pool *p = &s->pool;
  to->n = p->kh * p->kw;
  for (int64_t i = 0; i < to->n; i++) {
    to->y[i] = i / p->kw * p->dh;
    to->x[i] = i % p->kw * p->dw;
    to->at[i] = to->y[i] * s->pitch + to->x[i];
  }
}

/* What row o of the pool's results gives back in channels from k on, to rows from `least` on, added to a room
 * whose first row is p0 of dy. */
static void spread_row(const struct job *j, const struct places *places, int64_t n, int64_t k,
                       int64_t o, int64_t p0, int64_t least, float *room) {
  const struct fg_image_strips *s = j->s;
  const struct fg_pool *p = &s->pool;
  const int64_t lanes = s->lanes, y0 = o * p->sh - p->ph, last = fg_least(p0 + s->rows, p->h);
  const bool whole = y0 >= least && y0 + (p->kh - 1) * p->dh < last;
  int64_t at = ((n * s->of.k + k) * p->oh + o * lanes) * p->ow;
  for (int64_t c = 0; c < p->ow; c++) {
    int64_t x0 = c * p->sw - p->pw;
    float *to = room + k * s->plane + (y0 - p0) * s->pitch + x0;
    bool inside = whole && x0 >= 0 && x0 + (p->kw - 1) * p->dw < p->w;
    for (int64_t l = 0; l < lanes; l++, at++, to += s->plane) {
      int64_t i = j->index[at], y = y0 + places->y[i], x = x0 + places->x[i];
      if (i < places->n && (inside || (y >= least && y < last && x >= 0 && x < p->w)))
        to[places->at[i]] += j->dy[at];
    }
  }
}

/* The same where windows of 2 x 2 lie side by side, from blocks of channels; all that they cover is written. */
TARGET static void spread_pairs(const struct job *j, int64_t n, int64_t k, int64_t o, int64_t p0,
                                int64_t least, float *room) {
  const struct fg_image_strips *s = j->s;
  const struct fg_pool *p = &s->pool;
  for (int64_t c = 0; c < p->ow; c += LANES) {
    int64_t at = ((n * s->of.k + k) * p->oh + o * LANES) * p->ow + c * LANES;
    bits d[LANES], index[LANES];
    for (int i = 0; i < LANES; i += 2)
      __builtin_prefetch(j->dy + at + (i + AHEAD) * LANES);
    __builtin_prefetch(j->index + at + AHEAD * LANES);
    for (int i = 0; i < LANES; i++) {
      bool is = c + i < p->ow;
      d[i] = is ? *(const bits *)(j->dy + at + i * LANES) : (bits){0};
      index[i] =
          is ? __builtin_convertvector(*(const places_vec *)(j->index + at + i * LANES), bits)
             : (bits){0};
    }
    for (int row = 0; row < 2; row++) {
      vec even[LANES], odd[LANES];
      int64_t y = 2 * o + row - p0;
      if (y < least - p0 || y >= s->rows)
        continue;
      for (int i = 0; i < LANES; i++) {
        even[i] = (vec)(d[i] & (index[i] == 2 * row));
        odd[i] = (vec)(d[i] & (index[i] == 2 * row + 1));
      }
      turn(even);
      turn(odd);
      for (int i = 0; i < LANES; i++)
        put_pairs(&even[i], &odd[i], room + (k + i) * s->plane + y * s->pitch + 2 * c);
    }
  }
}

static void spread_rows(const struct job *j, int64_t n, int64_t p0, int64_t first, float *room) {
  const struct fg_image_strips *s = j->s;
  const struct fg_pool *p = &s->pool;
  bool pairs = s->lanes == LANES && fg_pool_in_pairs(p);
  int64_t covered = pairs ? 2 * p->oh : 0, below = (p->kh - 1) * p->dh - p->ph;
  int64_t least = fg_most(p0 + first, 0);
  struct places places;
  find_places(s, &places);
  for (int64_t k = 0; k < s->of.k; k += s->lanes) {
    for (int64_t i = first; i < s->rows; i++)
      if (p0 + i < 0 || p0 + i >= covered)
        clear_row(s, room, k, i);
    for (int64_t o = 0; o < p->oh; o++)
      if (o * p->sh + below >= least && o * p->sh - p->ph < p0 + s->rows) {
        if (pairs)
          spread_pairs(j, n, k, o, p0, least, room);
        else
          spread_row(j, &places, n, k, o, p0, least, room);
      }
  }
}

void fg_image_strips_read(const struct fg_image_strips *s, const float *dy, const uint8_t *index,
                          int64_t n, int64_t p0, int64_t first, float *room) {
  const struct job j = {s, dy, index};
  if (s->pooled)
    spread_rows(&j, n, p0, first, room);
  else
    copy_rows(&j, n, p0, first, room);
}
