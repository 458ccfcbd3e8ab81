/* How a convolution is cut for split.h: taps of planes along each axis, and chunks of samples and rows. */
#include "split.h"
#include "split_tile.h"

/* ---- an axis */

/* b > 0; rounded down. */
static int64_t floor_div(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* Results follow each other; tap t of result o is place o * stride - pad + t * dilation of x. */
static void forward(const struct fg_split_shape *s, int i, struct fg_split_axis *axis) {
  int stride = s->stride[i];
  struct fg_split_pass *pass = &axis->pass[0];
  *axis = (struct fg_split_axis){.planes = stride, .passes = 1, .step = 1};
  for (int m = 0; m < stride; m++)
    axis->length[m] = fg_most(fg_up(s->from[i] - m, stride), 0);
  *pass = (struct fg_split_pass){.n = s->to[i], .taps = s->window[i]};
  for (int t = 0; t < s->window[i]; t++) {
    int64_t far = (int64_t)t * s->dilation[i] - s->pad[i], at = floor_div(far, stride);
    pass->tap[t] = (struct fg_split_tap){t, (int)(far - at * stride), at};
  }
}

/* Of the results with one residue, u * stride + residue - pad, tap t is place u - (t * dilation - residue) / stride of
 * dy, where that divides. */
static void backward(const struct fg_split_shape *s, int i, struct fg_split_axis *axis) {
  int stride = s->stride[i];
  *axis = (struct fg_split_axis){.planes = 1, .passes = stride, .step = stride};
  axis->length[0] = s->from[i];
  for (int residue = 0; residue < stride; residue++) {
    struct fg_split_pass *pass = &axis->pass[residue];
    int64_t u = -floor_div(residue - s->pad[i], stride);
    *pass = (struct fg_split_pass){.first = u * stride + residue - s->pad[i]};
    pass->n = fg_most(fg_up(s->to[i] - pass->first, stride), 0);
    for (int t = 0; t < s->window[i]; t++)
      if (t * s->dilation[i] % stride == residue)
        pass->tap[pass->taps++] =
            (struct fg_split_tap){t, 0, u - (t * s->dilation[i] - residue) / stride};
  }
}

static void measure(struct fg_split_axis *axis) {
  bool any = false;
  for (int p = 0; p < axis->passes; p++) {
    const struct fg_split_pass *pass = &axis->pass[p];
    axis->most = fg_most(axis->most, pass->n);
    for (int t = 0; t < pass->taps; t++, any = true) {
      axis->low = any ? fg_least(axis->low, pass->tap[t].at) : pass->tap[t].at;
      axis->high = any ? fg_most(axis->high, pass->tap[t].at) : pass->tap[t].at;
    }
  }
}

/* ---- chunks */

int64_t fg_split_places_of(const struct fg_split *p) {
  const struct fg_split_axis *y = &p->axis[0];
  return ((p->rows + y->high - y->low) * p->pitch + p->lead) * p->together + FG_SPLIT_HALF;
}

/* Sixteen places from the first result on that no half holds yet: `count` of them, for so many rows of results. */
static int64_t halves(const struct fg_split *p, int64_t rows, int64_t n) {
  int64_t count = 0, end = -1;
  for (int64_t row = 0; row < rows; row++) {
    int64_t first = fg_most(row * p->pitch * p->together, end);
    int64_t left = (row * p->pitch + n) * p->together - first;
    if (left > 0) {
      count += fg_up(left, FG_SPLIT_HALF);
      end = first + fg_up(left, FG_SPLIT_HALF) * FG_SPLIT_HALF;
    }
  }
  return count;
}

/* Cycles, about: of a half's twelve products with a block and a panel, of what becomes of its sums, of the parts of
 * a place's block, of a chunk's begin and end; and of a number of a panel that lies beyond the second-level cache, which is
 * fetched while others are multiplied. */
#define HALF_CYCLES 220.
#define END_CYCLES 130.
#define PLACE_CYCLES 12.
#define CHUNK_CYCLES 4000.
#define FAR_CYCLES 0.7

static double cycles(const struct fg_split *p, int threads) {
  const struct fg_split_axis *y = &p->axis[0], *x = &p->axis[1];
  double parts = (double)(fg_split_places_of(p) * p->blocks * y->planes * x->planes), work = 0;
  double share = (double)fg_up(p->panels, p->column_pieces);
  for (int a = 0; a < y->passes; a++)
    for (int b = 0; b < x->passes; b++) {
      int64_t rows = fg_least(p->rows, y->pass[a].n);
      double taps = y->pass[a].taps * x->pass[b].taps;
      work += (double)halves(p, rows, x->pass[b].n) *
              (taps * (double)p->blocks * HALF_CYCLES + END_CYCLES);
    }
  double far = share * (double)(p->blocks * p->shape.window[0] * p->shape.window[1]) *
               FG_SPLIT_BLOCK * FAR_CYCLES;
  double rounds = (double)(p->column_pieces > 1 ? p->chunks : fg_up(p->chunks, threads));
  return rounds * (CHUNK_CYCLES + parts * PLACE_CYCLES + (work * share > far ? work * share : far));
}

static void with(const struct fg_split *p, int64_t together, int64_t rows, int threads,
                 bool columns, struct fg_split *out) {
  *out = *p;
  out->together = together;
  out->rows = rows;
  out->chunks = fg_up(p->shape.samples, together) * fg_up(p->axis[0].most, rows);
  out->row_pieces = columns ? 1 : fg_least(threads, out->chunks);
  out->column_pieces = columns ? fg_least(threads, p->panels) : 1;
}

/* The cheapest of the chunks whose parts take half of the second-level cache at most: samples together while whole
 * images do, or else rows of one; shared out by chunks, or by columns. */
static void choose(struct fg_split *p, int threads) {
  const struct fg_split_axis *y = &p->axis[0], *x = &p->axis[1];
  int64_t place = p->blocks * y->planes * x->planes * FG_SPLIT_PLACE * (int64_t)sizeof(uint16_t);
  int64_t room = fg_cpu_second_level_bytes() / 2 / place, span = y->high - y->low;
  int64_t together = fg_most(fg_least(room / ((y->most + span) * p->pitch), p->shape.samples), 1);
  int64_t rows = fg_least(fg_most(room / p->pitch - span, 1), fg_most(y->most, 1));
  struct fg_split best, other;
  with(p, 1, rows, threads, false, &best);
  for (int columns = 0; columns < 2; columns++) {
    for (int64_t n = 1; n <= together; n = n < FG_SPLIT_HALF ? n + 1 : n + FG_SPLIT_HALF / 2) {
      with(p, n, fg_most(y->most, 1), threads, columns, &other);
      if (rows == fg_most(y->most, 1) && cycles(&other, threads) < cycles(&best, threads))
        best = other;
    }
    for (int64_t n = rows; n > 0; n = n / 2) {
      with(p, 1, n, threads, columns, &other);
      if (cycles(&other, threads) < cycles(&best, threads))
        best = other;
    }
  }
  *p = best;
}

void fg_split_cut(struct fg_split *plan, const struct fg_split_shape *shape, int threads) {
  struct fg_split p = {.shape = *shape,
                       .blocks = fg_up(shape->c, FG_SPLIT_TERMS),
                       .panels = fg_up(shape->k, FG_SPLIT_COLUMNS)};
  for (int i = 0; i < 2; i++) {
    (shape->turned ? backward : forward)(shape, i, &p.axis[i]);
    measure(&p.axis[i]);
  }
  const struct fg_split_axis *x = &p.axis[1];
  int64_t length = 0;
  for (int m = 0; m < x->planes; m++)
    length = fg_most(length, x->length[m]);
  p.lead = fg_most(-x->low, 0);
  p.pitch = fg_most(fg_most(length + p.lead, x->most + fg_most(x->high, 0)), 1);
  choose(&p, threads);
  *plan = p;
}

struct fg_split_shape fg_split_product(int64_t rows, int64_t k, int64_t n) {
  const struct fg_split_lie x = {k, FG_SPLIT_HALF, k, 1}, y = {n, FG_SPLIT_HALF, n, 1};
  return (struct fg_split_shape){.samples = rows,
                                 .c = k,
                                 .k = n,
                                 .from = {1, 1},
                                 .to = {1, 1},
                                 .window = {1, 1},
                                 .stride = {1, 1},
                                 .dilation = {1, 1},
                                 .x = x,
                                 .y = y};
}
