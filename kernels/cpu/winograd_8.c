/* One item of fg_winograd_run for AVX2, for vectors of 8 channels.
 *
 * Tiles are taken in strips, neighbours in a row of a sample: a column of x that two tiles share is
 * transformed once, and what is outside is so for a whole strip. There are 16 registers, so between
 * columns and rows a transform lies in memory, in the first-level cache.
 *
 * A room holds v, the transformed tiles of x of all channels,
 *   [n^2][chunk / GROUP][c_vecs][GROUP][LANES],
 * and the products for one panel of k, [n^2][chunk][panel * LANES]. Between the n^2 places
 * there is an odd number of cache lines, so that they do not fall into one set of the cache. */
#include "winograd.h"

#define LANES 8
#define GROUP 6 /* tiles by 2 vectors fill 12 of 16 registers */
#define HEIGHTS(X)                                                                                 \
  X(6)                                                                                             \
  X(4)                                                                                             \
  X(3)                                                                                             \
  X(2)                                                                                             \
  X(1)
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v3")))
#else
#define TARGET
#endif
typedef void product_fn(const float *v, const float *u, int64_t c_vecs, int64_t groups, float *to);
#include "winograd_lanes.h"

enum { MOST_M = 4, STRIP = 8, LINE = 16, MOST_COLUMNS = STRIP * MOST_M + 2 };

/* ---- strips */

struct strip {
  int64_t sample, y, x; /* of its first place in the result */
  int64_t tiles;
};

/* The longest that begins at tile `i`, of `most` tiles. */
static struct strip strip_at(const struct fg_winograd *p, int64_t i, int64_t most) {
  int64_t of_sample = p->rows * p->columns, sample = i / of_sample, rest = i % of_sample;
  int64_t row = rest / p->columns, column = rest % p->columns;
  int64_t tiles = fg_least(fg_least(p->columns - column, most), STRIP);
  return (struct strip){sample, row * p->shape.m, column * p->shape.m, tiles};
}

/* The one that begins at tile `i`, for what will be fetched; after the last tile, the first. */
static struct strip strip_to_come(const struct fg_winograd *p, int64_t i) {
  return strip_at(p, i < p->shape.samples * p->rows * p->columns ? i : 0, STRIP);
}

/* ---- tiles in */

/* Which places of x, or of the result, a vector of channels is of: all, or where there is a stride those
 * of every second row and column, from there on. */
struct kind {
  int64_t step, y, x, vec; /* `vec`: of the tensor's own channels */
};

FG_INLINE struct kind kind_of(int64_t i, int64_t vecs, int64_t step) {
  return (struct kind){step, i / vecs / 2, i / vecs % 2, i % vecs};
}

/* How many of `all` places in a line are of that kind. */
FG_INLINE int64_t places_of(int64_t all, int64_t step, int64_t from) {
  return (all - from + step - 1) / step;
}

/* Vector `c` of the channels of a plain x: n rows of a strip's columns, zeros where there are none. */
FG_INLINE void gather(const struct fg_winograd *p, const float *x, const struct strip *t,
                      struct kind c, int64_t columns, vec *to, int n) {
  const struct fg_winograd_shape *s = &p->shape;
  int64_t plane = s->h * s->w, channel = c.vec * LANES;
  for (int i = 0; i < n; i++)
    for (int64_t j = 0; j < columns; j++, to++) {
      int64_t y = (t->y - s->pad[0] + i) * c.step + c.y, z = (t->x - s->pad[1] + j) * c.step + c.x;
      *to = (vec){0};
      if (y >= 0 && y < s->h && z >= 0 && z < s->w)
        for (int l = 0; l < LANES && channel + l < s->c; l++)
          (*to)[l] = x[(t->sample * s->c + channel + l) * plane + y * s->w + z];
    }
}

/* B' d of each of a strip's columns, of which [begin, end) are there: half[columns][n]. The same rows
 * of `next`, if any, are fetched meanwhile. */
FG_INLINE void columns_in(const float *const *rows, const float *const *next, int64_t begin,
                          int64_t end, int64_t columns, int64_t step, vec *half, int n) {
  for (int64_t i = 0; i < begin * n; i++)
    half[i] = (vec){0};
  for (int64_t j = begin; j < end; j++) {
    vec column[MOST];
    if (next && j * step % 2 == 0)
      for (int i = 0; i < n; i++)
        __builtin_prefetch(next[i] + j * step * LANES);
    for (int i = 0; i < n; i++)
      column[i] = *(const vec *)(rows[i] + (j - begin) * step * LANES);
    forward(column, half + j * n, n);
  }
  for (int64_t i = end * n; i < columns * n; i++)
    half[i] = (vec){0};
}

/* (B' d) B of one tile, to `v` with `pitch` floats from place to place; its columns lie `step` apart. */
FG_INLINE void tile_in(const vec *half, int64_t step, float *v, int64_t pitch, int n) {
  for (int i = 0; i < n; i++) {
    vec row[MOST], to[MOST];
    for (int j = 0; j < n; j++)
      row[j] = half[j * step + i];
    forward(row, to, n);
    for (int j = 0; j < n; j++)
      *(vec *)(v + (i * n + j) * pitch) = to[j];
  }
}

/* Where tile `i` of a chunk begins in v. */
FG_INLINE int64_t slot(const struct fg_winograd *p, int64_t i) {
  return (i / GROUP * p->c_vecs * GROUP + i % GROUP) * LANES;
}

/* Where a strip's `n` rows begin in a vector of a blocked x; nearby, where there is none. */
FG_INLINE void find_rows(const struct fg_winograd *p, const float *x, const struct strip *t,
                         struct kind c, const float **rows, int n) {
  const struct fg_winograd_shape *s = &p->shape;
  int64_t z = fg_least(fg_most(t->x - s->pad[1], 0) * c.step + c.x, s->w - 1);
  for (int r = 0; r < n; r++) {
    int64_t y = fg_least(fg_most((t->y - s->pad[0] + r) * c.step + c.y, 0), s->h - 1);
    rows[r] = x + (((t->sample * p->x_vecs + c.vec) * s->h + y) * s->w + z) * LANES;
  }
}

FG_INLINE void last_to_first(const float **rows, int n) {
  for (int i = 0; i < n / 2; i++) {
    const float *row = rows[i];
    rows[i] = rows[n - 1 - i];
    rows[n - 1 - i] = row;
  }
}

/* A strip whose first tile is the chunk's `i`th, and what comes after it. Places have kinds for n = 5. */
FG_INLINE void strip_in(const struct fg_winograd *p, const float *x, const struct strip *t,
                        const struct strip *after, int64_t i, float *v, int n, int m) {
  static const float none[2 * MOST_COLUMNS * LANES] __attribute__((aligned(32)));
  const struct fg_winograd_shape *s = &p->shape;
  int64_t columns = (t->tiles - 1) * m + n, left = t->x - s->pad[1], top = t->y - s->pad[0];
  int64_t begin = fg_least(fg_most(-left, 0), columns), step = n == 5 ? s->x_step : 1;
  int64_t first = p->lent ? (n - 1) * n : 0, by = p->lent ? -n : n;
  vec plain[MOST * MOST_COLUMNS], half[MOST_COLUMNS * MOST];
  const float *rows[MOST], *next[MOST];
  for (int64_t c = 0; c < p->c_vecs; c++, v += GROUP * LANES) {
    struct kind kind = kind_of(c, p->x_vecs, step);
    if (s->x_blocked) {
      bool last = c + 1 == p->c_vecs;
      int64_t end = fg_most(fg_least(columns, places_of(s->w, step, kind.x) - left), begin);
      find_rows(p, x, t, kind, rows, n);
      find_rows(p, x, last ? after : t, kind_of(last ? 0 : c + 1, p->x_vecs, step), next, n);
      for (int r = 0; r < n; r++)
        if (top + r < 0 || (top + r) * step + kind.y >= s->h)
          rows[r] = none;
      if (p->lent)
        last_to_first(rows, n);
      columns_in(rows, next, begin, end, columns, step, half, n);
    } else {
      gather(p, x, t, kind, columns, plain, n);
      for (int r = 0; r < n; r++)
        rows[r] = (const float *)(plain + r * columns);
      if (p->lent)
        last_to_first(rows, n);
      columns_in(rows, NULL, 0, columns, columns, 1, half, n);
    }
    for (int64_t j = 0; j < t->tiles; j++)
      tile_in(half + j * m * n + first, by, v + slot(p, i + j), p->v_floats, n);
  }
}

FG_INLINE void tiles_in(const struct fg_winograd *p, const float *x, int64_t first, int64_t many,
                        float *v, int n, int m) {
  for (int64_t i = 0; i < many;) {
    struct strip t = strip_at(p, first + i, many - i);
    struct strip after = strip_to_come(p, first + i + t.tiles);
    strip_in(p, x, &t, &after, i, v, n, m);
    i += t.tiles;
  }
}

/* ---- products */

/* `groups` times `rows` tiles times a panel of `vecs` vectors: v [c_vecs][GROUP][LANES], u [c_vecs *
 * LANES][vecs * LANES], to [rows][vecs * LANES]. The weights that lie behind these, the next place's, are
 * fetched while the first group is multiplied, and so is each next group. */
FG_INLINE void product(const float *v, const float *u, int64_t c_vecs, int64_t groups, float *to,
                       int rows, int vecs) {
  int64_t ahead = c_vecs * LANES * vecs * LANES, group = c_vecs * GROUP * LANES;
  for (int64_t g = 0; g < groups; g++, to += rows * vecs * LANES) {
    const float *w = u;
    vec sum[GROUP * PANEL];
#pragma GCC unroll 12
    for (int i = 0; i < rows * vecs; i++)
      sum[i] = (vec){0};
    for (int64_t c = 0; c < c_vecs; c++, v += GROUP * LANES) {
      for (int i = 0; i < GROUP * LANES; i += LINE)
        __builtin_prefetch(v + group + i, 0, 2);
      if (g == 0)
        for (int i = 0; i < LANES * vecs * LANES; i += LINE)
          __builtin_prefetch(w + ahead + i, 0, 2);
#pragma GCC unroll 8
      for (int l = 0; l < LANES; l++, w += vecs * LANES) {
        vec a = *(const vec *)w, b = vecs == 1 ? a : *(const vec *)(w + LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
          sum[r * vecs] += a * v[r * LANES + l];
          if (vecs == 2)
            sum[r * vecs + 1] += b * v[r * LANES + l];
        }
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows * vecs; i++)
      *(vec *)(to + i * LANES) = sum[i];
  }
}

#define PRODUCT(rows, vecs)                                                                        \
  TARGET static void product_##rows##x##vecs(const float *v, const float *u, int64_t c_vecs,       \
                                             int64_t groups, float *to) {                          \
    product(v, u, c_vecs, groups, to, rows, vecs);                                                 \
  }
#define PRODUCTS(rows) PRODUCT(rows, 1) PRODUCT(rows, 2)
HEIGHTS(PRODUCTS)

/* All places of `n` tiles times one panel. */
static void panel_of(const struct fg_winograd *p, const float *v, const float *u, int64_t n,
                     int vecs, float *to) {
  int places = p->edge * p->edge;
  int64_t groups = n / GROUP, full = groups * GROUP;
  const struct height *most = height_for(GROUP), *last = height_for(n % GROUP);
  for (int place = 0; place < places; place++) {
    most->run[vecs - 1](v, u, p->c_vecs, groups, to);
    if (n > full)
      last->run[vecs - 1](v + full * p->c_vecs * LANES, u, p->c_vecs, 1, to + full * vecs * LANES);
    v += p->v_floats;
    to += p->product_floats;
    u += p->c_vecs * LANES * vecs * LANES;
  }
}

/* ---- products with lent weights */

enum {
  WIDE = PANEL * LANES,
  ROWS = 3,
  FEW = FG_WINOGRAD_LENT_ROWS
}; /* tiles by channels fill 12 of 16 registers */

/* Weights of one product: for each panel of x's channels, `apart`, WIDE of the result's by WIDE of x's. Tiles and
 * weights of products to come are fetched meanwhile, a little for each panel and each FEW channels; NULL: none. */
struct lent {
  const float *u;
  int64_t apart;
  const float *tiles, *weights;
};

/* What is fetched beside panel `c` of x's channels and channel `i` of the result. */
FG_INLINE void fetch(const struct lent *w, int64_t c, int64_t i, int64_t panels) {
  enum { STEPS = WIDE / FEW, TILES = GROUP * WIDE / STEPS };
  int64_t step = i / FEW * panels + c;
  for (int k = 0; k < TILES; k += LINE)
    __builtin_prefetch(w->tiles + step * TILES + k, 0, 2);
  if (w->weights)
    for (int k = 0; k < FEW; k++)
      __builtin_prefetch(w->weights + step / STEPS * w->apart + (step % STEPS * FEW + k) * WIDE, 0,
                         2);
}

/* The sum of each of four vectors. */
FG_INLINE void put_sums(const vec *sum, float *to) {
  typedef float half __attribute__((vector_size(LANES * 2), may_alias));
  vec a = __builtin_shufflevector(sum[0], sum[1], 0, 8, 2, 10, 4, 12, 6, 14) +
          __builtin_shufflevector(sum[0], sum[1], 1, 9, 3, 11, 5, 13, 7, 15);
  vec b = __builtin_shufflevector(sum[2], sum[3], 0, 8, 2, 10, 4, 12, 6, 14) +
          __builtin_shufflevector(sum[2], sum[3], 1, 9, 3, 11, 5, 13, 7, 15);
  vec c = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) +
          __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  *(half *)to =
      __builtin_shufflevector(c, c, 0, 1, 2, 3) + __builtin_shufflevector(c, c, 4, 5, 6, 7);
}

/* `rows` tiles times FEW channels of the result, from channel `i` of the panel on. */
FG_INLINE void few_sums(const float *v, const struct lent *w, int64_t i, bool first, int64_t c_vecs,
                        float *to, int rows) {
  const float *u = w->u + i * WIDE;
  int64_t panels = c_vecs / PANEL;
  vec sum[ROWS * FEW];
#pragma GCC unroll 12
  for (int k = 0; k < rows * FEW; k++)
    sum[k] = (vec){0};
  for (int64_t c = 0; c < panels; c++, u += w->apart) {
    if (first)
      fetch(w, c, i, panels);
    for (int64_t l = 0; l < WIDE; l += LANES, v += GROUP * LANES)
#pragma GCC unroll 4
      for (int k = 0; k < FEW; k++) {
        vec a = *(const vec *)(u + k * WIDE + l);
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++)
          sum[r * FEW + k] += a * *(const vec *)(v + r * LANES);
      }
  }
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++)
    put_sums(sum + r * FEW, to + r * WIDE + i);
}

/* Up to a group of tiles times the panel: FEW channels at a time, whose weights stay in the first-level cache. */
TARGET static void lent_product(const float *v, const struct lent *w, int64_t c_vecs, float *to,
                                int64_t tiles) {
  for (int64_t i = 0; i < WIDE; i += FEW)
    for (int64_t t = 0; t < tiles; t += ROWS) {
      const float *from = v + t * LANES;
      float *sums = to + t * WIDE;
      if (tiles - t >= 3)
        few_sums(from, w, i, t == 0, c_vecs, sums, 3);
      else if (tiles - t == 2)
        few_sums(from, w, i, t == 0, c_vecs, sums, 2);
      else
        few_sums(from, w, i, t == 0, c_vecs, sums, 1);
    }
}

/* As panel_of, for panel `i` of the gradient's result. */
static void lent_panel_of(const struct fg_winograd *p, const float *v, const float *u, int64_t n,
                          int64_t i, float *to) {
  int places = p->edge * p->edge;
  int64_t of_place = p->k_vecs * LANES * WIDE, group = p->c_vecs * GROUP * LANES;
  u += i * WIDE * WIDE;
  for (int place = 0; place < places; place++) {
    const float *next = place + 1 < places ? u + (place + 1) * of_place : u + WIDE * WIDE;
    for (int64_t t = 0; t < n; t += GROUP) {
      const float *from = v + slot(p, t);
      struct lent w = {u + place * of_place, places * of_place + p->spacing, from + group,
                       t == 0 ? next : NULL};
      lent_product(from, &w, p->c_vecs, to + t * WIDE, fg_least(n - t, GROUP));
    }
    v += p->v_floats;
    to += p->product_floats;
  }
}

/* ---- tiles out */

/* What is added at `places` places of a row of the result, what they are masked by, and there they go.
 * NaN stays NaN. The same places `ahead` are fetched. */
FG_INLINE void finish_blocks(const struct fg_winograd_operands *o, vec *values, int64_t at,
                             int64_t ahead, int64_t places, int64_t step) {
  for (int64_t b = 0; b < places * step * LANES; b += LINE) {
    if (o->residual)
      __builtin_prefetch(o->residual + at + ahead + b);
    if (o->mask)
      __builtin_prefetch(o->mask + at + ahead + b);
    __builtin_prefetch(o->y + at + ahead + b, 1);
  }
  step *= LANES;
  if (o->residual)
    for (int64_t b = 0; b < places; b++)
      values[b] += *(const vec *)(o->residual + at + b * step);
  if (o->act == FG_WINOGRAD_RELU)
    for (int64_t b = 0; b < places; b++)
      values[b] = (vec)(~(values[b] <= 0) & (bits)values[b]);
  if (o->mask)
    for (int64_t b = 0; b < places; b++)
      values[b] = (vec)(~(*(const vec *)(o->mask + at + b * step) <= 0) & (bits)values[b]);
  for (int64_t b = 0; b < places; b++)
    *(vec *)(o->y + at + b * step) = values[b];
}

static void finish_plain(const struct fg_winograd *p, const struct fg_winograd_operands *o,
                         vec *values, int64_t at, int64_t places, int64_t step, int64_t lanes) {
  int64_t plane = p->shape.p * p->shape.q;
  for (int64_t b = 0; b < places; b++, at += step) {
    vec value = values[b], other;
    if (o->residual) {
      pick(o->residual + at, plane, lanes, &other);
      value += other;
    }
    if (o->act == FG_WINOGRAD_RELU)
      value = (vec)(~(value <= 0) & (bits)value);
    if (o->mask) {
      pick(o->mask + at, plane, lanes, &other);
      value = (vec)(~(other <= 0) & (bits)value);
    }
    put(&value, o->y + at, plane, lanes);
  }
}

/* A' product A of one tile of `height` rows and `width` columns; `from` with `pitch` floats from place
 * to place, `at` its first place in the result. */
FG_INLINE void tile_out(const struct fg_winograd *p, const struct fg_winograd_operands *o,
                        const float *from, const vec *bias, int64_t at, int64_t ahead,
                        int64_t height, int64_t width, int64_t lanes, int n, int m) {
  int64_t pitch = p->product_floats, step = n == 5 ? p->shape.y_step : 1;
  int64_t row = step * p->shape.q * (p->shape.y_blocked ? LANES : 1);
  vec half[MOST_M * MOST];
  for (int b = 0; b < n; b++) {
    vec column[MOST], to[MOST_M];
    for (int a = 0; a < n; a++)
      column[a] = *(const vec *)(from + (a * n + b) * pitch);
    backward(column, to, n, m);
    for (int a = 0; a < m; a++)
      half[(p->lent ? m - 1 - a : a) * n + b] = to[a];
  }
  for (int64_t a = 0; a < height; a++, at += row) {
    vec to[MOST_M];
    backward(half + a * n, to, n, m);
    if (p->lent)
      for (int b = 0; b < m / 2; b++) {
        vec first = to[b];
        to[b] = to[m - 1 - b];
        to[m - 1 - b] = first;
      }
    for (int b = 0; b < m; b++)
      to[b] += *bias;
    if (!p->shape.y_blocked)
      finish_plain(p, o, to, at, width, step, lanes);
    else if (width == m)
      finish_blocks(o, to, at, ahead, m, step);
    else
      finish_blocks(o, to, at, ahead, width, step);
  }
}

/* Where a strip begins in a vector of the result's channels. */
FG_INLINE int64_t place(const struct fg_winograd *p, const struct strip *t, struct kind k) {
  const struct fg_winograd_shape *s = &p->shape;
  int64_t plane = s->p * s->q, of_plane = (t->y * k.step + k.y) * s->q + t->x * k.step + k.x;
  return s->y_blocked ? ((t->sample * p->y_vecs + k.vec) * plane + of_plane) * LANES
                      : (t->sample * s->k + k.vec * LANES) * plane + of_plane;
}

/* A strip's vector of channels; `from`, its first tile's product, `apart` from the next one's. */
FG_INLINE void strip_out(const struct fg_winograd *p, const struct fg_winograd_operands *o,
                         const struct strip *t, struct kind k, int64_t ahead, const float *from,
                         int64_t apart, int n, int m) {
  const struct fg_winograd_shape *s = &p->shape;
  int64_t lanes = fg_least(s->k - k.vec * LANES, LANES), at = place(p, t, k);
  int64_t height = fg_least(m, places_of(s->p, k.step, k.y) - t->y);
  int64_t width = places_of(s->q, k.step, k.x) - t->x;
  int64_t step = m * k.step * (s->y_blocked ? LANES : 1);
  vec bias = {0};
  if (o->bias)
    pick(o->bias + k.vec * LANES, 1, lanes, &bias);
  for (int64_t j = 0; j < t->tiles; j++, at += step)
    tile_out(p, o, from + j * apart, &bias, at, ahead, height, fg_least(m, width - j * m), lanes, n,
             m);
}

FG_INLINE void tiles_out(const struct fg_winograd *p, const struct fg_winograd_operands *o,
                         int64_t first, int64_t many, int64_t k, int vecs, const float *from, int n,
                         int m) {
  int64_t step = n == 5 ? p->shape.y_step : 1;
  for (int64_t i = 0; i < many;) {
    struct strip t = strip_at(p, first + i, many - i);
    struct strip after = strip_to_come(p, first + i + t.tiles);
    for (int j = 0; j < vecs; j++) {
      struct kind kind = kind_of(k + j, p->y_vecs, step);
      int64_t next = j + 1 < vecs ? place(p, &t, kind_of(k + j + 1, p->y_vecs, step))
                                  : place(p, &after, kind_of(k, p->y_vecs, step));
      strip_out(p, o, &t, kind, next - place(p, &t, kind), from + (i * vecs + j) * LANES,
                vecs * LANES, n, m);
    }
    i += t.tiles;
  }
}

/* ---- an item */

#define STRIPS(n, m)                                                                               \
  TARGET static void tiles_in_##n##_##m(const struct fg_winograd *p, const float *x,               \
                                        int64_t first, int64_t many, float *v) {                   \
    tiles_in(p, x, first, many, v, n, m);                                                          \
  }                                                                                                \
  TARGET static void tiles_out_##n##_##m(const struct fg_winograd *p,                              \
                                         const struct fg_winograd_operands *o, int64_t first,      \
                                         int64_t many, int64_t k, int vecs, const float *from) {   \
    tiles_out(p, o, first, many, k, vecs, from, n, m);                                             \
  }
STRIPS(4, 2)
STRIPS(6, 4)
STRIPS(6, 2)
STRIPS(5, 4)

void fg_winograd_item_8(const struct fg_winograd *p, const float *u,
                        const struct fg_winograd_operands *o, int64_t item, float *room) {
  int places = p->edge * p->edge;
  int64_t tiles = p->shape.samples * p->rows * p->columns, panels = fg_up(p->k_vecs, PANEL);
  int64_t first = item / p->slices * p->chunk, slice = item % p->slices;
  int64_t n = fg_least(tiles - first, p->chunk);
  float *products = room + places * p->v_floats;
  (p->edge == 4      ? tiles_in_4_2
   : p->edge == 5    ? tiles_in_5_4
   : p->shape.m == 4 ? tiles_in_6_4
                     : tiles_in_6_2)(p, o->x, first, n, room);
  for (int64_t i = panels * slice / p->slices; i < panels * (slice + 1) / p->slices; i++) {
    int64_t k = i * PANEL;
    int vecs = p->k_vecs - k < PANEL ? (int)(p->k_vecs - k) : PANEL;
    if (p->lent)
      lent_panel_of(p, room, u, n, i, products);
    else
      panel_of(p, room, u + k * LANES * places * p->c_vecs * LANES + i * p->spacing, n, vecs,
               products);
    (p->edge == 4      ? tiles_out_4_2
     : p->edge == 5    ? tiles_out_5_4
     : p->shape.m == 4 ? tiles_out_6_4
                       : tiles_out_6_2)(p, o, first, n, k, vecs, products);
  }
}
