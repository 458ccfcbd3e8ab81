/* Types, and values that are known while loading: cast; ONNX Constant, ConstantOfShape, Shape,
 * Size, Range, Cast. Shapes are concrete here, so what exporters compute from Shape is constant
 * from the start. */
#include <math.h>
#include <string.h>

#include "quantization.h"

static fgsm_status infer_cast(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  int type = node->attrs.cast.type;
  double divisor = node->attrs.cast.divisor;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  if (type <= FG_NONE || type >= FG_TYPE_COUNT)
    return FG_FAIL(INTERNAL, "there is no type %d", type);
  if (divisor != 0 && (!isfinite(divisor) || x->type != FG_U8 || !fg_type_is_real(type)))
    return FG_FAIL(INTERNAL, "only bytes that become floats are divided (by %g)", divisor);
  return fg_rule_output(out, type, x->rank, x->dim);
}

static fgsm_status grad_cast(struct fg_grad_ctx *ctx) {
  enum fg_type from = fg_value(ctx->g, ctx->node->in[0])->type;
  if (!fg_type_is_real(from) || !fg_type_is_real(ctx->node->attrs.cast.type))
    return fg_no_grad(ctx);
  return fg_cast(ctx->g, ctx->out_grad[0], from, 0, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_cast = {infer_cast, grad_cast, NULL};

/* ---- ONNX */

fgsm_status fg_import_type(const struct fg_graph *g, int64_t number, enum fg_type *out) {
  switch (number) {
  case 1:  /* FLOAT    */
  case 10: /* FLOAT16  */
  case 11: /* DOUBLE   */
  case 16: /* BFLOAT16 */
    *out = g->real;
    return FGSM_OK;
  case 2:
    *out = FG_U8;
    return FGSM_OK;
  case 3:
    *out = FG_I8;
    return FGSM_OK;
  case 5:
    *out = FG_I16;
    return FGSM_OK;
  case 6:
    *out = FG_I32;
    return FGSM_OK;
  case 7:
    *out = FG_I64;
    return FGSM_OK;
  case 9:
    *out = FG_BOOL;
    return FGSM_OK;
  default:
    return FG_FAIL(UNSUPPORTED,
                   "ONNX data type %lld is not supported: use float32, int64, int32 or "
                   "bool",
                   (long long)number);
  }
}

static fgsm_status cast_to(struct fg_import *im, enum fg_type type) {
  union fg_attrs a = {.cast = {.type = type}};
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  im->out[0] = x;
  if (fg_value(im->g, x)->type == type)
    return FGSM_OK;
  if (fg_type_is_real(type) && fg_value(im->g, x)->type == FG_I32)
    return fg_quantized_floats(im->g, x, &im->out[0]);
  return fg_import_append(im, FG_OP_cast, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_Cast(struct fg_import *im) {
  int64_t to;
  enum fg_type type;
  FG_TRY(fg_attr_int(im, "to", 0, &to));
  FG_TRY(fg_import_type(im->g, to, &type));
  return cast_to(im, type);
}

fgsm_status fg_import_CastLike(struct fg_import *im) {
  fg_id like;
  FG_TRY(fg_input(im, 1, &like));
  return cast_to(im, fg_value(im->g, like)->type);
}

static fgsm_status from_tensor(struct fg_import *im, const struct fg_onnx_tensor *t, fg_id *out) {
  if (t->type == FG_NONE)
    return FG_FAIL(UNSUPPORTED,
                   "the tensor's data type is not supported: use float32, int64, int32 "
                   "or bool");
  return fg_graph_constant(im->g, im->name, t->type, t->rank, t->dim, t->data, out);
}

static fgsm_status wrong_kind(const struct fg_onnx_attr *a) {
  return FG_FAIL(MODEL, "attribute %.60s has the wrong kind", a->name);
}

fgsm_status fg_import_Constant(struct fg_import *im) {
  const struct fg_onnx_attr *a;
  if ((a = fg_attr_find(im, "value"))) {
    if (a->kind != FG_ATTR_TENSOR)
      return wrong_kind(a);
    return from_tensor(im, &a->tensor, &im->out[0]);
  }
  if ((a = fg_attr_find(im, "value_float")))
    return a->kind != FG_ATTR_FLOAT
               ? wrong_kind(a)
               : fg_graph_constant(im->g, im->name, FG_F32, 0, NULL, &a->f, &im->out[0]);
  if ((a = fg_attr_find(im, "value_int")))
    return a->kind != FG_ATTR_INT
               ? wrong_kind(a)
               : fg_graph_constant(im->g, im->name, FG_I64, 0, NULL, &a->i, &im->out[0]);
  if ((a = fg_attr_find(im, "value_floats")))
    return a->kind != FG_ATTR_FLOATS
               ? wrong_kind(a)
               : fg_graph_constant(im->g, im->name, FG_F32, 1, &a->n, a->floats, &im->out[0]);
  if ((a = fg_attr_find(im, "value_ints")))
    return a->kind != FG_ATTR_INTS
               ? wrong_kind(a)
               : fg_graph_constant(im->g, im->name, FG_I64, 1, &a->n, a->ints, &im->out[0]);
  return FG_FAIL(UNSUPPORTED, "only numeric, dense constants are supported (value, value_float, "
                              "value_floats, value_int, value_ints)");
}

fgsm_status fg_import_ConstantOfShape(struct fg_import *im) {
  union fg_attrs a = {0};
  const struct fg_onnx_attr *value = fg_attr_find(im, "value");
  fg_id x;
  int n;
  FG_TRY(fg_input_ints(im, 0, FG_MAX_RANK, a.shape.dim, &n));
  if (n < 0)
    return FG_FAIL(MODEL, "the shape (input 0) is missing");
  if (value && value->kind != FG_ATTR_TENSOR)
    return wrong_kind(value);
  if (value) {
    FG_TRY(from_tensor(im, &value->tensor, &x));
    if (fg_value_count(im->g, x) != 1)
      return FG_FAIL(MODEL, "value has shape %s where one element is expected",
                     FG_SHAPE(fg_value(im->g, x)));
    FG_TRY(fg_reshape(im->g, x, 0, NULL, &x));
  } else {
    FG_TRY(fg_graph_scalar(im->g, 0, &x));
  }
  a.shape.rank = n;
  return fg_import_append(im, FG_OP_expand, &a, 1, &x, &im->out[0]);
}

/* An experiment that ONNX dropped and PyTorch writes for the initial state of a recurrent net before
 * opset 9: the shape is the input's numbers, the input's shape, or an attribute. */
fgsm_status fg_import_ConstantFill(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t dtype, as_shape, *dim = a.shape.dim;
  enum fg_type type;
  double value;
  int n, more;
  fg_id x = fg_import_optional(im, 0);
  FG_TRY(fg_attr_int(im, "dtype", 1, &dtype));
  FG_TRY(fg_attr_int(im, "input_as_shape", 0, &as_shape));
  FG_TRY(fg_attr_float(im, "value", 0, &value));
  FG_TRY(fg_import_type(im->g, dtype, &type));
  if (x == FG_ABSENT) {
    FG_TRY(fg_attr_ints(im, "shape", FG_MAX_RANK, dim, &n));
  } else if (as_shape) {
    FG_TRY(fg_input_ints(im, 0, FG_MAX_RANK, dim, &n));
  } else {
    n = fg_value(im->g, x)->rank;
    memcpy(dim, fg_value(im->g, x)->dim, (size_t)n * sizeof *dim);
  }
  if (n < 0)
    return FG_FAIL(MODEL, "its shape is missing");
  FG_TRY(fg_attr_ints(im, "extra_shape", FG_MAX_RANK - n, dim + n, &more));
  a.shape.rank = more > 0 ? n + more : n;
  FG_TRY(fg_import_scalar(im->g, type, value, &x));
  return fg_import_append(im, FG_OP_expand, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_Shape(struct fg_import *im) {
  int64_t start, end;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_attr_int(im, "start", 0, &start));
  FG_TRY(fg_attr_int(im, "end", v.rank, &end));
  start += start < 0 ? v.rank : 0;
  end += end < 0 ? v.rank : 0;
  start = start < 0 ? 0 : start > v.rank ? v.rank : start;
  end = end < start ? start : end > v.rank ? v.rank : end;
  return fg_import_ints(im->g, (int)(end - start), v.dim + start, &im->out[0]);
}

fgsm_status fg_import_Size(struct fg_import *im) {
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  int64_t n = fg_value_count(im->g, x);
  return fg_graph_constant(im->g, "", FG_I64, 0, NULL, &n, &im->out[0]);
}

/* Range is for positions and masks: as many as a sequence may have. */
fgsm_status fg_import_Range(struct fg_import *im) {
  enum { MOST = 1 << 20 };
  fg_id in[3];
  for (int i = 0; i < 3; i++) {
    FG_TRY(fg_input(im, i, &in[i]));
    if (!fg_value_is_constant(im->g, in[i]) || fg_value_count(im->g, in[i]) != 1)
      return FG_FAIL(UNSUPPORTED, "input %d is not a constant scalar: export with fixed shapes", i);
  }
  enum fg_type type = fg_value(im->g, in[0])->type;
  double start = fg_constant_real(im->g, in[0], 0), limit = fg_constant_real(im->g, in[1], 0),
         delta = fg_constant_real(im->g, in[2], 0), count = ceil((limit - start) / delta);
  if (delta == 0 || !(count <= MOST) || fabs(start) > 1e15 || fabs(delta) > 1e9)
    return FG_FAIL(UNSUPPORTED, "from %g to %g in steps of %g: at most %d steps are supported",
                   start, limit, delta, MOST);
  bool real = fg_type_is_real(type);
  int64_t n = count > 0 ? (int64_t)count : 0;
  if (real && n == 0)
    return FG_FAIL(UNSUPPORTED, "from %g to %g in steps of %g there is nothing", start, limit,
                   delta);
  union {
    double f;
    int64_t i;
  } *data = fg_arena_alloc(&im->g->arena, ((size_t)n + 1) * sizeof *data);
  fg_id x;
  if (!data)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    if (real)
      data[i].f = start + (double)i * delta;
    else
      data[i].i = (int64_t)start + i * (int64_t)delta;
  }
  FG_TRY(fg_graph_constant(im->g, im->name, real ? FG_F64 : FG_I64, 1, &n, data, &x));
  return fg_cast(im->g, x, type, 0, &im->out[0]);
}
