/* An attack's first batch, for which its gradients are compared with the exact ones. It is read anew,
 * so that the job itself begins at its beginning. */
#include <stdlib.h>
#include <string.h>

#include "job.h"

/* Samples and labels from the job's first on. */
static fgsm_status read_first(struct fg_dataset *dataset, const char *path, int64_t start,
                              struct fg_agree_samples *f, int64_t *labels) {
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

static fgsm_status make_room(const struct fg_dataset_info *info, bool targets,
                             struct fg_agree_samples *f) {
  f->shape = (struct fg_sample_shape){.type = info->type, .rank = info->rank};
  memcpy(f->shape.dim, info->dim, sizeof f->shape.dim);
  int64_t most = fg_agree_most(&f->shape);
  f->n = f->n < most ? f->n : most;
  size_t n = (size_t)f->n;
  size_t bytes = (size_t)fg_sample_count(&f->shape) * fg_type_size(info->type);
  f->x = calloc(n, bytes ? bytes : 1);
  f->labels = calloc(n, sizeof *f->labels);
  f->targets = targets ? calloc(n, sizeof *f->targets) : NULL;
  f->index = calloc(n, sizeof *f->index);
  return f->x && f->labels && (f->targets || !targets) && f->index
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for %lld samples", (long long)f->n);
}

static fgsm_status load_targets(const char *data, const struct fgsm_options *o,
                                struct fg_agree_samples *f) {
  struct fg_dataset *dataset;
  FG_TRY(fg_dataset_open(data, o->target, &dataset));
  fgsm_status status = read_first(dataset, data, o->start, f, f->targets);
  fg_dataset_close(dataset);
  return status;
}

static fgsm_status load(const char *data, const struct fgsm_options *o,
                        struct fg_agree_samples *f) {
  bool predicted = o->labels && strcmp(o->labels, "predicted") == 0;
  struct fg_dataset *dataset;
  FG_TRY(fg_dataset_open(data, predicted ? NULL : o->labels, &dataset));
  fgsm_status status = make_room(fg_dataset_info(dataset), fg_job_target_file(o), f);
  if (status == FGSM_OK && f->targets)
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

fgsm_status fg_job_agree(const struct fg_onnx *onnx, const char *data,
                         const struct fgsm_options *options, const struct fg_device_choice *choice,
                         const struct fg_attack_arrays *arrays, int64_t batch, int64_t n,
                         const struct fg_attacker *lender, struct fg_agreement *out) {
  struct fg_agree_samples f = {.n = batch < n ? batch : n};
  int64_t strip = fg_attacker_info(lender)->strip;
  fgsm_status status = load(data, options, &f);
  if (status == FGSM_OK)
    status = fg_agree(onnx, options, choice, arrays, strip, &f, lender, out);
  free(f.index);
  free(f.targets);
  free(f.labels);
  free(f.x);
  return status;
}
