/* Running a cuDNN plan. A variant pack cannot be changed once it is final, so each run has its own. */
#include "dnn_run.h"

#include <cuda_runtime_api.h>

void fg_dnn_bind(struct fg_dnn_bound *b, int64_t uid, void *address) {
  b->uid[b->n] = uid;
  b->address[b->n++] = address;
}

void fg_dnn_bind_call(struct fg_dnn_bound *b, const struct fg_call *call, int64_t in_uid,
                      int64_t out_uid) {
  for (int i = 0; i < call->n_in; i++)
    if (fg_cuda_in(call, i))
      fg_dnn_bind(b, in_uid + i, call->in[i].data);
  for (int i = 0; i < call->n_out; i++)
    if (fg_cuda_out(call, i))
      fg_dnn_bind(b, out_uid + i, call->out[i].data);
}

static cudnnStatus_t fill(fg_cudnn pack, const struct fg_dnn_bound *b, void *workspace) {
  cudnnStatus_t status = fg_nv.cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                                        CUDNN_TYPE_VOID_PTR, b->n, b->address);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                            CUDNN_TYPE_INT64, b->n, b->uid);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                            CUDNN_TYPE_VOID_PTR, 1, &workspace);
  return status == CUDNN_STATUS_SUCCESS ? fg_nv.cudnnBackendFinalize(pack) : status;
}

fgsm_status fg_cudnn_run(cudnnHandle_t handle, fg_cudnn plan, const struct fg_dnn_bound *bound,
                         void *workspace, void *stream, const char *what) {
  fg_cudnn pack = NULL;
  cudnnStatus_t status =
      fg_nv.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fill(pack, bound, workspace);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnSetStream(handle, (cudaStream_t)stream);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendExecute(handle, plan, pack);
  fgsm_status result = status == CUDNN_STATUS_SUCCESS ? FGSM_OK : fg_cudnn_failed(status, what);
  fg_cudnn_destroy(pack);
  return result;
}
