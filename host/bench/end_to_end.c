/* The whole way: a file of generated samples, with labels, through reader, attack and writer into
 * another file, as `fgsm attack` goes it. Both lie in a temporary folder that is gone afterwards. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "bench.h"
#include "io.h"
#include "job.h"

enum { MAX_PATH = 4096 };

struct folder {
  char path[MAX_PATH - 64], data[MAX_PATH], out[MAX_PATH];
};

static fgsm_status make_folder(struct folder *f) {
  const char *root = getenv("TMPDIR");
  int n = snprintf(f->path, sizeof f->path, "%s/fgsm-bench-XXXXXX", root && *root ? root : "/tmp");
  if (n < 0 || (size_t)n >= sizeof f->path)
    return FG_FAIL(USAGE, "TMPDIR is too long");
  if (!mkdtemp(f->path)) {
    fgsm_status status = FG_FAIL(IO, "%s: no temporary folder: %s", f->path, strerror(errno));
    *f->path = 0;
    return status;
  }
  snprintf(f->data, sizeof f->data, "%s/data.npy", f->path);
  snprintf(f->out, sizeof f->out, "%s/adv.npy", f->path);
  return FGSM_OK;
}

static void remove_folder(const struct folder *f) {
  static const char *const names[] = {"data.npy",       "data.labels.npy", "adv.npy",
                                      "adv.labels.npy", "adv.npy.json",    "adv.npy.records.csv"};
  char path[MAX_PATH];
  if (!*f->path)
    return;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
    unlink(path);
  }
  rmdir(f->path);
}

static fgsm_status write_data(const char *path, const struct fgsm_options *options,
                              const struct fg_sample_shape *shape, int64_t classes, int64_t n) {
  struct fg_dataset_info info = {
      .n = n, .type = shape->type, .stored = shape->type, .rank = shape->rank, .has_labels = true};
  struct fg_sink *sink = NULL;
  size_t bytes = (size_t)fg_sample_count(shape) * fg_type_size(shape->type);
  memcpy(info.dim, shape->dim, sizeof info.dim);
  void *x = malloc(bytes);
  fgsm_status status = x ? fg_sink_open(path, &info, &sink) : FG_FAIL(MEMORY, "no memory");
  for (int64_t i = 0; i < n && status == FGSM_OK; i++) {
    int64_t label = i % classes;
    fg_measure_fill(shape, options, 1, i, x);
    status = fg_sink_write(sink, 1, x, &label, NULL);
  }
  if (status == FGSM_OK)
    status = fg_sink_commit(sink);
  fg_sink_close(sink);
  free(x);
  return status;
}

static fgsm_status read_answer(const char *json, struct fg_end_to_end *out) {
  static const char *const stages[] = {"read", "compute", "write"};
  json_t *answer = json_loads(json, 0, NULL);
  if (!answer)
    return FG_FAIL(INTERNAL, "the attack's answer is not JSON");
  out->images_per_second = json_number_value(json_object_get(answer, "images_per_second"));
  for (int s = 0; s < 3; s++)
    out->wait[s] =
        json_number_value(json_object_get(json_object_get(answer, "stage_wait"), stages[s]));
  json_decref(answer);
  return FGSM_OK;
}

static fgsm_status run(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                       const struct fg_sample_shape *shape, int64_t classes, int64_t n,
                       struct folder *f, struct fg_end_to_end *out) {
  fgsm_options own = *options; /* its texts stay the caller's */
  char *json = NULL;
  FG_TRY(make_folder(f));
  FG_TRY(write_data(f->data, options, shape, classes, n));
  own.labels = NULL; /* those beside the data */
  own.out = f->out;
  own.start = own.limit = 0;
  own.fail_under = -1;
  FG_TRY(fg_job_attack(onnx, path, f->data, &own, NULL, NULL, &json));
  fgsm_status status = read_answer(json, out);
  free(json);
  return status;
}

fgsm_status fg_bench_end_to_end(const struct fg_onnx *onnx, const char *path,
                                const fgsm_options *options, const struct fg_sample_shape *shape,
                                int64_t classes, int64_t n, struct fg_end_to_end *out) {
  struct folder f = {.path = ""};
  *out = (struct fg_end_to_end){.samples = n};
  fgsm_status status = run(onnx, path, options, shape, classes, n, &f, out);
  remove_folder(&f);
  return status;
}
