/* cuDNN and cuBLASLt, opened at run time, so that a machine without them hears what to install and
 * not that a plugin does not load, and so that those in Python's wheel folders serve as well.
 *
 * A library's function f is fg_nv.f once fg_nv_open succeeded. */
#ifndef FG_CUDA_LIBRARIES_H
#define FG_CUDA_LIBRARIES_H

#include <stdbool.h> /* cuDNN's boolean attributes are of this type */

#include <cublasLt.h>
#include <cudnn_graph.h>

#include "kernel.h"

#define FG_CUDNN_MAP(X)                                                                            \
  X(cudnnGetVersion)                                                                               \
  X(cudnnGetErrorString)                                                                           \
  X(cudnnGetLastErrorString)                                                                       \
  X(cudnnCreate)                                                                                   \
  X(cudnnDestroy)                                                                                  \
  X(cudnnSetStream)                                                                                \
  X(cudnnBackendCreateDescriptor)                                                                  \
  X(cudnnBackendDestroyDescriptor)                                                                 \
  X(cudnnBackendSetAttribute)                                                                      \
  X(cudnnBackendGetAttribute)                                                                      \
  X(cudnnBackendFinalize)                                                                          \
  X(cudnnBackendExecute)

#define FG_CUBLASLT_MAP(X)                                                                         \
  X(cublasLtGetVersion)                                                                            \
  X(cublasLtGetStatusString)                                                                       \
  X(cublasLtCreate)                                                                                \
  X(cublasLtDestroy)                                                                               \
  X(cublasLtMatmulDescCreate)                                                                      \
  X(cublasLtMatmulDescDestroy)                                                                     \
  X(cublasLtMatmulDescSetAttribute)                                                                \
  X(cublasLtMatrixLayoutCreate)                                                                    \
  X(cublasLtMatrixLayoutDestroy)                                                                   \
  X(cublasLtMatrixLayoutSetAttribute)                                                              \
  X(cublasLtMatmulPreferenceCreate)                                                                \
  X(cublasLtMatmulPreferenceDestroy)                                                               \
  X(cublasLtMatmulPreferenceSetAttribute)                                                          \
  X(cublasLtMatmulAlgoGetHeuristic)                                                                \
  X(cublasLtMatmulAlgoCheck)                                                                       \
  X(cublasLtMatmul)

struct fg_nv {
#define X(name) __typeof__(name) *name;
  FG_CUDNN_MAP(X)
  FG_CUBLASLT_MAP(X)
#undef X
};
extern struct fg_nv fg_nv;

/* Opens cuDNN, from the oldest that the code asks for, and cuBLASLt of this CUDA. Each is looked for
 * where the system looks, in $FGSM_NV_SITE/nvidia (a Python site-packages folder), and where it was
 * when this was built. FGSM_DEVICE says what is missing, or too old, and what to do. Once, for all
 * threads; a failure is tried again by the next call. */
fgsm_status fg_nv_open(void) FGSM_MUST_USE;
/* cuDNN alone: engines can be listed without a card. */
fgsm_status fg_nv_open_cudnn(void) FGSM_MUST_USE;

/* FGSM_DEVICE with the library's own words. */
fgsm_status fg_cudnn_failed(cudnnStatus_t status, const char *what);
fgsm_status fg_cublas_failed(cublasStatus_t status, const char *what);

#endif
