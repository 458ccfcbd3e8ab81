/* A card that is not there. */
#include "fake_card.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin.h"
#include "synchronous.h"

struct fg_nv fg_nv;
struct fg_cuda_device fake_card = {.card = "a card that is not there"};
unsigned long fake_errors;
void (*fake_watch)(enum fake_trial what, double milliseconds);

static char stream_of_trials;
static double worked_for; /* the libraries, altogether */
static bool has_worked;   /* one, since a clock was last read */
unsigned long simt_launch_count(void);

void fake_wrong(const char *format, ...) {
  va_list args;
  va_start(args, format);
  printf("fake card: ");
  vprintf(format, args);
  printf("\n");
  va_end(args);
  fake_errors++;
}

struct fg_device *fake_card_open(const struct fg_backend *backend, enum fg_layout layout,
                                 enum fg_precision precision) {
  fake_card.base = (struct fg_device){
      .backend = backend, .threads = 1, .lanes = 1, .layout = layout, .precision = precision};
  *fake_card.lost = '\0';
  return &fake_card.base;
}

/* What was chosen is not looked for where another process would find it, unless that is what is tested. */
__attribute__((constructor)) static void keep_no_choices(void) {
  setenv("XDG_CACHE_HOME", "/dev/null", 1);
}

/* ---- the clock */

void fake_passes(double milliseconds) {
  worked_for += milliseconds;
  has_worked = true;
}

/* A kernel of our own takes as long as any other. */
static double now(void) {
  return worked_for + FAKE_LAUNCH * (double)simt_launch_count();
}

bool fake_is_trial(cudaStream_t stream) {
  return stream != NULL;
}

static void watch(enum fake_trial what, double milliseconds) {
  if (fake_watch)
    fake_watch(what, milliseconds);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
  (void)flags;
  *out = (cudaStream_t)(void *)&stream_of_trials;
  watch(FAKE_BEGINS, 0);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  (void)stream;
  watch(FAKE_ENDS, 0);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *out) {
  void *clock = calloc(1, sizeof(double));
  *out = (cudaEvent_t)clock;
  return clock ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  free((void *)event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  (void)stream;
  *(double *)(void *)event = now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  (void)event;
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t began, cudaEvent_t ended) {
  double passed = *(double *)(void *)ended - *(double *)(void *)began;
  *milliseconds = (float)passed;
  if (has_worked)
    watch(FAKE_TIMED, passed);
  has_worked = false;
  return cudaSuccess;
}

/* ---- what the plugin's files ask of the rest of it */

fgsm_status fg_cuda_alloc(struct fg_device *device, size_t bytes, void **out) {
  (void)device;
  return cudaMallocManaged(out, bytes, cudaMemAttachGlobal) == cudaSuccess
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for %zu bytes", bytes);
}
void fg_cuda_free(struct fg_device *device, void *memory) {
  (void)device;
  (void)cudaFree(memory);
}
fgsm_status fg_cuda_memory(struct fg_device *device, size_t *free, size_t *total) {
  (void)device;
  *free = *total = 64 << 20;
  return FGSM_OK;
}
fgsm_status fg_cuda_upload(struct fg_device *device, void *to, const void *from, size_t bytes,
                           void *stream) {
  return fg_synchronous_copy(device, to, from, bytes, stream);
}
fgsm_status fg_cuda_download(struct fg_device *device, void *to, const void *from, size_t bytes,
                             void *stream) {
  return fg_synchronous_copy(device, to, from, bytes, stream);
}
fgsm_status fg_cuda_sync(struct fg_device *device, void *stream) {
  return fg_synchronous_sync(device, stream);
}
fgsm_status fg_cuda_alive(const struct fg_cuda_device *device) {
  return *device->lost ? FG_FAIL(DEVICE, "%s", device->lost) : FGSM_OK;
}
fgsm_status fg_cuda_result(struct fg_cuda_device *device, cudaError_t error, const char *what) {
  (void)device;
  return error == cudaSuccess ? FGSM_OK : FG_FAIL(DEVICE, "%s", what);
}
fgsm_status fg_cuda_cublas(struct fg_cuda_device *device, cublasLtHandle_t *out) {
  (void)device;
  *out = FAKE_CUBLAS;
  return FGSM_OK;
}
fgsm_status fg_cuda_cudnn(struct fg_cuda_device *device, cudnnHandle_t *out) {
  (void)device;
  *out = FAKE_CUDNN;
  return FGSM_OK;
}
fgsm_status fg_cublas_failed(cublasStatus_t status, const char *what) {
  return FG_FAIL(DEVICE, "cuBLASLt: %s: %s", what, fg_nv.cublasLtGetStatusString(status));
}
fgsm_status fg_cudnn_failed(cudnnStatus_t status, const char *what) {
  return FG_FAIL(DEVICE, "cuDNN: %s: %s", what, fg_nv.cudnnGetErrorString(status));
}
void fg_plugin_log(fgsm_log_level level, const char *format, ...) {
  va_list args;
  if (level > FGSM_LOG_WARNING)
    return;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  printf("\n");
}
