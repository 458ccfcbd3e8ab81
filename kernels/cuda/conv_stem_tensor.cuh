/* The stems of conv_grad_input_step in bfloat16 on tensor cores: 3x3 of stride 1 and 7x7 of stride 2,
 * at most 4 channels.
 *
 * Both are one product. A quad is 2 x 2 pixels of 4 channels: 16 results, the rows of an mma. Quad
 * (i, j) takes 4 x 4 places of dy, those of row STRIDE i - 1 + v and column STRIDE j - 1 + u, v and u
 * from 0 to 3, where dy has 2 / STRIDE rows a row of quads: weights [16 results][16 places][filter],
 * zero where a place is outside a pixel's window, times dy [place][filter].
 *   7x7, stride 2 (STRIDE 1): pixel row 2 i + a takes row 5 + a - 2 v of the window
 *   3x3, stride 1 (STRIDE 2): pixel row 2 i + a takes row 2 + a - v
 * A fragment of dy, 8 places of a row by 16 filters, is read once for all rows of quads that it
 * belongs to, up to four of them for STRIDE 1; the weights of four v stay in registers meanwhile.
 *
 * FLOPs an image, 64 filters, 3 channels: 2 * 16 * 1024 a quad. 7x7 of 224: 411 M (236 M are needed).
 * The product of dy with all 147 places of the window and a scatter of its results would be 344 M, but
 * would take each of its 152 results a place through shared memory, 3.2 values for each that is kept;
 * here results stay in accumulators. 3x3 of 32: 8.4 M (3.5 M needed); 8 columns of two pixels would be
 * 6.3 M, and both are less than the bytes' time: 168 KB at 4.3 TB/s are 39 ns, 8.4 MFLOP at 790
 * TFLOP/s 11 ns. */
#ifndef FGSM_CONV_STEM_TENSOR_CUH
#define FGSM_CONV_STEM_TENSOR_CUH

#include "conv_step.cuh"

namespace fgsm {
namespace {

constexpr int QUAD_WARPS = 4, QUAD_THREADS = 32 * QUAD_WARPS;
constexpr int QUAD_K = 16,
              QUAD_LD = QUAD_K + 8; /* filters at a time; 48 bytes a line: no conflicts */

/* A block's quads: ROWS rows of each warp, GROUPS times 8 columns. TAPS is the window's width. */
template <int STRIDE_, int WINDOW_, int ROWS_, int GROUPS_> struct Quads {
  static constexpr int STRIDE = STRIDE_, WINDOW = WINDOW_, ROWS = ROWS_, GROUPS = GROUPS_;
  static constexpr int HEIGHT = 2 * ROWS * QUAD_WARPS, WIDTH = 16 * GROUPS; /* pixels */
  static constexpr int DY_ROWS = STRIDE * (ROWS * QUAD_WARPS - 1) + 4;
  static constexpr int DY_COLS = STRIDE * (GROUPS * 8 - 1) + 4;
  static constexpr int DY = DY_ROWS * DY_COLS * QUAD_LD, WEIGHTS = 256 * QUAD_LD;
  static constexpr int GRADIENT = 4 * HEIGHT * (WIDTH + 4); /* floats, in their place at the end */
  static constexpr int VALUES = DY + WEIGHTS > 2 * GRADIENT ? DY + WEIGHTS : 2 * GRADIENT;
};
using Quads7 = Quads<1, 7, 4, 4>;
using Quads3 = Quads<2, 3, 2, 2>;

/* Two filters' values at one place, as a pair. */
template <Pool POOL>
__device__ __forceinline__ unsigned pair_at(const Source &s, int64_t n, int k, bool both, int y,
                                            int x) {
  return fgsm_pack_bf16(gather<uint16_t, POOL>(s, n, k, y, x),
                        both ? gather<uint16_t, POOL>(s, n, k + 1, y, x) : 0.0f);
}

/* The pool's dy at window (i, j) of a filter, and the place that it belongs to; -1 for no window. */
struct Pooled {
  float dy;
  int place;
};
__device__ __forceinline__ Pooled pooled_at(const Source &s, int64_t n, int k, int i, int j) {
  if (i < 0 || i >= s.pool_p || j < 0 || j >= s.pool_q)
    return {0, -1};
  const int64_t at = place_at(s, n, k, s.pool_p * s.pool_q, i * s.pool_q + j);
  return {value_at<uint16_t>(s.dy, at), static_cast<const unsigned char *>(s.index)[at]};
}
__device__ __forceinline__ float if_at(const Pooled &w, int place) {
  return w.place == place ? w.dy : 0.0f;
}

/* What ResNet's pool (3x3, stride 2, padding 1) makes of 2 x 2 places of dy from (2 i, 2 j) on: those
 * lie under four windows, which are read once. */
__device__ __forceinline__ void unpool_quad(const Source &s, int64_t n, int k, int i, int j,
                                            float g[4]) {
  const Pooled here = pooled_at(s, n, k, i, j), right = pooled_at(s, n, k, i, j + 1);
  const Pooled below = pooled_at(s, n, k, i + 1, j), both = pooled_at(s, n, k, i + 1, j + 1);
  g[0] = if_at(here, 4);
  g[1] = if_at(right, 3) + if_at(here, 5);
  g[2] = if_at(below, 1) + if_at(here, 7);
  g[3] = if_at(both, 0) + if_at(below, 2) + if_at(right, 6) + if_at(here, 8);
}

/* Filters k0 on, rows y0 and columns x0 on of dy, as [place][filter]; zero where dy has none. */
template <class Q, Pool POOL>
__device__ __forceinline__ void load_places(const Source &s, int64_t n, int k0, int y0, int x0,
                                            uint16_t *to) {
  constexpr bool BY_QUADS = POOL == POOL_3X3;
  constexpr int STEP = BY_QUADS ? 2 : 1; /* y0 and x0 are odd: the first quad begins before them */
  constexpr int ROWS = Q::DY_ROWS / STEP + (BY_QUADS ? 1 : 0);
  constexpr int COLS = Q::DY_COLS / STEP + (BY_QUADS ? 1 : 0);
  FGSM_NO_UNROLL
  for (int e = threadIdx.x; e < ROWS * COLS * (QUAD_K / 2); e += QUAD_THREADS) {
    /* What lies together is loaded by neighbours: a row's places, or a place's filters. */
    const int k = (s.last ? e % (QUAD_K / 2) : e / (COLS * ROWS)) * 2;
    const int place = s.last ? e / (QUAD_K / 2) : e % (COLS * ROWS);
    const int col = place % COLS, row = place / COLS;
    const bool one = k0 + k < s.filters, two = k0 + k + 1 < s.filters;
    if (BY_QUADS) {
      const int y = y0 - 1 + row * 2, x = x0 - 1 + col * 2; /* even */
      float g[4] = {}, h[4] = {};
      if (one)
        unpool_quad(s, n, k0 + k, y / 2, x / 2, g);
      if (two)
        unpool_quad(s, n, k0 + k + 1, y / 2, x / 2, h);
      FGSM_UNROLL
      for (int j = 0; j < 4; j++) {
        const int r = row * 2 - 1 + j / 2, q = col * 2 - 1 + j % 2;
        const bool there = y + j / 2 >= 0 && y + j / 2 < s.p && x + j % 2 >= 0 && x + j % 2 < s.q;
        if (r >= 0 && r < Q::DY_ROWS && q >= 0 && q < Q::DY_COLS)
          fgsm_stv<unsigned>(to + (r * Q::DY_COLS + q) * QUAD_LD + k,
                             there ? fgsm_pack_bf16(g[j], h[j]) : 0u);
      }
    } else {
      const int y = y0 + row, x = x0 + col;
      const bool there = one && y >= 0 && y < s.p && x >= 0 && x < s.q;
      fgsm_stv<unsigned>(to + (row * Q::DY_COLS + col) * QUAD_LD + k,
                         there ? pair_at<POOL>(s, n, k0 + k, two, y, x) : 0u);
    }
  }
}

/* The weights of filters k0 on, each to the results and places that it serves: [place v 4 + u][channel
 * 4 + 2 a + b][filter]. What no weight is written to stays zero. */
template <class Q>
__device__ __forceinline__ void place_weights(const uint16_t *w, const Shape &s, int k0,
                                              uint16_t *to) {
  constexpr int AREA = Q::WINDOW * Q::WINDOW, SPACING = Q::WINDOW == 7 ? 2 : 1;
  constexpr int TOP = Q::WINDOW == 7 ? 5 : 2; /* row of the window = TOP + a - SPACING v */
  FGSM_NO_UNROLL
  for (int e = threadIdx.x; e < s.channels * AREA * QUAD_K; e += QUAD_THREADS) {
    const int place = e % AREA, ch = e / AREA % s.channels, k = e / (AREA * s.channels);
    const int r = place / Q::WINDOW, q = place % Q::WINDOW;
    const uint16_t value =
        k0 + k < s.filters ? w[((int64_t)(k0 + k) * s.channels + ch) * AREA + place] : (uint16_t)0;
    FGSM_UNROLL
    for (int ab = 0; ab < 4; ab++) {
      const int v = TOP + ab / 2 - r, u = TOP + ab % 2 - q; /* times SPACING */
      if (v >= 0 && u >= 0 && v % SPACING == 0 && u % SPACING == 0)
        to[((v / SPACING * 4 + u / SPACING) * 16 + ch * 4 + ab) * QUAD_LD + k] = value;
    }
  }
}

/* acc[row][group] += weights times places, for 16 filters; `dy` is at the warp's first row. */
template <class Q>
__device__ __forceinline__ void multiply_quads(const uint16_t *dy, const uint16_t *weights,
                                               float acc[Q::ROWS][Q::GROUPS][4]) {
  const int lane = threadIdx.x % 32;
  FGSM_NO_UNROLL
  for (int u = 0; u < 4; u++) {
    unsigned a[4][4];
    FGSM_UNROLL
    for (int v = 0; v < 4; v++)
      fgsm_ldmatrix_x4(a[v], weights + ((v * 4 + u) * 16 + lane % 16) * QUAD_LD + lane / 16 * 8);
    FGSM_UNROLL
    for (int d = 0; d < Q::STRIDE * (Q::ROWS - 1) + 4; d++) {
      FGSM_UNROLL
      for (int g = 0; g < Q::GROUPS; g += 2) {
        unsigned b[4]; /* two groups of 8 places, each by 8 and 8 filters */
        const int place = g * 8 + lane / 16 * 8 + lane % 8;
        fgsm_ldmatrix_x4(b, dy + (d * Q::DY_COLS + place * Q::STRIDE + u) * QUAD_LD +
                                lane / 8 % 2 * 8);
        FGSM_UNROLL
        for (int v = 0; v < 4; v++) {
          const int i = (d - v) / Q::STRIDE;
          if (d < v || (d - v) % Q::STRIDE || i >= Q::ROWS)
            continue;
          fgsm_mma_m16n8k16_bf16(acc[i][g], a[v], b, acc[i][g]);
          fgsm_mma_m16n8k16_bf16(acc[i][g + 1], a[v], b + 2, acc[i][g + 1]);
        }
      }
    }
  }
}

/* Results to pixels: [channel][row][column] of the block, floats. */
template <class Q>
__device__ __forceinline__ void leave_quads(const float acc[Q::ROWS][Q::GROUPS][4], float *to) {
  const int lane = threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  FGSM_UNROLL
  for (int i = 0; i < Q::ROWS; i++) {
    FGSM_UNROLL
    for (int e = 0; e < Q::GROUPS * 4; e++) {
      const int result = lane / 4 + e / 2 % 2 * 8, col = e / 4 * 8 + lane % 4 * 2 + e % 2;
      const int y = (warp * Q::ROWS + i) * 2 + result / 2 % 2, x = col * 2 + result % 2;
      to[(result / 4 * Q::HEIGHT + y) * (Q::WIDTH + 4) + x] = acc[i][e / 4][e % 4];
    }
  }
}

/* ptxas budget: stem_tensor registers 128 shared 47000 mma */
template <class Q, Pool POOL, bool VEC>
__global__ void __launch_bounds__(QUAD_THREADS, 4) stem_tensor(Call c) {
  FGSM_SHARED(uint16_t, shared, [Q::VALUES]);
  uint16_t *weights = shared, *dy = shared + Q::WEIGHTS;
  const Shape &s = c.shape;
  const int64_t n = blockIdx.x / c.tiles;
  const int t = blockIdx.x % c.tiles, x0 = t % c.tiles_x * Q::WIDTH, y0 = t / c.tiles_x * Q::HEIGHT;
  const int first = (int)threadIdx.x / 32 * Q::ROWS * Q::STRIDE * Q::DY_COLS * QUAD_LD;
  float acc[Q::ROWS][Q::GROUPS][4] = {};
  for (int e = threadIdx.x; e < Q::WEIGHTS / 8; e += QUAD_THREADS)
    fgsm_stv<uint4>(weights + e * 8, make_uint4(0, 0, 0, 0));
  __syncthreads();
  for (int k0 = 0; k0 < s.filters; k0 += QUAD_K) {
    place_weights<Q>(static_cast<const uint16_t *>(c.weights), s, k0, weights);
    load_places<Q, POOL>(c.source, n, k0, y0 * Q::STRIDE / 2 - 1, x0 * Q::STRIDE / 2 - 1, dy);
    __syncthreads();
    multiply_quads<Q>(dy + first, weights, acc);
    __syncthreads();
  }
  float *pixels = reinterpret_cast<float *>(shared);
  leave_quads<Q>(acc, pixels);
  __syncthreads();
  Partial p = {0, 0, 0, 0, 0};
  const Budget b = load_budget(c.step.params);
  FGSM_NO_UNROLL
  for (int e = threadIdx.x; e < Q::HEIGHT * Q::WIDTH / 4; e += QUAD_THREADS) {
    const int y = e / (Q::WIDTH / 4), x = e % (Q::WIDTH / 4) * 4;
    float g[4][4];
    FGSM_UNROLL
    for (int ch = 0; ch < 4; ch++) {
      const float4 v = fgsm_ldv<float4>(pixels + (ch * Q::HEIGHT + y) * (Q::WIDTH + 4) + x);
      g[0][ch] = v.x;
      g[1][ch] = v.y;
      g[2][ch] = v.z;
      g[3][ch] = v.w;
    }
    take_row<VEC>(c, b, n, y0 + y, x0 + x, g, &p);
  }
  leave(c, p);
}

} // namespace
} // namespace fgsm
#endif
