/* A list: a plan has tens of reordered constants, rarely hundreds. */
#include "kept.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

struct entry {
  struct entry *next;
  const void *constant;
  fg_dnnl_md format;
  void *memory;
  int users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;

static void forget(struct entry *e) {
  fg_dnnl_md_destroy(e->format);
  free(e->memory);
  free(e);
}

static struct entry *find(const void *constant, fg_dnnl_md wanted) {
  struct entry *e = entries;
  while (e && (e->constant != constant || !dnnl_memory_desc_equal(e->format, wanted)))
    e = e->next;
  return e;
}

enum { LINE_BYTES = 64, HUGE_BYTES = 2 << 20 };

/* Weights are read from end to end in each batch, and a page of 4 KiB at a time they would need more translations than
 * the processor keeps. */
void *fg_cpu_kept_room(size_t bytes) {
  bool huge = bytes >= HUGE_BYTES;
  void *memory;
  if (posix_memalign(&memory, huge ? HUGE_BYTES : LINE_BYTES, bytes) != 0)
    return NULL;
  if (huge)
    (void)madvise(memory, bytes / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE);
  return memory;
}

static fgsm_status add(const void *constant, fg_dnnl_md wanted, struct entry **out) {
  size_t bytes = (dnnl_memory_desc_get_size(wanted) + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
  struct entry *e = calloc(1, sizeof *e);
  if (!e)
    return FG_FAIL(MEMORY, "no memory for a convolution's weights");
  e->constant = constant;
  e->memory = fg_cpu_kept_room(bytes);
  fgsm_status status = e->memory
                           ? fg_dnnl_md_copy(wanted, &e->format)
                           : FG_FAIL(MEMORY, "no memory for %zu bytes of reordered weights", bytes);
  if (status != FGSM_OK) {
    forget(e);
    return status;
  }
  e->next = entries;
  entries = e;
  *out = e;
  return FGSM_OK;
}

fgsm_status fg_cpu_kept_take(const void *constant, fg_dnnl_md wanted, void **memory, bool *fresh) {
  fgsm_status status = FGSM_OK;
  pthread_mutex_lock(&lock);
  struct entry *e = find(constant, wanted);
  *fresh = !e;
  if (!e)
    status = add(constant, wanted, &e);
  if (status == FGSM_OK) {
    e->users++;
    *memory = e->memory;
  }
  pthread_mutex_unlock(&lock);
  return status;
}

void fg_cpu_kept_give_back(void *memory) {
  if (!memory)
    return;
  pthread_mutex_lock(&lock);
  struct entry **at = &entries;
  while (*at && (*at)->memory != memory)
    at = &(*at)->next;
  struct entry *e = *at;
  if (e && --e->users == 0) {
    *at = e->next;
    forget(e);
  }
  pthread_mutex_unlock(&lock);
}
