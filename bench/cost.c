/* Bytes and FLOPs by operator, from the shapes of a call alone. */
#include "cost.h"

static double count(const struct fg_tensor *t) {
  return t->type == FG_NONE ? 0 : (double)fg_count(t);
}

static double bytes(const struct fg_tensor *t) {
  return t->type == FG_NONE ? 0 : (double)fg_bytes(t);
}

static double all_bytes(const struct fg_call *call) {
  double sum = 0;
  for (int i = 0; i < call->n_in; i++)
    sum += bytes(&call->in[i]);
  for (int i = 0; i < call->n_out; i++)
    sum += bytes(&call->out[i]);
  return sum;
}

double bench_bytes(const struct fg_call *call) {
  const struct fg_tensor *in = call->in, *out = call->out;
  switch (call->op) {
  case FG_OP_reshape:
    return 0;
  case FG_OP_slice:
    return 2 * bytes(&out[0]);
  case FG_OP_gather:
    return 2 * bytes(&out[0]) + bytes(&in[1]);
  case FG_OP_pad:
    return bytes(&in[0]) < bytes(&out[0]) ? bytes(&in[0]) + bytes(&out[0]) : 2 * bytes(&out[0]);
  default:
    return all_bytes(call);
  }
}

bool bench_is_product(enum fg_op op) {
  switch (op) {
  case FG_OP_matmul:
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
  case FG_OP_conv_grad_weight:
  case FG_OP_conv_grad_input_step:
  case FG_OP_gemm_grad_input_step:
  case FG_OP_mlp_fgsm:
  case FG_OP_attention:
  case FG_OP_attention_grad:
    return true;
  default:
    return false;
  }
}

/* Per value of the result and place of the window: w [K, C/group, window...], at y [N, K, ...]. */
static double conv_flops(const struct fg_tensor *w, const struct fg_tensor *y) {
  return w->dim[0] > 0 ? 2 * count(y) * count(w) / (double)w->dim[0] : 0;
}

static double step_flops(const struct fg_call *call, int x) {
  return 25 * count(&call->in[x]);
}

static double fused_flops(const struct fg_call *call) {
  const struct fg_tensor *in = call->in;
  const struct fg_mlp_attrs *a = &call->attrs->mlp;
  struct fg_tensor y = in[0];
  switch (call->op) {
  case FG_OP_conv_grad_input_step:
    for (int i = 0; in[7].type != FG_NONE && i < 4; i++) /* behind a pool */
      y.dim[i] = call->attrs->conv_step.pool.dim[i];
    return conv_flops(&in[1], &y) + step_flops(call, 2);
  case FG_OP_gemm_grad_input_step:
    return 2 * (double)in[0].dim[0] * count(&in[1]) + step_flops(call, 2);
  default: /* mlp_fgsm: two a weight forward, two backward */
    return (double)in[0].dim[0] * 2 * count(&in[2]) * (a->search ? 4 + a->steps : 2 * a->steps) +
           step_flops(call, 0) * (a->search ? a->steps + 3 : a->steps);
  }
}

static double window_of(const struct fg_pool_attrs *a) {
  double places = 1;
  for (int i = 0; i < a->spatial; i++)
    places *= a->window[i];
  return places;
}

/* Forward q kT and p v; backward q kT again, dv, dy vT, dq and dk: per score so many times D and E. */
static double attention_flops(const struct fg_tensor *q, const struct fg_tensor *k,
                              const struct fg_tensor *v, int keys, int values) {
  double scores = (double)(q->dim[0] * q->dim[1] * q->dim[2]) * (double)k->dim[2];
  return scores * (keys * (double)k->dim[3] + values * (double)v->dim[3]);
}

double bench_flops(const struct fg_call *call) {
  const struct fg_tensor *in = call->in, *out = call->out;
  switch (call->op) {
  case FG_OP_matmul:
    return 2 * count(&out[0]) *
           (double)in[0].dim[in[0].rank - (call->attrs->matmul.trans_a ? 2 : 1)];
  case FG_OP_conv:
    return conv_flops(&in[1], &out[0]);
  case FG_OP_conv_grad_input:
    return conv_flops(&in[1], &in[0]);
  case FG_OP_conv_grad_weight:
    return conv_flops(&out[0], &in[1]);
  case FG_OP_conv_grad_input_step:
  case FG_OP_gemm_grad_input_step:
  case FG_OP_mlp_fgsm:
    return fused_flops(call);
  case FG_OP_attention:
    return attention_flops(&in[0], &in[1], &in[2], 2, 2);
  case FG_OP_attention_grad:
    return attention_flops(&in[1], &in[2], &in[3], 6, 4);
  case FG_OP_max_pool:
  case FG_OP_avg_pool:
    return count(&out[0]) * window_of(&call->attrs->pool);
  case FG_OP_max_pool_grad:
    return count(&in[0]);
  case FG_OP_avg_pool_grad:
    return count(&in[0]) * window_of(&call->attrs->pool);
  case FG_OP_reduce:
    return count(&in[0]);
  case FG_OP_softmax:
    return 5 * count(&in[0]);
  case FG_OP_softmax_grad:
    return 4 * count(&in[0]);
  case FG_OP_layer_norm:
    return 8 * count(&in[0]);
  case FG_OP_layer_norm_grad:
    return 12 * count(&in[0]);
  case FG_OP_loss:
    return 10 * count(&in[0]);
  case FG_OP_perturb:
  case FG_OP_step:
    return step_flops(call, 0);
  case FG_OP_quantize:
    return 12 * count(&in[0]);
  case FG_OP_reshape:
  case FG_OP_expand:
  case FG_OP_transpose:
  case FG_OP_concat:
  case FG_OP_slice:
  case FG_OP_slice_grad:
  case FG_OP_pad:
  case FG_OP_gather:
  case FG_OP_reorder:
    return 0;
  default: /* elementwise */
    return call->n_out > 0 ? count(&out[0]) : 0;
  }
}
