/* Opening a card, and what becomes of its failures. */
#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "burst.h"
#include "halves.h"
#include "layouts.h"

/* The oldest cards that there is code for (cmake/FgsmCuda.cmake). */
enum { OLDEST_SM = 80 };

fgsm_status fg_cuda_alive(const struct fg_cuda_device *device) {
  return *device->lost ? FG_FAIL(DEVICE, "%s", device->lost) : FGSM_OK;
}

static const char *advice(cudaError_t error) {
  switch (error) {
  case cudaErrorDevicesUnavailable:
    return "another process holds the card for itself (nvidia-smi shows its compute mode)";
  case cudaErrorECCUncorrectable:
  case cudaErrorHardwareStackError:
    return "the card is at fault: nvidia-smi -q shows its errors, and a reset may cure them";
  case cudaErrorNoKernelImageForDevice:
    return "fgsm has code for sm_80 and later";
  default:
    return "nothing of this run can be saved; if it happens again, look for Xid lines in dmesg";
  }
}

fgsm_status fg_cuda_result(struct fg_cuda_device *device, cudaError_t error, const char *what) {
  if (error == cudaSuccess)
    return FGSM_OK;
  (void)cudaGetLastError();
  if (error == cudaErrorMemoryAllocation)
    return FG_FAIL(MEMORY, "cuda:%d: %s: %s; choose a smaller --batch", device->index, what,
                   cudaGetErrorString(error));
  if (!*device->lost)
    snprintf(device->lost, sizeof device->lost, "cuda:%d failed at %s: %s (%s): %s", device->index,
             what, cudaGetErrorString(error), cudaGetErrorName(error), advice(error));
  return fg_cuda_alive(device);
}

/* ---- is there a card */

static fgsm_status explain_no_card(cudaError_t error) {
  int driver = 0, runtime = 0;
  void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaGetLastError();
  if (library)
    dlclose(library);
  else
    return FG_FAIL(DEVICE, "no NVIDIA driver: libcuda.so.1 was not found; install the driver (in a "
                           "container, start it with the card: --gpus all)");
  if (driver && (error == cudaErrorInsufficientDriver || driver / 1000 < runtime / 1000))
    return FG_FAIL(DEVICE,
                   "the NVIDIA driver is too old: it serves CUDA %d.%d, and this needs "
                   "%d.%d; update the driver",
                   driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  if (driver && (error == cudaErrorNoDevice || error == cudaSuccess))
    return FG_FAIL(DEVICE, "the NVIDIA driver sees no card: nvidia-smi should list one, and "
                           "CUDA_VISIBLE_DEVICES may hide it");
  return FG_FAIL(DEVICE,
                 "the NVIDIA driver (libcuda.so.1) does not start: %s (%s); nvidia-smi may "
                 "say more",
                 cudaGetErrorString(error), cudaGetErrorName(error));
}

static fgsm_status count(int *n) {
  *n = 0;
  cudaError_t error = cudaGetDeviceCount(n);
  if (error != cudaSuccess || *n == 0)
    return explain_no_card(error);
  return fg_nv_open();
}

/* ---- opening */

static fgsm_status look_at(struct fg_cuda_device *device) {
  struct cudaDeviceProp p;
  FG_TRY(fg_cuda_result(device, cudaSetDevice(device->index), "opening"));
  FG_TRY(fg_cuda_result(device, cudaGetDeviceProperties(&p, device->index), "opening"));
  device->sm = 10 * p.major + p.minor;
  snprintf(device->card, sizeof device->card, "%.80s, sm_%d, %d SMs", p.name, device->sm,
           p.multiProcessorCount);
  if (device->sm < OLDEST_SM)
    return FG_FAIL(DEVICE,
                   "cuda:%d (%s) is too old: fgsm has code for sm_%d and later; use "
                   "--device cpu",
                   device->index, device->card, OLDEST_SM);
  return fg_cuda_result(device, cudaFree(NULL), "opening"); /* makes the context now */
}

static void close_device(struct fg_device *base) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  if (!device)
    return;
  fg_nccl_part(device->nccl);
  if (device->properties)
    (void)fg_nv.cudnnBackendDestroyDescriptor(device->properties);
  if (device->cudnn)
    (void)fg_nv.cudnnDestroy(device->cudnn);
  if (device->cublas)
    (void)fg_nv.cublasLtDestroy(device->cublas);
  free(device);
}

static fgsm_status open_device(int index, int threads, struct fg_device **out) {
  int n;
  FG_TRY(count(&n));
  if (index < 0 || index >= n)
    return FG_FAIL(DEVICE, "cuda: there is no device %d among %d", index, n);
  struct fg_cuda_device *device = calloc(1, sizeof *device);
  if (!device)
    return FG_FAIL(MEMORY, "no memory for a device");
  /* Two lanes: while one batch travels or is looked at by the host, the other computes. */
  device->base =
      (struct fg_device){.backend = &fg_cuda, .layout = FG_NHWC, .threads = threads, .lanes = 2};
  device->index = index;
  fgsm_status status = look_at(device);
  if (status != FGSM_OK) {
    close_device(&device->base);
    return status;
  }
  *out = &device->base;
  return FGSM_OK;
}

static fgsm_status enter(struct fg_device *base) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaSetDevice(device->index), "entering");
}

static fgsm_status describe(const struct fg_device *base, char *text, size_t size) {
  const struct fg_cuda_device *device = (const struct fg_cuda_device *)base;
  int driver = 0, runtime = 0;
  size_t free = 0, total = 0, cudnn = fg_nv.cudnnGetVersion();
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaMemGetInfo(&free, &total);
  snprintf(text, size,
           "%s, %zu of %zu MiB free, driver CUDA %d.%d, runtime %d.%d, cuDNN %zu.%zu.%zu, "
           "cuBLASLt %zu",
           device->card, free >> 20, total >> 20, driver / 1000, driver % 1000 / 10, runtime / 1000,
           runtime % 1000 / 10, cudnn / 10000, cudnn % 10000 / 100, cudnn % 100,
           fg_nv.cublasLtGetVersion());
  return FGSM_OK;
}

static fgsm_status bus_id(struct fg_device *base, char *text, size_t size) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  return fg_cuda_result(device, cudaDeviceGetPCIBusId(text, (int)size, device->index),
                        "asking for its place on the bus");
}

fgsm_status fg_cuda_cudnn(struct fg_cuda_device *device, cudnnHandle_t *out) {
  if (!device->cudnn) {
    cudnnStatus_t status = fg_nv.cudnnCreate(&device->cudnn);
    if (status != CUDNN_STATUS_SUCCESS)
      return fg_cudnn_failed(status, "a handle");
  }
  *out = device->cudnn;
  return FGSM_OK;
}

fgsm_status fg_cuda_cublas(struct fg_cuda_device *device, cublasLtHandle_t *out) {
  if (!device->cublas) {
    cublasStatus_t status = fg_nv.cublasLtCreate(&device->cublas);
    if (status != CUBLAS_STATUS_SUCCESS)
      return fg_cublas_failed(status, "a handle");
  }
  *out = device->cublas;
  return FGSM_OK;
}

static bool takes_layout(struct fg_device *device, const struct fg_call *call) {
  bool convolves = call->op == FG_OP_conv || call->op == FG_OP_conv_grad_input ||
                   call->op == FG_OP_conv_grad_weight;
  return fg_cuda_takes_nhwc(call) && (!convolves || fg_cuda_conv_gains(device, call));
}

const struct fg_backend fg_cuda = {.name = "cuda",
                                   .real = FG_F32,
                                   .precisions = 1u << FG_PRECISION_fp32 | 1u << FG_PRECISION_tf32 |
                                                 1u << FG_PRECISION_bf16 | 1u << FG_PRECISION_fp16,
                                   .count = count,
                                   .open = open_device,
                                   .close = close_device,
                                   .enter = enter,
                                   .describe = describe,
                                   .bus_id = bus_id,
                                   .join = fg_cuda_join,
                                   .alloc = fg_cuda_alloc,
                                   .free = fg_cuda_free,
                                   .host_alloc = fg_cuda_host_alloc,
                                   .host_free = fg_cuda_host_free,
                                   .memory = fg_cuda_memory,
                                   .upload = fg_cuda_upload,
                                   .download = fg_cuda_download,
                                   .sync = fg_cuda_sync,
                                   .stream_create = fg_cuda_stream_create,
                                   .stream_destroy = fg_cuda_stream_destroy,
                                   .event_create = fg_cuda_event_create,
                                   .event_destroy = fg_cuda_event_destroy,
                                   .event_record = fg_cuda_event_record,
                                   .event_wait = fg_cuda_event_wait,
                                   .event_sync = fg_cuda_event_sync,
                                   .event_query = fg_cuda_event_query,
                                   .capture_begin = fg_cuda_capture_begin,
                                   .capture_end = fg_cuda_capture_end,
                                   .replay = fg_cuda_replay,
                                   .recording_destroy = fg_cuda_recording_destroy,
                                   .takes_layout = takes_layout,
                                   .takes_half = fg_cuda_takes_half,
                                   .takes_mask = fg_cuda_takes_mask,
                                   .burst = fg_cuda_burst,
                                   .kernels = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = &fg_cuda_##name,
#include "ops.def"
#undef OP
                                   }};
