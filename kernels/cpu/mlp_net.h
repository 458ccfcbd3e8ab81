/* A dense network small enough for the caches, forward and backward over a few samples that lie
 * beside each other: for mlp_fgsm.c, which attacks it.
 *
 * Values of a layer are rows: one result of all samples of the tile. A tile has as many samples as the net says,
 * which are the lanes of a vector or two, or one, whose results are. Either way a sum runs over the layer's
 * arguments in order, so that a sample's numbers do not depend on its company. */
#ifndef FG_CPU_MLP_NET_H
#define FG_CPU_MLP_NET_H

#include "cpu.h"

/* Vectors of a tile, so that a weight is loaded once for both; its samples, of AVX2 and of AVX-512. */
enum { FG_MLP_VECS = 2, FG_MLP_SMALL_TILE = 8 * FG_MLP_VECS, FG_MLP_TILE = 16 * FG_MLP_VECS };

/* Weights as the loops want them, each layer's twice: `forward` [in][out, padded], `backward`
 * [out][in, padded]; padding is zero. Offsets count floats from `packed`. */
struct fg_mlp_net {
  const struct fg_mlp_attrs *a;
  int64_t forward[FG_MLP_LAYERS], bias[FG_MLP_LAYERS], backward[FG_MLP_LAYERS];
  int64_t packed_floats, widest;
  int64_t tile; /* its samples; 1 where the machine has no vectors that tiles are written for */
  const float *packed;
};

/* Everything but `packed`. */
void fg_mlp_net_shape(const struct fg_mlp_attrs *a, struct fg_mlp_net *net);
/* From weights as mlp_fgsm takes them, to memory of packed_floats, 64-byte aligned. */
void fg_mlp_net_pack(const struct fg_mlp_net *net, const float *weights, float *to);

static inline int64_t fg_mlp_padded(int64_t n) {
  return (n + 7) / 8 * 8;
}

/* What a tile needs, all of it in one piece of memory. */
struct fg_mlp_room {
  float *h[FG_MLP_LAYERS + 1]; /* values: h[0] is x, h[layers] the logits             */
  float *z[FG_MLP_LAYERS];     /* before the activation, where its slope needs that   */
  float *d, *other;            /* gradients; fg_mlp_backward's answer is in `d`       */
};
/* Lays it out from `memory` on (NULL: only measures); returns the floats. */
int64_t fg_mlp_room(const struct fg_mlp_net *net, float *memory, struct fg_mlp_room *room);

/* From room->h[0] to the logits; tile: the net's or 1. */
void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile);
/* From dlogits in room->d to the gradient of x there. */
void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile);

/* What becomes of a product's results while they are in registers: ReLU, or they are multiplied by ReLU's slope at
 * slope_of, which lies as they do; neither where it is NULL. */
struct fg_mlp_end {
  bool relu;
  const float *slope_of;
};

/* A layer's product for a tile (mlp_lanes.h): out [m] rows, from `in` of n rows and w [n][m, padded], beginning with
 * from[m] or, where that is NULL, zeros. */
typedef void fg_mlp_product(const float *w, const float *in, int64_t n, const float *from,
                            struct fg_mlp_end end, float *out, int64_t m);
fg_mlp_product fg_mlp_product_8, fg_mlp_product_16;

#endif
