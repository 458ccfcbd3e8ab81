/* A dense network small enough for the caches, forward and backward over a few samples: for mlp_fgsm.c, which
 * attacks it.
 *
 * Samples go in tiles, or one alone. A tile's values lie by rows: a row is one number of all its samples, which are
 * the lanes of a vector or two; rows that ReLU made zero in every sample are not multiplied, and gradients that its
 * slope makes zero not worked out. Of a sample alone the numbers are the lanes, and what is zero is not multiplied
 * either. In each way a sum runs over the layer's arguments in order, so that a sample's numbers do not depend on its
 * company. */
#ifndef FG_CPU_MLP_NET_H
#define FG_CPU_MLP_NET_H

#include "cpu.h"

/* Vectors of a tile, so that a weight is loaded once for both; its samples, of AVX2 and of AVX-512. */
enum { FG_MLP_VECS = 2, FG_MLP_SMALL_TILE = 8 * FG_MLP_VECS, FG_MLP_TILE = 16 * FG_MLP_VECS };

/* Weights as the loops want them, each layer's twice: by_in [in][out, padded], by_out [out][in, padded]; padding is
 * zero. Offsets count floats from `packed`. */
struct fg_mlp_net {
  const struct fg_mlp_attrs *a;
  int64_t by_in[FG_MLP_LAYERS], bias[FG_MLP_LAYERS], by_out[FG_MLP_LAYERS];
  int64_t reach; /* of each number of x, the norm of its weights in the first layer */
  int64_t packed_floats, widest;
  int64_t tile;    /* its samples; 1 where the machine has neither AVX2 nor AVX-512 */
  bool all_finite; /* weights: a zero times one is zero, and may be skipped */
  bool skips;      /* there are zeros to skip: a layer before the last ends in ReLU */
  const float *packed;
  int32_t *every; /* 0, 1, ... of the widest layer: a list of all rows; behind the weights */
};

/* Everything but what the weights' values tell. */
void fg_mlp_net_shape(const struct fg_mlp_attrs *a, struct fg_mlp_net *net);
/* From weights as mlp_fgsm takes them, to memory of packed_floats, 64-byte aligned. */
void fg_mlp_net_pack(struct fg_mlp_net *net, const float *weights, float *to);

static inline int64_t fg_mlp_padded(int64_t n) {
  return (n + 7) / 8 * 8;
}

/* Rows of a layer, in order. */
struct fg_mlp_list {
  int32_t *at;
  int64_t n;
};

/* What a tile needs, all of it in one piece of memory. */
struct fg_mlp_room {
  float *h[FG_MLP_LAYERS + 1]; /* values: h[0] is x, h[layers] the logits             */
  float *z[FG_MLP_LAYERS];     /* before the activation, where its slope needs that   */
  float *d, *other;            /* gradients; fg_mlp_backward's answer is in `d`       */
  /* Of a tile, the rows of h that are not all zero; of a sample alone, bits of what is not zero, of h and on the way
   * back of its gradient. */
  struct fg_mlp_list live[FG_MLP_LAYERS + 1];
  uint64_t *set[FG_MLP_LAYERS + 1];
};
/* Lays it out from `memory` on (NULL: only measures); returns the floats. */
int64_t fg_mlp_room(const struct fg_mlp_net *net, float *memory, struct fg_mlp_room *room);

/* From room->h[0] to the logits; tile: the net's, or 1 for a sample alone. */
void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile);
/* From dlogits in room->d to the gradient of x there. */
void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile);

/* A layer's product for a tile (mlp_lanes.h): of each row r of `rows`, out[r] is from[r], or zeros where that is NULL,
 * plus w[r][i] in[i] of all i of `args`. While sums are in registers they may become ReLU of themselves, whose rows that
 * are not all zero are listed in `live`, or zero where relu_of is, which lies as they do; neither where it is NULL.
 * Without relu_of `rows` are all rows, in order. */
struct fg_mlp_product {
  const float *w, *in, *from, *relu_of;
  int64_t pitch;
  struct fg_mlp_list args, rows, *live;
  float *out;
};
void fg_mlp_product_8(const struct fg_mlp_product *p);
void fg_mlp_product_16(const struct fg_mlp_product *p);

#endif
