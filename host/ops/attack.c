/* The steps of an attack as operators: loss, perturb, step, quantize. None has a
 * gradient: the objective's derivative is what loss hands out, and nothing is differentiated
 * through a step. */
#include "rules.h"

/* A vector of one element per sample. */
static fgsm_status per_sample(const struct fg_value *v, int64_t n, enum fg_type type,
                              const char *what) {
  FG_TRY(fg_rule_vector(v, n, what));
  if (v && v->type != type)
    return FG_FAIL(MODEL, "%s is %s where %s is expected", what, fg_type_name(v->type),
                   fg_type_name(type));
  return FGSM_OK;
}

static fgsm_status check_samples(const struct fg_value *x) {
  if (x->rank < 1)
    return FG_FAIL(MODEL, "x has no batch axis");
  return FGSM_OK;
}

fgsm_status fg_rule_functional(enum fg_loss_kind kind, const struct fg_value *c,
                               const struct fg_value *z, int64_t classes) {
  if ((c != NULL) != (kind == FG_LOSS_linear))
    return FG_FAIL(INTERNAL, "a linear loss, and no other, has coefficients");
  if (!c)
    return FGSM_OK;
  FG_TRY(fg_rule_vector(c, classes, "coefficients"));
  if (c->type != z->type)
    return FG_FAIL(MODEL, "coefficients are %s where %s is expected", fg_type_name(c->type),
                   fg_type_name(z->type));
  return FGSM_OK;
}

static fgsm_status infer_loss(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  enum fg_loss_kind kind = node->attrs.loss.kind;
  FG_TRY(fg_rule_inputs(g, node, 2, 3));
  FG_TRY(fg_rule_reals(g, node, 1));
  const struct fg_value *z = fg_rule_input(g, node, 0), *labels = fg_rule_input(g, node, 1);
  if (kind < FG_LOSS_ce || kind > FG_LOSS_linear)
    return FG_FAIL(INTERNAL, "there is no loss %d", (int)kind);
  int64_t least = kind == FG_LOSS_dlr ? 3 : 2;
  if (z->rank != 2 || z->dim[1] < least || z->dim[1] > INT32_MAX)
    return FG_FAIL(UNSUPPORTED, "logits have shape %s: [N, K] with at least %lld classes is needed",
                   FG_SHAPE(z), (long long)least);
  FG_TRY(per_sample(labels, z->dim[0], FG_I32, "labels"));
  FG_TRY(fg_rule_functional(kind, fg_rule_input(g, node, 2), z, z->dim[1]));
  FG_TRY(fg_rule_output(&out[0], z->type, 2, z->dim));
  FG_TRY(fg_rule_output(&out[1], z->type, 1, z->dim));
  return fg_rule_output(&out[2], FG_I32, 1, z->dim);
}

static double flops_loss(const struct fg_graph *g, const struct fg_node *node) {
  return 4.0 * (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_loss = {infer_loss, NULL, flops_loss};

/* params are FG_PARAM_COUNT doubles or, with `rows`, so many for each sample of x. */
static fgsm_status check_params(const struct fg_value *x, const struct fg_value *params,
                                bool rows) {
  if (!params)
    return FG_FAIL(INTERNAL, "params are missing");
  if (!rows || params->rank != 2)
    return per_sample(params, FG_PARAM_COUNT, FG_F64, "params");
  if (params->type != FG_F64 || params->dim[0] != x->dim[0] || params->dim[1] != FG_PARAM_COUNT)
    return FG_FAIL(MODEL, "params are %s %s where float64 [%lld, %d] is expected",
                   fg_type_name(params->type), FG_SHAPE(params), (long long)x->dim[0],
                   (int)FG_PARAM_COUNT);
  return FGSM_OK;
}

/* eps_map and mask have a sample's shape. */
static fgsm_status check_maps(const struct fg_value *x, const struct fg_value *eps_map,
                              const struct fg_value *mask, const struct fg_value *params,
                              bool rows) {
  const struct fg_value *map[] = {eps_map, mask};
  static const char *const what[] = {"eps_map", "the mask"};
  struct fg_value sample = {.rank = x->rank - 1};
  FG_TRY(check_samples(x));
  for (int i = 1; i < x->rank; i++)
    sample.dim[i - 1] = x->dim[i];
  for (int i = 0; i < 2; i++)
    if (map[i]) {
      FG_TRY(fg_rule_same_shape(map[i], &sample, what[i]));
      if (map[i]->type != x->type)
        return FG_FAIL(MODEL, "%s is %s where %s is expected", what[i], fg_type_name(map[i]->type),
                       fg_type_name(x->type));
    }
  return check_params(x, params, rows);
}

static fgsm_status check_norm(enum fg_norm norm) {
  if (norm != FG_NORM_linf && norm != FG_NORM_l2 && norm != FG_NORM_l1)
    return FG_FAIL(INTERNAL, "there is no norm %d", (int)norm);
  return FGSM_OK;
}

fgsm_status fg_rule_step(const struct fg_step_attrs *a, const struct fg_value *x0,
                         const struct fg_value *eps_map, const struct fg_value *mask,
                         const struct fg_value *params) {
  FG_TRY(check_norm(a->norm));
  return check_maps(x0, eps_map, mask, params, false);
}

fgsm_status fg_rule_grad_step_reals(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_value *dy = fg_rule_input(g, node, 0), *w = fg_rule_input(g, node, 1);
  bool halves = dy->type == FG_BF16 && w->type == FG_BF16;
  return fg_rule_reals(g, node, halves ? 12 : 15);
}

static fgsm_status infer_perturb(const struct fg_graph *g, struct fg_node *node,
                                 struct fg_value *out) {
  enum fg_start kind = node->attrs.perturb.kind;
  FG_TRY(fg_rule_inputs(g, node, 2, 5));
  FG_TRY(fg_rule_reals(g, node, 1));
  FG_TRY(check_norm(node->attrs.perturb.norm));
  if (kind != FG_START_none && kind != FG_START_uniform && kind != FG_START_sign)
    return FG_FAIL(INTERNAL, "there is no random start %d", (int)kind);
  const struct fg_value *x0 = fg_rule_input(g, node, 0);
  FG_TRY(check_maps(x0, fg_rule_input(g, node, 2), fg_rule_input(g, node, 3),
                    fg_rule_input(g, node, 4), false));
  FG_TRY(per_sample(fg_rule_input(g, node, 1), x0->dim[0], FG_I64, "index"));
  return fg_rule_output(out, x0->type, x0->rank, x0->dim);
}

static double flops_perturb(const struct fg_graph *g, const struct fg_node *node) {
  return 20.0 * (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_perturb = {infer_perturb, NULL, flops_perturb};

static fgsm_status infer_step(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 3, 7));
  FG_TRY(fg_rule_reals(g, node, 15));
  const struct fg_value *x0 = fg_rule_input(g, node, 0), *m = fg_rule_input(g, node, 3);
  FG_TRY(check_norm(node->attrs.step.norm));
  FG_TRY(check_maps(x0, fg_rule_input(g, node, 4), fg_rule_input(g, node, 5),
                    fg_rule_input(g, node, 6), true));
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 1), x0, "x"));
  FG_TRY(fg_rule_same_shape(fg_rule_input(g, node, 2), x0, "the gradient"));
  FG_TRY(fg_rule_output(&out[0], x0->type, x0->rank, x0->dim));
  if (m) {
    FG_TRY(fg_rule_same_shape(m, x0, "the momentum"));
    FG_TRY(fg_rule_output(&out[1], x0->type, x0->rank, x0->dim));
  }
  return fg_rule_output(&out[2], x0->type, 2, (int64_t[]){x0->dim[0], 3});
}

static double flops_step(const struct fg_graph *g, const struct fg_node *node) {
  return 8.0 * (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_step = {infer_step, NULL, flops_step};

static fgsm_status infer_quantize(const struct fg_graph *g, struct fg_node *node,
                                  struct fg_value *out) {
  FG_TRY(fg_rule_inputs(g, node, 3, 3));
  FG_TRY(fg_rule_reals(g, node, 3));
  const struct fg_value *x = fg_rule_input(g, node, 0), *x0 = fg_rule_input(g, node, 1);
  FG_TRY(fg_rule_same_shape(x, x0, "x'"));
  FG_TRY(check_norm(node->attrs.step.norm));
  FG_TRY(check_maps(x0, NULL, NULL, fg_rule_input(g, node, 2), true));
  FG_TRY(fg_rule_output(&out[0], FG_U8, x0->rank, x0->dim));
  return fg_rule_output(&out[1], x0->type, 2, (int64_t[]){x0->dim[0], 2});
}

const struct fg_op_def fg_def_quantize = {infer_quantize, NULL, flops_step};
