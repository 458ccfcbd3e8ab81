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

/* Parts of [rows, k], zeros beyond them: [block][part][two tiles][16 rows][32 terms]. */
void fg_split_rows(const float *a, int64_t rows, int64_t k, uint16_t *to);
/* Parts of [32 terms, 32 columns]: [part][two tiles][16 pairs of terms][16 columns][2]. */
void fg_split_block(const float *b, uint16_t *to);
/* sums [32, 32], of the first `rows` rows, of so many blocks of k. */
void fg_split_tile(const uint16_t *a, const uint16_t *b, int64_t blocks, int64_t rows, float *sums);

#endif
