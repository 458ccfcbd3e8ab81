/* See attacking.h. Failures to set up are assertions, so that no test can pass for lack of a model.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"

#include "device.h"
#include "net.h"
#include "philox.h"

fgsm_options *options_from(const char *words) {
  fgsm_options *options = NULL;
  char copy[512], *save = NULL;
  cr_assert(strlen(words) < sizeof copy);
  strcpy(copy, words);
  cr_assert_eq(fgsm_options_create(&options), FGSM_OK);
  for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
    char *value = strchr(w, '=');
    if (value)
      *value++ = 0;
    cr_assert_eq(fgsm_options_set(options, w, value), FGSM_OK, "%s: %s", w, fgsm_last_error());
  }
  return options;
}

struct fg_onnx *golden_model(const char *name) {
  struct fg_onnx *onnx = NULL;
  char path[1024];
  snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), name);
  cr_assert_eq(fg_onnx_open(path, &onnx), FGSM_OK, "%s", fgsm_last_error());
  return onnx;
}

void *golden_array(const char *file, const char *member, enum fg_type type, int64_t *n) {
  char path[1024];
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  snprintf(path, sizeof path, "%s/%s:%s", golden_dir(), file, member);
  cr_assert_eq(fg_npy_load(path, type, &rank, dim, &data), FGSM_OK, "%s", fgsm_last_error());
  int64_t count = 1;
  for (int i = 0; i < rank; i++)
    count *= dim[i];
  if (n)
    *n = count;
  return data;
}

fgsm_status try_create(const struct setting *s, struct fg_attacker **out) {
  char words[512];
  snprintf(words, sizeof words, "device=%s threads=1 %s", s->device, s->words);
  fgsm_options *options = options_from(words);
  struct fg_device_choice choice;
  struct fg_device *device;
  fgsm_status status = fg_device_choose(options->device, &choice);
  if (status == FGSM_OK)
    status = fg_device_open(&choice, 0, options, &device);
  if (status == FGSM_OK)
    status = fg_attacker_create(s->onnx, options, device, &s->shape, s->arrays, s->batch, out);
  fgsm_options_destroy(options);
  return status;
}

fgsm_status try_attack(const struct setting *s, struct outcome *o) {
  struct fg_attacker *a = NULL;
  *o = (struct outcome){0};
  fgsm_status status = try_create(s, &a);
  if (status != FGSM_OK)
    return status;
  o->info = *fg_attacker_info(a);
  o->n_eps = o->info.n_eps;
  o->type = o->info.out_type;
  o->count = 1;
  for (int i = 0; i < s->shape.rank; i++)
    o->count *= s->shape.dim[i];
  o->bytes = (size_t)(s->n * o->count) * fg_type_size(o->type);
  int64_t *index = calloc((size_t)s->n, sizeof *index);
  cr_assert(index);
  for (int64_t i = 0; i < s->n; i++)
    index[i] = s->index ? s->index[i] : i;
  for (int k = 0; k < o->n_eps; k++) {
    o->x_adv[k] = malloc(o->bytes);
    o->results[k] = calloc((size_t)s->n, sizeof *o->results[k]);
    cr_assert(o->x_adv[k] && o->results[k]);
  }
  status = fg_attacker_run(a, s->n, s->x, s->labels, s->targets, index, o->x_adv, o->results);
  free(index);
  o->climbs = fg_attacker_climbs(a);
  fg_attacker_destroy(a);
  if (status != FGSM_OK)
    outcome_free(o);
  return status;
}

struct outcome attack(const struct setting *s) {
  struct outcome o;
  cr_assert_eq(try_attack(s, &o), FGSM_OK, "%s on %s: %s", s->words, s->device, fgsm_last_error());
  return o;
}

void outcome_free(struct outcome *o) {
  for (int k = 0; k < o->n_eps; k++) {
    free(o->x_adv[k]);
    free(o->results[k]);
  }
  *o = (struct outcome){0};
}

static uint32_t draw(uint64_t seed, int64_t i) {
  return fg_philox_sample(seed, i, 77, 0).word[0];
}

void fill_bytes(uint8_t *x, int64_t n, uint64_t seed) {
  for (int64_t i = 0; i < n; i++)
    x[i] = (uint8_t)draw(seed, i);
}

void fill_floats(float *x, int64_t n, uint64_t seed) {
  for (int64_t i = 0; i < n; i++)
    x[i] = fg_philox_unit(draw(seed, i));
}

void fill_labels(int64_t *labels, int64_t n, int64_t classes, uint64_t seed) {
  for (int64_t i = 0; i < n; i++)
    labels[i] = draw(seed, i) % classes;
}
