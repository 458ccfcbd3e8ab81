/* A product whose result goes into a step and nowhere else: G = A B, [rows, cols] of inner length
 * `inner`, in tiles of 64 x 64 by 256 threads, float32, both operands through shared memory.
 *
 * Where an element of A or B lies, and which feature of which sample an element of G is, is the
 * caller's map, so one loop serves a dense layer and a patch embedding. FLOPs: 2 a multiply, each
 * thread 16 of them for 8 values read from shared memory; device memory is read (cols / 64) times
 * for A and (rows / 64) times for B, of which L2 holds B. */
#ifndef FGSM_TILED_PRODUCT_CUH
#define FGSM_TILED_PRODUCT_CUH

#include "linf.cuh"

namespace fgsm {

constexpr int TILE = 64, TILE_K = 16, TILE_THREADS = 256;

/* g[i][j] of thread t is G[row0 + (t / 16) * 4 + i][col0 + (t % 16) * 4 + j]. */
template <class Map>
__device__ __forceinline__ void tile_product(const Map &map, int64_t row0, int col0, int64_t rows,
                                             int cols, int inner, float g[4][4]) {
  /* k-major; four more columns spread the banks of A's transposing stores */
  FGSM_SHARED(float, a, [TILE_K][TILE + 4]);
  FGSM_SHARED(float, b, [TILE_K][TILE + 4]);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++)
      g[i][j] = 0;
  for (int k0 = 0; k0 < inner; k0 += TILE_K) {
    for (int e = threadIdx.x; e < TILE * TILE_K; e += TILE_THREADS) {
      int r, k;
      map.order_a(e, &r, &k);
      a[k][r] = row0 + r < rows && k0 + k < inner ? map.a(row0 + r, k0 + k) : 0.0f;
    }
    for (int e = threadIdx.x; e < TILE * TILE_K; e += TILE_THREADS) {
      int c, k;
      map.order_b(e, &c, &k);
      b[k][c] = col0 + c < cols && k0 + k < inner ? map.b(k0 + k, col0 + c) : 0.0f;
    }
    __syncthreads();
    FGSM_UNROLL
    for (int k = 0; k < TILE_K; k++) {
      const float4 u = fgsm_ldv<float4>(&a[k][ty * 4]), v = fgsm_ldv<float4>(&b[k][tx * 4]);
      const float row[4] = {u.x, u.y, u.z, u.w}, col[4] = {v.x, v.y, v.z, v.w};
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
          g[i][j] = __fmaf_rn(row[i], col[j], g[i][j]);
    }
    __syncthreads();
  }
}

/* Element e of a tile: the first index runs fastest, or the second (k). */
__device__ __forceinline__ void line_first(int e, int *line, int *k) {
  *line = e % TILE;
  *k = e / TILE;
}
__device__ __forceinline__ void k_first(int e, int *line, int *k) {
  *line = e / TILE_K;
  *k = e % TILE_K;
}

} // namespace fgsm
#endif
