/* What follows a product that a library computed bare: y = act(y + bias + residual), in place; and an
 * input gradient: dx = act'(v) (dx + dx2), by unary_grad's kernel; and the mask of a relu's result.
 *
 * Floor: 8 bytes an element, 12 with a residual; of a mask 5, or of bits 4 1/8. Where a library can do it in the product's own
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

enum { MARK_THREADS = 256 };

/* A thread makes eight elements' bytes, or the byte that is their bits.
 * ptxas budget: mark_positive registers 40 shared 0 blocks 6 */
__global__ void __launch_bounds__(MARK_THREADS)
    mark_positive(struct fg_cuda_reals y, uint8_t *mask, bool bits, bool wide, int64_t n) {
  const int64_t i = 8 * ((int64_t)blockIdx.x * MARK_THREADS + threadIdx.x);
  float low[4], high[4];
  if (i >= n)
    return;
  fg_cuda_load4(y, i, n, wide, low, 0);
  fg_cuda_load4(y, i + 4, n, wide, high, 0);
  unsigned first = 0, second = 0, packed = 0;
  FGSM_UNROLL
  for (int k = 0; k < 4; k++) {
    const unsigned a = low[k] > 0, b = high[k] > 0;
    first |= a << 8 * k;
    second |= b << 8 * k;
    packed |= a << k | b << (k + 4);
  }
  if (bits) {
    mask[i >> 3] = (uint8_t)packed;
  } else if (wide && i + 8 <= n) {
    fgsm_stv(mask + i, make_uint2(first, second));
  } else {
    FGSM_UNROLL
    for (int k = 0; k < 8; k++)
      if (i + k < n)
        mask[i + k] = (uint8_t)((k < 4 ? first >> 8 * k : second >> 8 * (k - 4)) & 1);
  }
}
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
                                             const struct fg_unary_attrs *act,
                                             const struct fg_tensor *v,
                                             const struct fg_tensor *added, void *stream) {
  union fg_attrs attrs = {};
  struct fg_call grad = {};
  attrs.unary = *act;
  grad.op = FG_OP_unary_grad;
  grad.attrs = &attrs;
  grad.n_in = 4;
  grad.n_out = 1;
  grad.in[fg_unary_from_y(act)] = *v;
  grad.in[2] = grad.out[0] = call->out[0];
  if (added)
    grad.in[3] = *added;
  return fg_cuda_unary_grad.run(&grad, NULL, stream);
}

extern "C" fgsm_status fg_cuda_epilogue_mask(const struct fg_call *call, void *stream) {
  const struct fg_cuda_reals y = fg_cuda_reals_out(call, 0);
  const struct fg_tensor *mask = &call->out[1];
  const int64_t n = fg_count(&call->out[0]);
  if (n == 0)
    return FGSM_OK;
  return fg_cuda_launched(
      call, FGSM_LAUNCH(mark_positive, dim3(fg_cuda_blocks(n, 8 * MARK_THREADS)),
                        dim3(MARK_THREADS), 0, (cudaStream_t)stream, y, (uint8_t *)mask->data,
                        mask->type == FG_U8, fg_cuda_aligned(y) && fg_cuda_aligned(mask->data), n));
}
