/* softmax, softmax_grad, and their logarithmic form. A row that lies together is a warp's (a
 * block's beyond 1024 elements) and read by 16 bytes; rows that are interleaved are a thread's
 * each, the threads side by side.
 *
 * Floor: softmax 8 bytes an element, softmax_grad 12; a row is read again from cache. About 10
 * FLOPs an element, and an exponential. */
#include "cuda.h"

namespace {
/* ptxas budget: softmax_rows registers 32 shared 64 blocks 8 loads16 stores16 */
template <int WARPS>
__global__ void __launch_bounds__(32 * FG_ROW_WARPS)
    softmax_rows(struct fg_cuda_reals x, struct fg_cuda_reals y, int64_t rows, int64_t n,
                 bool logarithm, bool wide) {
  const int64_t row = fg_cuda_row<WARPS>();
  if (row >= rows)
    return;
  x = x + row * n;
  y = y + row * n;
  const int64_t first = 4 * (int64_t)threadIdx.x, step = 4 * 32 * WARPS;
  float v[4], top = -INFINITY, sum = 0;
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(x, i, n, wide, v, -INFINITY);
    for (int k = 0; k < 4; k++)
      top = fmaxf(top, v[k]);
  }
  top = fg_cuda_group<WARPS>(top, fg_cuda_max());
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(x, i, n, wide, v, -INFINITY);
    for (int k = 0; k < 4; k++)
      sum += i + k < n ? expf(v[k] - top) : 0.0f;
  }
  sum = fg_cuda_group<WARPS>(sum, fg_cuda_sum());
  const float log_sum = logf(sum);
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(x, i, n, wide, v, 0.0f);
    for (int k = 0; k < 4; k++)
      v[k] = logarithm ? v[k] - top - log_sum : expf(v[k] - top) / sum;
    fg_cuda_store4(y, i, n, wide, v);
  }
}

/* ptxas budget: softmax_columns registers 48 shared 0 blocks 5 */
__global__ void __launch_bounds__(256)
    softmax_columns(struct fg_cuda_reals x, struct fg_cuda_reals y, int64_t columns, int64_t n,
                    int64_t inner, bool logarithm) {
  const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns)
    return;
  const int64_t at = c / inner * n * inner + c % inner;
  float top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++)
    top = fmaxf(top, x[at + i * inner]);
  for (int64_t i = 0; i < n; i++)
    sum += expf(x[at + i * inner] - top);
  for (int64_t i = 0; i < n; i++) {
    const float d = x[at + i * inner] - top;
    y.put(at + i * inner, logarithm ? d - logf(sum) : expf(d) / sum);
  }
}

__device__ __forceinline__ float slope(float y, float dy, float sum, bool logarithm) {
  return logarithm ? dy - expf(y) * sum : y * (dy - sum);
}

/* ptxas budget: grad_rows registers 40 shared 32 blocks 6 loads16 stores16 */
template <int WARPS>
__global__ void __launch_bounds__(32 * FG_ROW_WARPS)
    grad_rows(struct fg_cuda_reals y, struct fg_cuda_reals dy, struct fg_cuda_reals dx,
              int64_t rows, int64_t n, bool logarithm, bool wide) {
  const int64_t row = fg_cuda_row<WARPS>();
  if (row >= rows)
    return;
  y = y + row * n;
  dy = dy + row * n;
  dx = dx + row * n;
  const int64_t first = 4 * (int64_t)threadIdx.x, step = 4 * 32 * WARPS;
  float v[4], d[4], sum = 0;
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(y, i, n, wide, v, 0.0f);
    fg_cuda_load4(dy, i, n, wide, d, 0.0f);
    for (int k = 0; k < 4; k++)
      sum += logarithm ? d[k] : d[k] * v[k];
  }
  sum = fg_cuda_group<WARPS>(sum, fg_cuda_sum());
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(y, i, n, wide, v, 0.0f);
    fg_cuda_load4(dy, i, n, wide, d, 0.0f);
    for (int k = 0; k < 4; k++)
      v[k] = slope(v[k], d[k], sum, logarithm);
    fg_cuda_store4(dx, i, n, wide, v);
  }
}

/* ptxas budget: grad_columns registers 48 shared 0 blocks 5 */
__global__ void __launch_bounds__(256)
    grad_columns(struct fg_cuda_reals y, struct fg_cuda_reals dy, struct fg_cuda_reals dx,
                 int64_t columns, int64_t n, int64_t inner, bool logarithm) {
  const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns)
    return;
  const int64_t at = c / inner * n * inner + c % inner;
  float sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += dy[at + i * inner] * (logarithm ? 1.0f : y[at + i * inner]);
  for (int64_t i = 0; i < n; i++)
    dx.put(at + i * inner, slope(y[at + i * inner], dy[at + i * inner], sum, logarithm));
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, call->op == FG_OP_softmax ? 1 : 3, 1));
  FG_TRY(fg_cuda_check_real(call, 3, 1));
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->softmax.axis;
  FG_CUDA_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_CUDA_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  FG_CUDA_NEED(call, call->op == FG_OP_softmax || fg_same_shape(x, &call->in[1]), "shapes differ");
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_softmax_attrs *a = &call->attrs->softmax;
  const struct fg_tensor *t = &call->in[0];
  const struct fg_cuda_reals x = fg_cuda_reals_of(t), dy = fg_cuda_reals_in(call, 1);
  const struct fg_cuda_reals y = fg_cuda_reals_out(call, 0);
  int64_t n = t->dim[a->axis], inner = fg_cuda_span(t, a->axis + 1, t->rank);
  int64_t rows = fg_cuda_span(t, 0, a->axis) * inner;
  cudaStream_t s = (cudaStream_t)stream;
  bool forward = call->op == FG_OP_softmax;
  bool wide =
      n % 4 == 0 && fg_cuda_aligned(x) && fg_cuda_aligned(y) && (forward || fg_cuda_aligned(dy));
  dim3 columns(fg_cuda_blocks(rows, 256));
  if (rows == 0 || n == 0)
    return FGSM_OK;
  if (forward && inner == 1)
    return fg_cuda_launched(
        call, FG_CUDA_LAUNCH_ROWS(softmax_rows, rows, n, s, x, y, rows, n, a->log, wide));
  if (forward)
    return fg_cuda_launched(
        call, FGSM_LAUNCH(softmax_columns, columns, dim3(256), 0, s, x, y, rows, n, inner, a->log));
  if (inner == 1)
    return fg_cuda_launched(
        call, FG_CUDA_LAUNCH_ROWS(grad_rows, rows, n, s, x, dy, y, rows, n, a->log, wide));
  return fg_cuda_launched(
      call, FGSM_LAUNCH(grad_columns, columns, dim3(256), 0, s, x, dy, y, rows, n, inner, a->log));
}
} // namespace

const struct fg_kernel fg_cuda_softmax = {prepare, run, NULL};
const struct fg_kernel fg_cuda_softmax_grad = {prepare, run, NULL};
