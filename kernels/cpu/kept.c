/* A list: a plan has tens of reordered constants, rarely hundreds. */
#include "kept.h"

#include <pthread.h>
#include <stdlib.h>

struct entry {
  struct entry *next;
  const void *constant;
  fg_dnnl_md format;
  void *memory;
  int users;
};

struct fg_cpu_kept {
  pthread_mutex_t lock;
  struct entry *first;
};

struct fg_cpu_kept *fg_cpu_kept_create(void) {
  struct fg_cpu_kept *kept = calloc(1, sizeof *kept);
  if (kept && pthread_mutex_init(&kept->lock, NULL) != 0) {
    free(kept);
    return NULL;
  }
  return kept;
}

static void forget(struct entry *e) {
  fg_dnnl_md_destroy(e->format);
  free(e->memory);
  free(e);
}

void fg_cpu_kept_destroy(struct fg_cpu_kept *kept) {
  if (!kept)
    return;
  for (struct entry *e = kept->first, *next; e; e = next) {
    next = e->next;
    forget(e);
  }
  pthread_mutex_destroy(&kept->lock);
  free(kept);
}

static struct entry *find(const struct fg_cpu_kept *kept, const void *constant, fg_dnnl_md wanted) {
  struct entry *e = kept->first;
  while (e && (e->constant != constant || !dnnl_memory_desc_equal(e->format, wanted)))
    e = e->next;
  return e;
}

static fgsm_status add(struct fg_cpu_kept *kept, const void *constant, fg_dnnl_md wanted,
                       struct entry **out) {
  size_t bytes = (dnnl_memory_desc_get_size(wanted) + 63) / 64 * 64;
  struct entry *e = calloc(1, sizeof *e);
  if (!e)
    return FG_FAIL(MEMORY, "no memory for a convolution's weights");
  e->constant = constant;
  e->memory = aligned_alloc(64, bytes);
  fgsm_status status = e->memory
                           ? fg_dnnl_md_copy(wanted, &e->format)
                           : FG_FAIL(MEMORY, "no memory for %zu bytes of reordered weights", bytes);
  if (status != FGSM_OK) {
    forget(e);
    return status;
  }
  e->next = kept->first;
  kept->first = e;
  *out = e;
  return FGSM_OK;
}

fgsm_status fg_cpu_kept_take(struct fg_cpu_kept *kept, const void *constant, fg_dnnl_md wanted,
                             void **memory, bool *fresh) {
  fgsm_status status = FGSM_OK;
  pthread_mutex_lock(&kept->lock);
  struct entry *e = find(kept, constant, wanted);
  *fresh = !e;
  if (!e)
    status = add(kept, constant, wanted, &e);
  if (status == FGSM_OK) {
    e->users++;
    *memory = e->memory;
  }
  pthread_mutex_unlock(&kept->lock);
  return status;
}

void fg_cpu_kept_give_back(struct fg_cpu_kept *kept, void *memory) {
  if (!memory)
    return;
  pthread_mutex_lock(&kept->lock);
  struct entry **at = &kept->first;
  while (*at && (*at)->memory != memory)
    at = &(*at)->next;
  struct entry *e = *at;
  if (e && --e->users == 0) {
    *at = e->next;
    forget(e);
  }
  pthread_mutex_unlock(&kept->lock);
}
