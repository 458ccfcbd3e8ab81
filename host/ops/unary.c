/* Elementwise functions of one value: unary and its gradient, and the ONNX operators that are one
 * of its kinds, or few of them. Kinks follow PyTorch (attrs.h). */
#include <math.h>
#include <string.h>

#include "rules.h"

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(fg_rule_unary(&node->attrs.unary));
  if (node->attrs.unary.kind != FG_UNARY_identity) /* which copies any type */
    FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  return fg_rule_output(out, x->type, x->rank, x->dim);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  const struct fg_unary_attrs *a = &ctx->node->attrs.unary;
  fg_id dy = ctx->out_grad[0];
  if (a->kind == FG_UNARY_identity) {
    ctx->in_grad[0] = dy;
    return FGSM_OK;
  }
  if (a->kind == FG_UNARY_neg)
    return fg_unary(ctx->g, FG_UNARY_neg, 0, 0, dy, &ctx->in_grad[0]);
  if (a->kind == FG_UNARY_round && a->alpha == 1) {
    ctx->in_grad[0] = dy;
    return FGSM_OK;
  }
  if (a->kind == FG_UNARY_sign || a->kind == FG_UNARY_floor || a->kind == FG_UNARY_ceil ||
      (a->kind == FG_UNARY_round && a->alpha == 0))
    return fg_no_grad(ctx);
  bool from_y = fg_unary_from_y(a);
  fg_id in[] = {from_y ? FG_ABSENT : ctx->node->in[0], from_y ? ctx->node->out[0] : FG_ABSENT, dy};
  return fg_rule_append(ctx->g, FG_OP_unary_grad, &ctx->node->attrs, 3, in, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_unary = {infer, grad, NULL};

static fgsm_status infer_grad(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 0, 4));
  FG_TRY(fg_rule_reals(g, node, 15));
  FG_TRY(fg_rule_unary(&node->attrs.unary));
  bool from_y = fg_unary_from_y(&node->attrs.unary);
  const struct fg_value *dy = fg_rule_input(g, node, 2), *dy2 = fg_rule_input(g, node, 3);
  const struct fg_value *at = fg_rule_input(g, node, from_y ? 1 : 0);
  if (!dy || !at || fg_rule_input(g, node, from_y ? 0 : 1))
    return FG_FAIL(INTERNAL, "the gradient of %s takes dy and %s, and not %s",
                   fg_unary_name(node->attrs.unary.kind), from_y ? "y" : "x", from_y ? "x" : "y");
  FG_TRY(fg_rule_same_shape(at, dy, from_y ? "y" : "x"));
  if (dy2)
    FG_TRY(fg_rule_same_shape(dy2, dy, "the second gradient"));
  return fg_rule_output(out, dy->type, dy->rank, dy->dim);
}

const struct fg_op_def fg_def_unary_grad = {infer_grad, NULL, NULL};

/* ---- ONNX */

static fgsm_status one(struct fg_import *im, enum fg_unary_kind kind, double alpha, double beta) {
  union fg_attrs a = {.unary = {kind, alpha, beta}};
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  return fg_import_append(im, FG_OP_unary, &a, 1, &x, &im->out[0]);
}

fgsm_status fg_import_Relu(struct fg_import *im) {
  return one(im, FG_UNARY_relu, 0, 0);
}
fgsm_status fg_import_Sigmoid(struct fg_import *im) {
  return one(im, FG_UNARY_sigmoid, 0, 0);
}
fgsm_status fg_import_Tanh(struct fg_import *im) {
  return one(im, FG_UNARY_tanh, 0, 0);
}
fgsm_status fg_import_Exp(struct fg_import *im) {
  return one(im, FG_UNARY_exp, 0, 0);
}
fgsm_status fg_import_Log(struct fg_import *im) {
  return one(im, FG_UNARY_log, 0, 0);
}
fgsm_status fg_import_Sqrt(struct fg_import *im) {
  return one(im, FG_UNARY_sqrt, 0, 0);
}
fgsm_status fg_import_Erf(struct fg_import *im) {
  return one(im, FG_UNARY_erf, 0, 0);
}
fgsm_status fg_import_Softplus(struct fg_import *im) {
  return one(im, FG_UNARY_softplus, 0, 0);
}
fgsm_status fg_import_Sin(struct fg_import *im) {
  return one(im, FG_UNARY_sin, 0, 0);
}
fgsm_status fg_import_Cos(struct fg_import *im) {
  return one(im, FG_UNARY_cos, 0, 0);
}
fgsm_status fg_import_Tan(struct fg_import *im) {
  return one(im, FG_UNARY_tan, 0, 0);
}
fgsm_status fg_import_Asin(struct fg_import *im) {
  return one(im, FG_UNARY_asin, 0, 0);
}
fgsm_status fg_import_Acos(struct fg_import *im) {
  return one(im, FG_UNARY_acos, 0, 0);
}
fgsm_status fg_import_Atan(struct fg_import *im) {
  return one(im, FG_UNARY_atan, 0, 0);
}
fgsm_status fg_import_Sinh(struct fg_import *im) {
  return one(im, FG_UNARY_sinh, 0, 0);
}
fgsm_status fg_import_Cosh(struct fg_import *im) {
  return one(im, FG_UNARY_cosh, 0, 0);
}
fgsm_status fg_import_Asinh(struct fg_import *im) {
  return one(im, FG_UNARY_asinh, 0, 0);
}
fgsm_status fg_import_Acosh(struct fg_import *im) {
  return one(im, FG_UNARY_acosh, 0, 0);
}
fgsm_status fg_import_Atanh(struct fg_import *im) {
  return one(im, FG_UNARY_atanh, 0, 0);
}
fgsm_status fg_import_Floor(struct fg_import *im) {
  return one(im, FG_UNARY_floor, 0, 0);
}
fgsm_status fg_import_Ceil(struct fg_import *im) {
  return one(im, FG_UNARY_ceil, 0, 0);
}
fgsm_status fg_import_Round(struct fg_import *im) {
  return one(im, FG_UNARY_round, 0, 0);
}
fgsm_status fg_import_Reciprocal(struct fg_import *im) {
  return one(im, FG_UNARY_power, -1, 0);
}

fgsm_status fg_import_LeakyRelu(struct fg_import *im) {
  double alpha;
  FG_TRY(fg_attr_float(im, "alpha", 0.01f, &alpha));
  return one(im, FG_UNARY_leaky_relu, alpha, 0);
}

fgsm_status fg_import_Gelu(struct fg_import *im) {
  const char *form;
  FG_TRY(fg_attr_text(im, "approximate", "none", &form));
  if (!strcmp(form, "tanh"))
    return one(im, FG_UNARY_gelu_tanh, 0, 0);
  if (!strcmp(form, "none"))
    return one(im, FG_UNARY_gelu, 0, 0);
  return FG_FAIL(UNSUPPORTED, "approximate = '%.60s': only 'none' and 'tanh' are known", form);
}

/* 0 - x in integers: unary is for floats. */
static fgsm_status negate_int(struct fg_graph *g, fg_id x, fg_id *out) {
  fg_id zero;
  FG_TRY(fg_import_scalar(g, fg_value(g, x)->type, 0, &zero));
  return fg_binary(g, FG_BINARY_sub, zero, x, out);
}

fgsm_status fg_import_Neg(struct fg_import *im) {
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  if (fg_type_is_real(fg_value(im->g, x)->type))
    return one(im, FG_UNARY_neg, 0, 0);
  return negate_int(im->g, x, &im->out[0]);
}

fgsm_status fg_import_Abs(struct fg_import *im) {
  fg_id x, minus;
  FG_TRY(fg_input(im, 0, &x));
  enum fg_type type = fg_value(im->g, x)->type;
  if (type == FG_U8) {
    im->out[0] = x;
    return FGSM_OK;
  }
  if (fg_type_is_real(type))
    return one(im, FG_UNARY_abs, 0, 0);
  FG_TRY(negate_int(im->g, x, &minus));
  return fg_binary(im->g, FG_BINARY_max, x, minus, &im->out[0]);
}

fgsm_status fg_import_Sign(struct fg_import *im) {
  fg_id x, one_up, one_down;
  FG_TRY(fg_input(im, 0, &x));
  enum fg_type type = fg_value(im->g, x)->type;
  if (fg_type_is_real(type))
    return one(im, FG_UNARY_sign, 0, 0);
  FG_TRY(fg_import_scalar(im->g, type, 1, &one_up));
  FG_TRY(fg_import_scalar(im->g, type, type == FG_U8 ? 0 : -1, &one_down));
  FG_TRY(fg_binary(im->g, FG_BINARY_min, x, one_up, &x));
  return fg_binary(im->g, FG_BINARY_max, x, one_down, &im->out[0]);
}

/* One bound of Clip: attribute before opset 11, input since. *known: it is absent or a constant. */
static fgsm_status bound(const struct fg_import *im, int i, const char *name, double absent,
                         fg_id *id, double *value, bool *known) {
  *id = FG_ABSENT;
  *value = absent;
  *known = true;
  if (im->opset < 11)
    return fg_attr_float(im, name, absent, value);
  *id = fg_import_optional(im, i);
  if (*id == FG_ABSENT)
    return FGSM_OK;
  if (fg_value_count(im->g, *id) != 1)
    return FG_FAIL(MODEL, "%s has shape %s where a scalar is expected", name,
                   FG_SHAPE(fg_value(im->g, *id)));
  *known = fg_value_is_constant(im->g, *id);
  if (*known)
    *value = fg_constant_real(im->g, *id, 0);
  return FGSM_OK;
}

fgsm_status fg_import_Clip(struct fg_import *im) {
  fg_id x, lo, hi;
  double a, b;
  bool a_known, b_known;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(bound(im, 1, "min", -INFINITY, &lo, &a, &a_known));
  FG_TRY(bound(im, 2, "max", INFINITY, &hi, &b, &b_known));
  if (fg_type_is_real(fg_value(im->g, x)->type) && a_known && b_known) {
    if (a == 0 && b == 6)
      return one(im, FG_UNARY_relu6, 0, 0);
    if (a == -INFINITY && b == INFINITY) {
      im->out[0] = x;
      return FGSM_OK;
    }
    return one(im, FG_UNARY_clip, a, b);
  }
  /* Computed bounds, or integers. A bound of shape [1] must not raise a scalar's rank. */
  for (int i = 0; i < 2; i++) {
    fg_id side = i ? hi : lo;
    if (side == FG_ABSENT)
      continue;
    FG_TRY(fg_reshape(im->g, side, 0, NULL, &side));
    FG_TRY(fg_binary(im->g, i ? FG_BINARY_min : FG_BINARY_max, x, side, &x));
  }
  im->out[0] = x;
  return FGSM_OK;
}

/* a x + b with scalars. */
static fgsm_status line(struct fg_graph *g, double a, double b, fg_id x, fg_id *out) {
  fg_id c;
  *out = x;
  if (a != 1) {
    FG_TRY(fg_graph_scalar(g, a, &c));
    FG_TRY(fg_binary(g, FG_BINARY_mul, *out, c, out));
  }
  if (b != 0) {
    FG_TRY(fg_graph_scalar(g, b, &c));
    FG_TRY(fg_binary(g, FG_BINARY_add, *out, c, out));
  }
  return FGSM_OK;
}

fgsm_status fg_import_HardSigmoid(struct fg_import *im) {
  double alpha, beta;
  FG_TRY(fg_attr_float(im, "alpha", 0.2f, &alpha));
  FG_TRY(fg_attr_float(im, "beta", 0.5, &beta));
  return one(im, FG_UNARY_hard_sigmoid, alpha, beta);
}

fgsm_status fg_import_HardSwish(struct fg_import *im) {
  return one(im, FG_UNARY_hard_swish, 0, 0);
}

/* x > 0 ? x : other, whose gradient at 0 is other's, as PyTorch's. */
static fgsm_status above_zero(struct fg_graph *g, fg_id x, fg_id other, fg_id *out) {
  fg_id zero, above;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_binary(g, FG_BINARY_greater, x, zero, &above));
  return fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){above, x, other}, out);
}

fgsm_status fg_import_PRelu(struct fg_import *im) {
  fg_id x, slope, low;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &slope));
  if (fg_value_is_constant(im->g, slope) && fg_value_count(im->g, slope) == 1 &&
      fg_value(im->g, slope)->rank <= fg_value(im->g, x)->rank)
    return one(im, FG_UNARY_leaky_relu, fg_constant_real(im->g, slope, 0), 0);
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, slope, &low));
  return above_zero(im->g, x, low, &im->out[0]);
}

fgsm_status fg_import_Elu(struct fg_import *im) {
  double alpha;
  FG_TRY(fg_attr_float(im, "alpha", 1, &alpha));
  return one(im, FG_UNARY_elu, alpha, 1);
}

fgsm_status fg_import_Celu(struct fg_import *im) {
  double alpha;
  FG_TRY(fg_attr_float(im, "alpha", 1, &alpha));
  if (alpha == 0)
    return FG_FAIL(MODEL, "alpha = 0: x / alpha is not defined");
  return one(im, FG_UNARY_elu, alpha, 1 / alpha);
}

fgsm_status fg_import_Selu(struct fg_import *im) {
  double alpha, gamma;
  fg_id y;
  FG_TRY(fg_attr_float(im, "alpha", 1.67326319217681884765625, &alpha));
  FG_TRY(fg_attr_float(im, "gamma", 1.05070102214813232421875, &gamma));
  FG_TRY(fg_input(im, 0, &y));
  FG_TRY(fg_unary(im->g, FG_UNARY_elu, alpha, 1, y, &y));
  return line(im->g, gamma, 0, y, &im->out[0]);
}

fgsm_status fg_import_ThresholdedRelu(struct fg_import *im) {
  double alpha;
  fg_id x, zero, bound, above;
  FG_TRY(fg_attr_float(im, "alpha", 1, &alpha));
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_graph_scalar(im->g, 0, &zero));
  FG_TRY(fg_graph_scalar(im->g, alpha, &bound));
  FG_TRY(fg_binary(im->g, FG_BINARY_greater, x, bound, &above));
  return fg_import_append(im, FG_OP_where, NULL, 3, (fg_id[]){above, x, zero}, &im->out[0]);
}

/* x / (1 + |x|) */
fgsm_status fg_import_Softsign(struct fg_import *im) {
  fg_id x, size;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_unary(im->g, FG_UNARY_abs, 0, 0, x, &size));
  FG_TRY(line(im->g, 1, 1, size, &size));
  return fg_binary(im->g, FG_BINARY_div, x, size, &im->out[0]);
}

fgsm_status fg_import_Mish(struct fg_import *im) {
  return one(im, FG_UNARY_mish, 0, 0);
}

fgsm_status fg_import_Swish(struct fg_import *im) {
  double alpha;
  FG_TRY(fg_attr_float(im, "alpha", 1, &alpha));
  return one(im, FG_UNARY_silu, alpha, 0);
}

/* x < -lambd ? x + bias : x > lambd ? x - bias : 0, whose gradient on both bounds is 0. */
fgsm_status fg_import_Shrink(struct fg_import *im) {
  struct fg_graph *g = im->g;
  double lambd, bias;
  fg_id x, zero, low, high, below, above, less, more;
  FG_TRY(fg_attr_float(im, "lambd", 0.5, &lambd));
  FG_TRY(fg_attr_float(im, "bias", 0, &bias));
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, -lambd, &low));
  FG_TRY(fg_graph_scalar(g, lambd, &high));
  FG_TRY(fg_binary(g, FG_BINARY_less, x, low, &below));
  FG_TRY(fg_binary(g, FG_BINARY_greater, x, high, &above));
  FG_TRY(line(g, 1, bias, x, &more));
  FG_TRY(line(g, 1, -bias, x, &less));
  FG_TRY(fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){above, less, zero}, &less));
  return fg_import_append(im, FG_OP_where, NULL, 3, (fg_id[]){below, more, less}, &im->out[0]);
}
