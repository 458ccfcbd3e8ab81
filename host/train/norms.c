/* BatchNormalization in its training form. The model's nodes normalise by given statistics; here
 * these become parameters, and the nodes take the batch's own instead, which the running ones
 * follow:  running += 0.1 (batch's - running), the variance unbiased (as PyTorch's layers do). */
#include <string.h>

#include "op.h"
#include "train.h"

static const double RUNNING_RATE = 0.1;

/* The parameter that the statistic is, or becomes; one for all nodes that name it. */
static fgsm_status statistic(struct fg_graph *g, const struct fg_node *node, fg_id *id) {
  struct fg_value *v = fg_value(g, *id);
  if (v->role == FG_ROLE_PARAM)
    return FGSM_OK;
  if (v->role != FG_ROLE_CONSTANT || !*v->name)
    return FG_FAIL(UNSUPPORTED,
                   "%s '%s': its statistics are computed, and training must be able to replace "
                   "them; export the model with its statistics as initializers",
                   fg_op_name(node->op), node->name);
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value(g, i)->role == FG_ROLE_PARAM && strcmp(fg_value(g, i)->name, v->name) == 0) {
      *id = i;
      return FGSM_OK;
    }
  v->role = FG_ROLE_PARAM;
  return FGSM_OK;
}

static fgsm_status follow(struct fg_graph *g, fg_id running, fg_id batch, double gain) {
  union fg_attrs a = {.average = {RUNNING_RATE, gain}};
  return fg_graph_add(g, FG_OP_average, fg_value(g, running)->name, &a, 2,
                      (fg_id[]){running, batch}, NULL);
}

/* The node normalises by the batch, of all ranks, from now on. */
static fgsm_status by_batch(struct fg_graph *g, int64_t at, int ranks, bool update) {
  struct fg_node node = g->nodes[at];
  const struct fg_value x = *fg_value(g, node.in[0]);
  struct fg_value like = *fg_value(g, node.in[3]);
  int64_t n = fg_value_count(g, node.in[0]) / x.dim[1] * ranks;
  if (n < 2)
    return FG_FAIL(USAGE,
                   "%s '%s' sees one value per channel: a batch has no statistics; raise "
                   "--batch",
                   fg_op_name(node.op), node.name);
  fg_id mean, var;
  like.role = FG_ROLE_TEMP;
  like.data = NULL;
  FG_TRY(fg_graph_value(g, &like, &mean));
  FG_TRY(fg_graph_value(g, &like, &var));
  fg_id running[2] = {node.in[3], node.in[4]};
  node.op = FG_OP_batch_norm_train;
  node.attrs.batch_norm.across = ranks > 1;
  node.n_in = 3;
  node.n_out = 3;
  node.out[1] = mean;
  node.out[2] = var;
  g->nodes[at] = node;
  fg_value(g, mean)->producer = fg_value(g, var)->producer = (fg_id)at;
  if (!update)
    return FGSM_OK;
  FG_TRY(follow(g, running[0], mean, 1));
  return follow(g, running[1], var, (double)n / (double)(n - 1));
}

fgsm_status fg_train_statistics(struct fg_graph *g) {
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 3; k < 5 && g->nodes[i].op == FG_OP_batch_norm; k++) {
      fg_id id = g->nodes[i].in[k];
      FG_TRY(statistic(g, &g->nodes[i], &id));
      g->nodes[i].in[k] = id;
    }
  return FGSM_OK;
}

fgsm_status fg_train_norms(struct fg_graph *g, int ranks, enum fg_norm_mode mode) {
  int64_t n = g->n_nodes;
  for (int64_t i = 0; i < n && mode != FG_NORM_FROZEN; i++)
    if (g->nodes[i].op == FG_OP_batch_norm)
      FG_TRY(by_batch(g, i, ranks, mode == FG_NORM_UPDATE));
  return FGSM_OK;
}
