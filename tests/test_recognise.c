/* Recognising what exporters take apart: every spelling must be found, with the numbers and gradients
 * that it had; what only looks like it must be left alone. A spelling is a function that builds one of
 * several forms; its graph is run as written and as recognised. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define SQRT_2 1.41421356237309504880
#define TANH_SCALE 0.79788456080286535588

enum { MOST_X = 3 };

/* A repeatable number in -1..1. */
static double number(uint64_t i) {
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
    data[i] = shift + scale * number(99 + (uint64_t)i);
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

/* ---- running */

typedef fg_id (*builder)(struct fg_graph *g, const fg_id *x, int form);

struct spelling {
  const char *name;
  builder build;
  int first, last; /* forms */
  enum fg_op op;
  int kind; /* of unary; else -1 */
  int n_x, rank;
  int64_t dim[4];
};

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
    {"layer_norm", layer_norm, -9, 11, FG_OP_layer_norm, -1, X3},
    {"attention", attention, -6, 7, FG_OP_attention, -1, 3, 4, {2, 5, 3, 8}},
    {"attention of matrices", attention_of_matrices, 0, 1, FG_OP_attention, -1, 3, 3, {6, 5, 8}},
};
enum { N_SPELLINGS = sizeof spellings / sizeof *spellings };

static int count_nodes(const struct fg_graph *g, const struct spelling *s) {
  int n = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += g->nodes[i].op == s->op && (s->kind < 0 || (int)g->nodes[i].attrs.unary.kind == s->kind);
  return n;
}

struct answer {
  double *y; /* the result, then the gradients */
  int64_t n;
  int found, nodes;
};

/* The graph of one form, recognised or not, with its gradients: run on the backend. */
static struct answer answer(const struct spelling *s, int form, const struct fg_backend *backend,
                            bool recognised) {
  struct fg_graph *g;
  struct fg_device *device;
  struct fg_plan *plan;
  struct answer a = {0};
  fg_id x[MOST_X], grad[MOST_X], seed, y;
  void *memory[MOST_X];
  int slot, n_grads = 0;
  cr_assert_eq(backend->open(0, 2, &device), FGSM_OK);
  cr_assert_eq(fg_graph_create(backend->real, &g), FGSM_OK);
  for (int i = 0; i < s->n_x; i++)
    cr_assert_eq(fg_graph_input(g, "x", g->real, s->rank, s->dim, &x[i]), FGSM_OK);
  cr_assert_eq(fg_graph_output(g, s->build(g, x, form), &slot), FGSM_OK);
  if (recognised)
    cr_assert_eq(fg_recognise(g, device), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_graph_compact(g), FGSM_OK);
  a.found = count_nodes(g, s);
  a.nodes = (int)g->n_nodes;
  y = g->outputs[slot];
  struct fg_value v = *fg_value(g, y);
  int64_t n_y = fg_value_count(g, y);
  double *w = malloc((size_t)n_y * sizeof *w);
  for (int64_t i = 0; i < n_y; i++)
    w[i] = number(7000 + (uint64_t)i);
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, v.rank, v.dim, w, &seed), FGSM_OK);
  free(w);
  cr_assert_eq(fg_grad(g, 1, &y, &seed, s->n_x, x, grad), FGSM_OK, "%s", fgsm_last_error());
  for (int i = 0; i < s->n_x; i++)
    if (grad[i] != FG_ABSENT) {
      cr_assert_eq(fg_graph_output(g, grad[i], NULL), FGSM_OK);
      n_grads++;
    }
  cr_assert_gt(n_grads, 0);
  cr_assert_eq(fg_plan_create(g, device, false, &plan), FGSM_OK, "%s: %s", s->name,
               fgsm_last_error());
  cr_assert_eq(fg_plan_place(plan, NULL), FGSM_OK);
  for (int i = 0; i < s->n_x; i++) {
    int64_t n = fg_value_count(g, x[i]);
    memory[i] = aligned_alloc(64, ((size_t)n * sizeof(double) + 63) / 64 * 64);
    for (int64_t k = 0; k < n; k++) {
      double value = (float)(4 * number((uint64_t)(i * 100000 + k)));
      if (g->real == FG_F32)
        ((float *)memory[i])[k] = (float)value;
      else
        ((double *)memory[i])[k] = value;
    }
    cr_assert_eq(fg_plan_bind(plan, x[i], memory[i]), FGSM_OK);
  }
  cr_assert_eq(fg_plan_run(plan, NULL), FGSM_OK, "%s", fgsm_last_error());
  for (int i = 0; i < g->n_outputs; i++)
    a.n += fg_value_count(g, g->outputs[i]);
  a.y = malloc((size_t)a.n * sizeof *a.y + 1);
  int64_t at = 0;
  for (int i = 0; i < g->n_outputs; i++)
    for (int64_t k = 0; k < fg_value_count(g, g->outputs[i]); k++) {
      const void *data = fg_plan_data(plan, g->outputs[i]);
      a.y[at++] = g->real == FG_F32 ? ((const float *)data)[k] : ((const double *)data)[k];
    }
  fg_plan_destroy(plan);
  for (int i = 0; i < s->n_x; i++)
    free(memory[i]);
  backend->close(device);
  return a;
}

/* Both graphs give the same; `want` nodes of the operator are in the recognised one. */
static void compare(const struct spelling *s, int form, const struct fg_backend *backend, int want,
                    double tolerance) {
  struct answer plain = answer(s, form, backend, false), found = answer(s, form, backend, true);
  cr_expect_eq(found.found, want, "%s, form %d on %s: %d recognised, not %d", s->name, form,
               backend->name, found.found, want);
  if (form < 0)
    cr_expect_eq(plain.nodes, found.nodes, "%s, form %d: %d nodes became %d", s->name, form,
                 plain.nodes, found.nodes);
  cr_assert_eq(plain.n, found.n);
  double worst = 0, top = 0;
  for (int64_t i = 0; i < plain.n; i++) {
    double d = fabs(plain.y[i] - found.y[i]);
    worst = d <= worst ? worst : d;
    top = fmax(top, fabs(plain.y[i]));
  }
  cr_expect(top > 0.01 && worst <= tolerance * top, "%s, form %d on %s: differs by %.3g of %.3g",
            s->name, form, backend->name, worst, top);
  free(plain.y);
  free(found.y);
}

Test(recognise, every_spelling_is_found_and_keeps_its_numbers) {
  for (int i = 0; i < N_SPELLINGS; i++)
    for (int form = 0; form <= spellings[i].last; form++)
      compare(&spellings[i], form, &fg_ref, 1, 1e-12);
}

Test(recognise, every_spelling_keeps_its_numbers_on_the_cpu) {
  for (int i = 0; i < N_SPELLINGS; i++) {
    bool is_small = spellings[i].op == FG_OP_attention; /* which the cpu prefers unfused */
    for (int form = 0; form <= spellings[i].last; form++)
      compare(&spellings[i], form, &fg_cpu, is_small ? 0 : 1, 1e-5);
  }
}

Test(recognise, near_misses_are_left_alone) {
  for (int i = 0; i < N_SPELLINGS; i++)
    for (int form = spellings[i].first; form < 0; form++)
      compare(&spellings[i], form, &fg_ref, 0, 1e-12);
}

/* Scores of 16 MiB and more: the cpu fuses. */
static fg_id large_attention(struct fg_graph *g, const fg_id *in, int form) {
  (void)form;
  fg_id z = MUL(product(g, in[0], in[1], true), NUM(0.35));
  return product(g, softmax(g, z, 3, false), in[2], false);
}

Test(recognise, large_attention_is_fused_on_the_cpu) {
  struct spelling s = {.name = "large attention",
                       .build = large_attention,
                       .op = FG_OP_attention,
                       .kind = -1,
                       .n_x = 3,
                       .rank = 4,
                       .dim = {1, 16, 512, 8}};
  compare(&s, 0, &fg_cpu, 1, 1e-5);
}

/* A result that is an output keeps its id, and a recognised node has the name of the node that it
 * stands for. */
Test(recognise, names_and_outputs_stay) {
  struct fg_graph *g;
  struct fg_device *device;
  fg_id x, e, y, out[FG_MAX_OUT];
  union fg_attrs mul = {.binary = {FG_BINARY_mul}};
  cr_assert_eq(fg_ref.open(0, 1, &device), FGSM_OK);
  cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", FG_F64, 1, (int64_t[]){4}, &x), FGSM_OK);
  e = ADD(UN(erf, DIV(x, NUM(SQRT_2))), NUM(1));
  e = MUL(x, e);
  cr_assert_eq(fg_graph_add(g, FG_OP_binary, "/mlp/Mul_1", &mul, 2, (fg_id[]){e, NUM(0.5)}, out),
               FGSM_OK);
  y = out[0];
  cr_assert_eq(fg_graph_output(g, y, NULL), FGSM_OK);
  cr_assert_eq(fg_recognise(g, device), FGSM_OK);
  cr_expect_eq(g->n_nodes, 1);
  cr_expect_str_eq(g->nodes[0].name, "/mlp/Mul_1");
  cr_expect_eq(g->outputs[0], y);
  cr_expect_eq(g->nodes[0].out[0], y);
  fg_graph_destroy(g);
  fg_ref.close(device);
}

/* What the architecture of the golden transformers has: two blocks of two normalisations, one
 * attention and one GELU, and a normalisation at the end. */
Test(recognise, exported_transformers_have_what_their_architecture_has) {
  static const char *const nets[] = {"vit_opset13", "vit_opset17", "vit_dynamo"};
  static const struct spelling parts[] = {
      {.name = "layer_norm", .op = FG_OP_layer_norm, .kind = -1, .n_x = 5},
      {.name = "gelu", .op = FG_OP_unary, .kind = FG_UNARY_gelu, .n_x = 2},
      {.name = "attention", .op = FG_OP_attention, .kind = -1, .n_x = 2},
      {.name = "attention_grad", .op = FG_OP_attention_grad, .kind = -1, .n_x = 2},
      {.name = "softmax", .op = FG_OP_softmax, .kind = -1, .n_x = 0},
      {.name = "erf", .op = FG_OP_unary, .kind = FG_UNARY_erf, .n_x = 0}};
  for (int i = 0; i < 3; i++) {
    char path[512];
    struct net net;
    snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), nets[i]);
    cr_assert_eq(net_open(path, &fg_ref, 2, &(struct net_options){0}, &net), FGSM_OK, "%s: %s",
                 nets[i], fgsm_last_error());
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
      int n = count_nodes(fg_plan_graph(net.plan), &parts[k]);
      cr_expect_eq(n, parts[k].n_x, "%s: %d of %s, not %d", nets[i], n, parts[k].name,
                   parts[k].n_x);
    }
    net_close(&net);
  }
}
