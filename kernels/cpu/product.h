/* Products with weights that were put in order once: y = alpha a b, then bias, what is added,
 * and the activation, while the result is still in cache.
 *
 * b lies in panels of a few vectors of columns, [panel][k][columns], the last one as narrow as will do; k is
 * filled up to whole vectors with zeros. k is summed up in steps for which a panel of b stays in the first-level
 * cache: rows of a are copied to the tiles' order (product_lanes.h), a chunk at a time, a tile of them times a panel
 * is summed in registers, and its sums wait for the next step. Every number is one sum along k, in order, whatever
 * the tiles, the batch and the threads.
 *
 * The way of Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication".
 *
 * Under AVX2, where enough of a's numbers are zeros, as behind a ReLU or its slope, and all of b's are finite, zeros are
 * skipped (product_skip.c): the sums are the same numbers (of a zero, the sign may differ). */
#ifndef FG_CPU_PRODUCT_H
#define FG_CPU_PRODUCT_H

#include "cpu.h"

/* y [rows, n] from a [rows, k] and b [k, n]. */
struct fg_product_shape {
  int64_t rows, k, n;
};

/* y = act(alpha a b + bias + add) */
struct fg_product_operands {
  const float *a, *bias, *add; /* all but a may be NULL; add lies as y, and may be it */
  float alpha;
  float *y;
  const struct fg_unary_attrs *act;
  bool finite; /* all of b */
};

/* How a shape is cut for a number of threads. */
struct fg_product {
  struct fg_product_shape shape;
  int lanes, group, panel;           /* numbers in a vector; rows of a tile; vectors of a panel */
  int64_t k_vecs, n_vecs, panels;    /* vectors of k, vectors and panels of n */
  int64_t k_pitch;                   /* rows of b from panel to panel */
  int64_t deep;                      /* vectors of k that are summed up at a time */
  int64_t chunk;                     /* rows that are done at a time */
  int64_t row_pieces, column_pieces; /* whose product is the number of pieces */
};

/* Whether this machine has vectors that the kernel is written for. */
bool fg_product_runs(void);

void fg_product_cut(struct fg_product *plan, const struct fg_product_shape *shape, int threads);
size_t fg_product_scratch_bytes(const struct fg_product *plan);

/* Panels of the constant b, which is [k, n] with `ldb` floats from row to row, or where `turned` [n, k];
 * to be given back (fg_cpu_kept_give_back). *kept_bytes: of panels that nobody had made before. */
fgsm_status fg_product_take(const struct fg_product *plan, const float *b, int64_t ldb, bool turned,
                            float **panels, size_t *kept_bytes) FGSM_MUST_USE;

void fg_product_run(const struct fg_product *plan, const float *panels,
                    const struct fg_product_operands *operands, void *scratch);

/* ---- what is compiled for a width of vectors (product_lanes.h) */

enum { FG_PRODUCT_PANEL = 3, FG_PRODUCT_LINE = 16 };

/* Cache lines that will be wanted soon and come from afar: for each vector of k `lines` of them, `apart` floats
 * from each other, and `step` floats further for the next vector. */
struct fg_product_ahead {
  const float *at;
  int64_t apart, step;
  int lines;
};

/* What becomes of a tile's sums. */
struct fg_product_end {
  float alpha;
  const float *bias, *add; /* or NULL; at the tile's first number, as `to` is */
  float *to;
  int64_t row; /* floats from row to row of add and to */
  bool relu;
};

/* Adds a tile's products to its sums, which `go_on` or begin: a as it was copied, b [k][vecs][lanes], sums
 * [rows][vecs][lanes], where they wait unless an end is given. Meanwhile what lies ahead is fetched into the
 * second-level cache. */
typedef void fg_product_tile(const float *a, const float *b, int64_t k_vecs,
                             const struct fg_product_ahead *ahead, bool go_on,
                             const struct fg_product_end *end, float *sums);

struct fg_product_way {
  int group, panel; /* the most rows and vectors of a tile */
  bool ends;        /* tiles, where all of their columns are there */
  fg_product_tile *const (*tile)[FG_PRODUCT_PANEL]; /* [rows - 1][vecs - 1] */
  /* `columns` of the tile's vectors are there. */
  void (*end)(const struct fg_product_end *end, const float *sums, int64_t rows, int64_t columns);
  /* Terms of a group's rows, which lie `apart` floats apart, in the tiles' order, zeros beyond them. */
  void (*copy)(const float *from, int64_t rows, int64_t apart, int64_t terms, float *to);
};
extern const struct fg_product_way fg_product_way_8, fg_product_way_16;

/* ---- zeros of a that are skipped, for vectors of 8 (product_skip.c) */

enum {
  FG_PRODUCT_SKIP_TERMS = 64, /* at a time at most: a bit for each */
  FG_PRODUCT_SKIP_PANELS = 4, /* side by side at most: as many sums as there are registers for */
};

/* A step of k, at most as many terms, of whole panels side by side. */
struct fg_product_skip {
  const float *a;                         /* [rows][pitch] */
  const uint64_t *bits;                   /* of a row: of its terms that are not zero */
  const float *b[FG_PRODUCT_SKIP_PANELS]; /* the panels, `apart` floats from each other */
  const float *ahead;                     /* of the first panel, what will be wanted next */
  int64_t rows, pitch, apart;
  int64_t lines; /* cache lines ahead that a row fetches of each panel */
  bool go_on;
  float *sums; /* [rows][panels][columns] */
};

/* Rows' terms side by side, and their bits. */
void fg_product_skip_copy(const float *from, int64_t rows, int64_t apart, int64_t terms, float *to,
                          int64_t pitch, uint64_t *bits);

/* Adds products of two panels or more to their sums, which it goes on with or begins. */
void fg_product_skip(const struct fg_product_skip *s, int64_t panels);

#endif
