/* Shape rules: what each operator makes of its inputs' shapes and types, and what it refuses.
 * Kernels do not check again, so every line of attrs.h that a stranger's model could break has a
 * refusal here. */
#include <criterion/criterion.h>
#include <string.h>

#include "rule_cases.h"

static const struct rule_table *const tables[] = {&rule_cases_products, &rule_cases_movement,
                                                  &rule_cases_attack, &rule_cases_train};
enum { TABLES = sizeof tables / sizeof *tables };

static void check_output(const struct rule_case *c, const struct fg_graph *g, int i, fg_id id) {
  const struct shape *want = &c->out[i];
  if (want->type == FG_NONE) {
    cr_expect_eq(id, FG_ABSENT, "%s: output %d is there", c->name, i);
    return;
  }
  cr_assert_neq(id, FG_ABSENT, "%s: output %d is absent", c->name, i);
  const struct fg_value *v = fg_value(g, id);
  char got[160], wanted[160];
  cr_expect(v->type == want->type && v->rank == want->rank &&
                !memcmp(v->dim, want->dim, (size_t)v->rank * sizeof *v->dim),
            "%s: output %d is %s%s, not %s%s", c->name, i, fg_type_name(v->type),
            fg_shape_text(v->rank, v->dim, got, sizeof got), fg_type_name(want->type),
            fg_shape_text(want->rank, want->dim, wanted, sizeof wanted));
}

static void check(const struct rule_case *c) {
  struct fg_graph *g;
  fg_id in[8], out[FG_MAX_OUT];
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  for (int i = 0; i < c->n_in; i++) {
    in[i] = FG_ABSENT;
    if (c->in[i].type != FG_NONE)
      cr_assert_eq(fg_graph_input(g, "", c->in[i].type, c->in[i].rank, c->in[i].dim, &in[i]),
                   FGSM_OK, "%s: %s", c->name, fgsm_last_error());
  }
  fgsm_status status = fg_graph_add(g, c->op, "", &c->attrs, c->n_in, in, out);
  cr_expect_eq(status, c->want, "%s: %s (%s)", c->name, fgsm_status_name(status),
               status == FGSM_OK ? "" : fgsm_last_error());
  for (int i = 0; i < FG_MAX_OUT && status == FGSM_OK && c->want == FGSM_OK; i++)
    check_output(c, g, i, out[i]);
  if (status != FGSM_OK)
    cr_expect(strlen(fgsm_last_error()) > strlen(fg_op_name(c->op)) + 2, "%s: says nothing",
              c->name);
  fg_graph_destroy(g);
}

Test(ops_rules, give_shapes_and_refuse_what_does_not_fit) {
  for (size_t t = 0; t < TABLES; t++)
    for (size_t i = 0; i < tables[t]->n; i++)
      check(&tables[t]->cases[i]);
}

Test(ops_rules, cover_every_operator) {
  for (int op = 0; op < FG_OP_COUNT; op++) {
    cr_assert_not_null(fg_op_defs[op], "%s", fg_op_name(op));
    cr_expect_not_null(fg_op_defs[op]->infer, "%s", fg_op_name(op));
    bool refused = op == FG_OP_reorder || op == FG_OP_avg_pool || op == FG_OP_softmax_grad;
    for (size_t t = 0; t < TABLES; t++)
      for (size_t i = 0; i < tables[t]->n; i++)
        refused |= (int)tables[t]->cases[i].op == op;
    cr_expect(refused, "no case for %s", fg_op_name(op));
  }
}

Test(ops_rules, check_constant_indices) {
  struct fg_graph *g;
  fg_id in[2], out[FG_MAX_OUT];
  union fg_attrs a = {.axis = {0, 0}};
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "", FG_F32, 1, (int64_t[]){3}, &in[0]), FGSM_OK);
  for (int64_t i = -4; i <= 3; i++) {
    cr_assert_eq(fg_graph_constant(g, "", FG_I64, 0, NULL, &i, &in[1]), FGSM_OK);
    cr_expect_eq(fg_graph_add(g, FG_OP_gather, "", &a, 2, in, out),
                 i < -3 || i > 2 ? FGSM_MODEL : FGSM_OK, "index %lld", (long long)i);
  }
  fg_graph_destroy(g);
}

Test(ops_rules, count_operations) {
  struct fg_graph *g;
  fg_id in[2], out[FG_MAX_OUT];
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "", FG_F32, 4, (int64_t[]){2, 4, 8, 8}, &in[0]), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "", FG_F32, 4, (int64_t[]){6, 2, 3, 3}, &in[1]), FGSM_OK);
  union fg_attrs a = {.conv = {.spatial = 2, .group = 2, .stride = {1, 1}, .dilation = {1, 1}}};
  cr_assert_eq(fg_graph_add(g, FG_OP_conv, "", &a, 2, in, out), FGSM_OK);
  cr_expect_eq(fg_op_defs[FG_OP_conv]->flops(g, &g->nodes[0]), 2.0 * (2 * 6 * 6 * 6) * (2 * 3 * 3));
  cr_assert_eq(fg_matmul(g, in[0], in[0], false, true, 1, out), FGSM_OK);
  cr_expect_eq(fg_op_defs[FG_OP_matmul]->flops(g, &g->nodes[1]), 2.0 * (2 * 4 * 8 * 8) * 8);
  fg_graph_destroy(g);
}

Test(ops_rules, name_shapes_within_any_buffer) {
  char small[6], text[64];
  int64_t dim[] = {12, 345, 6};
  cr_expect_str_eq(fg_shape_text(3, dim, text, sizeof text), "[12,345,6]");
  cr_expect_str_eq(fg_shape_text(0, NULL, text, sizeof text), "[]");
  cr_expect_str_eq(fg_shape_text(3, dim, small, sizeof small), "[12,3");
}
