/* See import_cases.h. */
#include "import_cases.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static int64_t count(const struct import_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    n *= t->dim[i];
  return n;
}

static double at(const struct import_tensor *t, int64_t i) {
  return t->values ? t->values[i] : (double)i + 1;
}

fg_id import_constant(struct fg_graph *g, const struct import_tensor *t) {
  double real[IMPORT_ELEMENTS];
  int64_t whole[IMPORT_ELEMENTS];
  fg_id x = FG_ABSENT;
  if (t->type == FG_NONE)
    return x;
  for (int64_t i = 0; i < count(t); i++) {
    real[i] = at(t, i);
    whole[i] = t->type == FG_F64 ? 0 : (int64_t)real[i];
  }
  cr_assert_eq(fg_graph_constant(g, "", t->type == FG_F64 ? FG_F64 : FG_I64, t->rank, t->dim,
                                 t->type == FG_F64 ? (void *)real : whole, &x),
               FGSM_OK);
  cr_assert_eq(fg_cast(g, x, t->type, 0, &x), FGSM_OK);
  return x;
}

fgsm_status import_run(struct fg_graph *g, const char *domain, const char *op, int64_t opset,
                       int n_in, const fg_id *in, const struct fg_onnx_attr *attrs, int n_attrs,
                       int n_out, fg_id *out) {
  static const bool used[8] = {true, true, true, true, true, true, true, true};
  struct fg_import im = {.g = g,
                         .op_type = op,
                         .name = "node",
                         .opset = opset,
                         .n_in = n_in,
                         .in = in,
                         .n_out = n_out,
                         .out_used = used,
                         .out = out,
                         .n_attrs = n_attrs,
                         .attrs = attrs};
  fg_import_fn import = fg_find_importer(domain, op);
  cr_assert_not_null(import, "no importer %s", op);
  return import(&im);
}

static void check_result(const struct import_case *c, const struct fg_graph *g, fg_id out) {
  const struct import_tensor *want = &c->out;
  cr_assert_neq(out, FG_ABSENT, "%s: no result", c->name);
  const struct fg_value *v = fg_value(g, out);
  cr_expect_eq(v->type, want->type, "%s: the result is %s", c->name, fg_type_name(v->type));
  cr_assert_eq(v->rank, want->rank, "%s: the result has rank %d", c->name, v->rank);
  for (int i = 0; i < v->rank; i++)
    cr_assert_eq(v->dim[i], want->dim[i], "%s: dimension %d is %lld", c->name, i,
                 (long long)v->dim[i]);
  cr_assert(fg_value_is_constant(g, out), "%s: the result was not computed", c->name);
  for (int64_t i = 0; i < count(want); i++)
    cr_expect(fabs(fg_constant_real(g, out, i) - at(want, i)) <= 1e-7 * (1 + fabs(at(want, i))),
              "%s: element %lld is %g, not %g", c->name, (long long)i, fg_constant_real(g, out, i),
              at(want, i));
}

void import_check(const char *domain, const struct import_case *cases, size_t n) {
  for (size_t k = 0; k < n; k++) {
    const struct import_case *c = &cases[k];
    struct fg_graph *g;
    fg_id in[IMPORT_IN], out[3] = {FG_ABSENT, FG_ABSENT, FG_ABSENT};
    int n_attrs = 0;
    cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
    for (int i = 0; i < c->n_in; i++)
      in[i] = import_constant(g, &c->in[i]);
    while (n_attrs < IMPORT_ATTRS && c->attrs[n_attrs].name)
      n_attrs++;
    fgsm_status status =
        import_run(g, domain, c->op, c->opset, c->n_in, in, c->attrs, n_attrs, 1, out);
    cr_expect_eq(status, c->want, "%s: %s (%s)", c->name, fgsm_status_name(status),
                 status == FGSM_OK ? "" : fgsm_last_error());
    if (status == FGSM_OK && c->want == FGSM_OK)
      check_result(c, g, out[0]);
    fg_graph_destroy(g);
  }
}
