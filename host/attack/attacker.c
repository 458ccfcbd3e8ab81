/* Making an attacker: what the options and the data allow is decided here, once, and everything
 * that a run will need - passes, buffers, staging - is made here, so that running can only compute.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

/* Levels of a byte within which a float that was meant as a fraction of 255 may lie off it. */
static const double LEVEL_SLACK = 1e-4;

static void note(struct fg_attacker *a, const char *text) {
  fg_note_add(a->info.notes, sizeof a->info.notes, "%s", text);
}

/* ---- deciding */

static fgsm_status decide_types(const struct fgsm_options *options,
                                const struct fg_sample_shape *shape, struct fg_attacker *a) {
  a->shape = *shape;
  a->count = 1;
  for (int i = 0; i < shape->rank; i++)
    if (!fg_mul_ok(a->count, shape->dim[i], &a->count))
      return FG_FAIL(USAGE, "a sample's shape is too large");
  if (a->count < 1 || shape->rank < 1 || shape->rank >= FG_MAX_RANK)
    return FG_FAIL(USAGE, "a sample has no elements, or more than %d axes", FG_MAX_RANK - 1);
  if (shape->type != FG_U8 && shape->type != FG_F32)
    return FG_FAIL(INTERNAL, "samples of type %s", fg_type_name(shape->type));
  if (!*options->out_type)
    a->info.out_type = shape->type;
  else if (strcmp(options->out_type, "u8") == 0)
    a->info.out_type = FG_U8;
  else if (strcmp(options->out_type, "f32") == 0)
    a->info.out_type = FG_F32;
  else
    return FG_FAIL(USAGE, "--out-type %s: there is u8 and f32", options->out_type);
  return FGSM_OK;
}

/* The data box. Its ends are moved inward to values that the output can hold. */
static fgsm_status decide_box(const struct fgsm_options *options, struct fg_attacker *a) {
  bool from_bytes = a->shape.type == FG_U8, to_bytes = a->info.out_type == FG_U8;
  double lo = options->clip_none ? -INFINITY : options->clip_lo;
  double hi = options->clip_none ? INFINITY : options->clip_hi;
  if (!(lo < hi))
    return FG_FAIL(USAGE, "--clip %g,%g: the lower end comes first", lo, hi);
  if (from_bytes && !options->clip_none && (lo < 0 || hi > 1))
    return FG_FAIL(USAGE, "--clip %g,%g: bytes are attacked as fractions of 255, within 0,1", lo,
                   hi);
  if (!from_bytes && to_bytes && (lo < 0 || hi > 1))
    return FG_FAIL(USAGE, "--out-type u8 holds values from 0 to 1; give --clip 0,1 and data that "
                          "keep to it, or write f32");
  a->clip_lo = from_bytes ? fmax(lo, 0) : lo;
  a->clip_hi = from_bytes ? fmin(hi, 1) : hi;
  if (to_bytes) {
    a->lo = ceil(255 * fmax(lo, 0) - LEVEL_SLACK) / 255;
    a->hi = floor(255 * fmin(hi, 1) + LEVEL_SLACK) / 255;
  } else {
    float inner_lo = (float)lo, inner_hi = (float)hi;
    a->lo = (double)inner_lo < lo ? nextafterf(inner_lo, INFINITY) : inner_lo;
    a->hi = (double)inner_hi > hi ? nextafterf(inner_hi, -INFINITY) : inner_hi;
  }
  if (!(a->lo <= a->hi))
    return FG_FAIL(USAGE, "--clip %g,%g holds no value that can be written", lo, hi);
  return FGSM_OK;
}

/* The budgets as they are applied. */
static fgsm_status decide_eps(const struct fgsm_options *options, struct fg_attacker *a) {
  bool linf = a->info.spec.norm == FG_NORM_linf, bytes = a->shape.type == FG_U8;
  bool lattice = linf && bytes && a->info.out_type == FG_U8;
  if (options->n_eps < 1 || options->n_eps > FG_MAX_EPS)
    return FG_FAIL(USAGE, "--eps is missing: give a budget such as 8/255");
  a->info.n_eps = options->n_eps;
  for (int k = 0; k < options->n_eps; k++) {
    const struct fg_ratio *eps = &options->eps[k];
    if (!(eps->value >= 0) || !isfinite(eps->value))
      return FG_FAIL(USAGE, "--eps %s: a finite number from 0 on is needed", eps->text);
    if (linf && bytes && eps->value > 1)
      return FG_FAIL(USAGE, "--eps %s: for bytes write %s/255", eps->text, eps->text);
    a->info.eps[k] = lattice ? (double)fg_ratio_levels(eps) / 255 : eps->value;
    if (lattice && eps->value > 0 && a->info.eps[k] == 0)
      fg_note_add(a->info.notes, sizeof a->info.notes,
                  "eps %s is less than one level of a byte: nothing changes", eps->text);
  }
  if (!linf && a->info.out_type == FG_U8)
    note(a, "rounding to bytes may exceed eps a little in this norm; linf and l2 are as written");
  return FGSM_OK;
}

static fgsm_status check_array(const char *option, const float *values, int64_t n,
                               const struct fg_attacker *a) {
  if (n != a->count)
    return FG_FAIL(USAGE, "%s holds %lld values, and a sample has %lld", option, (long long)n,
                   (long long)a->count);
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(values[i]) || values[i] < 0)
      return FG_FAIL(USAGE, "%s: value %lld is %g, and must be finite and not negative", option,
                     (long long)i, values[i]);
  return FGSM_OK;
}

/* With a map the one eps is its largest; for bytes each feature gets whole levels. */
static fgsm_status decide_map(const struct fg_attack_arrays *arrays,
                              const struct fgsm_options *options, struct fg_attacker *a) {
  bool bytes = a->shape.type == FG_U8;
  FG_TRY(check_array("--eps (one per feature)", arrays->eps_map, arrays->n_eps_map, a));
  if (options->n_eps > 1)
    return FG_FAIL(USAGE, "an eps per feature and a list of eps exclude each other");
  if (a->info.spec.norm != FG_NORM_linf)
    return FG_FAIL(USAGE, "an eps per feature bounds each feature by itself: it needs --norm linf");
  if (!bytes && a->info.out_type == FG_U8)
    return FG_FAIL(USAGE, "an eps per feature for floats that are written as bytes is not "
                          "supported; write f32");
  double largest = 0;
  for (int64_t i = 0; i < a->count; i++)
    largest = fmax(largest, arrays->eps_map[i]);
  if (bytes && largest > 1)
    return FG_FAIL(USAGE, "an eps of %g for bytes, whose range is 0 to 1: divide the map by 255",
                   largest);
  a->info.n_eps = 1;
  a->info.eps[0] =
      bytes && a->info.out_type == FG_U8 ? floor(255 * largest + LEVEL_SLACK) / 255 : largest;
  return FGSM_OK;
}

static bool all_digits(const char *text) {
  return *text && strspn(text, "0123456789") == strlen(text);
}

static fgsm_status decide_loss(const struct fgsm_options *options, struct fg_attacker *a) {
  static const char *const names[] = {[FG_LOSS_ce] = "ce",
                                      [FG_LOSS_margin] = "margin",
                                      [FG_LOSS_dlr] = "dlr",
                                      [FG_LOSS_linear] = "linear"};
  int kind = 0;
  while (kind < 4 && strcmp(names[kind], options->loss) != 0)
    kind++;
  if (kind == 4)
    return FG_FAIL(USAGE, "--loss %s: there is ce, margin, dlr and linear", options->loss);
  if ((kind == FG_LOSS_linear) != (options->functional != NULL))
    return FG_FAIL(USAGE, kind == FG_LOSS_linear
                              ? "--loss linear needs --functional: a factor for each logit"
                              : "--functional is for --loss linear alone");
  if (*options->loss_parity && strcmp(options->loss_parity, "torch") != 0)
    return FG_FAIL(USAGE, "--loss-parity %s: there is torch", options->loss_parity);
  a->loss = (struct fg_loss_attrs){.kind = (enum fg_loss_kind)kind,
                                   .targeted = options->target != NULL,
                                   .parity = *options->loss_parity != 0};
  a->labels_predicted = options->labels && strcmp(options->labels, "predicted") == 0;
  a->target = -1;
  if (!options->target)
    return FGSM_OK;
  if (a->labels_predicted)
    return FG_FAIL(USAGE, "--labels predicted with --target: the target is the label attacked");
  a->least_likely = strcmp(options->target, "least-likely") == 0;
  if (all_digits(options->target)) {
    errno = 0;
    a->target = strtoll(options->target, NULL, 10);
    if (errno)
      return FG_FAIL(USAGE, "--target %.40s: no such class", options->target);
  }
  a->targets_given = !a->least_likely && a->target < 0;
  return FGSM_OK;
}

/* What can only be checked once the model is built. */
static bool has_start(const struct fg_attacker *a) {
  return a->info.spec.start != FG_START_none;
}

/* Labels that the model foretells, and gradients at the clean samples, come with a look at those. */
static fgsm_status decide_looks(const struct fgsm_options *options, struct fg_attacker *a) {
  const struct fg_attack_spec *spec = &a->info.spec;
  a->info.verifies = !options->no_verify;
  a->info.sees_clean = a->info.verifies || !has_start(a) || a->labels_predicted || a->least_likely;
  if (options->no_verify && spec->halvings)
    return FG_FAIL(USAGE,
                   "--no-verify and --attack %s exclude each other: it goes by looks at what "
                   "would be written",
                   spec->name);
  if (options->no_verify && spec->restarts > 1)
    return FG_FAIL(USAGE,
                   "--no-verify and --restarts %d exclude each other: a sample's best is found "
                   "by looks at what would be written",
                   spec->restarts);
  return FGSM_OK;
}

static fgsm_status check_classes(const struct fg_attacker *a) {
  if (a->target >= a->info.classes)
    return FG_FAIL(USAGE, "--target %lld: the model has %lld classes, counted from 0",
                   (long long)a->target, (long long)a->info.classes);
  if (a->loss.kind == FG_LOSS_dlr && a->info.classes < 3)
    return FG_FAIL(USAGE, "--loss dlr needs 3 classes, the model has %lld; use margin",
                   (long long)a->info.classes);
  return FGSM_OK;
}

static fgsm_status decide(const struct fgsm_options *options, const struct fg_sample_shape *shape,
                          const struct fg_attack_arrays *arrays, struct fg_attacker *a) {
  FG_TRY(fg_attack_resolve(options, &a->info.spec));
  FG_TRY(decide_types(options, shape, a));
  FG_TRY(decide_box(options, a));
  if (arrays->eps_map)
    FG_TRY(decide_map(arrays, options, a));
  else
    FG_TRY(decide_eps(options, a));
  if (arrays->mask)
    FG_TRY(check_array("--mask", arrays->mask, arrays->n_mask, a));
  if (a->info.spec.halvings && arrays->eps_map)
    return FG_FAIL(USAGE, "--attack %s and an eps per feature exclude each other",
                   a->info.spec.name);
  if (a->info.spec.halvings && a->info.n_eps > 1)
    return FG_FAIL(USAGE, "--attack %s takes one eps: the largest to be tried", a->info.spec.name);
  a->has_map = arrays->eps_map != NULL;
  a->has_mask = arrays->mask != NULL;
  FG_TRY(decide_loss(options, a));
  FG_TRY(decide_looks(options, a));
  if (options->seed >= (uint64_t)1 << 53)
    return FG_FAIL(USAGE, "--seed must be below 2^53");
  a->seed = (double)options->seed;
  return FGSM_OK;
}

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

/* The model's graph for the whole batch, and again for a strip where the batch is taken in several. */
static fgsm_status make_net(struct fg_attacker *a, const struct fg_onnx *onnx,
                            const struct fgsm_options *options, char *note_of_model) {
  int64_t own;
  FG_TRY(fg_net_create(a, onnx, options, note_of_model));
  int64_t strip = fg_strip_samples(a->net.graph, a->device, a->info.batch, a->count);
  FG_TRY(fg_attack_batch(onnx, options, &a->shape, strip, &own));
  if (own != strip || strip == a->info.batch)
    return FGSM_OK;
  fg_graph_destroy(a->net.graph);
  a->net.graph = NULL;
  a->info.strip = strip;
  return fg_net_create(a, onnx, options, note_of_model);
}

static fgsm_status make_passes(struct fg_attacker *a, const struct fg_onnx *onnx,
                               const struct fgsm_options *options) {
  const struct fg_attack_spec *spec = &a->info.spec;
  bool looks = !a->only_gradient && a->info.verifies;
  bool bytes = a->shape.type == FG_U8 || (looks && a->info.out_type == FG_U8);
  bool minimal = spec->halvings > 0;
  bool split = spec->steps == 1 && !has_start(a) && (a->info.n_eps > 1 || minimal);
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
      {whole && has_start(a), {.start = true}, &a->start},
      {whole && spec->steps == 0, {.settle = true}, &a->settle},
      {bytes, {.dequantize = true}, &a->dequantize},
      {whole && a->info.out_type == FG_U8, {.quantize = true, .rows = minimal}, &a->quantize},
  };
  FG_TRY(fg_check_interrupt());
  FG_TRY(make_net(a, onnx, options, note_of_model));
  FG_TRY(check_classes(a));
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (list[i].wanted) {
      FG_TRY(fg_check_interrupt());
      FG_TRY(fg_pass_create(a, options, &list[i].recipe, list[i].pass));
    }
  if (whole)
    FG_TRY(make_whole_passes(a, options));
  if (*note_of_model)
    note(a, note_of_model);
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
      values[i] = lattice ? floor(255 * (double)arrays->eps_map[i] + LEVEL_SLACK) / 255
                          : arrays->eps_map[i];
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
  FG_TRY(decide(options, shape, arrays, a));
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
