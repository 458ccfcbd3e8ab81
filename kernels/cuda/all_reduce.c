/* all_reduce: NCCL's, on the stream of the plan. The state is the device. */
#include "device.h"

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_CUDA_NEED(call, (x->type == FG_F32 || x->type == FG_F64) && x->type == y->type,
               "%s and %s, not floats or doubles", fg_type_name(x->type), fg_type_name(y->type));
  FG_CUDA_NEED(call, fg_same_shape(x, y), "shapes differ");
  call->state = device;
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct fg_cuda_device *device = call->state;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  (void)scratch;
  if (device->nccl)
    return fg_nccl_sum(device->nccl, x->type, fg_count(x), x->data, y->data, stream);
  if (x->data == y->data)
    return FGSM_OK;
  return fg_cuda_result(device,
                        cudaMemcpyAsync(y->data, x->data, fg_bytes(x), cudaMemcpyDeviceToDevice,
                                        (cudaStream_t)stream),
                        "a copy");
}

const struct fg_kernel fg_cuda_all_reduce = {prepare, run, NULL};

fgsm_status fg_cuda_join(struct fg_device *base, struct fg_ranks *ranks) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  FG_TRY(base->backend->enter(base));
  base->ranks = ranks;
  return fg_ranks_size(ranks) > 1 ? fg_nccl_join(ranks, &device->nccl) : FGSM_OK;
}
