/* What importers append where inputs are not constant: the cheap form, the parts of a split, refusals
 * of what is computed from the data; how importers are found. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import_cases.h"

static struct fg_graph *graph(void) {
  struct fg_graph *g;
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  return g;
}

static fg_id input(struct fg_graph *g, enum fg_type type, int rank, const int64_t *dim) {
  fg_id x;
  cr_assert_eq(fg_graph_input(g, "x", type, rank, dim, &x), FGSM_OK);
  return x;
}

static const struct fg_node *producer(const struct fg_graph *g, fg_id x) {
  cr_assert_neq(fg_value(g, x)->producer, FG_ABSENT);
  return &g->nodes[fg_value(g, x)->producer];
}

static fg_id ints(struct fg_graph *g, int64_t n, const int64_t *data) {
  fg_id x;
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 1, &n, data, &x), FGSM_OK);
  return x;
}

/* Splits [7] or [6] and gives the parts' sizes, 0 for a part that is not there. */
static fgsm_status split(int64_t opset, int64_t whole, const int64_t *sizes, int n_sizes,
                         int64_t parts, int n_out, int64_t *got) {
  struct fg_graph *g = graph();
  fg_id in[2] = {input(g, FG_F32, 1, &whole), FG_ABSENT}, out[8];
  struct fg_onnx_attr attrs[2] = {INT("num_outputs", parts)};
  int n_attrs = parts > 0;
  if (n_sizes && opset >= 13)
    in[1] = ints(g, n_sizes, sizes);
  else if (n_sizes)
    attrs[n_attrs++] =
        (struct fg_onnx_attr){.name = "split", .kind = FG_ATTR_INTS, .n = n_sizes, .ints = sizes};
  for (int i = 0; i < n_out; i++)
    out[i] = FG_ABSENT;
  fgsm_status status = import_run(g, "", "Split", opset, 2, in, attrs, n_attrs, n_out, out);
  for (int i = 0; i < n_out && status == FGSM_OK; i++)
    got[i] = out[i] == FG_ABSENT ? 0 : fg_value(g, out[i])->dim[0];
  fg_graph_destroy(g);
  return status;
}

Test(ops_import, splits) {
  int64_t got[4] = {0};
  const int64_t two[] = {2, 4}, long_one[] = {2, 5}, negative[] = {-2, 8};
  cr_assert_eq(split(11, 6, two, 2, 0, 2, got), FGSM_OK);
  cr_expect(got[0] == 2 && got[1] == 4);
  cr_assert_eq(split(13, 6, two, 2, 0, 2, got), FGSM_OK);
  cr_expect(got[0] == 2 && got[1] == 4);
  cr_assert_eq(split(13, 6, NULL, 0, 0, 3, got), FGSM_OK);
  cr_expect(got[0] == 2 && got[1] == 2 && got[2] == 2);
  cr_assert_eq(split(18, 7, NULL, 0, 3, 3, got), FGSM_OK);
  cr_expect(got[0] == 3 && got[1] == 3 && got[2] == 1);
  cr_expect_eq(split(13, 7, NULL, 0, 0, 3, got), FGSM_MODEL);
  cr_expect_eq(split(13, 6, long_one, 2, 0, 2, got), FGSM_MODEL);
  cr_expect_eq(split(13, 6, negative, 2, 0, 2, got), FGSM_MODEL);
  cr_expect_eq(split(13, 6, two, 2, 0, 3, got), FGSM_MODEL);
  cr_expect_eq(split(18, 6, NULL, 0, 2, 3, got), FGSM_MODEL);
}

Test(ops_import, joins_more_inputs_than_a_node_takes) {
  struct fg_graph *g = graph();
  fg_id in[40], out;
  struct fg_onnx_attr axis = INT("axis", 0);
  for (int i = 0; i < 40; i++)
    in[i] = input(g, FG_F32, 1, (int64_t[]){i + 1});
  cr_assert_eq(import_run(g, "", "Concat", 13, 40, in, &axis, 1, 1, &out), FGSM_OK, "%s",
               fgsm_last_error());
  cr_expect_eq(fg_value(g, out)->dim[0], 40 * 41 / 2);
  cr_expect_eq(g->n_nodes, 4);
  fg_graph_destroy(g);
}

/* Forms that later passes look for, or that save work. */
Test(ops_import, chooses_the_cheap_form) {
  struct fg_graph *g = graph();
  fg_id x = input(g, FG_F32, 4, (int64_t[]){2, 3, 4, 4}), out, bound[3] = {x, 0, 0};
  fg_id w = input(g, FG_F32, 2, (int64_t[]){3, 5}), in[3] = {x, FG_ABSENT, FG_ABSENT};
  struct fg_onnx_attr axes = INTS("axes", 2, 3);
  cr_assert_eq(import_run(g, "", "ReduceMean", 13, 1, &x, &axes, 1, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->op, FG_OP_avg_pool);
  cr_assert_eq(fg_graph_scalar(g, 0, &bound[1]), FGSM_OK);
  cr_assert_eq(fg_graph_scalar(g, 6, &bound[2]), FGSM_OK);
  cr_assert_eq(import_run(g, "", "Clip", 13, 3, bound, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->attrs.unary.kind, FG_UNARY_relu6);
  struct fg_onnx_attr scalar = INT("axis", 1);
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 0, NULL, &(int64_t){-1}, &in[1]), FGSM_OK);
  cr_assert_eq(import_run(g, "", "Gather", 13, 2, in, &scalar, 1, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->op, FG_OP_reshape);
  cr_expect_eq(producer(g, producer(g, out)->in[0])->op, FG_OP_slice);
  cr_assert_eq(import_run(g, "", "Identity", 13, 1, &x, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(out, x);
  fg_id a = input(g, FG_F32, 2, (int64_t[]){2, 3}), c;
  cr_assert_eq(fg_graph_constant(g, "", FG_F32, 1, (int64_t[]){1}, (float[]){4}, &c), FGSM_OK);
  cr_assert_eq(import_run(g, "", "Gemm", 13, 3, (fg_id[]){a, w, c}, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->n_in, 3);
  cr_expect_eq(fg_value(g, producer(g, out)->in[2])->dim[0], 5);
  fg_graph_destroy(g);
}

Test(ops_import, refuses_what_is_computed_from_the_data) {
  struct fg_graph *g = graph();
  fg_id x = input(g, FG_F32, 2, (int64_t[]){2, 3}), shape = input(g, FG_I64, 1, (int64_t[]){2}),
        out;
  fg_id in[3] = {x, shape, FG_ABSENT};
  const char *const ops[] = {"Reshape", "Expand", "Squeeze", "ReduceSum", "Pad"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    cr_expect_eq(import_run(g, "", ops[i], 18, 2, in, NULL, 0, 1, &out), FGSM_UNSUPPORTED, "%s",
                 ops[i]);
    cr_expect_not_null(strstr(fgsm_last_error(), "computed from the data"), "%s: %s", ops[i],
                       fgsm_last_error());
  }
  in[1] = x;
  in[2] = x;
  cr_expect_eq(import_run(g, "", "Pad", 13, 2, in, NULL, 0, 1, &out), FGSM_MODEL);
  fg_graph_destroy(g);
}

/* Clip with bounds that are computed, and of shape [1]: no constant, and no change of rank. */
Test(ops_import, clips_by_computed_bounds) {
  struct fg_graph *g = graph();
  fg_id in[3] = {input(g, FG_F32, 0, NULL), input(g, FG_F32, 1, (int64_t[]){1}), FG_ABSENT}, out;
  cr_assert_eq(import_run(g, "", "Clip", 13, 3, in, NULL, 0, 1, &out), FGSM_OK, "%s",
               fgsm_last_error());
  cr_expect_eq(producer(g, out)->attrs.binary.kind, FG_BINARY_max);
  cr_expect_eq(fg_value(g, out)->rank, 0);
  fg_graph_destroy(g);
}

/* A computed index is for the kernels to check. */
Test(ops_import, gathers_by_a_computed_index) {
  struct fg_graph *g = graph();
  fg_id in[2] = {input(g, FG_F32, 2, (int64_t[]){7, 3}), input(g, FG_I64, 1, (int64_t[]){4})}, out;
  cr_assert_eq(import_run(g, "", "Gather", 13, 2, in, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->op, FG_OP_gather);
  cr_expect_eq(fg_value(g, out)->dim[0], 4);
  fg_graph_destroy(g);
}

Test(ops_import, hands_out_masks_and_positions) {
  struct fg_graph *g = graph();
  fg_id x = input(g, FG_F32, 4, (int64_t[]){1, 1, 4, 4}), out[2] = {0, 0};
  struct fg_onnx_attr window = INTS("kernel_shape", 2, 2);
  cr_assert_eq(import_run(g, "", "MaxPool", 12, 1, &x, &window, 1, 2, out), FGSM_OK);
  cr_expect_eq(fg_value(g, out[1])->type, FG_I64);
  cr_expect_eq(fg_value(g, out[1])->dim[3], 3);
  cr_assert_eq(import_run(g, "", "Dropout", 12, 1, &x, NULL, 0, 2, out), FGSM_OK);
  cr_expect_eq(fg_value(g, out[1])->type, FG_BOOL);
  cr_expect_eq(fg_constant_int(g, out[1], 15), 1);
  fg_graph_destroy(g);
}

Test(ops_import, are_found_by_domain_and_name) {
  cr_expect_not_null(fg_find_importer("", "Conv"));
  cr_expect_eq(fg_find_importer("ai.onnx", "Conv"), fg_find_importer("", "Conv"));
  cr_expect_null(fg_find_importer("com.example", "Conv"));
  cr_expect_null(fg_find_importer("", "conv"));
  cr_expect_null(fg_find_importer("", "Scaler"));
  cr_expect_null(fg_find_importer("ai.onnx.ml", "Conv"));
  int n = 0;
  const char *name, *domain;
  for (; (name = fg_importer_name(n, &domain)); n++)
    cr_expect_not_null(fg_find_importer(domain, name), "%s", name);
  cr_expect_gt(n, 60);
  cr_expect_null(fg_importer_name(-1, &domain));
}

/* docs/ONNX.md, as text (free()). */
static char *page(void) {
  FILE *f = fopen(FGSM_SOURCE_DIR "/docs/ONNX.md", "r");
  cr_assert_not_null(f);
  enum { MOST = 1 << 20 };
  char *text = calloc(MOST, 1);
  cr_assert(text && fread(text, 1, MOST - 1, f) > 0);
  fclose(f);
  return text;
}

/* Every importer has its row in the documents, and every row an importer: but for If, Loop and Scan,
 * which the reader itself takes. */
Test(ops_import, are_listed_in_the_documents) {
  char *text = page(), row[128];
  const char *name, *domain, *at = strstr(text, "\n# Operators\n");
  int n = 0, rows = 0;
  cr_assert_not_null(at);
  for (; (name = fg_importer_name(n, &domain)); n++) {
    snprintf(row, sizeof row, "\n| %s%s%s |", domain, *domain ? " " : "", name);
    cr_expect_not_null(strstr(at, row), "docs/ONNX.md does not list %s", row + 1);
  }
  for (const char *p = at; (p = strstr(p, "\n| ")); p++)
    rows += strncmp(p, "\n| operator |", 13) != 0;
  cr_expect_eq(rows, n + 3, "%d rows for %d importers", rows, n);
  free(text);
}
