/* SHA-256 of a large buffer beside other work, by a thread of its own where there is a CPU for it. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

enum { WORTH_A_THREAD = 4 << 20 }; /* bytes: some milliseconds */

struct fg_hashing {
  pthread_t thread;
  bool started;
  const void *data;
  size_t bytes;
  fgsm_status status;
  char hex[65], why[256];
};

static void *hash(void *argument) {
  struct fg_hashing *h = argument;
  h->status = fg_sha256(h->data, h->bytes, h->hex);
  if (h->status != FGSM_OK)
    fg_error_copy(h->why, sizeof h->why);
  return NULL;
}

fgsm_status fg_hashing_begin(const void *data, size_t bytes, struct fg_hashing **out) {
  struct fg_hashing *h = calloc(1, sizeof *h);
  if (!h)
    return FG_FAIL(MEMORY, "no memory to hash %zu bytes", bytes);
  h->data = data;
  h->bytes = bytes;
  *out = h;
  if (bytes < WORTH_A_THREAD || fg_cpu_count() < 2)
    return FGSM_OK;
  sigset_t all, before; /* signals are the application's */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  h->started = pthread_create(&h->thread, NULL, hash, h) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return FGSM_OK;
}

fgsm_status fg_hashing_end(struct fg_hashing *h, char hex[65]) {
  if (!h)
    return FGSM_OK;
  if (h->started)
    pthread_join(h->thread, NULL);
  else if (hex)
    hash(h);
  fgsm_status status = h->status;
  if (hex && status == FGSM_OK)
    memcpy(hex, h->hex, sizeof h->hex);
  else if (hex)
    status = fg_error_restore(status, h->why);
  free(h);
  return hex ? status : FGSM_OK;
}
