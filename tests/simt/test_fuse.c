/* The fuse pass with the CUDA kernels: graphs fused for them, run by the harness, against the
 * unfused graphs on the oracle. Operators that are a library's on a card run on the oracle. */
#include <stdio.h>

#include "fusing.h"

extern const struct fg_backend fg_cuda_simt;
unsigned long simt_error_count(void);

int main(void) {
  int fused = 0, declined = 0, broken = 0;
  for (int i = 0; i < fusing_count(); i++) {
    char why[512];
    unsigned long before = simt_error_count();
    enum fusing_result result = fusing_run(i, &fg_cuda_simt, why, sizeof why);
    bool noisy = simt_error_count() != before;
    fused += result == FUSING_OK;
    declined += result == FUSING_DECLINED;
    broken += result == FUSING_WRONG || noisy;
    if (result == FUSING_WRONG || noisy)
      printf("FAIL %s: %s\n", fusing_name(i), noisy ? "the harness found errors" : why);
    else
      printf("%-9s%s\n", result == FUSING_OK ? "fused" : "declined", fusing_name(i));
  }
  printf("%d fused, %d declined, %d broken\n", fused, declined, broken);
  return broken != 0 || fused < 27;
}
