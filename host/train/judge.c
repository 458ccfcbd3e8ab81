/* How good the model is by now: the attack itself, on the model as it would be written, each rank its
 * share of the samples. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "run.h"

/* The options of the attack that judges: as the user's, but for the attack. */
static fgsm_status judge_options(const struct fg_run *run, int steps, fgsm_options **out) {
  static const char *const shared[] = {"eps",    "mean",    "std",    "scale",
                                       "clip",   "input",   "output", "data-layout",
                                       "device", "threads", "seed"};
  fgsm_options *o = NULL;
  char text[16];
  snprintf(text, sizeof text, "%d", steps);
  FG_TRY(fgsm_options_create(&o));
  fgsm_status status = fgsm_options_set(o, "attack", steps > 0 ? "pgd" : "fgsm");
  if (status == FGSM_OK)
    status = fgsm_options_set(o, "exact", "true"); /* as the training itself */
  for (size_t i = 0; i < sizeof shared / sizeof *shared && status == FGSM_OK; i++) {
    if (fg_options_given(run->options, shared[i]))
      status = fgsm_options_set(o, shared[i], fgsm_options_get(run->options, shared[i]));
  }
  if (status == FGSM_OK && !o->n_eps)
    status = fgsm_options_set(o, "eps", "0");
  if (status == FGSM_OK && steps > 0)
    status = fgsm_options_set(o, "steps", text);
  if (status != FGSM_OK) {
    fgsm_options_destroy(o);
    return status;
  }
  *out = o;
  return FGSM_OK;
}

static fgsm_status make_attacker(const struct fg_run *run, const struct fg_onnx *model, int steps,
                                 struct fg_attacker **out) {
  fgsm_options *options;
  struct fg_device *device;
  FG_TRY(judge_options(run, steps, &options));
  fgsm_status status = fg_device_open(&run->devices, 0, options, &device);
  if (status == FGSM_OK)
    status = fg_attacker_create(model, options, device, &run->feed.shape, NULL, run->part, out);
  fgsm_options_destroy(options);
  return status;
}

/* How many of n samples from `from` on are right, before and after the attack. */
static fgsm_status count(const struct fg_run *run, const struct fg_onnx *model, int64_t from,
                         int64_t n, int steps, int64_t *right, int64_t *standing) {
  const struct fg_feed *feed = &run->feed;
  const int64_t *labels = feed->labels + from;
  const unsigned char *x = feed->x + (size_t)(from * feed->count) * fg_type_size(feed->info.type);
  struct fg_attacker *attacker = NULL;
  fgsm_result *results = calloc((size_t)n + 1, sizeof *results);
  int64_t *index = calloc((size_t)n + 1, sizeof *index);
  fgsm_status status =
      results && index ? FGSM_OK : FG_FAIL(MEMORY, "no memory for %lld results", (long long)n);
  for (int64_t i = 0; status == FGSM_OK && i < n; i++)
    index[i] = from + i;
  if (status == FGSM_OK)
    status = make_attacker(run, model, steps, &attacker);
  if (status == FGSM_OK)
    status = fg_attacker_run(attacker, n, x, labels, NULL, index, (void *[]){NULL},
                             (fgsm_result *[]){results});
  for (int64_t i = 0; status == FGSM_OK && i < n; i++) {
    *right += results[i].clean_prediction == labels[i];
    *standing += results[i].adversarial_prediction == labels[i];
  }
  fg_attacker_destroy(attacker);
  free(index);
  free(results);
  return status;
}

fgsm_status fg_run_judge(struct fg_run *run, const struct fg_onnx *model, int64_t from, int64_t n,
                         int steps, double *clean, double *robust) {
  int rank = fg_ranks_rank(run->ranks), size = fg_ranks_size(run->ranks);
  int64_t begin = n * rank / size, end = n * (rank + 1) / size, sums[3] = {0};
  fgsm_status status = end > begin
                           ? count(run, model, from + begin, end - begin, steps, &sums[0], &sums[1])
                           : FGSM_OK;
  sums[2] = status == FGSM_INTERRUPTED;
  if (status != FGSM_OK && status != FGSM_INTERRUPTED)
    return status;
  FG_TRY(fg_ranks_sum(run->ranks, FG_I64, 3, sums));
  run->agreed = sums[2] > 0;
  if (run->agreed)
    return FG_FAIL(INTERRUPTED, "interrupted");
  *clean = (double)sums[0] / (double)n;
  *robust = run->options->n_eps ? (double)sums[1] / (double)n : NAN;
  return FGSM_OK;
}
