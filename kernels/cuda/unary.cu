/* unary, unary_grad: one pass of 16-byte accesses. Reals in float; identity, neg, abs and relu of
 * integers in integers.
 *
 * Floor: unary 8 bytes an element, unary_grad 12, or 16 with dy2; the arithmetic (2 to 30 FLOPs, by
 * kind) hides behind them. */
#include "cuda.h"

namespace {
struct value {
  struct fg_cuda_unary_args a;
  __device__ __forceinline__ float operator()(const float (&v)[1], int64_t) const {
    return fg_cuda_unary_value(a, v[0]);
  }
};

__device__ __forceinline__ float gelu_tanh_slope(float x) {
  const float t = tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x));
  return 0.5f * (1 + t) +
         0.5f * x * (1 - t * t) * 0.79788456080286535588f * (1 + 3 * 0.044715f * x * x);
}

__device__ __forceinline__ float mish_slope(float x) {
  const float e = expf(fminf(x, 20.0f)), n = e * (e + 2), w = 1 / (n + 2);
  return n * w + x * (4 * e * w) * ((e + 1) * w);
}

__device__ __forceinline__ float slope_at(const struct fg_cuda_unary_args &a, float v) {
  switch (a.kind) {
  case FG_UNARY_relu:
    return v <= 0 ? 0.0f : 1.0f;
  case FG_UNARY_leaky_relu:
    return v > 0 ? 1.0f : a.alpha;
  case FG_UNARY_relu6:
    return v <= 0 || v >= 6 ? 0.0f : 1.0f;
  case FG_UNARY_sigmoid:
    return v * (1 - v);
  case FG_UNARY_tanh:
    return 1 - v * v;
  case FG_UNARY_exp:
    return v;
  case FG_UNARY_sqrt:
    return 0.5f / v;
  case FG_UNARY_clip:
    return v >= a.alpha && v <= a.beta ? 1.0f : 0.0f;
  case FG_UNARY_gelu:
    return 0.5f * erfcf(-v * 0.70710678118654752440f) +
           v * 0.39894228040143267794f * expf(-0.5f * v * v);
  case FG_UNARY_gelu_tanh:
    return gelu_tanh_slope(v);
  case FG_UNARY_erf:
    return 1.12837916709551257390f * expf(-v * v);
  case FG_UNARY_log:
    return 1 / v;
  case FG_UNARY_neg:
    return -1.0f;
  case FG_UNARY_abs:
    return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f;
  case FG_UNARY_power:
    return a.alpha == 0 ? 0.0f : a.alpha * powf(v, a.alpha - 1);
  case FG_UNARY_sin:
    return cosf(v);
  case FG_UNARY_cos:
    return -sinf(v);
  case FG_UNARY_tan:
    return 1 + v * v;
  case FG_UNARY_asin:
    return 1 / sqrtf((1 - v) * (1 + v));
  case FG_UNARY_acos:
    return -1 / sqrtf((1 - v) * (1 + v));
  case FG_UNARY_atan:
    return 1 / (1 + v * v);
  case FG_UNARY_sinh:
    return coshf(v);
  case FG_UNARY_cosh:
    return sinhf(v);
  case FG_UNARY_asinh:
    return 1 / sqrtf(v * v + 1);
  case FG_UNARY_acosh:
    return 1 / sqrtf((v - 1) * (v + 1));
  case FG_UNARY_atanh:
    return 1 / ((1 - v) * (1 + v));
  case FG_UNARY_elu:
    return v > 0 ? 1.0f : a.alpha * a.beta * expf(a.beta * v);
  case FG_UNARY_softplus:
    return fg_cuda_sigmoid(v);
  case FG_UNARY_silu: {
    const float s = fg_cuda_sigmoid(a.alpha * v);
    return s + a.alpha * v * s * (1 - s);
  }
  case FG_UNARY_mish:
    return mish_slope(v);
  case FG_UNARY_hard_sigmoid:
    return v <= 0 || v >= 1 ? 0.0f : a.alpha;
  case FG_UNARY_hard_swish:
    return v <= -3 ? 0.0f : v >= 3 ? 1.0f : v * (1.0f / 3) + 0.5f;
  case FG_UNARY_sign:
  case FG_UNARY_floor:
  case FG_UNARY_ceil:
    return 0.0f;
  case FG_UNARY_round:
    return a.alpha;
  default:
    return 1.0f;
  }
}

template <int IN> struct slope {
  struct fg_cuda_unary_args a;
  __device__ __forceinline__ float operator()(const float (&v)[IN], int64_t) const {
    return slope_at(a, v[0]) * (IN == 3 ? v[1] + v[IN - 1] : v[1]);
  }
};

/* The slope of a mask, of bytes or bits. */
template <int IN> struct masked {
  const uint8_t *mask;
  bool bits;
  __device__ __forceinline__ float operator()(const float (&v)[IN], int64_t i) const {
    const int on = bits ? mask[i >> 3] >> (i & 7) & 1 : mask[i];
    return (float)on * (IN == 2 ? v[0] + v[IN - 1] : v[0]);
  }
};

/* ptxas budget: whole_unary registers 16 shared 0 blocks 8 */
__global__ void __launch_bounds__(256)
    whole_unary(const void *x, void *y, int type, int kind, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  const int64_t v = fg_cuda_get_int(x, type, i), minus = (int64_t)(0 - (uint64_t)v);
  fg_cuda_put_int(y, type, i,
                  kind == FG_UNARY_neg                ? minus
                  : kind == FG_UNARY_abs && v < 0     ? minus
                  : kind == FG_UNARY_relu && !(v > 0) ? 0
                                                      : v);
}

fgsm_status prepare_unary(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  int kind = (int)call->attrs->unary.kind;
  FG_CUDA_NEED(call, (unsigned)kind < FG_UNARY_COUNT, "unknown kind %d", kind);
  FG_CUDA_NEED(call, fg_same_shape(&call->in[0], &call->out[0]), "shapes differ");
  FG_CUDA_NEED(call, call->in[0].type == call->out[0].type, "types differ");
  bool whole = kind == FG_UNARY_identity || kind == FG_UNARY_neg || kind == FG_UNARY_abs ||
               kind == FG_UNARY_relu;
  FG_CUDA_NEED(call,
               fg_cuda_is_real(call->in[0].type) || (whole && fg_cuda_is_int(call->in[0].type)),
               "%s of %s", fg_unary_name(call->attrs->unary.kind), fg_type_name(call->in[0].type));
  return FGSM_OK;
}

fgsm_status run_unary(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[0];
  int64_t n = fg_count(x);
  if (fg_cuda_is_real(x->type)) {
    struct fg_cuda_streams<1> s = {
      {fg_cuda_reals_of(x)}, fg_cuda_reals_out(call, 0), n
    };
    return fg_cuda_run_stream(call, s, value{fg_cuda_unary_of(&call->attrs->unary)}, stream);
  }
  if (n == 0)
    return FGSM_OK;
  return fg_cuda_launched(call, FGSM_LAUNCH(whole_unary, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0,
                                            (cudaStream_t)stream, x->data, call->out[0].data,
                                            (int)x->type, (int)call->attrs->unary.kind, n));
}

fgsm_status prepare_grad(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 4, 1));
  const struct fg_unary_attrs *a = &call->attrs->unary;
  FG_CUDA_NEED(call, (unsigned)a->kind < FG_UNARY_COUNT, "unknown kind %d", (int)a->kind);
  int from = fg_unary_from_y(a);
  FG_CUDA_NEED(call, fg_cuda_in(call, from), "%s needs %s", fg_unary_name(a->kind),
               from ? "y" : "x");
  FG_TRY(fg_cuda_check_real(call, 15 & ~(1u << from), 1));
  FG_CUDA_NEED(call, call->in[from].type != FG_U8, "a mask of bits");
  FG_TRY(fg_cuda_check_slope(call, from, a));
  for (int i = 0; i < 4; i++)
    FG_CUDA_NEED(call, !fg_cuda_in(call, i) || fg_same_shape(&call->in[i], &call->out[0]),
                 "the shape of input %d differs", i);
  return FGSM_OK;
}

fgsm_status run_masked(const struct fg_call *call, const struct fg_tensor *mask, void *stream) {
  const struct fg_cuda_reals dy = fg_cuda_reals_in(call, 2), dy2 = fg_cuda_reals_in(call, 3);
  const struct fg_cuda_reals dx = fg_cuda_reals_out(call, 0);
  const uint8_t *data = (const uint8_t *)mask->data;
  const bool bits = mask->type == FG_U8;
  const int64_t n = fg_count(&call->out[0]);
  struct fg_cuda_streams<1> one = {
    {dy}, dx, n
  };
  struct fg_cuda_streams<2> two = {
    {dy, dy2}, dx, n
  };
  return dy2.data ? fg_cuda_run_stream(call, two, masked<2>{data, bits}, stream)
                  : fg_cuda_run_stream(call, one, masked<1>{data, bits}, stream);
}

/* Of bits too, whose elements are as dx's lie: epilogue.cu's. */
fgsm_status run_grad(const struct fg_call *call, void *, void *stream) {
  const struct fg_unary_attrs *a = &call->attrs->unary;
  const struct fg_tensor *of = &call->in[fg_unary_from_y(a)];
  if (fg_is_mask(of))
    return run_masked(call, of, stream);
  const struct fg_cuda_reals v = fg_cuda_reals_in(call, fg_unary_from_y(a));
  const struct fg_cuda_reals dy = fg_cuda_reals_in(call, 2), dy2 = fg_cuda_reals_in(call, 3);
  const struct fg_cuda_reals dx = fg_cuda_reals_out(call, 0);
  int64_t n = fg_count(&call->out[0]);
  if (!dy2.data) {
    struct fg_cuda_streams<2> s = {
      {v, dy}, dx, n
    };
    return fg_cuda_run_stream(call, s, slope<2>{fg_cuda_unary_of(a)}, stream);
  }
  struct fg_cuda_streams<3> s = {
    {v, dy, dy2}, dx, n
  };
  return fg_cuda_run_stream(call, s, slope<3>{fg_cuda_unary_of(a)}, stream);
}
} // namespace

const struct fg_kernel fg_cuda_unary = FG_CUDA_LYING(prepare_unary, run_unary);
const struct fg_kernel fg_cuda_unary_grad = FG_CUDA_LYING(prepare_grad, run_grad);
