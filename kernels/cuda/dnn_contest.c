/* Our own kernels against cuDNN's engines. */
#include "dnn_contest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice_cache.h"
#include "plugin.h"
#include "trial.h"

/* Engines compile at run time, which takes seconds each: so many of those that run are tried. */
enum { MOST_TRIED = 3, ALIGN = 256, KEY_SIZE = 512 };

typedef fgsm_status graph_of(const struct fg_call *call, const struct fg_cudnn_target *target,
                             struct fg_cudnn_graph *g);
typedef fgsm_status run_of(const struct fg_call *call, void *scratch, void *stream);

size_t fg_dnn_align(size_t n) {
  return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t scratch_of(const struct fg_dnn_contest *c) {
  return c->plan ? ALIGN + c->front_bytes + c->workspace_bytes : c->own_bytes;
}

fgsm_status fg_dnn_contest_run(const struct fg_dnn_contest *c, const struct fg_call *call,
                               const struct fg_dnn_bound *b, char *front, void *stream) {
  return fg_cudnn_run(c->handle, c->plan, b, front + c->front_bytes, stream, fg_op_name(call->op));
}

/* ---- choosing */

/* Tries cuDNN's engines after our own kernels; c->plan is the fastest, NULL for ours. An engine that fails
 * is passed over, a card that fails is not. */
static fgsm_status try_engines(struct fg_trial *t, struct fg_dnn_contest *c, graph_of *graph,
                               run_of *run) {
  const struct fg_cudnn_target target = {.handle = c->handle};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  float least, time;
  FG_TRY(fg_trial_time(t, run, &least));
  fgsm_status status = graph(&t->call, &target, &g);
  if (status != FGSM_OK)
    return status == FGSM_UNSUPPORTED ? FGSM_OK : status;
  (void)!fg_cudnn_list(&g, &target, fg_cudnn_forbidden(t->device->base.precision), &engines);
  fg_cudnn best = NULL;
  size_t best_bytes = 0;
  for (int i = 0, tried = 0; i < engines.n && tried < MOST_TRIED && status == FGSM_OK; i++) {
    if (fg_cudnn_plan(&engines.item[i], &target, &c->plan, &c->workspace_bytes) != FGSM_OK)
      continue;
    bool timed = scratch_of(c) <= t->workspace_bytes && fg_trial_time(t, run, &time) == FGSM_OK;
    status = fg_cuda_alive(t->device);
    tried += timed;
    if (timed && time < least) {
      fg_cudnn_destroy(best);
      best = c->plan;
      best_bytes = c->workspace_bytes;
      least = time;
    } else {
      fg_cudnn_destroy(c->plan);
    }
    c->plan = NULL;
  }
  c->plan = best;
  c->workspace_bytes = best_bytes;
  fg_cudnn_engines_free(&engines);
  fg_cudnn_graph_destroy(&g);
  return status;
}

static fgsm_status try_all(struct fg_cuda_device *device, const struct fg_call *call,
                           struct fg_dnn_contest *c, graph_of *graph, run_of *run) {
  struct fg_trial t;
  fgsm_status status = fg_trial_begin(&t, device, call, FG_TRIAL_QUARTER);
  if (status == FGSM_OK)
    status = try_engines(&t, c, graph, run);
  fg_trial_end(&t);
  return status;
}

static void key_of(const struct fg_cuda_device *device, const struct fg_call *call, char *key) {
  int n =
      snprintf(key, KEY_SIZE, "%s %s cudnn %zu %s", fg_op_name(call->op),
               fg_precision_name(device->base.precision), fg_nv.cudnnGetVersion(), device->card);
  for (int i = 0; i < call->n_in + call->n_out && n < KEY_SIZE; i++) {
    const struct fg_tensor *t =
        i < call->n_in ? fg_cuda_in(call, i) : fg_cuda_out(call, i - call->n_in);
    n += snprintf(key + n, (size_t)(KEY_SIZE - n), " %s", t ? fg_type_name(t->type) : "none");
    for (int d = 0; t && d < t->rank && n < KEY_SIZE; d++)
      n += snprintf(key + n, (size_t)(KEY_SIZE - n), ",%lld", (long long)t->dim[d]);
  }
}

/* A kept choice is "own", or the plan. One that cuDNN no longer takes is made anew. */
static bool recall(const char *key, struct fg_dnn_contest *c) {
  const struct fg_cudnn_target target = {.handle = c->handle};
  char *text = fg_choice_find(key);
  bool found =
      text && (strcmp(text, "own") == 0 ||
               fg_cudnn_plan_load(text, &target, &c->plan, &c->workspace_bytes) == FGSM_OK);
  free(text);
  return found;
}

static void keep(const char *key, const struct fg_dnn_contest *c) {
  char *json = NULL;
  if (c->plan && fg_cudnn_plan_save(c->plan, &json) != FGSM_OK)
    return;
  if (!fg_choice_keep(key, json ? json : "own"))
    fg_plugin_log(FGSM_LOG_INFO, "the choice of an engine is kept for this process alone: %s",
                  strerror(errno));
  free(json);
}

static fgsm_status choose(struct fg_cuda_device *device, const struct fg_call *call,
                          struct fg_dnn_contest *c, graph_of *graph, run_of *run) {
  char key[KEY_SIZE];
  FG_TRY(fg_cuda_cudnn(device, &c->handle));
  key_of(device, call, key);
  if (recall(key, c))
    return FGSM_OK;
  FG_TRY(try_all(device, call, c, graph, run));
  keep(key, c);
  return FGSM_OK;
}

fgsm_status fg_dnn_contest_prepare(struct fg_call *call, struct fg_device *device,
                                   struct fg_dnn_contest *c, graph_of *graph, run_of *run) {
  c->own_bytes = call->scratch_bytes;
  call->state = c;
  fgsm_status status = choose(fg_cuda_device(device), call, c, graph, run);
  if (status != FGSM_OK)
    fg_dnn_contest_release(call);
  else
    call->scratch_bytes = scratch_of(c);
  return status;
}

void fg_dnn_contest_release(struct fg_call *call) {
  struct fg_dnn_contest *c = call->state;
  if (c)
    fg_cudnn_destroy(c->plan);
  free(c);
  call->state = NULL;
}
