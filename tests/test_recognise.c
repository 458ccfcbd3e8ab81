/* Recognising what exporters take apart: every spelling must be found, with the numbers and gradients
 * that it had; what only looks like it must be left alone. A spelling is a function that builds one of
 * several forms; its graph is run as written and as recognised. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "spellings.h"

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
  fg_id x[SPELLING_MOST_X], grad[SPELLING_MOST_X], seed, y;
  void *memory[SPELLING_MOST_X];
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
    w[i] = spelling_number(7000 + (uint64_t)i);
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
      double value = (float)(4 * spelling_number((uint64_t)(i * 100000 + k)));
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
  const struct spelling *s;
  for (int i = 0; (s = spelling_at(i)); i++)
    for (int form = 0; form <= s->last; form++)
      compare(s, form, &fg_ref, 1, 1e-12);
}

Test(recognise, every_spelling_keeps_its_numbers_on_the_cpu) {
  const struct spelling *s;
  for (int i = 0; (s = spelling_at(i)); i++) {
    bool is_small = s->op == FG_OP_attention; /* which the cpu prefers unfused */
    for (int form = 0; form <= s->last; form++)
      compare(s, form, &fg_cpu, is_small ? 0 : 1, 1e-5);
  }
}

Test(recognise, near_misses_are_left_alone) {
  const struct spelling *s;
  for (int i = 0; (s = spelling_at(i)); i++)
    for (int form = s->first; form < 0; form++)
      compare(s, form, &fg_ref, 0, 1e-12);
}

/* Scores of 16 MiB and more: the cpu fuses. */
Test(recognise, large_attention_is_fused_on_the_cpu) {
  compare(&spelling_large_attention, 0, &fg_cpu, 1, 1e-5);
}

/* A result that is an output keeps its id, and a recognised node has the name of the node that it
 * stands for. */
Test(recognise, names_and_outputs_stay) {
  struct fg_graph *g;
  struct fg_device *device;
  fg_id x, one, half, root, e, y, out[FG_MAX_OUT];
  union fg_attrs mul = {.binary = {FG_BINARY_mul}};
  cr_assert_eq(fg_ref.open(0, 1, &device), FGSM_OK);
  cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", FG_F64, 1, (int64_t[]){4}, &x), FGSM_OK);
  cr_assert_eq(fg_graph_scalar(g, 1, &one), FGSM_OK);
  cr_assert_eq(fg_graph_scalar(g, 0.5, &half), FGSM_OK);
  cr_assert_eq(fg_graph_scalar(g, sqrt(0.5), &root), FGSM_OK);
  cr_assert_eq(fg_binary(g, FG_BINARY_mul, x, root, &e), FGSM_OK);
  cr_assert_eq(fg_unary(g, FG_UNARY_erf, 0, 0, e, &e), FGSM_OK);
  cr_assert_eq(fg_binary(g, FG_BINARY_add, e, one, &e), FGSM_OK);
  cr_assert_eq(fg_binary(g, FG_BINARY_mul, x, e, &e), FGSM_OK);
  cr_assert_eq(fg_graph_add(g, FG_OP_binary, "/mlp/Mul_1", &mul, 2, (fg_id[]){e, half}, out),
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

/* What the architecture of the golden transformers has: normalisations, activations and attentions,
 * with their gradients, and nothing of what they are taken apart into. */
Test(recognise, exported_transformers_have_what_their_architecture_has) {
  static const struct {
    const char *name;
    enum fg_unary_kind activation;
    int n[6]; /* of parts */
  } nets[] = {{"vit_opset13", FG_UNARY_gelu, {5, 2, 2, 2, 0, 0}},
              {"vit_opset17", FG_UNARY_gelu, {5, 2, 2, 2, 0, 0}},
              {"vit_dynamo", FG_UNARY_gelu, {5, 2, 2, 2, 0, 0}},
              {"swin", FG_UNARY_gelu, {6, 2, 2, 2, 0, 0}},
              {"swin_cosine", FG_UNARY_gelu, {6, 2, 2, 2, 0, 0}},
              {"tf_transformer", FG_UNARY_gelu_tanh, {5, 2, 2, 2, 0, 0}},
              {"keras_attention", FG_UNARY_gelu_tanh, {2, 1, 1, 1, 0, 0}}};
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
    const struct spelling parts[] = {
        {.name = "layer_norm", .op = FG_OP_layer_norm, .kind = -1},
        {.name = "gelu", .op = FG_OP_unary, .kind = (int)nets[i].activation},
        {.name = "attention", .op = FG_OP_attention, .kind = -1},
        {.name = "attention_grad", .op = FG_OP_attention_grad, .kind = -1},
        {.name = "softmax", .op = FG_OP_softmax, .kind = -1},
        {.name = "erf", .op = FG_OP_unary, .kind = FG_UNARY_erf}};
    char path[512];
    struct net net;
    snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), nets[i].name);
    cr_assert_eq(net_open(path, &fg_ref, 2, &(struct net_options){0}, &net), FGSM_OK, "%s: %s",
                 nets[i].name, fgsm_last_error());
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
      int n = count_nodes(fg_plan_graph(net.plan), &parts[k]);
      cr_expect_eq(n, nets[i].n[k], "%s: %d of %s, not %d", nets[i].name, n, parts[k].name,
                   nets[i].n[k]);
    }
    net_close(&net);
  }
}
