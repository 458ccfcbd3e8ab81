/* See mlp_net.h. The two products of a layer are of one shape, out[o] = sum over i of w[i][o] in[i]:
 * forward with the bias to begin with and `forward` for w, backward with zeros and `backward`. */
#include "mlp_net.h"

#include <math.h>
#include <string.h>

#include "unary.h"

typedef float vec __attribute__((vector_size(32), may_alias));
typedef int32_t bits __attribute__((vector_size(32), may_alias));
typedef uint64_t pairs __attribute__((vector_size(32), may_alias));
enum { LANES = 8, WORD = 64, NARROW = 8 };

/* Whether a product takes the layer's activation, or its slope, with it. */
static bool ends_product(const struct fg_mlp_attrs *a, int layer) {
  return layer >= 0 && a->act[layer].kind == FG_UNARY_relu;
}

/* Whether so many of the products' arguments, forward and backward, come from ReLU or its slope that leaving out
 * their zeros, mostly half of them or more, outweighs what a dense product by rows is faster. */
static bool mostly_relu(const struct fg_mlp_attrs *a) {
  int64_t all = 0, from_relu = 0;
  for (int l = 0; l < a->layers; l++) {
    int64_t weights = (int64_t)a->width[l] * a->width[l + 1];
    all += 2 * weights;
    from_relu += (ends_product(a, l - 1) + ends_product(a, l)) * weights;
  }
  return 4 * from_relu >= 3 * all;
}

void fg_mlp_net_shape(const struct fg_mlp_attrs *a, struct fg_mlp_net *net) {
  int64_t at = 0;
  int lanes = fg_cpu_block();
  *net = (struct fg_mlp_net){.a = a,
                             .by_rows = lanes == 16 || (lanes == 8 && !mostly_relu(a)),
                             .tile = lanes == 16 ? FG_MLP_TILE : FG_MLP_SMALL_TILE,
                             .widest = fg_mlp_padded(a->width[0])};
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

void fg_mlp_net_pack(struct fg_mlp_net *net, const float *weights, float *to) {
  net->packed = to;
  net->all_finite = true;
  memset(to, 0, (size_t)net->packed_floats * sizeof *to);
  for (int l = 0; l < net->a->layers; l++) {
    int64_t n = net->a->width[l], m = net->a->width[l + 1];
    int64_t wide_n = fg_mlp_padded(n), wide_m = fg_mlp_padded(m);
    for (int64_t o = 0; o < m; o++)
      for (int64_t i = 0; i < n; i++) {
        to[net->forward[l] + i * wide_m + o] = weights[o * n + i];
        to[net->backward[l] + o * wide_n + i] = weights[o * n + i];
        net->all_finite &= isfinite(weights[o * n + i]) != 0;
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
    (pointer) = memory ? (void *)(memory + used) : NULL;                                           \
    used += (rows)*net->tile;                                                                      \
  } while (0)
  for (int l = 0; l <= a->layers; l++)
    TAKE(room->h[l], fg_mlp_padded(a->width[l]));
  for (int l = 0; l < a->layers; l++)
    if (!fg_unary_from_y(&a->act[l]))
      TAKE(room->z[l], fg_mlp_padded(a->width[l + 1]));
  for (int l = 1; l < a->layers; l++)
    TAKE(room->live[l], 2 * fg_up(a->width[l], WORD));
  TAKE(room->d, net->widest);
  TAKE(room->other, net->widest);
#undef TAKE
  return used;
}

/* ---- a product by samples: the results are the lanes */

/* 64 results of every sample at a time, and as many arguments: their weights stay in the nearest cache, and a word
 * has a bit for each. The loop is over the bits that are set, so that nothing is multiplied by zero. How often it
 * turns cannot be foretold; the turns are short, so that the next sample's begin while the sums of this one's go on. */
enum ending { PLAIN, RELU, SLOPE };

struct product {
  const float *w, *in, *from, *slope_of;
  const uint64_t *live; /* NULL: all arguments count */
  float *out;
  uint64_t *live_out;
  int64_t n, m, samples;
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

/* ReLU of the sums, and they times ReLU's slope at v, as unary.c has them: NaN stays NaN. Returns what is not zero then. */
FG_INLINE uint64_t relu(int groups, vec *sum) {
  struct word live = {0};
#pragma GCC unroll 8
  for (int g = 0; g < groups; g++) {
    bits set = ~(bits)(sum[g] <= 0);
    sum[g] = (vec)(set & (bits)sum[g]);
    note(&live, g, &set);
  }
  return in_one(&live);
}

FG_INLINE uint64_t slope(int groups, const vec *v, vec *sum) {
  const vec one = (vec){0} + 1.0f;
  struct word live = {0};
#pragma GCC unroll 8
  for (int g = 0; g < groups; g++) {
    sum[g] *= (vec)(~(bits)(v[g] <= 0) & (bits)one);
    bits set = (bits)(sum[g] != 0);
    note(&live, g, &set);
  }
  return in_one(&live);
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
  const int64_t wide_n = fg_mlp_padded(p->n), wide_m = fg_mlp_padded(p->m), samples = p->samples;
  const int64_t words_n = p->live ? fg_up(p->n, WORD) : 0, words_m = fg_up(p->m, WORD);
  const uint64_t all = ~(uint64_t)0 >> (p->n - i < WORD ? WORD - (p->n - i) : 0);
  const uint64_t *live = p->live ? p->live + i / WORD : &all;
  const int64_t from_step = i ? wide_m : 0;
  const float *w = p->w + i * wide_m + at, *in = p->in + i;
  const float *from = i ? p->out + at : p->from ? p->from + at : zeros;
  const float *v = ending == SLOPE ? p->slope_of + at : NULL;
  uint64_t *live_out = ending == PLAIN ? NULL : p->live_out + at / WORD;
  float *out = p->out + at;
  for (int64_t s = 0; s < samples; s++) {
    vec sum[WORD / LANES];
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++)
      sum[g] = ((const vec *)(from + s * from_step))[g];
    add_rows(groups, (const char *)w, wide_m * (int64_t)sizeof *w, in + s * wide_n,
             live[s * words_n] & all, sum);
    if (ending == RELU)
      live_out[s * words_m] = relu(groups, sum);
    if (ending == SLOPE)
      live_out[s * words_m] = slope(groups, (const vec *)(v + s * wide_m), sum);
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++)
      ((vec *)(out + s * wide_m))[g] = sum[g];
  }
}

FG_INLINE void lane_groups(const int groups, const enum ending ending, const struct product *p,
                           int64_t at) {
  int64_t i = 0;
  for (; i + WORD < p->n; i += WORD)
    add_word(groups, PLAIN, p, at, i);
  add_word(groups, ending, p, at, i);
}

/* Samples from s on, side by side: a single vector of each waits for its own last sum at every argument. */
FG_INLINE void narrow(const int samples, const struct product *p, int64_t s) {
  const int64_t wide_n = fg_mlp_padded(p->n);
  const float *in = p->in + s * wide_n;
  vec sum[NARROW];
#pragma GCC unroll 8
  for (int k = 0; k < samples; k++)
    sum[k] = p->from ? *(const vec *)p->from : (vec){0};
  for (int64_t i = 0; i < p->n; i++) {
    const vec row = ((const vec *)p->w)[i];
#pragma GCC unroll 8
    for (int k = 0; k < samples; k++)
      sum[k] += row * in[k * wide_n + i];
  }
#pragma GCC unroll 8
  for (int k = 0; k < samples; k++)
    ((vec *)p->out)[s + k] = sum[k];
}

FG_INLINE void all_narrow(const struct product *p) {
  int64_t s = 0;
  for (; s + NARROW <= p->samples; s += NARROW)
    narrow(NARROW, p, s);
  for (; s < p->samples; s++)
    narrow(1, p, s);
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

FG_CLONES static void mlp_product_by_samples(enum ending ending, const struct product *p) {
  if (ending == RELU)
    all_groups(RELU, p);
  else if (ending == SLOPE)
    all_groups(SLOPE, p);
  else if (p->m <= LANES)
    all_narrow(p);
  else
    all_groups(PLAIN, p);
}

/* ---- the network */

static void multiply(const struct product *p, enum ending ending, int64_t tile) {
  struct fg_mlp_end end = {ending == RELU, ending == SLOPE ? p->slope_of : NULL};
  if (tile == 1)
    mlp_product_by_samples(ending, p);
  else if (tile == FG_MLP_TILE)
    fg_mlp_product_16(p->w, p->in, p->n, p->from, end, p->out, p->m);
  else
    fg_mlp_product_8(p->w, p->in, p->n, p->from, end, p->out, p->m);
}

/* Numbers of a layer of n samples, the padding among them. */
static int64_t numbers(int64_t width, int64_t n, int64_t tile) {
  return tile == 1 ? fg_mlp_padded(width) * n : width * tile;
}

void fg_mlp_forward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t n,
                    int64_t tile) {
  const struct fg_mlp_attrs *a = net->a;
  bool taken = false;
  for (int l = 0; l < a->layers; l++) {
    int64_t count = numbers(a->width[l + 1], n, tile);
    bool ends = ends_product(a, l);
    float *h = room->h[l + 1];
    multiply(&(struct product){.w = net->packed + net->forward[l],
                               .in = room->h[l],
                               .from = net->packed + net->bias[l],
                               .live = taken && net->all_finite ? room->live[l] : NULL,
                               .out = h,
                               .live_out = ends ? room->live[l + 1] : NULL,
                               .n = a->width[l],
                               .m = a->width[l + 1],
                               .samples = n},
             ends ? RELU : PLAIN, tile);
    if (room->z[l])
      memcpy(room->z[l], h, (size_t)count * sizeof *h);
    if (!ends)
      fg_cpu_act(&a->act[l], h, count);
    taken = ends;
  }
}

void fg_mlp_backward(const struct fg_mlp_net *net, struct fg_mlp_room *room, int64_t n,
                     int64_t tile) {
  const struct fg_mlp_attrs *a = net->a;
  bool taken = false;
  for (int l = a->layers - 1; l >= 0; l--) {
    bool ends = ends_product(a, l - 1);
    if (!taken)
      fg_cpu_act_grad(&a->act[l], room->z[l] ? room->z[l] : room->h[l + 1], room->d,
                      numbers(a->width[l + 1], n, tile));
    multiply(&(struct product){.w = net->packed + net->backward[l],
                               .in = room->d,
                               .live = taken && net->all_finite ? room->live[l + 1] : NULL,
                               .slope_of = room->h[l],
                               .out = room->other,
                               .live_out = ends ? room->live[l] : NULL,
                               .n = a->width[l + 1],
                               .m = a->width[l],
                               .samples = n},
             ends ? SLOPE : PLAIN, tile);
    taken = ends;
    float *swap = room->d;
    room->d = room->other;
    room->other = swap;
  }
}
