/* Samples that lie on the device already, attacked where they lie: wires are bound to the caller's memory,
 * and every pass is put on the caller's stream. Nothing is read back and nothing is waited for, so
 * nothing is known here of what came of it. */
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

/* The classes attacked, as the pass reads them, into *labels. */
static fgsm_status take_labels(struct fg_attacker *a, const struct fg_view *view, void **labels) {
  void *own = *labels;
  if (view->labels && view->labels_type == FG_I32) {
    *labels = view->labels;
    return FGSM_OK;
  }
  if (view->labels) {
    a->wire[FG_WIRE_labels64] = view->labels;
    fgsm_status status = fg_pass_run(a, &a->view->narrow, NULL, NULL);
    a->wire[FG_WIRE_labels64] = NULL;
    return status;
  }
  for (int64_t s = 0; s < a->info.batch; s++)
    a->labels[s] = (int32_t)a->target;
  return fg_upload(a, own, a->labels, (size_t)a->info.batch * sizeof *a->labels);
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

static fgsm_status run(struct fg_attacker *a, const struct fg_view *view) {
  double params[FG_PARAM_COUNT];
  void *x = view->x, *to = view->x_adv;
  fg_run_params(a, a->info.eps[0], 1, a->info.spec.radius, 0, params);
  FG_TRY(fg_upload(a, a->wire[FG_WIRE_params], params, sizeof params));
  FG_TRY(take_labels(a, view, &a->wire[FG_WIRE_labels]));
  if (a->info.eps[0] == 0)
    return x == to ? FGSM_OK : fg_pass_run(a, &a->view->copy, x, to);
  if (a->wire[FG_WIRE_index]) {
    for (int64_t s = 0; s < a->info.batch; s++)
      a->index[s] = view->first_index + s;
    FG_TRY(
        fg_upload(a, a->wire[FG_WIRE_index], a->index, (size_t)a->info.batch * sizeof *a->index));
  }
  if (a->info.spec.start != FG_START_none) {
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

fgsm_status fg_attacker_run_view(struct fg_attacker *a, const struct fg_view *view) {
  FG_TRY(check(a, view));
  FG_TRY(a->device->backend->enter(a->device));
  FG_TRY(make_parts(a));
  FG_TRY(fg_view_wait(a, view->stream));
  void *own[] = {a->wire[FG_WIRE_x0], a->wire[FG_WIRE_labels], a->stream[FG_TRAFFIC_compute]};
  a->wire[FG_WIRE_x0] = view->x;
  a->stream[FG_TRAFFIC_compute] = view->stream;
  fgsm_status status = run(a, view);
  if (status == FGSM_OK)
    status = a->device->backend->event_record(a->device, a->view->done, view->stream);
  a->wire[FG_WIRE_x0] = own[0];
  a->wire[FG_WIRE_labels] = own[1];
  a->stream[FG_TRAFFIC_compute] = own[2];
  return status;
}
