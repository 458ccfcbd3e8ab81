/* Samples that lie on the device already, attacked where they lie: wires are bound to the caller's memory,
 * and every pass is put on the caller's stream. Nothing is read back and, unless something fails, nothing
 * is waited for, so nothing is known here of what came of it. */
#include "view.h"

#include <stdlib.h>
#include <string.h>

#include "attacker.h"

/* What only views need; made by the first. */
struct fg_view_parts {
  struct fg_pass copy, narrow; /* x -> next; labels64 -> labels */
  void *done;                  /* event: the last view's work */
};

static fgsm_status make_pass(struct fg_attacker *a, const struct fg_recipe *recipe,
                             struct fg_pass *out) {
  FG_TRY(fg_pass_create(a, NULL, recipe, out));
  return fg_plan_place(out->plan, a->arena);
}

static fgsm_status make_parts(struct fg_attacker *a) {
  if (a->view)
    return FGSM_OK;
  a->view = calloc(1, sizeof *a->view);
  if (!a->view)
    return FG_FAIL(MEMORY, "no memory for a view");
  fgsm_status status = a->device->backend->event_create(a->device, &a->view->done);
  if (status == FGSM_OK)
    status = make_pass(a, &(struct fg_recipe){.copy = true}, &a->view->copy);
  if (status == FGSM_OK)
    status = make_pass(a, &(struct fg_recipe){.narrow = true}, &a->view->narrow);
  if (status != FGSM_OK)
    fg_view_destroy(a);
  return status;
}

void fg_view_destroy(struct fg_attacker *a) {
  const struct fg_backend *backend = a->device->backend;
  if (!a->view)
    return;
  if (a->view->done) {
    (void)!backend->event_sync(a->device, a->view->done); /* a failure was the caller's stream's */
    backend->event_destroy(a->device, a->view->done);
  }
  fg_plan_destroy(a->view->copy.plan);
  fg_plan_destroy(a->view->narrow.plan);
  free(a->view);
  a->view = NULL;
}

static fgsm_status check(const struct fg_attacker *a, const struct fg_view *view) {
  const struct fg_attack_spec *spec = &a->info.spec;
  if (spec->halvings || spec->restarts > 1)
    return FG_FAIL(USAGE,
                   "--attack %s%s looks at every sample's result, which a view does not bring "
                   "back; attack arrays",
                   spec->name, spec->restarts > 1 ? " with restarts" : "");
  if (a->labels_predicted || a->least_likely)
    return FG_FAIL(USAGE, "labels that the model predicts are not to be had with views: give them");
  if ((a->target >= 0) != (view->labels == NULL))
    return FG_FAIL(USAGE, a->target >= 0 ? "the target is one class for all: there are no labels"
                                         : "labels are missing");
  if (a->shape.type != FG_F32 || a->info.out_type != FG_F32 || a->real != FG_F32)
    return FG_FAIL(USAGE, "views are of float32, in and out, on a device that computes in it");
  return FGSM_OK;
}

/* The classes attacked, as the pass reads them, into *labels. Those of a strip, which lie in the host's memory,
 * are copied: they need not begin where a pass wants its buffers to begin. */
static fgsm_status take_labels(struct fg_attacker *a, const struct fg_view *view, int64_t n,
                               void **labels) {
  void *own = *labels;
  if (!own) /* noise that nobody looks at: no pass reads them */
    return FGSM_OK;
  bool copied = a->info.strip < a->info.batch;
  if (view->labels && view->labels_type == FG_I32 && !copied) {
    *labels = view->labels;
    return FGSM_OK;
  }
  if (view->labels && !copied) {
    a->wire[FG_WIRE_labels64] = view->labels;
    fgsm_status status = fg_pass_run(a, &a->view->narrow, NULL, NULL);
    a->wire[FG_WIRE_labels64] = NULL;
    return status;
  }
  for (int64_t s = 0; s < a->info.strip; s++) {
    int64_t from = s < n ? s : n - 1;
    a->labels[s] = !view->labels                 ? (int32_t)a->target
                   : view->labels_type == FG_I32 ? ((const int32_t *)view->labels)[from]
                                                 : (int32_t)((const int64_t *)view->labels)[from];
  }
  return fg_upload(a, own, a->labels, (size_t)a->info.strip * sizeof *a->labels);
}

/* The steps, from x to `end`. */
static fgsm_status climb(struct fg_attacker *a, void *x, void *end) {
  const struct fg_attack_spec *spec = &a->info.spec;
  if (spec->steps == 0)
    return fg_pass_run(a, &a->settle, x, end);
  for (int step = 0; step < spec->steps; step++) {
    bool rest = step > 0 && a->rest.plan;
    void *next = rest || step == spec->steps - 1 ? end : fg_run_other(a, x);
    fg_run_momentum(a, step);
    FG_TRY(fg_pass_run(a, rest ? &a->rest : &a->gradient, x, next));
    x = next;
    if (rest)
      break;
  }
  return FGSM_OK;
}

/* A strip, of which the first n samples count. */
static fgsm_status run(struct fg_attacker *a, const struct fg_view *view, int64_t n) {
  double params[FG_PARAM_COUNT];
  void *x = view->x, *to = view->x_adv;
  fg_run_params(a, a->info.eps[0], 1, a->info.spec.radius, 0, params);
  FG_TRY(fg_upload(a, a->wire[FG_WIRE_params], params, sizeof params));
  FG_TRY(take_labels(a, view, n, &a->wire[FG_WIRE_labels]));
  if (a->info.eps[0] == 0)
    return x == to ? FGSM_OK : fg_pass_run(a, &a->view->copy, x, to);
  if (a->wire[FG_WIRE_index]) {
    for (int64_t s = 0; s < a->info.strip; s++)
      a->index[s] = view->first_index + s;
    FG_TRY(
        fg_upload(a, a->wire[FG_WIRE_index], a->index, (size_t)a->info.strip * sizeof *a->index));
  }
  if (fg_has_start(a)) {
    FG_TRY(fg_pass_run(a, &a->start, NULL, a->ring[0]));
    x = a->ring[0];
  }
  if (view->x != to)
    return climb(a, x, to);
  /* The clean samples are read until the last step is done: it ends elsewhere, and is copied. */
  int steps = a->info.spec.steps, passes = steps > 2 && a->rest.plan ? 2 : steps > 0 ? steps : 1;
  void *end = a->ring[(passes - 1 + (x == a->ring[0])) % 2];
  FG_TRY(climb(a, x, end));
  return fg_pass_run(a, &a->view->copy, end, to);
}

/* All runs share one arena, so one begins when the last view's work is done, on whatever stream. */
fgsm_status fg_view_wait(struct fg_attacker *a, void *stream) {
  const struct fg_backend *backend = a->device->backend;
  return a->view ? backend->event_wait(a->device, a->view->done, stream) : FGSM_OK;
}

/* The strip of a view that begins with sample `at`. */
static struct fg_view strip_at(const struct fg_attacker *a, const struct fg_view *view,
                               int64_t at) {
  size_t from = (size_t)(at * a->count) * sizeof(float);
  struct fg_view strip = *view;
  strip.x = (char *)view->x + from;
  strip.x_adv = (char *)view->x_adv + from;
  if (view->labels)
    strip.labels = (char *)view->labels + (size_t)at * fg_type_size(view->labels_type);
  strip.first_index += at;
  return strip;
}

/* A strip of fewer samples at the end is attacked in `room`, in place, filled with the last of them. Copies are
 * the processor's: only devices that compute in the host's memory take strips. */
static fgsm_status run_strip(struct fg_attacker *a, const struct fg_view *view, int64_t at,
                             char *room) {
  size_t row = (size_t)a->count * sizeof(float);
  int64_t left = a->info.batch - at, n = left < a->info.strip ? left : a->info.strip;
  struct fg_view strip = strip_at(a, view, at);
  char *to = strip.x_adv;
  if (n < a->info.strip) {
    for (int64_t s = 0; s < a->info.strip; s++)
      memcpy(room + (size_t)s * row, (char *)strip.x + (size_t)(s < n ? s : n - 1) * row, row);
    strip.x = strip.x_adv = room;
  }
  a->wire[FG_WIRE_x0] = strip.x;
  FG_TRY(run(a, &strip, n));
  if (n < a->info.strip)
    memcpy(to, room, (size_t)n * row);
  return FGSM_OK;
}

static fgsm_status run_strips(struct fg_attacker *a, const struct fg_view *view) {
  void *x0 = a->wire[FG_WIRE_x0], *labels = a->wire[FG_WIRE_labels];
  fgsm_status status = FGSM_OK;
  for (int64_t at = 0; at < a->info.batch && status == FGSM_OK; at += a->info.strip) {
    status = run_strip(a, view, at, x0);
    a->wire[FG_WIRE_labels] = labels;
  }
  a->wire[FG_WIRE_x0] = x0;
  return status;
}

static fgsm_status put(struct fg_attacker *a, const struct fg_view *view) {
  FG_TRY(a->device->backend->enter(a->device));
  FG_TRY(make_parts(a));
  FG_TRY(fg_view_wait(a, view->stream));
  void *stream = a->stream[FG_TRAFFIC_compute];
  a->stream[FG_TRAFFIC_compute] = view->stream;
  fgsm_status status = run_strips(a, view);
  if (status == FGSM_OK)
    status = a->device->backend->event_record(a->device, a->view->done, view->stream);
  a->stream[FG_TRAFFIC_compute] = stream;
  return status;
}

/* A view that fails half-way leaves work on streams that no event follows: it is waited for, or it could outlive the
 * attack's memory and plans. The failure stays the view's. */
fgsm_status fg_attacker_run_view(struct fg_attacker *a, const struct fg_view *view) {
  FG_TRY(check(a, view));
  fgsm_status status = put(a, view);
  if (status == FGSM_OK)
    return FGSM_OK;
  char why[1024];
  fg_error_copy(why, sizeof why);
  fg_traffic_end(a);
  (void)!a->device->backend->sync(a->device, view->stream);
  return fg_error_restore(status, why);
}
