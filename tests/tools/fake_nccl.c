/* A libnccl.so.2 for machines without a card: the functions that kernels/cuda/nccl.c looks for, over
 * memory that processes of one machine share. "Device" memory is the host's, and streams are none. Sums
 * are made in the order of ranks. FAKE_NCCL_FAIL=RANK: that one's communicator is refused. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fgsm.h"

#if defined(__has_include)
#if __has_include(<nccl.h>)
#define ncclGetUniqueId real_get_id /* what is declared there takes CUDA's own types */
#define ncclCommInitRank real_init
#define ncclAllReduce real_all_reduce
#define ncclCommDestroy real_destroy
#define ncclGetErrorString real_error
#include <nccl.h>
#undef ncclGetUniqueId
#undef ncclCommInitRank
#undef ncclAllReduce
#undef ncclCommDestroy
#undef ncclGetErrorString
_Static_assert(ncclSuccess == 0 && ncclFloat32 == 7 && ncclFloat64 == 8 && ncclSum == 0 &&
                   sizeof(ncclUniqueId) == 128,
               "nccl.c declares what nccl.h does");
#endif
#endif

enum { MOST_RANKS = 8, CHUNK = 4096, FLOAT32 = 7, REFUSED = 5 };
struct id {
  char name[128];
};
struct shared {
  pthread_barrier_t barrier;
  double place[MOST_RANKS][CHUNK];
};
struct fake_comm {
  struct shared *shared;
  int rank, size;
};

FGSM_API int ncclGetUniqueId(struct id *id);
FGSM_API int ncclCommInitRank(struct fake_comm **out, int size, struct id id, int rank);
FGSM_API int ncclAllReduce(const void *from, void *to, size_t n, int type, int op,
                           struct fake_comm *comm, void *stream);
FGSM_API int ncclCommDestroy(struct fake_comm *comm);
FGSM_API const char *ncclGetErrorString(int code);

/* Makes the memory that the id names. */
int ncclGetUniqueId(struct id *id) {
  pthread_barrierattr_t attr;
  memset(id, 0, sizeof *id);
  snprintf(id->name, sizeof id->name, "/fake-nccl-%ld", (long)getpid());
  int file = shm_open(id->name, O_CREAT | O_RDWR | O_TRUNC, 0600);
  if (file < 0 || ftruncate(file, sizeof(struct shared)) != 0)
    return REFUSED;
  struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (shared == MAP_FAILED)
    return REFUSED;
  pthread_barrierattr_init(&attr);
  pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  /* Its size is not told here; the environment of a starter, or a test's, has it. */
  const char *text = getenv("FAKE_NCCL_SIZE");
  if (!text)
    text = getenv("OMPI_COMM_WORLD_SIZE");
  pthread_barrier_init(&shared->barrier, &attr, text ? (unsigned)atoi(text) : 1);
  munmap(shared, sizeof *shared);
  return 0;
}

int ncclCommInitRank(struct fake_comm **out, int size, struct id id, int rank) {
  const char *fail = getenv("FAKE_NCCL_FAIL");
  struct fake_comm *comm = malloc(sizeof *comm);
  if (!comm || size > MOST_RANKS || (fail && atoi(fail) == rank)) {
    free(comm);
    return REFUSED;
  }
  int file = shm_open(id.name, O_RDWR, 0600);
  comm->shared = mmap(NULL, sizeof *comm->shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  comm->rank = rank;
  comm->size = size;
  *out = comm;
  pthread_barrier_wait(&comm->shared->barrier);
  if (rank == 0)
    shm_unlink(id.name);
  return 0;
}

/* A chunk's numbers, floats as doubles, which hold them exactly; floats are added as floats. */
static void add_chunk(struct fake_comm *c, const char *from, char *to, size_t n, int type) {
  for (size_t i = 0; i < n; i++)
    c->shared->place[c->rank][i] = type == FLOAT32 ? (double)((const float *)(const void *)from)[i]
                                                   : ((const double *)(const void *)from)[i];
  pthread_barrier_wait(&c->shared->barrier);
  for (size_t i = 0; i < n; i++) {
    double sum = c->shared->place[0][i];
    for (int r = 1; r < c->size; r++)
      sum = type == FLOAT32 ? (double)((float)sum + (float)c->shared->place[r][i])
                            : sum + c->shared->place[r][i];
    if (type == FLOAT32)
      ((float *)(void *)to)[i] = (float)sum;
    else
      ((double *)(void *)to)[i] = sum;
  }
  pthread_barrier_wait(&c->shared->barrier);
}

int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, struct fake_comm *comm,
                  void *stream) {
  size_t size = type == FLOAT32 ? sizeof(float) : sizeof(double);
  (void)op, (void)stream;
  for (size_t at = 0; at < n; at += CHUNK)
    add_chunk(comm, (const char *)from + at * size, (char *)to + at * size,
              n - at < CHUNK ? n - at : CHUNK, type);
  return 0;
}

int ncclCommDestroy(struct fake_comm *comm) {
  munmap(comm->shared, sizeof *comm->shared);
  free(comm);
  return 0;
}

const char *ncclGetErrorString(int code) {
  return code == 0 ? "no error" : "refused, on purpose";
}
