/* The gradient as more graph. Walks the nodes backward; each node's rule (host/ops) appends the
 * nodes that turn the gradient of its outputs into the gradient of its inputs. Only what lies
 * between the objective and a wanted value is differentiated: an attack never computes a weight's
 * gradient. */
#include <stdlib.h>
#include <string.h>

#include "op.h"

/* Adds a contribution to a value's gradient. */
static fgsm_status accumulate(struct fg_graph *g, fg_id *grad, fg_id value, fg_id more) {
  struct fg_tensor a = fg_value_tensor(g, value), b = fg_value_tensor(g, more);
  if (!fg_same_shape(&a, &b)) {
    char want[128], got[128];
    return FG_FAIL(INTERNAL, "a gradient has shape %s where the value has %s",
                   fg_shape_text(b.rank, b.dim, got, sizeof got),
                   fg_shape_text(a.rank, a.dim, want, sizeof want));
  }
  if (grad[value] == FG_ABSENT)
    grad[value] = more;
  else
    FG_TRY(fg_binary(g, FG_BINARY_add, grad[value], more, &grad[value]));
  return FGSM_OK;
}

/* One node's rule: from the gradients of its outputs to those of its wanted inputs. */
static fgsm_status differentiate(struct fg_graph *g, int64_t at, fg_id *grad, const bool *depends) {
  struct fg_node node = g->nodes[at];
  fg_id out_grad[FG_MAX_OUT];
  bool wanted[FG_MAX_IN] = {false}, reached = false, any = false;
  for (int k = 0; k < FG_MAX_OUT; k++) {
    out_grad[k] = k < node.n_out && node.out[k] != FG_ABSENT ? grad[node.out[k]] : FG_ABSENT;
    reached |= out_grad[k] != FG_ABSENT;
  }
  for (int k = 0; k < node.n_in; k++) {
    wanted[k] = node.in[k] != FG_ABSENT && depends[node.in[k]];
    any |= wanted[k];
  }
  if (!reached || !any)
    return FGSM_OK;
  char text[256];
  fg_node_text(g, &node, text, sizeof text);
  if (!fg_op_defs[node.op]->grad)
    return FG_FAIL(UNSUPPORTED, "%s: no gradient passes through %s", text, fg_op_name(node.op));
  struct fg_grad_ctx ctx = {.g = g, .node = &node, .out_grad = out_grad, .wanted = wanted};
  for (int k = 0; k < FG_MAX_IN; k++)
    ctx.in_grad[k] = FG_ABSENT;
  struct fg_provenance outer = g->from;
  g->from = (struct fg_provenance){node.from.sources, true};
  fgsm_status status = fg_op_defs[node.op]->grad(&ctx);
  for (int k = 0; k < node.n_in && status == FGSM_OK; k++)
    if (wanted[k] && ctx.in_grad[k] != FG_ABSENT)
      status = accumulate(g, grad, node.in[k], ctx.in_grad[k]);
  g->from = outer;
  if (status != FGSM_OK) {
    char why[700];
    fg_error_copy(why, sizeof why);
    return fg_fail(status, __FILE__, __LINE__, "gradient of %s: %s", text, why);
  }
  return FGSM_OK;
}

void fg_mark_dependents(const struct fg_graph *g, bool *depends) {
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    bool any = false;
    for (int k = 0; k < node->n_in; k++)
      any |= node->in[k] != FG_ABSENT && depends[node->in[k]];
    for (int k = 0; k < node->n_out; k++)
      if (node->out[k] != FG_ABSENT)
        depends[node->out[k]] |= any && fg_type_is_real(g->values[node->out[k]].type);
  }
}

fgsm_status fg_grad(struct fg_graph *g, int n_of, const fg_id *of, const fg_id *seeds, int n_wrt,
                    const fg_id *wrt, fg_id *grads) {
  int64_t n_values = g->n_values, n_nodes = g->n_nodes;
  fgsm_status status = FGSM_OK;
  fg_id *grad = malloc((size_t)(n_values + 1) * sizeof *grad);
  bool *depends = calloc((size_t)n_values + 1, sizeof *depends);
  if (!grad || !depends) {
    status = FG_FAIL(MEMORY, "no memory for a graph pass");
    goto done;
  }
  for (int64_t i = 0; i < n_values; i++)
    grad[i] = FG_ABSENT;
  for (int j = 0; j < n_wrt; j++)
    depends[wrt[j]] = true;
  fg_mark_dependents(g, depends);
  for (int i = 0; i < n_of && status == FGSM_OK; i++)
    status = accumulate(g, grad, of[i], seeds[i]);
  for (int64_t i = n_nodes - 1; i >= 0 && status == FGSM_OK; i--)
    status = differentiate(g, i, grad, depends);
  for (int j = 0; j < n_wrt && status == FGSM_OK; j++)
    grads[j] = grad[wrt[j]];
done:
  free(depends);
  free(grad);
  return status;
}
