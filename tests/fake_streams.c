/* The fake card's streams: queues, each with a thread that works it off, events that order them, recordings,
 * and kernels, which are put on them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_card.h"

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

struct fake_stream {
  struct fake_device *device;
  pthread_t thread;
  struct item *items;
  int64_t head, tail, capacity; /* items[head % capacity] .. */
  struct recording *capturing;
  bool busy, closing;
};

/* ---- work in order, each piece after a while */

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

static fgsm_status compute(const struct fake_device *d, struct item *item) {
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
static fgsm_status perform(const struct fake_device *d, struct item *item) {
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

static void work_off(struct fake_stream *s, struct item *item, unsigned *seed) {
  struct fake_device *d = s->device;
  while (item->kind == WAIT && item->event->done < item->ticket && d->failed == FGSM_OK)
    pthread_cond_wait(&fake.changed, &fake.lock);
  if (d->failed != FGSM_OK || item->kind == WAIT || item->kind == RECORD)
    return;
  bool fail = (item->kind == CALL || item->kind == REPLAY) && fake_fails(RUN);
  fake.overlaps += fake.working > 0;
  fake.working++;
  pthread_mutex_unlock(&fake.lock);
  nap(seed);
  fgsm_status status = fail ? FG_FAIL(DEVICE, "run") : perform(d, item);
  char words[256];
  snprintf(words, sizeof words, "a kernel failed (%s)", fail ? "on purpose" : "by itself");
  pthread_mutex_lock(&fake.lock);
  fake.working--;
  if (status != FGSM_OK)
    fake_lose(d, FGSM_DEVICE, words);
}

static void *stream_main(void *argument) {
  struct fake_stream *s = argument;
  pthread_mutex_lock(&fake.lock);
  unsigned seed = ++fake.seed;
  pthread_mutex_unlock(&fake.lock);
  (void)!fake.inner->enter(s->device->inner);
  pthread_mutex_lock(&fake.lock);
  for (;;) {
    while (s->head == s->tail && !s->closing)
      pthread_cond_wait(&fake.changed, &fake.lock);
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
    pthread_cond_broadcast(&fake.changed);
  }
  pthread_mutex_unlock(&fake.lock);
  return NULL;
}

/* Under the lock; or into the recording that the stream is capturing. */
static void enqueue(struct fake_stream *s, const struct item *item) {
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
  pthread_cond_broadcast(&fake.changed);
}

static struct fake_stream *stream_of(struct fake_device *d, void *stream) {
  return stream ? stream : d->own;
}

void fake_put_copy(struct fake_device *d, void *stream, void *to, const void *from, void *snapshot,
                   size_t bytes) {
  enqueue(
      stream_of(d, stream),
      &(struct item){.kind = COPY, .to = to, .from = from, .snapshot = snapshot, .bytes = bytes});
}

struct fake_stream *fake_start_stream(struct fake_device *d) {
  struct fake_stream *s = calloc(1, sizeof *s);
  s->device = d;
  pthread_create(&s->thread, NULL, stream_main, s);
  return s;
}

void fake_end_stream(struct fake_stream *s) {
  pthread_mutex_lock(&fake.lock);
  s->closing = true;
  pthread_cond_broadcast(&fake.changed);
  pthread_mutex_unlock(&fake.lock);
  pthread_join(s->thread, NULL);
  free(s->items);
  free(s);
}

fgsm_status fake_stream_create(struct fg_device *base, void **out) {
  struct fake_device *d = (struct fake_device *)base;
  FG_TRY(fake_begin(d, EVENT));
  fake.made_streams++;
  pthread_mutex_unlock(&fake.lock);
  *out = fake_start_stream(d);
  return FGSM_OK;
}

void fake_stream_destroy(struct fg_device *base, void *stream) {
  (void)base;
  if (!stream)
    return;
  fake_end_stream(stream);
  pthread_mutex_lock(&fake.lock);
  fake.made_streams--;
  pthread_mutex_unlock(&fake.lock);
}

fgsm_status fake_sync_stream(struct fg_device *base, void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  struct fake_stream *s = stream_of(d, stream);
  pthread_mutex_lock(&fake.lock);
  if (fake_fails(SYNC))
    fake_lose(d, FGSM_DEVICE, fake_point_names[SYNC]);
  while (s->head < s->tail || s->busy)
    pthread_cond_wait(&fake.changed, &fake.lock);
  fgsm_status status = fake_lost(d);
  pthread_mutex_unlock(&fake.lock);
  return status;
}

/* ---- events */

fgsm_status fake_event_create(struct fg_device *base, void **out) {
  FG_TRY(fake_begin((struct fake_device *)base, EVENT));
  struct event *e = calloc(1, sizeof *e);
  e->uses = 1;
  fake.made_events++;
  *out = e;
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

void fake_event_destroy(struct fg_device *base, void *event) {
  (void)base;
  if (!event)
    return;
  pthread_mutex_lock(&fake.lock);
  fake.made_events--;
  drop_event(event);
  pthread_mutex_unlock(&fake.lock);
}

fgsm_status fake_event_record(struct fg_device *base, void *event, void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  struct event *e = event;
  FG_TRY(fake_begin(d, EVENT));
  e->uses++;
  enqueue(stream_of(d, stream),
          &(struct item){.kind = RECORD, .event = e, .ticket = ++e->recorded});
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

fgsm_status fake_event_wait(struct fg_device *base, void *event, void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  struct event *e = event;
  FG_TRY(fake_begin(d, EVENT));
  e->uses++;
  enqueue(stream_of(d, stream), &(struct item){.kind = WAIT, .event = e, .ticket = e->recorded});
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

fgsm_status fake_event_sync(struct fg_device *base, void *event) {
  struct fake_device *d = (struct fake_device *)base;
  struct event *e = event;
  pthread_mutex_lock(&fake.lock);
  if (fake_fails(SYNC))
    fake_lose(d, FGSM_DEVICE, fake_point_names[SYNC]);
  uint64_t ticket = e->recorded;
  while (e->done < ticket) /* a lost card's events come too: what is left of it is passed over */
    pthread_cond_wait(&fake.changed, &fake.lock);
  fgsm_status status = fake_lost(d);
  pthread_mutex_unlock(&fake.lock);
  return status;
}

fgsm_status fake_event_query(struct fg_device *base, void *event, bool *done) {
  struct event *e = event;
  FG_TRY(fake_begin((struct fake_device *)base, EVENT));
  *done = e->done >= e->recorded;
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

/* ---- recordings */

fgsm_status fake_capture_begin(struct fg_device *base, void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  if (!fake.records)
    return FG_FAIL(UNSUPPORTED, "fake card: no recordings");
  FG_TRY(fake_begin(d, CAPTURE));
  struct recording *r = calloc(1, sizeof *r);
  r->uses = 1;
  fake.made_recordings++;
  stream_of(d, stream)->capturing = r;
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

fgsm_status fake_capture_end(struct fg_device *base, void *stream, void **recording) {
  struct fake_device *d = (struct fake_device *)base;
  struct fake_stream *s = stream_of(d, stream);
  pthread_mutex_lock(&fake.lock);
  struct recording *r = s->capturing;
  s->capturing = NULL;
  fgsm_status status = fake_lost(d);
  if (status == FGSM_OK) {
    *recording = r;
  } else {
    fake.made_recordings--;
    drop_recording(r);
  }
  pthread_mutex_unlock(&fake.lock);
  return status;
}

fgsm_status fake_replay(struct fg_device *base, void *recording, void *stream) {
  struct fake_device *d = (struct fake_device *)base;
  struct recording *r = recording;
  FG_TRY(fake_begin(d, PLAY));
  r->uses++;
  fake.replays++;
  enqueue(stream_of(d, stream), &(struct item){.kind = REPLAY, .recording = r});
  pthread_mutex_unlock(&fake.lock);
  return FGSM_OK;
}

void fake_recording_destroy(struct fg_device *base, void *recording) {
  (void)base;
  pthread_mutex_lock(&fake.lock);
  fake.made_recordings--;
  drop_recording(recording);
  pthread_mutex_unlock(&fake.lock);
}

/* ---- kernels: the inner ones, put on a stream. The call is copied, as a launch copies arguments. */

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  const struct fg_kernel *inner = fake.inner->kernels[call->op];
  struct fake_device *d = (struct fake_device *)device;
  d->inner->convolutions = device->convolutions;
  return inner->prepare ? inner->prepare(call, d->inner) : FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct fake_device *d = stream ? ((struct fake_stream *)stream)->device : fake_entered;
  pthread_mutex_lock(&fake.lock);
  fgsm_status status = fake_lost(d);
  if (status == FGSM_OK)
    enqueue(stream_of(d, stream), &(struct item){.kind = CALL, .call = *call, .scratch = scratch});
  pthread_mutex_unlock(&fake.lock);
  return status;
}

static void release(struct fg_call *call) {
  const struct fg_kernel *inner = fake.inner->kernels[call->op];
  if (inner->release)
    inner->release(call);
}

const struct fg_kernel fake_kernel = {prepare, run, release};
