/* layer_norm, layer_norm_grad. A row is a warp's (a block's beyond 1024 elements); its second and
 * third reading come from cache. dscale and dbias are sums down the columns: 32 columns to a block,
 * eight threads to a column, their sums added in order.
 *
 * Floor: layer_norm 8 bytes an element, the gradient 12 for dx and 8 more for dscale and dbias;
 * about 8 and 12 FLOPs. */
#include "layer_norm_own.h"
#include "cuda.h"

namespace {
/* ptxas budget: normalise_rows registers 40 shared 32 blocks 6 loads16 stores16 */
template <int WARPS>
__global__ void __launch_bounds__(32 * FG_ROW_WARPS)
    normalise_rows(struct fg_cuda_reals x, const float *scale, const float *bias,
                   struct fg_cuda_reals y, float *mean, float *rstd, int64_t rows, int64_t n,
                   double epsilon, bool wide) {
  const int64_t row = fg_cuda_row<WARPS>();
  if (row >= rows)
    return;
  x = x + row * n;
  y = y + row * n;
  const int64_t first = 4 * (int64_t)threadIdx.x, step = 4 * 32 * WARPS;
  float v[4], s[4], b[4], sum = 0, squares = 0;
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(x, i, n, wide, v, 0.0f);
    sum += (v[0] + v[1]) + (v[2] + v[3]);
  }
  const float mu = fg_cuda_group<WARPS>(sum, fg_cuda_sum()) / (float)n;
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(x, i, n, wide, v, mu);
    for (int k = 0; k < 4; k++)
      squares += (v[k] - mu) * (v[k] - mu);
  }
  squares = fg_cuda_group<WARPS>(squares, fg_cuda_sum());
  const float r = (float)(1 / sqrt((double)squares / (double)n + epsilon));
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(x, i, n, wide, v, 0.0f);
    if (scale)
      fg_cuda_load4(scale, i, n, wide, s, 0.0f);
    if (bias)
      fg_cuda_load4(bias, i, n, wide, b, 0.0f);
    for (int k = 0; k < 4; k++) {
      v[k] = (v[k] - mu) * r;
      v[k] = scale ? v[k] * s[k] : v[k];
      v[k] = bias ? v[k] + b[k] : v[k];
    }
    fg_cuda_store4(y, i, n, wide, v);
  }
  if (threadIdx.x == 0 && mean)
    mean[row] = mu;
  if (threadIdx.x == 0 && rstd)
    rstd[row] = r;
}

/* ptxas budget: grad_rows registers 40 shared 32 blocks 6 loads16 stores16 */
template <int WARPS>
__global__ void __launch_bounds__(32 * FG_ROW_WARPS)
    grad_rows(struct fg_cuda_reals dy, struct fg_cuda_reals x, const float *scale,
              const float *mean, const float *rstd, struct fg_cuda_reals dx, int64_t rows,
              int64_t n, bool wide) {
  const int64_t row = fg_cuda_row<WARPS>();
  if (row >= rows)
    return;
  dy = dy + row * n;
  x = x + row * n;
  dx = dx + row * n;
  const float mu = mean[row], r = rstd[row];
  const int64_t first = 4 * (int64_t)threadIdx.x, step = 4 * 32 * WARPS;
  float g[4], v[4], s[4] = {1, 1, 1, 1}, sum_g = 0, sum_gx = 0;
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(dy, i, n, wide, g, 0.0f);
    fg_cuda_load4(x, i, n, wide, v, mu);
    if (scale)
      fg_cuda_load4(scale, i, n, wide, s, 0.0f);
    for (int k = 0; k < 4; k++) {
      sum_g += g[k] * s[k];
      sum_gx += g[k] * s[k] * ((v[k] - mu) * r);
    }
  }
  sum_g = fg_cuda_group<WARPS>(sum_g, fg_cuda_sum()) / (float)n;
  sum_gx = fg_cuda_group<WARPS>(sum_gx, fg_cuda_sum()) / (float)n;
  for (int64_t i = first; i < n; i += step) {
    fg_cuda_load4(dy, i, n, wide, g, 0.0f);
    fg_cuda_load4(x, i, n, wide, v, mu);
    if (scale)
      fg_cuda_load4(scale, i, n, wide, s, 0.0f);
    for (int k = 0; k < 4; k++)
      g[k] = r * (g[k] * s[k] - sum_g - (v[k] - mu) * r * sum_gx);
    fg_cuda_store4(dx, i, n, wide, g);
  }
}

/* ptxas budget: grad_columns registers 40 shared 4224 blocks 6 */
__global__ void __launch_bounds__(256)
    grad_columns(struct fg_cuda_reals dy, struct fg_cuda_reals x, const float *mean,
                 const float *rstd, float *dscale, float *dbias, int64_t rows, int64_t n) {
  FGSM_SHARED(double, part, [2][8][33]);
  const int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x;
  double scales = 0, biases = 0;
  for (int64_t row = threadIdx.y; c < n && row < rows; row += 8) {
    const float d = dy[row * n + c];
    scales += (double)(d * ((x[row * n + c] - mean[row]) * rstd[row]));
    biases += d;
  }
  part[0][threadIdx.y][threadIdx.x] = scales;
  part[1][threadIdx.y][threadIdx.x] = biases;
  __syncthreads();
  if (threadIdx.y > 1 || c >= n)
    return;
  double sum = 0;
  for (int i = 0; i < 8; i++)
    sum += part[threadIdx.y][i][threadIdx.x];
  float *to = threadIdx.y ? dbias : dscale;
  if (to)
    to[c] = (float)sum;
}

/* t is absent or has x's last axes' shape (row), or x's with the last axes 1 (statistic). */
bool is_row(const struct fg_tensor *t, const struct fg_tensor *x, int axis) {
  if (!t)
    return true;
  if (t->rank != x->rank - axis)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != x->dim[axis + i])
      return false;
  return true;
}
bool is_statistic(const struct fg_tensor *t, const struct fg_tensor *x, int axis) {
  if (!t)
    return true;
  if (t->rank != x->rank)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != (i < axis ? x->dim[i] : 1))
      return false;
  return true;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  FG_TRY(fg_cuda_check_real(call, 7, 7));
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->layer_norm.axis;
  FG_CUDA_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_CUDA_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  for (int i = 1; i < 3; i++) {
    FG_CUDA_NEED(call, is_row(fg_cuda_in(call, i), x, axis), "input %d has another shape", i);
    FG_CUDA_NEED(call, is_statistic(fg_cuda_out(call, i), x, axis), "output %d has another shape",
                 i);
  }
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_layer_norm_attrs *a = &call->attrs->layer_norm;
  const struct fg_tensor *t = &call->in[0];
  const struct fg_cuda_reals x = fg_cuda_reals_of(t), y = fg_cuda_reals_out(call, 0);
  const float *scale = fg_cuda_from<float>(call, 1), *bias = fg_cuda_from<float>(call, 2);
  int64_t rows = fg_cuda_span(t, 0, a->axis), n = fg_cuda_span(t, a->axis, t->rank);
  bool wide = n % 4 == 0 && fg_cuda_aligned(x) && fg_cuda_aligned(y) && fg_cuda_aligned(scale) &&
              fg_cuda_aligned(bias);
  if (rows == 0)
    return FGSM_OK;
  return fg_cuda_launched(call, FG_CUDA_LAUNCH_ROWS(normalise_rows, rows, n, (cudaStream_t)stream,
                                                    x, scale, bias, y, fg_cuda_to<float>(call, 1),
                                                    fg_cuda_to<float>(call, 2), rows, n, a->epsilon,
                                                    wide));
}

enum { DY, X, SCALE, MEAN, RSTD };
enum { DX, DSCALE, DBIAS };

fgsm_status prepare_grad(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1 << DY | 1 << X | 1 << MEAN | 1 << RSTD, 0));
  FG_TRY(fg_cuda_check_real(call, 31, 7));
  const struct fg_tensor *x = &call->in[X], *dx = fg_cuda_out(call, DX);
  int axis = call->attrs->layer_norm.axis;
  FG_CUDA_NEED(call, axis >= 0 && axis < x->rank, "axis %d of rank %d", axis, x->rank);
  FG_CUDA_NEED(call, fg_same_shape(x, &call->in[DY]) && (!dx || fg_same_shape(x, dx)),
               "shapes differ");
  FG_CUDA_NEED(call,
               is_row(fg_cuda_in(call, SCALE), x, axis) &&
                   is_row(fg_cuda_out(call, DSCALE), x, axis) &&
                   is_row(fg_cuda_out(call, DBIAS), x, axis),
               "scale, dscale or dbias has another shape");
  FG_CUDA_NEED(call,
               is_statistic(&call->in[MEAN], x, axis) && is_statistic(&call->in[RSTD], x, axis),
               "mean or rstd has another shape");
  return FGSM_OK;
}

fgsm_status run_grad(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *t = &call->in[X];
  int axis = call->attrs->layer_norm.axis;
  const struct fg_cuda_reals dy = fg_cuda_reals_in(call, DY), x = fg_cuda_reals_in(call, X);
  const struct fg_cuda_reals dx = fg_cuda_reals_out(call, DX);
  const float *scale = fg_cuda_from<float>(call, SCALE), *mean = fg_cuda_from<float>(call, MEAN);
  const float *rstd = fg_cuda_from<float>(call, RSTD);
  float *dscale = fg_cuda_to<float>(call, DSCALE), *dbias = fg_cuda_to<float>(call, DBIAS);
  int64_t rows = fg_cuda_span(t, 0, axis), n = fg_cuda_span(t, axis, t->rank);
  bool wide = n % 4 == 0 && fg_cuda_aligned(x) && fg_cuda_aligned(dy) && fg_cuda_aligned(dx) &&
              fg_cuda_aligned(scale);
  cudaStream_t s = (cudaStream_t)stream;
  if (n == 0)
    return FGSM_OK;
  if (dx.data && rows > 0)
    FG_TRY(fg_cuda_launched(call, FG_CUDA_LAUNCH_ROWS(grad_rows, rows, n, s, dy, x, scale, mean,
                                                      rstd, dx, rows, n, wide)));
  if (!dscale && !dbias)
    return FGSM_OK;
  return fg_cuda_launched(call, FGSM_LAUNCH(grad_columns, dim3(fg_cuda_blocks(n, 32)), dim3(32, 8),
                                            0, s, dy, x, mean, rstd, dscale, dbias, rows, n));
}
} // namespace

const struct fg_kernel fg_cuda_own_layer_norm = {prepare, run, NULL};
const struct fg_kernel fg_cuda_own_layer_norm_grad = {prepare_grad, run_grad, NULL};
