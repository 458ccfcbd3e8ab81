/* cumsum: running sums along an axis, in double for floats, wrapping for integers.
 *
 * Lines that lie beside each other (another axis follows) are summed a thread each, which reads and
 * writes them side by side. A line that is contiguous has a warp: its lanes sum four neighbours each,
 * a scan of fixed shape adds up what lies before, and what a round leaves is carried to the next.
 *
 * Floor: 8 bytes an element, 1 FLOP (a contiguous line 3). */
#include "cuda.h"

namespace {
/* What the elements of a type are summed in. */
template <class T> struct running { typedef uint64_t type; };
template <> struct running<float> { typedef double type; };

/* Element k of a line in the order of the sum. */
__device__ __forceinline__ int64_t place_of(int64_t k, int64_t n, bool reverse) {
  return reverse ? n - 1 - k : k;
}

/* x [outer, n, inner]; line: outer and inner.
 * ptxas budget: scan_columns registers 32 shared 0 blocks 8 */
template <class T>
__global__ void __launch_bounds__(256) scan_columns(const T *x, T *y, int64_t lines, int64_t n,
                                                    int64_t inner, bool exclusive, bool reverse) {
  const int64_t line = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (line >= lines)
    return;
  const int64_t start = line / inner * n * inner + line % inner;
  typename running<T>::type sum = 0;
  for (int64_t k = 0; k < n; k++) {
    const int64_t at = start + place_of(k, n, reverse) * inner;
    const typename running<T>::type before = sum;
    sum += x[at];
    y[at] = (T)(exclusive ? before : sum);
  }
}

/* Loads elements k..k + 3 of a line, in the order of the sum; zeros past its end. */
template <class T>
__device__ __forceinline__ void load_round(const T *x, int64_t k, int64_t n, bool reverse, bool,
                                           T (&v)[4]) {
  for (int i = 0; i < 4; i++)
    v[i] = k + i < n ? x[place_of(k + i, n, reverse)] : 0;
}
__device__ __forceinline__ void load_round(const float *x, int64_t k, int64_t n, bool reverse,
                                           bool wide, float (&v)[4]) {
  if (!wide || k + 4 > n) {
    load_round<float>(x, k, n, reverse, false, v);
    return;
  }
  const float4 four = fgsm_ldv<float4>(x + (reverse ? n - 4 - k : k));
  v[0] = reverse ? four.w : four.x;
  v[1] = reverse ? four.z : four.y;
  v[2] = reverse ? four.y : four.z;
  v[3] = reverse ? four.x : four.w;
}

template <class T>
__device__ __forceinline__ void store_round(T *y, int64_t k, int64_t n, bool reverse, bool,
                                            const T (&v)[4]) {
  for (int i = 0; i < 4 && k + i < n; i++)
    y[place_of(k + i, n, reverse)] = v[i];
}
__device__ __forceinline__ void store_round(float *y, int64_t k, int64_t n, bool reverse, bool wide,
                                            const float (&v)[4]) {
  if (!wide || k + 4 > n)
    store_round<float>(y, k, n, reverse, false, v);
  else if (reverse)
    fgsm_st4_global(y + n - 4 - k, make_float4(v[3], v[2], v[1], v[0]));
  else
    fgsm_st4_global(y + k, make_float4(v[0], v[1], v[2], v[3]));
}

/* A warp to a line of n, eight to a block.
 * ptxas budget: scan_lines registers 56 shared 0 blocks 4 */
template <class T>
__global__ void __launch_bounds__(256) scan_lines(const T *x, T *y, int64_t lines, int64_t n,
                                                  bool exclusive, bool reverse, bool wide) {
  const int64_t line = (int64_t)blockIdx.x * 8 + threadIdx.y;
  const unsigned lane = threadIdx.x;
  if (line >= lines) /* all of a warp or none */
    return;
  typename running<T>::type carry = 0;
  for (int64_t from = 0; from < n; from += 128) {
    const int64_t k = from + 4 * lane;
    T v[4];
    typename running<T>::type own[4], sum = 0;
    load_round(x + line * n, k, n, reverse, wide, v);
    for (int i = 0; i < 4; i++) {
      own[i] = sum; /* of the lane's elements before i */
      sum += v[i];
    }
    typename running<T>::type upto = sum;
    for (unsigned d = 1; d < 32; d *= 2) {
      const typename running<T>::type left = __shfl_up_sync(0xFFFFFFFFu, upto, d);
      if (lane >= d)
        upto += left;
    }
    typename running<T>::type before = __shfl_up_sync(0xFFFFFFFFu, upto, 1);
    before = carry + (lane ? before : 0);
    for (int i = 0; i < 4; i++) {
      const typename running<T>::type at = before + own[i];
      v[i] = (T)(exclusive ? at : at + v[i]);
    }
    store_round(y + line * n, k, n, reverse, wide, v);
    carry += __shfl_sync(0xFFFFFFFFu, upto, 31);
  }
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  const struct fg_tensor *x = &call->in[0];
  const int axis = call->attrs->cumsum.axis;
  FG_CUDA_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_CUDA_NEED(call, fg_same_shape(x, &call->out[0]) && x->type == call->out[0].type,
               "the result has another shape or type");
  FG_CUDA_NEED(call, x->type == FG_F32 || (fg_cuda_is_int(x->type) && x->type != FG_BOOL),
               "%s operand", fg_type_name(x->type));
  return FGSM_OK;
}

template <class T> fgsm_status scan(const struct fg_call *call, cudaStream_t s) {
  const struct fg_cumsum_attrs *a = &call->attrs->cumsum;
  const struct fg_tensor *tensor = &call->in[0];
  const T *x = (const T *)tensor->data;
  T *y = (T *)call->out[0].data;
  const int64_t n = tensor->dim[a->axis], lines = fg_count(tensor) / n;
  const int64_t inner = fg_cuda_span(tensor, a->axis + 1, tensor->rank);
  if (inner > 1)
    return fg_cuda_launched(call, FGSM_LAUNCH(scan_columns<T>, dim3(fg_cuda_blocks(lines, 256)),
                                              dim3(256), 0, s, x, y, lines, n, inner, a->exclusive,
                                              a->reverse));
  const bool wide = n % 4 == 0 && fg_cuda_aligned(x) && fg_cuda_aligned(y);
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(scan_lines<T>, dim3(fg_cuda_blocks(lines, 8)), dim3(32, 8), 0,
                                      s, x, y, lines, n, a->exclusive, a->reverse, wide));
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  cudaStream_t s = (cudaStream_t)stream;
  if (fg_count(&call->in[0]) == 0)
    return FGSM_OK;
  switch (call->in[0].type) {
  case FG_F32:
    return scan<float>(call, s);
  case FG_I64:
    return scan<int64_t>(call, s);
  case FG_I32:
    return scan<int32_t>(call, s);
  case FG_I16:
    return scan<int16_t>(call, s);
  case FG_I8:
    return scan<int8_t>(call, s);
  default:
    return scan<uint8_t>(call, s);
  }
}
} // namespace

const struct fg_kernel fg_cuda_cumsum = {prepare, run, NULL};
