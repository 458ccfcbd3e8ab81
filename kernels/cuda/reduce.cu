/* reduce: sum, mean, max, min over a set of axes, in two stages that never depend on who is first:
 * each result's elements are cut into chunks, a chunk is folded by one thread (where neighbours in
 * memory belong to different results) or one block (where they belong to one), and the chunks'
 * folds, in double or int64, are folded in order.
 *
 * Floor: 4 bytes an element read, each result written once; 1 FLOP an element. */
#include "cuda.h"

namespace {
enum { CHUNK_OF_BLOCK = 8192, CHUNK_OF_THREAD = 512 };

struct reduction {
  struct fg_cuda_walk kept, gone; /* offsets into x of a result, and of an element of it */
  int64_t results, elements, chunk, chunks;
  int kind, type;
  bool by_block;
};

__device__ __forceinline__ double fold(int kind, double a, double v) {
  if (kind == FG_REDUCE_max)
    return isnan(a) || a > v ? a : v;
  if (kind == FG_REDUCE_min)
    return isnan(a) || a < v ? a : v;
  return kind == FG_REDUCE_prod ? a * v : a + v;
}
__device__ __forceinline__ int64_t fold(int kind, int64_t a, int64_t v) {
  if (kind == FG_REDUCE_max)
    return a > v ? a : v;
  if (kind == FG_REDUCE_min)
    return a < v ? a : v;
  if (kind == FG_REDUCE_prod)
    return (int64_t)((uint64_t)a * (uint64_t)v);
  return (int64_t)((uint64_t)a + (uint64_t)v);
}
template <class A> struct start;
template <> struct start<double> {
  static __device__ double of(int kind) {
    return kind == FG_REDUCE_max    ? -INFINITY
           : kind == FG_REDUCE_min  ? INFINITY
           : kind == FG_REDUCE_prod ? 1.0
                                    : 0.0;
  }
};
template <> struct start<int64_t> {
  static __device__ int64_t of(int kind) {
    return kind == FG_REDUCE_max    ? INT64_MIN
           : kind == FG_REDUCE_min  ? INT64_MAX
           : kind == FG_REDUCE_prod ? 1
                                    : 0;
  }
};
__device__ __forceinline__ void get(const struct reduction &r, const void *x, int64_t i,
                                    double *v) {
  const struct fg_cuda_reals reals = {const_cast<void *>(x), r.type};
  *v = reals[i];
}
__device__ __forceinline__ void get(const struct reduction &r, const void *x, int64_t i,
                                    int64_t *v) {
  *v = fg_cuda_get_int(x, r.type, i);
}
__device__ __forceinline__ void put(const struct reduction &r, void *y, int64_t i, double v) {
  const struct fg_cuda_reals reals = {y, r.type};
  reals.put(i, (float)(r.kind == FG_REDUCE_mean ? v / (double)r.elements : v));
}
__device__ __forceinline__ void put(const struct reduction &r, void *y, int64_t i, int64_t v) {
  fg_cuda_put_int(y, r.type, i, v);
}

struct folding {
  int kind;
  template <class A> __device__ __forceinline__ A operator()(A a, A v) const {
    return fold(kind, a, v);
  }
};

/* Elements first, first + step, ... before last of the result whose base is x. */
template <class A>
__device__ A fold_range(const struct reduction &r, const void *x, int64_t base, int64_t first,
                        int64_t last, int64_t step) {
  A sum = start<A>::of(r.kind), v;
  for (int64_t i = first; i < last; i += step) {
    int64_t at[1];
    fg_cuda_offsets(r.gone, i, at);
    get(r, x, base + at[0], &v);
    sum = fold(r.kind, sum, v);
  }
  return sum;
}

/* Chunk c of result o goes to part[o * chunks + c], or to y where there is one chunk.
 * ptxas budget: by_block registers 56 shared 64 blocks 5 */
template <class A>
__global__ void __launch_bounds__(256)
    by_block(const void *x, void *y, A *part, struct reduction r) {
  const int64_t o = (int64_t)blockIdx.x / r.chunks, c = (int64_t)blockIdx.x % r.chunks;
  const int64_t first = c * r.chunk, last = min(first + r.chunk, r.elements);
  int64_t base[1];
  fg_cuda_offsets(r.kept, o, base);
  A sum = fold_range<A>(r, x, base[0], first + threadIdx.x, last, 256);
  sum = fg_cuda_group<8>(sum, folding{r.kind});
  if (threadIdx.x)
    return;
  if (r.chunks == 1)
    put(r, y, o, sum);
  else
    part[blockIdx.x] = sum;
}

/* The same for rows of floats that lie together: 16 bytes at a time.
 * ptxas budget: by_block_wide registers 48 shared 64 blocks 5 loads16 */
__global__ void __launch_bounds__(256)
    by_block_wide(struct fg_cuda_reals x, void *y, double *part, struct reduction r) {
  const int64_t o = (int64_t)blockIdx.x / r.chunks, c = (int64_t)blockIdx.x % r.chunks;
  const int64_t first = c * r.chunk, last = min(first + r.chunk, r.elements);
  int64_t base[1];
  fg_cuda_offsets(r.kept, o, base);
  double sum = start<double>::of(r.kind);
  for (int64_t i = first + 4 * (int64_t)threadIdx.x; i < last; i += 1024) {
    float v[4];
    fg_cuda_load4(x + base[0], i, last, true, v, 0.0f);
    for (int k = 0; k < 4; k++)
      sum = i + k < last ? fold(r.kind, sum, (double)v[k]) : sum;
  }
  sum = fg_cuda_group<8>(sum, folding{r.kind});
  if (threadIdx.x)
    return;
  if (r.chunks == 1)
    put(r, y, o, sum);
  else
    part[blockIdx.x] = sum;
}

/* ptxas budget: by_thread registers 48 shared 0 blocks 5 */
template <class A>
__global__ void __launch_bounds__(256)
    by_thread(const void *x, void *y, A *part, struct reduction r) {
  const int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= r.results * r.chunks)
    return;
  const int64_t o = t % r.results, c = t / r.results, first = c * r.chunk;
  int64_t base[1];
  fg_cuda_offsets(r.kept, o, base);
  const A sum = fold_range<A>(r, x, base[0], first, min(first + r.chunk, r.elements), 1);
  if (r.chunks == 1)
    put(r, y, o, sum);
  else
    part[o * r.chunks + c] = sum;
}

/* ptxas budget: fold_parts registers 32 shared 0 blocks 8 */
template <class A>
__global__ void __launch_bounds__(256) fold_parts(const A *part, void *y, struct reduction r) {
  const int64_t o = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= r.results)
    return;
  A sum = start<A>::of(r.kind);
  for (int64_t c = 0; c < r.chunks; c++)
    sum = fold(r.kind, sum, part[o * r.chunks + c]);
  put(r, y, o, sum);
}

struct reduction plan(const struct fg_call *call) {
  const struct fg_reduce_attrs *a = &call->attrs->reduce;
  const struct fg_tensor *x = &call->in[0];
  struct reduction r = {};
  int64_t own[FG_MAX_RANK], dim[2][FG_MAX_RANK], stride[2][1][FG_MAX_RANK];
  int rank[2] = {0, 0};
  fg_cuda_strides(x->rank, x->dim, own);
  for (int i = 0; i < x->rank; i++) {
    int side = a->axes >> i & 1;
    dim[side][rank[side]] = x->dim[i];
    stride[side][0][rank[side]++] = own[i];
  }
  fg_cuda_merge(rank[0], dim[0], 1, stride[0], &r.kept);
  fg_cuda_merge(rank[1], dim[1], 1, stride[1], &r.gone);
  r.results = fg_count(&call->out[0]);
  r.elements = 1;
  for (int i = 0; i < rank[1]; i++)
    r.elements *= dim[1][i];
  r.kind = (int)a->kind;
  r.type = (int)x->type;
  r.by_block = r.gone.rank > 0 && r.gone.stride[0][r.gone.rank - 1] == 1;
  r.chunk = r.by_block ? CHUNK_OF_BLOCK : CHUNK_OF_THREAD;
  r.chunks = r.elements > r.chunk ? (r.elements + r.chunk - 1) / r.chunk : 1;
  return r;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  const struct fg_reduce_attrs *a = &call->attrs->reduce;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_CUDA_NEED(call, (unsigned)a->kind < FG_REDUCE_COUNT, "unknown kind %d", (int)a->kind);
  FG_CUDA_NEED(call, a->axes >> x->rank == 0, "axes beyond rank %d", x->rank);
  FG_CUDA_NEED(call, x->type == y->type, "types differ");
  FG_CUDA_NEED(call,
               fg_cuda_is_real(x->type) || (fg_cuda_is_int(x->type) && a->kind != FG_REDUCE_mean),
               "%s operand", fg_type_name(x->type));
  int rank = 0;
  for (int i = 0; i < x->rank; i++) {
    bool gone = a->axes >> i & 1;
    if (gone && !a->keep)
      continue;
    FG_CUDA_NEED(call, rank < y->rank && y->dim[rank] == (gone ? 1 : x->dim[i]),
                 "the result has another shape");
    rank++;
  }
  FG_CUDA_NEED(call, rank == y->rank, "the result has rank %d, not %d", y->rank, rank);
  FG_CUDA_NEED(call,
               (a->kind != FG_REDUCE_max && a->kind != FG_REDUCE_min) || fg_count(x) > 0 ||
                   fg_count(y) == 0,
               "no elements to choose from");
  struct reduction r = plan(call);
  FG_CUDA_NEED(call, r.results * r.chunks <= INT32_MAX, "too many results");
  call->scratch_bytes = r.chunks > 1 ? (size_t)(r.results * r.chunks) * sizeof(double) : 0;
  return FGSM_OK;
}

template <class A>
fgsm_status run_as(const struct fg_call *call, const struct reduction &r, A *part, cudaStream_t s) {
  const void *x = call->in[0].data;
  void *y = call->out[0].data;
  int64_t tasks = r.results * r.chunks;
  dim3 threads(256);
  if (r.by_block)
    FG_TRY(fg_cuda_launched(
        call, FGSM_LAUNCH(by_block<A>, dim3((unsigned)tasks), threads, 0, s, x, y, part, r)));
  else
    FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(by_thread<A>, dim3(fg_cuda_blocks(tasks, 256)),
                                              threads, 0, s, x, y, part, r)));
  if (r.chunks == 1)
    return FGSM_OK;
  return fg_cuda_launched(call, FGSM_LAUNCH(fold_parts<A>, dim3(fg_cuda_blocks(r.results, 256)),
                                            threads, 0, s, (const A *)part, y, r));
}

/* Every result's elements lie together, and 16 bytes of them start where the result does. */
bool is_wide(const struct reduction &r, const void *x) {
  bool wide =
      r.by_block && r.gone.rank == 1 && fg_cuda_is_real((enum fg_type)r.type) && fg_cuda_aligned(x);
  for (int d = 0; d < r.kept.rank; d++)
    wide = wide && r.kept.stride[0][d] % 4 == 0;
  return wide;
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct reduction r = plan(call);
  cudaStream_t s = (cudaStream_t)stream;
  if (r.results == 0)
    return FGSM_OK;
  if (!fg_cuda_is_real((enum fg_type)r.type))
    return run_as(call, r, (int64_t *)scratch, s);
  if (!is_wide(r, call->in[0].data))
    return run_as(call, r, (double *)scratch, s);
  void *y = call->out[0].data;
  FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(by_block_wide, dim3((unsigned)(r.results * r.chunks)),
                                            dim3(256), 0, s, fg_cuda_reals_in(call, 0), y,
                                            (double *)scratch, r)));
  if (r.chunks == 1)
    return FGSM_OK;
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(fold_parts<double>, dim3(fg_cuda_blocks(r.results, 256)),
                                      dim3(256), 0, s, (const double *)scratch, y, r));
}
} // namespace

const struct fg_kernel fg_cuda_reduce = FG_CUDA_LYING(prepare, run);
