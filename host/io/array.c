/* Typed rows somewhere in bytes: what IDX and .npy files hold once their headers are read.
 *
 * Rows in C order are one run of bytes; in Fortran order, item j of all rows is a run, so a read
 * takes one run per item and needs bytes that can be read anywhere. Conversion is exact or refused,
 * except that floats are rounded to the narrower float. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_format.h"

#define ROW_BYTES_MAX ((int64_t)1 << 30) /* of one sample as float32 */
enum { CHUNK = 64 << 10 };

/* ---- conversion: each returns the index of the first value that does not fit, or -1 */

static bool float_of_real(double v, float *to) {
  *to = (float)v;
  return !isfinite(v) || isfinite(*to);
}
static bool float_of_whole(int64_t v, float *to) {
  *to = (float)v;
  return v >= -(1 << 24) && v <= 1 << 24;
}
static bool double_of_real(double v, double *to) {
  *to = v;
  return true;
}
static bool double_of_whole(int64_t v, double *to) {
  *to = (double)v;
  return v >= -((int64_t)1 << 53) && v <= (int64_t)1 << 53;
}
static bool int64_t_of_real(double v, int64_t *to) {
  bool fits = fabs(v) <= 0x1p53 && v == trunc(v); /* false for NaN */
  *to = fits ? (int64_t)v : 0;
  return fits;
}
static bool int64_t_of_whole(int64_t v, int64_t *to) {
  *to = v;
  return true;
}

#define RUN(code, held, value, from)                                                               \
  case code:                                                                                       \
    for (int64_t i = 0; i < n; i++) {                                                              \
      held v;                                                                                      \
      memcpy(&v, src + i * (int64_t)sizeof v, sizeof v);                                           \
      if (!from(value, to + i * stride))                                                           \
        return i;                                                                                  \
    }                                                                                              \
    return -1;
#define CODE(kind, size) ((kind) << 4 | (size))
#define CONVERTER(target)                                                                          \
  static bool target##_of_large(uint64_t v, target *to) {                                          \
    return v <= INT64_MAX && target##_of_whole((int64_t)v, to);                                    \
  }                                                                                                \
  static int64_t to_##target(const struct fg_element *e, const unsigned char *src, int64_t n,      \
                             target *to, int64_t stride) {                                         \
    switch (CODE(e->kind, e->size)) {                                                              \
      RUN(CODE('b', 1), uint8_t, v != 0, target##_of_whole)                                        \
      RUN(CODE('u', 1), uint8_t, v, target##_of_whole)                                             \
      RUN(CODE('u', 2), uint16_t, v, target##_of_whole)                                            \
      RUN(CODE('u', 4), uint32_t, v, target##_of_whole)                                            \
      RUN(CODE('u', 8), uint64_t, v, target##_of_large)                                            \
      RUN(CODE('i', 1), int8_t, v, target##_of_whole)                                              \
      RUN(CODE('i', 2), int16_t, v, target##_of_whole)                                             \
      RUN(CODE('i', 4), int32_t, v, target##_of_whole)                                             \
      RUN(CODE('i', 8), int64_t, v, target##_of_whole)                                             \
      RUN(CODE('f', 2), uint16_t, fg_half_to_float(v), target##_of_real)                           \
      RUN(CODE('f', 4), float, v, target##_of_real)                                                \
      RUN(CODE('f', 8), double, v, target##_of_real)                                               \
    }                                                                                              \
    return 0;                                                                                      \
  }
CONVERTER(float)
CONVERTER(double)
CONVERTER(int64_t)

static int64_t to_byte(const struct fg_element *e, const unsigned char *src, int64_t n,
                       enum fg_type type, uint8_t *to, int64_t stride) {
  for (int64_t i = 0; i < n; i++) {
    const unsigned char *one = src + i * e->size;
    if (type == FG_BOOL) {
      double v;
      if (to_double(e, one, 1, &v, 1) >= 0)
        return i;
      to[i * stride] = v != 0;
    } else if (e->kind == 'u' && e->size == 1) {
      to[i * stride] = *one;
    } else {
      int64_t v;
      if (to_int64_t(e, one, 1, &v, 1) >= 0 || v < 0 || v > 255)
        return i;
      to[i * stride] = (uint8_t)v;
    }
  }
  return -1;
}

static void swap(unsigned char *p, int64_t n, int size) {
  for (int64_t i = 0; i < n; i++, p += size)
    for (int k = 0; k < size / 2; k++) {
      unsigned char c = p[k];
      p[k] = p[size - 1 - k];
      p[size - 1 - k] = c;
    }
}

static bool foreign(const struct fg_element *e) {
  return e->size > 1 && e->big != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* n items of src, which may be changed, as `type`, every `stride` items from to. */
static int64_t convert(const struct fg_element *e, unsigned char *src, int64_t n, enum fg_type type,
                       void *to, int64_t stride) {
  if (foreign(e))
    swap(src, n, e->size);
  switch (type) {
  case FG_F32:
    return to_float(e, src, n, to, stride);
  case FG_F64:
    return to_double(e, src, n, to, stride);
  case FG_I64:
    return to_int64_t(e, src, n, to, stride);
  default:
    return to_byte(e, src, n, type, to, stride);
  }
}

/* ---- shape */

static enum fg_type held_type(const struct fg_element *e) {
  switch (CODE(e->kind, e->size)) {
  case CODE('b', 1):
    return FG_BOOL;
  case CODE('u', 1):
    return FG_U8;
  case CODE('i', 1):
    return FG_I8;
  case CODE('i', 2):
    return FG_I16;
  case CODE('i', 4):
    return FG_I32;
  case CODE('i', 8):
    return FG_I64;
  case CODE('f', 2):
    return FG_F16;
  case CODE('f', 4):
    return FG_F32;
  case CODE('f', 8):
    return FG_F64;
  }
  return FG_NONE;
}

fgsm_status fg_array_check(struct fg_array *array) {
  const char *name = fg_bytes_name(array->bytes);
  int64_t row = 1, items = 0, bytes = 0, end = 0;
  for (int i = 1; i < array->rank; i++) {
    if (array->dim[i] <= 0)
      return FG_FAIL(DATA, "%s: rows without items (dimension %d is %lld)", name, i,
                     (long long)array->dim[i]);
    if (!fg_mul_ok(row, array->dim[i], &row))
      return FG_FAIL(DATA, "%s: a shape of more than 2^63 items", name);
  }
  array->row_items = row;
  array->rows = array->rank ? array->dim[0] : 1;
  if (!fg_mul_ok(array->rows, row, &items) || !fg_mul_ok(items, array->element.size, &bytes) ||
      !fg_add_ok(array->start, bytes, &end) || !fg_mul_ok(row, 8, &row))
    return FG_FAIL(DATA, "%s: a shape of more than 2^63 bytes", name);
  FG_TRY(fg_bytes_expect(array->bytes, end));
  array->fortran = array->fortran && array->row_items > 1; /* else both orders are the same */
  return array->fortran && array->rank > 1 ? fg_bytes_hold(array->bytes, FG_HOLD_BYTES) : FGSM_OK;
}

fgsm_status fg_array_samples(const struct fg_array *array, struct fg_dataset_info *info) {
  const char *name = fg_bytes_name(array->bytes);
  info->stored = held_type(&array->element);
  if (info->stored == FG_NONE)
    return FG_FAIL(DATA, "%s: samples of %d-bit unsigned integers; bytes and floats are read", name,
                   8 * array->element.size);
  if (array->rank == 0)
    return FG_FAIL(DATA, "%s: a single number; samples were expected", name);
  if (array->row_items > ROW_BYTES_MAX / 4)
    return FG_FAIL(DATA, "%s: samples of %lld items; at most %lld are read", name,
                   (long long)array->row_items, (long long)ROW_BYTES_MAX / 4);
  info->type = info->stored == FG_U8 ? FG_U8 : FG_F32;
  info->held_bytes = fg_bytes_held(array->bytes);
  info->n = array->rows;
  info->rank = array->rank - 1;
  for (int i = 1; i < array->rank; i++)
    info->dim[i - 1] = array->dim[i];
  return FGSM_OK;
}

fgsm_status fg_array_check_labels(const struct fg_array *array) {
  const char *name = fg_bytes_name(array->bytes);
  if (array->element.kind == 'f')
    return FG_FAIL(DATA, "%s: labels were expected as integers, %d-bit floats found", name,
                   8 * array->element.size);
  if (array->rank == 0 || array->row_items != 1)
    return FG_FAIL(DATA, "%s: one label a sample was expected, %lld numbers found", name,
                   (long long)array->row_items);
  return FGSM_OK;
}

void fg_array_close(struct fg_array *array) {
  fg_bytes_close(array->bytes);
  array->bytes = NULL;
}

/* ---- reading */

static fgsm_status refuse(const struct fg_array *array, int64_t row, enum fg_type type) {
  return FG_FAIL(DATA, "%s: sample %lld holds a value that %s cannot represent",
                 fg_bytes_name(array->bytes), (long long)row, fg_type_name(type));
}

static fgsm_status need(struct fg_array *array, int64_t item, void *to, int64_t items) {
  size_t got = 0, bytes = (size_t)(items * array->element.size);
  int64_t offset = array->start + item * array->element.size;
  FG_TRY(fg_bytes_read(array->bytes, offset, to, bytes, &got));
  if (got == bytes)
    return FGSM_OK;
  int64_t end = offset + (int64_t)got;
  int64_t sample =
      array->fortran ? 0 : (end - array->start) / array->element.size / array->row_items;
  return FG_FAIL(DATA, "%s: ends at byte %lld, inside sample %lld of %lld",
                 fg_bytes_name(array->bytes), (long long)end, (long long)sample,
                 (long long)array->rows);
}

static fgsm_status read_c(struct fg_array *array, int64_t first, int64_t n, enum fg_type type,
                          unsigned char *to, unsigned char *buffer) {
  const struct fg_element *e = &array->element;
  int64_t item = first * array->row_items, items = n * array->row_items;
  if (held_type(e) == type && type != FG_BOOL && !foreign(e))
    return need(array, item, to, items);
  int64_t size = (int64_t)fg_type_size(type);
  for (int64_t done = 0, part; done < items; done += part) {
    part = items - done < CHUNK / e->size ? items - done : CHUNK / e->size;
    FG_TRY(need(array, item + done, buffer, part));
    int64_t bad = convert(e, buffer, part, type, to + done * size, 1);
    if (bad >= 0)
      return refuse(array, (item + done + bad) / array->row_items, type);
  }
  return FGSM_OK;
}

static fgsm_status read_fortran(struct fg_array *array, int64_t first, int64_t n, enum fg_type type,
                                unsigned char *to, unsigned char *buffer) {
  const struct fg_element *e = &array->element;
  int64_t size = (int64_t)fg_type_size(type), index[FG_MAX_RANK] = {0};
  for (int64_t j = 0; j < array->row_items; j++) {
    int64_t at = 0; /* of item j within a row in C order */
    for (int k = 1; k < array->rank; k++)
      at = at * array->dim[k] + index[k];
    for (int64_t done = 0, part; done < n; done += part) {
      part = n - done < CHUNK / e->size ? n - done : CHUNK / e->size;
      FG_TRY(need(array, j * array->rows + first + done, buffer, part));
      int64_t bad = convert(e, buffer, part, type, to + (done * array->row_items + at) * size,
                            array->row_items);
      if (bad >= 0)
        return refuse(array, first + done + bad, type);
    }
    for (int k = 1; k < array->rank && ++index[k] == array->dim[k]; k++)
      index[k] = 0;
  }
  return FGSM_OK;
}

fgsm_status fg_array_read(struct fg_array *array, int64_t first, int64_t n, enum fg_type type,
                          void *to) {
  if (first < 0 || n < 0 || first > array->rows || n > array->rows - first)
    return FG_FAIL(INTERNAL, "%s: rows %lld + %lld of %lld", fg_bytes_name(array->bytes),
                   (long long)first, (long long)n, (long long)array->rows);
  if (type != FG_F32 && type != FG_F64 && type != FG_I64 && type != FG_U8 && type != FG_BOOL)
    return FG_FAIL(INTERNAL, "arrays are not read as %s", fg_type_name(type));
  unsigned char *buffer = malloc(CHUNK);
  if (!buffer)
    return FG_FAIL(MEMORY, "no memory to read %s", fg_bytes_name(array->bytes));
  fgsm_status status = array->fortran && array->rank > 1
                           ? read_fortran(array, first, n, type, to, buffer)
                           : read_c(array, first, n, type, to, buffer);
  if (status == FGSM_OK && first + n == array->rows && !fg_bytes_is_plain(array->bytes)) {
    /* The end of compressed bytes is where their check sum is compared. */
    int64_t end = array->start + array->rows * array->row_items * array->element.size;
    size_t more = 0;
    status = fg_bytes_read(array->bytes, end, buffer, 1, &more);
    if (status == FGSM_OK && more)
      status = FG_FAIL(DATA, "%s: the header promises %lld bytes, but more follow",
                       fg_bytes_name(array->bytes), (long long)end);
  }
  free(buffer);
  return status;
}

fgsm_status fg_array_read_labels(struct fg_array *array, int64_t first, int64_t n, int64_t *to) {
  FG_TRY(fg_array_read(array, first, n, FG_I64, to));
  for (int64_t i = 0; i < n; i++)
    if (to[i] < -1)
      return FG_FAIL(DATA, "%s: label %lld of sample %lld; labels count from 0 (-1: none)",
                     fg_bytes_name(array->bytes), (long long)to[i], (long long)(first + i));
  return FGSM_OK;
}
