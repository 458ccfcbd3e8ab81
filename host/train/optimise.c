/* From a loss to new weights: the gradients of all of them, summed over ranks, scaled down together
 * where they are to be clipped, and the optimiser's step on each. */
#include <stdio.h>
#include <string.h>

#include "engine.h"

/* The factor times min(1, clip / |g|), g all gradients together times the factor, as
 * torch.nn.utils.clip_grad_norm_. */
static fgsm_status add_clip(struct fg_train_builder *b, int n, const fg_id *grads, fg_id *factor) {
  struct fg_graph *g = b->g;
  fg_id sum = FG_ABSENT, one, limit, tiny;
  for (int i = 0; i < n; i++) {
    fg_id squares;
    const struct fg_value *v = fg_value(g, grads[i]);
    uint32_t axes = (1u << v->rank) - 1;
    FG_TRY(fg_binary(g, FG_BINARY_mul, grads[i], grads[i], &squares));
    FG_TRY(fg_reduce(g, FG_REDUCE_sum, squares, axes, false, &squares));
    FG_TRY(fg_reshape(g, squares, 1, (int64_t[]){1}, &squares));
    if (sum == FG_ABSENT)
      sum = squares;
    else
      FG_TRY(fg_binary(g, FG_BINARY_add, sum, squares, &sum));
  }
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_graph_scalar(g, b->e->spec.clip, &limit));
  FG_TRY(fg_graph_scalar(g, 1e-6, &tiny));
  FG_TRY(fg_unary(g, FG_UNARY_sqrt, 0, 0, sum, &sum));
  FG_TRY(fg_binary(g, FG_BINARY_mul, sum, *factor, &sum));
  FG_TRY(fg_binary(g, FG_BINARY_add, sum, tiny, &sum));
  FG_TRY(fg_binary(g, FG_BINARY_div, limit, sum, &sum));
  FG_TRY(fg_binary(g, FG_BINARY_min, sum, one, &sum));
  return fg_binary(g, FG_BINARY_mul, sum, *factor, factor);
}

/* An input that stands for what the engine keeps of a weight: "m:NAME", bound by that name. */
static fgsm_status kept(struct fg_train_builder *b, char what, const struct fg_weight *w,
                        fg_id *out) {
  char *name = fg_arena_alloc(&b->g->arena, strlen(w->name) + 3);
  if (!name)
    return FGSM_MEMORY;
  sprintf(name, "%c:%s", what, w->name);
  return fg_graph_input(b->g, name, b->e->real, w->rank, w->dim, out);
}

static fgsm_status add_descent(struct fg_train_builder *b, fg_id weight, fg_id gradient,
                               fg_id factor) {
  const struct fg_engine_spec *spec = &b->e->spec;
  const struct fg_weight *w = fg_weights_find(&b->e->weights, fg_value(b->g, weight)->name);
  union fg_attrs attrs = {.descend = spec->optimiser};
  attrs.descend.decays = w->kind == FG_WEIGHT_matrix || spec->decay_vectors;
  fg_id in[6] = {weight, gradient, FG_ABSENT, FG_ABSENT, FG_ABSENT, factor};
  bool adam = spec->optimiser.kind != FG_DESCEND_sgd;
  if (adam || spec->momentum > 0)
    FG_TRY(kept(b, 'm', w, &in[2]));
  if (adam)
    FG_TRY(kept(b, 'v', w, &in[3]));
  FG_TRY(fg_train_take(b, FG_TRAIN_rates, &in[4]));
  return fg_graph_add(b->g, FG_OP_descend, w->name, &attrs, 6, in, NULL);
}

fgsm_status fg_train_follow(struct fg_train_builder *b) {
  struct fg_graph *g = b->g;
  union fg_attrs attrs = {.average = {1 - b->e->spec.average_decay, 1}};
  fg_id n = (fg_id)g->n_values;
  for (fg_id i = 0; i < n; i++) {
    fg_id in[2] = {FG_ABSENT, i};
    if (fg_value(g, i)->role != FG_ROLE_PARAM)
      continue;
    FG_TRY(kept(b, 'a', fg_weights_find(&b->e->weights, fg_value(g, i)->name), &in[0]));
    FG_TRY(fg_graph_add(g, FG_OP_average, fg_value(g, i)->name, &attrs, 2, in, NULL));
  }
  return FGSM_OK;
}

fgsm_status fg_train_optimise(struct fg_train_builder *b, int n_of, const fg_id *of,
                              const fg_id *seeds, fg_id factor, fg_id x, fg_id *dx) {
  struct fg_graph *g = b->g;
  int64_t most = b->e->weights.n + 1;
  fg_id *wrt = fg_arena_alloc(&g->arena, (size_t)most * 2 * sizeof *wrt), *grads = wrt + most;
  int n = 0, kept = 0;
  if (!wrt)
    return FGSM_MEMORY;
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value(g, i)->role == FG_ROLE_PARAM &&
        fg_weight_descends(fg_weights_find(&b->e->weights, fg_value(g, i)->name)))
      wrt[n++] = i;
  wrt[n] = x;
  FG_TRY(fg_grad(g, n_of, of, seeds, x == FG_ABSENT ? n : n + 1, wrt, grads));
  *dx = x == FG_ABSENT ? FG_ABSENT : grads[n];
  for (int i = 0; i < n; i++) /* a weight that the loss does not see stays */
    if (grads[i] != FG_ABSENT) {
      wrt[kept] = wrt[i];
      grads[kept++] = grads[i];
    }
  if (kept == 0)
    return FG_FAIL(UNSUPPORTED, "the model has no weights to train");
  for (int i = 0; i < kept; i++)
    FG_TRY(fg_train_all_ranks(b, grads[i], &grads[i]));
  FG_TRY(fg_scale_down(b, kept, grads, &factor));
  if (b->e->spec.clip > 0)
    FG_TRY(add_clip(b, kept, grads, &factor));
  for (int i = 0; i < kept; i++)
    FG_TRY(add_descent(b, wrt[i], grads[i], factor));
  return FGSM_OK;
}
