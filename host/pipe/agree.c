/* The job's first batch, attacked by exact arithmetic too as far as the gradient. It is read anew, so
 * that the job itself begins at its beginning. */
#include <stdlib.h>
#include <string.h>

#include "job.h"

/* A way of computing: options, and the first of the job's devices opened by them. */
struct way {
  struct fgsm_options options; /* its texts are the job's */
  const struct fg_device_choice *choice;
};

static fgsm_status open_device(void *user, struct fg_device **out) {
  const struct way *way = user;
  return fg_device_open(way->choice, 0, &way->options, out);
}

static const char exact_precision[] = "fp32", exact_name[] = "exact fp32";
/* Of the signs, by |g|; below, the user is warned. */
static const double LEAST_WEIGHTED = 0.995;

bool fg_job_approximates(const struct fgsm_options *options, const struct fg_attacker *attacker) {
  const struct fg_attacker_info *info = fg_attacker_info(attacker);
  bool coarse = *options->precision && strcmp(options->precision, exact_precision) != 0;
  return info->spec.steps > 0 && (coarse || info->gradient.n_fast > 0);
}

/* What is compared: the first samples with all that belongs to them. */
struct first {
  struct fg_sample_shape shape;
  int64_t n;
  void *x;
  int64_t *labels, *targets, *index;
  bool has_targets;
};

/* Samples and labels from the job's first on. */
static fgsm_status read_first(struct fg_dataset *dataset, const char *path, int64_t start,
                              struct first *f, int64_t *labels) {
  size_t bytes = (size_t)fg_sample_count(&f->shape) * fg_type_size(f->shape.type);
  int64_t got;
  FG_TRY(fg_dataset_seek(dataset, start));
  for (int64_t done = 0; done < f->n; done += got) {
    FG_TRY(fg_dataset_read(dataset, f->n - done, (char *)f->x + (size_t)done * bytes, labels + done,
                           NULL, &got));
    if (got < 1)
      return FG_FAIL(DATA, "%s: ends before its last sample", path);
  }
  return FGSM_OK;
}

static fgsm_status make_room(const struct fg_dataset_info *info, struct first *f) {
  f->shape = (struct fg_sample_shape){.type = info->type, .rank = info->rank};
  memcpy(f->shape.dim, info->dim, sizeof f->shape.dim);
  size_t n = (size_t)f->n;
  size_t bytes = (size_t)fg_sample_count(&f->shape) * fg_type_size(info->type);
  f->x = calloc(n, bytes ? bytes : 1);
  f->labels = calloc(n, sizeof *f->labels);
  f->targets = calloc(n, sizeof *f->targets);
  f->index = calloc(n, sizeof *f->index);
  return f->x && f->labels && f->targets && f->index
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for %lld samples", (long long)f->n);
}

static fgsm_status load_targets(const char *data, const struct fgsm_options *o, struct first *f) {
  struct fg_dataset *dataset;
  f->has_targets = fg_job_target_file(o);
  if (!f->has_targets)
    return FGSM_OK;
  FG_TRY(fg_dataset_open(data, o->target, &dataset));
  fgsm_status status = read_first(dataset, data, o->start, f, f->targets);
  fg_dataset_close(dataset);
  return status;
}

static fgsm_status load(const char *data, const struct fgsm_options *o, struct first *f) {
  bool predicted = o->labels && strcmp(o->labels, "predicted") == 0;
  struct fg_dataset *dataset;
  FG_TRY(fg_dataset_open(data, predicted ? NULL : o->labels, &dataset));
  fgsm_status status = make_room(fg_dataset_info(dataset), f);
  if (status == FGSM_OK)
    status = load_targets(data, o, f);
  if (status == FGSM_OK)
    status = read_first(dataset, data, o->start, f, f->labels);
  fg_dataset_close(dataset);
  for (int64_t i = 0; i < f->n && status == FGSM_OK; i++) {
    f->index[i] = o->start + i;
    f->labels[i] = predicted ? -1 : f->labels[i];
  }
  return status;
}

/* What may be done without: an operator that this device has not in the exact way, or memory. */
static bool forgivable(fgsm_status status) {
  return status == FGSM_UNSUPPORTED || status == FGSM_MEMORY;
}

static void warn_of_turned(const struct fg_agreement *agreement) {
  if (agreement->samples > 0 && agreement->weighted < LEAST_WEIGHTED)
    fg_log(FGSM_LOG_WARNING,
           "%.2f %% of the gradient's signs, by |g|, are not those of --precision fp32 --exact",
           100 * (1 - agreement->weighted));
}

fgsm_status fg_job_agree(const struct fg_onnx *onnx, const char *data,
                         const struct fgsm_options *options, const struct fg_device_choice *choice,
                         const struct fg_attack_arrays *arrays, int64_t batch, int64_t n,
                         struct fg_agreement *out, char *why) {
  struct way asked = {*options, choice}, exact = {*options, choice};
  strcpy(exact.options.precision, exact_precision);
  exact.options.exact = true;
  const struct fg_device_opener asked_opener = {open_device, &asked},
                                exact_opener = {open_device, &exact};
  const struct fg_agreement_way asked_way = {&asked.options, &asked_opener, NULL},
                                exact_way = {&exact.options, &exact_opener, exact_name};
  struct first f = {.n = batch < n ? batch : n};
  *why = 0;
  fgsm_status status = load(data, options, &f);
  while (status == FGSM_OK) {
    status = fg_agreement_measure(onnx, &asked_way, &exact_way, &f.shape, arrays, batch, f.n, f.x,
                                  f.labels, f.has_targets ? f.targets : NULL, f.index, out);
    if (!forgivable(status))
      break;
    status = FGSM_OK;
    batch /= 2; /* beside the attack there is less room */
    if (batch == 0) {
      fg_error_copy(why, 256);
      strcpy(out->with, exact_name);
      break;
    }
    f.n = batch < f.n ? batch : f.n;
  }
  if (status == FGSM_OK)
    warn_of_turned(out);
  free(f.index);
  free(f.targets);
  free(f.labels);
  free(f.x);
  return status;
}
