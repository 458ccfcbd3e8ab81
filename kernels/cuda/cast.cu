/* cast: integers to integers keep their low bits, to reals round once; reals to integers truncate
 * toward zero and saturate, NaN giving 0; bytes to float are the way that images come in.
 *
 * Floor: the bytes of x and y an element (5 for U8 to F32), 1 FLOP. */
#include "cuda.h"

namespace {
/* Four bytes in, 16 bytes out.
 * ptxas budget: bytes_to_float registers 24 shared 0 blocks 8 stores16 */
__global__ void __launch_bounds__(256)
    bytes_to_float(const uint8_t *x, float *y, int64_t n, float divisor, bool wide) {
  const int64_t i = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n)
    return;
  float v[4];
  if (wide && i + 4 <= n) {
    const uchar4 b = fgsm_ldv<uchar4>(x + i);
    v[0] = b.x;
    v[1] = b.y;
    v[2] = b.z;
    v[3] = b.w;
  } else {
    for (int k = 0; k < 4; k++)
      v[k] = i + k < n ? x[i + k] : 0;
  }
  for (int k = 0; k < 4; k++)
    v[k] = divisor != 0 ? __fdiv_rn(v[k], divisor) : v[k];
  fg_cuda_store4(y, i, n, wide, v);
}

__device__ __forceinline__ int64_t saturate(double v, double lo, double hi, int64_t lowest,
                                            int64_t highest) {
  return isnan(v) ? 0 : v <= lo ? lowest : v >= hi ? highest : (int64_t)v;
}

__device__ int64_t whole_of(double v, int type) {
  switch (type) {
  case FG_BOOL:
    return v != 0;
  case FG_I64:
    return saturate(v, -9223372036854775808.0, 9223372036854775808.0, INT64_MIN, INT64_MAX);
  case FG_I32:
    return saturate(v, INT32_MIN, INT32_MAX, INT32_MIN, INT32_MAX);
  case FG_I16:
    return saturate(v, INT16_MIN, INT16_MAX, INT16_MIN, INT16_MAX);
  case FG_I8:
    return saturate(v, INT8_MIN, INT8_MAX, INT8_MIN, INT8_MAX);
  default:
    return saturate(v, 0, UINT8_MAX, 0, UINT8_MAX);
  }
}

__device__ __forceinline__ bool is_stored(int type) {
  return type == FG_F32 || type == FG_F16 || type == FG_BF16;
}
__device__ __forceinline__ bool is_castable_real(int type) {
  return type == FG_F64 || is_stored(type);
}

/* Between float and half precision. */
struct same {
  __device__ __forceinline__ float operator()(const float (&v)[1], int64_t) const {
    return v[0];
  }
};

/* ptxas budget: any_to_any registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(256)
    any_to_any(const void *x, int from, void *y, int to, int64_t n, double divisor) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  const struct fg_cuda_reals in = {const_cast<void *>(x), from}, out = {y, to};
  if (is_castable_real(from)) {
    const double v = from == FG_F64 ? ((const double *)x)[i] : (double)in[i];
    if (is_stored(to))
      out.put(i, (float)v);
    else if (to == FG_F64)
      ((double *)y)[i] = v;
    else
      fg_cuda_put_int(y, to, i, whole_of(v, to));
    return;
  }
  const int64_t v = fg_cuda_get_int(x, from, i);
  if (is_stored(to))
    out.put(i, divisor != 0 ? (float)((double)v / divisor) : (float)v);
  else if (to == FG_F64)
    ((double *)y)[i] = divisor != 0 ? (double)v / divisor : (double)v;
  else
    fg_cuda_put_int(y, to, i, v);
}

bool is_castable(enum fg_type type) {
  return fg_type_is_real(type) || fg_cuda_is_int(type);
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_CUDA_NEED(call, fg_same_shape(x, y), "shapes differ");
  FG_CUDA_NEED(call, (int)y->type == call->attrs->cast.type, "the result is %s",
               fg_type_name(y->type));
  FG_CUDA_NEED(call, is_castable(x->type) && is_castable(y->type), "%s to %s",
               fg_type_name(x->type), fg_type_name(y->type));
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  double divisor = x->type == FG_U8 ? call->attrs->cast.divisor : 0;
  int64_t n = fg_count(x);
  if (n == 0)
    return FGSM_OK;
  /* A float divisor is exact where the quotient is to be rounded once. */
  if (x->type == FG_U8 && y->type == FG_F32 && (double)(float)divisor == divisor)
    return fg_cuda_launched(
        call, FGSM_LAUNCH(bytes_to_float, dim3(fg_cuda_blocks(n, 1024)), dim3(256), 0,
                          (cudaStream_t)stream, (const uint8_t *)x->data, (float *)y->data, n,
                          (float)divisor, fg_cuda_aligned(x->data) && fg_cuda_aligned(y->data)));
  if (fg_cuda_is_real(x->type) && fg_cuda_is_real(y->type)) {
    struct fg_cuda_streams<1> s = {
      {fg_cuda_reals_of(x)}, fg_cuda_reals_of(y), n
    };
    return fg_cuda_run_stream(call, s, same(), stream);
  }
  return fg_cuda_launched(call, FGSM_LAUNCH(any_to_any, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0,
                                            (cudaStream_t)stream, x->data, (int)x->type, y->data,
                                            (int)y->type, n, divisor));
}
} // namespace

const struct fg_kernel fg_cuda_cast = FG_CUDA_LYING(prepare, run);
