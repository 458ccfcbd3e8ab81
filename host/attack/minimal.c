/* minimal-eps: the gradient is taken once, at the clean sample, and along its sign each sample has
 * its own least eps that reaches the attack's aim (another class than the label; targeted: the
 * target), found by bisection of 0 .. eps. What is looked at is what would be written: bytes are
 * tried at whole levels, floats as floats.
 *
 * Where the backend has the attack of the whole network in one call, that call searches; otherwise
 * each look is a pass, with a row of params for every sample. Both keep the bounds by one rule, which
 * is mlp_fgsm's (attrs.h). */
#include <math.h>
#include <string.h>

#include "attacker.h"

/* Whole levels in eps, where only they can be written; 0: any number can. */
static double levels(const struct fg_attacker *a) {
  bool bytes = a->shape.type == FG_U8 && a->info.out_type == FG_U8;
  return bytes ? round(255 * a->info.eps[0]) : 0;
}

static bool is_reached(const struct fg_attacker *a, int64_t s, int32_t prediction) {
  return fg_run_reached(a, a->labels[s], prediction);
}

/* Sends every sample to its t: ring[0]. */
static fgsm_status send(struct fg_attacker *a) {
  for (int64_t s = 0; s < a->info.strip; s++)
    fg_run_params(a, a->info.eps[0], a->bounds[s].t, 0, 0, a->rows + s * FG_PARAM_COUNT);
  FG_TRY(fg_upload(a, a->wire[FG_WIRE_rows], a->rows,
                   (size_t)(a->info.strip * FG_PARAM_COUNT) * sizeof *a->rows));
  return fg_pass_run(a, &a->step, a->wire[FG_WIRE_x0], a->ring[0]);
}

/* Sends every sample to its t and looks at what would be written of it. */
static fgsm_status look_at(struct fg_attacker *a, const struct fg_batch *b) {
  void *x = a->ring[0];
  FG_TRY(send(a));
  FG_TRY(fg_run_look(a, b, &x));
  return fg_run_outcome(a, a->predictions, a->reals);
}

/* The middle of the sample's bounds, on a level where there are any; false: nothing is left between
 * them. */
static bool halve(const struct fg_attacker *a, struct fg_bounds *m) {
  double n = levels(a);
  if (!m->any || m->hi == 0)
    return false;
  m->t = (m->lo + m->hi) / 2;
  if (n > 0)
    m->t = floor(m->t * n + 1e-6) / n;
  return m->t > m->lo && m->t < m->hi;
}

static fgsm_status narrow(struct fg_attacker *a, const struct fg_batch *b) {
  for (int i = 0; i < a->info.spec.halvings; i++) {
    bool left = false;
    for (int64_t s = 0; s < a->info.strip; s++)
      if (halve(a, &a->bounds[s]))
        left = true;
      else
        a->bounds[s].t = a->bounds[s].hi;
    if (!left)
      return FGSM_OK;
    FG_TRY(look_at(a, b));
    for (int64_t s = 0; s < a->info.strip; s++) {
      struct fg_bounds *m = &a->bounds[s];
      if (m->t > m->lo && m->t < m->hi)
        *(is_reached(a, s, a->predictions[s]) ? &m->hi : &m->lo) = m->t;
    }
  }
  return FGSM_OK;
}

/* By passes. */
static fgsm_status climb_slowly(struct fg_attacker *a, const struct fg_batch *b, void **out) {
  FG_TRY(fg_pass_run(a, &a->gradient, a->wire[FG_WIRE_x0], NULL));
  FG_TRY(fg_run_first_gradient(a));
  for (int64_t s = 0; s < a->info.strip; s++)
    a->bounds[s] = (struct fg_bounds){.hi = 1, .t = 1};
  FG_TRY(look_at(a, b));
  for (int64_t s = 0; s < a->info.strip; s++) {
    struct fg_bounds *m = &a->bounds[s];
    m->any = is_reached(a, s, a->predictions[s]);
    m->hi = is_reached(a, s, a->clean[s].prediction) ? 0 : 1;
  }
  FG_TRY(fg_run_stats(a, true, 3));
  FG_TRY(narrow(a, b));
  for (int64_t s = 0; s < a->info.strip; s++)
    a->bounds[s].t = a->bounds[s].hi;
  *out = a->ring[0];
  return send(a);
}

/* In one call. */
static fgsm_status climb_at_once(struct fg_attacker *a, void **out) {
  double params[FG_PARAM_COUNT];
  fg_run_params(a, a->info.eps[0], 1, 0, 0, params);
  FG_TRY(fg_upload(a, a->wire[FG_WIRE_params], params, sizeof params));
  FG_TRY(fg_pass_run(a, &a->search, a->wire[FG_WIRE_x0], a->ring[0]));
  FG_TRY(fg_run_first_gradient(a));
  FG_TRY(fg_run_stats(a, true, 4));
  for (int64_t s = 0; s < a->info.strip; s++) {
    double least = a->reals[4 * s + 3], eps = a->info.eps[0];
    a->bounds[s] = (struct fg_bounds){.hi = isinf(least) ? 1
                                            : eps > 0    ? least / eps
                                                         : 0,
                                      .any = !isinf(least)};
  }
  *out = a->ring[0];
  return FGSM_OK;
}

fgsm_status fg_minimal_climb(struct fg_attacker *a, const struct fg_batch *b, void **out) {
  return a->search.plan ? climb_at_once(a, out) : climb_slowly(a, b, out);
}

double fg_minimal_eps(const struct fg_attacker *a, int64_t s) {
  const struct fg_bounds *m = &a->bounds[s];
  return m->any || m->hi == 0 ? m->hi * a->info.eps[0] : INFINITY;
}
