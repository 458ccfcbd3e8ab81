/* Gradient rules against finite differences of the oracle, and at kinks against PyTorch's choice. A
 * case is one node in double precision: its result, weighted by fixed numbers, is the objective. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

enum { MOST_IN = 5, MOST_ELEMENTS = 512 };

struct operand {
  int rank;
  int64_t dim[5];
  double lo, hi;        /* values are drawn from lo .. hi; equal: 0.3 .. 1.7, either sign      */
  const double *values; /* or given                                                          */
  enum fg_type type;    /* FG_NONE: the graph's float; else a constant of that type          */
  bool absent;
};

struct gradient_case {
  const char *name;
  enum fg_op op;
  union fg_attrs attrs;
  struct operand in[MOST_IN];
  int n_in;
};

/* What runs: the node, its gradients, and the memory of its inputs. */
struct trial {
  struct fg_graph *g;
  struct fg_device *device;
  struct fg_plan *plan;
  fg_id x[MOST_IN], y, grad[MOST_IN];
  int n_x, slot[MOST_IN]; /* x[j] is input slot[j] */
  double *data[MOST_IN];
};

static double number(uint64_t i) {
  i = (i + 7) * 0x9E3779B97F4A7C15u;
  i ^= i >> 29;
  i *= 0xBF58476D1CE4E5B9u;
  i ^= i >> 32;
  return (double)(i >> 11) * 0x1p-53;
}

/* Element i of operand j. */
static double draw(const struct operand *o, int j, int64_t at) {
  if (o->values)
    return o->values[at];
  uint64_t i = (uint64_t)(at + 97 * j);
  double u = number(i * 2), side = number(i * 2 + 1) < 0.5 ? -1 : 1;
  return o->lo == o->hi ? side * (0.3 + 1.4 * u) : o->lo + (o->hi - o->lo) * u;
}

static int64_t count(const struct operand *o) {
  int64_t n = 1;
  for (int i = 0; i < o->rank; i++)
    n *= o->dim[i];
  return n;
}

static fg_id fixed(struct fg_graph *g, const struct operand *o) {
  double data[MOST_ELEMENTS];
  fg_id x;
  for (int64_t i = 0; i < count(o); i++)
    data[i] = draw(o, 0, i);
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, o->rank, o->dim, data, &x), FGSM_OK);
  cr_assert_eq(fg_cast(g, x, o->type, 0, &x), FGSM_OK);
  return x;
}

/* Builds the node over inputs and takes its gradient; `seed` NULL: fixed weights in 0.5 .. 1.5. */
static void begin(struct trial *t, const struct gradient_case *c, const double *seed) {
  fg_id in[MOST_IN], out[FG_MAX_OUT], weight;
  double w[MOST_ELEMENTS];
  memset(t, 0, sizeof *t);
  cr_assert_eq(fg_ref.open(0, 1, &t->device), FGSM_OK);
  cr_assert_eq(fg_graph_create(FG_F64, &t->g), FGSM_OK);
  for (int i = 0; i < c->n_in; i++) {
    const struct operand *o = &c->in[i];
    in[i] = FG_ABSENT;
    if (o->type != FG_NONE)
      in[i] = fixed(t->g, o);
    else if (!o->absent) {
      cr_assert_eq(fg_graph_input(t->g, "x", FG_F64, o->rank, o->dim, &in[i]), FGSM_OK);
      t->slot[t->n_x] = i;
      t->x[t->n_x++] = in[i];
    }
  }
  cr_assert_eq(fg_graph_add(t->g, c->op, c->name, &c->attrs, c->n_in, in, out), FGSM_OK, "%s: %s",
               c->name, fgsm_last_error());
  t->y = out[0];
  struct fg_value y = *fg_value(t->g, t->y);
  cr_assert_leq(fg_value_count(t->g, t->y), MOST_ELEMENTS);
  for (int64_t i = 0; i < fg_value_count(t->g, t->y); i++)
    w[i] = seed ? seed[i] : 0.5 + number((uint64_t)i + 1000);
  cr_assert_eq(fg_graph_constant(t->g, "", FG_F64, y.rank, y.dim, w, &weight), FGSM_OK);
  cr_assert_eq(fg_grad(t->g, 1, &t->y, &weight, t->n_x, t->x, t->grad), FGSM_OK, "%s: %s", c->name,
               fgsm_last_error());
  cr_assert_eq(fg_graph_output(t->g, t->y, NULL), FGSM_OK);
  for (int j = 0; j < t->n_x; j++) {
    cr_assert_neq(t->grad[j], FG_ABSENT, "%s: no gradient of input %d", c->name, t->slot[j]);
    cr_assert_eq(fg_graph_output(t->g, t->grad[j], NULL), FGSM_OK);
  }
  cr_assert_eq(fg_graph_compact(t->g), FGSM_OK);
  cr_assert_eq(fg_plan_create(t->g, t->device, false, &t->plan), FGSM_OK, "%s: %s", c->name,
               fgsm_last_error());
  cr_assert_eq(fg_plan_place(t->plan, NULL), FGSM_OK);
  for (int j = 0; j < t->n_x; j++) {
    t->data[j] = aligned_alloc(64, MOST_ELEMENTS * sizeof(double));
    for (int64_t i = 0; i < count(&c->in[t->slot[j]]); i++)
      t->data[j][i] = draw(&c->in[t->slot[j]], j, i);
    cr_assert_eq(fg_plan_bind(t->plan, t->x[j], t->data[j]), FGSM_OK);
  }
}

static void end(struct trial *t) {
  for (int j = 0; j < t->n_x; j++)
    free(t->data[j]);
  fg_plan_destroy(t->plan);
  fg_ref.close(t->device);
}

static double objective(struct trial *t) {
  cr_assert_eq(fg_plan_run(t->plan, NULL), FGSM_OK, "%s", fgsm_last_error());
  const double *y = fg_plan_data(t->plan, t->y);
  double sum = 0;
  for (int64_t i = 0; i < fg_value_count(fg_plan_graph(t->plan), t->y); i++)
    sum += y[i] * (0.5 + number((uint64_t)i + 1000));
  return sum;
}

static void compare(const struct gradient_case *c) {
  const double h = 1e-5;
  struct trial t;
  begin(&t, c, NULL);
  for (int j = 0; j < t.n_x; j++) {
    int64_t n = count(&c->in[t.slot[j]]);
    double found[MOST_ELEMENTS], most = 0;
    objective(&t);
    memcpy(found, fg_plan_data(t.plan, t.grad[j]), (size_t)n * sizeof *found);
    for (int64_t i = 0; i < n; i++) {
      double at = t.data[j][i];
      t.data[j][i] = at + h;
      double above = objective(&t);
      t.data[j][i] = at - h;
      double want = (above - objective(&t)) / (2 * h);
      t.data[j][i] = at;
      cr_expect(fabs(want - found[i]) <= 1e-7 * (1 + fabs(want)),
                "%s: input %d, element %lld: the rule gives %.9g, differences %.9g", c->name,
                t.slot[j], (long long)i, found[i], want);
      most = fmax(most, fabs(found[i]));
    }
    cr_expect_gt(most, 1e-3, "%s: the gradient of input %d is zero", c->name, t.slot[j]);
  }
  end(&t);
}

#define V(...)                                                                                     \
  {                                                                                                \
    .rank = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dim = { __VA_ARGS__ }                           \
  }
#define BETWEEN(low, high, ...)                                                                    \
  { .rank = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dim = {__VA_ARGS__}, .lo = low, .hi = high }
#define GIVEN(t, list, ...)                                                                        \
  { .rank = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dim = {__VA_ARGS__}, .values = list, .type = t }
#define UNARY(kind, alpha, beta)                                                                   \
  { #kind, FG_OP_unary, {.unary = {FG_UNARY_##kind, alpha, beta } }, {V(3, 7) }, 1 }
#define BINARY(kind, ...)                                                                          \
  { #kind, FG_OP_binary, {.binary = {FG_BINARY_##kind } }, {__VA_ARGS__ }, 2 }
#define MATMUL(name, ta, tb, ...)                                                                  \
  { name, FG_OP_matmul, {.matmul = {ta, tb, 1.5, {FG_UNARY_identity, 0, 0}}}, {__VA_ARGS__}, 4 }
#define REDUCE(name, kind, axes, keep)                                                             \
  { name, FG_OP_reduce, {.reduce = {FG_REDUCE_##kind, axes, keep}}, {V(3, 4, 5)}, 1 }
#define ABSENT                                                                                     \
  { .absent = true }

#define ATTENTION(name, ...)                                                                       \
  { name, FG_OP_attention, {.attention = {0.7}}, {__VA_ARGS__}, 4 }

static const double truth[] = {1, 0, 0, 1, 1, 0}, rows[] = {2, 0, -1, 2, 1, 2};

static const struct gradient_case cases[] = {
    UNARY(identity, 0, 0),
    UNARY(relu, 0, 0),
    UNARY(leaky_relu, 0.1, 0),
    UNARY(leaky_relu, -0.1, 0),
    UNARY(relu6, 0, 0),
    UNARY(sigmoid, 0, 0),
    UNARY(tanh, 0, 0),
    UNARY(exp, 0, 0),
    UNARY(clip, -0.9, 0.8),
    UNARY(gelu, 0, 0),
    UNARY(gelu_tanh, 0, 0),
    UNARY(silu, 1, 0),
    UNARY(silu, 1.702, 0),
    UNARY(mish, 0, 0),
    UNARY(hard_sigmoid, 0.3, 0.5),
    UNARY(hard_swish, 0, 0),
    UNARY(erf, 0, 0),
    UNARY(neg, 0, 0),
    UNARY(abs, 0, 0),
    UNARY(power, 3, 0),
    UNARY(power, -1, 0),
    {"sqrt", FG_OP_unary, {.unary = {FG_UNARY_sqrt, 0, 0}}, {BETWEEN(0.3, 2, 9)}, 1},
    {"log", FG_OP_unary, {.unary = {FG_UNARY_log, 0, 0}}, {BETWEEN(0.3, 2, 9)}, 1},
    {"power 0.7", FG_OP_unary, {.unary = {FG_UNARY_power, 0.7, 0}}, {BETWEEN(0.3, 2, 9)}, 1},
    BINARY(add, V(2, 3, 4), V(2, 3, 4)),
    BINARY(add, V(2, 3, 4), V(3, 1)),
    BINARY(sub, V(4), V(2, 3, 4)),
    BINARY(mul, V(2, 1, 4), V(3, 1)),
    BINARY(div, V(2, 3), V(1, 3)),
    BINARY(div, {.rank = 0}, V(2, 3)),
    BINARY(pow, BETWEEN(0.3, 2, 2, 3), V(3)),
    BINARY(max, V(2, 3, 4), V(3, 1)),
    BINARY(min, V(2, 1, 4), V(2, 3, 4)),
    {"where", FG_OP_where, {{0}}, {GIVEN(FG_BOOL, truth, 2, 3), V(2, 3), V(3)}, 3},
    {"affine", FG_OP_affine, {.affine = {.axis = 1}}, {V(2, 3, 4), V(3), V(3)}, 3},
    {"affine shift", FG_OP_affine, {.affine = {.axis = 2}}, {V(2, 3, 4), ABSENT, V(4)}, 3},
    {"batch_norm",
     FG_OP_batch_norm,
     {.batch_norm = {.epsilon = 1e-3}},
     {V(2, 3, 2, 2),
      V(3),
      V(3),
      {.rank = 1, .dim = {3}, .type = FG_F64},
      {.rank = 1, .dim = {3}, .lo = 0.5, .hi = 1.5, .type = FG_F64}},
     5},
    {"batch_norm_train",
     FG_OP_batch_norm_train,
     {.batch_norm = {.epsilon = 1e-3}},
     {V(4, 3, 2, 2), V(3), V(3)},
     3},
    {"batch_norm_train plain",
     FG_OP_batch_norm_train,
     {.batch_norm = {.epsilon = 1e-3}},
     {V(5, 2)},
     1},
    {"all_reduce", FG_OP_all_reduce, {{0}}, {V(3, 4)}, 1},
    {"layer_norm", FG_OP_layer_norm, {.layer_norm = {2, 1e-3}}, {V(2, 3, 5), V(5), V(5)}, 3},
    {"layer_norm two axes", FG_OP_layer_norm, {.layer_norm = {1, 1e-3}}, {V(2, 3, 4), V(3, 4)}, 2},
    {"layer_norm plain", FG_OP_layer_norm, {.layer_norm = {1, 1e-3}}, {V(2, 6)}, 1},
    {"layer_norm bias", FG_OP_layer_norm, {.layer_norm = {1, 1e-3}}, {V(2, 6), ABSENT, V(6)}, 3},
    {"softmax", FG_OP_softmax, {.softmax = {1, false}}, {V(2, 5, 3)}, 1},
    {"log-softmax", FG_OP_softmax, {.softmax = {2, true}}, {V(2, 3, 5)}, 1},
    MATMUL("matmul", false, false, V(3, 4), V(4, 5), V(5), V(3, 5)),
    MATMUL("matmul ta", true, false, V(4, 3), V(4, 5), ABSENT, ABSENT),
    MATMUL("matmul tb", false, true, V(3, 4), V(5, 4), V(5), ABSENT),
    MATMUL("matmul ta tb", true, true, V(4, 3), V(5, 4), ABSENT, ABSENT),
    MATMUL("matmul rows", false, false, V(2, 2, 3, 4), V(4, 5), V(5), ABSENT),
    MATMUL("matmul rows tb", false, true, V(2, 3, 4), V(5, 4), ABSENT, ABSENT),
    MATMUL("matmul rows ta", true, false, V(2, 4, 3), V(4, 5), ABSENT, ABSENT),
    MATMUL("matmul rows ta tb", true, true, V(2, 4, 3), V(5, 4), ABSENT, ABSENT),
    MATMUL("matmul batches", false, false, V(2, 1, 3, 4), V(3, 4, 2), ABSENT, V(2, 3, 3, 2)),
    MATMUL("matmul one a", false, true, V(3, 4), V(2, 5, 4), ABSENT, ABSENT),
    {"conv",
     FG_OP_conv,
     {.conv = {.spatial = 2,
               .group = 1,
               .stride = {1, 1},
               .dilation = {1, 1},
               .pad_lo = {1, 1},
               .pad_hi = {1, 1}}},
     {V(2, 2, 4, 5), V(3, 2, 3, 3), V(3), V(2, 3, 4, 5)},
     4},
    {"conv with a rest",
     FG_OP_conv,
     {.conv = {.spatial = 2,
               .group = 2,
               .stride = {3, 2},
               .dilation = {1, 2},
               .pad_lo = {0, 1},
               .pad_hi = {1, 0}}},
     {V(1, 4, 7, 6), V(2, 2, 2, 2), V(2)},
     3},
    {"conv depthwise",
     FG_OP_conv,
     {.conv = {.spatial = 2, .group = 3, .stride = {2, 1}, .dilation = {1, 1}}},
     {V(1, 3, 5, 4), V(6, 1, 2, 3)},
     2},
    {"max_pool",
     FG_OP_max_pool,
     {.pool = {.spatial = 2,
               .window = {3, 2},
               .stride = {2, 2},
               .dilation = {1, 1},
               .pad_lo = {1, 0},
               .pad_hi = {1, 1}}},
     {V(2, 2, 5, 5)},
     1},
    {"max_pool wide",
     FG_OP_max_pool,
     {.pool = {.spatial = 2, .window = {16, 16}, .stride = {1, 1}, .dilation = {1, 1}}},
     {V(1, 1, 17, 17)},
     1},
    {"avg_pool",
     FG_OP_avg_pool,
     {.pool = {.spatial = 2,
               .window = {3, 2},
               .stride = {2, 1},
               .dilation = {1, 2},
               .pad_lo = {1, 0},
               .pad_hi = {1, 1}}},
     {V(1, 2, 5, 5)},
     1},
    {"avg_pool with padding",
     FG_OP_avg_pool,
     {.pool = {.spatial = 2,
               .window = {2, 2},
               .stride = {2, 2},
               .dilation = {1, 1},
               .pad_lo = {1, 1},
               .pad_hi = {1, 1},
               .include_pad = true}},
     {V(1, 2, 4, 5)},
     1},
    ATTENTION("attention", V(2, 2, 3, 4), V(2, 2, 5, 4), V(2, 2, 5, 3), ABSENT),
    ATTENTION("attention with a bias", V(2, 2, 3, 4), V(2, 2, 5, 4), V(2, 2, 5, 3), V(2, 2, 3, 5)),
    ATTENTION("attention with a bias a head", V(2, 2, 3, 4), V(2, 2, 5, 4), V(2, 2, 5, 3),
              V(2, 1, 5)),
    REDUCE("sum", sum, 5, false),
    REDUCE("sum keep", sum, 2, true),
    REDUCE("mean", mean, 6, false),
    REDUCE("mean all", mean, 7, true),
    REDUCE("max", max, 4, false),
    REDUCE("min keep", min, 3, true),
    {"reshape", FG_OP_reshape, {.shape = {2, {4, 6}}}, {V(2, 3, 4)}, 1},
    {"expand", FG_OP_expand, {.shape = {3, {2, 3, 4}}}, {V(3, 1)}, 1},
    {"expand scalar", FG_OP_expand, {.shape = {2, {2, 3}}}, {{.rank = 0}}, 1},
    {"transpose", FG_OP_transpose, {.transpose = {{2, 0, 1}}}, {V(2, 3, 4)}, 1},
    {"concat", FG_OP_concat, {.axis = {1, 0}}, {V(2, 1, 2), V(2, 3, 2), V(2, 2, 2)}, 3},
    {"slice", FG_OP_slice, {.slice = {{1, 4}, {1, -2}, {2, 3}}}, {V(3, 5)}, 1},
    {"pad", FG_OP_pad, {.pad = {{1, -1}, {2, -1}, 3}}, {V(3, 5)}, 1},
    {"gather", FG_OP_gather, {.axis = {1, 0}}, {V(2, 3, 2), GIVEN(FG_I64, rows, 2, 3)}, 2},
    {"reorder", FG_OP_reorder, {{0}}, {V(1, 2, 3, 4)}, 1},
    {"cast", FG_OP_cast, {.cast = {FG_F64, 0}}, {V(5)}, 1},
};

Test(ops_gradient, agrees_with_differences) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (cases[i].op != FG_OP_reorder) /* the oracle has no layouts: see passes_through */
      compare(&cases[i]);
}

/* ---- kinks: the gradient at given points is exactly PyTorch's */

struct kink {
  const char *name;
  enum fg_op op;
  union fg_attrs attrs;
  int n_in, wrt; /* gradient of input wrt, the seed being all ones */
  int64_t n;
  const double *x[2], *want;
};

#define D(...) ((const double[]){__VA_ARGS__})

static void check_kink(const struct kink *k) {
  struct gradient_case c = {.name = k->name, .op = k->op, .attrs = k->attrs, .n_in = k->n_in};
  double ones[MOST_ELEMENTS];
  struct trial t;
  for (int i = 0; i < k->n_in; i++)
    c.in[i] = (struct operand){.rank = 1, .dim = {k->n}, .values = k->x[i]};
  for (int i = 0; i < MOST_ELEMENTS; i++)
    ones[i] = 1;
  begin(&t, &c, ones);
  cr_assert_eq(fg_plan_run(t.plan, NULL), FGSM_OK, "%s: %s", k->name, fgsm_last_error());
  const double *found = fg_plan_data(t.plan, t.grad[k->wrt]);
  for (int64_t i = 0; i < k->n; i++)
    cr_expect(found[i] == k->want[i] || (isnan(found[i]) && isnan(k->want[i])),
              "%s: element %lld is %g, not %g", k->name, (long long)i, found[i], k->want[i]);
  end(&t);
}

#define AT(kind, a, b, n, x, want)                                                                 \
  { #kind, FG_OP_unary, {.unary = {FG_UNARY_##kind, a, b } }, 1, 0, n, {x }, want }
#define AT2(kind, wrt, n, a, b, want)                                                              \
  { #kind, FG_OP_binary, {.binary = {FG_BINARY_##kind } }, 2, wrt, n, {a, b }, want }

Test(ops_gradient, takes_pytorchs_side_at_kinks) {
  const struct kink kinks[] = {
      AT(relu, 0, 0, 3, D(-1, 0, 1), D(0, 0, 1)),
      AT(leaky_relu, 0.25, 0, 3, D(-1, 0, 1), D(0.25, 0.25, 1)),
      AT(leaky_relu, 0, 0, 3, D(-1, 0, 1), D(0, 0, 1)),
      AT(abs, 0, 0, 3, D(-2, 0, 2), D(-1, 0, 1)),
      AT(relu6, 0, 0, 4, D(0, 1, 6, 7), D(0, 1, 0, 0)),
      AT(clip, -1, 2, 4, D(-1, 0, 2, 3), D(1, 1, 1, 0)),
      AT(hard_sigmoid, 0.5, 0.5, 4, D(-1, 0, 1, 2), D(0, 0.5, 0, 0)),
      AT(hard_swish, 0, 0, 4, D(-3, 0, 3, 4), D(0, 0.5, 1, 1)),
      AT(power, 0, 0, 2, D(0, 3), D(0, 0)),
      AT(power, 2, 0, 2, D(0, 3), D(0, 6)),
      AT2(max, 0, 4, D(1, 2, 3, NAN), D(2, 2, 2, 0), D(0, 0.5, 1, 1)),
      AT2(max, 1, 4, D(1, 2, 3, NAN), D(2, 2, 2, 0), D(1, 0.5, 0, 1)),
      AT2(min, 0, 3, D(1, 2, 3), D(2, 2, 2), D(1, 0.5, 0)),
      AT2(min, 1, 3, D(1, 2, 3), D(2, 2, 2), D(0, 0.5, 1)),
      /* base and exponent at zero */
      AT2(pow, 0, 4, D(0, 0, 2, -2), D(0, 2, 0, 2), D(0, 0, 0, -4)),
      AT2(pow, 1, 3, D(0, 0, 1), D(0, 2, 5), D(0, 0, 0)),
      AT2(pow, 1, 1, D(0), D(-1), D(-INFINITY)),
      {"amax ties",
       FG_OP_reduce,
       {.reduce = {FG_REDUCE_max, 1, true}},
       1,
       0,
       4,
       {D(3, 1, 3, 2)},
       D(0.5, 0, 0.5, 0)},
      {"amin ties",
       FG_OP_reduce,
       {.reduce = {FG_REDUCE_min, 1, false}},
       1,
       0,
       4,
       {D(3, 1, 1, 2)},
       D(0, 0.5, 0.5, 0)},
  };
  for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++)
    check_kink(&kinks[i]);
}

/* ---- the form of gradients */

static struct fg_graph *graph(enum fg_type real) {
  struct fg_graph *g;
  cr_assert_eq(fg_graph_create(real, &g), FGSM_OK);
  return g;
}

static fg_id input(struct fg_graph *g, enum fg_type type, int rank, const int64_t *dim) {
  fg_id x;
  cr_assert_eq(fg_graph_input(g, "x", type, rank, dim, &x), FGSM_OK);
  return x;
}

/* The gradient of a node's first result with respect to input `wrt`, the seed being an input. */
static fgsm_status gradient(struct fg_graph *g, enum fg_op op, union fg_attrs a, int n, fg_id *in,
                            int wrt, fg_id *out) {
  fg_id y[FG_MAX_OUT];
  FG_TRY(fg_graph_add(g, op, "node", &a, n, in, y));
  const struct fg_value *v = fg_value(g, y[0]);
  fg_id seed = input(g, v->type, v->rank, v->dim);
  return fg_grad(g, 1, &y[0], &seed, 1, &in[wrt], out);
}

static int uses_of(const struct fg_graph *g, enum fg_op op) {
  int n = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += g->nodes[i].op == op;
  return n;
}

Test(ops_gradient, computes_only_what_is_wanted) {
  struct fg_graph *g = graph(FG_F32);
  fg_id in[2] = {input(g, FG_F32, 4, (int64_t[]){1, 2, 5, 5}),
                 input(g, FG_F32, 4, (int64_t[]){3, 2, 3, 3})},
        dx;
  union fg_attrs a = {.conv = {.spatial = 2, .group = 1, .stride = {1, 1}, .dilation = {1, 1}}};
  cr_assert_eq(gradient(g, FG_OP_conv, a, 2, in, 0, &dx), FGSM_OK);
  cr_expect_eq(uses_of(g, FG_OP_conv_grad_input), 1);
  cr_expect_eq(uses_of(g, FG_OP_conv_grad_weight), 0);
  fg_graph_destroy(g);
}

Test(ops_gradient, keeps_the_argument_only_where_it_is_needed) {
  struct fg_graph *g = graph(FG_F32);
  fg_id x = input(g, FG_F32, 1, (int64_t[]){4}), dx;
  union fg_attrs relu = {.unary = {FG_UNARY_relu, 0, 0}}, erf = {.unary = {FG_UNARY_erf, 0, 0}};
  cr_assert_eq(gradient(g, FG_OP_unary, relu, 1, &x, 0, &dx), FGSM_OK);
  const struct fg_node *node = &g->nodes[fg_value(g, dx)->producer];
  cr_expect_eq(node->in[0], FG_ABSENT);
  cr_expect_eq(node->in[1], g->nodes[0].out[0]);
  cr_assert_eq(gradient(g, FG_OP_unary, erf, 1, &x, 0, &dx), FGSM_OK);
  node = &g->nodes[fg_value(g, dx)->producer];
  cr_expect_eq(node->in[0], x);
  cr_expect_eq(node->in[1], FG_ABSENT);
  fg_graph_destroy(g);
}

Test(ops_gradient, sums_over_broadcast_axes) {
  struct fg_graph *g = graph(FG_F32);
  fg_id in[2] = {input(g, FG_F32, 3, (int64_t[]){2, 3, 4}), input(g, FG_F32, 2, (int64_t[]){3, 1})},
        d;
  cr_assert_eq(gradient(g, FG_OP_binary, (union fg_attrs){.binary = {FG_BINARY_mul}}, 2, in, 1, &d),
               FGSM_OK);
  cr_expect_eq(fg_value(g, d)->rank, 2);
  cr_expect_eq(fg_value(g, d)->dim[0], 3);
  cr_expect_eq(fg_value(g, d)->dim[1], 1);
  cr_expect_eq(uses_of(g, FG_OP_reduce), 1);
  fg_graph_destroy(g);
}

/* One matrix for many: its gradient is one flat product, not a batch of them summed up. */
Test(ops_gradient, flattens_the_rows_of_a_shared_matrix) {
  struct fg_graph *g = graph(FG_F32);
  fg_id in[2] = {input(g, FG_F32, 3, (int64_t[]){2, 3, 4}), input(g, FG_F32, 2, (int64_t[]){4, 5})},
        d;
  cr_assert_eq(gradient(g, FG_OP_matmul, (union fg_attrs){.matmul = {.alpha = 1}}, 2, in, 1, &d),
               FGSM_OK);
  const struct fg_node *node = &g->nodes[fg_value(g, d)->producer];
  cr_expect_eq(node->op, FG_OP_matmul);
  cr_expect_eq(fg_value(g, node->in[0])->rank, 2);
  cr_expect_eq(uses_of(g, FG_OP_reduce), 0);
  fg_graph_destroy(g);
}

Test(ops_gradient, passes_through_a_reorder_and_stops_at_integers) {
  struct fg_graph *g = graph(FG_F32);
  fg_id x = input(g, FG_F32, 4, (int64_t[]){1, 2, 3, 4}), d, y, whole;
  cr_assert_eq(gradient(g, FG_OP_reorder, (union fg_attrs){{0}}, 1, &x, 0, &d), FGSM_OK);
  cr_expect_eq(fg_value(g, d)->role, FG_ROLE_INPUT);
  cr_assert_eq(fg_cast(g, x, FG_I32, 0, &whole), FGSM_OK);
  cr_assert_eq(fg_cast(g, whole, FG_F32, 0, &y), FGSM_OK);
  cr_assert_eq(fg_grad(g, 1, &y, &x, 1, &x, &d), FGSM_OK);
  cr_expect_eq(d, FG_ABSENT);
  fg_graph_destroy(g);
}

Test(ops_gradient, of_a_comparison_is_none) {
  struct fg_graph *g = graph(FG_F32);
  fg_id x = input(g, FG_F32, 1, (int64_t[]){4}), one, c, y, d;
  cr_assert_eq(fg_graph_scalar(g, 1, &one), FGSM_OK);
  cr_assert_eq(fg_binary(g, FG_BINARY_greater, x, one, &c), FGSM_OK);
  cr_assert_eq(fg_cast(g, c, FG_F32, 0, &y), FGSM_OK);
  cr_assert_eq(fg_grad(g, 1, &y, &x, 1, &x, &d), FGSM_OK);
  cr_expect_eq(d, FG_ABSENT);
  fg_graph_destroy(g);
}

Test(ops_gradient, is_refused_where_there_is_none) {
  struct fg_graph *g = graph(FG_F32);
  fg_id z = input(g, FG_F32, 2, (int64_t[]){4, 3}), d;
  fg_id in[5] = {z, input(g, FG_I32, 1, (int64_t[]){4})};
  cr_expect_eq(gradient(g, FG_OP_loss, (union fg_attrs){{0}}, 2, in, 0, &d), FGSM_UNSUPPORTED);
  for (int i = 1; i < 5; i++)
    in[i] = input(g, FG_F32, 1, (int64_t[]){3});
  union fg_attrs a = {.batch_norm = {.epsilon = 1e-5}};
  cr_expect_eq(gradient(g, FG_OP_batch_norm, a, 5, in, 3, &d), FGSM_UNSUPPORTED);
  a = (union fg_attrs){.matmul = {.alpha = 1, .act = {FG_UNARY_relu, 0, 0}}};
  fg_id w = input(g, FG_F32, 2, (int64_t[]){3, 2});
  cr_expect_eq(gradient(g, FG_OP_matmul, a, 2, (fg_id[]){z, w}, 0, &d), FGSM_UNSUPPORTED);
  fg_graph_destroy(g);
}
