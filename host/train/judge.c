/* How good the model is by now: the attack itself, on the model as it would be written. */
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
    device->convolutions = FG_CONV_DIRECT; /* as the training itself */
  if (status == FGSM_OK)
    status = fg_attacker_create(model, options, device, &run->feed.shape, NULL, run->batch, out);
  fgsm_options_destroy(options);
  return status;
}

fgsm_status fg_run_judge(const struct fg_run *run, const struct fg_onnx *model, int64_t from,
                         int64_t n, int steps, double *clean, double *robust) {
  const struct fg_feed *feed = &run->feed;
  const int64_t *labels = feed->labels + from;
  const unsigned char *x = feed->x + (size_t)(from * feed->count) * fg_type_size(feed->info.type);
  int64_t right = 0, standing = 0;
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
    right += results[i].clean_prediction == labels[i];
    standing += results[i].adversarial_prediction == labels[i];
  }
  *clean = (double)right / (double)n;
  *robust = run->options->n_eps ? (double)standing / (double)n : NAN;
  fg_attacker_destroy(attacker);
  free(index);
  free(results);
  return status;
}
