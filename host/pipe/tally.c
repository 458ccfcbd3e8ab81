/* What a job counts, and the rates that follow. Every rate names its denominator, because the
 * literature's "success rate" has several. */
#include <math.h>

#include "job.h"

/* The part of 0..1 that holds `share`, rounded up; what rounding put a little above is below. */
static int part_of(double share) {
  double part = ceil(share * FG_TALLY_BINS - 1e-3);
  return part < FG_TALLY_BINS ? (int)part : FG_TALLY_BINS;
}

void fg_tally_add(struct fg_tally *tally, bool targeted, int64_t n, const int64_t *labels,
                  const fgsm_result *results) {
  for (int64_t i = 0; i < n; i++) {
    const fgsm_result *r = &results[i];
    int64_t truth = labels[i] >= 0 ? labels[i] : r->clean_prediction;
    bool clean = r->clean_prediction == truth, wrong = r->adversarial_prediction != truth;
    bool candidate = clean && (!targeted || r->label != truth);
    bool hit = targeted ? r->adversarial_prediction == r->label : wrong;
    bool seen = !(r->flags & FGSM_FLAG_CLEAN_UNSEEN), verified = !(r->flags & FGSM_FLAG_UNVERIFIED);
    tally->samples++;
    tally->unverified += !verified;
    tally->clean_unseen += !seen;
    tally->clean_correct += clean;
    tally->adversarial_correct += !wrong;
    tally->candidates += candidate;
    tally->successes += candidate && hit;
    tally->changed += r->adversarial_prediction != r->clean_prediction;
    tally->zero_gradient += (r->flags & FGSM_FLAG_ZERO_GRADIENT) != 0;
    tally->nonfinite += (r->flags & FGSM_FLAG_NONFINITE) != 0;
    tally->off_lattice += (r->flags & FGSM_FLAG_OFF_LATTICE) != 0;
    if ((isfinite(r->clean_loss) || !seen) && (isfinite(r->adversarial_loss) || !verified)) {
      tally->finite_losses++;
      tally->clean_loss_sum += r->clean_loss;
      tally->adversarial_loss_sum += r->adversarial_loss;
    }
    if (r->linf > tally->linf_max)
      tally->linf_max = r->linf;
    tally->l2_sum += r->l2;
    if (tally->minimal_most > 0 && isfinite(r->minimal_eps))
      tally->minimal[part_of(r->minimal_eps / tally->minimal_most)]++;
  }
}

static bool set_count(json_t *object, const char *name, int64_t n) {
  return json_object_set_new(object, name, json_integer(n)) == 0;
}

static bool set_null(json_t *object, const char *name) {
  return json_object_set_new(object, name, json_null()) == 0;
}

/* sum / n, or null where there is nothing to divide by. */
static bool set_share(json_t *object, const char *name, double sum, int64_t n) {
  double share = n ? sum / (double)n : NAN;
  return json_object_set_new(object, name, isfinite(share) ? json_real(share) : json_null()) == 0;
}

/* The eps that suffices for a share of all samples; null where no eps up to the largest does. */
static json_t *quantile(const struct fg_tally *t, double share) {
  int64_t least = (int64_t)ceil(share * (double)t->samples - 1e-9), seen = 0;
  for (int i = 0; i <= FG_TALLY_BINS; i++) {
    seen += t->minimal[i];
    if (seen >= least && seen > 0)
      return json_real(t->minimal_most * i / FG_TALLY_BINS);
  }
  return json_null();
}

static bool set_minimal(json_t *object, const struct fg_tally *t) {
  int64_t reached = 0;
  for (int i = 0; i <= FG_TALLY_BINS; i++)
    reached += t->minimal[i];
  json_t *minimal = json_pack("{s:I, s:f, s:o, s:o, s:o, s:o, s:o}", "reached", (json_int_t)reached,
                              "resolution", t->minimal_most / FG_TALLY_BINS, "median",
                              quantile(t, 0.5), "q05", quantile(t, 0.05), "q25", quantile(t, 0.25),
                              "q75", quantile(t, 0.75), "q95", quantile(t, 0.95));
  return json_object_set_new(object, "minimal_eps", minimal) == 0;
}

/* A count of samples of whom something holds, and its share of n. */
static bool set_rate(json_t *object, const char *count, const char *rate, int64_t k, int64_t n,
                     bool known) {
  return known ? set_count(object, count, k) && set_share(object, rate, (double)k, n)
               : set_null(object, count) && set_null(object, rate);
}

static bool set_losses(json_t *object, const struct fg_tally *t, bool seen, bool verified) {
  bool counted = seen || verified ? set_count(object, "finite_losses", t->finite_losses)
                                  : set_null(object, "finite_losses");
  return counted &&
         set_share(object, "mean_loss_clean", seen ? t->clean_loss_sum : NAN, t->finite_losses) &&
         set_share(object, "mean_loss_adversarial", verified ? t->adversarial_loss_sum : NAN,
                   t->finite_losses);
}

bool fg_tally_report(const struct fg_tally *t, json_t *object) {
  bool seen = t->clean_unseen == 0, verified = t->unverified == 0;
  return set_count(object, "samples", t->samples) &&
         set_rate(object, "clean_correct", "clean_accuracy", t->clean_correct, t->samples, seen) &&
         set_rate(object, "adversarial_correct", "adversarial_accuracy", t->adversarial_correct,
                  t->samples, verified) &&
         (seen ? set_count(object, "success_candidates", t->candidates)
               : set_null(object, "success_candidates")) &&
         set_rate(object, "successes", "success_rate", t->successes, t->candidates, verified) &&
         set_rate(object, "changed", "changed_rate", t->changed, t->samples, verified) &&
         json_object_set_new(object, "linf_max", json_real(t->linf_max)) == 0 &&
         set_share(object, "l2_mean", t->l2_sum, t->samples) &&
         set_losses(object, t, seen, verified) &&
         set_count(object, "zero_gradient_samples", t->zero_gradient) &&
         set_count(object, "nonfinite_samples", t->nonfinite) &&
         set_count(object, "off_lattice_samples", t->off_lattice) &&
         (t->minimal_most <= 0 || set_minimal(object, t));
}

json_t *fg_tally_denominators(void) {
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "clean_accuracy", "samples",
                   "adversarial_accuracy", "samples", "success_rate", "success_candidates",
                   "changed_rate", "samples", "l2_mean", "samples", "mean_loss_clean",
                   "finite_losses", "mean_loss_adversarial", "finite_losses");
}
