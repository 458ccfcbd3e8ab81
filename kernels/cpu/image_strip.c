/* See image_strip.h. */
#include "image_strip.h"

#include <string.h>

#include "image_strip_lanes.h"

enum { MOST_VECS = 4, MOST_SUMS = 12, HIGH = 3, LINE = 16, MOST_TAPS = FG_IMAGE_WINDOW };

bool fg_image_strips_run_here(void) {
  return fg_cpu_block() == LANES;
}

/* ---- taps */

/* The taps of one axis that reach the places of one residue: where dy is for the first of these places, from the
 * least on, and which tap. */
static void reach(int64_t residue, int64_t window, int64_t stride, int64_t dilation, int64_t pad,
                  struct fg_image_taps *to) {
  to->n = 0;
  for (int64_t i = window - 1; i >= 0; i--) {
    int64_t v = residue + pad - i * dilation;
    if (v % stride != 0)
      continue;
    to->at[to->n] = v / stride;
    to->tap[to->n++] = i;
  }
}

static void reach_rows(const struct fg_image_shape *t, int64_t residue, struct fg_image_taps *to) {
  reach(residue, t->r, t->stride[0], t->dilation[0], t->pad[0], to);
}

static void reach_columns(const struct fg_image_shape *t, int64_t residue,
                          struct fg_image_taps *to) {
  reach(residue, t->s, t->stride[1], t->dilation[1], t->pad[1], to);
}

/* For each residue of rows, then of columns: [k][taps of rows][taps of columns][c]. */
void fg_image_strips_pack(const struct fg_image_strips *s, const float *w, float *to) {
  const struct fg_image_shape *t = &s->of;
  struct fg_image_taps rows, columns;
  for (int64_t i = 0; i < t->stride[0]; i++)
    for (int64_t j = 0; j < t->stride[1]; j++) {
      reach_rows(t, i, &rows);
      reach_columns(t, j, &columns);
      for (int64_t k = 0; k < t->k; k++)
        for (int a = 0; a < rows.n; a++)
          for (int b = 0; b < columns.n; b++)
            for (int64_t c = 0; c < t->c; c++)
              *to++ = w[((k * t->c + c) * t->r + rows.tap[a]) * t->s + columns.tap[b]];
    }
}

/* ---- cutting */

static int64_t floor_div(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static int64_t rows_of(const struct fg_image_shape *t, int64_t height) {
  return floor_div(height - 1 + (t->r - 1) * t->dilation[0], t->stride[0]) + 2;
}

/* Strips as high as three quarters of the second-level cache hold, and of a height that steps of the window divide; lower,
 * where there are more threads than strips. */
static int64_t height_of(const struct fg_image_strips *s) {
  const struct fg_image_shape *t = &s->of;
  int64_t step = t->stride[0], height = fg_up(fg_most(t->h, 1), step) * step;
  int64_t bytes = t->k * s->pitch * (int64_t)sizeof(float);
  int64_t most = fg_cpu_second_level_bytes() / 4 * 3;
  while (height > step &&
         (rows_of(t, height) * bytes > most || t->samples * fg_up(t->h, height) < s->pieces))
    height -= step;
  return height;
}

void fg_image_strips_cut(const struct fg_image_shape *shape, int lanes, const struct fg_pool *pool,
                         int threads, struct fg_image_strips *to) {
  struct fg_image_strips s = {
      .of = *shape, .lanes = lanes, .pooled = pool != NULL, .pieces = threads > 0 ? threads : 1};
  const struct fg_image_shape *t = &s.of;
  int64_t before = (t->s - 1) * t->dilation[1] - t->pad[1];
  if (pool)
    s.pool = *pool;
  s.left = before > 0 ? fg_up(before, t->stride[1]) : 0;
  /* The last vectors of columns may read past the last one that is wanted; rows are copied in whole vectors. */
  int64_t last = floor_div(t->w - 1 + t->pad[1], t->stride[1]) + MOST_VECS * LANES;
  int64_t whole = fg_up(t->q, 2 * LANES) * 2 * LANES;
  s.pitch = s.left + (last > whole ? last : whole) + 1;
  s.height = height_of(&s);
  s.strips = fg_up(t->h, s.height);
  s.rows = rows_of(t, s.height);
  /* An odd number of cache lines, so that channels do not fall into one set of the cache. */
  s.plane = (fg_up(s.rows * s.pitch, LINE) | 1) * LINE;
  s.line =
      (fg_up(fg_up(t->w, t->stride[1]), LANES) + MOST_VECS) * LANES; /* a block may end beyond */
  *to = s;
}

/* A piece's room: rows of dy [k][rows][pitch], sums of HIGH rows of dx, [stride][c][line] each. */
static int64_t room_floats(const struct fg_image_strips *s) {
  return s->of.k * s->plane + HIGH * s->of.stride[1] * s->of.c * s->line;
}

size_t fg_image_strips_scratch_bytes(const struct fg_image_strips *s) {
  return (size_t)(s->pieces * room_floats(s)) * sizeof(float);
}

/* ---- sums */

struct job {
  const struct fg_image_strips *s;
  const float *packed, *dy;
  const uint8_t *index;
  float *dx, *rooms;
};

/* A block of dx: places of one residue of rows and columns, all channels of them. */
struct block {
  const float *from;       /* dy where the first tap meets the block, of the first channel */
  const float *w;          /* [k][rows][columns][c]                                        */
  int64_t k, plane, pitch; /* of dy                                                        */
  int rows, columns;       /* taps                                                         */
  const int64_t *at;       /* where each tap is, from the first                            */
  float *to;               /* sums of a row, [stride][c][line]                             */
  int64_t line, row_step;
};

/* Rows [first, last) of the block take a row of dy, which row `row` of taps would meet from the block's first. */
FG_INLINE void take_row(const struct block *b, const float *d, const float *w, int64_t row,
                        int first, int last, int vecs, vec *sum) {
  for (int i = 0; i < b->columns; i++) {
    const float *x = d + b->at[i], *u = w + row * b->columns + i;
    for (int v = 0; v < vecs; v++) {
      vec value = *(const vec *)(x + v * LANES);
      for (int y = first; y < last; y++)
        sum[y * vecs + v] += value * u[-(int64_t)y * b->columns];
    }
  }
}

/* HIGH rows of one channel, which share rows of dy: the taps' rows follow each other, and are not fewer. */
FG_INLINE void sum_rows(const struct block *block, int vecs) {
  const struct block copy = *block, *b = &copy; /* no sum is part of it */
  vec sum[HIGH * MOST_VECS];
  const float *w = b->w, *from = b->from;
#pragma GCC unroll 12
  for (int i = 0; i < HIGH * vecs; i++)
    sum[i] = (vec){0};
  for (int64_t k = 0; k < b->k; k++, from += b->plane, w += b->rows * b->columns) {
    const float *d = from;
    take_row(b, d, w, 0, 0, 1, vecs, sum);
    take_row(b, d + b->pitch, w, 1, 0, 2, vecs, sum);
    d += 2 * b->pitch;
    for (int64_t row = 2; row < b->rows; row++, d += b->pitch)
      take_row(b, d, w, row, 0, 3, vecs, sum);
    take_row(b, d, w, b->rows, 1, 3, vecs, sum);
    take_row(b, d + b->pitch, w, b->rows + 1, 2, 3, vecs, sum);
  }
  for (int y = 0; y < HIGH; y++)
    for (int v = 0; v < vecs; v++)
      *(vec *)(b->to + y * b->row_step + v * LANES) = sum[y * vecs + v];
}

/* One row of c channels. */
FG_INLINE void sum_row(const struct block *block, int c, int vecs) {
  const struct block copy = *block, *b = &copy;
  vec sum[MOST_SUMS];
  const int taps = b->rows * b->columns;
  const float *w = b->w, *from = b->from;
#pragma GCC unroll 12
  for (int i = 0; i < c * vecs; i++)
    sum[i] = (vec){0};
  for (int64_t k = 0; k < b->k; k++, from += b->plane)
    for (int i = 0; i < taps; i++, w += c) {
      const float *x = from + b->at[i];
      __builtin_prefetch(x + b->plane); /* the next channel's comes from afar */
      for (int v = 0; v < vecs; v++) {
        vec value = *(const vec *)(x + v * LANES);
        for (int l = 0; l < c; l++)
          sum[l * vecs + v] += value * w[l];
      }
    }
  for (int l = 0; l < c; l++)
    for (int v = 0; v < vecs; v++)
      *(vec *)(b->to + l * b->line + v * LANES) = sum[l * vecs + v];
}

typedef void block_fn(const struct block *b);

#define ROW(c, vecs)                                                                               \
  TARGET static void row_##c##x##vecs(const struct block *b) {                                     \
    sum_row(b, c, vecs);                                                                           \
  }
#define ROWS(vecs)                                                                                 \
  TARGET static void rows_##vecs(const struct block *b) {                                          \
    sum_rows(b, vecs);                                                                             \
  }
ROW(1, 2)
ROW(1, 4)
ROW(2, 2)
ROW(2, 4)
ROW(3, 2)
ROW(3, 4)
ROW(4, 1)
ROW(4, 3)
ROWS(2)
ROWS(4)

/* A narrow block and a wide one: of a row, by channels, and of HIGH rows. */
struct widths {
  int vecs[2];
  block_fn *run[2];
};
static const struct widths row_of[FG_IMAGE_CHANNELS] = {{{2, 4}, {row_1x2, row_1x4}},
                                                        {{2, 4}, {row_2x2, row_2x4}},
                                                        {{2, 4}, {row_3x2, row_3x4}},
                                                        {{1, 3}, {row_4x1, row_4x3}}};
static const struct widths rows_of_one = {{2, 4}, {rows_2, rows_4}};

/* `many` columns of one residue. */
static void along(const struct widths *widths, struct block b, int64_t many) {
  for (int64_t left = many; left > 0;) {
    int wide = left > widths->vecs[0] * LANES, vecs = widths->vecs[wide];
    widths->run[wide](&b);
    b.from += vecs * LANES;
    b.to += vecs * LANES;
    left -= vecs * LANES;
  }
}

/* Places of one residue lie `step` apart in a row of dx; each residue's sums are `apart` floats apart. */
TARGET static void put_row(const float *sums, int64_t apart, int64_t step, int64_t n, float *to) {
  int64_t i = 0;
  if (step == 1) {
    memcpy(to, sums, (size_t)n * sizeof *to);
    return;
  }
  if (step == 2)
    for (; i + 2 * LANES <= n; i += 2 * LANES)
      put_pairs((const vec *)(sums + i / 2), (const vec *)(sums + apart + i / 2), to + i);
  for (; i < n; i++)
    to[i] = sums[i % step * apart + i / step];
}

/* Rows y, y + stride, ... of sample n, `high` of them, of which row 0 of `rows` meets `room` first. */
static void sum_band(const struct job *j, const struct fg_image_taps *rows, const float *room,
                     const float *w, int64_t n, int64_t y, int high, float *sums) {
  const struct fg_image_strips *s = j->s;
  const struct fg_image_shape *t = &s->of;
  int64_t at[MOST_TAPS * MOST_TAPS];
  struct fg_image_taps columns;
  struct block b = {.k = t->k,
                    .plane = s->plane,
                    .pitch = s->pitch,
                    .rows = rows->n,
                    .at = at,
                    .line = s->line,
                    .row_step = t->stride[1] * t->c * s->line};
  for (int64_t i = 0; i < t->stride[1] && i < t->w; i++) {
    reach_columns(t, i, &columns);
    b.columns = columns.n;
    for (int a = 0; a < rows->n; a++)
      for (int k = 0; k < columns.n; k++)
        at[a * columns.n + k] =
            (rows->at[a] - rows->at[0]) * s->pitch + columns.at[k] - columns.at[0];
    b.from = room + s->left + (columns.n ? columns.at[0] : 0);
    b.w = w;
    b.to = sums + i * t->c * s->line;
    along(high > 1 ? &rows_of_one : &row_of[t->c - 1], b, fg_up(t->w - i, t->stride[1]));
    w += t->k * rows->n * columns.n * t->c;
  }
  for (int i = 0; i < high; i++, y += t->stride[0], sums += b.row_step)
    for (int64_t c = 0; c < t->c; c++)
      put_row(sums + c * s->line, t->c * s->line, t->stride[1], t->w,
              j->dx + ((n * t->c + c) * t->h + y) * t->w);
}

/* Rows of one residue, [y, end), of a strip whose room begins with row p0 of dy. Where rows are summed together, the
 * last of them may be once more. */
static void sum_residue(const struct job *j, const struct fg_image_taps *rows, const float *room,
                        const float *w, int64_t n, int64_t y, int64_t end, int64_t p0,
                        float *sums) {
  const struct fg_image_shape *t = &j->s->of;
  int64_t step = t->stride[0], many = fg_up(end - y, step);
  bool follow = rows->n >= HIGH && rows->at[rows->n - 1] - rows->at[0] == rows->n - 1;
  int high = t->c == 1 && follow && many >= HIGH ? HIGH : 1;
  int64_t first = rows->n ? rows->at[0] + y / step - p0 : 0;
  for (int64_t i = 0; i < many; i += high) {
    int64_t row = fg_least(i, many - high);
    sum_band(j, rows, room + (first + row) * j->s->pitch, w, n, y + row * step, high, sums);
  }
}

static void sum_strip(const struct job *j, const float *room, int64_t n, int64_t y0, int64_t p0,
                      float *sums) {
  const struct fg_image_shape *t = &j->s->of;
  const float *w = j->packed;
  int64_t end = fg_least(y0 + j->s->height, t->h);
  struct fg_image_taps rows;
  for (int64_t i = 0; i < t->stride[0]; i++) {
    reach_rows(t, i, &rows);
    if (y0 + i < end)
      sum_residue(j, &rows, room, w, n, y0 + i, end, p0, sums);
    w += t->k * rows.n * t->s * t->c;
  }
}

/* ---- pieces */

/* The next strip's first rows are the last of this one, from row `shift` on; how many they are. */
static int64_t keep_rows(const struct fg_image_strips *s, int64_t shift, float *room) {
  int64_t kept = s->rows - shift;
  if (kept <= 0)
    return 0;
  for (int64_t k = 0; k < s->of.k; k++, room += s->plane)
    memmove(room, room + shift * s->pitch, (size_t)(kept * s->pitch) * sizeof *room);
  return kept;
}

static void pieces(const void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const struct fg_image_strips *s = j->s;
  const struct fg_image_shape *t = &s->of;
  int64_t items = t->samples * s->strips;
  for (int64_t piece = begin; piece < end; piece++) {
    float *room = j->rooms + piece * room_floats(s), *sums = room + t->k * s->plane;
    memset(room, 0, (size_t)(t->k * s->plane) * sizeof *room);
    int64_t from = items * piece / s->pieces;
    for (int64_t i = from; i < items * (piece + 1) / s->pieces; i++) {
      int64_t n = i / s->strips, y0 = i % s->strips * s->height, first = 0;
      int64_t p0 = floor_div(y0 + t->pad[0] - (t->r - 1) * t->dilation[0], t->stride[0]);
      if (y0 > 0 && i > from)
        first = keep_rows(s, s->height / t->stride[0], room);
      fg_image_strips_read(s, j->dy, j->index, n, p0, first, room + s->left);
      sum_strip(j, room, n, y0, p0, sums);
    }
  }
}

void fg_image_strips_run(const struct fg_image_strips *s, const float *packed, const float *dy,
                         const uint8_t *index, float *dx, void *scratch) {
  const struct fg_image_shape *t = &s->of;
  struct job j = {s, packed, dy, index, dx, scratch};
  double macs = (double)(t->samples * t->k * t->p * t->q) * (double)(t->r * t->s * t->c);
  fg_cpu_parallel(s->pieces, 1, macs / 24 / s->pieces, pieces, &j);
}
