/* Mutation of models that stay protobuf: the message is unpacked, some of its fields are changed, and
 * it is packed again, so that the lengths around a change are right and the change is seen by what
 * lies behind the parser. Fields are found by protobuf-c's descriptors, whatever the message is. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "onnx/onnx.pb-c.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);

enum { MOST_DEPTH = 30, ROUNDS = 4 };

static uint32_t state;

static uint32_t below(uint32_t n) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return n ? state % n : 0;
}

static const char *const operators[] = {
#define ONNX(name) #name,
#define ONNX_ML(name) #name,
#include "onnx_ops.def"
#undef ONNX_ML
#undef ONNX
};

static const char *const words[] = {"axis",
                                    "axes",
                                    "alpha",
                                    "beta",
                                    "pads",
                                    "strides",
                                    "dilations",
                                    "kernel_shape",
                                    "group",
                                    "keepdims",
                                    "mode",
                                    "perm",
                                    "to",
                                    "value",
                                    "epsilon",
                                    "transA",
                                    "transB",
                                    "auto_pad",
                                    "ceil_mode",
                                    "count_include_pad",
                                    "output_padding",
                                    "output_shape",
                                    "split",
                                    "num_outputs",
                                    "blocksize",
                                    "equation",
                                    "exclusive",
                                    "reverse",
                                    "largest",
                                    "sorted",
                                    "batch_dims",
                                    "direction",
                                    "hidden_size",
                                    "activations",
                                    "layout",
                                    "reduction",
                                    "ignore_index",
                                    "scales",
                                    "sizes",
                                    "starts",
                                    "ends",
                                    "steps",
                                    "allowzero",
                                    "nearest_mode",
                                    "coordinate_transformation_mode",
                                    "SAME_UPPER",
                                    "linear",
                                    "cubic",
                                    "reflect",
                                    "wrap",
                                    "edge",
                                    "add",
                                    "mul",
                                    "bidirectional",
                                    "then_branch",
                                    "noop_with_empty_axes",
                                    "ij,jk->ik",
                                    "bij,bjk->bik",
                                    "ii->i",
                                    "i->",
                                    "...ij->...ji"};

/* ---- places: one element of one field of one message of the tree */

struct place {
  ProtobufCMessage *message;
  const ProtobufCFieldDescriptor *field;
  size_t index; /* of an element of a repeated field */
};

struct search {
  int type; /* of field that is sought; -1: any */
  const char *name;
  uint32_t seen;
  struct place found;
};

static void *at(ProtobufCMessage *m, size_t offset) {
  return (char *)m + offset;
}

static size_t count_of(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
  if (f->label == PROTOBUF_C_LABEL_REPEATED)
    return *(size_t *)at(m, f->quantifier_offset);
  if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
    return *(uint32_t *)at(m, f->quantifier_offset) == f->id;
  if (f->type == PROTOBUF_C_TYPE_MESSAGE || f->type == PROTOBUF_C_TYPE_STRING)
    return *(void **)at(m, f->offset) != NULL;
  return *(protobuf_c_boolean *)at(m, f->quantifier_offset) != 0;
}

static size_t size_of(const ProtobufCFieldDescriptor *f) {
  switch (f->type) {
  case PROTOBUF_C_TYPE_INT64:
  case PROTOBUF_C_TYPE_UINT64:
  case PROTOBUF_C_TYPE_DOUBLE:
    return 8;
  case PROTOBUF_C_TYPE_BYTES:
    return sizeof(ProtobufCBinaryData);
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_MESSAGE:
    return sizeof(void *);
  default:
    return 4;
  }
}

/* The memory of element i. */
static void *element(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i) {
  void *p = at(m, f->offset);
  return f->label == PROTOBUF_C_LABEL_REPEATED ? *(char **)p + i * size_of(f) : p;
}

/* Every place is found with the same probability; numbers of a list count as a few. */
static void search(struct search *s, ProtobufCMessage *m, int depth) {
  if (depth > MOST_DEPTH)
    return;
  for (unsigned k = 0; k < m->descriptor->n_fields; k++) {
    const ProtobufCFieldDescriptor *f = &m->descriptor->fields[k];
    size_t n = count_of(m, f);
    if ((s->type < 0 || (int)f->type == s->type) && (!s->name || strcmp(f->name, s->name) == 0)) {
      uint32_t weight = (uint32_t)(n < 4 ? n : 4);
      s->seen += weight;
      if (weight && below(s->seen) < weight)
        s->found = (struct place){m, f, below((uint32_t)n)};
    }
    for (size_t i = 0; i < n && f->type == PROTOBUF_C_TYPE_MESSAGE; i++)
      search(s, *(ProtobufCMessage **)element(m, f, i), depth + 1);
  }
}

static struct place find(ProtobufCMessage *root, int type, const char *name) {
  struct search s = {.type = type, .name = name};
  search(&s, root, 0);
  return s.found;
}

/* ---- changes of one place */

static const int64_t odd_ints[] = {0,
                                   -1,
                                   1,
                                   2,
                                   3,
                                   7,
                                   -2,
                                   64,
                                   INT32_MAX,
                                   INT32_MIN,
                                   INT64_MAX,
                                   INT64_MIN,
                                   1LL << 31,
                                   1LL << 32,
                                   1LL << 40,
                                   65535,
                                   1 << 20,
                                   4096,
                                   INT64_MAX / 2};
static const double odd_reals[] = {0, -0.0, 1, -1, 0.5, 1e-45, 1e38, -1e38, 1e308, 2, 255};

static int64_t odd_int(int64_t v) {
  switch (below(4)) {
  case 0:
    return (int64_t)((uint64_t)v + below(5) - 2);
  case 1:
    return (int64_t)((uint64_t)v << below(4));
  case 2:
    return below(9);
  default:
    return odd_ints[below(sizeof odd_ints / sizeof *odd_ints)];
  }
}

static double odd_real(void) {
  uint32_t i = below(sizeof odd_reals / sizeof *odd_reals + 3);
  return i == 0   ? strtod("nan", NULL)
         : i == 1 ? strtod("inf", NULL)
         : i == 2 ? strtod("-inf", NULL)
                  : odd_reals[i - 3];
}

static void change_text(ProtobufCMessage *root, const struct place *p) {
  char **text = element(p->message, p->field, p->index), *copy = NULL;
  const char *from = NULL;
  if (strcmp(p->field->name, "op_type") == 0) {
    from = operators[below(sizeof operators / sizeof *operators)];
  } else if (below(3)) {
    /* mostly rewires: a name takes another's place */
    struct place other = find(root, PROTOBUF_C_TYPE_STRING, below(2) ? "output" : p->field->name);
    from = other.field ? *(char **)element(other.message, other.field, other.index) : NULL;
  } else if (below(2)) {
    from = words[below(sizeof words / sizeof *words)];
  }
  if (from) {
    copy = strdup(from);
  } else {
    size_t n = strlen(*text);
    copy = calloc(1, n + 9);
    if (copy) {
      memcpy(copy, *text, n);
      copy[LLVMFuzzerMutate((uint8_t *)copy, n ? n : 1, n + 8)] = 0;
    }
  }
  if (!copy)
    return;
  if (*text != (const char *)p->field->default_value && *text != protobuf_c_empty_string)
    free(*text);
  *text = copy;
}

static void change_bytes(const struct place *p) {
  ProtobufCBinaryData *b = element(p->message, p->field, p->index);
  if (b->len)
    b->len = LLVMFuzzerMutate(b->data, b->len, b->len);
}

static void change(ProtobufCMessage *root, const struct place *p) {
  void *v = element(p->message, p->field, p->index);
  switch (p->field->type) {
  case PROTOBUF_C_TYPE_STRING:
    change_text(root, p);
    break;
  case PROTOBUF_C_TYPE_BYTES:
    change_bytes(p);
    break;
  case PROTOBUF_C_TYPE_FLOAT:
    *(float *)v = (float)odd_real();
    break;
  case PROTOBUF_C_TYPE_DOUBLE:
    *(double *)v = odd_real();
    break;
  case PROTOBUF_C_TYPE_INT64:
  case PROTOBUF_C_TYPE_UINT64:
    *(int64_t *)v = odd_int(*(int64_t *)v);
    break;
  case PROTOBUF_C_TYPE_MESSAGE:
    break;
  default:
    *(int32_t *)v =
        strcmp(p->field->name, "elem_type") == 0 || strcmp(p->field->name, "data_type") == 0
            ? (int32_t)below(17)
            : (int32_t)odd_int(*(int32_t *)v);
  }
}

/* ---- changes of a list: an element removed, repeated, moved */

static void *copy_of(const struct place *p) {
  void *from = element(p->message, p->field, p->index);
  if (p->field->type == PROTOBUF_C_TYPE_STRING)
    return strdup(*(char **)from);
  ProtobufCMessage *m = *(ProtobufCMessage **)from;
  size_t n = protobuf_c_message_get_packed_size(m);
  uint8_t *bytes = malloc(n + 1);
  void *copy = NULL;
  if (bytes) {
    protobuf_c_message_pack(m, bytes);
    copy = protobuf_c_message_unpack(m->descriptor, NULL, n, bytes);
  }
  free(bytes);
  return copy;
}

static void release(const struct place *p) {
  void *v = element(p->message, p->field, p->index);
  if (p->field->type == PROTOBUF_C_TYPE_STRING)
    free(*(char **)v);
  else if (p->field->type == PROTOBUF_C_TYPE_MESSAGE)
    protobuf_c_message_free_unpacked(*(ProtobufCMessage **)v, NULL);
}

static void change_list(const struct place *p) {
  size_t *n = at(p->message, p->field->quantifier_offset), size = size_of(p->field);
  char **list = at(p->message, p->field->offset);
  if (p->field->type == PROTOBUF_C_TYPE_BYTES)
    return;
  if (below(3) == 0) {
    release(p);
    memmove(*list + p->index * size, *list + (p->index + 1) * size, (*n - p->index - 1) * size);
    --*n;
    return;
  }
  size_t other = below((uint32_t)*n);
  char swap[sizeof(ProtobufCBinaryData)];
  if (below(2)) {
    memcpy(swap, *list + p->index * size, size);
    memcpy(*list + p->index * size, *list + other * size, size);
    memcpy(*list + other * size, swap, size);
    return;
  }
  memcpy(swap, *list + p->index * size, size);
  if (p->field->type == PROTOBUF_C_TYPE_STRING || p->field->type == PROTOBUF_C_TYPE_MESSAGE) {
    void *copy = copy_of(p);
    if (!copy)
      return;
    memcpy(swap, &copy, sizeof copy);
  }
  char *more = realloc(*list, (*n + 1) * size);
  if (!more)
    abort();
  memcpy(more + *n * size, swap, size);
  *list = more;
  ++*n;
}

/* A tensor whose dims and data are changed together, so that they still agree. */
static void change_tensor(ProtobufCMessage *root) {
  struct place p = find(root, PROTOBUF_C_TYPE_BYTES, "raw_data");
  if (!p.field)
    return;
  Onnx__TensorProto *t = (Onnx__TensorProto *)p.message;
  size_t width = t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 ? 8 : 4, bytes = width;
  for (size_t i = 0; i < t->n_dims; i++) {
    if (below(2))
      t->dims[i] = below(7);
    if (t->dims[i] < 0 || t->dims[i] > 4096 || (bytes *= (size_t)t->dims[i]) > 1 << 16)
      return;
  }
  uint8_t *data = calloc(1, bytes + 1);
  if (!data)
    return;
  for (size_t i = 0; i < bytes && t->raw_data.len; i++)
    data[i] = t->raw_data.data[i % t->raw_data.len];
  free(t->raw_data.data);
  t->raw_data = (ProtobufCBinaryData){bytes, data};
}

/* Another attribute for some node. */
static void add_attribute(ProtobufCMessage *root) {
  struct place p = find(root, PROTOBUF_C_TYPE_MESSAGE, "node");
  Onnx__AttributeProto *a = calloc(1, sizeof *a);
  if (!p.field || !a) {
    free(a);
    return;
  }
  Onnx__NodeProto *node = *(Onnx__NodeProto **)element(p.message, p.field, p.index);
  onnx__attribute_proto__init(a);
  a->name = strdup(words[below(sizeof words / sizeof *words)]);
  a->has_type = 1;
  switch (below(4)) {
  case 0:
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    a->has_f = 1;
    a->f = (float)odd_real();
    break;
  case 1:
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
    a->n_ints = 1 + below(6);
    a->ints = calloc(a->n_ints, sizeof *a->ints);
    for (size_t i = 0; a->ints && i < a->n_ints; i++)
      a->ints[i] = odd_int(1);
    break;
  case 2:
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
    a->has_s = 1;
    a->s.data = (uint8_t *)strdup(words[below(sizeof words / sizeof *words)]);
    a->s.len = a->s.data ? strlen((char *)a->s.data) : 0;
    break;
  default:
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    a->has_i = 1;
    a->i = odd_int(1);
  }
  node->attribute = realloc(node->attribute, (node->n_attribute + 1) * sizeof *node->attribute);
  if (!node->attribute)
    abort();
  node->attribute[node->n_attribute++] = a;
}

static void change_something(ProtobufCMessage *root) {
  switch (below(12)) {
  case 0:
    change_tensor(root);
    return;
  case 1:
    add_attribute(root);
    return;
  default:
    break;
  }
  static const int types[] = {PROTOBUF_C_TYPE_STRING,
                              PROTOBUF_C_TYPE_INT64,
                              PROTOBUF_C_TYPE_MESSAGE,
                              PROTOBUF_C_TYPE_FLOAT,
                              -1,
                              -1};
  struct place p = find(root, types[below(6)], NULL);
  if (!p.field)
    return;
  bool list = p.field->label == PROTOBUF_C_LABEL_REPEATED;
  if (list && (p.field->type == PROTOBUF_C_TYPE_MESSAGE || below(3) == 0))
    change_list(&p);
  else
    change(root, &p);
}

size_t fuzz_mutate_model(uint8_t *data, size_t n, size_t most, uint32_t seed) {
  state = seed | 1;
  ProtobufCMessage *root =
      below(8) ? protobuf_c_message_unpack(&onnx__model_proto__descriptor, NULL, n, data) : NULL;
  if (!root)
    return LLVMFuzzerMutate(data, n, most);
  for (uint32_t i = 1 + below(ROUNDS); i > 0; i--)
    change_something(root);
  size_t size = protobuf_c_message_get_packed_size(root);
  if (size <= most)
    protobuf_c_message_pack(root, data);
  protobuf_c_message_free_unpacked(root, NULL);
  return size <= most ? size : LLVMFuzzerMutate(data, n, most);
}
