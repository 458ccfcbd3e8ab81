/* What split.c does in the processor's own words: parts of numbers, and a tile's sums. */
#ifndef FG_CPU_SPLIT_TILE_H
#define FG_CPU_SPLIT_TILE_H

#include <stdbool.h>
#include <stdint.h>

/* Places of a tile, of which two make a group; columns of a panel; terms of a block, and their parts, which lie side by
 * side: of a place, and of a panel; sums of a group times a panel. */
enum {
  FG_SPLIT_HALF = 16,
  FG_SPLIT_ROWS = 32,
  FG_SPLIT_COLUMNS = 32,
  FG_SPLIT_TERMS = 32,
  FG_SPLIT_PARTS = 3,
  FG_SPLIT_PLACE = FG_SPLIT_PARTS * FG_SPLIT_TERMS,
  FG_SPLIT_BLOCK = FG_SPLIT_PARTS * FG_SPLIT_TERMS * FG_SPLIT_COLUMNS,
  FG_SPLIT_SUMS = FG_SPLIT_ROWS * FG_SPLIT_COLUMNS,
};

/* Whether the system lets the process use tiles; asked once. */
bool fg_split_may(void);

/* Around a thread's tiles. */
void fg_split_begin(void);
void fg_split_end(void);

/* Where a block's terms are read: 16 channels side by side and the next 16 `block` floats from them, or each
 * `channel` floats from the next; of them `terms` are there, and the rest are zeros. */
struct fg_split_source {
  const float *at;
  int64_t place, block, channel, terms;
};
/* Parts of n places, `step` numbers apart. */
void fg_split_places(const struct fg_split_source *from, int64_t n, uint16_t *to, int64_t step);
/* Parts of [32 terms, 32 columns]: [part][two tiles][16 pairs of terms][16 columns][2]. */
void fg_split_block(const float *b, uint16_t *to);
/* As that, where columns are pixels in blocks of 16 channels: of 32 neighbours of k channels, zeros from pixel
 * `columns` on, blocks `step` floats apart; [block] of them. */
void fg_split_columns(const float *pixels, int64_t columns, int64_t k, int64_t step, uint16_t *to);

/* What is summed up for a group: of every block, each of its taps. At each of them so many cache lines of what will be
 * wanted next are fetched into the second-level cache. */
struct fg_split_walk {
  int64_t blocks, a_block, b_block; /* and numbers from one to the next */
  const int64_t *a_tap, *b_tap;     /* numbers from the first place, and the block's first tap */
  const uint8_t *tap;               /* which of them are taken */
  int taps, lines;
  const char *ahead;
};
/* sums [32, 32], rows `step` apart, of the places from a[0] on, and of those from a[1] on or of a[0]'s alone; of so
 * many columns at least. */
void fg_split_sum(const struct fg_split_walk *walk, const uint16_t *const a[2], const uint16_t *b,
                  int64_t columns, float *sums, int64_t step);

/* What becomes of sums: to = act(alpha sums + bias + add), where mask > 0 or is NULL, else 0. */
struct fg_split_end {
  float alpha;
  const float *bias, *add, *mask; /* at the panel's first column, as `to` is; or NULL */
  float *to;
  const int64_t *at;      /* of each row, in add, mask and to; -1: there is none */
  int64_t block, channel; /* as in fg_split_source */
  bool relu;
};
void fg_split_finish(const struct fg_split_end *end, const float *sums, int64_t rows,
                     int64_t columns);

#endif
