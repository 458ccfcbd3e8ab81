/* What split.c does in the processor's own words: parts of numbers, and a tile's sums. */
#ifndef FG_CPU_SPLIT_TILE_H
#define FG_CPU_SPLIT_TILE_H

#include <stdbool.h>
#include <stdint.h>

/* A group of rows times a panel of columns; terms that a tile takes at a time, parts of as many terms of a
 * group or of a panel, and sums of a group times a panel. */
enum {
  FG_SPLIT_ROWS = 32,
  FG_SPLIT_COLUMNS = 32,
  FG_SPLIT_TERMS = 32,
  FG_SPLIT_PARTS = 3,
  FG_SPLIT_BLOCK = FG_SPLIT_PARTS * FG_SPLIT_ROWS * FG_SPLIT_TERMS,
  FG_SPLIT_SUMS = FG_SPLIT_ROWS * FG_SPLIT_COLUMNS,
};

/* Whether the system lets the process use tiles; asked once. */
bool fg_split_may(void);

/* Around a thread's tiles. */
void fg_split_begin(void);
void fg_split_end(void);

/* Parts of rows of k terms, zeros beyond them: [block][part][two tiles][16 rows][32 terms]. 16 terms of a row
 * lie side by side, and the next 16 `step` floats from them. */
void fg_split_rows(const float *const *row, int64_t rows, int64_t k, int64_t step, uint16_t *to);
/* Parts of [32 terms, 32 columns]: [part][two tiles][16 pairs of terms][16 columns][2]. */
void fg_split_block(const float *b, uint16_t *to);
/* sums [32, 32], of the first `rows` rows, of so many blocks of k. */
void fg_split_tile(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows, float *sums);

/* What becomes of sums: to = act(alpha sums + bias + add), where mask > 0 or is NULL, else 0. */
struct fg_split_end {
  float alpha;
  const float *bias, *add, *mask; /* at the panel's first column, as `to` is; or NULL */
  float *to;
  const int64_t *at; /* of each row, in add, mask and to */
  int64_t step;      /* from 16 columns to the next there */
  bool relu;
};
void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                     int64_t columns);

/* For products whose columns are pixels in blocks of 16 channels. Parts of 32 neighbours of k channels, zeros
 * from pixel `columns` on, blocks `step` floats apart: as fg_split_block's, [block] of them. */
void fg_split_columns(const float *pixels, int64_t columns, int64_t k, int64_t step, uint16_t *to);
/* As fg_split_tile, of the first rows and columns, by 16; rows of sums are `step` apart. */
void fg_split_tile_within(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows,
                          int64_t columns, float *sums, int64_t step);

#endif
