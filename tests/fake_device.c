/* The fake card. One lock guards every queue, event and count; work is done outside of it. */
#include "fake_device.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nccl.h"

enum kind { CALL, COPY, RECORD, WAIT, REPLAY };

/* One piece of work. */
struct item {
  enum kind kind;
  struct fg_call call;
  void *scratch;
  void *to, *snapshot; /* snapshot: a copy of what was not pinned, or NULL */
  const void *from;
  size_t bytes;
  struct event *event;
  uint64_t ticket; /* of the event */
  struct recording *recording;
};

struct event {
  uint64_t recorded, done; /* tickets */
  int uses;
};

struct recording {
  struct item *items;
  int n, capacity, uses;
};

struct stream {
  struct device *device;
  pthread_t thread;
  struct item *items;
  int64_t head, tail, capacity; /* items[head % capacity] .. */
  struct recording *capturing;
  bool busy, closing;
};

struct device {
  struct fg_device base;
  struct fg_device *inner;
  struct fg_ranks ranks; /* what the inner device joins: these sum by NCCL */
  fg_nccl nccl;
  struct stream *own;
  int64_t pending; /* pieces of work not settled yet */
  fgsm_status failed;
  char words[256];
};

struct pinned {
  struct pinned *next;
  char *memory;
  size_t bytes;
};

enum point { OPEN, ALLOC, HOST_ALLOC, UPLOAD, DOWNLOAD, RUN, EVENT, SYNC, CAPTURE, PLAY, N_POINTS };
static const char *const point_names[] = {"open", "alloc", "host_alloc", "upload",  "download",
                                          "run",  "event", "sync",       "capture", "replay"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
  const struct fg_backend *inner;
  int devices, lanes, delay, fail_point;
  size_t memory, used; /* bytes of each card; of all of them */
  long fail_at, calls[N_POINTS], overlaps, replays, uploaded, pending;
  bool records, read;
  unsigned seed;
  int working; /* streams at work now */
  int made_devices, made_streams, made_events, made_recordings, made_memory, made_pinned;
  struct pinned *pinned;
} fake;
static _Thread_local struct device *entered;

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
    size_t n = strlen(point_names[p]);
    if (strncmp(fail, point_names[p], n) == 0 && fail[n] == ':') {
      fake.fail_point = p;
      fake.fail_at = atol(fail + n + 1);
    }
  }
  fake.read = true;
}

void fake_reset(void) {
  pthread_mutex_lock(&lock);
  memset(fake.calls, 0, sizeof fake.calls);
  fake.overlaps = fake.replays = fake.uploaded = 0;
  read_settings();
  pthread_mutex_unlock(&lock);
}

const char *fake_leaks(void) {
  static char text[256];
  pthread_mutex_lock(&lock);
  *text = 0;
  if (fake.made_devices || fake.made_streams || fake.made_events || fake.made_recordings ||
      fake.made_memory || fake.made_pinned)
    snprintf(text, sizeof text,
             "devices %d, streams %d, events %d, recordings %d, memory %d, pinned %d",
             fake.made_devices, fake.made_streams, fake.made_events, fake.made_recordings,
             fake.made_memory, fake.made_pinned);
  pthread_mutex_unlock(&lock);
  return text;
}

static long count_of(const long *count) {
  pthread_mutex_lock(&lock);
  long n = *count;
  pthread_mutex_unlock(&lock);
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

/* Under the lock: counts the call, and says whether it is the one that fails. */
static bool fails(enum point p) {
  return ++fake.calls[p] == fake.fail_at && fake.fail_point == (int)p;
}

/* Under the lock. */
static void lose(struct device *d, fgsm_status status, const char *words) {
  if (d->failed != FGSM_OK)
    return;
  d->failed = status;
  snprintf(d->words, sizeof d->words, "%s", words);
  pthread_cond_broadcast(&changed); /* nobody waits for what does not come any more */
}

static fgsm_status lost(const struct device *d) {
  return d->failed == FGSM_OK
             ? FGSM_OK
             : fg_fail(d->failed, __FILE__, __LINE__, "fake card lost: %s", d->words);
}

/* Locks, unless the device is lost or this call is the one that loses it. */
static fgsm_status begin(struct device *d, enum point p) {
  pthread_mutex_lock(&lock);
  if (d->failed == FGSM_OK && fails(p))
    lose(d, FGSM_DEVICE, point_names[p]);
  fgsm_status status = lost(d);
  if (status != FGSM_OK)
    pthread_mutex_unlock(&lock);
  return status;
}

/* ---- streams: work in order, each piece after a while */

static void nap(unsigned *seed) {
  int most = fake.delay; /* constant while devices are open */
  if (most > 0 && rand_r(seed) % 3 == 0)
    nanosleep(&(struct timespec){.tv_nsec = 1000L * (rand_r(seed) % (most + 1))}, NULL);
}

/* To 8 binary digits, in a type that holds more. */
static void coarsen(const struct fg_tensor *t) {
  for (int64_t i = 0; i < fg_count(t); i++) {
    int exponent;
    double v = t->type == FG_F64 ? ((double *)t->data)[i] : ((float *)t->data)[i];
    double digits = isfinite(v) ? ldexp(nearbyint(ldexp(frexp(v, &exponent), 8)), -8) : 0;
    v = isfinite(v) ? ldexp(digits, exponent) : v;
    if (t->type == FG_F64)
      ((double *)t->data)[i] = v;
    else
      ((float *)t->data)[i] = (float)v;
  }
}

static fgsm_status compute(const struct device *d, struct item *item) {
  enum fg_op op = item->call.op;
  FG_TRY(fake.inner->kernels[op]->run(&item->call, item->scratch, NULL));
  if (d->base.precision == FG_PRECISION_bf16 &&
      (op == FG_OP_conv || op == FG_OP_conv_grad_input || op == FG_OP_matmul))
    coarsen(&item->call.out[0]);
  return FGSM_OK;
}

static void drop_recording(struct recording *r) { /* under the lock */
  if (--r->uses > 0)
    return;
  free(r->items);
  free(r);
}

static void drop_event(struct event *e) { /* under the lock */
  if (--e->uses == 0)
    free(e);
}

/* Does the work; called without the lock. */
static fgsm_status perform(const struct device *d, struct item *item) {
  fgsm_status status = FGSM_OK;
  if (item->kind == CALL)
    status = compute(d, item);
  else if (item->kind == COPY && item->bytes)
    memcpy(item->to, item->snapshot ? item->snapshot : item->from, item->bytes);
  else if (item->kind == REPLAY)
    for (int i = 0; i < item->recording->n && status == FGSM_OK; i++)
      status = compute(d, &item->recording->items[i]);
  return status;
}

/* Under the lock: what must be true after an item, whether or not it was performed. */
static void settle(struct item *item) {
  if (item->kind == RECORD && item->event->done < item->ticket)
    item->event->done = item->ticket;
  if (item->event)
    drop_event(item->event);
  if (item->recording)
    drop_recording(item->recording);
  free(item->snapshot);
}

static void work_off(struct stream *s, struct item *item, unsigned *seed) {
  struct device *d = s->device;
  while (item->kind == WAIT && item->event->done < item->ticket && d->failed == FGSM_OK)
    pthread_cond_wait(&changed, &lock);
  if (d->failed != FGSM_OK || item->kind == WAIT || item->kind == RECORD)
    return;
  bool fail = (item->kind == CALL || item->kind == REPLAY) && fails(RUN);
  fake.overlaps += fake.working > 0;
  fake.working++;
  pthread_mutex_unlock(&lock);
  nap(seed);
  fgsm_status status = fail ? FG_FAIL(DEVICE, "run") : perform(d, item);
  char words[256];
  snprintf(words, sizeof words, "a kernel failed (%s)", fail ? "on purpose" : "by itself");
  pthread_mutex_lock(&lock);
  fake.working--;
  if (status != FGSM_OK)
    lose(d, FGSM_DEVICE, words);
}

static void *stream_main(void *argument) {
  struct stream *s = argument;
  pthread_mutex_lock(&lock);
  unsigned seed = ++fake.seed;
  pthread_mutex_unlock(&lock);
  (void)!fake.inner->enter(s->device->inner);
  pthread_mutex_lock(&lock);
  for (;;) {
    while (s->head == s->tail && !s->closing)
      pthread_cond_wait(&changed, &lock);
    if (s->head == s->tail)
      break;
    struct item item = s->items[s->head % s->capacity];
    s->busy = true;
    s->head++;
    work_off(s, &item, &seed);
    settle(&item);
    s->device->pending--;
    fake.pending--;
    s->busy = false;
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

/* Under the lock; or into the recording that the stream is capturing. */
static void enqueue(struct stream *s, const struct item *item) {
  struct recording *r = s->capturing;
  if (r) {
    if (r->n == r->capacity) {
      r->capacity = 2 * r->capacity + 16;
      r->items = realloc(r->items, (size_t)r->capacity * sizeof *r->items);
    }
    r->items[r->n++] = *item;
    return;
  }
  if (s->tail - s->head == s->capacity) {
    struct item *more = malloc((size_t)(2 * s->capacity + 16) * sizeof *more);
    for (int64_t i = s->head; i < s->tail; i++)
      more[i - s->head] = s->items[i % s->capacity];
    free(s->items);
    s->items = more;
    s->capacity = 2 * s->capacity + 16;
    s->tail -= s->head;
    s->head = 0;
  }
  s->items[s->tail++ % s->capacity] = *item;
  s->device->pending++;
  fake.pending++;
  pthread_cond_broadcast(&changed);
}

static struct stream *stream_of(struct device *d, void *stream) {
  return stream ? stream : d->own;
}

static struct stream *start_stream(struct device *d) {
  struct stream *s = calloc(1, sizeof *s);
  s->device = d;
  pthread_create(&s->thread, NULL, stream_main, s);
  return s;
}

/* What is on it is done first, as on a card. */
static void end_stream(struct stream *s) {
  pthread_mutex_lock(&lock);
  s->closing = true;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(s->thread, NULL);
  free(s->items);
  free(s);
}

static fgsm_status stream_create(struct fg_device *base, void **out) {
  struct device *d = (struct device *)base;
  FG_TRY(begin(d, EVENT));
  fake.made_streams++;
  pthread_mutex_unlock(&lock);
  *out = start_stream(d);
  return FGSM_OK;
}

static void stream_destroy(struct fg_device *base, void *stream) {
  (void)base;
  if (!stream)
    return;
  end_stream(stream);
  pthread_mutex_lock(&lock);
  fake.made_streams--;
  pthread_mutex_unlock(&lock);
}

static fgsm_status sync_stream(struct fg_device *base, void *stream) {
  struct device *d = (struct device *)base;
  struct stream *s = stream_of(d, stream);
  pthread_mutex_lock(&lock);
  if (fails(SYNC))
    lose(d, FGSM_DEVICE, point_names[SYNC]);
  while (s->head < s->tail || s->busy)
    pthread_cond_wait(&changed, &lock);
  fgsm_status status = lost(d);
  pthread_mutex_unlock(&lock);
  return status;
}

/* ---- events */

static fgsm_status event_create(struct fg_device *base, void **out) {
  FG_TRY(begin((struct device *)base, EVENT));
  struct event *e = calloc(1, sizeof *e);
  e->uses = 1;
  fake.made_events++;
  *out = e;
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static void event_destroy(struct fg_device *base, void *event) {
  (void)base;
  if (!event)
    return;
  pthread_mutex_lock(&lock);
  fake.made_events--;
  drop_event(event);
  pthread_mutex_unlock(&lock);
}

static fgsm_status event_record(struct fg_device *base, void *event, void *stream) {
  struct device *d = (struct device *)base;
  struct event *e = event;
  FG_TRY(begin(d, EVENT));
  e->uses++;
  enqueue(stream_of(d, stream),
          &(struct item){.kind = RECORD, .event = e, .ticket = ++e->recorded});
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static fgsm_status event_wait(struct fg_device *base, void *event, void *stream) {
  struct device *d = (struct device *)base;
  struct event *e = event;
  FG_TRY(begin(d, EVENT));
  e->uses++;
  enqueue(stream_of(d, stream), &(struct item){.kind = WAIT, .event = e, .ticket = e->recorded});
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static fgsm_status event_sync(struct fg_device *base, void *event) {
  struct device *d = (struct device *)base;
  struct event *e = event;
  pthread_mutex_lock(&lock);
  if (fails(SYNC))
    lose(d, FGSM_DEVICE, point_names[SYNC]);
  uint64_t ticket = e->recorded;
  while (e->done < ticket) /* a lost card's events come too: what is left of it is passed over */
    pthread_cond_wait(&changed, &lock);
  fgsm_status status = lost(d);
  pthread_mutex_unlock(&lock);
  return status;
}

static fgsm_status event_query(struct fg_device *base, void *event, bool *done) {
  struct event *e = event;
  FG_TRY(begin((struct device *)base, EVENT));
  *done = e->done >= e->recorded;
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

/* ---- memory */

static fgsm_status allocate(struct fg_device *base, enum point p, size_t bytes, void **out) {
  struct device *d = (struct device *)base;
  pthread_mutex_lock(&lock);
  bool full = d->failed == FGSM_OK && fails(p);
  fgsm_status status = full ? FG_FAIL(MEMORY, "fake card: no memory, on purpose") : lost(d);
  pthread_mutex_unlock(&lock);
  FG_TRY(status);
  *out = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
  memset(*out, 0xFF, (bytes + 63) / 64 * 64 + 64);
  return FGSM_OK;
}

/* In front of a card's memory stands its size. */
enum { HEAD = 64 };

static fgsm_status alloc_device(struct fg_device *base, size_t bytes, void **out) {
  void *memory;
  pthread_mutex_lock(&lock);
  bool full = bytes > fake.memory || fake.used > fake.memory - bytes;
  pthread_mutex_unlock(&lock);
  if (full)
    return FG_FAIL(MEMORY, "fake card: no %zu bytes left", bytes);
  FG_TRY(allocate(base, ALLOC, bytes + HEAD, &memory));
  memcpy(memory, &bytes, sizeof bytes);
  *out = (char *)memory + HEAD;
  pthread_mutex_lock(&lock);
  fake.made_memory++;
  fake.used += bytes;
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

/* Freeing waits for the device's work, as a card's does: nothing reads what is gone. */
static void free_device(struct fg_device *base, void *memory) {
  struct device *d = (struct device *)base;
  if (!memory)
    return;
  size_t bytes;
  char *start = (char *)memory - HEAD;
  memcpy(&bytes, start, sizeof bytes);
  pthread_mutex_lock(&lock);
  fake.made_memory--;
  fake.used -= bytes;
  while (d->pending > 0)
    pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  free(start);
}

static fgsm_status alloc_pinned(struct fg_device *base, size_t bytes, void **out) {
  FG_TRY(allocate(base, HOST_ALLOC, bytes, out));
  struct pinned *p = malloc(sizeof *p);
  pthread_mutex_lock(&lock);
  *p = (struct pinned){fake.pinned, *out, bytes};
  fake.pinned = p;
  fake.made_pinned++;
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static void free_pinned(struct fg_device *base, void *memory) {
  (void)base;
  if (!memory)
    return;
  pthread_mutex_lock(&lock);
  for (struct pinned **p = &fake.pinned; *p; p = &(*p)->next)
    if ((*p)->memory == (char *)memory) {
      struct pinned *gone = *p;
      *p = gone->next;
      free(gone);
      fake.made_pinned--;
      break;
    }
  pthread_mutex_unlock(&lock);
  free(memory);
}

static bool is_pinned(const void *memory) { /* under the lock */
  for (const struct pinned *p = fake.pinned; p; p = p->next)
    if ((const char *)memory >= p->memory && (const char *)memory < p->memory + p->bytes)
      return true;
  return false;
}

static fgsm_status memory_info(struct fg_device *base, size_t *free_bytes, size_t *total) {
  (void)base;
  pthread_mutex_lock(&lock);
  *total = fake.memory;
  *free_bytes = fake.used < fake.memory ? fake.memory - fake.used : 0;
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static fgsm_status upload(struct fg_device *base, void *to, const void *from, size_t bytes,
                          void *stream) {
  struct device *d = (struct device *)base;
  FG_TRY(begin(d, UPLOAD));
  struct item item = {.kind = COPY, .to = to, .from = from, .bytes = bytes};
  if (!is_pinned(from) && bytes) {
    item.snapshot = malloc(bytes);
    memcpy(item.snapshot, from, bytes);
  } else {
    fake.uploaded += (long)bytes;
  }
  enqueue(stream_of(d, stream), &item);
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static fgsm_status download(struct fg_device *base, void *to, const void *from, size_t bytes,
                            void *stream) {
  struct device *d = (struct device *)base;
  FG_TRY(begin(d, DOWNLOAD));
  enqueue(stream_of(d, stream),
          &(struct item){.kind = COPY, .to = to, .from = from, .bytes = bytes});
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

/* ---- recordings */

static fgsm_status capture_begin(struct fg_device *base, void *stream) {
  struct device *d = (struct device *)base;
  if (!fake.records)
    return FG_FAIL(UNSUPPORTED, "fake card: no recordings");
  FG_TRY(begin(d, CAPTURE));
  struct recording *r = calloc(1, sizeof *r);
  r->uses = 1;
  fake.made_recordings++;
  stream_of(d, stream)->capturing = r;
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static fgsm_status capture_end(struct fg_device *base, void *stream, void **recording) {
  struct device *d = (struct device *)base;
  struct stream *s = stream_of(d, stream);
  pthread_mutex_lock(&lock);
  struct recording *r = s->capturing;
  s->capturing = NULL;
  fgsm_status status = lost(d);
  if (status == FGSM_OK) {
    *recording = r;
  } else {
    fake.made_recordings--;
    drop_recording(r);
  }
  pthread_mutex_unlock(&lock);
  return status;
}

static fgsm_status replay(struct fg_device *base, void *recording, void *stream) {
  struct device *d = (struct device *)base;
  struct recording *r = recording;
  FG_TRY(begin(d, PLAY));
  r->uses++;
  fake.replays++;
  enqueue(stream_of(d, stream), &(struct item){.kind = REPLAY, .recording = r});
  pthread_mutex_unlock(&lock);
  return FGSM_OK;
}

static void recording_destroy(struct fg_device *base, void *recording) {
  (void)base;
  pthread_mutex_lock(&lock);
  fake.made_recordings--;
  drop_recording(recording);
  pthread_mutex_unlock(&lock);
}

/* ---- kernels: the inner ones, put on a stream. The call is copied, as a launch copies arguments. */

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  const struct fg_kernel *inner = fake.inner->kernels[call->op];
  struct device *d = (struct device *)device;
  d->inner->convolutions = device->convolutions;
  return inner->prepare ? inner->prepare(call, d->inner) : FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct device *d = stream ? ((struct stream *)stream)->device : entered;
  pthread_mutex_lock(&lock);
  fgsm_status status = lost(d);
  if (status == FGSM_OK)
    enqueue(stream_of(d, stream), &(struct item){.kind = CALL, .call = *call, .scratch = scratch});
  pthread_mutex_unlock(&lock);
  return status;
}

static void release(struct fg_call *call) {
  const struct fg_kernel *inner = fake.inner->kernels[call->op];
  if (inner->release)
    inner->release(call);
}

/* ---- the device */

static struct fg_backend live; /* fake_backend with the inner one's traits */

static fgsm_status count(int *n) {
  pthread_mutex_lock(&lock);
  if (!fake.read)
    read_settings();
  *n = fake.devices;
  pthread_mutex_unlock(&lock);
  return *n > 0 ? FGSM_OK : FG_FAIL(DEVICE, "fake card: there is none");
}

static void close_device(struct fg_device *base) {
  struct device *d = (struct device *)base;
  if (!d)
    return;
  end_stream(d->own);
  fg_nccl_part(d->nccl);
  fake.inner->close(d->inner);
  pthread_mutex_lock(&lock);
  fake.made_devices--;
  pthread_mutex_unlock(&lock);
  free(d);
}

static fgsm_status open_device(int index, int threads, struct fg_device **out) {
  int n;
  FG_TRY(count(&n));
  pthread_mutex_lock(&lock);
  bool fail = index >= n || fails(OPEN);
  if (!fake.made_devices) { /* others are reading it */
    live = fake_backend;
    live.real = fake.inner->real;
    live.takes_layout = fake.inner->takes_layout;
    for (int op = 0; op < FG_OP_COUNT; op++)
      if (!fake.inner->kernels[op]->run)
        live.kernels[op] = fake.inner->kernels[op]; /* a gap */
  }
  pthread_mutex_unlock(&lock);
  if (fail)
    return FG_FAIL(DEVICE, "fake card %d does not open", index);
  struct device *d = calloc(1, sizeof *d);
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
  d->own = start_stream(d);
  pthread_mutex_lock(&lock);
  fake.made_devices++;
  pthread_mutex_unlock(&lock);
  *out = &d->base;
  return FGSM_OK;
}

static fgsm_status enter(struct fg_device *base) {
  entered = (struct device *)base;
  FG_TRY(fake.inner->enter(entered->inner)); /* prepare may compute */
  pthread_mutex_lock(&lock);
  fgsm_status status = lost(entered);
  pthread_mutex_unlock(&lock);
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
  const struct device *d = (const struct device *)((char *)ranks - offsetof(struct device, ranks));
  return fg_nccl_sum(d->nccl, type, n, x, x, NULL);
}

static fgsm_status join(struct fg_device *base, struct fg_ranks *ranks) {
  static const struct fg_ranks_kind by_nccl = {.name = "nccl", .sum = sum_by_nccl};
  struct device *d = (struct device *)base;
  d->ranks = *ranks;
  d->ranks.kind = &by_nccl;
  base->ranks = ranks;
  FG_TRY(fg_nccl_join(ranks, &d->nccl));
  return fake.inner->join(d->inner, &d->ranks);
}

static const struct fg_kernel kernel = {prepare, run, release};

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
                                        .alloc = alloc_device,
                                        .free = free_device,
                                        .host_alloc = alloc_pinned,
                                        .host_free = free_pinned,
                                        .memory = memory_info,
                                        .upload = upload,
                                        .download = download,
                                        .sync = sync_stream,
                                        .stream_create = stream_create,
                                        .stream_destroy = stream_destroy,
                                        .event_create = event_create,
                                        .event_destroy = event_destroy,
                                        .event_record = event_record,
                                        .event_wait = event_wait,
                                        .event_sync = event_sync,
                                        .event_query = event_query,
                                        .capture_begin = capture_begin,
                                        .capture_end = capture_end,
                                        .replay = replay,
                                        .recording_destroy = recording_destroy,
                                        .kernels = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = &kernel,
#include "ops.def"
#undef OP
                                        }};
