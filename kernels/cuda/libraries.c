/* Opening cuDNN and cuBLASLt. */
#include "libraries.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "open.h"

/* Device descriptions (DEVICEPROP), which plans are made from, came with 9.8. */
enum { OLDEST_CUDNN = 90800 };

struct fg_nv fg_nv;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool have_cudnn, have_cublas;

/* cuDNN opens NVRTC for each engine that compiles at run time and closes it again, and most of the time that
 * listing takes is its being loaded and relocated: held here, it is loaded once. Where there is none, there
 * are no such engines, as without this. */
static void hold_nvrtc(void) {
  static const char *const wheels[] = {"nvidia/cu13/lib/", "nvidia/cuda_nvrtc/lib/", NULL};
  char file[64];
  snprintf(file, sizeof file, "libnvrtc.so.%d", CUBLAS_VER_MAJOR);
  fg_nv_library(file, wheels, FGSM_CUBLASLT_FOLDER);
}

static fgsm_status open_cudnn(void) {
  static const char *const wheels[] = {"nvidia/cudnn/lib/", NULL};
  if (have_cudnn)
    return FGSM_OK;
  void *library = fg_nv_library("libcudnn.so.9", wheels, FGSM_CUDNN_FOLDER);
  if (!library)
    return FG_FAIL(DEVICE, "cuDNN 9 was not found: install it (Debian: cudnn9-cuda-13; pip: "
                           "nvidia-cudnn-cu13, with FGSM_NV_SITE set to the site-packages folder), "
                           "or set LD_LIBRARY_PATH to where libcudnn.so.9 is");
  bool whole = true;
#define X(name) whole = fg_nv_function(library, #name, &fg_nv.name) && whole;
  FG_CUDNN_MAP(X)
#undef X
  size_t version = fg_nv.cudnnGetVersion ? fg_nv.cudnnGetVersion() : 0;
  if (version < OLDEST_CUDNN || !whole) {
    dlclose(library);
    return FG_FAIL(DEVICE, "cuDNN %zu.%zu.%zu %s: install 9.8 or later", version / 10000,
                   version % 10000 / 100, version % 100,
                   version < OLDEST_CUDNN ? "is too old" : "lacks functions");
  }
  hold_nvrtc();
  have_cudnn = true;
  return FGSM_OK;
}

static fgsm_status open_cublas(void) {
  static const char *const wheels[] = {"nvidia/cu13/lib/", "nvidia/cublas/lib/", NULL};
  char file[64];
  if (have_cublas)
    return FGSM_OK;
  snprintf(file, sizeof file, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
  void *library = fg_nv_library(file, wheels, FGSM_CUBLASLT_FOLDER);
  if (!library)
    return FG_FAIL(DEVICE,
                   "cuBLASLt %d was not found: install CUDA %d's cuBLAS (Debian: "
                   "libcublas-%d-0; pip: nvidia-cublas, with FGSM_NV_SITE set to the "
                   "site-packages folder), or set LD_LIBRARY_PATH to where %s is",
                   CUBLAS_VER_MAJOR, CUBLAS_VER_MAJOR, CUBLAS_VER_MAJOR, file);
  bool whole = true;
#define X(name) whole = fg_nv_function(library, #name, &fg_nv.name) && whole;
  FG_CUBLASLT_MAP(X)
#undef X
  if (!whole) {
    dlclose(library);
    return FG_FAIL(DEVICE,
                   "%s lacks functions that fgsm was built with: install version %d.%d or "
                   "later",
                   file, CUBLAS_VER_MAJOR, CUBLAS_VER_MINOR);
  }
  have_cublas = true;
  return FGSM_OK;
}

fgsm_status fg_nv_open_cudnn(void) {
  pthread_mutex_lock(&lock);
  fgsm_status status = open_cudnn();
  pthread_mutex_unlock(&lock);
  return status;
}

fgsm_status fg_nv_open(void) {
  pthread_mutex_lock(&lock);
  fgsm_status status = open_cudnn();
  if (status == FGSM_OK)
    status = open_cublas();
  pthread_mutex_unlock(&lock);
  return status;
}

fgsm_status fg_cudnn_failed(cudnnStatus_t status, const char *what) {
  char why[512] = "";
  fg_nv.cudnnGetLastErrorString(why, sizeof why);
  return FG_FAIL(DEVICE, "cuDNN: %s: %s%s%s", what, fg_nv.cudnnGetErrorString(status),
                 *why ? ": " : "", why);
}

fgsm_status fg_cublas_failed(cublasStatus_t status, const char *what) {
  return FG_FAIL(DEVICE, "cuBLASLt: %s: %s", what, fg_nv.cublasLtGetStatusString(status));
}
