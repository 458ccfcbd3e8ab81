/* What follows a product that a library computed bare: y = act(y + bias + residual), in place; and an
 * input gradient: dx = act'(v) (dx + dx2), by unary_grad's kernel.
 *
 * Floor: 8 bytes an element, 12 with a residual. Where a library can do it in the product's own
 * pass it competes with that by time (conv.c); where it cannot, this is how it is done. */
#include "epilogue.h"

#include "cuda.h"

namespace {
struct finish {
  int64_t inner, channels;
  struct fg_cuda_reals bias;
  struct fg_cuda_unary_args act;
  __device__ __forceinline__ float value(float y, int64_t i) const {
    if (!bias.data)
      return fg_cuda_unary_value(act, y);
    const int64_t c = i <= 0xFFFFFFFFll && inner <= 0xFFFFFFFFll && channels <= 0xFFFFFFFFll
                          ? (int64_t)((uint32_t)i / (uint32_t)inner % (uint32_t)channels)
                          : i / inner % channels;
    return fg_cuda_unary_value(act, y + bias[c]);
  }
  __device__ __forceinline__ float operator()(const float (&v)[1], int64_t i) const {
    return value(v[0], i);
  }
  __device__ __forceinline__ float operator()(const float (&v)[2], int64_t i) const {
    return value(v[0] + v[1], i);
  }
};
} // namespace

extern "C" fgsm_status fg_cuda_epilogue(const struct fg_call *call,
                                        const struct fg_unary_attrs *act, int axis, void *stream) {
  const struct fg_tensor *y = &call->out[0];
  const struct fg_cuda_reals residual = fg_cuda_reals_in(call, 3), to = fg_cuda_reals_of(y);
  const int64_t inner = y->layout == FG_NHWC ? 1 : fg_cuda_span(y, axis + 1, y->rank);
  struct finish f = {inner, y->dim[axis], fg_cuda_reals_in(call, 2), fg_cuda_unary_of(act)};
  struct fg_cuda_streams<1> one = {
    {to}, to, fg_count(y)
  };
  struct fg_cuda_streams<2> two = {
    {to, residual}, to, fg_count(y)
  };
  return residual.data ? fg_cuda_run_stream(call, two, f, stream)
                       : fg_cuda_run_stream(call, one, f, stream);
}

extern "C" fgsm_status fg_cuda_epilogue_grad(const struct fg_call *call,
                                             const struct fg_unary_attrs *act, void *stream) {
  union fg_attrs attrs = {};
  struct fg_call grad = {};
  attrs.unary = *act;
  grad.op = FG_OP_unary_grad;
  grad.attrs = &attrs;
  grad.n_in = 4;
  grad.n_out = 1;
  grad.in[fg_unary_from_y(act)] = call->in[2];
  grad.in[2] = grad.out[0] = call->out[0];
  if (fg_cuda_in(call, 3))
    grad.in[3] = call->in[3];
  return fg_cuda_unary_grad.run(&grad, NULL, stream);
}
