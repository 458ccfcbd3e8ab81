/* conv_grad_input_step: backward-data of a first convolution, sign, clip, bytes, in one launch; the
 * gradient stays in registers unless it is asked for. A second launch of one small block a sample
 * settles statistics and samples that are not finite (linf.cuh).
 *
 * Variants, chosen in prepare; N C H W float32, FFMA, sums over filters in ascending order:
 *   stem3     3x3, stride 1, padding 1, at most 4 channels: a thread makes 4 pixels of a row
 *   stem7     7x7, stride 2, padding 3, at most 4 channels: a thread makes 2 x 4 pixels, that is
 * two quads; over a quad's 4 x 4 places of dy each of the 49 weights is used exactly once patches
 * stride = window, no padding: a product whose rows are patches (tiled_product.cuh) any       one
 * thread a feature: any window, stride, dilation, padding and group Each but `patches` may have the
 * max-pool's backward in front: dy is then gathered from the pool's by index while it is loaded (a
 * place of dy lies under at most ceil(window / stride)^2 windows).
 *
 * Counts per image, K filters, C channels, float32:
 *   bytes  4 (K P Q + 3 C H W), + 4 C H W for the gradient, + C H W for bytes; behind a pool K P Q
 * is the pool's, at 4 bytes and 1 of index; weights come from L2. That is the floor. FLOPs  2 K C P
 * Q R S.    CIFAR stem (64 filters, 3x32x32): 299 KB, 3.5 MFLOP. ResNet stem (64, 3x224x224, P = Q
 * = 112; pool 56): 2.8 MB, 236 MFLOP. */
#include "tiled_product.cuh"

namespace fgsm {
namespace {

/* dy as the convolution's gradient sees it, straight or through the max-pool behind it. */
struct Source {
  const float *dy;
  const void *index; /* NULL: no pool */
  bool wide_index;   /* int32; else bytes */
  int filters, p, q; /* the convolution's result */
  int pool_p, pool_q, window[2], stride[2], dilation[2], lo[2];
};

struct Shape {
  int channels, h, w, filters, p, q;
  int r, s, stride[2], dilation[2], lo[2], group;
};

struct Call {
  Source source;
  Shape shape;
  Step step;
  const float *weights; /* [K, C/group, R, S] */
  Partial *partial;
  int tiles, tiles_x; /* blocks of one image, and of one row of them */
};

/* Whether there is a pool: none, ResNet's (3x3, stride 2, padding 1, bytes of index), any.
 * Constants spare the divisions. */
enum Pool { NO_POOL, POOL_3X3, ANY_POOL };

template <Pool POOL>
__device__ __forceinline__ float gather(const Source &s, int64_t plane, int y, int x) {
  if (POOL == NO_POOL)
    return s.dy[(plane * s.p + y) * s.q + x];
  constexpr bool known = POOL == POOL_3X3;
  const int rows = known ? 3 : s.window[0], cols = known ? 3 : s.window[1];
  const int stride_y = known ? 2 : s.stride[0], stride_x = known ? 2 : s.stride[1];
  const int step_y = known ? 1 : s.dilation[0], step_x = known ? 1 : s.dilation[1];
  const int64_t base = plane * s.pool_p * s.pool_q;
  float sum = 0;
  for (int r = 0; r < rows; r++) {
    const int top = y + (known ? 1 : s.lo[0]) - r * step_y, py = top / stride_y;
    if (top < 0 || top % stride_y || py >= s.pool_p)
      continue;
    for (int c = 0; c < cols; c++) {
      const int left = x + (known ? 1 : s.lo[1]) - c * step_x, px = left / stride_x;
      if (left < 0 || left % stride_x || px >= s.pool_q)
        continue;
      const int64_t at = base + (int64_t)py * s.pool_q + px;
      const int place = !known && s.wide_index ? static_cast<const int *>(s.index)[at]
                                               : static_cast<const unsigned char *>(s.index)[at];
      if (place == r * cols + c)
        sum += s.dy[at];
    }
  }
  return sum;
}

__device__ __forceinline__ float4 zero4() {
  return make_float4(0, 0, 0, 0);
}

/* Rows y0 .. y0 + ROWS - 1 and columns x0 .. x0 + COLS - 1 of PLANES filters from k0 on, zero where
 * dy has none. x0 and COLS are multiples of 4; VEC: rows of dy are too, and lie on 16 bytes. */
template <int PLANES, int ROWS, int COLS, Pool POOL, bool VEC>
__device__ __forceinline__ void load_tile(const Source &s, int64_t n, int k0, int y0, int x0,
                                          float (*tile)[ROWS][COLS]) {
  for (int e = threadIdx.x; e < PLANES * ROWS * (COLS / 4); e += blockDim.x) {
    const int x = e % (COLS / 4) * 4, y = e / (COLS / 4) % ROWS, k = e / (COLS / 4 * ROWS);
    const int gy = y0 + y, gx = x0 + x;
    const int64_t plane = n * s.filters + k0 + k;
    float4 v = zero4();
    if (k0 + k < s.filters && gy >= 0 && gy < s.p) {
      if (VEC) {
        if (gx >= 0 && gx < s.q)
          v = fgsm_ldv<float4>(s.dy + (plane * s.p + gy) * s.q + gx);
      } else {
        v.x = gx >= 0 && gx < s.q ? gather<POOL>(s, plane, gy, gx) : 0;
        v.y = gx + 1 >= 0 && gx + 1 < s.q ? gather<POOL>(s, plane, gy, gx + 1) : 0;
        v.z = gx + 2 >= 0 && gx + 2 < s.q ? gather<POOL>(s, plane, gy, gx + 2) : 0;
        v.w = gx + 3 >= 0 && gx + 3 < s.q ? gather<POOL>(s, plane, gy, gx + 3) : 0;
      }
    }
    fgsm_stv<float4>(&tile[k][y][x], v);
  }
}

/* The weights of PLANES filters from k0 on, a window's places times 4 channels, zero beyond. */
template <int PLANES, int PLACES>
__device__ __forceinline__ void load_weights(const float *w, int filters, int channels, int k0,
                                             float (*to)[PLACES][4]) {
  for (int e = threadIdx.x; e < PLANES * PLACES * 4; e += blockDim.x) {
    const int place = e % PLACES, c = e / PLACES % 4, k = e / (PLACES * 4);
    const bool there = k0 + k < filters && c < channels;
    to[k][place][c] = there ? w[((int64_t)(k0 + k) * channels + c) * PLACES + place] : 0;
  }
}

__device__ __forceinline__ void add4(float g[4], float dy, const float4 &w) {
  g[0] = __fmaf_rn(dy, w.x, g[0]);
  g[1] = __fmaf_rn(dy, w.y, g[1]);
  g[2] = __fmaf_rn(dy, w.z, g[2]);
  g[3] = __fmaf_rn(dy, w.w, g[3]);
}

/* Four pixels of a row, g[pixel][channel]. */
template <bool VEC>
__device__ __forceinline__ void take_row(const Call &c, const Budget &b, int64_t n, int y, int x,
                                         float g[4][4], Partial *p) {
  const Shape &s = c.shape;
  if (y >= s.h || x >= s.w)
    return;
  FGSM_UNROLL
  for (int ch = 0; ch < 4; ch++) {
    if (ch >= s.channels)
      break;
    const int64_t i = ((int64_t)ch * s.h + y) * s.w + x;
    const float four[4] = {g[0][ch], g[1][ch], g[2][ch], g[3][ch]};
    if (VEC) {
      take4(c.step, b, n, i, four, p);
    } else {
      FGSM_UNROLL
      for (int j = 0; j < 4; j++)
        if (x + j < s.w)
          take(c.step, b, n, i + j, four[j], p);
    }
  }
}

__device__ __forceinline__ void leave(const Call &c, const Partial &mine) {
  const Partial all = block_sum(mine);
  if (threadIdx.x == 0)
    c.partial[blockIdx.x] = all;
}

/* ---- 3x3: 32 x 16 pixels a block, 4 a thread; 24 KiB of shared memory. For each filter and row of
 * the window a thread reads 6 values of dy and 3 float4 of weights, and multiplies 48 times.
 * ptxas budget: stem3 registers 96 shared 24384 */
constexpr int S3_PLANES = 8, S3_W = 32, S3_H = 16;
template <Pool POOL, bool VEC_DY, bool VEC>
__global__ void __launch_bounds__(128, 4) stem3(Call c) {
  FGSM_SHARED(float, tile, [S3_PLANES][S3_H + 2][S3_W + 8]);
  FGSM_SHARED(float, w, [S3_PLANES][9][4]);
  const int64_t n = blockIdx.x / c.tiles;
  const int t = blockIdx.x % c.tiles, x0 = t % c.tiles_x * S3_W, y0 = t / c.tiles_x * S3_H;
  const int tx = threadIdx.x % 8 * 4, ty = threadIdx.x / 8;
  float g[4][4] = {};
  for (int k0 = 0; k0 < c.shape.filters; k0 += S3_PLANES) {
    load_tile<S3_PLANES, S3_H + 2, S3_W + 8, POOL, VEC_DY>(c.source, n, k0, y0 - 1, x0 - 4, tile);
    load_weights<S3_PLANES, 9>(c.weights, c.shape.filters, c.shape.channels, k0, w);
    __syncthreads();
    for (int k = 0; k < S3_PLANES; k++)
      FGSM_UNROLL
    for (int v = 0; v < 3; v++) {
      const float *row = &tile[k][ty + v][tx];
      const float4 mid = fgsm_ldv<float4>(row + 4);
      const float dy[6] = {row[3], mid.x, mid.y, mid.z, mid.w, row[8]};
      FGSM_UNROLL
      for (int u = 0; u < 3; u++) {
        const float4 weight = fgsm_ldv<float4>(w[k][(2 - v) * 3 + 2 - u]);
        FGSM_UNROLL
        for (int j = 0; j < 4; j++)
          add4(g[j], dy[j + u], weight);
      }
    }
    __syncthreads();
  }
  Partial p = {0, 0, 0, 0, 0};
  take_row<VEC>(c, load_budget(c.step.params), n, y0 + ty, x0 + tx, g, &p);
  leave(c, p);
}

/* ---- 7x7 stride 2: 64 x 16 pixels a block, 4 x 2 a thread; 20 KiB of shared memory. Pixel row
 * 2i + a takes row i - 1 + v of dy with row 5 + a - 2v of the window. For each filter a thread
 * reads 4 x 5 values of dy and 49 float4 of weights, and multiplies 392 times.
 * ptxas budget: stem7 registers 112 shared 20544 */
constexpr int S7_PLANES = 8, S7_W = 64, S7_H = 16;
template <Pool POOL, bool VEC_DY, bool VEC>
__global__ void __launch_bounds__(128, 4) stem7(Call c) {
  FGSM_SHARED(float, tile, [S7_PLANES][S7_H / 2 + 3][S7_W / 2 + 8]);
  FGSM_SHARED(float, w, [S7_PLANES][49][4]);
  const int64_t n = blockIdx.x / c.tiles;
  const int t = blockIdx.x % c.tiles, x0 = t % c.tiles_x * S7_W, y0 = t / c.tiles_x * S7_H;
  const int tx = threadIdx.x % 16 * 2, ty = threadIdx.x / 16; /* of quads */
  float g[2][4][4] = {};
  for (int k0 = 0; k0 < c.shape.filters; k0 += S7_PLANES) {
    load_tile<S7_PLANES, S7_H / 2 + 3, S7_W / 2 + 8, POOL, VEC_DY>(c.source, n, k0, y0 / 2 - 1,
                                                                   x0 / 2 - 4, tile);
    load_weights<S7_PLANES, 49>(c.weights, c.shape.filters, c.shape.channels, k0, w);
    __syncthreads();
    for (int k = 0; k < S7_PLANES; k++)
      FGSM_UNROLL
    for (int v = 0; v < 4; v++) {
      float dy[5];
      FGSM_UNROLL
      for (int j = 0; j < 5; j++)
        dy[j] = tile[k][ty + v][tx + 3 + j];
      FGSM_UNROLL
      for (int a = 0; a < 2; a++) {
        const int r = 5 + a - 2 * v;
        if (r < 0)
          continue;
        FGSM_UNROLL
        for (int s = 0; s < 7; s++) {
          const int odd = (s + 1) % 2, u = (5 + odd - s) / 2; /* s = 5 + odd - 2u */
          const float4 weight = fgsm_ldv<float4>(w[k][r * 7 + s]);
          add4(g[a][odd], dy[u], weight);
          add4(g[a][2 + odd], dy[u + 1], weight);
        }
      }
    }
    __syncthreads();
  }
  Partial p = {0, 0, 0, 0, 0};
  const Budget b = load_budget(c.step.params);
  FGSM_UNROLL
  for (int a = 0; a < 2; a++)
    take_row<VEC>(c, b, n, y0 + ty * 2 + a, x0 + tx * 2, g[a], &p);
  leave(c, p);
}

/* ---- patches: row m is a patch of the batch, column j a feature of it (channel, row, column). */
struct Patches {
  const float *dy, *w;
  int filters, area, features; /* P Q; C R S */
  __device__ void order_a(int e, int *r, int *k) const {
    line_first(e, r, k);
  }
  __device__ void order_b(int e, int *c, int *k) const {
    line_first(e, c, k);
  }
  __device__ float a(int64_t m, int k) const {
    return dy[(m / area * filters + k) * area + m % area];
  }
  __device__ float b(int k, int j) const {
    return w[(int64_t)k * features + j];
  }
};

/* Rows of one image only, so that a block's statistics are one sample's.
 * ptxas budget: patches registers 64 shared 8896 */
__global__ void __launch_bounds__(TILE_THREADS) patches(Call c) {
  const Shape &s = c.shape;
  const int64_t n = blockIdx.x / c.tiles;
  const int t = blockIdx.x % c.tiles, area = s.p * s.q, features = s.channels * s.r * s.s;
  const int row0 = t / c.tiles_x * TILE, col0 = t % c.tiles_x * TILE;
  const Patches map = {c.source.dy + n * s.filters * area, c.weights, s.filters, area, features};
  float g[4][4];
  tile_product(map, row0, col0, area, features, s.filters, g);
  Partial p = {0, 0, 0, 0, 0};
  const Budget b = load_budget(c.step.params);
  FGSM_UNROLL
  for (int i = 0; i < 4; i++)
    FGSM_UNROLL
  for (int j = 0; j < 4; j++) {
    const int m = row0 + (int)threadIdx.x / 16 * 4 + i, f = col0 + (int)threadIdx.x % 16 * 4 + j;
    if (m >= area || f >= features)
      continue;
    const int ch = f / (s.r * s.s), y = m / s.q * s.r + f / s.s % s.r;
    const int x = m % s.q * s.s + f % s.s;
    take(c.step, b, n, ((int64_t)ch * s.h + y) * s.w + x, g[i][j], &p);
  }
  leave(c, p);
}

/* ---- any. ptxas budget: any registers 64 shared 192 */
template <Pool POOL> __global__ void __launch_bounds__(256, 4) any(Call c) {
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
        const int top = y + s.lo[0] - r * s.dilation[0], py = top / s.stride[0];
        if (top < 0 || top % s.stride[0] || py >= s.p)
          continue;
        for (int q = 0; q < s.s; q++) {
          const int left = x + s.lo[1] - q * s.dilation[1], px = left / s.stride[1];
          if (left < 0 || left % s.stride[1] || px >= s.q)
            continue;
          const float w = c.weights[(((int64_t)k * own + ch % own) * s.r + r) * s.s + q];
          g = __fmaf_rn(gather<POOL>(c.source, n * s.filters + k, py, px), w, g);
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
    c->tiles_x = pieces(s.w, S3_W);
    c->tiles = c->tiles_x * pieces(s.h, S3_H);
    break;
  case STEM7:
    c->tiles_x = pieces(s.w, S7_W);
    c->tiles = c->tiles_x * pieces(s.h, S7_H);
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
  const struct fg_tensor *in = call->in, &w = in[1], &x0 = in[2], &index = in[7];
  Call c = {};
  Shape &s = c.shape;
  const int64_t *y = present(&index) ? a.pool.dim : in[0].dim;
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
  d.dy = floats(&in[0]);
  d.index = present(&index) ? index.data : nullptr;
  d.wide_index = index.type == FG_I32;
  d.filters = s.filters;
  d.p = s.p;
  d.q = s.q;
  d.pool_p = (int)in[0].dim[2];
  d.pool_q = (int)in[0].dim[3];
  c.step = step_of(call, &a.step);
  c.weights = floats(&w);
  return c;
}

/* One variant, with rows of dy or of images on 16 bytes where they are. */
template <Pool POOL>
cudaError_t launch_variant(Variant v, const Call &c, unsigned blocks, cudaStream_t stream) {
  const bool vec_dy = POOL == NO_POOL && c.shape.q % 4 == 0, vec = c.shape.w % 4 == 0;
  const dim3 grid(blocks);
#define STEM(kernel)                                                                               \
  (vec_dy && vec                                                                                   \
       ? FGSM_LAUNCH((kernel<POOL, POOL == NO_POOL, true>), grid, dim3(128), 0, stream, c)         \
   : vec    ? FGSM_LAUNCH((kernel<POOL, false, true>), grid, dim3(128), 0, stream, c)              \
   : vec_dy ? FGSM_LAUNCH((kernel<POOL, POOL == NO_POOL, false>), grid, dim3(128), 0, stream, c)   \
            : FGSM_LAUNCH((kernel<POOL, false, false>), grid, dim3(128), 0, stream, c))
  switch (v) {
  case STEM3:
    return STEM(stem3);
  case STEM7:
    return STEM(stem7);
  case PATCHES:
    return FGSM_LAUNCH(patches, grid, dim3(TILE_THREADS), 0, stream, c);
  default:
    return FGSM_LAUNCH((any<POOL>), grid, dim3(256), 0, stream, c);
  }
#undef STEM
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  const struct fg_conv_step_attrs &a = call->attrs->conv_step;
  const struct fg_tensor *in = call->in, &dy = in[0], &index = in[7];
  FG_TRY(check_step(call, &a.step));
  if (a.conv.spatial != 2 || dy.rank != 4 || in[1].rank != 4 || in[2].rank != 4 || a.conv.group < 1)
    return FG_FAIL(UNSUPPORTED, "cuda: conv_grad_input_step is 2-D");
  if (present(&index) && (!fg_same_shape(&index, &dy) || a.pool.spatial != 2 ||
                          (index.type != FG_U8 && index.type != FG_I32)))
    return FG_FAIL(UNSUPPORTED, "cuda: conv_grad_input_step: an index of another shape or type");
  struct fg_tensor y = dy;
  if (present(&index))
    for (int i = 0; i < 4; i++)
      y.dim[i] = a.pool.dim[i];
  if (fg_count(&y) / (y.dim[0] > 0 ? y.dim[0] : 1) > INT32_MAX / 2)
    return FG_FAIL(UNSUPPORTED, "cuda: conv_grad_input_step: more than 2^30 values of dy an image");
  Call c = call_of(call);
  c.source.index = present(&index) ? &c : nullptr; /* whether it is there is all that plan asks */
  plan(&c);
  const int64_t blocks = in[2].dim[0] * c.tiles;
  if (blocks > INT32_MAX)
    return FG_FAIL(UNSUPPORTED, "cuda: conv_grad_input_step: %lld blocks", (long long)blocks);
  call->scratch_bytes = (size_t)blocks * sizeof(Partial);
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream_) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  const unsigned samples = (unsigned)call->in[2].dim[0];
  if (fg_count(&call->in[2]) == 0)
    return FGSM_OK;
  Call c = call_of(call);
  c.partial = static_cast<Partial *>(scratch);
  const Variant v = plan(&c);
  const unsigned blocks = samples * (unsigned)c.tiles;
  const Pool pool = pool_of(c.source);
  FG_TRY(launched(pool == NO_POOL    ? launch_variant<NO_POOL>(v, c, blocks, stream)
                  : pool == POOL_3X3 ? launch_variant<POOL_3X3>(v, c, blocks, stream)
                                     : launch_variant<ANY_POOL>(v, c, blocks, stream),
                  call->op));
  return launched(FGSM_LAUNCH(settle_samples, dim3(samples), dim3(128), 0, stream, c.step,
                              c.partial, c.tiles, stats_of(call)),
                  call->op);
}

} // namespace
} // namespace fgsm

extern "C" const struct fg_kernel fg_cuda_conv_grad_input_step = {fgsm::prepare, fgsm::run,
                                                                  nullptr};
