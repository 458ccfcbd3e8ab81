/* tiled_product.cuh's product on tensor cores: G = A B of bfloat16 operands, sums in float32, in
 * tiles of 64 x 64 by 8 warps of 16 x 32, mma.m16n8k16 (its host twin runs in the SIMT harness).
 *
 * A line (a row of A, a column of B) is 32 values deep in shared memory at a time, and eight more
 * apart against bank conflicts of ldmatrix. Lines that lie together on 16 bytes are loaded so. */
#ifndef FGSM_TENSOR_PRODUCT_CUH
#define FGSM_TENSOR_PRODUCT_CUH

#include "tiled_product.cuh"

namespace fgsm {

constexpr int MMA_K = 32, MMA_LD = MMA_K + 8;

/* Value k of line i lies at i * line + k * step, as bits. */
struct Lines {
  const uint16_t *values;
  int64_t line, step, count;
  bool wide; /* step 1, and every line on 16 bytes */
};

__device__ __forceinline__ void load_lines(const Lines &from, int64_t first, int k0, int inner,
                                           uint16_t (*to)[MMA_LD]) {
  if (from.wide) {
    const int i = threadIdx.x / 4, k = threadIdx.x % 4 * 8; /* 64 lines of 4 times 8 values */
    uint4 v = make_uint4(0, 0, 0, 0);
    if (first + i < from.count && k0 + k < inner)
      v = fgsm_ldv<uint4>(from.values + (first + i) * from.line + k0 + k);
    fgsm_stv<uint4>(&to[i][k], v);
    return;
  }
  for (int e = threadIdx.x; e < TILE * MMA_K; e += TILE_THREADS) {
    const int i = from.step == 1 ? e / MMA_K : e % TILE, k = from.step == 1 ? e % MMA_K : e / TILE;
    const bool there = first + i < from.count && k0 + k < inner;
    to[i][k] = there ? from.values[(first + i) * from.line + (k0 + k) * from.step] : (uint16_t)0;
  }
}

/* Where a thread's values are: g[c][v] is G[row + v / 2 * 8][col + c * 8 + v % 2]. */
struct Corner {
  int row, col;
};
__device__ __forceinline__ Corner corner_of() {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return {warp % 4 * 16 + lane / 4, warp / 4 * 32 + lane % 4 * 2};
}

__device__ __forceinline__ void tensor_product(const Lines &rows, const Lines &cols, int64_t row0,
                                               int64_t col0, int inner, float g[4][4]) {
  FGSM_SHARED(uint16_t, a, [TILE][MMA_LD]);
  FGSM_SHARED(uint16_t, b, [TILE][MMA_LD]);
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16;
  const int col = (int)threadIdx.x / 128 * 32;
  FGSM_UNROLL
  for (int c = 0; c < 4; c++) {
    FGSM_UNROLL
    for (int v = 0; v < 4; v++)
      g[c][v] = 0;
  }
  for (int k0 = 0; k0 < inner; k0 += MMA_K) {
    load_lines(rows, row0, k0, inner, a);
    load_lines(cols, col0, k0, inner, b);
    __syncthreads();
    FGSM_UNROLL
    for (int k = 0; k < MMA_K; k += 16) {
      unsigned u[4];
      fgsm_ldmatrix_x4(u, &a[row + lane % 16][k + lane / 16 * 8]);
      FGSM_UNROLL
      for (int c = 0; c < 4; c++) {
        const uint16_t *line = b[col + c * 8 + lane / 4];
        const unsigned v[2] = {fgsm_ldv<unsigned>(line + k + lane % 4 * 2),
                               fgsm_ldv<unsigned>(line + k + lane % 4 * 2 + 8)};
        fgsm_mma_m16n8k16_bf16(g[c], u, v, g[c]);
      }
    }
    __syncthreads();
  }
}

} // namespace fgsm
#endif
