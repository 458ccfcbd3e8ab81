/* .npy, NumPy's array file (its NEP 1, versions 1 to 3): "\x93NUMPY", version, header length, a
 * Python dictionary {'descr': .., 'fortran_order': .., 'shape': ..}, the items.
 *
 * The dictionary is parsed strictly: each of the three keys once, nothing else. Written headers are
 * byte for byte NumPy's own. Labels lie beside: adv.npy has adv.labels.npy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_format.h"

#define LOAD_BYTES ((int64_t)1 << 30)
enum { HEADER_READ_MAX = 64 << 10, GROWTH_DIGITS = 21 /* NumPy leaves room to append rows */ };

bool fg_npy_is(const unsigned char head[6]) {
  return memcmp(head, "\x93NUMPY", 6) == 0;
}

/* ---- the dictionary */

struct cursor {
  const char *p; /* zero-terminated */
};

static void spaces(struct cursor *c) {
  c->p += strspn(c->p, " \t\n\r");
}

static bool take(struct cursor *c, const char *word) {
  spaces(c);
  size_t n = strlen(word);
  if (strncmp(c->p, word, n) != 0)
    return false;
  c->p += n;
  return true;
}

/* 'text' or "text" of fewer than `size` characters. */
static bool quoted(struct cursor *c, char *out, size_t size) {
  spaces(c);
  char quote = *c->p;
  if (quote != '\'' && quote != '"')
    return false;
  const char *end = strchr(c->p + 1, quote);
  if (!end || (size_t)(end - c->p - 1) >= size)
    return false;
  memcpy(out, c->p + 1, (size_t)(end - c->p - 1));
  out[end - c->p - 1] = 0;
  c->p = end + 1;
  return true;
}

static bool parse_type(struct cursor *c, struct fg_element *e) {
  char text[8];
  if (!quoted(c, text, sizeof text) || strlen(text) != 3)
    return false;
  char order = text[0], kind = text[1];
  int size = text[2] - '0';
  bool whole = (kind == 'u' || kind == 'i') && (size == 1 || size == 2 || size == 4 || size == 8);
  bool real = kind == 'f' && (size == 2 || size == 4 || size == 8);
  if (!strchr("<>=|", order) || (order == '|' && size != 1) ||
      !(whole || real || (kind == 'b' && size == 1)))
    return false;
  bool native_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
  *e = (struct fg_element){kind, size, order == '>' || (order == '=' && native_big)};
  return true;
}

static bool parse_order(struct cursor *c, bool *fortran) {
  *fortran = take(c, "True");
  return *fortran || take(c, "False");
}

static bool parse_shape(struct cursor *c, struct fg_array *array) {
  bool comma = true;
  array->rank = 0;
  if (!take(c, "("))
    return false;
  while (!take(c, ")")) {
    int64_t d = 0;
    spaces(c);
    if (!comma || array->rank == FG_MAX_RANK || *c->p < '0' || *c->p > '9')
      return false;
    for (; *c->p >= '0' && *c->p <= '9'; c->p++)
      if (!fg_mul_ok(d, 10, &d) || !fg_add_ok(d, *c->p - '0', &d))
        return false;
    c->p += *c->p == 'L'; /* written by Python 2 */
    array->dim[array->rank++] = d;
    comma = take(c, ",");
  }
  return array->rank != 1 || comma; /* (3) is no tuple */
}

/* What could not be read, or NULL. */
static const char *parse_header(const char *text, struct fg_array *array) {
  struct cursor c = {text};
  static const char *const keys[] = {"descr", "fortran_order", "shape"};
  unsigned seen = 0;
  bool comma = true;
  if (!take(&c, "{"))
    return "a dictionary";
  while (!take(&c, "}")) {
    char key[16];
    int k = 0;
    if (!comma || !quoted(&c, key, sizeof key) || !take(&c, ":"))
      return "a key";
    while (k < 3 && strcmp(key, keys[k]) != 0)
      k++;
    if (k == 3 || seen & 1u << k)
      return "the keys descr, fortran_order and shape, each once";
    seen |= 1u << k;
    if (k == 0 && !parse_type(&c, &array->element))
      return "a descr of integers, floats or bool (objects and records are not read)";
    if (k == 1 && !parse_order(&c, &array->fortran))
      return "a fortran_order of True or False";
    if (k == 2 && !parse_shape(&c, array))
      return "a shape of at most 8 sizes";
    comma = take(&c, ",");
  }
  spaces(&c);
  return *c.p ? "nothing after the dictionary" : seen != 7 ? "all three keys" : NULL;
}

static fgsm_status read_header(struct fg_array *array) {
  unsigned char head[12];
  const char *name = fg_bytes_name(array->bytes);
  FG_TRY(fg_bytes_need(array->bytes, 0, head, 10, "the .npy magic"));
  if (!fg_npy_is(head))
    return FG_FAIL(DATA, "%s: does not begin with .npy's magic \\x93NUMPY", name);
  if (head[6] < 1 || head[6] > 3 || head[7] != 0)
    return FG_FAIL(DATA, "%s: .npy version %d.%d; 1.0, 2.0 and 3.0 are read", name, head[6],
                   head[7]);
  int64_t start = head[6] == 1 ? 10 : 12, length = head[8] | head[9] << 8;
  if (head[6] > 1) {
    FG_TRY(fg_bytes_need(array->bytes, 8, head + 8, 4, "the .npy header"));
    length = fg_le32(head + 8);
  }
  if (length > HEADER_READ_MAX)
    return FG_FAIL(DATA, "%s: a .npy header of %lld bytes; at most %d are read", name,
                   (long long)length, HEADER_READ_MAX);
  char *text = calloc(1, (size_t)length + 1);
  if (!text)
    return FG_FAIL(MEMORY, "no memory for the header of %s", name);
  fgsm_status status = fg_bytes_need(array->bytes, start, text, (size_t)length, "the .npy header");
  if (status == FGSM_OK) {
    const char *wanted = strlen(text) < (size_t)length ? "text" : parse_header(text, array);
    if (wanted)
      status = FG_FAIL(DATA, "%s: in the .npy header, %s was expected; found %.120s", name, wanted,
                       text);
  }
  free(text);
  array->start = start + length;
  return status == FGSM_OK ? fg_array_check(array) : status;
}

fgsm_status fg_npy_array(struct fg_bytes *bytes, struct fg_array *out) {
  *out = (struct fg_array){.bytes = bytes};
  fgsm_status status = read_header(out);
  if (status != FGSM_OK)
    fg_array_close(out);
  return status;
}

/* ---- one array, whole */

static fgsm_status open_any(const char *file, const char *member, struct fg_array *array) {
  struct fg_bytes *bytes = NULL;
  FG_TRY(member ? fg_bytes_open_member(file, member, &bytes) : fg_bytes_open(file, &bytes));
  return fg_npy_array(bytes, array);
}

fgsm_status fg_npy_load(const char *path, enum fg_type type, int *rank, int64_t dim[FG_MAX_RANK],
                        void **data) {
  return fg_npy_load_within(path, (size_t)LOAD_BYTES, type, rank, dim, data);
}

fgsm_status fg_npy_load_within(const char *path, size_t most, enum fg_type type, int *rank,
                               int64_t dim[FG_MAX_RANK], void **data) {
  int64_t limit = most < (size_t)LOAD_BYTES ? (int64_t)most : LOAD_BYTES;
  struct fg_array array = {0};
  char *file = NULL, *member = NULL;
  int64_t bytes = 0;
  void *to = NULL;
  *data = NULL;
  fgsm_status status = fg_path_split(path, &file, &member);
  if (status == FGSM_OK)
    status = open_any(file, member, &array);
  if (status != FGSM_OK)
    goto done;
  if (!fg_mul_ok(array.rows, array.row_items, &bytes) ||
      !fg_mul_ok(bytes, (int64_t)fg_type_size(type), &bytes) || bytes > limit) {
    status = FG_FAIL(DATA, "%s: an array of more than %lld bytes is too large for this use", path,
                     (long long)limit);
    goto done;
  }
  to = malloc(bytes ? (size_t)bytes : 1);
  status = to ? fg_array_read(&array, 0, array.rows, type, to)
              : FG_FAIL(MEMORY, "no memory for %lld bytes of %s", (long long)bytes, path);
  if (status != FGSM_OK)
    goto done;
  *rank = array.rank;
  for (int i = 0; i < FG_MAX_RANK; i++)
    dim[i] = i < array.rank ? array.dim[i] : 0;
  *data = to;
  to = NULL;
done:
  free(to);
  fg_array_close(&array);
  free(member);
  free(file);
  return status;
}

/* ---- reader */

static bool takes(const char *path) {
  return fg_path_ends(path, ".npy");
}

static bool beside(const char *path, int i, char *out, size_t size) {
  bool gz = fg_path_is_gz(path);
  size_t n = strlen(path) - (gz ? 3 : 0);
  if (i > 1 || !takes(path) || n + sizeof ".labels.gz" > size)
    return false;
  memcpy(out, path, n - 4);
  snprintf(out + n - 4, size - n + 4, ".labels.npy%s", gz == (i == 0) ? ".gz" : "");
  return true;
}

static enum fg_fit probe(const struct fg_probe *probe) {
  if (!probe->bytes)
    return FG_FIT_NONE;
  if (probe->head_bytes >= 6 && fg_npy_is(probe->head))
    return FG_FIT_CERTAIN;
  return takes(probe->path) ? FG_FIT_NAME : FG_FIT_NONE;
}

static fgsm_status open_reader(struct fg_reader *reader) {
  struct fg_array *array = calloc(1, sizeof *array);
  reader->state = array;
  if (!array)
    return FG_FAIL(MEMORY, "no memory to open %s", reader->path);
  FG_TRY(open_any(reader->path, NULL, array));
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

const struct fg_reader_format fg_npy_reader = {
    .name = "npy",
    .probe = probe,
    .open = open_reader,
    .read = read_samples,
    .close = close_reader,
    .beside = beside,
};

/* ---- writer: files[0] samples, files[1] labels */

size_t fg_npy_header(char header[FG_NPY_HEADER_MAX], enum fg_type type, int64_t n, int rank,
                     const int64_t *dim) {
  char order = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? '>' : '<';
  const char *code = type == FG_U8 ? "u1" : type == FG_I64 ? "i8" : "f4";
  char *p = header + 10, *end = header + FG_NPY_HEADER_MAX;
  p += snprintf(p, (size_t)(end - p), "{'descr': '%c%s', 'fortran_order': False, 'shape': (%lld,",
                type == FG_U8 ? '|' : order, code, (long long)n);
  for (int i = 0; i < rank; i++)
    p += snprintf(p, (size_t)(end - p), " %lld%s", (long long)dim[i], i + 1 < rank ? "," : "");
  int digits = snprintf(NULL, 0, "%lld", (long long)n);
  p += snprintf(p, (size_t)(end - p), "), }%*s", GROWTH_DIGITS - digits, "");
  size_t size = (size_t)(p - header) + 1, whole = (size + 63) / 64 * 64;
  memset(p, ' ', whole - size);
  header[whole - 1] = '\n';
  memcpy(header, "\x93NUMPY\x01", 8);
  header[8] = (char)((whole - 10) & 255);
  header[9] = (char)((whole - 10) >> 8);
  return whole;
}

static fgsm_status open_writer(struct fg_sink *sink) {
  const struct fg_dataset_info *info = &sink->info;
  struct fg_file *file = NULL;
  char header[FG_NPY_HEADER_MAX], name[PATH_MAX];
  FG_TRY(fg_sink_add(sink, sink->path, &file));
  FG_TRY(fg_file_write(file, header,
                       fg_npy_header(header, info->type, info->n, info->rank, info->dim)));
  if (!info->has_labels)
    return FGSM_OK;
  if (!beside(sink->path, 0, name, sizeof name))
    return FG_FAIL(USAGE, "%s: too long a name", sink->path);
  FG_TRY(fg_sink_add(sink, name, &file));
  return fg_file_write(file, header, fg_npy_header(header, FG_I64, info->n, 0, NULL));
}

static fgsm_status write_samples(struct fg_sink *sink, int64_t n, const void *x,
                                 const int64_t *labels, const uint8_t *extra) {
  (void)extra;
  FG_TRY(fg_file_write(sink->files[0], x, (size_t)(n * sink->sample_bytes)));
  if (!sink->info.has_labels)
    return FGSM_OK;
  return fg_file_write(sink->files[1], labels, (size_t)n * sizeof *labels);
}

/* A header's length does not depend on the number of samples. */
static fgsm_status shorten(struct fg_sink *sink) {
  const struct fg_dataset_info *info = &sink->info;
  char header[FG_NPY_HEADER_MAX];
  size_t n = fg_npy_header(header, info->type, info->n, info->rank, info->dim);
  FG_TRY(fg_file_patch(sink->files[0], 0, header, n));
  if (!info->has_labels)
    return FGSM_OK;
  n = fg_npy_header(header, FG_I64, info->n, 0, NULL);
  return fg_file_patch(sink->files[1], 0, header, n);
}

const struct fg_writer_format fg_npy_writer = {
    .name = "npy",
    .suffixes = ".npy",
    .takes = takes,
    .open = open_writer,
    .write = write_samples,
    .shorten = shorten,
};
