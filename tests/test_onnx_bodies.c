/* Graphs within the graph: a model's own functions, the branches of If and the bodies of loops become
 * nodes of the one graph; what would never end, or cannot be known while loading, is refused. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "onnx.h"
#include "onnx_bytes.h"

enum { GRAPH = 5, FLOAT_ATTR = 1, BOOL_TYPE = 9 };

static struct onnx_bytes domain(struct onnx_bytes node, const char *name) {
  onnx_text(&node, 7, name);
  return node;
}

static struct onnx_bytes with_graph(struct onnx_bytes node, const char *name,
                                    struct onnx_bytes graph) {
  struct onnx_bytes a = {0};
  onnx_text(&a, 1, name);
  onnx_put(&a, 6, graph);
  onnx_int(&a, 20, GRAPH);
  onnx_put(&node, 5, a);
  return node;
}

static struct onnx_bytes with_float(struct onnx_bytes node, const char *name, float value) {
  struct onnx_bytes a = {0};
  onnx_text(&a, 1, name);
  onnx_varint(&a, 2 << 3 | 5);
  onnx_raw(&a, &value, 4);
  onnx_int(&a, 20, FLOAT_ATTR);
  onnx_put(&node, 5, a);
  return node;
}

/* Attribute `name` is the function's attribute `from`. */
static struct onnx_bytes with_reference(struct onnx_bytes node, const char *name,
                                        const char *from) {
  struct onnx_bytes a = {0};
  onnx_text(&a, 1, name);
  onnx_text(&a, 21, from);
  onnx_int(&a, 20, FLOAT_ATTR);
  onnx_put(&node, 5, a);
  return node;
}

/* A function of the domain "own"; in and out are single-space lists. */
static struct onnx_bytes function(const char *name, const char *in, const char *out, int n,
                                  struct onnx_bytes *nodes) {
  struct onnx_bytes f = {0}, sets[2] = {{0}, {0}};
  const char *lists[] = {in, out};
  onnx_text(&f, 1, name);
  for (unsigned k = 0; k < 2; k++)
    for (const char *at = lists[k]; *at; at += strcspn(at, " ") + (at[strcspn(at, " ")] != 0))
      onnx_blob(&f, 4 + k, at, strcspn(at, " "));
  onnx_text(&f, 6, "slope");
  for (int i = 0; i < n; i++)
    onnx_put(&f, 7, nodes[i]);
  onnx_int(&sets[0], 2, 13);
  onnx_put(&f, 9, sets[0]);
  onnx_text(&sets[1], 1, "own");
  onnx_int(&sets[1], 2, 1);
  onnx_put(&f, 9, sets[1]);
  onnx_text(&f, 10, "own");
  return f;
}

/* x [4] and, where asked, a truth value c -> y [4]. */
static fgsm_status build(struct onnx_bytes nodes, bool condition, int n_functions,
                         struct onnx_bytes *functions, struct fg_graph **g) {
  struct fg_onnx *onnx = NULL;
  fg_id inputs[2], y;
  onnx_text(&nodes, 2, "g");
  onnx_put(&nodes, 11, onnx_port("x", ONNX_FLOAT, 1, (int64_t[]){4}));
  if (condition)
    onnx_put(&nodes, 11, onnx_port("c", BOOL_TYPE, 0, NULL));
  onnx_put(&nodes, 12, onnx_port("y", ONNX_FLOAT, 1, (int64_t[]){4}));
  struct onnx_bytes b = onnx_model(nodes, 13);
  for (int i = 0; i < n_functions; i++)
    onnx_put(&b, 25, functions[i]);
  *g = NULL;
  fgsm_status status = fg_onnx_parse(b.data, b.n, "bodies", &onnx);
  free(b.data);
  if (status == FGSM_OK)
    status = fg_graph_create(FG_F32, g);
  if (status == FGSM_OK)
    status = fg_onnx_build(onnx, *g, 4, false, NULL, inputs, &y, NULL);
  if (status == FGSM_OK)
    status = fg_graph_output(*g, y, NULL);
  fg_onnx_close(onnx);
  return status;
}

/* The kinds of the graph's unary nodes in order, as text. */
static void expect_unaries(const struct fg_graph *g, const char *want) {
  char have[256] = "";
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == FG_OP_unary)
      snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s:%.3g", i ? " " : "",
               fg_unary_name(g->nodes[i].attrs.unary.kind), g->nodes[i].attrs.unary.alpha);
  cr_expect_str_eq(have, want);
}

Test(onnx_bodies, functions_are_inlined_with_their_attributes) {
  struct fg_graph *g;
  /* inner(a) = LeakyRelu(a, alpha = slope); outer(a, b) = Tanh(inner(a)), where b is not given */
  struct onnx_bytes leaky = with_reference(onnx_node("LeakyRelu", "", "a", "b"), "alpha", "slope");
  struct onnx_bytes inner[] = {leaky};
  struct onnx_bytes call =
      with_reference(domain(onnx_node("inner", "", "a", "x"), "own"), "slope", "slope");
  struct onnx_bytes outer[] = {call, onnx_node("Tanh", "", "x", "y")};
  struct onnx_bytes functions[] = {function("inner", "a", "b", 1, inner),
                                   function("outer", "a b", "y", 2, outer)};
  struct onnx_bytes nodes = {0};
  onnx_put(&nodes, 1,
           with_float(domain(onnx_node("outer", "one", "x", "h"), "own"), "slope", 0.25f));
  onnx_put(&nodes, 1, domain(onnx_node("outer", "two", "h", "y"), "own"));
  cr_assert(build(nodes, false, 2, functions, &g) == FGSM_OK, "%s", fgsm_last_error());
  expect_unaries(g, "leaky_relu:0.25 tanh:0 leaky_relu:0.01 tanh:0");
  fg_graph_destroy(g);
}

Test(onnx_bodies, functions_without_end_are_refused) {
  struct fg_graph *g;
  struct onnx_bytes self[] = {domain(onnx_node("self", "", "a", "b"), "own")};
  struct onnx_bytes functions[20] = {function("self", "a", "b", 1, self)};
  struct onnx_bytes nodes = {0};
  onnx_put(&nodes, 1, domain(onnx_node("self", "", "x", "y"), "own"));
  cr_expect(build(nodes, false, 1, functions, &g) == FGSM_UNSUPPORTED &&
                strstr(fgsm_last_error(), "calls itself"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);

  /* Each calls the next sixteen times. */
  for (int i = 0; i < 8; i++) {
    struct onnx_bytes body[16];
    char name[8], next[8], in[8], out[8];
    snprintf(name, sizeof name, "f%d", i);
    snprintf(next, sizeof next, "f%d", i + 1);
    for (int k = 0; k < 16; k++) {
      snprintf(in, sizeof in, k ? "t%d" : "a", k);
      snprintf(out, sizeof out, k < 15 ? "t%d" : "b", k + 1);
      body[k] =
          i < 7 ? domain(onnx_node(next, "", in, out), "own") : onnx_node("Relu", "", in, out);
    }
    functions[i] = function(name, "a", "b", 16, body);
  }
  nodes = (struct onnx_bytes){0};
  onnx_put(&nodes, 1, domain(onnx_node("f0", "", "x", "y"), "own"));
  cr_expect(build(nodes, false, 8, functions, &g) == FGSM_UNSUPPORTED &&
                strstr(fgsm_last_error(), "at most 32768"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
}

Test(onnx_bodies, calls_must_suit_their_function) {
  struct fg_graph *g;
  struct onnx_bytes body[] = {onnx_node("Relu", "", "a", "b")};
  struct onnx_bytes f = function("f", "a", "b", 1, body), nodes = {0};
  onnx_put(&nodes, 1, domain(onnx_node("f", "", "x x", "y"), "own"));
  cr_expect(build(nodes, false, 1, &f, &g) == FGSM_MODEL &&
                strstr(fgsm_last_error(), "2 inputs and 1 outputs of a function with 1 and 1"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
  struct onnx_bytes lost[] = {onnx_node("Relu", "r", "x", "b")}; /* x is not the function's */
  f = function("f", "a", "b", 1, lost);
  nodes = (struct onnx_bytes){0};
  onnx_put(&nodes, 1, domain(onnx_node("f", "", "x", "y"), "own"));
  cr_expect(build(nodes, false, 1, &f, &g) == FGSM_MODEL &&
                strstr(fgsm_last_error(), "nothing gives its input 'x'"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
}

/* One node h -> out, where h is of the graph around. */
static struct onnx_bytes branch(const char *type) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node(type, "", "h", "out"));
  onnx_put(&g, 12, onnx_port("out", ONNX_FLOAT, 1, (int64_t[]){4}));
  return g;
}

static struct onnx_bytes choice(const char *condition) {
  struct onnx_bytes node = onnx_node("If", "choice", condition, "y");
  node = with_graph(node, "then_branch", branch("Tanh"));
  return with_graph(node, "else_branch", branch("Sigmoid"));
}

Test(onnx_bodies, a_known_condition_chooses_a_branch) {
  for (int yes = 0; yes < 2; yes++) {
    struct fg_graph *g;
    struct onnx_bytes nodes = {0};
    unsigned char value = (unsigned char)yes;
    onnx_put(&nodes, 1, onnx_node("Relu", "", "x", "h"));
    onnx_put(&nodes, 1, onnx_node("Identity", "", "k", "c"));
    onnx_put(&nodes, 1, choice("c"));
    onnx_put(&nodes, 5, onnx_tensor("k", BOOL_TYPE, 0, NULL, &value, 1));
    cr_assert(build(nodes, false, 0, NULL, &g) == FGSM_OK, "%s", fgsm_last_error());
    expect_unaries(g, yes ? "relu:0 tanh:0" : "relu:0 sigmoid:0");
    fg_graph_destroy(g);
  }
}

/* Attribute `name` of a function, `value` unless the call says otherwise. */
static void with_default(struct onnx_bytes *f, const char *name, float value) {
  struct onnx_bytes a = {0};
  onnx_text(&a, 1, name);
  onnx_varint(&a, 2 << 3 | 5);
  onnx_raw(&a, &value, 4);
  onnx_int(&a, 20, FLOAT_ATTR);
  onnx_put(f, 11, a);
}

Test(onnx_bodies, functions_have_defaults) {
  struct fg_graph *g;
  struct onnx_bytes leaky[] = {
      with_reference(onnx_node("LeakyRelu", "", "a", "b"), "alpha", "slope")};
  struct onnx_bytes f = function("f", "a", "b", 1, leaky), nodes = {0};
  with_default(&f, "slope", 0.5f);
  onnx_put(&nodes, 1, domain(onnx_node("f", "", "x", "h"), "own"));
  onnx_put(&nodes, 1, with_float(domain(onnx_node("f", "", "h", "y"), "own"), "slope", 0.25f));
  cr_assert(build(nodes, false, 1, &f, &g) == FGSM_OK, "%s", fgsm_last_error());
  expect_unaries(g, "leaky_relu:0.5 leaky_relu:0.25");
  fg_graph_destroy(g);

  f = function("f", "a", "b", 0, NULL);
  onnx_blob(&f, 11, "\x0a\x7f", 2); /* a default that claims more bytes than it has */
  nodes = (struct onnx_bytes){0};
  onnx_put(&nodes, 1, domain(onnx_node("f", "", "x", "y"), "own"));
  cr_expect(build(nodes, false, 1, &f, &g) == FGSM_MODEL &&
                strstr(fgsm_last_error(), "a function's attribute"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
}

Test(onnx_bodies, functions_are_told_apart_by_their_overloads) {
  struct fg_graph *g;
  struct onnx_bytes bodies[] = {onnx_node("Relu", "", "a", "b"), onnx_node("Tanh", "", "a", "b")};
  struct onnx_bytes functions[] = {function("f", "a", "b", 1, &bodies[0]),
                                   function("f", "a", "b", 1, &bodies[1])};
  struct onnx_bytes nodes = {0}, call = domain(onnx_node("f", "", "x", "h"), "own");
  onnx_text(&functions[1], 13, "second");
  onnx_text(&call, 8, "second");
  onnx_put(&nodes, 1, call);
  onnx_put(&nodes, 1, domain(onnx_node("f", "", "h", "y"), "own"));
  cr_assert(build(nodes, false, 2, functions, &g) == FGSM_OK, "%s", fgsm_last_error());
  expect_unaries(g, "tanh:0 relu:0");
  fg_graph_destroy(g);

  struct onnx_bytes same[] = {onnx_node("Relu", "", "a", "b"), onnx_node("Tanh", "", "a", "b")};
  struct onnx_bytes twice[] = {function("f", "a", "b", 1, &same[0]),
                               function("f", "a", "b", 1, &same[1])};
  nodes = (struct onnx_bytes){0};
  onnx_put(&nodes, 1, domain(onnx_node("f", "", "x", "y"), "own"));
  cr_expect(build(nodes, false, 2, twice, &g) == FGSM_MODEL &&
                strstr(fgsm_last_error(), "defines this function twice"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
}

Test(onnx_bodies, an_unknown_condition_chooses_between_results) {
  struct fg_graph *g;
  struct onnx_bytes nodes = {0};
  onnx_put(&nodes, 1, onnx_node("Relu", "", "x", "h"));
  onnx_put(&nodes, 1, choice("c"));
  cr_assert(build(nodes, true, 0, NULL, &g) == FGSM_OK, "%s", fgsm_last_error());
  expect_unaries(g, "relu:0 tanh:0 sigmoid:0");
  cr_expect_eq(g->nodes[fg_value(g, g->outputs[0])->producer].op, FG_OP_where);
  fg_graph_destroy(g);

  nodes = (struct onnx_bytes){0};
  onnx_put(&nodes, 1, onnx_node("Relu", "", "x", "h"));
  struct onnx_bytes node = onnx_node("If", "choice", "c", "y");
  node = with_graph(node, "then_branch", branch("Tanh"));
  onnx_put(&nodes, 1, with_graph(node, "else_branch", branch("Size")));
  cr_expect(build(nodes, true, 0, NULL, &g) == FGSM_UNSUPPORTED &&
                strstr(fgsm_last_error(), "another shape or type"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
}

/* A Loop's body: step and condition, v -> Tanh(v) and the condition `go`. */
static struct onnx_bytes round_of(const char *go) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Tanh", "", "v", "w"));
  onnx_put(&g, 1, onnx_node("Identity", "", go, "more"));
  onnx_put(&g, 11, onnx_port("i", ONNX_INT64, 0, NULL));
  onnx_put(&g, 11, onnx_port("on", BOOL_TYPE, 0, NULL));
  onnx_put(&g, 11, onnx_port("v", ONNX_FLOAT, 1, (int64_t[]){4}));
  onnx_put(&g, 12, onnx_port("more", BOOL_TYPE, 0, NULL));
  onnx_put(&g, 12, onnx_port("w", ONNX_FLOAT, 1, (int64_t[]){4}));
  return g;
}

/* Runs x through a Loop whose count and condition are `inputs` and that goes on while `go`. */
static fgsm_status loop(const char *inputs, const char *go, bool condition, struct fg_graph **g) {
  const int64_t three = 3;
  struct onnx_bytes nodes = {0}, node = onnx_node("Loop", "again", inputs, "y");
  onnx_put(&nodes, 1, onnx_node("Identity", "", "k", "n"));
  onnx_put(&nodes, 1, onnx_node("Relu", "", "x", "h"));
  onnx_put(&nodes, 1, with_graph(node, "body", round_of(go)));
  onnx_put(&nodes, 5, onnx_tensor("k", ONNX_INT64, 0, NULL, &three, 8));
  onnx_put(&nodes, 5, onnx_tensor("no", BOOL_TYPE, 0, NULL, "\0", 1));
  return build(nodes, condition, 0, NULL, g);
}

Test(onnx_bodies, loops_of_known_length_are_unrolled) {
  struct fg_graph *g;
  struct onnx_bytes endless = {0}, node = onnx_node("Loop", "again", "", "y");
  cr_assert(loop("n on_not_given h", "on", false, &g) == FGSM_MODEL);
  fg_graph_destroy(g);
  cr_assert(loop("n yes h", "on", false, &g) == FGSM_MODEL);
  fg_graph_destroy(g);
  cr_assert(loop("n no h", "on", false, &g) == FGSM_OK, "%s", fgsm_last_error());
  expect_unaries(g, "relu:0"); /* it never begins */
  fg_graph_destroy(g);
  cr_expect(loop("n c h", "on", true, &g) == FGSM_UNSUPPORTED &&
                strstr(fgsm_last_error(), "its condition depends on the data"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
  /* Without a count, and with a condition that stays true. */
  onnx_blob(&node, 1, "", 0);
  onnx_blob(&node, 1, "", 0);
  onnx_blob(&node, 1, "x", 1);
  onnx_put(&endless, 1, with_graph(node, "body", round_of("on")));
  cr_expect(build(endless, false, 0, NULL, &g) == FGSM_UNSUPPORTED &&
                strstr(fgsm_last_error(), "more than 4096 steps"),
            "%s", fgsm_last_error());
  fg_graph_destroy(g);
}

Test(onnx_bodies, a_count_of_steps_and_a_condition_end_a_loop) {
  for (int early = 0; early < 2; early++) {
    struct fg_graph *g;
    const int64_t three = 3;
    struct onnx_bytes nodes = {0}, node = onnx_node("Loop", "again", "k", "y");
    onnx_blob(&node, 1, "", 0);
    onnx_blob(&node, 1, "h", 1);
    onnx_put(&nodes, 1, onnx_node("Relu", "", "x", "h"));
    onnx_put(&nodes, 1, with_graph(node, "body", round_of(early ? "no" : "on")));
    onnx_put(&nodes, 5, onnx_tensor("k", ONNX_INT64, 0, NULL, &three, 8));
    onnx_put(&nodes, 5, onnx_tensor("no", BOOL_TYPE, 0, NULL, "\0", 1));
    cr_assert(build(nodes, false, 0, NULL, &g) == FGSM_OK, "%s", fgsm_last_error());
    expect_unaries(g, early ? "relu:0 tanh:0" : "relu:0 tanh:0 tanh:0 tanh:0");
    fg_graph_destroy(g);
  }
}
