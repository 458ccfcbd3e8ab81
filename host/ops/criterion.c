/* NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss, as some exported training graphs end. The
 * target becomes a comparison with the class numbers, which is one where the class is the target's:
 * what remains are products and sums. */
#include <string.h>

#include "rules.h"

struct loss {
  struct fg_value x; /* [N, C, ...] */
  fg_id picked;      /* [N, C, ...]: the weight where the class is the target's, else 0 */
};

/* The class numbers as [1, C, 1, ...] in the target's type. */
static fgsm_status classes(struct fg_graph *g, const struct fg_value *x, enum fg_type type,
                           fg_id *out) {
  int64_t dim[FG_MAX_RANK], n = x->dim[1];
  int64_t *number = fg_arena_alloc(&g->arena, (size_t)n * sizeof *number + 1);
  if (!number)
    return FGSM_MEMORY;
  for (int i = 0; i < x->rank; i++)
    dim[i] = i == 1 ? n : 1;
  for (int64_t i = 0; i < n; i++)
    number[i] = i;
  FG_TRY(fg_graph_constant(g, "", FG_I64, x->rank, dim, number, out));
  return type == FG_I64 ? FGSM_OK : fg_cast(g, *out, type, 0, out);
}

/* The target, with the classes' axis as 1, shaped for comparisons with x. */
static fgsm_status open_target(struct fg_graph *g, const struct fg_value *x, fg_id *target) {
  struct fg_value t = *fg_value(g, *target), want = *x;
  want.rank--;
  memmove(want.dim + 1, want.dim + 2, (size_t)(want.rank - 1) * sizeof *want.dim);
  if (t.type != FG_I64 && t.type != FG_I32)
    return FG_FAIL(MODEL, "the target is %s, not integers", fg_type_name(t.type));
  FG_TRY(fg_rule_same_shape(&t, &want, "the target"));
  t = *x;
  t.dim[1] = 1;
  return fg_reshape(g, *target, t.rank, t.dim, target);
}

/* Zero where the target is the class to be ignored. */
static fgsm_status ignore(struct fg_import *im, fg_id target, struct loss *l) {
  int64_t number;
  fg_id ignored, zero, is;
  if (!fg_attr_find(im, "ignore_index"))
    return FGSM_OK;
  FG_TRY(fg_attr_int(im, "ignore_index", 0, &number));
  FG_TRY(fg_graph_constant(im->g, "", FG_I64, 0, NULL, &number, &ignored));
  FG_TRY(fg_cast(im->g, ignored, fg_value(im->g, target)->type, 0, &ignored));
  FG_TRY(fg_graph_scalar(im->g, 0, &zero));
  FG_TRY(fg_binary(im->g, FG_BINARY_equal, target, ignored, &is));
  return fg_rule_append(im->g, FG_OP_where, NULL, 3, (fg_id[]){is, zero, l->picked}, &l->picked);
}

static fgsm_status pick(struct fg_import *im, fg_id x, struct loss *l) {
  fg_id target, number, weight = fg_import_optional(im, 2);
  FG_TRY(fg_input(im, 1, &target));
  l->x = *fg_value(im->g, x);
  if (l->x.rank < 2 || l->x.dim[1] < 1)
    return FG_FAIL(MODEL, "x has shape %s, not [N, classes, ...]", FG_SHAPE(&l->x));
  FG_TRY(open_target(im->g, &l->x, &target));
  FG_TRY(classes(im->g, &l->x, fg_value(im->g, target)->type, &number));
  FG_TRY(fg_binary(im->g, FG_BINARY_equal, target, number, &l->picked));
  FG_TRY(fg_cast(im->g, l->picked, l->x.type, 0, &l->picked));
  if (weight != FG_ABSENT) {
    struct fg_value w = l->x;
    for (int i = 0; i < w.rank; i++)
      w.dim[i] = i == 1 ? w.dim[1] : 1;
    FG_TRY(fg_rule_vector(fg_value(im->g, weight), l->x.dim[1], "the weight"));
    FG_TRY(fg_reshape(im->g, weight, w.rank, w.dim, &weight));
    FG_TRY(fg_binary(im->g, FG_BINARY_mul, l->picked, weight, &l->picked));
  }
  return ignore(im, target, l);
}

/* Minus the sum of x times what is picked, reduced as the attribute says. */
static fgsm_status reduce(struct fg_import *im, fg_id x) {
  struct loss l;
  const char *how;
  fg_id y, weights;
  FG_TRY(fg_attr_text(im, "reduction", "mean", &how));
  FG_TRY(pick(im, x, &l));
  uint32_t all = (1u << l.x.rank) - 1;
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, l.picked, &y));
  FG_TRY(fg_unary(im->g, FG_UNARY_neg, 0, 0, y, &y));
  if (!strcmp(how, "none"))
    return fg_reduce(im->g, FG_REDUCE_sum, y, 1u << 1, false, &im->out[0]);
  FG_TRY(fg_reduce(im->g, FG_REDUCE_sum, y, all, false, &y));
  im->out[0] = y;
  if (!strcmp(how, "sum"))
    return FGSM_OK;
  if (strcmp(how, "mean"))
    return FG_FAIL(MODEL, "there is no reduction '%.40s'", how);
  FG_TRY(fg_reduce(im->g, FG_REDUCE_sum, l.picked, all, false, &weights));
  return fg_binary(im->g, FG_BINARY_div, y, weights, &im->out[0]);
}

fgsm_status fg_import_NegativeLogLikelihoodLoss(struct fg_import *im) {
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  return reduce(im, x);
}

fgsm_status fg_import_SoftmaxCrossEntropyLoss(struct fg_import *im) {
  union fg_attrs a = {.softmax = {.axis = 1, .log = true}};
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_import_append(im, FG_OP_softmax, &a, 1, &x, &x));
  if (im->n_out > 1)
    im->out[1] = x;
  return reduce(im, x);
}
