/* What is descended: forward on each view of the batch, the method's loss on their logits, one
 * gradient, the optimiser. */
#include <string.h>

#include "engine.h"
#include "op.h"

/* ---- pieces of losses: values of the graph, a row a sample */

fgsm_status fg_train_cross_entropy(struct fg_train_builder *b, fg_id logits,
                                   fg_id out[FG_MAX_OUT]) {
  union fg_attrs attrs = {.loss = {.kind = FG_LOSS_ce, .parity = true}};
  fg_id in[2] = {logits};
  FG_TRY(fg_train_take(b, FG_TRAIN_labels, &in[1]));
  return fg_graph_add(b->g, FG_OP_loss, "loss", &attrs, 2, in, out);
}

fgsm_status fg_train_log_softmax(struct fg_train_builder *b, fg_id logits, fg_id *out) {
  union fg_attrs attrs = {.softmax = {.axis = 1, .log = true}};
  fg_id made[FG_MAX_OUT];
  FG_TRY(fg_graph_add(b->g, FG_OP_softmax, "", &attrs, 1, &logits, made));
  *out = made[0];
  return FGSM_OK;
}

static fgsm_status scaled(struct fg_graph *g, fg_id x, double factor, fg_id *out) {
  fg_id scalar;
  FG_TRY(fg_graph_scalar(g, factor, &scalar));
  return fg_binary(g, FG_BINARY_mul, x, scalar, out);
}

static fgsm_status shifted(struct fg_graph *g, fg_id x, double shift, fg_id *out) {
  fg_id scalar;
  FG_TRY(fg_graph_scalar(g, shift, &scalar));
  return fg_binary(g, FG_BINARY_add, x, scalar, out);
}

/* Sum of a b over the classes, [N]. */
static fgsm_status dot(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  FG_TRY(fg_binary(g, FG_BINARY_mul, a, b, out));
  return fg_reduce(g, FG_REDUCE_sum, *out, 1u << 1, false, out);
}

/* [N, K]: 1 at the label. */
static fgsm_status one_hot(struct fg_train_builder *b, fg_id *out) {
  struct fg_engine *e = b->e;
  fg_id labels, classes;
  int32_t *numbers = fg_arena_alloc(&b->g->arena, (size_t)e->classes * sizeof *numbers);
  if (!numbers)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < e->classes; i++)
    numbers[i] = (int32_t)i;
  FG_TRY(fg_train_take(b, FG_TRAIN_labels, &labels));
  FG_TRY(fg_reshape(b->g, labels, 2, (int64_t[]){e->batch, 1}, &labels));
  FG_TRY(fg_graph_constant(b->g, "", FG_I32, 2, (int64_t[]){1, e->classes}, numbers, &classes));
  FG_TRY(fg_binary(b->g, FG_BINARY_equal, labels, classes, out));
  return fg_cast(b->g, *out, e->real, 0, out);
}

/* KL(p || q) of two log-softmaxes. */
static fgsm_status divergence(struct fg_graph *g, fg_id log_p, fg_id log_q, fg_id *out) {
  fg_id p, apart;
  FG_TRY(fg_unary(g, FG_UNARY_exp, 0, 0, log_p, &p));
  FG_TRY(fg_binary(g, FG_BINARY_sub, log_p, log_q, &apart));
  return dot(g, p, apart, out);
}

/* ---- views */

struct view {
  fg_id logits, loss; /* [N, K], [N] */
};

/* What is differentiated, and the gradients that begin there. */
struct sum {
  fg_id of[6], seeds[6], guard;
  int n;
};

static void add_term(struct sum *sum, fg_id of, fg_id seed) {
  sum->of[sum->n] = of;
  sum->seeds[sum->n++] = seed;
}

/* The value [N], times `factor` and averaged over the batch of all ranks. */
static fgsm_status add_mean(struct fg_train_builder *b, struct sum *sum, fg_id value,
                            double factor) {
  fg_id seed;
  FG_TRY(fg_graph_scalar(b->g, factor / (double)b->e->total, &seed));
  FG_TRY(fg_expand(b->g, seed, 1, (int64_t[]){b->e->batch}, &seed));
  add_term(sum, value, seed);
  return FGSM_OK;
}

/* The guard becomes what is not finite where some loss is not, on any rank: descend writes nothing
 * then. */
static fgsm_status add_guard(struct fg_train_builder *b, fg_id loss, struct sum *sum) {
  fg_id own;
  FG_TRY(fg_reduce(b->g, FG_REDUCE_sum, loss, 1, true, &own));
  FG_TRY(scaled(b->g, own, 0, &own));
  FG_TRY(fg_train_all_ranks(b, own, &own));
  FG_TRY(shifted(b->g, own, 1, &own));
  if (sum->guard != FG_ABSENT)
    FG_TRY(fg_binary(b->g, FG_BINARY_mul, sum->guard, own, &own));
  sum->guard = own;
  return FGSM_OK;
}

static fgsm_status add_view(struct fg_train_builder *b, enum fg_train_wire x, struct view *view) {
  bool clean = x == FG_TRAIN_x0;
  fg_id in, loss[FG_MAX_OUT];
  FG_TRY(fg_train_take(b, x, &in));
  FG_TRY(fg_train_model(b, in, FG_NORM_UPDATE, &view->logits));
  FG_TRY(fg_train_cross_entropy(b, view->logits, loss));
  view->loss = loss[1];
  return fg_train_give(b, clean ? FG_TRAIN_clean_prediction : FG_TRAIN_prediction, loss[2]);
}

/* Cross-entropy against smoothed labels, `share` of the batch's mean: (1 - s) on the label, and s
 * spread over the others, or over all (what PyTorch's cross_entropy does). */
static fgsm_status add_cross_entropy(struct fg_train_builder *b, struct sum *sum, struct view *view,
                                     double share) {
  const struct fg_engine_spec *spec = &b->e->spec;
  double s = spec->smoothing, k = (double)b->e->classes, mean = share / (double)b->e->total;
  double low = spec->smooth_others ? s / (k - 1) : s / k;
  fg_id out[FG_MAX_OUT], target, log_p, seed;
  FG_TRY(fg_train_cross_entropy(b, view->logits, out));
  if (s == 0) {
    FG_TRY(scaled(b->g, out[0], mean, &seed));
    add_term(sum, view->logits, seed);
    return FGSM_OK;
  }
  FG_TRY(one_hot(b, &target));
  FG_TRY(scaled(b->g, target, spec->smooth_others ? 1 - s - low : 1 - s, &target));
  FG_TRY(shifted(b->g, target, low, &target));
  FG_TRY(fg_train_log_softmax(b, view->logits, &log_p));
  FG_TRY(dot(b->g, target, log_p, &view->loss));
  FG_TRY(scaled(b->g, view->loss, -1, &view->loss));
  FG_TRY(fg_unary(b->g, FG_UNARY_exp, 0, 0, log_p, &log_p));
  FG_TRY(fg_binary(b->g, FG_BINARY_sub, log_p, target, &seed));
  FG_TRY(scaled(b->g, seed, mean, &seed));
  add_term(sum, view->logits, seed);
  return FGSM_OK;
}

/* ---- objectives. Each leaves in `loss` and `clean_loss` what their shares make the objective of. */

static fgsm_status mixed(struct fg_train_builder *b, struct sum *sum) {
  double share = b->e->spec.method.clean_share;
  struct view view;
  if (share > 0) {
    FG_TRY(add_view(b, FG_TRAIN_x0, &view));
    FG_TRY(add_cross_entropy(b, sum, &view, share));
    FG_TRY(add_guard(b, view.loss, sum));
    FG_TRY(fg_train_give(b, FG_TRAIN_clean_loss, view.loss));
  }
  if (share == 1)
    return FGSM_OK;
  FG_TRY(add_view(b, FG_TRAIN_x, &view));
  FG_TRY(add_cross_entropy(b, sum, &view, 1 - share));
  FG_TRY(add_guard(b, view.loss, sum));
  return fg_train_give(b, FG_TRAIN_loss, view.loss);
}

/* CE(x) + beta KL(p(x) || p(x'))   (Zhang et al. 2019, equation 5) */
static fgsm_status trades(struct fg_train_builder *b, struct sum *sum) {
  struct view clean, other;
  fg_id log_p, log_q, kl;
  FG_TRY(add_view(b, FG_TRAIN_x0, &clean));
  FG_TRY(add_view(b, FG_TRAIN_x, &other));
  FG_TRY(add_cross_entropy(b, sum, &clean, 1));
  FG_TRY(fg_train_log_softmax(b, clean.logits, &log_p));
  FG_TRY(fg_train_log_softmax(b, other.logits, &log_q));
  FG_TRY(divergence(b->g, log_p, log_q, &kl));
  FG_TRY(add_mean(b, sum, kl, b->e->spec.method.beta));
  FG_TRY(scaled(b->g, kl, b->e->spec.method.beta, &kl));
  FG_TRY(fg_binary(b->g, FG_BINARY_add, clean.loss, kl, &kl));
  FG_TRY(add_guard(b, kl, sum));
  return fg_train_give(b, FG_TRAIN_loss, kl);
}

/* CE(x') - log(1.0001 - max_{k != y} p_k(x')) + beta KL(p(x) || p(x')) (1 - p_y(x))
 * (Wang et al. 2020, equation 12; 1.0001 as in its authors' code keeps the logarithm finite) */
static fgsm_status mart(struct fg_train_builder *b, struct sum *sum) {
  struct fg_graph *g = b->g;
  struct view clean, other;
  fg_id log_p, log_q, p, q, label, best, weight, kl;
  FG_TRY(add_view(b, FG_TRAIN_x0, &clean));
  FG_TRY(add_view(b, FG_TRAIN_x, &other));
  FG_TRY(add_cross_entropy(b, sum, &other, 1));
  FG_TRY(fg_train_log_softmax(b, clean.logits, &log_p));
  FG_TRY(fg_train_log_softmax(b, other.logits, &log_q));
  FG_TRY(fg_unary(g, FG_UNARY_exp, 0, 0, log_p, &p));
  FG_TRY(fg_unary(g, FG_UNARY_exp, 0, 0, log_q, &q));
  FG_TRY(one_hot(b, &label));
  FG_TRY(dot(g, p, label, &weight));
  FG_TRY(scaled(g, weight, -1, &weight));
  FG_TRY(shifted(g, weight, 1, &weight));
  FG_TRY(scaled(g, label, -1, &label));
  FG_TRY(shifted(g, label, 1, &label));
  FG_TRY(fg_binary(g, FG_BINARY_mul, q, label, &best));
  FG_TRY(fg_reduce(g, FG_REDUCE_max, best, 1u << 1, false, &best));
  FG_TRY(scaled(g, best, -1, &best));
  FG_TRY(shifted(g, best, 1.0001, &best));
  FG_TRY(fg_unary(g, FG_UNARY_log, 0, 0, best, &best));
  FG_TRY(divergence(g, log_p, log_q, &kl));
  FG_TRY(fg_binary(g, FG_BINARY_mul, kl, weight, &kl));
  FG_TRY(scaled(g, kl, b->e->spec.method.beta, &kl));
  FG_TRY(fg_binary(g, FG_BINARY_sub, kl, best, &kl));
  FG_TRY(add_mean(b, sum, kl, 1));
  FG_TRY(fg_binary(g, FG_BINARY_add, other.loss, kl, &kl));
  FG_TRY(add_guard(b, kl, sum));
  return fg_train_give(b, FG_TRAIN_loss, kl);
}

/* The regulariser's gradient: (G(plus) - G(minus)) slope, G that of the summed cross-entropy. */
static fgsm_status add_difference(struct fg_train_builder *b, struct sum *sum) {
  static const enum fg_train_wire wires[2] = {FG_TRAIN_plus, FG_TRAIN_minus};
  fg_id slope;
  FG_TRY(fg_train_take(b, FG_TRAIN_slope, &slope));
  for (int i = 0; i < 2; i++) {
    fg_id x, logits, out[FG_MAX_OUT], seed;
    FG_TRY(fg_train_take(b, wires[i], &x));
    FG_TRY(fg_train_model(b, x, FG_NORM_BATCH, &logits));
    FG_TRY(fg_train_cross_entropy(b, logits, out));
    FG_TRY(fg_binary(b->g, FG_BINARY_mul, out[0], slope, &seed));
    FG_TRY(scaled(b->g, seed, i == 0 ? 1 : -1, &seed));
    add_term(sum, logits, seed);
  }
  return FGSM_OK;
}

/* Free: the same gradient moves the samples, for the next replay. */
static fgsm_status carry(struct fg_train_builder *b, fg_id x, fg_id gradient) {
  fg_id x0, next, delta;
  FG_TRY(fg_train_step(b, x, gradient, &next));
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &x0));
  FG_TRY(fg_binary(b->g, FG_BINARY_sub, next, x0, &delta));
  return fg_train_give(b, FG_TRAIN_delta, delta);
}

fgsm_status fg_train_add_descend(struct fg_train_builder *b) {
  static fgsm_status (*const objective[])(struct fg_train_builder *, struct sum *) = {
      [FG_OBJECTIVE_mixed] = mixed, [FG_OBJECTIVE_trades] = trades, [FG_OBJECTIVE_mart] = mart};
  const struct fg_engine_spec *spec = &b->e->spec;
  bool free = spec->method.carry == FG_CARRY_place;
  struct sum sum = {.guard = FG_ABSENT};
  fg_id x = FG_ABSENT, dx;
  FG_TRY(objective[spec->method.objective](b, &sum));
  if (spec->align > 0 || spec->penalty > 0)
    FG_TRY(add_difference(b, &sum));
  for (int i = 0; i < sum.n; i++)
    FG_TRY(fg_scale_up(b, sum.seeds[i], &sum.seeds[i]));
  if (free)
    FG_TRY(fg_train_take(b, FG_TRAIN_x, &x));
  FG_TRY(fg_train_optimise(b, sum.n, sum.of, sum.seeds, sum.guard, x, &dx));
  if (free)
    FG_TRY(carry(b, x, dx));
  return spec->average_decay > 0 && spec->spectral == 0 ? fg_train_follow(b) : FGSM_OK;
}
