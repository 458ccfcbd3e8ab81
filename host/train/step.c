/* A step of training: what its passes are run for, what they are given, and what came of it. */
#include <stdlib.h>

#include "engine.h"

static fgsm_status download(struct fg_engine *e, enum fg_train_wire wire, void *to, size_t bytes) {
  FG_TRY(e->device->backend->download(e->device, to, e->wire[wire], bytes, NULL));
  return e->device->backend->sync(e->device, NULL);
}

/* Nothing where the method has no use for the part. */
static fgsm_status run(struct fg_engine *e, enum fg_train_part part, void *x, void *next) {
  struct fg_train_pass *pass = &e->pass[part];
  if (!pass->plan)
    return FGSM_OK;
  if (pass->wire[FG_TRAIN_x] != FG_ABSENT)
    FG_TRY(fg_plan_bind(pass->plan, pass->wire[FG_TRAIN_x], x));
  if (pass->wire[FG_TRAIN_next] != FG_ABSENT)
    FG_TRY(fg_plan_bind(pass->plan, pass->wire[FG_TRAIN_next], next));
  return fg_plan_run(pass->plan, NULL);
}

fgsm_status fg_train_upload_reals(struct fg_engine *e, enum fg_train_wire wire, const float *x) {
  size_t bytes = fg_train_wire_bytes(e, wire);
  if (e->real == FG_F32)
    return fg_train_upload(e, wire, x, bytes);
  double *wide = malloc(bytes + 1);
  if (!wide)
    return FG_FAIL(MEMORY, "no memory for a batch");
  for (size_t i = 0; i < bytes / sizeof *wide; i++)
    wide[i] = x[i];
  fgsm_status status = fg_train_upload(e, wire, wide, bytes);
  free(wide);
  return status;
}

static fgsm_status upload_params(struct fg_engine *e, uint32_t stream) {
  const double eps = e->spec.eps;
  double params[FG_PARAM_COUNT] = {[FG_PARAM_eps] = eps,
                                   [FG_PARAM_alpha] =
                                       e->spec.method.alpha * eps / (e->cautious ? 2 : 1),
                                   [FG_PARAM_lo] = e->spec.lo,
                                   [FG_PARAM_hi] = e->spec.hi,
                                   [FG_PARAM_radius] = e->spec.method.radius * eps,
                                   [FG_PARAM_seed] = (double)e->spec.seed,
                                   [FG_PARAM_stream] = stream};
  FG_TRY(fg_train_upload(e, FG_TRAIN_params, params, sizeof params));
  params[FG_PARAM_radius] = eps;
  params[FG_PARAM_stream] = (double)(stream ^ 1u << 31);
  return fg_train_upload(e, FG_TRAIN_eta, params, sizeof params);
}

static fgsm_status upload_rates(struct fg_engine *e, double rate) {
  const double rates[FG_RATE_COUNT] = {
      [FG_RATE_rate] = rate,           [FG_RATE_momentum] = e->spec.momentum,
      [FG_RATE_beta2] = e->spec.beta2, [FG_RATE_epsilon] = e->spec.epsilon,
      [FG_RATE_decay] = e->spec.decay, [FG_RATE_step] = (double)(e->steps + 1)};
  return fg_train_upload(e, FG_TRAIN_rates, rates, sizeof rates);
}

static fgsm_status load(struct fg_engine *e, const struct fg_train_batch *b, uint32_t stream) {
  size_t n = (size_t)e->batch;
  for (int64_t i = 0; i < e->batch; i++) {
    if (b->labels[i] < 0 || b->labels[i] >= e->classes)
      return FG_FAIL(DATA, "sample %lld has label %lld, and the model has %lld classes",
                     (long long)b->index[i], (long long)b->labels[i], (long long)e->classes);
    e->labels[i] = (int32_t)b->labels[i];
  }
  FG_TRY(upload_params(e, stream));
  FG_TRY(fg_train_upload(e, FG_TRAIN_labels, e->labels, n * sizeof *e->labels));
  FG_TRY(fg_train_upload(e, FG_TRAIN_index, b->index, n * sizeof *b->index));
  if (e->shape.type != FG_U8)
    return fg_train_upload_reals(e, FG_TRAIN_x0, b->x);
  FG_TRY(fg_train_upload(e, FG_TRAIN_bytes, b->x, fg_train_wire_bytes(e, FG_TRAIN_bytes)));
  return run(e, FG_TRAIN_LOAD, NULL, NULL);
}

static fgsm_status craft(struct fg_engine *e) {
  void *x = e->wire[FG_TRAIN_x0];
  int to = 0;
  FG_TRY(run(e, FG_TRAIN_TARGET, NULL, NULL));
  if (e->pass[FG_TRAIN_START].plan) {
    FG_TRY(run(e, FG_TRAIN_START, NULL, e->ring[to]));
    x = e->ring[to];
    to = 1 - to;
  }
  int steps = e->spec.method.steps * (e->cautious ? 2 : 1);
  for (int i = 0; i < steps; i++) {
    FG_TRY(run(e, FG_TRAIN_CRAFT, x, e->ring[to]));
    x = e->ring[to];
    to = 1 - to;
  }
  e->crafted = x;
  return FGSM_OK;
}

static fgsm_status descend(struct fg_engine *e, double rate) {
  FG_TRY(upload_rates(e, rate));
  FG_TRY(run(e, FG_TRAIN_REGULATE, NULL, NULL));
  FG_TRY(run(e, FG_TRAIN_DESCEND, e->crafted, NULL));
  FG_TRY(run(e, FG_TRAIN_BOUND, NULL, NULL));
  e->steps++;
  return FGSM_OK;
}

/* ---- what came of it */

/* The mean of a wire of losses on this rank; *out 0 where there is none. */
static fgsm_status mean(struct fg_engine *e, enum fg_train_wire wire, double *out) {
  size_t bytes = fg_train_wire_bytes(e, wire);
  int64_t n = (int64_t)(bytes / fg_type_size(e->real));
  const float *narrow = (const float *)e->losses;
  *out = 0;
  if (!e->wire[wire])
    return FGSM_OK;
  FG_TRY(download(e, wire, e->losses, bytes));
  for (int64_t i = 0; i < n; i++)
    *out += (e->real == FG_F32 ? (double)narrow[i] : e->losses[i]) / (double)n;
  return FGSM_OK;
}

/* How many predictions are right on this rank; -1 where there are none. */
static fgsm_status count(struct fg_engine *e, enum fg_train_wire wire, int64_t *right) {
  *right = -1;
  if (!e->wire[wire])
    return FGSM_OK;
  FG_TRY(download(e, wire, e->predictions, (size_t)e->batch * sizeof *e->predictions));
  *right = 0;
  for (int64_t i = 0; i < e->batch; i++)
    *right += e->predictions[i] == e->labels[i];
  return FGSM_OK;
}

/* What the ranks' parts of a batch come to together. */
static fgsm_status look(struct fg_engine *e, struct fg_train_losses *out) {
  double share = e->spec.method.clean_share, clean, adversarial, penalty;
  struct fg_ranks *ranks = e->device->ranks;
  FG_TRY(mean(e, FG_TRAIN_clean_loss, &clean));
  FG_TRY(mean(e, FG_TRAIN_loss, &adversarial));
  FG_TRY(mean(e, FG_TRAIN_penalty, &penalty));
  FG_TRY(count(e, FG_TRAIN_clean_prediction, &out->clean));
  FG_TRY(count(e, FG_TRAIN_prediction, &out->adversarial));
  out->loss = share * clean + (1 - share) * adversarial + penalty;
  out->own = out->loss;
  double sums[] = {out->loss, (double)out->clean, (double)out->adversarial};
  FG_TRY(fg_ranks_sum(ranks, FG_F64, 3, sums));
  out->loss = sums[0] / fg_ranks_size(ranks);
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
    FG_TRY(craft(e));
    FG_TRY(descend(e, rate));
  }
  if (e->kept)
    FG_TRY(fg_carry_keep(e, batch));
  return look(e, out);
}

fgsm_status fg_engine_cosine(struct fg_engine *e, const struct fg_train_batch *batch, double *out) {
  if (!e->pass[FG_TRAIN_WATCH].plan)
    return FG_FAIL(INTERNAL, "the engine is not watched");
  FG_TRY(load(e, batch, 0));
  FG_TRY(run(e, FG_TRAIN_WATCH, NULL, NULL));
  FG_TRY(mean(e, FG_TRAIN_cosine, out));
  *out /= fg_ranks_size(e->device->ranks);
  return fg_ranks_sum(e->device->ranks, FG_F64, 1, out);
}

void fg_engine_cautious(struct fg_engine *e, bool cautious) {
  e->cautious = cautious;
}

fgsm_status fg_engine_adversarial(struct fg_engine *e, float *x) {
  int64_t n = (int64_t)(fg_train_wire_bytes(e, FG_TRAIN_x0) / fg_type_size(e->real));
  return fg_weights_read(&e->weights, e->crafted, n, x);
}
