/* Cutting and threads of products; what a tile of one does is in product_lanes.h. */
#include "product.h"

#include "unary.h"

enum {
  DEEP = 192, /* of k: a panel of b so deep stays in the first-level cache */
  FAR = 16,   /* multiply-adds of a vector, a number of a or b from afar costs as much as */
  SAMPLE = 8, /* rows of a chunk whose zeros are counted */
  BLOCK = 8,  /* rows that are finished while their sums are in the first-level cache */
};

/* Of three numbers one at least is to be zero for skipping zeros to pay. */
enum { ZEROS = 1, OF = 3 };

bool fg_product_runs(void) {
  return fg_cpu_block() == 16 || fg_cpu_block() == 8;
}

static const struct fg_product_way *way_of(const struct fg_product *p) {
  return p->lanes == 16 ? &fg_product_way_16 : &fg_product_way_8;
}

static int64_t columns_of_panel(const struct fg_product *p) {
  return (int64_t)p->lanes * p->panel;
}

static int64_t width_of(const struct fg_product *p, int64_t panel) {
  int64_t left = p->n_vecs - panel * p->panel;
  return (left < p->panel ? left : p->panel) * p->lanes;
}

/* What the busiest piece of so many times so many costs: its multiply-adds, and what it reads. */
static int64_t cost_of(const struct fg_product *p, int64_t row_pieces, int64_t column_pieces) {
  int64_t rows = fg_up(p->shape.rows, row_pieces);
  int64_t columns = fg_up(p->panels, column_pieces) * columns_of_panel(p);
  return rows * columns + FAR * (rows + columns);
}

/* Where k is summed up in several steps, sums of all panels wait between them; else one place serves each, or those
 * side by side. */
static int64_t sums_of_row(const struct fg_product *p) {
  int64_t once = p->lanes == 8 ? FG_PRODUCT_SKIP_PANELS : 1;
  int64_t panels = p->deep < p->k_vecs ? fg_up(p->panels, p->column_pieces) : once;
  return panels * columns_of_panel(p);
}

/* What the second-level cache is to keep of a row: its terms, and sums that wait. Those of vectors of 8 it need not
 * keep: they come by half as fast, a tile having half the numbers and as many terms. */
static int64_t near_bytes_of_row(const struct fg_product *p) {
  int64_t sums = p->lanes == 8 ? 0 : sums_of_row(p);
  return (p->deep * p->lanes + sums) * (int64_t)sizeof(float);
}

/* Rows of b from panel to panel. Panels side by side whose zeros are skipped are to fill the first-level cache evenly:
 * under AVX2 such a step (64 rows of 24 columns) is one and a half times 4 KiB, as far as a way of that cache goes,
 * and so panels lie 2 KiB from a multiple of it. */
static int64_t pitch_of(const struct fg_product *p) {
  const int64_t even = 128, half = 64; /* rows of 96 bytes: 12 KiB, and a half */
  int64_t rows = p->k_vecs * p->lanes;
  return p->lanes == 8 ? fg_up(rows - half, even) * even + half : rows;
}

void fg_product_cut(struct fg_product *plan, const struct fg_product_shape *shape, int threads) {
  struct fg_product p = {.shape = *shape, .lanes = fg_cpu_block(), .row_pieces = threads};
  p.group = way_of(&p)->group;
  p.panel = way_of(&p)->panel;
  p.k_vecs = fg_up(shape->k, p.lanes);
  p.n_vecs = fg_up(shape->n, p.lanes);
  p.panels = fg_up(p.n_vecs, p.panel);
  p.k_pitch = pitch_of(&p);
  p.column_pieces = 1;
  for (int64_t columns = 2; columns <= threads; columns++)
    if (threads % columns == 0 &&
        cost_of(&p, threads / columns, columns) < cost_of(&p, p.row_pieces, p.column_pieces)) {
      p.column_pieces = columns;
      p.row_pieces = threads / columns;
    }
  p.deep = fg_up(p.k_vecs, fg_up(p.k_vecs * p.lanes, DEEP));
  int64_t near = fg_cpu_second_level_bytes() / 2 / near_bytes_of_row(&p),
          rows = fg_up(shape->rows, p.row_pieces);
  p.chunk = near < p.group ? p.group : near < rows ? near / p.group * p.group : rows;
  *plan = p;
}

/* Steps in which zeros of a step of k are skipped. */
static int64_t skip_steps(const struct fg_product *p, int64_t deep) {
  return fg_up(deep * p->lanes, FG_PRODUCT_SKIP_TERMS);
}

/* Floats that hold a chunk's bits. */
static int64_t bits_floats(const struct fg_product *p) {
  const int64_t each = sizeof(uint64_t) / sizeof(float);
  return p->lanes == 8 ? fg_up(p->chunk, p->lanes) * p->lanes * skip_steps(p, p->deep) * each : 0;
}

/* Rows of a in order, the sums of as many, and bits. */
static int64_t room_floats(const struct fg_product *p) {
  return (p->chunk + p->group) * (p->deep * p->lanes + sums_of_row(p)) + bits_floats(p);
}

size_t fg_product_scratch_bytes(const struct fg_product *p) {
  return (size_t)(p->row_pieces * p->column_pieces * room_floats(p)) * sizeof(float);
}

/* ---- a chunk */

/* Rows [row, row + rows), vectors [k, k + deep) of them, panels [from, to). The rows fall into groups of
 * heights that differ by one at most. */
struct chunk {
  int64_t row, rows, groups, k, deep, from, to;
  bool skips; /* zeros */
};

static int64_t row_of(const struct chunk *c, int64_t group) {
  return c->rows * group / c->groups;
}

/* Rows [row, row + rows) of a chunk, zeros beyond their k. */
static void copy_group(const struct fg_product *p, const struct fg_product_operands *o,
                       const struct chunk *c, int64_t row, int64_t rows, float *to) {
  int64_t first = c->k * p->lanes, deep = c->deep * p->lanes;
  int64_t terms = p->shape.k - first < deep ? p->shape.k - first : deep;
  way_of(p)->copy(o->a + (c->row + row) * p->shape.k + first, rows, p->shape.k, terms, to);
}

static const float *at_or_null(const float *x, int64_t at) {
  return x ? x + at : NULL;
}

/* What a tile's end will write is asked for while the tile is summed up. */
static void fetch(const struct fg_product_end *end, int64_t rows, int64_t columns, int64_t step) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t column = 0; column < columns; column += step)
      __builtin_prefetch(end->to + r * end->row + column, 1);
}

/* Of a tile whose first number is this row's, in this column. */
static struct fg_product_end end_at(const struct fg_product *p, const struct fg_product_operands *o,
                                    int64_t row, int64_t column) {
  int64_t at = row * p->shape.n + column;
  return (struct fg_product_end){.alpha = o->alpha,
                                 .bias = at_or_null(o->bias, column),
                                 .add = at_or_null(o->add, at),
                                 .to = o->y + at,
                                 .row = p->shape.n,
                                 .relu = o->act->kind == FG_UNARY_relu};
}

static const float *panel_at(const struct fg_product *p, const float *panels, int64_t panel,
                             int64_t k) {
  return panels + panel * columns_of_panel(p) * p->k_pitch + k * p->lanes * width_of(p, panel);
}

/* While a group is copied and multiplied by the first panel, the next group's rows are fetched. */
static struct fg_product_ahead rows_ahead(const struct fg_product *p,
                                          const struct fg_product_operands *o,
                                          const struct chunk *c, int64_t group) {
  if (group + 1 == c->groups)
    return (struct fg_product_ahead){.at = o->a};
  int64_t row = row_of(c, group + 1), rows = row_of(c, group + 2) - row;
  return (struct fg_product_ahead){.at = o->a + (c->row + row) * p->shape.k + c->k * p->lanes,
                                   .apart = p->shape.k,
                                   .step = p->lanes,
                                   .lines = (int)rows};
}

/* What comes after a panel: so many cache lines, of which each vector of a group's k fetches a few. */
struct after {
  const float *at;
  int64_t lines, each;
};

static struct after after(const struct fg_product *p, const struct chunk *c, const float *panels,
                          int64_t panel) {
  bool same_k = panel + 1 < c->to;
  int64_t k = same_k ? c->k : c->k + c->deep, then = same_k ? panel + 1 : c->from;
  if (k == p->k_vecs)
    return (struct after){.at = panels};
  int64_t deep = p->k_vecs - k < c->deep ? p->k_vecs - k : c->deep;
  int64_t lines = deep * p->lanes * width_of(p, then) / FG_PRODUCT_LINE;
  return (struct after){.at = panel_at(p, panels, then, k),
                        .lines = lines,
                        .each = fg_up(fg_up(lines, c->groups), c->deep)};
}

/* With the other panels, a part of what comes after this one. */
static struct fg_product_ahead panel_ahead(const struct chunk *c, const struct after *after,
                                           int64_t group) {
  int64_t done = group * after->each * c->deep;
  if (done >= after->lines)
    return (struct fg_product_ahead){.at = after->at};
  return (struct fg_product_ahead){.at = after->at + done * FG_PRODUCT_LINE,
                                   .apart = FG_PRODUCT_LINE,
                                   .step = after->each * FG_PRODUCT_LINE,
                                   .lines = (int)after->each};
}

/* The chunk times one panel; the first of them has the rows copied to `a`. */
static void multiply(const struct fg_product *p, const struct fg_product_operands *o,
                     const struct chunk *c, const float *panels, int64_t panel, float *a,
                     float *sums) {
  const struct fg_product_way *way = way_of(p);
  int64_t lanes = p->lanes, column = panel * columns_of_panel(p), width = width_of(p, panel);
  int64_t columns = p->shape.n - column < width ? p->shape.n - column : width;
  bool goes_on = c->k > 0, ends = c->k + c->deep == p->k_vecs, waits = goes_on || !ends;
  bool first = panel == c->from, at_once = ends && way->ends && columns == width;
  const float *b = panel_at(p, panels, panel, c->k);
  struct after next = after(p, c, panels, panel);
  if (waits)
    sums += (panel - c->from) * columns_of_panel(p) * c->rows;
  for (int64_t g = 0, row = 0, rows; g < c->groups; g++, row += rows) {
    rows = row_of(c, g + 1) - row;
    struct fg_product_ahead ahead = first ? rows_ahead(p, o, c, g) : panel_ahead(c, &next, g);
    struct fg_product_end end = end_at(p, o, c->row + row, column);
    if (first)
      copy_group(p, o, c, row, rows, a);
    if (ends)
      fetch(&end, rows, columns_of_panel(p), lanes);
    way->tile[rows - 1][width / lanes - 1](a, b, c->deep, &ahead, goes_on, at_once ? &end : NULL,
                                           sums);
    if (ends && !at_once)
      way->end(&end, sums, rows, columns);
    if (waits)
      sums += rows * width;
    a += c->deep * p->group * lanes;
  }
}

/* Activations that a tile's end does not know: they go over rows, which the second-level cache has yet. */
static void activate(const struct fg_product *p, const struct fg_product_operands *o,
                     const struct chunk *c) {
  int64_t first = c->from * columns_of_panel(p), end = c->to * columns_of_panel(p);
  end = end < p->shape.n ? end : p->shape.n;
  for (int64_t r = c->row; r < c->row + c->rows; r++)
    fg_cpu_act(o->act, o->y + r * p->shape.n + first, end - first);
}

/* ---- a chunk whose zeros are skipped */

/* Where a chunk's things lie. */
struct room {
  float *a, *sums;
  uint64_t *bits;
};

static struct room room_at(const struct fg_product *p, float *at) {
  float *sums = at + (p->chunk + p->group) * p->deep * p->lanes;
  return (struct room){at, sums,
                       (uint64_t *)(void *)(sums + (p->chunk + p->group) * sums_of_row(p))};
}

/* Steps of a chunk's k: terms [first, first + terms) of which `there` are a's. */
struct terms {
  int64_t first, terms, there;
};

static struct terms terms_of(const struct fg_product *p, const struct chunk *c, int64_t step) {
  int64_t steps = skip_steps(p, c->deep);
  int64_t from = c->deep * step / steps * p->lanes, to = c->deep * (step + 1) / steps * p->lanes;
  int64_t left = p->shape.k - c->k * p->lanes;
  return (struct terms){from, to - from, (left < to ? left : to) - from};
}

/* Whether enough of some of the chunk's rows are zeros. */
static bool has_zeros(const struct fg_product *p, const struct fg_product_operands *o,
                      const struct chunk *c) {
  int64_t zeros = 0, seen = c->rows < SAMPLE ? c->rows : SAMPLE;
  for (int64_t i = 0; i < seen; i++) {
    const float *a = o->a + (c->row + c->rows * i / seen) * p->shape.k;
    for (int64_t k = 0; k < p->shape.k; k++)
      zeros += a[k] == 0;
  }
  return zeros * OF >= seen * p->shape.k * ZEROS;
}

/* Of panels from this one on, those that are skipped side by side: whole ones, two at least; else 0. */
static int64_t side_by_side(const struct fg_product *p, const struct chunk *c, int64_t panel) {
  int64_t whole = p->n_vecs / p->panel, left = (whole < c->to ? whole : c->to) - panel;
  return left < 2 ? 0 : left < FG_PRODUCT_SKIP_PANELS ? left : FG_PRODUCT_SKIP_PANELS;
}

static bool skips(const struct fg_product *p, const struct fg_product_operands *o,
                  const struct chunk *c) {
  return p->lanes == 8 && o->finite && side_by_side(p, c, c->from) > 0 && has_zeros(p, o, c);
}

/* A chunk's step times panels side by side, a block of rows at a time. */
static void skip(const struct fg_product *p, const struct fg_product_operands *o,
                 const struct chunk *c, struct fg_product_skip s, int64_t panel, int64_t wide,
                 bool ends) {
  int64_t column = panel * columns_of_panel(p), width = wide * columns_of_panel(p);
  int64_t columns = p->shape.n - column < width ? p->shape.n - column : width;
  for (int64_t row = 0; row < c->rows; row += s.rows) {
    struct fg_product_end end = end_at(p, o, c->row + row, column);
    s.rows = fg_least(c->rows - row, BLOCK);
    if (ends)
      fetch(&end, s.rows, columns, FG_PRODUCT_LINE);
    fg_product_skip(&s, wide);
    if (ends)
      way_of(p)->end(&end, s.sums, s.rows, columns);
    s.a += s.rows * s.pitch;
    s.bits += s.rows;
    s.ahead += s.rows * s.lines * FG_PRODUCT_LINE;
    s.sums += s.rows * width;
  }
}

static void skip_panels(const struct fg_product *p, const struct fg_product_operands *o,
                        const struct chunk *c, const float *panels, int64_t panel, int64_t wide,
                        const struct room *room, float *sums) {
  int64_t steps = skip_steps(p, c->deep);
  bool last = c->k + c->deep == p->k_vecs;
  for (int64_t step = 0; step < steps; step++) {
    struct terms t = terms_of(p, c, step);
    const float *b = panel_at(p, panels, panel, c->k);
    bool more = step + 1 < steps;
    const float *next = more ? b : panel_at(p, panels, panel + wide, c->k);
    struct fg_product_skip s = {
        .a = room->a + t.first * c->rows,
        .bits = room->bits + step * c->rows,
        .ahead = next + (more ? t.first + t.terms : 0) * columns_of_panel(p),
        .pitch = t.terms,
        .apart = columns_of_panel(p) * p->k_pitch,
        .lines = fg_up(fg_up(t.terms * columns_of_panel(p), FG_PRODUCT_LINE), c->rows),
        .go_on = c->k > 0 || step > 0,
        .sums = sums};
    for (int64_t i = 0; i < wide; i++)
      s.b[i] = b + t.first * columns_of_panel(p) + i * s.apart;
    skip(p, o, c, s, panel, wide, last && !more);
  }
}

/* A step of k; panels that are not skipped come last, as they do without zeros. */
static void skip_step(const struct fg_product *p, const struct fg_product_operands *o,
                      const struct chunk *c, const float *panels, const struct room *room) {
  for (int64_t step = 0; step < skip_steps(p, c->deep); step++) {
    struct terms t = terms_of(p, c, step);
    fg_product_skip_copy(o->a + c->row * p->shape.k + c->k * p->lanes + t.first, c->rows,
                         p->shape.k, t.there, room->a + t.first * c->rows, t.terms,
                         room->bits + step * c->rows);
  }
  bool waits = c->deep < p->k_vecs;
  float *sums = room->sums;
  struct chunk rest = *c;
  for (int64_t wide; (wide = side_by_side(p, c, rest.from)) > 0; rest.from += wide) {
    skip_panels(p, o, c, panels, rest.from, wide, room, sums);
    sums += waits ? wide * columns_of_panel(p) * c->rows : 0;
  }
  for (int64_t panel = rest.from; panel < rest.to; panel++)
    multiply(p, o, &rest, panels, panel, room->a, sums);
}

/* ---- all of k */

static void chunk(const struct fg_product *p, const struct fg_product_operands *o, struct chunk c,
                  const float *panels, const struct room *room) {
  for (c.k = 0; c.k < p->k_vecs; c.k += c.deep) {
    c.deep = p->k_vecs - c.k < p->deep ? p->k_vecs - c.k : p->deep;
    if (c.skips) {
      skip_step(p, o, &c, panels, room);
      continue;
    }
    for (int64_t panel = c.from; panel < c.to; panel++)
      multiply(p, o, &c, panels, panel, room->a, room->sums);
  }
  if (o->act->kind != FG_UNARY_relu)
    activate(p, o, &c);
}

/* ---- threads */

struct job {
  const struct fg_product *plan;
  const float *panels;
  const struct fg_product_operands *operands;
  float *rooms;
};

/* Rows [begin, end), panels [c.from, c.to). */
static void piece(const struct job *j, int64_t begin, int64_t end, struct chunk c, float *at) {
  const struct fg_product *p = j->plan;
  const struct room room = room_at(p, at);
  for (c.row = begin; c.row < end; c.row += c.rows) {
    c.rows = (end - c.row) / fg_up(end - c.row, p->chunk);
    c.groups = fg_up(c.rows, p->group);
    c.skips = skips(p, j->operands, &c);
    chunk(p, j->operands, c, j->panels, &room);
  }
}

static void pieces(const void *ctx, int64_t first, int64_t last) {
  const struct job *j = ctx;
  const struct fg_product *p = j->plan;
  int64_t rows = p->shape.rows;
  for (int64_t i = first; i < last; i++) {
    int64_t r = i % p->row_pieces, c = i / p->row_pieces;
    struct chunk columns = {.from = p->panels * c / p->column_pieces,
                            .to = p->panels * (c + 1) / p->column_pieces};
    piece(j, rows * r / p->row_pieces, rows * (r + 1) / p->row_pieces, columns,
          j->rooms + i * room_floats(p));
  }
}

void fg_product_run(const struct fg_product *plan, const float *panels,
                    const struct fg_product_operands *operands, void *scratch) {
  const struct fg_product_shape *s = &plan->shape;
  struct job j = {plan, panels, operands, scratch};
  int64_t n = plan->row_pieces * plan->column_pieces;
  double macs = (double)s->rows * (double)s->n * (double)s->k;
  fg_cpu_parallel(n, 1, macs / 32 / (double)n, pieces, &j);
}
