/* The plugin's own matmul.c, or with it conv.c, over libraries that are fake, as what device_cases.c tests. */
#include "fake_card.h"
#include "tested.h"

const struct fg_backend *tested_backend(const char *name) {
  struct fg_backend *backend = fake_backend(FAKE_CONVOLUTIONS ? FG_NHWC : FG_PLAIN);
  (void)name;
  backend->kernels[FG_OP_matmul] = &fg_cuda_matmul;
  fake_cublaslt();
#if FAKE_CONVOLUTIONS
  backend->kernels[FG_OP_conv] = &fg_cuda_conv;
  backend->kernels[FG_OP_conv_grad_input] = &fg_cuda_conv_grad_input;
  backend->kernels[FG_OP_conv_grad_weight] = &fg_cuda_conv_grad_weight;
  fake_cudnn();
#endif
  return backend;
}
