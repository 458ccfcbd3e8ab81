/* attention, attention_grad: kernels of our own (attention.cu), or where cuDNN has words for the call
 * (attention_graph.h) and is faster on this card, its flash attention. */
#include "attention_own.h"

#include <stdlib.h>

#include "attention_graph.h"
#include "dnn_contest.h"

struct attention {
  struct fg_dnn_contest contest; /* in front of its workspace the gradient's sums, a float a row */
  float scale, one;              /* read when the plan runs */
};

static const struct fg_kernel *own_of(const struct fg_call *call) {
  return call->op == FG_OP_attention ? &fg_cuda_own_attention : &fg_cuda_own_attention_grad;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct attention *a = call->state;
  struct fg_dnn_bound b = {.n = 0};
  if (!a || !a->contest.plan)
    return own_of(call)->run(call, scratch, stream);
  char *sums = (char *)fg_dnn_align((uintptr_t)scratch);
  fg_dnn_bind_call(&b, call, FG_SDPA_IN, FG_SDPA_OUT);
  fg_dnn_bind(&b, FG_SDPA_SCALE, &a->scale);
  if (call->op == FG_OP_attention_grad) {
    fg_dnn_bind(&b, FG_SDPA_ONE, &a->one);
    fg_dnn_bind(&b, FG_SDPA_SUMS, sums);
  }
  return fg_dnn_contest_run(&a->contest, call, &b, sums, stream);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  FG_TRY(own_of(call)->prepare(call, base));
  if (call->trial || !fg_cuda_sdpa_can(call))
    return FGSM_OK;
  struct attention *a = calloc(1, sizeof *a);
  if (!a)
    return FG_FAIL(MEMORY, "no memory for attention");
  if (call->op == FG_OP_attention_grad)
    a->contest.front_bytes = fg_dnn_align((size_t)fg_count(&call->in[5]) * sizeof(float));
  a->scale = (float)call->attrs->attention.scale;
  a->one = 1;
  return fg_dnn_contest_prepare(call, base, &a->contest, fg_cuda_sdpa_graph, run);
}

const struct fg_kernel fg_cuda_attention = {prepare, run, fg_dnn_contest_release};
const struct fg_kernel fg_cuda_attention_grad = {prepare, run, fg_dnn_contest_release};
