/* Lays a description out, as a table for people or as one JSON object for programs. Nothing is
 * computed here but units. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "describe.h"

enum { NAME_WIDTH = 36 };

/* ---- for people */

/* "3.41 G" */
static const char *scaled(double v, double step, const char *unit, char text[32]) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
  int k = 0;
  while (v >= step && k < 5) {
    v /= step;
    k++;
  }
  snprintf(text, 32, k ? "%.4g %s%s%s" : "%.0f %s%s%s", v, prefixes[k],
           k && step == 1024 ? "i" : "", unit);
  return text;
}

static const char *shape(int rank, const int64_t *dim, char text[192]) {
  int n = snprintf(text, 192, "[");
  for (int i = 0; i < rank; i++)
    n += dim[i] < 0
             ? snprintf(text + n, 192 - (size_t)n, "%s?", i ? "," : "")
             : snprintf(text + n, 192 - (size_t)n, "%s%lld", i ? "," : "", (long long)dim[i]);
  snprintf(text + n, 192 - (size_t)n, "]");
  return text;
}

static void add_port(struct fg_text *t, const char *what, const struct fg_onnx_port *port) {
  char dims[192];
  fg_text_add(t, "%-11s%s  %s  %s\n", what, port->name, fg_type_name(port->type),
              port->rank < 0 ? "of unknown shape" : shape(port->rank, port->dim, dims));
}

static void add_header(struct fg_text *t, const struct fg_description *d) {
  char size[32];
  fg_text_add(t, "%-11s%s\n", "model", d->path);
  fg_text_add(t, "%-11s%s\n", "sha256", fg_onnx_sha256(d->onnx));
  for (int i = 0; i < fg_onnx_n_data_files(d->onnx); i++) {
    const struct fg_onnx_data_file *file = fg_onnx_data_file(d->onnx, i);
    fg_text_add(t, "%-11s%s  %s  %s\n", i ? "" : "data", file->sha256, file->location,
                scaled((double)file->bytes, 1024, "B", size));
  }
  fg_text_add(t, "%-11s%s, opset %lld\n", "producer",
              *fg_onnx_producer(d->onnx) ? fg_onnx_producer(d->onnx) : "unsaid",
              (long long)fg_onnx_opset(d->onnx));
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx); i++)
    add_port(t, "input", fg_onnx_input(d->onnx, i));
  for (int i = 0; i < fg_onnx_n_outputs(d->onnx); i++)
    add_port(t, "output", fg_onnx_output(d->onnx, i));
  fg_text_add(t, "%-11s%s, batch %lld\n\n", "device", d->device, (long long)d->batch);
}

static void add_nodes(struct fg_text *t, const struct fg_description *d) {
  char dims[192], forward[32], backward[32];
  fg_text_add(t, "%-14s %-*s %-20s %12s %12s %12s\n", "operator", NAME_WIDTH, "name", "output",
              "parameters", "forward", "backward");
  for (int64_t i = 0; i < d->n_nodes; i++) {
    const struct fg_described_node *n = &d->nodes[i];
    const char *name = n->name;
    size_t length = strlen(name);
    bool cut = length > NAME_WIDTH;
    if (cut) /* the end tells more than the beginning; not from within a character */
      for (name += length - (NAME_WIDTH - 3); (*name & 0xc0) == 0x80;)
        name++;
    fg_text_add(t, "%-14s %s%-*s %-20s %12lld %12s %12s\n", n->what, cut ? "..." : "",
                cut ? NAME_WIDTH - 3 : NAME_WIDTH, name, shape(n->rank, n->dim, dims),
                (long long)n->parameters, scaled(n->forward, 1000, "FLOP", forward),
                scaled(n->backward, 1000, "FLOP", backward));
  }
  fg_text_add(t, "%-14s %-*s %-20s %12lld %12s %12s\n\n", "total", NAME_WIDTH, "", "",
              (long long)d->parameters, scaled(d->forward, 1000, "FLOP", forward),
              scaled(d->backward, 1000, "FLOP", backward));
}

static void add_plan(struct fg_text *t, const char *what, const struct fg_described_plan *plan) {
  char arena[32], unshared[32], weights[32], flops[32];
  if (!plan->made)
    return;
  fg_text_add(t,
              "%-11s%d calls, %s; %s of memory with scratch (values alone: %s without reuse), %s "
              "of weights\n",
              what, plan->info.n_calls, scaled(plan->info.flops, 1000, "FLOP", flops),
              scaled((double)plan->info.arena_bytes, 1024, "B", arena),
              scaled((double)plan->info.unshared_bytes, 1024, "B", unshared),
              scaled((double)plan->info.constant_bytes, 1024, "B", weights));
}

fgsm_status fg_describe_text(const struct fg_description *d, char **text) {
  struct fg_text t = {0};
  add_header(&t, d);
  add_nodes(&t, d);
  add_plan(&t, "forward", &d->forward_plan);
  add_plan(&t, "gradient", &d->gradient_plan);
  if (d->forward_plan.made)
    fg_text_add(&t,
                "%-11s%d operators became %d calls; folded: %d normalisations; fused: %d "
                "activations, %d residuals\n",
                "fused", d->n_operators, d->forward_plan.info.n_calls, d->n_normalisations,
                d->n_activations, d->n_residuals);
  for (int64_t i = 0; i < d->problems.n; i++)
    fg_text_add(&t, "%-11s%s\n", i ? "" : "problems", d->problems.items[i].text);
  if (d->problems.n == 0)
    fg_text_add(&t, "%-11snone: the model can be attacked\n", "problems");
  if (t.failed) {
    fg_text_free(&t);
    return FG_FAIL(MEMORY, "no memory for the description");
  }
  *text = t.data;
  return FGSM_OK;
}

/* ---- for programs */

/* Text from outside (a path, a message that was cut) need not be UTF-8, and JSON must be. */
static json_t *json_words(const char *text) {
  json_t *json = json_string(text);
  if (json)
    return json;
  char *copy = strdup(text);
  for (char *c = copy; c && *c; c++)
    if ((unsigned char)*c >= 0x80)
      *c = '?';
  json = copy ? json_string(copy) : NULL;
  free(copy);
  return json;
}

static json_t *json_shape(int rank, const int64_t *dim) {
  json_t *list = json_array();
  for (int i = 0; i < rank; i++)
    json_array_append_new(list, dim[i] < 0 ? json_null() : json_integer(dim[i]));
  return list;
}

static json_t *json_port(const struct fg_onnx_port *port) {
  return json_pack("{s:s, s:s, s:o}", "name", port->name, "type", fg_type_name(port->type), "shape",
                   port->rank < 0 ? json_null() : json_shape(port->rank, port->dim));
}

static json_t *json_nodes(const struct fg_description *d) {
  json_t *list = json_array();
  for (int64_t i = 0; i < d->n_nodes; i++) {
    const struct fg_described_node *n = &d->nodes[i];
    json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I, s:f, s:f}", "operator", n->what,
                                          "name", n->name, "shape", json_shape(n->rank, n->dim),
                                          "parameters", (json_int_t)n->parameters, "flops_forward",
                                          n->forward, "flops_backward", n->backward));
  }
  return list;
}

static json_t *json_plan(const struct fg_described_plan *plan) {
  if (!plan->made)
    return json_null();
  return json_pack("{s:i, s:f, s:I, s:I, s:I}", "calls", plan->info.n_calls, "flops",
                   plan->info.flops, "arena_bytes", (json_int_t)plan->info.arena_bytes,
                   "unshared_bytes", (json_int_t)plan->info.unshared_bytes, "constant_bytes",
                   (json_int_t)plan->info.constant_bytes);
}

static json_t *json_data_files(const struct fg_onnx *onnx) {
  json_t *list = json_array();
  for (int i = 0; i < fg_onnx_n_data_files(onnx); i++) {
    const struct fg_onnx_data_file *file = fg_onnx_data_file(onnx, i);
    json_array_append_new(list,
                          json_pack("{s:o, s:I, s:s}", "path", json_words(file->location), "bytes",
                                    (json_int_t)file->bytes, "sha256", file->sha256));
  }
  return list;
}

static json_t *json_description(const struct fg_description *d) {
  json_t *inputs = json_array(), *outputs = json_array(), *problems = json_array();
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx); i++)
    json_array_append_new(inputs, json_port(fg_onnx_input(d->onnx, i)));
  for (int i = 0; i < fg_onnx_n_outputs(d->onnx); i++)
    json_array_append_new(outputs, json_port(fg_onnx_output(d->onnx, i)));
  for (int64_t i = 0; i < d->problems.n; i++)
    json_array_append_new(problems, json_words(d->problems.items[i].text));
  json_t *model = json_pack("{s:o, s:s, s:o, s:s, s:I, s:o, s:o, s:s, s:I}", "model",
                            json_words(d->path), "sha256", fg_onnx_sha256(d->onnx), "external_data",
                            json_data_files(d->onnx), "producer", fg_onnx_producer(d->onnx),
                            "opset", (json_int_t)fg_onnx_opset(d->onnx), "inputs", inputs,
                            "outputs", outputs, "device", d->device, "batch", (json_int_t)d->batch);
  json_t *cost = json_pack(
      "{s:o, s:{s:I, s:f, s:f}, s:{s:o, s:o}, s:{s:i, s:i, s:i, s:i}}", "nodes", json_nodes(d),
      "totals", "parameters", (json_int_t)d->parameters, "flops_forward", d->forward,
      "flops_backward", d->backward, "plans", "forward", json_plan(&d->forward_plan), "gradient",
      json_plan(&d->gradient_plan), "fused", "operators", d->n_operators, "normalisations",
      d->n_normalisations, "activations", d->n_activations, "residuals", d->n_residuals);
  json_t *verdict = json_pack("{s:b, s:o}", "attackable", d->problems.n == 0, "problems", problems);
  bool whole = model && cost && verdict && json_object_update(model, cost) == 0 &&
               json_object_update(model, verdict) == 0;
  json_decref(cost);
  json_decref(verdict);
  if (whole)
    return model;
  json_decref(model);
  return NULL;
}

fgsm_status fg_describe_json(const struct fg_description *d, char **text) {
  json_t *json = json_description(d);
  *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
  json_decref(json);
  return *text ? FGSM_OK : FG_FAIL(MEMORY, "no memory for the description, or a name is not UTF-8");
}
