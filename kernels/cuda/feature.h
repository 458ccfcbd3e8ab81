/* What the attack's kernels share: samples cut into chunks of features, and sums over a sample in two
 * stages of fixed order.
 *
 * A block owns one chunk of one sample. It leaves a survey (sums, the largest, counts) in scratch;
 * one block per sample then folds the chunks' surveys into the sample's. Everything that decides
 * where a number lands is computed in double, as in the oracle, and rounded once. */
#ifndef FG_CUDA_FEATURE_H
#define FG_CUDA_FEATURE_H

#include "keep.cuh"

enum { FG_CHUNK_THREADS = 256, FG_CHUNK = 4096, FG_CHUNK_WARPS = FG_CHUNK_THREADS / 32 };

struct fg_cuda_survey {
  double sum, squares;         /* of |v| and v^2                    */
  double top;                  /* the largest |v|                   */
  int64_t place;               /* the first that has it             */
  int64_t zeros, free, broken; /* counts, of the gradient's survey  */
};

/* Samples in chunks; block b has chunk b % chunks of sample b / chunks. */
struct fg_cuda_chunks {
  int64_t samples, features, chunks;
};
static inline struct fg_cuda_chunks fg_cuda_chunks_of(const struct fg_tensor *x) {
  struct fg_cuda_chunks c = {x->dim[0], fg_cuda_span(x, 1, x->rank), 1};
  c.chunks = c.features > FG_CHUNK ? (c.features + FG_CHUNK - 1) / FG_CHUNK : 1;
  return c;
}
static inline dim3 fg_cuda_chunk_grid(const struct fg_cuda_chunks &c) {
  return dim3((unsigned)(c.samples * c.chunks));
}
/* Scratch: the chunks' surveys, then `n` surveys for each sample. */
static inline size_t fg_cuda_survey_bytes(const struct fg_cuda_chunks &c, int n) {
  return (size_t)(c.samples * (c.chunks + n)) * sizeof(struct fg_cuda_survey);
}

struct fg_cuda_place {
  int64_t sample, first, last; /* features first..last - 1 of the sample are this block's */
};
__device__ __forceinline__ struct fg_cuda_place fg_cuda_chunk(const struct fg_cuda_chunks &c) {
  struct fg_cuda_place p;
  p.sample = blockIdx.x / c.chunks;
  p.first = blockIdx.x % c.chunks * FG_CHUNK;
  p.last = min(p.first + FG_CHUNK, c.features);
  return p;
}

__device__ __forceinline__ struct fg_cuda_survey fg_cuda_survey_none() {
  struct fg_cuda_survey s = {0, 0, 0, INT64_MAX, 0, 0, 0};
  return s;
}
/* Adds the component v at feature i. */
__device__ __forceinline__ void fg_cuda_survey_add(struct fg_cuda_survey *s, double v, int64_t i) {
  const double size = fabs(v);
  s->sum += size;
  s->squares += v * v;
  if (size > s->top || (size == s->top && i < s->place)) {
    s->top = size;
    s->place = i;
  }
}
/* The block's threads' surveys as one, on every thread. */
__device__ __forceinline__ struct fg_cuda_survey fg_cuda_survey_group(struct fg_cuda_survey s) {
  struct fg_cuda_survey all;
  all.sum = fg_cuda_group<FG_CHUNK_WARPS>(s.sum, fg_cuda_sum());
  all.squares = fg_cuda_group<FG_CHUNK_WARPS>(s.squares, fg_cuda_sum());
  all.top = fg_cuda_group<FG_CHUNK_WARPS>(s.top, fg_cuda_max());
  all.place = fg_cuda_group<FG_CHUNK_WARPS>(s.top == all.top ? s.place : INT64_MAX, fg_cuda_min());
  all.zeros = fg_cuda_group<FG_CHUNK_WARPS>(s.zeros, fg_cuda_sum());
  all.free = fg_cuda_group<FG_CHUNK_WARPS>(s.free, fg_cuda_sum());
  all.broken = fg_cuda_group<FG_CHUNK_WARPS>(s.broken, fg_cuda_sum());
  return all;
}

namespace {
/* ptxas budget: fold_surveys registers 40 shared 256 blocks 6 */
__global__ void __launch_bounds__(FG_CHUNK_THREADS)
    fold_surveys(const struct fg_cuda_survey *parts, struct fg_cuda_survey *samples,
                 int64_t chunks) {
  struct fg_cuda_survey s = fg_cuda_survey_none();
  parts += blockIdx.x * chunks;
  for (int64_t c = threadIdx.x; c < chunks; c += FG_CHUNK_THREADS) {
    const struct fg_cuda_survey p = parts[c];
    s.sum += p.sum;
    s.squares += p.squares;
    s.zeros += p.zeros;
    s.free += p.free;
    s.broken += p.broken;
    if (p.top > s.top || (p.top == s.top && p.place < s.place)) {
      s.top = p.top;
      s.place = p.place;
    }
  }
  s = fg_cuda_survey_group(s);
  if (threadIdx.x == 0)
    samples[blockIdx.x] = s;
}

inline fgsm_status run_fold(const struct fg_call *call, const struct fg_cuda_chunks &c,
                            const struct fg_cuda_survey *parts, struct fg_cuda_survey *samples,
                            cudaStream_t stream) {
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(fold_surveys, dim3((unsigned)c.samples),
                                      dim3(FG_CHUNK_THREADS), 0, stream, parts, samples, c.chunks));
}
} // namespace

/* ---- features */

/* eps_map or mask: F32, or bytes. */
struct fg_cuda_feature {
  const void *data;
  bool bytes;
  __device__ __forceinline__ double at(int64_t i) const {
    return bytes ? (double)((const uint8_t *)data)[i] : (double)((const float *)data)[i];
  }
};
static inline struct fg_cuda_feature fg_cuda_feature_of(const struct fg_call *call, int i) {
  struct fg_cuda_feature f = {fg_cuda_from<void>(call, i),
                              fg_cuda_in(call, i) && call->in[i].type != FG_F32};
  return f;
}

/* A length for feature i, scaled by the map. */
__device__ __forceinline__ double fg_cuda_scale(double length, double eps,
                                                const struct fg_cuda_feature &map, int64_t i) {
  if (!map.data)
    return length;
  return eps > 0 ? length * (map.at(i) / eps) : 0;
}

#endif
