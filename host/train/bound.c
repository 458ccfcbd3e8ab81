/* Spectral normalisation: after each step  W <- W / max(1, sigma / limit)  (Gouk et al. 2021), sigma
 * the largest singular value of the operator that the layer is, a convolution on its own input's size
 * and not its reshaped kernel. One power iteration a step from the last one's direction v:
 *
 *   u = W v, sigma = |u|, v <- W'u / |W'u|     (Miyato et al. 2018)
 *
 * where W'u is the gradient of <u, W v> with respect to v. */
#include <stdio.h>
#include <string.h>

#include "engine.h"

static const union fg_attrs REPLACE = {.average = {1, 1}};

static fgsm_status norm(struct fg_graph *g, fg_id x, fg_id *out) {
  FG_TRY(fg_binary(g, FG_BINARY_mul, x, x, out));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, *out, (1u << fg_value(g, x)->rank) - 1, true, out));
  return fg_unary(g, FG_UNARY_sqrt, 0, 0, *out, out);
}

/* The last direction, an input of one sample of what the layer reads. */
static fgsm_status direction(struct fg_train_builder *b, struct fg_weight *w,
                             const struct fg_value *reads, fg_id *v) {
  int64_t dim[FG_MAX_RANK];
  char *name = fg_arena_alloc(&b->g->arena, strlen(w->name) + 3);
  if (!name)
    return FGSM_MEMORY;
  memcpy(dim, reads->dim, sizeof dim);
  dim[0] = 1;
  sprintf(name, "s:%s", w->name);
  FG_TRY(fg_graph_input(b->g, name, b->e->real, reads->rank, dim, v));
  return fg_weights_direct(&b->e->weights, w, fg_value_count(b->g, *v));
}

static fgsm_status add_bound(struct fg_train_builder *b, const struct fg_node *layer) {
  struct fg_graph *g = b->g;
  fg_id weight = layer->in[1], v, u, back, length, sigma, limit, bounded, out[FG_MAX_OUT];
  struct fg_weight *w = fg_weights_find(&b->e->weights, fg_value(g, weight)->name);
  const struct fg_value reads = *fg_value(g, layer->in[0]);
  FG_TRY(direction(b, w, &reads, &v));
  FG_TRY(fg_graph_add(g, layer->op, "bound", &layer->attrs, 2, (fg_id[]){v, weight}, out));
  u = out[0];
  FG_TRY(fg_grad(g, 1, &u, &u, 1, &v, &back));
  FG_TRY(norm(g, back, &length));
  FG_TRY(fg_graph_scalar(g, 0, &limit));
  FG_TRY(fg_binary(g, FG_BINARY_greater, length, limit, &limit));
  FG_TRY(fg_binary(g, FG_BINARY_div, back, length, &back));
  FG_TRY(fg_graph_add(g, FG_OP_where, "", NULL, 3, (fg_id[]){limit, back, v}, out));
  back = out[0]; /* of a layer of zeros the last direction stays */
  FG_TRY(norm(g, u, &sigma));
  FG_TRY(fg_graph_scalar(g, b->e->spec.spectral, &limit));
  FG_TRY(fg_binary(g, FG_BINARY_div, limit, sigma, &sigma));
  FG_TRY(fg_graph_scalar(g, 1, &limit));
  FG_TRY(fg_binary(g, FG_BINARY_min, sigma, limit, &sigma));
  FG_TRY(fg_reshape(g, sigma, 1, (int64_t[]){1}, &sigma));
  FG_TRY(fg_binary(g, FG_BINARY_mul, weight, sigma, &bounded));
  FG_TRY(fg_graph_add(g, FG_OP_average, w->name, &REPLACE, 2, (fg_id[]){weight, bounded}, NULL));
  return fg_graph_add(g, FG_OP_average, w->name, &REPLACE, 2, (fg_id[]){v, back}, NULL);
}

static bool is_layer(const struct fg_graph *g, const struct fg_node *node) {
  return (node->op == FG_OP_conv || node->op == FG_OP_matmul) && node->n_in > 1 &&
         fg_value(g, node->in[1])->role == FG_ROLE_PARAM;
}

fgsm_status fg_train_add_bound(struct fg_train_builder *b) {
  fg_id x, logits;
  int64_t layers = 0;
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &x));
  FG_TRY(fg_train_model(b, x, FG_NORM_FROZEN, &logits));
  for (int64_t i = 0, n = b->g->n_nodes; i < n; i++) {
    const struct fg_node node = b->g->nodes[i];
    if (node.op == FG_OP_batch_norm)
      return FG_FAIL(USAGE, "--spectral-norm: '%s' would undo it, as every BatchNormalization does",
                     node.name);
    if (!is_layer(b->g, &node))
      continue;
    FG_TRY(add_bound(b, &node));
    layers++;
  }
  if (layers == 0)
    return FG_FAIL(UNSUPPORTED, "--spectral-norm: the model has no convolution or dense layer");
  return b->e->spec.average_decay > 0 ? fg_train_follow(b) : FGSM_OK;
}
