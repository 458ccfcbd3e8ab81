/* NCCL by its few functions that are needed, declared as nccl.h of NCCL 2 does. */
#include "nccl.h"

#include <pthread.h>
#include <string.h>

#include "open.h"

enum { SUCCESS = 0, FLOAT32 = 7, FLOAT64 = 8, SUM = 0 };
struct id {
  char bytes[128];
};

static struct {
  int (*get_id)(struct id *);
  int (*init)(fg_nccl *, int size, struct id, int rank);
  int (*all_reduce)(const void *, void *, size_t, int type, int op, fg_nccl, void *stream);
  int (*destroy)(fg_nccl);
  const char *(*error)(int);
} nccl;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool opened;

static fgsm_status open_nccl(void) {
  static const char *const wheels[] = {"nvidia/nccl/lib/", NULL};
  if (opened)
    return FGSM_OK;
  void *library = fg_nv_library("libnccl.so.2", wheels, NULL);
  if (!library)
    return FG_FAIL(DEVICE, "NCCL 2, which cards of several processes train together by, was not "
                           "found: install it (Debian: libnccl2; pip: nvidia-nccl-cu13, with "
                           "FGSM_NV_SITE set to the site-packages folder), or set LD_LIBRARY_PATH "
                           "to where libnccl.so.2 is");
  opened = fg_nv_function(library, "ncclGetUniqueId", &nccl.get_id) &&
           fg_nv_function(library, "ncclCommInitRank", &nccl.init) &&
           fg_nv_function(library, "ncclAllReduce", &nccl.all_reduce) &&
           fg_nv_function(library, "ncclCommDestroy", &nccl.destroy) &&
           fg_nv_function(library, "ncclGetErrorString", &nccl.error);
  return opened ? FGSM_OK : FG_FAIL(DEVICE, "libnccl.so.2 lacks functions of NCCL 2");
}

static fgsm_status check(int code, const char *what) {
  return code == SUCCESS
             ? FGSM_OK
             : FG_FAIL(DEVICE, "NCCL: %s: %s (NCCL_DEBUG=WARN says more)", what, nccl.error(code));
}

/* Whether all ranks succeeded so far: else each fails, rather than wait for one that has. */
static fgsm_status agree(struct fg_ranks *ranks, fgsm_status status) {
  int64_t failed = status != FGSM_OK;
  FG_TRY(fg_ranks_sum(ranks, FG_I64, 1, &failed));
  if (failed == 0 || status != FGSM_OK)
    return status;
  return FG_FAIL(DEVICE, "NCCL: %lld of %d ranks cannot join", (long long)failed, ranks->size);
}

fgsm_status fg_nccl_join(struct fg_ranks *ranks, fg_nccl *out) {
  struct id id;
  memset(&id, 0, sizeof id);
  pthread_mutex_lock(&lock);
  fgsm_status status = open_nccl();
  pthread_mutex_unlock(&lock);
  if (status == FGSM_OK && ranks->rank == 0)
    status = check(nccl.get_id(&id), "an id");
  FG_TRY(agree(ranks, status));
  FG_TRY(fg_ranks_broadcast(ranks, 0, &id, sizeof id));
  return check(nccl.init(out, ranks->size, id, ranks->rank), "joining");
}

fgsm_status fg_nccl_sum(fg_nccl comm, enum fg_type type, int64_t n, const void *from, void *to,
                        void *stream) {
  int code =
      nccl.all_reduce(from, to, (size_t)n, type == FG_F32 ? FLOAT32 : FLOAT64, SUM, comm, stream);
  return check(code, "a sum over ranks");
}

void fg_nccl_part(fg_nccl comm) {
  if (comm)
    (void)nccl.destroy(comm);
}
