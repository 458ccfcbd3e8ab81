/* What training adds: normalisation by the batch's own statistics, the operators that write weights,
 * descend and average, which have no results and no gradient, the sum over ranks, and samples drawn from
 * a dataset. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* ---- batch_norm_train */

static fgsm_status check_norm(const struct fg_batch_norm_attrs *a, const struct fg_value *x) {
  if (!(a->epsilon >= 0) || isinf(a->epsilon))
    return FG_FAIL(MODEL, "epsilon %g must be finite and not negative", a->epsilon);
  if (x->rank < 2)
    return FG_FAIL(UNSUPPORTED, "x has shape %s: at least [N, C] is needed", FG_SHAPE(x));
  return FGSM_OK;
}

static fgsm_status infer_norm(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 3));
  FG_TRY(fg_rule_reals(g, node, 7));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(check_norm(&node->attrs.batch_norm, x));
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 1), x->dim[1], "scale"));
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 2), x->dim[1], "bias"));
  FG_TRY(fg_rule_output(&out[0], x->type, x->rank, x->dim));
  FG_TRY(fg_rule_output(&out[1], x->type, 1, &x->dim[1]));
  return fg_rule_output(&out[2], x->type, 1, &x->dim[1]);
}

static fgsm_status grad_norm(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  fg_id scale = node->n_in > 1 ? node->in[1] : FG_ABSENT, out[FG_MAX_OUT];
  if (ctx->out_grad[1] != FG_ABSENT || ctx->out_grad[2] != FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "no gradient passes through the statistics that it hands out");
  fg_id in[] = {ctx->out_grad[0], node->in[0], scale, node->out[1], node->out[2]};
  FG_TRY(fg_graph_add(ctx->g, FG_OP_batch_norm_train_grad, "", &node->attrs, 5, in, out));
  for (int k = 0; k < 3; k++)
    if (ctx->wanted[k])
      ctx->in_grad[k] = out[k];
  return FGSM_OK;
}

static double flops_norm(const struct fg_graph *g, const struct fg_node *node) {
  return 8.0 * (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_batch_norm_train = {infer_norm, grad_norm, flops_norm};

static fgsm_status infer_norm_grad(const struct fg_graph *g, struct fg_node *node,
                                   struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 2, 5));
  FG_TRY(fg_rule_reals(g, node, 31));
  const struct fg_value *x = fg_rule_input(g, node, 1);
  FG_TRY(check_norm(&node->attrs.batch_norm, x));
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 0), x, "dy"));
  FG_TRY(fg_rule_vector(fg_rule_input(g, node, 2), x->dim[1], "scale"));
  for (int i = 3; i < 5; i++) {
    if (!fg_rule_input(g, node, i))
      return FG_FAIL(INTERNAL, "takes the statistics that batch_norm_train found");
    FG_TRY(fg_rule_vector(fg_rule_input(g, node, i), x->dim[1], i == 3 ? "mean" : "variance"));
  }
  FG_TRY(fg_rule_output(&out[0], x->type, x->rank, x->dim));
  FG_TRY(fg_rule_output(&out[1], x->type, 1, &x->dim[1]));
  return fg_rule_output(&out[2], x->type, 1, &x->dim[1]);
}

const struct fg_op_def fg_def_batch_norm_train_grad = {infer_norm_grad, NULL, flops_norm};

/* ---- descend and average */

static fgsm_status infer_descend(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  const struct fg_descend_attrs *a = &node->attrs.descend;
  (void)out;
  FG_TRY(fg_rule_inputs(g, node, 2, 6));
  FG_TRY(fg_rule_reals(g, node, 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5));
  const struct fg_value *w = fg_rule_input(g, node, 0), *m = fg_rule_input(g, node, 2),
                        *v = fg_rule_input(g, node, 3), *rates = fg_rule_input(g, node, 4);
  if ((unsigned)a->kind >= FG_DESCEND_COUNT)
    return FG_FAIL(INTERNAL, "there is no optimiser %d", (int)a->kind);
  bool adam = a->kind != FG_DESCEND_sgd;
  if (adam != (v != NULL) || (adam && !m) || (a->nesterov && (adam || !m)))
    return FG_FAIL(INTERNAL, "sgd takes at most a momentum, adam takes both moments, and nesterov "
                             "is of sgd with momentum");
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 1), w, "the gradient"));
  if (m)
    FG_TRY(fg_rule_same_shape(m, w, "the first moment"));
  if (v)
    FG_TRY(fg_rule_same_shape(v, w, "the second moment"));
  if (!rates || rates->type != FG_F64)
    return FG_FAIL(INTERNAL, "the rates are doubles");
  FG_TRY(fg_rule_vector(rates, FG_RATE_COUNT, "rates"));
  return fg_rule_vector(fg_rule_input(g, node, 5), 1, "the factor");
}

static double flops_descend(const struct fg_graph *g, const struct fg_node *node) {
  double n = (double)fg_value_count(g, node->in[0]);
  return (node->attrs.descend.kind == FG_DESCEND_sgd ? 6 : 14) * n;
}

const struct fg_op_def fg_def_descend = {infer_descend, NULL, flops_descend};

static fgsm_status infer_average(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  (void)out;
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 3));
  return fg_rule_same_shape(fg_rule_input(g, node, 0), fg_rule_input(g, node, 1), "the average");
}

static double flops_average(const struct fg_graph *g, const struct fg_node *node) {
  return 3.0 * (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_average = {infer_average, NULL, flops_average};

/* ---- all_reduce */

static fgsm_status infer_all_reduce(const struct fg_graph *g, struct fg_node *node,
                                    struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  return fg_rule_output(&out[0], x->type, x->rank, x->dim);
}

/* Of the sum over ranks of what each of them makes of y, with respect to this rank's x. */
static fgsm_status grad_all_reduce(struct fg_grad_ctx *ctx) {
  return fg_graph_add(ctx->g, FG_OP_all_reduce, "", NULL, 1, &ctx->out_grad[0], &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_all_reduce = {infer_all_reduce, grad_all_reduce, NULL};

/* ---- augment */

static fgsm_status infer_augment(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  const struct fg_augment_attrs *a = &node->attrs.augment;
  FG_TRY(fg_rule_inputs(g, node, 3, 3));
  const struct fg_value *data = fg_rule_input(g, node, 0), *index = fg_rule_input(g, node, 1);
  const struct fg_value *params = fg_rule_input(g, node, 2);
  int64_t dim[FG_MAX_RANK];
  if (data->rank < 1 || index->rank != 1 || index->type != FG_I64)
    return FG_FAIL(INTERNAL, "samples %s by an index %s", FG_SHAPE(data), FG_SHAPE(index));
  FG_TRY(fg_rule_vector(params, FG_PARAM_COUNT, "params"));
  if (params->type != FG_F64)
    return FG_FAIL(INTERNAL, "params are %s", fg_type_name(params->type));
  if (a->pad < 0 || ((a->pad || a->flip) && (a->axis < 1 || a->axis + 2 > data->rank)))
    return FG_FAIL(INTERNAL, "samples %s have no image at axis %d", FG_SHAPE(data), a->axis);
  memcpy(dim, data->dim, sizeof dim);
  dim[0] = index->dim[0];
  return fg_rule_output(&out[0], data->type, data->rank, dim);
}

const struct fg_op_def fg_def_augment = {infer_augment, NULL, NULL};
