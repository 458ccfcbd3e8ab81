/* Elementwise functions of two or three values: binary and where, with NumPy broadcasting. A
 * gradient is summed back over the axes along which its operand was broadcast (fg_sum_to). At ties
 * max and min give half to each side, as torch.maximum does. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* Whether the kind is defined on BOOL: comparisons, and the bit operations as logic. */
static bool takes_bool(enum fg_binary_kind kind) {
  return fg_binary_compares(kind) || kind == FG_BINARY_bit_and || kind == FG_BINARY_bit_or ||
         kind == FG_BINARY_bit_xor;
}

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  enum fg_binary_kind kind = node->attrs.binary.kind;
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  if ((int)kind < 0 || kind >= FG_BINARY_COUNT)
    return FG_FAIL(INTERNAL, "there is no binary kind %d", (int)kind);
  const struct fg_value *a = fg_rule_input(g, node, 0), *b = fg_rule_input(g, node, 1);
  if (a->type != b->type)
    return FG_FAIL(MODEL, "operands are %s and %s: cast one to the other's type",
                   fg_type_name(a->type), fg_type_name(b->type));
  if (a->type == FG_BOOL ? !takes_bool(kind) : fg_type_is_real(a->type) && fg_binary_is_whole(kind))
    return FG_FAIL(MODEL, "arithmetic in %s is not defined: cast to %s", fg_type_name(a->type),
                   a->type == FG_BOOL ? "float32 or int64" : "int64");
  FG_TRY(fg_broadcast_shape(a, b, out));
  return fg_rule_output(out, fg_binary_compares(kind) ? FG_BOOL : a->type, out->rank, out->dim);
}

/* db = -dy y / b */
static fgsm_status grad_divisor(struct fg_graph *g, fg_id dy, fg_id y, fg_id b, fg_id *out) {
  FG_TRY(fg_binary(g, FG_BINARY_mul, dy, y, out));
  FG_TRY(fg_binary(g, FG_BINARY_div, *out, b, out));
  return fg_unary(g, FG_UNARY_neg, 0, 0, *out, out);
}

/* da = b == 0 ? 0 : dy b a^(b-1) */
static fgsm_status grad_base(struct fg_graph *g, fg_id dy, fg_id a, fg_id b, fg_id *out) {
  fg_id zero, one, less_one, is_zero;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_binary(g, FG_BINARY_equal, b, zero, &is_zero));
  FG_TRY(fg_binary(g, FG_BINARY_sub, b, one, &less_one));
  FG_TRY(fg_binary(g, FG_BINARY_pow, a, less_one, out));
  FG_TRY(fg_binary(g, FG_BINARY_mul, b, *out, out));
  FG_TRY(fg_binary(g, FG_BINARY_mul, dy, *out, out));
  return fg_rule_choose(g, is_zero, zero, *out, out);
}

/* db = a == 0 and b >= 0 ? 0 : dy y log(a) */
static fgsm_status grad_exponent(struct fg_graph *g, fg_id dy, fg_id a, fg_id b, fg_id y,
                                 fg_id *out) {
  fg_id zero, a_zero, b_negative, slope, at_zero;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_binary(g, FG_BINARY_equal, a, zero, &a_zero));
  FG_TRY(fg_binary(g, FG_BINARY_less, b, zero, &b_negative));
  FG_TRY(fg_unary(g, FG_UNARY_log, 0, 0, a, &slope));
  FG_TRY(fg_binary(g, FG_BINARY_mul, y, slope, &slope));
  FG_TRY(fg_rule_choose(g, b_negative, slope, zero, &at_zero));
  FG_TRY(fg_rule_choose(g, a_zero, at_zero, slope, &slope));
  return fg_binary(g, FG_BINARY_mul, dy, slope, out);
}

/* One side of max and min: nothing where it `loses` to the other side, half at a tie. */
static fgsm_status grad_extreme(struct fg_graph *g, enum fg_binary_kind loses, fg_id dy, fg_id a,
                                fg_id b, fg_id *out) {
  fg_id half, zero, tie, lost;
  FG_TRY(fg_graph_scalar(g, 0.5, &half));
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_binary(g, FG_BINARY_equal, a, b, &tie));
  FG_TRY(fg_binary(g, loses, a, b, &lost));
  FG_TRY(fg_binary(g, FG_BINARY_mul, dy, half, &half));
  FG_TRY(fg_rule_choose(g, tie, half, dy, out));
  return fg_rule_choose(g, lost, zero, *out, out);
}

/* db = -dy trunc(a / b), where trunc(a / b) = (a - y) / b */
static fgsm_status grad_modulus(struct fg_graph *g, fg_id dy, fg_id a, fg_id b, fg_id y,
                                fg_id *out) {
  FG_TRY(fg_binary(g, FG_BINARY_sub, y, a, out));
  FG_TRY(fg_binary(g, FG_BINARY_div, *out, b, out));
  return fg_binary(g, FG_BINARY_mul, dy, *out, out);
}

/* The gradient with respect to operand `side`, still of y's shape. */
static fgsm_status grad_side(struct fg_grad_ctx *ctx, int side, fg_id *out) {
  struct fg_graph *g = ctx->g;
  fg_id a = ctx->node->in[0], b = ctx->node->in[1], y = ctx->node->out[0], dy = ctx->out_grad[0];
  enum fg_binary_kind kind = ctx->node->attrs.binary.kind;
  fg_id this = side ? b : a, other = side ? a : b;
  switch (kind) {
  case FG_BINARY_add:
    *out = dy;
    return FGSM_OK;
  case FG_BINARY_sub:
    *out = dy;
    return side ? fg_unary(g, FG_UNARY_neg, 0, 0, dy, out) : FGSM_OK;
  case FG_BINARY_mul:
    return fg_binary(g, FG_BINARY_mul, dy, other, out);
  case FG_BINARY_div:
    return side ? grad_divisor(g, dy, y, b, out) : fg_binary(g, FG_BINARY_div, dy, b, out);
  case FG_BINARY_pow:
    return side ? grad_exponent(g, dy, a, b, y, out) : grad_base(g, dy, a, b, out);
  case FG_BINARY_fmod:
    *out = dy;
    return side ? grad_modulus(g, dy, a, b, y, out) : FGSM_OK;
  case FG_BINARY_max:
    return grad_extreme(g, FG_BINARY_less, dy, this, other, out);
  case FG_BINARY_min:
    return grad_extreme(g, FG_BINARY_greater, dy, this, other, out);
  default:
    return FG_FAIL(INTERNAL, "there is no gradient of binary kind %d", (int)kind);
  }
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  if (fg_binary_compares(ctx->node->attrs.binary.kind))
    return fg_no_grad(ctx);
  for (int side = 0; side < 2; side++)
    if (ctx->wanted[side]) {
      FG_TRY(grad_side(ctx, side, &ctx->in_grad[side]));
      FG_TRY(fg_sum_to(ctx->g, ctx->in_grad[side], ctx->node->in[side], &ctx->in_grad[side]));
    }
  return FGSM_OK;
}

const struct fg_op_def fg_def_binary = {infer, grad, NULL};

static fgsm_status infer_where(const struct fg_graph *g, struct fg_node *node,
                               struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 3, 3));
  const struct fg_value *c = fg_rule_input(g, node, 0), *a = fg_rule_input(g, node, 1),
                        *b = fg_rule_input(g, node, 2);
  if (c->type != FG_BOOL)
    return FG_FAIL(MODEL, "the condition is %s, not bool", fg_type_name(c->type));
  if (a->type != b->type)
    return FG_FAIL(MODEL, "the branches are %s and %s: cast one to the other's type",
                   fg_type_name(a->type), fg_type_name(b->type));
  FG_TRY(fg_broadcast_shape(a, b, out));
  FG_TRY(fg_broadcast_shape(c, out, out));
  return fg_rule_output(out, a->type, out->rank, out->dim);
}

static fgsm_status grad_where(struct fg_grad_ctx *ctx) {
  fg_id c = ctx->node->in[0], dy = ctx->out_grad[0], zero;
  FG_TRY(fg_graph_scalar(ctx->g, 0, &zero));
  for (int side = 1; side <= 2; side++)
    if (ctx->wanted[side]) {
      fg_id *d = &ctx->in_grad[side];
      FG_TRY(fg_rule_choose(ctx->g, c, side == 1 ? dy : zero, side == 1 ? zero : dy, d));
      FG_TRY(fg_sum_to(ctx->g, *d, ctx->node->in[side], d));
    }
  return FGSM_OK;
}

const struct fg_op_def fg_def_where = {infer_where, grad_where, NULL};

/* ---- ONNX */

static fgsm_status append(struct fg_import *im, enum fg_binary_kind kind, fg_id a, fg_id b,
                          fg_id *out) {
  union fg_attrs attrs = {.binary = {kind}};
  return fg_import_append(im, FG_OP_binary, &attrs, 2, (fg_id[]){a, b}, out);
}

static fgsm_status two(struct fg_import *im, enum fg_binary_kind kind) {
  fg_id a, b;
  if (im->opset < 7 && fg_attr_find(im, "broadcast"))
    return FG_FAIL(UNSUPPORTED, "broadcasting as before opset 7: convert the model to opset 7 or "
                                "later");
  FG_TRY(fg_input(im, 0, &a));
  FG_TRY(fg_input(im, 1, &b));
  return append(im, kind, a, b, &im->out[0]);
}

fgsm_status fg_import_Add(struct fg_import *im) {
  return two(im, FG_BINARY_add);
}
fgsm_status fg_import_Sub(struct fg_import *im) {
  return two(im, FG_BINARY_sub);
}
fgsm_status fg_import_Mul(struct fg_import *im) {
  return two(im, FG_BINARY_mul);
}
fgsm_status fg_import_Div(struct fg_import *im) {
  return two(im, FG_BINARY_div);
}
fgsm_status fg_import_Greater(struct fg_import *im) {
  return two(im, FG_BINARY_greater);
}
fgsm_status fg_import_Less(struct fg_import *im) {
  return two(im, FG_BINARY_less);
}

fgsm_status fg_import_Equal(struct fg_import *im) {
  return two(im, FG_BINARY_equal);
}

/* Both operands of logic are BOOL, those of bit operations whole numbers. */
static fgsm_status bits(struct fg_import *im, enum fg_binary_kind kind, bool logic) {
  for (int i = 0; i < 2; i++) {
    fg_id side;
    FG_TRY(fg_input(im, i, &side));
    enum fg_type type = fg_value(im->g, side)->type;
    if (logic ? type != FG_BOOL : type == FG_BOOL || fg_type_is_real(type))
      return FG_FAIL(MODEL, "input %d is %s, not %s", i, fg_type_name(type),
                     logic ? "bool" : "a whole number");
  }
  return two(im, kind);
}

fgsm_status fg_import_And(struct fg_import *im) {
  return bits(im, FG_BINARY_bit_and, true);
}
fgsm_status fg_import_Or(struct fg_import *im) {
  return bits(im, FG_BINARY_bit_or, true);
}
fgsm_status fg_import_Xor(struct fg_import *im) {
  return bits(im, FG_BINARY_bit_xor, true);
}
fgsm_status fg_import_BitwiseAnd(struct fg_import *im) {
  return bits(im, FG_BINARY_bit_and, false);
}
fgsm_status fg_import_BitwiseOr(struct fg_import *im) {
  return bits(im, FG_BINARY_bit_or, false);
}
fgsm_status fg_import_BitwiseXor(struct fg_import *im) {
  return bits(im, FG_BINARY_bit_xor, false);
}

fgsm_status fg_import_BitShift(struct fg_import *im) {
  const char *way;
  FG_TRY(fg_attr_text(im, "direction", "", &way));
  if (strcmp(way, "LEFT") && strcmp(way, "RIGHT"))
    return FG_FAIL(MODEL, "direction = '%.60s': LEFT or RIGHT is expected", way);
  return bits(im, strcmp(way, "LEFT") ? FG_BINARY_shift_right : FG_BINARY_shift_left, false);
}

/* All bits turned over: x xor -1. */
fgsm_status fg_import_BitwiseNot(struct fg_import *im) {
  fg_id x, ones;
  FG_TRY(fg_input(im, 0, &x));
  enum fg_type type = fg_value(im->g, x)->type;
  if (type == FG_BOOL || fg_type_is_real(type))
    return FG_FAIL(MODEL, "input 0 is %s, not a whole number", fg_type_name(type));
  FG_TRY(fg_import_scalar(im->g, type, type == FG_U8 ? 255 : -1, &ones));
  return append(im, FG_BINARY_bit_xor, x, ones, &im->out[0]);
}

fgsm_status fg_import_Mod(struct fg_import *im) {
  int64_t like_c;
  fg_id a;
  FG_TRY(fg_input(im, 0, &a));
  FG_TRY(fg_attr_int(im, "fmod", 0, &like_c));
  if (!like_c && fg_type_is_real(fg_value(im->g, a)->type))
    return FG_FAIL(MODEL, "floats have no remainder but that of fmod = 1");
  return two(im, like_c ? FG_BINARY_fmod : FG_BINARY_mod);
}

/* x == x but for NaN. */
fgsm_status fg_import_IsNaN(struct fg_import *im) {
  fg_id x, same, yes;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(append(im, FG_BINARY_equal, x, x, &same));
  FG_TRY(fg_import_scalar(im->g, FG_BOOL, 1, &yes));
  return fg_binary(im->g, FG_BINARY_bit_xor, same, yes, &im->out[0]);
}

fgsm_status fg_import_IsInf(struct fg_import *im) {
  int64_t up, down;
  fg_id x, bound;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "detect_positive", 1, &up));
  FG_TRY(fg_attr_int(im, "detect_negative", 1, &down));
  if (up && down)
    FG_TRY(fg_unary(im->g, FG_UNARY_abs, 0, 0, x, &x));
  if (!up && !down) { /* nothing is looked for: x < x */
    return append(im, FG_BINARY_less, x, x, &im->out[0]);
  }
  FG_TRY(fg_graph_scalar(im->g, up ? INFINITY : -INFINITY, &bound));
  return append(im, FG_BINARY_equal, x, bound, &im->out[0]);
}

fgsm_status fg_import_Not(struct fg_import *im) {
  fg_id x, yes;
  FG_TRY(fg_input(im, 0, &x));
  if (fg_value(im->g, x)->type != FG_BOOL)
    return FG_FAIL(MODEL, "input 0 is %s, not bool", fg_type_name(fg_value(im->g, x)->type));
  FG_TRY(fg_import_scalar(im->g, FG_BOOL, 1, &yes));
  return append(im, FG_BINARY_bit_xor, x, yes, &im->out[0]);
}

/* `loose` or equal, of comparisons with NaN false: two comparisons, not the negation of one. */
static fgsm_status or_equal(struct fg_import *im, enum fg_binary_kind strict) {
  fg_id a, b, y, same;
  FG_TRY(fg_input(im, 0, &a));
  FG_TRY(fg_input(im, 1, &b));
  FG_TRY(append(im, strict, a, b, &y));
  FG_TRY(append(im, FG_BINARY_equal, a, b, &same));
  return fg_binary(im->g, FG_BINARY_bit_or, y, same, &im->out[0]);
}

fgsm_status fg_import_GreaterOrEqual(struct fg_import *im) {
  return or_equal(im, FG_BINARY_greater);
}
fgsm_status fg_import_LessOrEqual(struct fg_import *im) {
  return or_equal(im, FG_BINARY_less);
}

fgsm_status fg_import_Pow(struct fg_import *im) {
  fg_id x, e;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &e));
  const struct fg_value *base = fg_value(im->g, x), *exponent = fg_value(im->g, e);
  if (fg_type_is_real(base->type) && fg_value_is_constant(im->g, e) &&
      fg_value_count(im->g, e) == 1 && exponent->rank <= base->rank) {
    union fg_attrs a = {.unary = {FG_UNARY_power, fg_constant_real(im->g, e, 0), 0}};
    if (a.unary.alpha == 1) {
      im->out[0] = x;
      return FGSM_OK;
    }
    return fg_import_append(im, FG_OP_unary, &a, 1, &x, &im->out[0]);
  }
  if (fg_type_is_real(exponent->type) && !fg_type_is_real(base->type)) {
    enum fg_type type = base->type;
    FG_TRY(fg_cast(im->g, x, exponent->type, 0, &x));
    FG_TRY(append(im, FG_BINARY_pow, x, e, &x));
    return fg_cast(im->g, x, type, 0, &im->out[0]);
  }
  FG_TRY(fg_cast(im->g, e, base->type, 0, &e));
  return append(im, FG_BINARY_pow, x, e, &im->out[0]);
}

/* Folds any number of inputs from the left. */
static fgsm_status many(struct fg_import *im, enum fg_binary_kind kind, fg_id *out) {
  FG_TRY(fg_input(im, 0, out));
  for (int i = 1; i < im->n_in; i++) {
    fg_id next;
    FG_TRY(fg_input(im, i, &next));
    FG_TRY(append(im, kind, *out, next, out));
  }
  return FGSM_OK;
}

fgsm_status fg_import_Max(struct fg_import *im) {
  return many(im, FG_BINARY_max, &im->out[0]);
}
fgsm_status fg_import_Min(struct fg_import *im) {
  return many(im, FG_BINARY_min, &im->out[0]);
}
fgsm_status fg_import_Sum(struct fg_import *im) {
  return many(im, FG_BINARY_add, &im->out[0]);
}

fgsm_status fg_import_Mean(struct fg_import *im) {
  fg_id sum, n;
  FG_TRY(many(im, FG_BINARY_add, &sum));
  if (im->n_in == 1) {
    im->out[0] = sum;
    return FGSM_OK;
  }
  FG_TRY(fg_graph_scalar(im->g, im->n_in, &n));
  return append(im, FG_BINARY_div, sum, n, &im->out[0]);
}

fgsm_status fg_import_Where(struct fg_import *im) {
  fg_id in[3];
  for (int i = 0; i < 3; i++)
    FG_TRY(fg_input(im, i, &in[i]));
  return fg_import_append(im, FG_OP_where, NULL, 3, in, &im->out[0]);
}
