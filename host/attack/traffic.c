/* Between host and device: an attacker's three streams, for uploads, computing and downloads, and the
 * events that order them. What the next attacker on the same device does overlaps with all of it.
 *
 * An upload waits for what was computed so far, which may still read the place that it writes to;
 * computing then waits for the upload. A download waits for what was computed, and the host for the
 * download. So the host waits for results alone, and before it writes into the staging buffer,
 * which an upload may still be reading. */
#include <string.h>

#include "attacker.h"

fgsm_status fg_traffic_create(struct fg_attacker *a) {
  const struct fg_backend *backend = a->device->backend;
  for (int s = 0; s < FG_TRAFFIC_COUNT; s++) {
    FG_TRY(backend->stream_create(a->device, &a->stream[s]));
    FG_TRY(backend->event_create(a->device, &a->event[s]));
  }
  return FGSM_OK;
}

/* A failure was reported by whoever asked for the work; here nothing is left but to wait. */
void fg_traffic_end(struct fg_attacker *a) {
  for (int s = 0; s < FG_TRAFFIC_COUNT; s++)
    if (a->stream[s])
      (void)!a->device->backend->sync(a->device, a->stream[s]);
}

void fg_traffic_destroy(struct fg_attacker *a) {
  const struct fg_backend *backend = a->device->backend;
  for (int s = 0; s < FG_TRAFFIC_COUNT; s++) {
    if (a->event[s])
      backend->event_destroy(a->device, a->event[s]);
    if (a->stream[s])
      backend->stream_destroy(a->device, a->stream[s]);
  }
}

/* What follows on `second` comes after everything that is on `first` now. */
static fgsm_status order(struct fg_attacker *a, enum fg_traffic first, enum fg_traffic second) {
  const struct fg_backend *backend = a->device->backend;
  FG_TRY(backend->event_record(a->device, a->event[first], a->stream[first]));
  return backend->event_wait(a->device, a->event[first], a->stream[second]);
}

fgsm_status fg_upload(struct fg_attacker *a, void *to, const void *from, size_t bytes) {
  FG_TRY(order(a, FG_TRAFFIC_compute, FG_TRAFFIC_up));
  FG_TRY(a->device->backend->upload(a->device, to, from, bytes, a->stream[FG_TRAFFIC_up]));
  return order(a, FG_TRAFFIC_up, FG_TRAFFIC_compute);
}

fgsm_status fg_stage_wait(struct fg_attacker *a) {
  return a->device->backend->event_sync(a->device, a->event[FG_TRAFFIC_up]);
}

fgsm_status fg_download(struct fg_attacker *a, const void *from, size_t bytes, void *to) {
  const struct fg_backend *backend = a->device->backend;
  void *event = a->event[FG_TRAFFIC_down], *stream = a->stream[FG_TRAFFIC_down];
  FG_TRY(order(a, FG_TRAFFIC_compute, FG_TRAFFIC_down));
  FG_TRY(backend->download(a->device, to, from, bytes, stream));
  FG_TRY(backend->event_record(a->device, event, stream));
  return backend->event_sync(a->device, event);
}

fgsm_status fg_download_reals(struct fg_attacker *a, const void *from, int64_t n, double *to) {
  FG_TRY(fg_download(a, from, (size_t)n * fg_type_size(a->real), to));
  if (a->real == FG_F64)
    return FGSM_OK;
  for (int64_t i = n - 1; i >= 0; i--) { /* widened in place, from the end */
    float f;
    memcpy(&f, (const char *)to + (size_t)i * sizeof f, sizeof f);
    to[i] = f;
  }
  return FGSM_OK;
}
