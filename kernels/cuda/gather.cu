/* gather, gather_grad: rows of x by index along one axis. A card cannot report an index out of
 * range: gather fills such a row with ones in every bit (NaN, -1), gather_grad leaves it out.
 *
 * gather_grad is a gather too: one kernel links the places of the index that name the same row, in
 * order, and each element of dx follows its row's chain, so that sums have one order and nothing is
 * atomic. Floor: gather twice the result's bytes; gather_grad 4 bytes per element of dy and of dx,
 * 1 FLOP per element of dy, and n (n + 1) / 2 comparisons for the links. */
#include "rows.cuh"

namespace {
__device__ __forceinline__ void set_ones(uint8_t *v) {
  *v = 0xFF;
}
__device__ __forceinline__ void set_ones(uint16_t *v) {
  *v = 0xFFFF;
}
__device__ __forceinline__ void set_ones(uint32_t *v) {
  *v = 0xFFFFFFFFu;
}
__device__ __forceinline__ void set_ones(uint64_t *v) {
  *v = ~(uint64_t)0;
}
__device__ __forceinline__ void set_ones(uint4 *v) {
  *v = make_uint4(~0u, ~0u, ~0u, ~0u);
}

/* y [outer, n, inner] of x [outer, rows, inner].
 * ptxas budget: pick_rows registers 32 shared 0 blocks 8 loads16 stores16 */
template <class T>
__global__ void __launch_bounds__(256)
    pick_rows(const T *x, const void *index, int type, T *y, int64_t count, int64_t rows, int64_t n,
              int64_t inner) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= count)
    return;
  const int64_t j = e % inner, i = e / inner % n, o = e / inner / n;
  const int64_t r = row_of(index, type, i, rows);
  T v;
  if (r < 0)
    set_ones(&v);
  else
    v = fgsm_ldv<T>(x + (o * rows + r) * inner + j);
  fgsm_stv(y + e, v);
}

/* ptxas budget: add_rows registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(256)
    add_rows(struct fg_cuda_reals dy, const int64_t *head, const int64_t *next,
             struct fg_cuda_reals dx, int64_t count, int64_t rows, int64_t n, int64_t inner) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= count)
    return;
  const int64_t j = e % inner, r = e / inner % rows, o = e / inner / rows;
  double sum = 0;
  for (int64_t i = head[r]; i >= 0; i = next[i])
    sum += dy[(o * n + i) * inner + j];
  dx.put(e, (float)sum);
}

fgsm_status check(const struct fg_call *call, const struct fg_tensor *x,
                  const struct fg_tensor *index, const struct fg_tensor *y) {
  int axis = call->attrs->axis.axis;
  FG_CUDA_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_CUDA_NEED(call, index->type == FG_I64 || index->type == FG_I32, "the index is %s",
               fg_type_name(index->type));
  FG_CUDA_NEED(call, x->type == y->type, "types differ");
  FG_CUDA_NEED(call, y->rank == x->rank - 1 + index->rank, "the result has rank %d", y->rank);
  for (int i = 0; i < y->rank; i++) {
    int64_t want = i < axis                 ? x->dim[i]
                   : i < axis + index->rank ? index->dim[i - axis]
                                            : x->dim[i - index->rank + 1];
    FG_CUDA_NEED(call, y->dim[i] == want, "dim %d of the result is not %lld", i, (long long)want);
  }
  return FGSM_OK;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 3, 1));
  return check(call, &call->in[0], &call->in[1], &call->out[0]);
}

template <class T>
fgsm_status pick(const struct fg_call *call, int64_t inner_bytes, int64_t bytes, void *stream) {
  const struct fg_tensor *x = &call->in[0], *index = &call->in[1];
  int64_t count = bytes / (int64_t)sizeof(T), inner = inner_bytes / (int64_t)sizeof(T);
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(pick_rows<T>, dim3(fg_cuda_blocks(count, 256)), dim3(256), 0,
                                      (cudaStream_t)stream, (const T *)x->data, index->data,
                                      (int)index->type, (T *)call->out[0].data, count,
                                      x->dim[call->attrs->axis.axis], fg_count(index), inner));
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t size = (int64_t)fg_type_size(x->type), bytes = (int64_t)fg_bytes(y);
  int64_t inner = fg_cuda_span(x, call->attrs->axis.axis + 1, x->rank) * size;
  if (bytes == 0)
    return FGSM_OK;
  if (inner % 16 == 0 && fg_cuda_aligned(x->data) && fg_cuda_aligned(y->data))
    return pick<uint4>(call, inner, bytes, stream);
  if (size == 1)
    return pick<uint8_t>(call, inner, bytes, stream);
  if (size == 2)
    return pick<uint16_t>(call, inner, bytes, stream);
  if (size == 4)
    return pick<uint32_t>(call, inner, bytes, stream);
  return pick<uint64_t>(call, inner, bytes, stream);
}

fgsm_status prepare_grad(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, 1, 1));
  FG_TRY(check(call, &call->out[0], &call->in[1], &call->in[0]));
  int64_t rows = call->out[0].dim[call->attrs->axis.axis];
  call->scratch_bytes = (size_t)(rows + fg_count(&call->in[1])) * sizeof(int64_t);
  return FGSM_OK;
}

fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  const struct fg_tensor *index = &call->in[1], *dx = &call->out[0];
  int axis = call->attrs->axis.axis;
  int64_t rows = dx->dim[axis], n = fg_count(index), count = fg_count(dx);
  int64_t *head = (int64_t *)scratch, *next = head + rows;
  cudaStream_t s = (cudaStream_t)stream;
  if (count == 0)
    return FGSM_OK;
  FG_TRY(link_rows(call, index, rows, head, next, s));
  return fg_cuda_launched(call, FGSM_LAUNCH(add_rows, dim3(fg_cuda_blocks(count, 256)), dim3(256),
                                            0, s, fg_cuda_reals_in(call, 0), (const int64_t *)head,
                                            (const int64_t *)next, fg_cuda_reals_of(dx), count,
                                            rows, n, fg_cuda_span(dx, axis + 1, dx->rank)));
}
} // namespace

const struct fg_kernel fg_cuda_gather = {prepare, run, NULL};
const struct fg_kernel fg_cuda_gather_grad = {prepare_grad, run_grad, NULL};
