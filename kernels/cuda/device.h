/* A card, opened: what the C files of the plugin share of it. */
#ifndef FG_CUDA_DEVICE_H
#define FG_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include "call.h"
#include "libraries.h"
#include "nccl.h"

struct fg_cuda_device {
  struct fg_device base;
  int index;
  char card[128];          /* "NVIDIA H200, sm_90, 132 SMs": what a choice of engine depends on */
  char lost[512];          /* the first failure's words; "" while all is well                   */
  int sm;                  /* 10 major + minor */
  cudnnHandle_t cudnn;     /* NULL until something is prepared that needs it */
  cublasLtHandle_t cublas; /* likewise */
  fg_nccl nccl;            /* NULL: it computes alone */
  cudnnBackendDescriptor_t properties; /* the card, as cuDNN describes it */
  uint32_t bits_asked, bits_kept; /* bit t: of fg_type t, whether cuBLASLt's masks are attrs.h's */
};

static inline struct fg_cuda_device *fg_cuda_device(struct fg_device *device) {
  return (struct fg_cuda_device *)device;
}

extern const struct fg_backend fg_cuda;

/* The status of a CUDA call. FGSM_MEMORY where memory ran out, which is not sticky; else FGSM_DEVICE,
 * which is: the words are kept, and are what every later call fails with. */
fgsm_status fg_cuda_result(struct fg_cuda_device *device, cudaError_t error, const char *what);
/* FGSM_DEVICE with those words, if the device failed before. */
fgsm_status fg_cuda_alive(const struct fg_cuda_device *device);

/* The handles, made when first asked for. */
fgsm_status fg_cuda_cudnn(struct fg_cuda_device *device, cudnnHandle_t *out);
fgsm_status fg_cuda_cublas(struct fg_cuda_device *device, cublasLtHandle_t *out);

/* Whether a convolution, asked to lie channels last, is faster so on the card; or slower by no more than
 * it costs to bring its activations there and back. What it tries is kept for prepare. */
bool fg_cuda_conv_gains(struct fg_device *device, const struct fg_call *call);

/* Milliseconds of the call, by the way that prepare will find kept. */
fgsm_status fg_cuda_conv_time(struct fg_device *device, const struct fg_call *call,
                              float *milliseconds) FGSM_MUST_USE;
fgsm_status fg_cuda_matmul_time(struct fg_device *device, const struct fg_call *call,
                                float *milliseconds) FGSM_MUST_USE;

/* As struct fg_backend says (mask.c). */
bool fg_cuda_takes_mask(struct fg_device *device, const struct fg_call *masked,
                        const struct fg_call *plain, int n);

/* ---- for the table (memory.c, stream.c, all_reduce.c) */
fgsm_status fg_cuda_join(struct fg_device *device, struct fg_ranks *ranks);
fgsm_status fg_cuda_alloc(struct fg_device *device, size_t bytes, void **out);
void fg_cuda_free(struct fg_device *device, void *memory);
fgsm_status fg_cuda_host_alloc(struct fg_device *device, size_t bytes, void **out);
void fg_cuda_host_free(struct fg_device *device, void *memory);
fgsm_status fg_cuda_memory(struct fg_device *device, size_t *free, size_t *total);
fgsm_status fg_cuda_upload(struct fg_device *device, void *to, const void *from, size_t bytes,
                           void *stream);
fgsm_status fg_cuda_download(struct fg_device *device, void *to, const void *from, size_t bytes,
                             void *stream);
fgsm_status fg_cuda_sync(struct fg_device *device, void *stream);
fgsm_status fg_cuda_stream_create(struct fg_device *device, void **out);
void fg_cuda_stream_destroy(struct fg_device *device, void *stream);
fgsm_status fg_cuda_event_create(struct fg_device *device, void **out);
void fg_cuda_event_destroy(struct fg_device *device, void *event);
fgsm_status fg_cuda_event_record(struct fg_device *device, void *event, void *stream);
fgsm_status fg_cuda_event_wait(struct fg_device *device, void *event, void *stream);
fgsm_status fg_cuda_event_sync(struct fg_device *device, void *event);
fgsm_status fg_cuda_event_query(struct fg_device *device, void *event, bool *done);
fgsm_status fg_cuda_capture_begin(struct fg_device *device, void *stream);
fgsm_status fg_cuda_capture_end(struct fg_device *device, void *stream, void **recording);
fgsm_status fg_cuda_replay(struct fg_device *device, void *recording, void *stream);
void fg_cuda_recording_destroy(struct fg_device *device, void *recording);

#endif
