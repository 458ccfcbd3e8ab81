/* The model as a graph for Graphviz: the operators as read, with shapes and work; values as edges
 * with their shapes; what one call computes in one box. Nothing from the file stands outside of
 * quotes: nodes are known by number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe.h"

enum { MOST_NAME = 120 };

/* The inside of a quoted label. Graphviz knows escapes (\N), entities (&lt;) and the quote. */
static void add_quoted(struct fg_text *t, const char *text) {
  char clean[MOST_NAME + 1];
  fg_clean_text(text, false, clean, sizeof clean);
  for (const char *c = clean; *c; c++)
    if (*c == '&')
      fg_text_add(t, "&amp;");
    else
      fg_text_add(t, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
}

static void add_shape(struct fg_text *t, const struct fg_value *v) {
  fg_text_add(t, "%s[", fg_type_name(v->type));
  for (int i = 0; i < v->rank; i++)
    fg_text_add(t, "%s%lld", i ? "," : "", (long long)v->dim[i]);
  fg_text_add(t, "]");
}

static void add_node(struct fg_text *t, const struct fg_description *d, int64_t row,
                     const char *indent) {
  const struct fg_described_node *n = &d->nodes[row];
  const struct fg_node *node = &d->read.graph->nodes[n->node];
  char forward[32], backward[32];
  fg_text_add(t, "%sn%d [label=\"", indent, (int)n->node);
  add_quoted(t, n->what);
  if (*node->name) {
    fg_text_add(t, "\\n");
    add_quoted(t, node->name);
  }
  if (node->n_out && node->out[0] != FG_ABSENT) {
    fg_text_add(t, "\\n");
    add_shape(t, fg_value(d->read.graph, node->out[0]));
  }
  if (n->parameters)
    fg_text_add(t, "\\n%lld parameters", (long long)n->parameters);
  fg_text_add(t, "\\nforward %s, backward %s", fg_scaled(n->forward, 1000, "FLOP", forward),
              fg_scaled(n->backward, 1000, "FLOP", backward));
  if (n->call < 0 && d->forward_plan.plan)
    fg_text_add(t, "\\nin no call");
  fg_text_add(t, "\"];\n");
}

/* A box around the nodes that one call computes, where they are several. `next` chains rows. */
static void add_call(struct fg_text *t, const struct fg_description *d, int call, int64_t first,
                     const int64_t *next) {
  const struct fg_described_call *c = &d->forward_plan.calls[call];
  char flops[32], bytes[32];
  if (first < 0)
    return;
  if (next[first] < 0) {
    add_node(t, d, first, "  ");
    return;
  }
  fg_text_add(
      t, "  subgraph cluster_%d {\n    style=filled; fillcolor=\"#dfe8f5\";\n    label=\"call %d: ",
      call, call + 1);
  add_quoted(t, c->what);
  fg_text_add(t, "\\n%s, %s\";\n", fg_scaled(c->cost.flops, 1000, "FLOP", flops),
              fg_scaled(c->cost.read_bytes + c->cost.written_bytes, 1024, "B", bytes));
  for (int64_t row = first; row >= 0; row = next[row])
    add_node(t, d, row, "    ");
  fg_text_add(t, "  }\n");
}

static fgsm_status add_nodes(struct fg_text *t, const struct fg_description *d) {
  int n_calls = d->forward_plan.info.n_calls;
  int64_t *first = malloc((size_t)(n_calls + 1) * sizeof *first);
  int64_t *next = malloc((size_t)(d->n_nodes + 1) * sizeof *next), alone = -1;
  if (!first || !next) {
    free(next);
    free(first);
    return FG_FAIL(MEMORY, "no memory to draw %lld nodes", (long long)d->n_nodes);
  }
  for (int i = 0; i < n_calls; i++)
    first[i] = -1;
  for (int64_t row = d->n_nodes - 1; row >= 0; row--) {
    int64_t *head = d->nodes[row].call < 0 ? &alone : &first[d->nodes[row].call];
    next[row] = *head;
    *head = row;
  }
  for (int i = 0; i < n_calls; i++)
    add_call(t, d, i, first[i], next);
  for (int64_t row = alone; row >= 0; row = next[row])
    add_node(t, d, row, "  ");
  free(next);
  free(first);
  return FGSM_OK;
}

static void add_port(struct fg_text *t, const struct fg_graph *g, char kind, int i,
                     const struct fg_onnx_port *port, fg_id id) {
  if (id == FG_ABSENT)
    return;
  fg_text_add(t, "  %c%d [shape=ellipse, label=\"", kind, i);
  add_quoted(t, port->name);
  fg_text_add(t, "\\n");
  add_shape(t, fg_value(g, id));
  fg_text_add(t, "\"];\n");
}

/* The end of an edge where the value comes from: a node or an input of the model; false for what is
 * constant. */
static bool add_maker(struct fg_text *t, const struct fg_description *d, fg_id id) {
  const struct fg_value *v = fg_value(d->read.graph, id);
  if (v->producer != FG_ABSENT) {
    fg_text_add(t, "  n%d", (int)v->producer);
    return true;
  }
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx); i++)
    if (d->read.inputs[i] == id) {
      fg_text_add(t, "  x%d", i);
      return true;
    }
  return false;
}

static void end_edge(struct fg_text *t, const struct fg_description *d, fg_id id) {
  fg_text_add(t, " [label=\"");
  add_shape(t, fg_value(d->read.graph, id));
  fg_text_add(t, "\"];\n");
}

static void add_edges(struct fg_text *t, const struct fg_description *d) {
  for (int64_t row = 0; row < d->n_nodes; row++) {
    const struct fg_node *node = &d->read.graph->nodes[d->nodes[row].node];
    for (int k = 0; k < node->n_in; k++)
      if (node->in[k] != FG_ABSENT && add_maker(t, d, node->in[k])) {
        fg_text_add(t, " -> n%d", (int)d->nodes[row].node);
        end_edge(t, d, node->in[k]);
      }
  }
  for (int i = 0; i < fg_onnx_n_outputs(d->onnx); i++)
    if (d->read.outputs[i] != FG_ABSENT && add_maker(t, d, d->read.outputs[i])) {
      fg_text_add(t, " -> y%d", i);
      end_edge(t, d, d->read.outputs[i]);
    }
}

fgsm_status fg_describe_dot(const struct fg_description *d, char **text) {
  struct fg_text t = {0};
  fg_text_add(&t, "digraph model {\n  graph [labelloc=t, label=\"");
  add_quoted(&t, d->path);
  fg_text_add(&t, ", batch %lld\"];\n", (long long)d->batch);
  fg_text_add(&t, "  node [shape=box, style=filled, fillcolor=white];\n");
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx); i++)
    add_port(&t, d->read.graph, 'x', i, fg_onnx_input(d->onnx, i), d->read.inputs[i]);
  for (int i = 0; i < fg_onnx_n_outputs(d->onnx); i++)
    add_port(&t, d->read.graph, 'y', i, fg_onnx_output(d->onnx, i), d->read.outputs[i]);
  fgsm_status status = add_nodes(&t, d);
  add_edges(&t, d);
  fg_text_add(&t, "}\n");
  if (status == FGSM_OK && t.failed)
    status = FG_FAIL(MEMORY, "no memory for the graph");
  if (status != FGSM_OK) {
    fg_text_free(&t);
    return status;
  }
  *text = t.data;
  return FGSM_OK;
}
