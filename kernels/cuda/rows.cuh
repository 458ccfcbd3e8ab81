/* Rows named by an index: which places of the index name the same row. For gather.cu, whose gradient
 * adds them up, and scatter.cu. */
#ifndef FG_CUDA_ROWS_CUH
#define FG_CUDA_ROWS_CUH

#include "cuda.h"

namespace {
/* The row that place i of the index names, -1 if there is no such row. */
__device__ __forceinline__ int64_t row_of(const void *index, int type, int64_t i, int64_t rows) {
  int64_t r = fg_cuda_get_int(index, type, i);
  r = r < 0 ? r + rows : r;
  return r >= 0 && r < rows ? r : -1;
}

/* next[i]: the next place after i that names its row, or -1; head[row]: the first (heads are -1).
 * ptxas budget: link_places registers 24 shared 0 blocks 8 */
__global__ void __launch_bounds__(256) link_places(const void *index, int type, int64_t *head,
                                                   int64_t *next, int64_t n, int64_t rows) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  const int64_t r = row_of(index, type, i, rows);
  int64_t after = i + 1, before = i - 1;
  while (after < n && row_of(index, type, after, rows) != r)
    after++;
  next[i] = after < n ? after : -1;
  while (before >= 0 && row_of(index, type, before, rows) != r)
    before--;
  if (before < 0 && r >= 0)
    head[r] = i;
}

/* head [rows], next [n]: the chain of each row's places, in order. */
fgsm_status link_rows(const struct fg_call *call, const struct fg_tensor *index, int64_t rows,
                      int64_t *head, int64_t *next, cudaStream_t stream) {
  const int64_t n = fg_count(index);
  FG_TRY(fg_cuda_launched(call, cudaMemsetAsync(head, 0xFF, (size_t)rows * sizeof *head, stream)));
  if (n == 0)
    return FGSM_OK;
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(link_places, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0,
                                      stream, index->data, (int)index->type, head, next, n, rows));
}
} // namespace
#endif
