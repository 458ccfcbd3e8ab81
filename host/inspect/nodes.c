/* The graph as read, node by node: what each computes, holds and moves, forward and backward. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe.h"
#include "op.h"

/* What the node's gradient rule appends; nothing where it has none (which the gradient of the whole
 * reports). `work` is a copy of the graph to append to. */
static fgsm_status backward_of(struct fg_graph *work, const struct fg_node *node,
                               const bool *depends, struct fg_described_node *row) {
  fg_id out_grad[FG_MAX_OUT] = {FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT};
  bool wanted[FG_MAX_IN] = {false}, any = false;
  for (int k = 0; k < node->n_in; k++) {
    wanted[k] = node->in[k] != FG_ABSENT && depends[node->in[k]];
    any |= wanted[k];
  }
  if (!any || !fg_op_defs[node->op]->grad || !node->n_out || node->out[0] == FG_ABSENT)
    return FGSM_OK;
  const struct fg_value like = *fg_value(work, node->out[0]);
  if (!fg_type_is_real(like.type))
    return FGSM_OK;
  FG_TRY(fg_graph_input(work, "", like.type, like.rank, like.dim, &out_grad[0]));
  struct fg_grad_ctx ctx = {.g = work, .node = node, .out_grad = out_grad, .wanted = wanted};
  for (int k = 0; k < FG_MAX_IN; k++)
    ctx.in_grad[k] = FG_ABSENT;
  int64_t before = work->n_nodes;
  fgsm_status status = fg_op_defs[node->op]->grad(&ctx);
  if (status != FGSM_OK)
    return status == FGSM_UNSUPPORTED ? FGSM_OK : status;
  for (int64_t i = before; i < work->n_nodes; i++) {
    row->backward += fg_node_flops(work, &work->nodes[i]);
    row->backward_bytes +=
        fg_node_read_bytes(work, &work->nodes[i]) + fg_node_written_bytes(work, &work->nodes[i]);
  }
  return FGSM_OK;
}

/* Marks the float values that depend on an input. */
static void find_depends(const struct fg_graph *g, bool *depends) {
  for (int64_t i = 0; i < g->n_values; i++)
    depends[i] = g->values[i].role == FG_ROLE_INPUT && fg_type_is_real(g->values[i].type);
  fg_mark_dependents(g, depends);
}

static void describe_node(const struct fg_graph *g, fg_id at, bool *counted,
                          struct fg_described_node *row) {
  const struct fg_node *node = &g->nodes[at];
  *row = (struct fg_described_node){.node = at,
                                    .call = -1,
                                    .forward = fg_node_flops(g, node),
                                    .forward_bytes = fg_node_read_bytes(g, node) +
                                                     fg_node_written_bytes(g, node)};
  fg_node_what(node, row->what, sizeof row->what);
  if (node->n_out && node->out[0] != FG_ABSENT) {
    const struct fg_value *y = fg_value(g, node->out[0]);
    row->rank = y->rank;
    memcpy(row->dim, y->dim, sizeof row->dim);
  }
  for (int k = 0; k < node->n_in; k++) {
    fg_id id = node->in[k];
    if (!fg_value_is_constant(g, id) || counted[id] || !fg_type_is_real(fg_value(g, id)->type))
      continue;
    counted[id] = true;
    row->parameters += fg_value_count(g, id);
  }
}

fgsm_status fg_describe_nodes(struct fg_description *d) {
  const struct fg_graph *g = d->read.graph;
  struct fg_graph *work = NULL;
  bool *depends = calloc((size_t)g->n_values + 1, sizeof *depends);
  bool *counted = calloc((size_t)g->n_values + 1, sizeof *counted);
  d->nodes = calloc((size_t)g->n_nodes + 1, sizeof *d->nodes);
  fgsm_status status = fg_graph_copy(g, &work);
  if (status == FGSM_OK && (!depends || !counted || !d->nodes))
    status = FG_FAIL(MEMORY, "no memory to describe %lld nodes", (long long)g->n_nodes);
  if (status == FGSM_OK)
    find_depends(g, depends);
  for (int64_t i = 0; i < g->n_nodes && status == FGSM_OK; i++) {
    struct fg_node node = g->nodes[i];
    if (node.op == FG_OP_COUNT)
      continue;
    struct fg_described_node *row = &d->nodes[d->n_nodes++];
    describe_node(g, (fg_id)i, counted, row);
    status = backward_of(work, &node, depends, row);
    d->parameters += row->parameters;
    d->forward += row->forward;
    d->backward += row->backward;
    d->forward_bytes += row->forward_bytes;
    d->backward_bytes += row->backward_bytes;
  }
  fg_graph_destroy(work);
  free(depends);
  free(counted);
  return status;
}
