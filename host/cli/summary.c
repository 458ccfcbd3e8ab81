/* The attack's result for people: every rate with what it is a share of. With several eps, first
 * the curve, then the details of the largest. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli.h"

static long long count(const json_t *object, const char *name) {
  return (long long)json_integer_value(json_object_get(object, name));
}

static double real(const json_t *object, const char *name) {
  return json_number_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name) {
  const char *value = json_string_value(json_object_get(object, name));
  return value ? value : "";
}

static bool is_known(const json_t *object, const char *name) {
  return !json_is_null(json_object_get(object, name));
}

static void print_rate(const json_t *r, const char *title, const char *rate, const char *above,
                       const char *below, const char *what) {
  const json_t *share = json_object_get(r, rate);
  if (json_is_number(share))
    printf("  %-22s %6.2f %%   %lld of %lld %s\n", title, 100 * json_number_value(share),
           count(r, above), count(r, below), what);
  else if (is_known(r, above))
    printf("  %-22s      -     0 %s\n", title, what);
  else
    printf("  %-22s not %s\n", title, strcmp(above, "clean_correct") ? "verified" : "looked at");
}

static void print_losses(const json_t *r) {
  bool clean = is_known(r, "mean_loss_clean"), adversarial = is_known(r, "mean_loss_adversarial");
  if (!is_known(r, "finite_losses"))
    return;
  printf("  %-22s", "mean loss");
  if (clean)
    printf(" %.4f clean", real(r, "mean_loss_clean"));
  if (adversarial)
    printf("%s %.4f adversarial", clean ? "," : "", real(r, "mean_loss_adversarial"));
  printf(" (over %lld samples)\n", count(r, "finite_losses"));
}

/* A column of the curve; "-" where it is not known. */
static void print_cell(const json_t *entry, const char *name, double times, const char *unit) {
  if (is_known(entry, name))
    printf(" %*.*f%s", *unit ? 10 : 12, *unit ? 2 : 4, times * real(entry, name), unit);
  else
    printf(" %12s", "-");
}

static void print_curve(const json_t *curve) {
  size_t i;
  json_t *entry;
  printf("  %-12s %12s %12s %12s %12s\n", "eps", "adv. acc.", "success", "changed", "mean loss");
  json_array_foreach(curve, i, entry) {
    printf("  %-12s", text(entry, "eps"));
    print_cell(entry, "adversarial_accuracy", 100, " %");
    print_cell(entry, "success_rate", 100, " %");
    print_cell(entry, "changed_rate", 100, " %");
    print_cell(entry, "mean_loss_adversarial", 1, "");
    printf("\n");
  }
  const json_t *first = json_array_get(curve, 0);
  if (is_known(first, "successes"))
    printf(
        "  (shares of all samples; success: of the %lld that were right and could be turned)\n\n",
        count(first, "success_candidates"));
  else
    printf("  (not verified: --no-verify)\n\n");
}

static void print_flagged(const json_t *r) {
  static const struct {
    const char *name, *words;
  } kinds[] = {{"zero_gradient_samples", "had a gradient of exactly zero"},
               {"nonfinite_samples", "had a NaN or Inf gradient and were left unperturbed"},
               {"off_lattice_samples", "had a value with no byte within eps"}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (count(r, kinds[i].name))
      printf("  %lld of %lld samples %s\n", count(r, kinds[i].name), count(r, "samples"),
             kinds[i].words);
}

static void print_outputs(const json_t *r) {
  const json_t *curve = json_object_get(r, "curve");
  size_t n = curve ? json_array_size(curve) : 1;
  for (size_t i = 0; i < n; i++) {
    const char *out = text(curve ? json_array_get(curve, i) : r, "out");
    if (*out)
      printf("  written: %s, with %s.json and %s.records.csv\n", out, out, out);
  }
}

/* A share, not rounded up to what it does not reach. */
static double percent_below(double share) {
  return floor(share * 1e6) / 1e4;
}

static void print_agreement(const json_t *r) {
  const json_t *a = json_object_get(r, "agreement");
  if (!a)
    return;
  if (*text(a, "why"))
    printf("  agreement with %-10s not measured: %s\n", text(a, "with"), text(a, "why"));
  else if (!count(a, "samples"))
    printf("  agreement with %-10s not measured: no exact gradient has signs\n", text(a, "with"));
  else
    printf("  agreement with %-10s %.4f %% of the gradient's signs, %.4f %% weighted by |g| (first "
           "%lld "
           "samples)\n",
           text(a, "with"), percent_below(real(a, "signs")), percent_below(real(a, "weighted")),
           count(a, "samples"));
}

/* Convolutions and products that round otherwise than plain sums. */
static void print_fast_calls(const json_t *r) {
  if (count(r, "fast_calls"))
    printf("  %-22s %lld calls of the gradient\n", "not by plain sums", count(r, "fast_calls"));
}

static void print_result(const json_t *r) {
  const json_t *curve = json_object_get(r, "curve"), *wait = json_object_get(r, "stage_wait");
  printf("%s, %s loss, on %s with %s\n\n", text(r, "attack"), text(r, "loss"), text(r, "data"),
         text(r, "model"));
  if (curve)
    print_curve(curve);
  printf("eps %s\n", text(r, "eps"));
  print_rate(r, "clean accuracy", "clean_accuracy", "clean_correct", "samples", "samples");
  print_rate(r, "adversarial accuracy", "adversarial_accuracy", "adversarial_correct", "samples",
             "samples");
  print_rate(r, "success rate", "success_rate", "successes", "success_candidates",
             "samples that were right and could be turned");
  print_rate(r, "changed predictions", "changed_rate", "changed", "samples", "samples");
  print_losses(r);
  printf("  %-22s linf %.6g at most, l2 %.6g on average\n", "perturbation", real(r, "linf_max"),
         real(r, "l2_mean"));
  print_flagged(r);
  print_fast_calls(r);
  print_agreement(r);
  printf(
      "\n  %.2f s, %.1f images/s on %s (%s); time spent waiting: reader %.0f %%, device %.0f %%, "
      "writer %.0f %%\n",
      real(r, "seconds"), real(r, "images_per_second"), text(r, "device"), text(r, "precision"),
      100 * real(wait, "read"), 100 * real(wait, "compute"), 100 * real(wait, "write"));
  print_outputs(r);
  if (*text(r, "notes"))
    printf("  note: %s\n", text(r, "notes"));
}

fgsm_status cli_print_summary(const char *json) {
  json_error_t error;
  json_t *result = json_loads(json, 0, &error);
  if (!result)
    return cli_fail(FGSM_INTERNAL, "the result cannot be read: %s", error.text);
  print_result(result);
  json_decref(result);
  return FGSM_OK;
}
