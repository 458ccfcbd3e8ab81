/* The stems of conv_grad_input_step in float32, by FFMA: a thread makes 4 pixels of a row (3x3) or
 * 2 x 4 (7x7, stride 2), sums over filters in ascending order. */
#ifndef FGSM_CONV_STEMS_CUH
#define FGSM_CONV_STEMS_CUH

#include "conv_step.cuh"

namespace fgsm {
namespace {

__device__ __forceinline__ float4 zero4() {
  return make_float4(0, 0, 0, 0);
}

/* Rows y0 .. y0 + ROWS - 1 and columns x0 .. x0 + COLS - 1 of PLANES filters from k0 on, zero where
 * dy has none. x0 and COLS are multiples of 4; VEC: rows of dy are too, and lie on 16 bytes, channels
 * first. */
template <int PLANES, int ROWS, int COLS, Pool POOL, bool VEC>
__device__ __forceinline__ void load_tile(const Source &s, int64_t n, int k0, int y0, int x0,
                                          float (*tile)[ROWS][COLS]) {
  for (int e = threadIdx.x; e < PLANES * ROWS * (COLS / 4); e += blockDim.x) {
    const int k = !VEC && s.last ? e % PLANES : e / (COLS / 4 * ROWS);
    const int four = !VEC && s.last ? e / PLANES : e % (COLS / 4 * ROWS);
    const int x = four % (COLS / 4) * 4, y = four / (COLS / 4);
    const int gy = y0 + y, gx = x0 + x;
    float4 v = zero4();
    if (k0 + k < s.filters && gy >= 0 && gy < s.p) {
      if (VEC) {
        if (gx >= 0 && gx < s.q)
          v = fgsm_ldv<float4>(static_cast<const float *>(s.dy) +
                               ((n * s.filters + k0 + k) * s.p + gy) * s.q + gx);
      } else {
        v.x = gx >= 0 && gx < s.q ? gather<float, POOL>(s, n, k0 + k, gy, gx) : 0;
        v.y = gx + 1 >= 0 && gx + 1 < s.q ? gather<float, POOL>(s, n, k0 + k, gy, gx + 1) : 0;
        v.z = gx + 2 >= 0 && gx + 2 < s.q ? gather<float, POOL>(s, n, k0 + k, gy, gx + 2) : 0;
        v.w = gx + 3 >= 0 && gx + 3 < s.q ? gather<float, POOL>(s, n, k0 + k, gy, gx + 3) : 0;
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

/* ---- 3x3: 32 x 16 pixels a block, 4 a thread; 24 KiB of shared memory. For each filter and row of
 * the window a thread reads 6 values of dy and 3 float4 of weights, and multiplies 48 times.
 * ptxas budget: stem3 registers 96 shared 24384 loads16 stores16 shared16 */
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
    load_weights<S3_PLANES, 9>(static_cast<const float *>(c.weights), c.shape.filters,
                               c.shape.channels, k0, w);
    __syncthreads();
    for (int k = 0; k < S3_PLANES; k++) {
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
 * ptxas budget: stem7 registers 112 shared 20544 loads16 stores16 shared16 */
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
    load_weights<S7_PLANES, 49>(static_cast<const float *>(c.weights), c.shape.filters,
                                c.shape.channels, k0, w);
    __syncthreads();
    for (int k = 0; k < S7_PLANES; k++) {
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
    }
    __syncthreads();
  }
  Partial p = {0, 0, 0, 0, 0};
  const Budget b = load_budget(c.step.params);
  FGSM_NO_UNROLL
  for (int a = 0; a < 2; a++) {
    take_row<VEC>(c, b, n, y0 + ty * 2 + a, x0 + tx * 2, g[0], &p);
    FGSM_UNROLL
    for (int e = 0; e < 16; e++)
      g[0][e / 4][e % 4] = g[1][e / 4][e % 4];
  }
  leave(c, p);
}

} // namespace
} // namespace fgsm
#endif
