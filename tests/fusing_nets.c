/* See fusing_nets.h. Weights are drawn so that no gradient is near 0, where backends may differ in sign. */
#include "fusing_nets.h"

#include <math.h>
#include <stdlib.h>

#include "philox.h"

/* ---- pieces of networks */

float fusing_draw(uint64_t seed, int64_t i) {
  return fg_philox_symmetric(fg_philox_sample(seed, i, 5, 0).word[0]);
}

fgsm_status fusing_constant(struct fg_graph *g, int rank, const int64_t *dim, double scale,
                            uint64_t seed, fg_id *out) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    n *= dim[i];
  float *data = malloc((size_t)n * sizeof *data);
  if (!data)
    return FG_FAIL(MEMORY, "no memory for a test");
  for (int64_t i = 0; i < n; i++)
    data[i] = (float)scale * fusing_draw(seed, i);
  fgsm_status status = fg_graph_constant(g, "", FG_F32, rank, dim, data, out);
  free(data);
  return status;
}

/* x [N, ...] -> x w + b. */
static fgsm_status dense(struct fg_graph *g, fg_id *x, int64_t m, bool trans, bool bias,
                         uint64_t seed) {
  const struct fg_value *v = fg_value(g, *x);
  int64_t n = v->dim[v->rank - 1], dim[2] = {trans ? m : n, trans ? n : m};
  union fg_attrs a = {.matmul = {.trans_b = trans, .alpha = 1}};
  fg_id in[3] = {*x, FG_ABSENT, FG_ABSENT}, out[FG_MAX_OUT];
  FG_TRY(fusing_constant(g, 2, dim, 1.5 / sqrt((double)n), seed, &in[1]));
  if (bias)
    FG_TRY(fusing_constant(g, 1, &m, 0.3, seed + 1, &in[2]));
  FG_TRY(fg_graph_add(g, FG_OP_matmul, "dense", &a, bias ? 3 : 2, in, out));
  *x = out[0];
  return FGSM_OK;
}

static fgsm_status conv(struct fg_graph *g, fg_id *x, int64_t k, int r, int stride, int pad,
                        uint64_t seed) {
  int64_t c = fg_value(g, *x)->dim[1];
  union fg_attrs a = {.conv = {.spatial = 2,
                               .group = 1,
                               .stride = {stride, stride},
                               .dilation = {1, 1},
                               .pad_lo = {pad, pad},
                               .pad_hi = {pad, pad}}};
  fg_id in[2] = {*x, FG_ABSENT}, out[FG_MAX_OUT];
  FG_TRY(fusing_constant(g, 4, (int64_t[]){k, c, r, r}, 0.5, seed, &in[1]));
  FG_TRY(fg_graph_add(g, FG_OP_conv, "conv", &a, 2, in, out));
  *x = out[0];
  return FGSM_OK;
}

static fgsm_status max_pool(struct fg_graph *g, fg_id *x) {
  union fg_attrs a = {.pool = {.spatial = 2,
                               .window = {3, 3},
                               .stride = {2, 2},
                               .dilation = {1, 1},
                               .pad_lo = {1, 1},
                               .pad_hi = {1, 1}}};
  fg_id out[FG_MAX_OUT];
  FG_TRY(fg_graph_add(g, FG_OP_max_pool, "pool", &a, 1, x, out));
  *x = out[0];
  return FGSM_OK;
}

static fgsm_status flatten(struct fg_graph *g, fg_id *x) {
  int64_t n = fg_value(g, *x)->dim[0];
  return fg_reshape(g, *x, 2, (int64_t[]){n, fg_value_count(g, *x) / n}, x);
}

static fgsm_status act(struct fg_graph *g, enum fg_unary_kind kind, double alpha, fg_id *x) {
  return fg_unary(g, kind, alpha, 0, *x, x);
}

/* (x - mean) / std of each channel. */
static fgsm_status normalise(struct fg_graph *g, fg_id *x) {
  int64_t c = fg_value(g, *x)->dim[1];
  fg_id mean, std;
  FG_TRY(fusing_constant(g, 4, (int64_t[]){1, c, 1, 1}, 0.4, 91, &mean));
  FG_TRY(fg_binary(g, FG_BINARY_sub, *x, mean, x));
  FG_TRY(fg_graph_scalar(g, 0.25, &std));
  return fg_binary(g, FG_BINARY_div, *x, std, x);
}

/* ---- networks: x becomes logits [N, 5] */

fgsm_status fusing_net_relu(struct fg_graph *g, fg_id *x) {
  FG_TRY(flatten(g, x));
  for (int l = 0; l < 4; l++) {
    FG_TRY(dense(g, x, 20 + l, l % 2, true, 10 * (uint64_t)l + 1));
    FG_TRY(act(g, FG_UNARY_relu, 0, x));
  }
  return dense(g, x, 5, false, true, 77);
}

fgsm_status fusing_net_curved(struct fg_graph *g, fg_id *x) {
  static const enum fg_unary_kind kinds[] = {FG_UNARY_gelu, FG_UNARY_tanh, FG_UNARY_sigmoid,
                                             FG_UNARY_gelu_tanh, FG_UNARY_leaky_relu};
  FG_TRY(flatten(g, x));
  for (int l = 0; l < 5; l++) {
    FG_TRY(dense(g, x, 16, true, l != 2, 10 * (uint64_t)l + 1));
    FG_TRY(act(g, kinds[l], 0.1, x));
  }
  return dense(g, x, 5, true, false, 77);
}

fgsm_status fusing_net_normalised(struct fg_graph *g, fg_id *x) {
  FG_TRY(normalise(g, x));
  return fusing_net_relu(g, x);
}

fgsm_status fusing_net_of_one_layer(struct fg_graph *g, fg_id *x) {
  FG_TRY(flatten(g, x));
  return dense(g, x, 5, false, true, 3);
}

/* A dense network with something beside the chain. */
fgsm_status fusing_net_residual(struct fg_graph *g, fg_id *x) {
  fg_id h;
  FG_TRY(flatten(g, x));
  FG_TRY(dense(g, x, 18, false, true, 1));
  FG_TRY(act(g, FG_UNARY_relu, 0, x));
  h = *x;
  FG_TRY(dense(g, x, 18, false, true, 2));
  FG_TRY(act(g, FG_UNARY_relu, 0, x));
  FG_TRY(fg_binary(g, FG_BINARY_add, h, *x, x));
  return dense(g, x, 5, false, true, 4);
}

fgsm_status fusing_net_softplus(struct fg_graph *g, fg_id *x) {
  FG_TRY(flatten(g, x));
  FG_TRY(dense(g, x, 18, false, true, 1));
  FG_TRY(act(g, FG_UNARY_softplus, 0, x));
  return dense(g, x, 5, true, true, 4);
}

fgsm_status fusing_net_conv(struct fg_graph *g, fg_id *x) {
  FG_TRY(conv(g, x, 6, 3, 1, 1, 1));
  FG_TRY(act(g, FG_UNARY_relu, 0, x));
  FG_TRY(flatten(g, x));
  return dense(g, x, 5, false, true, 4);
}

static fgsm_status net_pooled(struct fg_graph *g, fg_id *x, enum fg_unary_kind kind) {
  FG_TRY(conv(g, x, 6, 3, 1, 1, 1));
  if (kind != FG_UNARY_identity)
    FG_TRY(act(g, kind, 0.1, x));
  FG_TRY(max_pool(g, x));
  FG_TRY(conv(g, x, 4, 3, 1, 1, 9));
  FG_TRY(act(g, FG_UNARY_relu, 0, x));
  FG_TRY(flatten(g, x));
  return dense(g, x, 5, false, true, 4);
}

fgsm_status fusing_net_pooled_relu(struct fg_graph *g, fg_id *x) {
  return net_pooled(g, x, FG_UNARY_relu);
}
fgsm_status fusing_net_pooled_plain(struct fg_graph *g, fg_id *x) {
  return net_pooled(g, x, FG_UNARY_identity);
}
fgsm_status fusing_net_pooled_gelu(struct fg_graph *g, fg_id *x) {
  return net_pooled(g, x, FG_UNARY_gelu);
}

/* ---- parts of a layer, each with a layer of its own */

struct cut {
  int from, n, step;
};

/* x [N, 24] is cut along its last axis. */
static fgsm_status net_of_parts(struct fg_graph *g, fg_id *x, int n, const struct cut *cuts) {
  fg_id sum = FG_ABSENT;
  FG_TRY(flatten(g, x));
  FG_TRY(dense(g, x, 24, false, true, 1));
  for (int i = 0; i < n; i++) {
    union fg_attrs a = {.slice = {.start = {0, cuts[i].from},
                                  .step = {1, cuts[i].step},
                                  .dim = {fg_value(g, *x)->dim[0], cuts[i].n}}};
    fg_id part[FG_MAX_OUT];
    FG_TRY(fg_graph_add(g, FG_OP_slice, "part", &a, 1, x, part));
    FG_TRY(dense(g, &part[0], 18, false, true, 10 * (uint64_t)i + 2));
    FG_TRY(act(g, FG_UNARY_relu, 0, &part[0]));
    if (sum == FG_ABSENT)
      sum = part[0];
    else
      FG_TRY(fg_binary(g, FG_BINARY_add, sum, part[0], &sum));
  }
  *x = sum;
  return dense(g, x, 5, false, true, 4);
}

fgsm_status fusing_net_split(struct fg_graph *g, fg_id *x) {
  return net_of_parts(g, x, 3, (struct cut[]){{16, 8, 1}, {0, 7, 1}, {7, 9, 1}});
}
fgsm_status fusing_net_split_in_four(struct fg_graph *g, fg_id *x) {
  return net_of_parts(g, x, 4, (struct cut[]){{0, 6, 1}, {6, 6, 1}, {18, 6, 1}, {12, 6, 1}});
}
fgsm_status fusing_net_split_with_a_gap(struct fg_graph *g, fg_id *x) {
  return net_of_parts(g, x, 3, (struct cut[]){{16, 8, 1}, {0, 7, 1}, {7, 8, 1}});
}
fgsm_status fusing_net_split_without_the_end(struct fg_graph *g, fg_id *x) {
  return net_of_parts(g, x, 2, (struct cut[]){{0, 7, 1}, {7, 16, 1}});
}
fgsm_status fusing_net_split_twice_at_a_place(struct fg_graph *g, fg_id *x) {
  return net_of_parts(g, x, 3, (struct cut[]){{16, 8, 1}, {0, 8, 1}, {7, 9, 1}});
}
fgsm_status fusing_net_split_by_turns(struct fg_graph *g, fg_id *x) {
  return net_of_parts(g, x, 2, (struct cut[]){{0, 12, 2}, {1, 12, 2}});
}
