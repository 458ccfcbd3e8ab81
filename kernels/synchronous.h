/* Memory, transfers, streams and events of a backend that computes in the calling thread on host
 * memory: everything is done when it returns, so order needs nothing. Seen by such backends alone.
 */
#ifndef FG_SYNCHRONOUS_H
#define FG_SYNCHRONOUS_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranks.h"

static inline fgsm_status fg_synchronous_count(int *n) {
  *n = 1;
  return FGSM_OK;
}

static inline fgsm_status fg_synchronous_join(struct fg_device *device, struct fg_ranks *ranks) {
  device->ranks = ranks;
  return FGSM_OK;
}

static inline fgsm_status fg_synchronous_alloc(struct fg_device *device, size_t bytes, void **out) {
  (void)device;
  if (bytes > SIZE_MAX - 128)
    return FG_FAIL(MEMORY, "no memory for %zu bytes", bytes);
  *out = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
  return *out ? FGSM_OK : FG_FAIL(MEMORY, "no memory for %zu bytes", bytes);
}

static inline void fg_synchronous_free(struct fg_device *device, void *memory) {
  (void)device;
  free(memory);
}

static inline fgsm_status fg_synchronous_memory(struct fg_device *device, size_t *free,
                                                size_t *total) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  (void)device;
  *free = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
  *total = (size_t)sysconf(_SC_PHYS_PAGES) * page;
  return FGSM_OK;
}

static inline fgsm_status fg_synchronous_copy(struct fg_device *device, void *to, const void *from,
                                              size_t bytes, void *stream) {
  (void)device;
  (void)stream;
  if (bytes)
    memcpy(to, from, bytes);
  return FGSM_OK;
}

/* sync, event_sync */
static inline fgsm_status fg_synchronous_sync(struct fg_device *device, void *what) {
  (void)device;
  (void)what;
  return FGSM_OK;
}

/* stream_create, event_create */
static inline fgsm_status fg_synchronous_create(struct fg_device *device, void **out) {
  (void)device;
  *out = NULL;
  return FGSM_OK;
}

static inline void fg_synchronous_destroy(struct fg_device *device, void *what) {
  (void)device;
  (void)what;
}

/* event_record, event_wait */
static inline fgsm_status fg_synchronous_order(struct fg_device *device, void *event,
                                               void *stream) {
  (void)device;
  (void)event;
  (void)stream;
  return FGSM_OK;
}

static inline fgsm_status fg_synchronous_query(struct fg_device *device, void *event, bool *done) {
  (void)device;
  (void)event;
  *done = true;
  return FGSM_OK;
}

/* The operator all_reduce: its state is the ranks. */
static inline fgsm_status fg_synchronous_prepare_all_reduce(struct fg_call *call,
                                                            struct fg_device *device) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  if ((x->type != FG_F32 && x->type != FG_F64) || x->type != y->type || !fg_same_shape(x, y) ||
      x->layout != y->layout)
    return FG_FAIL(UNSUPPORTED, "%s: all_reduce sums floats and doubles of one shape",
                   device->backend->name);
  call->state = device->ranks;
  return FGSM_OK;
}

static inline fgsm_status fg_synchronous_run_all_reduce(const struct fg_call *call, void *scratch,
                                                        void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  (void)scratch, (void)stream;
  if (y->data != x->data)
    memcpy(y->data, x->data, fg_bytes(x));
  return fg_ranks_sum((struct fg_ranks *)call->state, y->type, fg_count(y), y->data);
}

/* Defines a backend's kernel. */
#define FG_SYNCHRONOUS_ALL_REDUCE                                                                  \
  { fg_synchronous_prepare_all_reduce, fg_synchronous_run_all_reduce, NULL }

/* For a table: all that this header has. */
#define FG_SYNCHRONOUS                                                                             \
  .host_memory = true, .count = fg_synchronous_count, .join = fg_synchronous_join,                 \
  .alloc = fg_synchronous_alloc, .free = fg_synchronous_free, .host_alloc = fg_synchronous_alloc,  \
  .host_free = fg_synchronous_free, .memory = fg_synchronous_memory,                               \
  .upload = fg_synchronous_copy, .download = fg_synchronous_copy, .sync = fg_synchronous_sync,     \
  .stream_create = fg_synchronous_create, .stream_destroy = fg_synchronous_destroy,                \
  .event_create = fg_synchronous_create, .event_destroy = fg_synchronous_destroy,                  \
  .event_record = fg_synchronous_order, .event_wait = fg_synchronous_order,                        \
  .event_sync = fg_synchronous_sync, .event_query = fg_synchronous_query

#endif
