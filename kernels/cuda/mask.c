/* Whether a mask is worth making: the calls that make and read it, timed with it and without. */
#include "device.h"
#include "matmul.h"

static fgsm_status time_of(struct fg_device *device, const struct fg_call *call,
                           float *milliseconds) {
  switch (call->op) {
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
    return fg_cuda_conv_time(device, call, milliseconds);
  case FG_OP_matmul:
    return fg_cuda_matmul_time(device, call, milliseconds);
  default:
    return FG_FAIL(UNSUPPORTED, "cuda: %s is not timed", fg_op_name(call->op));
  }
}

/* An activation's gradient that is by itself moves the bytes that it moves: with a mask, no more. */
static bool is_timed(const struct fg_call *call) {
  return call->op != FG_OP_unary_grad;
}

bool fg_cuda_takes_mask(struct fg_device *device, const struct fg_call *masked,
                        const struct fg_call *plain, int n) {
  float with = 0, without = 0, one;
  for (int i = 0; i < n; i++) {
    if (!is_timed(&masked[i]))
      continue;
    if (time_of(device, &masked[i], &one) != FGSM_OK)
      return false;
    with += one;
    if (time_of(device, &plain[i], &one) != FGSM_OK)
      return false;
    without += one;
  }
  return with <= without;
}
