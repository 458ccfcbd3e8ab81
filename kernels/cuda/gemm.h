/* A matmul call as the products that a column-major library computes. Row-major y = op(a) op(b) is,
 * read column by column, y' = op(b)' op(a)': so b comes first, rows are n and columns m, and no
 * matrix is moved. Pure arithmetic, without a library: the harness on the CPU computes with the same
 * numbers (tests/simt). */
#ifndef FG_CUDA_GEMM_H
#define FG_CUDA_GEMM_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fg_gemm {
  int64_t m, n, k; /* of the library: rows, columns of the result (n and m of the call), depth */
  bool trans_first, trans_second;         /* of b, of a                                       */
  int64_t ld_first, ld_second, ld_result; /* elements between columns                         */
  int64_t batch;                          /* products at equal distances, in one call ...     */
  int64_t step_first, step_second, step_result; /* ... these, in elements; 0: the same matrix  */
  /* Where leading axes broadcast so that no one distance serves: a loop around the batches. */
  int loops;
  int64_t count[FG_MAX_RANK], loop_first[FG_MAX_RANK], loop_second[FG_MAX_RANK],
      loop_result[FG_MAX_RANK];
};

/* Checks the call (shapes, types) and fills `out`. */
fgsm_status fg_cuda_gemm(const struct fg_call *call, struct fg_gemm *out) FGSM_MUST_USE;
/* Calls of the library in all, and where the i-th begins in each matrix. */
int64_t fg_cuda_gemm_calls(const struct fg_gemm *g);
void fg_cuda_gemm_offsets(const struct fg_gemm *g, int64_t i, int64_t *first, int64_t *second,
                          int64_t *result);

#ifdef __cplusplus
}
#endif
#endif
