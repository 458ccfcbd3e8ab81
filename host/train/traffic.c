/* Between host and device: an engine's one stream. What changes from step to step (rates, the attack's
 * parameters, keys of noise, labels) lies in one block of memory and travels in one transfer, so that
 * the passes of a step can be recorded once, and replayed. The host waits where it looks at losses. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

enum { ALIGN = 64 };

fgsm_status fg_train_traffic_begin(struct fg_engine *e) {
  const struct fg_backend *backend = e->device->backend;
  FG_TRY(backend->enter(e->device));
  FG_TRY(backend->stream_create(e->device, &e->stream));
  FG_TRY(backend->event_create(e->device, &e->sent));
  e->records = e->stream && backend->capture_begin;
  for (int i = 0; i < FG_TRAIN_SEEN; i++)
    FG_TRY(backend->host_alloc(e->device, (size_t)e->batch * sizeof(double), &e->seen[i]));
  return FGSM_OK;
}

void fg_train_traffic_end(struct fg_engine *e) {
  const struct fg_backend *backend = e->device->backend;
  (void)!backend->enter(e->device); /* a lost one too: what follows cannot fail */
  if (e->stream)
    (void)!backend->sync(e->device, e->stream);
  for (int i = 0; i <= FG_CAUTION_MOST; i++)
    if (e->recordings[i].handle)
      backend->recording_destroy(e->device, e->recordings[i].handle);
  for (int i = 0; i < FG_TRAIN_SEEN; i++)
    backend->host_free(e->device, e->seen[i]);
  backend->host_free(e->device, e->stage);
  if (e->sent)
    backend->event_destroy(e->device, e->sent);
  if (e->stream)
    backend->stream_destroy(e->device, e->stream);
}

/* ---- wires */

bool fg_train_uses(const struct fg_engine *e, enum fg_train_wire wire) {
  bool ring = wire == FG_TRAIN_x || wire == FG_TRAIN_next;
  for (int i = 0; i < FG_TRAIN_PARTS && !ring; i++)
    if (e->pass[i].plan && e->pass[i].wire[wire] != FG_ABSENT)
      return true;
  return false;
}

static bool is_control(int wire) {
  return wire == FG_TRAIN_params || wire == FG_TRAIN_eta || wire == FG_TRAIN_rates ||
         wire == FG_TRAIN_scale || wire == FG_TRAIN_labels || wire == FG_TRAIN_index;
}

static fgsm_status make_control(struct fg_engine *e) {
  const struct fg_backend *backend = e->device->backend;
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (is_control(w) && fg_train_uses(e, (enum fg_train_wire)w)) {
      e->at[w] = e->control_bytes;
      e->control_bytes +=
          (fg_train_wire_bytes(e, (enum fg_train_wire)w) + ALIGN - 1) / ALIGN * ALIGN;
    }
  FG_TRY(backend->alloc(e->device, e->control_bytes, &e->control));
  FG_TRY(backend->host_alloc(e->device, e->control_bytes, &e->stage));
  memset(e->stage, 0, e->control_bytes);
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (is_control(w) && fg_train_uses(e, (enum fg_train_wire)w))
      e->wire[w] = (char *)e->control + e->at[w];
  return fg_train_send(e);
}

static fgsm_status make_wire(struct fg_engine *e, enum fg_train_wire w) {
  size_t bytes = fg_train_wire_bytes(e, w);
  FG_TRY(e->device->backend->alloc(e->device, bytes ? bytes : 1, &e->wire[w]));
  void *zeros = calloc(bytes + 1, 1);
  if (!zeros)
    return FG_FAIL(MEMORY, "no memory for a batch");
  fgsm_status status = fg_train_upload(e, w, zeros);
  free(zeros);
  return status;
}

fgsm_status fg_train_make_wires(struct fg_engine *e) {
  FG_TRY(make_control(e));
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (w == FG_TRAIN_data &&
        fg_train_uses(e, (enum fg_train_wire)w)) /* fg_engine_settle fills it */
      FG_TRY(
          e->device->backend->alloc(e->device, fg_train_wire_bytes(e, FG_TRAIN_data), &e->wire[w]));
    else if (!is_control(w) && fg_train_uses(e, (enum fg_train_wire)w))
      FG_TRY(make_wire(e, (enum fg_train_wire)w));
  return e->device->backend->sync(e->device, e->stream); /* weights are written on another */
}

void fg_train_free_wires(struct fg_engine *e) {
  const struct fg_backend *backend = e->device->backend;
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (!is_control(w))
      backend->free(e->device, e->wire[w]);
  backend->free(e->device, e->control);
}

fgsm_status fg_train_upload(struct fg_engine *e, enum fg_train_wire wire, const void *from) {
  const struct fg_backend *backend = e->device->backend;
  size_t bytes = fg_train_wire_bytes(e, wire);
  if (!e->wire[wire])
    return FGSM_OK;
  if (!is_control(wire))
    return backend->upload(e->device, e->wire[wire], from, bytes, e->stream);
  FG_TRY(backend->event_sync(e->device, e->sent)); /* the last transfer may be reading it yet */
  memcpy((char *)e->stage + e->at[wire], from, bytes);
  return FGSM_OK;
}

fgsm_status fg_train_send(struct fg_engine *e) {
  const struct fg_backend *backend = e->device->backend;
  FG_TRY(backend->upload(e->device, e->control, e->stage, e->control_bytes, e->stream));
  return backend->event_record(e->device, e->sent, e->stream);
}

fgsm_status fg_train_upload_reals(struct fg_engine *e, enum fg_train_wire wire, const float *x) {
  size_t bytes = fg_train_wire_bytes(e, wire);
  if (e->real == FG_F32)
    return fg_train_upload(e, wire, x);
  double *wide = malloc(bytes + 1);
  if (!wide)
    return FG_FAIL(MEMORY, "no memory for a batch");
  for (size_t i = 0; i < bytes / sizeof *wide; i++)
    wide[i] = x[i];
  fgsm_status status = fg_train_upload(e, wire, wide);
  free(wide);
  return status;
}

fgsm_status fg_train_bring(struct fg_engine *e, int n, const enum fg_train_wire *wires) {
  const struct fg_backend *backend = e->device->backend;
  for (int i = 0; i < n; i++)
    if (e->wire[wires[i]])
      FG_TRY(backend->download(e->device, e->seen[i], e->wire[wires[i]],
                               fg_train_wire_bytes(e, wires[i]), e->stream));
  return backend->sync(e->device, e->stream);
}

/* ---- passes */

fgsm_status fg_train_run(struct fg_engine *e, enum fg_train_part part, void *x, void *next) {
  struct fg_train_pass *pass = &e->pass[part];
  if (!pass->plan)
    return FGSM_OK;
  if (pass->wire[FG_TRAIN_x] != FG_ABSENT)
    FG_TRY(fg_plan_bind(pass->plan, pass->wire[FG_TRAIN_x], x));
  if (pass->wire[FG_TRAIN_next] != FG_ABSENT)
    FG_TRY(fg_plan_bind(pass->plan, pass->wire[FG_TRAIN_next], next));
  return fg_plan_issue(pass->plan, e->stream);
}

/* The first run is a plain one: libraries load their code during it, which a recording cannot. */
fgsm_status fg_train_replay(struct fg_engine *e, fg_issue_fn passes) {
  struct fg_train_recording *r = &e->recordings[e->cautious];
  if (e->records && r->has_run && !r->handle) {
    fgsm_status status = fg_record(e->device, e->stream, passes, e, &r->handle);
    if (status == FGSM_UNSUPPORTED) {
      fg_log(FGSM_LOG_INFO, "a training step is run call by call: %s", fgsm_last_error());
      e->records = false;
    } else {
      FG_TRY(status);
    }
    r->crafted = e->crafted;
  }
  if (!e->records || !r->has_run) {
    r->has_run = true;
    return passes(e, e->stream);
  }
  e->crafted = r->crafted;
  return e->device->backend->replay(e->device, r->handle, e->stream);
}
