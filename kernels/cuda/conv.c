/* conv, conv_grad_input, conv_grad_weight: cuDNN's, in NCHW.
 *
 * Each call is computed in one of two forms: one graph with bias, residual and activation, or the
 * bare product and then epilogue.cu. Which form, and which engine, is found by trying them on the
 * card; what was found is kept (choice_cache.h). */
#include "conv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice_cache.h"
#include "device.h"
#include "epilogue.h"
#include "plugin.h"

/* Tried per form; engines that compile at run time cost seconds each. */
enum { MOST_TRIED = 12, MOST_COMPILED = 4, WORKSPACE_ALIGN = 256 };
enum { WARM_RUNS = 2, TIMED_RUNS = 5, KEY_SIZE = 1024 };

struct conv {
  cudnnHandle_t handle;
  fg_cudnn plan;
  bool fused;
  size_t workspace_bytes;
  fg_cudnn pack; /* the variant pack: addresses are set in it at each run */
};

/* ---- the graphs */

/* Which of x, w, y each tensor of the call is. */
struct parts {
  enum fg_cudnn_conv kind;
  const struct fg_tensor *x, *w, *y;
  int64_t x_uid, w_uid, y_uid;
};

static struct parts parts_of(const struct fg_call *call) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
  switch (call->op) {
  case FG_OP_conv_grad_input:
    return (struct parts){FG_CUDNN_INPUT, c, b, a, FG_UID_OUT, FG_UID_IN + 1, FG_UID_IN};
  case FG_OP_conv_grad_weight:
    return (struct parts){FG_CUDNN_WEIGHT, a, c, b, FG_UID_IN, FG_UID_OUT, FG_UID_IN + 1};
  default:
    return (struct parts){FG_CUDNN_FORWARD, a, b, c, FG_UID_IN, FG_UID_IN + 1, FG_UID_OUT};
  }
}

bool fg_cuda_conv_can_fuse(const struct fg_call *call) {
  const struct fg_unary_attrs *act = &call->attrs->conv.act;
  return call->op == FG_OP_conv && fg_cuda_has_epilogue(call, act) && fg_cudnn_has_activation(act);
}

/* The value after the next operation: the result if that is the last. */
static fg_cudnn next(struct fg_cudnn_graph *g, const struct fg_tensor *y, int *left) {
  return fg_cudnn_tensor(g, y->rank, y->dim, --*left == 0 ? FG_UID_OUT : FG_VIRTUAL);
}

/* Residual, bias, activation: in the order that most engines know. */
static void fuse(struct fg_cudnn_graph *g, const struct fg_call *call, fg_cudnn x, fg_cudnn w) {
  const struct fg_unary_attrs *act = &call->attrs->conv.act;
  const struct fg_tensor *y = &call->out[0], *bias = fg_cuda_in(call, 2),
                         *residual = fg_cuda_in(call, 3);
  int left = 1 + (bias != NULL) + (residual != NULL) + (act->kind != FG_UNARY_identity);
  fg_cudnn at = next(g, y, &left), to;
  fg_cudnn_conv(g, FG_CUDNN_FORWARD, &call->attrs->conv, x, w, at);
  if (residual) {
    fg_cudnn z = fg_cudnn_tensor(g, y->rank, y->dim, FG_UID_IN + 3);
    to = next(g, y, &left);
    fg_cudnn_add(g, at, z, to);
    at = to;
  }
  if (bias) {
    int64_t dim[FG_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    dim[1] = y->dim[1];
    fg_cudnn b = fg_cudnn_tensor(g, y->rank, dim, FG_UID_IN + 2);
    to = next(g, y, &left);
    fg_cudnn_add(g, at, b, to);
    at = to;
  }
  if (act->kind != FG_UNARY_identity)
    fg_cudnn_activation(g, act, at, next(g, y, &left));
}

fgsm_status fg_cuda_conv_graph(const struct fg_call *call, bool fused,
                               const struct fg_cudnn_target *target, struct fg_cudnn_graph *g) {
  struct parts p = parts_of(call);
  fg_cudnn_begin(g);
  fg_cudnn w = fg_cudnn_tensor(g, p.w->rank, p.w->dim, p.w_uid);
  fg_cudnn x = fg_cudnn_tensor(g, p.x->rank, p.x->dim, p.x_uid);
  if (fused)
    fuse(g, call, x, w);
  else
    fg_cudnn_conv(g, p.kind, &call->attrs->conv, x, w,
                  fg_cudnn_tensor(g, p.y->rank, p.y->dim, p.y_uid));
  fgsm_status status = fg_cudnn_finish(g, target);
  if (status != FGSM_OK)
    fg_cudnn_graph_destroy(g);
  return status;
}

/* ---- checks */

static int64_t placed(const struct fg_conv_attrs *a, int64_t x, int64_t w, int i) {
  int64_t room = x + a->pad_lo[i] + a->pad_hi[i] - (int64_t)a->dilation[i] * (w - 1) - 1;
  return room < 0 ? 0 : room / a->stride[i] + 1;
}

fgsm_status fg_cuda_conv_check(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, 15, 1));
  struct parts p = parts_of(call);
  FG_CUDA_NEED(call, a->spatial == 2 || a->spatial == 3, "%d spatial dims", a->spatial);
  FG_CUDA_NEED(call,
               p.x->rank == a->spatial + 2 && p.w->rank == p.x->rank && p.y->rank == p.x->rank,
               "ranks %d, %d and %d", p.x->rank, p.w->rank, p.y->rank);
  FG_CUDA_NEED(call, fg_count(p.x) && fg_count(p.w) && fg_count(p.y), "an empty tensor");
  FG_CUDA_NEED(
      call, a->group >= 1 && p.w->dim[1] * a->group == p.x->dim[1] && p.w->dim[0] % a->group == 0,
      "%lld channels in %d groups for weights of %lld", (long long)p.x->dim[1], a->group,
      (long long)p.w->dim[1]);
  FG_CUDA_NEED(call, p.y->dim[0] == p.x->dim[0] && p.y->dim[1] == p.w->dim[0],
               "batch or channels differ");
  for (int i = 0; i < a->spatial; i++) {
    FG_CUDA_NEED(call,
                 a->stride[i] > 0 && a->dilation[i] > 0 && a->pad_lo[i] >= 0 && a->pad_hi[i] >= 0,
                 "stride, dilation or padding of axis %d", i);
    FG_CUDA_NEED(call, placed(a, p.x->dim[i + 2], p.w->dim[i + 2], i) == p.y->dim[i + 2],
                 "axis %d does not fit its window", i);
  }
  if (call->op != FG_OP_conv)
    return FGSM_OK;
  const struct fg_tensor *bias = fg_cuda_in(call, 2), *residual = fg_cuda_in(call, 3);
  FG_CUDA_NEED(call, (unsigned)a->act.kind < FG_UNARY_COUNT, "unknown activation");
  FG_CUDA_NEED(call, !bias || (bias->rank == 1 && bias->dim[0] == p.y->dim[1]), "bias's shape");
  FG_CUDA_NEED(call, !residual || fg_same_shape(residual, p.y), "residual's shape");
  return FGSM_OK;
}

/* ---- running */

static fgsm_status bind(const struct conv *c, const struct fg_call *call, void *workspace) {
  int64_t uid[FG_MAX_IN + 1];
  void *address[FG_MAX_IN + 1];
  int64_t n = 0;
  int most = c->fused || call->op != FG_OP_conv ? call->n_in : 2;
  for (int i = 0; i < most; i++)
    if (fg_cuda_in(call, i)) {
      uid[n] = FG_UID_IN + i;
      address[n++] = call->in[i].data;
    }
  uid[n] = FG_UID_OUT;
  address[n++] = call->out[0].data;
  cudnnStatus_t status = fg_nv.cudnnBackendSetAttribute(
      c->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, address);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendSetAttribute(c->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                            CUDNN_TYPE_INT64, n, uid);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendSetAttribute(c->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                            CUDNN_TYPE_VOID_PTR, 1, &workspace);
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendFinalize(c->pack);
  return status == CUDNN_STATUS_SUCCESS ? FGSM_OK : fg_cudnn_failed(status, "a call's addresses");
}

static void *align(void *p) {
  return (void *)(((uintptr_t)p + WORKSPACE_ALIGN - 1) / WORKSPACE_ALIGN * WORKSPACE_ALIGN);
}

static fgsm_status execute(struct conv *c, const struct fg_call *call, void *scratch,
                           void *stream) {
  /* A finalised pack cannot be changed, so each run has its own; it is host memory alone. */
  cudnnStatus_t status =
      fg_nv.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &c->pack);
  if (status != CUDNN_STATUS_SUCCESS)
    return fg_cudnn_failed(status, "a call's addresses");
  fgsm_status result = bind(c, call, align(scratch));
  if (result == FGSM_OK) {
    status = fg_nv.cudnnSetStream(c->handle, (cudaStream_t)stream);
    if (status == CUDNN_STATUS_SUCCESS)
      status = fg_nv.cudnnBackendExecute(c->handle, c->plan, c->pack);
    if (status != CUDNN_STATUS_SUCCESS)
      result = fg_cudnn_failed(status, fg_op_name(call->op));
  }
  fg_cudnn_destroy(c->pack);
  c->pack = NULL;
  if (result == FGSM_OK && !c->fused && call->op == FG_OP_conv &&
      fg_cuda_has_epilogue(call, &call->attrs->conv.act))
    result = fg_cuda_epilogue(call, &call->attrs->conv.act, 1, stream);
  return result;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  return execute(call->state, call, scratch, stream);
}

static void release(struct fg_call *call) {
  struct conv *c = call->state;
  if (!c)
    return;
  fg_cudnn_destroy(c->plan);
  free(c);
  call->state = NULL;
}

/* ---- choosing */

/* Device memory in the shapes of the call, to try engines on. */
struct trial {
  struct fg_cuda_device *device;
  struct fg_call call;
  void *memory[FG_MAX_IN + 1];
  int n_memory;
  void *workspace;
  size_t workspace_bytes;
  cudaStream_t stream;
  cudaEvent_t began, ended;
};

static fgsm_status trial_tensor(struct trial *t, struct fg_tensor *tensor) {
  void *memory;
  FG_TRY(fg_cuda_alloc(&t->device->base, fg_bytes(tensor), &memory));
  t->memory[t->n_memory++] = memory;
  tensor->data = memory;
  return fg_cuda_result(t->device, cudaMemsetAsync(memory, 0, fg_bytes(tensor), t->stream),
                        "trying engines");
}

/* A quarter of what is free is what an engine may ask for. */
static fgsm_status trial_begin(struct trial *t, struct fg_cuda_device *device,
                               const struct fg_call *call) {
  size_t free, total;
  *t = (struct trial){.device = device, .call = *call};
  FG_TRY(fg_cuda_result(device, cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking),
                        "trying engines"));
  FG_TRY(fg_cuda_result(device, cudaEventCreate(&t->began), "trying engines"));
  FG_TRY(fg_cuda_result(device, cudaEventCreate(&t->ended), "trying engines"));
  for (int i = 0; i < call->n_in; i++)
    if (fg_cuda_in(call, i))
      FG_TRY(trial_tensor(t, &t->call.in[i]));
  FG_TRY(trial_tensor(t, &t->call.out[0]));
  FG_TRY(fg_cuda_memory(&device->base, &free, &total));
  t->workspace_bytes = free / 4;
  return fg_cuda_alloc(&device->base, t->workspace_bytes, &t->workspace);
}

static void trial_end(struct trial *t) {
  if (t->stream)
    (void)cudaStreamSynchronize(t->stream);
  fg_cuda_free(&t->device->base, t->workspace);
  while (t->n_memory > 0)
    fg_cuda_free(&t->device->base, t->memory[--t->n_memory]);
  if (t->ended)
    (void)cudaEventDestroy(t->ended);
  if (t->began)
    (void)cudaEventDestroy(t->began);
  if (t->stream)
    (void)cudaStreamDestroy(t->stream);
}

static fgsm_status trial_time(struct trial *t, struct conv *c, float *milliseconds) {
  for (int i = 0; i < WARM_RUNS; i++)
    FG_TRY(execute(c, &t->call, t->workspace, t->stream));
  FG_TRY(fg_cuda_result(t->device, cudaEventRecord(t->began, t->stream), "trying engines"));
  for (int i = 0; i < TIMED_RUNS; i++)
    FG_TRY(execute(c, &t->call, t->workspace, t->stream));
  FG_TRY(fg_cuda_result(t->device, cudaEventRecord(t->ended, t->stream), "trying engines"));
  FG_TRY(fg_cuda_result(t->device, cudaEventSynchronize(t->ended), "trying engines"));
  return fg_cuda_result(t->device, cudaEventElapsedTime(milliseconds, t->began, t->ended),
                        "trying engines");
}

/* Tries the engines of one form; *best becomes the fastest so far. An engine that fails is passed
 * over, a card that fails is not. */
static fgsm_status try_form(struct trial *t, bool fused, struct conv *best, float *best_time) {
  const struct fg_cudnn_target target = {.handle = best->handle};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  int compiled = 0;
  fgsm_status status = fg_cuda_conv_graph(&t->call, fused, &target, &g);
  if (status != FGSM_OK)
    return status == FGSM_UNSUPPORTED ? FGSM_OK : status;
  (void)!fg_cudnn_list(&g, &target, fg_cudnn_forbidden(t->device->base.precision), &engines);
  for (int i = 0; i < engines.n && i < MOST_TRIED && status == FGSM_OK; i++) {
    struct conv c = {.handle = best->handle, .fused = fused};
    float time;
    if (engines.item[i].compiles && ++compiled > MOST_COMPILED)
      continue;
    if (fg_cudnn_plan(&engines.item[i], &target, &c.plan, &c.workspace_bytes) != FGSM_OK)
      continue;
    bool fits = c.workspace_bytes + WORKSPACE_ALIGN <= t->workspace_bytes;
    bool timed = fits && trial_time(t, &c, &time) == FGSM_OK;
    status = fg_cuda_alive(t->device);
    if (timed && (!best->plan || time < *best_time)) {
      fg_cudnn_destroy(best->plan);
      *best = c;
      *best_time = time;
    } else {
      fg_cudnn_destroy(c.plan);
    }
  }
  fg_cudnn_engines_free(&engines);
  fg_cudnn_graph_destroy(&g);
  return status;
}

static fgsm_status try_all(struct fg_cuda_device *device, const struct fg_call *call,
                           struct conv *best) {
  struct trial t;
  float time = 0;
  fgsm_status status = trial_begin(&t, device, call);
  if (status == FGSM_OK && fg_cuda_conv_can_fuse(call))
    status = try_form(&t, true, best, &time);
  if (status == FGSM_OK)
    status = try_form(&t, false, best, &time);
  trial_end(&t);
  if (status == FGSM_OK && !best->plan)
    return fg_cuda_decline(call, __FILE__, __LINE__, "cuDNN has no engine for it in %s",
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
  for (int k = 0; k < call->n_in + 1 && n < KEY_SIZE; k++) {
    const struct fg_tensor *t = k < call->n_in ? fg_cuda_in(call, k) : fg_cuda_out(call, 0);
    n += snprintf(key + n, (size_t)(KEY_SIZE - n), " %s", t ? "x" : "none");
    for (int d = 0; t && d < t->rank && n < KEY_SIZE; d++)
      n += snprintf(key + n, (size_t)(KEY_SIZE - n), ",%lld", (long long)t->dim[d]);
  }
}

/* A kept choice is "fused " or "bare  ", then the plan. One that cuDNN no longer takes is made
 * anew. */
static bool recall(const char *key, struct conv *c) {
  const struct fg_cudnn_target target = {.handle = c->handle};
  char *text = fg_choice_find(key);
  bool found = text && strlen(text) > 6 &&
               fg_cudnn_plan_load(text + 6, &target, &c->plan, &c->workspace_bytes) == FGSM_OK;
  if (found)
    c->fused = text[0] == 'f';
  free(text);
  return found;
}

static void keep(const char *key, const struct conv *c) {
  char *json = NULL, *text = NULL;
  if (fg_cudnn_plan_save(c->plan, &json) == FGSM_OK)
    text = malloc(strlen(json) + 8);
  if (text) {
    sprintf(text, "%s%s", c->fused ? "fused " : "bare  ", json);
    fg_choice_keep(key, text);
  }
  free(text);
  free(json);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  struct fg_cuda_device *device = fg_cuda_device(base);
  char key[KEY_SIZE];
  FG_TRY(fg_cuda_conv_check(call));
  struct conv *c = calloc(1, sizeof *c);
  if (!c)
    return FG_FAIL(MEMORY, "no memory for a convolution");
  call->state = c;
  fgsm_status status = fg_cuda_cudnn(device, &c->handle);
  if (status == FGSM_OK) {
    key_of(device, call, key);
    if (!recall(key, c)) {
      status = try_all(device, call, c);
      if (status == FGSM_OK)
        keep(key, c);
    }
  }
  if (status != FGSM_OK) {
    release(call);
    return status;
  }
  call->scratch_bytes = c->workspace_bytes + WORKSPACE_ALIGN;
  return FGSM_OK;
}

const struct fg_kernel fg_cuda_conv = {prepare, run, release};
const struct fg_kernel fg_cuda_conv_grad_input = {prepare, run, release};
const struct fg_kernel fg_cuda_conv_grad_weight = {prepare, run, release};
