/* Trials of a call. */
#include "trial.h"

enum { WARM_RUNS = 2, TIMED_RUNS = 5 };
static const char what[] = "trying ways of computing";

static fgsm_status own_memory(struct fg_trial *t, struct fg_tensor *tensor) {
  size_t bytes = fg_bytes(tensor);
  void *memory;
  if (tensor->type == FG_NONE)
    return FGSM_OK;
  FG_TRY(fg_cuda_alloc(&t->device->base, bytes ? bytes : 1, &memory));
  t->memory[t->n_memory++] = memory;
  tensor->data = memory;
  return fg_cuda_result(t->device, cudaMemsetAsync(memory, 0, bytes, t->stream), what);
}

fgsm_status fg_trial_begin(struct fg_trial *t, struct fg_cuda_device *device,
                           const struct fg_call *call, size_t workspace_bytes) {
  size_t free, total;
  *t = (struct fg_trial){.device = device, .call = *call};
  FG_TRY(
      fg_cuda_result(device, cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking), what));
  FG_TRY(fg_cuda_result(device, cudaEventCreate(&t->began), what));
  FG_TRY(fg_cuda_result(device, cudaEventCreate(&t->ended), what));
  for (int i = 0; i < call->n_in; i++)
    FG_TRY(own_memory(t, &t->call.in[i]));
  for (int i = 0; i < call->n_out; i++)
    FG_TRY(own_memory(t, &t->call.out[i]));
  if (workspace_bytes == FG_TRIAL_QUARTER) {
    FG_TRY(fg_cuda_memory(&device->base, &free, &total));
    workspace_bytes = free / 4;
  }
  t->workspace_bytes = t->call.scratch_bytes = workspace_bytes;
  return fg_cuda_alloc(&device->base, workspace_bytes, &t->workspace);
}

fgsm_status fg_trial_time(struct fg_trial *t,
                          fgsm_status (*run)(const struct fg_call *call, void *scratch,
                                             void *stream),
                          float *milliseconds) {
  for (int i = 0; i < WARM_RUNS; i++)
    FG_TRY(run(&t->call, t->workspace, t->stream));
  FG_TRY(fg_cuda_result(t->device, cudaEventRecord(t->began, t->stream), what));
  for (int i = 0; i < TIMED_RUNS; i++)
    FG_TRY(run(&t->call, t->workspace, t->stream));
  FG_TRY(fg_cuda_result(t->device, cudaEventRecord(t->ended, t->stream), what));
  FG_TRY(fg_cuda_result(t->device, cudaEventSynchronize(t->ended), what));
  FG_TRY(fg_cuda_result(t->device, cudaEventElapsedTime(milliseconds, t->began, t->ended), what));
  *milliseconds /= TIMED_RUNS;
  return FGSM_OK;
}

void fg_trial_end(struct fg_trial *t) {
  if (t->stream)
    (void)cudaStreamSynchronize(t->stream);
  fg_cuda_free(&t->device->base, t->workspace);
  while (t->n_memory > 0)
    fg_cuda_free(&t->device->base, t->memory[--t->n_memory]);
  if (t->ended)
    (void)cudaEventDestroy(t->ended);
  if (t->began)
    (void)cudaEventDestroy(t->began);
  if (t->stream)
    (void)cudaStreamDestroy(t->stream);
}
