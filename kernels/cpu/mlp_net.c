/* See mlp_net.h. A sample's two products of a layer are of one shape, out[o] = sum over i of w[i][o] in[i]:
 * forward with the bias to begin with, backward with zeros and the weights turned. A tile's are mlp_lanes.h's. */
#include "mlp_net.h"

#include <math.h>
#include <string.h>

#include "unary.h"

typedef float vec __attribute__((vector_size(32), may_alias));
typedef int32_t bits __attribute__((vector_size(32), may_alias));
typedef uint64_t pairs __attribute__((vector_size(32), may_alias));
enum { LANES = 8, WORD = 64 };

/* Whether a product takes the layer's activation, or its slope, with it: that of a hidden layer. */
static bool ends_product(const struct fg_mlp_attrs *a, int layer) {
  return layer >= 0 && layer < a->layers - 1 && a->act[layer].kind == FG_UNARY_relu;
}

void fg_mlp_net_shape(const struct fg_mlp_attrs *a, struct fg_mlp_net *net) {
  int64_t at = 0;
  int lanes = fg_cpu_block();
  *net = (struct fg_mlp_net){
      .a = a, .tile = lanes ? lanes * FG_MLP_VECS : 1, .widest = fg_mlp_padded(a->width[0])};
  for (int l = 0; l < a->layers; l++) {
    int64_t n = a->width[l], m = a->width[l + 1], wide = fg_mlp_padded(m);
    net->by_in[l] = at;
    at += n * wide;
    net->bias[l] = at;
    at += wide;
    net->by_out[l] = at;
    at += m * fg_mlp_padded(n);
    net->every[l] = at;
    at += fg_mlp_padded(2 * n);
    net->widest = wide > net->widest ? wide : net->widest;
    net->skips |= ends_product(a, l);
  }
  net->reach = at;
  net->every[a->layers] = at + fg_mlp_padded(a->width[0]);
  net->packed_floats = net->every[a->layers] + fg_mlp_padded(2 * (int64_t)a->width[a->layers]);
}

static float norm(const float *x, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += x[i] * x[i];
  return sqrtf(sum);
}

/* All n rows of a layer whose weights for the next lie `pitch` apart. */
static void list_all(float *memory, int64_t n, int64_t pitch) {
  struct fg_mlp_row *row = (struct fg_mlp_row *)memory;
  for (int64_t i = 0; i < n; i++)
    row[i] = (struct fg_mlp_row){(int32_t)i, (int32_t)(i * pitch)};
}

void fg_mlp_net_pack(struct fg_mlp_net *net, const float *weights, float *to) {
  net->packed = to;
  net->all_finite = true;
  memset(to, 0, (size_t)net->packed_floats * sizeof *to);
  for (int l = 0; l < net->a->layers; l++) {
    int64_t n = net->a->width[l], m = net->a->width[l + 1];
    int64_t wide_n = fg_mlp_padded(n), wide_m = fg_mlp_padded(m);
    for (int64_t o = 0; o < m; o++)
      for (int64_t i = 0; i < n; i++) {
        to[net->by_in[l] + i * wide_m + o] = weights[o * n + i];
        to[net->by_out[l] + o * wide_n + i] = weights[o * n + i];
        net->all_finite &= isfinite(weights[o * n + i]) != 0;
      }
    list_all(to + net->every[l], n, wide_m);
    for (int64_t o = 0; o < m; o++) /* a zero's sign would tell whether zeros were added */
      to[net->bias[l] + o] = weights[n * m + o] + 0.0f;
    weights += (n + 1) * m;
  }
  for (int64_t i = 0, wide = fg_mlp_padded(net->a->width[1]); i < net->a->width[0]; i++)
    to[net->reach + i] = norm(to + net->by_in[0] + i * wide, wide);
  list_all(to + net->every[net->a->layers], net->a->width[net->a->layers], 0);
}

int64_t fg_mlp_room(const struct fg_mlp_net *net, float *memory, struct fg_mlp_room *room) {
  const struct fg_mlp_attrs *a = net->a;
  int64_t used = 0;
  memset(room, 0, sizeof *room);
#define TAKE(pointer, floats)                                                                      \
  do {                                                                                             \
    (pointer) = memory ? (void *)(memory + used) : NULL;                                           \
    used += floats;                                                                                \
  } while (0)
  for (int l = 0; l <= a->layers; l++)
    TAKE(room->h[l], fg_mlp_padded(a->width[l]) * net->tile);
  for (int l = 0; l < a->layers; l++)
    if (!fg_unary_from_y(&a->act[l]))
      TAKE(room->z[l], fg_mlp_padded(a->width[l + 1]) * net->tile);
  TAKE(room->d, net->widest * net->tile);
  TAKE(room->other, net->widest * net->tile);
  for (int l = 1; l < a->layers; l++) {
    TAKE(room->live[l].at, fg_mlp_padded(2 * (int64_t)a->width[l]));
    TAKE(room->set[l], fg_mlp_padded(2 * fg_up(a->width[l], WORD)));
  }
#undef TAKE
  return used;
}

/* ---- the product of a sample alone: its results are the lanes */

/* 64 results at a time, and as many arguments: a word has a bit for each. The loop is over the bits that are set, so
 * that nothing is multiplied by zero. */
enum ending { PLAIN, RELU, SLOPE };

struct product {
  const float *w, *in, *from, *relu_of;
  const uint64_t *set; /* NULL: all arguments count */
  float *out;
  uint64_t *set_out;
  int64_t n, m;
};

/* Bits of 8 vectors of results in order, a byte for each vector: four vectors to a lane, in which a lane sets its
 * own bit of each byte, then all lanes in one. */
struct word {
  bits half[2];
};

FG_INLINE void note(struct word *word, int g, const bits *set) {
  const bits lane = {1, 2, 4, 8, 16, 32, 64, 128};
  word->half[g / 4] |= *set & (lane << 8 * (g % 4));
}

FG_INLINE uint64_t in_one(const struct word *word) {
  pairs low = (pairs)word->half[0], high = (pairs)word->half[1];
  low = (low | low >> 32) & 0xffffffff;
  high = (high | high << 32) & ~(uint64_t)0xffffffff;
  low |= high;
  return (low[0] | low[2]) | (low[1] | low[3]);
}

/* ReLU of the sums, NaN staying NaN, and they where h, which ReLU gave, is not zero. Returns what is not zero then. */
FG_INLINE uint64_t relu(int groups, vec *sum) {
  struct word found = {0};
#pragma GCC unroll 8
  for (int g = 0; g < groups; g++) {
    bits set = ~(bits)(sum[g] <= 0);
    sum[g] = (vec)(set & (bits)sum[g]);
    note(&found, g, &set);
  }
  return in_one(&found);
}

FG_INLINE uint64_t slope(int groups, const vec *h, vec *sum) {
  struct word found = {0};
#pragma GCC unroll 8
  for (int g = 0; g < groups; g++) {
    sum[g] = (vec)(~(bits)(h[g] <= 0) & (bits)sum[g]);
    bits set = (bits)(sum[g] != 0);
    note(&found, g, &set);
  }
  return in_one(&found);
}

/* sum[] += in[i] times the weights' row i, for each bit i of `left`, in order. Both addresses are kept whole: gcc
 * would take them apart, for more instructions in each turn. */
FG_INLINE void add_rows(int groups, const char *w, int64_t pitch, const float *in, uint64_t left,
                        vec *sum) {
  __asm__("" : "+r"(in), "+r"(pitch), "+r"(w));
  for (; left; left &= left - 1) {
    int64_t i = __builtin_ctzll(left);
    const char *row = w + i * pitch;
    __asm__("" : "+r"(row));
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++)
      sum[g] += ((const vec *)row)[g] * in[i];
  }
}

/* Up to 64 arguments from i on of results from `at` on, to what the arguments before them gave. */
FG_INLINE void add_word(const int groups, const enum ending ending, const struct product *p,
                        int64_t at, int64_t i) {
  static const float zeros[WORD] __attribute__((aligned(32))) = {0};
  const int64_t wide_m = fg_mlp_padded(p->m), left = p->n - i;
  const uint64_t all = ~(uint64_t)0 >> (left < WORD ? WORD - left : 0);
  const float *from = i ? p->out + at : p->from ? p->from + at : zeros;
  vec sum[WORD / LANES];
#pragma GCC unroll 8
  for (int g = 0; g < groups; g++)
    sum[g] = ((const vec *)from)[g];
  add_rows(groups, (const char *)(p->w + i * wide_m + at), wide_m * (int64_t)sizeof *p->w,
           p->in + i, p->set ? p->set[i / WORD] & all : all, sum);
  if (ending == RELU)
    p->set_out[at / WORD] = relu(groups, sum);
  if (ending == SLOPE)
    p->set_out[at / WORD] = slope(groups, (const vec *)(p->relu_of + at), sum);
#pragma GCC unroll 8
  for (int g = 0; g < groups; g++)
    ((vec *)(p->out + at))[g] = sum[g];
}

FG_INLINE void lane_groups(const int groups, const enum ending ending, const struct product *p,
                           int64_t at) {
  int64_t i = 0;
  for (; i + WORD < p->n; i += WORD)
    add_word(groups, PLAIN, p, at, i);
  add_word(groups, ending, p, at, i);
}

FG_INLINE void all_groups(const enum ending ending, const struct product *p) {
  for (int64_t at = 0; at < p->m; at += WORD) {
#define CASE(k)                                                                                    \
  case k:                                                                                          \
    lane_groups(k, ending, p, at);                                                                 \
    break
    switch (fg_up(fg_least(p->m - at, WORD), LANES)) {
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
  }
}

FG_CLONES static void mlp_product_alone(enum ending ending, const struct product *p) {
  if (ending == RELU)
    all_groups(RELU, p);
  else if (ending == SLOPE)
    all_groups(SLOPE, p);
  else
    all_groups(PLAIN, p);
}

/* ---- the network */

static struct fg_mlp_list all_of(const struct fg_mlp_net *net, int l) {
  return (struct fg_mlp_list){(struct fg_mlp_row *)(net->packed + net->every[l]), net->a->width[l]};
}

/* Rows that layer l's values have: those that ReLU left, or all. */
static struct fg_mlp_list rows_of(const struct fg_mlp_net *net, const struct fg_mlp_room *room,
                                  int l) {
  return ends_product(net->a, l - 1) ? room->live[l] : all_of(net, l);
}

static int64_t multiply_tile(const struct fg_mlp_product *p, int64_t tile) {
  return tile == FG_MLP_TILE ? fg_mlp_product_16(p) : fg_mlp_product_8(p);
}

static void forward_tile(const struct fg_mlp_net *net, struct fg_mlp_room *room, int l) {
  bool ends = ends_product(net->a, l);
  room->live[l + 1].n =
      multiply_tile(&(struct fg_mlp_product){.way = ends ? FG_MLP_FORWARD_RELU : FG_MLP_FORWARD,
                                             .keeps = !net->all_finite,
                                             .w = net->packed + net->by_in[l],
                                             .in = room->h[l],
                                             .from = net->packed + net->bias[l],
                                             .args = rows_of(net, room, l),
                                             .rows = all_of(net, l + 1),
                                             .live = room->live[l + 1].at,
                                             .out = room->h[l + 1]},
                    net->tile);
}

static void forward_alone(const struct fg_mlp_net *net, struct fg_mlp_room *room, int l) {
  const struct fg_mlp_attrs *a = net->a;
  bool ends = ends_product(a, l), zeros = ends_product(a, l - 1) && net->all_finite;
  mlp_product_alone(ends ? RELU : PLAIN, &(struct product){.w = net->packed + net->by_in[l],
                                                           .in = room->h[l],
                                                           .from = net->packed + net->bias[l],
                                                           .set = zeros ? room->set[l] : NULL,
                                                           .out = room->h[l + 1],
                                                           .set_out = room->set[l + 1],
                                                           .n = a->width[l],
                                                           .m = a->width[l + 1]});
}

void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile) {
  const struct fg_mlp_attrs *a = net->a;
  for (int l = 0; l < a->layers; l++) {
    int64_t count = a->width[l + 1] * tile;
    if (tile > 1)
      forward_tile(net, room, l);
    else
      forward_alone(net, room, l);
    if (room->z[l])
      memcpy(room->z[l], room->h[l + 1], (size_t)count * sizeof(float));
    if (!ends_product(a, l))
      fg_cpu_act(&a->act[l], room->h[l + 1], count);
  }
}

static void backward_tile(const struct fg_mlp_net *net, struct fg_mlp_room *room, int l) {
  bool ends = ends_product(net->a, l - 1);
  multiply_tile(&(struct fg_mlp_product){.way = ends ? FG_MLP_BACKWARD_SLOPE : FG_MLP_BACKWARD,
                                         .w = net->packed + net->by_in[l],
                                         .in = room->d,
                                         .args = rows_of(net, room, l + 1),
                                         .rows = rows_of(net, room, l),
                                         .relu_of = ends ? room->h[l] : NULL,
                                         .out = room->other},
                net->tile);
}

static void backward_alone(const struct fg_mlp_net *net, struct fg_mlp_room *room, int l) {
  const struct fg_mlp_attrs *a = net->a;
  bool ends = ends_product(a, l - 1), zeros = ends_product(a, l) && net->all_finite;
  mlp_product_alone(ends ? SLOPE : PLAIN, &(struct product){.w = net->packed + net->by_out[l],
                                                            .in = room->d,
                                                            .set = zeros ? room->set[l + 1] : NULL,
                                                            .relu_of = room->h[l],
                                                            .out = room->other,
                                                            .set_out = room->set[l],
                                                            .n = a->width[l + 1],
                                                            .m = a->width[l]});
}

void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t tile) {
  const struct fg_mlp_attrs *a = net->a;
  for (int l = a->layers - 1; l >= 0; l--) {
    if (!ends_product(a, l))
      fg_cpu_act_grad(&a->act[l], room->z[l] ? room->z[l] : room->h[l + 1], room->d,
                      a->width[l + 1] * tile);
    if (tile > 1)
      backward_tile(net, room, l);
    else
      backward_alone(net, room, l);
    float *swap = room->d;
    room->d = room->other;
    room->other = swap;
  }
}
