/* Cutting, weights and threads of Winograd's convolution; what a piece of it does is in
 * winograd_8.c and winograd_16.c. No result depends on how the tiles are cut: every sum runs over the channels in
 * one order. */
#include "winograd.h"

#include <string.h>

enum {
  LINE = 16,
  FEW_TILES = 56,
  FEW_NARROW_TILES = 24, /* of 8 channels, whose machines have smaller caches */
  MANY_TILES = 84,
  LENT_BYTES = 19 << 19, /* of weights: 256 channels both ways have fewer */
  PANEL_LANES = 16 * FG_WINOGRAD_PANEL
};

bool fg_winograd_runs(void) {
  return fg_cpu_block() == 16 || fg_cpu_block() == 8;
}

/* An odd number of cache lines that holds so many floats. */
static int64_t odd_lines(int64_t floats) {
  return (fg_up(floats, LINE) | 1) * LINE;
}

static int places(const struct fg_winograd *plan) {
  return plan->edge * plan->edge;
}

/* At most so many tiles a chunk, as many chunks for one thread as for another. */
static int64_t even_chunk(int64_t tiles, int64_t most, int64_t group, int64_t threads) {
  int64_t chunks = fg_up(tiles, most);
  if (chunks > 1)
    chunks = fg_up(chunks, threads) * threads;
  return fg_up(fg_up(tiles, chunks), group) * group;
}

/* Few weights are not worth lending: what ends a sum along vectors is long beside a sum over few channels. A gradient's
 * product reads a square of each panel, a few rows at a time; the space between panels keeps such rows of all of
 * them in different sets of the caches. */
static void lend(struct fg_winograd *p) {
  int64_t side = (int64_t)p->lanes * FG_WINOGRAD_PANEL;
  p->spacing = (side + FG_WINOGRAD_LENT_ROWS) * side;
  p->lent =
      p->shape.gradient && p->c_vecs % FG_WINOGRAD_PANEL == 0 && p->k_vecs % FG_WINOGRAD_PANEL == 0;
}

/* Tiles are done in chunks: few, whose transforms stay near, while the weights do so too; many where
 * the weights come from afar each time. Where there are fewer chunks than threads, tiles are shared
 * out, or the channels of the result are, whichever reads less. */
void fg_winograd_cut(struct fg_winograd *plan, const struct fg_winograd_shape *shape, int threads) {
  struct fg_winograd p = {
      .shape = *shape, .lanes = fg_cpu_block(), .edge = shape->m + shape->r - 1, .pieces = threads};
  p.group = p.lanes == 16 ? 14 : 6;
  p.rows = fg_up(fg_up(shape->p, shape->y_step), shape->m);
  p.columns = fg_up(fg_up(shape->q, shape->y_step), shape->m);
  p.x_vecs = fg_up(shape->c, p.lanes);
  p.y_vecs = fg_up(shape->k, p.lanes);
  p.c_vecs = p.x_vecs * shape->x_step * shape->x_step;
  p.k_vecs = p.y_vecs * shape->y_step * shape->y_step;
  int64_t tiles = shape->samples * p.rows * p.columns, panels = fg_up(p.k_vecs, FG_WINOGRAD_PANEL);
  bool wide = p.lanes == 16;
  int64_t bytes = (int64_t)fg_winograd_weight_bytes(&p);
  bool near = bytes <= fg_cpu_second_level_bytes() * (wide ? 2 : 8);
  int64_t few = wide ? FEW_TILES : FEW_NARROW_TILES;
  if (!wide && bytes >= LENT_BYTES)
    lend(&p);
  p.chunk = (near ? few : MANY_TILES) / p.group * p.group;
  if (!wide && !near)
    p.chunk = even_chunk(tiles, p.chunk, p.group, threads);
  if (near && fg_up(tiles, p.chunk) < threads)
    p.chunk = fg_up(tiles, threads);
  p.chunk = p.chunk < tiles ? p.chunk : tiles;
  p.chunks = fg_up(tiles, p.chunk);
  p.slices = p.chunks < threads ? fg_up(threads, p.chunks) : 1;
  p.slices = p.slices < panels ? p.slices : panels;
  int64_t whole_groups = fg_up(p.chunk, p.group) * p.group;
  p.v_floats = odd_lines(whole_groups * p.c_vecs * p.lanes);
  p.product_floats = odd_lines(whole_groups * FG_WINOGRAD_PANEL * p.lanes);
  if (p.chunks * p.slices < p.pieces)
    p.pieces = (int)(p.chunks * p.slices);
  *plan = p;
}

static int64_t room_floats(const struct fg_winograd *plan) {
  return places(plan) * (plan->v_floats + plan->product_floats);
}

size_t fg_winograd_weight_bytes(const struct fg_winograd *plan) {
  int64_t panels = fg_up(plan->lent ? plan->c_vecs : plan->k_vecs, FG_WINOGRAD_PANEL);
  int64_t floats = places(plan) * plan->c_vecs * plan->k_vecs * plan->lanes * plan->lanes;
  return (size_t)(floats + panels * plan->spacing) * sizeof(float);
}

size_t fg_winograd_scratch_bytes(const struct fg_winograd *plan) {
  return (size_t)(plan->pieces * room_floats(plan)) * sizeof(float);
}

/* ---- weights */

enum { MOST_R = 5, MOST_PLACES = 36, MOST_WINDOW = 25, AHEAD = 4 };

/* G of the transforms, [n][r]: powers of the points 0, 1, -1 (2, -2) and infinity, scaled. */
static const double filter_4_3[][MOST_R] = {{1}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
static const double filter_5_2[][MOST_R] = {
    {1. / 2}, {-1. / 2, -1. / 2}, {-1. / 6, 1. / 6}, {1. / 6, 1. / 3}, {0, 1}};
static const double filter_6_3[][MOST_R] = {{1. / 4},
                                            {-1. / 6, -1. / 6, -1. / 6},
                                            {-1. / 6, 1. / 6, -1. / 6},
                                            {1. / 24, 1. / 12, 1. / 6},
                                            {1. / 24, -1. / 12, 1. / 6},
                                            {0, 0, 1}};
static const double filter_6_5[][MOST_R] = {{1. / 4},
                                            {-1. / 6, -1. / 6, -1. / 6, -1. / 6, -1. / 6},
                                            {-1. / 6, 1. / 6, -1. / 6, 1. / 6, -1. / 6},
                                            {1. / 24, 1. / 12, 1. / 6, 1. / 3, 2. / 3},
                                            {1. / 24, -1. / 12, 1. / 6, -1. / 3, 2. / 3},
                                            {0, 0, 0, 0, 1}};

/* One axis of a window: to[n] from r values, of a panel of channels side by side. n and r are constants where this is
 * inlined, so that what a channel's values are multiplied by is known, and nothing by zero. */
FG_INLINE void along(const double (*filter)[MOST_R], int n, int r, double (*g)[PANEL_LANES],
                     int step, double (*to)[PANEL_LANES], int to_step) {
  for (int l = 0; l < PANEL_LANES; l++)
#pragma GCC unroll 6
    for (int i = 0; i < n; i++) {
      double sum = 0;
#pragma GCC unroll 5
      for (int j = 0; j < r; j++)
        if (filter[i][j] != 0)
          sum += filter[i][j] * g[j * step][l];
      to[i * to_step][l] = sum;
    }
}

FG_INLINE void windows(const double (*filter)[MOST_R], int n, int r, double (*w)[PANEL_LANES],
                       double (*to)[PANEL_LANES]) {
  double half[MOST_PLACES][PANEL_LANES];
  for (int j = 0; j < r; j++)
    along(filter, n, r, w + j, r, half + j, r);
  for (int i = 0; i < n; i++)
    along(filter, n, r, half + i * r, 1, to + i * n, 1);
}

/* G w G' for a panel: windows w[r * r], to[n * n]. */
FG_CLONES static void winograd_windows(double (*restrict w)[PANEL_LANES], int n, int r,
                                       double (*restrict to)[PANEL_LANES]) {
  if (n == 4)
    windows(filter_4_3, 4, 3, w, to);
  else if (n == 5)
    windows(filter_5_2, 5, 2, w, to);
  else if (r == 3)
    windows(filter_6_3, 6, 3, w, to);
  else
    windows(filter_6_5, 6, 5, w, to);
}

struct filters {
  const struct fg_winograd *plan;
  const float *w;
  float *u;
};

/* The place in a 2 x 2 window along one axis of tap `i` of the 3 that a stride of 2 moves, for places of
 * odd or even number; -1 where they do not meet. */
static int place_of_tap(int i, int pad, int odd, bool turned) {
  if ((i + pad + odd) % 2)
    return -1;
  return turned ? (odd + pad - i) / 2 + (pad == 0) : (i + pad % 2) / 2;
}

/* Which numbers of a window [c][k] of the tensor of weights are multiplied: w[window][lane]. */
static void take_window(const struct filters *f, int64_t c, int64_t k, double (*w)[PANEL_LANES],
                        int64_t lane) {
  const struct fg_winograd *plan = f->plan;
  const struct fg_winograd_shape *s = &plan->shape;
  bool strided = s->x_step * s->y_step > 1;
  int size = strided ? 3 : s->r, window = size * size;
  int64_t of_c = plan->x_vecs * plan->lanes, of_k = plan->y_vecs * plan->lanes;
  int kind = (int)(c / of_c + k / of_k);
  c %= of_c;
  k %= of_k;
  if (c >= s->c || k >= s->k)
    return;
  const float *from = f->w + (s->gradient ? c * s->k + k : k * s->c + c) * window;
  /* A k's channels lie one after another; those of a panel are too many streams to be foreseen. */
  __builtin_prefetch(from + AHEAD * window);
  for (int i = 0; i < window; i++)
    if (strided) {
      int y = place_of_tap(i / size, s->stride_pad[0], kind / 2, s->gradient),
          x = place_of_tap(i % size, s->stride_pad[1], kind % 2, s->gradient);
      if (y >= 0 && x >= 0)
        w[y * s->r + x][lane] = from[i];
    } else {
      w[i][lane] = from[s->gradient ? window - 1 - i : i];
    }
}

/* Channels [begin, end) of x, of every panel. */
static void transform_filters(const void *ctx, int64_t begin, int64_t end) {
  const struct filters *f = ctx;
  const struct fg_winograd *plan = f->plan;
  const struct fg_winograd_shape *s = &plan->shape;
  int n = places(plan);
  int64_t wide_c = plan->c_vecs * plan->lanes, wide_k = plan->k_vecs * plan->lanes;
  int64_t panel = (int64_t)plan->lanes * FG_WINOGRAD_PANEL;
  for (int64_t first = 0; first < wide_k; first += panel) {
    int64_t width = wide_k - first < panel ? wide_k - first : panel;
    float *u = f->u + first * n * wide_c + first / panel * plan->spacing;
    for (int64_t c = begin; c < end; c++) {
      double w[MOST_WINDOW][PANEL_LANES], to[MOST_PLACES][PANEL_LANES];
      memset(w, 0, (size_t)(s->r * s->r) * sizeof w[0]);
      for (int64_t k = first; k < first + width; k++)
        take_window(f, c, k, w, k - first);
      winograd_windows(w, plan->edge, s->r, to);
      for (int i = 0; i < n; i++)
        for (int64_t l = 0; l < width; l++)
          u[i * width * wide_c + c * width + l] = (float)to[i][l];
    }
  }
}

/* The plan's channels in each other's place, as the convolution has them of which this is the gradient. */
static struct fg_winograd whose_weights(const struct fg_winograd *p) {
  struct fg_winograd of = *p;
  of.shape.gradient = false;
  of.shape.c = p->shape.k;
  of.shape.k = p->shape.c;
  of.shape.x_step = p->shape.y_step;
  of.shape.y_step = p->shape.x_step;
  of.c_vecs = p->k_vecs;
  of.k_vecs = p->c_vecs;
  of.x_vecs = p->y_vecs;
  of.y_vecs = p->x_vecs;
  return of;
}

void fg_winograd_weights(const struct fg_winograd *p, const float *w, float *u) {
  const struct fg_winograd plan = p->lent ? whose_weights(p) : *p;
  struct filters f = {&plan, w, u};
  double cost = 50.0 * (double)plan.k_vecs * (double)plan.lanes;
  fg_cpu_parallel(plan.c_vecs * plan.lanes, 1, cost, transform_filters, &f);
}

/* ---- threads */

struct job {
  const struct fg_winograd *plan;
  const float *u;
  const struct fg_winograd_operands *operands;
  float *rooms;
};

static void pieces(const void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const struct fg_winograd *p = j->plan;
  fg_winograd_item *item = p->lanes == 16 ? fg_winograd_item_16 : fg_winograd_item_8;
  int64_t items = p->chunks * p->slices;
  for (int64_t piece = begin; piece < end; piece++)
    for (int64_t i = items * piece / p->pieces; i < items * (piece + 1) / p->pieces; i++)
      item(p, j->u, j->operands, i, j->rooms + piece * room_floats(p));
}

void fg_winograd_run(const struct fg_winograd *plan, const float *u,
                     const struct fg_winograd_operands *operands, void *scratch) {
  const struct fg_winograd_shape *s = &plan->shape;
  struct job j = {plan, u, operands, scratch};
  double macs = (double)(s->samples * s->k * s->p * s->q) * (double)(s->c * s->r * s->r) / 2.5;
  fg_cpu_parallel(plan->pieces, 1, macs / 32 / plan->pieces, pieces, &j);
}
