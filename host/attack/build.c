/* From a recipe to a pass: the graph with its inputs and outputs, the passes over it, the plan. A
 * recipe's parts are chained through the graph's values where they meet (the model's gradient feeds
 * the step), and through wires where they do not, so that what one plan can fuse is in one plan. The
 * model itself is built once, and every pass with it begins as a copy that reads the same weights. */
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

struct builder {
  struct fg_attacker *a;
  struct fg_graph *g;
  fg_id value[FG_WIRE_COUNT]; /* each wire's value: an input, or what an operator made */
  int slot[FG_WIRE_COUNT];    /* of an output, -1 otherwise                            */
};

static void shape_of(const struct fg_attacker *a, enum fg_wire wire, enum fg_type *type, int *rank,
                     int64_t *dim) {
  int64_t batch = a->info.strip;
  *type = a->real;
  *rank = a->shape.rank + 1;
  dim[0] = batch;
  memcpy(dim + 1, a->shape.dim, (size_t)a->shape.rank * sizeof *dim);
  switch (wire) {
  case FG_WIRE_bytes:
    *type = FG_U8;
    break;
  case FG_WIRE_eps_map:
  case FG_WIRE_mask:
    *rank = a->shape.rank;
    memcpy(dim, a->shape.dim, (size_t)a->shape.rank * sizeof *dim);
    break;
  case FG_WIRE_params:
    *type = FG_F64;
    *rank = 1;
    dim[0] = FG_PARAM_COUNT;
    break;
  case FG_WIRE_rows:
    *type = FG_F64;
    *rank = 2;
    dim[1] = FG_PARAM_COUNT;
    break;
  case FG_WIRE_index:
  case FG_WIRE_labels64:
    *type = FG_I64;
    *rank = 1;
    break;
  case FG_WIRE_labels:
  case FG_WIRE_prediction:
    *type = FG_I32;
    *rank = 1;
    break;
  case FG_WIRE_loss:
    *rank = 1;
    break;
  default:
    break;
  }
}

static const char *const wire_names[FG_WIRE_COUNT] = {
    "x",      "next", "x0",     "bytes", "gradient", "m",      "m_next", "eps_map",    "mask",
    "params", "rows", "labels", "index", "stats",    "logits", "loss",   "prediction", "labels64"};

/* The wire's value; an input of the graph unless an operator made it. */
static fgsm_status take(struct builder *b, enum fg_wire wire, fg_id *out) {
  if (b->value[wire] == FG_ABSENT) {
    enum fg_type type;
    int rank;
    int64_t dim[FG_MAX_RANK];
    shape_of(b->a, wire, &type, &rank, dim);
    FG_TRY(fg_graph_input(b->g, wire_names[wire], type, rank, dim, &b->value[wire]));
  }
  *out = b->value[wire];
  return FGSM_OK;
}

static fgsm_status give(struct builder *b, enum fg_wire wire, fg_id value) {
  b->value[wire] = value;
  return fg_graph_output(b->g, value, &b->slot[wire]);
}

static fgsm_status take_optional(struct builder *b, bool has, enum fg_wire wire, fg_id *out) {
  *out = FG_ABSENT;
  return has ? take(b, wire, out) : FGSM_OK;
}

static fgsm_status add_dequantize(struct builder *b) {
  fg_id bytes, x;
  FG_TRY(take(b, FG_WIRE_bytes, &bytes));
  FG_TRY(fg_cast(b->g, bytes, b->a->real, 255, &x));
  return give(b, FG_WIRE_next, x);
}

static fgsm_status add_start(struct builder *b) {
  const struct fg_attacker *a = b->a;
  union fg_attrs attrs = {
      .perturb = {.kind = a->info.spec.start, .norm = a->info.spec.norm, .box = true}};
  fg_id in[5], out[FG_MAX_OUT];
  FG_TRY(take(b, FG_WIRE_x0, &in[0]));
  FG_TRY(take(b, FG_WIRE_index, &in[1]));
  FG_TRY(take_optional(b, a->has_map, FG_WIRE_eps_map, &in[2]));
  FG_TRY(take_optional(b, a->has_mask, FG_WIRE_mask, &in[3]));
  FG_TRY(take(b, FG_WIRE_params, &in[4]));
  FG_TRY(fg_graph_add(b->g, FG_OP_perturb, "start", &attrs, 5, in, out));
  return give(b, FG_WIRE_next, out[0]);
}

/* A linear loss's factors, one for each logit. */
static fgsm_status add_functional(struct builder *b, const char *text, fg_id *out) {
  const int64_t classes = b->a->info.classes;
  double *factors = NULL;
  int n;
  FG_TRY(fg_reals_parse(text, &factors, &n));
  fgsm_status status =
      n == classes ? fg_graph_constant(b->g, "functional", FG_F64, 1, &classes, factors, out)
                   : FG_FAIL(USAGE, "--functional has %d factors where the model has %lld logits",
                             n, (long long)classes);
  free(factors);
  return status;
}

/* The model as its file has it, for passes of info.strip samples. */
static fgsm_status read_net(struct fg_attacker *a, const struct fg_onnx *onnx,
                            const struct fgsm_options *options, struct fg_graph *g, char *note) {
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK];
  fg_id logits;
  shape_of(a, FG_WIRE_x, &type, &rank, dim);
  FG_TRY(fg_graph_input(g, wire_names[FG_WIRE_x], type, rank, dim, &a->net.x));
  FG_TRY(fg_attack_logits(g, onnx, options, a->arrays, &a->shape, a->info.strip, false, a->net.x,
                          &logits, note));
  return fg_graph_output(g, logits, NULL);
}

static fgsm_status add_model(struct builder *b, const struct fgsm_options *options,
                             const struct fg_recipe *recipe) {
  struct fg_attacker *a = b->a;
  union fg_attrs attrs = {.loss = a->loss};
  fg_id x, in[3], out[FG_MAX_OUT], gradient = FG_ABSENT;
  FG_TRY(take(b, FG_WIRE_x, &x));
  in[0] = b->value[FG_WIRE_logits];
  FG_TRY(take(b, FG_WIRE_labels, &in[1]));
  if (options->functional)
    FG_TRY(add_functional(b, options->functional, &in[2]));
  FG_TRY(fg_graph_add(b->g, FG_OP_loss, "loss", &attrs, options->functional ? 3 : 2, in, out));
  FG_TRY(give(b, FG_WIRE_loss, out[1]));
  FG_TRY(give(b, FG_WIRE_prediction, out[2]));
  if (!recipe->gradient)
    return FGSM_OK;
  FG_TRY(fg_grad(b->g, 1, &in[0], &out[0], 1, &x, &gradient));
  if (gradient == FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "the model's output does not depend on its input: no gradient");
  if (!recipe->step)
    return give(b, FG_WIRE_gradient, gradient);
  b->value[FG_WIRE_gradient] = gradient;
  return FGSM_OK;
}

/* The step; `settle` is one of length 0 along whatever: x0 serves. */
static fgsm_status add_step(struct builder *b, bool settle, bool rows) {
  const struct fg_attacker *a = b->a;
  const struct fg_attack_spec *spec = &a->info.spec;
  union fg_attrs attrs = {.step = {.norm = spec->norm, .project = spec->project}};
  fg_id in[7], out[FG_MAX_OUT];
  bool momentum = !settle && spec->decay >= 0;
  FG_TRY(take(b, FG_WIRE_x0, &in[0]));
  FG_TRY(take(b, FG_WIRE_x, &in[1]));
  FG_TRY(take(b, settle ? FG_WIRE_x0 : FG_WIRE_gradient, &in[2]));
  FG_TRY(take_optional(b, momentum, FG_WIRE_m, &in[3]));
  FG_TRY(take_optional(b, a->has_map, FG_WIRE_eps_map, &in[4]));
  FG_TRY(take_optional(b, a->has_mask, FG_WIRE_mask, &in[5]));
  FG_TRY(take(b, rows ? FG_WIRE_rows : FG_WIRE_params, &in[6]));
  FG_TRY(fg_graph_add(b->g, FG_OP_step, settle ? "settle" : "step", &attrs, 7, in, out));
  FG_TRY(give(b, FG_WIRE_next, out[0]));
  if (momentum)
    FG_TRY(give(b, FG_WIRE_m_next, out[1]));
  return settle ? FGSM_OK : give(b, FG_WIRE_stats, out[2]);
}

static fgsm_status add_quantize(struct builder *b, bool rows) {
  const struct fg_attack_spec *spec = &b->a->info.spec;
  union fg_attrs attrs = {.step = {.norm = spec->norm, .project = spec->project}};
  fg_id in[3], out[FG_MAX_OUT];
  FG_TRY(take(b, FG_WIRE_x, &in[0]));
  FG_TRY(take(b, FG_WIRE_x0, &in[1]));
  FG_TRY(take(b, rows ? FG_WIRE_rows : FG_WIRE_params, &in[2]));
  FG_TRY(fg_graph_add(b->g, FG_OP_quantize, "quantize", &attrs, 3, in, out));
  return give(b, FG_WIRE_bytes, out[0]);
}

static fgsm_status add_copy(struct builder *b) {
  union fg_attrs attrs = {.unary = {.kind = FG_UNARY_identity}};
  fg_id x, out[FG_MAX_OUT];
  FG_TRY(take(b, FG_WIRE_x, &x));
  FG_TRY(fg_graph_add(b->g, FG_OP_unary, "copy", &attrs, 1, &x, out));
  return give(b, FG_WIRE_next, out[0]);
}

static fgsm_status add_narrow(struct builder *b) {
  fg_id wide, labels;
  FG_TRY(take(b, FG_WIRE_labels64, &wide));
  FG_TRY(fg_cast(b->g, wide, FG_I32, 0, &labels));
  return give(b, FG_WIRE_labels, labels);
}

static fgsm_status add_parts(struct builder *b, const struct fgsm_options *options,
                             const struct fg_recipe *recipe) {
  if (recipe->dequantize)
    FG_TRY(add_dequantize(b));
  if (recipe->start)
    FG_TRY(add_start(b));
  if (recipe->model)
    FG_TRY(add_model(b, options, recipe));
  if (recipe->step || recipe->settle)
    FG_TRY(add_step(b, recipe->settle, recipe->rows));
  if (recipe->quantize)
    FG_TRY(add_quantize(b, recipe->rows));
  if (recipe->copy)
    FG_TRY(add_copy(b));
  if (recipe->narrow)
    FG_TRY(add_narrow(b));
  return FGSM_OK;
}

/* The passes over the graph, and the ids that outlive them. *made is false where the recipe asks for
 * one call that the backend does not have. */
static fgsm_status finish(struct builder *b, const struct fg_recipe *recipe, struct fg_pass *out,
                          bool *made) {
  *made = true;
  FG_TRY(fg_fuse(b->g, b->a->device));
  if (recipe->repeat || recipe->halvings)
    FG_TRY(fg_fuse_steps(b->g, b->a->device, recipe->repeat + recipe->halvings,
                         recipe->halvings > 0, made));
  if (!*made)
    return FGSM_OK;
  FG_TRY(fg_halve(b->g, b->a->device));
  FG_TRY(fg_layout(b->g, b->a->device));
  FG_TRY(fg_mask(b->g, b->a->device));
  FG_TRY(fg_graph_compact(b->g));
  for (int w = 0; w < FG_WIRE_COUNT; w++) {
    out->wire[w] = FG_ABSENT;
    if (b->slot[w] >= 0) {
      out->wire[w] = b->g->outputs[b->slot[w]];
      if (fg_value(b->g, out->wire[w])->role != FG_ROLE_TEMP)
        return FG_FAIL(UNSUPPORTED, "the model computes nothing from its input");
    } else if (b->value[w] != FG_ABSENT && fg_value(b->g, b->value[w])->role == FG_ROLE_INPUT) {
      out->wire[w] = b->value[w];
    }
  }
  return FGSM_OK;
}

/* Before kernels are asked, which may take memory of the graph's size to choose among ways. */
static fgsm_status check_size(struct builder *b) {
  struct fg_plan_info info;
  FG_TRY(fg_plan_size(b->g, &info));
  const struct fg_coming coming = {b->g->arena.total_bytes, info.constant_bytes, info.arena_bytes};
  return fg_memory_check(b->a, &coming);
}

/* The graph did not get to where its size could be told. */
static fgsm_status too_large(struct fg_attacker *a) {
  char limit[32];
  a->memory.shortage = (struct fg_shortage){.any = true, .have = a->memory.limit};
  return FG_FAIL(UNSUPPORTED, "the model's constants alone need more than the %s of --max-memory",
                 fg_memory_text(a->memory.limit, limit));
}

/* What memory is left bounds the graph. */
static fgsm_status limit(struct fg_attacker *a, struct fg_graph *g) {
  const struct fg_coming none = {.graph = 0}, begun = {.graph = 1};
  FG_TRY(fg_memory_check(a, &begun));
  size_t left = a->memory.limit - fg_memory_need(a, &none);
  if (left < g->arena.limit_bytes)
    g->arena.limit_bytes = left;
  return FGSM_OK;
}

/* *out also where this fails; then it may be NULL. */
static fgsm_status begin_net(struct fg_attacker *a, const struct fg_onnx *onnx,
                             const struct fgsm_options *options, char *note,
                             struct fg_graph **out) {
  FG_TRY(fg_graph_create(a->real, out));
  (*out)->borrows = true;
  FG_TRY(limit(a, *out));
  return read_net(a, onnx, options, *out, note);
}

/* Reads it again for a strip, where the batch is taken in several; a file may fix its batch. */
static fgsm_status cut_to_strip(struct fg_attacker *a, const struct fg_onnx *onnx,
                                const struct fgsm_options *options, char *note,
                                struct fg_graph **g) {
  int64_t own, strip = fg_strip_samples(*g, a->device, a->info.batch, a->count);
  FG_TRY(fg_attack_batch(onnx, options, &a->shape, strip, &own));
  if (own != strip || strip == a->info.batch)
    return FGSM_OK;
  fg_graph_destroy(*g);
  *g = NULL;
  a->info.strip = strip;
  return begin_net(a, onnx, options, note, g);
}

/* Recognised and folded before it is differentiated: the gradient is then of the smaller graph. */
fgsm_status fg_net_create(struct fg_attacker *a, const struct fg_onnx *onnx,
                          const struct fgsm_options *options, char *note) {
  struct fg_graph *g = NULL;
  fgsm_status status = begin_net(a, onnx, options, note, &g);
  if (status == FGSM_OK)
    status = cut_to_strip(a, onnx, options, note, &g);
  if (status == FGSM_OK)
    status = fg_recognise(g, a->device);
  if (status == FGSM_OK)
    status = fg_fold(g);
  if (status == FGSM_OK)
    status = fg_graph_strip(&g, a->lender ? a->lender->net.graph : NULL);
  if (status == FGSM_MEMORY && g && g->arena.refused)
    status = too_large(a);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  a->net.graph = g;
  a->info.classes = fg_value(g, g->outputs[0])->dim[1];
  return FGSM_OK;
}

/* The graph that the pass begins as: the model's, or an empty one. */
static fgsm_status begin(struct builder *b, const struct fg_recipe *recipe) {
  struct fg_attacker *a = b->a;
  if (recipe->model) {
    FG_TRY(fg_graph_share(a->net.graph, &b->g));
    b->value[FG_WIRE_x] = a->net.x;
    b->value[FG_WIRE_logits] = b->g->outputs[0];
    b->slot[FG_WIRE_logits] = 0;
  } else {
    FG_TRY(fg_graph_create(a->real, &b->g));
  }
  fgsm_status status = limit(a, b->g);
  if (status != FGSM_OK)
    fg_graph_destroy(b->g);
  return status;
}

fgsm_status fg_pass_create(struct fg_attacker *a, const struct fgsm_options *options,
                           const struct fg_recipe *recipe, struct fg_pass *out) {
  struct builder b = {.a = a};
  bool made = true;
  for (int w = 0; w < FG_WIRE_COUNT; w++) {
    b.value[w] = FG_ABSENT;
    b.slot[w] = -1;
  }
  FG_TRY(begin(&b, recipe));
  fgsm_status status = add_parts(&b, options, recipe);
  if (status == FGSM_OK)
    status = finish(&b, recipe, out, &made);
  if (status == FGSM_OK && made)
    status = check_size(&b);
  if (status == FGSM_MEMORY && b.g->arena.refused)
    status = too_large(a);
  if (status != FGSM_OK || !made) {
    fg_graph_destroy(b.g);
    return status;
  }
  status = fg_plan_create(b.g, a->device, false, &out->plan);
  if (status != FGSM_MEMORY || !a->device->backend->host_memory)
    return status; /* a card's own memory is another matter */
  char why[400];
  fg_error_copy(why, sizeof why);
  a->memory.shortage = (struct fg_shortage){.any = true, .have = a->memory.limit};
  return FG_FAIL(UNSUPPORTED, "%s; --max-memory says how much there is", why);
}

bool fg_pass_is_whole(const struct fg_pass *pass) {
  const struct fg_graph *g = pass->plan ? fg_plan_graph(pass->plan) : NULL;
  return g && g->n_nodes == 1 && g->nodes[0].op == FG_OP_mlp_fgsm;
}

fgsm_status fg_pass_run(struct fg_attacker *a, struct fg_pass *pass, void *x, void *next) {
  FG_TRY(fg_check_interrupt());
  for (int w = 0; w < FG_WIRE_COUNT; w++) {
    void *memory = w == FG_WIRE_x ? x : w == FG_WIRE_next ? next : a->wire[w];
    if (pass->wire[w] == FG_ABSENT || pass->bound[w] == memory)
      continue;
    FG_TRY(fg_plan_bind(pass->plan, pass->wire[w], memory));
    pass->bound[w] = memory;
  }
  void *stream = a->stream[FG_TRAFFIC_compute];
  if (!a->timed)
    return fg_plan_run(pass->plan, stream);
  FG_TRY(a->device->backend->sync(a->device, stream));
  double began = fg_now();
  FG_TRY(fg_plan_run(pass->plan, stream));
  FG_TRY(a->device->backend->sync(a->device, stream));
  pass->seconds += fg_now() - began;
  return FGSM_OK;
}
