/* A sweep: count, let rules rewrite what nobody has touched yet, put all of it into effect at once. */
#include "rewrite.h"

#include <stdlib.h>
#include <string.h>

static void count(struct fg_rewrite *rw) {
  const struct fg_graph *g = rw->g;
  for (fg_id i = 0; i < rw->n_values; i++)
    rw->alias[i] = i;
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_in; k++)
      if (g->nodes[i].in[k] != FG_ABSENT) {
        rw->uses[g->nodes[i].in[k]]++;
        rw->user[g->nodes[i].in[k]] = (fg_id)i;
      }
  for (int i = 0; i < g->n_outputs; i++) {
    rw->uses[g->outputs[i]]++;
    rw->output[g->outputs[i]] = true;
  }
}

fgsm_status fg_rewrite_begin(struct fg_graph *g, struct fg_rewrite *rw) {
  *rw = (struct fg_rewrite){.g = g};
  FG_TRY(fg_graph_compact(g));
  size_t n = (size_t)g->n_values + 1;
  rw->n_nodes = g->n_nodes;
  rw->n_values = g->n_values;
  rw->uses = calloc(n, sizeof *rw->uses);
  rw->user = calloc(n, sizeof *rw->user);
  rw->alias = calloc(n, sizeof *rw->alias);
  rw->output = calloc(n, sizeof *rw->output);
  rw->touched = calloc(n, sizeof *rw->touched);
  if (!rw->uses || !rw->user || !rw->alias || !rw->output || !rw->touched)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  count(rw);
  return fg_lineage_begin(g, &rw->lineage);
}

/* Follows the stand-ins to the last one. */
static fg_id stands_for(struct fg_rewrite *rw, fg_id id) {
  while (id != FG_ABSENT && id < rw->n_values && rw->alias[id] != id)
    id = rw->alias[id];
  return id;
}

fgsm_status fg_rewrite_end(struct fg_rewrite *rw, fgsm_status status) {
  struct fg_graph *g = rw->g;
  if (status == FGSM_OK && rw->changed) {
    for (int64_t i = 0; i < g->n_nodes; i++)
      for (int k = 0; k < g->nodes[i].n_in; k++)
        g->nodes[i].in[k] = stands_for(rw, g->nodes[i].in[k]);
    for (int i = 0; i < g->n_outputs; i++)
      g->outputs[i] = stands_for(rw, g->outputs[i]);
    for (fg_id i = 0; i < rw->n_values; i++)
      rw->alias[i] = stands_for(rw, i);
    status = fg_graph_compact(g);
    if (status == FGSM_OK)
      status = fg_lineage_settle(g, &rw->lineage, rw->alias);
  }
  fg_lineage_free(&rw->lineage);
  fg_arena_free(&rw->scratch);
  free(rw->touched);
  free(rw->output);
  free(rw->alias);
  free(rw->user);
  free(rw->uses);
  return status;
}

static bool untouched(const struct fg_rewrite *rw, const fg_id *ids, int n) {
  for (int k = 0; k < n; k++)
    if (ids[k] != FG_ABSENT && (ids[k] >= rw->n_values || rw->touched[ids[k]]))
      return false;
  return true;
}

bool fg_rewrite_fresh(const struct fg_rewrite *rw, int64_t at) {
  const struct fg_node *node = &rw->g->nodes[at];
  return at < rw->n_nodes && node->op != FG_OP_COUNT && untouched(rw, node->in, node->n_in) &&
         untouched(rw, node->out, node->n_out);
}

struct fg_node *fg_rewrite_only_feeds(const struct fg_rewrite *rw, fg_id value, enum fg_op op) {
  if (value == FG_ABSENT || value >= rw->n_values || rw->uses[value] != 1)
    return NULL;
  fg_id producer = fg_value(rw->g, value)->producer;
  return producer != FG_ABSENT && rw->g->nodes[producer].op == op && fg_rewrite_fresh(rw, producer)
             ? &rw->g->nodes[producer]
             : NULL;
}

struct fg_node *fg_rewrite_only_user(const struct fg_rewrite *rw, fg_id value) {
  if (value >= rw->n_values || rw->uses[value] != 1 || rw->output[value] ||
      !fg_rewrite_fresh(rw, rw->user[value]))
    return NULL;
  return &rw->g->nodes[rw->user[value]];
}

/* Constants and inputs stay what they are whoever reads them, and a constant may be read everywhere. */
static void touch(struct fg_rewrite *rw, const fg_id *ids, int n) {
  for (int k = 0; k < n; k++)
    if (ids[k] != FG_ABSENT && ids[k] < rw->n_values)
      rw->touched[ids[k]] = fg_value(rw->g, ids[k])->role == FG_ROLE_TEMP;
}

void fg_rewrite_touch(struct fg_rewrite *rw, const struct fg_node *node) {
  rw->changed = true;
  touch(rw, node->in, node->n_in);
  touch(rw, node->out, node->n_out);
}

void fg_rewrite_kill(struct fg_rewrite *rw, struct fg_node *node) {
  fg_rewrite_touch(rw, node);
  fg_node_kill(rw->g, node);
}

void fg_rewrite_result(struct fg_rewrite *rw, int64_t at, fg_id old, fg_id new) {
  struct fg_graph *g = rw->g;
  fg_rewrite_kill(rw, &g->nodes[at]);
  touch(rw, &new, 1);
  fg_id producer = g->values[new].producer;
  if (producer != FG_ABSENT)
    fg_rewrite_touch(rw, &g->nodes[producer]);
  if (!rw->output[old] || producer == FG_ABSENT || new < rw->n_values) {
    rw->alias[old] = new;
    return;
  }
  struct fg_node *node = &g->nodes[producer]; /* made just now: nobody reads it yet */
  for (int k = 0; k < node->n_out; k++)
    if (node->out[k] == new)
      node->out[k] = old;
  g->values[new].producer = FG_ABSENT;
  g->values[old].producer = producer;
}
