/* Where a loss that is not a number began: the last step's forward pass once more, with a look at
 * every value on the way. The weights are still those that the step began with, because `descend`
 * writes nothing where its factor is not finite. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"

/* Appends [1]: 0 where all of the value is finite, else NaN. */
static fgsm_status add_look(struct fg_graph *g, fg_id value, fg_id *out) {
  uint32_t axes = (1u << fg_value(g, value)->rank) - 1;
  fg_id zero;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_binary(g, FG_BINARY_mul, value, zero, out));
  if (axes)
    FG_TRY(fg_reduce(g, FG_REDUCE_sum, *out, axes, false, out));
  return fg_reshape(g, *out, 1, (int64_t[]){1}, out);
}

/* One vector of the looks at values[0..n-1], which are overwritten. */
static fgsm_status add_looks(struct fg_graph *g, int64_t n, fg_id *values, fg_id *all) {
  static const union fg_attrs axis = {.axis = {.axis = 0}};
  for (int64_t i = 0; i < n; i++)
    FG_TRY(add_look(g, values[i], &values[i]));
  for (; n > 1; n = (n + FG_MAX_IN - 1) / FG_MAX_IN)
    for (int64_t i = 0; i < n; i += FG_MAX_IN) {
      int some = n - i < FG_MAX_IN ? (int)(n - i) : FG_MAX_IN;
      fg_id out[FG_MAX_OUT] = {values[i]};
      if (some > 1)
        FG_TRY(fg_graph_add(g, FG_OP_concat, "", &axis, some, &values[i], out));
      values[i / FG_MAX_IN] = out[0];
    }
  *all = values[0];
  return FGSM_OK;
}

/* What is looked at, in order: the weights, the samples, each node's first result. names[i] says
 * what the i-th is. */
struct looks {
  fg_id *values;
  char (*names)[160];
  int64_t n;
};

static void add(struct looks *looks, const struct fg_graph *g, fg_id id, const struct fg_node *of) {
  const struct fg_value *v = fg_value(g, id);
  if (!fg_type_is_real(v->type) || fg_value_count(g, id) == 0)
    return;
  char *name = looks->names[looks->n];
  if (of)
    fg_node_text(g, of, name, sizeof *looks->names);
  else
    snprintf(name, sizeof *looks->names,
             v->role == FG_ROLE_PARAM ? "the weight '%s'" : "the samples", v->name);
  looks->values[looks->n++] = id;
}

/* Running statistics are left out: the step has already made them what the samples are. */
static fgsm_status choose(const struct fg_weights *weights, struct fg_graph *g, fg_id x,
                          struct looks *looks) {
  size_t most = (size_t)(g->n_values + g->n_nodes) + 1;
  looks->values = fg_arena_alloc(&g->arena, most * sizeof *looks->values);
  looks->names = fg_arena_alloc(&g->arena, most * sizeof *looks->names);
  if (!looks->values || !looks->names)
    return FGSM_MEMORY;
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value(g, i)->role == FG_ROLE_PARAM &&
        fg_weight_descends(fg_weights_find(weights, fg_value(g, i)->name)))
      add(looks, g, i, NULL);
  add(looks, g, x, NULL);
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].n_out > 0 && !fg_value_is_constant(g, g->nodes[i].out[0]))
      add(looks, g, g->nodes[i].out[0], &g->nodes[i]);
  return FGSM_OK;
}

/* Runs the pass on the samples that the last step trained on; *first is the place of the first look
 * that is not finite, n if all are. */
static fgsm_status look(struct fg_engine *e, struct fg_train_pass *pass, int64_t n,
                        int64_t *first) {
  const struct fg_graph *g = fg_plan_graph(pass->plan);
  float *seen = calloc((size_t)n + 1, sizeof *seen);
  fgsm_status status =
      seen ? fg_plan_place(pass->plan, NULL) : FG_FAIL(MEMORY, "no memory to look");
  if (status == FGSM_OK)
    status = fg_train_bind(e, pass);
  if (status == FGSM_OK)
    status = fg_plan_bind(pass->plan, pass->wire[FG_TRAIN_x], e->crafted);
  if (status == FGSM_OK)
    status = fg_plan_run(pass->plan, NULL);
  if (status == FGSM_OK)
    status = fg_weights_read(&e->weights, fg_plan_data(pass->plan, g->outputs[0]), n, seen);
  *first = 0;
  while (status == FGSM_OK && *first < n && isfinite(seen[*first]))
    ++*first;
  free(seen);
  return status;
}

fgsm_status fg_engine_diagnose(struct fg_engine *e, const struct fg_onnx *onnx,
                               const struct fgsm_options *options, char *text, size_t size) {
  struct fg_train_builder b;
  struct fg_train_pass pass = {0};
  struct looks looks = {0};
  fg_id x, logits, all;
  int64_t first = 0;
  FG_TRY(fg_train_begin(e, onnx, options, &b));
  fgsm_status status = fg_train_take(&b, FG_TRAIN_x, &x);
  if (status == FGSM_OK)
    status = fg_train_model(&b, x, FG_NORM_BATCH, &logits);
  if (status == FGSM_OK)
    status = choose(&e->weights, b.g, x, &looks);
  if (status == FGSM_OK)
    status = add_looks(b.g, looks.n, looks.values, &all);
  if (status == FGSM_OK)
    status = fg_graph_output(b.g, all, NULL);
  if (status == FGSM_OK)
    status = fg_train_finish(&b, false, false, &pass);
  if (status == FGSM_OK)
    status = look(e, &pass, looks.n, &first);
  if (status == FGSM_OK)
    snprintf(text, size, "%s",
             first < looks.n      ? looks.names[first]
             : fg_train_halves(e) ? "what half precision cannot hold: all of it is finite in fp32"
                                  : "the loss itself");
  fg_plan_destroy(pass.plan);
  fg_graph_destroy(b.g);
  return status;
}
