/* Streams, events, and plans recorded as CUDA graphs. */
#include "device.h"

fgsm_status fg_cuda_sync(struct fg_device *base, void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaStreamSynchronize((cudaStream_t)stream), "computing");
}

/* Non-blocking: the default stream, which constants travel on, would otherwise order all of them. */
fgsm_status fg_cuda_stream_create(struct fg_device *base, void **out) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  cudaStream_t stream = NULL;
  FG_TRY(fg_cuda_alive(device));
  FG_TRY(fg_cuda_result(device, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                        "a stream"));
  *out = stream;
  return FGSM_OK;
}

void fg_cuda_stream_destroy(struct fg_device *base, void *stream) {
  (void)base;
  if (stream)
    (void)cudaStreamDestroy((cudaStream_t)stream);
}

/* A thread that waits sleeps, because the reader, the writer and the codecs want the processor. */
fgsm_status fg_cuda_event_create(struct fg_device *base, void **out) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  cudaEvent_t event = NULL;
  FG_TRY(fg_cuda_alive(device));
  FG_TRY(fg_cuda_result(
      device, cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync),
      "an event"));
  *out = event;
  return FGSM_OK;
}

void fg_cuda_event_destroy(struct fg_device *base, void *event) {
  (void)base;
  if (event)
    (void)cudaEventDestroy((cudaEvent_t)event);
}

fgsm_status fg_cuda_event_record(struct fg_device *base, void *event, void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaEventRecord((cudaEvent_t)event, (cudaStream_t)stream),
                        "recording an event");
}

fgsm_status fg_cuda_event_wait(struct fg_device *base, void *event, void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaStreamWaitEvent((cudaStream_t)stream, (cudaEvent_t)event, 0),
                        "waiting for an event");
}

fgsm_status fg_cuda_event_sync(struct fg_device *base, void *event) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaEventSynchronize((cudaEvent_t)event), "computing");
}

fgsm_status fg_cuda_event_query(struct fg_device *base, void *event, bool *done) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  cudaError_t error = cudaEventQuery((cudaEvent_t)event);
  *done = error == cudaSuccess;
  return error == cudaErrorNotReady ? FGSM_OK : fg_cuda_result(device, error, "computing");
}

/* ---- recordings */

/* Thread-local: other lanes allocate and prepare while this one records. */
fgsm_status fg_cuda_capture_begin(struct fg_device *base, void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(
      device, cudaStreamBeginCapture((cudaStream_t)stream, cudaStreamCaptureModeThreadLocal),
      "recording");
}

fgsm_status fg_cuda_capture_end(struct fg_device *base, void *stream, void **recording) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  cudaGraph_t graph = NULL;
  cudaGraphExec_t ready = NULL;
  cudaError_t error = cudaStreamEndCapture((cudaStream_t)stream, &graph);
  if (error == cudaErrorStreamCaptureUnsupported || error == cudaErrorStreamCaptureInvalidated) {
    (void)cudaGetLastError(); /* a library did what cannot be recorded: the stream is well again */
    return FG_FAIL(UNSUPPORTED, "cuda: recording: %s", cudaGetErrorString(error));
  }
  FG_TRY(fg_cuda_result(device, error, "recording"));
  error = cudaGraphInstantiate(&ready, graph, 0);
  (void)cudaGraphDestroy(graph);
  FG_TRY(fg_cuda_result(device, error, "recording"));
  *recording = ready;
  return FGSM_OK;
}

fgsm_status fg_cuda_replay(struct fg_device *base, void *recording, void *stream) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(fg_cuda_alive(device));
  return fg_cuda_result(device, cudaGraphLaunch((cudaGraphExec_t)recording, (cudaStream_t)stream),
                        "replaying");
}

void fg_cuda_recording_destroy(struct fg_device *base, void *recording) {
  (void)base;
  (void)cudaGraphExecDestroy((cudaGraphExec_t)recording);
}
