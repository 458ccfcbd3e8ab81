/* A step of training: what its passes are run for, what they are given, and what came of it. */
#include <math.h>
#include <stdlib.h>

#include "engine.h"

static fgsm_status set_params(struct fg_engine *e, uint32_t stream) {
  const double eps = e->spec.eps;
  double params[FG_PARAM_COUNT] = {[FG_PARAM_eps] = eps,
                                   [FG_PARAM_alpha] =
                                       ldexp(e->spec.method.alpha * eps, -e->cautious),
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
      [FG_RATE_decay] = e->spec.decay, [FG_RATE_step] = (double)(e->steps + 1) - e->scale.skipped};
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
  if (e->spec.resident)
    return FGSM_OK; /* drawn by their index */
  return e->shape.type == FG_U8 ? fg_train_upload(e, FG_TRAIN_bytes, b->x)
                                : fg_train_upload_reals(e, FG_TRAIN_x0, b->x);
}

/* The batch's samples as they are, onto x0. */
static fgsm_status load_plain(struct fg_engine *e, const struct fg_train_batch *b) {
  int64_t n = e->batch * e->count;
  const unsigned char *bytes = b->x;
  if (!e->spec.resident)
    return fg_train_run(e, FG_TRAIN_LOAD, NULL, NULL);
  if (e->shape.type != FG_U8)
    return fg_train_upload_reals(e, FG_TRAIN_x0, b->x);
  float *x = malloc((size_t)n * sizeof *x + 1);
  if (!x)
    return FG_FAIL(MEMORY, "no memory for a batch");
  for (int64_t i = 0; i < n; i++)
    x[i] = (float)bytes[i] / 255.0f;
  fgsm_status status = fg_train_upload_reals(e, FG_TRAIN_x0, x);
  free(x);
  return status;
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
  int steps = e->spec.method.steps << e->cautious;
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

double fg_train_mean(const struct fg_engine *e, enum fg_train_wire wire, int place) {
  int64_t n = (int64_t)(fg_train_wire_bytes(e, wire) / fg_type_size(e->real));
  const double *wide = e->seen[place];
  const float *narrow = e->seen[place];
  double sum = 0;
  for (int64_t i = 0; e->wire[wire] && i < n; i++)
    sum += (e->real == FG_F32 ? (double)narrow[i] : wide[i]) / (double)n;
  return sum;
}

/* How many predictions are right on this rank; -1 where there are none. */
static int64_t count(const struct fg_engine *e, enum fg_train_wire wire, int place) {
  const int32_t *predictions = e->seen[place];
  int64_t right = 0;
  for (int64_t i = 0; e->wire[wire] && i < e->batch; i++)
    right += predictions[i] == e->labels[i];
  return e->wire[wire] ? right : -1;
}

/* What the ranks' parts of a batch come to together. */
static fgsm_status look(struct fg_engine *e, struct fg_train_losses *out) {
  static const enum fg_train_wire wires[FG_TRAIN_SEEN] = {
      FG_TRAIN_clean_loss, FG_TRAIN_loss, FG_TRAIN_penalty, FG_TRAIN_clean_prediction,
      FG_TRAIN_prediction};
  double share = e->spec.method.clean_share;
  FG_TRY(fg_train_bring(e, FG_TRAIN_SEEN, wires));
  out->own = share * fg_train_mean(e, FG_TRAIN_clean_loss, 0) +
             (1 - share) * fg_train_mean(e, FG_TRAIN_loss, 1) +
             fg_train_mean(e, FG_TRAIN_penalty, 2);
  out->clean = count(e, FG_TRAIN_clean_prediction, 3);
  out->adversarial = count(e, FG_TRAIN_prediction, 4);
  double sums[] = {out->own, (double)out->clean, (double)out->adversarial};
  FG_TRY(fg_ranks_sum(e->device->ranks, FG_F64, 3, sums));
  out->loss = sums[0] / fg_ranks_size(e->device->ranks);
  out->clean = out->clean < 0 ? -1 : (int64_t)sums[1];
  out->adversarial = out->adversarial < 0 ? -1 : (int64_t)sums[2];
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
    FG_TRY(fg_scale_send(e));
    FG_TRY(fg_train_send(e));
    FG_TRY(fg_train_replay(e, run_passes));
    e->steps++;
    FG_TRY(fg_scale_follow(e));
  }
  FG_TRY(look(e, out));
  return e->kept ? fg_carry_keep(e, batch) : FGSM_OK;
}

fgsm_status fg_engine_cosine(struct fg_engine *e, const struct fg_train_batch *batch, double *out) {
  static const enum fg_train_wire wires[FG_TRAIN_SEEN] = {FG_TRAIN_cosine};
  if (!e->pass[FG_TRAIN_WATCH].plan)
    return FG_FAIL(INTERNAL, "the engine is not watched");
  FG_TRY(load(e, batch, 0));
  FG_TRY(fg_train_send(e));
  FG_TRY(load_plain(e, batch));
  FG_TRY(fg_train_run(e, FG_TRAIN_WATCH, NULL, NULL));
  FG_TRY(fg_train_bring(e, 1, wires));
  *out = fg_train_mean(e, FG_TRAIN_cosine, 0) / fg_ranks_size(e->device->ranks);
  return fg_ranks_sum(e->device->ranks, FG_F64, 1, out);
}

bool fg_engine_may_settle(struct fg_device *device, enum fg_type type, int64_t bytes) {
  const struct fg_backend *backend = device->backend;
  size_t free, total;
  return !backend->host_memory && backend->kernels[FG_OP_augment]->run &&
         (type == FG_U8 || type == backend->real) &&
         backend->memory(device, &free, &total) == FGSM_OK && (size_t)bytes <= free / 4;
}

fgsm_status fg_engine_settle(struct fg_engine *e, const void *x) {
  FG_TRY(e->device->backend->enter(e->device));
  FG_TRY(fg_train_upload(e, FG_TRAIN_data, x));
  return e->device->backend->sync(e->device, e->stream);
}

void fg_engine_cautious(struct fg_engine *e, int doublings) {
  e->cautious = doublings;
}

fgsm_status fg_engine_adversarial(struct fg_engine *e, float *x) {
  int64_t n = (int64_t)(fg_train_wire_bytes(e, FG_TRAIN_x0) / fg_type_size(e->real));
  return fg_weights_read(&e->weights, e->crafted, n, x);
}
