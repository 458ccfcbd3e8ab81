/* Building: one door, fg_graph_add, through which every node enters. It infers shapes at once (a
 * graph is concrete from its first node on) and computes what is constant at once, so that the
 * shape arithmetic of exporters is gone before any pass runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

static const int max_in[FG_OP_COUNT] = {
#define OP(name, most, n_out, trait) [FG_OP_##name] = most,
#include "ops.def"
#undef OP
};
static const int n_outs[FG_OP_COUNT] = {
#define OP(name, most, n_out, trait) [FG_OP_##name] = n_out,
#include "ops.def"
#undef OP
};

/* Puts the node in front of what its rule said. */
static fgsm_status blame(const struct fg_node *node, fgsm_status status) {
  char why[800];
  fg_error_copy(why, sizeof why);
  return fg_fail(status, __FILE__, __LINE__, "%s%s%s%s: %s", fg_op_name(node->op),
                 *node->name ? " '" : "", node->name, *node->name ? "'" : "", why);
}

/* Room and work for constants that are computed, beside some times what was given: a small file
 * whose nodes double a constant again and again, or convolve large ones, must not fill the memory
 * or take for ever to load. */
static const double MOST_COMPUTED_BYTES = 128 << 20, MOST_COMPUTED_FLOPS = 5e8;

/* What computing takes the oracle, which is slow: moving an element costs as much as a few flops. */
static double flops_of(const struct fg_graph *g, const struct fg_node *node, double out_elements) {
  double flops = fg_op_defs[node->op]->flops ? fg_op_defs[node->op]->flops(g, node) : 0;
  return flops > 4 * out_elements ? flops : 4 * out_elements;
}

/* Constants that grow when computed (a small scalar expanded to gigabytes) stay nodes. */
static bool worth_folding(struct fg_graph *g, const struct fg_node *node,
                          const struct fg_value *out) {
  double in_bytes = 0, out_bytes = 0, elements = 0;
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i] != FG_ABSENT) {
      if (!fg_value_is_constant(g, node->in[i]))
        return false;
      in_bytes += (double)fg_value_bytes(g, node->in[i]);
    }
  for (int i = 0; i < node->n_out; i++) {
    double n = 1;
    for (int k = 0; k < out[i].rank; k++)
      n *= (double)out[i].dim[k];
    elements += n;
    out_bytes += n * (double)fg_type_size(out[i].type);
  }
  double given = (double)g->given_bytes;
  if (g->arena.limit_bytes &&
      out_bytes > ((double)g->arena.limit_bytes - (double)g->arena.total_bytes) / 2)
    return false;
  if (node->n_in == 0 || out_bytes > 4 * in_bytes + (1 << 20) ||
      (double)g->computed_bytes + out_bytes > 4 * given + MOST_COMPUTED_BYTES)
    return false;
  double flops = g->computed_flops + flops_of(g, node, elements);
  if (flops > 8 * given + MOST_COMPUTED_FLOPS)
    return false;
  g->computed_flops = flops;
  return true;
}

/* Runs a node whose inputs are constants on the oracle; its outputs become constants. */
static fgsm_status compute(struct fg_graph *g, const struct fg_node *node) {
  const struct fg_kernel *kernel = fg_ref.kernels[node->op];
  struct fg_device *device = NULL;
  struct fg_call call;
  void *scratch = NULL;
  if (node->op == FG_OP_reshape) {
    g->values[node->out[0]].data = g->values[node->in[0]].data;
    g->values[node->out[0]].lent = g->values[node->in[0]].lent;
    g->values[node->out[0]].role = FG_ROLE_CONSTANT;
    return FGSM_OK;
  }
  if (!kernel->run)
    return FG_FAIL(UNSUPPORTED, "%s cannot be computed while loading", fg_op_name(node->op));
  FG_TRY(fg_ref.open(0, 1, &device));
  fg_node_call(g, node, &call);
  for (int i = 0; i < node->n_out; i++) {
    if (node->out[i] == FG_ABSENT)
      continue;
    size_t bytes = fg_value_bytes(g, node->out[i]);
    g->computed_bytes += bytes;
    if (!(call.out[i].data = fg_arena_alloc(&g->arena, bytes ? bytes : 1))) {
      fg_ref.close(device);
      return FGSM_MEMORY;
    }
  }
  fgsm_status status = kernel->prepare ? kernel->prepare(&call, device) : FGSM_OK;
  if (status == FGSM_OK && call.scratch_bytes &&
      !(scratch = aligned_alloc(64, (call.scratch_bytes + 63) / 64 * 64)))
    status = FG_FAIL(MEMORY, "no memory for %zu bytes of scratch", call.scratch_bytes);
  if (status == FGSM_OK)
    status = kernel->run(&call, scratch, NULL);
  if (kernel->release)
    kernel->release(&call);
  free(scratch);
  fg_ref.close(device);
  if (status != FGSM_OK)
    return status;
  for (int i = 0; i < node->n_out; i++)
    if (node->out[i] != FG_ABSENT) {
      g->values[node->out[i]].data = call.out[i].data;
      g->values[node->out[i]].role = FG_ROLE_CONSTANT;
    }
  return FGSM_OK;
}

fgsm_status fg_graph_add(struct fg_graph *g, enum fg_op op, const char *name,
                         const union fg_attrs *attrs, int n_in, const fg_id *in, fg_id *out) {
  struct fg_node node = {.op = op, .n_in = n_in, .n_out = n_outs[op], .name = ""};
  node.from = g->from;
  struct fg_value value[FG_MAX_OUT];
  memset(value, 0, sizeof value);
  if (name && *name && !(node.name = fg_arena_text(&g->arena, name)))
    return FGSM_MEMORY;
  if (n_in > max_in[op])
    return FG_FAIL(INTERNAL, "%s takes at most %d inputs, not %d", fg_op_name(op), max_in[op],
                   n_in);
  for (int i = 0; i < n_in; i++) {
    if (in[i] != FG_ABSENT && (in[i] < 0 || in[i] >= g->n_values))
      return FG_FAIL(INTERNAL, "%s: input %d is no value of the graph", fg_op_name(op), i);
    node.in[i] = in[i];
  }
  for (int i = n_in; i < FG_MAX_IN; i++)
    node.in[i] = FG_ABSENT; /* a trailing optional input may be left out of the list */
  if (attrs)
    node.attrs = *attrs;
  fgsm_status status = fg_op_defs[op]->infer(g, &node, value);
  if (status != FGSM_OK)
    return blame(&node, status);
  for (int i = 0; i < FG_MAX_OUT; i++) {
    node.out[i] = FG_ABSENT;
    if (i < node.n_out && value[i].type != FG_NONE) {
      value[i].name = "";
      status = fg_graph_value(g, &value[i], &node.out[i]);
      if (status != FGSM_OK)
        return blame(&node, status);
    }
    if (out)
      out[i] = node.out[i];
  }
  if (node.n_out && op != FG_OP_reorder && worth_folding(g, &node, value)) {
    status = compute(g, &node);
    return status == FGSM_OK ? FGSM_OK : blame(&node, status);
  }
  FG_TRY(fg_grow(&g->nodes, &g->nodes_capacity, g->n_nodes + 1, sizeof *g->nodes));
  for (int i = 0; i < node.n_out; i++)
    if (node.out[i] != FG_ABSENT)
      g->values[node.out[i]].producer = (fg_id)g->n_nodes;
  g->nodes[g->n_nodes++] = node;
  return FGSM_OK;
}

/* ---- short forms */

static fgsm_status add1(struct fg_graph *g, enum fg_op op, const union fg_attrs *attrs, int n_in,
                        const fg_id *in, fg_id *out) {
  fg_id all[FG_MAX_OUT];
  FG_TRY(fg_graph_add(g, op, "", attrs, n_in, in, all));
  *out = all[0];
  return FGSM_OK;
}

fgsm_status fg_unary(struct fg_graph *g, enum fg_unary_kind kind, double alpha, double beta,
                     fg_id x, fg_id *out) {
  union fg_attrs a = {.unary = {kind, alpha, beta}};
  return add1(g, FG_OP_unary, &a, 1, &x, out);
}

fgsm_status fg_binary(struct fg_graph *g, enum fg_binary_kind kind, fg_id a, fg_id b, fg_id *out) {
  union fg_attrs attrs = {.binary = {kind}};
  return add1(g, FG_OP_binary, &attrs, 2, (fg_id[]){a, b}, out);
}

static union fg_attrs shape_attrs(int rank, const int64_t *dim) {
  union fg_attrs a = {.shape = {.rank = rank}};
  if (rank > 0 && rank <= FG_MAX_RANK)
    memcpy(a.shape.dim, dim, (size_t)rank * sizeof *dim);
  return a;
}

fgsm_status fg_reshape(struct fg_graph *g, fg_id x, int rank, const int64_t *dim, fg_id *out) {
  union fg_attrs a = shape_attrs(rank, dim);
  return add1(g, FG_OP_reshape, &a, 1, &x, out);
}

fgsm_status fg_expand(struct fg_graph *g, fg_id x, int rank, const int64_t *dim, fg_id *out) {
  union fg_attrs a = shape_attrs(rank, dim);
  return add1(g, FG_OP_expand, &a, 1, &x, out);
}

fgsm_status fg_transpose(struct fg_graph *g, fg_id x, const int *perm, fg_id *out) {
  union fg_attrs a = {.transpose = {{0}}};
  memcpy(a.transpose.perm, perm, (size_t)g->values[x].rank * sizeof *perm);
  return add1(g, FG_OP_transpose, &a, 1, &x, out);
}

fgsm_status fg_reduce(struct fg_graph *g, enum fg_reduce_kind kind, fg_id x, uint32_t axes,
                      bool keep, fg_id *out) {
  union fg_attrs a = {.reduce = {kind, axes, keep}};
  return add1(g, FG_OP_reduce, &a, 1, &x, out);
}

fgsm_status fg_matmul(struct fg_graph *g, fg_id a, fg_id b, bool trans_a, bool trans_b,
                      double alpha, fg_id *out) {
  union fg_attrs attrs = {.matmul = {.trans_a = trans_a, .trans_b = trans_b, .alpha = alpha}};
  return add1(g, FG_OP_matmul, &attrs, 2, (fg_id[]){a, b}, out);
}

fgsm_status fg_cast(struct fg_graph *g, fg_id x, enum fg_type type, double divisor, fg_id *out) {
  if (g->values[x].type == type && divisor == 0) {
    *out = x;
    return FGSM_OK;
  }
  union fg_attrs a = {.cast = {.type = type, .divisor = divisor}};
  return add1(g, FG_OP_cast, &a, 1, &x, out);
}

fgsm_status fg_sum_to(struct fg_graph *g, fg_id x, fg_id like, fg_id *out) {
  struct fg_value from = g->values[x], to = g->values[like];
  uint32_t axes = 0;
  int lead = from.rank - to.rank;
  for (int i = 0; i < from.rank; i++)
    if (i < lead || (to.dim[i - lead] == 1 && from.dim[i] != 1))
      axes |= 1u << i;
  if (axes)
    FG_TRY(fg_reduce(g, FG_REDUCE_sum, x, axes, true, &x));
  if (lead)
    FG_TRY(fg_reshape(g, x, to.rank, to.dim, &x));
  *out = x;
  return FGSM_OK;
}

void fg_find_logits(const struct fg_graph *g, fg_id value, fg_id *logits, bool *found) {
  *logits = value;
  *found = false;
  for (fg_id at = value; at != FG_ABSENT;) {
    fg_id producer = g->values[at].producer;
    if (producer == FG_ABSENT)
      return;
    const struct fg_node *node = &g->nodes[producer];
    const struct fg_value *x = &g->values[node->in[0]];
    if (node->op == FG_OP_softmax) {
      if (node->attrs.softmax.axis == 1 || node->attrs.softmax.axis == x->rank - 1) {
        *logits = node->in[0];
        *found = true;
      }
      return;
    }
    if (node->op != FG_OP_reshape && node->op != FG_OP_cast)
      return;
    at = node->in[0];
  }
}
