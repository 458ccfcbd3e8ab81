/* The attack of dense networks: gemm_grad_input_step, whose first layer is one product, and
 * mlp_fgsm, all of one in one call. Neither has a gradient, as no step has. */
#include <math.h>

#include "rules.h"

/* Features of a sample of x [N, ...]; counts were checked when x was made. */
static int64_t features(const struct fg_value *x) {
  int64_t n = 1;
  for (int i = 1; i < x->rank; i++)
    n *= x->dim[i];
  return n;
}

/* gemm_grad_input_step: dy, w, x0, x, eps_map?, mask?, params -> x', gradient, stats. */
static fgsm_status infer_gemm(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  const struct fg_matmul_attrs *a = &node->attrs.gemm_step.matmul;
  FG_TRY(fg_rule_inputs(g, node, 4, 7));
  FG_TRY(fg_rule_grad_step_reals(g, node));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1),
                        *x0 = fg_rule_input(g, node, 2);
  if (a->trans_a || a->act.kind != FG_UNARY_identity || !isfinite(a->alpha))
    return FG_FAIL(INTERNAL, "a product that is no layer's gradient");
  FG_TRY(fg_rule_step(&node->attrs.gemm_step.step, x0, fg_rule_input(g, node, 4),
                      fg_rule_input(g, node, 5), fg_rule_input(g, node, 6)));
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 3), x0, "x"));
  int64_t n = features(x0);
  if (dy->rank != 2 || w->rank != 2 || dy->dim[0] != x0->dim[0] || w->dim[!a->trans_b] != n ||
      w->dim[a->trans_b] != dy->dim[1])
    return FG_FAIL(MODEL, "dy %s times w %s%s is no gradient of x0 %s", FG_SHAPE(dy), FG_SHAPE(w),
                   a->trans_b ? " transposed" : "", FG_SHAPE(x0));
  FG_TRY(fg_rule_output(&out[0], x0->type, x0->rank, x0->dim));
  FG_TRY(fg_rule_output(&out[1], x0->type, x0->rank, x0->dim));
  return fg_rule_output(&out[2], x0->type, 2, (int64_t[]){x0->dim[0], 3});
}

static double flops_gemm(const struct fg_graph *g, const struct fg_node *node) {
  return 2.0 * (double)fg_value(g, node->in[0])->dim[0] * (double)fg_value_count(g, node->in[1]);
}

const struct fg_op_def fg_def_gemm_grad_input_step = {infer_gemm, NULL, flops_gemm};

static bool takes_act(enum fg_unary_kind kind) {
  return kind == FG_UNARY_identity || kind == FG_UNARY_relu || kind == FG_UNARY_leaky_relu ||
         kind == FG_UNARY_sigmoid || kind == FG_UNARY_tanh || kind == FG_UNARY_gelu ||
         kind == FG_UNARY_gelu_tanh;
}

/* Layers, widths and activations; how many weights they take. */
static fgsm_status check_layers(const struct fg_mlp_attrs *a, int64_t *weights) {
  if (a->layers < 1 || a->layers > FG_MLP_LAYERS)
    return FG_FAIL(UNSUPPORTED, "%d layers: 1 to %d are supported", a->layers, FG_MLP_LAYERS);
  *weights = 0;
  for (int l = 0; l <= a->layers; l++) {
    int64_t own;
    if (a->width[l] < 1)
      return FG_FAIL(MODEL, "layer %d is %d wide", l, a->width[l]);
    if (l && (!fg_mul_ok((int64_t)a->width[l - 1] + 1, a->width[l], &own) ||
              __builtin_add_overflow(*weights, own, weights)))
      return FG_FAIL(MODEL, "more weights than can be counted");
    if (l && !takes_act(a->act[l - 1].kind))
      return FG_FAIL(UNSUPPORTED, "activation %s after layer %d", fg_unary_name(a->act[l - 1].kind),
                     l);
  }
  if (a->act[a->layers - 1].kind != FG_UNARY_identity)
    return FG_FAIL(UNSUPPORTED, "the logits pass through %s",
                   fg_unary_name(a->act[a->layers - 1].kind));
  return FGSM_OK;
}

/* mlp_fgsm: x0, x, weights, labels, eps_map?, mask?, params, c? -> x', loss, prediction, stats,
 * logits. */
static fgsm_status infer_mlp(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  const struct fg_mlp_attrs *a = &node->attrs.mlp;
  const enum fg_loss_kind kind = a->loss.kind;
  int64_t count;
  const bool looks = a->steps == 0 && !a->search;
  const struct fg_value *x = fg_rule_input(g, node, 1), *weights = fg_rule_input(g, node, 2);
  if (!looks)
    FG_TRY(fg_rule_inputs(g, node, 4, 8));
  else if (node->n_in != 4 || !x || fg_rule_input(g, node, 0) || !weights ||
           !fg_rule_input(g, node, 3))
    return FG_FAIL(INTERNAL, "a look takes x, weights and labels");
  const uint32_t reals = weights && weights->type == FG_BF16 ? 3 : 7;
  FG_TRY(fg_rule_reals(g, node, looks ? reals & 6 : reals));
  const struct fg_value *x0 = looks ? x : fg_rule_input(g, node, 0),
                        *labels = fg_rule_input(g, node, 3);
  FG_TRY(check_layers(a, &count));
  if (kind < FG_LOSS_ce || kind > FG_LOSS_linear)
    return FG_FAIL(INTERNAL, "there is no loss %d", (int)kind);
  if (a->width[a->layers] < (kind == FG_LOSS_dlr ? 3 : 2))
    return FG_FAIL(UNSUPPORTED, "a loss over %d classes", a->width[a->layers]);
  if (a->step.norm != FG_NORM_linf)
    return FG_FAIL(UNSUPPORTED, "a whole attack in one call is linf's alone");
  if (a->steps < (a->search ? 1 : 0) || (a->search && a->steps > 50))
    return FG_FAIL(INTERNAL, "%d steps", a->steps);
  if (!looks)
    FG_TRY(fg_rule_step(&a->step, x0, fg_rule_input(g, node, 4), fg_rule_input(g, node, 5),
                        fg_rule_input(g, node, 6)));
  FG_TRY(fg_rule_same_shape(x, x0, "x"));
  FG_TRY(fg_rule_vector(weights, count, "weights"));
  FG_TRY(fg_rule_vector(labels, x0->dim[0], "labels"));
  FG_TRY(fg_rule_functional(kind, fg_rule_input(g, node, 7), x0, a->width[a->layers]));
  if (features(x0) != a->width[0] || labels->type != FG_I32)
    return FG_FAIL(MODEL, "x0 %s or labels of %s where [N, %d] and int32 are expected",
                   FG_SHAPE(x0), fg_type_name(labels->type), a->width[0]);
  if (!looks)
    FG_TRY(fg_rule_output(&out[0], x0->type, x0->rank, x0->dim));
  FG_TRY(fg_rule_output(&out[1], x0->type, 1, x0->dim));
  FG_TRY(fg_rule_output(&out[2], FG_I32, 1, x0->dim));
  if (!looks)
    FG_TRY(fg_rule_output(&out[3], x0->type, 2, (int64_t[]){x0->dim[0], a->search ? 4 : 3}));
  return fg_rule_output(&out[4], x0->type, 2, (int64_t[]){x0->dim[0], a->width[a->layers]});
}

/* Two per weight and sample forward, two backward; a search goes forward `steps` + 2 times more. */
static double flops_mlp(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_mlp_attrs *a = &node->attrs.mlp;
  double pass =
      2.0 * (double)fg_value(g, node->in[1])->dim[0] * (double)fg_value_count(g, node->in[2]);
  return a->search ? pass * (4 + a->steps) : pass * (a->steps ? 2 * a->steps : 1);
}

const struct fg_op_def fg_def_mlp_fgsm = {infer_mlp, NULL, flops_mlp};
