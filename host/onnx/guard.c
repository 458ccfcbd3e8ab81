/* A stranger's bytes, looked at before protobuf-c may unpack them.
 *
 * protobuf-c recurses as deep as the message nests, merges repeated singular messages in quadratic
 * time, and lets a two-byte message grow to two hundred. So the bytes are walked here first, by
 * protobuf-c's own descriptors (which therefore cannot disagree with what it will do), and then
 * unpacked with an allocator that has a ceiling. Nothing here allocates before the walk has passed.
 */
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { MAX_DEPTH = 32, MAX_MESSAGES = 1 << 20, MAX_FIELDS = 1 << 24, MAX_TYPE_FIELDS = 64 };
enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_GROUP, WIRE_GROUP_END, WIRE_32 };

struct walk {
  const unsigned char *bytes;
  const char *name;
  int64_t messages, fields;
};

/* Reads a varint of at most `most` bytes that ends before `end`. */
static fgsm_status read_varint(const struct walk *w, size_t *at, size_t end, size_t most,
                               uint64_t *out) {
  uint64_t value = 0;
  for (size_t i = 0; i < most && *at + i < end; i++) {
    unsigned char byte = w->bytes[*at + i];
    value |= (uint64_t)(byte & 127) << 7 * i;
    if (byte < 128) {
      *at += i + 1;
      *out = value;
      return FGSM_OK;
    }
  }
  return FG_FAIL(MODEL, "%s is not a valid ONNX file: a number at byte %zu does not end", w->name,
                 *at);
}

/* Strings are cut at a zero byte by C; names are shown to people and on terminals. */
static fgsm_status check_string(const struct walk *w, const ProtobufCFieldDescriptor *field,
                                size_t at, size_t n) {
  const unsigned char *p = w->bytes + at;
  if (n && memchr(p, 0, n))
    return FG_FAIL(MODEL, "%s: the %s at byte %zu holds a zero byte", w->name, field->name, at);
  static const char *const identifiers[] = {"name",          "input",           "output",
                                            "op_type",       "domain",          "dim_param",
                                            "producer_name", "producer_version"};
  for (size_t k = 0; k < sizeof identifiers / sizeof *identifiers; k++)
    if (strcmp(field->name, identifiers[k]) == 0)
      for (size_t i = 0, step; i < n; i += step)
        if (!(step = fg_utf8_printable((const char *)p + i, n - i)))
          return FG_FAIL(MODEL, "%s: the %s at byte %zu is not printable UTF-8", w->name,
                         field->name, at);
  return FGSM_OK;
}

static fgsm_status walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, size_t at,
                                size_t end, int depth);

/* A length-delimited field: `field` is NULL where the schema does not know it. */
static fgsm_status walk_bytes(struct walk *w, const ProtobufCFieldDescriptor *field, size_t *at,
                              size_t end, int depth) {
  size_t start = *at;
  uint64_t n = 0;
  FG_TRY(read_varint(w, at, end, 5, &n));
  if (n > end - *at)
    return FG_FAIL(MODEL,
                   "%s is not a valid ONNX file, or was cut short: the field at byte %zu claims "
                   "%llu bytes and %zu are left",
                   w->name, start, (unsigned long long)n, end - *at);
  size_t from = *at;
  *at += (size_t)n;
  if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
    return walk_message(w, field->descriptor, from, *at, depth + 1);
  if (field && field->type == PROTOBUF_C_TYPE_STRING)
    return check_string(w, field, from, (size_t)n);
  return FGSM_OK;
}

static fgsm_status walk_field(struct walk *w, const ProtobufCFieldDescriptor *field, unsigned wire,
                              size_t *at, size_t end, int depth) {
  uint64_t skipped = 0;
  if (field && field->type == PROTOBUF_C_TYPE_MESSAGE && wire != WIRE_BYTES)
    return FG_FAIL(MODEL, "%s is not a valid ONNX file: '%s' at byte %zu is not a message", w->name,
                   field->name, *at);
  switch (wire) {
  case WIRE_VARINT:
    return read_varint(w, at, end, 10, &skipped);
  case WIRE_64:
  case WIRE_32: {
    size_t n = wire == WIRE_64 ? 8 : 4;
    if (n > end - *at)
      return FG_FAIL(MODEL, "%s is not a valid ONNX file, or was cut short at byte %zu", w->name,
                     *at);
    *at += n;
    return FGSM_OK;
  }
  case WIRE_BYTES:
    return walk_bytes(w, field, at, end, depth);
  default:
    return FG_FAIL(MODEL, "%s is not a valid ONNX file: byte %zu begins no field that ONNX has",
                   w->name, *at);
  }
}

static fgsm_status walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, size_t at,
                                size_t end, int depth) {
  if (depth > MAX_DEPTH)
    return FG_FAIL(MODEL, "%s: messages nest more than %d levels deep at byte %zu", w->name,
                   MAX_DEPTH, at);
  if (++w->messages > MAX_MESSAGES)
    return FG_FAIL(MODEL, "%s holds more than %d messages", w->name, MAX_MESSAGES);
  if (type->n_fields > MAX_TYPE_FIELDS)
    return FG_FAIL(INTERNAL, "%s has %u fields", type->name, type->n_fields);
  uint64_t seen = 0;
  while (at < end) {
    size_t start = at;
    uint64_t key = 0;
    FG_TRY(read_varint(w, &at, end, 5, &key));
    if (key >> 3 == 0 || key >> 3 >= 1u << 29)
      return FG_FAIL(MODEL, "%s is not a valid ONNX file: field number %llu at byte %zu", w->name,
                     (unsigned long long)(key >> 3), start);
    if (++w->fields > MAX_FIELDS)
      return FG_FAIL(MODEL, "%s holds more than %d fields", w->name, MAX_FIELDS);
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE &&
        field->label != PROTOBUF_C_LABEL_REPEATED) {
      uint64_t bit = UINT64_C(1) << (field - type->fields);
      if (seen & bit)
        return FG_FAIL(MODEL, "%s: '%s' occurs twice in one message at byte %zu", w->name,
                       field->name, start);
      seen |= bit;
    }
    FG_TRY(walk_field(w, field, (unsigned)(key & 7), &at, end, depth));
  }
  return FGSM_OK;
}

fgsm_status fg_onnx_guard(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                          const char *name) {
  if (n > INT32_MAX)
    return FG_FAIL(UNSUPPORTED, "%s is larger than 2 GiB, which protobuf cannot hold", name);
  struct walk w = {.bytes = bytes, .name = name};
  return walk_message(&w, type, 0, n, 0);
}

/* ---- unpacking below a ceiling: each block is preceded by its size */

/* What is large may be weights, which kernels read where they lie. */
enum { HEADER_BYTES = 16, LARGE_BYTES = 4096, LARGE_HEADER_BYTES = 64 };

static size_t header_of(size_t bytes) {
  return bytes < LARGE_BYTES ? HEADER_BYTES : LARGE_HEADER_BYTES;
}

static void *allocate(void *data, size_t bytes) {
  struct fg_onnx_heap *heap = data;
  if (bytes > heap->limit_bytes - heap->live_bytes)
    return NULL;
  size_t header = header_of(bytes);
  unsigned char *block =
      header == HEADER_BYTES
          ? malloc(bytes + header)
          : aligned_alloc(header, (bytes + header - 1) / header * header + header);
  if (!block)
    return NULL;
  memcpy(block + header - HEADER_BYTES, &bytes, sizeof bytes);
  heap->live_bytes += bytes;
  return block + header;
}

static void release(void *data, void *memory) {
  struct fg_onnx_heap *heap = data;
  if (!memory)
    return;
  size_t bytes;
  memcpy(&bytes, (unsigned char *)memory - HEADER_BYTES, sizeof bytes);
  heap->live_bytes -= bytes;
  free((unsigned char *)memory - header_of(bytes));
}

fgsm_status fg_onnx_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                           const char *name, size_t most, struct fg_onnx_heap *heap,
                           ProtobufCMessage **out) {
  FG_TRY(fg_onnx_guard(type, bytes, n, name));
  /* Weights unpack to their own size, packed small integers to 8 times theirs, nodes to about as
   * much; a model of nothing but nodes is small. */
  size_t limit = 8 * n + ((size_t)64 << 20);
  *heap = (struct fg_onnx_heap){.limit_bytes = limit < most ? limit : most};
  heap->allocator = (ProtobufCAllocator){allocate, release, heap};
  *out = protobuf_c_message_unpack(type, &heap->allocator, n, bytes);
  if (!*out)
    return FG_FAIL(MODEL,
                   "%s is not a valid ONNX file: a field is of the wrong kind, or it would unpack "
                   "to more than %zu MiB",
                   name, heap->limit_bytes >> 20);
  return FGSM_OK;
}

void fg_onnx_unpacked_free(ProtobufCMessage *message, struct fg_onnx_heap *heap) {
  if (message)
    protobuf_c_message_free_unpacked(message, &heap->allocator);
}
