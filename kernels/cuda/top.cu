/* top: where the k best elements of each line lie. An element becomes a key, a number that is larger
 * the better the element is; places decide between equal keys, so that the order is total.
 *
 * Few are picked one after another, each the best of what comes after the one before (a block to a
 * line, a tree of fixed shape). Of many, each element counts how many come before it, which is its
 * place in the result (the keys of a block at a time in shared memory).
 *
 * Floor: an element's bytes, k times where they are picked; 8 bytes a result. Comparisons: k n, or
 * n n. */
#include "cuda.h"

namespace {
enum { FEW = 8, THREADS = 256 };

struct job {
  const void *x;
  int64_t *y;
  int64_t n, inner, k;
  int type;
  bool smallest, last;
};

/* The element at `at` as a key: floats' bits are ordered as integers once negative ones are turned
 * over; zeros are equal, NaN is above all. */
__device__ __forceinline__ uint64_t key_of(const struct job &job, int64_t at) {
  uint64_t key;
  if (job.type == FG_F32) {
    const float v = ((const float *)job.x)[at] + 0.0f;
    if (v != v)
      return ~(uint64_t)0;
    const uint32_t bits = __float_as_uint(v);
    key = bits >> 31 ? 0x7FFFFFFFu - (bits & 0x7FFFFFFFu) : (uint64_t)bits + 0x80000000u;
    return job.smallest ? 0xFFFFFFFFull - key : key;
  }
  key = (uint64_t)fg_cuda_get_int(job.x, job.type, at) ^ ((uint64_t)1 << 63);
  return job.smallest ? ~key : key;
}

/* An element of a line; place -1 is worse than any. */
struct candidate {
  uint64_t key;
  int64_t place;
};

/* Whether a comes before b. */
__device__ __forceinline__ bool precedes(const candidate &a, const candidate &b, bool last) {
  if (a.place < 0 || b.place < 0)
    return a.place >= 0;
  return a.key != b.key ? a.key > b.key : last ? a.place > b.place : a.place < b.place;
}

__device__ __forceinline__ int64_t start_of(const struct job &job, int64_t line, int64_t n) {
  return line / job.inner * n * job.inner + line % job.inner;
}

/* ptxas budget: pick_few registers 40 shared 160 blocks 6 */
__global__ void __launch_bounds__(THREADS) pick_few(struct job job) {
  FGSM_SHARED(candidate, best, [THREADS / 32]);
  const int64_t start = start_of(job, blockIdx.x, job.n), to = start_of(job, blockIdx.x, job.k);
  candidate before = {0, -1}; /* the one picked last */
  for (int64_t k = 0; k < job.k; k++) {
    candidate mine = {0, -1};
    for (int64_t i = threadIdx.x; i < job.n; i += THREADS) {
      const candidate c = {key_of(job, start + i * job.inner), i};
      if ((k == 0 || precedes(before, c, job.last)) && precedes(c, mine, job.last))
        mine = c;
    }
    for (int d = 16; d; d >>= 1) {
      const candidate other = {__shfl_xor_sync(0xFFFFFFFFu, mine.key, d),
                               __shfl_xor_sync(0xFFFFFFFFu, mine.place, d)};
      if (precedes(other, mine, job.last))
        mine = other;
    }
    if ((threadIdx.x & 31) == 0)
      best[threadIdx.x >> 5] = mine;
    __syncthreads();
    before = best[0];
    for (int w = 1; w < THREADS / 32; w++)
      if (precedes(best[w], before, job.last))
        before = best[w];
    if (threadIdx.x == 0)
      job.y[to + k * job.inner] = before.place;
    __syncthreads();
  }
}

/* A thread to an element, blocks of a line side by side.
 * ptxas budget: rank_all registers 32 shared 2048 blocks 8 */
__global__ void __launch_bounds__(THREADS) rank_all(struct job job, int64_t blocks) {
  FGSM_SHARED(uint64_t, keys, [THREADS]);
  const int64_t line = blockIdx.x / blocks, start = start_of(job, line, job.n);
  const int64_t i = blockIdx.x % blocks * THREADS + threadIdx.x;
  candidate mine = {0, -1};
  if (i < job.n) {
    mine.key = key_of(job, start + i * job.inner);
    mine.place = i;
  }
  int64_t rank = 0;
  for (int64_t from = 0; from < job.n; from += THREADS) {
    const int64_t j = from + threadIdx.x, left = job.n - from;
    keys[threadIdx.x] = j < job.n ? key_of(job, start + j * job.inner) : 0;
    __syncthreads();
    for (int t = 0; t < (left < THREADS ? (int)left : THREADS); t++) {
      const candidate other = {keys[t], from + t};
      rank += mine.place >= 0 && precedes(other, mine, job.last);
    }
    __syncthreads();
  }
  if (mine.place >= 0 && rank < job.k)
    job.y[start_of(job, line, job.k) + rank * job.inner] = i;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  const struct fg_top_attrs *a = &call->attrs->top;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_CUDA_NEED(call, a->axis >= 0 && a->axis < x->rank, "axis %d of rank %d", a->axis, x->rank);
  FG_CUDA_NEED(call, x->type == FG_F32 || fg_cuda_is_int(x->type), "%s operand",
               fg_type_name(x->type));
  FG_CUDA_NEED(call, y->type == FG_I64 && y->rank == x->rank, "the result is %s of rank %d",
               fg_type_name(y->type), y->rank);
  FG_CUDA_NEED(call, a->k >= 0 && a->k <= x->dim[a->axis], "%lld of %lld elements", (long long)a->k,
               (long long)x->dim[a->axis]);
  for (int i = 0; i < x->rank; i++)
    FG_CUDA_NEED(call, y->dim[i] == (i == a->axis ? a->k : x->dim[i]), "dim %d of the result", i);
  const int64_t n = x->dim[a->axis], each = (n + THREADS - 1) / THREADS;
  FG_CUDA_NEED(call, n == 0 || fg_count(x) / n * each <= INT32_MAX, "too many lines");
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_top_attrs *a = &call->attrs->top;
  const struct fg_tensor *x = &call->in[0];
  if (fg_count(&call->out[0]) == 0)
    return FGSM_OK;
  const int64_t n = x->dim[a->axis], lines = fg_count(x) / n, blocks = fg_cuda_blocks(n, THREADS);
  const struct job job = {x->data,     (int64_t *)call->out[0].data,
                          n,           fg_cuda_span(x, a->axis + 1, x->rank),
                          a->k,        (int)x->type,
                          a->smallest, a->last};
  cudaStream_t s = (cudaStream_t)stream;
  if (a->k <= FEW)
    return fg_cuda_launched(call,
                            FGSM_LAUNCH(pick_few, dim3((unsigned)lines), dim3(THREADS), 0, s, job));
  return fg_cuda_launched(call, FGSM_LAUNCH(rank_all, dim3((unsigned)(lines * blocks)),
                                            dim3(THREADS), 0, s, job, blocks));
}
} // namespace

const struct fg_kernel fg_cuda_top = {prepare, run, NULL};
