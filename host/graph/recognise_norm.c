/* Softmax and layer normalisation, taken apart.
 *
 * A layer normalisation is found by what normalises, without scale and bias; those that follow it are
 * taken in afterwards. Where the deviation is multiplied by the scale before x is (batch-norm's way:
 * x inv + (bias - mean inv), inv = scale / deviation), all is found at once. */
#include <math.h>
#include <string.h>

#include "recognise.h"

/* ---- softmax */

/* `value` is the sum of `of` along one axis, which is kept. */
static bool is_sum(struct fg_match *m, fg_id value, fg_id of, int *axis) {
  const struct fg_node *node = fg_match_node(m, value, FG_OP_reduce);
  if (!node || node->attrs.reduce.kind != FG_REDUCE_sum || !node->attrs.reduce.keep ||
      node->in[0] != of || __builtin_popcount(node->attrs.reduce.axes) != 1)
    return false;
  *axis = __builtin_ctz(node->attrs.reduce.axes);
  return true;
}

/* shifted = x - max x along the axis, or x itself. */
static fg_id unshifted(struct fg_match *m, fg_id shifted, int axis) {
  int before = m->n;
  const struct fg_node *sub = fg_match_binary(m, shifted, FG_BINARY_sub);
  const struct fg_node *top = sub ? fg_match_node(m, sub->in[1], FG_OP_reduce) : NULL;
  if (top && top->in[0] == sub->in[0] && top->attrs.reduce.kind == FG_REDUCE_max &&
      top->attrs.reduce.keep && top->attrs.reduce.axes == 1u << axis)
    return sub->in[0];
  m->n = before;
  return shifted;
}

/* exp(a) / sum, or a - log(sum exp(a)). The argument, FG_ABSENT if it is neither. */
static fg_id match_softmax(struct fg_match *m, const struct fg_node *root, int *axis, bool *log) {
  enum fg_binary_kind kind = root->attrs.binary.kind;
  *log = kind == FG_BINARY_sub;
  if (kind != FG_BINARY_sub && kind != FG_BINARY_div)
    return FG_ABSENT;
  fg_id numerator = root->in[0], sum = root->in[1];
  if (*log) {
    const struct fg_node *of = fg_match_unary(m, sum, FG_UNARY_log);
    const struct fg_node *reduce = of ? fg_match_node(m, of->in[0], FG_OP_reduce) : NULL;
    if (!reduce)
      return FG_ABSENT;
    sum = of->in[0];
    numerator = reduce->in[0];
  }
  const struct fg_node *exp = fg_match_unary(m, numerator, FG_UNARY_exp);
  if (!exp || !is_sum(m, sum, numerator, axis) || (*log && exp->in[0] != root->in[0]))
    return FG_ABSENT;
  return unshifted(m, exp->in[0], *axis);
}

fgsm_status fg_recognise_softmax(struct fg_match *m) {
  struct fg_node root = m->g->nodes[m->at];
  union fg_attrs a = {0};
  fg_id out[FG_MAX_OUT];
  if (root.op != FG_OP_binary)
    return FGSM_OK;
  fg_id x = match_softmax(m, &root, &a.softmax.axis, &a.softmax.log);
  if (x == FG_ABSENT || !fg_match_closed(m))
    return FGSM_OK;
  struct fg_tensor t = fg_value_tensor(m->g, x);
  struct fg_call call = {
      .op = FG_OP_softmax, .n_in = 1, .n_out = 1, .in = {t}, .out = {t}, .attrs = &a};
  if (!fg_match_accepts(m, &call))
    return FGSM_OK;
  FG_TRY(fg_graph_add(m->g, FG_OP_softmax, root.name, &a, 1, &x, out));
  return fg_match_replace(m, a.softmax.log ? "log_softmax" : "softmax", out[0]);
}

/* ---- layer_norm */

struct norm {
  fg_id x, mean; /* mean: one value that is it */
  uint32_t axes;
  double epsilon;
};

/* The mean over all of an image, as a pool. */
static fg_id mean_of_image(struct fg_match *m, fg_id value, uint32_t *axes) {
  const struct fg_node *node = fg_match_node(m, value, FG_OP_avg_pool);
  if (!node)
    return FG_ABSENT;
  const struct fg_pool_attrs *a = &node->attrs.pool;
  const struct fg_value *x = fg_value(m->g, node->in[0]), *y = fg_value(m->g, value);
  for (int i = 0; i < a->spatial; i++)
    if (y->dim[2 + i] != 1 || a->window[i] != x->dim[2 + i] || a->pad_lo[i] || a->pad_hi[i] ||
        a->dilation[i] != 1)
      return FG_ABSENT;
  *axes = ((1u << a->spatial) - 1) << 2;
  return node->in[0];
}

/* The mean of what, over which axes (kept); FG_ABSENT if it is none. */
static fg_id mean_of(struct fg_match *m, fg_id value, uint32_t *axes) {
  const struct fg_node *node = fg_match_node(m, value, FG_OP_reduce);
  if (!node)
    return mean_of_image(m, value, axes);
  if (node->attrs.reduce.kind != FG_REDUCE_mean || !node->attrs.reduce.keep)
    return FG_ABSENT;
  *axes = node->attrs.reduce.axes;
  return node->in[0];
}

static fg_id square_of(struct fg_match *m, fg_id value) {
  int before = m->n;
  const struct fg_node *node = fg_match_unary(m, value, FG_UNARY_power);
  if (node && node->attrs.unary.alpha == 2)
    return node->in[0];
  m->n = before;
  node = fg_match_binary(m, value, FG_BINARY_mul);
  return node && node->in[0] == node->in[1] ? node->in[0] : FG_ABSENT;
}

/* value = x - mean(x). Sets, or must agree with, what is known of x and the axes. */
static bool is_centred(struct fg_match *m, fg_id value, struct norm *n) {
  uint32_t axes = 0;
  const struct fg_node *sub = fg_match_binary(m, value, FG_BINARY_sub);
  if (!sub || (n->x != FG_ABSENT && sub->in[0] != n->x))
    return false;
  fg_id x = sub->in[0], mean = sub->in[1];
  if (mean_of(m, mean, &axes) != x || (n->axes && axes != n->axes))
    return false;
  *n = (struct norm){.x = x, .mean = mean, .axes = axes, .epsilon = n->epsilon};
  return true;
}

/* value = mean((x - mean x)^2), or mean(x^2) - (mean x)^2. */
static bool is_variance(struct fg_match *m, fg_id value, struct norm *n) {
  uint32_t axes = 0, axes_of_x = 0;
  int before = m->n;
  fg_id square = mean_of(m, value, &axes);
  if (square != FG_ABSENT)
    return is_centred(m, square_of(m, square), n) && axes == n->axes;
  m->n = before;
  const struct fg_node *sub = fg_match_binary(m, value, FG_BINARY_sub);
  if (!sub)
    return false;
  fg_id mean = square_of(m, sub->in[1]), x = square_of(m, mean_of(m, sub->in[0], &axes));
  if (x == FG_ABSENT || mean == FG_ABSENT || mean_of(m, mean, &axes_of_x) != x ||
      axes != axes_of_x || (n->x != FG_ABSENT && (n->x != x || n->axes != axes)))
    return false;
  *n = (struct norm){.x = x, .mean = mean, .axes = axes};
  return true;
}

/* value = variance + epsilon. */
static bool is_raised(struct fg_match *m, fg_id value, struct norm *n) {
  int before = m->n;
  const struct fg_node *add = fg_match_binary(m, value, FG_BINARY_add);
  for (int k = 0; add && k < 2; k++) {
    double epsilon;
    if (!fg_match_number(m->g, add->in[k], &epsilon) || epsilon < 0)
      continue;
    bool is = is_variance(m, add->in[!k], n);
    n->epsilon = epsilon;
    return is;
  }
  m->n = before;
  return is_variance(m, value, n);
}

static bool is_deviation(struct fg_match *m, fg_id value, struct norm *n) {
  const struct fg_node *root = fg_match_unary(m, value, FG_UNARY_sqrt);
  int before = m->n;
  if (!root) {
    root = fg_match_unary(m, value, FG_UNARY_power);
    if (!root || root->attrs.unary.alpha != 0.5) {
      m->n = before;
      return false;
    }
  }
  return is_raised(m, root->in[0], n);
}

/* value = 1 / deviation. */
static bool is_reciprocal(struct fg_match *m, fg_id value, struct norm *n) {
  int before = m->n;
  double one;
  const struct fg_node *node = fg_match_unary(m, value, FG_UNARY_power);
  if (node && node->attrs.unary.alpha == -0.5)
    return is_raised(m, node->in[0], n);
  if (node && node->attrs.unary.alpha == -1)
    return is_deviation(m, node->in[0], n);
  m->n = before;
  node = fg_match_binary(m, value, FG_BINARY_div);
  return node && fg_match_number(m->g, node->in[0], &one) && one == 1 &&
         is_deviation(m, node->in[1], n);
}

/* The first of the axes if they are x's last ones, else -1. */
static int tail(const struct fg_graph *g, const struct norm *n) {
  int rank = fg_value(g, n->x)->rank, axis = n->axes ? __builtin_ctz(n->axes) : rank;
  return axis < rank && n->axes == ((1u << rank) - (1u << axis)) ? axis : -1;
}

/* Whether v is a constant or parameter that broadcasts along x's axes from `axis` on. */
static bool is_row(const struct fg_graph *g, fg_id v, fg_id x, int axis) {
  const struct fg_value *row = fg_value(g, v), *like = fg_value(g, x);
  if ((row->role != FG_ROLE_CONSTANT && row->role != FG_ROLE_PARAM) || row->rank > like->rank ||
      row->type != like->type)
    return false;
  for (int i = 0; i < row->rank; i++) {
    int at = like->rank - row->rank + i;
    if (row->dim[i] != 1 && (at < axis || row->dim[i] != like->dim[at]))
      return false;
  }
  return true;
}

/* v in the shape of x's axes from `axis` on. */
static fgsm_status as_row(struct fg_graph *g, fg_id x, int axis, fg_id *v) {
  struct fg_value row = *fg_value(g, *v), like = *fg_value(g, x);
  int rank = like.rank - axis, extra = row.rank > rank ? row.rank - rank : 0;
  if (extra)
    FG_TRY(fg_reshape(g, *v, rank, row.dim + extra, v));
  struct fg_tensor have = fg_value_tensor(g, *v), want = {.rank = rank};
  memcpy(want.dim, like.dim + axis, (size_t)rank * sizeof *want.dim);
  return fg_same_shape(&have, &want) ? FGSM_OK : fg_expand(g, *v, rank, want.dim, v);
}

/* Puts a layer_norm there; scale and bias may be FG_ABSENT. */
static fgsm_status put(struct fg_match *m, fg_id x, fg_id scale, fg_id bias, int axis,
                       double epsilon) {
  struct fg_graph *g = m->g;
  union fg_attrs a = {.layer_norm = {.axis = axis, .epsilon = epsilon}};
  fg_id in[3] = {x, scale, bias}, out[FG_MAX_OUT];
  struct fg_tensor t = fg_value_tensor(g, x), row = t, statistic = t;
  row.rank = t.rank - axis;
  memmove(row.dim, t.dim + axis, (size_t)row.rank * sizeof *row.dim);
  for (int i = axis; i < t.rank; i++)
    statistic.dim[i] = 1;
  struct fg_call call = {.op = FG_OP_layer_norm,
                         .n_in = 3,
                         .n_out = 3,
                         .in = {t},
                         .out = {t, statistic, statistic},
                         .attrs = &a};
  for (int i = 1; i < 3; i++)
    if (in[i] != FG_ABSENT)
      call.in[i] = row;
  if (!fg_match_accepts(m, &call))
    return FGSM_OK;
  for (int i = 1; i < 3; i++)
    if (in[i] != FG_ABSENT)
      FG_TRY(as_row(g, x, axis, &in[i]));
  FG_TRY(fg_graph_add(g, FG_OP_layer_norm, g->nodes[m->at].name, &a, 3, in, out));
  return fg_match_replace(m, "layer_norm", out[0]);
}

/* (x - mean) / deviation, or (x - mean) times its reciprocal. */
static bool match_normalised(struct fg_match *m, const struct fg_node *root, struct norm *n) {
  if (root->attrs.binary.kind == FG_BINARY_div)
    return is_centred(m, root->in[0], n) && is_deviation(m, root->in[1], n);
  for (int k = 0; root->attrs.binary.kind == FG_BINARY_mul && k < 2; k++) {
    m->n = 0;
    *n = (struct norm){.x = FG_ABSENT};
    if (is_centred(m, root->in[k], n) && is_reciprocal(m, root->in[!k], n))
      return true;
  }
  return false;
}

/* inv = [scale] / deviation. */
static bool match_factor(struct fg_match *m, fg_id inv, struct norm *n, fg_id *scale) {
  int before = m->n;
  struct norm start = *n;
  *scale = FG_ABSENT;
  if (is_reciprocal(m, inv, n))
    return true;
  for (int k = 0; k < 2; k++) {
    m->n = before;
    *n = start;
    const struct fg_node *mul = fg_match_binary(m, inv, FG_BINARY_mul);
    if (!mul)
      return false;
    *scale = mul->in[!k];
    if (is_reciprocal(m, mul->in[k], n))
      return true;
  }
  return false;
}

/* product = x inv and shift = mean inv, whichever way round; negative: shift = -mean inv. */
static bool match_folded(struct fg_match *m, fg_id product, fg_id shift, bool negative,
                         struct norm *n, fg_id *scale) {
  int before = m->n;
  for (int k = 0; k < 4; k++) {
    m->n = before;
    *n = (struct norm){.x = FG_ABSENT};
    const struct fg_node *of_x = fg_match_binary(m, product, FG_BINARY_mul);
    const struct fg_node *of_mean = fg_match_binary(m, shift, FG_BINARY_mul);
    if (!of_x || !of_mean)
      return false;
    fg_id x = of_x->in[k & 1], inv = of_x->in[!(k & 1)];
    fg_id mean = of_mean->in[k >> 1], same = of_mean->in[!(k >> 1)];
    const struct fg_node *neg = negative ? fg_match_unary(m, mean, FG_UNARY_neg) : NULL;
    if (neg)
      mean = neg->in[0];
    if (!neg == !negative && inv == same && match_factor(m, inv, n, scale) && n->x == x &&
        n->mean == mean)
      return true;
  }
  return false;
}

/* bias + (-mean) inv, beside product. */
static bool match_added(struct fg_match *m, fg_id product, fg_id sum, struct norm *n, fg_id *scale,
                        fg_id *bias) {
  int before = m->n;
  *bias = FG_ABSENT;
  if (match_folded(m, product, sum, true, n, scale))
    return true;
  for (int k = 0; k < 2; k++) {
    m->n = before;
    const struct fg_node *add = fg_match_binary(m, sum, FG_BINARY_add);
    if (!add)
      return false;
    *bias = add->in[k];
    if (match_folded(m, product, add->in[!k], true, n, scale))
      return true;
  }
  return false;
}

/* x inv - mean inv; x inv + (bias - mean inv), or x inv + ((-mean) inv + bias). */
static bool match_batch_norms_way(struct fg_match *m, const struct fg_node *root, struct norm *n,
                                  fg_id *scale, fg_id *bias) {
  *bias = FG_ABSENT;
  m->n = 0;
  if (root->attrs.binary.kind == FG_BINARY_sub)
    return match_folded(m, root->in[0], root->in[1], false, n, scale);
  for (int k = 0; root->attrs.binary.kind == FG_BINARY_add && k < 2; k++) {
    m->n = 0;
    const struct fg_node *sub = fg_match_binary(m, root->in[!k], FG_BINARY_sub);
    *bias = sub ? sub->in[0] : FG_ABSENT;
    if (sub ? match_folded(m, root->in[k], sub->in[1], false, n, scale)
            : match_added(m, root->in[k], root->in[!k], n, scale, bias))
      return true;
  }
  return false;
}

/* What multiplies a layer_norm's result, or is added to it, becomes its scale or bias. Here the root
 * is the layer_norm's user. */
static fgsm_status take_in(struct fg_match *m, const struct fg_node *root) {
  enum fg_binary_kind kind = root->attrs.binary.kind;
  for (int k = 0; k < 2; k++) {
    m->n = 0;
    const struct fg_node *norm = fg_match_node(m, root->in[k], FG_OP_layer_norm);
    if (!norm || root->in[k] != norm->out[0] || !fg_match_closed(m))
      continue;
    fg_id x = norm->in[0], other = root->in[!k], scale = norm->in[1], bias = norm->in[2];
    struct fg_layer_norm_attrs a = norm->attrs.layer_norm;
    if (!is_row(m->g, other, x, a.axis) || bias != FG_ABSENT)
      continue;
    if (kind == FG_BINARY_add)
      return put(m, x, scale, other, a.axis, a.epsilon);
    if (kind == FG_BINARY_mul && scale == FG_ABSENT)
      return put(m, x, other, bias, a.axis, a.epsilon);
  }
  return FGSM_OK;
}

fgsm_status fg_recognise_layer_norm(struct fg_match *m) {
  struct fg_node root = m->g->nodes[m->at];
  struct norm n = {.x = FG_ABSENT};
  fg_id scale = FG_ABSENT, bias = FG_ABSENT;
  if (root.op != FG_OP_binary || !fg_type_is_real(fg_value(m->g, root.out[0])->type))
    return FGSM_OK;
  FG_TRY(take_in(m, &root));
  if (!fg_rewrite_fresh(m->rw, m->at))
    return FGSM_OK;
  m->n = 0;
  if (!match_normalised(m, &root, &n) && !match_batch_norms_way(m, &root, &n, &scale, &bias))
    return FGSM_OK;
  int axis = tail(m->g, &n);
  if (axis < 0 || !fg_match_closed(m) || !fg_match_same_shape(m->g, n.x, root.out[0]) ||
      (scale != FG_ABSENT && !is_row(m->g, scale, n.x, axis)) ||
      (bias != FG_ABSENT && !is_row(m->g, bias, n.x, axis)))
    return FGSM_OK;
  return put(m, n.x, scale, bias, axis, n.epsilon);
}
