/* Winograd's minimal filtering for windows of stride 1 (Lavin & Gray 2016, "Fast Algorithms for
 * Convolutional Neural Networks"): F(2x2, 3x3), F(4x4, 3x3) and F(2x2, 5x5), whose points are those of
 * F(4x4, 3x3).
 *
 * The result is cut into tiles of m x m. A tile's n x n places of x, n = m + r - 1 for windows of
 * r x r, are transformed, each of the n^2 places is then a product of [tiles, c] and [c, k] with
 * transformed weights, and what comes out is transformed back: n^2 multiplications instead of r^2 m^2,
 * a quarter of them for m = 4. It is paid for in rounding.
 *
 * The gradient of x is a convolution too, of dy with the turned window, so one kernel serves both. Where weights are
 * many, it is taken with the weights of the convolution itself, which then lie in memory once: the window stays as it
 * is, tiles of dy are read from their last place to the first, and those of the result written so, and products sum
 * along the vectors of weights, not across them. Vectors of 8 channels alone have it.
 * A 3 x 3 window of stride 2 reads places of x of even and of odd rows and columns, each kind by a window
 * of 2 x 2 of its own: it is a convolution of stride 1 of four times as many channels, the kinds side by
 * side, by F(4x4, 2x2), a hundred multiplications where there were 144. Its gradient has four times as
 * many channels in the result instead. Vectors of 8 channels alone have it.
 *
 * Bias, residual and ReLU, or ReLU's slope, are applied to the tile while it is in registers. */
#ifndef FG_CPU_WINOGRAD_H
#define FG_CPU_WINOGRAD_H

#include "cpu.h"

/* y [samples, k, p, q] from x [samples, c, h, w]; x's row -pad[0] meets the first row of the window. */
struct fg_winograd_shape {
  int m, r; /* 2, 3; 4, 3; 2, 5; or 4, 2 */
  int64_t samples, c, h, w, k, p, q;
  int pad[2];
  bool x_blocked, y_blocked; /* residual and mask lie as y does */
  uint8_t x_step, y_step;    /* 1; one of them 2, for r = 2, which a stride makes of 3 x 3 */
  uint8_t stride_pad[2];     /* of the stride's window */
  bool gradient;             /* the window is turned by half, and the weights are [c, k] */
};

enum fg_winograd_act { FG_WINOGRAD_AS_IT_IS, FG_WINOGRAD_RELU, FG_WINOGRAD_SLOPE };

/* y = max(x * w + bias + residual, 0), or mask <= 0 ? 0 : x * w + bias + residual, or as it is. */
struct fg_winograd_operands {
  const float *x, *bias, *residual, *mask; /* all but x may be NULL */
  float *y;
  enum fg_winograd_act act;
};

/* How a shape is cut for a number of threads, and what that takes. */
struct fg_winograd {
  struct fg_winograd_shape shape;
  int lanes;                        /* channels in a vector */
  int edge;                         /* n: of a tile of x    */
  int64_t rows, columns;            /* tiles of a sample    */
  int64_t c_vecs, k_vecs;           /* vectors of channels  */
  int64_t group, chunk;             /* tiles in a block of registers; tiles done at a time */
  int64_t chunks, slices;           /* items: chunks of tiles, times slices of k */
  int64_t v_floats, product_floats; /* of a room, for one of the n^2 places */
  int pieces;
  int64_t x_vecs, y_vecs; /* vectors of channels of x and y themselves */
  bool lent;              /* a gradient's weights are those of the convolution itself */
  int64_t spacing;        /* floats between weights of one panel and those of the next */
};

/* Whether this machine has vectors that the kernel is written for. */
bool fg_winograd_runs(void);

void fg_winograd_cut(struct fg_winograd *plan, const struct fg_winograd_shape *shape, int threads);
size_t fg_winograd_weight_bytes(const struct fg_winograd *plan);
size_t fg_winograd_scratch_bytes(const struct fg_winograd *plan);

/* G w G' in double, in the order in which the products read it, or that of the convolution where they are lent. `w`
 * is [k, c, r, r], or a gradient's [c, k, r, r], of which the window is turned by half; of a stride, the 3 x 3
 * windows. */
void fg_winograd_weights(const struct fg_winograd *plan, const float *w, float *u);

void fg_winograd_run(const struct fg_winograd *plan, const float *u,
                     const struct fg_winograd_operands *operands, void *scratch);

/* Chunk `item / slices`, slice `item % slices`, in a room of one piece (winograd_8.c, winograd_16.c). */
typedef void fg_winograd_item(const struct fg_winograd *plan, const float *u,
                              const struct fg_winograd_operands *operands, int64_t item,
                              float *room);
fg_winograd_item fg_winograd_item_8, fg_winograd_item_16;

/* Vectors of k that a product computes at a time; panels of one are left for an odd number. */
/* Vectors of a panel of weights; rows of it that a product with lent weights takes at a time. */
enum { FG_WINOGRAD_PANEL = 2, FG_WINOGRAD_LENT_ROWS = 4 };

#endif
