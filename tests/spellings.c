/* See spellings.h. */
#include "spellings.h"

#include <criterion/criterion.h>
#include <math.h>

#define SQRT_2 1.41421356237309504880
#define TANH_SCALE 0.79788456080286535588

double spelling_number(uint64_t i) {
  i = (i + 1) * 0x9E3779B97F4A7C15u;
  i ^= i >> 29;
  i *= 0xBF58476D1CE4E5B9u;
  return (double)(int64_t)i * 0x1p-63;
}

/* ---- building */

static fg_id num(struct fg_graph *g, double v) {
  fg_id id;
  cr_assert_eq(fg_graph_scalar(g, v, &id), FGSM_OK);
  return id;
}

static fg_id filled(struct fg_graph *g, int rank, const int64_t *dim, double scale, double shift) {
  double data[256];
  int64_t n = 1;
  fg_id id;
  for (int i = 0; i < rank; i++)
    n *= dim[i];
  cr_assert_leq(n, 256);
  for (int64_t i = 0; i < n; i++)
    data[i] = shift + scale * spelling_number(99 + (uint64_t)i);
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, rank, dim, data, &id), FGSM_OK);
  return id;
}
#define FILLED(g, scale, shift, ...)                                                               \
  filled(g, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__},   \
         scale, shift)

static fg_id bin(struct fg_graph *g, enum fg_binary_kind kind, fg_id a, fg_id b) {
  fg_id y;
  cr_assert_eq(fg_binary(g, kind, a, b, &y), FGSM_OK, "%s", fgsm_last_error());
  return y;
}
#define ADD(a, b) bin(g, FG_BINARY_add, a, b)
#define SUB(a, b) bin(g, FG_BINARY_sub, a, b)
#define MUL(a, b) bin(g, FG_BINARY_mul, a, b)
#define DIV(a, b) bin(g, FG_BINARY_div, a, b)
#define NUM(v) num(g, v)

static fg_id un(struct fg_graph *g, enum fg_unary_kind kind, double a, double b, fg_id x) {
  fg_id y;
  cr_assert_eq(fg_unary(g, kind, a, b, x, &y), FGSM_OK, "%s", fgsm_last_error());
  return y;
}
#define UN(kind, x) un(g, FG_UNARY_##kind, 0, 0, x)
#define POW(x, a) un(g, FG_UNARY_power, a, 0, x)

static fg_id red(struct fg_graph *g, enum fg_reduce_kind kind, fg_id x, uint32_t axes) {
  fg_id y;
  cr_assert_eq(fg_reduce(g, kind, x, axes, true, &y), FGSM_OK, "%s", fgsm_last_error());
  return y;
}
#define MEAN(x, axes) red(g, FG_REDUCE_mean, x, axes)

static fg_id view(struct fg_graph *g, fg_id x, int rank, const int64_t *dim) {
  fg_id y;
  cr_assert_eq(fg_reshape(g, x, rank, dim, &y), FGSM_OK, "%s", fgsm_last_error());
  return y;
}
#define VIEW(x, ...)                                                                               \
  view(g, x, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static fg_id turn(struct fg_graph *g, fg_id x, int a, int b, int c, int d) {
  fg_id y;
  cr_assert_eq(fg_transpose(g, x, (const int[]){a, b, c, d}, &y), FGSM_OK);
  return y;
}

static fg_id product(struct fg_graph *g, fg_id a, fg_id b, bool trans_b) {
  fg_id y;
  cr_assert_eq(fg_matmul(g, a, b, false, trans_b, 1, &y), FGSM_OK, "%s", fgsm_last_error());
  return y;
}

static fg_id softmax(struct fg_graph *g, fg_id x, int axis, bool log) {
  fg_id out[FG_MAX_OUT];
  union fg_attrs a = {.softmax = {axis, log}};
  cr_assert_eq(fg_graph_add(g, FG_OP_softmax, "softmax", &a, 1, &x, out), FGSM_OK);
  return out[0];
}

static void also_an_output(struct fg_graph *g, fg_id value) {
  cr_assert_eq(fg_graph_output(g, value, NULL), FGSM_OK);
}

/* ---- spellings. x: the inputs; below 0 a form is a near miss. */

static fg_id gelu(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0], half = NUM(0.5), e = UN(erf, DIV(x, NUM(SQRT_2))), e1 = ADD(e, NUM(1));
  switch (form) {
  case 0:
    return MUL(MUL(x, half), e1);
  case 1:
    return MUL(half, MUL(x, ADD(NUM(1), UN(erf, MUL(x, NUM(1 / SQRT_2))))));
  case 2:
    return MUL(x, MUL(half, e1));
  case 3:
    return MUL(ADD(half, MUL(e, half)), x);
  case 4:
    return ADD(MUL(x, half), MUL(MUL(half, x), e));
  case 5:
    return DIV(MUL(e1, x), NUM(2));
  case 6: /* of a sum, as behind a layer */
    x = ADD(x, FILLED(g, 1, 0, 8));
    return MUL(MUL(x, half), ADD(UN(erf, DIV(x, NUM(SQRT_2))), NUM(1)));
  case -1:
    return MUL(MUL(x, half), ADD(UN(erf, DIV(x, NUM(1.4))), NUM(1)));
  case -2:
    return MUL(MUL(x, NUM(0.4)), e1);
  case -3:
    return MUL(MUL(MUL(x, x), half), e1);
  case -4:
    also_an_output(g, e);
    return MUL(MUL(x, half), e1);
  case -5: /* another x */
    return MUL(MUL(in[1], half), e1);
  default:
    return MUL(MUL(x, half), ADD(e, NUM(0.9)));
  }
}

static fg_id gelu_tanh(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0], half = NUM(0.5), s = NUM(TANH_SCALE), k = NUM(0.044715);
  fg_id cubic = ADD(x, MUL(k, POW(x, 3))), t = UN(tanh, MUL(s, cubic));
  switch (form) {
  case 0:
    return MUL(MUL(half, x), ADD(NUM(1), t));
  case 1:
    return MUL(x, MUL(half, ADD(UN(tanh, MUL(ADD(MUL(MUL(MUL(x, x), x), k), x), s)), NUM(1))));
  case 2:
    t = UN(tanh, MUL(MUL(x, s), ADD(NUM(1), MUL(MUL(k, x), x))));
    return MUL(MUL(half, x), ADD(NUM(1), t));
  case 3:
    return MUL(x, UN(sigmoid, MUL(NUM(2 * TANH_SCALE), cubic)));
  case -1:
    t = UN(tanh, MUL(s, ADD(x, MUL(NUM(0.045), POW(x, 3)))));
    return MUL(MUL(half, x), ADD(NUM(1), t));
  case -2:
    t = UN(tanh, MUL(s, ADD(x, MUL(k, POW(x, 2)))));
    return MUL(MUL(half, x), ADD(NUM(1), t));
  default:
    return MUL(MUL(half, in[1]), ADD(NUM(1), t));
  }
}

static fg_id silu(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0];
  switch (form) {
  case 0:
    return MUL(x, UN(sigmoid, x));
  case 1:
    return MUL(UN(sigmoid, x), x);
  case 2:
    return MUL(x, UN(sigmoid, MUL(NUM(1.702), x)));
  case -1:
    return MUL(in[1], UN(sigmoid, x));
  case -2:
    return MUL(x, UN(sigmoid, ADD(x, NUM(1))));
  case -3: { /* the gate is used elsewhere */
    fg_id gate = UN(sigmoid, x);
    return ADD(MUL(x, gate), MUL(in[1], gate));
  }
  default:
    return MUL(x, UN(sigmoid, MUL(x, x)));
  }
}

static fg_id mish(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0], gate = UN(tanh, UN(softplus, x));
  return form == 0 ? MUL(x, gate) : form == 1 ? MUL(gate, x) : MUL(in[1], gate);
}

static fg_id hard_swish(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0], six = NUM(6), three = NUM(3), r = UN(relu6, ADD(x, three));
  switch (form) {
  case 0:
    return DIV(MUL(x, r), six);
  case 1:
    return MUL(x, DIV(r, six));
  case 2:
    return MUL(MUL(r, NUM(1.0 / 6)), x);
  case 3:
    return MUL(x, un(g, FG_UNARY_clip, 0, 1, ADD(DIV(x, six), NUM(0.5))));
  case 4:
    return MUL(un(g, FG_UNARY_hard_sigmoid, 1.0 / 6, 0.5, x), x);
  case 5:
    return MUL(DIV(x, six), UN(relu6, ADD(three, x)));
  case -1:
    return DIV(MUL(x, UN(relu6, ADD(x, NUM(2)))), six);
  case -2:
    return DIV(MUL(x, r), NUM(5));
  case -3:
    return DIV(MUL(in[1], r), six);
  case -4:
    return MUL(x, un(g, FG_UNARY_clip, 0.1, 1, ADD(DIV(x, six), NUM(0.5))));
  default:
    return MUL(un(g, FG_UNARY_hard_sigmoid, 0.2, 0.5, x), x);
  }
}

static fg_id hard_sigmoid(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0];
  switch (form) {
  case 0:
    return DIV(UN(relu6, ADD(x, NUM(3))), NUM(6));
  case 1:
    return MUL(UN(relu6, ADD(MUL(x, NUM(1.2)), NUM(3))), NUM(1.0 / 6));
  case -1:
    return DIV(UN(relu6, ADD(x, NUM(3))), NUM(5));
  default: /* whose gradient on the bounds is another */
    return MUL(un(g, FG_UNARY_clip, 0, 1, ADD(MUL(x, NUM(0.2)), NUM(0.5))), NUM(1));
  }
}

static fg_id soft(struct fg_graph *g, const fg_id *in, int form) {
  fg_id x = in[0], shifted = SUB(x, red(g, FG_REDUCE_max, x, 4)), e = UN(exp, shifted);
  switch (form) {
  case 0:
    return DIV(e, red(g, FG_REDUCE_sum, e, 4));
  case 1:
    e = UN(exp, x);
    return DIV(e, red(g, FG_REDUCE_sum, e, 2));
  case 2:
    return SUB(shifted, UN(log, red(g, FG_REDUCE_sum, e, 4)));
  case 3:
    return SUB(x, UN(log, red(g, FG_REDUCE_sum, UN(exp, x), 4)));
  case -1:
    return DIV(e, red(g, FG_REDUCE_sum, e, 6));
  case -2:
    return DIV(e, red(g, FG_REDUCE_sum, UN(exp, in[1]), 4));
  case -3:
    return DIV(e, red(g, FG_REDUCE_max, e, 4));
  default:
    also_an_output(g, e);
    return DIV(e, red(g, FG_REDUCE_sum, e, 4));
  }
}

/* Over the last axis (mask 4 of [B, S, D]) or the last two (6). */
static fg_id layer_norm(struct fg_graph *g, const fg_id *in, int form) {
  uint32_t axes = form == 6 ? 6 : form == -1 ? 2 : 4;
  fg_id x = in[0], eps = NUM(1e-5), mean = MEAN(x, axes), d = SUB(x, mean);
  fg_id variance = MEAN(POW(d, 2), axes), raised = ADD(variance, eps), std = UN(sqrt, raised);
  fg_id gamma = FILLED(g, 0.5, 1, 8), beta = FILLED(g, 0.5, 0, 8), y = DIV(d, std), inv;
  switch (form) {
  case 0:
    return ADD(MUL(y, gamma), beta);
  case 1:
    return ADD(beta, MUL(gamma, DIV(d, UN(sqrt, ADD(eps, MEAN(MUL(d, d), axes))))));
  case 2:
    return ADD(MUL(MUL(d, POW(std, -1)), gamma), beta);
  case 3:
    return ADD(MUL(MUL(DIV(NUM(1), std), d), gamma), beta);
  case 4:
    return ADD(MUL(MUL(d, POW(raised, -0.5)), gamma), beta);
  case 5: /* the difference is computed twice */
    return MUL(DIV(SUB(x, mean), std), gamma);
  case 6:
    return y;
  case 7: /* batch-norm's way */
    inv = MUL(POW(raised, -0.5), gamma);
    return ADD(MUL(x, inv), SUB(beta, MUL(mean, inv)));
  case 8:
    inv = MUL(gamma, DIV(NUM(1), std));
    return ADD(SUB(MUL(inv, x), MUL(mean, inv)), beta);
  case 9: {
    fg_id second = MEAN(MUL(x, x), axes);
    inv = POW(ADD(SUB(second, MUL(mean, mean)), eps), -0.5);
    return ADD(SUB(beta, MUL(inv, mean)), MUL(x, inv));
  }
  case 10:
    return ADD(y, beta);
  case 11: /* of rank 3, as some write it */
    return ADD(MUL(y, FILLED(g, 0.5, 1, 1, 1, 8)), FILLED(g, 0.5, 0, 1, 1, 1));
  case 12: /* as tf2onnx writes Keras's */
  case 13:
  case -10: /* the mean is added, not taken off */
    inv = MUL(POW(std, -1), gamma);
    d = MUL(form < 0 ? mean : UN(neg, mean), inv);
    return ADD(MUL(x, inv), form == 13 ? d : ADD(d, beta));
  case -1: /* a middle axis */
    return ADD(MUL(y, gamma), beta);
  case -2:
    return MUL(DIV(d, ADD(UN(sqrt, variance), eps)), gamma);
  case -3:
    also_an_output(g, variance);
    return MUL(y, gamma);
  case -4: /* mean and variance over different axes */
    return DIV(d, UN(sqrt, ADD(MEAN(MUL(d, d), 6), eps)));
  case -5: /* the variance of another value */
    d = SUB(in[1], MEAN(in[1], axes));
    return DIV(SUB(x, mean), UN(sqrt, ADD(MEAN(MUL(d, d), axes), eps)));
  case -6: /* an unbiased variance */
    return DIV(d, UN(sqrt, ADD(MUL(variance, NUM(8.0 / 7)), eps)));
  case -8: /* a variance that is complete, over other axes */
    d = SUB(x, MEAN(x, 6));
    return DIV(SUB(x, mean), UN(sqrt, ADD(MEAN(MUL(d, d), 6), eps)));
  case -7: /* no mean: root mean square */
    return DIV(x, UN(sqrt, ADD(MEAN(MUL(x, x), axes), eps)));
  default:
    return DIV(d, un(g, FG_UNARY_power, 0.25, 0, raised));
  }
}

/* Over images [2, 3, 4, 5], whose mean is a pool. */
static fg_id layer_norm_of_images(struct fg_graph *g, const fg_id *in, int form) {
  union fg_attrs a = {
      .pool = {
          .spatial = 2, .window = {4, form < 0 ? 4 : 5}, .stride = {1, 1}, .dilation = {1, 1}}};
  fg_id x = in[0], mean[FG_MAX_OUT], variance[FG_MAX_OUT], d;
  cr_assert_eq(fg_graph_add(g, FG_OP_avg_pool, "", &a, 1, &x, mean), FGSM_OK);
  if (form < 0) /* a part of the image */
    mean[0] = MEAN(mean[0], 12);
  d = SUB(x, mean[0]);
  d = MUL(d, d);
  cr_assert_eq(fg_graph_add(g, FG_OP_avg_pool, "", &a, 1, &d, variance), FGSM_OK);
  if (form < 0)
    variance[0] = MEAN(variance[0], 12);
  return DIV(SUB(x, mean[0]), UN(sqrt, ADD(variance[0], NUM(1e-5))));
}

/* q, k, v [2, 5, 3, 8]: sample, place, head, number. */
static fg_id attention(struct fg_graph *g, const fg_id *in, int form) {
  fg_id q = turn(g, in[0], 0, 2, 1, 3), v = turn(g, in[2], 0, 2, 1, 3), c = NUM(0.35);
  fg_id kt = turn(g, in[1], 0, 2, 3, 1), k = turn(g, in[1], 0, 2, 1, 3),
        z = product(g, q, kt, false);
  fg_id mask = FILLED(g, 2, 0, 5, 5), root = NUM(sqrt(0.35));
  switch (form) {
  case 0:
    return turn(g, product(g, softmax(g, MUL(z, c), 3, false), v, false), 0, 2, 1, 3);
  case 1:
    z = product(g, MUL(q, root), MUL(kt, root), false);
    return product(g, softmax(g, z, 3, false), v, false);
  case 2:
    return product(g, softmax(g, ADD(DIV(z, NUM(2.5)), mask), 3, false), v, false);
  case 3: /* k as it is, transposed by the product; the mask scaled with the scores */
    z = product(g, q, k, true);
    return product(g, softmax(g, MUL(ADD(mask, z), c), 3, false), v, false);
  case 4: /* k turned twice, scaled in between */
    kt = turn(g, MUL(k, c), 0, 1, 3, 2);
    return product(g, softmax(g, product(g, q, kt, false), 3, false), v, false);
  case 5: /* a bias a head and one a sample */
    z = ADD(ADD(MUL(z, c), FILLED(g, 1, 0, 3, 5, 5)), FILLED(g, 1, 0, 2, 1, 1, 5));
    return product(g, softmax(g, z, 3, false), v, false);
  case 6: /* a bias that is computed, and has a gradient */
    z = ADD(MUL(z, c), turn(g, MEAN(in[2], 12), 0, 2, 3, 1));
    return product(g, softmax(g, z, 3, false), v, false);
  case 7: /* the softmax taken apart */
    z = MUL(z, c);
    z = UN(exp, SUB(z, red(g, FG_REDUCE_max, z, 8)));
    return product(g, DIV(z, red(g, FG_REDUCE_sum, z, 8)), v, false);
  case -1:
    return product(g, softmax(g, MUL(z, c), 2, false), v, false);
  case -2:
    z = softmax(g, MUL(z, c), 3, false);
    also_an_output(g, z);
    return product(g, z, v, false);
  case -3:
    return product(g, softmax(g, MUL(z, c), 3, true), v, false);
  case -4: /* a nonlinearity between the scores and the softmax */
    return product(g, softmax(g, UN(tanh, MUL(z, c)), 3, false), v, false);
  case -5: /* the scores are used elsewhere */
    also_an_output(g, z);
    return product(g, softmax(g, MUL(z, c), 3, false), v, false);
  default: /* one head of keys for all: nothing that the operator knows */
    kt = MEAN(kt, 2);
    return product(g, softmax(g, product(g, q, kt, false), 3, false), v, false);
  }
}

/* q, k, v [6, 5, 8], one product for all heads; or of two axes. */
static fg_id attention_of_matrices(struct fg_graph *g, const fg_id *in, int form) {
  fg_id kt, q = in[0], k = in[1], v = in[2], mask = FILLED(g, 2, 0, 6, 1, 5);
  if (form == 1) {
    q = red(g, FG_REDUCE_sum, q, 1), k = red(g, FG_REDUCE_sum, k, 1), v = MEAN(v, 1);
    cr_assert_eq(fg_reshape(g, q, 2, (int64_t[]){5, 8}, &q), FGSM_OK);
    cr_assert_eq(fg_reshape(g, k, 2, (int64_t[]){5, 8}, &k), FGSM_OK);
    cr_assert_eq(fg_reshape(g, v, 2, (int64_t[]){5, 8}, &v), FGSM_OK);
    return product(g, softmax(g, product(g, q, k, true), 1, false), v, false);
  }
  cr_assert_eq(fg_transpose(g, k, (const int[]){0, 2, 1}, &kt), FGSM_OK);
  return product(g, softmax(g, ADD(product(g, q, kt, false), mask), 2, false), v, false);
}

/* q, k, v [2, 5, 3, 8] as above; products over samples and heads in one axis. */
static fg_id attention_regrouped(struct fg_graph *g, const fg_id *in, int form) {
  fg_id q = VIEW(turn(g, in[0], 0, 2, 1, 3), 6, 5, 8), kt;
  fg_id k = VIEW(turn(g, in[1], 0, 2, 1, 3), 6, 5, 8);
  fg_id v = VIEW(turn(g, in[2], 0, 2, 1, 3), 6, 5, 8), z;
  cr_assert_eq(fg_transpose(g, k, (const int[]){0, 2, 1}, &kt), FGSM_OK);
  z = product(g, q, kt, false);
  switch (form) {
  case 0: /* einsum, as tf2onnx writes it */
    z = VIEW(VIEW(z, 2, 3, 5, 5, 1), 2, 3, 5, 5);
    z = softmax(g, DIV(z, NUM(2.8)), 3, false);
    z = product(g, VIEW(VIEW(z, 2, 3, 5, 1, 5), 6, 5, 5), v, false);
    return VIEW(VIEW(z, 2, 3, 5, 8, 1), 2, 3, 5, 8);
  case 1: /* a mask a sample, between two views */
    z = VIEW(ADD(VIEW(z, 2, 3, 5, 5), FILLED(g, 2, 0, 2, 1, 5, 5)), 6, 5, 5);
    return product(g, softmax(g, z, 2, false), v, false);
  case 2: /* a mask for all, in front of the view; one for keys, in products behind it */
    z = VIEW(ADD(z, FILLED(g, 2, 0, 5, 5)), 2, 3, 5, 5);
    z = MUL(ADD(z, FILLED(g, 2, 0, 2, 1, 1, 5)), NUM(0.7));
    return product(g, VIEW(softmax(g, z, 3, false), 6, 5, 5), v, false);
  case -1: /* an output in between */
    z = VIEW(z, 2, 3, 5, 5);
    also_an_output(g, z);
    return product(g, VIEW(softmax(g, z, 3, false), 6, 5, 5), v, false);
  case -2: /* other matrices: rows of two heads */
    z = softmax(g, VIEW(z, 3, 10, 5), 1, false);
    return product(g, VIEW(z, 6, 5, 5), v, false);
  default: /* two rows of scores under one softmax */
    z = softmax(g, VIEW(z, 3, 5, 10), 2, false);
    return product(g, VIEW(z, 6, 5, 5), v, false);
  }
}

/* q, k, v [6, 5, 2, 8]: three samples of two windows, place, head, number. */
static fg_id attention_in_windows(struct fg_graph *g, const fg_id *in, int form) {
  fg_id q = turn(g, in[0], 0, 2, 1, 3), kt = turn(g, in[1], 0, 2, 3, 1);
  fg_id v = turn(g, in[2], 0, 2, 1, 3), z, gain = FILLED(g, 0.5, 1, 2, 1, 1);
  fg_id relative = FILLED(g, 1, 0, 1, 2, 5, 5), mask = FILLED(g, 2, 0, 1, 2, 1, 5, 5);
  z = product(g, q, kt, false);
  switch (form) {
  case 0:
    z = VIEW(ADD(VIEW(ADD(z, relative), 3, 2, 2, 5, 5), mask), 6, 2, 5, 5);
    break;
  case 1: /* a scale a head, as of cosines */
    z = ADD(MUL(MUL(z, gain), NUM(0.5)), relative);
    break;
  case 2:
    z = VIEW(ADD(VIEW(ADD(MUL(gain, z), relative), 3, 2, 2, 5, 5), mask), 6, 2, 5, 5);
    break;
  case -1: /* a scale a head of the bias too */
    z = MUL(ADD(z, relative), gain);
    break;
  case -2: /* a bias by samples and heads, but not windows */
    z = VIEW(ADD(z, relative), 2, 3, 2, 5, 5);
    z = VIEW(ADD(z, FILLED(g, 2, 0, 2, 1, 1, 5, 5)), 6, 2, 5, 5);
    break;
  case -3: /* groupings that have no axes in common */
    z = VIEW(ADD(VIEW(z, 4, 3, 5, 5), FILLED(g, 1, 0, 3, 5, 5)), 6, 2, 5, 5);
    z = ADD(z, relative);
    break;
  default: /* a scale a row */
    z = MUL(z, FILLED(g, 0.5, 1, 2, 5, 1));
    break;
  }
  return product(g, softmax(g, z, 3, false), v, false);
}

static fg_id large_attention(struct fg_graph *g, const fg_id *in, int form) {
  (void)form;
  fg_id z = MUL(product(g, in[0], in[1], true), NUM(0.35));
  return product(g, softmax(g, z, 3, false), in[2], false);
}

const struct spelling spelling_large_attention = {.name = "large attention",
                                                  .build = large_attention,
                                                  .op = FG_OP_attention,
                                                  .kind = -1,
                                                  .n_x = 3,
                                                  .rank = 4,
                                                  .dim = {1, 16, 512, 8}};

#define X3                                                                                         \
  2, 3, {                                                                                          \
    2, 5, 8                                                                                        \
  }
static const struct spelling spellings[] = {
    {"gelu", gelu, -6, 6, FG_OP_unary, FG_UNARY_gelu, X3},
    {"gelu_tanh", gelu_tanh, -3, 3, FG_OP_unary, FG_UNARY_gelu_tanh, X3},
    {"silu", silu, -4, 2, FG_OP_unary, FG_UNARY_silu, X3},
    {"mish", mish, -1, 1, FG_OP_unary, FG_UNARY_mish, X3},
    {"hard_swish", hard_swish, -5, 5, FG_OP_unary, FG_UNARY_hard_swish, X3},
    {"hard_sigmoid", hard_sigmoid, -2, 1, FG_OP_unary, FG_UNARY_hard_sigmoid, X3},
    {"softmax", soft, -4, 3, FG_OP_softmax, -1, X3},
    {"layer_norm", layer_norm, -10, 13, FG_OP_layer_norm, -1, X3},
    {"layer_norm of images", layer_norm_of_images, -1, 0, FG_OP_layer_norm, -1, 2, 4, {2, 3, 4, 5}},
    {"attention", attention, -6, 7, FG_OP_attention, -1, 3, 4, {2, 5, 3, 8}},
    {"attention regrouped", attention_regrouped, -3, 2, FG_OP_attention, -1, 3, 4, {2, 5, 3, 8}},
    {"attention in windows", attention_in_windows, -4, 2, FG_OP_attention, -1, 3, 4, {6, 5, 2, 8}},
    {"attention of matrices", attention_of_matrices, 0, 1, FG_OP_attention, -1, 3, 3, {6, 5, 8}},
};

const struct spelling *spelling_at(int i) {
  int n = (int)(sizeof spellings / sizeof *spellings);
  return i >= 0 && i < n ? &spellings[i] : NULL;
}
