/* Products on a processor's tiles (Intel AMX), which multiply bfloat16s and sum in float32.
 *
 * A float32 of 24 bits is three bfloat16s of 8, cut off one after the other, without a remainder. Of the nine
 * products of two numbers' parts the six of at least 2^-16 of the whole are summed; what is left out comes to
 * 2^-23 of |a| |b|, about what float32's own rounding of as many terms does. Numbers below 2^-110 have fewer
 * parts than three: the tiles know no denormal numbers. An infinity or NaN among the operands makes NaN.
 *
 * The parts of float32: Henry, Tang, Heinecke 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype
 * For Higher-Precision Computations". */
#ifndef FG_CPU_SPLIT_H
#define FG_CPU_SPLIT_H

#include "product.h"

/* How a shape is cut for a number of threads. */
struct fg_split {
  struct fg_product_shape shape;
  int64_t
      area; /* of images whose places are rows, in blocks of 16 channels; 0: rows lie one after another */
  int64_t blocks, panels;            /* of k, of n */
  int64_t chunk;                     /* groups of rows whose parts are made at a time */
  int64_t row_pieces, column_pieces; /* of which one is 1 */
};

/* Whether this machine has the tiles, and lets the process use them. */
bool fg_split_runs(void);

void fg_split_cut(struct fg_split *plan, const struct fg_product_shape *shape, int64_t area,
                  int threads);
size_t fg_split_scratch_bytes(const struct fg_split *plan);

/* Parts of the constant b, as fg_product_take's panels. */
fgsm_status fg_split_take(const struct fg_split *plan, const float *b, int64_t ldb, bool turned,
                          void **parts, size_t *kept_bytes) FGSM_MUST_USE;

/* Every number is one sum along k, in order, whatever the batch and the threads. mask: NULL, or lies as y does,
 * and where it is not above 0 y is 0. */
void fg_split_run(const struct fg_split *plan, const void *parts,
                  const struct fg_product_operands *operands, const float *mask, void *scratch);

#endif
