/* ONNX's integer products: ConvInteger and MatMulInteger, whose operands are quantised already, the
 * QLinear forms that quantise the result again, and DynamicQuantizeLinear. Products of integers are
 * taken in floats, which hold them exactly below 2^24. Where an operand was quantised in front, the
 * whole numbers from before its cast are taken, so that the gradient that goes straight through the
 * rounding (quantization.c) goes on through the product. */
#include "quantization.h"

#include <string.h>

/* A scale or zero point in a shape that broadcasts: [n] becomes [n, 1, ..] with `after` ones. */
static fgsm_status align(struct fg_graph *g, fg_id p, int after, fg_id *out) {
  struct fg_value v = *fg_value(g, p);
  int64_t dim[FG_MAX_RANK] = {fg_value_count(g, p), 1, 1, 1, 1};
  FG_TRY(fg_quantized_floats(g, p, out));
  if (dim[0] == 1)
    return fg_reshape(g, *out, 0, NULL, out);
  return v.rank == 1 && after >= 0 ? fg_reshape(g, *out, 1 + after, dim, out) : FGSM_OK;
}

/* Input `slot` less its zero point (input `zero`, FG_ABSENT or left out: 0), in floats. */
static fgsm_status centred(const struct fg_import *im, int slot, int zero, int after, fg_id *out) {
  struct fg_graph *g = im->g;
  fg_id x, z = zero < 0 ? FG_ABSENT : fg_import_optional(im, zero);
  FG_TRY(fg_input(im, slot, &x));
  FG_TRY(fg_quantized_floats(g, x, out));
  if (z == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(align(g, z, after, &z));
  return fg_binary(g, FG_BINARY_sub, *out, z, out);
}

/* Rounds y / scale, adds the zero point, saturates and casts to its type. */
static fgsm_status requantize(struct fg_import *im, fg_id y, fg_id factor, int zero) {
  struct fg_graph *g = im->g;
  fg_id z;
  double low, high;
  FG_TRY(fg_input(im, zero, &z));
  enum fg_type type = fg_value(g, z)->type;
  FG_TRY(fg_quantized_range(type, &low, &high));
  FG_TRY(align(g, z, -1, &z));
  FG_TRY(fg_binary(g, FG_BINARY_mul, y, factor, &y));
  FG_TRY(fg_unary(g, FG_UNARY_round, 1, 0, y, &y));
  FG_TRY(fg_binary(g, FG_BINARY_add, y, z, &y));
  FG_TRY(fg_unary(g, FG_UNARY_clip, low, high, y, &y));
  return fg_cast(g, y, type, 0, &im->out[0]);
}

/* scale a * scale b / scale y */
static fgsm_status factor_of(const struct fg_import *im, int a, int b, int y, int after,
                             fg_id *out) {
  struct fg_graph *g = im->g;
  fg_id scale[3];
  int slot[] = {a, b, y};
  for (int i = 0; i < 3; i++) {
    FG_TRY(fg_input(im, slot[i], &scale[i]));
    FG_TRY(align(g, scale[i], i == 1 ? after : -1, &scale[i]));
  }
  FG_TRY(fg_binary(g, FG_BINARY_mul, scale[0], scale[1], out));
  return fg_binary(g, FG_BINARY_div, *out, scale[2], out);
}

/* Conv of floats, with the node's attributes. */
static fgsm_status convolve(const struct fg_import *im, const fg_id in[3], fg_id *out) {
  struct fg_import conv = *im;
  conv.in = in;
  conv.n_in = 3;
  conv.out = out;
  conv.n_out = 1;
  return fg_import_Conv(&conv);
}

fgsm_status fg_import_MatMulInteger(struct fg_import *im) {
  fg_id a, b, y;
  FG_TRY(centred(im, 0, 2, 1, &a));
  FG_TRY(centred(im, 1, 3, -1, &b));
  struct fg_import product = *im;
  product.in = (fg_id[]){a, b};
  product.n_in = 2;
  product.out = &y;
  FG_TRY(fg_import_MatMul(&product));
  return fg_cast(im->g, y, FG_I32, 0, &im->out[0]);
}

fgsm_status fg_import_ConvInteger(struct fg_import *im) {
  fg_id in[3] = {FG_ABSENT, FG_ABSENT, FG_ABSENT}, y;
  FG_TRY(centred(im, 0, 2, -1, &in[0]));
  int rank = fg_value(im->g, in[0])->rank;
  FG_TRY(centred(im, 1, 3, rank - 1 < FG_MAX_RANK ? rank - 1 : 0, &in[1]));
  FG_TRY(convolve(im, in, &y));
  return fg_cast(im->g, y, FG_I32, 0, &im->out[0]);
}

fgsm_status fg_import_QLinearMatMul(struct fg_import *im) {
  fg_id a, b, y, factor;
  FG_TRY(centred(im, 0, 2, 1, &a));
  FG_TRY(centred(im, 3, 5, -1, &b));
  struct fg_import product = *im;
  product.in = (fg_id[]){a, b};
  product.n_in = 2;
  product.out = &y;
  FG_TRY(fg_import_MatMul(&product));
  FG_TRY(factor_of(im, 1, 4, 6, -1, &factor));
  return requantize(im, y, factor, 7);
}

fgsm_status fg_import_QLinearConv(struct fg_import *im) {
  fg_id in[3], y, factor, bias = fg_import_optional(im, 8);
  FG_TRY(centred(im, 0, 2, -1, &in[0]));
  int after = fg_value(im->g, in[0])->rank - 1;
  if (after < 2 || after > 4)
    return FG_FAIL(UNSUPPORTED, "x has shape %s", FG_SHAPE(fg_value(im->g, in[0])));
  FG_TRY(centred(im, 3, 5, after, &in[1]));
  in[2] = bias;
  if (bias != FG_ABSENT)
    FG_TRY(fg_cast(im->g, bias, im->g->real, 0, &in[2]));
  FG_TRY(convolve(im, in, &y));
  FG_TRY(factor_of(im, 1, 4, 6, after - 1, &factor));
  return requantize(im, y, factor, 7);
}

/* Scale and zero point are found from x, so the gradient passes through them too: with the rounding
 * passed straight through, that of what is dequantised again is the identity. */
fgsm_status fg_import_DynamicQuantizeLinear(struct fg_import *im) {
  struct fg_graph *g = im->g;
  fg_id x, zero, most, range, one, none, end[2], scale, point, y;
  FG_TRY(fg_input(im, 0, &x));
  uint32_t all = (1u << fg_value(g, x)->rank) - 1;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_graph_scalar(g, 255, &most));
  for (int k = 0; k < 2; k++) {
    FG_TRY(fg_reduce(g, k ? FG_REDUCE_max : FG_REDUCE_min, x, all, false, &end[k]));
    FG_TRY(fg_binary(g, k ? FG_BINARY_max : FG_BINARY_min, end[k], zero, &end[k]));
  }
  FG_TRY(fg_binary(g, FG_BINARY_sub, end[1], end[0], &range));
  FG_TRY(fg_binary(g, FG_BINARY_equal, range, zero, &none));
  FG_TRY(fg_rule_choose(g, none, one, range, &range));
  FG_TRY(fg_binary(g, FG_BINARY_div, range, most, &scale));
  FG_TRY(fg_binary(g, FG_BINARY_div, end[0], scale, &point));
  FG_TRY(fg_unary(g, FG_UNARY_neg, 0, 0, point, &point));
  FG_TRY(fg_unary(g, FG_UNARY_clip, 0, 255, point, &point));
  FG_TRY(fg_unary(g, FG_UNARY_round, 1, 0, point, &point));
  FG_TRY(fg_unary(g, FG_UNARY_clip, 0, 255, point, &point)); /* as a quantised value ends */
  FG_TRY(fg_binary(g, FG_BINARY_div, x, scale, &y));
  FG_TRY(fg_unary(g, FG_UNARY_round, 1, 0, y, &y));
  FG_TRY(fg_binary(g, FG_BINARY_add, y, point, &y));
  FG_TRY(fg_unary(g, FG_UNARY_clip, 0, 255, y, &y));
  fg_id results[3] = {FG_ABSENT, scale, FG_ABSENT};
  FG_TRY(fg_cast(g, y, FG_U8, 0, &results[0]));
  FG_TRY(fg_cast(g, point, FG_U8, 0, &results[2]));
  for (int i = 0; i < im->n_out && i < 3; i++)
    im->out[i] = results[i];
  return FGSM_OK;
}
