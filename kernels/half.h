/* Half precision: the formats (IEEE 754 binary16; bfloat16), to float32 and back, rounded to nearest,
 * ties to even; and which tensors of an operator may be stored in one of them. What is computed with
 * them is computed in float32, and in double by the oracle, and rounded once, when it is stored. */
#ifndef FG_HALF_H
#define FG_HALF_H

#include <math.h>
#include <string.h>

#include "kernel.h"

static inline bool fg_type_is_half(enum fg_type type) {
  return type == FG_F16 || type == FG_BF16;
}

static inline float fg_float_of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

static inline uint32_t fg_bits_of_float(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static inline float fg_half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
  if (exponent == 31)
    return fg_float_of_bits(sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return fg_float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  float tiny = (float)mantissa * 0x1p-24f;
  return sign ? -tiny : tiny;
}

static inline float fg_bfloat_to_float(uint16_t b) {
  return fg_float_of_bits((uint32_t)b << 16);
}

static inline uint16_t fg_float_to_half(float f) {
  uint32_t u = fg_bits_of_float(f);
  uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  u &= 0x7fffffff;
  if (u > 0x7f800000)
    return (uint16_t)(sign | 0x7e00);
  if (u >= 0x477ff000) /* rounds past the largest finite half */
    return (uint16_t)(sign | 0x7c00);
  if (u < 0x38800000) /* subnormal: an integer number of 2^-24 */
    return (uint16_t)(sign | (uint16_t)lrintf(fg_float_of_bits(u) * 0x1p24f));
  uint32_t rounded = u + 0xfff + (u >> 13 & 1);
  return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

static inline uint16_t fg_float_to_bfloat(float f) {
  uint32_t u = fg_bits_of_float(f);
  if ((u & 0x7fffffff) > 0x7f800000)
    return (uint16_t)(u >> 16 | 64);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Element i of an array of either format. */
static inline float fg_half_get(enum fg_type type, const void *data, int64_t i) {
  uint16_t bits = ((const uint16_t *)data)[i];
  return type == FG_F16 ? fg_half_to_float(bits) : fg_bfloat_to_float(bits);
}
static inline void fg_half_put(enum fg_type type, void *data, int64_t i, float v) {
  ((uint16_t *)data)[i] = type == FG_F16 ? fg_float_to_half(v) : fg_float_to_bfloat(v);
}

/* Inputs and outputs of an operator that may be stored in half precision, as bit masks: activations,
 * gradients and the weights of products, but no statistics, no vectors of one number per channel but a
 * product's bias, and nothing that the attack's step reads or writes. An operator that asks gains by it (a product); others
 * follow what reaches them. Of one that is `alike` the result is stored as the operands are, whoever reads it:
 * a weight's gradient, which all but a card's library could leave in float32. */
struct fg_half_slots {
  uint32_t in, out;
  bool asks, alike;
};

static inline struct fg_half_slots fg_half_slots(enum fg_op op) {
  struct fg_half_slots slots = {0, 0, false, false};
  switch (op) {
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
    slots.asks = true;
    slots.in = 15;
    slots.out = 1;
    break;
  case FG_OP_matmul:
    slots.asks = true;
    slots.in = 31;
    slots.out = 1;
    break;
  case FG_OP_conv_grad_weight:
    slots.asks = slots.alike = true;
    slots.in = 3;
    slots.out = 1;
    break;
  case FG_OP_conv_grad_input_step:
  case FG_OP_gemm_grad_input_step:
    slots.asks = true;
    slots.in = 3;
    break;
  case FG_OP_mlp_fgsm:
    slots.asks = true;
    slots.in = 4;
    break;
  case FG_OP_unary_grad:
  case FG_OP_concat:
    slots.in = 0xffff;
    slots.out = 1;
    break;
  case FG_OP_binary:
  case FG_OP_batch_norm_train_grad:
  case FG_OP_layer_norm_grad:
  case FG_OP_softmax_grad:
    slots.in = 3;
    slots.out = 1;
    break;
  case FG_OP_attention:
    slots.in = 7;
    slots.out = 1;
    break;
  case FG_OP_attention_grad:
    slots.in = 31;
    slots.out = 7;
    break;
  case FG_OP_where:
    slots.in = 6;
    slots.out = 1;
    break;
  case FG_OP_unary:
  case FG_OP_affine:
  case FG_OP_batch_norm:
  case FG_OP_batch_norm_train:
  case FG_OP_cast:
  case FG_OP_layer_norm:
  case FG_OP_softmax:
  case FG_OP_max_pool:
  case FG_OP_max_pool_grad:
  case FG_OP_avg_pool:
  case FG_OP_avg_pool_grad:
  case FG_OP_reduce:
  case FG_OP_reshape:
  case FG_OP_expand:
  case FG_OP_transpose:
  case FG_OP_slice:
  case FG_OP_slice_grad:
  case FG_OP_pad:
  case FG_OP_gather:
  case FG_OP_gather_grad:
    slots.in = slots.out = 1;
    break;
  default:
    break;
  }
  return slots;
}

/* Whether the operator also rounds what it multiplies where its weights are bfloat16 (attrs.h). */
static inline bool fg_half_rounds(enum fg_op op) {
  return op == FG_OP_conv_grad_input_step || op == FG_OP_gemm_grad_input_step ||
         op == FG_OP_mlp_fgsm;
}

#endif
