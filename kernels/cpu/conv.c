/* Convolution and its two gradients: by Winograd's filtering, or on the processor's tiles, where that is open and
 * was found faster (conv_choice.c), and else by oneDNN's plain sums (conv_direct.c). */
#include "conv.h"

#include <stdlib.h>
#include <string.h>

#include "conv_split.h"
#include "conv_winograd.h"
#include "feature.h"

struct conv_state {
  struct fg_dnnl_primitive primitive;
  struct fg_conv_winograd *winograd; /* instead of it, or NULL */
  struct fg_conv_split *split;       /* likewise */
  bool empty; /* nothing to sum over: the output is zero, or has no elements */
};

enum { SLOPE_OF = 2, RESIDUAL = 3 };

bool fg_conv_is_gradient(const struct fg_call *call) {
  return call->op == FG_OP_conv_grad_input;
}

bool fg_conv_may_be_fast(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const struct fg_tensor *w = &call->in[1], *y = &call->out[0];
  bool gradient = fg_conv_is_gradient(call);
  if ((call->op != FG_OP_conv && !gradient) || !(call->constant >> 1 & 1) || !w->data ||
      w->layout != FG_PLAIN)
    return false;
  for (int i = gradient ? SLOPE_OF : RESIDUAL; i <= RESIDUAL; i++)
    if (fg_cpu_optional(call, i) &&
        (call->in[i].layout != y->layout || !fg_same_shape(&call->in[i], y)))
      return false;
  if (gradient)
    return a->act.kind == (fg_cpu_optional(call, SLOPE_OF) ? FG_UNARY_relu : FG_UNARY_identity);
  return a->act.kind == FG_UNARY_relu || a->act.kind == FG_UNARY_identity;
}

static fgsm_status check(const struct fg_call *call, const struct fg_conv_sides *s) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  FG_TRY(fg_cpu_need_f32(call, call->n_in, 1));
  if (call->n_out > 1 && fg_cpu_present(&call->out[1]))
    return FG_FAIL(UNSUPPORTED, "cpu: %s without a mask only", fg_op_name(call->op));
  int rank = a->spatial + 2;
  if ((rank != 4 && rank != 5) || s->x->rank != rank || s->w->rank != rank || s->y->rank != rank)
    return FG_FAIL(UNSUPPORTED, "cpu: %s over two or three axes only", fg_op_name(call->op));
  for (int i = 0; i < a->spatial; i++)
    if (a->pad_lo[i] < 0 || a->pad_hi[i] < 0)
      return FG_FAIL(UNSUPPORTED, "cpu: %s with negative padding", fg_op_name(call->op));
  if (s->w->layout != FG_PLAIN)
    return FG_FAIL(UNSUPPORTED, "cpu: convolution weights lie plainly");
  if (s->residual && (!fg_same_shape(s->residual, s->y) || s->residual->layout != s->y->layout))
    return FG_FAIL(UNSUPPORTED, "cpu: a fused residual has the result's shape and layout");
  int block = fg_cpu_block();
  if (s->residual && block && s->y->dim[1] % block && s->x->dim[1] % block == 0)
    return FG_FAIL(UNSUPPORTED, "cpu: a residual of a result without blocks, from blocks");
  return FGSM_OK;
}

static fgsm_status choose(struct fg_cpu_device *device, struct fg_call *call,
                          struct conv_state *state) {
  int m = fg_conv_choose(device, call);
  if (m == FG_CONV_PLAIN_WAY) {
    FG_TRY(fg_conv_direct(device, call, &state->primitive));
    call->scratch_bytes = state->primitive.scratch_bytes;
    call->state_bytes = state->primitive.kept_bytes;
    return FGSM_OK;
  }
  if (call->trial)
    return FGSM_OK;
  if (m == FG_CONV_SPLIT_WAY) {
    FG_TRY(fg_conv_split_create(device, call, &state->split, &call->state_bytes));
    call->scratch_bytes = fg_conv_split_scratch_bytes(state->split);
    call->fast = "three bfloat16s";
    return FGSM_OK;
  }
  FG_TRY(fg_conv_winograd_create(device, call, m, &state->winograd, &call->state_bytes));
  call->scratch_bytes = fg_conv_winograd_scratch_bytes(state->winograd);
  call->fast = m == 2 ? "winograd 2x2" : "winograd 4x4";
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  struct fg_conv_sides s = fg_conv_sides_of(call);
  FG_TRY(check(call, &s));
  struct conv_state *state = calloc(1, sizeof *state);
  if (!state)
    return FG_FAIL(MEMORY, "no memory for a convolution's state");
  fgsm_status status = FGSM_OK;
  state->empty = fg_count(s.x) == 0 || fg_count(s.y) == 0 || fg_count(s.w) == 0;
  if (!state->empty)
    status = choose((struct fg_cpu_device *)base, call, state);
  else if (s.direction == FG_DNNL_FORWARD && fg_count(s.y) != 0)
    status = FG_FAIL(UNSUPPORTED, "cpu: a convolution over no channels");
  else if (call->op == FG_OP_conv_grad_input && call->n_in > 2 && fg_count(s.x) != 0)
    status = FG_FAIL(UNSUPPORTED, "cpu: a convolution's gradient of nothing, and more added to it");
  if (status != FGSM_OK) {
    free(state);
    return status;
  }
  call->state = state;
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct conv_state *state = call->state;
  if (state->empty) {
    if (fg_bytes(&call->out[0]))
      memset(call->out[0].data, 0, fg_bytes(&call->out[0]));
    return FGSM_OK;
  }
  if (state->split) {
    fg_conv_split_run(state->split, call, scratch);
    return FGSM_OK;
  }
  if (state->winograd) {
    fg_conv_winograd_run(state->winograd, call, scratch);
    return FGSM_OK;
  }
  return fg_conv_direct_run(&state->primitive, call, scratch);
}

static void release(struct fg_call *call) {
  struct conv_state *state = call->state;
  if (!state)
    return;
  fg_dnnl_primitive_destroy(&state->primitive);
  fg_conv_winograd_destroy(state->winograd);
  fg_conv_split_destroy(state->split);
  free(state);
  call->state = NULL;
}

const struct fg_kernel fg_cpu_conv = {prepare, run, release};
const struct fg_kernel fg_cpu_conv_grad_input = {prepare, run, release};
const struct fg_kernel fg_cpu_conv_grad_weight = {prepare, run, release};
