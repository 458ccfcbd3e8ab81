/* A dense network small enough for the caches, forward and backward over a few samples: for mlp_fgsm.c, which
 * attacks it.
 *
 * Samples go in tiles, or one alone. A tile's values lie by rows: a row is one number of all its samples, which are
 * the lanes of a vector or two; rows that ReLU made zero in every sample are not kept, and their gradients not worked
 * out. Of a sample alone the numbers are the lanes, and what is zero is not multiplied either. In each way a sum runs
 * over the layer's arguments in order, so that a sample's numbers do not depend on its company. */
#ifndef FG_CPU_MLP_NET_H
#define FG_CPU_MLP_NET_H

#include "cpu.h"

/* Vectors of a tile, so that a weight is loaded once for both; its samples, of AVX2 and of AVX-512. */
enum { FG_MLP_VECS = 2, FG_MLP_SMALL_TILE = 8 * FG_MLP_VECS, FG_MLP_TILE = 16 * FG_MLP_VECS };

/* A row, a layer's number of all samples, and where its weights for the next layer begin: floats from those of row 0. */
struct fg_mlp_row {
  int32_t number, weights;
};

/* Rows of a layer, in order. */
struct fg_mlp_list {
  struct fg_mlp_row *at;
  int64_t n;
};

/* Weights as the loops want them: by_in [in][out, padded] and for samples alone by_out [out][in, padded] too; padding
 * is zero. Offsets count floats from `packed`. */
struct fg_mlp_net {
  const struct fg_mlp_attrs *a;
  int64_t by_in[FG_MLP_LAYERS], bias[FG_MLP_LAYERS], by_out[FG_MLP_LAYERS];
  int64_t every[FG_MLP_LAYERS + 1]; /* lists of all rows, of x, of each layer */
  int64_t reach; /* of each number of x, the norm of its weights in the first layer */
  int64_t packed_floats, widest;
  int64_t tile;    /* its samples; 1 where the machine has neither AVX2 nor AVX-512 */
  bool all_finite; /* weights: a zero times one is zero, and may be skipped */
  bool skips;      /* there are zeros to skip: a layer before the last ends in ReLU */
  const float *packed;
};

/* Everything but what the weights' values tell. */
void fg_mlp_net_shape(const struct fg_mlp_attrs *a, struct fg_mlp_net *net);
/* From weights as mlp_fgsm takes them, to memory of packed_floats, 64-byte aligned. */
void fg_mlp_net_pack(struct fg_mlp_net *net, const float *weights, float *to);

static inline int64_t fg_mlp_padded(int64_t n) {
  return (n + 7) / 8 * 8;
}

/* What a tile needs, all of it in one piece of memory. */
struct fg_mlp_room {
  float *h[FG_MLP_LAYERS + 1]; /* values: h[0] is x, h[layers] the logits             */
  float *z[FG_MLP_LAYERS];     /* before the activation, where its slope needs that   */
  float *d, *other;            /* gradients; fg_mlp_backward's answer is in `d`       */
  /* Of a tile, the rows of h that are not all zero, which are all that lies there; of a sample alone, bits of what is
   * not zero, of h and on the way back of its gradient. */
  struct fg_mlp_list live[FG_MLP_LAYERS + 1];
  uint64_t *set[FG_MLP_LAYERS + 1];
};
/* Lays it out from `memory` on (NULL: only measures); returns the floats. */
int64_t fg_mlp_room(const struct fg_mlp_net *net, float *memory, struct fg_mlp_room *room);

/* From room->h[0] to the logits; tile: the net's, or 1 for a sample alone. */
void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile);
/* From dlogits in room->d to the gradient of x there. */
void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile);

/* A layer's product for a tile (mlp_lanes.h), of weights w [in][out]. What is multiplied and what comes out are the rows
 * that lists name, one behind the other.
 *
 * Forward: out is from plus the sum over `args` of in times w, of all rows, which are `rows`. ReLU of it is taken while
 * it is in registers; then only what is not zero in all samples is stored, and listed in `live`, or all where `keeps`.
 * Backward: each of `rows` is the sum over `args` of in times w turned, and zero where relu_of is, which holds the same
 * rows. Returns how many rows out has. */
enum fg_mlp_way { FG_MLP_FORWARD, FG_MLP_FORWARD_RELU, FG_MLP_BACKWARD, FG_MLP_BACKWARD_SLOPE };
struct fg_mlp_product {
  enum fg_mlp_way way;
  bool keeps;
  const float *w, *in, *from, *relu_of;
  struct fg_mlp_list args, rows;
  struct fg_mlp_row *live;
  float *out;
};
int64_t fg_mlp_product_8(const struct fg_mlp_product *p);
int64_t fg_mlp_product_16(const struct fg_mlp_product *p);

#endif
