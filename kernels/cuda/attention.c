/* attention: a kernel of our own (attention.cu), or where cuDNN has words for the call (attention_graph.h)
 * and is faster on this card, its flash attention. What was found faster is kept (choice_cache.h). */
#include "attention_own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention_graph.h"
#include "choice_cache.h"
#include "dnn_run.h"
#include "plugin.h"
#include "trial.h"

/* Engines compile at run time, which takes seconds each. */
enum { MOST_TRIED = 3, ALIGN = 256, KEY_SIZE = 512 };

struct attention {
  cudnnHandle_t handle;
  fg_cudnn plan; /* NULL: our own kernel */
  size_t workspace_bytes;
  float scale; /* read when the plan runs */
};

static void *align(void *p) {
  return (void *)(((uintptr_t)p + ALIGN - 1) / ALIGN * ALIGN);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct attention *a = call->state;
  if (!a || !a->plan)
    return fg_cuda_own_attention.run(call, scratch, stream);
  int64_t uid[] = {FG_SDPA_SCALE,  FG_SDPA_IN,  FG_SDPA_IN + 1,
                   FG_SDPA_IN + 2, FG_SDPA_OUT, FG_SDPA_OUT + 1};
  void *address[] = {&a->scale,        call->in[0].data,  call->in[1].data,
                     call->in[2].data, call->out[0].data, call->out[1].data};
  return fg_cudnn_run(a->handle, a->plan, fg_cuda_out(call, 1) ? 6 : 5, uid, address,
                      align(scratch), stream, "attention");
}

static void release(struct fg_call *call) {
  struct attention *a = call->state;
  if (!a)
    return;
  fg_cudnn_destroy(a->plan);
  free(a);
  call->state = NULL;
}

/* ---- choosing */

/* Tries cuDNN's engines after our own kernel; a->plan is the fastest, NULL for ours. An engine that fails
 * is passed over, a card that fails is not. */
static fgsm_status try_engines(struct fg_trial *t, struct attention *a, size_t workspace_bytes) {
  const struct fg_cudnn_target target = {.handle = a->handle};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  float least, time;
  FG_TRY(fg_trial_time(t, run, &least));
  fgsm_status status = fg_cuda_sdpa_graph(&t->call, &target, &g);
  if (status != FGSM_OK)
    return status == FGSM_UNSUPPORTED ? FGSM_OK : status;
  (void)!fg_cudnn_list(&g, &target, fg_cudnn_forbidden(t->device->base.precision), &engines);
  fg_cudnn best = NULL;
  size_t best_bytes = 0;
  for (int i = 0; i < engines.n && i < MOST_TRIED && status == FGSM_OK; i++) {
    if (fg_cudnn_plan(&engines.item[i], &target, &a->plan, &a->workspace_bytes) != FGSM_OK)
      continue;
    bool timed =
        a->workspace_bytes + ALIGN <= workspace_bytes && fg_trial_time(t, run, &time) == FGSM_OK;
    status = fg_cuda_alive(t->device);
    if (timed && time < least) {
      fg_cudnn_destroy(best);
      best = a->plan;
      best_bytes = a->workspace_bytes;
      least = time;
    } else {
      fg_cudnn_destroy(a->plan);
    }
    a->plan = NULL;
  }
  a->plan = best;
  a->workspace_bytes = best_bytes;
  fg_cudnn_engines_free(&engines);
  fg_cudnn_graph_destroy(&g);
  return status;
}

static fgsm_status try_all(struct fg_cuda_device *device, const struct fg_call *call,
                           struct attention *a) {
  size_t free, total;
  struct fg_trial t;
  FG_TRY(fg_cuda_memory(&device->base, &free, &total));
  fgsm_status status = fg_trial_begin(&t, device, call, free / 4);
  if (status == FGSM_OK)
    status = try_engines(&t, a, free / 4);
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
static bool recall(const char *key, struct attention *a) {
  const struct fg_cudnn_target target = {.handle = a->handle};
  char *text = fg_choice_find(key);
  bool found =
      text && (strcmp(text, "own") == 0 ||
               fg_cudnn_plan_load(text, &target, &a->plan, &a->workspace_bytes) == FGSM_OK);
  free(text);
  return found;
}

static void keep(const char *key, const struct attention *a) {
  char *json = NULL;
  if (a->plan && fg_cudnn_plan_save(a->plan, &json) != FGSM_OK)
    return;
  if (!fg_choice_keep(key, json ? json : "own"))
    fg_plugin_log(FGSM_LOG_INFO, "the choice of an engine is kept for this process alone: %s",
                  strerror(errno));
  free(json);
}

static fgsm_status choose(struct fg_cuda_device *device, struct fg_call *call,
                          struct attention *a) {
  char key[KEY_SIZE];
  FG_TRY(fg_cuda_cudnn(device, &a->handle));
  key_of(device, call, key);
  if (recall(key, a))
    return FGSM_OK;
  FG_TRY(try_all(device, call, a));
  keep(key, a);
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  FG_TRY(fg_cuda_own_attention.prepare(call, base));
  if (!fg_cuda_sdpa_can(call))
    return FGSM_OK;
  struct attention *a = calloc(1, sizeof *a);
  if (!a)
    return FG_FAIL(MEMORY, "no memory for attention");
  a->scale = (float)call->attrs->attention.scale;
  call->state = a;
  fgsm_status status = choose(fg_cuda_device(base), call, a);
  if (status != FGSM_OK)
    release(call);
  else if (a->plan)
    call->scratch_bytes = a->workspace_bytes + ALIGN;
  return status;
}

const struct fg_kernel fg_cuda_attention = {prepare, run, release};
