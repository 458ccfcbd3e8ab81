/* Where nodes come from, after the passes: nothing of the file is lost on the way, and what is fused
 * knows all that it does. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

static fg_id constant(struct fg_graph *g, int rank, const int64_t *dim, double first) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    n *= dim[i];
  double *data = malloc((size_t)n * sizeof *data);
  for (int64_t i = 0; i < n; i++)
    data[i] = first + 0.01 * (double)(i % 7);
  fg_id id;
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, rank, dim, data, &id), FGSM_OK);
  free(data);
  return id;
}

/* Appends a node as coming from the source `name`. */
static fg_id add(struct fg_graph *g, const char *name, enum fg_op op, union fg_attrs a, int n,
                 const fg_id *in) {
  struct fg_provenance outer;
  fg_id out[FG_MAX_OUT];
  cr_assert_eq(fg_source_begin(g, fg_op_name(op), name, &outer), FGSM_OK);
  cr_assert_eq(fg_graph_add(g, op, name, &a, n, in, out), FGSM_OK, "%s", fgsm_last_error());
  fg_source_end(g, outer);
  return out[0];
}

static const union fg_attrs conv3 = {.conv = {.spatial = 2,
                                              .group = 1,
                                              .stride = {1, 1},
                                              .dilation = {1, 1},
                                              .pad_lo = {1, 1},
                                              .pad_hi = {1, 1}}};
static const union fg_attrs relu = {.unary = {.kind = FG_UNARY_relu}};

/* conv1 bn relu1 conv2 add(relu1) relu2 flat fc, with its gradient for x. */
static struct fg_graph *small_net(enum fg_type real) {
  struct fg_graph *g;
  fg_id x, t, h, seed, grad;
  int64_t c = 16;
  cr_assert_eq(fg_graph_create(real, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", real, 4, (int64_t[]){2, 16, 6, 6}, &x), FGSM_OK);
  fg_id w = constant(g, 4, (int64_t[]){16, 16, 3, 3}, -0.03);
  fg_id v[4];
  for (int i = 0; i < 4; i++)
    v[i] = constant(g, 1, &c, 0.5 + i);
  t = add(g, "conv1", FG_OP_conv, conv3, 2, (fg_id[]){x, w});
  t = add(g, "bn", FG_OP_batch_norm, (union fg_attrs){.batch_norm = {.epsilon = 1e-5}}, 5,
          (fg_id[]){t, v[0], v[1], v[2], v[3]});
  h = add(g, "relu1", FG_OP_unary, relu, 1, &t);
  t = add(g, "conv2", FG_OP_conv, conv3, 2, (fg_id[]){h, w});
  t = add(g, "sum", FG_OP_binary, (union fg_attrs){.binary = {FG_BINARY_add}}, 2, (fg_id[]){t, h});
  t = add(g, "relu2", FG_OP_unary, relu, 1, &t);
  t = add(g, "flat", FG_OP_reshape, (union fg_attrs){.shape = {2, {2, 576}}}, 1, &t);
  fg_id m = constant(g, 2, (int64_t[]){576, 3}, 0.1);
  t = add(g, "fc", FG_OP_matmul, (union fg_attrs){.matmul = {.alpha = 1}}, 2, (fg_id[]){t, m});
  cr_assert_eq(fg_graph_output(g, t, NULL), FGSM_OK);
  cr_assert_eq(fg_fold(g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "seed", real, 2, (int64_t[]){2, 3}, &seed), FGSM_OK);
  cr_assert_eq(fg_grad(g, 1, &g->outputs[0], &seed, 1, &x, &grad), FGSM_OK);
  cr_assert_eq(fg_graph_output(g, grad, NULL), FGSM_OK);
  return g;
}

/* "conv1 bn relu1" of a node. */
static void name_sources(const struct fg_graph *g, const struct fg_node *node, char *text,
                         size_t size) {
  int64_t n;
  const fg_id *list = fg_lists_at(&g->source_lists, node->from.sources, &n);
  *text = 0;
  for (int64_t i = 0; i < n; i++) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", i ? " " : "", g->sources[list[i]].name);
  }
}

static bool has_node(const struct fg_graph *g, enum fg_op op, bool gradient, const char *sources) {
  char text[256];
  for (int64_t i = 0; i < g->n_nodes; i++) {
    name_sources(g, &g->nodes[i], text, sizeof text);
    if (g->nodes[i].op == op && g->nodes[i].from.gradient == gradient && strcmp(text, sources) == 0)
      return true;
  }
  return false;
}

static void print(const struct fg_graph *g) {
  char text[256];
  for (int64_t i = 0; i < g->n_nodes; i++) {
    name_sources(g, &g->nodes[i], text, sizeof text);
    printf("  %s%s: %s\n", fg_op_name(g->nodes[i].op),
           g->nodes[i].from.gradient ? " (gradient)" : "", text);
  }
}

Test(provenance, is_kept_by_every_pass) {
  static const struct fg_backend *const backends[] = {&fg_ref, &fg_cpu};
  for (int k = 0; k < 2; k++) {
    struct fg_device *device;
    struct fg_graph *g = small_net(backends[k]->real), *copy;
    cr_assert_eq(backends[k]->open(0, 1, &device), FGSM_OK);
    cr_expect(has_node(g, FG_OP_conv, false, "conv1 bn"), "folded on %s", backends[k]->name);
    cr_assert_eq(fg_fuse(g, device), FGSM_OK);
    cr_assert_eq(fg_layout(g, device), FGSM_OK);
    cr_assert_eq(fg_graph_copy(g, &copy), FGSM_OK);
    fg_graph_destroy(g);
    struct fg_plan *plan;
    cr_assert_eq(fg_plan_create(copy, device, false, &plan), FGSM_OK);
    const struct fg_graph *p = fg_plan_graph(plan);
    bool slope = k == 0 || device->channel_block == 8; /* is fused with the gradient */
    bool whole = has_node(p, FG_OP_conv, false, "conv1 bn relu1") &&
                 has_node(p, FG_OP_conv, false, "conv2 sum relu2") &&
                 has_node(p, FG_OP_matmul, false, "fc") && has_node(p, FG_OP_matmul, true, "fc") &&
                 has_node(p, FG_OP_conv_grad_input, true, slope ? "relu1 conv2" : "conv2") &&
                 has_node(p, FG_OP_conv_grad_input, true, "conv1 bn");
    cr_expect(whole, "on %s", backends[k]->name);
    if (!whole)
      print(p);
    for (int64_t i = 0; i < p->n_nodes; i++)
      cr_expect(p->nodes[i].from.sources, "node %d on %s comes from nowhere", (int)i,
                backends[k]->name);
    fg_plan_destroy(plan);
    backends[k]->close(device);
  }
}

/* Names within names, and names that are longer than any sensible one. */
Test(provenance, names_nest_and_are_bounded) {
  struct fg_graph *g;
  struct fg_provenance a, b;
  char *long_name = malloc(100001);
  memset(long_name, 0, 100001);
  for (int i = 0; i < 50000; i++)
    memcpy(long_name + 2 * i, "\xc3\xa9", 2);
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  cr_assert_eq(fg_source_begin(g, "Block", "outer", &a), FGSM_OK);
  cr_assert_eq(fg_source_begin(g, "Conv", "inner", &b), FGSM_OK);
  cr_expect_str_eq(g->sources[1].name, "outer/inner");
  fg_source_end(g, b);
  fg_source_end(g, a);
  cr_expect_eq(g->from.sources, 0);
  cr_assert_eq(fg_source_begin(g, "Conv", long_name, &a), FGSM_OK);
  cr_expect_eq(strlen(g->sources[2].name), 254, "cut between characters");
  fg_graph_destroy(g);
  free(long_name);
}
