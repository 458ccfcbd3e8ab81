/* What `fgsm inspect` says of models: figures that can be worked out by hand, and that models which
 * cannot be attacked are described all the same, with every reason. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "describe.h"
#include "image_net.h"
#include "onnx_bytes.h"

/* Describes a model, which it takes over, with options "name=value", up to NULL. The text, or with `dot`
 * the graph, is freed with fgsm_free. */
static char *describe_onnx(struct fg_onnx *onnx, bool json, bool dot, const char *const *settings) {
  fgsm_options *options = NULL;
  char *text = NULL, *graph = NULL;
  cr_assert(fgsm_options_create(&options) == FGSM_OK);
  for (; *settings; settings++) {
    char name[32];
    size_t n = strcspn(*settings, "=");
    snprintf(name, sizeof name, "%.*s", (int)n, *settings);
    cr_assert(fgsm_options_set(options, name, *settings + n + 1) == FGSM_OK, "%s",
              fgsm_last_error());
  }
  if (dot)
    cr_assert(fgsm_options_set(options, "dot", NULL) == FGSM_OK);
  fgsm_status status = fg_describe(onnx, "small.onnx", options, json, &text, &graph);
  cr_assert(status == FGSM_OK, "%s", fgsm_last_error());
  cr_assert((graph != NULL) == dot);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  if (dot)
    fgsm_free(text);
  return dot ? graph : text;
}

/* The same of a model in memory. */
static char *describe_with(struct onnx_bytes b, bool json, bool dot, const char *const *settings) {
  struct fg_onnx *onnx = NULL;
  cr_assert(fg_onnx_parse(b.data, b.n, "small", &onnx) == FGSM_OK, "%s", fgsm_last_error());
  char *text = describe_onnx(onnx, json, dot, settings);
  free(b.data);
  return text;
}

static char *describe(struct onnx_bytes b, const char *device, const char *batch, bool json) {
  char on[32], of[32];
  snprintf(on, sizeof on, "device=%s", device);
  snprintf(of, sizeof of, "batch=%s", batch);
  return describe_with(b, json, false, (const char *const[]){on, of, NULL});
}

static json_t *describe_json(struct onnx_bytes b, const char *device, const char *batch) {
  char *text = describe(b, device, batch, true);
  json_t *json = json_loads(text, 0, NULL);
  cr_assert(json, "not JSON: %s", text);
  fgsm_free(text);
  return json;
}

static double number(const json_t *json, const char *path) {
  char key[64];
  for (const char *at = path; *at;) {
    size_t n = strcspn(at, ".");
    snprintf(key, sizeof key, "%.*s", (int)n, at);
    json = json_object_get(json, key);
    at += n + (at[n] != 0);
  }
  cr_assert(json_is_number(json), "'%s' is no number", path);
  return json_number_value(json);
}

static const json_t *node_of(const json_t *json, const char *name) {
  size_t i;
  const json_t *node;
  json_array_foreach(json_object_get(json, "nodes"), i, node) {
    if (strcmp(json_string_value(json_object_get(node, "name")), name) == 0)
      return node;
  }
  cr_assert_fail("no node '%s'", name);
  return NULL;
}

static const json_t *calls_of(const json_t *json, const char *plan) {
  return json_object_get(json_object_get(json_object_get(json, "plans"), plan), "nodes");
}

/* "Conv conv, Relu relu" of a call. */
static void name_sources(const json_t *call, char *text, size_t size) {
  size_t i;
  const json_t *source;
  *text = 0;
  json_array_foreach(json_object_get(call, "sources"), i, source) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s %s", i ? ", " : "",
             json_string_value(json_object_get(source, "operator")),
             json_string_value(json_object_get(source, "name")));
  }
}

/* A plan's calls: convolution and activation are one and say so, every call comes from somewhere,
 * work adds up, and memory in use is most at the peak and never more than the arena. */
static void check_calls(const json_t *json, const char *plan, int gradients) {
  char path[64], sources[256];
  size_t i, n_gradient = 0;
  const json_t *call;
  double flops = 0, most = 0;
  bool fused = false;
  json_array_foreach(calls_of(json, plan), i, call) {
    name_sources(call, sources, sizeof sources);
    cr_expect(*sources, "%s: call %zu comes from nowhere", plan, i);
    fused |= strcmp(json_string_value(json_object_get(call, "operator")), "conv+relu") == 0 &&
             strcmp(sources, "Conv conv, Relu relu") == 0;
    n_gradient += json_is_true(json_object_get(call, "gradient"));
    flops += number(call, "flops");
    double bytes = number(call, "alive_bytes") + number(call, "scratch_bytes");
    most = bytes > most ? bytes : most;
  }
  cr_expect(fused, "%s: conv and relu are not one call", plan);
  cr_expect((n_gradient > 0) == (gradients > 0), "%s: %zu calls of the gradient", plan, n_gradient);
  snprintf(path, sizeof path, "plans.%s.flops", plan);
  cr_expect_float_eq(flops, number(json, path), 1);
  snprintf(path, sizeof path, "plans.%s.peak.bytes", plan);
  cr_expect(most == number(json, path), "%g", most);
  snprintf(path, sizeof path, "plans.%s.arena_bytes", plan);
  cr_expect(most > 0 && most <= number(json, path), "%g", most);
}

Test(describe, counts_parameters_and_operations) {
  for (int k = 0; k < 2; k++) {
    json_t *json = describe_json(onnx_small_net(), k ? "cpu" : "ref", "5");
    cr_expect_str_eq(json_string_value(json_object_get(json, "model")), "small.onnx");
    cr_expect_str_eq(json_string_value(json_object_get(json, "producer")), "by hand 1.0");
    cr_expect(number(json, "opset") == 13 && number(json, "batch") == 5);
    cr_expect(json_is_true(json_object_get(json, "attackable")));
    cr_expect(json_array_size(json_object_get(json, "problems")) == 0);
    /* conv 2x1x3x3 + 2, gemm 3x32 + 3 */
    cr_expect(number(json, "totals.parameters") == 119, "%g", number(json, "totals.parameters"));
    const json_t *conv = node_of(json, "conv"), *fc = node_of(json, "fc");
    cr_expect(number(conv, "parameters") == 20 && number(fc, "parameters") == 99);
    /* A product or sum each for 5 samples, 2 maps of 16 places, 9 taps, with or without the border;
     * its input gradient costs as much. */
    double full = 2.0 * 5 * 2 * 16 * 9, flops = number(conv, "flops_forward");
    cr_expect(flops > 0.5 * full && flops <= 1.1 * full, "%g of %g", flops, full);
    cr_expect(number(conv, "flops_backward") > 0.5 * flops);
    full = 2.0 * 5 * 3 * 32;
    flops = number(fc, "flops_forward");
    cr_expect(flops >= full && flops <= 1.1 * full, "%g of %g", flops, full);
    /* Each tensor once: x 5x16, w 18, b 2 and h 5x32 elements; of the gradient dy, w and dx. */
    double real = k ? 4 : 8;
    cr_expect(number(conv, "bytes_forward") == (80 + 18 + 2 + 160) * real);
    cr_expect(number(conv, "bytes_backward") == (160 + 18 + 80) * real);
    cr_expect_float_eq(number(conv, "intensity_forward"),
                       number(conv, "flops_forward") / number(conv, "bytes_forward"), 1e-9);
    cr_expect(number(json, "totals.bytes_forward") >
              number(conv, "bytes_forward") + number(fc, "bytes_forward"));
    /* Something is fused, and the gradient asks for more of everything. */
    cr_expect(number(json, "fused.activations") == 1);
    cr_expect(number(json, "plans.gradient.calls") > number(json, "plans.forward.calls"));
    cr_expect(number(json, "plans.gradient.flops") > number(json, "plans.forward.flops"));
    cr_expect(number(json, "plans.forward.arena_bytes") > 0);
    check_calls(json, "forward", 0);
    check_calls(json, "gradient", 1);
    json_decref(json);
  }
}

Test(describe, shows_a_table) {
  char *text = describe(onnx_small_net(), "ref", "2", false);
  static const char *const words[] = {"small.onnx",
                                      "by hand 1.0, opset 13",
                                      "input      x  float32",
                                      "[?,1,4,4]",
                                      "[2,2,4,4]",
                                      "conv",
                                      "relu",
                                      "the model can be attacked"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    cr_expect(strstr(text, words[i]), "'%s' is missing in\n%s", words[i], text);
  fgsm_free(text);
}

/* Four nodes, two of them unknown; the others are described. */
static struct onnx_bytes strange_net(void) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Relu", "fine", "x", "a"));
  onnx_put(&g, 1, onnx_node("Bogus", "one", "a", "b"));
  onnx_put(&g, 1, onnx_node("Strange", "two", "a", "c"));
  onnx_put(&g, 1, onnx_node("Add", "sum", "b c", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  return onnx_model(g, 13);
}

Test(describe, lists_all_that_is_unsupported) {
  json_t *json = describe_json(strange_net(), "ref", "64");
  const json_t *problems = json_object_get(json, "problems");
  cr_expect(json_is_false(json_object_get(json, "attackable")));
  cr_assert(json_array_size(problems) == 2);
  cr_expect(strstr(json_string_value(json_array_get(problems, 0)), "Bogus 'one' (opset 13)"));
  cr_expect(strstr(json_string_value(json_array_get(problems, 1)), "Strange 'two' (opset 13)"));
  cr_expect(number(json, "batch") == 3, "the file's own batch");
  node_of(json, "fine");
  json_decref(json);
  char *text = describe(strange_net(), "ref", "64", false);
  cr_expect(strstr(text, "Bogus 'one'") && strstr(text, "Strange 'two'"), "%s", text);
  fgsm_free(text);
}

/* No output of a float type: nothing to ascend. */
Test(describe, says_that_there_is_no_gradient) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Shape", "s", "x", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_INT64, 1, (int64_t[]){2}));
  json_t *json = describe_json(onnx_model(g, 13), "ref", "1");
  cr_expect(json_array_size(json_object_get(json, "problems")) == 1);
  cr_expect(json_is_false(json_object_get(json, "attackable")));
  json_decref(json);
}

/* Two sigmoids in a row, 64 floats each: the first call makes one value, the second works in place.
 * With a cast between, whose two sides live at once, there are two. */
Test(describe, memory_over_time_is_as_counted_by_hand) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Exp", "a", "x", "h"));
  onnx_put(&g, 1, onnx_node("Transpose", "t", "h", "k"));
  onnx_put(&g, 1, onnx_node("Sigmoid", "b", "k", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){4, 16}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){16, 4}));
  json_t *json = describe_json(onnx_model(g, 13), "cpu", "4");
  const json_t *calls = calls_of(json, "forward");
  static const double alive[] = {256, 512, 256};
  cr_assert(json_array_size(calls) == 3);
  for (size_t i = 0; i < 3; i++)
    cr_expect(number(json_array_get(calls, i), "alive_bytes") == alive[i], "call %zu: %g", i,
              number(json_array_get(calls, i), "alive_bytes"));
  cr_expect(number(json, "plans.forward.peak.call") == 1);
  json_decref(json);
}

/* Of image_net(64), of whose batch an attack on one thread takes four at a time (test_strip.c). */
static char *describe_images(const char *batch, bool json) {
  return describe_onnx(image_net(64, -1), json, false,
                       (const char *const[]){"device=cpu", "threads=1", batch, NULL});
}

/* Plans are of one pass, operators of the batch. */
Test(describe, plans_are_of_a_strip) {
  static const char *const same[] = {"strip", "plans.forward.arena_bytes", "plans.gradient.flops",
                                     "plans.gradient.arena_bytes", "plans.gradient.peak.bytes"};
  char *texts[] = {describe_images("batch=8", true), describe_images("batch=4", true)};
  json_t *eight = json_loads(texts[0], 0, NULL), *four = json_loads(texts[1], 0, NULL);
  cr_assert(eight && four);
  cr_expect(number(eight, "batch") == 8 && number(eight, "strip") == 4);
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    cr_expect(number(eight, same[i]) == number(four, same[i]), "%s: %g, not %g", same[i],
              number(eight, same[i]), number(four, same[i]));
  cr_expect(number(eight, "totals.flops_forward") == 2 * number(four, "totals.flops_forward"));
  json_decref(eight);
  json_decref(four);
  for (int i = 0; i < 2; i++) {
    fgsm_free(texts[i]);
    texts[i] = describe_images(i ? "batch=4" : "batch=8", false);
    cr_expect((strstr(texts[i], "passes     of 4 samples at a time") != NULL) == (i == 0), "%s",
              texts[i]);
    fgsm_free(texts[i]);
  }
}

/* The plot keeps to the width, marks the peak, and is coloured only when asked. */
Test(describe, draws_memory_over_time) {
  for (int width = 40; width <= 200; width += 80)
    for (int unicode = 0; unicode < 2; unicode++) {
      char option[32];
      snprintf(option, sizeof option, "width=%d", width);
      char *text =
          describe_with(onnx_small_net(), false, false,
                        (const char *const[]){"device=cpu", "batch=5", option,
                                              unicode ? "plot=unicode" : "plot=ascii",
                                              unicode ? "color=always" : "color=never", NULL});
      const char *at = strstr(text, "memory in use, call by call");
      cr_assert(at, "%s", text);
      cr_expect((strstr(at, "█") != NULL) == unicode && (strchr(at, '#') == NULL) == unicode);
      cr_expect((strstr(at, "\033[1;31m") != NULL) == unicode);
      cr_expect(strchr(at, '^') && strstr(at, "gradient"));
      for (; !unicode && at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, "            |", 13) == 0 || strstr(at, "B |") == at + 10)
          cr_expect(strcspn(at, "\n") <= (size_t)width, "%zu columns of %d", strcspn(at, "\n"),
                    width);
      fgsm_free(text);
    }
}

/* ---- the graph for Graphviz */

/* Whether a text is of the small part of the language that is written here: statements of bare
 * words and quoted strings, with braces and brackets that match. Counts edges, boxes and lists of
 * attributes: one for each node, port and edge, two for the whole. */
static bool is_dot(const char *s, int *edges, int *boxes, int *lists) {
  int depth = 0;
  bool in_list = false;
  *edges = *boxes = *lists = 0;
  for (; *s; s++) {
    if (*s == '"') {
      for (s++; *s && *s != '"'; s++)
        if ((unsigned char)*s < 0x20 || (*s == '\\' && !*++s))
          return false;
      if (!*s)
        return false;
    } else if (*s == '{' || *s == '}') {
      depth += *s == '{' ? 1 : -1;
      if (in_list || depth < 0)
        return false;
    } else if (*s == '[' || *s == ']') {
      if (in_list == (*s == '['))
        return false;
      in_list = *s == '[';
      *lists += in_list;
    } else if (*s == '-') {
      if (*++s != '>')
        return false;
      ++*edges;
    } else if (!strchr("abcdefghijklmnopqrstuvwxyz_0123456789=;, \n", *s)) {
      return false;
    } else if (strncmp(s, "subgraph cluster_", 17) == 0) {
      ++*boxes;
    }
  }
  return depth == 0 && !in_list;
}

/* What Graphviz says of it, where Graphviz is: 0 for nothing bad. */
static int run_graphviz(const char *text) {
  if (system("dot -V >/dev/null 2>&1") != 0) { /* NOLINT(cert-env33-c) */
    printf("    no Graphviz here: the language is checked by the test alone\n");
    return 0;
  }
  FILE *dot = popen("dot -Tplain 2>&1 >/dev/null | grep -q . && exit 1; exit 0", "w");
  cr_assert(dot);
  fputs(text, dot);
  return pclose(dot);
}

static const char *const no_settings[] = {"device=cpu", NULL};

Test(describe, draws_a_graph) {
  int edges, boxes, lists;
  char *dot = describe_with(onnx_small_net(), false, true, no_settings);
  cr_expect(is_dot(dot, &edges, &boxes, &lists), "%s", dot);
  /* x conv relu flat fc y; conv and relu are one call */
  cr_expect(edges == 5 && boxes == 1, "%d edges, %d boxes in\n%s", edges, boxes, dot);
  cr_expect(strstr(dot, "conv+relu") && strstr(dot, "float32[64,2,4,4]"), "%s", dot);
  cr_expect(run_graphviz(dot) == 0);
  fgsm_free(dot);
}

/* Names that would end a string or begin a command. (What is no printable text never gets here.) */
Test(describe, no_name_breaks_out) {
  static const char *const names[] = {"\"]; x [label=\"",
                                      "a\\",
                                      "\\N\\G\\",
                                      "{|}<b>&lt;&amp;&#34;&",
                                      "->",
                                      "%s%n",
                                      "\xe2\x82\xac \xf0\x9f\x99\x82"};
  struct onnx_bytes g = {0};
  int edges, boxes, lists, n = sizeof names / sizeof *names;
  char in[16] = "x", out[16];
  for (int i = 0; i < n; i++) {
    snprintf(out, sizeof out, i + 1 < n ? "v%d" : "y", i);
    onnx_put(&g, 1, onnx_node("Sigmoid", names[i], in, out));
    memcpy(in, out, sizeof in);
  }
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  char *dot = describe_with(onnx_model(g, 13), false, true, no_settings);
  cr_expect(is_dot(dot, &edges, &boxes, &lists) && edges == n + 1 && lists == 2 * n + 5,
            "%d edges, %d lists in\n%s", edges, lists, dot);
  cr_expect(run_graphviz(dot) == 0, "%s", dot);
  fgsm_free(dot);
}
