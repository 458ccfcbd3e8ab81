/* Cutting, threads and the order of numbers; see split.h. */
#include "split.h"

#include <string.h>

#include "dnnl_shim.h"
#include "kept.h"
#include "split_tile.h"
#include "unary.h"

static int64_t up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

bool fg_split_runs(void) {
  unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), tiles = dnnl_cpu_isa_avx512_core_amx;
  return (isa & tiles) == tiles && fg_split_may();
}

/* Parts of a group's rows, or of a panel. */
static int64_t parts_of(const struct fg_split *p) {
  return p->blocks * FG_SPLIT_BLOCK;
}

void fg_split_cut(struct fg_split *plan, const struct fg_product_shape *shape, int64_t area,
                  int threads) {
  struct fg_split p = {.shape = *shape,
                       .area = area,
                       .blocks = up(shape->k, FG_SPLIT_TERMS),
                       .panels = up(shape->n, FG_SPLIT_COLUMNS),
                       .row_pieces = 1,
                       .column_pieces = 1};
  int64_t groups = up(shape->rows, FG_SPLIT_ROWS);
  /* Columns, where rows are few: each number of b then goes to one thread. */
  if (groups >= 4 * threads)
    p.row_pieces = threads;
  else
    p.column_pieces = least(threads, p.panels);
  int64_t near = fg_cpu_second_level_bytes() / 4 / (parts_of(&p) * (int64_t)sizeof(uint16_t));
  p.chunk = least(near < 1 ? 1 : near, up(groups, p.row_pieces));
  *plan = p;
}

/* Sums of a group, where a chunk's rows lie in y, and their parts. */
static size_t room_bytes(const struct fg_split *p) {
  return FG_SPLIT_SUMS * sizeof(float) +
         (size_t)p->chunk *
             (FG_SPLIT_ROWS * sizeof(int64_t) + (size_t)parts_of(p) * sizeof(uint16_t));
}

size_t fg_split_scratch_bytes(const struct fg_split *p) {
  return (size_t)(p->row_pieces * p->column_pieces) * room_bytes(p);
}

/* ---- weights */

struct weights {
  const struct fg_split *plan;
  const float *b;
  int64_t ldb;
  bool turned;
  uint16_t *parts;
};

static void split_panels(const void *ctx, int64_t begin, int64_t end) {
  const struct weights *w = ctx;
  const struct fg_split *p = w->plan;
  float block[FG_SPLIT_TERMS * FG_SPLIT_COLUMNS];
  for (int64_t panel = begin; panel < end; panel++)
    for (int64_t at = 0; at < p->blocks; at++) {
      int64_t j = panel * FG_SPLIT_COLUMNS, i = at * FG_SPLIT_TERMS;
      int64_t columns = least(p->shape.n - j, FG_SPLIT_COLUMNS);
      int64_t terms = least(p->shape.k - i, FG_SPLIT_TERMS);
      memset(block, 0, sizeof block);
      for (int64_t t = 0; t < terms; t++)
        for (int64_t c = 0; c < columns; c++)
          block[t * FG_SPLIT_COLUMNS + c] =
              w->turned ? w->b[(j + c) * w->ldb + i + t] : w->b[(i + t) * w->ldb + j + c];
      fg_split_block(block, w->parts + panel * parts_of(p) + at * FG_SPLIT_BLOCK);
    }
}

/* Kept under a shape that no other order of a constant has. */
fgsm_status fg_split_take(const struct fg_split *p, const float *b, int64_t ldb, bool turned,
                          void **parts, size_t *kept_bytes) {
  int64_t floats = parts_of(p) * (int64_t)sizeof(uint16_t) / (int64_t)sizeof(float);
  const int64_t like_b[] = {p->panels, 1, 1, floats, 1},
                like_turned[] = {p->panels, 1, floats, 1, 1};
  fg_dnnl_md like = NULL;
  bool fresh;
  FG_TRY(fg_dnnl_md_create(5, turned ? like_turned : like_b, dnnl_abcde, &like));
  fgsm_status status = fg_cpu_kept_take(b, like, parts, &fresh);
  fg_dnnl_md_destroy(like);
  if (status != FGSM_OK)
    return status;
  *kept_bytes = fresh ? (size_t)(p->panels * floats) * sizeof(float) : 0;
  struct weights w = {p, b, ldb, turned, *parts};
  if (fresh)
    fg_cpu_parallel(p->panels, 1, (double)(p->blocks * FG_SPLIT_BLOCK), split_panels, &w);
  return FGSM_OK;
}

/* ---- running */

struct job {
  const struct fg_split *plan;
  const uint16_t *panels;
  const struct fg_product_operands *operands;
  const float *mask;
  char *rooms;
};

/* Rows [row, end), panels [from, to). */
struct piece {
  int64_t row, end, from, to;
};

enum { HALF = FG_SPLIT_COLUMNS / 2 };

/* Where a row begins, of so many channels. */
static int64_t place(const struct fg_split *p, int64_t row, int64_t channels) {
  return p->area ? row / p->area * channels * p->area + row % p->area * HALF : row * channels;
}

/* From 16 channels of a row to the next. */
static int64_t step_of(const struct fg_split *p) {
  return p->area ? p->area * HALF : HALF;
}

/* Parts of the rows from `row` on, and where they lie in y. */
static void split_rows(const struct job *j, int64_t row, int64_t rows, int64_t *at,
                       uint16_t *parts) {
  const struct fg_split *p = j->plan;
  const float *from[FG_SPLIT_ROWS];
  for (int64_t r = 0; r < rows; r++) {
    from[r] = j->operands->a + place(p, row + r, p->shape.k);
    at[r] = place(p, row + r, p->shape.n);
  }
  fg_split_rows(from, rows, p->shape.k, step_of(p), parts);
}

static const float *at_or_null(const float *x, int64_t at) {
  return x ? x + at : NULL;
}

static void finish(const struct job *j, const int64_t *at, int64_t rows, int64_t panel,
                   const float *sums) {
  const struct fg_product_operands *o = j->operands;
  int64_t column = panel * FG_SPLIT_COLUMNS, first = panel * 2 * step_of(j->plan);
  struct fg_split_end end = {.alpha = o->alpha,
                             .bias = at_or_null(o->bias, column),
                             .add = at_or_null(o->add, first),
                             .mask = at_or_null(j->mask, first),
                             .to = o->y + first,
                             .at = at,
                             .step = step_of(j->plan),
                             .relu = o->act->kind == FG_UNARY_relu};
  fg_split_finish(&end, sums, rows, least(j->plan->shape.n - column, FG_SPLIT_COLUMNS));
}

/* Activations that finish does not know, of rows that lie one after another. */
static void activate(const struct job *j, const struct piece *c) {
  const struct fg_product_operands *o = j->operands;
  int64_t n = j->plan->shape.n, first = c->from * FG_SPLIT_COLUMNS;
  for (int64_t r = c->row; r < c->end; r++)
    fg_cpu_act(o->act, o->y + r * n + first, least(c->to * FG_SPLIT_COLUMNS, n) - first);
}

/* A chunk's rows, whose parts are made first. */
static void chunk(const struct job *j, struct piece c, float *sums) {
  const struct fg_split *p = j->plan;
  int64_t *at = (int64_t *)(sums + FG_SPLIT_SUMS);
  uint16_t *parts = (uint16_t *)(at + p->chunk * FG_SPLIT_ROWS);
  int64_t groups = up(c.end - c.row, FG_SPLIT_ROWS);
  for (int64_t g = 0; g < groups; g++) {
    int64_t row = c.row + g * FG_SPLIT_ROWS;
    split_rows(j, row, least(c.end - row, FG_SPLIT_ROWS), at + g * FG_SPLIT_ROWS,
               parts + g * parts_of(p));
  }
  for (int64_t panel = c.from; panel < c.to; panel++)
    for (int64_t g = 0; g < groups; g++) {
      int64_t rows = least(c.end - c.row - g * FG_SPLIT_ROWS, FG_SPLIT_ROWS);
      fg_split_tile(parts + g * parts_of(p), j->panels + panel * parts_of(p), p->blocks, rows,
                    sums);
      finish(j, at + g * FG_SPLIT_ROWS, rows, panel, sums);
    }
  if (j->operands->act->kind != FG_UNARY_relu && j->operands->act->kind != FG_UNARY_identity)
    activate(j, &c);
}

static void pieces(const void *ctx, int64_t first, int64_t last) {
  const struct job *j = ctx;
  const struct fg_split *p = j->plan;
  int64_t groups = up(p->shape.rows, FG_SPLIT_ROWS);
  fg_split_begin();
  for (int64_t i = first; i < last; i++) {
    int64_t r = i % p->row_pieces, c = i / p->row_pieces;
    struct piece all = {groups * r / p->row_pieces * FG_SPLIT_ROWS,
                        least(groups * (r + 1) / p->row_pieces * FG_SPLIT_ROWS, p->shape.rows),
                        p->panels * c / p->column_pieces, p->panels * (c + 1) / p->column_pieces};
    struct piece one = all;
    for (; one.row < all.end; one.row = one.end) {
      one.end = least(one.row + p->chunk * FG_SPLIT_ROWS, all.end);
      chunk(j, one, (float *)(j->rooms + (size_t)i * room_bytes(p)));
    }
  }
  fg_split_end();
}

void fg_split_run(const struct fg_split *plan, const void *parts,
                  const struct fg_product_operands *operands, const float *mask, void *scratch) {
  const struct fg_product_shape *s = &plan->shape;
  struct job j = {plan, parts, operands, mask, scratch};
  int64_t n = plan->row_pieces * plan->column_pieces;
  double macs = (double)s->rows * (double)s->n * (double)s->k;
  fg_cpu_parallel(n, 1, macs / 64 / (double)n, pieces, &j);
}
