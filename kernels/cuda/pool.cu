/* max_pool, avg_pool and their gradients, in up to three spatial dims, channels first or last. A thread
 * makes one element of the result, so the gradients gather: each place of x asks the windows that cover it, by the
 * stored index (max) or by their size (average), in one order.
 *
 * Floor: max_pool 4 bytes per element of x and 5 per element of y; its gradient 5 per element of dy
 * and 4 of dx; average 4 and 4. A comparison or an addition for each place of each window. */
#include "cuda.h"

namespace {
/* Missing spatial dims lead, with size 1. A plane has x_count or y_count places, at each of which lie
 * `channels` values side by side: one in N C H W, all in N H W C. */
struct window {
  int x[3], y[3], size[3], stride[3], dilation[3], lo[3];
  int64_t x_count, y_count;
  bool include_pad;
  int channels;
};

struct place {
  int at[3];
};
__device__ __forceinline__ struct place place_of(int64_t i, const int (&dim)[3]) {
  struct place p;
  const uint32_t v = (uint32_t)i, d1 = (uint32_t)dim[1], d2 = (uint32_t)dim[2];
  p.at[2] = (int)(v % d2);
  p.at[1] = (int)(v / d2 % d1);
  p.at[0] = (int)(v / d2 / d1);
  return p;
}

/* Element e of tensors whose planes have `count` places: its place in the plane, and where the other
 * tensor's plane, of `other` places, has its channel. */
struct element {
  int64_t base;
  struct place at;
};
__device__ __forceinline__ struct element
element_of(const struct window &w, int64_t e, const int (&dim)[3], int64_t count, int64_t other) {
  const int64_t plane = e / (count * w.channels);
  const uint32_t rest = (uint32_t)(e - plane * count * w.channels), channels = (uint32_t)w.channels;
  return {plane * other * w.channels + rest % channels, place_of(rest / channels, dim)};
}

/* Calls f(offset in x's plane, number of the place) for each place of y's window that is in x. */
template <class F>
__device__ __forceinline__ void for_window(const struct window &w, const struct place &y, F f) {
  for (int a = 0; a < w.size[0]; a++) {
    const int i = y.at[0] * w.stride[0] + a * w.dilation[0] - w.lo[0];
    for (int b = 0; b < w.size[1]; b++) {
      const int j = y.at[1] * w.stride[1] + b * w.dilation[1] - w.lo[1];
      for (int c = 0; c < w.size[2]; c++) {
        const int k = y.at[2] * w.stride[2] + c * w.dilation[2] - w.lo[2];
        if (i >= 0 && i < w.x[0] && j >= 0 && j < w.x[1] && k >= 0 && k < w.x[2])
          f(((int64_t)i * w.x[1] + j) * w.x[2] + k, (a * w.size[1] + b) * w.size[2] + c);
      }
    }
  }
}

/* The y whose tap `tap` along dim d falls on x, or -1. */
__device__ __forceinline__ int y_under(const struct window &w, int d, int x, int tap) {
  return fg_cuda_result_at(x + w.lo[d] - tap * w.dilation[d], w.stride[d], w.y[d]);
}

/* The transpose of for_window: f(y, number of the place) for each window that covers x. */
template <class F>
__device__ __forceinline__ void for_covers(const struct window &w, const struct place &x, F f) {
  for (int a = 0; a < w.size[0]; a++) {
    const int i = y_under(w, 0, x.at[0], a);
    for (int b = 0; b < w.size[1] && i >= 0; b++) {
      const int j = y_under(w, 1, x.at[1], b);
      for (int c = 0; c < w.size[2] && j >= 0; c++) {
        const int k = y_under(w, 2, x.at[2], c);
        if (k >= 0)
          f(place{{i, j, k}}, (a * w.size[1] + b) * w.size[2] + c);
      }
    }
  }
}

/* What the mean at y divides by. */
__device__ __forceinline__ int divisor_at(const struct window &w, const struct place &y) {
  int n = 1;
  for (int d = 0; d < 3; d++) {
    int real = 0;
    for (int t = 0; t < w.size[d]; t++) {
      const int x = y.at[d] * w.stride[d] + t * w.dilation[d] - w.lo[d];
      real += w.include_pad || (x >= 0 && x < w.x[d]);
    }
    n *= real;
  }
  return n ? n : 1;
}

__device__ __forceinline__ int64_t offset_in_y(const struct window &w, const struct place &y) {
  return ((int64_t)y.at[0] * w.y[1] + y.at[1]) * w.y[2] + y.at[2];
}

/* ptxas budget: largest registers 32 shared 0 blocks 8 */
template <class I>
__global__ void __launch_bounds__(256)
    largest(struct fg_cuda_reals x, struct fg_cuda_reals y, I *index, int64_t n, struct window w) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= n)
    return;
  const struct element y_e = element_of(w, e, w.y, w.y_count, w.x_count);
  float top = -INFINITY;
  int where = 0;
  bool found = false;
  for_window(w, y_e.at, [&](int64_t at, int p) {
    const float v = x[y_e.base + at * w.channels];
    if (!found || v > top || (isnan(v) && !isnan(top))) {
      top = v;
      where = p;
      found = true;
    }
  });
  y.put(e, top);
  if (index)
    index[e] = (I)where;
}

/* ptxas budget: largest_grad registers 32 shared 0 blocks 8 */
template <class I>
__global__ void __launch_bounds__(256)
    largest_grad(struct fg_cuda_reals dy, const I *index, struct fg_cuda_reals dx, int64_t n,
                 struct window w) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= n)
    return;
  const struct element x_e = element_of(w, e, w.x, w.x_count, w.y_count);
  float sum = 0;
  for_covers(w, x_e.at, [&](const struct place &y, int p) {
    const int64_t at = x_e.base + offset_in_y(w, y) * w.channels;
    if ((int)index[at] == p)
      sum += dy[at];
  });
  dx.put(e, sum);
}

/* ptxas budget: average registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(256)
    average(struct fg_cuda_reals x, struct fg_cuda_reals y, int64_t n, struct window w) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= n)
    return;
  const struct element y_e = element_of(w, e, w.y, w.y_count, w.x_count);
  double sum = 0;
  for_window(w, y_e.at, [&](int64_t i, int) { sum += x[y_e.base + i * w.channels]; });
  y.put(e, (float)(sum / divisor_at(w, y_e.at)));
}

/* ptxas budget: average_grad registers 48 shared 0 blocks 5 */
__global__ void __launch_bounds__(256)
    average_grad(struct fg_cuda_reals dy, struct fg_cuda_reals dx, int64_t n, struct window w) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= n)
    return;
  const struct element x_e = element_of(w, e, w.x, w.x_count, w.y_count);
  double sum = 0;
  for_covers(w, x_e.at, [&](const struct place &y, int) {
    sum += (double)dy[x_e.base + offset_in_y(w, y) * w.channels] / divisor_at(w, y);
  });
  dx.put(e, (float)sum);
}

/* The window of tensors x [N, C, spatial...] and y, declined where they do not fit. */
fgsm_status measure(const struct fg_call *call, const struct fg_tensor *x,
                    const struct fg_tensor *y, struct window *w) {
  const struct fg_pool_attrs *a = &call->attrs->pool;
  int s = a->spatial;
  int64_t places = 1;
  FG_CUDA_NEED(call, s >= 1 && s <= 3, "%d spatial dims", s);
  FG_CUDA_NEED(call, x->rank == s + 2 && y->rank == s + 2, "ranks %d and %d, not %d", x->rank,
               y->rank, s + 2);
  FG_CUDA_NEED(call, x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1], "batch or channels differ");
  *w = {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, 1, 1, a->include_pad, 1};
  if (x->layout == FG_NHWC)
    w->channels = (int)(x->dim[1] <= INT32_MAX ? x->dim[1] : 0);
  for (int i = 0; i < s; i++) {
    int d = 3 - s + i;
    FG_CUDA_NEED(call,
                 a->window[i] >= 1 && a->stride[i] >= 1 && a->dilation[i] >= 1 &&
                     a->pad_lo[i] >= 0 && a->pad_hi[i] >= 0,
                 "window, stride, dilation or padding out of range");
    int64_t reach = (int64_t)(a->window[i] - 1) * a->dilation[i];
    int64_t padded = x->dim[2 + i] + a->pad_lo[i] + a->pad_hi[i], room = padded - reach - 1;
    FG_CUDA_NEED(call, room >= 0, "the window is larger than the padded image");
    FG_CUDA_NEED(call, padded <= INT32_MAX / 2, "spatial dim %d is too long", i);
    FG_CUDA_NEED(call, y->dim[2 + i] == room / a->stride[i] + 1, "spatial dim %d is %lld", i,
                 (long long)y->dim[2 + i]);
    w->x[d] = (int)x->dim[2 + i];
    w->y[d] = (int)y->dim[2 + i];
    w->size[d] = a->window[i];
    w->stride[d] = a->stride[i];
    w->dilation[d] = a->dilation[i];
    w->lo[d] = a->pad_lo[i];
    w->x_count *= w->x[d];
    w->y_count *= w->y[d];
    places *= a->window[i];
    FG_CUDA_NEED(call, places <= INT32_MAX && w->x_count <= INT32_MAX && w->y_count <= INT32_MAX,
                 "a plane or window of more places than 32 bits count");
  }
  FG_CUDA_NEED(call,
               x->layout == FG_PLAIN || (w->channels > 0 && w->x_count * w->channels <= INT32_MAX &&
                                         w->y_count * w->channels <= INT32_MAX),
               "an image of more values than 32 bits count, or of none");
  return FGSM_OK;
}

bool is_small(const struct window &w) {
  return (int64_t)w.size[0] * w.size[1] * w.size[2] <= 255;
}

fgsm_status check_index(const struct fg_call *call, const struct fg_tensor *index,
                        const struct fg_tensor *y, const struct window &w) {
  FG_CUDA_NEED(call, index->type == (is_small(w) ? FG_U8 : FG_I32), "the index is %s",
               fg_type_name(index->type));
  FG_CUDA_NEED(call, fg_same_shape(index, y), "index and result differ in shape");
  return FGSM_OK;
}

fgsm_status prepare_forward(struct fg_call *call, struct fg_device *) {
  struct window w;
  FG_TRY(fg_cuda_check(call, 1, 1));
  FG_TRY(fg_cuda_check_real(call, 1, 1));
  FG_TRY(measure(call, &call->in[0], &call->out[0], &w));
  if (call->op == FG_OP_max_pool && fg_cuda_out(call, 1))
    FG_TRY(check_index(call, &call->out[1], &call->out[0], w));
  return FGSM_OK;
}

fgsm_status prepare_backward(struct fg_call *call, struct fg_device *) {
  struct window w;
  bool by_index = call->op == FG_OP_max_pool_grad;
  FG_TRY(fg_cuda_check(call, by_index ? 3 : 1, 1));
  FG_TRY(fg_cuda_check_real(call, 1, 1));
  FG_TRY(measure(call, &call->out[0], &call->in[0], &w));
  if (by_index)
    FG_TRY(check_index(call, &call->in[1], &call->in[0], w));
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  bool forward = call->op == FG_OP_max_pool || call->op == FG_OP_avg_pool;
  struct window w;
  FG_TRY(measure(call, forward ? &call->in[0] : &call->out[0],
                 forward ? &call->out[0] : &call->in[0], &w));
  const struct fg_cuda_reals from = fg_cuda_reals_in(call, 0), to = fg_cuda_reals_out(call, 0);
  int64_t n = fg_count(&call->out[0]);
  dim3 blocks(fg_cuda_blocks(n, 256)), threads(256);
  cudaStream_t s = (cudaStream_t)stream;
  if (n == 0)
    return FGSM_OK;
  if (call->op == FG_OP_avg_pool)
    return fg_cuda_launched(call, FGSM_LAUNCH(average, blocks, threads, 0, s, from, to, n, w));
  if (call->op == FG_OP_avg_pool_grad)
    return fg_cuda_launched(call, FGSM_LAUNCH(average_grad, blocks, threads, 0, s, from, to, n, w));
  if (forward && is_small(w))
    return fg_cuda_launched(call, FGSM_LAUNCH(largest<uint8_t>, blocks, threads, 0, s, from, to,
                                              fg_cuda_to<uint8_t>(call, 1), n, w));
  if (forward)
    return fg_cuda_launched(call, FGSM_LAUNCH(largest<int32_t>, blocks, threads, 0, s, from, to,
                                              fg_cuda_to<int32_t>(call, 1), n, w));
  if (is_small(w))
    return fg_cuda_launched(call, FGSM_LAUNCH(largest_grad<uint8_t>, blocks, threads, 0, s, from,
                                              fg_cuda_from<uint8_t>(call, 1), to, n, w));
  return fg_cuda_launched(call, FGSM_LAUNCH(largest_grad<int32_t>, blocks, threads, 0, s, from,
                                            fg_cuda_from<int32_t>(call, 1), to, n, w));
}
} // namespace

const struct fg_kernel fg_cuda_max_pool = {prepare_forward, run, NULL};
const struct fg_kernel fg_cuda_max_pool_grad = {prepare_backward, run, NULL};
const struct fg_kernel fg_cuda_avg_pool = {prepare_forward, run, NULL};
const struct fg_kernel fg_cuda_avg_pool_grad = {prepare_backward, run, NULL};
