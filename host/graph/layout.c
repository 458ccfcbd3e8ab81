/* Chooses where values lie in the device's layout: channel blocks, or channels last. Convolutions ask for
 * it; everything else follows what reaches it, where its kernel takes it so; outputs of the graph are
 * plain. A reorder stands wherever the two worlds meet, at most one per value and direction; a
 * constant's is done at once. */
#include <stdlib.h>
#include <string.h>

#include "op.h"

struct layouts {
  struct fg_graph *g;
  struct fg_device *device;
  fg_id *plain, *lying; /* per value: where that form of it can be read; FG_ABSENT: not made yet */
};

static bool asks(enum fg_op op) {
  return op == FG_OP_conv || op == FG_OP_conv_grad_input || op == FG_OP_conv_grad_weight;
}

/* In blocks lie activations; a kernel has an order of its own for weights. */
static bool is_weight(enum fg_op op, int slot, bool is_out) {
  switch (op) {
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
    return !is_out && slot == 1;
  case FG_OP_conv_grad_weight:
    return is_out;
  default:
    return false;
  }
}

/* Whether a tensor of the call could lie so. What the step reads and writes is plain but for its dy, and
 * an index into that. */
static bool can_lie(const struct layouts *l, const struct fg_node *node, int slot, bool is_out,
                    fg_id id) {
  if (id == FG_ABSENT || fg_value(l->g, id)->rank != 4)
    return false;
  int64_t channels = fg_value(l->g, id)->dim[1];
  bool last = l->device->layout == FG_NHWC;
  if (node->op == FG_OP_conv_grad_input_step && (is_out || (slot != 0 && slot != 7)))
    return false;
  return last || (!is_weight(node->op, slot, is_out) && channels > 0 &&
                  channels % l->device->channel_block == 0);
}

/* Fills the call with the layout that the node would like; false if it is to work on plain values. */
static bool propose(const struct layouts *l, const struct fg_node *node, struct fg_call *call) {
  bool reached = asks(node->op);
  fg_node_call(l->g, node, call);
  for (int k = 0; k < node->n_in; k++) {
    bool can = can_lie(l, node, k, false, node->in[k]);
    call->in[k].layout = can ? l->device->layout : FG_PLAIN;
    reached |= can && l->lying[node->in[k]] != FG_ABSENT;
  }
  for (int k = 0; k < node->n_out; k++)
    call->out[k].layout = can_lie(l, node, k, true, node->out[k]) ? l->device->layout : FG_PLAIN;
  if (node->op == FG_OP_conv && call->in[3].type != FG_NONE && node->n_in > 3)
    call->in[3].layout = call->out[0].layout;
  return reached && l->device->backend->takes_layout(l->device, call);
}

/* A 4-D constant with its channels last. */
static fgsm_status turn(struct fg_graph *g, fg_id id, fg_id *out) {
  const struct fg_value v = *fg_value(g, id);
  const int64_t n = v.dim[0], c = v.dim[1], area = v.dim[2] * v.dim[3];
  const size_t size = fg_type_size(v.type), bytes = fg_value_bytes(g, id);
  char *turned = fg_arena_alloc(&g->arena, bytes ? bytes : 1);
  if (!turned)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < c; k++)
      for (int64_t at = 0; at < area; at++)
        memcpy(turned + (size_t)((i * area + at) * c + k) * size,
               (const char *)v.data + (size_t)((i * c + k) * area + at) * size, size);
  FG_TRY(fg_graph_value(g, &v, out));
  fg_value(g, *out)->role = FG_ROLE_CONSTANT;
  fg_value(g, *out)->data = turned;
  return FGSM_OK;
}

/* The value in that layout, by a reorder if it is not there yet. */
static fgsm_status obtain(struct layouts *l, fg_id id, enum fg_layout layout, fg_id *out) {
  fg_id *have = layout == FG_PLAIN ? l->plain : l->lying;
  if (have[id] == FG_ABSENT) {
    fg_id source = layout == FG_PLAIN ? l->lying[id] : l->plain[id], made[FG_MAX_OUT];
    if (layout == FG_NHWC && fg_value_is_constant(l->g, source))
      FG_TRY(turn(l->g, source, made));
    else
      FG_TRY(
          fg_graph_add(l->g, FG_OP_reorder, fg_value(l->g, source)->name, NULL, 1, &source, made));
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

/* The node writes out[k] in the device's layout. An output of the graph stays plain under its id, so it is
 * written to a new value and reordered back into the old one. */
static fgsm_status lay_result(struct layouts *l, int64_t at, int k) {
  struct fg_graph *g = l->g;
  fg_id id = g->nodes[at].out[k];
  if (!is_output(g, id)) {
    fg_value(g, id)->layout = l->device->layout;
    l->lying[id] = id;
    return FGSM_OK;
  }
  struct fg_value like = *fg_value(g, id);
  fg_id lying, made[FG_MAX_OUT];
  FG_TRY(fg_graph_value(g, &like, &lying));
  fg_value(g, lying)->layout = l->device->layout;
  fg_value(g, lying)->producer = (fg_id)at;
  g->nodes[at].out[k] = lying;
  FG_TRY(fg_graph_add(g, FG_OP_reorder, like.name, NULL, 1, &lying, made));
  struct fg_node *reorder = &g->nodes[g->n_nodes - 1];
  reorder->out[0] = id;
  fg_value(g, made[0])->producer = FG_ABSENT;
  fg_value(g, id)->producer = (fg_id)(g->n_nodes - 1);
  l->lying[id] = lying;
  l->plain[id] = id;
  return FGSM_OK;
}

static fgsm_status place(struct layouts *l, int64_t at) {
  struct fg_call call;
  struct fg_node node = l->g->nodes[at];
  l->g->from = node.from; /* a reorder belongs to the first that asks for it */
  bool lies = propose(l, &node, &call);
  for (int k = 0; k < node.n_in; k++)
    if (node.in[k] != FG_ABSENT) {
      fg_id form;
      FG_TRY(obtain(l, node.in[k], lies ? call.in[k].layout : FG_PLAIN, &form));
      l->g->nodes[at].in[k] = form;
    }
  for (int k = 0; k < node.n_out; k++)
    if (node.out[k] != FG_ABSENT) {
      if (lies && call.out[k].layout != FG_PLAIN)
        FG_TRY(lay_result(l, at, k));
      else
        l->plain[node.out[k]] = node.out[k];
    }
  return FGSM_OK;
}

fgsm_status fg_layout(struct fg_graph *g, struct fg_device *device) {
  FG_TRY(fg_graph_compact(g));
  if (device->layout == FG_PLAIN || !device->backend->takes_layout)
    return FGSM_OK;
  FG_TRY(device->backend->enter(device)); /* it may time what it chooses from */
  int64_t n_nodes = g->n_nodes;
  struct layouts l = {.g = g, .device = device};
  fgsm_status status = FGSM_OK;
  l.plain = malloc((size_t)(g->n_values + 1) * sizeof *l.plain);
  l.lying = malloc((size_t)(g->n_values + 1) * sizeof *l.lying);
  if (!l.plain || !l.lying) {
    status = FG_FAIL(MEMORY, "no memory for a graph pass");
    goto done;
  }
  for (fg_id i = 0; i < g->n_values; i++) {
    l.plain[i] = g->values[i].producer == FG_ABSENT ? i : FG_ABSENT;
    l.lying[i] = FG_ABSENT;
  }
  struct fg_provenance outer = g->from;
  for (int64_t i = 0; i < n_nodes && status == FGSM_OK; i++)
    status = place(&l, i);
  g->from = outer;
  if (status == FGSM_OK)
    status = fg_graph_compact(g);
done:
  free(l.lying);
  free(l.plain);
  return status;
}
