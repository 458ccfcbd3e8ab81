#include "forked_ranks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_RANKS = 4, MOST_BYTES = 1 << 20 };

/* A place for each rank's numbers, and for what is broadcast. */
static struct meeting {
  pthread_barrier_t barrier;
  unsigned char place[MOST_RANKS][MOST_BYTES];
} * meeting;

static fgsm_status sum(struct fg_ranks *ranks, enum fg_type type, int64_t n, void *x) {
  size_t bytes = (size_t)n * fg_type_size(type);
  if (bytes > MOST_BYTES)
    return FG_FAIL(INTERNAL, "too many numbers for a test");
  memcpy(meeting->place[ranks->rank], x, bytes);
  pthread_barrier_wait(&meeting->barrier);
  memset(x, 0, bytes);
  for (int r = 0; r < ranks->size; r++)
    for (int64_t i = 0; i < n; i++)
      if (type == FG_F32)
        ((float *)x)[i] += ((float *)(void *)meeting->place[r])[i];
      else if (type == FG_F64)
        ((double *)x)[i] += ((double *)(void *)meeting->place[r])[i];
      else
        ((int64_t *)x)[i] += ((int64_t *)(void *)meeting->place[r])[i];
  pthread_barrier_wait(&meeting->barrier);
  return FGSM_OK;
}

static fgsm_status broadcast(struct fg_ranks *ranks, int from, void *x, size_t bytes) {
  if (bytes > MOST_BYTES)
    return FG_FAIL(INTERNAL, "too many bytes for a test");
  if (ranks->rank == from)
    memcpy(meeting->place[0], x, bytes);
  pthread_barrier_wait(&meeting->barrier);
  memcpy(x, meeting->place[0], bytes);
  pthread_barrier_wait(&meeting->barrier);
  return FGSM_OK;
}

static void leave(struct fg_ranks *ranks, int code) {
  (void)ranks;
  _exit(code);
}

bool forked_ranks(int size, int (*work)(struct fg_ranks *ranks)) {
  static const struct fg_ranks_kind kind = {
      .name = "forked", .sum = sum, .broadcast = broadcast, .abort = leave};
  pthread_barrierattr_t shared;
  pid_t child[MOST_RANKS];
  bool good = true;
  meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (meeting == MAP_FAILED || size > MOST_RANKS)
    return false;
  pthread_barrierattr_init(&shared);
  pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&meeting->barrier, &shared, (unsigned)size);
  fflush(NULL);
  for (int r = 0; r < size; r++) {
    child[r] = fork();
    if (child[r] == 0) {
      struct fg_ranks ranks = {.kind = &kind, .rank = r, .size = size, .local = r};
      alarm(60); /* a rank that is waited for in vain ends the test, not the day */
      int code = work(&ranks);
      fflush(NULL);
      _exit(code);
    }
  }
  for (int r = 0; r < size; r++) {
    int status = 0;
    waitpid(child[r], &status, 0);
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  munmap(meeting, sizeof *meeting);
  return good;
}
