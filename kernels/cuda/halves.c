/* What the kernels take in half precision: everything that half.h lets be, but the fused steps and the
 * dense nets only in bfloat16, which their tensor-core forms multiply. */
#include "halves.h"

#include "half.h"

/* Whether the outputs that are there are of that type. */
static bool give(const struct fg_call *call, uint32_t out, enum fg_type type) {
  for (int i = 0; i < call->n_out; i++)
    if ((out >> i & 1) && call->out[i].type != FG_NONE && call->out[i].type != type)
      return false;
  return true;
}

/* Tensors of one call that must be of one type. */
static bool are_alike(const struct fg_call *call, uint32_t in, bool result) {
  enum fg_type type = result ? call->out[0].type : FG_NONE;
  for (int i = 0; i < call->n_in; i++) {
    if (!(in >> i & 1) || call->in[i].type == FG_NONE)
      continue;
    if (type != FG_NONE && call->in[i].type != type)
      return false;
    type = call->in[i].type;
  }
  return true;
}

bool fg_cuda_takes_half(const struct fg_device *device, const struct fg_call *call) {
  bool brain = device->precision == FG_PRECISION_bf16;
  switch (call->op) {
  case FG_OP_conv: /* cuDNN writes what it reads; a result wanted in float32 is computed in it */
  case FG_OP_conv_grad_input:
  case FG_OP_conv_grad_weight:
    return fg_type_is_half(call->out[0].type);
  case FG_OP_conv_grad_input_step:
  case FG_OP_gemm_grad_input_step:
  case FG_OP_mlp_fgsm:
    return brain;
  case FG_OP_binary: /* a comparison's result is of its own type */
    return are_alike(call, 3, call->out[0].type != FG_BOOL);
  case FG_OP_attention:
    return are_alike(call, 7, true);
  case FG_OP_attention_grad:
    return are_alike(call, 31, false) && give(call, 7, call->in[0].type);
  case FG_OP_where:
    return are_alike(call, 6, true);
  case FG_OP_unary:
  case FG_OP_concat:
  case FG_OP_reduce:
  case FG_OP_reshape:
  case FG_OP_expand:
  case FG_OP_transpose:
  case FG_OP_slice:
  case FG_OP_slice_grad:
  case FG_OP_pad:
  case FG_OP_gather:
  case FG_OP_gather_grad:
    return are_alike(call, fg_half_slots(call->op).in, true);
  default:
    return true;
  }
}
