/* Importers on values that are not known while loading: gradients at the places where the operators
 * of ONNX leave a choice, computed places and what happens when they are out of range, and forms
 * that are refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "import.h"
#include "op.h"

enum { MOST = 16 };

static struct fg_graph *graph(void) {
  struct fg_graph *g;
  cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
  return g;
}

static fg_id input(struct fg_graph *g, int rank, const int64_t *dim) {
  fg_id x;
  cr_assert_eq(fg_graph_input(g, "x", FG_F64, rank, dim, &x), FGSM_OK);
  return x;
}

static fg_id reals(struct fg_graph *g, int64_t n, const double *data) {
  fg_id x;
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, 1, &n, data, &x), FGSM_OK);
  return x;
}

static fg_id wholes(struct fg_graph *g, int rank, const int64_t *dim, const int64_t *data) {
  fg_id x;
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, rank, dim, data, &x), FGSM_OK);
  return x;
}
#define I(g, ...)                                                                                  \
  wholes(g, 1, (int64_t[]){sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)},                    \
         (int64_t[]){__VA_ARGS__})

static fgsm_status import(struct fg_graph *g, const char *op, int n_in, const fg_id *in,
                          const struct fg_onnx_attr *attr, fg_id *out) {
  static const bool used[2] = {true, true};
  fg_id all[2] = {FG_ABSENT, FG_ABSENT};
  struct fg_import im = {.g = g,
                         .op_type = op,
                         .name = "n",
                         .opset = 18,
                         .n_in = n_in,
                         .in = in,
                         .n_out = strcmp(op, "TopK") ? 1 : 2,
                         .out_used = used,
                         .out = all,
                         .n_attrs = attr ? 1 : 0,
                         .attrs = attr};
  fg_import_fn function = fg_find_importer("", op);
  cr_assert_not_null(function, "%s", op);
  fgsm_status status = function(&im);
  *out = all[0];
  return status;
}

static fg_id take(struct fg_graph *g, const char *op, int n_in, const fg_id *in,
                  const struct fg_onnx_attr *attr) {
  fg_id y;
  cr_assert_eq(import(g, op, n_in, in, attr, &y), FGSM_OK, "%s: %s", op, fgsm_last_error());
  return y;
}

/* Runs g, which it takes over, on the oracle; `result` (n elements) into `out`. */
static fgsm_status run(struct fg_graph *g, fg_id x, const double *values, fg_id result,
                       double *out) {
  static _Alignas(64) double memory[MOST];
  struct fg_device *device;
  struct fg_plan *plan;
  cr_assert_eq(fg_graph_output(g, result, NULL), FGSM_OK);
  size_t bytes = fg_value_bytes(g, result);
  memcpy(memory, values, fg_value_bytes(g, x));
  cr_assert_eq(fg_ref.open(0, 1, &device), FGSM_OK);
  cr_assert_eq(fg_plan_create(g, device, false, &plan), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_plan_place(plan, NULL), FGSM_OK);
  cr_assert_eq(fg_plan_bind(plan, x, memory), FGSM_OK);
  fgsm_status status = fg_plan_run(plan, NULL);
  if (status == FGSM_OK)
    memcpy(out, fg_plan_data(plan, result), bytes);
  fg_plan_destroy(plan);
  fg_ref.close(device);
  return status;
}

/* The gradient of sum(y) at x = values must be `want`; g is taken over. */
static void expect_slope(const char *what, struct fg_graph *g, fg_id x, fg_id y,
                         const double *values, const double *want) {
  double got[MOST];
  fg_id seed, grad;
  struct fg_value v = *fg_value(g, y);
  int64_t n = fg_value_count(g, x);
  cr_assert_eq(fg_graph_scalar(g, 1, &seed), FGSM_OK);
  cr_assert_eq(fg_expand(g, seed, v.rank, v.dim, &seed), FGSM_OK);
  cr_assert_eq(fg_grad(g, 1, &y, &seed, 1, &x, &grad), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_neq(grad, FG_ABSENT, "%s: no gradient flows", what);
  cr_assert_eq(run(g, x, values, grad, got), FGSM_OK, "%s: %s", what, fgsm_last_error());
  for (int64_t i = 0; i < n; i++)
    cr_expect(fabs(got[i] - want[i]) <= 1e-12, "%s: slope %lld is %g, not %g", what, (long long)i,
              got[i], want[i]);
}

Test(ops_forms, quantisers_pass_the_gradient_straight_through) {
  struct fg_graph *g = graph();
  fg_id x = input(g, 1, (int64_t[]){6}), scale = reals(g, 1, (double[]){0.5}), zero, q;
  int8_t shift = 3;
  cr_assert_eq(fg_graph_constant(g, "", FG_I8, 0, NULL, &shift, &zero), FGSM_OK);
  q = take(g, "QuantizeLinear", 3, (fg_id[]){x, scale, zero}, NULL);
  cr_expect_eq(fg_value(g, q)->type, FG_I8);
  q = take(g, "DequantizeLinear", 3, (fg_id[]){q, scale, zero}, NULL);
  expect_slope("quantiser", g, x, q, (double[]){-90, -65.5, 0.26, 0, 62, 62.5},
               (double[]){0, 1, 1, 1, 1, 0});
}

Test(ops_forms, slopes_where_there_is_a_choice) {
  const struct {
    const char *op;
    struct fg_onnx_attr attr;
    int rows;
    double x[4], want[4];
  } cases[] = {
      {"ReduceL2",
       {.name = "axes", .kind = FG_ATTR_INTS, .n = 1, .ints = (int64_t[]){1}},
       2,
       {0, 0, 3, 4},
       {0, 0, 0.6, 0.8}},
      {"ReduceL1",
       {.name = "keepdims", .kind = FG_ATTR_INT, .i = 0},
       1,
       {0, -2, 3, 0},
       {0, -1, 1, 0}},
      {"ReduceProd",
       {.name = "keepdims", .kind = FG_ATTR_INT, .i = 0},
       1,
       {2, 0, 3, 4},
       {0, 24, 0, 0}},
      {"ReduceProd",
       {.name = "keepdims", .kind = FG_ATTR_INT, .i = 0},
       1,
       {2, 0, 3, 0},
       {0, 0, 0, 0}},
      {"ReduceLogSumExp",
       {.name = "keepdims", .kind = FG_ATTR_INT, .i = 1},
       1,
       {1000, 1000, 1000, -INFINITY},
       {1 / 3.0, 1 / 3.0, 1 / 3.0, 0}},
      {"ThresholdedRelu",
       {.name = "alpha", .kind = FG_ATTR_FLOAT, .f = 2},
       1,
       {1, 2, 3, -1},
       {0, 0, 1, 0}},
      {"Celu",
       {.name = "alpha", .kind = FG_ATTR_FLOAT, .f = 2},
       1,
       {0, 2, -INFINITY, 1},
       {1, 1, 0, 1}},
      {"Shrink", {.name = "lambd", .kind = FG_ATTR_FLOAT, .f = 1}, 1, {-1, 1, 2, -3}, {0, 0, 1, 1}},
      {"Softsign", {.name = "", .kind = FG_ATTR_INT}, 1, {0, 1, -1, 3}, {1, 0.25, 0.25, 0.0625}},
      {"HardSwish", {.name = "", .kind = FG_ATTR_INT}, 1, {-3, 3, 0, 4}, {0, 1, 0.5, 1}},
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    struct fg_graph *g = graph();
    fg_id x = input(g, 2, (int64_t[]){cases[k].rows, 4 / cases[k].rows});
    fg_id y = take(g, cases[k].op, 1, &x, &cases[k].attr);
    expect_slope(cases[k].op, g, x, y, cases[k].x, cases[k].want);
  }
}

Test(ops_forms, scattered_factors_have_exact_slopes) {
  struct fg_onnx_attr mul = {.name = "reduction", .kind = FG_ATTR_STRING, .s = "mul"};
  struct fg_graph *g = graph();
  fg_id x = input(g, 1, (int64_t[]){4}), u = reals(g, 3, (double[]){0, 5, 7});
  fg_id y = take(g, "ScatterElements", 3, (fg_id[]){x, I(g, 0, 1, 1), u}, &mul);
  expect_slope("factors", g, x, y, (double[]){2, 0, 0, 3}, (double[]){0, 35, 1, 1});
  g = graph();
  u = input(g, 1, (int64_t[]){3});
  x = reals(g, 2, (double[]){4, 3});
  y = take(g, "ScatterElements", 3, (fg_id[]){x, I(g, 0, 0, 1), u}, &mul);
  expect_slope("updates", g, u, y, (double[]){0, 5, 7}, (double[]){20, 0, 3});
}

Test(ops_forms, computed_places_are_followed_and_checked) {
  struct fg_onnx_attr along = {.name = "axis", .kind = FG_ATTR_INT, .i = 1};
  double got[MOST];
  struct fg_graph *g = graph();
  fg_id x = input(g, 2, (int64_t[]){2, 3}), at, y;
  at = take(g, "ArgMax", 1, &x, &along);
  y = take(g, "GatherElements", 2, (fg_id[]){x, at}, &along);
  expect_slope("the largest", g, x, y, (double[]){1, 5, 2, 9, 0, 3}, (double[]){0, 1, 0, 1, 0, 0});
  g = graph();
  x = input(g, 2, (int64_t[]){2, 3});
  y = take(g, "TopK", 2, (fg_id[]){x, I(g, 2)}, NULL);
  expect_slope("the two largest", g, x, y, (double[]){1, 5, 2, 9, 0, 3},
               (double[]){0, 1, 1, 1, 0, 1});
  for (int far = 0; far < 2; far++) {
    g = graph();
    x = input(g, 2, (int64_t[]){2, 3});
    cr_assert_eq(fg_cast(g, x, FG_I64, 0, &at), FGSM_OK);
    y = take(g, "GatherElements", 2, (fg_id[]){x, at}, &along);
    fgsm_status status = run(g, x, (double[]){0, 1, 2, -3, -1, far ? 3 : 2}, y, got);
    cr_expect_eq(status, far ? FGSM_DATA : FGSM_OK, "%s", fgsm_status_name(status));
    cr_expect(far || (got[3] == -3 && got[4] == 2 && got[5] == 2));
  }
}

Test(ops_forms, refuse_what_cannot_be) {
  struct fg_graph *g = graph();
  const int64_t far = INT64_C(1) << 40;
  double on_off[] = {0, 1};
  fg_id x = input(g, 2, (int64_t[]){2, 3}), line = input(g, 1, (int64_t[]){3}), y;
  fg_id v = reals(g, 2, on_off), deep = wholes(g, 2, (int64_t[]){1, 3}, (int64_t[]){0, 0, 0});
  fg_id pair = wholes(g, 2, (int64_t[]){1, 2}, (int64_t[]){0, 3});
  struct fg_onnx_attr sideways = {.name = "direction", .kind = FG_ATTR_STRING, .s = "UP"};
  const struct {
    const char *op;
    fgsm_status want;
    int n;
    fg_id in[3];
    const struct fg_onnx_attr *attr;
  } cases[] = {
      {"OneHot", FGSM_UNSUPPORTED, 3, {line, I(g, far), v}, NULL},
      {"Tile", FGSM_UNSUPPORTED, 2, {x, I(g, INT64_MAX / 2, 8)}, NULL},
      {"Tile", FGSM_MODEL, 2, {x, I(g, 2)}, NULL},
      {"Tile", FGSM_MODEL, 2, {x, I(g, 2, -1)}, NULL},
      {"GatherElements", FGSM_MODEL, 2, {line, I(g, 0, 3)}, NULL},
      {"GatherElements", FGSM_MODEL, 2, {line, line}, NULL},
      {"GatherElements", FGSM_MODEL, 2, {x, I(g, 0)}, NULL},
      {"GatherND", FGSM_MODEL, 2, {x, deep}, NULL},
      {"GatherND", FGSM_MODEL, 2, {x, pair}, NULL},
      {"ScatterND", FGSM_MODEL, 3, {x, pair, v}, NULL},
      {"ScatterElements", FGSM_MODEL, 3, {line, I(g, 0, 1), line}, NULL},
      {"TopK", FGSM_MODEL, 2, {x, I(g, 4)}, NULL},
      {"TopK", FGSM_MODEL, 2, {x, I(g, -1)}, NULL},
      {"NonZero", FGSM_UNSUPPORTED, 1, {x}, NULL},
      {"Unique", FGSM_UNSUPPORTED, 1, {x}, NULL},
      {"Compress", FGSM_UNSUPPORTED, 2, {x, line}, NULL},
      {"Compress", FGSM_MODEL, 2, {line, I(g, 0, 0, 0, 1)}, NULL},
      {"BitShift", FGSM_MODEL, 2, {I(g, 1), I(g, 1)}, &sideways},
      {"BitwiseNot", FGSM_MODEL, 1, {x}, NULL},
      {"Mod", FGSM_MODEL, 2, {x, x}, NULL},
      {"Mod", FGSM_DATA, 2, {I(g, 1), I(g, 0)}, NULL},
      {"Xor", FGSM_MODEL, 2, {x, x}, NULL},
      {"CumSum", FGSM_MODEL, 2, {x, I(g, 2)}, NULL},
      {"Trilu", FGSM_MODEL, 1, {line}, NULL},
      {"EyeLike", FGSM_MODEL, 1, {line}, NULL},
      {"DepthToSpace", FGSM_MODEL, 1, {x}, NULL},
      {"ReverseSequence", FGSM_MODEL, 2, {x, I(g, 1, 1)}, NULL},
      {"QuantizeLinear", FGSM_UNSUPPORTED, 3, {x, v, I(g, 0)}, NULL},
      {"DequantizeLinear", FGSM_UNSUPPORTED, 2, {x, v}, NULL},
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    fgsm_status status = import(g, cases[k].op, cases[k].n, cases[k].in, cases[k].attr, &y);
    cr_expect_eq(status, cases[k].want, "case %zu, %s: %s (%s)", k, cases[k].op,
                 fgsm_status_name(status), status == FGSM_OK ? "" : fgsm_last_error());
  }
  fg_graph_destroy(g);
}

/* Three regions of a 3 x 3 image, of which one lies half outside and one wholly: as data, and as what
 * is known while loading. */
Test(ops_forms, computed_regions_are_what_constant_ones_are) {
  static const double boxes[12] = {0.2, 0.1, 2.4, 1.9, -2.5, 0.5, 1.5, 6, 7, 7, 9, 9};
  const struct fg_onnx_attr attr = {.name = "sampling_ratio", .kind = FG_ATTR_INT, .i = 2};
  const int64_t regions[] = {3, 4};
  double want[MOST], got[MOST];
  for (int computed = 0; computed < 2; computed++) {
    struct fg_graph *g = graph();
    double image[9];
    for (int i = 0; i < 9; i++)
      image[i] = (double)(i * i % 7) - 1.5;
    fg_id b, data = input(g, 2, regions), x = reals(g, 9, image);
    cr_assert_eq(fg_reshape(g, x, 4, (int64_t[]){1, 1, 3, 3}, &x), FGSM_OK);
    cr_assert_eq(fg_graph_constant(g, "", FG_F64, 2, regions, boxes, &b), FGSM_OK);
    fg_id y = take(g, "RoiAlign", 3, (fg_id[]){x, computed ? data : b, I(g, 0, 0, 0)}, &attr);
    cr_assert_eq(fg_value_is_constant(g, y), !computed);
    if (!computed)
      for (int i = 0; i < 3; i++)
        want[i] = fg_constant_real(g, y, i);
    if (computed)
      cr_assert_eq(run(g, data, boxes, y, got), FGSM_OK, "%s", fgsm_last_error());
    else
      fg_graph_destroy(g);
  }
  for (int i = 0; i < 3; i++)
    cr_expect(fabs(got[i] - want[i]) < 1e-12, "region %d: %g, not %g", i, got[i], want[i]);
  cr_expect(fabs(want[0]) > 0.01 && fabs(want[1]) > 0.01);
}
