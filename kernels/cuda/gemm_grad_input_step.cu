/* gemm_grad_input_step: the gradient of a first dense layer, sign, clip, in one launch, for layers
 * too wide for mlp_fgsm; the gradient stays in registers unless it is asked for. A second launch of
 * one small block a sample settles statistics and samples that are not finite (linf.cuh).
 *
 * A tile is 64 samples by 64 features (tiled_product.cuh), so statistics are added up over the 16
 * threads that share a sample: a Partial a sample and column of tiles.
 *
 * dy and w in bfloat16 are multiplied on tensor cores (tensor_product.cuh).
 *
 * Counts per sample, M results, D features, float32:
 *   bytes  4 (M + 3 D), + 4 D for the gradient; w [M, D] comes from L2, (samples / 64) times over.
 *          That is the floor where w fits L2.
 *   FLOPs  2 M D.    3072 features, 4096 results: 53 KB, 25 MFLOP: above 60 TFLOP/s of FFMA a card
 * is bound by arithmetic from 13 results on. */
#include "tensor_product.cuh"

namespace fgsm {
namespace {

struct Call {
  const float *dy, *w;
  Lines rows, cols; /* the same in bfloat16 */
  int64_t samples;
  int inner;
  bool trans_b; /* w is [features, inner] */
  float alpha;
  Step step;
  Partial *partial;
  int tiles; /* columns of tiles */
};

struct Dense {
  const float *dy, *w;
  int inner, features;
  bool trans_b;
  __device__ void order_a(int e, int *r, int *k) const {
    k_first(e, r, k);
  }
  __device__ void order_b(int e, int *c, int *k) const {
    if (trans_b)
      k_first(e, c, k);
    else
      line_first(e, c, k);
  }
  __device__ float a(int64_t m, int k) const {
    return dy[m * inner + k];
  }
  __device__ float b(int k, int j) const {
    return trans_b ? w[(int64_t)j * inner + k] : w[(int64_t)k * features + j];
  }
};

/* ptxas budget: dense registers 80 shared 8704 blocks 3 */
template <bool VEC> __global__ void __launch_bounds__(TILE_THREADS) dense(Call c) {
  const int features = (int)c.step.features;
  const int64_t row0 = (int64_t)(blockIdx.x / c.tiles) * TILE;
  const int tile = blockIdx.x % c.tiles, col0 = tile * TILE;
  const Dense map = {c.dy, c.w, c.inner, features, c.trans_b};
  float g[4][4];
  tile_product(map, row0, col0, c.samples, features, c.inner, g);
  const Budget b = load_budget(c.step.params);
  const int f = col0 + (int)threadIdx.x % 16 * 4;
  FGSM_UNROLL
  for (int i = 0; i < 4; i++) {
    const int64_t n = row0 + threadIdx.x / 16 * 4 + i;
    Partial p = {0, 0, 0, 0, 0};
    for (int j = 0; j < 4; j++)
      g[i][j] *= c.alpha;
    if (n < c.samples && f < features) {
      if (VEC) {
        take4(c.step, b, n, f, g[i], &p);
      } else {
        FGSM_UNROLL
        for (int j = 0; j < 4; j++)
          if (f + j < features)
            take(c.step, b, n, f + j, g[i][j], &p);
      }
    }
    p = lane_sum(p, 16);
    if (n < c.samples && threadIdx.x % 16 == 0)
      c.partial[n * c.tiles + tile] = p;
  }
}

/* Two warps share a tile's rows, so there are two Partials a sample and tile.
 * ptxas budget: dense_bf16 registers 80 shared 10240 blocks 3 */
__global__ void __launch_bounds__(TILE_THREADS) dense_bf16(Call c) {
  const int64_t row0 = (int64_t)(blockIdx.x / c.tiles) * TILE;
  const int tile = blockIdx.x % c.tiles, col0 = tile * TILE;
  float g[4][4];
  tensor_product(c.rows, c.cols, row0, col0, c.inner, g);
  const Budget b = load_budget(c.step.params);
  const Corner at = corner_of();
  FGSM_UNROLL
  for (int half = 0; half < 2; half++) {
    const int64_t n = row0 + at.row + half * 8;
    Partial p = {0, 0, 0, 0, 0};
    FGSM_UNROLL
    for (int v = 0; v < 8; v++) {
      const int f = col0 + at.col + v / 2 * 8 + v % 2;
      if (n < c.samples && f < c.step.features)
        take(c.step, b, n, f, g[v / 2][half * 2 + v % 2] * c.alpha, &p);
    }
    p = lane_sum(p, 4);
    if (n < c.samples && threadIdx.x % 4 == 0)
      c.partial[(n * c.tiles + tile) * 2 + threadIdx.x / 128] = p;
  }
}

Call call_of(const struct fg_call *call) {
  const struct fg_gemm_step_attrs &a = call->attrs->gemm_step;
  Call c = {};
  const struct fg_tensor &dy = call->in[0], &w = call->in[1];
  c.dy = static_cast<const float *>(dy.data);
  c.w = static_cast<const float *>(w.data);
  c.samples = call->in[2].dim[0];
  c.inner = (int)call->in[0].dim[1];
  c.trans_b = a.matmul.trans_b;
  c.alpha = (float)a.matmul.alpha;
  c.step = step_of(call, &a.step);
  c.tiles = (int)((c.step.features + TILE - 1) / TILE);
  const bool wide = c.inner % 8 == 0;
  c.rows = {static_cast<const uint16_t *>(dy.data), c.inner, 1, c.samples, wide};
  c.cols = {static_cast<const uint16_t *>(w.data), c.trans_b ? c.inner : 1,
            c.trans_b ? 1 : c.step.features, c.step.features, c.trans_b && wide};
  return c;
}

/* Partials a sample. */
int parts_of(const struct fg_call *call, const Call &c) {
  return call->in[0].type == FG_BF16 ? 2 * c.tiles : c.tiles;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  const struct fg_gemm_step_attrs &a = call->attrs->gemm_step;
  const struct fg_tensor *in = call->in;
  FG_TRY(check_step(call, &a.step));
  FG_CUDA_NEED(call,
               in[0].rank == 2 && in[1].rank == 2 && !a.matmul.trans_a &&
                   a.matmul.act.kind == FG_UNARY_identity && in[0].dim[0] == in[2].dim[0] &&
                   in[1].dim[a.matmul.trans_b] == in[0].dim[1],
               "dy and w are no layer's gradient");
  const Call c = call_of(call);
  const int64_t blocks = (c.samples + TILE - 1) / TILE * c.tiles;
  FG_CUDA_NEED(call, in[1].dim[!a.matmul.trans_b] == c.step.features,
               "w is not as wide as a sample");
  FG_CUDA_NEED(call, blocks <= INT32_MAX && c.samples <= INT32_MAX && in[0].dim[1] <= INT32_MAX,
               "too large for one launch");
  call->scratch_bytes = (size_t)(c.samples * parts_of(call, c)) * sizeof(Partial);
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream_) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  if (fg_count(&call->in[2]) == 0)
    return FGSM_OK;
  FG_TRY(check_aligned(call));
  Call c = call_of(call);
  c.partial = static_cast<Partial *>(scratch);
  const dim3 grid((unsigned)((c.samples + TILE - 1) / TILE * c.tiles)), block(TILE_THREADS);
  FG_TRY(fg_cuda_launched(
      call, call->in[0].type == FG_BF16 ? FGSM_LAUNCH(dense_bf16, grid, block, 0, stream, c)
            : c.step.features % 4 == 0  ? FGSM_LAUNCH(dense<true>, grid, block, 0, stream, c)
                                        : FGSM_LAUNCH(dense<false>, grid, block, 0, stream, c)));
  return fg_cuda_launched(call, FGSM_LAUNCH(settle_samples, dim3((unsigned)c.samples), dim3(128), 0,
                                            stream, c.step, c.partial, parts_of(call, c),
                                            fg_cuda_to<float>(call, 2)));
}

} // namespace
} // namespace fgsm

extern "C" const struct fg_kernel fg_cuda_gemm_grad_input_step = {fgsm::prepare, fgsm::run,
                                                                  nullptr};
