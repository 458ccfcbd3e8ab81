/* Convolutions and products on a processor's tiles (Intel AMX), which multiply bfloat16s and sum in float32.
 *
 * A float32 of 24 bits is three bfloat16s of 8, cut off one after the other, without a remainder. Of the nine
 * products of two numbers' parts the six of at least 2^-16 of the whole are summed; what is left out comes to
 * 2^-23 of |a| |b|, about what float32's own rounding of as many terms does. Numbers below 2^-110 have fewer
 * parts than three: the tiles know no denormal numbers. An infinity or NaN among the operands makes NaN.
 *
 * Places of x are rows of 32 channels' parts, in planes between zeros: from one place to the next of a row, and so
 * to a tap's neighbour, is one step in memory, whichever place it is. A tile's sixteen rows are sixteen places that
 * follow each other, and a tap is an offset to all of them. Of a stride there is a plane for each residue of x's
 * places; and in the gradient, where dy takes the part of x, a pass for each residue of dx's, with the taps that
 * reach it. A product is a convolution of images of one place.
 *
 * The parts of float32: Henry, Tang, Heinecke 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype
 * For Higher-Precision Computations". */
#ifndef FG_CPU_SPLIT_H
#define FG_CPU_SPLIT_H

#include "cpu.h"

enum { FG_SPLIT_WINDOW = 7, FG_SPLIT_STRIDE = 3 }; /* at most, along an axis */

/* Floats from a sample to the next, from 16 channels to the next, from place to place, from channel to channel. */
struct fg_split_lie {
  int64_t sample, block, place, channel;
};

/* y [samples, k, to] from x [samples, c, from]; or, where `turned`, the gradient that undoes that: x is dy and
 * y is dx. Windows are those of the convolution. */
struct fg_split_shape {
  int64_t samples, c, k, from[2], to[2];
  int window[2], stride[2], dilation[2], pad[2];
  bool turned;
  struct fg_split_lie x, y;
};

/* A tap along an axis: which it is, of which plane, and how far its row lies from the result's. */
struct fg_split_tap {
  int tap, plane;
  int64_t at;
};

/* Results of an axis that the same taps reach: `n` of them, from `first` on, a step apart. */
struct fg_split_pass {
  int64_t n, first;
  int taps;
  struct fg_split_tap tap[FG_SPLIT_WINDOW];
};

struct fg_split_axis {
  int planes, passes, step;
  int64_t length[FG_SPLIT_STRIDE]; /* of the planes */
  int64_t most, low, high;         /* results of a pass; how far taps lie */
  struct fg_split_pass pass[FG_SPLIT_STRIDE];
};

/* How a shape is cut for a number of threads. */
struct fg_split {
  struct fg_split_shape shape;
  struct fg_split_axis axis[2];
  int64_t blocks, panels; /* of channels of x, of y: 32 each */
  int64_t pitch, lead;    /* places from row to row of a plane, and before the first */
  int64_t together, rows; /* samples and results' rows of a chunk */
  int64_t chunks, row_pieces, column_pieces; /* one of the pieces is 1 */
};

/* y = act(alpha x * w + bias + add), where mask > 0 or is NULL, else 0. */
struct fg_split_operands {
  const float *x, *bias, *add, *mask; /* all but x may be NULL; add and mask lie as y does */
  float alpha;
  float *y;
  const struct fg_unary_attrs *act; /* others than ReLU: of a product alone */
};

/* The constant w, of term t, column j and tap i: at[t * term + j * column + i]. */
struct fg_split_weights {
  const float *at;
  int64_t term, column;
};

/* Whether this machine has the tiles, and lets the process use them. */
bool fg_split_runs(void);

/* y [rows, n] from x [rows, k]. */
struct fg_split_shape fg_split_product(int64_t rows, int64_t k, int64_t n);

void fg_split_cut(struct fg_split *plan, const struct fg_split_shape *shape, int threads);
/* Places of a chunk's plane, zeros between rows and what a last tile reads beyond them included. */
int64_t fg_split_places_of(const struct fg_split *plan);
size_t fg_split_scratch_bytes(const struct fg_split *plan);

/* Parts of the weights, to be given back (fg_cpu_kept_give_back). *kept_bytes: of parts that nobody had made
 * before. */
fgsm_status fg_split_take(const struct fg_split *plan, const struct fg_split_weights *weights,
                          void **parts, size_t *kept_bytes) FGSM_MUST_USE;

/* Every number is one sum, along channels and then taps, whatever the batch and the threads. */
void fg_split_run(const struct fg_split *plan, const void *parts,
                  const struct fg_split_operands *operands, void *scratch);

#endif
