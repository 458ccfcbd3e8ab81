/* What a card can do at most, for a roofline: multiply-adds in registers (in fp32 by the float units, in
 * the other precisions by mma.sync on tensor cores), and copying by 16 bytes. All processors are filled
 * and nothing else is asked of them. On sm_90, wgmma does more in a second than mma.sync, so a library
 * that uses it may come to more than this ceiling. */
#include "burst.h"

#include "cuda.h"

namespace {
enum { CHAINS = 8, ROUND = 64, THREADS = 256, BLOCKS_EACH = 8 };

/* The first n threads' sums are written: what is written at all must have been computed by all. */
__device__ __forceinline__ void give(float *result, int64_t n, float sum) {
  const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (i < n)
    result[i] = sum;
}

/* CHAINS independent chains, each its start and 2^-10 for every multiply-add.
 * ptxas budget: multiply_add registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(THREADS)
    multiply_add(float *result, int64_t n, int64_t rounds, float factor, float term) {
  float chain[CHAINS], sum = 0;
  FGSM_UNROLL
  for (int k = 0; k < CHAINS; k++)
    chain[k] = (float)k;
  for (int64_t r = 0; r < rounds; r++) {
    FGSM_UNROLL
    for (int i = 0; i < ROUND; i++) {
      FGSM_UNROLL
      for (int k = 0; k < CHAINS; k++)
        chain[k] = fmaf(chain[k], factor, term);
    }
  }
  FGSM_UNROLL
  for (int k = 0; k < CHAINS; k++)
    sum += chain[k];
  give(result, n, sum);
}

enum { TILES = 4, TILE_ROUND = 32 };

/* A warp adds products of quarters to TILES sums: 1 for each product of bfloat16, 1/2 of TF32.
 * ptxas budget: multiply_tiles registers 40 shared 0 blocks 6 mma */
template <bool BF16>
__global__ void __launch_bounds__(THREADS)
    multiply_tiles(float *result, int64_t n, int64_t rounds, float quarter) {
  const unsigned bits = BF16 ? fgsm_pack_bf16(quarter, quarter) : __float_as_uint(quarter);
  const unsigned a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
  float tile[TILES][4], sum = 0;
  FGSM_UNROLL
  for (int t = 0; t < TILES; t++) {
    FGSM_UNROLL
    for (int v = 0; v < 4; v++)
      tile[t][v] = (float)t;
  }
  for (int64_t r = 0; r < rounds; r++) {
    FGSM_UNROLL
    for (int i = 0; i < TILE_ROUND; i++) {
      FGSM_UNROLL
      for (int t = 0; t < TILES; t++)
        if (BF16)
          fgsm_mma_m16n8k16_bf16(tile[t], a, b, tile[t]);
        else
          fgsm_mma_m16n8k8_tf32(tile[t], a, b, tile[t]);
    }
  }
  FGSM_UNROLL
  for (int t = 0; t < TILES; t++) {
    FGSM_UNROLL
    for (int v = 0; v < 4; v++)
      sum += tile[t][v];
  }
  give(result, n, sum);
}

/* The two may be the same for all the compiler knows, so every round is a copy of its own.
 * ptxas budget: copy_half registers 32 shared 0 blocks 8 loads16 stores16 */
__global__ void __launch_bounds__(THREADS)
    copy_half(const float *from, float *to, int64_t fours, int64_t rounds) {
  const int64_t step = (int64_t)gridDim.x * THREADS;
  for (int64_t r = 0; r < rounds; r++)
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < fours; i += step)
      fgsm_st4_global(to + 4 * i, fgsm_ldv<float4>(from + 4 * i));
}

fgsm_status launched(cudaError_t error) {
  return error == cudaSuccess ? FGSM_OK
                              : FG_FAIL(DEVICE, "cuda: a burst: %s", cudaGetErrorString(error));
}
} // namespace

extern "C" fgsm_status fg_cuda_burst(struct fg_device *device, enum fg_burst kind, void *memory,
                                     size_t bytes, int64_t rounds, void *stream, double *amount) {
  int card = 0, processors = 0;
  float *floats = static_cast<float *>(memory);
  cudaStream_t s = (cudaStream_t)stream;
  FG_TRY(launched(cudaGetDevice(&card)));
  FG_TRY(launched(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, card)));
  const unsigned blocks = (unsigned)(processors * BLOCKS_EACH);
  const double threads = (double)blocks * THREADS;
  const int64_t fours = (int64_t)(bytes / 32), n = (int64_t)(bytes / sizeof(float));
  if (kind == FG_BURST_copy) {
    *amount = 32.0 * (double)fours * (double)rounds;
    return launched(FGSM_LAUNCH(copy_half, dim3(blocks), dim3(THREADS), 0, s, (const float *)floats,
                                floats + 4 * fours, fours, rounds));
  }
  if (device->precision == FG_PRECISION_fp32) {
    *amount = 2.0 * CHAINS * ROUND * threads * (double)rounds;
    return launched(FGSM_LAUNCH(multiply_add, dim3(blocks), dim3(THREADS), 0, s, floats, n, rounds,
                                1.0f, 0x1p-10f));
  }
  const bool tf32 = device->precision == FG_PRECISION_tf32;
  const double each = 2.0 * 16 * 8 * (tf32 ? 8 : 16); /* of a warp's product */
  *amount = each * TILES * TILE_ROUND * (threads / 32) * (double)rounds;
  return launched(tf32 ? FGSM_LAUNCH(multiply_tiles<false>, dim3(blocks), dim3(THREADS), 0, s,
                                     floats, n, rounds, 0.25f)
                       : FGSM_LAUNCH(multiply_tiles<true>, dim3(blocks), dim3(THREADS), 0, s,
                                     floats, n, rounds, 0.25f));
}
