/* The loop: start, steps, budgets, restarts; after each climb a look at exactly what will be written.
 *
 * Per strip: the clean samples are looked at (for free in the first gradient pass where that
 * starts from them), labels are settled, and every eps climbs from the clean samples. Where the one
 * gradient at the clean samples serves every eps, it is computed once. Results are never taken from
 * an iterate: they come from a forward pass over the very bytes or floats that are handed out, or with
 * option no-verify are not known.
 *
 * Restarts are outermost. Once all strips have climbed, those samples that the attack's aim was not
 * reached with are gathered into strips, which climb from another start, and so on: a sample that
 * is broken costs no more. What is best so far lies in the caller's results. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

void *fg_run_other(const struct fg_attacker *a, const void *x) {
  return a->ring[x == a->ring[0]];
}

void fg_run_params(const struct fg_attacker *a, double eps, double t, double radius, int restart,
                   double params[FG_PARAM_COUNT]) {
  const struct fg_attack_spec *spec = &a->info.spec;
  params[FG_PARAM_eps] = t * eps;
  params[FG_PARAM_alpha] = t * (spec->steps == 0  ? 0
                                : spec->step >= 0 ? spec->step
                                                  : spec->alpha * eps);
  params[FG_PARAM_decay] = spec->decay >= 0 ? spec->decay : 0;
  params[FG_PARAM_lo] = a->lo;
  params[FG_PARAM_hi] = a->hi;
  params[FG_PARAM_radius] = radius * eps;
  params[FG_PARAM_seed] = a->seed;
  params[FG_PARAM_stream] = restart;
}

static fgsm_status upload_params(struct fg_attacker *a, int k, double radius, int restart) {
  double params[FG_PARAM_COUNT];
  fg_run_params(a, a->info.eps[k], 1, radius, restart, params);
  return fg_upload(a, a->wire[FG_WIRE_params], params, sizeof params);
}

/* The first n are given; the last of them fills the strip. Of noise that nobody looks at, no pass reads them. */
static fgsm_status upload_labels(struct fg_attacker *a, int64_t n) {
  for (int64_t s = n; s < a->info.strip; s++)
    a->labels[s] = a->labels[n - 1];
  if (!a->wire[FG_WIRE_labels])
    return FGSM_OK;
  return fg_upload(a, a->wire[FG_WIRE_labels], a->labels,
                   (size_t)a->info.strip * sizeof *a->labels);
}

/* ---- what is known of the clean samples */

/* Prediction and loss of the last forward pass. */
fgsm_status fg_run_outcome(struct fg_attacker *a, int32_t *prediction, double *loss) {
  size_t n = (size_t)a->info.strip;
  FG_TRY(fg_download(a, a->wire[FG_WIRE_prediction], n * sizeof *prediction, prediction));
  return fg_download_reals(a, a->wire[FG_WIRE_loss], a->info.strip, loss);
}

static fgsm_status read_clean(struct fg_attacker *a) {
  FG_TRY(fg_run_outcome(a, a->predictions, a->reals));
  for (int64_t s = 0; s < a->info.strip; s++) {
    a->clean[s].prediction = a->predictions[s];
    a->clean[s].loss = a->reals[s];
  }
  return FGSM_OK;
}

/* The cross-entropy's gradient comes without the factor exp(largest other logit - log sum exp). */
static double missing_factor(const double *z, int64_t n, int64_t label) {
  double most = -INFINITY, others = -INFINITY, sum = 0;
  for (int64_t j = 0; j < n; j++) {
    most = fmax(most, z[j]);
    if (j != label)
      others = fmax(others, z[j]);
  }
  for (int64_t j = 0; j < n; j++)
    sum += exp(z[j] - most);
  return exp(others - most) / sum;
}

/* After the first gradient pass: its statistics and, where it began at the clean samples, their
 * prediction and loss. */
fgsm_status fg_run_first_gradient(struct fg_attacker *a) {
  int64_t classes = a->info.classes;
  bool scaled = a->loss.kind == FG_LOSS_ce && !a->loss.parity;
  if (!fg_has_start(a))
    FG_TRY(read_clean(a));
  if (scaled)
    FG_TRY(fg_download_reals(a, a->wire[FG_WIRE_logits], a->info.strip * classes, a->reals));
  for (int64_t s = 0; s < a->info.strip; s++)
    a->clean[s].factor = scaled ? missing_factor(a->reals + s * classes, classes, a->labels[s]) : 1;
  return FGSM_OK;
}

/* After a step: flags samples with a gradient that is not finite; keeps the first statistics. */
fgsm_status fg_run_stats(struct fg_attacker *a, bool first, int columns) {
  FG_TRY(fg_download_reals(a, a->wire[FG_WIRE_stats], a->info.strip * columns, a->reals));
  for (int64_t s = 0; s < a->info.strip; s++) {
    const double *stats = a->reals + columns * s;
    if (!(stats[2] == 0))
      a->flags[s] |= FGSM_FLAG_NONFINITE;
    if (first)
      memcpy(a->clean[s].stats, stats, sizeof a->clean[s].stats);
  }
  return FGSM_OK;
}

/* ---- labels */

/* The class that sample s is attacked with (or towards); own: the model's word on the clean batch.
 */
static int64_t choose_label(const struct fg_attacker *a, const struct fg_batch *b, int64_t s) {
  if (a->target >= 0)
    return a->target;
  if (a->targets_given && b->targets)
    return b->targets[b->place[s]];
  if (a->labels_predicted)
    return a->clean[s].prediction < 0 ? 0 : a->clean[s].prediction; /* NaN logits: flagged later */
  if (!a->least_likely)
    return b->labels[b->place[s]];
  const double *z = a->reals + s * a->info.classes;
  int64_t least = 0;
  for (int64_t j = 1; j < a->info.classes; j++)
    least = z[j] < z[least] ? j : least;
  return least;
}

fgsm_status fg_run_labels(struct fg_attacker *a, const struct fg_batch *b) {
  if (a->targets_given && !b->targets)
    return FG_FAIL(USAGE, "--target names neither a class nor least-likely, and no targets came "
                          "with the samples");
  if (a->labels_predicted || a->least_likely) {
    memset(a->labels, 0, (size_t)a->info.strip * sizeof *a->labels);
    FG_TRY(upload_labels(a, a->info.strip));
    FG_TRY(fg_pass_run(a, &a->evaluate, a->wire[FG_WIRE_x0], NULL));
    FG_TRY(read_clean(a));
    FG_TRY(
        fg_download_reals(a, a->wire[FG_WIRE_logits], a->info.strip * a->info.classes, a->reals));
  }
  for (int64_t s = 0; s < b->n; s++) {
    int64_t label = choose_label(a, b, s);
    const char *what = a->loss.targeted ? "target" : "label";
    if (label == -1)
      return FG_FAIL(DATA, "sample %lld has no %s; give one for each sample%s",
                     (long long)b->index[b->place[s]], what,
                     a->loss.targeted ? ""
                                      : " (--labels FILE), or --labels predicted to attack the "
                                        "model's own predictions");
    if (label < 0 || label >= a->info.classes)
      return FG_FAIL(DATA, "sample %lld has %s %lld, and the model has %lld classes, from 0",
                     (long long)b->index[b->place[s]], what, (long long)label,
                     (long long)a->info.classes);
    a->labels[s] = (int32_t)label;
  }
  return upload_labels(a, b->n);
}

bool fg_run_reached(const struct fg_attacker *a, int64_t label, int32_t prediction) {
  return prediction >= 0 && (prediction == label) == a->loss.targeted;
}

/* ---- climbing */

void fg_run_momentum(struct fg_attacker *a, int step) {
  if (!a->zeros)
    return;
  a->wire[FG_WIRE_m] = step == 0 ? a->zeros : a->momentum[step % 2];
  a->wire[FG_WIRE_m_next] = a->momentum[(step + 1) % 2];
}

/* One climb from the clean samples (restart 0, 1, ...); *out is the iterate it ends at. */
static fgsm_status climb(struct fg_attacker *a, int k, int restart, void **out) {
  const struct fg_attack_spec *spec = &a->info.spec;
  void *x = a->wire[FG_WIRE_x0];
  FG_TRY(upload_params(a, k, spec->radius, restart));
  if (fg_has_start(a)) {
    FG_TRY(fg_pass_run(a, &a->start, NULL, a->ring[0]));
    x = a->ring[0];
  }
  if (spec->steps == 0) {
    FG_TRY(fg_pass_run(a, &a->settle, x, fg_run_other(a, x)));
    x = fg_run_other(a, x);
  }
  for (int step = 0; step < spec->steps; step++) {
    bool first = k == 0 && restart == 0 && step == 0;
    void *next = fg_run_other(a, x);
    fg_run_momentum(a, step);
    if (step > 0 && a->rest.plan) {
      FG_TRY(fg_pass_run(a, &a->rest, x, next));
      FG_TRY(fg_run_stats(a, false, 3));
      *out = next;
      return FGSM_OK;
    }
    if (!a->step.plan || first)
      FG_TRY(fg_pass_run(a, &a->gradient, x, next));
    if (first)
      FG_TRY(fg_run_first_gradient(a));
    if (a->step.plan)
      FG_TRY(fg_pass_run(a, &a->step, x, next));
    FG_TRY(fg_run_stats(a, first, 3));
    x = next;
  }
  *out = x;
  return FGSM_OK;
}

/* minimal-eps: in one call, or as many looks as it takes at most. */
static fgsm_status replay_search(struct fg_attacker *a, void *x_adv) {
  void *x = a->wire[FG_WIRE_x0], *end = x_adv ? x_adv : a->ring[0];
  if (a->search.plan)
    return fg_pass_run(a, &a->search, x, end);
  FG_TRY(fg_pass_run(a, &a->gradient, x, NULL));
  for (int look = 0; look < a->info.spec.halvings + 1; look++) {
    void *at = a->ring[0];
    FG_TRY(fg_pass_run(a, &a->step, x, at));
    if (a->info.out_type == FG_U8) {
      FG_TRY(fg_pass_run(a, &a->quantize, at, NULL));
      at = a->ring[1];
      FG_TRY(fg_pass_run(a, &a->dequantize, NULL, at));
    }
    FG_TRY(fg_pass_run(a, &a->evaluate, at, NULL));
  }
  return fg_pass_run(a, &a->step, x, end);
}

static fgsm_status replay_climb(struct fg_attacker *a, void *x_adv) {
  int steps = a->info.spec.steps;
  void *x = a->wire[FG_WIRE_x0];
  if (fg_has_start(a)) {
    FG_TRY(fg_pass_run(a, &a->start, NULL, a->ring[0]));
    x = a->ring[0];
  }
  if (steps == 0)
    return fg_pass_run(a, &a->settle, x, x_adv ? x_adv : fg_run_other(a, x));
  for (int step = 0; step < steps; step++) {
    bool rest = step > 0 && a->rest.plan, last = rest || step == steps - 1;
    void *next = last && x_adv ? x_adv : fg_run_other(a, x);
    fg_run_momentum(a, step);
    FG_TRY(fg_pass_run(a, rest ? &a->rest : &a->gradient, x, next));
    if (rest)
      break;
    if (a->step.plan)
      FG_TRY(fg_pass_run(a, &a->step, x, next));
    x = next;
  }
  return FGSM_OK;
}

fgsm_status fg_attacker_replay(struct fg_attacker *a, void *x0, void *x_adv) {
  void *own = a->wire[FG_WIRE_x0];
  fgsm_status status = FGSM_OK;
  a->wire[FG_WIRE_x0] = x0 ? x0 : own;
  for (int r = 0; r < a->info.spec.restarts && status == FGSM_OK; r++)
    status = a->info.spec.halvings > 0 ? replay_search(a, x_adv) : replay_climb(a, x_adv);
  a->wire[FG_WIRE_x0] = own;
  return status;
}

/* Turns iterate *x into what will be written (wire bytes, or floats) and looks at that, if anything is
 * looked at: then *x becomes the iterate that holds exactly what is written. */
fgsm_status fg_run_look(struct fg_attacker *a, const struct fg_batch *b, void **x) {
  void *written = fg_run_other(a, *x);
  if (a->info.out_type == FG_U8) {
    FG_TRY(fg_pass_run(a, &a->quantize, *x, NULL));
    if (!a->info.verifies)
      return FGSM_OK;
    FG_TRY(fg_pass_run(a, &a->dequantize, NULL, written));
    *x = written;
  } else if (a->real == FG_F64) {
    FG_TRY(fg_samples_round(a, b, *x, written));
    *x = written;
  }
  return a->info.verifies ? fg_pass_run(a, &a->evaluate, *x, NULL) : FGSM_OK;
}

/* From a loaded strip to a->written, and what is known of that to the wires that fg_run_outcome reads. */
static fgsm_status attack_once(struct fg_attacker *a, const struct fg_batch *b, int k,
                               int restart) {
  void *x = NULL;
  memset(a->flags, 0, (size_t)a->info.strip * sizeof *a->flags);
  if (a->info.spec.halvings)
    FG_TRY(fg_minimal_climb(a, b, &x));
  else
    FG_TRY(climb(a, k, restart, &x));
  a->climbs += b->n;
  if (a->info.eps[k] == 0)
    x = a->wire[FG_WIRE_x0]; /* the identity, whatever the box would round */
  FG_TRY(fg_samples_restore(a, b, x));
  FG_TRY(fg_run_look(a, b, &x));
  FG_TRY(fg_samples_fetch(a, x));
  return a->info.verifies ? fg_run_outcome(a, a->predictions, a->reals) : FGSM_OK;
}

/* ---- results */

/* Where a caller wants what comes of each eps; an x_adv may be NULL. */
struct kept {
  void *const *x_adv;
  fgsm_result *const *results;
};

static void keep_sample(const struct fg_attacker *a, const struct fg_batch *b, int64_t s, int k,
                        const fgsm_result *result, const struct kept *kept) {
  size_t row = (size_t)a->count * fg_type_size(a->info.out_type);
  kept->results[k][b->place[s]] = *result;
  if (kept->x_adv[k])
    memcpy((char *)kept->x_adv[k] + (size_t)b->place[s] * row, (char *)a->written + (size_t)s * row,
           row);
}

/* All of the first climb. */
static void keep_first(const struct fg_attacker *a, const struct fg_batch *b, int k,
                       const struct kept *kept) {
  bool verified = a->info.verifies, seen = a->info.sees_clean;
  uint32_t unknown = (verified ? 0 : FGSM_FLAG_UNVERIFIED) | (seen ? 0 : FGSM_FLAG_CLEAN_UNSEEN);
  for (int64_t s = 0; s < b->n; s++) {
    const struct fg_clean *clean = &a->clean[s];
    fgsm_result r = {.label = a->labels[s],
                     .clean_prediction = seen ? clean->prediction : -1,
                     .adversarial_prediction = verified ? a->predictions[s] : -1,
                     .clean_loss = seen ? (float)clean->loss : NAN,
                     .adversarial_loss = verified ? (float)a->reals[s] : NAN,
                     .flags = a->flags[s] | unknown};
    if (a->info.spec.steps > 0) {
      r.gradient_l1 = (float)(clean->stats[0] * clean->factor);
      r.zero_gradient_share = (float)clean->stats[1];
      if (clean->stats[1] >= 1 && clean->stats[2] == 0)
        r.flags |= FGSM_FLAG_ZERO_GRADIENT;
    }
    if (a->info.spec.halvings)
      r.minimal_eps = (float)fg_minimal_eps(a, s);
    fg_samples_measure(a, b, s, a->info.eps[k], &r);
    keep_sample(a, b, s, k, &r, kept);
  }
}

/* Whether more climbs may change the result: the aim is not reached, and no gradient was not finite,
 * which leaves the sample as it was. */
static bool stands(const struct fg_attacker *a, const fgsm_result *r) {
  return !(r->flags & FGSM_FLAG_NONFINITE) &&
         !fg_run_reached(a, r->label, r->adversarial_prediction);
}

/* Of a sample that stood before; NaN is no loss. */
static bool is_better(const struct fg_attacker *a, const fgsm_result *now,
                      const fgsm_result *before) {
  float loss = now->adversarial_loss, best = before->adversarial_loss;
  if (!stands(a, now))
    return true;
  if (isnan(loss) || isnan(best))
    return !isnan(loss);
  return a->loss.targeted ? loss < best : loss > best;
}

/* Of a later climb, what is better than before. What is told of the clean samples stays. */
static void keep_better(const struct fg_attacker *a, const struct fg_batch *b, int k,
                        const struct kept *kept) {
  for (int64_t s = 0; s < b->n; s++) {
    const fgsm_result *before = &kept->results[k][b->place[s]];
    fgsm_result r = *before;
    r.adversarial_prediction = a->predictions[s];
    r.adversarial_loss = (float)a->reals[s];
    r.flags = (before->flags & ~(uint32_t)FGSM_FLAG_OFF_LATTICE) | a->flags[s];
    if (!is_better(a, &r, before))
      continue;
    fg_samples_measure(a, b, s, a->info.eps[k], &r);
    keep_sample(a, b, s, k, &r, kept);
  }
}

/* ---- strips */

static fgsm_status first_climb(struct fg_attacker *a, const struct fg_batch *b,
                               const struct kept *kept) {
  FG_TRY(fg_samples_load(a, b));
  FG_TRY(fg_run_labels(a, b));
  if (fg_has_start(a) && a->info.sees_clean) {
    FG_TRY(fg_pass_run(a, &a->evaluate, a->wire[FG_WIRE_x0], NULL));
    FG_TRY(read_clean(a));
  }
  for (int k = 0; k < a->info.n_eps; k++) {
    FG_TRY(attack_once(a, b, k, 0));
    keep_first(a, b, k, kept);
  }
  return FGSM_OK;
}

static fgsm_status climb_again(struct fg_attacker *a, const struct fg_batch *b, int k, int restart,
                               const struct kept *kept) {
  FG_TRY(fg_samples_load(a, b));
  for (int64_t s = 0; s < b->n; s++)
    a->labels[s] = (int32_t)kept->results[k][b->place[s]].label;
  FG_TRY(upload_labels(a, b->n));
  FG_TRY(attack_once(a, b, k, restart));
  keep_better(a, b, k, kept);
  return FGSM_OK;
}

/* The first strip of what is left of `all`, which is not empty. */
static struct fg_batch cut_strip(const struct fg_attacker *a, struct fg_batch *all) {
  struct fg_batch strip = *all;
  strip.n = all->n < a->info.strip ? all->n : a->info.strip;
  all->place += strip.n;
  all->n -= strip.n;
  return strip;
}

/* The places of those that stand. */
static int64_t gather(const struct fg_attacker *a, int64_t n, const fgsm_result *results,
                      int64_t *place) {
  int64_t standing = 0;
  for (int64_t s = 0; s < n; s++)
    if (stands(a, &results[s]))
      place[standing++] = s;
  return standing;
}

/* At eps 0 every start is the same. */
static fgsm_status restarts(struct fg_attacker *a, const struct fg_batch *all, int k,
                            const struct kept *kept) {
  for (int r = 1; r < a->info.spec.restarts && a->info.eps[k] > 0; r++) {
    struct fg_batch left = *all;
    left.n = gather(a, all->n, kept->results[k], a->place);
    while (left.n > 0) {
      struct fg_batch strip = cut_strip(a, &left);
      FG_TRY(climb_again(a, &strip, k, r, kept));
    }
  }
  return FGSM_OK;
}

/* Room for the largest n so far. */
fgsm_status fg_run_places(struct fg_attacker *a, int64_t n) {
  if (n > a->n_places) {
    int64_t *place = realloc(a->place, (size_t)n * sizeof *place);
    if (!place)
      return FG_FAIL(MEMORY, "no memory for the places of %lld samples", (long long)n);
    a->place = place;
    a->n_places = n;
  }
  for (int64_t s = 0; s < n; s++)
    a->place[s] = s;
  return FGSM_OK;
}

fgsm_status fg_attacker_run(struct fg_attacker *a, int64_t n, const void *x, const int64_t *labels,
                            const int64_t *targets, const int64_t *index, void *const *x_adv,
                            fgsm_result *const *results) {
  FG_TRY(a->device->backend->enter(a->device));
  FG_TRY(fg_view_wait(a, a->stream[FG_TRAFFIC_compute]));
  FG_TRY(fg_run_places(a, n));
  const struct kept kept = {x_adv, results};
  const struct fg_batch all = {n, a->place, x, labels, targets, index};
  for (struct fg_batch left = all; left.n > 0;) {
    struct fg_batch strip = cut_strip(a, &left);
    FG_TRY(first_climb(a, &strip, &kept));
  }
  for (int k = 0; k < a->info.n_eps; k++)
    FG_TRY(restarts(a, &all, k, &kept));
  return FGSM_OK;
}

int64_t fg_attacker_climbs(const struct fg_attacker *a) {
  return a->climbs;
}
