/* How far fast convolutions turn signs: the first gradient of the first batch is computed once more by
 * plain sums, and its signs are compared with those of the step that was made. Components that the box
 * or the ball kept where they were say nothing and are left out. */
#include <math.h>
#include <stdlib.h>

#include "attacker.h"

/* By |g|; below, a run is told so in a note. */
static const double LEAST_WEIGHTED = 0.995;

fgsm_status fg_agreement_prepare(struct fg_attacker *a, const struct fg_onnx *onnx,
                                 const struct fgsm_options *options) {
  const struct fg_recipe recipe = {.model = true, .gradient = true};
  enum fg_convolutions as_is = a->device->convolutions;
  char model_note[FG_NOTE_SIZE];
  a->info.agreement = (struct fg_agreement){NAN, NAN};
  if (!a->compares || !a->info.gradient.n_fast || a->info.spec.halvings)
    return FGSM_OK;
  a->device->convolutions = FG_CONV_DIRECT;
  fgsm_status status = fg_pass_create(a, onnx, options, &recipe, model_note, &a->exact);
  a->device->convolutions = as_is;
  if (status != FGSM_UNSUPPORTED || !a->memory.short_of)
    return status;
  a->memory.short_of = false;
  fg_note_add(a->info.notes, sizeof a->info.notes,
              "memory is too short to compare the signs of fast convolutions with plain sums'");
  return FGSM_OK;
}

fgsm_status fg_agreement_begin(struct fg_attacker *a, void *x) {
  if (!a->exact.plan)
    return FGSM_OK;
  int64_t n = a->info.batch * a->count;
  a->exact_gradient = malloc((size_t)n * sizeof *a->exact_gradient);
  if (!a->exact_gradient)
    return FG_FAIL(MEMORY, "no memory to compare a gradient's signs");
  FG_TRY(fg_pass_run(a, &a->exact, x, NULL));
  return fg_download_reals(a, a->wire[FG_WIRE_gradient], n, a->exact_gradient);
}

static int sign_of(double v) {
  return (v > 0) - (v < 0);
}

static struct fg_agreement compare(const double *g, const double *from, const double *to,
                                   int64_t n) {
  double same = 0, all = 0, same_weight = 0, weight = 0;
  for (int64_t i = 0; i < n; i++) {
    int moved = sign_of(to[i] - from[i]);
    if (!moved || !isfinite(g[i]))
      continue;
    all++;
    weight += fabs(g[i]);
    if (moved == sign_of(g[i])) {
      same++;
      same_weight += fabs(g[i]);
    }
  }
  return (struct fg_agreement){same / all, same_weight / weight};
}

fgsm_status fg_agreement_end(struct fg_attacker *a, const void *x, const void *next) {
  if (!a->exact.plan)
    return FGSM_OK;
  int64_t n = a->info.batch * a->count;
  double *places = malloc(2 * (size_t)n * sizeof *places);
  if (!places)
    return FG_FAIL(MEMORY, "no memory to compare a gradient's signs");
  fgsm_status status = fg_download_reals(a, x, n, places);
  if (status == FGSM_OK)
    status = fg_download_reals(a, next, n, places + n);
  if (status == FGSM_OK) {
    a->info.agreement = compare(a->exact_gradient, places, places + n, n);
    if (a->info.agreement.weighted < LEAST_WEIGHTED)
      fg_note_add(
          a->info.notes, sizeof a->info.notes,
          "fast convolutions turned the signs of %.2f %% of the first gradient (by weight); "
          "--exact computes plain sums",
          100 * (1 - a->info.agreement.weighted));
  }
  free(places);
  fg_plan_destroy(a->exact.plan);
  a->exact.plan = NULL;
  free(a->exact_gradient);
  a->exact_gradient = NULL;
  return status;
}
