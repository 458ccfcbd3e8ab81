/* The built-in architectures: their numbers of weights, which are known, and that they run, go through
 * the file and come back. */
#include <criterion/criterion.h>
#include <string.h>

#include "arch.h"

struct row {
  const char *name;
  int rank;
  int64_t dim[3], classes;
  int64_t weights; /* running statistics apart */
};

static const struct row rows[] = {
    {"tiny-cnn", 3, {3, 32, 32}, 10, 41082},
    {"mnist-cnn", 3, {1, 28, 28}, 10, 166406},
    {"lenet5", 3, {1, 28, 28}, 10, 61706},
    {"resnet18", 3, {3, 32, 32}, 10, 11173962},
    {"preact-resnet18", 3, {3, 32, 32}, 10, 11172170},
    {"wrn-16-4", 3, {3, 32, 32}, 10, 2748890},
    {"mlp", 2, {4, 5}, 3, 63},
    {"mlp:30,7", 1, {20}, 3, 871},
};

Test(arch, each_has_the_weights_that_it_is_known_for) {
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
    const struct row *row = &rows[r];
    struct fg_onnx *onnx = NULL;
    struct fg_graph *g = NULL;
    fg_id x, logits;
    int64_t dim[FG_MAX_RANK] = {2}, n = 0;
    memcpy(dim + 1, row->dim, (size_t)row->rank * sizeof *dim);
    cr_assert_eq(fg_arch_create(row->name, row->rank, row->dim, row->classes, &onnx), FGSM_OK,
                 "%s: %s", row->name, fgsm_last_error());
    cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
    cr_assert_eq(fg_graph_input(g, "x", FG_F32, row->rank + 1, dim, &x), FGSM_OK);
    cr_assert_eq(fg_onnx_build_output(onnx, g, 2, true, &x, 0, &logits), FGSM_OK, "%s: %s",
                 row->name, fgsm_last_error());
    for (fg_id i = 0; i < g->n_values; i++)
      n += fg_value(g, i)->role == FG_ROLE_PARAM ? fg_value_count(g, i) : 0;
    cr_expect_eq(n, row->weights, "%s has %lld weights, not %lld", row->name, (long long)n,
                 (long long)row->weights);
    cr_expect(fg_value(g, logits)->rank == 2 && fg_value(g, logits)->dim[1] == row->classes);
    cr_expect_str_eq(fg_onnx_output(onnx, 0)->name, "logits");
    fg_graph_destroy(g);
    fg_onnx_close(onnx);
  }
}

Test(arch, what_cannot_be_is_refused) {
  static const struct row wrong[] = {
      {"resnet19", 3, {3, 32, 32}, 10, 0}, {"resnet18", 1, {20}, 10, 0},
      {"lenet5", 3, {1, 8, 8}, 10, 0},     {"mlp:", 1, {20}, 10, 0},
      {"mlp:3,x", 1, {20}, 10, 0},         {"mlp:0", 1, {20}, 10, 0},
      {"mlp:3,", 1, {20}, 10, 0},          {"mlp:2000000", 1, {20}, 10, 0}};
  for (size_t r = 0; r < sizeof wrong / sizeof *wrong; r++) {
    struct fg_onnx *onnx = NULL;
    cr_expect_eq(
        fg_arch_create(wrong[r].name, wrong[r].rank, wrong[r].dim, wrong[r].classes, &onnx),
        FGSM_USAGE, "%s was made", wrong[r].name);
    cr_expect(strstr(fgsm_last_error(), "--arch"), "%s", fgsm_last_error());
  }
}
