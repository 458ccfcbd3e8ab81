/* The CUDA launchers as a backend whose card is the harness: "cuda-simt". Memory is managed, so
 * that the case harness can lay its guards around it; there is no stream and nothing to wait for.
 */
#include <cstdio>

#include "cuda.h"
#include "simt.h"

extern "C" {
extern const struct fg_backend fg_cuda_simt;
}

/* Ours to write yet, or a library's on a card. */
FG_NO_KERNEL(cuda, matmul);
FG_NO_KERNEL(cuda, conv);
FG_NO_KERNEL(cuda, conv_grad_input);
FG_NO_KERNEL(cuda, conv_grad_weight);
FG_NO_KERNEL(cuda, scatter);
FG_NO_KERNEL(cuda, top);
FG_NO_KERNEL(cuda, cumsum);
FG_NO_KERNEL(cuda, batch_norm_train);
FG_NO_KERNEL(cuda, batch_norm_train_grad);
FG_NO_KERNEL(cuda, descend);
FG_NO_KERNEL(cuda, average);

namespace {
struct fg_device the_device;

fgsm_status open_device(int index, int, struct fg_device **out) {
  if (index > 0)
    return FG_FAIL(DEVICE, "cuda-simt: there is only device 0, not %d", index);
  the_device.backend = &fg_cuda_simt;
  the_device.threads = 1;
  *out = &the_device;
  return FGSM_OK;
}

void close_device(struct fg_device *) {
}

fgsm_status enter(struct fg_device *) {
  return FGSM_OK;
}

fgsm_status describe(const struct fg_device *, char *text, size_t size) {
  std::snprintf(text, size, "CUDA kernels run thread by thread on the CPU");
  return FGSM_OK;
}

fgsm_status allocate(struct fg_device *, size_t bytes, void **out) {
  return cudaMallocManaged(out, bytes, cudaMemAttachGlobal) == cudaSuccess
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for %zu bytes", bytes);
}

void release(struct fg_device *, void *memory) {
  cudaFree(memory);
}

fgsm_status copy(struct fg_device *, void *to, const void *from, size_t bytes, void *) {
  if (bytes)
    std::memcpy(to, from, bytes);
  return FGSM_OK;
}

fgsm_status sync(struct fg_device *, void *) {
  return FGSM_OK;
}
} // namespace

const struct fg_backend fg_cuda_simt = {"cuda-simt",
                                        true,
                                        FG_F32,
                                        open_device,
                                        close_device,
                                        enter,
                                        describe,
                                        allocate,
                                        release,
                                        copy,
                                        copy,
                                        sync,
                                        NULL,
                                        {
#define OP(name, max_in, n_out, trait) &fg_cuda_##name,
#include "ops.def"
#undef OP
                                        }};
