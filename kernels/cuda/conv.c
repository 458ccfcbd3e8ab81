/* conv, conv_grad_input, conv_grad_weight: cuDNN's, in NCHW or NHWC; or, of one place, cuBLASLt's.
 *
 * A call is computed in one of several forms: one graph with all that follows the product, or with the
 * first of it, or the bare product, what a graph leaves being done by epilogue.cu; or as a call of matmul
 * (conv_product.h). Which form, and which engine, is found by trying them on the card; what was found is
 * kept (choice_cache.h). So is whether a call is to lie channels last: its fastest way there competes with
 * its fastest in NCHW; and what a mask costs (mask.c). */
#include "conv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice_cache.h"
#include "conv_product.h"
#include "conv_tail.h"
#include "device.h"
#include "dnn_run.h"
#include "layouts.h"
#include "plugin.h"
#include "trial.h"

/* Tried per form. Engines that compile at run time cost seconds each: of each the first configuration
 * alone, and so many per call, the most fused forms first; more only where nothing else was found. */
enum { MOST_TRIED = 12, MOST_COMPILED = 5, WORKSPACE_ALIGN = 256 };
/* Of a call with a mask, beside which the same without has had its tries. */
enum { MOST_COMPILED_MASKED = 2 };
enum { KEY_SIZE = 1024, PRODUCT = -1 };

struct conv {
  cudnnHandle_t handle;
  int fused;     /* links of the tail that are in the graph, or PRODUCT */
  fg_cudnn plan; /* of the graph */
  void *product; /* matmul's state */
  size_t workspace_bytes;
  float time;    /* milliseconds, when it was chosen */
  float turning; /* of bringing what lies channels last to NCHW */
};

/* ---- running */

static void *align(void *p) {
  return (void *)(((uintptr_t)p + WORKSPACE_ALIGN - 1) / WORKSPACE_ALIGN * WORKSPACE_ALIGN);
}

static fgsm_status run_product(const struct conv *c, const struct fg_call *call, void *scratch,
                               void *stream) {
  struct fg_call product;
  union fg_attrs attrs;
  fg_conv_as_product(call, &product, &attrs);
  product.state = c->product;
  product.scratch_bytes = c->workspace_bytes;
  return fg_cuda_matmul.run(&product, scratch, stream);
}

/* A batch of no samples, which no library takes. */
static bool is_empty(const struct fg_call *call) {
  return call->in[0].dim[0] == 0;
}

/* Then nothing is written, but for the weights' gradient, a sum of nothing. */
static fgsm_status run_empty(const struct fg_call *call, void *stream) {
  const struct fg_tensor *y = &call->out[0];
  cudaError_t error = call->op == FG_OP_conv_grad_weight
                          ? cudaMemsetAsync(y->data, 0, fg_bytes(y), (cudaStream_t)stream)
                          : cudaSuccess;
  return error == cudaSuccess
             ? FGSM_OK
             : FG_FAIL(DEVICE, "cuda: %s: %s", fg_op_name(call->op), cudaGetErrorString(error));
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  static float zero = 0;
  const struct conv *c = call->state;
  struct fg_dnn_bound bound = {.n = 0};
  struct fg_call head;
  union fg_attrs attrs;
  if (is_empty(call))
    return run_empty(call, stream);
  if (c->fused == PRODUCT)
    return run_product(c, call, scratch, stream);
  fg_cuda_conv_head(call, c->fused, &head, &attrs);
  fg_dnn_bind_call(&bound, &head, FG_UID_IN, FG_UID_OUT);
  if (fg_cuda_out(&head, 1))
    fg_dnn_bind(&bound, FG_UID_ZERO, &zero);
  FG_TRY(fg_cudnn_run(c->handle, c->plan, &bound, align(scratch), stream, fg_op_name(call->op)));
  return fg_cuda_conv_rest(call, c->fused, stream);
}

static void forget(struct conv *c) {
  struct fg_call product = {.op = FG_OP_matmul, .state = c->product};
  fg_cudnn_destroy(c->plan);
  fg_cuda_matmul.release(&product);
  c->plan = NULL;
  c->product = NULL;
}

static bool is_found(const struct conv *c) {
  return c->plan || c->product;
}

static void release(struct fg_call *call) {
  struct conv *c = call->state;
  if (!c)
    return;
  forget(c);
  free(c);
  call->state = NULL;
}

/* ---- choosing */

/* Reorders what lies channels last, but for the weights: what it would cost to be in NCHW among calls
 * that are not. A run of the call, to be timed. */
static fgsm_status turn_all(const struct fg_call *call, void *scratch, void *stream) {
  for (int i = 0; i < call->n_in + 1; i++) {
    const struct fg_tensor *from = i < call->n_in ? fg_cuda_in(call, i) : &call->out[0];
    bool weight = call->op == FG_OP_conv_grad_weight ? i == call->n_in : i == 1;
    if (!from || from->layout != FG_NHWC || weight || fg_bytes(from) > call->scratch_bytes)
      continue;
    struct fg_call turn = {.op = FG_OP_reorder, .n_in = 1, .n_out = 1};
    turn.in[0] = turn.out[0] = *from;
    turn.out[0].layout = FG_PLAIN;
    turn.out[0].data = scratch;
    FG_TRY(fg_cuda_reorder.run(&turn, NULL, stream));
  }
  return FGSM_OK;
}

/* Whether an engine further up the list is the same in another configuration. */
static bool is_again(const struct fg_cudnn_engines *engines, int i) {
  for (int k = 0; k < i; k++)
    if (engines->item[k].index == engines->item[i].index)
      return true;
  return false;
}

/* Whether a mask is made or read. */
static bool is_masked(const struct fg_call *call) {
  const struct fg_tensor *of = fg_cuda_in(call, 2);
  return fg_cuda_out(call, 1) || (call->op == FG_OP_conv_grad_input && of && fg_is_mask(of));
}

/* Of the best so far and another way, timed or found useless, the better one is kept. */
static void take_faster(struct conv *best, struct conv *other, bool timed) {
  if (timed && (!is_found(best) || other->time < best->time)) {
    forget(best);
    *best = *other;
  } else {
    forget(other);
  }
}

/* Prepares c to compute the call as a product; false where cuBLASLt does not. */
static bool prepare_product(const struct fg_call *call, struct fg_device *device, struct conv *c) {
  struct fg_call product;
  union fg_attrs attrs;
  fg_conv_as_product(call, &product, &attrs);
  if (fg_cuda_matmul.prepare(&product, device) != FGSM_OK)
    return false;
  c->fused = PRODUCT;
  c->product = product.state;
  c->workspace_bytes = product.scratch_bytes;
  return true;
}

/* Times a way, which is the call's state meanwhile. */
static bool time_way(struct fg_trial *t, struct conv *c) {
  t->call.state = c;
  bool timed = fg_trial_time(t, run, &c->time) == FGSM_OK;
  t->call.state = NULL;
  return timed;
}

static fgsm_status try_product(struct fg_trial *t, struct conv *best) {
  struct conv c = {.handle = best->handle};
  if (!fg_conv_is_product(&t->call) || !prepare_product(&t->call, &t->device->base, &c))
    return fg_cuda_alive(t->device);
  bool fits = c.workspace_bytes <= t->workspace_bytes;
  take_faster(best, &c, fits && time_way(t, &c));
  return fg_cuda_alive(t->device);
}

/* Tries the engines of one form; *best becomes the fastest so far, *compiled counts over all forms. An
 * engine that fails is passed over, a card that fails is not. */
static fgsm_status try_form(struct fg_trial *t, int fused, struct conv *best, int *compiled) {
  const int most_compiled = is_masked(&t->call) ? MOST_COMPILED_MASKED : MOST_COMPILED;
  const struct fg_cudnn_target target = {.handle = best->handle};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  struct fg_call head;
  union fg_attrs attrs;
  int tried = 0;
  fg_cuda_conv_head(&t->call, fused, &head, &attrs);
  fgsm_status status = fg_cuda_conv_graph(&head, &target, &g);
  if (status != FGSM_OK)
    return status == FGSM_UNSUPPORTED ? FGSM_OK : status;
  (void)!fg_cudnn_list(&g, &target, fg_cudnn_forbidden(t->device->base.precision), &engines);
  for (int i = 0; i < engines.n && tried < MOST_TRIED && status == FGSM_OK; i++) {
    struct conv c = {.handle = best->handle, .fused = fused};
    if (engines.item[i].compiles &&
        (is_again(&engines, i) || (++*compiled > most_compiled && is_found(best))))
      continue;
    tried++;
    if (fg_cudnn_plan(&engines.item[i], &target, &c.plan, &c.workspace_bytes) != FGSM_OK)
      continue;
    bool fits = c.workspace_bytes + WORKSPACE_ALIGN <= t->workspace_bytes;
    take_faster(best, &c, fits && time_way(t, &c));
    status = fg_cuda_alive(t->device);
  }
  fg_cudnn_engines_free(&engines);
  fg_cudnn_graph_destroy(&g);
  return status;
}

static fgsm_status try_all(struct fg_cuda_device *device, const struct fg_call *call,
                           struct conv *best) {
  struct fg_trial t;
  int compiled = 0;
  fgsm_status status = fg_trial_begin(&t, device, call, FG_TRIAL_QUARTER);
  if (status == FGSM_OK)
    status = try_product(&t, best);
  for (int n = fg_cuda_conv_fusible(call);
       n >= 0 && status == FGSM_OK && !fg_cuda_conv_has_bits(call); n--)
    status = try_form(&t, n, best, &compiled);
  if (status == FGSM_OK && is_found(best) && fg_cuda_lies(call))
    status = fg_trial_time(&t, turn_all, &best->turning);
  fg_trial_end(&t);
  if (status == FGSM_OK && !is_found(best))
    return fg_cuda_decline(call, __FILE__, __LINE__, "no library computes it in %s",
                           fg_precision_name(device->base.precision));
  return status;
}

/* Everything that a choice depends on. */
static void key_of(const struct fg_cuda_device *device, const struct fg_call *call, char *key) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  int n = snprintf(key, KEY_SIZE, "%s %s cudnn %zu %s group %d act %d %a %a", fg_op_name(call->op),
                   fg_precision_name(device->base.precision), fg_nv.cudnnGetVersion(), device->card,
                   a->group, (int)a->act.kind, a->act.alpha, a->act.beta);
  for (int i = 0; i < a->spatial && n < KEY_SIZE; i++)
    n += snprintf(key + n, (size_t)(KEY_SIZE - n), " window %d %d %d %d", a->stride[i],
                  a->dilation[i], a->pad_lo[i], a->pad_hi[i]);
  for (int k = 0; k < call->n_in + call->n_out && n < KEY_SIZE; k++) {
    const struct fg_tensor *t =
        k < call->n_in ? fg_cuda_in(call, k) : fg_cuda_out(call, k - call->n_in);
    n += snprintf(key + n, (size_t)(KEY_SIZE - n), " %s%s", t ? fg_type_name(t->type) : "none",
                  t && t->layout == FG_NHWC ? " last" : "");
    for (int d = 0; t && d < t->rank && n < KEY_SIZE; d++)
      n += snprintf(key + n, (size_t)(KEY_SIZE - n), ",%lld", (long long)t->dim[d]);
  }
}

/* A kept choice is how many links are fused, both times, and the plan; of a product, which matmul keeps
 * itself, no plan. One that cuDNN no longer takes is made anew. */
static bool recall(const char *key, struct fg_device *device, const struct fg_call *call,
                   struct conv *c) {
  const struct fg_cudnn_target target = {.handle = c->handle};
  char *text = fg_choice_find(key);
  int plan = 0;
  bool found = text && sscanf(text, "%2d %f %f %n", &c->fused, &c->time, &c->turning, &plan) == 3 &&
               plan && c->fused >= PRODUCT;
  if (found && c->fused == PRODUCT)
    found = prepare_product(call, device, c);
  else if (found)
    found = fg_cudnn_plan_load(text + plan, &target, &c->plan, &c->workspace_bytes) == FGSM_OK;
  free(text);
  return found;
}

static void keep(const char *key, const struct conv *c) {
  char *json = NULL, *text = NULL;
  if (c->product || fg_cudnn_plan_save(c->plan, &json) == FGSM_OK)
    text = malloc((json ? strlen(json) : 0) + 64);
  if (text) {
    sprintf(text, "%d %.6g %.6g %s", c->fused, (double)c->time, (double)c->turning,
            json ? json : "");
    if (!fg_choice_keep(key, text))
      fg_plugin_log(FGSM_LOG_INFO, "the choice of an engine is kept for this process alone: %s",
                    strerror(errno));
  }
  free(text);
  free(json);
}

static fgsm_status choose(struct fg_cuda_device *device, const struct fg_call *call,
                          struct conv *c) {
  char key[KEY_SIZE];
  FG_TRY(fg_cuda_cudnn(device, &c->handle));
  key_of(device, call, key);
  if (recall(key, &device->base, call, c))
    return FGSM_OK;
  FG_TRY(try_all(device, call, c));
  keep(key, c);
  return FGSM_OK;
}

bool fg_cuda_conv_gains(struct fg_device *base, const struct fg_call *call) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  struct conv last = {.plan = NULL}, first = {.plan = NULL};
  struct fg_call other = *call;
  for (int i = 0; i < call->n_in; i++)
    other.in[i].layout = FG_PLAIN;
  other.out[0].layout = FG_PLAIN;
  bool gains = fg_cuda_conv_check(call) == FGSM_OK && !is_empty(call) &&
               choose(device, call, &last) == FGSM_OK;
  if (gains && choose(device, &other, &first) == FGSM_OK)
    gains = last.time <= first.time + last.turning;
  forget(&first);
  forget(&last);
  return gains;
}

fgsm_status fg_cuda_conv_time(struct fg_device *device, const struct fg_call *call,
                              float *milliseconds) {
  struct conv c = {.plan = NULL};
  fgsm_status status = is_empty(call) ? FGSM_OK : choose(fg_cuda_device(device), call, &c);
  *milliseconds = c.time;
  forget(&c);
  return status;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  FG_TRY(fg_cuda_conv_check(call));
  if (call->trial && fg_cuda_conv_has_bits(call)) {
    struct conv c = {.plan = NULL};
    bool can = prepare_product(call, base, &c);
    forget(&c);
    return can ? FGSM_OK : FGSM_UNSUPPORTED;
  }
  /* Whatever is fused, the bare product and epilogue.cu can stand in. */
  if (call->trial || is_empty(call))
    return FGSM_OK;
  struct conv *c = calloc(1, sizeof *c);
  if (!c)
    return FG_FAIL(MEMORY, "no memory for a convolution");
  call->state = c;
  fgsm_status status = choose(fg_cuda_device(base), call, c);
  if (status != FGSM_OK) {
    release(call);
    return status;
  }
  call->scratch_bytes = c->workspace_bytes + (c->fused == PRODUCT ? 0 : WORKSPACE_ALIGN);
  return FGSM_OK;
}

const struct fg_kernel fg_cuda_conv = {prepare, run, release};
const struct fg_kernel fg_cuda_conv_grad_input = {prepare, run, release};
const struct fg_kernel fg_cuda_conv_grad_weight = {prepare, run, release};
