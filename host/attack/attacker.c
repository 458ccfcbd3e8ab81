/* Making an attacker: once it is decided what it is to be (decide.c), everything that a run will need -
 * passes, buffers, staging - is made here, so that running can only compute. */
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

/* ---- the passes and their memory */

/* Those that a backend may have as one call. A look at the network as one call foretells it: other
 * models are not built again only to be declined. */
static fgsm_status make_whole_passes(struct fg_attacker *a, const struct fgsm_options *options) {
  const struct fg_attack_spec *spec = &a->info.spec;
  struct fg_recipe recipe = {.model = true, .gradient = true, .step = true};
  bool exact = a->real == FG_F64 || a->info.out_type == FG_U8; /* what is written is rounded yet */
  if (spec->steps > 2 && fg_pass_is_whole(&a->gradient)) {
    recipe.repeat = spec->steps - 1;
    return fg_pass_create(a, options, &recipe, &a->rest);
  }
  recipe.halvings = spec->halvings;
  if (spec->halvings && !exact && fg_pass_is_whole(&a->evaluate))
    return fg_pass_create(a, options, &recipe, &a->search);
  return FGSM_OK;
}

static fgsm_status make_passes(struct fg_attacker *a, const struct fg_onnx *onnx,
                               const struct fgsm_options *options) {
  const struct fg_attack_spec *spec = &a->info.spec;
  bool looks = !a->only_gradient && a->info.verifies;
  bool bytes = a->shape.type == FG_U8 || (looks && a->info.out_type == FG_U8);
  bool minimal = spec->halvings > 0;
  bool split = spec->steps == 1 && !fg_has_start(a) && (a->info.n_eps > 1 || minimal);
  bool whole = !a->only_gradient, foretells = a->labels_predicted || a->least_likely;
  char note_of_model[FG_NOTE_SIZE] = "";
  const struct {
    bool wanted;
    struct fg_recipe recipe;
    struct fg_pass *pass;
  } list[] = {
      {looks || foretells, {.model = true}, &a->evaluate},
      {spec->steps > 0, {.model = true, .gradient = true, .step = whole && !split}, &a->gradient},
      {whole && split, {.step = true, .rows = minimal}, &a->step},
      {whole && fg_has_start(a), {.start = true}, &a->start},
      {whole && spec->steps == 0, {.settle = true}, &a->settle},
      {bytes, {.dequantize = true}, &a->dequantize},
      {whole && a->info.out_type == FG_U8, {.quantize = true, .rows = minimal}, &a->quantize},
  };
  FG_TRY(fg_check_interrupt());
  FG_TRY(fg_net_create(a, onnx, options, note_of_model));
  FG_TRY(fg_decide_classes(a));
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (list[i].wanted) {
      FG_TRY(fg_check_interrupt());
      FG_TRY(fg_pass_create(a, options, &list[i].recipe, list[i].pass));
    }
  if (whole)
    FG_TRY(make_whole_passes(a, options));
  if (*note_of_model)
    fg_note_add(a->info.notes, sizeof a->info.notes, "%s", note_of_model);
  if (a->evaluate.plan)
    a->info.evaluate = *fg_plan_info(a->evaluate.plan);
  if (a->gradient.plan)
    a->info.gradient = *fg_plan_info(a->gradient.plan);
  return FGSM_OK;
}

static fgsm_status allocate(struct fg_attacker *a, size_t bytes, void **out) {
  return a->device->backend->alloc(a->device, bytes ? bytes : 1, out);
}

/* Momentum's two buffers, and the zeros that every climb begins with, uploaded once. */
static fgsm_status make_momentum(struct fg_attacker *a, size_t bytes) {
  void *zeros = calloc(1, bytes);
  if (!zeros)
    return FG_FAIL(MEMORY, "no memory for %zu bytes of zeros", bytes);
  fgsm_status status = allocate(a, bytes, &a->zeros);
  for (int i = 0; i < 2 && status == FGSM_OK; i++)
    status = allocate(a, bytes, &a->momentum[i]);
  if (status == FGSM_OK)
    status = fg_upload(a, a->zeros, zeros, bytes);
  free(zeros);
  return status;
}

static bool alternates(int wire) {
  return wire == FG_WIRE_x || wire == FG_WIRE_next || wire == FG_WIRE_m || wire == FG_WIRE_m_next;
}

/* The lender's arena, where that is large enough, else one of its own. */
static fgsm_status make_arena(struct fg_attacker *a) {
  const struct fg_attacker *lender = a->device->backend->host_memory ? a->lender : NULL;
  a->arena_is_lent = lender && lender->arena && lender->arena_bytes >= a->arena_bytes &&
                     lender->device->backend->host_memory;
  if (!a->arena_is_lent)
    return allocate(a, a->arena_bytes, &a->arena);
  a->arena = lender->arena;
  return FGSM_OK;
}

/* One arena for all plans, one buffer for each wire that some plan has. */
static fgsm_status make_memory(struct fg_attacker *a) {
  struct fg_pass *passes[FG_ATTACK_PASSES];
  size_t bytes[FG_WIRE_COUNT];
  fg_attacker_passes(a, passes);
  for (int i = 0; i < FG_ATTACK_PASSES; i++)
    if (passes[i]->plan && fg_plan_info(passes[i]->plan)->arena_bytes > a->arena_bytes)
      a->arena_bytes = fg_plan_info(passes[i]->plan)->arena_bytes;
  const struct fg_coming nothing = {.graph = 0};
  FG_TRY(fg_memory_check(a, &nothing));
  a->info.memory_bytes = fg_memory_need(a, &nothing);
  fg_memory_wires(a, bytes);
  FG_TRY(make_arena(a));
  for (int i = 0; i < 2; i++)
    FG_TRY(allocate(a, bytes[FG_WIRE_x], &a->ring[i]));
  for (int w = 0; w < FG_WIRE_COUNT; w++)
    if (bytes[w] && !alternates(w))
      FG_TRY(allocate(a, bytes[w], &a->wire[w]));
  if (bytes[FG_WIRE_m])
    FG_TRY(make_momentum(a, bytes[FG_WIRE_m]));
  for (int i = 0; i < FG_ATTACK_PASSES; i++)
    if (passes[i]->plan)
      FG_TRY(fg_plan_place(passes[i]->plan, a->arena));
  return FGSM_OK;
}

static fgsm_status make_staging(struct fg_attacker *a) {
  size_t batch = (size_t)a->info.strip;
  size_t row = a->info.classes > 4 ? (size_t)a->info.classes : 4;
  const struct fg_backend *backend = a->device->backend;
  FG_TRY(backend->host_alloc(a->device, batch * (size_t)a->count * sizeof(double), &a->stage));
  FG_TRY(backend->host_alloc(a->device, batch * (size_t)a->count * fg_type_size(a->info.out_type),
                             &a->written));
  a->labels = malloc(batch * sizeof *a->labels);
  a->predictions = malloc(batch * sizeof *a->predictions);
  a->index = malloc(batch * sizeof *a->index);
  a->reals = malloc(batch * row * sizeof *a->reals);
  if (a->info.spec.halvings) {
    a->rows = malloc(batch * FG_PARAM_COUNT * sizeof *a->rows);
    a->bounds = calloc(batch, sizeof *a->bounds);
  }
  a->clean = calloc(batch, sizeof *a->clean);
  a->flags = calloc(batch, sizeof *a->flags);
  if (!a->labels || !a->predictions || !a->index || !a->reals || !a->clean || !a->flags ||
      (a->info.spec.halvings && (!a->rows || !a->bounds)))
    return FG_FAIL(MEMORY, "no memory for a batch of %zu samples; --batch less may help", batch);
  return FGSM_OK;
}

/* ---- arrays */

/* `to` is NULL where this attack has no use for the array. */
static fgsm_status upload_features(struct fg_attacker *a, const double *values, void *to) {
  float *floats = a->stage;
  if (!to)
    return FGSM_OK;
  if (a->real == FG_F64)
    return fg_upload(a, to, values, (size_t)a->count * sizeof *values);
  for (int64_t i = 0; i < a->count; i++)
    floats[i] = (float)values[i];
  return fg_upload(a, to, floats, (size_t)a->count * sizeof *floats);
}

static fgsm_status upload_arrays(const struct fg_attack_arrays *arrays, struct fg_attacker *a) {
  bool lattice = a->shape.type == FG_U8 && a->info.out_type == FG_U8;
  double *values = malloc((size_t)a->count * sizeof *values);
  fgsm_status status = values ? FGSM_OK : FG_FAIL(MEMORY, "no memory for an eps per feature");
  if (status == FGSM_OK && a->has_map) {
    for (int64_t i = 0; i < a->count; i++)
      values[i] = lattice ? fg_whole_levels((double)arrays->eps_map[i]) : arrays->eps_map[i];
    status = upload_features(a, values, a->wire[FG_WIRE_eps_map]);
  }
  if (status == FGSM_OK && a->has_mask) {
    for (int64_t i = 0; i < a->count; i++)
      values[i] = arrays->mask[i] != 0;
    status = upload_features(a, values, a->wire[FG_WIRE_mask]);
  }
  free(values);
  return status;
}

/* ---- */

static fgsm_status create(struct fg_attacker *a, const struct fg_onnx *onnx,
                          const struct fgsm_options *options, const struct fg_sample_shape *shape,
                          const struct fg_attack_arrays *arrays, int64_t batch) {
  static const struct fg_attack_arrays no_arrays;
  int64_t elements;
  arrays = arrays ? arrays : &no_arrays;
  FG_TRY(fg_decide(options, shape, arrays, a));
  a->arrays = arrays;
  FG_TRY(fg_attack_batch(onnx, options, shape, batch, &a->info.batch));
  a->info.strip = a->info.batch;
  if (!fg_mul_ok(a->count, a->info.batch, &elements) || elements > INT64_MAX / 64)
    return FG_FAIL(USAGE, "a batch of %lld samples is too large", (long long)a->info.batch);
  if (a->info.batch != batch)
    fg_note_add(a->info.notes, sizeof a->info.notes, "the model fixes its batch at %lld",
                (long long)a->info.batch);
  FG_TRY(a->device->backend->enter(a->device));
  FG_TRY(fg_memory_ask_card(a));
  FG_TRY(fg_traffic_create(a));
  FG_TRY(make_passes(a, onnx, options));
  a->arrays = NULL;
  FG_TRY(make_memory(a));
  FG_TRY(make_staging(a));
  return a->has_map || a->has_mask ? upload_arrays(arrays, a) : FGSM_OK;
}

/* An attacker with nothing decided yet; the device is closed where there is no memory for it. */
static fgsm_status begin(const struct fg_onnx *onnx, const struct fgsm_options *options,
                         struct fg_device *device, struct fg_attacker **out) {
  struct fg_attacker *a = calloc(1, sizeof *a);
  *out = a;
  if (!a) {
    device->backend->close(device);
    return FG_FAIL(MEMORY, "no memory for an attack");
  }
  a->device = device;
  a->real = device->backend->real;
  a->info.device = device->backend->name;
  a->info.precision = a->real == FG_F64 ? "fp64" : fg_precision_name(device->precision);
  a->memory.limit = fg_options_memory(options);
  a->memory.model = fg_onnx_bytes(onnx);
  a->onnx = fg_onnx_keep(onnx);
  return FGSM_OK;
}

fgsm_status fg_attacker_try(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            struct fg_device *device, const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays,
                            const struct fg_attack_besides *besides, int64_t batch,
                            struct fg_attacker **out, struct fg_shortage *shortage) {
  struct fg_attacker *a;
  *out = NULL;
  *shortage = (struct fg_shortage){.any = false};
  FG_TRY(begin(onnx, options, device, &a));
  if (besides) {
    size_t share = besides->attackers > 1 ? (size_t)besides->attackers : 1;
    a->memory.limit /= share;
    a->memory.sharers = besides->attackers < device->lanes ? besides->attackers : device->lanes;
    a->memory.besides = (besides->bytes + besides->sample_bytes * (size_t)batch) / share;
  }
  fgsm_status status = create(a, onnx, options, shape, arrays, batch);
  if (status == FGSM_OK) {
    *out = a;
    return FGSM_OK;
  }
  *shortage = a->memory.shortage;
  if (status == FGSM_MEMORY && a->memory.card && !shortage->any) /* some allocation met the end */
    *shortage = (struct fg_shortage){.any = true, .of_card = true, .have = a->memory.card};
  fg_attacker_destroy(a);
  return status;
}

fgsm_status
fg_attacker_create_gradient(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            struct fg_device *device, const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays, int64_t batch,
                            const struct fg_attacker *lender, struct fg_attacker **out) {
  FG_TRY(begin(onnx, options, device, out));
  (*out)->only_gradient = true;
  (*out)->lender = lender;
  fgsm_status status = create(*out, onnx, options, shape, arrays, batch);
  if (status == FGSM_OK)
    return FGSM_OK;
  fg_attacker_destroy(*out);
  *out = NULL;
  return status;
}

fgsm_status fg_attacker_create(const struct fg_onnx *onnx, const struct fgsm_options *options,
                               struct fg_device *device, const struct fg_sample_shape *shape,
                               const struct fg_attack_arrays *arrays, int64_t batch,
                               struct fg_attacker **out) {
  struct fg_shortage shortage;
  return fg_attacker_try(onnx, options, device, shape, arrays, NULL, batch, out, &shortage);
}

static void free_memory(struct fg_attacker *a) {
  const struct fg_backend *backend = a->device->backend;
  for (int w = 0; w < FG_WIRE_COUNT; w++)
    if (!alternates(w))
      backend->free(a->device, a->wire[w]);
  for (int i = 0; i < 2; i++) {
    backend->free(a->device, a->ring[i]);
    backend->free(a->device, a->momentum[i]);
  }
  backend->free(a->device, a->zeros);
  if (!a->arena_is_lent)
    backend->free(a->device, a->arena);
  backend->host_free(a->device, a->stage);
  backend->host_free(a->device, a->written);
}

void fg_attacker_destroy(struct fg_attacker *a) {
  if (!a)
    return;
  struct fg_pass *passes[FG_ATTACK_PASSES];
  fg_attacker_passes(a, passes);
  (void)!a->device->backend->enter(a->device); /* a lost one too: what follows cannot fail */
  fg_traffic_end(a);
  fg_view_destroy(a);
  for (int i = 0; i < FG_ATTACK_PASSES; i++)
    fg_plan_destroy(passes[i]->plan);
  fg_graph_destroy(a->net.graph);
  fg_onnx_close(a->onnx);
  fg_traffic_destroy(a);
  free_memory(a);
  a->device->backend->close(a->device);
  free(a->labels);
  free(a->predictions);
  free(a->index);
  free(a->reals);
  free(a->rows);
  free(a->bounds);
  free(a->clean);
  free(a->flags);
  free(a->place);
  free(a);
}

const struct fg_attacker_info *fg_attacker_info(const struct fg_attacker *a) {
  return &a->info;
}
