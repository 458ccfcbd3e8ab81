/* The binary format of CIFAR: records of one label byte (CIFAR-10) or a coarse and a fine one
 * (CIFAR-100), then 32 x 32 bytes of red, of green, of blue. There is no header: the size must be a
 * whole number of records, and label bytes in range tell the two apart. The fine label is the
 * label; the coarse one is carried through as the sample's extra byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io_format.h"

enum {
  PIXELS = 3072,
  RECORD_10 = PIXELS + 1,
  RECORD_100 = PIXELS + 2,
  LOOKED_AT = 512,
  GROUP = 64
};

struct cifar {
  struct fg_bytes *bytes;
  int record; /* bytes */
  unsigned char buffer[GROUP * RECORD_100];
};

static bool takes(const char *path) {
  return fg_path_ends(path, ".bin");
}

/* Whether label bytes, looked at all over the file, are ones that the data set has. */
static fgsm_status plausible(struct fg_bytes *bytes, int64_t size, int record, bool *yes) {
  int64_t n = size / record, step = n > LOOKED_AT ? n / LOOKED_AT : 1;
  *yes = size > 0 && size % record == 0;
  if (!fg_bytes_is_plain(bytes)) /* too dear to look: the size must do */
    return FGSM_OK;
  for (int64_t i = 0; i < n && *yes; i += step) {
    unsigned char label[2];
    FG_TRY(fg_bytes_need(bytes, i * record, label, 2, "a record"));
    *yes = record == RECORD_10 ? label[0] < 10 : label[0] < 20 && label[1] < 100;
  }
  return FGSM_OK;
}

static enum fg_fit probe(const struct fg_probe *probe) {
  bool named = takes(probe->path), ten = false, hundred = false;
  if (!probe->bytes)
    return FG_FIT_NONE;
  int64_t size = fg_bytes_size(probe->bytes);
  if (size < 0 || plausible(probe->bytes, size, RECORD_10, &ten) != FGSM_OK ||
      plausible(probe->bytes, size, RECORD_100, &hundred) != FGSM_OK)
    return named ? FG_FIT_CONTENT : FG_FIT_NONE;
  if (ten || hundred)
    return named ? FG_FIT_CERTAIN : FG_FIT_CONTENT;
  return named ? FG_FIT_NAME : FG_FIT_NONE;
}

static fgsm_status find_record(struct cifar *cifar, const char *path, int64_t *size) {
  bool ten = false, hundred = false;
  FG_TRY(fg_bytes_measure(cifar->bytes, INT64_MAX / 2, size));
  bool fits_10 = *size > 0 && *size % RECORD_10 == 0,
       fits_100 = *size > 0 && *size % RECORD_100 == 0;
  if (!fits_10 && !fits_100)
    return FG_FAIL(DATA,
                   "%s: %lld bytes are not a whole number of CIFAR records of %d (CIFAR-10) or %d "
                   "(CIFAR-100) bytes",
                   path, (long long)*size, RECORD_10, RECORD_100);
  if (fits_10 && fits_100) {
    FG_TRY(plausible(cifar->bytes, *size, RECORD_10, &ten));
    FG_TRY(plausible(cifar->bytes, *size, RECORD_100, &hundred));
  }
  cifar->record = fits_100 && (!fits_10 || (hundred && !ten)) ? RECORD_100 : RECORD_10;
  return FGSM_OK;
}

static fgsm_status open_reader(struct fg_reader *reader) {
  int64_t size = 0;
  struct cifar *cifar = calloc(1, sizeof *cifar);
  reader->state = cifar;
  if (!cifar)
    return FG_FAIL(MEMORY, "no memory to open %s", reader->path);
  FG_TRY(fg_bytes_open(reader->path, &cifar->bytes));
  FG_TRY(find_record(cifar, reader->path, &size));
  reader->info = (struct fg_dataset_info){
      .n = size / cifar->record,
      .type = FG_U8,
      .stored = FG_U8,
      .rank = 3,
      .dim = {3, 32, 32},
      .has_labels = true,
      .extra_bytes = cifar->record - RECORD_10,
  };
  return FGSM_OK;
}

static fgsm_status read_samples(struct fg_reader *reader, int64_t first, int64_t n, void *x,
                                int64_t *labels, uint8_t *extra) {
  struct cifar *cifar = reader->state;
  int coarse = cifar->record - RECORD_10;
  for (int64_t done = 0, part; done < n; done += part) {
    part = n - done < GROUP ? n - done : GROUP;
    FG_TRY(fg_bytes_need(cifar->bytes, (first + done) * cifar->record, cifar->buffer,
                         (size_t)(part * cifar->record), "a CIFAR record"));
    for (int64_t i = 0; i < part; i++) {
      const unsigned char *record = cifar->buffer + i * cifar->record;
      memcpy((char *)x + (done + i) * PIXELS, record + coarse + 1, PIXELS);
      if (labels)
        labels[done + i] = record[coarse];
      if (extra && coarse)
        extra[done + i] = record[0];
    }
  }
  return FGSM_OK;
}

static void close_reader(struct fg_reader *reader) {
  struct cifar *cifar = reader->state;
  if (cifar)
    fg_bytes_close(cifar->bytes);
  free(cifar);
}

const struct fg_reader_format fg_cifar_reader = {
    .name = "cifar",
    .probe = probe,
    .open = open_reader,
    .read = read_samples,
    .close = close_reader,
};

static fgsm_status open_writer(struct fg_sink *sink) {
  const struct fg_dataset_info *info = &sink->info;
  struct fg_file *file = NULL;
  bool shaped = info->rank == 3 && info->dim[0] == 3 && info->dim[1] == 32 && info->dim[2] == 32;
  if (info->type != FG_U8 || !shaped || !info->has_labels || info->extra_bytes > 1)
    return FG_FAIL(USAGE,
                   "%s: CIFAR's .bin holds bytes of shape 3 x 32 x 32 with labels, and nothing "
                   "else; write .npy or .npz",
                   sink->path);
  return fg_sink_add(sink, sink->path, &file);
}

static fgsm_status write_samples(struct fg_sink *sink, int64_t n, const void *x,
                                 const int64_t *labels, const uint8_t *extra) {
  for (int64_t i = 0; i < n; i++) {
    unsigned char head[2] = {0, 0};
    size_t coarse = (size_t)sink->info.extra_bytes;
    if (labels[i] < 0 || labels[i] > 255)
      return FG_FAIL(DATA, "%s: label %lld of sample %lld is no byte; write .npy or .npz",
                     sink->path, (long long)labels[i], (long long)(sink->written + i));
    if (coarse)
      head[0] = extra[i];
    head[coarse] = (unsigned char)labels[i];
    FG_TRY(fg_file_write(sink->files[0], head, 1 + coarse));
    FG_TRY(fg_file_write(sink->files[0], (const char *)x + i * PIXELS, PIXELS));
  }
  return FGSM_OK;
}

/* There is no header. */
static fgsm_status shorten(struct fg_sink *sink) {
  (void)sink;
  return FGSM_OK;
}

const struct fg_writer_format fg_cifar_writer = {
    .name = "cifar",
    .suffixes = ".bin",
    .takes = takes,
    .open = open_writer,
    .write = write_samples,
    .shorten = shorten,
};
