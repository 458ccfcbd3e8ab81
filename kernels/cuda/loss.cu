/* loss: per sample its value, its gradient, its prediction, in one launch and one reading of the
 * logits from memory: a warp to a sample (a block beyond 1024 classes), which reads its row again
 * from cache.
 *
 * A NaN logit makes the sample's loss and gradient NaN and its prediction -1; a label out of range
 * makes the loss NaN and the gradient zero (but of a linear one, which asks for none). Floor: 8 bytes a
 * logit and 12 a sample; for ce two exponentials and about 8 FLOPs a logit, for linear 2, for margin and
 * dlr comparisons alone. */
#include "cuda.h"

namespace {
struct best {
  float value;
  int64_t at; /* -1: none */
};

/* The first largest of z apart from places a and b (-1: none). No z is NaN. */
template <int WARPS>
__device__ struct best largest(const float *z, int64_t k, int64_t a, int64_t b) {
  struct best top = {-INFINITY, INT64_MAX};
  for (int64_t j = threadIdx.x; j < k; j += 32 * WARPS)
    if (j != a && j != b && (z[j] > top.value || top.at == INT64_MAX))
      top = {z[j], j};
  const float most = fg_cuda_group<WARPS>(top.value, fg_cuda_max());
  const int64_t mine = top.value == most ? top.at : INT64_MAX;
  const int64_t first = fg_cuda_group<WARPS>(mine, fg_cuda_min());
  return {most, first == INT64_MAX ? -1 : first};
}

struct job {
  const float *logits, *functional;
  const int32_t *labels;
  float *dlogits, *loss;
  int32_t *prediction;
  int64_t n, k;
  int kind;
  bool targeted, parity;
};

template <int WARPS>
__device__ float cross_entropy(const struct job &job, const float *z, int64_t y,
                               const struct best &first, float sign, float *d) {
  const int64_t k = job.k;
  double sum = 0, others = 0;
  for (int64_t j = threadIdx.x; j < k; j += 32 * WARPS)
    sum += (double)expf(z[j] - first.value);
  sum = fg_cuda_group<WARPS>(sum, fg_cuda_sum());
  const float loss = (float)(log(sum) + (double)first.value - (double)z[y]);
  if (job.parity) { /* float, as PyTorch has it: saturated samples get zeros */
    const float log_sum = logf((float)sum);
    for (int64_t j = threadIdx.x; j < k && d; j += 32 * WARPS)
      d[j] = sign * (expf(z[j] - first.value - log_sum) - (j == y ? 1.0f : 0.0f));
    return loss;
  }
  const struct best other = largest<WARPS>(z, k, y, -1);
  for (int64_t j = threadIdx.x; j < k; j += 32 * WARPS) {
    if (j == y)
      continue;
    const float slope = expf(z[j] - other.value);
    others += slope;
    if (d)
      d[j] = sign * slope;
  }
  others = fg_cuda_group<WARPS>(others, fg_cuda_sum());
  if (d && threadIdx.x == 0)
    d[y] = (float)(-sign * others);
  return loss;
}

template <int WARPS>
__device__ float margin(const struct job &job, const float *z, int64_t y, float sign, float *d) {
  const struct best other = largest<WARPS>(z, job.k, y, -1);
  for (int64_t j = threadIdx.x; j < job.k && d; j += 32 * WARPS)
    d[j] = sign * (j == other.at ? 1.0f : j == y ? -1.0f : 0.0f);
  return other.value - z[y];
}

template <int WARPS>
__device__ float logits_ratio(const struct job &job, const float *z, int64_t y,
                              const struct best &first, float sign, float *d) {
  const int64_t k = job.k;
  const struct best other = largest<WARPS>(z, k, y, -1);
  const struct best second = largest<WARPS>(z, k, first.at, -1);
  const struct best third = largest<WARPS>(z, k, first.at, second.at);
  const double u = (double)z[y] - other.value;
  const double v = (double)first.value - third.value + 1e-12;
  for (int64_t j = threadIdx.x; j < k && d; j += 32 * WARPS) {
    double slope = 0;
    slope -= j == y ? 1 / v : 0;
    slope += j == other.at ? 1 / v : 0;
    slope += j == first.at ? u / v / v : 0;
    slope -= j == third.at ? u / v / v : 0;
    d[j] = (float)(sign * slope);
  }
  return (float)(-u / v);
}

template <int WARPS>
__device__ float functional(const struct job &job, const float *z, float sign, float *d) {
  double sum = 0;
  for (int64_t j = threadIdx.x; j < job.k; j += 32 * WARPS) {
    const float c = job.functional[j];
    sum += (double)c * z[j];
    if (d)
      d[j] = sign * c;
  }
  return (float)fg_cuda_group<WARPS>(sum, fg_cuda_sum());
}

/* ptxas budget: loss_rows registers 48 shared 192 blocks 5 */
template <int WARPS>
__global__ void __launch_bounds__(32 * FG_ROW_WARPS) loss_rows(struct job job) {
  const int64_t row = fg_cuda_row<WARPS>();
  if (row >= job.n)
    return;
  const float *z = job.logits + row * job.k;
  float *d = job.dlogits ? job.dlogits + row * job.k : NULL;
  const int64_t y = job.labels[row];
  const float sign = job.targeted ? -1.0f : 1.0f;
  const bool labelled = (y >= 0 && y < job.k) || job.kind == FG_LOSS_linear;
  int broken = 0;
  for (int64_t j = threadIdx.x; j < job.k; j += 32 * WARPS)
    broken |= isnan(z[j]);
  broken = fg_cuda_group<WARPS>(broken, fg_cuda_max());
  struct best first = {-INFINITY, -1};
  if (!broken)
    first = largest<WARPS>(z, job.k, -1, -1);
  float loss = NAN;
  if (broken || !labelled) {
    for (int64_t j = threadIdx.x; j < job.k && d; j += 32 * WARPS)
      d[j] = labelled ? NAN : 0.0f;
  } else if (job.kind == FG_LOSS_linear) {
    loss = functional<WARPS>(job, z, sign, d);
  } else if (job.kind == FG_LOSS_ce) {
    loss = cross_entropy<WARPS>(job, z, y, first, sign, d);
  } else if (job.kind == FG_LOSS_margin) {
    loss = margin<WARPS>(job, z, y, sign, d);
  } else {
    loss = logits_ratio<WARPS>(job, z, y, first, sign, d);
  }
  if (threadIdx.x == 0 && job.loss)
    job.loss[row] = loss;
  if (threadIdx.x == 0 && job.prediction)
    job.prediction[row] = (int32_t)first.at;
}

enum { DLOGITS, LOSS, PREDICTION };

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 3, 0));
  FG_TRY(fg_cuda_check_real(call, 1, 1 << DLOGITS | 1 << LOSS));
  const struct fg_loss_attrs *a = &call->attrs->loss;
  const struct fg_tensor *z = &call->in[0], *labels = &call->in[1];
  const struct fg_tensor *loss = fg_cuda_out(call, LOSS);
  const struct fg_tensor *prediction = fg_cuda_out(call, PREDICTION);
  FG_CUDA_NEED(call, z->rank == 2, "logits of rank %d", z->rank);
  FG_CUDA_NEED(call, labels->type == FG_I32 && labels->rank == 1 && labels->dim[0] == z->dim[0],
               "labels are not int32 [%lld]", (long long)z->dim[0]);
  FG_CUDA_NEED(call, (unsigned)a->kind <= FG_LOSS_linear, "unknown kind");
  FG_TRY(fg_cuda_check_functional(call, a, 2, z->dim[1]));
  int64_t least = a->kind == FG_LOSS_margin ? 2 : a->kind == FG_LOSS_dlr ? 3 : 1;
  FG_CUDA_NEED(call, z->dim[1] >= least, "%lld classes; this loss needs %lld", (long long)z->dim[1],
               (long long)least);
  FG_CUDA_NEED(call, !fg_cuda_out(call, DLOGITS) || fg_same_shape(z, &call->out[DLOGITS]),
               "logits and gradient differ in shape");
  FG_CUDA_NEED(call, !loss || (loss->rank == 1 && loss->dim[0] == z->dim[0]), "loss is not [N]");
  FG_CUDA_NEED(call,
               !prediction || (prediction->type == FG_I32 && prediction->rank == 1 &&
                               prediction->dim[0] == z->dim[0]),
               "prediction is not int32 [N]");
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_loss_attrs *a = &call->attrs->loss;
  const struct fg_tensor *z = &call->in[0];
  struct job job = {(const float *)z->data,
                    fg_cuda_from<float>(call, 2),
                    (const int32_t *)call->in[1].data,
                    fg_cuda_to<float>(call, DLOGITS),
                    fg_cuda_to<float>(call, LOSS),
                    fg_cuda_to<int32_t>(call, PREDICTION),
                    z->dim[0],
                    z->dim[1],
                    (int)a->kind,
                    a->targeted,
                    a->parity};
  if (job.n == 0)
    return FGSM_OK;
  return fg_cuda_launched(call,
                          FG_CUDA_LAUNCH_ROWS(loss_rows, job.n, job.k, (cudaStream_t)stream, job));
}
} // namespace

const struct fg_kernel fg_cuda_loss = {prepare, run, NULL};
