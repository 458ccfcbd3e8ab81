/* The fake card: what is set and counted, its failures, and the backend. */
#include "fake_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"

struct fake_state fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
_Thread_local struct fake_device *fake_entered;
const char *const fake_point_names[] = {"open", "alloc", "host_alloc", "upload",  "download",
                                        "run",  "event", "sync",       "capture", "replay"};

/* ---- settings and counts */

static int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

static void read_settings(void) {
  const char *inner = getenv("FAKE_INNER"), *fail = getenv("FAKE_FAIL");
  fake.inner = inner && strcmp(inner, "ref") == 0 ? &fg_ref : &fg_cpu;
  fake.devices = setting("FAKE_DEVICES", 2);
  fake.lanes = setting("FAKE_LANES", 2);
  fake.delay = setting("FAKE_DELAY", 0);
  fake.records = setting("FAKE_RECORDS", 1);
  fake.memory = (size_t)setting("FAKE_MEMORY", 1 << 13) << 20;
  fake.fail_point = -1;
  for (int p = 0; p < N_POINTS && fail; p++) {
    size_t n = strlen(fake_point_names[p]);
    if (strncmp(fail, fake_point_names[p], n) == 0 && fail[n] == ':') {
      fake.fail_point = p;
      fake.fail_at = atol(fail + n + 1);
    }
  }
  fake.read = true;
}

void fake_reset(void) {
  pthread_mutex_lock(&fake.lock);
  memset(fake.calls, 0, sizeof fake.calls);
  fake.overlaps = fake.replays = fake.uploaded = 0;
  read_settings();
  pthread_mutex_unlock(&fake.lock);
}

const char *fake_leaks(void) {
  static char text[256];
  pthread_mutex_lock(&fake.lock);
  *text = 0;
  if (fake.made_devices || fake.made_streams || fake.made_events || fake.made_recordings ||
      fake.made_memory || fake.made_pinned)
    snprintf(text, sizeof text,
             "devices %d, streams %d, events %d, recordings %d, memory %d, pinned %d",
             fake.made_devices, fake.made_streams, fake.made_events, fake.made_recordings,
             fake.made_memory, fake.made_pinned);
  pthread_mutex_unlock(&fake.lock);
  return text;
}

static long count_of(const long *count) {
  pthread_mutex_lock(&fake.lock);
  long n = *count;
  pthread_mutex_unlock(&fake.lock);
  return n;
}

long fake_overlaps(void) {
  return count_of(&fake.overlaps);
}

long fake_replays(void) {
  return count_of(&fake.replays);
}

long fake_uploaded(void) {
  return count_of(&fake.uploaded);
}

long fake_pending(void) {
  return count_of(&fake.pending);
}

bool fake_fails(enum fake_point p) {
  return ++fake.calls[p] == fake.fail_at && fake.fail_point == (int)p;
}

void fake_lose(struct fake_device *d, fgsm_status status, const char *words) {
  if (d->failed != FGSM_OK)
    return;
  d->failed = status;
  snprintf(d->words, sizeof d->words, "%s", words);
  pthread_cond_broadcast(&fake.changed); /* nobody waits for what does not come any more */
}

fgsm_status fake_lost(const struct fake_device *d) {
  return d->failed == FGSM_OK
             ? FGSM_OK
             : fg_fail(d->failed, __FILE__, __LINE__, "fake card lost: %s", d->words);
}

fgsm_status fake_begin(struct fake_device *d, enum fake_point p) {
  pthread_mutex_lock(&fake.lock);
  if (d->failed == FGSM_OK && fake_fails(p))
    fake_lose(d, FGSM_DEVICE, fake_point_names[p]);
  fgsm_status status = fake_lost(d);
  if (status != FGSM_OK)
    pthread_mutex_unlock(&fake.lock);
  return status;
}

/* ---- the device */

static struct fg_backend live; /* fake_backend with the inner one's traits */

static fgsm_status count(int *n) {
  pthread_mutex_lock(&fake.lock);
  if (!fake.read)
    read_settings();
  *n = fake.devices;
  pthread_mutex_unlock(&fake.lock);
  return *n > 0 ? FGSM_OK : FG_FAIL(DEVICE, "fake card: there is none");
}

static void close_device(struct fg_device *base) {
  struct fake_device *d = (struct fake_device *)base;
  if (!d)
    return;
  fake_end_stream(d->own);
  fg_nccl_part(d->nccl);
  fake.inner->close(d->inner);
  pthread_mutex_lock(&fake.lock);
  fake.made_devices--;
  pthread_mutex_unlock(&fake.lock);
  free(d);
}

static fgsm_status open_device(int index, int threads, struct fg_device **out) {
  int n;
  FG_TRY(count(&n));
  pthread_mutex_lock(&fake.lock);
  bool fail = index >= n || fake_fails(OPEN);
  if (!fake.made_devices) { /* others are reading it */
    live = fake_backend;
    live.real = fake.inner->real;
    live.takes_layout = fake.inner->takes_layout;
    for (int op = 0; op < FG_OP_COUNT; op++)
      if (!fake.inner->kernels[op]->run)
        live.kernels[op] = fake.inner->kernels[op]; /* a gap */
  }
  pthread_mutex_unlock(&fake.lock);
  if (fail)
    return FG_FAIL(DEVICE, "fake card %d does not open", index);
  struct fake_device *d = calloc(1, sizeof *d);
  fgsm_status status = fake.inner->open(0, threads, &d->inner);
  if (status != FGSM_OK) {
    free(d);
    return status;
  }
  d->base = (struct fg_device){.backend = &live,
                               .layout = d->inner->layout,
                               .channel_block = d->inner->channel_block,
                               .threads = d->inner->threads,
                               .lanes = fake.lanes};
  d->own = fake_start_stream(d);
  pthread_mutex_lock(&fake.lock);
  fake.made_devices++;
  pthread_mutex_unlock(&fake.lock);
  *out = &d->base;
  return FGSM_OK;
}

static fgsm_status enter(struct fg_device *base) {
  fake_entered = (struct fake_device *)base;
  FG_TRY(fake.inner->enter(fake_entered->inner)); /* prepare may compute */
  pthread_mutex_lock(&fake.lock);
  fgsm_status status = fake_lost(fake_entered);
  pthread_mutex_unlock(&fake.lock);
  return status;
}

static fgsm_status describe(const struct fg_device *base, char *text, size_t size) {
  (void)base;
  snprintf(text, size, "a fake card around %s", fake.inner->name);
  return FGSM_OK;
}

/* Where fake_nvml.c has a card. */
static fgsm_status bus_id(struct fg_device *base, char *text, size_t size) {
  (void)base;
  snprintf(text, size, "0000:3b:00.0");
  return FGSM_OK;
}

/* Sums over ranks are a card's, on its streams: never the ranks' own, which are the host's. */
static fgsm_status sum_by_nccl(struct fg_ranks *ranks, enum fg_type type, int64_t n, void *x) {
  const struct fake_device *d =
      (const struct fake_device *)((char *)ranks - offsetof(struct fake_device, ranks));
  return fg_nccl_sum(d->nccl, type, n, x, x, NULL);
}

static fgsm_status join(struct fg_device *base, struct fg_ranks *ranks) {
  static const struct fg_ranks_kind by_nccl = {.name = "nccl", .sum = sum_by_nccl};
  struct fake_device *d = (struct fake_device *)base;
  d->ranks = *ranks;
  d->ranks.kind = &by_nccl;
  base->ranks = ranks;
  FG_TRY(fg_nccl_join(ranks, &d->nccl));
  return fake.inner->join(d->inner, &d->ranks);
}

const struct fg_backend fake_backend = {.name = "cuda",
                                        .real = FG_F32,
                                        .precisions =
                                            1u << FG_PRECISION_fp32 | 1u << FG_PRECISION_bf16,
                                        .count = count,
                                        .open = open_device,
                                        .close = close_device,
                                        .enter = enter,
                                        .describe = describe,
                                        .bus_id = bus_id,
                                        .join = join,
                                        .alloc = fake_alloc_device,
                                        .free = fake_free_device,
                                        .host_alloc = fake_alloc_pinned,
                                        .host_free = fake_free_pinned,
                                        .memory = fake_memory_info,
                                        .upload = fake_upload,
                                        .download = fake_download,
                                        .sync = fake_sync_stream,
                                        .stream_create = fake_stream_create,
                                        .stream_destroy = fake_stream_destroy,
                                        .event_create = fake_event_create,
                                        .event_destroy = fake_event_destroy,
                                        .event_record = fake_event_record,
                                        .event_wait = fake_event_wait,
                                        .event_sync = fake_event_sync,
                                        .event_query = fake_event_query,
                                        .capture_begin = fake_capture_begin,
                                        .capture_end = fake_capture_end,
                                        .replay = fake_replay,
                                        .recording_destroy = fake_recording_destroy,
                                        .kernels = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = &fake_kernel,
#include "ops.def"
#undef OP
                                        }};
