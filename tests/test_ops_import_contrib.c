/* Operators of com.microsoft against the standard operators that they stand for: both are built on the
 * same constants and must give the same numbers; plain ones are held against numbers too. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "import_cases.h"

static const char microsoft[] = "com.microsoft";

static const struct import_case cases[] = {
    {"gelu", "Gelu", 1, IN(F(D(0, 1), 2)), {{0}}, FGSM_OK, F(D(0, 0.8413447460685429), 2)},
    {"bias gelu",
     "BiasGelu",
     1,
     IN(F(D(0.5, 2), 2), F(D(0.5, -1), 2)),
     {{0}},
     FGSM_OK,
     F(D(0.8413447460685429, 0.8413447460685429), 2)},
    {"fast gelu",
     "FastGelu",
     1,
     IN(F(D(0.5, 0), 2), F(D(0.5, 0), 2)),
     {{0}},
     FGSM_OK,
     F(D(0.8411919906082768, 0), 2)},
    {"quick gelu",
     "QuickGelu",
     1,
     IN(F(D(1), 1)),
     {FLOAT("alpha", 2)},
     FGSM_OK,
     F(D(0.8807970779778823), 1)},
    {"fused product",
     "FusedMatMul",
     1,
     IN(F(D(1, 2, 3, 4), 2, 2), F(D(1, 0, 2, 1), 2, 2)),
     {INT("transA", 1), FLOAT("alpha", 0.5f)},
     FGSM_OK,
     F(D(3.5, 1.5, 5, 2), 2, 2)},
    {"fused product of batches transposed",
     "FusedMatMul",
     1,
     IN(F(D(1, 2, 3, 4), 2, 2), F(D(1, 0, 2, 1), 2, 2)),
     {INT("transBatchA", 1)},
     REFUSED(UNSUPPORTED)},
    {"fused gemm",
     "FusedGemm",
     1,
     IN(F(D(1, -2), 1, 2), F(D(1, 2, 3, 1), 2, 2), F(D(1, 1), 2)),
     {TEXT("activation", "LeakyRelu"), FLOAT("activation_alpha", 0.25f)},
     FGSM_OK,
     F(D(-1, 1), 1, 2)},
    {"fused conv: sum and activation",
     "FusedConv",
     1,
     IN(F(D(1, 2, 3, 4), 1, 1, 2, 2), F(D(2), 1, 1, 1, 1), F(D(-3), 1),
        F(D(0, 0, -9, 1), 1, 1, 2, 2)),
     {TEXT("activation", "Relu")},
     FGSM_OK,
     F(D(0, 1, 0, 6), 1, 1, 2, 2)},
    {"fused conv: a clip",
     "FusedConv",
     1,
     IN(F(D(1, 2, 3, 4), 1, 1, 2, 2), F(D(2), 1, 1, 1, 1)),
     {TEXT("activation", "Clip"),
      {.name = "activation_params", .kind = FG_ATTR_FLOATS, .n = 2, .floats = (float[]){3, 7}}},
     FGSM_OK,
     F(D(3, 4, 6, 7), 1, 1, 2, 2)},
    {"fused conv: an activation that is not known",
     "FusedConv",
     1,
     IN(F(D(1, 2, 3, 4), 1, 1, 2, 2), F(D(2), 1, 1, 1, 1)),
     {TEXT("activation", "Softplus")},
     REFUSED(UNSUPPORTED)},
    {"skip and norm",
     "SkipLayerNormalization",
     1,
     IN(F(D(1, 2, 3, 4), 1, 1, 4), F(D(0, 1, 0, 1), 1, 1, 4), F(D(1, 1, 1, 2), 4),
        F(D(0, 0, 0, 1), 4)),
     {{0}},
     FGSM_OK,
     F(D(-1.4142135623730951, 0, 0, 3.8284271247461903), 1, 1, 4)},
    {"skip and simplified norm",
     "SkipSimplifiedLayerNormalization",
     1,
     IN(F(D(1, 2), 1, 1, 2), F(D(2, 2), 1, 1, 2), F(D(1, 5), 2)),
     {{0}},
     FGSM_OK,
     F(D(0.8485281374238571, 5.656854249492381), 1, 1, 2)},
    {"simplified norm",
     "SimplifiedLayerNormalization",
     1,
     IN(F(D(3, 4), 1, 2), F(D(1, 5), 2)),
     {FLOAT("epsilon", 0)},
     FGSM_OK,
     F(D(0.8485281374238571, 5.656854249492381), 1, 2)},
    {"norm",
     "LayerNormalization",
     1,
     IN(F(D(1, 3), 1, 2), F(D(1, 5), 2)),
     {FLOAT("epsilon", 0)},
     FGSM_OK,
     F(D(-1, 5), 1, 2)},
    {"attention with a cache",
     "MultiHeadAttention",
     1,
     IN(COUNT(1, 2, 4), COUNT(1, 2, 4), COUNT(1, 2, 4), NONE, NONE, NONE, COUNT(1, 2, 1, 2)),
     {INT("num_heads", 2)},
     REFUSED(UNSUPPORTED)},
    {"attention whose heads do not divide",
     "MultiHeadAttention",
     1,
     IN(COUNT(1, 2, 4), COUNT(1, 2, 4), COUNT(1, 2, 4)),
     {INT("num_heads", 3)},
     REFUSED(MODEL)},
};

Test(ops_import, understands_contributed_operators) {
  import_check(microsoft, cases, sizeof cases / sizeof *cases);
}

/* ---- attention, written out: softmax(q k^T / sqrt(size) + bias) v for each head */

enum { BATCH = 2, ROWS = 3, COLUMNS = 4, HEADS = 2, SIZE = 2, WIDTH = HEADS * SIZE };

/* hidden(row, column) for a sample; `bias` is added there. */
static void attend(const double *q, const double *k, const double *v, double filter,
                   const int64_t *kept, bool causal, double *y) {
  for (int b = 0; b < BATCH; b++)
    for (int h = 0; h < HEADS; h++)
      for (int i = 0; i < ROWS; i++) {
        double p[COLUMNS], sum = 0;
        for (int j = 0; j < COLUMNS; j++) {
          p[j] = 0;
          for (int s = 0; s < SIZE; s++)
            p[j] += q[(b * ROWS + i) * WIDTH + h * SIZE + s] *
                    k[(b * COLUMNS + j) * WIDTH + h * SIZE + s] / sqrt(SIZE);
          p[j] += kept && !kept[b * COLUMNS + j] ? filter : 0;
          p[j] = causal && j > i ? 0 : exp(p[j]);
          sum += p[j];
        }
        for (int s = 0; s < SIZE; s++) {
          double total = 0;
          for (int j = 0; j < COLUMNS; j++)
            total += p[j] / sum * v[(b * COLUMNS + j) * WIDTH + h * SIZE + s];
          y[(b * ROWS + i) * WIDTH + h * SIZE + s] = total;
        }
      }
}

static void draw(double *x, int n, double step) {
  for (int i = 0; i < n; i++)
    x[i] = sin(step * (i + 1));
}

static fg_id reals(struct fg_graph *g, int rank, const int64_t *dim, const double *x) {
  fg_id id;
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, rank, dim, x, &id), FGSM_OK);
  return id;
}

static void expect_reals(const struct fg_graph *g, fg_id y, const double *want, const char *what) {
  cr_assert(fg_value_is_constant(g, y), "%s", what);
  for (int64_t i = 0; i < fg_value_count(g, y); i++)
    cr_expect(fabs(fg_constant_real(g, y, i) - want[i]) < 1e-9, "%s: %lld is %g, not %g", what,
              (long long)i, fg_constant_real(g, y, i), want[i]);
}

Test(ops_import, takes_multi_head_attention_apart) {
  double q[BATCH * ROWS * WIDTH], k[BATCH * COLUMNS * WIDTH], v[BATCH * COLUMNS * WIDTH];
  double bias[3 * WIDTH], want[BATCH * ROWS * WIDTH];
  const int64_t rows[] = {BATCH, ROWS, WIDTH}, columns[] = {BATCH, COLUMNS, WIDTH};
  const int64_t kept[BATCH * COLUMNS] = {1, 1, 0, 1, 1, 1, 1, 0};
  const struct fg_onnx_attr attrs[] = {INT("num_heads", HEADS), FLOAT("mask_filter_value", -5),
                                       INT("unidirectional", 1)};
  draw(q, BATCH * ROWS * WIDTH, 0.7);
  draw(k, BATCH * COLUMNS * WIDTH, 1.3);
  draw(v, BATCH * COLUMNS * WIDTH, 0.4);
  draw(bias, 3 * WIDTH, 2.1);
  for (int causal = 0; causal < 2; causal++) {
    struct fg_graph *g;
    fg_id in[5], out;
    cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
    in[0] = reals(g, 3, rows, q);
    in[1] = reals(g, 3, columns, k);
    in[2] = reals(g, 3, columns, v);
    in[3] = reals(g, 1, (int64_t[]){3 * WIDTH}, bias);
    cr_assert_eq(fg_graph_constant(g, "", FG_I64, 2, (int64_t[]){BATCH, COLUMNS}, kept, &in[4]),
                 FGSM_OK);
    cr_assert_eq(
        import_run(g, microsoft, "MultiHeadAttention", 1, 5, in, attrs, 2 + causal, 1, &out),
        FGSM_OK, "%s", fgsm_last_error());
    double shifted[3][BATCH * COLUMNS * WIDTH];
    for (int i = 0; i < BATCH * COLUMNS * WIDTH; i++) {
      shifted[0][i] = i < BATCH * ROWS * WIDTH ? q[i] + bias[i % WIDTH] : 0;
      shifted[1][i] = k[i] + bias[WIDTH + i % WIDTH];
      shifted[2][i] = v[i] + bias[2 * WIDTH + i % WIDTH];
    }
    attend(shifted[0], shifted[1], shifted[2], -5, kept, causal, want);
    expect_reals(g, out, want, causal ? "causal" : "with a key mask");
    fg_graph_destroy(g);
  }
}

/* One product gives all three; the mask counts the places of each sample. Rows are as many as
 * columns here, so COLUMNS of them are computed and ROWS compared. */
Test(ops_import, takes_packed_attention_apart) {
  enum { INNER = 3 };
  double x[BATCH * COLUMNS * INNER], w[INNER * 3 * WIDTH], bias[3 * WIDTH];
  double part[3][BATCH * COLUMNS * WIDTH], queries[BATCH * ROWS * WIDTH],
      want[BATCH * ROWS * WIDTH];
  const int64_t kept[BATCH * COLUMNS] = {1, 1, 1, 0, 1, 1, 0, 0}, counts[BATCH] = {3, 2};
  const struct fg_onnx_attr attrs[] = {INT("num_heads", HEADS)};
  struct fg_graph *g;
  fg_id in[4], out;
  draw(x, BATCH * COLUMNS * INNER, 0.9);
  draw(w, INNER * 3 * WIDTH, 1.7);
  draw(bias, 3 * WIDTH, 2.3);
  for (int i = 0; i < BATCH * COLUMNS; i++)
    for (int c = 0; c < 3 * WIDTH; c++) {
      double sum = bias[c];
      for (int j = 0; j < INNER; j++)
        sum += x[i * INNER + j] * w[j * 3 * WIDTH + c];
      part[c / WIDTH][i * WIDTH + c % WIDTH] = sum;
    }
  for (int b = 0; b < BATCH; b++)
    memcpy(queries + b * ROWS * WIDTH, part[0] + b * COLUMNS * WIDTH,
           ROWS * WIDTH * sizeof *queries);
  attend(queries, part[1], part[2], -10000, kept, false, want);
  cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
  in[0] = reals(g, 3, (int64_t[]){BATCH, COLUMNS, INNER}, x);
  in[1] = reals(g, 2, (int64_t[]){INNER, 3 * WIDTH}, w);
  in[2] = reals(g, 1, (int64_t[]){3 * WIDTH}, bias);
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 1, (int64_t[]){BATCH}, counts, &in[3]), FGSM_OK);
  cr_assert_eq(import_run(g, microsoft, "Attention", 1, 4, in, attrs, 1, 1, &out), FGSM_OK, "%s",
               fgsm_last_error());
  for (int b = 0; b < BATCH; b++)
    for (int i = 0; i < ROWS * WIDTH; i++) {
      double got = fg_constant_real(g, out, b * COLUMNS * WIDTH + i);
      cr_expect(fabs(got - want[b * ROWS * WIDTH + i]) < 1e-9, "sample %d: %d is %g, not %g", b, i,
                got, want[b * ROWS * WIDTH + i]);
    }
  fg_graph_destroy(g);
}
