/* Weights, threads and the order of numbers; see split.h. What is done in the processor's own words is in
 * split_tile.c, and how a shape is cut in split_cut.c. */
#include "split.h"

#include <string.h>

#include "dnnl_shim.h"
#include "kept.h"
#include "split_tile.h"
#include "unary.h"

enum { MOST_TAPS = FG_SPLIT_WINDOW * FG_SPLIT_WINDOW, LINE = 64 };

bool fg_split_runs(void) {
  unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), tiles = dnnl_cpu_isa_avx512_core_amx;
  return (isa & tiles) == tiles && fg_split_may();
}

/* ---- weights */

static int window(const struct fg_split *p) {
  return p->shape.window[0] * p->shape.window[1];
}

/* Parts of a panel: [block][tap]. */
static int64_t panel_parts(const struct fg_split *p) {
  return p->blocks * window(p) * FG_SPLIT_BLOCK;
}

struct making {
  const struct fg_split *plan;
  const struct fg_split_weights *weights;
  uint16_t *parts;
};

static void make_panels(const void *ctx, int64_t begin, int64_t end) {
  const struct making *m = ctx;
  const struct fg_split *p = m->plan;
  const struct fg_split_weights *w = m->weights;
  float block[FG_SPLIT_TERMS * FG_SPLIT_COLUMNS];
  uint16_t *to = m->parts + begin * panel_parts(p);
  for (int64_t panel = begin; panel < end; panel++)
    for (int64_t at = 0; at < p->blocks; at++)
      for (int tap = 0; tap < window(p); tap++, to += FG_SPLIT_BLOCK) {
        int64_t j = panel * FG_SPLIT_COLUMNS, i = at * FG_SPLIT_TERMS;
        int64_t columns = fg_least(p->shape.k - j, FG_SPLIT_COLUMNS);
        int64_t terms = fg_least(p->shape.c - i, FG_SPLIT_TERMS);
        memset(block, 0, sizeof block);
        for (int64_t t = 0; t < terms; t++)
          for (int64_t c = 0; c < columns; c++)
            block[t * FG_SPLIT_COLUMNS + c] = w->at[(i + t) * w->term + (j + c) * w->column + tap];
        fg_split_block(block, to);
      }
}

/* Kept under a shape that no other order of a constant has. */
fgsm_status fg_split_take(const struct fg_split *p, const struct fg_split_weights *weights,
                          void **parts, size_t *kept_bytes) {
  int64_t floats = panel_parts(p) * (int64_t)sizeof(uint16_t) / (int64_t)sizeof(float);
  const int64_t by_columns[] = {p->panels, 1, 1, floats, 1},
                by_terms[] = {p->panels, 1, floats, 1, 1};
  fg_dnnl_md like = NULL;
  bool fresh;
  FG_TRY(fg_dnnl_md_create(5, weights->column < weights->term ? by_columns : by_terms, dnnl_abcde,
                           &like));
  fgsm_status status = fg_cpu_kept_take(weights->at, like, parts, &fresh);
  fg_dnnl_md_destroy(like);
  if (status != FGSM_OK)
    return status;
  *kept_bytes = fresh ? (size_t)(p->panels * floats) * sizeof(float) : 0;
  const struct making m = {p, weights, *parts};
  if (fresh)
    fg_cpu_parallel(p->panels, 1, (double)panel_parts(p), make_panels, &m);
  return FGSM_OK;
}

/* ---- a chunk's room */

/* Places that are summed up at a time: where their rows begin, how many there are, and the taps that lie in x. */
struct group {
  int64_t first[2];
  int rows, taps;
  uint8_t tap[MOST_TAPS];
};

/* Sums of a group, where a pass's rows lie in y, its groups, and the planes. */
struct room {
  float *sums;
  int64_t *at;
  struct group *groups;
  uint16_t *planes;
};

static int64_t lines(int64_t bytes) {
  return fg_up(bytes, LINE) * LINE;
}

static int64_t most_groups(const struct fg_split *p) {
  return fg_up(p->rows * fg_up(p->axis[1].most * p->together, FG_SPLIT_HALF), 2);
}

/* Numbers of a plane, of a block of planes. */
static int64_t plane_of(const struct fg_split *p) {
  return fg_split_places_of(p) * FG_SPLIT_PLACE;
}

static int64_t block_of(const struct fg_split *p) {
  return plane_of(p) * p->axis[0].planes * p->axis[1].planes;
}

static size_t lay(const struct fg_split *p, char *from, struct room *r) {
  int64_t groups = most_groups(p), at = lines(FG_SPLIT_SUMS * (int64_t)sizeof(float));
  int64_t listed = at + lines(groups * FG_SPLIT_ROWS * (int64_t)sizeof(int64_t));
  int64_t planes = listed + lines(groups * (int64_t)sizeof(struct group));
  if (r)
    *r = (struct room){(float *)from, (int64_t *)(from + at), (struct group *)(from + listed),
                       (uint16_t *)(from + planes)};
  return (size_t)(planes + lines(p->blocks * block_of(p) * (int64_t)sizeof(uint16_t)));
}

size_t fg_split_scratch_bytes(const struct fg_split *p) {
  return (size_t)(p->row_pieces * p->column_pieces) * lay(p, NULL, NULL);
}

/* ---- planes of parts */

struct job {
  const struct fg_split *plan;
  const uint16_t *panels;
  const struct fg_split_operands *operands;
  char *rooms;
};

/* Samples and rows of results, and panels [from, to). */
struct chunk {
  int64_t sample, samples, row, rows, from, to;
};

static void zero(uint16_t *to, int64_t places) {
  memset(to, 0, (size_t)(places * FG_SPLIT_PLACE) * sizeof *to);
}

/* A row of x, one sample after the other at each place; along whichever is longer. */
static void fill_row(const struct chunk *c, const struct fg_split_lie *lie, int64_t step,
                     int64_t length, struct fg_split_source from, uint16_t *to) {
  bool places = length > c->samples;
  int64_t n = places ? c->samples : length, along = places ? lie->sample : step;
  int64_t far = c->samples * FG_SPLIT_PLACE, to_step = places ? FG_SPLIT_PLACE : far;
  from.place = places ? step : lie->sample;
  for (int64_t i = 0; i < n; i++, from.at += along, to += to_step)
    fg_split_places(&from, places ? length : c->samples, to, places ? far : FG_SPLIT_PLACE);
}

/* Plane m of a block of channels. */
static void fill_plane(const struct job *j, const struct chunk *c, int64_t block, const int m[2],
                       uint16_t *to) {
  const struct fg_split *p = j->plan;
  const struct fg_split_shape *s = &p->shape;
  const struct fg_split_axis *y = &p->axis[0], *x = &p->axis[1];
  int64_t length = x->length[m[1]], row = p->pitch * c->samples;
  zero(to, p->lead * c->samples);
  to += p->lead * c->samples * FG_SPLIT_PLACE;
  for (int64_t i = 0; i < c->rows + y->high - y->low; i++, to += row * FG_SPLIT_PLACE) {
    int64_t at = c->row + y->low + i;
    bool there = at >= 0 && at < y->length[m[0]];
    int64_t filled = there ? length * c->samples : 0;
    zero(to + filled * FG_SPLIT_PLACE, row - filled);
    if (!there)
      continue;
    int64_t place = (at * y->planes + m[0]) * s->from[1] + m[1];
    struct fg_split_source from = {.at = j->operands->x + c->sample * s->x.sample +
                                         block * 2 * s->x.block + place * s->x.place,
                                   .block = s->x.block,
                                   .channel = s->x.channel,
                                   .terms = s->c - block * FG_SPLIT_TERMS};
    fill_row(c, &s->x, x->planes * s->x.place, length, from, to);
  }
}

static void fill(const struct job *j, const struct chunk *c, uint16_t *to) {
  const struct fg_split *p = j->plan;
  int m[2];
  for (int64_t block = 0; block < p->blocks; block++)
    for (m[0] = 0; m[0] < p->axis[0].planes; m[0]++)
      for (m[1] = 0; m[1] < p->axis[1].planes; m[1]++, to += plane_of(p))
        fill_plane(j, c, block, m, to);
}

/* ---- a pass */

/* The taps of a pass, and how far each lies from a place's row and from a block's first tap. */
struct pass {
  const struct fg_split_pass *y, *x;
  int64_t a[MOST_TAPS], b[MOST_TAPS];
};

static void pass_of(const struct fg_split *p, const struct chunk *c, int iy, int ix,
                    struct pass *pass) {
  const struct fg_split_axis *y = &p->axis[0], *x = &p->axis[1];
  *pass = (struct pass){.y = &y->pass[iy], .x = &x->pass[ix]};
  for (int i = 0; i < pass->y->taps; i++)
    for (int k = 0; k < pass->x->taps; k++) {
      const struct fg_split_tap *a = &pass->y->tap[i], *b = &pass->x->tap[k];
      int64_t plane = (int64_t)a->plane * x->planes + b->plane;
      int64_t places = ((a->at - y->low) * p->pitch + b->at) * c->samples;
      pass->a[i * pass->x->taps + k] = plane * plane_of(p) + places * FG_SPLIT_PLACE;
      pass->b[i * pass->x->taps + k] =
          ((int64_t)a->tap * p->shape.window[1] + b->tap) * FG_SPLIT_BLOCK;
    }
}

/* From the least to the largest row and column of a group's results. */
struct reach {
  int64_t y[2], x[2];
};

/* Whether a tap of one of them lies in x. */
static bool reaches(const struct fg_split_axis *axis, const struct fg_split_tap *t,
                    const int64_t results[2]) {
  return results[1] + t->at >= 0 && results[0] + t->at < axis->length[t->plane];
}

static void choose_taps(const struct fg_split *p, const struct pass *pass, const struct reach *r,
                        struct group *g) {
  g->taps = 0;
  for (int i = 0; i < pass->y->taps; i++)
    for (int k = 0; k < pass->x->taps; k++)
      if (reaches(&p->axis[0], &pass->y->tap[i], r->y) &&
          reaches(&p->axis[1], &pass->x->tap[k], r->x))
        g->tap[g->taps++] = (uint8_t)(i * pass->x->taps + k);
}

/* A list of groups in the making: halves so far, and the first place behind the last of them. */
struct listing {
  struct room *room;
  int64_t halves, end;
  struct reach reach;
};

/* The group that the last half belongs to has all its results. */
static void close_group(const struct fg_split *p, const struct pass *pass, struct listing *l) {
  if (l->halves)
    choose_taps(p, pass, &l->reach, &l->room->groups[(l->halves - 1) / 2]);
}

/* The next half, from a place on. */
static void open_half(struct listing *l, int64_t place, int64_t row, int64_t column) {
  struct group *g = &l->room->groups[l->halves / 2];
  int64_t *at = l->room->at + l->halves * FG_SPLIT_HALF;
  for (int i = 0; i < FG_SPLIT_HALF; i++)
    at[i] = -1;
  if (l->halves % 2 == 0)
    l->reach = (struct reach){{row, row}, {column, column}};
  g->first[l->halves % 2] = place * FG_SPLIT_PLACE;
  g->rows = (int)(l->halves % 2 + 1) * FG_SPLIT_HALF;
  l->halves++;
  l->end = place + FG_SPLIT_HALF;
}

/* Groups of a pass's results, in halves of sixteen places from the first result on that no other holds. */
static int64_t list_groups(const struct fg_split *p, const struct chunk *c, const struct pass *pass,
                           struct room *room) {
  const struct fg_split_shape *s = &p->shape;
  struct listing l = {.room = room};
  for (int64_t row = 0; row < c->rows && c->row + row < pass->y->n; row++)
    for (int64_t column = 0; column < pass->x->n; column++) {
      int64_t place = (row * p->pitch + p->lead + column) * c->samples;
      int64_t y = pass->y->first + (c->row + row) * p->axis[0].step;
      int64_t x = pass->x->first + column * p->axis[1].step;
      int64_t at = c->sample * s->y.sample + (y * s->to[1] + x) * s->y.place;
      for (int64_t n = 0; n < c->samples; n++, place++, at += s->y.sample) {
        if (l.halves == 0 || place >= l.end) {
          if (l.halves % 2 == 0)
            close_group(p, pass, &l);
          open_half(&l, place, c->row + row, column);
        }
        room->at[l.halves * FG_SPLIT_HALF - (l.end - place)] = at;
        l.reach.y[1] = c->row + row;
        l.reach.x[0] = fg_least(l.reach.x[0], column);
        l.reach.x[1] = column > l.reach.x[1] ? column : l.reach.x[1];
      }
    }
  close_group(p, pass, &l);
  return fg_up(l.halves, 2);
}

static const float *at_or_null(const float *x, int64_t at) {
  return x ? x + at : NULL;
}

static int64_t columns_of(const struct fg_split *p, int64_t panel) {
  return fg_least(p->shape.k - panel * FG_SPLIT_COLUMNS, FG_SPLIT_COLUMNS);
}

static void finish(const struct job *j, const int64_t *at, int64_t rows, int64_t panel,
                   const float *sums) {
  const struct fg_split_shape *s = &j->plan->shape;
  const struct fg_split_operands *o = j->operands;
  int64_t first = panel * 2 * s->y.block;
  struct fg_split_end end = {.alpha = o->alpha,
                             .bias = at_or_null(o->bias, panel * FG_SPLIT_COLUMNS),
                             .add = at_or_null(o->add, first),
                             .mask = at_or_null(o->mask, first),
                             .to = o->y + first,
                             .at = at,
                             .block = s->y.block,
                             .channel = s->y.channel,
                             .relu = o->act->kind == FG_UNARY_relu};
  fg_split_finish(&end, sums, rows, columns_of(j->plan, panel));
}

static void run_pass(const struct job *j, const struct chunk *c, int iy, int ix,
                     struct room *room) {
  const struct fg_split *p = j->plan;
  struct pass pass;
  pass_of(p, c, iy, ix, &pass);
  int64_t groups = list_groups(p, c, &pass, room);
  if (groups == 0)
    return;
  struct fg_split_walk walk = {.blocks = p->blocks,
                               .a_block = block_of(p),
                               .b_block = (int64_t)window(p) * FG_SPLIT_BLOCK,
                               .a_tap = pass.a,
                               .b_tap = pass.b};
  for (int64_t panel = c->from; panel < c->to; panel++) {
    const uint16_t *next = j->panels + (panel + 1 < c->to ? panel + 1 : c->from) * panel_parts(p);
    int64_t bytes = panel_parts(p) * (int64_t)sizeof *next,
            share = fg_up(fg_up(bytes, groups), LINE);
    for (int64_t i = 0; i < groups; i++) {
      const struct group *g = &room->groups[i];
      const uint16_t *a[2] = {room->planes + g->first[0],
                              g->rows > FG_SPLIT_HALF ? room->planes + g->first[1] : NULL};
      walk.tap = g->tap;
      walk.taps = g->taps;
      walk.ahead = (const char *)next + i * share * LINE;
      walk.lines = g->taps ? (int)fg_up(share, p->blocks * g->taps) : 0;
      fg_split_sum(&walk, a, j->panels + panel * panel_parts(p), columns_of(p, panel), room->sums,
                   FG_SPLIT_COLUMNS);
      finish(j, room->at + i * FG_SPLIT_ROWS, g->rows, panel, room->sums);
    }
  }
}

/* ---- running */

/* Activations that finish does not know, of a product's rows. */
static void activate(const struct job *j, const struct chunk *c) {
  const struct fg_split_operands *o = j->operands;
  int64_t n = j->plan->shape.k, first = c->from * FG_SPLIT_COLUMNS;
  for (int64_t r = c->sample; r < c->sample + c->samples; r++)
    fg_cpu_act(o->act, o->y + r * n + first, fg_least(c->to * FG_SPLIT_COLUMNS, n) - first);
}

static void run_chunk(const struct job *j, const struct chunk *c, char *memory) {
  const struct fg_split *p = j->plan;
  struct room room;
  lay(p, memory, &room);
  fill(j, c, room.planes);
  for (int y = 0; y < p->axis[0].passes; y++)
    for (int x = 0; x < p->axis[1].passes; x++)
      run_pass(j, c, y, x, &room);
  if (j->operands->act->kind != FG_UNARY_relu && j->operands->act->kind != FG_UNARY_identity)
    activate(j, c);
}

static void pieces(const void *ctx, int64_t first, int64_t last) {
  const struct job *j = ctx;
  const struct fg_split *p = j->plan;
  int64_t strips = fg_up(p->axis[0].most, p->rows);
  fg_split_begin();
  for (int64_t i = first; i < last; i++) {
    int64_t r = i % p->row_pieces, k = i / p->row_pieces;
    for (int64_t n = p->chunks * r / p->row_pieces; n < p->chunks * (r + 1) / p->row_pieces; n++) {
      struct chunk c = {.sample = n / strips * p->together,
                        .row = n % strips * p->rows,
                        .from = p->panels * k / p->column_pieces,
                        .to = p->panels * (k + 1) / p->column_pieces};
      c.samples = fg_least(p->together, p->shape.samples - c.sample);
      c.rows = fg_least(p->rows, p->axis[0].most - c.row);
      run_chunk(j, &c, j->rooms + (size_t)i * lay(p, NULL, NULL));
    }
  }
  fg_split_end();
}

void fg_split_run(const struct fg_split *p, const void *parts,
                  const struct fg_split_operands *operands, void *scratch) {
  const struct fg_split_shape *s = &p->shape;
  struct job j = {p, parts, operands, scratch};
  int64_t n = p->row_pieces * p->column_pieces;
  double places =
      (double)(s->samples * (s->turned ? s->from[0] * s->from[1] : s->to[0] * s->to[1]));
  double macs = places * (double)(s->c * s->k * window(p));
  fg_cpu_parallel(n, 1, macs / 64 / (double)n, pieces, &j);
}
