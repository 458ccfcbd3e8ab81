/* Chooses where values lie in channel blocks. Convolutions ask for blocks; operators that work
 * place by place follow what reaches them; everything else, and every output of the graph, is
 * plain. A reorder stands wherever the two worlds meet, at most one per value and direction. */
#include <stdlib.h>
#include <string.h>

#include "op.h"

struct layouts {
  struct fg_graph *g;
  struct fg_device *device;
  int64_t n_values;
  fg_id *plain,
      *blocked; /* per value: where that form of it can be read; FG_ABSENT: not made yet */
};

enum stance { PLAIN, FOLLOWS, ASKS };

static enum stance stance(const struct fg_graph *g, const struct fg_node *node) {
  switch (node->op) {
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
  case FG_OP_conv_grad_weight:
    return ASKS;
  case FG_OP_max_pool:
  case FG_OP_max_pool_grad:
  case FG_OP_avg_pool:
  case FG_OP_avg_pool_grad:
  case FG_OP_unary:
  case FG_OP_unary_grad:
  case FG_OP_conv_grad_input_step:
    return FOLLOWS;
  case FG_OP_binary: {
    struct fg_tensor a = fg_value_tensor(g, node->in[0]), b = fg_value_tensor(g, node->in[1]);
    return fg_same_shape(&a, &b) ? FOLLOWS : PLAIN;
  }
  case FG_OP_batch_norm_train:
  case FG_OP_batch_norm_train_grad:
    return FOLLOWS;
  case FG_OP_affine:
    return node->attrs.affine.axis == 1 ? FOLLOWS : PLAIN;
  case FG_OP_concat:
    return node->attrs.axis.axis == 1 ? FOLLOWS : PLAIN;
  default:
    return PLAIN;
  }
}

/* Whether a tensor of the call could lie in blocks: activations, never weights or vectors. */
static bool blockable(const struct layouts *l, const struct fg_node *node, int slot, bool is_out,
                      fg_id id) {
  if (id == FG_ABSENT)
    return false;
  const struct fg_value *v = fg_value(l->g, id);
  if (v->rank != 4 || v->dim[1] == 0 || v->dim[1] % l->device->channel_block)
    return false;
  switch (node->op) {
  case FG_OP_conv:
    return is_out || slot == 0 || slot == 3;
  case FG_OP_conv_grad_input:
    return is_out || slot != 1;
  case FG_OP_conv_grad_input_step:
    return !is_out && slot == 0;
  case FG_OP_conv_grad_weight:
    return !is_out;
  case FG_OP_affine:
    return is_out || slot == 0;
  default:
    return true;
  }
}

/* Whether the operator takes tensors that have no blocks beside those that lie in them: vectors of one
 * number per channel, and what the attack's step reads and writes. */
static bool takes_part(enum fg_op op) {
  return op == FG_OP_affine || op == FG_OP_batch_norm_train || op == FG_OP_batch_norm_train_grad ||
         op == FG_OP_conv_grad_input_step;
}

/* Fills the call with the blocks that the node would like; false if there are none to be had. */
static bool propose(const struct layouts *l, const struct fg_node *node, struct fg_call *call) {
  enum stance s = stance(l->g, node);
  bool reached = s == ASKS, all = true, any = false;
  if (s == PLAIN)
    return false;
  fg_node_call(l->g, node, call);
  for (int k = 0; k < node->n_in; k++) {
    bool can = blockable(l, node, k, false, node->in[k]);
    call->in[k].layout = can ? FG_BLOCKED : FG_PLAIN;
    reached |= can && l->blocked[node->in[k]] != FG_ABSENT;
    all &= can || node->in[k] == FG_ABSENT;
    any |= can;
  }
  for (int k = 0; k < node->n_out; k++) {
    bool can = blockable(l, node, k, true, node->out[k]);
    call->out[k].layout = can ? FG_BLOCKED : FG_PLAIN;
    all &= can || node->out[k] == FG_ABSENT;
    any |= can;
  }
  if (node->op == FG_OP_conv && call->in[3].type != FG_NONE && node->n_in > 3)
    call->in[3].layout = call->out[0].layout;
  if (s == FOLLOWS && !takes_part(node->op) && !all)
    return false;
  return reached && any && l->device->backend->takes_blocked(l->device, call);
}

/* The value in that layout, by a reorder if it is not there yet. */
static fgsm_status obtain(struct layouts *l, fg_id id, enum fg_layout layout, fg_id *out) {
  fg_id *have = layout == FG_BLOCKED ? l->blocked : l->plain;
  if (have[id] == FG_ABSENT) {
    fg_id source = layout == FG_BLOCKED ? l->plain[id] : l->blocked[id], made[FG_MAX_OUT];
    FG_TRY(fg_graph_add(l->g, FG_OP_reorder, fg_value(l->g, source)->name, NULL, 1, &source, made));
    fg_value(l->g, made[0])->layout = layout;
    have[id] = made[0];
  }
  *out = have[id];
  return FGSM_OK;
}

static bool is_output(const struct fg_graph *g, fg_id id) {
  for (int i = 0; i < g->n_outputs; i++)
    if (g->outputs[i] == id)
      return true;
  return false;
}

/* The node writes out[k] in blocks. An output of the graph stays plain under its id, so it is
 * written to a new value and reordered back into the old one. */
static fgsm_status block_result(struct layouts *l, int64_t at, int k) {
  struct fg_graph *g = l->g;
  fg_id id = g->nodes[at].out[k];
  if (!is_output(g, id)) {
    fg_value(g, id)->layout = FG_BLOCKED;
    l->blocked[id] = id;
    return FGSM_OK;
  }
  struct fg_value like = *fg_value(g, id);
  fg_id lying, made[FG_MAX_OUT];
  FG_TRY(fg_graph_value(g, &like, &lying));
  fg_value(g, lying)->layout = FG_BLOCKED;
  fg_value(g, lying)->producer = (fg_id)at;
  g->nodes[at].out[k] = lying;
  FG_TRY(fg_graph_add(g, FG_OP_reorder, like.name, NULL, 1, &lying, made));
  struct fg_node *reorder = &g->nodes[g->n_nodes - 1];
  reorder->out[0] = id;
  fg_value(g, made[0])->producer = FG_ABSENT;
  fg_value(g, id)->producer = (fg_id)(g->n_nodes - 1);
  l->blocked[id] = lying;
  l->plain[id] = id;
  return FGSM_OK;
}

static fgsm_status place(struct layouts *l, int64_t at) {
  struct fg_call call;
  struct fg_node node = l->g->nodes[at];
  l->g->from = node.from; /* a reorder belongs to the first that asks for it */
  bool blocks = propose(l, &node, &call);
  for (int k = 0; k < node.n_in; k++)
    if (node.in[k] != FG_ABSENT) {
      fg_id form;
      FG_TRY(obtain(l, node.in[k], blocks ? call.in[k].layout : FG_PLAIN, &form));
      l->g->nodes[at].in[k] = form;
    }
  for (int k = 0; k < node.n_out; k++)
    if (node.out[k] != FG_ABSENT) {
      if (blocks && call.out[k].layout == FG_BLOCKED)
        FG_TRY(block_result(l, at, k));
      else
        l->plain[node.out[k]] = node.out[k];
    }
  return FGSM_OK;
}

fgsm_status fg_layout(struct fg_graph *g, struct fg_device *device) {
  FG_TRY(fg_graph_compact(g));
  if (!device->channel_block || !device->backend->takes_blocked)
    return FGSM_OK;
  int64_t n_nodes = g->n_nodes;
  struct layouts l = {.g = g, .device = device, .n_values = g->n_values};
  fgsm_status status = FGSM_OK;
  l.plain = malloc((size_t)(g->n_values + 1) * sizeof *l.plain);
  l.blocked = malloc((size_t)(g->n_values + 1) * sizeof *l.blocked);
  if (!l.plain || !l.blocked) {
    status = FG_FAIL(MEMORY, "no memory for a graph pass");
    goto done;
  }
  for (fg_id i = 0; i < g->n_values; i++) {
    l.plain[i] = g->values[i].producer == FG_ABSENT ? i : FG_ABSENT;
    l.blocked[i] = FG_ABSENT;
  }
  struct fg_provenance outer = g->from;
  for (int64_t i = 0; i < n_nodes && status == FGSM_OK; i++)
    status = place(&l, i);
  g->from = outer;
  if (status == FGSM_OK)
    status = fg_graph_compact(g);
done:
  free(l.blocked);
  free(l.plain);
  return status;
}
