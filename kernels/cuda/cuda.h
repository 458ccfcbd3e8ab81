/* What the CUDA files share: checks that prepare makes, launches that run makes, four floats at a
 * time, reductions in a fixed order.
 *
 * Tensors are FG_PLAIN, or lie channels last where layouts.h says that they may; reals F32, or of half precision where half.h lets them be: those are read and
 * written through fg_cuda_reals, and computed with as float. Every kernel takes any shape: a thread
 * owns four neighbours, which it moves as 16 bytes (8 of half precision) where they are aligned and all
 * there, else one by one. No result depends on the order in which threads run: sums are trees of fixed
 * shape, and no kernel uses an atomic. */
#ifndef FG_CUDA_CUDA_H
#define FG_CUDA_CUDA_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "fgsm_cuda.h"
#include "half.h"
#include "layouts.h"

/* ---- prepare */

/* Their data, NULL where absent. */
template <class T> static inline const T *fg_cuda_from(const struct fg_call *call, int i) {
  return fg_cuda_in(call, i) ? static_cast<const T *>(call->in[i].data) : NULL;
}
template <class T> static inline T *fg_cuda_to(const struct fg_call *call, int i) {
  return fg_cuda_out(call, i) ? static_cast<T *>(call->out[i].data) : NULL;
}

/* Reals as they are stored. Which type they are of is the same for a whole launch, so a kernel has one
 * form, and no thread of a warp takes another way than its neighbours. */
struct fg_cuda_reals {
  void *data; /* NULL: absent */
  int type;   /* F32, F16 or BF16 */
  __device__ __forceinline__ float operator[](int64_t i) const {
    if (type == FG_F32)
      return static_cast<const float *>(data)[i];
    const unsigned bits = static_cast<const uint16_t *>(data)[i];
    return type == FG_BF16 ? fgsm_bf16_float(bits) : fgsm_half_float(bits);
  }
  __device__ __forceinline__ void put(int64_t i, float v) const {
    if (type == FG_F32)
      static_cast<float *>(data)[i] = v;
    else
      static_cast<uint16_t *>(data)[i] =
          (uint16_t)(type == FG_BF16 ? fgsm_pack_bf16(v, 0) : fgsm_pack_half(v, 0));
  }
  /* From element n on. */
  __device__ __forceinline__ struct fg_cuda_reals operator+(int64_t n) const {
    return {static_cast<char *>(data) + (type == FG_F32 ? 4 : 2) * n, type};
  }
};
static inline struct fg_cuda_reals fg_cuda_reals_of(const struct fg_tensor *t) {
  struct fg_cuda_reals r = {t ? t->data : NULL, t ? (int)t->type : FG_F32};
  return r;
}
static inline struct fg_cuda_reals fg_cuda_reals_in(const struct fg_call *call, int i) {
  return fg_cuda_reals_of(fg_cuda_in(call, i));
}
static inline struct fg_cuda_reals fg_cuda_reals_out(const struct fg_call *call, int i) {
  return fg_cuda_reals_of(fg_cuda_out(call, i));
}
static inline bool fg_cuda_is_real(enum fg_type type) {
  return type == FG_F32 || fg_type_is_half(type);
}

/* Whether t is absent or F32, U8 or BOOL of a sample's shape; whether t holds the parameters. */
bool fg_cuda_is_feature(const struct fg_tensor *t, const struct fg_tensor *x);
bool fg_cuda_is_params(const struct fg_tensor *t);
/* The same, or such a row for each of n samples. */
bool fg_cuda_are_params(const struct fg_tensor *t, int64_t n);
/* Input i is there for a linear loss alone, float32 [classes]. */
fgsm_status fg_cuda_check_functional(const struct fg_call *call, const struct fg_loss_attrs *a,
                                     int i, int64_t classes);

static inline bool fg_cuda_is_int(enum fg_type type) {
  return type >= FG_I64 && type <= FG_BOOL;
}
static inline int64_t fg_cuda_span(const struct fg_tensor *t, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; i++)
    n *= t->dim[i];
  return n;
}
void fg_cuda_strides(int rank, const int64_t *dim, int64_t *stride);
void fg_cuda_broadcast(const struct fg_tensor *t, int rank, int64_t *stride);
bool fg_cuda_broadcasts(const struct fg_tensor *t, const struct fg_tensor *to);

/* ---- channels last, in front of a kernel that need not know of it (layouts.h) */

template <fgsm_status (*PREPARE)(struct fg_call *, struct fg_device *)>
fgsm_status fg_cuda_prepare_lying(struct fg_call *call, struct fg_device *device) {
  union fg_attrs attrs;
  struct fg_call plain;
  if (!fg_cuda_lies(call))
    return PREPARE(call, device);
  FG_CUDA_NEED(call, fg_cuda_takes_nhwc(call), "not all of it lies channels last");
  fg_cuda_as_plain(call, &plain, &attrs);
  FG_TRY(PREPARE(&plain, device));
  call->scratch_bytes = plain.scratch_bytes;
  return FGSM_OK;
}
template <fgsm_status (*RUN)(const struct fg_call *, void *, void *)>
fgsm_status fg_cuda_run_lying(const struct fg_call *call, void *scratch, void *stream) {
  union fg_attrs attrs;
  struct fg_call plain;
  if (!fg_cuda_lies(call))
    return RUN(call, scratch, stream);
  fg_cuda_as_plain(call, &plain, &attrs);
  return RUN(&plain, scratch, stream);
}
#define FG_CUDA_LYING(prepare, run)                                                                \
  { fg_cuda_prepare_lying<prepare>, fg_cuda_run_lying<run>, NULL }

/* ---- run */

/* A launch's result as a status. */
fgsm_status fg_cuda_launched(const struct fg_call *call, cudaError_t error);
static inline unsigned fg_cuda_blocks(int64_t n, int64_t each) {
  return (unsigned)((n + each - 1) / each);
}
static inline bool fg_cuda_aligned(const void *p) {
  return ((uintptr_t)p & 15) == 0;
}
static inline bool fg_cuda_aligned(const struct fg_cuda_reals &r) {
  return fg_cuda_aligned(r.data);
}

/* Offsets of up to three operands over one shape, its dims merged where all operands allow. */
enum { FG_WALK_MAX = 3 };
struct fg_cuda_walk {
  int rank;
  int64_t dim[FG_MAX_RANK];
  int64_t stride[FG_WALK_MAX][FG_MAX_RANK];
};
void fg_cuda_merge(int rank, const int64_t *dim, int operands, const int64_t (*stride)[FG_MAX_RANK],
                   struct fg_cuda_walk *walk);

template <int OPERANDS>
__device__ __forceinline__ void fg_cuda_offsets(const struct fg_cuda_walk &walk, int64_t i,
                                                int64_t (&offset)[OPERANDS]) {
  for (int k = 0; k < OPERANDS; k++)
    offset[k] = 0;
  for (int d = walk.rank - 1; d >= 0; d--) {
    int64_t at;
    if (i <= 0xFFFFFFFFll && walk.dim[d] <= 0xFFFFFFFFll) { /* 64-bit division is slow */
      const uint32_t n = (uint32_t)walk.dim[d], v = (uint32_t)i;
      at = v % n;
      i = v / n;
    } else {
      at = i % walk.dim[d];
      i /= walk.dim[d];
    }
    for (int k = 0; k < OPERANDS; k++)
      offset[k] += at * walk.stride[k][d];
  }
}

/* Of results that lie `stride` places apart, the one at place `at` along an axis of `count` results, or
 * -1: the window that reaches a place with one of its taps, once the tap's reach is taken off. */
__device__ __forceinline__ int fg_cuda_result_at(int at, int stride, int count) {
  const int i = at / stride;
  return at >= 0 && at % stride == 0 && i < count ? i : -1;
}

/* ---- four at a time: elements i..i+3 of n, i a multiple of four. wide: p is 16-byte aligned (of half
 * precision, whose four are 8 bytes: 8-byte aligned). */

__device__ __forceinline__ void fg_cuda_load4(const float *p, int64_t i, int64_t n, bool wide,
                                              float (&v)[4], float fill) {
  if (wide && i + 4 <= n) {
    const float4 four = fgsm_ldv<float4>(p + i);
    v[0] = four.x;
    v[1] = four.y;
    v[2] = four.z;
    v[3] = four.w;
  } else {
    for (int k = 0; k < 4; k++)
      v[k] = i + k < n ? p[i + k] : fill;
  }
}
__device__ __forceinline__ void fg_cuda_store4(float *p, int64_t i, int64_t n, bool wide,
                                               const float (&v)[4]) {
  if (wide && i + 4 <= n) {
    fgsm_st4_global(p + i, make_float4(v[0], v[1], v[2], v[3]));
  } else {
    for (int k = 0; k < 4; k++)
      if (i + k < n)
        p[i + k] = v[k];
  }
}

__device__ __forceinline__ void fg_cuda_load4(const struct fg_cuda_reals &p, int64_t i, int64_t n,
                                              bool wide, float (&v)[4], float fill) {
  if (p.type == FG_F32) {
    fg_cuda_load4(static_cast<const float *>(p.data), i, n, wide, v, fill);
  } else if (wide && i + 4 <= n) {
    const uint2 four = fgsm_ldv<uint2>(static_cast<const uint16_t *>(p.data) + i);
    const unsigned bits[4] = {four.x & 0xffff, four.x >> 16, four.y & 0xffff, four.y >> 16};
    for (int k = 0; k < 4; k++)
      v[k] = p.type == FG_BF16 ? fgsm_bf16_float(bits[k]) : fgsm_half_float(bits[k]);
  } else {
    for (int k = 0; k < 4; k++)
      v[k] = i + k < n ? p[i + k] : fill;
  }
}
__device__ __forceinline__ void fg_cuda_store4(const struct fg_cuda_reals &p, int64_t i, int64_t n,
                                               bool wide, const float (&v)[4]) {
  if (p.type == FG_F32) {
    fg_cuda_store4(static_cast<float *>(p.data), i, n, wide, v);
  } else if (wide && i + 4 <= n) {
    const bool brain = p.type == FG_BF16;
    const uint2 four = make_uint2(brain ? fgsm_pack_bf16(v[0], v[1]) : fgsm_pack_half(v[0], v[1]),
                                  brain ? fgsm_pack_bf16(v[2], v[3]) : fgsm_pack_half(v[2], v[3]));
    fgsm_stv(static_cast<uint16_t *>(p.data) + i, four);
  } else {
    for (int k = 0; k < 4; k++)
      if (i + k < n)
        p.put(i + k, v[k]);
  }
}

/* ---- element types chosen at run time; slow, for what is not on a hot path */

__device__ __forceinline__ int64_t fg_cuda_get_int(const void *p, int type, int64_t i) {
  switch (type) {
  case FG_I64:
    return ((const int64_t *)p)[i];
  case FG_I32:
    return ((const int32_t *)p)[i];
  case FG_I16:
    return ((const int16_t *)p)[i];
  case FG_I8:
    return ((const int8_t *)p)[i];
  case FG_BOOL:
    return ((const uint8_t *)p)[i] != 0;
  default:
    return ((const uint8_t *)p)[i];
  }
}
__device__ __forceinline__ void fg_cuda_put_int(void *p, int type, int64_t i, int64_t v) {
  switch (type) {
  case FG_I64:
    ((int64_t *)p)[i] = v;
    break;
  case FG_I32:
    ((int32_t *)p)[i] = (int32_t)v;
    break;
  case FG_I16:
    ((int16_t *)p)[i] = (int16_t)v;
    break;
  case FG_BOOL:
    ((uint8_t *)p)[i] = v != 0;
    break;
  default:
    ((uint8_t *)p)[i] = (uint8_t)v;
    break;
  }
}

/* ---- groups of WARPS warps that share a row: threadIdx.x within the group, threadIdx.y the group
 * (more than one only where WARPS is 1) */

struct fg_cuda_sum {
  template <class T> __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct fg_cuda_max {
  template <class T> __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct fg_cuda_min {
  template <class T> __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

/* f over the group's values, on every thread of it; all of them must come. */
template <int WARPS, class T, class F> __device__ __forceinline__ T fg_cuda_group(T v, F f) {
  for (int d = 16; d; d >>= 1)
    v = f(v, __shfl_xor_sync(0xFFFFFFFFu, v, d));
  if (WARPS > 1) {
    FGSM_SHARED(T, part, [WARPS]);
    if ((threadIdx.x & 31) == 0)
      part[threadIdx.x >> 5] = v;
    __syncthreads();
    v = part[0];
    for (int w = 1; w < WARPS; w++)
      v = f(v, part[w]);
    __syncthreads();
  }
  return v;
}

/* How rows of n elements are shared out: a warp each, eight to a block, or a block of eight warps.
 */
enum { FG_ROW_WARPS = 8, FG_ROW_SHORT = 1024 };
template <int WARPS> __device__ __forceinline__ int64_t fg_cuda_row() {
  return WARPS == 1 ? (int64_t)blockIdx.x * FG_ROW_WARPS + threadIdx.y : (int64_t)blockIdx.x;
}
#define FG_CUDA_LAUNCH_ROWS(kernel, rows, n, stream, ...)                                          \
  ((n) <= FG_ROW_SHORT ? FGSM_LAUNCH(kernel<1>, dim3(fg_cuda_blocks(rows, FG_ROW_WARPS)),          \
                                     dim3(32, FG_ROW_WARPS), 0, stream, __VA_ARGS__)               \
                       : FGSM_LAUNCH(kernel<FG_ROW_WARPS>, dim3((unsigned)(rows)),                 \
                                     dim3(32 * FG_ROW_WARPS), 0, stream, __VA_ARGS__))

/* ---- streams: y[i] = f(in[0][i], ..., i), in place if y is in[0] */

template <int IN> struct fg_cuda_streams {
  struct fg_cuda_reals in[IN], y;
  int64_t n;
};
enum { FG_STREAM_THREADS = 256 };

/* 4 (IN + 1) bytes an element. The local memory is that of sinf, cosf and tanf for large angles.
 * ptxas budget: fg_cuda_stream registers 32 shared 0 blocks 8 loads16 stores16 local */
template <int IN, class F>
__global__ void __launch_bounds__(FG_STREAM_THREADS)
    fg_cuda_stream(struct fg_cuda_streams<IN> s, bool wide, F f) {
  const int64_t i = 4 * ((int64_t)blockIdx.x * FG_STREAM_THREADS + threadIdx.x);
  if (i >= s.n)
    return;
  float v[IN][4], y[4];
  for (int k = 0; k < IN; k++)
    fg_cuda_load4(s.in[k], i, s.n, wide, v[k], 0.0f);
  for (int e = 0; e < 4; e++) {
    float each[IN];
    for (int k = 0; k < IN; k++)
      each[k] = v[k][e];
    y[e] = f(each, i + e < s.n ? i + e : i);
  }
  fg_cuda_store4(s.y, i, s.n, wide, y);
}

template <int IN, class F>
fgsm_status fg_cuda_run_stream(const struct fg_call *call, const struct fg_cuda_streams<IN> &s,
                               const F &f, void *stream) {
  bool wide = fg_cuda_aligned(s.y);
  for (int k = 0; k < IN; k++)
    wide = wide && fg_cuda_aligned(s.in[k]);
  if (s.n == 0)
    return FGSM_OK;
  return fg_cuda_launched(
      call, FGSM_LAUNCH((fg_cuda_stream<IN, F>), dim3(fg_cuda_blocks(s.n, 4 * FG_STREAM_THREADS)),
                        dim3(FG_STREAM_THREADS), 0, (cudaStream_t)stream, s, wide, f));
}

/* ---- one number of one number (attrs.h) */

struct fg_cuda_unary_args {
  int kind;
  float alpha, beta;
};
static inline struct fg_cuda_unary_args fg_cuda_unary_of(const struct fg_unary_attrs *a) {
  struct fg_cuda_unary_args u = {(int)a->kind, (float)a->alpha, (float)a->beta};
  return u;
}

__device__ __forceinline__ float fg_cuda_sigmoid(float x) {
  return x >= 0 ? 1 / (1 + expf(-x)) : expf(x) / (1 + expf(x));
}

__device__ __forceinline__ float fg_cuda_unary_value(const struct fg_cuda_unary_args &a, float x) {
  switch (a.kind) {
  case FG_UNARY_relu:
    return x > 0 ? x : isnan(x) ? x : 0.0f;
  case FG_UNARY_leaky_relu:
    return x > 0 ? x : a.alpha * x;
  case FG_UNARY_relu6:
    return x < 0 ? 0.0f : x > 6 ? 6.0f : x;
  case FG_UNARY_sigmoid:
    return fg_cuda_sigmoid(x);
  case FG_UNARY_tanh:
    return tanhf(x);
  case FG_UNARY_exp:
    return expf(x);
  case FG_UNARY_sqrt:
    return sqrtf(x);
  case FG_UNARY_clip:
    x = x < a.alpha ? a.alpha : x;
    return x > a.beta ? a.beta : x;
  case FG_UNARY_gelu:
    return x * 0.5f * erfcf(-x * 0.70710678118654752440f);
  case FG_UNARY_gelu_tanh:
    return 0.5f * x * (1 + tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x)));
  case FG_UNARY_erf:
    return erff(x);
  case FG_UNARY_log:
    return logf(x);
  case FG_UNARY_neg:
    return -x;
  case FG_UNARY_abs:
    return fabsf(x);
  case FG_UNARY_power:
    return powf(x, a.alpha);
  case FG_UNARY_sin:
    return sinf(x);
  case FG_UNARY_cos:
    return cosf(x);
  case FG_UNARY_tan:
    return tanf(x);
  case FG_UNARY_asin:
    return asinf(x);
  case FG_UNARY_acos:
    return acosf(x);
  case FG_UNARY_atan:
    return atanf(x);
  case FG_UNARY_sinh:
    return sinhf(x);
  case FG_UNARY_cosh:
    return coshf(x);
  case FG_UNARY_asinh:
    return asinhf(x);
  case FG_UNARY_acosh:
    return acoshf(x);
  case FG_UNARY_atanh:
    return atanhf(x);
  case FG_UNARY_elu:
    return x > 0 ? x : a.alpha * expm1f(a.beta * x);
  case FG_UNARY_softplus:
    return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x));
  case FG_UNARY_silu:
    return x * fg_cuda_sigmoid(a.alpha * x);
  case FG_UNARY_mish: {
    const float e = expf(fminf(x, 20.0f)), n = e * (e + 2);
    return x * (n / (n + 2));
  }
  case FG_UNARY_hard_sigmoid:
    x = a.alpha * x + a.beta;
    x = x < 0 ? 0.0f : x;
    return x > 1 ? 1.0f : x;
  case FG_UNARY_hard_swish:
    return x <= -3 ? 0.0f : x * fminf(x * (1.0f / 6) + 0.5f, 1.0f);
  case FG_UNARY_sign:
    return isnan(x) ? x : (float)((x > 0) - (x < 0));
  case FG_UNARY_floor:
    return floorf(x);
  case FG_UNARY_ceil:
    return ceilf(x);
  case FG_UNARY_round:
    return rintf(x);
  default:
    return x;
  }
}

#endif
