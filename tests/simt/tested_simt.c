/* The CUDA kernels on the CPU, whose harness looks at what they do. */
#include <stddef.h>

#include "tested.h"

extern const struct fg_backend fg_cuda_simt;
unsigned long simt_error_count(void);

const struct fg_backend *tested_backend(const char *name) {
  (void)name;
  return &fg_cuda_simt;
}

unsigned long tested_errors(void) {
  return simt_error_count();
}
