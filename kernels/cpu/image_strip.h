/* The gradient of a first convolution by AVX2, a strip of rows of dx at a time. Lanes are neighbours of a row
 * of dx: with the stride fixed, columns of one residue take neighbouring columns of dy for each tap of the
 * window. The rows of dy that a strip needs are copied once between margins of zeros, so that no tap asks
 * where dy ends; where dy lies in channel blocks they are turned on the way, and what a max-pool gives back is
 * spread there, so that it never reaches memory.
 *
 * Every number is one sum, over channels, then taps from the first row of dy to the last and along it, whatever
 * the strips and threads. */
#ifndef FG_CPU_IMAGE_STRIP_H
#define FG_CPU_IMAGE_STRIP_H

#include "image_grad.h"
#include "pool.h"

struct fg_image_strips {
  struct fg_image_shape of;
  int lanes;                  /* of dy: 8 where it lies in channel blocks, or 1    */
  bool pooled;                /* dy is what `pool` gave back                        */
  struct fg_pool pool;        /* its geometry; h and w are dy's p and q             */
  int64_t height, strips;     /* rows of dx in a strip; strips of a sample          */
  int64_t rows, left;         /* of dy in a room; zeros before a row's first number */
  int64_t pitch, plane, line; /* floats from row to row, channel to channel; of sums */
  int pieces;
};

/* Whether this machine has the vectors. */
bool fg_image_strips_run_here(void);

/* `pool` is the max-pool behind the convolution, or NULL. */
void fg_image_strips_cut(const struct fg_image_shape *shape, int lanes, const struct fg_pool *pool,
                         int threads, struct fg_image_strips *to);
size_t fg_image_strips_scratch_bytes(const struct fg_image_strips *s);

/* Windows [k, c, r, s] as they are read, as many numbers. */
void fg_image_strips_pack(const struct fg_image_strips *s, const float *w, float *to);

/* `index` is the pool's; NULL without one. */
void fg_image_strips_run(const struct fg_image_strips *s, const float *packed, const float *dy,
                         const uint8_t *index, float *dx, void *scratch);

/* A strip's rows of sample n to a piece's room, whose first row is p0 of dy, from its row `first` on; `room` is where
 * its rows' first numbers lie (image_strip_rows.c). */
void fg_image_strips_read(const struct fg_image_strips *s, const float *dy, const uint8_t *index,
                          int64_t n, int64_t p0, int64_t first, float *room);

#endif
