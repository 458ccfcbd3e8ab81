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
  return (*options->precision && strcmp(options->precision, exact_precision) != 0) ||
         fg_attacker_info(attacker)->gradient.n_fast > 0;
}

/* n samples from the job's first on, as a dataset's reader gives them. */
static fgsm_status read_first(const char *path, const char *labels_path, int64_t start, int64_t n,
                              size_t x_bytes, void *x, int64_t *labels) {
  struct fg_dataset *dataset = NULL;
  int64_t got = 0;
  FG_TRY(fg_dataset_open(path, labels_path, &dataset));
  fgsm_status status = fg_dataset_seek(dataset, start);
  for (int64_t done = 0; done < n && status == FGSM_OK; done += got) {
    status = fg_dataset_read(dataset, n - done, (char *)x + (size_t)done * x_bytes, labels + done,
                             NULL, &got);
    if (status == FGSM_OK && got < 1)
      status = FG_FAIL(DATA, "%s: ends before its last sample", path);
  }
  fg_dataset_close(dataset);
  return status;
}

/* What is compared: the first samples with all that belongs to them. */
struct first {
  struct fg_sample_shape shape;
  int64_t n;
  void *x;
  int64_t *labels, *targets, *index;
  bool has_targets;
};

static fgsm_status load(const char *data, const struct fgsm_options *o, int64_t n,
                        struct first *f) {
  bool predicted = o->labels && strcmp(o->labels, "predicted") == 0;
  const char *labels = predicted ? NULL : o->labels;
  struct fg_dataset *dataset;
  FG_TRY(fg_dataset_open(data, labels, &dataset));
  const struct fg_dataset_info *info = fg_dataset_info(dataset);
  size_t bytes = fg_type_size(info->type);
  f->shape = (struct fg_sample_shape){.type = info->type, .rank = info->rank};
  memcpy(f->shape.dim, info->dim, sizeof f->shape.dim);
  fg_dataset_close(dataset);
  for (int i = 0; i < f->shape.rank; i++)
    bytes *= (size_t)f->shape.dim[i];
  f->n = n;
  f->x = calloc((size_t)n, bytes ? bytes : 1);
  f->labels = calloc((size_t)n, sizeof *f->labels);
  f->targets = calloc((size_t)n, sizeof *f->targets);
  f->index = calloc((size_t)n, sizeof *f->index);
  if (!f->x || !f->labels || !f->targets || !f->index)
    return FG_FAIL(MEMORY, "no memory for %lld samples", (long long)n);
  f->has_targets = fg_job_target_file(o);
  if (f->has_targets)
    FG_TRY(read_first(data, o->target, o->start, n, bytes, f->x, f->targets));
  FG_TRY(read_first(data, labels, o->start, n, bytes, f->x, f->labels));
  for (int64_t i = 0; i < n; i++) {
    f->index[i] = o->start + i;
    f->labels[i] = predicted ? -1 : f->labels[i];
  }
  return FGSM_OK;
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
  struct first f = {.n = 0};
  *why = 0;
  fgsm_status status = load(data, options, batch < n ? batch : n, &f);
  while (status == FGSM_OK) {
    status = fg_agreement_measure(onnx, &asked_way, &exact_way, &f.shape, arrays, batch, f.n, f.x,
                                  f.labels, f.has_targets ? f.targets : NULL, f.index, out);
    if (!forgivable(status))
      break;
    batch /= 2; /* beside the attack there is less room */
    if (batch == 0) {
      fg_error_copy(why, 256);
      strcpy(out->with, exact_name);
      status = FGSM_OK;
      break;
    }
    status = FGSM_OK;
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
