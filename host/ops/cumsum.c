/* cumsum and ONNX CumSum. The gradient is the same sum from the other end. */
#include "rules.h"

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  int axis = node->attrs.cumsum.axis;
  FG_TRY(fg_rule_inputs(g, node, 1, 1));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  if (axis < 0 || axis >= x->rank)
    return FG_FAIL(MODEL, "axis %d is out of range for rank %d", axis, x->rank);
  if (x->type == FG_BOOL)
    return FG_FAIL(MODEL, "arithmetic in bool is not defined: cast to float32 or int64");
  return fg_rule_output(out, x->type, x->rank, x->dim);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  union fg_attrs a = ctx->node->attrs;
  a.cumsum.reverse = !a.cumsum.reverse;
  return fg_rule_append(ctx->g, FG_OP_cumsum, &a, 1, ctx->out_grad, &ctx->in_grad[0]);
}

const struct fg_op_def fg_def_cumsum = {infer, grad, NULL};

fgsm_status fg_import_CumSum(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t axis, exclusive, reverse;
  int n;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input_ints(im, 1, 1, &axis, &n));
  if (n != 1)
    return FG_FAIL(MODEL, "the axis (input 1) is missing");
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &a.cumsum.axis));
  FG_TRY(fg_attr_int(im, "exclusive", 0, &exclusive));
  FG_TRY(fg_attr_int(im, "reverse", 0, &reverse));
  a.cumsum.exclusive = exclusive != 0;
  a.cumsum.reverse = reverse != 0;
  return fg_import_append(im, FG_OP_cumsum, &a, 1, &x, &im->out[0]);
}
