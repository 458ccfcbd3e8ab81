/* The graphs of a step. `load` turns bytes into x0; `start` adds the noise; `craft` is an attack's
 * step, x to next; `descend` is forward and backward on what was crafted, and the optimiser. The
 * loss is cross-entropy as it is defined (softmax minus one-hot): where normalisation couples the
 * samples of a batch, a factor of each sample's own would turn the gradient. */
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "op.h"

static const char *const names[FG_TRAIN_WIRES] = {
#define X(name) [FG_TRAIN_##name] = #name,
    FG_TRAIN_WIRE_MAP(X)
#undef X
};

static void shape_of(const struct fg_engine *e, enum fg_train_wire wire, enum fg_type *type,
                     int *rank, int64_t *dim) {
  *type = e->real;
  *rank = 1;
  dim[0] = e->batch;
  switch (wire) {
  case FG_TRAIN_params:
  case FG_TRAIN_rates:
    *type = FG_F64;
    dim[0] = wire == FG_TRAIN_params ? (int64_t)FG_PARAM_COUNT : (int64_t)FG_RATE_COUNT;
    break;
  case FG_TRAIN_index:
    *type = FG_I64;
    break;
  case FG_TRAIN_labels:
  case FG_TRAIN_prediction:
  case FG_TRAIN_clean_prediction:
    *type = FG_I32;
    break;
  case FG_TRAIN_loss:
  case FG_TRAIN_clean_loss:
    break;
  default:
    *type = wire == FG_TRAIN_bytes ? FG_U8 : e->real;
    *rank = e->shape.rank + 1;
    memcpy(dim + 1, e->shape.dim, (size_t)e->shape.rank * sizeof *dim);
  }
}

size_t fg_train_wire_bytes(const struct fg_engine *e, enum fg_train_wire wire) {
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK];
  shape_of(e, wire, &type, &rank, dim);
  size_t bytes = fg_type_size(type);
  for (int i = 0; i < rank; i++)
    bytes *= (size_t)dim[i];
  return bytes;
}

fgsm_status fg_train_take(struct fg_train_builder *b, enum fg_train_wire wire, fg_id *out) {
  if (b->value[wire] == FG_ABSENT) {
    enum fg_type type;
    int rank;
    int64_t dim[FG_MAX_RANK];
    shape_of(b->e, wire, &type, &rank, dim);
    FG_TRY(fg_graph_input(b->g, names[wire], type, rank, dim, &b->value[wire]));
  }
  *out = b->value[wire];
  return FGSM_OK;
}

fgsm_status fg_train_give(struct fg_train_builder *b, enum fg_train_wire wire, fg_id value) {
  b->value[wire] = value;
  return fg_graph_output(b->g, value, &b->slot[wire]);
}

/* ---- the parts */

static fgsm_status add_load(struct fg_train_builder *b) {
  fg_id bytes, x0;
  FG_TRY(fg_train_take(b, FG_TRAIN_bytes, &bytes));
  FG_TRY(fg_cast(b->g, bytes, b->e->real, 255, &x0));
  return fg_train_give(b, FG_TRAIN_x0, x0);
}

static fgsm_status add_start(struct fg_train_builder *b) {
  const struct fg_method *m = &b->e->spec.method;
  union fg_attrs attrs = {
      .perturb = {.kind = m->start, .norm = FG_NORM_linf, .box = m->start_in_box}};
  fg_id in[5] = {FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT}, out[FG_MAX_OUT];
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &in[0]));
  FG_TRY(fg_train_take(b, FG_TRAIN_index, &in[1]));
  FG_TRY(fg_train_take(b, FG_TRAIN_params, &in[4]));
  FG_TRY(fg_graph_add(b->g, FG_OP_perturb, "start", &attrs, 5, in, out));
  return fg_train_give(b, FG_TRAIN_next, out[0]);
}

fgsm_status fg_train_model(struct fg_train_builder *b, fg_id x, enum fg_norm_mode norms,
                           fg_id *logits) {
  struct fg_engine *e = b->e;
  static const struct fg_attack_arrays none = {0};
  char note[256];
  FG_TRY(fg_attack_logits(b->g, b->onnx, b->options, &none, &e->shape, e->batch, true, x, logits,
                          note));
  e->classes = fg_value(b->g, *logits)->dim[1];
  FG_TRY(fg_train_statistics(b->g));
  FG_TRY(fg_weights_collect(&e->weights, b->g));
  return fg_train_norms(b->g, norms);
}

static fgsm_status add_loss(struct fg_train_builder *b, fg_id logits, fg_id out[FG_MAX_OUT]) {
  union fg_attrs attrs = {.loss = {.kind = FG_LOSS_ce, .parity = true}};
  fg_id in[2] = {logits};
  FG_TRY(fg_train_take(b, FG_TRAIN_labels, &in[1]));
  return fg_graph_add(b->g, FG_OP_loss, "loss", &attrs, 2, in, out);
}

static fgsm_status add_craft(struct fg_train_builder *b) {
  const struct fg_method *m = &b->e->spec.method;
  union fg_attrs attrs = {.step = {.norm = FG_NORM_linf, .project = m->project}};
  fg_id x, logits, loss[FG_MAX_OUT], gradient, out[FG_MAX_OUT];
  FG_TRY(fg_train_take(b, FG_TRAIN_x, &x));
  FG_TRY(fg_train_model(b, x, b->e->spec.craft_norms, &logits));
  FG_TRY(add_loss(b, logits, loss));
  FG_TRY(fg_grad(b->g, 1, &logits, &loss[0], 1, &x, &gradient));
  if (gradient == FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "the model's output does not depend on its input: no gradient");
  fg_id in[7] = {FG_ABSENT, x, gradient, FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT};
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &in[0]));
  FG_TRY(fg_train_take(b, FG_TRAIN_params, &in[6]));
  FG_TRY(fg_graph_add(b->g, FG_OP_step, "step", &attrs, 7, in, out));
  return fg_train_give(b, FG_TRAIN_next, out[0]);
}

/* ---- descend: forward on each view of the batch, one gradient, the optimiser */

/* [1]: 1, or what is not finite where some loss is not: descend writes nothing then. */
static fgsm_status add_guard(struct fg_train_builder *b, fg_id loss, fg_id *factor) {
  fg_id scalar;
  FG_TRY(fg_reduce(b->g, FG_REDUCE_sum, loss, 1, true, &loss));
  FG_TRY(fg_graph_scalar(b->g, 0, &scalar));
  FG_TRY(fg_binary(b->g, FG_BINARY_mul, loss, scalar, &loss));
  FG_TRY(fg_graph_scalar(b->g, 1, &scalar));
  return fg_binary(b->g, FG_BINARY_add, loss, scalar, factor);
}

/* The loss of the view that lies in `x`, as `share` of the batch's mean. */
static fgsm_status add_view(struct fg_train_builder *b, enum fg_train_wire x, double share,
                            fg_id *logits, fg_id *seed, fg_id *guard) {
  bool clean = x == FG_TRAIN_x0;
  fg_id in, loss[FG_MAX_OUT], factor, own;
  FG_TRY(fg_train_take(b, x, &in));
  FG_TRY(fg_train_model(b, in, FG_NORM_UPDATE, logits));
  FG_TRY(add_loss(b, *logits, loss));
  FG_TRY(fg_train_give(b, clean ? FG_TRAIN_clean_loss : FG_TRAIN_loss, loss[1]));
  FG_TRY(fg_train_give(b, clean ? FG_TRAIN_clean_prediction : FG_TRAIN_prediction, loss[2]));
  FG_TRY(add_guard(b, loss[1], &own));
  if (*guard == FG_ABSENT)
    *guard = own;
  else
    FG_TRY(fg_binary(b->g, FG_BINARY_mul, *guard, own, guard));
  FG_TRY(fg_graph_scalar(b->g, share / (double)b->e->batch, &factor));
  return fg_binary(b->g, FG_BINARY_mul, loss[0], factor, seed);
}

/* The factor times min(1, clip / |g|) over all gradients together, as
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

/* Averaged weights follow the weights as they have become. */
static fgsm_status add_averages(struct fg_train_builder *b) {
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

static fgsm_status add_optimiser(struct fg_train_builder *b, int n_of, const fg_id *of,
                                 const fg_id *seeds, fg_id factor) {
  struct fg_graph *g = b->g;
  fg_id *wrt = fg_arena_alloc(&g->arena, (size_t)b->e->weights.n * 2 * sizeof *wrt + 1);
  fg_id *grads = wrt + b->e->weights.n;
  int n = 0, kept = 0;
  if (!wrt)
    return FGSM_MEMORY;
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value(g, i)->role == FG_ROLE_PARAM &&
        fg_weight_descends(fg_weights_find(&b->e->weights, fg_value(g, i)->name)))
      wrt[n++] = i;
  FG_TRY(fg_grad(g, n_of, of, seeds, n, wrt, grads));
  for (int i = 0; i < n; i++) /* a weight that the loss does not see stays */
    if (grads[i] != FG_ABSENT) {
      wrt[kept] = wrt[i];
      grads[kept++] = grads[i];
    }
  if (kept == 0)
    return FG_FAIL(UNSUPPORTED, "the model has no weights to train");
  if (b->e->spec.clip > 0)
    FG_TRY(add_clip(b, kept, grads, &factor));
  for (int i = 0; i < kept; i++)
    FG_TRY(add_descent(b, wrt[i], grads[i], factor));
  return b->e->spec.average_decay > 0 ? add_averages(b) : FGSM_OK;
}

static fgsm_status add_descend(struct fg_train_builder *b) {
  double clean = b->e->spec.method.clean_share;
  fg_id of[2], seeds[2], guard = FG_ABSENT;
  int n = 0;
  if (clean > 0) {
    FG_TRY(add_view(b, FG_TRAIN_x0, clean, &of[n], &seeds[n], &guard));
    n++;
  }
  if (clean < 1) {
    FG_TRY(add_view(b, FG_TRAIN_x, 1 - clean, &of[n], &seeds[n], &guard));
    n++;
  }
  return add_optimiser(b, n, of, seeds, guard);
}

/* ---- a pass */

fgsm_status fg_train_begin(struct fg_engine *e, const struct fg_onnx *onnx,
                           const struct fgsm_options *options, struct fg_train_builder *b) {
  *b = (struct fg_train_builder){.e = e, .onnx = onnx, .options = options};
  for (int w = 0; w < FG_TRAIN_WIRES; w++) {
    b->value[w] = FG_ABSENT;
    b->slot[w] = -1;
  }
  return fg_graph_create(e->real, &b->g);
}

fgsm_status fg_train_finish(struct fg_train_builder *b, bool fused, struct fg_train_pass *out) {
  if (fused) {
    FG_TRY(fg_fuse(b->g, b->e->device));
    FG_TRY(fg_layout(b->g, b->e->device));
  }
  FG_TRY(fg_graph_compact(b->g));
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    out->wire[w] = b->slot[w] >= 0 ? b->g->outputs[b->slot[w]] : b->value[w];
  struct fg_graph *g = b->g;
  b->g = NULL; /* the plan's from here on */
  return fg_plan_create(g, b->e->device, false, &out->plan);
}

fgsm_status fg_train_pass_create(struct fg_engine *e, const struct fg_onnx *onnx,
                                 const struct fgsm_options *options, enum fg_train_part part,
                                 struct fg_train_pass *out) {
  static fgsm_status (*const add[FG_TRAIN_PARTS])(struct fg_train_builder *) = {
      [FG_TRAIN_LOAD] = add_load,
      [FG_TRAIN_START] = add_start,
      [FG_TRAIN_CRAFT] = add_craft,
      [FG_TRAIN_DESCEND] = add_descend};
  struct fg_train_builder b;
  FG_TRY(fg_train_begin(e, onnx, options, &b));
  fgsm_status status = add[part](&b);
  if (status == FGSM_OK)
    status = fg_train_finish(&b, true, out);
  fg_graph_destroy(b.g);
  return status;
}
