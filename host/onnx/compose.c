/* See compose.h. The messages lie in one arena, and are packed and read back at the end, so that what
 * comes of it has gone through the same door as any file. */
#include "compose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { OPSET = 17, IR_VERSION = 8 };

struct fg_compose {
  struct fg_arena arena;
  bool failed;
  Onnx__NodeProto **nodes;
  Onnx__TensorProto **tensors;
  int64_t n_nodes, n_tensors, nodes_capacity, tensors_capacity;
  Onnx__ValueInfoProto *input;
};

/* Zero-filled memory of the arena; NULL makes the composition fail. */
static void *take(struct fg_compose *c, size_t bytes) {
  void *memory = c->failed ? NULL : fg_arena_alloc(&c->arena, bytes);
  c->failed = c->failed || !memory;
  return memory;
}

static char *text(struct fg_compose *c, const char *a, const char *b) {
  char *made = take(c, strlen(a) + strlen(b) + 1);
  if (made)
    sprintf(made, "%s%s", a, b);
  return made;
}

/* ---- pieces */

static Onnx__AttributeProto *add_attribute(struct fg_compose *c, Onnx__NodeProto *node,
                                           const char *name) {
  Onnx__AttributeProto *a = take(c, sizeof *a);
  if (!a)
    return NULL;
  onnx__attribute_proto__init(a);
  a->name = text(c, name, "");
  a->has_type = 1;
  node->attribute[node->n_attribute++] = a;
  return a;
}

static void set_int(struct fg_compose *c, Onnx__NodeProto *node, const char *name, int64_t v) {
  Onnx__AttributeProto *a = add_attribute(c, node, name);
  if (!a)
    return;
  a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
  a->has_i = 1;
  a->i = v;
}

/* n times the same number. */
static void set_ints(struct fg_compose *c, Onnx__NodeProto *node, const char *name, int64_t v,
                     size_t n) {
  Onnx__AttributeProto *a = add_attribute(c, node, name);
  int64_t *values = take(c, n * sizeof *values);
  if (!values)
    return;
  for (size_t i = 0; i < n; i++)
    values[i] = v;
  a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
  a->ints = values;
  a->n_ints = n;
}

/* A node of n inputs, whose one output has the node's name; NULL after a failure. */
static Onnx__NodeProto *add_node(struct fg_compose *c, const char *op, const char *name, int n,
                                 const char *const *inputs) {
  enum { MOST_ATTRIBUTES = 4 };
  Onnx__NodeProto *node = take(c, sizeof *node);
  char **in = take(c, (size_t)n * sizeof *in), **out = take(c, sizeof *out);
  Onnx__AttributeProto **attributes = take(c, MOST_ATTRIBUTES * sizeof *attributes);
  char number[24] = "";
  if (!attributes ||
      fg_grow(&c->nodes, &c->nodes_capacity, c->n_nodes + 1, sizeof *c->nodes) != FGSM_OK) {
    c->failed = true;
    return NULL;
  }
  onnx__node_proto__init(node);
  if (!*name)
    snprintf(number, sizeof number, "_%lld", (long long)c->n_nodes);
  node->op_type = text(c, op, "");
  node->name = text(c, *name ? name : op, number);
  for (int i = 0; i < n; i++)
    in[i] = text(c, inputs[i], "");
  out[0] = node->name;
  node->input = in;
  node->n_input = (size_t)n;
  node->output = out;
  node->n_output = 1;
  node->attribute = attributes;
  c->nodes[c->n_nodes++] = node;
  return c->failed ? NULL : node;
}

/* An initializer of that value throughout; its name. */
static const char *add_tensor(struct fg_compose *c, const char *layer, const char *part, int rank,
                              const int64_t *dim, float value) {
  Onnx__TensorProto *t = take(c, sizeof *t);
  int64_t n = 1, *dims = take(c, (size_t)rank * sizeof *dims);
  for (int i = 0; i < rank; i++)
    if (!fg_mul_ok(n, dim[i], &n))
      c->failed = true;
  float *values = take(c, (size_t)n * sizeof *values);
  if (!values ||
      fg_grow(&c->tensors, &c->tensors_capacity, c->n_tensors + 1, sizeof *c->tensors) != FGSM_OK) {
    c->failed = true;
    return "";
  }
  for (int64_t i = 0; i < n && value != 0; i++)
    values[i] = value;
  memcpy(dims, dim, (size_t)rank * sizeof *dims);
  onnx__tensor_proto__init(t);
  t->name = text(c, layer, part);
  t->dims = dims;
  t->n_dims = (size_t)rank;
  t->has_data_type = 1;
  t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  t->has_raw_data = 1;
  t->raw_data = (ProtobufCBinaryData){(size_t)n * sizeof *values, (uint8_t *)values};
  c->tensors[c->n_tensors++] = t;
  return c->failed ? "" : t->name;
}

/* "x", or another name, as [N, dim...]. */
static Onnx__ValueInfoProto *port(struct fg_compose *c, const char *name, int rank,
                                  const int64_t *dim) {
  Onnx__ValueInfoProto *v = take(c, sizeof *v);
  Onnx__TypeProto *type = take(c, sizeof *type);
  Onnx__TypeProto__Tensor *tensor = take(c, sizeof *tensor);
  Onnx__TensorShapeProto *shape = take(c, sizeof *shape);
  Onnx__TensorShapeProto__Dimension **dims = take(c, (size_t)(rank + 1) * sizeof *dims);
  if (!dims)
    return NULL;
  onnx__value_info_proto__init(v);
  onnx__type_proto__init(type);
  onnx__type_proto__tensor__init(tensor);
  onnx__tensor_shape_proto__init(shape);
  for (int i = 0; i <= rank; i++) {
    if (!(dims[i] = take(c, sizeof **dims)))
      return NULL;
    onnx__tensor_shape_proto__dimension__init(dims[i]);
    dims[i]->value_case = i ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                            : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    if (i)
      dims[i]->dim_value = dim[i - 1];
    else
      dims[i]->dim_param = text(c, "N", "");
  }
  shape->dim = dims;
  shape->n_dim = (size_t)rank + 1;
  tensor->has_elem_type = 1;
  tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  tensor->shape = shape;
  type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  type->tensor_type = tensor;
  v->name = text(c, name, "");
  v->type = type;
  return c->failed ? NULL : v;
}

/* ---- steps */

static const char *name_of(const Onnx__NodeProto *node) {
  return node ? node->name : "";
}

fgsm_status fg_compose_begin(int rank, const int64_t *dim, struct fg_compose **out) {
  struct fg_compose *c = calloc(1, sizeof *c);
  if (!c)
    return FG_FAIL(MEMORY, "no memory for a model");
  c->input = port(c, "x", rank, dim);
  *out = c;
  return FGSM_OK;
}

const char *fg_compose_conv(struct fg_compose *c, const char *name, const char *x, int64_t in,
                            int64_t out, int kernel, int stride, int pad, bool bias) {
  const char *inputs[3] = {
      x, add_tensor(c, name, ".weight", 4, (int64_t[]){out, in, kernel, kernel}, 0),
      bias ? add_tensor(c, name, ".bias", 1, &out, 0) : ""};
  Onnx__NodeProto *node = add_node(c, "Conv", name, bias ? 3 : 2, inputs);
  if (node) {
    set_ints(c, node, "kernel_shape", kernel, 2);
    set_ints(c, node, "strides", stride, 2);
    set_ints(c, node, "pads", pad, 4);
  }
  return name_of(node);
}

const char *fg_compose_norm(struct fg_compose *c, const char *name, const char *x,
                            int64_t channels) {
  const char *inputs[5] = {x, add_tensor(c, name, ".weight", 1, &channels, 1),
                           add_tensor(c, name, ".bias", 1, &channels, 0),
                           add_tensor(c, name, ".running_mean", 1, &channels, 0),
                           add_tensor(c, name, ".running_var", 1, &channels, 1)};
  return name_of(add_node(c, "BatchNormalization", name, 5, inputs));
}

const char *fg_compose_dense(struct fg_compose *c, const char *name, const char *x, int64_t in,
                             int64_t out) {
  const char *inputs[3] = {x, add_tensor(c, name, ".weight", 2, (int64_t[]){out, in}, 0),
                           add_tensor(c, name, ".bias", 1, &out, 0)};
  Onnx__NodeProto *node = add_node(c, "Gemm", name, 3, inputs);
  if (node)
    set_int(c, node, "transB", 1);
  return name_of(node);
}

const char *fg_compose_relu(struct fg_compose *c, const char *x) {
  return name_of(add_node(c, "Relu", "", 1, &x));
}

const char *fg_compose_max_pool(struct fg_compose *c, const char *x, int size) {
  Onnx__NodeProto *node = add_node(c, "MaxPool", "", 1, &x);
  if (node) {
    set_ints(c, node, "kernel_shape", size, 2);
    set_ints(c, node, "strides", size, 2);
  }
  return name_of(node);
}

const char *fg_compose_mean(struct fg_compose *c, const char *x) {
  return name_of(add_node(c, "GlobalAveragePool", "", 1, &x));
}

const char *fg_compose_flatten(struct fg_compose *c, const char *x) {
  return name_of(add_node(c, "Flatten", "", 1, &x));
}

const char *fg_compose_add(struct fg_compose *c, const char *a, const char *b) {
  return name_of(add_node(c, "Add", "", 2, (const char *const[]){a, b}));
}

/* ---- the end */

static fgsm_status pack(struct fg_compose *c, Onnx__ValueInfoProto *output, const char *name,
                        struct fg_onnx **out) {
  Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
  Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
  Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
  opset.domain = text(c, "", "");
  opset.has_version = 1;
  opset.version = OPSET;
  graph.name = text(c, name, "");
  model.producer_name = text(c, "fgsm", "");
  if (c->failed)
    return FG_FAIL(MEMORY, "no memory for the model %s", name);
  graph.node = c->nodes;
  graph.n_node = (size_t)c->n_nodes;
  graph.initializer = c->tensors;
  graph.n_initializer = (size_t)c->n_tensors;
  graph.input = &c->input;
  graph.output = &output;
  graph.n_input = graph.n_output = 1;
  model.graph = &graph;
  model.has_ir_version = 1;
  model.ir_version = IR_VERSION;
  model.opset_import = &(Onnx__OperatorSetIdProto *){&opset};
  model.n_opset_import = 1;
  size_t size = onnx__model_proto__get_packed_size(&model);
  uint8_t *bytes = malloc(size + 1);
  if (!bytes)
    return FG_FAIL(MEMORY, "no memory for the %zu bytes of the model %s", size, name);
  onnx__model_proto__pack(&model, bytes);
  fgsm_status status = fg_onnx_parse(bytes, size, name, out);
  free(bytes);
  return status;
}

fgsm_status fg_compose_end(struct fg_compose *c, const char *y, int64_t classes, const char *name,
                           struct fg_onnx **out) {
  Onnx__ValueInfoProto *output = port(c, "logits", 1, &classes);
  Onnx__NodeProto *last = c->failed ? NULL : c->nodes[c->n_nodes - 1];
  fgsm_status status = FGSM_OK;
  if (last && strcmp(last->name, y) != 0)
    status = FG_FAIL(INTERNAL, "%s: ends at '%s', not at its last node", name, y);
  if (last)
    last->output[0] = output->name;
  if (status == FGSM_OK)
    status = pack(c, output, name, out);
  free(c->nodes);
  free(c->tensors);
  fg_arena_free(&c->arena);
  free(c);
  return status;
}
