/* A dense network small enough for the caches, forward and backward over a few samples: for mlp_fgsm.c, which
 * attacks it.
 *
 * Values of a layer lie in one of two ways. By rows: a row is one number of all samples of the tile, which are the
 * lanes of a vector or two. By samples: a sample's numbers lie one after another, padded, and are the lanes; what
 * ReLU made zero, and gradients that its slope did, are not multiplied. Either way a sum runs over the layer's
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
  int64_t tile;    /* the most samples at a time; by rows exactly as many */
  bool by_rows;    /* whole tiles; what is left over goes by samples */
  bool all_finite; /* weights: a zero times one is zero, and may be skipped */
  const float *packed;
};

/* Everything but `packed` and `all_finite`. */
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
  /* By samples, bits of what is not zero: of h, and on the way back of its gradient. */
  uint64_t *live[FG_MLP_LAYERS];
};
/* Lays it out from `memory` on (NULL: only measures); returns the floats. */
int64_t fg_mlp_room(const struct fg_mlp_net *net, float *memory, struct fg_mlp_room *room);

/* From room->h[0] to the logits, of n samples; tile: the net's for rows, or 1 for samples. */
void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t n,
                    int64_t tile);
/* From dlogits in room->d to the gradient of x there. */
void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t n,
                     int64_t tile);

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
