/* ONNX QuantizeLinear and DequantizeLinear. The gradient goes straight through the rounding: it is
 * 1 where the quantised value is in range (its ends included) and 0 where it saturates, as that of
 * PyTorch's fake quantisation. For that a pair of the two stays in floats: DequantizeLinear takes
 * the rounded value from in front of the cast to integers, which changes no bit of the result.
 * Where other operators work on the integers in between, no gradient passes. */
#include "quantization.h"

#include <math.h>
#include <string.h>

fgsm_status fg_quantized_range(enum fg_type type, double *low, double *high) {
  switch (type) {
  case FG_U8:
    *low = 0;
    *high = 255;
    return FGSM_OK;
  case FG_I8:
    *low = -128;
    *high = 127;
    return FGSM_OK;
  case FG_I16:
    *low = -32768;
    *high = 32767;
    return FGSM_OK;
  default:
    return FG_FAIL(UNSUPPORTED, "quantisation to %s: uint8, int8 and int16 are supported",
                   fg_type_name(type));
  }
}

/* A scale or zero point `p` (as floats) in a shape that broadcasts over x: one for all, one for
 * each place along `axis`, or, where p has x's rank, one for each block of `block` places. */
static fgsm_status spread(struct fg_graph *g, const struct fg_value *x, int64_t axis, int64_t block,
                          fg_id p, fg_id *out) {
  struct fg_value v = *fg_value(g, p);
  int64_t dim[FG_MAX_RANK], n = fg_value_count(g, p);
  int at;
  FG_TRY(fg_quantized_floats(g, p, out));
  if (v.rank == 0 || (v.rank == 1 && n == 1))
    return fg_reshape(g, *out, 0, NULL, out);
  FG_TRY(fg_check_axis(x->rank, axis, &at));
  if (v.rank == 1) {
    for (int i = 0; i < x->rank; i++)
      dim[i] = i == at ? n : 1;
    return fg_reshape(g, *out, x->rank, dim, out);
  }
  int64_t places;
  if (v.rank != x->rank || v.rank + 1 > FG_MAX_RANK || block < 1 ||
      __builtin_mul_overflow(v.dim[at], block, &places) || places < x->dim[at])
    return FG_FAIL(MODEL, "a scale of shape %s in blocks of %lld does not fit x of shape %s",
                   FG_SHAPE(&v), (long long)block, FG_SHAPE(x));
  for (int i = 0; i <= v.rank; i++)
    dim[i] = i <= at ? v.dim[i] : i == at + 1 ? 1 : v.dim[i - 1];
  FG_TRY(fg_reshape(g, *out, v.rank + 1, dim, out));
  dim[at + 1] = block;
  FG_TRY(fg_expand(g, *out, v.rank + 1, dim, out));
  v.dim[at] = places;
  FG_TRY(fg_reshape(g, *out, v.rank, v.dim, out));
  union fg_attrs a = {0};
  for (int i = 0; i < v.rank; i++) {
    a.slice.step[i] = 1;
    a.slice.dim[i] = x->dim[i];
  }
  return places == x->dim[at] ? FGSM_OK : fg_rule_append(g, FG_OP_slice, &a, 1, out, out);
}

/* Scale and zero point of a node, spread over x; *zero FG_ABSENT where it is not there or 0. */
static fgsm_status parameters(const struct fg_import *im, fg_id x, fg_id *scale, fg_id *zero) {
  struct fg_value v = *fg_value(im->g, x);
  int64_t axis, block;
  FG_TRY(fg_attr_int(im, "axis", 1, &axis));
  FG_TRY(fg_attr_int(im, "block_size", 0, &block));
  FG_TRY(fg_input(im, 1, scale));
  FG_TRY(spread(im->g, &v, axis, block, *scale, scale));
  *zero = fg_import_optional(im, 2);
  if (*zero == FG_ABSENT)
    return FGSM_OK;
  bool nothing = fg_value_is_constant(im->g, *zero);
  for (int64_t i = 0; nothing && i < fg_value_count(im->g, *zero); i++)
    nothing = fg_constant_real(im->g, *zero, i) == 0;
  if (!nothing)
    return spread(im->g, &v, axis, block, *zero, zero);
  *zero = FG_ABSENT;
  return FGSM_OK;
}

fgsm_status fg_import_QuantizeLinear(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs round = {.unary = {FG_UNARY_round, 1, 0}};
  int64_t number;
  double low, high;
  enum fg_type type = FG_U8;
  fg_id x, scale, zero, q;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "output_dtype", 0, &number));
  if (number)
    FG_TRY(fg_import_type(g, number, &type));
  if (fg_import_optional(im, 2) != FG_ABSENT)
    type = fg_value(g, im->in[2])->type;
  FG_TRY(fg_quantized_range(type, &low, &high));
  FG_TRY(parameters(im, x, &scale, &zero));
  FG_TRY(fg_cast(g, x, g->real, 0, &x));
  FG_TRY(fg_binary(g, FG_BINARY_div, x, scale, &q));
  FG_TRY(fg_import_append(im, FG_OP_unary, &round, 1, &q, &q));
  if (zero != FG_ABSENT)
    FG_TRY(fg_binary(g, FG_BINARY_add, q, zero, &q));
  FG_TRY(fg_unary(g, FG_UNARY_clip, low, high, q, &q));
  return fg_cast(g, q, type, 0, &im->out[0]);
}

static const struct fg_node *producer(const struct fg_graph *g, fg_id x) {
  return x == FG_ABSENT || fg_value(g, x)->producer == FG_ABSENT
             ? NULL
             : &g->nodes[fg_value(g, x)->producer];
}

static bool is_unary(const struct fg_node *node, enum fg_unary_kind kind) {
  return node && node->op == FG_OP_unary && node->attrs.unary.kind == kind;
}

/* Whether floats are whole numbers by how they were made: cast from integers, rounded, or sums and
 * products of such. */
static bool is_whole(const struct fg_graph *g, fg_id x, int depth) {
  const struct fg_node *node = producer(g, x);
  if (x == FG_ABSENT)
    return true;
  if (fg_value_is_constant(g, x)) {
    bool whole = true;
    for (int64_t i = 0; whole && i < fg_value_count(g, x); i++)
      whole = trunc(fg_constant_real(g, x, i)) == fg_constant_real(g, x, i);
    return whole;
  }
  if (!node || depth == 0)
    return false;
  switch (node->op) {
  case FG_OP_cast:
    return !fg_type_is_real(fg_value(g, node->in[0])->type);
  case FG_OP_unary:
    return is_unary(node, FG_UNARY_round) ||
           (is_unary(node, FG_UNARY_clip) && is_whole(g, node->in[0], depth - 1));
  case FG_OP_binary:
    return node->attrs.binary.kind <= FG_BINARY_mul && is_whole(g, node->in[0], depth - 1) &&
           is_whole(g, node->in[1], depth - 1);
  case FG_OP_reshape:
    return is_whole(g, node->in[0], depth - 1);
  case FG_OP_matmul:
  case FG_OP_conv:
    return is_whole(g, node->in[0], depth - 1) && is_whole(g, node->in[1], depth - 1) &&
           is_whole(g, node->in[2], depth - 1);
  default:
    return false;
  }
}

/* What an integer product cast to x, if it was one. */
static fg_id before_product_cast(const struct fg_graph *g, fg_id x) {
  const struct fg_node *cast = producer(g, x);
  if (!cast || cast->op != FG_OP_cast || fg_value(g, x)->type != FG_I32 ||
      !fg_type_is_real(fg_value(g, cast->in[0])->type))
    return FG_ABSENT;
  return is_whole(g, cast->in[0], 8) ? cast->in[0] : FG_ABSENT;
}

/* What QuantizeLinear cast to x, if it was QuantizeLinear: whole numbers in x's range. */
static fg_id before_cast(const struct fg_graph *g, fg_id x) {
  const struct fg_node *cast = producer(g, x);
  double low, high;
  if (!cast || cast->op != FG_OP_cast ||
      fg_quantized_range(fg_value(g, x)->type, &low, &high) != FGSM_OK)
    return FG_ABSENT;
  const struct fg_node *clip = producer(g, cast->in[0]);
  if (!is_unary(clip, FG_UNARY_clip) || clip->attrs.unary.alpha != low ||
      clip->attrs.unary.beta != high)
    return FG_ABSENT;
  const struct fg_node *round = producer(g, clip->in[0]);
  if (round && round->op == FG_OP_binary && round->attrs.binary.kind == FG_BINARY_add)
    round = producer(g, round->in[0]);
  bool through = round && is_unary(round, FG_UNARY_round) && round->attrs.unary.alpha == 1;
  return through ? cast->in[0] : FG_ABSENT;
}

fgsm_status fg_quantized_floats(struct fg_graph *g, fg_id x, fg_id *out) {
  fg_id whole = before_cast(g, x);
  if (whole == FG_ABSENT)
    whole = before_product_cast(g, x);
  *out = whole;
  return whole == FG_ABSENT ? fg_cast(g, x, g->real, 0, out) : FGSM_OK;
}

fgsm_status fg_import_DequantizeLinear(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs mul = {.binary = {FG_BINARY_mul}};
  fg_id x, scale, zero, whole;
  FG_TRY(fg_input(im, 0, &x));
  if (fg_type_is_real(fg_value(g, x)->type))
    return FG_FAIL(UNSUPPORTED, "x is a float: 8-bit floats are not supported");
  FG_TRY(parameters(im, x, &scale, &zero));
  FG_TRY(fg_quantized_floats(g, x, &whole));
  if (zero != FG_ABSENT)
    FG_TRY(fg_binary(g, FG_BINARY_sub, whole, zero, &whole));
  return fg_import_append(im, FG_OP_binary, &mul, 2, (fg_id[]){whole, scale}, &im->out[0]);
}
