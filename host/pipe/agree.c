/* The first batch's gradient by exact arithmetic too, and what is said of the two. */
#include "agree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

/* A way of computing: options, and the first of the job's devices opened by them. */
struct way {
  struct fgsm_options options; /* its texts are the caller's */
  const struct fg_device_choice *choice;
  int64_t chosen_for; /* as in struct fg_device */
};

static fgsm_status open_device(void *user, struct fg_device **out) {
  const struct way *way = user;
  FG_TRY(fg_device_open(way->choice, 0, &way->options, out));
  (*out)->chosen_for = way->chosen_for;
  return FGSM_OK;
}

static const char exact_precision[] = "fp32", exact_name[] = "exact fp32";
/* Of the signs, by |g|; below, the user is warned. */
static const double LEAST_WEIGHTED = 0.995;
/* Of the gradients that are compared: of so many signs a share near that limit is known to two in ten
 * thousand, however many more there are. */
static const int64_t MOST_COMPONENTS = 1 << 17;

bool fg_agree_wanted(const struct fgsm_options *options, const struct fg_plan_info *gradient) {
  bool coarse = *options->precision && strcmp(options->precision, exact_precision) != 0;
  return coarse || gradient->n_fast > 0;
}

/* What may be done without: an operator that this device has not in the exact way, or memory. */
static bool forgivable(fgsm_status status) {
  return status == FGSM_UNSUPPORTED || status == FGSM_MEMORY;
}

/* Nothing is compared, for the last error's reason. */
static fgsm_status leave(struct fg_agreement *out) {
  *out = (struct fg_agreement){.samples = 0};
  fg_error_copy(out->why, sizeof out->why);
  strcpy(out->with, exact_name);
  return FGSM_OK;
}

static void warn_of_turned(const struct fg_agreement *agreement) {
  if (agreement->samples > 0 && agreement->weighted < LEAST_WEIGHTED)
    fg_log(FGSM_LOG_WARNING,
           "%.2f %% of the gradient's signs, by |g|, are not those of --precision fp32 --exact",
           100 * (1 - agreement->weighted));
}

int64_t fg_agree_most(const struct fg_sample_shape *shape) {
  int64_t most = MOST_COMPONENTS / fg_sample_count(shape);
  return most > 0 ? most : 1;
}

/* The largest number up to `most` that divides the batch; 0 where most is. */
static int64_t part_of(int64_t batch, int64_t most) {
  int64_t part = most < batch ? most : batch;
  while (part > 0 && batch % part)
    part--;
  return part;
}

fgsm_status fg_agree(const struct fg_onnx *onnx, const struct fgsm_options *options,
                     const struct fg_device_choice *choice, const struct fg_attack_arrays *arrays,
                     int64_t strip, const struct fg_agree_samples *samples,
                     const struct fg_attacker *lender, struct fg_agreement *out) {
  struct way asked = {*options, choice, 0}, exact = {*options, choice, 0};
  strcpy(exact.options.precision, exact_precision);
  exact.options.exact = true;
  const struct fg_device_opener asked_opener = {open_device, &asked},
                                exact_opener = {open_device, &exact};
  const struct fg_agreement_way asked_way = {&asked.options, &asked_opener, NULL, lender},
                                exact_way = {&exact.options, &exact_opener, exact_name, lender};
  int64_t most = fg_agree_most(&samples->shape), own;
  FG_TRY(fg_attack_batch(onnx, options, &samples->shape, strip, &strip));
  /* Beside the attack there is less room. */
  for (int64_t part = part_of(strip, most); part > 0; part = part_of(strip, part - 1)) {
    int64_t n = most / part * part;
    n = n < samples->n ? n : samples->n;
    FG_TRY(fg_attack_batch(onnx, options, &samples->shape, part, &own));
    asked.chosen_for = exact.chosen_for = strip / own;
    fgsm_status status =
        fg_agreement_measure(onnx, &asked_way, &exact_way, &samples->shape, arrays, part, n,
                             samples->x, samples->labels, samples->targets, samples->index, out);
    if (status == FGSM_OK)
      warn_of_turned(out);
    if (!forgivable(status))
      return status;
  }
  return leave(out);
}

static fgsm_status agree_generated(const struct fg_onnx *onnx, const struct fgsm_options *options,
                                   const struct fg_device_choice *choice,
                                   const struct fg_attack_arrays *arrays, int64_t batch,
                                   int64_t strip, struct fg_agreement *out) {
  struct fgsm_options own = *options;
  struct fg_agree_samples s = {.n = 0};
  own.labels = "predicted";
  if (own.n_eps == 0) { /* the gradient at the samples is the same for every eps */
    FG_TRY(fg_ratio_parse("8/255", &own.eps[0]));
    own.n_eps = 1;
  }
  FG_TRY(fg_measure_shape(onnx, &own, &s.shape));
  int64_t most = fg_agree_most(&s.shape);
  s.n = batch < most ? batch : most;
  size_t n = (size_t)s.n, count = (size_t)fg_sample_count(&s.shape);
  s.x = malloc(n * count * fg_type_size(s.shape.type));
  s.labels = malloc(n * sizeof *s.labels);
  s.index = malloc(n * sizeof *s.index);
  fgsm_status status = s.x && s.labels && s.index
                           ? FGSM_OK
                           : FG_FAIL(MEMORY, "no memory for %lld samples", (long long)s.n);
  if (status == FGSM_OK) {
    fg_measure_fill(&s.shape, &own, s.n, 0, s.x);
    for (int64_t i = 0; i < s.n; i++) {
      s.labels[i] = -1;
      s.index[i] = i;
    }
    status = fg_agree(onnx, &own, choice, arrays, strip, &s, NULL, out);
  }
  free(s.index);
  free(s.labels);
  free(s.x);
  return status;
}

fgsm_status fg_agree_generated(const struct fg_onnx *onnx, const struct fgsm_options *options,
                               const struct fg_device_choice *choice,
                               const struct fg_attack_arrays *arrays, int64_t batch, int64_t strip,
                               struct fg_agreement *out) {
  fgsm_status status = agree_generated(onnx, options, choice, arrays, batch, strip, out);
  bool models_own = status == FGSM_UNSUPPORTED || status == FGSM_MODEL || status == FGSM_USAGE;
  return models_own ? leave(out) : status;
}

/* ---- telling */

json_t *fg_agree_json(const struct fg_agreement *a) {
  char why[sizeof a->why];
  if (*a->why) {
    fg_clean_text(a->why, true, why, sizeof why);
    return json_pack("{s:s, s:i, s:s}", "with", a->with, "samples", 0, "why", why);
  }
  return json_pack("{s:s, s:I, s:I, s:o, s:o}", "with", a->with, "samples", (json_int_t)a->samples,
                   "skipped", (json_int_t)a->skipped, "signs",
                   a->samples ? json_real(a->signs) : json_null(), "weighted",
                   a->samples ? json_real(a->weighted) : json_null());
}

/* A share, not rounded up to what it does not reach. */
static double percent_below(double share) {
  return floor(share * 1e6) / 1e4;
}

void fg_agree_add_text(const struct fg_agreement *a, struct fg_text *t) {
  char why[sizeof a->why];
  if (*a->why) {
    fg_clean_text(a->why, false, why, sizeof why);
    fg_text_add(t, "with %s not measured: %s", a->with, why);
  } else if (!a->samples) {
    fg_text_add(t, "with %s not measured: no exact gradient has signs", a->with);
  } else {
    fg_text_add(t,
                "with %s: %.4f %% of the gradient's signs, %.4f %% weighted by |g| (%lld generated "
                "samples)",
                a->with, percent_below(a->signs), percent_below(a->weighted),
                (long long)a->samples);
  }
}
