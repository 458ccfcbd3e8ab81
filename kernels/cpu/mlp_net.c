/* See mlp_net.h. The two products of a layer are of one shape, out[o] = sum over i of w[i][o] in[i]:
 * forward with the bias to begin with and `forward` for w, backward with zeros and `backward`. */
#include "mlp_net.h"

#include <string.h>

#include "unary.h"

typedef float vec __attribute__((vector_size(32)));
enum { LANES = 8, MOST_GROUPS = 8 };

void fg_mlp_net_shape(const struct fg_mlp_attrs *a, struct fg_mlp_net *net) {
  int64_t at = 0;
  int lanes = fg_cpu_block();
  *net = (struct fg_mlp_net){
      .a = a, .tile = lanes ? lanes * FG_MLP_VECS : 1, .widest = fg_mlp_padded(a->width[0])};
  for (int l = 0; l < a->layers; l++) {
    int64_t n = a->width[l], m = a->width[l + 1], wide = fg_mlp_padded(m);
    net->forward[l] = at;
    at += n * wide;
    net->bias[l] = at;
    at += wide;
    net->backward[l] = at;
    at += m * fg_mlp_padded(n);
    net->widest = wide > net->widest ? wide : net->widest;
  }
  net->packed_floats = at;
}

void fg_mlp_net_pack(const struct fg_mlp_net *net, const float *weights, float *to) {
  memset(to, 0, (size_t)net->packed_floats * sizeof *to);
  for (int l = 0; l < net->a->layers; l++) {
    int64_t n = net->a->width[l], m = net->a->width[l + 1];
    int64_t wide_n = fg_mlp_padded(n), wide_m = fg_mlp_padded(m);
    for (int64_t o = 0; o < m; o++)
      for (int64_t i = 0; i < n; i++) {
        to[net->forward[l] + i * wide_m + o] = weights[o * n + i];
        to[net->backward[l] + o * wide_n + i] = weights[o * n + i];
      }
    memcpy(to + net->bias[l], weights + n * m, (size_t)m * sizeof *to);
    weights += (n + 1) * m;
  }
}

int64_t fg_mlp_room(const struct fg_mlp_net *net, float *memory, struct fg_mlp_room *room) {
  const struct fg_mlp_attrs *a = net->a;
  int64_t used = 0;
  memset(room, 0, sizeof *room);
#define TAKE(pointer, rows)                                                                        \
  do {                                                                                             \
    (pointer) = memory ? memory + used : NULL;                                                     \
    used += (rows)*net->tile;                                                                      \
  } while (0)
  for (int l = 0; l <= a->layers; l++)
    TAKE(room->h[l], fg_mlp_padded(a->width[l]));
  for (int l = 0; l < a->layers; l++)
    if (!fg_unary_from_y(&a->act[l]))
      TAKE(room->z[l], fg_mlp_padded(a->width[l + 1]));
  TAKE(room->d, net->widest);
  TAKE(room->other, net->widest);
#undef TAKE
  return used;
}

/* ---- a product for one sample: its results are the lanes */

FG_INLINE void lane_groups(int groups, const float *w, int64_t pitch, const float *in, int64_t n,
                           const float *from, float *out) {
  vec sum[MOST_GROUPS];
  for (int g = 0; g < groups; g++)
    sum[g] = from ? *(const vec *)(from + g * LANES) : (vec){0};
  for (int64_t i = 0; i < n; i++) {
    const float *row = w + i * pitch;
    for (int g = 0; g < groups; g++)
      sum[g] += *(const vec *)(row + g * LANES) * in[i];
  }
  for (int g = 0; g < groups; g++)
    *(vec *)(out + g * LANES) = sum[g];
}

FG_CLONES static void mlp_product_of_one(const float *w, const float *in, int64_t n,
                                         const float *from, float *out, int64_t m) {
  int64_t pitch = fg_mlp_padded(m), left = pitch / LANES;
  while (left) {
    int64_t take = left < MOST_GROUPS ? left : MOST_GROUPS;
#define CASE(k)                                                                                    \
  case k:                                                                                          \
    lane_groups(k, w, pitch, in, n, from, out);                                                    \
    break
    switch (take) {
      CASE(1);
      CASE(2);
      CASE(3);
      CASE(4);
      CASE(5);
      CASE(6);
      CASE(7);
      CASE(8);
    }
#undef CASE
    w += take * LANES;
    from = from ? from + take * LANES : NULL;
    out += take * LANES;
    left -= take;
  }
}

/* ---- the network */

/* Whether a tile's product takes the layer's activation, or its slope, with it. */
static bool ends_product(const struct fg_mlp_attrs *a, int layer, int64_t tile) {
  return tile > 1 && layer >= 0 && a->act[layer].kind == FG_UNARY_relu;
}

static void multiply(int64_t tile, const float *w, const float *in, int64_t n, const float *from,
                     struct fg_mlp_end end, float *out, int64_t m) {
  if (tile == 1)
    mlp_product_of_one(w, in, n, from, out, m);
  else if (tile == FG_MLP_TILE)
    fg_mlp_product_16(w, in, n, from, end, out, m);
  else
    fg_mlp_product_8(w, in, n, from, end, out, m);
}

void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile) {
  const struct fg_mlp_attrs *a = net->a;
  for (int l = 0; l < a->layers; l++) {
    int64_t m = a->width[l + 1];
    float *h = room->h[l + 1];
    struct fg_mlp_end end = {.relu = ends_product(a, l, tile)};
    multiply(tile, net->packed + net->forward[l], room->h[l], a->width[l],
             net->packed + net->bias[l], end, h, m);
    if (room->z[l])
      memcpy(room->z[l], h, (size_t)(m * tile) * sizeof *h);
    if (!end.relu)
      fg_cpu_act(&a->act[l], h, m * tile);
  }
}

void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile) {
  const struct fg_mlp_attrs *a = net->a;
  bool taken = false;
  for (int l = a->layers - 1; l >= 0; l--) {
    int64_t m = a->width[l + 1];
    struct fg_mlp_end end = {.slope_of = ends_product(a, l - 1, tile) ? room->h[l] : NULL};
    if (!taken)
      fg_cpu_act_grad(&a->act[l], room->z[l] ? room->z[l] : room->h[l + 1], room->d, m * tile);
    multiply(tile, net->packed + net->backward[l], room->d, m, NULL, end, room->other, a->width[l]);
    taken = end.slope_of != NULL;
    float *swap = room->d;
    room->d = room->other;
    room->other = swap;
  }
}
