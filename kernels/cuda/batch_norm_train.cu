/* batch_norm_train, batch_norm_train_grad: normalisation by the batch's own statistics.
 *
 * A channel's values lie in `outer` planes of `inner` neighbours. They are cut into chunks of fixed length:
 * a block sums one chunk, in double, and leaves two sums in scratch; then a block for each chunk adds up its
 * channel's sums in one fixed order, and applies what they come to: y = a x + b, dx = a dy + b x + c.
 * Channels last, a block sums a chunk of places of 32 channels, a warp a place at a time, and the chunks'
 * sums are added up in a launch between. Variance is E[x^2] - E[x]^2 in double, of floats whose squares a double holds exactly. Across ranks each
 * channel's sums are added up first, then those of the ranks, and these are what is applied.
 *
 * Floor, in float32: 12 bytes a value (x twice, y), the gradient 20 (x and dy twice, dx); 5 and 8 FLOPs. */
#include "cuda.h"
#include "ranks.h"

namespace {
enum { THREADS = 256, CHUNK = 8192, TILE = 32, WARPS = THREADS / TILE, PLACES = 512 };

/* x as [outer, channels, inner]. wide: four neighbours from a multiple of four on lie in one plane,
 * aligned to 16 bytes in every operand. */
struct planes {
  int64_t outer, channels, inner, count, chunks;
  bool wide, last; /* last: inner is 1, the channels of a place are neighbours */
};

struct norm {
  struct fg_cuda_reals x, dy, y; /* y or dx */
  const float *scale, *bias, *mean, *var;
  float *first, *second; /* mean, var or dscale, dbias; these and y's data NULL: not wanted */
  double *sums;          /* [channels, parts, 2] */
  int64_t parts;
  double epsilon, total; /* values of a channel, on all ranks */
};

/* Where the j-th value of channel c lies. */
__device__ __forceinline__ int64_t place(const struct planes &p, int64_t c, int64_t j) {
  int64_t o;
  if (p.count <= 0xFFFFFFFFll) /* 64-bit division is slow */
    o = (uint32_t)j / (uint32_t)p.inner;
  else
    o = j / p.inner;
  return (o * p.channels + c) * p.inner + (j - o * p.inner);
}

/* Values j..j+3 of channel c, 0 beyond its last. */
__device__ __forceinline__ void load_places(const struct fg_cuda_reals &x, const struct planes &p,
                                            int64_t c, int64_t j, float (&v)[4]) {
  if (p.wide)
    return fg_cuda_load4(x, place(p, c, j), INT64_MAX, true, v, 0.0f);
  for (int k = 0; k < 4; k++)
    v[k] = j + k < p.count ? x[place(p, c, j + k)] : 0.0f;
}
__device__ __forceinline__ void store_places(const struct fg_cuda_reals &y, const struct planes &p,
                                             int64_t c, int64_t j, const float (&v)[4]) {
  if (p.wide)
    return fg_cuda_store4(y, place(p, c, j), INT64_MAX, true, v);
  for (int k = 0; k < 4; k++)
    if (j + k < p.count)
      y.put(place(p, c, j + k), v[k]);
}

/* Sums of x and x^2, or of dy and dy (x - mean), over one chunk of one channel.
 * ptxas budget: sum_chunks registers 48 shared 64 blocks 5 loads16 */
template <bool GRAD>
__global__ void __launch_bounds__(THREADS) sum_chunks(struct norm n, struct planes p) {
  const int64_t c = blockIdx.x / p.chunks, begin = blockIdx.x % p.chunks * CHUNK;
  const int64_t end = min(begin + CHUNK, p.count);
  const double mean = GRAD ? n.mean[c] : 0;
  double first = 0, second = 0;
  for (int64_t j = begin + 4 * threadIdx.x; j < end; j += 4 * THREADS) {
    float v[4], d[4];
    load_places(n.x, p, c, j, v);
    if (GRAD)
      load_places(n.dy, p, c, j, d);
    for (int k = 0; k < 4; k++) {
      first += GRAD ? d[k] : v[k];
      second += GRAD ? d[k] * ((double)v[k] - mean) : (double)v[k] * v[k];
    }
  }
  first = fg_cuda_group<THREADS / 32>(first, fg_cuda_sum());
  second = fg_cuda_group<THREADS / 32>(second, fg_cuda_sum());
  if (threadIdx.x)
    return;
  n.sums[2 * (int64_t)blockIdx.x] = first;
  n.sums[2 * (int64_t)blockIdx.x + 1] = second;
}

/* y = a x + b, dx = a dy + b x + c. */
struct line {
  float a, b, c;
};

/* The channel's line, from its sums; `leads`: this thread writes down what else is wanted of them. */
template <bool GRAD>
__device__ __forceinline__ struct line line_of(const struct norm &n, int64_t c, double first,
                                               double second, bool leads) {
  const double count = n.total, scale = n.scale ? n.scale[c] : 1;
  if (GRAD) {
    const double rstd = 1 / sqrt((double)n.var[c] + n.epsilon), a = scale * rstd;
    const double b = -a * rstd * rstd * second / count;
    if (leads && n.first)
      n.first[c] = (float)(second * rstd);
    if (leads && n.second)
      n.second[c] = (float)first;
    return {(float)a, (float)b, (float)(-a * first / count - b * n.mean[c])};
  }
  const double mean = first / count, spread = second / count - mean * mean;
  const double var = spread < 0 ? 0 : spread, a = scale / sqrt(var + n.epsilon);
  if (leads && n.first)
    n.first[c] = (float)mean;
  if (leads && n.second)
    n.second[c] = (float)var;
  return {(float)a, (float)((n.bias ? n.bias[c] : 0) - mean * a), 0};
}

/* The two sums of channel c, on every thread of the block. */
__device__ __forceinline__ void add_parts(const struct norm &n, int64_t c, double *first,
                                          double *second) {
  const double *sums = n.sums + 2 * c * n.parts;
  *first = *second = 0;
  for (int64_t k = threadIdx.x; k < n.parts; k += THREADS) {
    *first += sums[2 * k];
    *second += sums[2 * k + 1];
  }
  *first = fg_cuda_group<THREADS / 32>(*first, fg_cuda_sum());
  *second = fg_cuda_group<THREADS / 32>(*second, fg_cuda_sum());
}

/* A block adds up its channel's sums, into totals [channels, 2]; the gradient's dscale and dbias are of
 * this rank's alone.
 * ptxas budget: add_chunks registers 40 shared 64 blocks 6 */
template <bool GRAD>
__global__ void __launch_bounds__(THREADS) add_chunks(struct norm n, double *totals) {
  const int64_t c = blockIdx.x;
  double first, second;
  add_parts(n, c, &first, &second);
  if (threadIdx.x)
    return;
  totals[2 * c] = first;
  totals[2 * c + 1] = second;
  if (GRAD)
    (void)line_of<GRAD>(n, c, first, second, true);
}

/* Where y is not wanted there is one block a channel, else one a chunk.
 * ptxas budget: apply_chunks registers 48 shared 64 blocks 5 loads16 stores16 */
template <bool GRAD>
__global__ void __launch_bounds__(THREADS) apply_chunks(struct norm n, struct planes p) {
  const int64_t blocks = n.y.data ? p.chunks : 1;
  const int64_t c = blockIdx.x / blocks, chunk = blockIdx.x % blocks, begin = chunk * CHUNK;
  double first, second;
  add_parts(n, c, &first, &second);
  const struct line l = line_of<GRAD>(n, c, first, second, chunk == 0 && threadIdx.x == 0);
  const int64_t end = n.y.data ? min(begin + CHUNK, p.count) : 0;
  for (int64_t j = begin + 4 * threadIdx.x; j < end; j += 4 * THREADS) {
    float v[4], d[4];
    load_places(n.x, p, c, j, v);
    if (GRAD)
      load_places(n.dy, p, c, j, d);
    for (int k = 0; k < 4; k++)
      v[k] = GRAD ? l.a * d[k] + (l.b * v[k] + l.c) : l.a * v[k] + l.b;
    store_places(n.y, p, c, j, v);
  }
}

/* ---- channels last: a block has chunk blockIdx.x / tiles of the channels of tile blockIdx.x % tiles, a
 * thread one channel, every WARPS-th place */

struct column {
  int64_t channel, chunk, first, end; /* the thread's places, WARPS apart */
};
__device__ __forceinline__ struct column column_of(const struct planes &p) {
  const int64_t tiles = (p.channels + TILE - 1) / TILE, chunk = blockIdx.x / tiles;
  const int64_t channel = blockIdx.x % tiles * TILE + threadIdx.x;
  const int64_t end = min(chunk * PLACES + PLACES, p.count);
  return {channel, chunk, chunk * PLACES + threadIdx.y, channel < p.channels ? end : 0};
}

/* ptxas budget: sum_columns registers 64 shared 4096 blocks 4 */
template <bool GRAD>
__global__ void __launch_bounds__(THREADS) sum_columns(struct norm n, struct planes p) {
  FGSM_SHARED(double, part, [2][WARPS][TILE]);
  const struct column at = column_of(p);
  const double mean = GRAD && at.end ? n.mean[at.channel] : 0;
  double first = 0, second = 0;
  for (int64_t j = at.first; j < at.end; j += WARPS) {
    const float v = n.x[j * p.channels + at.channel];
    const float d = GRAD ? n.dy[j * p.channels + at.channel] : v;
    first += d;
    second += GRAD ? d * ((double)v - mean) : (double)v * v;
  }
  part[0][threadIdx.y][threadIdx.x] = first;
  part[1][threadIdx.y][threadIdx.x] = second;
  __syncthreads();
  if (threadIdx.y > 1 || at.channel >= p.channels)
    return;
  double sum = 0;
  for (int w = 0; w < WARPS; w++)
    sum += part[threadIdx.y][w][threadIdx.x];
  n.sums[2 * (at.channel * p.chunks + at.chunk) + threadIdx.y] = sum;
}

/* n.sums: the channels' totals.
 * ptxas budget: apply_columns registers 40 shared 0 blocks 6 */
template <bool GRAD>
__global__ void __launch_bounds__(THREADS) apply_columns(struct norm n, struct planes p) {
  const struct column at = column_of(p);
  if (at.end == 0)
    return;
  const double *sums = n.sums + 2 * at.channel;
  const struct line l =
      line_of<GRAD>(n, at.channel, sums[0], sums[1], at.chunk == 0 && threadIdx.y == 0);
  for (int64_t j = at.first; n.y.data && j < at.end; j += WARPS) {
    const int64_t i = j * p.channels + at.channel;
    n.y.put(i, GRAD ? l.a * n.dy[i] + (l.b * n.x[i] + l.c) : l.a * n.x[i] + l.b);
  }
}

struct planes planes_of(const struct fg_tensor *x) {
  struct planes p = {x->dim[0], x->dim[1], fg_cuda_span(x, 2, x->rank), 0, 1, false, false};
  p.count = p.outer * p.inner;
  p.last = x->layout == FG_NHWC;
  if (p.last)
    p.inner = 1;
  const int64_t chunk = p.last ? (int64_t)PLACES : (int64_t)CHUNK;
  p.chunks = (p.count + chunk - 1) / chunk;
  return p;
}

bool is_channel(const struct fg_tensor *t, const struct fg_tensor *x) {
  return !t || (t->rank == 1 && t->dim[0] == x->dim[1]);
}

/* What both have in common; x is input `at`. */
fgsm_status check(struct fg_call *call, struct fg_device *device, int at) {
  const struct fg_tensor *x = &call->in[at];
  FG_TRY(fg_cuda_check_real(call, 31, 7));
  FG_CUDA_NEED(call, x->rank >= 2, "x of rank %d", x->rank);
  FG_CUDA_NEED(call, fg_count(x) > 0, "an empty tensor");
  for (int i = at + 1; i < call->n_in; i++)
    FG_CUDA_NEED(call, is_channel(fg_cuda_in(call, i), x), "input %d is not one number per channel",
                 i);
  for (int i = 1; i < 3; i++)
    FG_CUDA_NEED(call, is_channel(fg_cuda_out(call, i), x),
                 "output %d is not one number per channel", i);
  struct planes p = planes_of(x);
  FG_CUDA_NEED(call, p.channels * p.chunks <= INT32_MAX, "too many values");
  call->scratch_bytes = (size_t)(p.channels * (p.chunks + 1)) * 2 * sizeof(double);
  call->state = device; /* for the sums over its ranks */
  return FGSM_OK;
}

/* n doubles become their sums over ranks, by the backend's own operator. */
fgsm_status all_reduce(struct fg_device *device, double *x, int64_t n, void *stream) {
  const struct fg_kernel *kernel = device->backend->kernels[FG_OP_all_reduce];
  struct fg_call call = {};
  call.op = FG_OP_all_reduce;
  call.n_in = call.n_out = 1;
  call.in[0].data = x;
  call.in[0].type = FG_F64;
  call.in[0].rank = 1;
  call.in[0].dim[0] = n;
  call.out[0] = call.in[0];
  FG_TRY(kernel->prepare(&call, device));
  return kernel->run(&call, NULL, stream);
}

/* The channels' sums in place of their chunks', where asked for those of all ranks. */
template <bool GRAD>
fgsm_status add_up(const struct fg_call *call, struct norm *n, const struct planes &p,
                   cudaStream_t s) {
  struct fg_device *device = (struct fg_device *)call->state;
  double *totals = n->sums + 2 * p.channels * p.chunks;
  FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(add_chunks<GRAD>, dim3((unsigned)p.channels),
                                            dim3(THREADS), 0, s, *n, totals)));
  n->sums = totals;
  n->parts = 1;
  if (GRAD)
    n->first = n->second = NULL; /* written */
  if (!call->attrs->batch_norm.across)
    return FGSM_OK;
  n->total *= fg_ranks_size(device->ranks);
  return n->y.data ? all_reduce(device, totals, 2 * p.channels, s) : FGSM_OK;
}

template <bool GRAD>
fgsm_status launch_columns(const struct fg_call *call, struct norm n, const struct planes &p,
                           cudaStream_t s) {
  const dim3 blocks((unsigned)((p.channels + TILE - 1) / TILE * p.chunks)), threads(TILE, WARPS);
  FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(sum_columns<GRAD>, blocks, threads, 0, s, n, p)));
  FG_TRY(add_up<GRAD>(call, &n, p, s));
  if (GRAD && !n.y.data)
    return FGSM_OK;
  return fg_cuda_launched(call, FGSM_LAUNCH(apply_columns<GRAD>, blocks, threads, 0, s, n, p));
}

template <bool GRAD>
fgsm_status launch(const struct fg_call *call, struct norm n, struct planes p, void *scratch,
                   cudaStream_t s) {
  n.sums = (double *)scratch;
  n.parts = p.chunks;
  n.total = (double)p.count;
  n.epsilon = call->attrs->batch_norm.epsilon;
  p.wide =
      p.inner % 4 == 0 && fg_cuda_aligned(n.x) && fg_cuda_aligned(n.dy) && fg_cuda_aligned(n.y);
  if (p.last)
    return launch_columns<GRAD>(call, n, p, s);
  const unsigned tasks = (unsigned)(p.channels * p.chunks);
  FG_TRY(fg_cuda_launched(call,
                          FGSM_LAUNCH(sum_chunks<GRAD>, dim3(tasks), dim3(THREADS), 0, s, n, p)));
  if (call->attrs->batch_norm.across)
    FG_TRY(add_up<GRAD>(call, &n, p, s));
  return fg_cuda_launched(call, FGSM_LAUNCH(apply_chunks<GRAD>,
                                            dim3(n.y.data ? tasks : (unsigned)p.channels),
                                            dim3(THREADS), 0, s, n, p));
}

fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  FG_CUDA_NEED(call, fg_same_shape(&call->in[0], &call->out[0]), "shapes differ");
  return check(call, device, 0);
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct norm n = {};
  n.x = fg_cuda_reals_in(call, 0);
  n.scale = fg_cuda_from<float>(call, 1);
  n.bias = fg_cuda_from<float>(call, 2);
  n.y = fg_cuda_reals_out(call, 0);
  n.first = fg_cuda_to<float>(call, 1);
  n.second = fg_cuda_to<float>(call, 2);
  return launch<false>(call, n, planes_of(&call->in[0]), scratch, (cudaStream_t)stream);
}

enum { DY, X, SCALE, MEAN, VAR };
enum { DX, DSCALE, DBIAS };

fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  FG_TRY(fg_cuda_check(call, 1 << DY | 1 << X | 1 << MEAN | 1 << VAR, 0));
  const struct fg_tensor *x = &call->in[X], *dx = fg_cuda_out(call, DX);
  FG_CUDA_NEED(call, fg_same_shape(x, &call->in[DY]) && (!dx || fg_same_shape(x, dx)),
               "shapes differ");
  return check(call, device, X);
}

fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  struct norm n = {};
  n.dy = fg_cuda_reals_in(call, DY);
  n.x = fg_cuda_reals_in(call, X);
  n.scale = fg_cuda_from<float>(call, SCALE);
  n.mean = fg_cuda_from<float>(call, MEAN);
  n.var = fg_cuda_from<float>(call, VAR);
  n.y = fg_cuda_reals_out(call, DX);
  n.first = fg_cuda_to<float>(call, DSCALE);
  n.second = fg_cuda_to<float>(call, DBIAS);
  return launch<true>(call, n, planes_of(&call->in[X]), scratch, (cudaStream_t)stream);
}
} // namespace

const struct fg_kernel fg_cuda_batch_norm_train = {prepare, run, NULL};
const struct fg_kernel fg_cuda_batch_norm_train_grad = {prepare_grad, run_grad, NULL};
