/* Writing a dataset: the suffix chooses the format, the format lays out the bytes, and the sink
 * sees to it that what appears is whole. All files are completed on disk under temporary names
 * before the first gets its final one; labels go before the data, so that data without its labels
 * is never there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_format.h"

static const struct fg_writer_format *const formats[] = {
    &fg_npy_writer,
    &fg_npz_writer,
    &fg_cifar_writer,
    &fg_idx_writer,
};
enum { FORMATS = sizeof formats / sizeof *formats };

static fgsm_status choose(const char *path, const struct fg_writer_format **out) {
  char list[100] = "";
  size_t at = 0;
  for (int i = 0; i < FORMATS; i++) {
    if (formats[i]->takes(path)) {
      *out = formats[i];
      return FGSM_OK;
    }
    if (at < sizeof list)
      at +=
          (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? " " : "", formats[i]->suffixes);
  }
  return FG_FAIL(USAGE, "%s: the name's end chooses the format, and this is none of: %s", path,
                 list);
}

static fgsm_status measure(struct fg_sink *sink) {
  const struct fg_dataset_info *info = &sink->info;
  int64_t whole = 0;
  bool fits = (info->type == FG_U8 || info->type == FG_F32) && info->n >= 0 && info->rank >= 0 &&
              info->rank < FG_MAX_RANK;
  sink->sample_items = 1;
  for (int i = 0; fits && i < info->rank; i++)
    fits = info->dim[i] > 0 && fg_mul_ok(sink->sample_items, info->dim[i], &sink->sample_items);
  fits = fits &&
         fg_mul_ok(sink->sample_items, (int64_t)fg_type_size(info->type), &sink->sample_bytes) &&
         fg_mul_ok(sink->sample_bytes, info->n, &whole);
  return fits ? FGSM_OK
              : FG_FAIL(USAGE, "%s: only uint8 and float32 samples of a definite shape are written",
                        sink->path);
}

fgsm_status fg_sink_open(const char *path, const struct fg_dataset_info *info,
                         struct fg_sink **out) {
  *out = NULL;
  struct fg_sink *sink = calloc(1, sizeof *sink);
  if (!sink)
    return FG_FAIL(MEMORY, "no memory to write %s", path);
  sink->info = *info;
  sink->path = strdup(path);
  fgsm_status status = sink->path ? FGSM_OK : FG_FAIL(MEMORY, "no memory to write %s", path);
  if (status == FGSM_OK)
    status = choose(path, &sink->format);
  if (status == FGSM_OK)
    status = measure(sink);
  if (status == FGSM_OK)
    status = sink->format->open(sink);
  if (status != FGSM_OK)
    fg_sink_close(sink);
  else
    *out = sink;
  return status;
}

fgsm_status fg_sink_add(struct fg_sink *sink, const char *path, struct fg_file **out) {
  FG_TRY(fg_grow(&sink->files, &sink->room_files, sink->n_files + 1, sizeof(struct fg_file *)));
  FG_TRY(fg_file_open(path, fg_path_is_gz(path), out));
  sink->files[sink->n_files++] = *out;
  return FGSM_OK;
}

fgsm_status fg_sink_check_apart(const struct fg_sink *sink, const struct fg_dataset *input) {
  for (int64_t i = 0; i < sink->n_files; i++)
    if (fg_dataset_reads(input, fg_file_path(sink->files[i])))
      return FG_FAIL(USAGE, "%s: would overwrite a file that is being read; choose another name",
                     fg_file_path(sink->files[i]));
  return FGSM_OK;
}

fgsm_status fg_sink_write(struct fg_sink *sink, int64_t n, const void *x, const int64_t *labels,
                          const uint8_t *extra) {
  if (sink->failed || sink->committed)
    return FG_FAIL(INTERNAL, "%s: written to after it failed or was completed", sink->path);
  if (n < 0 || n > sink->info.n - sink->written || (sink->info.has_labels && !labels) ||
      (sink->info.extra_bytes && !extra && sink->format == &fg_cifar_writer))
    return FG_FAIL(INTERNAL, "%s: %lld samples after %lld of %lld, or without their labels",
                   sink->path, (long long)n, (long long)sink->written, (long long)sink->info.n);
  fgsm_status status = sink->format->write(sink, n, x, labels, extra);
  sink->failed = status != FGSM_OK;
  sink->written += n;
  return status;
}

fgsm_status fg_sink_shorten(struct fg_sink *sink, const char *prefix) {
  if (sink->failed || sink->committed)
    return FG_FAIL(INTERNAL, "%s: shortened after it failed or was completed", sink->path);
  bool can = sink->format->shorten != NULL;
  for (int64_t i = 0; i < sink->n_files; i++)
    can = can && !fg_file_is_gz(sink->files[i]);
  if (!can)
    return FG_FAIL(UNSUPPORTED, "%s: holds the number of its samples where it cannot be changed",
                   sink->path);
  sink->info.n = sink->written;
  fgsm_status status = sink->format->shorten(sink);
  for (int64_t i = 0; i < sink->n_files && status == FGSM_OK; i++)
    status = fg_file_prefix(sink->files[i], prefix);
  sink->failed = status != FGSM_OK;
  return status;
}

fgsm_status fg_sink_commit(struct fg_sink *sink) {
  if (sink->failed || sink->committed || sink->written != sink->info.n)
    return FG_FAIL(INTERNAL, "%s: cannot be completed: %s (%lld of %lld samples)", sink->path,
                   sink->failed ? "writing it failed" : "too early or twice",
                   (long long)sink->written, (long long)sink->info.n);
  fgsm_status status = sink->format->finish ? sink->format->finish(sink) : FGSM_OK;
  for (int64_t i = 0; i < sink->n_files && status == FGSM_OK; i++)
    status = fg_file_seal(sink->files[i]);
  for (int64_t i = sink->n_files; i-- > 0 && status == FGSM_OK;)
    status = fg_file_publish(sink->files[i]);
  sink->failed = status != FGSM_OK;
  sink->committed = status == FGSM_OK;
  return status;
}

void fg_sink_close(struct fg_sink *sink) {
  if (!sink)
    return;
  for (int64_t i = sink->n_files; i-- > 0;)
    fg_file_close(sink->files[i]);
  free(sink->files);
  free(sink->state);
  free(sink->path);
  free(sink);
}
