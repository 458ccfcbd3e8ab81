/* Memory and transfers. */
#include "device.h"

#include <stdio.h>

fgsm_status fg_cuda_alloc(struct fg_device *base, size_t bytes, void **out) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  size_t free = 0, total = 0;
  FG_TRY(fg_cuda_alive(device));
  cudaError_t error = cudaMalloc(out, bytes ? bytes : 1);
  if (error != cudaErrorMemoryAllocation)
    return fg_cuda_result(device, error, "memory");
  (void)cudaGetLastError(); /* running out is no reason for the next launch to fail */
  (void)cudaMemGetInfo(&free, &total);
  return FG_FAIL(MEMORY,
                 "cuda:%d has no %zu MiB left: %zu of %zu MiB are free; choose a smaller --batch, "
                 "or end what else computes on the card (nvidia-smi lists it)",
                 device->index, bytes >> 20, free >> 20, total >> 20);
}

void fg_cuda_free(struct fg_device *base, void *memory) {
  (void)base;
  (void)cudaFree(memory);
}

/* Pinned for every context, because slots are shared by the devices of a job. */
fgsm_status fg_cuda_host_alloc(struct fg_device *base, size_t bytes, void **out) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  cudaError_t error = cudaHostAlloc(out, bytes ? bytes : 1, cudaHostAllocPortable);
  if (error != cudaErrorMemoryAllocation)
    return fg_cuda_result(device, error, "pinned memory");
  (void)cudaGetLastError();
  return FG_FAIL(MEMORY, "no %zu MiB of pinned host memory; choose a smaller --batch", bytes >> 20);
}

void fg_cuda_host_free(struct fg_device *base, void *memory) {
  (void)base;
  (void)cudaFreeHost(memory);
}

fgsm_status fg_cuda_memory(struct fg_device *base, size_t *free, size_t *total) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaMemGetInfo(free, total), "memory");
}

fgsm_status fg_cuda_upload(struct fg_device *base, void *to, const void *from, size_t bytes,
                           void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(
      device, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, (cudaStream_t)stream),
      "upload");
}

fgsm_status fg_cuda_download(struct fg_device *base, void *to, const void *from, size_t bytes,
                             void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(
      device, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, (cudaStream_t)stream),
      "download");
}
