/* layer_norm, layer_norm_grad: kernels of our own (layer_norm.cu), or where cuDNN has words for the call
 * (layer_norm_graph.h) and is faster on this card, its own. */
#include "layer_norm_own.h"

#include <stdlib.h>

#include "dnn_contest.h"
#include "layer_norm_graph.h"

struct layer_norm {
  struct fg_dnn_contest contest; /* in front of its workspace dscale and dbias, if nobody asked */
  float epsilon;                 /* read when the plan runs */
};

static const struct fg_kernel *own_of(const struct fg_call *call) {
  return call->op == FG_OP_layer_norm ? &fg_cuda_own_layer_norm : &fg_cuda_own_layer_norm_grad;
}

static size_t scale_bytes(const struct fg_call *call) {
  return fg_dnn_align((size_t)fg_count(&call->in[2]) * sizeof(float));
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct layer_norm *l = call->state;
  struct fg_dnn_bound b = {.n = 0};
  if (!l || !l->contest.plan)
    return own_of(call)->run(call, scratch, stream);
  char *front = (char *)fg_dnn_align((uintptr_t)scratch);
  fg_dnn_bind_call(&b, call, FG_NORM_IN, FG_NORM_OUT);
  if (call->op == FG_OP_layer_norm)
    fg_dnn_bind(&b, FG_NORM_EPSILON, &l->epsilon);
  else
    for (int i = 1; i < 3; i++)
      if (!fg_cuda_out(call, i))
        fg_dnn_bind(&b, FG_NORM_OUT + i, front + (size_t)(i - 1) * scale_bytes(call));
  return fg_dnn_contest_run(&l->contest, call, &b, front, stream);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  FG_TRY(own_of(call)->prepare(call, base));
  if (call->trial || !fg_cuda_norm_can(call))
    return FGSM_OK;
  struct layer_norm *l = calloc(1, sizeof *l);
  if (!l)
    return FG_FAIL(MEMORY, "no memory for layer normalisation");
  if (call->op == FG_OP_layer_norm_grad)
    l->contest.front_bytes = 2 * scale_bytes(call);
  l->epsilon = (float)call->attrs->layer_norm.epsilon;
  return fg_dnn_contest_prepare(call, base, &l->contest, fg_cuda_norm_graph, run);
}

const struct fg_kernel fg_cuda_layer_norm = {prepare, run, fg_dnn_contest_release};
const struct fg_kernel fg_cuda_layer_norm_grad = {prepare, run, fg_dnn_contest_release};
