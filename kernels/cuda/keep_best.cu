/* keep_best: replaces sample i of best_* where this one is better: success first, then the loss.
 * Two launches, because every block that copies a piece of a sample decides by the loss and the
 * success that the second then overwrites.
 *
 * Floor: 8 bytes a feature of the samples that are replaced, 26 a sample. */
#include "cuda.h"

namespace {
enum { X, LOSS, PREDICTION, LABELS, BEST_X, BEST_LOSS, BEST_SUCCESS };

struct contest {
  const float *loss;
  const int32_t *prediction, *labels;
  float *best_loss;
  uint8_t *best_success;
  bool targeted;
};

__device__ __forceinline__ bool succeeds(const struct contest &c, int64_t s) {
  const int32_t p = c.prediction[s], y = c.labels[s];
  return p >= 0 && y >= 0 && (p == y) == c.targeted;
}

__device__ __forceinline__ bool is_better(const struct contest &c, int64_t s) {
  const bool success = succeeds(c, s), best_success = c.best_success[s] != 0;
  const float loss = c.loss[s], best = c.best_loss[s];
  if (success != best_success)
    return success;
  if (isnan(loss) || isnan(best))
    return !isnan(loss);
  return c.targeted ? loss < best : loss > best;
}

/* ptxas budget: copy_better registers 16 shared 0 blocks 8 loads16 stores16 */
template <class T>
__global__ void __launch_bounds__(256)
    copy_better(const T *x, T *best_x, int64_t features, unsigned blocks, struct contest c) {
  const int64_t s = blockIdx.x / blocks;
  const int64_t i = (int64_t)(blockIdx.x % blocks) * blockDim.x + threadIdx.x;
  if (i < features && is_better(c, s))
    fgsm_stv(best_x + s * features + i, fgsm_ldv<T>(x + s * features + i));
}

/* ptxas budget: note_better registers 16 shared 0 blocks 8 */
__global__ void __launch_bounds__(256) note_better(int64_t n, struct contest c) {
  const int64_t s = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (s >= n || !is_better(c, s))
    return;
  const bool success = succeeds(c, s);
  c.best_loss[s] = c.loss[s];
  c.best_success[s] = success;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 127, 0));
  FG_TRY(fg_cuda_check_real(call, 1 << X | 1 << LOSS | 1 << BEST_X | 1 << BEST_LOSS, 0));
  const struct fg_tensor *x = &call->in[X];
  FG_CUDA_NEED(call, x->rank >= 1, "x has no batch axis");
  FG_CUDA_NEED(call, fg_same_shape(x, &call->in[BEST_X]), "x and best_x differ in shape");
  static const int per_sample[] = {LOSS, PREDICTION, LABELS, BEST_LOSS, BEST_SUCCESS};
  for (int i : per_sample)
    FG_CUDA_NEED(call, call->in[i].rank == 1 && call->in[i].dim[0] == x->dim[0],
                 "input %d is not [N]", i);
  FG_CUDA_NEED(call,
               call->in[PREDICTION].type == FG_I32 && call->in[LABELS].type == FG_I32 &&
                   call->in[BEST_SUCCESS].type == FG_U8,
               "prediction and labels are int32, best_success is uint8");
  const int64_t blocks = (fg_cuda_span(x, 1, x->rank) + 255) / 256;
  FG_CUDA_NEED(call, blocks <= INT32_MAX && blocks * x->dim[0] <= INT32_MAX,
               "too many samples of so many features");
  return FGSM_OK;
}

template <class T>
fgsm_status copy(const struct fg_call *call, const struct contest &c, int64_t features,
                 cudaStream_t s) {
  int64_t n = call->in[X].dim[0];
  unsigned blocks = fg_cuda_blocks(features, 256);
  return fg_cuda_launched(call, FGSM_LAUNCH(copy_better<T>, dim3((unsigned)n * blocks), dim3(256),
                                            0, s, (const T *)call->in[X].data,
                                            (T *)call->in[BEST_X].data, features, blocks, c));
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[X];
  int64_t n = x->dim[0], features = fg_cuda_span(x, 1, x->rank);
  cudaStream_t s = (cudaStream_t)stream;
  struct contest c = {
      (const float *)call->in[LOSS].data,     (const int32_t *)call->in[PREDICTION].data,
      (const int32_t *)call->in[LABELS].data, (float *)call->in[BEST_LOSS].data,
      (uint8_t *)call->in[BEST_SUCCESS].data, call->attrs->keep_best.targeted};
  bool wide =
      features % 4 == 0 && fg_cuda_aligned(x->data) && fg_cuda_aligned(call->in[BEST_X].data);
  if (n == 0)
    return FGSM_OK;
  if (features > 0)
    FG_TRY(wide ? copy<float4>(call, c, features / 4, s) : copy<float>(call, c, features, s));
  return fg_cuda_launched(
      call, FGSM_LAUNCH(note_better, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0, s, n, c));
}
} // namespace

const struct fg_kernel fg_cuda_keep_best = {prepare, run, NULL};
