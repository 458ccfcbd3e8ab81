/* The fake card's memory, which is the host's, and what is carried to it and back. */
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"

struct fake_pinned {
  struct fake_pinned *next;
  char *memory;
  size_t bytes;
};

static fgsm_status allocate(struct fg_device *base, enum fake_point p, size_t bytes, void **out) {
  struct fake_device *d = (struct fake_device *)base;
  pthread_mutex_lock(&fake.lock);
  bool full = d->failed == FGSM_OK && fake_fails(p);
  fgsm_status status = full ? FG_FAIL(MEMORY, "fake card: no memory, on purpose") : fake_lost(d);
  pthread_mutex_unlock(&fake.lock);
  FG_TRY(status);
  *out = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
  memset(*out, 0xFF, (bytes + 63) / 64 * 64 + 64);
  return FGSM_OK;
}

/* In front of a card's memory stands its size. */
enum { HEAD = 64 };

fgsm_status fake_alloc_device(struct fg_device *base, size_t bytes, void **out) {
  void *memory;
  pthread_mutex_lock(&fake.lock);
  bool full = bytes > fake.memory || fake.used > fake.memory - bytes;
  pthread_mutex_unlock(&fake.lock);
  if (full)
    return FG_FAIL(MEMORY, "fake card: no %zu bytes left", bytes);
  FG_TRY(allocate(base, ALLOC, bytes + HEAD, &memory));
  memcpy(memory, &bytes, sizeof bytes);
  *out = (char *)memory + HEAD;
  pthread_mutex_lock(&fake.lock);
  fake.made_memory++;
  fake.used += bytes;
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

/* Freeing waits for the device's work, as a card's does: nothing reads what is gone. */
void fake_free_device(struct fg_device *base, void *memory) {
  struct fake_device *d = (struct fake_device *)base;
  if (!memory)
    return;
  size_t bytes;
  char *start = (char *)memory - HEAD;
  memcpy(&bytes, start, sizeof bytes);
  pthread_mutex_lock(&fake.lock);
  fake.made_memory--;
  fake.used -= bytes;
  while (d->pending > 0)
    pthread_cond_wait(&fake.changed, &fake.lock);
  pthread_mutex_unlock(&fake.lock);
  free(start);
}

fgsm_status fake_alloc_pinned(struct fg_device *base, size_t bytes, void **out) {
  FG_TRY(allocate(base, HOST_ALLOC, bytes, out));
  struct fake_pinned *p = malloc(sizeof *p);
  pthread_mutex_lock(&fake.lock);
  *p = (struct fake_pinned){fake.pinned, *out, bytes};
  fake.pinned = p;
  fake.made_pinned++;
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

void fake_free_pinned(struct fg_device *base, void *memory) {
  (void)base;
  if (!memory)
    return;
  pthread_mutex_lock(&fake.lock);
  for (struct fake_pinned **p = &fake.pinned; *p; p = &(*p)->next)
    if ((*p)->memory == (char *)memory) {
      struct fake_pinned *gone = *p;
      *p = gone->next;
      free(gone);
      fake.made_pinned--;
      break;
    }
  pthread_mutex_unlock(&fake.lock);
  free(memory);
}

static bool is_pinned(const void *memory) { /* under the lock */
  for (const struct fake_pinned *p = fake.pinned; p; p = p->next)
    if ((const char *)memory >= p->memory && (const char *)memory < p->memory + p->bytes)
      return true;
  return false;
}

fgsm_status fake_memory_info(struct fg_device *base, size_t *free_bytes, size_t *total) {
  (void)base;
  pthread_mutex_lock(&fake.lock);
  *total = fake.memory;
  *free_bytes = fake.used < fake.memory ? fake.memory - fake.used : 0;
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

fgsm_status fake_upload(struct fg_device *base, void *to, const void *from, size_t bytes,
                        void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  FG_TRY(fake_begin(d, UPLOAD));
  void *snapshot = NULL;
  if (!is_pinned(from) && bytes) {
    snapshot = malloc(bytes);
    memcpy(snapshot, from, bytes);
  } else {
    fake.uploaded += (long)bytes;
  }
  fake_put_copy(d, stream, to, from, snapshot, bytes);
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

fgsm_status fake_download(struct fg_device *base, void *to, const void *from, size_t bytes,
                          void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  FG_TRY(fake_begin(d, DOWNLOAD));
  fake_put_copy(d, stream, to, from, NULL, bytes);
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}
