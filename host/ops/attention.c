/* attention and its gradient: softmax(scale q kT + bias) v, in one operator. No ONNX file says it in
 * this form; the recogniser (graph/recognise.c) finds it in what exporters write. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* q, k and v at inputs `at` .. at + 2, bias (or not) at `bias`. */
static fgsm_status check(const struct fg_graph *g, const struct fg_node *node, int at, int bias) {
  const struct fg_value *q = fg_rule_input(g, node, at), *k = fg_rule_input(g, node, at + 1),
                        *v = fg_rule_input(g, node, at + 2), *b = fg_rule_input(g, node, bias);
  if (q->rank != 4 || k->rank != 4 || v->rank != 4)
    return FG_FAIL(MODEL, "q, k and v have shapes %s, %s and %s: [B, H, length, D] is needed",
                   FG_SHAPE(q), FG_SHAPE(k), FG_SHAPE(v));
  for (int i = 0; i < 2; i++)
    if (q->dim[i] != k->dim[i] || q->dim[i] != v->dim[i])
      return FG_FAIL(MODEL, "q, k and v of shapes %s, %s and %s differ in batch or heads",
                     FG_SHAPE(q), FG_SHAPE(k), FG_SHAPE(v));
  if (q->dim[3] != k->dim[3] || k->dim[2] != v->dim[2] || k->dim[2] < 1)
    return FG_FAIL(MODEL, "q, k and v of shapes %s, %s and %s do not fit each other", FG_SHAPE(q),
                   FG_SHAPE(k), FG_SHAPE(v));
  if (!isfinite(node->attrs.attention.scale))
    return FG_FAIL(MODEL, "scale %g is not finite", node->attrs.attention.scale);
  if (!b)
    return FGSM_OK;
  struct fg_value z = {.rank = 4, .dim = {q->dim[0], q->dim[1], q->dim[2], k->dim[2]}}, sum;
  FG_TRY(fg_broadcast_shape(&z, b, &sum));
  return fg_rule_same_shape(&sum, &z, "z + bias");
}

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 3, 4));
  FG_TRY(fg_rule_reals(g, node, 15));
  FG_TRY(check(g, node, 0, 3));
  const struct fg_value *q = fg_rule_input(g, node, 0), *v = fg_rule_input(g, node, 2);
  int64_t dim[4] = {q->dim[0], q->dim[1], q->dim[2], v->dim[3]};
  FG_TRY(fg_rule_output(&out[0], q->type, 4, dim));
  return fg_rule_output(&out[1], q->type, 3, dim);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  fg_id out[FG_MAX_OUT], in[7] = {ctx->out_grad[0], node->in[0],  node->in[1], node->in[2],
                                  node->out[0],     node->out[1], FG_ABSENT};
  if (ctx->out_grad[1] != FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "no gradient passes through the log-sum-exp of attention");
  if (node->n_in > 3)
    in[6] = node->in[3];
  FG_TRY(fg_graph_add(ctx->g, FG_OP_attention_grad, "", &node->attrs, 7, in, out));
  for (int i = 0; i < 4; i++)
    ctx->in_grad[i] = out[i];
  return FGSM_OK;
}

/* Products of z with D and with E columns. */
static double products(const struct fg_graph *g, const struct fg_node *node, int at, double of_d,
                       double of_e) {
  const struct fg_value *q = fg_value(g, node->in[at]), *v = fg_value(g, node->in[at + 2]);
  double z = (double)q->dim[0] * (double)q->dim[1] * (double)q->dim[2] * (double)v->dim[2];
  return 2 * z * (of_d * (double)q->dim[3] + of_e * (double)v->dim[3]) + 5 * z;
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  return products(g, node, 0, 1, 1);
}

const struct fg_op_def fg_def_attention = {infer, grad, flops};

static fgsm_status infer_grad(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 6, 7));
  FG_TRY(fg_rule_reals(g, node, 127));
  FG_TRY(check(g, node, 1, 6));
  const struct fg_value *q = fg_rule_input(g, node, 1), *v = fg_rule_input(g, node, 3);
  struct fg_value y = {.rank = 4, .dim = {q->dim[0], q->dim[1], q->dim[2], v->dim[3]}};
  struct fg_value rows = {.rank = 3, .dim = {q->dim[0], q->dim[1], q->dim[2]}};
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 0), &y, "dy"));
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 4), &y, "y"));
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 5), &rows, "lse"));
  for (int i = 0; i < 4; i++) {
    const struct fg_value *like = fg_rule_input(g, node, i < 3 ? i + 1 : 6);
    if (like)
      FG_TRY(fg_rule_output(&out[i], q->type, like->rank, like->dim));
  }
  return FGSM_OK;
}

static double flops_grad(const struct fg_graph *g, const struct fg_node *node) {
  return products(g, node, 1, 3, 2);
}

const struct fg_op_def fg_def_attention_grad = {infer_grad, NULL, flops_grad};
