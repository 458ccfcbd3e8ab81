/* attention, attention_grad, computed in float32: scores live in shared memory, a tile of queries by a
 * tile of keys, and never reach device memory.
 *
 * Forward, a block has a tile of queries of one head and goes through the keys, with the running
 * maximum and sum of each row (Milakov & Gimelshein 2018; Dao et al. 2022). Backward, the scores come
 * again, from lse: one launch whose blocks have a tile of keys and go through the queries (dk, dv),
 * one whose blocks have queries and go through the keys (dq). So every sum has one owner, in a fixed
 * order. A small launch before them finds sum dy y of each row.
 *
 * Widths D and E are at most 128 and are padded to 32, 64 or 128. dbias is declined.
 *
 * Floor: q, k, v, y once; 2 S T (D + E) FLOPs and S T exponentials a head forward, 2 S T (4 D + 3 E)
 * and twice the exponentials backward. k and v are read again by each tile of queries, from L2. */
#include "attention_own.h"
#include "cuda.h"

namespace {

struct Shape {
  int64_t heads;                 /* B H */
  int s, t, d, e, heads_a_batch; /* heads_a_batch: H */
  float scale;
  const float *bias;
  int64_t bias_step[4]; /* 0 where it is broadcast */
};

/* Rows [row0, row0 + ROWS) of x [n, width] into to[WIDE][ROWS + 4], zeros beyond both. */
template <int WIDE, int ROWS, int THREADS>
__device__ __forceinline__ void load_columns(const struct fg_cuda_reals &x, int row0, int n,
                                             int width, float (*to)[ROWS + 4]) {
  for (int i = threadIdx.x; i < WIDE * ROWS; i += THREADS) {
    const int r = i / WIDE, c = i % WIDE;
    to[c][r] = row0 + r < n && c < width ? x[(int64_t)(row0 + r) * width + c] : 0.0f;
  }
}

__device__ __forceinline__ float bias_at(const Shape &a, int64_t head, int s, int t) {
  return a.bias[head / a.heads_a_batch * a.bias_step[0] + head % a.heads_a_batch * a.bias_step[1] +
                s * a.bias_step[2] + t * a.bias_step[3]];
}

enum { KEYS = 32 };

/* Over the eight threads that share a row. */
template <class F> __device__ __forceinline__ float of_row(float v, F f) {
  for (int d = 4; d; d >>= 1)
    v = f(v, __shfl_xor_sync(0xFFFFFFFFu, v, d));
  return v;
}

/* A thread has 4 queries by 4 keys of the scores, and 4 queries by WIDE / 8 columns of y.
 * ptxas budget: attend registers 176 shared 41472 */
template <int WIDE, int QUERIES>
__global__ void __launch_bounds__(QUERIES * 2)
    attend(Shape a, struct fg_cuda_reals q, struct fg_cuda_reals k, struct fg_cuda_reals v,
           struct fg_cuda_reals y, float *lse) {
  constexpr int THREADS = QUERIES * 2, COLUMNS = WIDE / 8;
  FGSM_SHARED(float, qs, [WIDE][QUERIES + 4]);
  FGSM_SHARED(float, ks, [WIDE][KEYS + 4]); /* k, then v */
  FGSM_SHARED(float, ps, [KEYS][QUERIES + 4]);
  const int tx = threadIdx.x % 8, ty = threadIdx.x / 8;
  const int tiles = (a.s + QUERIES - 1) / QUERIES;
  const int64_t head = blockIdx.x / tiles;
  const int s0 = (int)(blockIdx.x % tiles) * QUERIES;
  q = q + head * a.s * a.d;
  k = k + head * a.t * a.d;
  v = v + head * a.t * a.e;
  float top[4], sum[4], o[4][COLUMNS];
  for (int i = 0; i < 4; i++) {
    top[i] = -INFINITY;
    sum[i] = 0;
    for (int c = 0; c < COLUMNS; c++)
      o[i][c] = 0;
  }
  load_columns<WIDE, QUERIES, THREADS>(q, s0, a.s, a.d, qs);
  for (int t0 = 0; t0 < a.t; t0 += KEYS) {
    load_columns<WIDE, KEYS, THREADS>(k, t0, a.t, a.d, ks);
    __syncthreads();
    float z[4][4] = {};
    for (int c = 0; c < WIDE; c++) {
      const float4 u = fgsm_ldv<float4>(&qs[c][ty * 4]), w = fgsm_ldv<float4>(&ks[c][tx * 4]);
      const float row[4] = {u.x, u.y, u.z, u.w}, col[4] = {w.x, w.y, w.z, w.w};
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
          z[i][j] = __fmaf_rn(row[i], col[j], z[i][j]);
    }
    for (int i = 0; i < 4; i++) {
      const int s = s0 + ty * 4 + i;
      float best = -INFINITY, part = 0;
      for (int j = 0; j < 4; j++) {
        const int t = t0 + tx * 4 + j;
        z[i][j] *= a.scale;
        if (a.bias && s < a.s && t < a.t)
          z[i][j] += bias_at(a, head, s, t);
        z[i][j] = t < a.t ? z[i][j] : -INFINITY;
        best = fmaxf(best, z[i][j]);
      }
      best = fmaxf(top[i], of_row(best, fg_cuda_max()));
      const float from = best == -INFINITY ? 0.0f : best, keep = expf(top[i] - from);
      top[i] = best;
      for (int j = 0; j < 4; j++) {
        const float p = expf(z[i][j] - from);
        part += p;
        ps[tx * 4 + j][ty * 4 + i] = p;
      }
      sum[i] = sum[i] * keep + of_row(part, fg_cuda_sum());
      for (int c = 0; c < COLUMNS; c++)
        o[i][c] *= keep;
    }
    __syncthreads();
    load_columns<WIDE, KEYS, THREADS>(v, t0, a.t, a.e, ks);
    __syncthreads();
    for (int j = 0; j < KEYS; j++) {
      const float4 u = fgsm_ldv<float4>(&ps[j][ty * 4]);
      const float p[4] = {u.x, u.y, u.z, u.w};
      for (int c = 0; c < COLUMNS; c++) {
        const float w = ks[tx + 8 * c][j];
        for (int i = 0; i < 4; i++)
          o[i][c] = __fmaf_rn(p[i], w, o[i][c]);
      }
    }
    __syncthreads();
  }
  FGSM_UNROLL /* or o goes to local memory */
  for (int i = 0; i < 4; i++) {
    const int s = s0 + ty * 4 + i;
    if (s >= a.s)
      continue;
    FGSM_UNROLL
    for (int c = 0; c < COLUMNS; c++)
      if (tx + 8 * c < a.e)
        y.put((head * a.s + s) * a.e + tx + 8 * c, o[i][c] / sum[i]);
    if (lse && tx == 0)
      lse[head * a.s + s] = sum[i] == 0 ? NAN : top[i] + logf(sum[i]);
  }
}

/* sum dy y of a row: a warp's.
 * ptxas budget: along_rows registers 32 shared 32 */
template <int WARPS>
__global__ void __launch_bounds__(32 * FG_ROW_WARPS)
    along_rows(struct fg_cuda_reals dy, struct fg_cuda_reals y, float *along, int64_t rows, int n) {
  const int64_t row = fg_cuda_row<WARPS>();
  if (row >= rows)
    return;
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += 32 * WARPS)
    sum += dy[row * n + i] * y[row * n + i];
  sum = fg_cuda_group<WARPS>(sum, fg_cuda_sum());
  if (threadIdx.x == 0)
    along[row] = sum;
}

struct Grad {
  struct fg_cuda_reals dy, q, k, v;
  const float *lse, *along;
  struct fg_cuda_reals dq, dk, dv;
};

/* Tiles of the gradient: as many queries as keys, so many that four tiles of operands and two of
 * scores fit shared memory. */
template <int WIDE> struct Tile {
  static constexpr int N = WIDE > 64 ? 16 : 32, PITCH = N + 4, EACH = N / 8;
};

/* p and dz of a tile, each thread EACH queries by EACH keys: as [query][key], or with BY_KEY as
 * [key][query]. p may be NULL. */
template <int WIDE, bool BY_KEY>
__device__ __forceinline__ void
pairs(const Shape &a, const Grad &g, int64_t head, int s0, int t0, float (*qs)[Tile<WIDE>::PITCH],
      float (*dys)[Tile<WIDE>::PITCH], float (*ks)[Tile<WIDE>::PITCH],
      float (*vs)[Tile<WIDE>::PITCH], float (*ps)[Tile<WIDE>::PITCH],
      float (*zs)[Tile<WIDE>::PITCH]) {
  constexpr int EACH = Tile<WIDE>::EACH;
  const int tx = threadIdx.x % 8 * EACH, ty = threadIdx.x / 8 * EACH;
  float z[EACH][EACH] = {}, dp[EACH][EACH] = {};
  for (int c = 0; c < WIDE; c++)
    for (int i = 0; i < EACH; i++)
      for (int j = 0; j < EACH; j++) {
        z[i][j] = __fmaf_rn(qs[c][ty + i], ks[c][tx + j], z[i][j]);
        dp[i][j] = __fmaf_rn(dys[c][ty + i], vs[c][tx + j], dp[i][j]);
      }
  for (int i = 0; i < EACH; i++) {
    const int s = s0 + ty + i;
    const int64_t row = head * a.s + s;
    const float lse = s < a.s ? g.lse[row] : 0.0f, along = s < a.s ? g.along[row] : 0.0f;
    for (int j = 0; j < EACH; j++) {
      const int t = t0 + tx + j;
      const bool inside = s < a.s && t < a.t;
      z[i][j] *= a.scale;
      if (a.bias && inside)
        z[i][j] += bias_at(a, head, s, t);
      const float p = inside ? expf(z[i][j] - lse) : 0.0f, dz = p * (dp[i][j] - along);
      if (ps)
        ps[BY_KEY ? tx + j : ty + i][BY_KEY ? ty + i : tx + j] = p;
      zs[BY_KEY ? tx + j : ty + i][BY_KEY ? ty + i : tx + j] = inside ? dz : 0.0f;
    }
  }
}

/* to[i][c] += sum over j of weight[j][own + i] x[column c][j]: EACH lines by WIDE / 8 columns a
 * thread. */
template <int WIDE>
__device__ __forceinline__ void gather(float (*to)[WIDE / 8], float (*weight)[Tile<WIDE>::PITCH],
                                       float (*x)[Tile<WIDE>::PITCH]) {
  constexpr int EACH = Tile<WIDE>::EACH;
  const int tx = threadIdx.x % 8, own = threadIdx.x / 8 * EACH;
  for (int j = 0; j < Tile<WIDE>::N; j++)
    for (int c = 0; c < WIDE / 8; c++) {
      const float v = x[tx + 8 * c][j];
      for (int i = 0; i < EACH; i++)
        to[i][c] = __fmaf_rn(weight[j][own + i], v, to[i][c]);
    }
}

template <int WIDE>
__device__ __forceinline__ void store_lines(const struct fg_cuda_reals &to, int line0, int n,
                                            int width, float factor, float (*x)[WIDE / 8]) {
  constexpr int EACH = Tile<WIDE>::EACH;
  const int tx = threadIdx.x % 8, own = threadIdx.x / 8 * EACH;
  FGSM_UNROLL /* or x goes to local memory */
  for (int i = 0; i < EACH; i++) {
    FGSM_UNROLL
    for (int c = 0; c < WIDE / 8; c++)
      if (line0 + own + i < n && tx + 8 * c < width)
        to.put((int64_t)(line0 + own + i) * width + tx + 8 * c, factor * x[i][c]);
  }
}

/* dk, dv (either may be NULL) of a tile of keys.
 * ptxas budget: grad_keys registers 192 shared 46080 */
template <int WIDE> __global__ void __launch_bounds__(64, 4) grad_keys(Shape a, Grad g) {
  constexpr int N = Tile<WIDE>::N, PITCH = Tile<WIDE>::PITCH, EACH = Tile<WIDE>::EACH;
  FGSM_SHARED(float, qs, [WIDE][PITCH]);
  FGSM_SHARED(float, dys, [WIDE][PITCH]);
  FGSM_SHARED(float, ks, [WIDE][PITCH]);
  FGSM_SHARED(float, vs, [WIDE][PITCH]);
  FGSM_SHARED(float, ps, [N][PITCH]);
  FGSM_SHARED(float, zs, [N][PITCH]);
  const int tiles = (a.t + N - 1) / N, t0 = (int)(blockIdx.x % tiles) * N;
  const int64_t head = blockIdx.x / tiles, q_at = head * a.s * a.d, y_at = head * a.s * a.e;
  const int64_t k_at = head * a.t * a.d, v_at = head * a.t * a.e;
  float dk[EACH][WIDE / 8] = {}, dv[EACH][WIDE / 8] = {};
  load_columns<WIDE, N, 64>(g.k + k_at, t0, a.t, a.d, ks);
  load_columns<WIDE, N, 64>(g.v + v_at, t0, a.t, a.e, vs);
  for (int s0 = 0; s0 < a.s; s0 += N) {
    load_columns<WIDE, N, 64>(g.q + q_at, s0, a.s, a.d, qs);
    load_columns<WIDE, N, 64>(g.dy + y_at, s0, a.s, a.e, dys);
    __syncthreads();
    pairs<WIDE, false>(a, g, head, s0, t0, qs, dys, ks, vs, ps, zs);
    __syncthreads();
    gather<WIDE>(dk, zs, qs);
    gather<WIDE>(dv, ps, dys);
    __syncthreads();
  }
  if (g.dk.data)
    store_lines<WIDE>(g.dk + k_at, t0, a.t, a.d, a.scale, dk);
  if (g.dv.data)
    store_lines<WIDE>(g.dv + v_at, t0, a.t, a.e, 1.0f, dv);
}

/* dq of a tile of queries.
 * ptxas budget: grad_queries registers 168 shared 42240 */
template <int WIDE> __global__ void __launch_bounds__(64, 4) grad_queries(Shape a, Grad g) {
  constexpr int N = Tile<WIDE>::N, PITCH = Tile<WIDE>::PITCH, EACH = Tile<WIDE>::EACH;
  FGSM_SHARED(float, qs, [WIDE][PITCH]);
  FGSM_SHARED(float, dys, [WIDE][PITCH]);
  FGSM_SHARED(float, ks, [WIDE][PITCH]);
  FGSM_SHARED(float, vs, [WIDE][PITCH]);
  FGSM_SHARED(float, zs, [N][PITCH]);
  const int tiles = (a.s + N - 1) / N, s0 = (int)(blockIdx.x % tiles) * N;
  const int64_t head = blockIdx.x / tiles, q_at = head * a.s * a.d, y_at = head * a.s * a.e;
  const int64_t k_at = head * a.t * a.d, v_at = head * a.t * a.e;
  float dq[EACH][WIDE / 8] = {};
  load_columns<WIDE, N, 64>(g.q + q_at, s0, a.s, a.d, qs);
  load_columns<WIDE, N, 64>(g.dy + y_at, s0, a.s, a.e, dys);
  for (int t0 = 0; t0 < a.t; t0 += N) {
    load_columns<WIDE, N, 64>(g.k + k_at, t0, a.t, a.d, ks);
    load_columns<WIDE, N, 64>(g.v + v_at, t0, a.t, a.e, vs);
    __syncthreads();
    pairs<WIDE, true>(a, g, head, s0, t0, qs, dys, ks, vs, NULL, zs);
    __syncthreads();
    gather<WIDE>(dq, zs, ks);
    __syncthreads();
  }
  store_lines<WIDE>(g.dq + q_at, s0, a.s, a.d, a.scale, dq);
}

/* ---- the kernels */

/* q, k, v at inputs `at` .. at + 2, bias at `bias` or not. */
fgsm_status check(const struct fg_call *call, int at, int bias) {
  const struct fg_tensor *q = &call->in[at], *k = &call->in[at + 1], *v = &call->in[at + 2];
  const struct fg_tensor *b = fg_cuda_in(call, bias);
  FG_CUDA_NEED(call, q->rank == 4 && k->rank == 4 && v->rank == 4, "q, k or v is not of rank 4");
  for (int i = 0; i < 2; i++)
    FG_CUDA_NEED(call, q->dim[i] == k->dim[i] && q->dim[i] == v->dim[i], "batch or heads differ");
  FG_CUDA_NEED(call, q->dim[3] == k->dim[3] && k->dim[2] == v->dim[2] && k->dim[2] >= 1,
               "q, k and v do not fit each other");
  FG_CUDA_NEED(call, q->dim[3] <= 128 && v->dim[3] <= 128, "a head wider than 128");
  struct fg_tensor z = *q;
  z.dim[3] = k->dim[2];
  FG_CUDA_NEED(call, !b || fg_cuda_broadcasts(b, &z), "bias does not broadcast");
  FG_CUDA_NEED(call,
               q->dim[0] * q->dim[1] * (q->dim[2] / 16 + 1) <= INT32_MAX &&
                   q->dim[0] * q->dim[1] * (k->dim[2] / 16 + 1) <= INT32_MAX,
               "too large for one launch");
  return FGSM_OK;
}

Shape shape_of(const struct fg_call *call, int at, int bias) {
  const struct fg_tensor *q = &call->in[at], *v = &call->in[at + 2], *b = fg_cuda_in(call, bias);
  Shape a = {};
  a.heads = q->dim[0] * q->dim[1];
  a.heads_a_batch = (int)q->dim[1];
  a.s = (int)q->dim[2];
  a.t = (int)v->dim[2];
  a.d = (int)q->dim[3];
  a.e = (int)v->dim[3];
  a.scale = (float)call->attrs->attention.scale;
  a.bias = b ? static_cast<const float *>(b->data) : NULL;
  if (b)
    fg_cuda_broadcast(b, 4, a.bias_step);
  return a;
}

int wide_of(const Shape &a) {
  const int most = a.d > a.e ? a.d : a.e;
  return most <= 32 ? 32 : most <= 64 ? 64 : 128;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 7, 1));
  FG_TRY(fg_cuda_check_real(call, 15, 3));
  return check(call, 0, 3);
}

fgsm_status run(const struct fg_call *call, void *, void *stream_) {
  const cudaStream_t stream = (cudaStream_t)stream_;
  const Shape a = shape_of(call, 0, 3);
  const struct fg_cuda_reals q = fg_cuda_reals_in(call, 0), k = fg_cuda_reals_in(call, 1);
  const struct fg_cuda_reals v = fg_cuda_reals_in(call, 2), y = fg_cuda_reals_out(call, 0);
  float *lse = fg_cuda_to<float>(call, 1);
  if (a.heads == 0 || a.s == 0)
    return FGSM_OK;
  const int wide = wide_of(a), queries = wide > 64 ? 32 : 64;
  const dim3 grid((unsigned)(a.heads * ((a.s + queries - 1) / queries))), block(queries * 2);
  return fg_cuda_launched(
      call, wide == 32 ? FGSM_LAUNCH((attend<32, 64>), grid, block, 0, stream, a, q, k, v, y, lse)
            : wide == 64
                ? FGSM_LAUNCH((attend<64, 64>), grid, block, 0, stream, a, q, k, v, y, lse)
                : FGSM_LAUNCH((attend<128, 32>), grid, block, 0, stream, a, q, k, v, y, lse));
}

enum { DY, Q, K, V, Y, LSE, BIAS };

fgsm_status prepare_grad(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, (1 << BIAS) - 1, 0));
  FG_TRY(fg_cuda_check_real(call, 127, 15));
  FG_TRY(check(call, Q, BIAS));
  FG_CUDA_NEED(call, !fg_cuda_out(call, 3), "the gradient of the bias is not computed");
  const struct fg_tensor *y = &call->in[Y];
  FG_CUDA_NEED(call, fg_same_shape(y, &call->in[DY]) && fg_count(y) >= fg_count(&call->in[LSE]),
               "dy, y or lse has another shape");
  call->scratch_bytes = (size_t)fg_count(&call->in[LSE]) * sizeof(float);
  return FGSM_OK;
}

fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream_) {
  const cudaStream_t stream = (cudaStream_t)stream_;
  const Shape a = shape_of(call, Q, BIAS);
  float *along = static_cast<float *>(scratch);
  const Grad g = {
      fg_cuda_reals_in(call, DY), fg_cuda_reals_in(call, Q),      fg_cuda_reals_in(call, K),
      fg_cuda_reals_in(call, V),  fg_cuda_from<float>(call, LSE), along,
      fg_cuda_reals_out(call, 0), fg_cuda_reals_out(call, 1),     fg_cuda_reals_out(call, 2)};
  const int wide = wide_of(a), each = wide > 64 ? 16 : 32;
  const dim3 keys((unsigned)(a.heads * ((a.t + each - 1) / each))),
      queries((unsigned)(a.heads * ((a.s + each - 1) / each))), block(64);
  if (a.heads == 0)
    return FGSM_OK;
  if (a.s > 0)
    FG_TRY(fg_cuda_launched(call, FG_CUDA_LAUNCH_ROWS(along_rows, a.heads * a.s, a.e, stream, g.dy,
                                                      fg_cuda_reals_in(call, Y), along,
                                                      a.heads * a.s, a.e)));
  if (g.dk.data || g.dv.data)
    FG_TRY(fg_cuda_launched(
        call, wide == 32   ? FGSM_LAUNCH(grad_keys<32>, keys, block, 0, stream, a, g)
              : wide == 64 ? FGSM_LAUNCH(grad_keys<64>, keys, block, 0, stream, a, g)
                           : FGSM_LAUNCH(grad_keys<128>, keys, block, 0, stream, a, g)));
  if (!g.dq.data || a.s == 0)
    return FGSM_OK;
  return fg_cuda_launched(
      call, wide == 32   ? FGSM_LAUNCH(grad_queries<32>, queries, block, 0, stream, a, g)
            : wide == 64 ? FGSM_LAUNCH(grad_queries<64>, queries, block, 0, stream, a, g)
                         : FGSM_LAUNCH(grad_queries<128>, queries, block, 0, stream, a, g));
}
} // namespace

const struct fg_kernel fg_cuda_own_attention = {prepare, run, NULL};
const struct fg_kernel fg_cuda_own_attention_grad = {prepare_grad, run_grad, NULL};
