/* What `fgsm inspect` says of models: figures that can be worked out by hand, and that models which
 * cannot be attacked are described all the same, with every reason. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "describe.h"
#include "onnx_bytes.h"

/* Describes a model in memory, which it takes over; the text is freed with fgsm_free. */
static char *describe(struct onnx_bytes b, const char *device, const char *batch, bool json) {
  struct fg_onnx *onnx = NULL;
  fgsm_options *options = NULL;
  char *text = NULL;
  cr_assert(fg_onnx_parse(b.data, b.n, "small", &onnx) == FGSM_OK, "%s", fgsm_last_error());
  cr_assert(fgsm_options_create(&options) == FGSM_OK);
  cr_assert(fgsm_options_set(options, "device", device) == FGSM_OK);
  cr_assert(fgsm_options_set(options, "batch", batch) == FGSM_OK);
  fgsm_status status = fg_describe(onnx, "small.onnx", options, json, &text);
  cr_assert(status == FGSM_OK, "%s", fgsm_last_error());
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  free(b.data);
  return text;
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
    /* Something is fused, and the gradient asks for more of everything. */
    cr_expect(number(json, "fused.activations") == 1);
    cr_expect(number(json, "plans.gradient.calls") > number(json, "plans.forward.calls"));
    cr_expect(number(json, "plans.gradient.flops") > number(json, "plans.forward.flops"));
    cr_expect(number(json, "plans.forward.arena_bytes") > 0);
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
