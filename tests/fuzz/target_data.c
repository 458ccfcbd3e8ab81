/* The readers of datasets, labels, arrays and option files. Each file is opened as a user would have
 * it opened, and what opens is read to its end, some samples at a time, then again from its middle. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "io.h"
#include "io_format.h"
#include "options.h"

enum { STEP = 7, MOST_BYTES = 1 << 22 /* of one read: what a caller would have asked for */ };

static fgsm_status read_on(struct fg_dataset *d, void *x, int64_t *labels, uint8_t *extra) {
  for (int64_t n = 1, reads = 0; n && reads < 1000; reads++)
    FG_TRY(fg_dataset_read(d, STEP, x, labels, extra, &n));
  return FGSM_OK;
}

static fgsm_status read_whole(struct fg_dataset *d) {
  const struct fg_dataset_info *info = fg_dataset_info(d);
  int64_t bytes = (int64_t)fg_type_size(info->type) * STEP;
  int64_t labels[STEP];
  uint8_t extra[STEP];
  for (int i = 0; i < info->rank; i++)
    if (!fg_mul_ok(bytes, info->dim[i], &bytes))
      abort(); /* a sample has fewer than 2^63 bytes: the reader's promise */
  if (info->extra_bytes > 1 || bytes > MOST_BYTES)
    return FGSM_OK;
  void *x = malloc((size_t)bytes);
  if (!x)
    abort();
  fgsm_status status = read_on(d, x, labels, extra);
  if (status == FGSM_OK)
    status = fg_dataset_seek(d, info->n / 2);
  if (status == FGSM_OK)
    status = read_on(d, x, labels, extra);
  free(x);
  return status;
}

static bool run_dataset(const char *path, const char *labels) {
  struct fg_dataset *d = NULL;
  fgsm_status status = fg_dataset_open(path, labels, &d);
  if (status == FGSM_OK)
    status = read_whole(d);
  fg_dataset_close(d);
  return fuzz_check(status);
}

static bool run_labels(const char *path) {
  struct fg_labels *labels = NULL;
  int64_t some[64];
  fgsm_status status = fg_labels_open(path, &labels);
  for (int64_t at = 0, n = 1; status == FGSM_OK && n > 0 && at < 64 * 1000; at += n) {
    n = fg_labels_count(labels) - at;
    n = n < 64 ? n : 64;
    if (n > 0)
      status = fg_labels_read(labels, at, n, some);
  }
  fg_labels_close(labels);
  return fuzz_check(status);
}

/* As masks, eps maps and feeds are read. */
static bool run_array(const char *path, enum fg_type type) {
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  fgsm_status status = fg_npy_load(path, type, &rank, dim, &data);
  free(data);
  return fuzz_check(status);
}

static bool idx(const uint8_t *data, size_t n, bool thorough) {
  const char *path = fuzz_file("x-ubyte", data, n);
  bool read = run_dataset(path, NULL);
  if (thorough || fuzz_hash(data, n) % 4 == 0)
    read = run_labels(path) || read;
  return read;
}

static bool cifar(const uint8_t *data, size_t n, bool thorough) {
  (void)thorough;
  return run_dataset(fuzz_file("x.bin", data, n), NULL);
}

static bool npy(const uint8_t *data, size_t n, bool thorough) {
  static const enum fg_type types[] = {FG_F32, FG_F64, FG_I64, FG_U8, FG_BOOL};
  const char *path = fuzz_file("x.npy", data, n);
  uint32_t way = fuzz_hash(data, n) % 7;
  bool read = false;
  for (uint32_t i = 0; i < 5; i++)
    if (thorough || way == i)
      read = run_array(path, types[i]) || read;
  if (thorough || way > 4)
    read = run_dataset(path, NULL) || read;
  return read;
}

static bool npz(const uint8_t *data, size_t n, bool thorough) {
  const char *path = fuzz_file("x.npz", data, n);
  char member[600];
  uint32_t way = fuzz_hash(data, n) % 4;
  bool read = false;
  if (thorough || way > 1)
    read = run_dataset(path, NULL);
  if (thorough || way == 0)
    read = run_labels(path) || read;
  snprintf(member, sizeof member, "%s:x", path);
  if (thorough || way == 1)
    read = run_array(member, FG_F32) || read;
  return read;
}

static bool labels(const uint8_t *data, size_t n, bool thorough) {
  (void)thorough;
  return run_labels(fuzz_file("labels.txt", data, n));
}

/* A file of options; and the same text as the value of each option. */
static bool options(const uint8_t *data, size_t n, bool thorough) {
  fgsm_options *o = NULL;
  const char *path = fuzz_file("options", data, n);
  if (!fuzz_check(fgsm_options_create(&o)))
    return false;
  bool read = fuzz_check(fgsm_options_read(o, path));
  char *text = strndup((const char *)data, n);
  const fgsm_option_info *info;
  size_t way = fuzz_hash(data, n) % 64;
  for (size_t i = 0; text && (info = fgsm_option_at(i)); i++)
    if ((thorough || i == way) && strcmp(info->name, "config") != 0)
      (void)fuzz_check(fgsm_options_set(o, info->name, text));
  free(text);
  fgsm_options_destroy(o);
  return read;
}

const struct fuzz_target fuzz_idx = {"idx", idx};
const struct fuzz_target fuzz_cifar = {"cifar", cifar};
const struct fuzz_target fuzz_npy = {"npy", npy};
const struct fuzz_target fuzz_npz = {"npz", npz};
const struct fuzz_target fuzz_labels = {"labels", labels};
const struct fuzz_target fuzz_options = {"options", options};
