/* The file's graph -> nodes of ours, in the file's order.
 *
 * Once every name is known and found sound (scope.c), each node that an output needs is handed to
 * its operator's importer. Initializers become constants when first used. Invariant: a name that is
 * `failed` has been reported, and what depends on it is skipped without another word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"

enum {
  OLDEST_OPSET = 7,
  NEWEST_OPSET = 26,
  MOST_PROBLEMS = 1000,
  MOST_NODES = 1 << 15,
  MOST_DEPTH = 16
};

static bool default_domain(const char *domain) {
  return !*domain || strcmp(domain, "ai.onnx") == 0;
}

static int64_t opset_of(const struct fg_build *b, const char *domain) {
  const Onnx__ModelProto *model = b->onnx->model;
  if (default_domain(domain) && !b->function)
    return b->onnx->opset;
  size_t n = b->function ? b->function->n_opset_import : model->n_opset_import;
  Onnx__OperatorSetIdProto *const *sets =
      b->function ? b->function->opset_import : model->opset_import;
  for (size_t i = 0; i < n; i++) {
    const char *other = fg_onnx_text(sets[i]->domain);
    if (strcmp(other, domain) == 0 || (default_domain(other) && default_domain(domain)))
      return sets[i]->version;
  }
  return default_domain(domain) ? b->onnx->opset : 0;
}

/* Takes the failure that was just recorded: lists it and goes on, or passes it on where nobody
 * asked for a list, going on makes no sense, or the list is long enough. */
static fgsm_status report(struct fg_build *b, fgsm_status status) {
  if (!b->problems || (status != FGSM_UNSUPPORTED && status != FGSM_MODEL) ||
      b->n_problems == MOST_PROBLEMS)
    return status;
  FG_TRY(fg_grow(&b->problems->items, &b->problems->capacity, b->problems->n + 1,
                 sizeof *b->problems->items));
  struct fg_onnx_problem *problem = &b->problems->items[b->problems->n++];
  fg_error_copy(problem->text, sizeof problem->text);
  b->n_problems++;
  if (b->worst == FGSM_OK || status == FGSM_MODEL)
    b->worst = status;
  return FGSM_OK;
}

/* Puts `who` in front of the last error. */
static fgsm_status blame(fgsm_status status, const char *who) {
  char why[800];
  fg_error_copy(why, sizeof why);
  return fg_fail(status, __FILE__, __LINE__, "%s: %s", who, why);
}

/* ---- inputs */

static fgsm_status check_type(const struct fg_onnx_port *port) {
  if (port->type != FG_NONE)
    return FGSM_OK;
  return FG_FAIL(
      UNSUPPORTED,
      "the input '%.120s' is no tensor of a type that is supported (a sequence, text, or "
      "an unsigned integer)",
      port->name);
}

static fgsm_status check_given(const struct fg_build *b, const struct fg_onnx_port *port,
                               fg_id id) {
  const struct fg_value *v = fg_value(b->g, id);
  char given[128];
  FG_TRY(check_type(port));
  bool real = fg_type_is_real(port->type);
  if (real ? !fg_type_is_real(v->type) : v->type != port->type)
    return FG_FAIL(USAGE, "the model's input '%.120s' is %s, not %s", port->name,
                   fg_type_name(port->type), fg_type_name(v->type));
  bool fits = port->rank < 0 || port->rank == v->rank;
  for (int i = 0; fits && i < port->rank; i++)
    fits = port->dim[i] < 0 || port->dim[i] == v->dim[i];
  int n = 0;
  for (int i = 0; i < v->rank && n < 100; i++)
    n +=
        snprintf(given + n, sizeof given - (size_t)n, "%s%lld", i ? "," : "", (long long)v->dim[i]);
  given[n] = 0;
  return fits ? FGSM_OK
              : FG_FAIL(USAGE, "the model's input '%.120s' does not take the shape [%s]",
                        port->name, given);
}

static fgsm_status make_input(struct fg_build *b, const struct fg_onnx_port *port, bool first,
                              bool open_batch, int64_t batch, fg_id *out) {
  int64_t dim[FG_MAX_RANK] = {0};
  FG_TRY(check_type(port));
  if (port->rank < 0)
    return FG_FAIL(UNSUPPORTED,
                   "the shape of the input '%.120s' is not in the file, or has more than %d "
                   "dimensions: export the model with input shapes",
                   port->name, FG_MAX_RANK);
  for (int i = 0; i < port->rank; i++) {
    dim[i] = port->dim[i];
    if (dim[i] < 0 && i > 0)
      return FG_FAIL(
          UNSUPPORTED,
          "dimension %d of the input '%.120s' is open, and only the first (the batch) may "
          "be: export the model with that dimension fixed",
          i, port->name);
    if (dim[i] < 0)
      dim[i] = batch;
  }
  if (first && !open_batch && port->rank > 0 && dim[0] != batch)
    return FG_FAIL(USAGE, "the model's batch is fixed at %lld, not %lld", (long long)dim[0],
                   (long long)batch);
  enum fg_type type = fg_type_is_real(port->type) ? b->g->real : port->type;
  return fg_graph_input(b->g, port->name, type, port->rank, dim, out);
}

static fgsm_status make_inputs(struct fg_build *b, int64_t batch, const fg_id *in, fg_id *inputs) {
  bool open_batch = false;
  for (int i = 0; i < b->onnx->n_inputs; i++)
    open_batch |= b->onnx->inputs[i].rank > 0 && b->onnx->inputs[i].dim[0] < 0;
  for (int i = 0; i < b->onnx->n_inputs; i++) {
    const struct fg_onnx_port *port = &b->onnx->inputs[i];
    struct fg_entry *entry = fg_build_find(b, port->name);
    fgsm_status status = FGSM_OK;
    if (in && in[i] == FG_ABSENT)
      continue; /* an error if it is needed after all */
    if (in) {
      entry->id = in[i];
      FG_TRY(check_given(b, port, in[i]));
    } else if ((status = make_input(b, port, i == 0, open_batch, batch, &entry->id)) != FGSM_OK) {
      entry->failed = true;
      FG_TRY(report(b, status));
    }
    entry->made = true;
    if (inputs)
      inputs[i] = entry->id;
  }
  return FGSM_OK;
}

/* ---- nodes */

/* Whether training may change it there: statistics and scalars (bounds, rates) are not weights. */
static bool is_weight(const Onnx__NodeProto *node, int slot, const struct fg_onnx_tensor *tensor) {
  bool statistic = strcmp(fg_onnx_text(node->op_type), "BatchNormalization") == 0 && slot >= 3;
  return fg_type_is_real(tensor->type) && tensor->rank > 0 && !statistic;
}

/* A parameter of that name, which another appearance of the model in the graph has made. */
static bool find_param(const struct fg_graph *g, const char *name, fg_id *out) {
  for (fg_id i = 0; i < g->n_values; i++)
    if (g->values[i].role == FG_ROLE_PARAM && strcmp(g->values[i].name, name) == 0) {
      *out = i;
      return true;
    }
  return false;
}

/* Whether the data lies in the unpacked message, and stays there while the model is open: not in scratch,
 * nor in a mapped file, which others may cut short. */
static bool stays(const struct fg_build *b, const struct fg_entry *entry, const void *data) {
  const Onnx__TensorProto *tensor = b->graph->initializer[entry->index];
  return (data == tensor->raw_data.data || data == tensor->float_data) &&
         !fg_onnx_external_holds(&b->onnx->external, data);
}

static fgsm_status make_initializer(struct fg_build *b, const Onnx__NodeProto *node, int slot,
                                    struct fg_entry *entry) {
  struct fg_onnx_tensor t;
  if (entry->origin == FG_FROM_SPARSE)
    return FG_FAIL(UNSUPPORTED, "the initializer '%.120s' is sparse: export dense weights",
                   entry->name);
  fgsm_status status = fg_onnx_tensor_read(b->graph->initializer[entry->index], &b->scratch, &t);
  if (status == FGSM_UNSUPPORTED || status == FGSM_MODEL) {
    char who[160];
    snprintf(who, sizeof who, "the initializer '%.120s'", entry->name);
    return blame(status, who);
  }
  if (status != FGSM_OK)
    return status;
  if (b->trainable && node && is_weight(node, slot, &t))
    return find_param(b->g, entry->name, &entry->id)
               ? FGSM_OK
               : fg_graph_param(b->g, entry->name, t.type, t.rank, t.dim, t.data, &entry->id);
  return (stays(b, entry, t.data) ? fg_graph_weight : fg_graph_constant)(
      b->g, entry->name, t.type, t.rank, t.dim, t.data, &entry->id);
}

/* A value that is not there: a result that the operator's importer left out (masks, positions,
 * statistics), or an input that the caller did not give. */
static fgsm_status not_there(const struct fg_build *b, const struct fg_entry *entry) {
  char who[256];
  if (entry->origin == FG_FROM_INPUT)
    return FG_FAIL(USAGE,
                   "the model needs its input '%.120s' too: give it with --feed %.120s=FILE.npy",
                   entry->name, entry->name);
  return FG_FAIL(UNSUPPORTED,
                 "'%.120s', which it uses, is a result of %s that is not computed here",
                 entry->name, fg_build_label(b->graph->node[entry->index], 0, who));
}

fgsm_status fg_build_resolve(struct fg_build *b, const Onnx__NodeProto *node, int slot,
                             const char *name, fg_id *out, bool *failed) {
  struct fg_entry *entry = fg_build_find(b, name);
  if (!entry && b->parent)
    return fg_build_resolve(b->parent, node, slot, name, out, failed);
  if (!entry)
    return FG_FAIL(INTERNAL, "'%.120s' was not declared", name);
  if (!entry->made && !entry->failed) {
    bool data = entry->origin == FG_FROM_INITIALIZER || entry->origin == FG_FROM_SPARSE;
    fgsm_status status = data ? make_initializer(b, node, slot, entry) : not_there(b, entry);
    entry->made = true;
    if (status != FGSM_OK) {
      entry->failed = true;
      return status;
    }
  }
  *failed |= entry->failed;
  *out = entry->id;
  return FGSM_OK;
}

/* A Constant node in any of its forms. */
static fgsm_status import_constant(const struct fg_import *im) {
  for (int i = 0; i < im->n_attrs && im->n_out > 0; i++) {
    const struct fg_onnx_attr *a = &im->attrs[i];
    const struct fg_onnx_tensor *t = &a->tensor;
    const char *name = im->name;
    if (strcmp(a->name, "value") == 0 && a->kind == FG_ATTR_TENSOR)
      return fg_graph_constant(im->g, name, t->type, t->rank, t->dim, t->data, im->out);
    if (strcmp(a->name, "value_float") == 0 && a->kind == FG_ATTR_FLOAT)
      return fg_graph_constant(im->g, name, FG_F32, 0, NULL, &a->f, im->out);
    if (strcmp(a->name, "value_int") == 0 && a->kind == FG_ATTR_INT)
      return fg_graph_constant(im->g, name, FG_I64, 0, NULL, &a->i, im->out);
    const void *list = a->kind == FG_ATTR_FLOATS ? (const void *)a->floats : a->ints;
    if (strcmp(a->name, "value_floats") == 0 && a->kind == FG_ATTR_FLOATS)
      return fg_graph_constant(im->g, name, FG_F32, 1, &a->n, list, im->out);
    if (strcmp(a->name, "value_ints") == 0 && a->kind == FG_ATTR_INTS)
      return fg_graph_constant(im->g, name, FG_I64, 1, &a->n, list, im->out);
  }
  return FG_FAIL(UNSUPPORTED, "its value is missing, text, or sparse");
}

/* *out is NULL for Constant, which the reader itself takes. */
static fgsm_status find_importer(const Onnx__NodeProto *node, fg_import_fn *out) {
  const char *domain = fg_onnx_text(node->domain), *type = fg_onnx_text(node->op_type);
  bool standard = default_domain(domain);
  *out = NULL;
  if (standard && strcmp(type, "Constant") == 0)
    return FGSM_OK;
  if ((*out = fg_find_importer(standard ? "" : domain, type)))
    return FGSM_OK;
  for (size_t i = 0; i < node->n_attribute; i++)
    if (node->attribute[i]->g || node->attribute[i]->n_graphs)
      return FG_FAIL(UNSUPPORTED,
                     "an operator with sub-graphs that is none of If, Loop and Scan: export the "
                     "model by tracing, or simplify it");
  if (standard)
    return FG_FAIL(UNSUPPORTED, "this operator is not supported: export the model without it");
  return FG_FAIL(
      UNSUPPORTED,
      "operators of the domain '%.80s' are not supported: export the model with standard "
      "ONNX operators",
      domain);
}

static fgsm_status read_attrs(struct fg_build *b, const Onnx__NodeProto *node,
                              struct fg_import *im) {
  size_t n;
  const Onnx__AttributeProto *const *list;
  struct fg_onnx_attr *attrs;
  FG_TRY(fg_body_attrs(b, node, &n, &list));
  FG_TRY(fg_onnx_attrs_read(n, list, &b->scratch, &attrs));
  im->n_attrs = (int)n;
  im->attrs = attrs;
  return FGSM_OK;
}

/* What a node stands for that has a graph of its own. */
enum body { NONE, FUNCTION, IF, LOOP, SCAN };

static enum body body_of(const Onnx__NodeProto *node) {
  const char *type = fg_onnx_text(node->op_type);
  if (!default_domain(fg_onnx_text(node->domain)))
    return NONE;
  return strcmp(type, "If") == 0     ? IF
         : strcmp(type, "Loop") == 0 ? LOOP
         : strcmp(type, "Scan") == 0 ? SCAN
                                     : NONE;
}

/* Fills `im` and runs the importer, or appends the body that the node stands for. *skip: an input
 * has failed, and nothing was done. */
static fgsm_status run_importer(struct fg_build *b, const Onnx__NodeProto *node,
                                struct fg_import *im, bool *skip) {
  fg_import_fn importer = NULL;
  const Onnx__FunctionProto *function;
  fg_id *in = fg_arena_alloc(&b->scratch, (node->n_input + 1) * sizeof *in);
  bool *used = fg_arena_alloc(&b->scratch, node->n_output + 1);
  im->out = fg_arena_alloc(&b->scratch, (node->n_output + FG_MAX_OUT) * sizeof *im->out);
  if (!in || !used || !im->out)
    return FGSM_MEMORY;
  for (size_t k = 0; k < node->n_output; k++) {
    im->out[k] = FG_ABSENT;
    used[k] = *node->output[k] != 0;
  }
  FG_TRY(fg_body_find(b, node, &function));
  enum body body = function ? FUNCTION : body_of(node);
  if (body == NONE)
    FG_TRY(find_importer(node, &importer));
  for (size_t k = 0; k < node->n_input; k++) {
    in[k] = FG_ABSENT;
    if (*node->input[k])
      FG_TRY(fg_build_resolve(b, node, (int)k, node->input[k], &in[k], skip));
  }
  if (*skip)
    return FGSM_OK;
  switch (body) {
  case FUNCTION:
    return fg_body_call(b, node, function, in, im->out);
  case IF:
    return fg_body_if(b, node, node->n_input ? in[0] : FG_ABSENT, im->out);
  case LOOP:
    return fg_body_loop(b, node, in, im->out);
  case SCAN:
    return fg_body_scan(b, node, im->opset, in, im->out);
  case NONE:
    break;
  }
  FG_TRY(read_attrs(b, node, im));
  im->n_in = (int)node->n_input;
  im->in = in;
  im->n_out = (int)node->n_output;
  im->out_used = used;
  return importer ? fg_import_run(im, importer) : import_constant(im);
}

static fgsm_status import_node(struct fg_build *b, const Onnx__NodeProto *node) {
  char who[256];
  bool skip = false;
  int64_t opset = opset_of(b, fg_onnx_text(node->domain));
  struct fg_import im = {.g = b->g,
                         .op_type = fg_onnx_text(node->op_type),
                         .name = *fg_onnx_text(node->name) ? node->name
                                 : node->n_output          ? node->output[0]
                                                           : "",
                         .opset = opset};
  struct fg_provenance outer;
  FG_TRY(fg_source_begin(b->g, im.op_type, im.name, &outer));
  fgsm_status status = run_importer(b, node, &im, &skip);
  fg_source_end(b->g, outer);
  bool failed = skip || status != FGSM_OK;
  if (status != FGSM_OK)
    FG_TRY(report(b, blame(status, fg_build_label(node, opset, who))));
  for (size_t k = 0; k < node->n_output; k++) {
    struct fg_entry *entry = *node->output[k] ? fg_build_find(b, node->output[k]) : NULL;
    if (!entry)
      continue;
    entry->failed = failed;
    entry->id = failed ? FG_ABSENT : im.out[k];
    entry->made = entry->id != FG_ABSENT;
  }
  return FGSM_OK;
}

static fgsm_status import_nodes(struct fg_build *b) {
  for (size_t i = 0; i < b->graph->n_node; i++) {
    if (!b->needed[i])
      continue;
    FG_TRY(fg_check_interrupt());
    fgsm_status status = import_node(b, b->graph->node[i]);
    fg_arena_free(&b->scratch);
    if (status != FGSM_OK)
      return status;
  }
  return FGSM_OK;
}

static fgsm_status take_outputs(struct fg_build *b, fg_id *outputs) {
  for (int i = 0; i < b->n_out; i++) {
    bool failed = false;
    fg_id id = FG_ABSENT;
    fgsm_status status = fg_build_resolve(b, NULL, 0, b->out_names[i], &id, &failed);
    if (status != FGSM_OK)
      FG_TRY(report(b, blame(status, "the model's outputs")));
    if (outputs)
      outputs[i] = id;
  }
  return FGSM_OK;
}

/* Names, order and needs, once it is sure that the nodes are not too many. */
static fgsm_status open_scope(struct fg_build *b) {
  *b->taken += (int64_t)b->graph->n_node;
  if (*b->taken > MOST_NODES)
    return FG_FAIL(UNSUPPORTED, "the model has %lld nodes or more; at most %d are supported",
                   (long long)*b->taken, MOST_NODES);
  if (b->depth > MOST_DEPTH)
    return FG_FAIL(UNSUPPORTED,
                   "functions and branches nest deeper than %d, or a function calls "
                   "itself",
                   MOST_DEPTH);
  return fg_build_scope(b);
}

static void release(struct fg_build *b) {
  free(b->needed);
  free(b->entries);
  fg_names_free(&b->names);
  fg_arena_free(&b->scratch);
}

static fgsm_status run_body(struct fg_build *b, const fg_id *in, fg_id *out) {
  FG_TRY(open_scope(b));
  for (int i = 0; i < b->n_in; i++) {
    struct fg_entry *entry = fg_build_find(b, b->in_names[i]);
    entry->id = in[i];
    entry->made = true;
  }
  FG_TRY(import_nodes(b));
  bool failed = false;
  for (int i = 0; i < b->n_out; i++)
    if (*b->out_names[i])
      FG_TRY(fg_build_resolve(b, NULL, 0, b->out_names[i], &out[i], &failed));
  return FGSM_OK;
}

fgsm_status fg_build_body(struct fg_build *b, const fg_id *in, fg_id *out) {
  fgsm_status status = run_body(b, in, out);
  release(b);
  return status;
}

static fgsm_status check_opset(struct fg_build *b) {
  int64_t opset = b->onnx->opset;
  if (opset < OLDEST_OPSET)
    return report(b, FG_FAIL(UNSUPPORTED,
                             "the model uses operator set %lld; supported are %d to %d: convert it "
                             "with onnx.version_converter",
                             (long long)opset, OLDEST_OPSET, NEWEST_OPSET));
  if (opset > NEWEST_OPSET)
    fg_log(
        FGSM_LOG_WARNING,
        "the model uses operator set %lld, newer than %d, the newest that is known here: read as "
        "that",
        (long long)opset, NEWEST_OPSET);
  return FGSM_OK;
}

static fgsm_status run(struct fg_build *b, int64_t batch, const fg_id *in, fg_id *inputs,
                       fg_id *outputs) {
  if (batch < 1)
    return FG_FAIL(USAGE, "a batch holds at least one sample, not %lld", (long long)batch);
  if (b->n_out == 0)
    return FG_FAIL(MODEL, "the model has no outputs");
  FG_TRY(check_opset(b));
  FG_TRY(open_scope(b));
  FG_TRY(make_inputs(b, batch, in, inputs));
  FG_TRY(import_nodes(b));
  FG_TRY(take_outputs(b, outputs));
  if (b->n_problems == 0)
    return FGSM_OK;
  char more[48] = "";
  if (b->n_problems > 1)
    snprintf(more, sizeof more, " (and %lld more)", (long long)b->n_problems - 1);
  return fg_fail(b->worst, __FILE__, __LINE__, "%s%s", b->problems->items[0].text, more);
}

/* The model's graph, of its outputs `n_out` from `first` on. */
static fgsm_status build(const struct fg_onnx *onnx, struct fg_graph *g, int64_t batch,
                         bool trainable, const fg_id *in, int first, int n_out, fg_id *inputs,
                         fg_id *outputs, struct fg_onnx_problems *problems) {
  int64_t taken = 0, looked_at = 0, listed = problems ? problems->n : 0;
  size_t n_names = (size_t)onnx->n_inputs + (size_t)n_out;
  const char **names = calloc(n_names + 1, sizeof *names);
  if (!names)
    return FG_FAIL(MEMORY, "no memory for %zu names", n_names);
  for (int i = 0; i < onnx->n_inputs; i++)
    names[i] = onnx->inputs[i].name;
  for (int i = 0; i < n_out; i++)
    names[onnx->n_inputs + i] = onnx->outputs[first + i].name;
  struct fg_build b = {.onnx = onnx,
                       .graph = onnx->model->graph,
                       .g = g,
                       .trainable = trainable,
                       .n_in = onnx->n_inputs,
                       .n_out = n_out,
                       .in_names = names,
                       .out_names = names + onnx->n_inputs,
                       .taken = &taken,
                       .looked_at = &looked_at,
                       .problems = problems};
  fgsm_status status = run(&b, batch, in, inputs, outputs);
  /* A file that is broken as a whole is a problem to be listed too. */
  if (problems && problems->n == listed && (status == FGSM_MODEL || status == FGSM_UNSUPPORTED))
    (void)!report(&b, status);
  release(&b);
  free(names);
  return status;
}

fgsm_status fg_onnx_build(const struct fg_onnx *onnx, struct fg_graph *g, int64_t batch,
                          bool trainable, const fg_id *in, fg_id *inputs, fg_id *outputs,
                          struct fg_onnx_problems *problems) {
  return build(onnx, g, batch, trainable, in, 0, onnx->n_outputs, inputs, outputs, problems);
}

fgsm_status fg_onnx_build_output(const struct fg_onnx *onnx, struct fg_graph *g, int64_t batch,
                                 bool trainable, const fg_id *in, int which, fg_id *out) {
  return build(onnx, g, batch, trainable, in, which, 1, NULL, out, NULL);
}
