/* See image_split.h. */
#include "image_split.h"

#include <stdlib.h>
#include <string.h>

#include "split.h"
#include "split_tile.h"

#if defined(__x86_64__)
#define VECTORS __attribute__((target("arch=x86-64-v4")))
#else
#define VECTORS
#endif

enum { DY, W };
enum { LANES = 16, MOST_VECS = 4 };
/* Of fewer taps or columns a tile is half empty, and vectors are as fast. */
enum { FEW_TAPS = LANES + 1, FEW_COLUMNS = LANES + 1 };

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* The taps of a window's row that reach the columns of one residue: where their products are, from those of
 * the first tap at the first of these columns. */
struct reach {
  int n;
  int64_t at[FG_IMAGE_WINDOW];
};

struct fg_image_split {
  struct fg_image_shape shape;
  int64_t taps;           /* c r s: products of a pixel */
  int64_t groups, blocks; /* of taps, of k */
  int64_t left, pitch; /* of a tap's products in a row: zeros before the first; from tap to tap */
  int64_t rows;        /* of dy, whose products are kept */
  int64_t columns;     /* of dx of one residue, whole vectors of them */
  int pieces;
  struct reach *reach; /* of each residue */
  uint16_t *weights;
};

static struct fg_image_split cut(const struct fg_image_shape *t, int threads) {
  struct fg_image_split s = {.shape = *t,
                             .taps = t->c * t->r * t->s,
                             .blocks = fg_up(t->k, FG_SPLIT_TERMS),
                             .rows = (t->r - 1) * t->dilation[0] / t->stride[0] + 1,
                             .pieces = threads > 0 ? threads : 1};
  int64_t wide = MOST_VECS / 2 * LANES, before = (t->s - 1) * t->dilation[1] - t->pad[1];
  int64_t after = (t->stride[1] - 1 + t->pad[1]) / t->stride[1];
  s.groups = fg_up(s.taps, FG_SPLIT_ROWS);
  s.columns = fg_up(fg_up(t->w, t->stride[1]), wide) * wide;
  s.left = fg_up(fg_up(fg_most(before, 0), t->stride[1]), LANES) * LANES;
  int64_t last = fg_most(fg_up(t->q, FG_SPLIT_COLUMNS) * FG_SPLIT_COLUMNS, s.columns + after);
  /* An odd number of cache lines, so that taps do not fall into one set of the cache. */
  s.pitch = (fg_up(s.left + last, LANES) | 1) * LANES;
  return s;
}

/* ---- a piece's room: products [rows][taps][pitch], a line of dx [residue][columns], parts of pixels */

static int64_t row_floats(const struct fg_image_split *s) {
  return s->groups * FG_SPLIT_ROWS * s->pitch;
}

static int64_t line_floats(const struct fg_image_split *s) {
  return s->shape.stride[1] * s->columns;
}

static int64_t parts_of(const struct fg_image_split *s) {
  return s->blocks * FG_SPLIT_BLOCK;
}

static size_t room_bytes(const struct fg_image_split *s) {
  return (size_t)(s->rows * row_floats(s) + line_floats(s)) * sizeof(float) +
         (size_t)parts_of(s) * sizeof(uint16_t);
}

size_t fg_image_split_scratch_bytes(const struct fg_image_split *s) {
  return (size_t)s->pieces * room_bytes(s);
}

bool fg_image_split_fits(const struct fg_cpu_device *device, const struct fg_call *call,
                         const struct fg_image_shape *shape) {
  if (call->in[DY].layout != FG_BLOCKED || shape->k % LANES || !(call->constant >> W & 1) ||
      !call->in[W].data || device->base.convolutions == FG_CONV_DIRECT || !fg_split_runs())
    return false;
  struct fg_image_split s = cut(shape, 1);
  return s.taps >= FEW_TAPS && shape->q >= FEW_COLUMNS &&
         room_bytes(&s) <= (size_t)fg_cpu_second_level_bytes() / 2;
}

/* ---- weights, and where taps reach */

static void split_weights(struct fg_image_split *s, const float *w, float *turned) {
  int64_t k = s->shape.k;
  memset(s->weights, 0, (size_t)(s->groups * parts_of(s)) * sizeof *s->weights);
  for (int64_t g = 0; g < s->groups; g++) {
    int64_t first = g * FG_SPLIT_ROWS, rows = fg_least(s->taps - first, FG_SPLIT_ROWS);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < k; i++)
        turned[r * k + i] = w[i * s->taps + first + r];
    for (int64_t block = 0; block < s->blocks; block++) {
      int64_t at = block * FG_SPLIT_TERMS;
      struct fg_split_source from = {turned + at, k, LANES, 1, k - at};
      fg_split_places(&from, rows, s->weights + g * parts_of(s) + block * FG_SPLIT_BLOCK,
                      FG_SPLIT_PLACE);
    }
  }
}

static void find_reach(struct fg_image_split *s) {
  struct fg_image_taps columns;
  for (int64_t residue = 0; residue < s->shape.stride[1]; residue++) {
    struct reach *reach = &s->reach[residue];
    fg_image_columns(&s->shape, residue, &columns);
    reach->n = columns.n;
    for (int b = 0; b < columns.n; b++)
      reach->at[b] = columns.tap[b] * s->pitch + s->left + columns.at[b];
  }
}

fgsm_status fg_image_split_create(const struct fg_image_shape *shape, const float *w, int threads,
                                  struct fg_image_split **out, size_t *kept_bytes) {
  struct fg_image_split *s = malloc(sizeof *s);
  float *turned = malloc((size_t)(FG_SPLIT_ROWS * shape->k) * sizeof *turned);
  if (s) {
    *s = cut(shape, threads);
    *kept_bytes = (size_t)(s->groups * parts_of(s)) * sizeof *s->weights;
    s->weights = aligned_alloc(64, *kept_bytes);
    s->reach = malloc((size_t)shape->stride[1] * sizeof *s->reach);
  }
  if (!s || !turned || !s->weights || !s->reach) {
    free(turned);
    fg_image_split_destroy(s);
    return FG_FAIL(MEMORY, "no memory for a convolution's weights");
  }
  split_weights(s, w, turned);
  free(turned);
  find_reach(s);
  *out = s;
  return FGSM_OK;
}

void fg_image_split_destroy(struct fg_image_split *s) {
  if (!s)
    return;
  free(s->reach);
  free(s->weights);
  free(s);
}

/* ---- products */

struct job {
  const struct fg_image_split *split;
  const float *dy;
  float *dx;
  char *rooms;
};

struct room {
  float *products, *line;
  uint16_t *parts;
};

static float *products_of(const struct fg_image_split *s, const struct room *room, int64_t p) {
  return room->products + p % s->rows * row_floats(s);
}

/* Part `part` of so many of the lines that hold a group of pixels. */
FG_INLINE void fetch(const struct fg_image_split *s, const float *pixels, int64_t part,
                     int64_t parts) {
  const struct fg_image_shape *t = &s->shape;
  int64_t lines = t->k / LANES * FG_SPLIT_COLUMNS;
  for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; i++)
    __builtin_prefetch(pixels + (i / FG_SPLIT_COLUMNS * t->p * t->q + i % FG_SPLIT_COLUMNS) * LANES,
                       0, 2);
}

/* A group of taps times 32 pixels, of which there are so many. */
static void sum_group(const struct fg_image_split *s, int64_t group, const uint16_t *pixels,
                      int64_t columns, float *to) {
  static const int64_t at_once = 0;
  static const uint8_t only = 0;
  const struct fg_split_walk walk = {.blocks = s->blocks,
                                     .a_block = FG_SPLIT_BLOCK,
                                     .b_block = FG_SPLIT_BLOCK,
                                     .a_tap = &at_once,
                                     .b_tap = &at_once,
                                     .tap = &only,
                                     .taps = 1};
  const uint16_t *taps = s->weights + group * parts_of(s);
  bool both = s->taps - group * FG_SPLIT_ROWS > FG_SPLIT_HALF;
  const uint16_t *a[2] = {taps, both ? taps + FG_SPLIT_HALF * FG_SPLIT_PLACE : NULL};
  fg_split_sum(&walk, a, pixels, columns, to, s->pitch);
}

/* Of row p of a sample's dy. The next pixels are fetched beside the second product and later ones: one alone would
 * wait for them. */
static void multiply_row(const struct fg_image_split *s, const float *dy, int64_t p,
                         const struct room *room) {
  const struct fg_image_shape *t = &s->shape;
  float *to = products_of(s, room, p) + s->left;
  int64_t left = (t->p - p) * t->q; /* pixels of the sample */
  dy += p * t->q * LANES;
  for (int64_t q = 0; q < t->q; q += FG_SPLIT_COLUMNS) {
    const float *pixels = dy + q * LANES;
    fg_split_columns(pixels, t->q - q, t->k, t->p * t->q * LANES, room->parts);
    for (int64_t g = 0; g < s->groups; g++) {
      if (g > 0 && left - q >= 2 * FG_SPLIT_COLUMNS)
        fetch(s, pixels + FG_SPLIT_COLUMNS * LANES, g - 1, s->groups - 1);
      sum_group(s, g, room->parts, t->q - q, to + g * FG_SPLIT_ROWS * s->pitch + q);
    }
  }
}

/* ---- sums */

/* So many vectors of columns of one residue, of the products from `first` on of each of the window's rows. */
FG_INLINE void sum_taps(const float *const *row, int rows, const struct reach *reach, int64_t first,
                        int vecs, float *to) {
  vec sum[MOST_VECS];
  for (int v = 0; v < vecs; v++)
    sum[v] = (vec){0};
  for (int a = 0; a < rows; a++)
    for (int b = 0; b < reach->n; b++) {
      const float *x = row[a] + reach->at[b] + first;
      for (int v = 0; v < vecs; v++)
        sum[v] += *(const vec *)(x + v * LANES);
    }
  for (int v = 0; v < vecs; v++)
    *(vec *)(to + first + v * LANES) = sum[v];
}

VECTORS static void sum_columns(const float *const *row, int rows, const struct reach *reach,
                                int64_t columns, float *to) {
  int64_t first = 0;
  for (; columns - first >= MOST_VECS * LANES; first += MOST_VECS * LANES)
    sum_taps(row, rows, reach, first, MOST_VECS, to);
  if (first < columns)
    sum_taps(row, rows, reach, first, MOST_VECS / 2, to);
}

/* A row of dx from its columns of each residue. */
VECTORS static void weave(const float *line, int64_t columns, int64_t stride, int64_t w,
                          float *restrict to) {
  const float *restrict even = line, *restrict odd = line + columns;
  if (stride == 2) {
    for (int64_t i = 0; i < w / 2; i++) {
      to[2 * i] = even[i];
      to[2 * i + 1] = odd[i];
    }
    if (w % 2)
      to[w - 1] = even[w / 2];
    return;
  }
  for (int64_t residue = 0; residue < stride; residue++)
    for (int64_t x = residue, i = 0; x < w; x += stride, i++)
      to[x] = line[residue * columns + i];
}

/* Row y of a sample's dx, of all channels. */
static void sum_row(const struct fg_image_split *s, const struct room *room, int64_t y, float *dx) {
  const struct fg_image_shape *t = &s->shape;
  struct fg_image_taps rows;
  const float *row[FG_IMAGE_WINDOW];
  fg_image_rows(t, y, &rows);
  for (int64_t c = 0; c < t->c; c++) {
    for (int a = 0; a < rows.n; a++)
      row[a] = products_of(s, room, rows.at[a]) + (c * t->r + rows.tap[a]) * t->s * s->pitch;
    for (int64_t residue = 0; residue < t->stride[1]; residue++)
      sum_columns(row, rows.n, &s->reach[residue], s->columns, room->line + residue * s->columns);
    weave(room->line, s->columns, t->stride[1], t->w, dx + (c * t->h + y) * t->w);
  }
}

/* ---- rows of dx of all samples, one after another */

/* The rows of dy that row y may need. */
static int64_t first_needed(const struct fg_image_shape *t, int64_t y) {
  return fg_most(fg_up(y + t->pad[0] - (t->r - 1) * t->dilation[0], t->stride[0]), 0);
}

static int64_t last_needed(const struct fg_image_shape *t, int64_t y) {
  return fg_least((y + t->pad[0]) / t->stride[0], t->p - 1);
}

static void piece(const struct job *j, int64_t begin, int64_t end, const struct room *room) {
  const struct fg_image_split *s = j->split;
  const struct fg_image_shape *t = &s->shape;
  memset(room->products, 0, (size_t)(s->rows * row_floats(s)) * sizeof *room->products);
  int64_t next = 0; /* row of dy without products */
  for (int64_t i = begin; i < end; i++) {
    int64_t n = i / t->h, y = i % t->h;
    const float *dy = j->dy + n * t->k * t->p * t->q;
    next = fg_most(y ? next : 0, first_needed(t, y));
    for (; next <= last_needed(t, y); next++)
      multiply_row(s, dy, next, room);
    sum_row(s, room, y, j->dx + n * t->c * t->h * t->w);
  }
}

static void pieces(const void *ctx, int64_t first, int64_t last) {
  const struct job *j = ctx;
  const struct fg_image_split *s = j->split;
  int64_t rows = s->shape.samples * s->shape.h;
  fg_split_begin();
  for (int64_t i = first; i < last; i++) {
    struct room room = {.products = (float *)(j->rooms + (size_t)i * room_bytes(s))};
    room.line = room.products + s->rows * row_floats(s);
    room.parts = (uint16_t *)(room.line + line_floats(s));
    piece(j, rows * i / s->pieces, rows * (i + 1) / s->pieces, &room);
  }
  fg_split_end();
}

void fg_image_split_run(const struct fg_image_split *s, const float *dy, float *dx, void *scratch) {
  const struct fg_image_shape *t = &s->shape;
  struct job j = {s, dy, dx, scratch};
  double macs = (double)(t->samples * t->k * t->p * t->q) * (double)s->taps;
  fg_cpu_parallel(s->pieces, 1, macs / 100 / s->pieces, pieces, &j);
}
