/* The graphs of a step but for its end (objective.c, optimise.c). `load` turns bytes into x0; `start`
 * adds noise, or what is carried on; `target` is what TRADES climbs away from; `craft` is an attack's
 * step, x to next. The loss is cross-entropy as it is defined (softmax minus one-hot): where
 * normalisation couples the samples of a batch, a factor of each sample's own would turn the
 * gradient. */
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
  case FG_TRAIN_eta:
  case FG_TRAIN_rates:
    *type = FG_F64;
    dim[0] = wire == FG_TRAIN_rates ? (int64_t)FG_RATE_COUNT : (int64_t)FG_PARAM_COUNT;
    break;
  case FG_TRAIN_data:
    *type = e->shape.type == FG_U8 ? FG_U8 : e->real;
    *rank = e->shape.rank + 1;
    dim[0] = e->spec.samples;
    memcpy(dim + 1, e->shape.dim, (size_t)e->shape.rank * sizeof *dim);
    break;
  case FG_TRAIN_target:
    *rank = 2;
    dim[1] = e->classes;
    break;
  case FG_TRAIN_slope:
  case FG_TRAIN_penalty:
  case FG_TRAIN_scale:
  case FG_TRAIN_overflow:
    dim[0] = 1;
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
  case FG_TRAIN_cosine:
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

fgsm_status fg_train_all_ranks(struct fg_train_builder *b, fg_id part, fg_id *out) {
  fg_id made[FG_MAX_OUT] = {part};
  if (b->e->device->ranks)
    FG_TRY(fg_graph_add(b->g, FG_OP_all_reduce, "", NULL, 1, &part, made));
  *out = made[0];
  return FGSM_OK;
}

/* ---- the parts */

static fgsm_status add_load(struct fg_train_builder *b) {
  union fg_attrs attrs = {.augment = b->e->spec.augment};
  fg_id in[3], x[FG_MAX_OUT];
  if (b->e->spec.resident) {
    FG_TRY(fg_train_take(b, FG_TRAIN_data, &in[0]));
    FG_TRY(fg_train_take(b, FG_TRAIN_index, &in[1]));
    FG_TRY(fg_train_take(b, FG_TRAIN_params, &in[2]));
    FG_TRY(fg_graph_add(b->g, FG_OP_augment, "samples", &attrs, 3, in, x));
  } else {
    FG_TRY(fg_train_take(b, FG_TRAIN_bytes, &x[0]));
  }
  if (b->e->shape.type == FG_U8)
    FG_TRY(fg_cast(b->g, x[0], b->e->real, 255, &x[0]));
  return fg_train_give(b, FG_TRAIN_x0, x[0]);
}

fgsm_status fg_train_noise(struct fg_train_builder *b, enum fg_train_wire params, bool box,
                           fg_id *out) {
  union fg_attrs attrs = {.perturb = {.kind = FG_START_uniform, .norm = FG_NORM_linf, .box = box}};
  fg_id in[5] = {FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT}, made[FG_MAX_OUT];
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &in[0]));
  FG_TRY(fg_train_take(b, FG_TRAIN_index, &in[1]));
  FG_TRY(fg_train_take(b, params, &in[4]));
  FG_TRY(fg_graph_add(b->g, FG_OP_perturb, "noise", &attrs, 5, in, made));
  *out = made[0];
  return FGSM_OK;
}

/* x0 and what is carried on from earlier samples. */
static fgsm_status add_carried(struct fg_train_builder *b, fg_id *x) {
  const struct fg_engine_spec *spec = &b->e->spec;
  fg_id x0, delta;
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &x0));
  FG_TRY(fg_train_take(b, FG_TRAIN_delta, &delta));
  FG_TRY(fg_binary(b->g, FG_BINARY_add, x0, delta, x));
  return spec->method.start_in_box ? fg_unary(b->g, FG_UNARY_clip, spec->lo, spec->hi, *x, x)
                                   : FGSM_OK;
}

static fgsm_status add_start(struct fg_train_builder *b) {
  const struct fg_method *m = &b->e->spec.method;
  fg_id x;
  if (m->carry == FG_CARRY_none)
    FG_TRY(fg_train_noise(b, FG_TRAIN_params, m->start_in_box, &x));
  else
    FG_TRY(add_carried(b, &x));
  return fg_train_give(b, FG_TRAIN_next, x);
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
  return fg_train_norms(b->g, fg_ranks_size(e->device->ranks), norms);
}

/* log p of the clean samples, from which TRADES' crafting leads away. */
static fgsm_status add_target(struct fg_train_builder *b) {
  fg_id x0, logits, log_p;
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &x0));
  FG_TRY(fg_train_model(b, x0, b->e->spec.craft_norms, &logits));
  FG_TRY(fg_train_log_softmax(b, logits, &log_p));
  return fg_train_give(b, FG_TRAIN_target, log_p);
}

/* The gradient, with respect to the logits, of what crafting climbs: each sample's cross-entropy, or
 * KL(p || softmax(logits)). */
static fgsm_status add_ascent(struct fg_train_builder *b, fg_id logits, fg_id *slope) {
  fg_id out[FG_MAX_OUT], p, q;
  if (b->e->spec.method.objective != FG_OBJECTIVE_trades) {
    FG_TRY(fg_train_cross_entropy(b, logits, out));
    *slope = out[0];
    return FGSM_OK;
  }
  FG_TRY(fg_train_take(b, FG_TRAIN_target, &p));
  FG_TRY(fg_unary(b->g, FG_UNARY_exp, 0, 0, p, &p));
  FG_TRY(fg_train_log_softmax(b, logits, &q));
  FG_TRY(fg_unary(b->g, FG_UNARY_exp, 0, 0, q, &q));
  return fg_binary(b->g, FG_BINARY_sub, q, p, slope);
}

/* In the range of the weights' gradient, in which the scale is known to be a good one; the step takes
 * the sign alone. */
static fgsm_status lift(struct fg_train_builder *b, fg_id slope, fg_id *out) {
  fg_id share;
  *out = slope;
  if (!fg_engine_scale(b->e))
    return FGSM_OK;
  FG_TRY(fg_graph_scalar(b->g, 1 / (double)b->e->total, &share));
  FG_TRY(fg_binary(b->g, FG_BINARY_mul, slope, share, out));
  return fg_scale_up(b, *out, out);
}

fgsm_status fg_train_step(struct fg_train_builder *b, fg_id x, fg_id gradient, fg_id *next) {
  union fg_attrs attrs = {.step = {.norm = FG_NORM_linf, .project = b->e->spec.method.project}};
  fg_id in[7] = {FG_ABSENT, x, gradient, FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT};
  fg_id out[FG_MAX_OUT];
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &in[0]));
  FG_TRY(fg_train_take(b, FG_TRAIN_params, &in[6]));
  FG_TRY(fg_graph_add(b->g, FG_OP_step, "step", &attrs, 7, in, out));
  *next = out[0];
  return FGSM_OK;
}

static fgsm_status add_craft(struct fg_train_builder *b) {
  fg_id x, logits, slope, gradient, next;
  FG_TRY(fg_train_take(b, FG_TRAIN_x, &x));
  FG_TRY(fg_train_model(b, x, b->e->spec.craft_norms, &logits));
  FG_TRY(add_ascent(b, logits, &slope));
  FG_TRY(lift(b, slope, &slope));
  FG_TRY(fg_grad(b->g, 1, &logits, &slope, 1, &x, &gradient));
  if (gradient == FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "the model's output does not depend on its input: no gradient");
  FG_TRY(fg_train_step(b, x, gradient, &next));
  return fg_train_give(b, FG_TRAIN_next, next);
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

fgsm_status fg_train_finish(struct fg_train_builder *b, bool fused, bool halved,
                            struct fg_train_pass *out) {
  if (fused)
    FG_TRY(fg_fuse(b->g, b->e->device));
  if (halved)
    FG_TRY(fg_halve(b->g, b->e->device));
  if (fused)
    FG_TRY(fg_layout(b->g, b->e->device));
  if (fused)
    FG_TRY(fg_mask(b->g, b->e->device));
  FG_TRY(fg_graph_compact(b->g));
  struct fg_graph *g = b->g;
  b->g = NULL; /* the plan's from here on */
  FG_TRY(fg_plan_create(g, b->e->device, false, &out->plan));
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    out->wire[w] = b->slot[w] >= 0 ? g->outputs[b->slot[w]] : b->value[w];
  return FGSM_OK;
}

fgsm_status fg_train_pass_create(struct fg_engine *e, const struct fg_onnx *onnx,
                                 const struct fgsm_options *options, enum fg_train_part part,
                                 struct fg_train_pass *out) {
  static fgsm_status (*const add[FG_TRAIN_PARTS])(struct fg_train_builder *) = {
      [FG_TRAIN_LOAD] = add_load,
      [FG_TRAIN_START] = add_start,
      [FG_TRAIN_TARGET] = add_target,
      [FG_TRAIN_CRAFT] = add_craft,
      [FG_TRAIN_REGULATE] = fg_train_add_regulate,
      [FG_TRAIN_DESCEND] = fg_train_add_descend,
      [FG_TRAIN_BOUND] = fg_train_add_bound,
      [FG_TRAIN_WATCH] = fg_train_add_watch};
  static const bool in_half[FG_TRAIN_PARTS] = {
      [FG_TRAIN_TARGET] = true, [FG_TRAIN_CRAFT] = true, [FG_TRAIN_DESCEND] = true};
  struct fg_train_builder b;
  FG_TRY(fg_train_begin(e, onnx, options, &b));
  fgsm_status status = add[part](&b);
  if (status == FGSM_OK)
    status = fg_train_finish(&b, true, in_half[part], out);
  fg_graph_destroy(b.g);
  return status;
}
