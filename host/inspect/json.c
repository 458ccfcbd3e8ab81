/* Lays a description out as one JSON object for programs. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "describe.h"

/* Text from outside (a path, a name) need not be UTF-8, and JSON must be. */
static json_t *json_words(const char *text) {
  size_t size = strlen(text) + 1;
  char *clean = malloc(size);
  if (!clean)
    return NULL;
  fg_clean_text(text, true, clean, size);
  json_t *json = json_string(clean);
  free(clean);
  return json;
}

static json_t *json_shape(int rank, const int64_t *dim) {
  json_t *list = json_array();
  for (int i = 0; i < rank; i++)
    json_array_append_new(list, dim[i] < 0 ? json_null() : json_integer(dim[i]));
  return list;
}

static json_t *json_port(const struct fg_onnx_port *port) {
  return json_pack("{s:o, s:s, s:o}", "name", json_words(port->name), "type",
                   fg_type_name(port->type), "shape",
                   port->rank < 0 ? json_null() : json_shape(port->rank, port->dim));
}

static json_t *json_sources(const struct fg_graph *g, int64_t n, const fg_id *list) {
  json_t *sources = json_array();
  for (int64_t i = 0; i < n; i++) {
    const struct fg_source *s = &g->sources[list[i]];
    json_array_append_new(sources, json_pack("{s:o, s:o}", "operator", json_words(s->op), "name",
                                             json_words(s->name)));
  }
  return sources;
}

static json_t *json_node(const struct fg_description *d, const struct fg_described_node *n) {
  const struct fg_node *node = &d->read.graph->nodes[n->node];
  int64_t n_sources;
  const fg_id *sources = fg_lists_at(&d->read.graph->source_lists, node->from.sources, &n_sources);
  return json_pack("{s:s, s:o, s:o, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "operator",
                   n->what, "name", json_words(node->name), "shape", json_shape(n->rank, n->dim),
                   "parameters", (json_int_t)n->parameters, "flops_forward", n->forward,
                   "flops_backward", n->backward, "bytes_forward", n->forward_bytes,
                   "bytes_backward", n->backward_bytes, "intensity_forward",
                   fg_intensity(n->forward, n->forward_bytes), "intensity_backward",
                   fg_intensity(n->backward, n->backward_bytes), "sources",
                   json_sources(d->read.graph, n_sources, sources), "call",
                   n->call < 0 ? json_null() : json_integer(n->call));
}

static json_t *json_nodes(const struct fg_description *d) {
  json_t *list = json_array();
  for (int64_t i = 0; i < d->n_nodes; i++)
    json_array_append_new(list, json_node(d, &d->nodes[i]));
  return list;
}

static json_t *json_call(const struct fg_described_plan *plan,
                         const struct fg_described_call *call) {
  const struct fg_plan_call *c = &call->cost;
  const struct fg_value *y = fg_call_value(plan, call);
  return json_pack(
      "{s:s, s:o, s:o, s:b, s:f, s:f, s:f, s:f, s:I, s:I, s:o}", "operator", call->what, "name",
      json_words(call->node->name), "shape", y ? json_shape(y->rank, y->dim) : json_null(),
      "gradient", fg_call_is_gradient(call), "flops", c->flops, "read_bytes", c->read_bytes,
      "written_bytes", c->written_bytes, "intensity",
      fg_intensity(c->flops, c->read_bytes + c->written_bytes), "alive_bytes",
      (json_int_t)c->alive_bytes, "scratch_bytes", (json_int_t)c->scratch_bytes, "sources",
      json_sources(fg_plan_graph(plan->plan), call->n_sources, call->sources));
}

static json_t *json_plan(const struct fg_described_plan *plan) {
  if (!plan->plan)
    return json_null();
  json_t *nodes = json_array();
  for (int i = 0; i < plan->info.n_calls; i++)
    json_array_append_new(nodes, json_call(plan, &plan->calls[i]));
  const struct fg_described_call *peak = plan->info.n_calls ? &plan->calls[plan->peak] : NULL;
  return json_pack("{s:i, s:f, s:I, s:I, s:I, s:o, s:o}", "calls", plan->info.n_calls, "flops",
                   plan->info.flops, "arena_bytes", (json_int_t)plan->info.arena_bytes,
                   "unshared_bytes", (json_int_t)plan->info.unshared_bytes, "constant_bytes",
                   (json_int_t)plan->info.constant_bytes, "peak",
                   peak ? json_pack("{s:i, s:f}", "call", plan->peak, "bytes", fg_call_memory(peak))
                        : json_null(),
                   "nodes", nodes);
}

/* The file's nodes that no call of a plan works for. */
static json_t *json_idle(const struct fg_description *d) {
  json_t *list = json_array();
  for (int64_t s = 0; d->called && s < d->pass.graph->n_sources; s++)
    if (!d->called[s] && !d->pass.graph->sources[s].body)
      json_array_append_new(list, json_pack("{s:o, s:o}", "operator",
                                            json_words(d->pass.graph->sources[s].op), "name",
                                            json_words(d->pass.graph->sources[s].name)));
  return list;
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

static json_t *json_model(const struct fg_description *d) {
  json_t *inputs = json_array(), *outputs = json_array();
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx); i++)
    json_array_append_new(inputs, json_port(fg_onnx_input(d->onnx, i)));
  for (int i = 0; i < fg_onnx_n_outputs(d->onnx); i++)
    json_array_append_new(outputs, json_port(fg_onnx_output(d->onnx, i)));
  return json_pack("{s:o, s:s, s:o, s:o, s:I, s:o, s:o, s:s, s:s, s:I, s:I}", "model",
                   json_words(d->path), "sha256", fg_onnx_sha256(d->onnx), "external_data",
                   json_data_files(d->onnx), "producer", json_words(fg_onnx_producer(d->onnx)),
                   "opset", (json_int_t)fg_onnx_opset(d->onnx), "inputs", inputs, "outputs",
                   outputs, "device", d->device, "precision", d->precision, "batch",
                   (json_int_t)d->batch, "strip", (json_int_t)d->strip);
}

static json_t *json_cost(const struct fg_description *d) {
  return json_pack("{s:o, s:{s:I, s:f, s:f, s:f, s:f}, s:{s:o, s:o}, s:{s:i, s:i, s:i, s:i, s:o}}",
                   "nodes", json_nodes(d), "totals", "parameters", (json_int_t)d->parameters,
                   "flops_forward", d->forward, "flops_backward", d->backward, "bytes_forward",
                   d->forward_bytes, "bytes_backward", d->backward_bytes, "plans", "forward",
                   json_plan(&d->forward_plan), "gradient", json_plan(&d->gradient_plan), "fused",
                   "operators", (int)d->n_nodes, "normalisations", d->n_normalisations,
                   "activations", d->n_activations, "residuals", d->n_residuals, "without_call",
                   json_idle(d));
}

fgsm_status fg_describe_json(const struct fg_description *d, char **text) {
  json_t *problems = json_array();
  for (int64_t i = 0; i < d->problems.n; i++)
    json_array_append_new(problems, json_words(d->problems.items[i].text));
  json_t *model = json_model(d), *cost = json_cost(d);
  json_t *verdict = json_pack("{s:o, s:b, s:o}", "agreement",
                              d->approximates ? fg_agree_json(&d->agreement) : json_null(),
                              "attackable", d->problems.n == 0, "problems", problems);
  bool whole = model && cost && verdict && json_object_update(model, cost) == 0 &&
               json_object_update(model, verdict) == 0;
  *text = whole ? json_dumps(model, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
  json_decref(verdict);
  json_decref(cost);
  json_decref(model);
  return *text ? FGSM_OK : FG_FAIL(MEMORY, "no memory for the description");
}
