/* The names of a file's graph. Every name is declared once (an input, an initializer, a node's
 * output) before any node is looked at, so that duplicates, missing names and cycles are found
 * whatever the operators are; then what the outputs need is marked, backward. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"

enum { MOST_LOOKED_AT = 1 << 21 };

fgsm_status fg_build_look_at(struct fg_build *b, size_t n) {
  *b->looked_at += n < MOST_LOOKED_AT ? (int64_t)n : MOST_LOOKED_AT + 1;
  return *b->looked_at <= MOST_LOOKED_AT
             ? FGSM_OK
             : FG_FAIL(UNSUPPORTED,
                       "the model names more than %d values, those of functions and branches "
                       "counted as often as they are used",
                       MOST_LOOKED_AT);
}

const char *fg_build_label(const Onnx__NodeProto *node, int64_t opset, char text[256]) {
  const char *name = fg_onnx_text(node->name);
  if (!*name && node->n_output)
    name = node->output[0];
  char version[32] = "";
  if (opset > 0)
    snprintf(version, sizeof version, " (opset %lld)", (long long)opset);
  snprintf(text, 256, "%.60s '%.120s'%s", fg_onnx_text(node->op_type), name, version);
  return text;
}

static fgsm_status declare(struct fg_build *b, const char *name, enum fg_origin origin,
                           int64_t index) {
  FG_TRY(fg_grow(&b->entries, &b->capacity, b->n_entries + 1, sizeof *b->entries));
  FG_TRY(fg_names_add(&b->names, name, b->n_entries));
  b->entries[b->n_entries++] =
      (struct fg_entry){.name = name, .origin = origin, .index = index, .id = FG_ABSENT};
  return FGSM_OK;
}

struct fg_entry *fg_build_find(const struct fg_build *b, const char *name) {
  int64_t i = fg_names_find(&b->names, name);
  return i < 0 ? NULL : &b->entries[i];
}

static fgsm_status declare_data(struct fg_build *b) {
  const Onnx__GraphProto *graph = b->graph;
  for (int i = 0; i < b->n_in; i++) {
    const char *name = b->in_names[i];
    if (!*name || fg_build_find(b, name))
      return FG_FAIL(MODEL, "the input name '%.120s' is empty or occurs twice", name);
    FG_TRY(declare(b, name, FG_FROM_INPUT, i));
  }
  for (size_t i = 0; i < graph->n_initializer; i++) {
    const char *name = fg_onnx_text(graph->initializer[i]->name);
    if (!*name || fg_build_find(b, name))
      return FG_FAIL(MODEL, "the initializer name '%.120s' is empty or occurs twice", name);
    FG_TRY(declare(b, name, FG_FROM_INITIALIZER, (int64_t)i));
  }
  for (size_t i = 0; i < graph->n_sparse_initializer; i++) {
    const Onnx__TensorProto *values = graph->sparse_initializer[i]->values;
    const char *name = values ? fg_onnx_text(values->name) : "";
    if (*name && !fg_build_find(b, name))
      FG_TRY(declare(b, name, FG_FROM_SPARSE, (int64_t)i));
  }
  return FGSM_OK;
}

static fgsm_status declare_nodes(struct fg_build *b) {
  char text[256];
  for (size_t i = 0; i < b->graph->n_node; i++) {
    const Onnx__NodeProto *node = b->graph->node[i];
    for (size_t k = 0; k < node->n_output; k++) {
      const char *name = node->output[k];
      if (!*name)
        continue;
      if (fg_build_find(b, name))
        return FG_FAIL(MODEL, "%s: its output '%.120s' is also the name of another value",
                       fg_build_label(node, 0, text), name);
      FG_TRY(declare(b, name, FG_FROM_NODE, (int64_t)i));
    }
  }
  return FGSM_OK;
}

/* Whether a graph around this one, which is a branch, gives the name. */
static bool in_ancestor(const struct fg_build *b, const char *name) {
  for (const struct fg_build *p = b->parent; p; p = p->parent)
    if (fg_build_find(p, name))
      return true;
  return false;
}

static fgsm_status check_order(struct fg_build *b) {
  char text[256];
  for (size_t i = 0; i < b->graph->n_node; i++) {
    const Onnx__NodeProto *node = b->graph->node[i];
    for (size_t k = 0; k < node->n_input; k++) {
      if (!*node->input[k])
        continue;
      const struct fg_entry *entry = fg_build_find(b, node->input[k]);
      if (!entry && in_ancestor(b, node->input[k]))
        continue;
      if (!entry)
        return FG_FAIL(MODEL, "%s: nothing gives its input '%.120s'", fg_build_label(node, 0, text),
                       node->input[k]);
      if (entry->origin == FG_FROM_NODE && entry->index >= (int64_t)i)
        return FG_FAIL(MODEL,
                       "%s: its input '%.120s' is computed only later: the nodes form a cycle, or "
                       "are not in topological order as ONNX asks",
                       fg_build_label(node, 0, text), node->input[k]);
    }
  }
  return FGSM_OK;
}

static void mark(struct fg_build *b, const char *name) {
  const struct fg_entry *entry = fg_build_find(b, name);
  if (entry && entry->origin == FG_FROM_NODE)
    b->needed[entry->index] = true;
}

/* What a node's branches use of this graph's names. The guard has bounded how deep they nest. */
static fgsm_status mark_branches(struct fg_build *b, const Onnx__NodeProto *node) {
  for (size_t i = 0; i < node->n_attribute; i++) {
    const Onnx__GraphProto *branch = node->attribute[i]->g;
    if (!branch)
      continue;
    FG_TRY(fg_build_look_at(b, branch->n_node + branch->n_output));
    for (size_t k = 0; k < branch->n_node; k++) {
      FG_TRY(fg_build_look_at(b, branch->node[k]->n_input));
      for (size_t j = 0; j < branch->node[k]->n_input; j++)
        mark(b, branch->node[k]->input[j]);
      FG_TRY(mark_branches(b, branch->node[k]));
    }
    for (size_t k = 0; k < branch->n_output; k++)
      mark(b, fg_onnx_text(branch->output[k]->name));
  }
  return FGSM_OK;
}

static fgsm_status mark_needed(struct fg_build *b) {
  const Onnx__GraphProto *graph = b->graph;
  b->needed = calloc(graph->n_node + 1, sizeof *b->needed);
  if (!b->needed)
    return FG_FAIL(MEMORY, "no memory for %zu nodes", graph->n_node);
  for (int i = 0; i < b->n_out; i++) {
    if (!*b->out_names[i] && b->depth)
      continue; /* a result of the body that its call does not want */
    if (!fg_build_find(b, b->out_names[i]) && !in_ancestor(b, b->out_names[i]))
      return FG_FAIL(MODEL, "nothing computes the %s's output '%.120s'",
                     b->depth ? "body" : "model", b->out_names[i]);
    mark(b, b->out_names[i]);
  }
  for (size_t i = graph->n_node; i-- > 0;)
    if (b->needed[i]) {
      for (size_t k = 0; k < graph->node[i]->n_input; k++)
        mark(b, graph->node[i]->input[k]);
      FG_TRY(mark_branches(b, graph->node[i]));
    }
  return FGSM_OK;
}

static fgsm_status count_names(struct fg_build *b) {
  const Onnx__GraphProto *graph = b->graph;
  FG_TRY(fg_build_look_at(b, (size_t)b->n_in + (size_t)b->n_out + graph->n_initializer +
                                 graph->n_sparse_initializer));
  for (size_t i = 0; i < graph->n_node; i++)
    FG_TRY(fg_build_look_at(b, graph->node[i]->n_input + graph->node[i]->n_output));
  return FGSM_OK;
}

fgsm_status fg_build_scope(struct fg_build *b) {
  FG_TRY(count_names(b));
  FG_TRY(declare_data(b));
  FG_TRY(declare_nodes(b));
  FG_TRY(check_order(b));
  return mark_needed(b);
}
