/* Regularisers of the input's gradient g, whose own gradient with respect to the weights is a second
 * derivative. With v = dR / dg held fixed,
 *
 *   dR / dw = d <v, g> / dw = d/dh [dL / dw at x + h v]  ~  (G(x + h v) - G(x - h v)) / 2h,
 *
 * G the gradient of the summed loss: two more views of the batch, and no second derivative of any
 * operator. This pass makes x + h v, x - h v and 1 / 2h, with h such that no value moves by more than
 * REACH. */
#include "engine.h"
#include "op.h"

static const double REACH = 0.003;

/* The gradient of each sample's cross-entropy at x, as rows. */
static fgsm_status slope_at(struct fg_train_builder *b, fg_id x, enum fg_norm_mode norms,
                            fg_id *rows) {
  fg_id logits, out[FG_MAX_OUT], gradient;
  FG_TRY(fg_train_model(b, x, norms, &logits));
  FG_TRY(fg_train_cross_entropy(b, logits, out));
  FG_TRY(fg_grad(b->g, 1, &logits, &out[0], 1, &x, &gradient));
  if (gradient == FG_ABSENT)
    return FG_FAIL(UNSUPPORTED, "the model's output does not depend on its input: no gradient");
  int64_t n = b->e->batch;
  return fg_reshape(b->g, gradient, 2, (int64_t[]){n, fg_value_count(b->g, gradient) / n}, rows);
}

static fgsm_status times(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  return fg_binary(g, FG_BINARY_mul, a, b, out);
}

static fgsm_status scaled(struct fg_graph *g, fg_id x, double factor, fg_id *out) {
  fg_id scalar;
  FG_TRY(fg_graph_scalar(g, factor, &scalar));
  return times(g, x, scalar, out);
}

/* Sums of a b over each row, [N, 1]. */
static fgsm_status dots(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  FG_TRY(times(g, a, b, out));
  return fg_reduce(g, FG_REDUCE_sum, *out, 1u << 1, true, out);
}

/* 1 / x, and 0 where x is not above 0. */
static fgsm_status inverse(struct fg_graph *g, fg_id x, fg_id *out) {
  fg_id zero, one, above, made[FG_MAX_OUT];
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_binary(g, FG_BINARY_greater, x, zero, &above));
  FG_TRY(fg_binary(g, FG_BINARY_div, one, x, out));
  FG_TRY(fg_graph_add(g, FG_OP_where, "", NULL, 3, (fg_id[]){above, *out, zero}, made));
  *out = made[0];
  return FGSM_OK;
}

/* The gradients at x0 and at noise around it, and how they stand to each other: rows g1, g2; [N, 1]
 * the cosine, 1 / |g1||g2| and 1 / |g2|^2, 0 where a gradient is zero. */
struct pair {
  fg_id x, g1, g2, cosine, inverse, inverse2;
};

static fgsm_status compare(struct fg_train_builder *b, enum fg_norm_mode norms, struct pair *p) {
  struct fg_graph *g = b->g;
  fg_id x0, s1, s2;
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, &x0));
  FG_TRY(slope_at(b, x0, norms, &p->g1));
  FG_TRY(fg_train_noise(b, FG_TRAIN_eta, true, &p->x));
  FG_TRY(slope_at(b, p->x, norms, &p->g2));
  FG_TRY(dots(g, p->g1, p->g1, &s1));
  FG_TRY(dots(g, p->g2, p->g2, &s2));
  FG_TRY(inverse(g, s1, &s1));
  FG_TRY(inverse(g, s2, &p->inverse2));
  FG_TRY(times(g, s1, p->inverse2, &p->inverse));
  FG_TRY(fg_unary(g, FG_UNARY_sqrt, 0, 0, p->inverse, &p->inverse));
  FG_TRY(dots(g, p->g1, p->g2, &p->cosine));
  return times(g, p->cosine, p->inverse, &p->cosine);
}

/* GradAlign (Andriushchenko & Flammarion 2020): R = lambda (1 - mean cos(g(x), g(x + eta))), eta
 * uniform in the ball, the first gradient held fixed; samples with a zero gradient do not count. So
 *   v = -lambda / count (g1 / |g1||g2| - cos g2 / |g2|^2). */
static fgsm_status align(struct fg_train_builder *b, fg_id *x, fg_id *v, fg_id *value) {
  struct fg_graph *g = b->g;
  double lambda = b->e->spec.align;
  struct pair p;
  fg_id count, part, one;
  FG_TRY(compare(b, FG_NORM_BATCH, &p));
  *x = p.x;
  FG_TRY(fg_unary(g, FG_UNARY_sign, 0, 0, p.inverse, &count));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, count, 3, true, &count));
  FG_TRY(fg_train_all_ranks(b, count, &count));
  FG_TRY(inverse(g, count, &count));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, p.cosine, 3, true, value));
  FG_TRY(fg_train_all_ranks(b, *value, value));
  FG_TRY(times(g, *value, count, value));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_binary(g, FG_BINARY_sub, one, *value, value));
  FG_TRY(scaled(g, *value, lambda, value));
  FG_TRY(times(g, p.g1, p.inverse, v));
  FG_TRY(times(g, p.inverse2, p.cosine, &part));
  FG_TRY(times(g, p.g2, part, &part));
  FG_TRY(fg_binary(g, FG_BINARY_sub, *v, part, v));
  FG_TRY(times(g, *v, count, v));
  return scaled(g, *v, -lambda, v);
}

fgsm_status fg_train_add_watch(struct fg_train_builder *b) {
  struct pair p;
  fg_id cosine;
  FG_TRY(compare(b, FG_NORM_FROZEN, &p));
  FG_TRY(fg_reshape(b->g, p.cosine, 1, (int64_t[]){b->e->batch}, &cosine));
  return fg_train_give(b, FG_TRAIN_cosine, cosine);
}

/* R = lambda mean |g(x)|^2 (Drucker & LeCun 1992, Ross & Doshi-Velez 2018). */
static fgsm_status penalty(struct fg_train_builder *b, fg_id *x, fg_id *v, fg_id *value) {
  double lambda = b->e->spec.penalty / (double)b->e->total;
  fg_id rows;
  FG_TRY(fg_train_take(b, FG_TRAIN_x0, x));
  FG_TRY(slope_at(b, *x, FG_NORM_BATCH, &rows));
  FG_TRY(times(b->g, rows, rows, value));
  FG_TRY(fg_reduce(b->g, FG_REDUCE_sum, *value, 3, true, value));
  FG_TRY(fg_train_all_ranks(b, *value, value));
  FG_TRY(scaled(b->g, *value, lambda, value));
  return scaled(b->g, rows, 2 * lambda, v);
}

fgsm_status fg_train_add_regulate(struct fg_train_builder *b) {
  struct fg_graph *g = b->g;
  fg_id x, v, value, h, half, moved, plus, minus, reach;
  FG_TRY(b->e->spec.align > 0 ? align(b, &x, &v, &value) : penalty(b, &x, &v, &value));
  FG_TRY(fg_unary(g, FG_UNARY_abs, 0, 0, v, &h));
  FG_TRY(fg_reduce(g, FG_REDUCE_max, h, 3, true, &h));
  FG_TRY(scaled(g, h, 1 / (2 * REACH), &half)); /* 1 / 2h, with h = REACH / max |v| */
  FG_TRY(inverse(g, h, &h));
  FG_TRY(fg_graph_scalar(g, REACH, &reach));
  FG_TRY(times(g, h, reach, &h));
  FG_TRY(times(g, v, h, &moved));
  const struct fg_value like = *fg_value(g, x);
  FG_TRY(fg_reshape(g, moved, like.rank, like.dim, &moved));
  FG_TRY(fg_binary(g, FG_BINARY_add, x, moved, &plus));
  FG_TRY(fg_binary(g, FG_BINARY_sub, x, moved, &minus));
  FG_TRY(fg_reshape(g, half, 1, (int64_t[]){1}, &half));
  FG_TRY(fg_reshape(g, value, 1, (int64_t[]){1}, &value));
  FG_TRY(fg_train_give(b, FG_TRAIN_plus, plus));
  FG_TRY(fg_train_give(b, FG_TRAIN_minus, minus));
  FG_TRY(fg_train_give(b, FG_TRAIN_slope, half));
  return fg_train_give(b, FG_TRAIN_penalty, value);
}
