/* Steps shared by the rewriting passes. Ids that a caller may hold (outputs) survive every step. */
#include "rewrite.h"

int fg_rewrite_uses(const struct fg_graph *g, fg_id value) {
  int uses = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op != FG_OP_COUNT)
      for (int k = 0; k < g->nodes[i].n_in; k++)
        uses += g->nodes[i].in[k] == value;
  for (int i = 0; i < g->n_outputs; i++)
    uses += g->outputs[i] == value;
  return uses;
}

struct fg_node *fg_rewrite_only_user(struct fg_graph *g, fg_id value) {
  if (fg_rewrite_uses(g, value) != 1)
    return NULL;
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op != FG_OP_COUNT)
      for (int k = 0; k < g->nodes[i].n_in; k++)
        if (g->nodes[i].in[k] == value)
          return &g->nodes[i];
  return NULL;
}

void fg_rewrite_result(struct fg_graph *g, int64_t at, fg_id old, fg_id new) {
  bool is_output = false;
  for (int i = 0; i < g->n_outputs; i++)
    is_output |= g->outputs[i] == old;
  fg_node_kill(g, &g->nodes[at]);
  fg_id producer = g->values[new].producer;
  if (!is_output || producer == FG_ABSENT) {
    fg_graph_replace(g, old, new);
    return;
  }
  struct fg_node *node = &g->nodes[producer];
  for (int k = 0; k < node->n_out; k++)
    if (node->out[k] == new)
      node->out[k] = old;
  g->values[new].producer = FG_ABSENT;
  g->values[old].producer = producer;
  fg_graph_replace(g, new, old);
}
