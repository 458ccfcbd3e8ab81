/* See type_sample.h. */
#include "type_sample.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

static const int numbers[FG_TYPE_COUNT] = {
    [FG_F32] = 1, [FG_U8] = 2,   [FG_I8] = 3,   [FG_I16] = 5,  [FG_I32] = 6,
    [FG_I64] = 7, [FG_BOOL] = 9, [FG_F16] = 10, [FG_F64] = 11, [FG_BF16] = 16};

int type_number(enum fg_type type) {
  return numbers[type];
}

enum fg_type type_of_number(int number) {
  for (int t = 0; t < FG_TYPE_COUNT; t++)
    if (numbers[t] == number && number)
      return (enum fg_type)t;
  return FG_NONE;
}

/* ---- numbers */

/* v as a half float's bits: rounded, not to be subnormal, bounded. */
static uint16_t half_bits(double v) {
  int e;
  uint16_t sign = signbit(v) ? 0x8000 : 0;
  if (isnan(v))
    return 0x7E00;
  if (isinf(v) || fabs(v) > 65504)
    return sign | (isinf(v) ? 0x7C00 : 0x7BFF);
  double m = frexp(fabs(v), &e); /* 0.5 <= m < 1 */
  if (!(m > 0) || e < -13)
    return sign;
  return (uint16_t)(sign + ((e + 13) << 10) + (int)nearbyint(ldexp(m, 11)));
}

static int64_t bounded(double v, double low, double high) {
  return isnan(v) ? 0 : (int64_t)fmin(fmax(trunc(v), low), high);
}

/* Writes v as element i of an array of the type. */
static void put(enum fg_type type, void *data, int64_t i, double v) {
  float f = (float)v;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  switch (type) {
  case FG_F64:
    ((double *)data)[i] = v;
    return;
  case FG_F32:
    ((float *)data)[i] = f;
    return;
  case FG_F16:
    ((uint16_t *)data)[i] = half_bits(v);
    return;
  case FG_BF16:
    ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
    return;
  case FG_I64:
    ((int64_t *)data)[i] = bounded(v, -0x1p62, 0x1p62);
    return;
  case FG_I32:
    ((int32_t *)data)[i] = (int32_t)bounded(v, INT32_MIN, INT32_MAX);
    return;
  case FG_I16:
    ((int16_t *)data)[i] = (int16_t)bounded(v, INT16_MIN, INT16_MAX);
    return;
  case FG_I8:
    ((int8_t *)data)[i] = (int8_t)bounded(v, INT8_MIN, INT8_MAX);
    return;
  case FG_U8:
    ((uint8_t *)data)[i] = (uint8_t)bounded(fabs(v), 0, UINT8_MAX);
    return;
  default:
    ((uint8_t *)data)[i] = v != 0;
    return;
  }
}

static double rounded_to(enum fg_type type, double v) {
  union {
    double align;
    char bytes[8];
  } one;
  put(type, &one, 0, v);
  return fg_element_real(type, &one, 0);
}

/* ---- from a case */

static struct onnx_bytes attribute(const struct fg_onnx_attr *a) {
  static const int kinds[] = {
      [FG_ATTR_FLOAT] = 1,  [FG_ATTR_INT] = 2,  [FG_ATTR_STRING] = 3, [FG_ATTR_TENSOR] = 4,
      [FG_ATTR_FLOATS] = 6, [FG_ATTR_INTS] = 7, [FG_ATTR_STRINGS] = 8};
  struct onnx_bytes b = {0};
  const struct fg_onnx_tensor *t = &a->tensor;
  size_t bytes = fg_type_size(t->type);
  onnx_text(&b, 1, a->name);
  switch (a->kind) {
  case FG_ATTR_FLOAT:
    onnx_varint(&b, 2 << 3 | 5);
    onnx_raw(&b, &a->f, sizeof a->f);
    break;
  case FG_ATTR_INT:
    onnx_int(&b, 3, a->i);
    break;
  case FG_ATTR_STRING:
    onnx_text(&b, 4, a->s);
    break;
  case FG_ATTR_TENSOR:
    for (int i = 0; i < t->rank; i++)
      bytes *= (size_t)t->dim[i];
    onnx_put(&b, 5, onnx_tensor("", type_number(t->type), t->rank, t->dim, t->data, bytes));
    break;
  case FG_ATTR_FLOATS:
    onnx_blob(&b, 7, a->floats, (size_t)a->n * sizeof *a->floats);
    break;
  case FG_ATTR_INTS:
    for (int64_t i = 0; i < a->n; i++)
      onnx_int(&b, 8, a->ints[i]);
    break;
  default:
    for (int64_t i = 0; i < a->n; i++)
      onnx_text(&b, 9, a->strings[i]);
    break;
  }
  onnx_int(&b, 20, kinds[a->kind]);
  return b;
}

bool type_sample_of_case(const struct import_case *c, struct type_sample *s) {
  char names[256] = "";
  *s = (struct type_sample){.opset = c->opset, .n_in = c->n_in, .out = "y"};
  snprintf(s->op, sizeof s->op, "%s", c->op);
  for (int i = 0; i < c->n_in; i++) {
    const struct import_tensor *t = &c->in[i];
    struct type_input *in = &s->in[i];
    size_t at = strlen(names);
    if (t->type != FG_NONE)
      snprintf(in->name, sizeof in->name, "x%d", i);
    snprintf(names + at, sizeof names - at, "%s%s", i ? " " : "", in->name);
    *in = (struct type_input){.type = t->type, .rank = t->rank, .n = 1, .values = NULL};
    if (t->type == FG_NONE)
      continue;
    snprintf(in->name, sizeof in->name, "x%d", i);
    for (int k = 0; k < t->rank; k++)
      in->n *= in->dim[k] = t->dim[k];
    in->values = malloc((size_t)in->n * sizeof *in->values + 1);
    for (int64_t k = 0; k < in->n; k++)
      in->values[k] = t->values ? t->values[k] : (double)k + 1;
  }
  s->node = onnx_node(c->op, "", names, "y");
  for (int i = 0; i < IMPORT_ATTRS && c->attrs[i].name; i++) {
    onnx_put(&s->node, 5, attribute(&c->attrs[i]));
    snprintf(s->attrs[s->n_attrs++], sizeof s->attrs[0], "%s", c->attrs[i].name);
  }
  return true;
}

/* ---- from a node test */

static void take_inputs(const struct node_sample *from, const Onnx__NodeProto *node,
                        struct type_sample *s) {
  s->n_in = (int)node->n_input;
  for (int i = 0; i < s->n_in; i++) {
    struct type_input *in = &s->in[i];
    snprintf(in->name, sizeof in->name, "%s", node->input[i]);
    for (int k = 0; k < from->n_in; k++) {
      const struct node_tensor *t = &from->in[k];
      if (in->values || strcmp(fg_onnx_input(from->onnx, k)->name, in->name) != 0)
        continue;
      in->type = t->type;
      in->rank = t->rank;
      in->n = t->n;
      memcpy(in->dim, t->dim, sizeof in->dim);
      in->values = malloc((size_t)t->n * sizeof *in->values + 1);
      for (int64_t e = 0; e < t->n; e++)
        in->values[e] = fg_element_real(t->type, t->data, e);
    }
  }
}

bool type_sample_of_node(const char *name, struct type_sample *s) {
  struct node_sample from;
  *s = (struct type_sample){0};
  bool fits = node_open(name, &from) == FGSM_OK && from.onnx->model->graph->n_node == 1;
  const Onnx__NodeProto *node = fits ? from.onnx->model->graph->node[0] : NULL;
  fits = fits && (!node->domain || !*node->domain) && node->n_input <= NODE_PORTS &&
         node->n_attribute <= NODE_PORTS && node->n_output > 0 &&
         from.onnx->model->n_functions == 0 && from.onnx->model->graph->n_initializer == 0;
  for (int i = 0; fits && i < from.n_in; i++)
    fits = from.in[i].n <= TYPE_ELEMENTS;
  if (fits) {
    s->opset = fg_onnx_opset(from.onnx);
    snprintf(s->op, sizeof s->op, "%s", node->op_type);
    snprintf(s->out, sizeof s->out, "%s", fg_onnx_output(from.onnx, 0)->name);
    s->node.n = s->node.capacity = onnx__node_proto__get_packed_size(node);
    s->node.data = malloc(s->node.n);
    onnx__node_proto__pack(node, s->node.data);
    take_inputs(&from, node, s);
    for (size_t i = 0; i < node->n_attribute; i++)
      snprintf(s->attrs[s->n_attrs++], sizeof s->attrs[0], "%s", node->attribute[i]->name);
  }
  node_close(&from);
  return fits;
}

void type_sample_free(struct type_sample *s) {
  for (int i = 0; i < s->n_in; i++)
    free(s->in[i].values);
  free(s->node.data);
  *s = (struct type_sample){0};
}

/* ---- writing */

static bool seen_before(const struct type_sample *s, int i) {
  for (int k = 0; k < i; k++)
    if (strcmp(s->in[k].name, s->in[i].name) == 0)
      return true;
  return false;
}

fgsm_status type_sample_write(const struct type_sample *s, int64_t opset, uint32_t mask,
                              enum fg_type rounded, enum fg_type type, struct node_sample *out) {
  struct onnx_bytes g = {0}, y = {0};
  *out = (struct node_sample){.name = "", .n_out = 1};
  onnx_blob(&g, 1, s->node.data, s->node.n);
  for (int i = 0; i < s->n_in; i++) {
    const struct type_input *in = &s->in[i];
    struct node_tensor *t = &out->in[out->n_in];
    if (!*in->name || seen_before(s, i))
      continue;
    bool ours = mask >> i & 1;
    *t = (struct node_tensor){.type = ours                        ? type
                                      : fg_type_is_real(in->type) ? FG_F32
                                                                  : in->type,
                              .rank = in->rank,
                              .n = in->n};
    memcpy(t->dim, in->dim, sizeof t->dim);
    t->data = malloc((size_t)t->n * sizeof(double) + 1);
    for (int64_t k = 0; k < t->n; k++)
      put(t->type, t->data, k, ours ? rounded_to(rounded, in->values[k]) : in->values[k]);
    onnx_put(&g, 11, onnx_port(in->name, type_number(t->type), t->rank, t->dim));
    out->n_in++;
  }
  onnx_text(&y, 1, s->out);
  onnx_put(&g, 12, y);
  struct onnx_bytes model = onnx_model(g, opset);
  fgsm_status status = fg_onnx_parse(model.data, model.n, s->op, &out->onnx);
  free(model.data);
  return status;
}
