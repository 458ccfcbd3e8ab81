/* Models that nobody should send: each must come back with a status and words, in bounded time and
 * memory, and never crash. Every case says which status it expects, or that any but success of a
 * fault in fgsm itself will do. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/resource.h>

#include "onnx.h"
#include "onnx_bytes.h"

/* Parses and builds; the status of whichever failed first. Takes over `b`. */
static fgsm_status load(struct onnx_bytes b, struct fg_onnx_problems *problems) {
  struct fg_onnx *onnx = NULL;
  struct fg_graph *g = NULL;
  fgsm_status status = fg_onnx_parse(b.data, b.n, "test", &onnx);
  if (status == FGSM_OK)
    status = fg_graph_create(FG_F32, &g);
  if (status == FGSM_OK)
    status = fg_onnx_build(onnx, g, 1, false, NULL, NULL, NULL, problems);
  fg_graph_destroy(g);
  fg_onnx_close(onnx);
  free(b.data);
  return status;
}

static void expect(struct onnx_bytes b, fgsm_status want, const char *words) {
  fgsm_status got = load(b, NULL);
  cr_expect(got == want, "expected %s, got %s: %s", fgsm_status_name(want), fgsm_status_name(got),
            fgsm_last_error());
  cr_expect(strstr(fgsm_last_error(), words), "'%s' is not in: %s", words, fgsm_last_error());
}

/* A graph of one input x [1,4], with node(s) put in by the caller, and the output y. */
static struct onnx_bytes graph_of(struct onnx_bytes nodes) {
  onnx_put(&nodes, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){1, 4}));
  onnx_put(&nodes, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){1, 4}));
  return onnx_model(nodes, 13);
}

static void check_bounds(double start) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  cr_expect(usage.ru_maxrss < 2 << 20, "%ld MiB were used", usage.ru_maxrss >> 10);
  cr_expect(fg_now() - start < 120, "it took %.0f s", fg_now() - start);
}

Test(onnx_hostile, the_small_net_itself_loads) {
  fgsm_status status = load(onnx_small_net(), NULL);
  cr_assert(status == FGSM_OK, "%s", fgsm_last_error());
}

/* Sub-graphs in attributes of nodes in sub-graphs. */
static struct onnx_bytes nested(int depth) {
  struct onnx_bytes g = {0};
  for (int i = 0; i < depth; i++) {
    struct onnx_bytes a = {0}, node = {0}, outer = {0};
    onnx_put(&a, 6, g);
    onnx_put(&node, 5, a);
    onnx_put(&outer, 1, node);
    g = outer;
  }
  return onnx_model(g, 13);
}

Test(onnx_hostile, refuses_deep_nesting) {
  expect(nested(5000), FGSM_MODEL, "nest more than");
  expect(nested(11), FGSM_MODEL, "nest more than");
  expect(nested(9), FGSM_MODEL, "no outputs");
}

Test(onnx_hostile, refuses_a_model_cut_short_at_every_byte) {
  struct onnx_bytes whole = onnx_small_net();
  for (size_t n = 0; n < whole.n; n++) {
    struct onnx_bytes part = {0};
    onnx_raw(&part, whole.data, n);
    fgsm_status status = load(part, NULL);
    /* All but the opset is there at some lengths, which is a model of opset 0. */
    cr_expect(status == FGSM_MODEL || status == FGSM_UNSUPPORTED, "%zu bytes: %s %s", n,
              fgsm_status_name(status), fgsm_last_error());
  }
  free(whole.data);
}

Test(onnx_hostile, refuses_millions_of_empty_messages) {
  double start = fg_now();
  struct onnx_bytes g = {0};
  static const unsigned char empty_node[2] = {1 << 3 | 2, 0};
  for (int i = 0; i < 5000000; i++)
    onnx_raw(&g, empty_node, sizeof empty_node);
  expect(onnx_model(g, 13), FGSM_MODEL, "messages");
  struct onnx_bytes strings = {0}, graph = {0};
  for (int i = 0; i < 20000000; i++)
    onnx_raw(&strings, empty_node, sizeof empty_node);
  onnx_put(&graph, 1, strings);
  expect(onnx_model(graph, 13), FGSM_MODEL, "fields");
  check_bounds(start);
}

/* Within the counts, but larger unpacked than the ceiling. */
Test(onnx_hostile, refuses_what_unpacks_to_too_much) {
  double start = fg_now();
  struct onnx_bytes g = {0};
  static const unsigned char empty_tensor[2] = {5 << 3 | 2, 0};
  for (int i = 0; i < 1000000; i++)
    onnx_raw(&g, empty_tensor, sizeof empty_tensor);
  expect(onnx_model(g, 13), FGSM_MODEL, "MiB");
  check_bounds(start);
}

/* protobuf-c merges repeated singular messages, copying all that came before. */
Test(onnx_hostile, refuses_a_graph_that_occurs_twice) {
  struct onnx_bytes one = {0}, b = {0};
  onnx_put(&one, 1, onnx_node("Relu", "", "x", "y"));
  onnx_blob(&b, 7, one.data, one.n);
  onnx_blob(&b, 7, one.data, one.n);
  free(one.data);
  expect(b, FGSM_MODEL, "occurs twice");
}

Test(onnx_hostile, refuses_malformed_fields) {
  static const struct {
    const char *words;
    size_t n;
    unsigned char data[16];
  } cases[] = {
      {"begins no field", 1, {1 << 3 | 3}},      /* a group                    */
      {"begins no field", 1, {1 << 3 | 4}},      /* the end of one             */
      {"begins no field", 1, {1 << 3 | 7}},      /* wire type 7                */
      {"field number 0", 2, {0, 0}},             /* field 0                    */
      {"is not a message", 2, {7 << 3 | 0, 1}},  /* the graph as a number      */
      {"does not end", 3, {1 << 3, 0x80, 0x80}}, /* a number cut short         */
      {"does not end", 12, {1 << 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}},
      {"claims", 7, {7 << 3 | 2, 255, 255, 255, 255, 15, 0}}, /* 4 GiB of graph             */
      {"does not end", 8, {7 << 3 | 2, 255, 255, 255, 255, 255, 1, 0}},
      {"cut short", 4, {1 << 3 | 5, 0, 0, 0}},                 /* 3 bytes of 4               */
      {"zero byte", 5, {2 << 3 | 2, 3, 'a', 0, 'b'}},          /* in the producer's name     */
      {"not printable", 5, {2 << 3 | 2, 3, 'a', 27, '['}},     /* an escape sequence         */
      {"not printable", 4, {2 << 3 | 2, 2, 0xc0, 0x80}},       /* overlong UTF-8             */
      {"not printable", 5, {2 << 3 | 2, 3, 0xed, 0xa0, 0x80}}, /* a surrogate                */
      {"no graph", 2, {1 << 3, 8}},
      {"wrong kind", 3, {1 << 3 | 2, 1, 8}}, /* the IR version as bytes    */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct onnx_bytes b = {0};
    onnx_raw(&b, cases[i].data, cases[i].n);
    expect(b, FGSM_MODEL, cases[i].words);
  }
}

/* y = x + w, where w is as told. */
static struct onnx_bytes with_weight(int rank, const int64_t *dim, size_t bytes) {
  struct onnx_bytes g = {0};
  void *raw = calloc(1, bytes + 1);
  onnx_put(&g, 1, onnx_node("Add", "add", "x w", "y"));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, rank, dim, raw, bytes));
  free(raw);
  return graph_of(g);
}

Test(onnx_hostile, refuses_weights_whose_sizes_disagree) {
  const int64_t big = INT64_MAX;
  expect(with_weight(1, (int64_t[]){4}, 15), FGSM_MODEL, "ask for 16 bytes and it holds 15");
  expect(with_weight(1, (int64_t[]){4}, 17), FGSM_MODEL, "ask for 16 bytes and it holds 17");
  expect(with_weight(1, (int64_t[]){4}, 0), FGSM_MODEL, "ask for 16 bytes");
  expect(with_weight(2, (int64_t[]){1 << 20, 1 << 20}, 16), FGSM_MODEL, "ask for");
  expect(with_weight(2, (int64_t[]){big, big}, 16), FGSM_MODEL, "its dimension");
  expect(with_weight(3, (int64_t[]){0, big, big}, 0), FGSM_MODEL, "its dimension");
  expect(with_weight(1, (int64_t[]){-4}, 16), FGSM_MODEL, "its dimension 0 is -4");
  expect(with_weight(2, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32}, 0), FGSM_MODEL,
         "its dimension");
  expect(with_weight(9, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, 4), FGSM_UNSUPPORTED, "dimensions");
}

Test(onnx_hostile, refuses_inputs_of_absurd_size) {
  for (int k = 0; k < 2; k++) {
    struct onnx_bytes g = {0};
    const int64_t huge[2][2] = {{INT64_MAX, INT64_MAX}, {1, (int64_t)1 << 50}};
    onnx_put(&g, 1, onnx_node("Relu", "r", "x", "y"));
    onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, huge[k]));
    onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, huge[k]));
    fgsm_status status = load(onnx_model(g, 13), NULL);
    cr_expect(status == FGSM_UNSUPPORTED || status == FGSM_USAGE, "%s", fgsm_last_error());
  }
}

Test(onnx_hostile, refuses_names_that_do_not_resolve) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Add", "a", "x q", "p"));
  onnx_put(&g, 1, onnx_node("Relu", "b", "p", "q"));
  onnx_put(&g, 1, onnx_node("Relu", "c", "q", "y"));
  expect(graph_of(g), FGSM_MODEL, "Add 'a': its input 'q' is computed only later");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Add", "self", "x y", "y"));
  expect(graph_of(g), FGSM_MODEL, "Add 'self': its input 'y' is computed only later");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Relu", "one", "x", "y"));
  onnx_put(&g, 1, onnx_node("Relu", "two", "x", "y"));
  expect(graph_of(g), FGSM_MODEL, "Relu 'two': its output 'y' is also the name");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Relu", "over", "x", "x"));
  expect(graph_of(g), FGSM_MODEL, "'x' is also the name");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Relu", "lost", "nowhere", "y"));
  expect(graph_of(g), FGSM_MODEL, "Relu 'lost': nothing gives its input 'nowhere'");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Relu", "other", "x", "z"));
  expect(graph_of(g), FGSM_MODEL, "nothing computes the model's output 'y'");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Relu", "", "x", "y"));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 0, NULL, "abcd", 4));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 0, NULL, "abcd", 4));
  expect(graph_of(g), FGSM_MODEL, "initializer name 'w'");
}

Test(onnx_hostile, refuses_what_it_cannot_read_with_words) {
  struct onnx_bytes g = {0}, node = onnx_node("If", "branch", "x", "y"), a = {0}, sub = {0};
  onnx_put(&a, 6, sub);
  onnx_put(&node, 5, a);
  onnx_put(&g, 1, node);
  expect(graph_of(g), FGSM_MODEL, "If 'branch' (opset 13): its condition is not one truth value");

  g = (struct onnx_bytes){0}, a = (struct onnx_bytes){0}, sub = (struct onnx_bytes){0};
  node = onnx_node("Loop", "again", "x", "y");
  onnx_put(&a, 6, sub);
  onnx_put(&node, 5, a);
  onnx_put(&g, 1, node);
  expect(graph_of(g), FGSM_MODEL, "Loop 'again' (opset 13): it has 1 inputs");

  g = (struct onnx_bytes){0};
  node = onnx_node("Inverse", "f", "x", "y");
  onnx_text(&node, 7, "com.microsoft");
  onnx_put(&g, 1, node);
  expect(graph_of(g), FGSM_UNSUPPORTED, "Inverse 'f': operators of the domain 'com.microsoft'");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Bogus", "", "x", "y"));
  expect(graph_of(g), FGSM_UNSUPPORTED, "Bogus 'y' (opset 13)");

  g = (struct onnx_bytes){0};
  onnx_put(&g, 1, onnx_node("Relu", "r", "x", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 1, (int64_t[]){1}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 1, (int64_t[]){1}));
  struct onnx_bytes old = onnx_model(g, 6);
  expect(old, FGSM_UNSUPPORTED, "operator set 6");

  g = (struct onnx_bytes){0};
  node = onnx_node("SkipLayerNormalization", "norm", "x x", "h mean");
  onnx_text(&node, 7, "com.microsoft");
  onnx_put(&g, 1, node);
  onnx_put(&g, 1, onnx_node("Add", "sum", "mean h", "y"));
  expect(graph_of(g), FGSM_UNSUPPORTED,
         "Add 'sum' (opset 13): 'mean', which it uses, is a result of SkipLayerNormalization");
}

/* One report for each node that is at fault, none for those behind it. */
Test(onnx_hostile, lists_every_problem_once) {
  struct onnx_bytes g = {0};
  struct fg_onnx_problems problems = {0};
  onnx_put(&g, 1, onnx_node("Bogus", "one", "x", "a"));
  onnx_put(&g, 1, onnx_node("Relu", "behind", "a", "b"));
  onnx_put(&g, 1, onnx_node("Strange", "two", "x", "c"));
  onnx_put(&g, 1, onnx_node("Unneeded", "three", "x", "d"));
  onnx_put(&g, 1, onnx_node("Relu", "nobody asks", "d", "e"));
  onnx_put(&g, 1, onnx_node("Add", "sum", "b c", "y"));
  fgsm_status status = load(graph_of(g), &problems);
  cr_expect(status == FGSM_UNSUPPORTED, "%s", fgsm_status_name(status));
  cr_assert(problems.n == 2, "%lld problems", (long long)problems.n);
  cr_expect(strstr(problems.items[0].text, "Bogus 'one'"), "%s", problems.items[0].text);
  cr_expect(strstr(problems.items[1].text, "Strange 'two'"), "%s", problems.items[1].text);
  free(problems.items);
}

/* A list of problems ends; so does a chain of nodes. */
Test(onnx_hostile, refuses_endless_lists) {
  double start = fg_now();
  for (int kind = 0; kind < 2; kind++) {
    struct onnx_bytes g = {0};
    struct fg_onnx_problems problems = {0};
    char in[32] = "x", out[32];
    int n = kind ? 40000 : 30000;
    for (int i = 0; i < n; i++) {
      snprintf(out, sizeof out, "%s%d", i == n - 1 ? "y" : "v", i);
      onnx_put(&g, 1, onnx_node(kind ? "Relu" : "Bogus", "", in, i == n - 1 ? "y" : out));
      memcpy(in, out, sizeof in);
    }
    fgsm_status status = load(graph_of(g), &problems);
    cr_expect(status == FGSM_UNSUPPORTED, "%s", fgsm_status_name(status));
    cr_expect(problems.n == (kind ? 1 : 1000), "%lld problems", (long long)problems.n);
    free(problems.items);
  }
  check_bounds(start);
}

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static int flip_bytes(const unsigned char *data, size_t n, int times) {
  uint64_t seed = 0x9e3779b97f4a7c15u;
  int loaded = 0;
  for (int i = 0; i < times; i++) {
    struct onnx_bytes b = {0};
    struct fg_onnx_problems problems = {0};
    onnx_raw(&b, data, n);
    int flips = 1 + (int)(next_random(&seed) % 4);
    for (int k = 0; k < flips; k++)
      b.data[next_random(&seed) % n] = (unsigned char)next_random(&seed);
    fgsm_status status = load(b, i % 2 ? &problems : NULL);
    cr_expect(status == FGSM_OK || status == FGSM_MODEL || status == FGSM_UNSUPPORTED ||
                  status == FGSM_USAGE,
              "flip %d: %s %s", i, fgsm_status_name(status), fgsm_last_error());
    loaded += status == FGSM_OK;
    free(problems.items);
  }
  return loaded;
}

Test(onnx_hostile, survives_random_bytes) {
  double start = fg_now();
  struct onnx_bytes net = onnx_small_net();
  int loaded = flip_bytes(net.data, net.n, 2000);
  /* Most bytes are weights and names, so that many still load; others must not. */
  cr_expect(loaded > 50 && loaded < 1950, "%d of 2000 loaded", loaded);
  free(net.data);
  check_bounds(start);
}

Test(onnx_hostile, survives_noise) {
  uint64_t seed = 42;
  for (int i = 0; i < 2000; i++) {
    struct onnx_bytes b = {0};
    size_t n = 1 + next_random(&seed) % 200;
    for (size_t k = 0; k < n; k++)
      onnx_raw(&b, &(unsigned char){(unsigned char)next_random(&seed)}, 1);
    fgsm_status status = load(b, NULL);
    cr_expect(status == FGSM_MODEL || status == FGSM_UNSUPPORTED, "%s", fgsm_status_name(status));
  }
}

/* Small files whose constants would fill any memory if they were all computed. */
Test(onnx_hostile, computes_no_constant_without_bounds) {
  double start = fg_now();
  struct onnx_bytes g = {0};
  const int64_t huge[2] = {1 << 17, 1 << 17};
  onnx_put(&g, 1, onnx_node("ConstantOfShape", "fill", "shape", "c"));
  onnx_put(&g, 1, onnx_node("Add", "add", "x c", "y"));
  onnx_put(&g, 5, onnx_tensor("shape", ONNX_INT64, 1, (int64_t[]){2}, huge, sizeof huge));
  fgsm_status status = load(graph_of(g), NULL);
  cr_expect(status == FGSM_OK || status == FGSM_UNSUPPORTED || status == FGSM_MODEL, "%s: %s",
            fgsm_status_name(status), fgsm_last_error());

  /* Each of 60 nodes doubles what the one before gave. */
  g = (struct onnx_bytes){0};
  char in[32] = "w w", out[16];
  const float w[4] = {1, 2, 3, 4};
  for (int i = 0; i < 60; i++) {
    snprintf(out, sizeof out, "v%d", i);
    struct onnx_bytes node = onnx_node("Concat", out, in, out);
    onnx_put(&node, 5, onnx_attr_int("axis", 0));
    onnx_put(&g, 1, node);
    snprintf(in, sizeof in, "v%d v%d", i, i);
  }
  onnx_put(&g, 1, onnx_node("Add", "add", "x v59", "y"));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 2, (int64_t[]){1, 4}, w, sizeof w));
  status = load(graph_of(g), NULL);
  cr_expect(status == FGSM_UNSUPPORTED || status == FGSM_MEMORY, "%s: %s", fgsm_status_name(status),
            fgsm_last_error());

  /* 1025 x 1025 places with a window of 1024 x 1024 each. */
  g = (struct onnx_bytes){0};
  const int64_t side[4] = {1, 1, 1024, 1024}, pads[4] = {512, 512, 512, 512};
  float *ones = calloc(1024 * 1024, sizeof *ones);
  struct onnx_bytes conv = onnx_node("Conv", "conv", "w w", "c");
  onnx_put(&conv, 5, onnx_ints("pads", 4, pads));
  onnx_put(&g, 1, conv);
  onnx_put(&g, 1, onnx_node("ReduceMean", "mean", "c", "m"));
  onnx_put(&g, 1, onnx_node("Add", "add", "x m", "y"));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 4, side, ones, 1024 * 1024 * sizeof *ones));
  free(ones);
  status = load(graph_of(g), NULL);
  cr_expect(status == FGSM_OK || status == FGSM_UNSUPPORTED, "%s: %s", fgsm_status_name(status),
            fgsm_last_error());
  check_bounds(start);
}
