/* conv_grad_input_step: backward-data of a first convolution, sign, clip, bytes, in one launch; the
 * gradient stays in registers unless it is asked for. A second launch of one small block a sample
 * settles statistics and samples that are not finite (linf.cuh).
 *
 * dy and the pool's index may lie channels last; all else is N C H W. Variants, chosen in prepare:
 *   stem3     3x3, stride 1, padding 1, at most 4 channels
 *   stem7     7x7, stride 2, padding 3, at most 4 channels
 *             both by FFMA in float32 (conv_stems.cuh), on tensor cores in bfloat16
 *             (conv_stem_tensor.cuh)
 *   patches   stride = window, no padding: a product whose rows are patches (tiled_product.cuh, in
 *             bfloat16 tensor_product.cuh)
 *   any       one thread a feature: any window, stride, dilation, padding and group, by FFMA
 * Each but `patches` may have the max-pool's backward in front: dy is then gathered from the pool's
 * by index while it is loaded (a place of dy lies under at most ceil(window / stride)^2 windows).
 *
 * Counts per image, K filters, C channels, float32 (bfloat16: 2 for a value of dy, not 4):
 *   bytes  4 (K P Q + 3 C H W), + 4 C H W for the gradient, + C H W for bytes; behind a pool K P Q
 *          is the pool's, at 4 bytes and 1 of index; weights come from L2. That is the floor.
 *   FLOPs  2 K C P Q R S, by FFMA; the tensor stems' own are stated there.
 *   CIFAR stem (64 filters, 3x32x32): 299 KB, 3.5 MFLOP; bfloat16 168 KB. ResNet stem (64, 3x224x224,
 *   P = Q = 112; pool 56): 2.8 MB, 236 MFLOP; bfloat16 2.4 MB. */
#include "conv_stem_tensor.cuh"
#include "conv_stems.cuh"
#include "tensor_product.cuh"

namespace fgsm {
namespace {

/* ---- patches: row m is a patch of the batch, column j a feature of it (channel, row, column). */
struct Patches {
  const float *dy, *w;
  int filters, area, features; /* P Q; C R S */
  bool last;
  __device__ void order_a(int e, int *r, int *k) const {
    if (last)
      k_first(e, r, k);
    else
      line_first(e, r, k);
  }
  __device__ void order_b(int e, int *c, int *k) const {
    line_first(e, c, k);
  }
  __device__ float a(int64_t m, int k) const {
    return dy[last ? m * filters + k : k * area + m];
  }
  __device__ float b(int k, int j) const {
    return w[(int64_t)k * features + j];
  }
};

/* Feature f of patch m as a feature of the image. */
__device__ __forceinline__ int64_t place_in_image(const Shape &s, int m, int f) {
  const int ch = f / (s.r * s.s), y = m / s.q * s.r + f / s.s % s.r, x = m % s.q * s.s + f % s.s;
  return ((int64_t)ch * s.h + y) * s.w + x;
}

/* The next of a thread's results to the first's place: a step is long (linf.cuh), and all go by one copy of it. */
__device__ __forceinline__ void rotate(float g[4][4]) {
  FGSM_UNROLL
  for (int e = 0; e < 15; e++)
    g[e / 4][e % 4] = g[(e + 1) / 4][(e + 1) % 4];
}

/* Rows of one image only, so that a block's statistics are one sample's.
 * ptxas budget: patches registers 64 shared 8896 */
__global__ void __launch_bounds__(TILE_THREADS) patches(Call c) {
  const Shape &s = c.shape;
  const int64_t n = blockIdx.x / c.tiles;
  const int t = blockIdx.x % c.tiles, area = s.p * s.q, features = s.channels * s.r * s.s;
  const int row0 = t / c.tiles_x * TILE, col0 = t % c.tiles_x * TILE;
  const Patches map = {static_cast<const float *>(c.source.dy) + n * s.filters * area,
                       static_cast<const float *>(c.weights),
                       s.filters,
                       area,
                       features,
                       c.source.last};
  float g[4][4];
  tile_product(map, row0, col0, area, features, s.filters, g);
  Partial p = {0, 0, 0, 0, 0};
  const Budget b = load_budget(c.step.params);
  FGSM_NO_UNROLL
  for (int e = 0; e < 16; e++) {
    const int m = row0 + (int)threadIdx.x / 16 * 4 + e / 4;
    const int f = col0 + (int)threadIdx.x % 16 * 4 + e % 4;
    if (m < area && f < features)
      take(c.step, b, n, place_in_image(s, m, f), g[0][0], &p);
    rotate(g);
  }
  leave(c, p);
}

/* The same in bfloat16, on tensor cores.
 * ptxas budget: patches_bf16 registers 80 shared 10432 mma */
__global__ void __launch_bounds__(TILE_THREADS) patches_bf16(Call c) {
  const Shape &s = c.shape;
  const int64_t n = blockIdx.x / c.tiles;
  const int t = blockIdx.x % c.tiles, area = s.p * s.q, features = s.channels * s.r * s.s;
  const int row0 = t / c.tiles_x * TILE, col0 = t % c.tiles_x * TILE;
  const uint16_t *dy = static_cast<const uint16_t *>(c.source.dy) + n * s.filters * area;
  const Lines rows = {dy, c.source.last ? s.filters : 1, c.source.last ? 1 : area, area,
                      c.source.last && s.filters % 8 == 0};
  const Lines cols = {static_cast<const uint16_t *>(c.weights), 1, features, features, false};
  float g[4][4];
  tensor_product(rows, cols, row0, col0, s.filters, g);
  Partial p = {0, 0, 0, 0, 0};
  const Budget b = load_budget(c.step.params);
  const Corner at = corner_of();
  FGSM_NO_UNROLL
  for (int v = 0; v < 16; v++) {
    const int m = row0 + at.row + v % 4 / 2 * 8, f = col0 + at.col + v / 4 * 8 + v % 2;
    if (m < area && f < features)
      take(c.step, b, n, place_in_image(s, m, f), g[0][0], &p);
    rotate(g);
  }
  leave(c, p);
}

/* ---- any. ptxas budget: any registers 64 shared 192 */
template <class T, Pool POOL> __global__ void __launch_bounds__(256, 4) any(Call c) {
  const Shape &s = c.shape;
  const int64_t n = blockIdx.x / c.tiles;
  const int i = (int)(blockIdx.x % c.tiles) * 256 + (int)threadIdx.x;
  Partial p = {0, 0, 0, 0, 0};
  if (i < c.step.features) {
    const int x = i % s.w, y = i / s.w % s.h, ch = i / (s.w * s.h);
    const int own = s.channels / s.group, filters = s.filters / s.group, set = ch / own;
    float g = 0;
    for (int k = set * filters; k < (set + 1) * filters; k++)
      for (int r = 0; r < s.r; r++) {
        const int py = fg_cuda_result_at(y + s.lo[0] - r * s.dilation[0], s.stride[0], s.p);
        if (py < 0)
          continue;
        for (int q = 0; q < s.s; q++) {
          const int px = fg_cuda_result_at(x + s.lo[1] - q * s.dilation[1], s.stride[1], s.q);
          if (px < 0)
            continue;
          const float w =
              value_at<T>(c.weights, (((int64_t)k * own + ch % own) * s.r + r) * s.s + q);
          g = __fmaf_rn(gather<T, POOL>(c.source, n, k, py, px), w, g);
        }
      }
    take(c.step, load_budget(c.step.params), n, i, g, &p);
  }
  leave(c, p);
}

/* ---- host */

enum Variant { STEM3, STEM7, PATCHES, ANY };

Variant variant_of(const Shape &s, bool pooled) {
  const bool plain = s.group == 1 && s.dilation[0] == 1 && s.dilation[1] == 1 && s.channels <= 4;
  if (plain && s.r == 3 && s.s == 3 && s.stride[0] == 1 && s.stride[1] == 1 && s.lo[0] == 1 &&
      s.lo[1] == 1)
    return STEM3;
  if (plain && s.r == 7 && s.s == 7 && s.stride[0] == 2 && s.stride[1] == 2 && s.lo[0] == 3 &&
      s.lo[1] == 3)
    return STEM7;
  if (!pooled && s.group == 1 && s.dilation[0] == 1 && s.dilation[1] == 1 && s.stride[0] == s.r &&
      s.stride[1] == s.s && s.lo[0] == 0 && s.lo[1] == 0 && s.h == s.p * s.r && s.w == s.q * s.s)
    return PATCHES;
  return ANY;
}

int pieces(int n, int size) {
  return (n + size - 1) / size;
}

Pool pool_of(const Source &s) {
  bool resnet = !s.wide_index;
  for (int i = 0; i < 2; i++)
    resnet = resnet && s.window[i] == 3 && s.stride[i] == 2 && s.dilation[i] == 1 && s.lo[i] == 1;
  return !s.index ? NO_POOL : resnet ? POOL_3X3 : ANY_POOL;
}

/* Sets tiles and tiles_x. */
Variant plan(Call *c) {
  const Shape &s = c->shape;
  const Variant v = variant_of(s, c->source.index != nullptr);
  c->tiles_x = 1;
  switch (v) {
  case STEM3:
    c->tiles_x = pieces(s.w, c->bf16 ? Quads3::WIDTH : S3_W);
    c->tiles = c->tiles_x * pieces(s.h, c->bf16 ? Quads3::HEIGHT : S3_H);
    break;
  case STEM7:
    c->tiles_x = pieces(s.w, c->bf16 ? Quads7::WIDTH : S7_W);
    c->tiles = c->tiles_x * pieces(s.h, c->bf16 ? Quads7::HEIGHT : S7_H);
    break;
  case PATCHES:
    c->tiles_x = pieces(s.channels * s.r * s.s, TILE);
    c->tiles = c->tiles_x * pieces(s.p * s.q, TILE);
    break;
  default:
    c->tiles = pieces((int)c->step.features, 256);
  }
  return v;
}

Call call_of(const struct fg_call *call) {
  const struct fg_conv_step_attrs &a = call->attrs->conv_step;
  const struct fg_tensor *in = call->in, &w = in[1], &x0 = in[2], *index = fg_cuda_in(call, 7);
  Call c = {};
  Shape &s = c.shape;
  const int64_t *y = index ? a.pool.dim : in[0].dim;
  s.channels = (int)x0.dim[1];
  s.h = (int)x0.dim[2];
  s.w = (int)x0.dim[3];
  s.filters = (int)w.dim[0];
  s.p = (int)y[2];
  s.q = (int)y[3];
  s.r = (int)w.dim[2];
  s.s = (int)w.dim[3];
  s.group = a.conv.group;
  Source &d = c.source;
  for (int i = 0; i < 2; i++) {
    s.stride[i] = a.conv.stride[i];
    s.dilation[i] = a.conv.dilation[i];
    s.lo[i] = a.conv.pad_lo[i];
    d.window[i] = a.pool.window[i];
    d.stride[i] = a.pool.stride[i];
    d.dilation[i] = a.pool.dilation[i];
    d.lo[i] = a.pool.pad_lo[i];
  }
  c.bf16 = in[0].type == FG_BF16;
  d.dy = in[0].data;
  d.index = index ? index->data : nullptr;
  d.wide_index = index && index->type == FG_I32;
  d.last = in[0].layout == FG_NHWC;
  d.filters = s.filters;
  d.p = s.p;
  d.q = s.q;
  d.pool_p = (int)in[0].dim[2];
  d.pool_q = (int)in[0].dim[3];
  c.step = step_of(call, &a.step);
  c.weights = w.data;
  return c;
}

/* One variant, with rows of dy or of images on 16 bytes where they are. */
template <Pool POOL>
cudaError_t launch_variant(Variant v, const Call &c, unsigned blocks, cudaStream_t stream) {
  const bool vec_dy = POOL == NO_POOL && !c.source.last && c.shape.q % 4 == 0,
             vec = c.shape.w % 4 == 0;
  const dim3 grid(blocks);
#define STEM(kernel)                                                                               \
  (vec_dy && vec                                                                                   \
       ? FGSM_LAUNCH((kernel<POOL, POOL == NO_POOL, true>), grid, dim3(128), 0, stream, c)         \
   : vec    ? FGSM_LAUNCH((kernel<POOL, false, true>), grid, dim3(128), 0, stream, c)              \
   : vec_dy ? FGSM_LAUNCH((kernel<POOL, POOL == NO_POOL, false>), grid, dim3(128), 0, stream, c)   \
            : FGSM_LAUNCH((kernel<POOL, false, false>), grid, dim3(128), 0, stream, c))
#define TENSOR(stem)                                                                               \
  (vec ? FGSM_LAUNCH((stem_tensor<stem, POOL, true>), grid, dim3(QUAD_THREADS), 0, stream, c)      \
       : FGSM_LAUNCH((stem_tensor<stem, POOL, false>), grid, dim3(QUAD_THREADS), 0, stream, c))
  switch (v) {
  case STEM3:
    return c.bf16 ? TENSOR(Quads3) : STEM(stem3);
  case STEM7:
    return c.bf16 ? TENSOR(Quads7) : STEM(stem7);
  case PATCHES:
    return c.bf16 ? FGSM_LAUNCH(patches_bf16, grid, dim3(TILE_THREADS), 0, stream, c)
                  : FGSM_LAUNCH(patches, grid, dim3(TILE_THREADS), 0, stream, c);
  default:
    return c.bf16 ? FGSM_LAUNCH((any<uint16_t, POOL>), grid, dim3(256), 0, stream, c)
                  : FGSM_LAUNCH((any<float, POOL>), grid, dim3(256), 0, stream, c);
  }
#undef STEM
#undef TENSOR
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  const struct fg_conv_step_attrs &a = call->attrs->conv_step;
  const struct fg_tensor *in = call->in, &dy = in[0], *index = fg_cuda_in(call, 7);
  FG_TRY(check_step(call, &a.step));
  FG_CUDA_NEED(call,
               a.conv.spatial == 2 && dy.rank == 4 && in[1].rank == 4 && in[2].rank == 4 &&
                   a.conv.group >= 1,
               "only in 2-D");
  FG_CUDA_NEED(call,
               !index || (fg_same_shape(index, &dy) && a.pool.spatial == 2 &&
                          (index->type == FG_U8 || index->type == FG_I32)),
               "an index of another shape or type");
  const int64_t *y = index ? a.pool.dim : dy.dim;
  FG_CUDA_NEED(call, y[1] * y[2] * y[3] <= INT32_MAX / 2, "more than 2^30 values of dy an image");
  Call c = call_of(call);
  c.source.index = index ? &c : nullptr; /* whether it is there is all that plan asks */
  plan(&c);
  const int64_t blocks = in[2].dim[0] * c.tiles;
  FG_CUDA_NEED(call, blocks <= INT32_MAX, "%lld blocks", (long long)blocks);
  call->scratch_bytes = (size_t)blocks * sizeof(Partial);
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream_) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  const unsigned samples = (unsigned)call->in[2].dim[0];
  if (fg_count(&call->in[2]) == 0)
    return FGSM_OK;
  FG_TRY(check_aligned(call));
  Call c = call_of(call);
  c.partial = static_cast<Partial *>(scratch);
  const Variant v = plan(&c);
  const unsigned blocks = samples * (unsigned)c.tiles;
  const Pool pool = pool_of(c.source);
  FG_TRY(fg_cuda_launched(call, pool == NO_POOL ? launch_variant<NO_POOL>(v, c, blocks, stream)
                                : pool == POOL_3X3
                                    ? launch_variant<POOL_3X3>(v, c, blocks, stream)
                                    : launch_variant<ANY_POOL>(v, c, blocks, stream)));
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(settle_samples, dim3(samples), dim3(128), 0, stream, c.step,
                                      c.partial, c.tiles, fg_cuda_to<float>(call, 2)));
}

} // namespace
} // namespace fgsm

extern "C" const struct fg_kernel fg_cuda_conv_grad_input_step = {fgsm::prepare, fgsm::run,
                                                                  nullptr};
