/* The inside of the fake card (fake_device.h), shared by its files. One lock guards every queue, event and count;
 * work is done outside of it. */
#ifndef FAKE_CARD_H
#define FAKE_CARD_H

#include <pthread.h>
#include <stdbool.h>

#include "kernel.h"
#include "nccl.h"

/* Calls that can fail on purpose. */
enum fake_point {
  OPEN,
  ALLOC,
  HOST_ALLOC,
  UPLOAD,
  DOWNLOAD,
  RUN,
  EVENT,
  SYNC,
  CAPTURE,
  PLAY,
  N_POINTS
};
extern const char *const fake_point_names[];

struct fake_device {
  struct fg_device base;
  struct fg_device *inner;
  struct fg_ranks ranks; /* what the inner device joins: these sum by NCCL */
  fg_nccl nccl;
  struct fake_stream *own;
  int64_t pending; /* pieces of work not settled yet */
  fgsm_status failed;
  char words[256];
};

extern struct fake_state {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  const struct fg_backend *inner;
  int devices, lanes, delay, fail_point;
  size_t memory, used; /* bytes of each card; of all of them */
  long fail_at, calls[N_POINTS], overlaps, replays, uploaded, pending;
  bool records, read;
  unsigned seed;
  int working; /* streams at work now */
  int made_devices, made_streams, made_events, made_recordings, made_memory, made_pinned;
  struct fake_pinned *pinned;
} fake;
extern _Thread_local struct fake_device *fake_entered;

/* Under the lock: counts the call, and says whether it is the one that fails. */
bool fake_fails(enum fake_point p);
/* Under the lock. */
void fake_lose(struct fake_device *d, fgsm_status status, const char *words);
fgsm_status fake_lost(const struct fake_device *d);
/* Locks, unless the device is lost or this call is the one that loses it. */
fgsm_status fake_begin(struct fake_device *d, enum fake_point p);

/* ---- streams; NULL stands for the device's own */

struct fake_stream *fake_start_stream(struct fake_device *d);
/* What is on it is done first, as on a card. */
void fake_end_stream(struct fake_stream *s);
/* Under the lock. From the snapshot, which is freed then, unless that is NULL. */
void fake_put_copy(struct fake_device *d, void *stream, void *to, const void *from, void *snapshot,
                   size_t bytes);
/* The inner kernels, put on a stream. */
extern const struct fg_kernel fake_kernel;

fgsm_status fake_stream_create(struct fg_device *base, void **out);
void fake_stream_destroy(struct fg_device *base, void *stream);
fgsm_status fake_sync_stream(struct fg_device *base, void *stream);
fgsm_status fake_event_create(struct fg_device *base, void **out);
void fake_event_destroy(struct fg_device *base, void *event);
fgsm_status fake_event_record(struct fg_device *base, void *event, void *stream);
fgsm_status fake_event_wait(struct fg_device *base, void *event, void *stream);
fgsm_status fake_event_sync(struct fg_device *base, void *event);
fgsm_status fake_event_query(struct fg_device *base, void *event, bool *done);
fgsm_status fake_capture_begin(struct fg_device *base, void *stream);
fgsm_status fake_capture_end(struct fg_device *base, void *stream, void **recording);
fgsm_status fake_replay(struct fg_device *base, void *recording, void *stream);
void fake_recording_destroy(struct fg_device *base, void *recording);

/* ---- memory */

fgsm_status fake_alloc_device(struct fg_device *base, size_t bytes, void **out);
void fake_free_device(struct fg_device *base, void *memory);
fgsm_status fake_alloc_pinned(struct fg_device *base, size_t bytes, void **out);
void fake_free_pinned(struct fg_device *base, void *memory);
fgsm_status fake_memory_info(struct fg_device *base, size_t *free_bytes, size_t *total);
fgsm_status fake_upload(struct fg_device *base, void *to, const void *from, size_t bytes,
                        void *stream);
fgsm_status fake_download(struct fg_device *base, void *to, const void *from, size_t bytes,
                          void *stream);

#endif
