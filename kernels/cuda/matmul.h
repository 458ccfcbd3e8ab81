/* A product as cuBLASLt is told of it: matmul.c describes and runs it, matmul_choice.c finds which
 * algorithm computes it. */
#ifndef FG_CUDA_MATMUL_H
#define FG_CUDA_MATMUL_H

#include "device.h"
#include "gemm.h"

enum { FG_MATMUL_WORKSPACE = 32 << 20, FG_MATMUL_ALIGN = 256 };

struct fg_matmul {
  cublasLtHandle_t handle;
  struct fg_gemm gemm;
  enum fg_type type_first, type_second, type_result;
  cublasLtEpilogue_t epilogue;
  cublasLtMatmulDesc_t product;
  cublasLtMatrixLayout_t first, second, result;
  cublasLtMatmulAlgo_t algorithm;
  float alpha;
  bool adds_bias, adds_residual; /* within the product */
  bool keeps_bits;               /* makes a mask there, or takes a slope from one */
  bool finishes;                 /* epilogue.cu follows: activation or slope */
};

/* Runs the call by state's algorithm, in scratch of call->scratch_bytes. */
fgsm_status fg_matmul_run(const struct fg_call *call, void *scratch, void *stream) FGSM_MUST_USE;

/* Whether cuBLASLt's masks of products of that type are what attrs.h calls bits: asked of the card by a small
 * product, once; if not, the log says so. */
bool fg_matmul_keeps_bits(struct fg_cuda_device *device, enum fg_type type);

/* Sets the algorithm and call->scratch_bytes: the one that was kept for such a product, or the fastest on
 * the card of those that cuBLASLt's heuristic names. Declines what it has none for; of a trial it does no more. */
fgsm_status fg_matmul_choose(struct fg_cuda_device *device, struct fg_call *call,
                             struct fg_matmul *m) FGSM_MUST_USE;
/* Milliseconds of the prepared call. */
fgsm_status fg_matmul_time(struct fg_cuda_device *device, const struct fg_call *call,
                           const struct fg_matmul *m, float *milliseconds) FGSM_MUST_USE;

#endif
