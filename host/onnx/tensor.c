/* TensorProto -> typed data, and a node's attributes. Bytes are little-endian, as in the file, so
 * data is used where it lies and copied only where ONNX stores it wider than its type.
 * Invariant: a tensor that was read has exactly as many elements as its dims say. */
#include <string.h>

#include "model.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "ONNX's raw data is little-endian");

static const struct {
  const char *name;
  enum fg_type type;
} types[] = {
    [ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED] = {"undefined", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT] = {"float", FG_F32},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT8] = {"uint8", FG_U8},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT8] = {"int8", FG_I8},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT16] = {"uint16", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT16] = {"int16", FG_I16},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT32] = {"int32", FG_I32},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT64] = {"int64", FG_I64},
    [ONNX__TENSOR_PROTO__DATA_TYPE__STRING] = {"string", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__BOOL] = {"bool", FG_BOOL},
    [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16] = {"float16", FG_F16},
    [ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE] = {"double", FG_F64},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT32] = {"uint32", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT64] = {"uint64", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX64] = {"complex64", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX128] = {"complex128", FG_NONE},
    [ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16] = {"bfloat16", FG_BF16},
};

enum { N_TYPES = sizeof types / sizeof *types };

enum fg_type fg_onnx_type(int32_t data_type) {
  return data_type >= 0 && data_type < N_TYPES ? types[data_type].type : FG_NONE;
}

const char *fg_onnx_type_name(int32_t data_type) {
  return data_type >= 0 && data_type < N_TYPES ? types[data_type].name : "an unknown type";
}

static fgsm_status read_shape(const Onnx__TensorProto *tensor, struct fg_onnx_tensor *out,
                              int64_t *count) {
  if (tensor->n_dims > FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "it has %zu dimensions; at most %d are supported", tensor->n_dims,
                   FG_MAX_RANK);
  out->rank = (int)tensor->n_dims;
  *count = 1;
  int64_t bound = 8; /* also without its zeros, so that no product of some of the dims overflows */
  for (int i = 0; i < out->rank; i++) {
    int64_t d = tensor->dims[i];
    if (d < 0 || !fg_mul_ok(bound, d > 0 ? d : 1, &bound))
      return FG_FAIL(MODEL, "its dimension %d is %lld", i, (long long)d);
    out->dim[i] = d;
    *count *= d;
  }
  return FGSM_OK;
}

/* Narrows int32_data (which also holds the 8- and 16-bit types, halves as their bits). */
static fgsm_status narrow(const int32_t *from, int64_t n, enum fg_type type, void *to) {
  int32_t lo = type == FG_I8 ? INT8_MIN : type == FG_I16 ? INT16_MIN : 0;
  int32_t hi = type == FG_I8     ? INT8_MAX
               : type == FG_I16  ? INT16_MAX
               : type == FG_U8   ? UINT8_MAX
               : type == FG_BOOL ? 1
                                 : UINT16_MAX;
  for (int64_t i = 0; i < n; i++) {
    if (from[i] < lo || from[i] > hi)
      return FG_FAIL(MODEL, "its element %lld is %d, which %s cannot hold", (long long)i,
                     (int)from[i], fg_type_name(type));
    if (fg_type_size(type) == 1)
      ((unsigned char *)to)[i] = (unsigned char)from[i];
    else
      ((uint16_t *)to)[i] = (uint16_t)from[i];
  }
  return FGSM_OK;
}

static fgsm_status read_raw(const Onnx__TensorProto *tensor, int64_t count, struct fg_arena *arena,
                            struct fg_onnx_tensor *out) {
  size_t need = (size_t)count * fg_type_size(out->type);
  if (tensor->raw_data.len != need)
    return FG_FAIL(MODEL, "its dimensions ask for %zu bytes and it holds %zu", need,
                   tensor->raw_data.len);
  out->data = need ? tensor->raw_data.data : (const void *)"\0\0\0\0\0\0\0";
  if (out->type == FG_BOOL && need) {
    unsigned char *copy = fg_arena_alloc(arena, need);
    if (!copy)
      return FGSM_MEMORY;
    for (size_t i = 0; i < need; i++)
      copy[i] = tensor->raw_data.data[i] != 0;
    out->data = copy;
  }
  return FGSM_OK;
}

static fgsm_status read_typed(const Onnx__TensorProto *tensor, int64_t count,
                              struct fg_arena *arena, struct fg_onnx_tensor *out) {
  size_t n = 0;
  switch (out->type) {
  case FG_F32:
    n = tensor->n_float_data;
    out->data = tensor->float_data;
    break;
  case FG_F64:
    n = tensor->n_double_data;
    out->data = tensor->double_data;
    break;
  case FG_I64:
    n = tensor->n_int64_data;
    out->data = tensor->int64_data;
    break;
  default:
    n = tensor->n_int32_data;
    out->data = tensor->int32_data;
  }
  if (n != (size_t)count)
    return FG_FAIL(MODEL, "its dimensions ask for %lld elements and it holds %zu", (long long)count,
                   n);
  if (n == 0) {
    out->data = "\0\0\0\0\0\0\0";
    return FGSM_OK;
  }
  if (fg_type_size(out->type) < 4) {
    void *copy = fg_arena_alloc(arena, n * fg_type_size(out->type));
    if (!copy)
      return FGSM_MEMORY;
    FG_TRY(narrow(tensor->int32_data, count, out->type, copy));
    out->data = copy;
  }
  return FGSM_OK;
}

fgsm_status fg_onnx_tensor_read(const Onnx__TensorProto *tensor, struct fg_arena *arena,
                                struct fg_onnx_tensor *out) {
  int64_t count = 0;
  *out = (struct fg_onnx_tensor){.type = fg_onnx_type(tensor->data_type)};
  if (out->type == FG_NONE)
    return FG_FAIL(UNSUPPORTED, "tensors of %s are not supported",
                   fg_onnx_type_name(tensor->data_type));
  if (tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL ||
      tensor->n_external_data)
    return FG_FAIL(UNSUPPORTED,
                   "it lies in another file, and what is read here was not opened by its "
                   "path: convert with onnx.save(..., save_as_external_data=False)");
  if (tensor->segment)
    return FG_FAIL(UNSUPPORTED, "it is one segment of a tensor; only whole tensors are supported");
  FG_TRY(read_shape(tensor, out, &count));
  return tensor->has_raw_data ? read_raw(tensor, count, arena, out)
                              : read_typed(tensor, count, arena, out);
}

/* ---- attributes */

static int kind_of(const Onnx__AttributeProto *from) {
  if (from->has_type && from->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
    return (int)from->type;
  /* Before IR version 2 the field that is there says which it is. */
  return from->has_f       ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT
         : from->has_i     ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT
         : from->has_s     ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING
         : from->t         ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR
         : from->n_ints    ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS
         : from->n_floats  ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS
         : from->n_strings ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS
                           : ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED;
}

static char *copy_string(struct fg_arena *arena, const ProtobufCBinaryData *from) {
  char *to = fg_arena_alloc(arena, from->len + 1); /* zero-filled */
  if (to && from->len)
    memcpy(to, from->data, from->len);
  return to;
}

static fgsm_status read_strings(const Onnx__AttributeProto *from, struct fg_arena *arena,
                                struct fg_onnx_attr *to) {
  char **strings = fg_arena_alloc(arena, (from->n_strings + 1) * sizeof *strings);
  if (!strings)
    return FGSM_MEMORY;
  for (size_t k = 0; k < from->n_strings; k++)
    if (!(strings[k] = copy_string(arena, &from->strings[k])))
      return FGSM_MEMORY;
  to->strings = (const char *const *)strings;
  to->n = (int64_t)from->n_strings;
  return FGSM_OK;
}

static fgsm_status read_attr(const Onnx__AttributeProto *from, struct fg_arena *arena,
                             struct fg_onnx_attr *to) {
  *to = (struct fg_onnx_attr){.name = fg_onnx_text(from->name), .kind = FG_ATTR_OTHER};
  switch (kind_of(from)) {
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
    to->kind = FG_ATTR_FLOAT;
    to->f = from->f;
    return FGSM_OK;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
    to->kind = FG_ATTR_INT;
    to->i = from->i;
    return FGSM_OK;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
    to->kind = FG_ATTR_STRING;
    to->s = copy_string(arena, &from->s);
    return to->s ? FGSM_OK : FGSM_MEMORY;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
    to->kind = FG_ATTR_FLOATS;
    to->n = (int64_t)from->n_floats;
    to->floats = from->floats;
    return FGSM_OK;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
    to->kind = FG_ATTR_INTS;
    to->n = (int64_t)from->n_ints;
    to->ints = from->ints;
    return FGSM_OK;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
    to->kind = FG_ATTR_STRINGS;
    return read_strings(from, arena, to);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR: {
    if (!from->t)
      return FG_FAIL(MODEL, "attribute '%.80s' has no tensor", to->name);
    to->kind = FG_ATTR_TENSOR;
    fgsm_status status = fg_onnx_tensor_read(from->t, arena, &to->tensor);
    return status == FGSM_UNSUPPORTED || status == FGSM_MODEL
               ? fg_fail(status, __FILE__, __LINE__, "attribute '%.80s': %s", to->name,
                         fgsm_last_error())
               : status;
  }
  default:
    return FGSM_OK;
  }
}

fgsm_status fg_onnx_attrs_read(size_t n, const Onnx__AttributeProto *const *attributes,
                               struct fg_arena *arena, struct fg_onnx_attr **out) {
  *out = fg_arena_alloc(arena, (n + 1) * sizeof **out);
  if (!*out)
    return FGSM_MEMORY;
  for (size_t i = 0; i < n; i++)
    FG_TRY(read_attr(attributes[i], arena, &(*out)[i]));
  return FGSM_OK;
}
