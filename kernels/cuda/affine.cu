/* affine, batch_norm: a scale and a shift for each place along one axis, in one pass.
 *
 * Floor: 8 bytes an element (the vectors of C numbers stay in cache), 2 FLOPs and the activation.
 */
#include "cuda.h"

namespace {
struct channel_of {
  int64_t inner, channels;
  __device__ __forceinline__ int64_t operator()(int64_t i) const {
    if (i <= 0xFFFFFFFFll && inner <= 0xFFFFFFFFll && channels <= 0xFFFFFFFFll)
      return (uint32_t)i / (uint32_t)inner % (uint32_t)channels;
    return i / inner % channels;
  }
};

struct affine {
  struct channel_of channel;
  const float *scale, *shift;
  struct fg_cuda_unary_args act;
  __device__ __forceinline__ float operator()(const float (&v)[1], int64_t i) const {
    const int64_t c = channel(i);
    float y = scale ? v[0] * scale[c] : v[0];
    y = shift ? y + shift[c] : y;
    return fg_cuda_unary_value(act, y);
  }
};

struct normalise {
  struct channel_of channel;
  const float *scale, *bias, *mean, *var;
  double epsilon;
  __device__ __forceinline__ float operator()(const float (&v)[1], int64_t i) const {
    const int64_t c = channel(i);
    return (v[0] - mean[c]) / sqrtf((float)(var[c] + epsilon)) * scale[c] + bias[c];
  }
};

bool is_channel(const struct fg_tensor *t, int64_t c) {
  return !t || (t->rank == 1 && t->dim[0] == c);
}

fgsm_status check(struct fg_call *call, int axis, int vectors) {
  FG_TRY(fg_cuda_check_real(call, 31, 1));
  const struct fg_tensor *x = &call->in[0];
  FG_CUDA_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  FG_CUDA_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  for (int i = 1; i <= vectors; i++)
    FG_CUDA_NEED(call, is_channel(fg_cuda_in(call, i), x->dim[axis]), "input %d is not [%lld]", i,
                 (long long)x->dim[axis]);
  return FGSM_OK;
}

fgsm_status prepare_affine(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  FG_CUDA_NEED(call, (unsigned)call->attrs->affine.act.kind < FG_UNARY_COUNT, "unknown activation");
  return check(call, call->attrs->affine.axis, 2);
}

struct fg_cuda_streams<1> stream_of(const struct fg_call *call) {
  struct fg_cuda_streams<1> s = {
    {fg_cuda_reals_in(call, 0)}, fg_cuda_reals_out(call, 0), fg_count(&call->in[0])
  };
  return s;
}

struct channel_of
channels_of(const struct fg_tensor *x, int axis) {
  struct channel_of c = {x->layout == FG_NHWC ? 1 : fg_cuda_span(x, axis + 1, x->rank),
                         x->dim[axis]};
  return c;
}

fgsm_status run_affine(const struct fg_call *call, void *, void *stream) {
  const struct fg_affine_attrs *a = &call->attrs->affine;
  struct affine f = {channels_of(&call->in[0], a->axis), fg_cuda_from<float>(call, 1),
                     fg_cuda_from<float>(call, 2), fg_cuda_unary_of(&a->act)};
  return fg_cuda_run_stream(call, stream_of(call), f, stream);
}

fgsm_status prepare_batch_norm(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 31, 1));
  return check(call, 1, 4);
}

fgsm_status run_batch_norm(const struct fg_call *call, void *, void *stream) {
  struct normalise f = {channels_of(&call->in[0], 1), fg_cuda_from<float>(call, 1),
                        fg_cuda_from<float>(call, 2), fg_cuda_from<float>(call, 3),
                        fg_cuda_from<float>(call, 4), call->attrs->batch_norm.epsilon};
  return fg_cuda_run_stream(call, stream_of(call), f, stream);
}
} // namespace

const struct fg_kernel fg_cuda_affine = FG_CUDA_LYING(prepare_affine, run_affine);
const struct fg_kernel fg_cuda_batch_norm = {prepare_batch_norm, run_batch_norm, NULL};
