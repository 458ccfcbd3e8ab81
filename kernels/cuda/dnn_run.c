/* Running a cuDNN plan. A variant pack cannot be changed once it is final, so each run has its own. */
#include "dnn_run.h"

#include <cuda_runtime_api.h>

static cudnnStatus_t fill(fg_cudnn pack, int64_t n, const int64_t *uid, void *const *address,
                          void *workspace) {
  cudnnStatus_t status = fg_nv.cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                                        CUDNN_TYPE_VOID_PTR, n, address);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                            CUDNN_TYPE_INT64, n, uid);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                            CUDNN_TYPE_VOID_PTR, 1, &workspace);
  return status == CUDNN_STATUS_SUCCESS ? fg_nv.cudnnBackendFinalize(pack) : status;
}

fgsm_status fg_cudnn_run(cudnnHandle_t handle, fg_cudnn plan, int64_t n, const int64_t *uid,
                         void *const *address, void *workspace, void *stream, const char *what) {
  fg_cudnn pack = NULL;
  cudnnStatus_t status =
      fg_nv.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fill(pack, n, uid, address, workspace);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnSetStream(handle, (cudaStream_t)stream);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendExecute(handle, plan, pack);
  fgsm_status result = status == CUDNN_STATUS_SUCCESS ? FGSM_OK : fg_cudnn_failed(status, what);
  fg_cudnn_destroy(pack);
  return result;
}
