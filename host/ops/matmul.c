/* Products of matrices: matmul with any transposition and broadcast leading axes; ONNX MatMul,
 * Gemm. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* M, K and N of op(a) op(b). */
struct sizes {
  int64_t m, k, k_of_b, n;
};

static struct sizes sizes_of(const struct fg_value *a, const struct fg_value *b,
                             const struct fg_matmul_attrs *attrs) {
  const int64_t *ta = a->dim + a->rank - 2, *tb = b->dim + b->rank - 2;
  return (struct sizes){ta[attrs->trans_a], ta[!attrs->trans_a], tb[attrs->trans_b],
                        tb[!attrs->trans_b]};
}

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  const struct fg_matmul_attrs *attrs = &node->attrs.matmul;
  FG_TRY(fg_rule_inputs(g, node, 2, 5));
  FG_TRY(fg_rule_reals(g, node, 31));
  FG_TRY(fg_rule_unary(&attrs->act));
  if (!isfinite(attrs->alpha))
    return FG_FAIL(MODEL, "alpha %g is not finite", attrs->alpha);
  const struct fg_value *a = fg_rule_input(g, node, 0), *b = fg_rule_input(g, node, 1),
                        *bias = fg_rule_input(g, node, 2), *residual = fg_rule_input(g, node, 3);
  if (a->rank < 2 || b->rank < 2)
    return FG_FAIL(MODEL, "shapes %s and %s are not matrices", FG_SHAPE(a), FG_SHAPE(b));
  struct sizes s = sizes_of(a, b, attrs);
  if (s.k != s.k_of_b)
    return FG_FAIL(MODEL, "shapes %s%s and %s%s do not multiply: %lld is not %lld", FG_SHAPE(a),
                   attrs->trans_a ? " transposed" : "", FG_SHAPE(b),
                   attrs->trans_b ? " transposed" : "", (long long)s.k, (long long)s.k_of_b);
  if (s.k < 1)
    return FG_FAIL(UNSUPPORTED, "shapes %s and %s: nothing to sum over", FG_SHAPE(a), FG_SHAPE(b));
  struct fg_value lead_a = *a, lead_b = *b, lead = {.rank = 0};
  lead_a.rank -= 2;
  lead_b.rank -= 2;
  FG_TRY(fg_broadcast_shape(&lead_a, &lead_b, &lead));
  lead.dim[lead.rank++] = s.m;
  lead.dim[lead.rank++] = s.n;
  FG_TRY(fg_rule_vector(bias, s.n, "bias"));
  if (residual)
    FG_TRY(fg_rule_same_shape(residual, &lead, "the residual"));
  if (fg_rule_input(g, node, 4)) {
    FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 4), &lead, "what the slope is of"));
    if (bias)
      return FG_FAIL(MODEL, "a gradient with a slope has no bias");
  }
  return fg_rule_output(out, a->type, lead.rank, lead.dim);
}

/* [..., R, C] -> [all, C] */
static fgsm_status flatten(struct fg_graph *g, fg_id x, fg_id *out) {
  const struct fg_value *v = fg_value(g, x);
  int64_t columns = v->dim[v->rank - 1], dim[2] = {fg_value_count(g, x) / columns, columns};
  if (v->rank == 2) {
    *out = x;
    return FGSM_OK;
  }
  return fg_reshape(g, x, 2, dim, out);
}

/* y = alpha op(a) op(b): the gradient of a is alpha times dy op(b)^T or its transpose. */
static fgsm_status grad_a(struct fg_graph *g, const struct fg_matmul_attrs *t, fg_id a, fg_id b,
                          fg_id dy, fg_id *out) {
  if (t->trans_a)
    FG_TRY(fg_matmul(g, b, dy, t->trans_b, true, t->alpha, out));
  else
    FG_TRY(fg_matmul(g, dy, b, false, !t->trans_b, t->alpha, out));
  return fg_sum_to(g, *out, a, out);
}

/* Where b is one matrix for all of a's, the sum over the leading axes is part of the product. */
static fgsm_status grad_b(struct fg_graph *g, const struct fg_matmul_attrs *t, fg_id a, fg_id b,
                          fg_id dy, fg_id *out) {
  if (fg_value(g, b)->rank == 2 && !t->trans_a) {
    FG_TRY(flatten(g, a, &a));
    FG_TRY(flatten(g, dy, &dy));
  }
  if (t->trans_b)
    FG_TRY(fg_matmul(g, dy, a, true, t->trans_a, t->alpha, out));
  else
    FG_TRY(fg_matmul(g, a, dy, !t->trans_a, false, t->alpha, out));
  return fg_sum_to(g, *out, b, out);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  const struct fg_matmul_attrs *attrs = &node->attrs.matmul;
  fg_id dy = ctx->out_grad[0];
  int rank = fg_value(ctx->g, dy)->rank;
  FG_TRY(fg_rule_plain(&attrs->act));
  if (ctx->wanted[0])
    FG_TRY(grad_a(ctx->g, attrs, node->in[0], node->in[1], dy, &ctx->in_grad[0]));
  if (ctx->wanted[1])
    FG_TRY(grad_b(ctx->g, attrs, node->in[0], node->in[1], dy, &ctx->in_grad[1]));
  if (ctx->wanted[2])
    FG_TRY(fg_reduce(ctx->g, FG_REDUCE_sum, dy, (1u << (rank - 1)) - 1, false, &ctx->in_grad[2]));
  if (ctx->wanted[3])
    ctx->in_grad[3] = dy;
  return FGSM_OK;
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  struct sizes s =
      sizes_of(fg_value(g, node->in[0]), fg_value(g, node->in[1]), &node->attrs.matmul);
  return 2.0 * (double)fg_value_count(g, node->out[0]) * (double)s.k;
}

const struct fg_op_def fg_def_matmul = {infer, grad, flops};

/* ---- ONNX */

fgsm_status fg_import_MatMul(struct fg_import *im) {
  union fg_attrs attrs = {.matmul = {.alpha = 1}};
  fg_id in[2], y;
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  int rank_a = fg_value(im->g, in[0])->rank, rank_b = fg_value(im->g, in[1])->rank;
  if (rank_a == 1)
    FG_TRY(fg_reshape(im->g, in[0], 2, (int64_t[]){1, fg_value(im->g, in[0])->dim[0]}, &in[0]));
  if (rank_b == 1)
    FG_TRY(fg_reshape(im->g, in[1], 2, (int64_t[]){fg_value(im->g, in[1])->dim[0], 1}, &in[1]));
  FG_TRY(fg_import_append(im, FG_OP_matmul, &attrs, 2, in, &y));
  struct fg_value v = *fg_value(im->g, y);
  if (rank_b == 1)
    v.rank--;
  if (rank_a == 1) { /* the place of M: last, or before N */
    if (rank_b != 1)
      v.dim[v.rank - 2] = v.dim[v.rank - 1];
    v.rank--;
  }
  im->out[0] = y;
  if (rank_a > 1 && rank_b > 1)
    return FGSM_OK;
  return fg_reshape(im->g, y, v.rank, v.dim, &im->out[0]);
}

/* Gemm's C as matmul's bias [N], if it is the same for every row; FG_ABSENT if not. */
static fgsm_status row_bias(struct fg_graph *g, fg_id c, int64_t columns, fg_id *bias) {
  struct fg_value v = *fg_value(g, c);
  int64_t last = v.rank ? v.dim[v.rank - 1] : 1;
  *bias = FG_ABSENT;
  if (v.rank > 2 || (v.rank == 2 && v.dim[0] != 1) || (last != 1 && last != columns))
    return FGSM_OK;
  *bias = c;
  if (v.rank != 1)
    FG_TRY(fg_reshape(g, c, 1, &last, bias));
  return last == columns ? FGSM_OK : fg_expand(g, *bias, 1, &columns, bias);
}

fgsm_status fg_import_Gemm(struct fg_import *im) {
  union fg_attrs attrs = {0};
  int64_t trans_a, trans_b;
  double beta;
  fg_id in[3], c = fg_import_optional(im, 2), y;
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  FG_TRY(fg_attr_float(im, "alpha", 1, &attrs.matmul.alpha));
  FG_TRY(fg_attr_float(im, "beta", 1, &beta));
  FG_TRY(fg_attr_int(im, "transA", 0, &trans_a));
  FG_TRY(fg_attr_int(im, "transB", 0, &trans_b));
  attrs.matmul.trans_a = trans_a != 0;
  attrs.matmul.trans_b = trans_b != 0;
  const struct fg_value *a = fg_value(im->g, in[0]), *b = fg_value(im->g, in[1]);
  if (a->rank != 2 || b->rank != 2)
    return FG_FAIL(MODEL, "shapes %s and %s are not matrices", FG_SHAPE(a), FG_SHAPE(b));
  struct sizes s = sizes_of(a, b, &attrs.matmul);
  if (c == FG_ABSENT || beta == 0)
    return fg_import_append(im, FG_OP_matmul, &attrs, 2, in, &im->out[0]);
  if (beta != 1) {
    fg_id factor;
    FG_TRY(fg_graph_scalar(im->g, beta, &factor));
    FG_TRY(fg_binary(im->g, FG_BINARY_mul, c, factor, &c));
  }
  FG_TRY(row_bias(im->g, c, s.n, &in[2]));
  if (in[2] != FG_ABSENT)
    return fg_import_append(im, FG_OP_matmul, &attrs, 3, in, &im->out[0]);
  FG_TRY(fg_import_append(im, FG_OP_matmul, &attrs, 2, in, &y));
  struct fg_value shape = *fg_value(im->g, y), sum;
  FG_TRY(fg_broadcast_shape(&shape, fg_value(im->g, c), &sum));
  FG_TRY(fg_rule_same_shape(&sum, &shape, "A B + C"));
  return fg_binary(im->g, FG_BINARY_add, y, c, &im->out[0]);
}
