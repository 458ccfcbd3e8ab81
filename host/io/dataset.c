/* A dataset: one or more files of one format seam, read as one, with labels from wherever they are.
 *
 * The format is the one whose probe is surest; what a file promises was checked by its reader when
 * it was opened, and is checked again where it is read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io_format.h"

static const struct fg_reader_format *const formats[] = {
    &fg_npy_reader,
    &fg_npz_reader,
    &fg_idx_reader,
    &fg_cifar_reader,
};
enum { FORMATS = sizeof formats / sizeof *formats, PARTS_MAX = 4096 };

struct part {
  struct fg_reader reader;
  struct fg_labels *labels; /* found beside, or NULL */
  int64_t first;            /* of its samples, in the dataset */
};

struct fg_dataset {
  struct fg_dataset_info info;
  struct part *parts;
  int64_t n_parts, room_parts;
  struct fg_labels *labels; /* named by the caller, for all parts */
  int64_t sample_bytes, next;
};

const struct fg_dataset_info *fg_dataset_info(const struct fg_dataset *dataset) {
  return &dataset->info;
}

/* ---- opening */

static fgsm_status unknown(const struct fg_probe *probe) {
  char list[100] = "";
  size_t at = 0;
  for (int i = 0; i < FORMATS && at < sizeof list; i++)
    at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", formats[i]->name);
  if (!probe->bytes)
    return FG_FAIL(DATA, "%s: a folder; files of these formats are read: %s", probe->path, list);
  const unsigned char *h = probe->head;
  return FG_FAIL(DATA, "%s: in no format that is read (%s); it begins with %02x %02x %02x %02x%s",
                 probe->path, list, h[0], h[1], h[2], h[3], probe->head_bytes ? "" : " (empty)");
}

static fgsm_status find_format(const char *path, const struct fg_reader_format **out) {
  struct stat s;
  struct fg_probe probe = {.path = path};
  enum fg_fit best = FG_FIT_NONE;
  fgsm_status status = FGSM_OK;
  if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode)) {
    FG_TRY(fg_bytes_open(path, &probe.bytes));
    status = fg_bytes_read(probe.bytes, 0, probe.head, sizeof probe.head, &probe.head_bytes);
  }
  for (int i = 0; i < FORMATS && status == FGSM_OK; i++) {
    enum fg_fit fit = formats[i]->probe(&probe);
    if (fit > best) {
      best = fit;
      *out = formats[i];
    }
  }
  if (status == FGSM_OK && best == FG_FIT_NONE)
    status = unknown(&probe);
  fg_bytes_close(probe.bytes);
  return status;
}

static fgsm_status find_labels(struct part *part) {
  const struct fg_reader *reader = &part->reader;
  char name[PATH_MAX];
  for (int i = 0;
       reader->format->beside && reader->format->beside(reader->path, i, name, sizeof name); i++) {
    if (!fg_path_exists(name))
      continue;
    FG_TRY(fg_labels_open(name, &part->labels));
    if (fg_labels_count(part->labels) != reader->info.n)
      return FG_FAIL(
          DATA, "%s: %lld labels, but %s has %lld samples; name the labels with --labels", name,
          (long long)fg_labels_count(part->labels), reader->path, (long long)reader->info.n);
    return FGSM_OK;
  }
  return FGSM_OK;
}

static fgsm_status open_part(struct part *part, const char *path, bool labelled) {
  struct fg_reader *reader = &part->reader;
  const struct fg_reader_format *format = NULL;
  FG_TRY(fg_path_split(path, &reader->path, &reader->member));
  FG_TRY(find_format(reader->path, &format));
  if (reader->member && format != &fg_npz_reader)
    return FG_FAIL(DATA, "%s: is %s, which has no members (%s)", reader->path, format->name,
                   reader->member);
  reader->format = format;
  reader->skip_labels = labelled;
  FG_TRY(format->open(reader));
  reader->info.format = format->name;
  return labelled || reader->info.has_labels ? FGSM_OK : find_labels(part);
}

/* Adds the part's samples to the dataset's, if they are alike. */
static fgsm_status join(struct fg_dataset *dataset, struct part *part) {
  struct fg_dataset_info *all = &dataset->info, *own = &part->reader.info;
  own->has_labels = own->has_labels || part->labels;
  part->first = all->n;
  if (part == dataset->parts) {
    *all = *own;
    return FGSM_OK;
  }
  bool alike =
      all->type == own->type && all->rank == own->rank && all->extra_bytes == own->extra_bytes;
  for (int i = 0; alike && i < all->rank; i++)
    alike = all->dim[i] == own->dim[i];
  if (!alike)
    return FG_FAIL(DATA, "%s and %s: shape, type or format differ; only alike files join",
                   dataset->parts->reader.path, part->reader.path);
  if (all->has_labels != own->has_labels)
    return FG_FAIL(DATA, "%s has labels, %s has none; name them with --labels",
                   all->has_labels ? dataset->parts->reader.path : part->reader.path,
                   all->has_labels ? part->reader.path : dataset->parts->reader.path);
  if (!fg_add_ok(all->n, own->n, &all->n))
    return FG_FAIL(DATA, "%s: more than 2^63 samples", part->reader.path);
  all->held_bytes += own->held_bytes;
  if (all->held_bytes > FG_HOLD_BYTES)
    return FG_FAIL(DATA,
                   "%s: with the files before it, more than %lld bytes in Fortran order to be "
                   "held in memory; save them in C order, or uncompressed",
                   part->reader.path, (long long)FG_HOLD_BYTES);
  return FGSM_OK;
}

static fgsm_status add_part(struct fg_dataset *dataset, const char *path, bool labelled) {
  if (!*path)
    return FG_FAIL(USAGE, "an empty name in the list of data files");
  if (dataset->n_parts == PARTS_MAX)
    return FG_FAIL(USAGE, "more than %d data files", PARTS_MAX);
  FG_TRY(
      fg_grow(&dataset->parts, &dataset->room_parts, dataset->n_parts + 1, sizeof *dataset->parts));
  struct part *part = &dataset->parts[dataset->n_parts++];
  *part = (struct part){0};
  FG_TRY(open_part(part, path, labelled));
  return join(dataset, part);
}

static fgsm_status add_parts(struct fg_dataset *dataset, const char *path, bool labelled) {
  if (fg_path_exists(path)) /* a comma may be part of a name */
    return add_part(dataset, path, labelled);
  char *list = strdup(path);
  if (!list)
    return FG_FAIL(MEMORY, "no memory for a path");
  fgsm_status status = FGSM_OK;
  for (char *rest = list, *one; status == FGSM_OK && (one = strsep(&rest, ","));)
    status = add_part(dataset, one, labelled);
  free(list);
  return status;
}

static fgsm_status settle(struct fg_dataset *dataset, const char *labels) {
  struct fg_dataset_info *info = &dataset->info;
  int64_t whole = 0;
  dataset->sample_bytes = (int64_t)fg_type_size(info->type);
  for (int i = 0; i < info->rank; i++)
    if (info->dim[i] <= 0 ||
        !fg_mul_ok(dataset->sample_bytes, info->dim[i], &dataset->sample_bytes))
      return FG_FAIL(DATA, "samples without items, or of more than 2^63 bytes");
  if (!fg_mul_ok(dataset->sample_bytes, info->n, &whole))
    return FG_FAIL(DATA, "more than 2^63 bytes of samples");
  if (!labels)
    return FGSM_OK;
  FG_TRY(fg_labels_open(labels, &dataset->labels));
  if (fg_labels_count(dataset->labels) != info->n)
    return FG_FAIL(DATA, "%s: %lld labels for %lld samples", labels,
                   (long long)fg_labels_count(dataset->labels), (long long)info->n);
  info->has_labels = true;
  return FGSM_OK;
}

fgsm_status fg_dataset_open(const char *path, const char *labels, struct fg_dataset **out) {
  *out = NULL;
  struct fg_dataset *dataset = calloc(1, sizeof *dataset);
  if (!dataset)
    return FG_FAIL(MEMORY, "no memory to open %s", path);
  fgsm_status status = add_parts(dataset, path, labels != NULL);
  if (status == FGSM_OK)
    status = settle(dataset, labels);
  if (status != FGSM_OK)
    fg_dataset_close(dataset);
  else
    *out = dataset;
  return status;
}

void fg_dataset_close(struct fg_dataset *dataset) {
  if (!dataset)
    return;
  fg_labels_close(dataset->labels);
  for (int64_t i = dataset->n_parts; i-- > 0;) {
    struct part *part = &dataset->parts[i];
    fg_labels_close(part->labels);
    if (part->reader.format)
      part->reader.format->close(&part->reader);
    free(part->reader.member);
    free(part->reader.path);
  }
  free(dataset->parts);
  free(dataset);
}

/* ---- reading */

static fgsm_status read_part(struct fg_dataset *dataset, struct part *part, int64_t n, void *x,
                             int64_t *labels, uint8_t *extra) {
  int64_t first = dataset->next - part->first;
  bool inside = part->reader.info.has_labels && !part->labels && !dataset->labels;
  FG_TRY(part->reader.format->read(&part->reader, first, n, x, inside ? labels : NULL,
                                   dataset->info.extra_bytes ? extra : NULL));
  if (!labels || inside)
    return FGSM_OK;
  if (dataset->labels)
    return fg_labels_read(dataset->labels, dataset->next, n, labels);
  if (part->labels)
    return fg_labels_read(part->labels, first, n, labels);
  for (int64_t i = 0; i < n; i++)
    labels[i] = -1;
  return FGSM_OK;
}

fgsm_status fg_dataset_read(struct fg_dataset *dataset, int64_t most, void *x, int64_t *labels,
                            uint8_t *extra, int64_t *n) {
  *n = 0;
  for (int64_t p = 0; p < dataset->n_parts && *n < most; p++) {
    struct part *part = &dataset->parts[p];
    int64_t left = part->first + part->reader.info.n - dataset->next;
    if (left <= 0)
      continue;
    int64_t take = left < most - *n ? left : most - *n;
    FG_TRY(read_part(dataset, part, take, (char *)x + *n * dataset->sample_bytes,
                     labels ? labels + *n : NULL,
                     extra ? extra + *n * dataset->info.extra_bytes : NULL));
    dataset->next += take;
    *n += take;
  }
  return FGSM_OK;
}

fgsm_status fg_dataset_range(const char *path, const struct fg_dataset_info *info, int64_t start,
                             int64_t limit, int64_t *n) {
  if (info->n < 1)
    return FG_FAIL(DATA, "%s: holds no samples", path);
  if (start >= info->n)
    return FG_FAIL(DATA, "%s: start %lld lies past its %lld samples", path, (long long)start,
                   (long long)info->n);
  *n = info->n - start;
  if (limit && limit < *n)
    *n = limit;
  return FGSM_OK;
}

fgsm_status fg_dataset_seek(struct fg_dataset *dataset, int64_t index) {
  if (index < 0 || index > dataset->info.n)
    return FG_FAIL(USAGE, "%s: sample %lld of %lld", dataset->parts->reader.path, (long long)index,
                   (long long)dataset->info.n);
  dataset->next = index;
  return FGSM_OK;
}

fgsm_status fg_dataset_sha256(const struct fg_dataset *dataset, char hex[65]) {
  const char **paths = calloc((size_t)dataset->n_parts, sizeof *paths);
  if (!paths)
    return FG_FAIL(MEMORY, "no memory for %lld paths", (long long)dataset->n_parts);
  for (int64_t i = 0; i < dataset->n_parts; i++)
    paths[i] = dataset->parts[i].reader.path;
  fgsm_status status = fg_sha256_files(paths, dataset->n_parts, hex);
  free(paths);
  return status;
}

bool fg_dataset_reads(const struct fg_dataset *dataset, const char *path) {
  if (dataset->labels && fg_path_same(fg_labels_path(dataset->labels), path))
    return true;
  for (int64_t i = 0; i < dataset->n_parts; i++) {
    const struct part *part = &dataset->parts[i];
    if (fg_path_same(part->reader.path, path) ||
        (part->labels && fg_path_same(fg_labels_path(part->labels), path)))
      return true;
  }
  return false;
}
