/* Two attackers that stop at the gradient, one after the other so that only one takes memory. */
#include "agreement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

static int sign_of(double v) {
  return v > 0 ? 1 : v < 0 ? -1 : 0;
}

/* The sum of |g|; not finite where some component is not. */
static double length_of(int64_t count, const double *g) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += fabs(g[i]);
  return sum;
}

void fg_agreement_of(int64_t n, int64_t count, const double *gradient, const double *exact,
                     struct fg_agreement *out) {
  double weighted = 0;
  int64_t signs = 0;
  out->samples = out->skipped = 0;
  for (int64_t s = 0; s < n; s++) {
    const double *g = gradient + s * count, *e = exact + s * count;
    double length = length_of(count, e), agreeing = 0;
    if (!isfinite(length) || length == 0) {
      out->skipped++;
      continue;
    }
    out->samples++;
    for (int64_t i = 0; i < count; i++)
      if (!isnan(g[i]) && sign_of(g[i]) == sign_of(e[i])) {
        signs++;
        agreeing += fabs(e[i]);
      }
    weighted += agreeing / length;
  }
  out->signs = out->samples ? (double)signs / (double)(out->samples * count) : 0;
  out->weighted = out->samples ? weighted / (double)out->samples : 0;
}

/* What both ways are given, and the classes that the first found to attack. */
struct given {
  const struct fg_onnx *onnx;
  const struct fg_sample_shape *shape;
  const struct fg_attack_arrays *arrays;
  int64_t batch, n;
  const void *x;
  const int64_t *labels, *targets, *index;
  int32_t *classes; /* n */
  bool settled;
};

static fgsm_status run_batch(struct fg_attacker *a, struct given *given, int64_t at, double *out) {
  int64_t left = given->n - at;
  struct fg_batch b = {.n = left < a->info.strip ? left : a->info.strip,
                       .place = a->place + at,
                       .x = given->x,
                       .labels = given->labels,
                       .targets = given->targets,
                       .index = given->index};
  FG_TRY(fg_samples_load(a, &b));
  if (!given->settled) {
    FG_TRY(fg_run_labels(a, &b));
    memcpy(given->classes + at, a->labels, (size_t)b.n * sizeof *a->labels);
  } else {
    for (int64_t s = 0; s < a->info.strip; s++)
      a->labels[s] = given->classes[at + (s < b.n ? s : b.n - 1)];
    FG_TRY(fg_upload(a, a->wire[FG_WIRE_labels], a->labels,
                     (size_t)a->info.strip * sizeof *a->labels));
  }
  FG_TRY(fg_pass_run(a, &a->gradient, a->wire[FG_WIRE_x0], NULL));
  return fg_download_reals(a, a->wire[FG_WIRE_gradient], b.n * a->count, out + at * a->count);
}

/* All gradients of one way. */
static fgsm_status run_way(const struct fg_agreement_way *way, struct given *given, double *out) {
  struct fg_device *device;
  struct fg_attacker *a = NULL;
  FG_TRY(way->opener->open(way->opener->user, &device));
  FG_TRY(fg_attacker_create_gradient(given->onnx, way->options, device, given->shape, given->arrays,
                                     given->batch, way->lender, &a));
  fgsm_status status = fg_run_places(a, given->n);
  for (int64_t at = 0; at < given->n && status == FGSM_OK; at += a->info.strip)
    status = run_batch(a, given, at, out);
  given->settled = true;
  char words[1024];
  fg_error_copy(words, sizeof words); /* what is closed may fail too */
  fg_attacker_destroy(a);
  return status == FGSM_OK ? FGSM_OK : fg_error_restore(status, words);
}

fgsm_status fg_agreement_measure(const struct fg_onnx *onnx, const struct fg_agreement_way *way,
                                 const struct fg_agreement_way *exact,
                                 const struct fg_sample_shape *shape,
                                 const struct fg_attack_arrays *arrays, int64_t batch, int64_t n,
                                 const void *x, const int64_t *labels, const int64_t *targets,
                                 const int64_t *index, struct fg_agreement *out) {
  struct fg_attack_spec spec;
  struct given given = {onnx, shape, arrays, batch, n, x, labels, targets, index, NULL, false};
  int64_t count = fg_sample_count(shape);
  *out = (struct fg_agreement){.samples = 0};
  FG_TRY(fg_attack_resolve(way->options, &spec));
  if (spec.steps == 0)
    return FGSM_OK;
  size_t bytes = (size_t)(n * count) * sizeof(double);
  double *g = malloc(bytes), *e = malloc(bytes);
  given.classes = malloc((size_t)n * sizeof *given.classes);
  fgsm_status status =
      g && e && given.classes ? FGSM_OK : FG_FAIL(MEMORY, "no memory for two gradients");
  if (status == FGSM_OK)
    status = run_way(exact, &given, e);
  if (status == FGSM_OK)
    status = run_way(way, &given, g);
  if (status == FGSM_OK) {
    fg_agreement_of(n, count, g, e, out);
    snprintf(out->with, sizeof out->with, "%s", exact->name);
  }
  free(given.classes);
  free(e);
  free(g);
  return status;
}
