/* .npz: a zip of .npy members, samples in one and their labels in another.
 *
 * Reading goes by the members' names (x and y, images and labels, arr_0 and arr_1, ...); where
 * several could hold the samples none is guessed. Written archives are stored, not compressed, and
 * always in the zip64 form: sizes are known beforehand, so samples and labels are written side by
 * side at their final places, and only the check sums are filled in at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "io_format.h"

bool fg_npz_is(const unsigned char head[4]) {
  return memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0;
}

/* ---- which member */

static const char *const pairs[][2] = {
    {"x", "y"},
    {"images", "labels"},
    {"data", "labels"},
    {"adv", "labels"},
    {"x_adv", "y_adv"},
    {"x_test", "y_test"},
    {"x_train", "y_train"},
    {"test_images", "test_labels"},
    {"train_images", "train_labels"},
    {"val_images", "val_labels"},
    {"arr_0", "arr_1"},
};
static const char *const any_labels[] = {"y", "labels", "label", "targets"};
enum { PAIRS = sizeof pairs / sizeof *pairs, ANY = sizeof any_labels / sizeof *any_labels };

static const char *find(char **names, int64_t n, const char *name) {
  for (int64_t i = 0; i < n; i++)
    if (strcasecmp(names[i], name) == 0)
      return names[i];
  return NULL;
}

static fgsm_status unclear(const char *path, const char *what, char **names, int64_t n) {
  char list[400] = "";
  size_t at = 0;
  for (int64_t i = 0; i < n && at < sizeof list; i++)
    at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
  return FG_FAIL(DATA, "%s: which member holds the %s? Name it, as in %s:%s (members: %s)", path,
                 what, fg_path_base(path), n ? names[0] : "x", n ? list : "none");
}

static fgsm_status choose_samples(const char *path, char **names, int64_t n, const char **out) {
  int found = 0;
  for (int i = 0; i < PAIRS; i++) {
    const char *name = find(names, n, pairs[i][0]);
    if (name) {
      *out = name;
      found++;
    }
  }
  if (n == 1) {
    *out = names[0];
    found = 1;
  }
  return found == 1 ? FGSM_OK : unclear(path, "samples", names, n);
}

/* The member with the labels of `samples`, or NULL. */
static const char *choose_labels(const char *samples, char **names, int64_t n) {
  const char *found = NULL;
  for (int i = 0; i < PAIRS && !found; i++)
    if (strcasecmp(samples, pairs[i][0]) == 0)
      found = find(names, n, pairs[i][1]);
  for (int i = 0; i < ANY && !found; i++)
    found = find(names, n, any_labels[i]);
  return found && strcmp(found, samples) != 0 ? found : NULL;
}

static fgsm_status open_array(const char *path, const char *member, struct fg_array *out) {
  struct fg_bytes *bytes = NULL;
  FG_TRY(fg_bytes_open_member(path, member, &bytes));
  return fg_npy_array(bytes, out);
}

static fgsm_status only_labels(const char *path, char **names, int64_t n, const char **out) {
  int found = 0;
  for (int64_t i = 0; i < n; i++) {
    bool is = false;
    for (int k = 0; k < PAIRS && strcasecmp(pairs[k][0], "arr_0") != 0; k++)
      is = is || strcasecmp(names[i], pairs[k][1]) == 0;
    for (int k = 0; k < ANY; k++)
      is = is || strcasecmp(names[i], any_labels[k]) == 0;
    if (is || n == 1) {
      *out = names[i];
      found++;
    }
  }
  return found == 1 ? FGSM_OK : unclear(path, "labels", names, n);
}

fgsm_status fg_npz_labels(const char *path, const char *member, struct fg_array *out) {
  char **names = NULL;
  int64_t n = 0;
  fgsm_status status = FGSM_OK;
  if (!member) {
    status = fg_zip_names(path, &names, &n);
    if (status == FGSM_OK)
      status = only_labels(path, names, n, &member);
  }
  if (status == FGSM_OK)
    status = open_array(path, member, out);
  fg_zip_names_free(names, n);
  return status;
}

/* ---- reader */

struct npz {
  struct fg_array x, y;
};

static enum fg_fit probe(const struct fg_probe *probe) {
  if (!probe->bytes)
    return FG_FIT_NONE;
  if (probe->head_bytes >= 4 && fg_npz_is(probe->head))
    return FG_FIT_CERTAIN;
  return fg_path_ends(probe->path, ".npz") ? FG_FIT_NAME : FG_FIT_NONE;
}

static fgsm_status open_labels(struct fg_reader *reader, struct npz *npz, const char *member) {
  FG_TRY(open_array(reader->path, member, &npz->y));
  bool fits = npz->y.element.kind != 'f' && npz->y.rank && npz->y.row_items == 1 &&
              npz->y.rows == reader->info.n;
  if (!fits && strncasecmp(member, "arr_", 4) == 0) { /* merely the second array */
    fg_array_close(&npz->y);
    return FGSM_OK;
  }
  FG_TRY(fg_array_check_labels(&npz->y));
  if (!fits)
    return FG_FAIL(DATA, "%s:%s: %lld labels for %lld samples", reader->path, member,
                   (long long)npz->y.rows, (long long)reader->info.n);
  reader->info.has_labels = true;
  return FGSM_OK;
}

static fgsm_status open_members(struct fg_reader *reader, struct npz *npz, char **names,
                                int64_t n) {
  const char *samples = reader->member;
  if (!samples)
    FG_TRY(choose_samples(reader->path, names, n, &samples));
  FG_TRY(open_array(reader->path, samples, &npz->x));
  FG_TRY(fg_array_samples(&npz->x, &reader->info));
  const char *labels = reader->skip_labels ? NULL : choose_labels(samples, names, n);
  return labels ? open_labels(reader, npz, labels) : FGSM_OK;
}

static fgsm_status open_reader(struct fg_reader *reader) {
  char **names = NULL;
  int64_t n = 0;
  struct npz *npz = calloc(1, sizeof *npz);
  reader->state = npz;
  if (!npz)
    return FG_FAIL(MEMORY, "no memory to open %s", reader->path);
  fgsm_status status = fg_zip_names(reader->path, &names, &n);
  if (status == FGSM_OK)
    status = open_members(reader, npz, names, n);
  fg_zip_names_free(names, n);
  return status;
}

static fgsm_status read_samples(struct fg_reader *reader, int64_t first, int64_t n, void *x,
                                int64_t *labels, uint8_t *extra) {
  struct npz *npz = reader->state;
  (void)extra;
  FG_TRY(fg_array_read(&npz->x, first, n, reader->info.type, x));
  return labels ? fg_array_read_labels(&npz->y, first, n, labels) : FGSM_OK;
}

static void close_reader(struct fg_reader *reader) {
  struct npz *npz = reader->state;
  if (npz) {
    fg_array_close(&npz->y);
    fg_array_close(&npz->x);
  }
  free(npz);
}

const struct fg_reader_format fg_npz_reader = {
    .name = "npz",
    .probe = probe,
    .open = open_reader,
    .read = read_samples,
    .close = close_reader,
};

/* ---- writer */

enum { LOCAL_BYTES = 30 + 5 + 20, CENTRAL_BYTES = 46 + 5 + 28, END_BYTES = 56 + 20 + 22 };

struct member {
  const char *name;
  enum fg_type type;
  int rank;
  int64_t offset, header, rows; /* of the local header; bytes of the .npy's own, and of its rows */
  int64_t written;              /* bytes of rows */
  uint32_t crc;                 /* of those rows; at the end, of the .npy */
};

static int64_t npy_bytes(const struct member *m) {
  return m->header + m->rows;
}

static int64_t rows_at(const struct member *m) {
  return m->offset + LOCAL_BYTES + m->header;
}

struct zip {
  struct member member[2];
  int n;
};

static unsigned char *le(unsigned char *p, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; i++)
    *p++ = (unsigned char)(v >> (8 * i));
  return p;
}

/* What local and central headers share: version .. name length. 1980-01-01, stored, zip64. */
static unsigned char *common(unsigned char *p, const struct member *m) {
  p = le(p, 45, 2);
  p = le(p, 0, 6);
  p = le(p, 0x21, 2);
  p = le(p, m->crc, 4);
  p = le(p, 0xffffffffffffffff, 8);
  return le(p, strlen(m->name), 2);
}

static unsigned char *local_header(unsigned char *p, const struct member *m) {
  p = common(le(p, 0x04034b50, 4), m);
  p = le(p, 20, 2);
  memcpy(p, m->name, strlen(m->name));
  p = le(p + strlen(m->name), 16 << 16 | 1, 4);
  return le(le(p, (uint64_t)npy_bytes(m), 8), (uint64_t)npy_bytes(m), 8);
}

static unsigned char *central_header(unsigned char *p, const struct member *m) {
  p = common(le(le(p, 0x02014b50, 4), 45, 2), m);
  p = le(le(p, 28, 2), 0, 2 + 2 + 2); /* extra length; comment, disk, internal attributes */
  p = le(le(p, 0, 4), 0xffffffff, 4); /* external attributes; offset: below */
  memcpy(p, m->name, strlen(m->name));
  p = le(p + strlen(m->name), 24 << 16 | 1, 4);
  p = le(le(p, (uint64_t)npy_bytes(m), 8), (uint64_t)npy_bytes(m), 8);
  return le(p, (uint64_t)m->offset, 8);
}

static unsigned char *end_records(unsigned char *p, int n, int64_t start, int64_t size) {
  p = le(le(p, 0x06064b50, 4), 44, 8);
  p = le(le(le(p, 45, 2), 45, 2), 0, 8);
  p = le(le(p, (uint64_t)n, 8), (uint64_t)n, 8);
  p = le(le(p, (uint64_t)size, 8), (uint64_t)start, 8);
  p = le(le(p, 0x07064b50, 4), 0, 4);
  p = le(le(p, (uint64_t)(start + size), 8), 1, 4);
  p = le(le(p, 0x06054b50, 4), 0, 4);
  p = le(p, 0xffffffff, 4);
  return le(le(p, 0xffffffffffffffff, 8), 0, 2);
}

static fgsm_status append(struct fg_file *file, struct member *m, const void *data, int64_t bytes) {
  FG_TRY(fg_file_put(file, rows_at(m) + m->written, data, (size_t)bytes));
  m->crc = (uint32_t)crc32_z(m->crc, data, (z_size_t)bytes);
  m->written += bytes;
  return FGSM_OK;
}

static size_t npy_header(const struct fg_sink *sink, const struct member *m,
                         char header[FG_NPY_HEADER_MAX]) {
  return fg_npy_header(header, m->type, sink->info.n, m->rank, sink->info.dim);
}

/* Makes room for a member that will hold a .npy of n rows. */
static fgsm_status add(struct fg_sink *sink, const char *name, enum fg_type type, int rank,
                       int64_t row_bytes) {
  struct zip *zip = sink->state;
  struct member *m = &zip->member[zip->n], *before = zip->n ? m - 1 : NULL;
  char header[FG_NPY_HEADER_MAX];
  *m = (struct member){.name = name, .type = type, .rank = rank};
  m->offset = before ? rows_at(before) + before->rows : 0;
  m->header = (int64_t)npy_header(sink, m, header);
  if (!fg_mul_ok(sink->info.n, row_bytes, &m->rows) || m->rows > INT64_MAX / 4)
    return FG_FAIL(USAGE, "%s: more than 2^61 bytes", sink->path);
  zip->n++;
  return FGSM_OK;
}

static bool takes(const char *path) {
  return !fg_path_is_gz(path) && fg_path_ends(path, ".npz");
}

static fgsm_status open_writer(struct fg_sink *sink) {
  const struct fg_dataset_info *info = &sink->info;
  struct fg_file *file = NULL;
  sink->state = calloc(1, sizeof(struct zip));
  if (!sink->state)
    return FG_FAIL(MEMORY, "no memory to write %s", sink->path);
  FG_TRY(fg_sink_add(sink, sink->path, &file));
  FG_TRY(add(sink, "x.npy", info->type, info->rank, sink->sample_bytes));
  return info->has_labels ? add(sink, "y.npy", FG_I64, 0, sizeof(int64_t)) : FGSM_OK;
}

static fgsm_status write_samples(struct fg_sink *sink, int64_t n, const void *x,
                                 const int64_t *labels, const uint8_t *extra) {
  struct zip *zip = sink->state;
  (void)extra;
  FG_TRY(append(sink->files[0], &zip->member[0], x, n * sink->sample_bytes));
  if (!sink->info.has_labels)
    return FGSM_OK;
  return append(sink->files[0], &zip->member[1], labels, n * (int64_t)sizeof *labels);
}

/* Moves the rows of m, which lie further back, to where they belong now. */
static fgsm_status move_rows(struct fg_file *file, const struct member *m, int64_t from) {
  char buffer[4096];
  for (int64_t done = 0, part; done < m->rows; done += part) {
    part = m->rows - done < (int64_t)sizeof buffer ? m->rows - done : (int64_t)sizeof buffer;
    FG_TRY(fg_file_get(file, from + done, buffer, (size_t)part));
    FG_TRY(fg_file_put(file, rows_at(m) + done, buffer, (size_t)part));
  }
  return FGSM_OK;
}

static fgsm_status shorten(struct fg_sink *sink) {
  struct zip *zip = sink->state;
  int64_t end = 0;
  for (int i = 0; i < zip->n; i++) {
    struct member *m = &zip->member[i];
    int64_t from = rows_at(m);
    m->offset = end;
    m->rows = m->written;
    if (rows_at(m) != from)
      FG_TRY(move_rows(sink->files[0], m, from));
    end = rows_at(m) + m->rows;
  }
  return fg_file_cut(sink->files[0], end);
}

/* The headers, which say how many rows there are, and what they all come to. */
static fgsm_status finish(struct fg_sink *sink) {
  struct zip *zip = sink->state;
  unsigned char buffer[2 * CENTRAL_BYTES + END_BYTES], *p = buffer;
  for (int i = 0; i < zip->n; i++) {
    struct member *m = &zip->member[i];
    char header[FG_NPY_HEADER_MAX];
    size_t n = npy_header(sink, m, header);
    uint32_t head = (uint32_t)crc32_z(0, (const void *)header, n);
    m->crc = (uint32_t)crc32_combine(head, m->crc, m->rows);
    local_header(buffer, m);
    FG_TRY(fg_file_put(sink->files[0], m->offset, buffer, LOCAL_BYTES));
    FG_TRY(fg_file_put(sink->files[0], m->offset + LOCAL_BYTES, header, n));
  }
  for (int i = 0; i < zip->n; i++)
    p = central_header(p, &zip->member[i]);
  const struct member *last = &zip->member[zip->n - 1];
  int64_t start = rows_at(last) + last->rows;
  p = end_records(p, zip->n, start, p - buffer);
  return fg_file_put(sink->files[0], start, buffer, (size_t)(p - buffer));
}

const struct fg_writer_format fg_npz_writer = {
    .name = "npz",
    .suffixes = ".npz",
    .takes = takes,
    .open = open_writer,
    .write = write_samples,
    .shorten = shorten,
    .finish = finish,
};
