/* One item of fg_winograd_run for AVX-512, for vectors of 16 channels.
 *
 * A room holds v, the transformed tiles of x of all channels,
 *   [n^2][chunk / GROUP][c_vecs][GROUP][LANES],
 * and the products for one panel of k, [n^2][chunk][panel * LANES]. Between the n^2 places
 * there is an odd number of cache lines, so that they do not fall into one set of the cache. */
#include "winograd.h"

#define LANES 16
#define GROUP 14 /* tiles by 2 vectors fill 28 of 32 registers */
#define HEIGHTS(X)                                                                                 \
  X(14)                                                                                            \
  X(10)                                                                                            \
  X(8)                                                                                             \
  X(6)                                                                                             \
  X(4)                                                                                             \
  X(2)                                                                                             \
  X(1)
#if defined(__x86_64__)
#define TARGET __attribute__((target("arch=x86-64-v4")))
#else
#define TARGET
#endif
typedef void product_fn(const float *v, const float *u, int64_t c_vecs, float *to);
#include "winograd_lanes.h"

static const float none[LANES] __attribute__((aligned(64)));

/* ---- tiles in */

struct tile {
  int64_t sample, y, x; /* of its first place in the result */
};

FG_INLINE struct tile tile_at(const struct fg_winograd *p, int64_t i) {
  int64_t of_sample = p->rows * p->columns, rest = i % of_sample;
  return (struct tile){i / of_sample, rest / p->columns * p->shape.m,
                       rest % p->columns * p->shape.m};
}

/* The tile's places of x in vector `c` of channels, zeros where there are none: d[n][n]. */
FG_INLINE void gather(const struct fg_winograd *p, const float *x, struct tile t, int64_t c, vec *d,
                      int n) {
  const struct fg_winograd_shape *s = &p->shape;
  int64_t plane = s->h * s->w, channel = c * LANES;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      int64_t y = t.y - s->pad[0] + i, z = t.x - s->pad[1] + j;
      vec value = {0};
      if (y >= 0 && y < s->h && z >= 0 && z < s->w)
        for (int l = 0; l < LANES && channel + l < s->c; l++)
          value[l] = x[(t.sample * s->c + channel + l) * plane + y * s->w + z];
      d[i * n + j] = value;
    }
}

/* Where each place lies in a plane of blocks; -1: outside. */
FG_INLINE void find(const struct fg_winograd *p, struct tile t, int64_t *at, int n) {
  const struct fg_winograd_shape *s = &p->shape;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      int64_t y = t.y - s->pad[0] + i, z = t.x - s->pad[1] + j;
      bool inside = y >= 0 && y < s->h && z >= 0 && z < s->w;
      at[i * n + j] = inside ? (y * s->w + z) * LANES : -1;
    }
}

/* B' d B, to `v` with `pitch` floats from place to place. */
FG_INLINE void transform(const vec *d, float *v, int64_t pitch, int n) {
  vec half[MOST * MOST];
  for (int j = 0; j < n; j++) {
    vec column[MOST], to[MOST];
    for (int i = 0; i < n; i++)
      column[i] = d[i * n + j];
    forward(column, to, n);
    for (int i = 0; i < n; i++)
      half[i * n + j] = to[i];
  }
  for (int i = 0; i < n; i++) {
    vec to[MOST];
    forward(half + i * n, to, n);
    for (int j = 0; j < n; j++)
      *(vec *)(v + (i * n + j) * pitch) = to[j];
  }
}

FG_INLINE void tile_in(const struct fg_winograd *p, const float *x, int64_t item, float *v, int n) {
  const struct fg_winograd_shape *s = &p->shape;
  struct tile t = tile_at(p, item);
  int64_t at[MOST * MOST], plane = s->h * s->w * LANES;
  if (s->x_blocked)
    find(p, t, at, n);
  for (int64_t c = 0; c < p->c_vecs; c++, v += GROUP * LANES) {
    vec d[MOST * MOST];
    if (s->x_blocked) {
      const float *from = x + (t.sample * p->c_vecs + c) * plane;
      for (int i = 0; i < n * n; i++)
        d[i] = *(const vec *)(at[i] < 0 ? none : from + at[i]);
    } else {
      gather(p, x, t, c, d, n);
    }
    transform(d, v, p->v_floats, n);
  }
}

/* ---- products */

/* `rows` tiles times a panel of `vecs` vectors: v [c_vecs][GROUP][LANES], u [c_vecs * LANES][vecs *
 * LANES], to [rows][vecs * LANES]. */
FG_INLINE void product(const float *v, const float *u, int64_t c_vecs, float *to, int rows,
                       int vecs) {
  vec sum[GROUP * PANEL];
  for (int i = 0; i < rows * vecs; i++)
    sum[i] = (vec){0};
  for (int64_t c = 0; c < c_vecs; c++, v += GROUP * LANES)
    for (int l = 0; l < LANES; l++, u += vecs * LANES) {
      vec w[PANEL];
      for (int k = 0; k < vecs; k++)
        w[k] = *(const vec *)(u + k * LANES);
      for (int r = 0; r < rows; r++)
        for (int k = 0; k < vecs; k++)
          sum[r * vecs + k] += w[k] * v[r * LANES + l];
    }
  for (int i = 0; i < rows * vecs; i++)
    *(vec *)(to + i * LANES) = sum[i];
}

#define PRODUCT(rows, vecs)                                                                        \
  TARGET static void product_##rows##x##vecs(const float *v, const float *u, int64_t c_vecs,       \
                                             float *to) {                                          \
    product(v, u, c_vecs, to, rows, vecs);                                                         \
  }
#define PRODUCTS(rows) PRODUCT(rows, 1) PRODUCT(rows, 2)
HEIGHTS(PRODUCTS)

/* ---- tiles out */

/* Where the tile's row `i` begins in vector `k` of channels, and the floats from column to column. */
FG_INLINE int64_t place(const struct fg_winograd *p, struct tile t, int64_t k, int i) {
  const struct fg_winograd_shape *s = &p->shape;
  if (s->y_blocked)
    return (((t.sample * p->k_vecs + k) * s->p + t.y + i) * s->q + t.x) * LANES;
  return ((t.sample * s->k + k * LANES) * s->p + t.y + i) * s->q + t.x;
}

/* What is added at one place of the result, what it is masked by, and there it goes. */
FG_INLINE void finish(const struct fg_winograd *p, const struct fg_winograd_operands *o, vec *value,
                      int64_t at, int64_t lanes) {
  int64_t plane = p->shape.p * p->shape.q;
  bool blocked = p->shape.y_blocked;
  vec other;
  if (o->residual && blocked)
    *value += *(const vec *)(o->residual + at);
  else if (o->residual) {
    pick(o->residual + at, plane, lanes, &other);
    *value += other;
  }
  if (o->act == FG_WINOGRAD_RELU)
    *value = (vec)(~(*value <= 0) & (bits)*value); /* NaN stays NaN */
  if (o->act == FG_WINOGRAD_SLOPE) {
    if (blocked)
      other = *(const vec *)(o->mask + at);
    else
      pick(o->mask + at, plane, lanes, &other);
    *value = (vec)(~(other <= 0) & (bits)*value);
  }
  if (blocked)
    *(vec *)(o->y + at) = *value;
  else
    put(value, o->y + at, plane, lanes);
}

/* A' product A of tile `i`, vector `k`; `from` with `pitch` floats from place to place. */
FG_INLINE void tile_out(const struct fg_winograd *p, const struct fg_winograd_operands *o,
                        int64_t i, int64_t k, const float *from, int n, int m) {
  const struct fg_winograd_shape *s = &p->shape;
  struct tile t = tile_at(p, i);
  int64_t lanes = s->k - k * LANES < LANES ? s->k - k * LANES : LANES;
  int64_t step = s->y_blocked ? LANES : 1;
  vec half[MOST * MOST], bias = {0};
  if (o->bias && lanes == LANES)
    bias = *(const vec *)(o->bias + k * LANES);
  else if (o->bias)
    pick(o->bias + k * LANES, 1, lanes, &bias);
  for (int b = 0; b < n; b++) {
    vec column[MOST], to[MOST];
    for (int a = 0; a < n; a++)
      column[a] = *(const vec *)(from + (a * n + b) * p->product_floats);
    backward(column, to, n, m);
    for (int a = 0; a < m; a++)
      half[a * n + b] = to[a];
  }
  for (int a = 0; a < m && t.y + a < s->p; a++) {
    vec to[MOST];
    backward(half + a * n, to, n, m);
    int64_t at = place(p, t, k, a);
    for (int b = 0; b < m && t.x + b < s->q; b++) {
      to[b] += bias;
      finish(p, o, &to[b], at + b * step, lanes);
    }
  }
}

/* ---- an item */

FG_INLINE void tiles_in(const struct fg_winograd *p, const float *x, int64_t first, int64_t many,
                        float *v, int n) {
  int64_t group = p->c_vecs * GROUP * LANES;
  for (int64_t i = 0; i < many; i++)
    tile_in(p, x, first + i, v + i / GROUP * group + i % GROUP * LANES, n);
}

FG_INLINE void tiles_out(const struct fg_winograd *p, const struct fg_winograd_operands *o,
                         int64_t first, int64_t many, int64_t k, int vecs, const float *from, int n,
                         int m) {
  for (int64_t i = 0; i < many; i++)
    for (int j = 0; j < vecs; j++)
      tile_out(p, o, first + i, k + j, from + (i * vecs + j) * LANES, n, m);
}

#define TILES_IN(n)                                                                                \
  TARGET static void tiles_in_##n(const struct fg_winograd *p, const float *x, int64_t first,      \
                                  int64_t many, float *v) {                                        \
    tiles_in(p, x, first, many, v, n);                                                             \
  }
TILES_IN(4)
TILES_IN(6)

#define TILES_OUT(n, m)                                                                            \
  TARGET static void tiles_out_##n##_##m(const struct fg_winograd *p,                              \
                                         const struct fg_winograd_operands *o, int64_t first,      \
                                         int64_t many, int64_t k, int vecs, const float *from) {   \
    tiles_out(p, o, first, many, k, vecs, from, n, m);                                             \
  }
TILES_OUT(4, 2)
TILES_OUT(6, 4)
TILES_OUT(6, 2)

/* All places of `n` tiles times one panel. */
static void panel_of(const struct fg_winograd *p, const float *v, const float *u, int64_t n,
                     int vecs, float *to) {
  int places = p->edge * p->edge;
  const struct height *full = height_for(GROUP), *last = height_for(n % GROUP);
  for (int place = 0; place < places; place++) {
    const float *from = v;
    float *row = to;
    for (int64_t i = 0; i < n / GROUP; i++) {
      full->run[vecs - 1](from, u, p->c_vecs, row);
      from += p->c_vecs * GROUP * LANES;
      row += GROUP * vecs * LANES;
    }
    if (n % GROUP)
      last->run[vecs - 1](from, u, p->c_vecs, row);
    v += p->v_floats;
    to += p->product_floats;
    u += p->c_vecs * LANES * vecs * LANES;
  }
}

void fg_winograd_item_16(const struct fg_winograd *p, const float *u,
                         const struct fg_winograd_operands *o, int64_t item, float *room) {
  int places = p->edge * p->edge;
  int64_t tiles = p->shape.samples * p->rows * p->columns, panels = fg_up(p->k_vecs, PANEL);
  int64_t first = item / p->slices * p->chunk, slice = item % p->slices;
  int64_t n = tiles - first < p->chunk ? tiles - first : p->chunk;
  float *products = room + places * p->v_floats;
  (p->edge == 4 ? tiles_in_4 : tiles_in_6)(p, o->x, first, n, room);
  for (int64_t i = panels * slice / p->slices; i < panels * (slice + 1) / p->slices; i++) {
    int64_t k = i * PANEL;
    int vecs = p->k_vecs - k < PANEL ? (int)(p->k_vecs - k) : PANEL;
    panel_of(p, room, u + k * LANES * places * p->c_vecs * LANES, n, vecs, products);
    (p->edge == 4      ? tiles_out_4_2
     : p->shape.m == 4 ? tiles_out_6_4
                       : tiles_out_6_2)(p, o, first, n, k, vecs, products);
  }
}
