/* A step of training: what its passes are run for. Everything that a step needs is made once, so
 * that a step only computes. */
#include "engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the options say */

static fgsm_status resolve_optimiser(const struct fgsm_options *o, struct fg_engine_spec *spec) {
  static const char *const names[] = {
#define X(name) [FG_DESCEND_##name] = #name,
    FG_DESCEND_MAP(X)
#undef X
  };
  int kind = 0;
  while (kind < FG_DESCEND_COUNT && strcmp(names[kind], o->optimizer) != 0)
    kind++;
  if (kind == FG_DESCEND_COUNT)
    return FG_FAIL(USAGE, "--optimizer %s: there is sgd, adam and adamw", o->optimizer);
  bool sgd = kind == FG_DESCEND_sgd;
  if (o->nesterov && (!sgd || o->momentum == 0))
    return FG_FAIL(USAGE, "--nesterov needs sgd with a momentum");
  spec->optimiser =
      (struct fg_descend_attrs){.kind = (enum fg_descend_kind)kind, .nesterov = o->nesterov};
  spec->momentum = sgd ? o->momentum : 0.9; /* beta1 (Kingma & Ba 2015) */
  spec->beta2 = 0.999;
  spec->epsilon = 1e-8;
  spec->decay = o->weight_decay;
  spec->decay_vectors = !o->decay_matrices;
  spec->clip = o->clip_norm;
  spec->average_decay = o->ema;
  return FGSM_OK;
}

static fgsm_status resolve_defences(const struct fgsm_options *o, struct fg_engine_spec *spec) {
  spec->smoothing = o->label_smoothing;
  spec->smooth_others = strcmp(o->smoothing, "others") == 0;
  spec->align = spec->method.align;
  spec->penalty = o->gradient_penalty;
  spec->spectral = o->spectral_norm;
  if (spec->align > 0 && spec->penalty > 0)
    return FG_FAIL(USAGE, "--grad-align and --gradient-penalty: one of them at a time");
  if (spec->align > 0 && !(spec->eps > 0))
    return FG_FAIL(USAGE, "--grad-align: looks around each sample, and needs an --eps above 0");
  if (spec->method.carry == FG_CARRY_sample && !(spec->eps > 0))
    return FG_FAIL(USAGE, "--method %s: needs an --eps above 0", spec->method.name);
  if (spec->method.carry == FG_CARRY_sample && strcmp(o->augment, "none") != 0)
    return FG_FAIL(USAGE,
                   "--method %s: a perturbation that is kept fits its sample as it lies, so "
                   "there is no --augment with it",
                   spec->method.name);
  return FGSM_OK;
}

fgsm_status fg_engine_spec_resolve(const struct fgsm_options *o, enum fg_type data,
                                   struct fg_engine_spec *spec) {
  *spec = (struct fg_engine_spec){.seed = o->seed};
  FG_TRY(fg_method_resolve(o, &spec->method));
  FG_TRY(resolve_optimiser(o, spec));
  if (spec->method.steps > 0 && o->n_eps != 1)
    return FG_FAIL(USAGE, "--eps: adversarial training needs one budget, such as 8/255");
  spec->eps = o->n_eps ? o->eps[0].value : 0;
  if (!(spec->eps >= 0) || (data == FG_U8 && spec->eps > 1))
    return FG_FAIL(USAGE, "--eps %s: for bytes, write it as a fraction of 255", o->eps[0].text);
  if (spec->seed >= (uint64_t)1 << 53)
    return FG_FAIL(USAGE, "--seed must be below 2^53");
  if (o->alpha.value >= 0 && spec->eps > 0)
    spec->method.alpha = o->alpha.value / spec->eps;
  FG_TRY(resolve_defences(o, spec));
  spec->lo = o->clip_none ? -INFINITY : o->clip_lo;
  spec->hi = o->clip_none ? INFINITY : o->clip_hi;
  spec->craft_norms = strcmp(o->craft_norms, "frozen") == 0   ? FG_NORM_FROZEN
                      : strcmp(o->craft_norms, "batch") == 0  ? FG_NORM_BATCH
                      : strcmp(o->craft_norms, "update") == 0 ? FG_NORM_UPDATE
                      : spec->method.frozen                   ? FG_NORM_FROZEN
                                                              : FG_NORM_UPDATE;
  return FGSM_OK;
}

/* ---- making */

static fgsm_status allocate(struct fg_engine *e, size_t bytes, void **out) {
  return e->device->backend->alloc(e->device, bytes ? bytes : 1, out);
}

static fgsm_status make_passes(struct fg_engine *e, const struct fg_onnx *onnx,
                               const struct fgsm_options *options) {
  const struct fg_method *m = &e->spec.method;
  const bool wanted[FG_TRAIN_PARTS] = {
      [FG_TRAIN_LOAD] = e->shape.type == FG_U8,
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

static fgsm_status make_arena(struct fg_engine *e) {
  size_t bytes = 0;
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    if (e->pass[i].plan && fg_plan_info(e->pass[i].plan)->arena_bytes > bytes)
      bytes = fg_plan_info(e->pass[i].plan)->arena_bytes;
  FG_TRY(allocate(e, bytes, &e->arena));
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    if (e->pass[i].plan) {
      FG_TRY(fg_plan_place(e->pass[i].plan, e->arena));
      FG_TRY(fg_train_bind(e, &e->pass[i]));
    }
  return FGSM_OK;
}

static fgsm_status make_memory(struct fg_engine *e) {
  size_t n = (size_t)e->batch;
  bool adam = e->spec.optimiser.kind != FG_DESCEND_sgd;
  FG_TRY(fg_weights_prepare(&e->weights, adam || e->spec.momentum > 0, adam,
                            e->spec.average_decay > 0));
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
  fgsm_status status = fg_attack_batch(onnx, options, shape, batch, &e->batch);
  if (status == FGSM_OK)
    status = fg_train_traffic_begin(e);
  if (status == FGSM_OK)
    status = make_passes(e, onnx, options);
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
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (e->wire[w] < e->control || (char *)e->wire[w] >= (char *)e->control + e->control_bytes)
      backend->free(e->device, e->wire[w]);
  backend->free(e->device, e->control);
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

/* ---- a step */

static fgsm_status set_params(struct fg_engine *e, uint32_t stream) {
  const double eps = e->spec.eps;
  double params[FG_PARAM_COUNT] = {[FG_PARAM_eps] = eps,
                                   [FG_PARAM_alpha] =
                                       e->spec.method.alpha * eps / (e->cautious ? 2 : 1),
                                   [FG_PARAM_lo] = e->spec.lo,
                                   [FG_PARAM_hi] = e->spec.hi,
                                   [FG_PARAM_radius] = e->spec.method.radius * eps,
                                   [FG_PARAM_seed] = (double)e->spec.seed,
                                   [FG_PARAM_stream] = stream};
  FG_TRY(fg_train_upload(e, FG_TRAIN_params, params));
  params[FG_PARAM_radius] = eps;
  params[FG_PARAM_stream] = (double)(stream ^ 1u << 31);
  return fg_train_upload(e, FG_TRAIN_eta, params);
}

static fgsm_status set_rates(struct fg_engine *e, double rate) {
  const double rates[FG_RATE_COUNT] = {
      [FG_RATE_rate] = rate,           [FG_RATE_momentum] = e->spec.momentum,
      [FG_RATE_beta2] = e->spec.beta2, [FG_RATE_epsilon] = e->spec.epsilon,
      [FG_RATE_decay] = e->spec.decay, [FG_RATE_step] = (double)(e->steps + 1)};
  return fg_train_upload(e, FG_TRAIN_rates, rates);
}

/* A batch, as it comes. */
static fgsm_status load(struct fg_engine *e, const struct fg_train_batch *b, uint32_t stream) {
  for (int64_t i = 0; i < e->batch; i++) {
    if (b->labels[i] < 0 || b->labels[i] >= e->classes)
      return FG_FAIL(DATA, "sample %lld has label %lld, and the model has %lld classes",
                     (long long)b->index[i], (long long)b->labels[i], (long long)e->classes);
    e->labels[i] = (int32_t)b->labels[i];
  }
  FG_TRY(e->device->backend->enter(e->device));
  FG_TRY(set_params(e, stream));
  FG_TRY(fg_train_upload(e, FG_TRAIN_labels, e->labels));
  FG_TRY(fg_train_upload(e, FG_TRAIN_index, b->index));
  return e->shape.type == FG_U8 ? fg_train_upload(e, FG_TRAIN_bytes, b->x)
                                : fg_train_upload_reals(e, FG_TRAIN_x0, b->x);
}

static fgsm_status craft(struct fg_engine *e) {
  void *x = e->wire[FG_TRAIN_x0];
  int to = 0;
  FG_TRY(fg_train_run(e, FG_TRAIN_TARGET, NULL, NULL));
  if (e->pass[FG_TRAIN_START].plan) {
    FG_TRY(fg_train_run(e, FG_TRAIN_START, NULL, e->ring[to]));
    x = e->ring[to];
    to = 1 - to;
  }
  int steps = e->spec.method.steps * (e->cautious ? 2 : 1);
  for (int i = 0; i < steps; i++) {
    FG_TRY(fg_train_run(e, FG_TRAIN_CRAFT, x, e->ring[to]));
    x = e->ring[to];
    to = 1 - to;
  }
  e->crafted = x;
  return FGSM_OK;
}

/* All that a step computes; a batch that is replayed is loaded again each time. */
static fgsm_status run_passes(void *engine, void *stream) {
  struct fg_engine *e = engine;
  (void)stream; /* the engine's */
  FG_TRY(fg_train_run(e, FG_TRAIN_LOAD, NULL, NULL));
  FG_TRY(craft(e));
  FG_TRY(fg_train_run(e, FG_TRAIN_REGULATE, NULL, NULL));
  FG_TRY(fg_train_run(e, FG_TRAIN_DESCEND, e->crafted, NULL));
  return fg_train_run(e, FG_TRAIN_BOUND, NULL, NULL);
}

/* ---- what came of it */

/* The mean of a wire of losses that was brought to `place`; 0 where there is none. */
static double mean(const struct fg_engine *e, enum fg_train_wire wire, int place) {
  int64_t n = (int64_t)(fg_train_wire_bytes(e, wire) / fg_type_size(e->real));
  const double *wide = e->seen[place];
  const float *narrow = e->seen[place];
  double sum = 0;
  for (int64_t i = 0; e->wire[wire] && i < n; i++)
    sum += (e->real == FG_F32 ? (double)narrow[i] : wide[i]) / (double)n;
  return sum;
}

/* How many predictions are right; -1 where there are none. */
static int64_t count(const struct fg_engine *e, enum fg_train_wire wire, int place) {
  const int32_t *predictions = e->seen[place];
  int64_t right = 0;
  for (int64_t i = 0; e->wire[wire] && i < e->batch; i++)
    right += predictions[i] == e->labels[i];
  return e->wire[wire] ? right : -1;
}

static fgsm_status look(struct fg_engine *e, struct fg_train_losses *out) {
  static const enum fg_train_wire wires[] = {FG_TRAIN_clean_loss, FG_TRAIN_loss, FG_TRAIN_penalty,
                                             FG_TRAIN_clean_prediction, FG_TRAIN_prediction};
  double share = e->spec.method.clean_share;
  FG_TRY(fg_train_bring(e, 5, wires));
  out->loss = share * mean(e, FG_TRAIN_clean_loss, 0) + (1 - share) * mean(e, FG_TRAIN_loss, 1) +
              mean(e, FG_TRAIN_penalty, 2);
  out->clean = count(e, FG_TRAIN_clean_prediction, 3);
  out->adversarial = count(e, FG_TRAIN_prediction, 4);
  return FGSM_OK;
}

fgsm_status fg_engine_step(struct fg_engine *e, const struct fg_train_batch *batch, double rate,
                           uint32_t stream, struct fg_train_losses *out) {
  int replays = e->spec.method.replays;
  FG_TRY(load(e, batch, stream));
  if (e->kept)
    FG_TRY(fg_carry_take(e, batch, stream));
  for (int i = 0; i < (replays > 0 ? replays : 1); i++) {
    FG_TRY(set_rates(e, rate));
    FG_TRY(fg_train_send(e));
    FG_TRY(fg_train_replay(e, run_passes));
    e->steps++;
  }
  FG_TRY(look(e, out));
  return e->kept ? fg_carry_keep(e, batch) : FGSM_OK;
}

fgsm_status fg_engine_cosine(struct fg_engine *e, const struct fg_train_batch *batch, double *out) {
  static const enum fg_train_wire wires[] = {FG_TRAIN_cosine};
  if (!e->pass[FG_TRAIN_WATCH].plan)
    return FG_FAIL(INTERNAL, "the engine is not watched");
  FG_TRY(load(e, batch, 0));
  FG_TRY(fg_train_send(e));
  FG_TRY(fg_train_run(e, FG_TRAIN_LOAD, NULL, NULL));
  FG_TRY(fg_train_run(e, FG_TRAIN_WATCH, NULL, NULL));
  FG_TRY(fg_train_bring(e, 1, wires));
  *out = mean(e, FG_TRAIN_cosine, 0);
  return FGSM_OK;
}

void fg_engine_cautious(struct fg_engine *e, bool cautious) {
  e->cautious = cautious;
}

fgsm_status fg_engine_adversarial(struct fg_engine *e, float *x) {
  int64_t n = (int64_t)(fg_train_wire_bytes(e, FG_TRAIN_x0) / fg_type_size(e->real));
  return fg_weights_read(&e->weights, e->crafted, n, x);
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

/* ---- the model with new weights */

fgsm_status fg_engine_export(struct fg_engine *e, const struct fg_onnx *onnx, bool average,
                             struct fg_onnx **out) {
  const struct fg_weights *w = &e->weights;
  const char **names = calloc((size_t)w->n + 1, sizeof *names);
  float **data = calloc((size_t)w->n + 1, sizeof *data);
  fgsm_status status = names && data ? FGSM_OK : FG_FAIL(MEMORY, "no memory for the weights");
  for (int64_t i = 0; i < w->n && status == FGSM_OK; i++) {
    const struct fg_weight *item = &w->items[i];
    names[i] = item->name;
    data[i] = malloc((size_t)item->count * sizeof **data + 1);
    status = data[i] ? fg_weights_read(w, average && item->average ? item->average : item->data,
                                       item->count, data[i])
                     : FG_FAIL(MEMORY, "no memory for the weights");
  }
  if (status == FGSM_OK)
    status = fg_onnx_replace(onnx, (int)w->n, names, (const float *const *)data, out);
  for (int64_t i = 0; data && i < w->n; i++)
    free(data[i]);
  free(data);
  free(names);
  return status;
}
