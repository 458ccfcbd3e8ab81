/* IDX, the format of MNIST: 0 0 TYPE RANK, RANK big-endian counts of 32 bits, big-endian items.
 *
 * Labels lie in a file of their own beside: train-images-idx3-ubyte has train-labels-idx1-ubyte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_format.h"

enum { RANK_MAX = 4, LABEL_CHUNK = 4096 };

static const struct {
  unsigned char code;
  struct fg_element element;
} types[] = {
    {0x08, {'u', 1, true}}, {0x09, {'i', 1, true}}, {0x0b, {'i', 2, true}},
    {0x0c, {'i', 4, true}}, {0x0d, {'f', 4, true}}, {0x0e, {'f', 8, true}},
};
enum { TYPES = sizeof types / sizeof *types };

static const struct fg_element *element_of(unsigned char code) {
  for (int i = 0; i < TYPES; i++)
    if (types[i].code == code)
      return &types[i].element;
  return NULL;
}

bool fg_idx_is(const unsigned char head[4]) {
  return head[0] == 0 && head[1] == 0 && element_of(head[2]) && head[3] >= 1 && head[3] <= RANK_MAX;
}

static fgsm_status read_header(struct fg_array *array) {
  unsigned char head[4 + 4 * RANK_MAX];
  const char *name = fg_bytes_name(array->bytes);
  FG_TRY(fg_bytes_need(array->bytes, 0, head, 4, "the IDX magic"));
  if (!fg_idx_is(head))
    return FG_FAIL(
        DATA,
        "%s: begins with %02x %02x %02x %02x; IDX begins with 00 00, a type (08, 09, 0b, "
        "0c, 0d, 0e) and a rank of 1 to %d",
        name, head[0], head[1], head[2], head[3], RANK_MAX);
  array->rank = head[3];
  array->element = *element_of(head[2]);
  array->start = 4 + 4 * array->rank;
  FG_TRY(fg_bytes_need(array->bytes, 4, head + 4, (size_t)(4 * array->rank), "the IDX header"));
  for (int i = 0; i < array->rank; i++)
    array->dim[i] = fg_be32(head + 4 + 4 * i);
  return fg_array_check(array);
}

fgsm_status fg_idx_array(struct fg_bytes *bytes, struct fg_array *out) {
  *out = (struct fg_array){.bytes = bytes};
  fgsm_status status = read_header(out);
  if (status != FGSM_OK)
    fg_array_close(out);
  return status;
}

/* ---- names */

static bool takes(const char *path) {
  const char *base = fg_path_base(path);
  return strstr(base, "-ubyte") || strstr(base, ".idx");
}

static char *last_in(char *text, const char *word) {
  char *found = NULL;
  for (char *p = text; (p = strstr(p, word)); p++)
    found = p;
  return found;
}

/* 0: the name that goes with path, 1: the same, compressed if path is not and the reverse. */
static bool beside(const char *path, int i, char *out, size_t size) {
  bool gz = fg_path_is_gz(path);
  size_t n = strlen(path) - (gz ? 3 : 0);
  if (i > 1 || n + sizeof ".labels-idx1-ubyte.gz" > size)
    return false;
  memcpy(out, path, n);
  out[n] = 0;
  char *base = out + (fg_path_base(out) - out), *images = last_in(base, "images");
  if (images) {
    memcpy(images, "labels", 6);
    char *rank = last_in(base, "idx");
    if (rank && rank[3] >= '1' && rank[3] <= '4')
      rank[3] = '1';
  } else {
    strcat(out, ".labels-idx1-ubyte");
  }
  if (gz == (i == 0))
    strcat(out, ".gz");
  return true;
}

/* ---- reader */

static enum fg_fit probe(const struct fg_probe *probe) {
  bool named = takes(probe->path);
  if (!probe->bytes)
    return FG_FIT_NONE;
  if (probe->head_bytes < 4 || !fg_idx_is(probe->head))
    return named ? FG_FIT_NAME : FG_FIT_NONE;
  if (named)
    return FG_FIT_CERTAIN;
  int64_t have = fg_bytes_size(probe->bytes), want = element_of(probe->head[2])->size;
  bool fits = true;
  for (int i = 0; i < probe->head[3]; i++)
    fits = fits && fg_mul_ok(want, fg_be32(probe->head + 4 + 4 * i), &want);
  if (have < 0)
    return FG_FIT_CONTENT;
  return fits && want == have - 4 - 4 * probe->head[3] ? FG_FIT_CERTAIN : FG_FIT_NAME;
}

static fgsm_status open_reader(struct fg_reader *reader) {
  struct fg_bytes *bytes = NULL;
  struct fg_array *array = calloc(1, sizeof *array);
  reader->state = array;
  if (!array)
    return FG_FAIL(MEMORY, "no memory to open %s", reader->path);
  FG_TRY(fg_bytes_open(reader->path, &bytes));
  FG_TRY(fg_idx_array(bytes, array));
  return fg_array_samples(array, &reader->info);
}

static fgsm_status read_samples(struct fg_reader *reader, int64_t first, int64_t n, void *x,
                                int64_t *labels, uint8_t *extra) {
  (void)labels, (void)extra;
  return fg_array_read(reader->state, first, n, reader->info.type, x);
}

static void close_reader(struct fg_reader *reader) {
  if (reader->state)
    fg_array_close(reader->state);
  free(reader->state);
}

const struct fg_reader_format fg_idx_reader = {
    .name = "idx",
    .probe = probe,
    .open = open_reader,
    .read = read_samples,
    .close = close_reader,
    .beside = beside,
};

/* ---- writer: files[0] samples, files[1] labels as bytes */

static fgsm_status write_header(struct fg_file *file, unsigned char code, int64_t n, int rank,
                                const int64_t *dim) {
  unsigned char head[4 + 4 * RANK_MAX] = {0, 0, code, (unsigned char)(rank + 1)};
  for (int i = 0; i <= rank; i++) {
    int64_t d = i ? dim[i - 1] : n;
    for (int k = 0; k < 4; k++)
      head[4 + 4 * i + k] = (unsigned char)(d >> (24 - 8 * k));
  }
  return fg_file_write(file, head, (size_t)(8 + 4 * rank));
}

static fgsm_status open_writer(struct fg_sink *sink) {
  const struct fg_dataset_info *info = &sink->info;
  struct fg_file *file = NULL;
  char name[PATH_MAX];
  bool fits = info->rank + 1 <= RANK_MAX && info->n <= UINT32_MAX;
  for (int i = 0; i < info->rank; i++)
    fits = fits && info->dim[i] <= UINT32_MAX;
  if (!fits)
    return FG_FAIL(USAGE, "%s: IDX holds samples of at most %d dimensions; write .npy or .npz",
                   sink->path, RANK_MAX - 1);
  FG_TRY(fg_sink_add(sink, sink->path, &file));
  FG_TRY(write_header(file, info->type == FG_U8 ? 0x08 : 0x0d, info->n, info->rank, info->dim));
  if (!info->has_labels)
    return FGSM_OK;
  if (!beside(sink->path, 0, name, sizeof name))
    return FG_FAIL(USAGE, "%s: too long a name", sink->path);
  FG_TRY(fg_sink_add(sink, name, &file));
  return write_header(file, 0x08, info->n, 0, NULL);
}

static fgsm_status write_floats(struct fg_file *file, const float *x, int64_t items) {
  unsigned char buffer[4 * LABEL_CHUNK];
  for (int64_t i = 0, part; i < items; i += part) {
    part = items - i < LABEL_CHUNK ? items - i : LABEL_CHUNK;
    for (int64_t k = 0; k < part; k++) {
      uint32_t u;
      memcpy(&u, x + i + k, sizeof u);
      for (int b = 0; b < 4; b++)
        buffer[4 * k + b] = (unsigned char)(u >> (24 - 8 * b));
    }
    FG_TRY(fg_file_write(file, buffer, (size_t)(4 * part)));
  }
  return FGSM_OK;
}

static fgsm_status write_samples(struct fg_sink *sink, int64_t n, const void *x,
                                 const int64_t *labels, const uint8_t *extra) {
  (void)extra;
  if (sink->info.type == FG_U8)
    FG_TRY(fg_file_write(sink->files[0], x, (size_t)(n * sink->sample_bytes)));
  else
    FG_TRY(write_floats(sink->files[0], x, n * sink->sample_items));
  if (!sink->info.has_labels)
    return FGSM_OK;
  for (int64_t i = 0; i < n; i++) {
    if (labels[i] < 0 || labels[i] > 255)
      return FG_FAIL(DATA, "%s: label %lld of sample %lld is no byte; write .npy or .npz",
                     fg_file_path(sink->files[1]), (long long)labels[i],
                     (long long)(sink->written + i));
    unsigned char byte = (unsigned char)labels[i];
    FG_TRY(fg_file_write(sink->files[1], &byte, 1));
  }
  return FGSM_OK;
}

static fgsm_status shorten(struct fg_sink *sink) {
  unsigned char n[4];
  for (int k = 0; k < 4; k++)
    n[k] = (unsigned char)(sink->info.n >> (24 - 8 * k));
  for (int64_t i = 0; i < sink->n_files; i++)
    FG_TRY(fg_file_patch(sink->files[i], 4, n, sizeof n));
  return FGSM_OK;
}

const struct fg_writer_format fg_idx_writer = {
    .name = "idx",
    .suffixes = "...-ubyte .idx",
    .takes = takes,
    .open = open_writer,
    .write = write_samples,
    .shorten = shorten,
};
