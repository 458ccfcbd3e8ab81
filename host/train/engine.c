/* Making an engine: the passes that its method has a use for, and memory. Everything that a step needs
 * is made once, so that a step (step.c) only computes. */
#include <stdlib.h>

#include "engine.h"

/* ---- making */

static fgsm_status allocate(struct fg_engine *e, size_t bytes, void **out) {
  return e->device->backend->alloc(e->device, bytes ? bytes : 1, out);
}

static fgsm_status make_passes(struct fg_engine *e, const struct fg_onnx *onnx,
                               const struct fgsm_options *options) {
  const struct fg_method *m = &e->spec.method;
  const bool wanted[FG_TRAIN_PARTS] = {
      [FG_TRAIN_LOAD] = e->shape.type == FG_U8 || e->spec.resident,
      [FG_TRAIN_START] = m->start != FG_START_none || m->carry != FG_CARRY_none,
      [FG_TRAIN_TARGET] = m->objective == FG_OBJECTIVE_trades,
      [FG_TRAIN_CRAFT] = m->steps > 0,
      [FG_TRAIN_REGULATE] = e->spec.align > 0 || e->spec.penalty > 0,
      [FG_TRAIN_DESCEND] = true,
      [FG_TRAIN_BOUND] = e->spec.spectral > 0,
      [FG_TRAIN_WATCH] = e->spec.watched};
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    if (wanted[i]) {
      FG_TRY(fg_check_interrupt());
      FG_TRY(fg_train_pass_create(e, onnx, options, (enum fg_train_part)i, &e->pass[i]));
    }
  return FGSM_OK;
}

fgsm_status fg_train_bind(struct fg_engine *e, struct fg_train_pass *pass) {
  const struct fg_graph *g = fg_plan_graph(pass->plan);
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (w != FG_TRAIN_x && w != FG_TRAIN_next && pass->wire[w] != FG_ABSENT)
      FG_TRY(fg_plan_bind(pass->plan, pass->wire[w], e->wire[w]));
  for (fg_id i = 0; i < g->n_values; i++) {
    const struct fg_value *v = fg_value(g, i);
    void *memory = fg_weights_memory(&e->weights, v->name);
    if (v->role == FG_ROLE_PARAM && !memory)
      return FG_FAIL(INTERNAL, "the weight '%s' has no memory", v->name);
    if (memory && (v->role == FG_ROLE_PARAM || (v->role == FG_ROLE_INPUT && v->name[1] == ':')))
      FG_TRY(fg_plan_bind(pass->plan, i, memory));
  }
  return FGSM_OK;
}

size_t fg_train_arena_bytes(const struct fg_engine *e) {
  size_t bytes = 0;
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    if (e->pass[i].plan && fg_plan_info(e->pass[i].plan)->arena_bytes > bytes)
      bytes = fg_plan_info(e->pass[i].plan)->arena_bytes;
  return bytes;
}

static fgsm_status make_arena(struct fg_engine *e) {
  FG_TRY(allocate(e, fg_train_arena_bytes(e), &e->arena));
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    if (e->pass[i].plan) {
      FG_TRY(fg_plan_place(e->pass[i].plan, e->arena));
      FG_TRY(fg_train_bind(e, &e->pass[i]));
    }
  return FGSM_OK;
}

static fgsm_status make_memory(struct fg_engine *e) {
  size_t n = (size_t)e->batch;
  FG_TRY(
      fg_weights_prepare(&e->weights, e->spec.keeps_m, e->spec.keeps_v, e->spec.average_decay > 0));
  FG_TRY(fg_train_make_wires(e));
  for (int i = 0; i < 2; i++)
    FG_TRY(allocate(e, fg_train_wire_bytes(e, FG_TRAIN_x), &e->ring[i]));
  FG_TRY(make_arena(e));
  e->labels = calloc(n, sizeof *e->labels);
  if (!e->labels)
    return FG_FAIL(MEMORY, "no memory for a batch");
  return e->spec.method.carry == FG_CARRY_sample ? fg_carry_begin(e) : FGSM_OK;
}

fgsm_status fg_engine_create(const struct fg_onnx *onnx, const struct fgsm_options *options,
                             const struct fg_engine_spec *spec, struct fg_device *device,
                             const struct fg_sample_shape *shape, int64_t batch,
                             struct fg_engine **out) {
  struct fg_engine *e = calloc(1, sizeof *e);
  if (!e) {
    device->backend->close(device);
    return FG_FAIL(MEMORY, "no memory for an engine");
  }
  e->spec = *spec;
  e->shape = *shape;
  e->count = 1;
  for (int i = 0; i < shape->rank; i++)
    e->count *= shape->dim[i];
  e->device = e->weights.device = device;
  e->real = e->weights.real = device->backend->real;
  fg_scale_begin(e);
  fgsm_status status = fg_attack_batch(onnx, options, shape, batch, &e->batch);
  e->total = e->batch * fg_ranks_size(device->ranks);
  if (status == FGSM_OK)
    status = fg_train_traffic_begin(e);
  if (status == FGSM_OK)
    status = make_passes(e, onnx, options);
  if (status == FGSM_OK)
    status = fg_train_check_memory(e, options);
  if (status == FGSM_OK)
    status = make_memory(e);
  if (status != FGSM_OK) {
    fg_engine_destroy(e);
    return status;
  }
  *out = e;
  return FGSM_OK;
}

void fg_engine_destroy(struct fg_engine *e) {
  if (!e)
    return;
  const struct fg_backend *backend = e->device->backend;
  fg_train_traffic_end(e);
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    fg_plan_destroy(e->pass[i].plan);
  fg_train_free_wires(e);
  for (int i = 0; i < 2; i++)
    backend->free(e->device, e->ring[i]);
  backend->free(e->device, e->arena);
  fg_weights_free(&e->weights);
  backend->close(e->device);
  free(e->labels);
  free(e->kept);
  free(e->reals);
  free(e);
}

struct fg_weights *fg_engine_weights(struct fg_engine *e) {
  return &e->weights;
}

int64_t fg_engine_classes(const struct fg_engine *e) {
  return e->classes;
}

int64_t *fg_engine_steps(struct fg_engine *e) {
  return &e->steps;
}
