/* scatter: a copy of x, into whose rows those of u are put or with which they are combined, in the
 * order of the index. Each element of y follows its row's chain of places (rows.cuh), so that the
 * order is the index's and nothing is atomic. An index out of range is left out: a card cannot
 * report it.
 *
 * Floor: 4 bytes per element of x, of u and of y, 1 FLOP per element of u, and n (n + 1) / 2
 * comparisons for the chains. */
#include "rows.cuh"

namespace {
enum { X, INDEX, U };

/* y [rows, inner]: u's last row where one goes there, else x's.
 * ptxas budget: put_rows registers 32 shared 0 blocks 8 loads16 stores16 */
template <class T>
__global__ void __launch_bounds__(256)
    put_rows(const T *x, const T *u, const int64_t *head, const int64_t *next, T *y, int64_t count,
             int64_t inner) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= count)
    return;
  int64_t last = -1;
  for (int64_t i = head[e / inner]; i >= 0; i = next[i])
    last = i;
  fgsm_stv(y + e, fgsm_ldv<T>(last < 0 ? x + e : u + last * inner + e % inner));
}

/* a + b and a * b; integers wrap. */
__device__ __forceinline__ float plus(float a, float b) {
  return a + b;
}
__device__ __forceinline__ float times(float a, float b) {
  return a * b;
}
template <class T> __device__ __forceinline__ T plus(T a, T b) {
  return (T)((uint64_t)a + (uint64_t)b);
}
template <class T> __device__ __forceinline__ T times(T a, T b) {
  return (T)((uint64_t)a * (uint64_t)b);
}

/* a and b combined; NaN wins. */
template <class T> __device__ __forceinline__ T combine(int kind, T a, T b) {
  switch (kind) {
  case FG_SCATTER_add:
    return plus(a, b);
  case FG_SCATTER_mul:
    return times(a, b);
  case FG_SCATTER_max:
    return a != a || a > b ? a : b;
  default:
    return a != a || a < b ? a : b;
  }
}

/* ptxas budget: combine_rows registers 32 shared 0 blocks 8 */
template <class T>
__global__ void __launch_bounds__(256)
    combine_rows(int kind, const T *x, const T *u, const int64_t *head, const int64_t *next, T *y,
                 int64_t count, int64_t inner) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= count)
    return;
  T v = x[e];
  for (int64_t i = head[e / inner]; i >= 0; i = next[i])
    v = combine(kind, v, u[i * inner + e % inner]);
  y[e] = v;
}

/* The same for floats, four of a row at a time: rows are of multiples of four, and aligned.
 * ptxas budget: combine_floats registers 32 shared 0 blocks 8 loads16 stores16 */
__global__ void __launch_bounds__(256)
    combine_floats(int kind, const float *x, const float *u, const int64_t *head,
                   const int64_t *next, float *y, int64_t count, int64_t inner) {
  const int64_t e = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
  float v[4], more[4];
  if (e >= count)
    return;
  fg_cuda_load4(x, e, count, true, v, 0.0f);
  for (int64_t i = head[e / inner]; i >= 0; i = next[i]) {
    fg_cuda_load4(u + i * inner, e % inner, inner, true, more, 0.0f);
    for (int k = 0; k < 4; k++)
      v[k] = combine(kind, v[k], more[k]);
  }
  fg_cuda_store4(y, e, count, true, v);
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 7, 1));
  const struct fg_tensor *x = &call->in[X], *index = &call->in[INDEX], *u = &call->in[U];
  const enum fg_scatter_kind kind = call->attrs->scatter.kind;
  FG_CUDA_NEED(call, (unsigned)kind < FG_SCATTER_COUNT, "unknown kind %d", (int)kind);
  FG_CUDA_NEED(call, index->type == FG_I64 || index->type == FG_I32, "the index is %s",
               fg_type_name(index->type));
  FG_CUDA_NEED(call, x->type == u->type && x->type == call->out[0].type, "types differ");
  FG_CUDA_NEED(call,
               kind == FG_SCATTER_none || x->type == FG_F32 ||
                   (fg_cuda_is_int(x->type) && x->type != FG_BOOL),
               "arithmetic of %s", fg_type_name(x->type));
  FG_CUDA_NEED(call, fg_same_shape(x, &call->out[0]), "the result has another shape");
  FG_CUDA_NEED(call, x->rank >= 1 && u->rank == x->rank && index->rank == 1, "ranks do not fit");
  FG_CUDA_NEED(call, u->dim[0] == index->dim[0], "%lld rows for %lld indices", (long long)u->dim[0],
               (long long)index->dim[0]);
  for (int i = 1; i < x->rank; i++)
    FG_CUDA_NEED(call, u->dim[i] == x->dim[i], "rows of another shape");
  call->scratch_bytes = (size_t)(x->dim[0] + index->dim[0]) * sizeof(int64_t);
  return FGSM_OK;
}

/* A call's chains, once they are linked. */
struct chains {
  const int64_t *head, *next;
  cudaStream_t stream;
};

template <class T> fgsm_status put(const struct fg_call *call, const struct chains &c) {
  const int64_t count = (int64_t)(fg_bytes(&call->in[X]) / sizeof(T));
  return fg_cuda_launched(
      call, FGSM_LAUNCH(put_rows<T>, dim3(fg_cuda_blocks(count, 256)), dim3(256), 0, c.stream,
                        (const T *)call->in[X].data, (const T *)call->in[U].data, c.head, c.next,
                        (T *)call->out[0].data, count, count / call->in[X].dim[0]));
}

template <class T> fgsm_status join(const struct fg_call *call, const struct chains &c) {
  const int64_t count = fg_count(&call->in[X]);
  return fg_cuda_launched(
      call, FGSM_LAUNCH(combine_rows<T>, dim3(fg_cuda_blocks(count, 256)), dim3(256), 0, c.stream,
                        (int)call->attrs->scatter.kind, (const T *)call->in[X].data,
                        (const T *)call->in[U].data, c.head, c.next, (T *)call->out[0].data, count,
                        count / call->in[X].dim[0]));
}

bool all_aligned(const struct fg_call *call) {
  return fg_cuda_aligned(call->in[X].data) && fg_cuda_aligned(call->in[U].data) &&
         fg_cuda_aligned(call->out[0].data);
}

fgsm_status join_floats(const struct fg_call *call, const struct chains &c) {
  const int64_t count = fg_count(&call->in[X]), inner = count / call->in[X].dim[0];
  if (inner % 4 != 0 || !all_aligned(call))
    return join<float>(call, c);
  return fg_cuda_launched(call, FGSM_LAUNCH(combine_floats, dim3(fg_cuda_blocks(count, 4 * 256)),
                                            dim3(256), 0, c.stream, (int)call->attrs->scatter.kind,
                                            (const float *)call->in[X].data,
                                            (const float *)call->in[U].data, c.head, c.next,
                                            (float *)call->out[0].data, count, inner));
}

fgsm_status place(const struct fg_call *call, const struct chains &c) {
  const size_t size = fg_type_size(call->in[X].type);
  const size_t row = fg_bytes(&call->in[X]) / (size_t)call->in[X].dim[0];
  if (row % 16 == 0 && all_aligned(call))
    return put<uint4>(call, c);
  return size == 1   ? put<uint8_t>(call, c)
         : size == 2 ? put<uint16_t>(call, c)
         : size == 4 ? put<uint32_t>(call, c)
                     : put<uint64_t>(call, c);
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  const struct fg_tensor *x = &call->in[X], *index = &call->in[INDEX];
  int64_t *head = (int64_t *)scratch, *next = head + x->dim[0];
  const struct chains c = {head, next, (cudaStream_t)stream};
  if (fg_count(x) == 0)
    return FGSM_OK;
  FG_TRY(link_rows(call, index, x->dim[0], head, next, c.stream));
  if (call->attrs->scatter.kind == FG_SCATTER_none)
    return place(call, c);
  switch (x->type) {
  case FG_F32:
    return join_floats(call, c);
  case FG_I64:
    return join<int64_t>(call, c);
  case FG_I32:
    return join<int32_t>(call, c);
  case FG_I16:
    return join<int16_t>(call, c);
  case FG_I8:
    return join<int8_t>(call, c);
  default:
    return join<uint8_t>(call, c);
  }
}
} // namespace

const struct fg_kernel fg_cuda_scatter = {prepare, run, NULL};
