/* Folds what is constant per channel into its neighbours, in double, before the gradient is taken,
 * so that the gradient inherits the folded weights.
 *
 *   batch_norm with constant statistics            -> affine along axis 1
 *   x +- c, x * c, x / c, c - x, c per channel     -> affine along c's axis
 *   affine of affine (same axis)                   -> affine
 *   affine then flatten                            -> flatten then affine (one entry a feature)
 *   conv or matmul, then affine on its channels    -> conv or matmul, scaled weights and bias
 *   affine on channels, then conv or matmul        -> the same; where the conv pads, the shift must
 *       stay in front (the padding is zero after the shift, not before): x * s + t becomes x + t /
 * s before a conv whose weights took s. Its gradient is the identity, so the attack pays nothing.
 *
 * Each rule rewrites one place; they run until none applies. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"
#include "rewrite.h"

/* An affine's vector as doubles of the axis' length: `initial` where it is absent. */
static double vector_at(const struct fg_graph *g, fg_id id, int64_t i, double initial) {
  return id == FG_ABSENT ? initial : fg_constant_real(g, id, i);
}

/* A rank-1 constant from doubles. */
static fgsm_status vector(struct fg_graph *g, int64_t n, const double *data, fg_id *out) {
  return fg_graph_constant(g, "", FG_F64, 1, &n, data, out);
}

/* Replaces the node's result by affine(x). Scale or shift may be NULL. */
static fgsm_status put_affine(struct fg_rewrite *rw, int64_t at, fg_id x, int axis, int64_t n,
                              const double *scale, const double *shift) {
  struct fg_graph *g = rw->g;
  fg_id in[3] = {x, FG_ABSENT, FG_ABSENT}, out[FG_MAX_OUT];
  union fg_attrs a = {.affine = {.axis = axis}};
  char *name = fg_arena_text(&g->arena, g->nodes[at].name);
  if (!name)
    return FGSM_MEMORY;
  if (scale)
    FG_TRY(vector(g, n, scale, &in[1]));
  if (shift)
    FG_TRY(vector(g, n, shift, &in[2]));
  fg_id old = g->nodes[at].out[0];
  if (!scale && !shift)
    out[0] = x;
  else
    FG_TRY(fg_graph_add(g, FG_OP_affine, name, &a, 3, in, out));
  fg_rewrite_result(rw, at, old, out[0]);
  return FGSM_OK;
}

/* Drops a scale of ones and a shift of zeros. */
static void trim(int64_t n, double **scale, double **shift) {
  bool ones = true, zeros = true;
  for (int64_t i = 0; i < n; i++) {
    ones &= !*scale || (*scale)[i] == 1;
    zeros &= !*shift || (*shift)[i] == 0;
  }
  if (ones)
    *scale = NULL;
  if (zeros)
    *shift = NULL;
}

/* Room for `n` doubles until the rule is done. */
static double *doubles(struct fg_rewrite *rw, int64_t n) {
  return fg_arena_alloc(&rw->scratch, (size_t)(n ? n : 1) * sizeof(double));
}

/* Elements that a graph's folding may compute, beside some times what it was given: thousands of
 * steps, each over a million channels, are left to be run. */
static const double MOST_FOLDED = 1 << 25;

static bool affords(struct fg_rewrite *rw, int64_t n) {
  rw->room -= (double)n;
  return rw->room >= 0;
}

static fgsm_status fold_batch_norm(struct fg_rewrite *rw, int64_t at) {
  struct fg_graph *g = rw->g;
  struct fg_node node = g->nodes[at];
  for (int i = 1; i < 5; i++)
    if (!fg_value_is_constant(g, node.in[i]))
      return FGSM_OK;
  int64_t n = fg_value_count(g, node.in[1]);
  if (!affords(rw, n))
    return FGSM_OK;
  double *scale = doubles(rw, n), *shift = doubles(rw, n);
  if (!scale || !shift)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    double variance = fg_constant_real(g, node.in[4], i);
    scale[i] = fg_constant_real(g, node.in[1], i) / sqrt(variance + node.attrs.batch_norm.epsilon);
    shift[i] = fg_constant_real(g, node.in[2], i) - fg_constant_real(g, node.in[3], i) * scale[i];
  }
  return put_affine(rw, at, node.in[0], 1, n, scale, shift);
}

/* The one axis of x along which the constant c varies (axis 1 for a scalar), or -1. */
static int channel_axis(const struct fg_graph *g, fg_id x, fg_id c) {
  const struct fg_value *vx = fg_value(g, x), *vc = fg_value(g, c);
  int axis = -1;
  if (vc->rank > vx->rank || vx->rank < 2)
    return -1;
  for (int i = 0; i < vc->rank; i++) {
    int at = vx->rank - vc->rank + i;
    if (vc->dim[i] == 1)
      continue;
    if (axis >= 0 || vc->dim[i] != vx->dim[at])
      return -1;
    axis = at;
  }
  return axis == 0 ? -1 : axis < 0 ? 1 : axis;
}

static fgsm_status fold_binary(struct fg_rewrite *rw, int64_t at) {
  struct fg_graph *g = rw->g;
  struct fg_node node = g->nodes[at];
  enum fg_binary_kind kind = node.attrs.binary.kind;
  bool first = fg_value_is_constant(g, node.in[0]);
  fg_id x = node.in[first], c = node.in[!first];
  if (kind != FG_BINARY_add && kind != FG_BINARY_sub && kind != FG_BINARY_mul &&
      !(kind == FG_BINARY_div && !first))
    return FGSM_OK;
  if (!fg_value_is_constant(g, c) || fg_value_is_constant(g, x) ||
      !fg_type_is_real(fg_value(g, x)->type))
    return FGSM_OK;
  int axis = channel_axis(g, x, c);
  if (axis < 0)
    return FGSM_OK;
  int64_t n = fg_value(g, x)->dim[axis], n_c = fg_value_count(g, c);
  if (!affords(rw, n))
    return FGSM_OK;
  double *scale = doubles(rw, n), *shift = doubles(rw, n);
  if (!scale || !shift)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    double v = fg_constant_real(g, c, n_c == 1 ? 0 : i);
    scale[i] = kind == FG_BINARY_mul ? v : kind == FG_BINARY_div ? 1 / v : 1;
    shift[i] = kind == FG_BINARY_add ? v : kind == FG_BINARY_sub ? (first ? v : -v) : 0;
    if (kind == FG_BINARY_sub && first)
      scale[i] = -1;
    if (!isfinite(scale[i]))
      return FGSM_OK;
  }
  trim(n, &scale, &shift);
  return put_affine(rw, at, x, axis, n, scale, shift);
}

static fgsm_status fold_affine_affine(struct fg_rewrite *rw, int64_t at) {
  struct fg_graph *g = rw->g;
  struct fg_node node = g->nodes[at], *first = fg_rewrite_only_feeds(rw, node.in[0], FG_OP_affine);
  if (!first || first->attrs.affine.axis != node.attrs.affine.axis ||
      first->attrs.affine.act.kind != FG_UNARY_identity)
    return FGSM_OK;
  struct fg_node inner = *first;
  int64_t n = fg_value(g, node.out[0])->dim[node.attrs.affine.axis];
  if (!affords(rw, n))
    return FGSM_OK;
  double *scale = doubles(rw, n), *shift = doubles(rw, n);
  if (!scale || !shift)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    double s = vector_at(g, node.in[1], i, 1);
    scale[i] = vector_at(g, inner.in[1], i, 1) * s;
    shift[i] = vector_at(g, inner.in[2], i, 0) * s + vector_at(g, node.in[2], i, 0);
  }
  trim(n, &scale, &shift);
  return put_affine(rw, at, inner.in[0], node.attrs.affine.axis, n, scale, shift);
}

/* affine -> reshape to [N, F]  becomes  reshape -> affine with one entry a feature. */
static fgsm_status fold_flatten(struct fg_rewrite *rw, int64_t at) {
  struct fg_graph *g = rw->g;
  struct fg_node node = g->nodes[at], *first = fg_rewrite_only_feeds(rw, node.in[0], FG_OP_affine);
  const struct fg_value *from = fg_value(g, node.in[0]), *to = fg_value(g, node.out[0]);
  if (!first || first->attrs.affine.act.kind != FG_UNARY_identity || to->rank != 2 ||
      from->rank < 2 || from->dim[0] != to->dim[0])
    return FGSM_OK;
  struct fg_node inner = *first;
  int axis = inner.attrs.affine.axis;
  int64_t n = to->dim[1], channels = from->dim[axis], below = 1;
  for (int i = axis + 1; i < from->rank; i++)
    below *= from->dim[i];
  if (!affords(rw, n))
    return FGSM_OK;
  double *scale = doubles(rw, n), *shift = doubles(rw, n);
  if (!scale || !shift)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    scale[i] = vector_at(g, inner.in[1], i / below % channels, 1);
    shift[i] = vector_at(g, inner.in[2], i / below % channels, 0);
  }
  trim(n, &scale, &shift);
  int64_t dim[2] = {to->dim[0], to->dim[1]};
  fg_id flat;
  FG_TRY(fg_reshape(g, inner.in[0], 2, dim, &flat));
  return put_affine(rw, at, flat, 1, n, scale, shift);
}

/* Scales a convolution's or product's constant weights and bias. Weights are seen as
 * [outer, in, inner] with the output channel in `out_stride` units; see the callers. */
struct weights {
  fg_id w, bias;                     /* bias may be FG_ABSENT */
  int64_t n_out, n_in, area, groups; /* conv: [n_out, n_in (per group), area]; matmul: area 1 */
  bool transposed;                   /* matmul with b [n_in, n_out] */
};

static int64_t weight_index(const struct weights *w, int64_t o, int64_t i, int64_t k) {
  return w->transposed ? i * w->n_out + o : (o * w->n_in + i) * w->area + k;
}

static bool find_weights(const struct fg_graph *g, const struct fg_node *node,
                         struct weights *out) {
  const struct fg_value *w = fg_value(g, node->in[1]);
  *out = (struct weights){
      .w = node->in[1], .bias = node->n_in > 2 ? node->in[2] : FG_ABSENT, .area = 1, .groups = 1};
  if (!fg_value_is_constant(g, out->w) ||
      (out->bias != FG_ABSENT && !fg_value_is_constant(g, out->bias)) ||
      (node->n_in > 3 && node->in[3] != FG_ABSENT))
    return false;
  if (node->op == FG_OP_conv) {
    out->n_out = w->dim[0];
    out->n_in = w->dim[1];
    for (int i = 2; i < w->rank; i++)
      out->area *= w->dim[i];
    out->groups = node->attrs.conv.group;
    return node->attrs.conv.act.kind == FG_UNARY_identity;
  }
  out->transposed = !node->attrs.matmul.trans_b;
  out->n_in = w->dim[w->rank - 2 + !out->transposed];
  out->n_out = w->dim[w->rank - 1 - !out->transposed];
  return w->rank == 2 && node->attrs.matmul.act.kind == FG_UNARY_identity;
}

/* Puts a conv or matmul like `node`, with those weights (and bias unless NULL) on `x`, in place of
 * node `at`. */
static fgsm_status put_product(struct fg_rewrite *rw, int64_t at, const struct fg_node *node,
                               fg_id x, const double *w, const double *bias, int64_t n_out) {
  struct fg_graph *g = rw->g;
  struct fg_value shape = *fg_value(g, node->in[1]);
  fg_id in[3] = {x, FG_ABSENT, FG_ABSENT}, out[FG_MAX_OUT];
  FG_TRY(fg_graph_constant(g, shape.name, FG_F64, shape.rank, shape.dim, w, &in[1]));
  if (bias)
    FG_TRY(vector(g, n_out, bias, &in[2]));
  fg_id old = g->nodes[at].out[0];
  union fg_attrs attrs = node->attrs;
  FG_TRY(fg_graph_add(g, node->op, node->name, &attrs, 3, in, out));
  fg_rewrite_result(rw, at, old, out[0]);
  return FGSM_OK;
}

/* conv or matmul, then affine on its output channels. */
static fgsm_status fold_after(struct fg_rewrite *rw, int64_t at) {
  struct fg_graph *g = rw->g;
  struct fg_node node = g->nodes[at], *first = fg_rewrite_only_feeds(rw, node.in[0], FG_OP_conv);
  struct weights w;
  int axis = 1;
  if (!first) {
    first = fg_rewrite_only_feeds(rw, node.in[0], FG_OP_matmul);
    axis = fg_value(g, node.in[0])->rank - 1;
  }
  if (!first || node.attrs.affine.axis != axis || !find_weights(g, first, &w))
    return FGSM_OK;
  struct fg_node inner = *first;
  int64_t n = fg_value_count(g, w.w);
  if (!affords(rw, n))
    return FGSM_OK;
  double *data = doubles(rw, n), *bias = doubles(rw, w.n_out);
  if (!data || !bias)
    return FGSM_MEMORY;
  for (int64_t o = 0; o < w.n_out; o++) {
    double s = vector_at(g, node.in[1], o, 1);
    for (int64_t i = 0; i < w.n_in; i++)
      for (int64_t k = 0; k < w.area; k++) {
        int64_t j = weight_index(&w, o, i, k);
        data[j] = fg_constant_real(g, w.w, j) * s;
      }
    bias[o] = vector_at(g, w.bias, o, 0) * s + vector_at(g, node.in[2], o, 0);
  }
  return put_product(rw, at, &inner, inner.in[0], data, bias, w.n_out);
}

/* affine on input channels, then conv or matmul. */
static fgsm_status fold_before(struct fg_rewrite *rw, int64_t at) {
  struct fg_graph *g = rw->g;
  struct fg_node node = g->nodes[at], *first = fg_rewrite_only_feeds(rw, node.in[0], FG_OP_affine);
  struct weights w;
  bool is_conv = node.op == FG_OP_conv, padded = false, shifted = false, scaled = false;
  int axis = is_conv ? 1 : fg_value(g, node.in[0])->rank - 1;
  if (!first || first->attrs.affine.axis != axis ||
      first->attrs.affine.act.kind != FG_UNARY_identity || !find_weights(g, &node, &w) ||
      (!is_conv && node.attrs.matmul.trans_a))
    return FGSM_OK;
  struct fg_node inner = *first;
  for (int i = 0; is_conv && i < node.attrs.conv.spatial; i++)
    padded |= node.attrs.conv.pad_lo[i] || node.attrs.conv.pad_hi[i];
  int64_t channels = w.n_in * w.groups, n = fg_value_count(g, w.w);
  if (!affords(rw, n))
    return FGSM_OK;
  double *data = doubles(rw, n), *bias = doubles(rw, w.n_out), *ahead = doubles(rw, channels);
  if (!data || !bias || !ahead)
    return FGSM_MEMORY;
  for (int64_t c = 0; c < channels; c++) {
    double s = vector_at(g, inner.in[1], c, 1), t = vector_at(g, inner.in[2], c, 0);
    shifted |= t != 0;
    scaled |= s != 1;
    if (padded && t != 0 && fabs(s) < 1e-30)
      return FGSM_OK; /* t / s would overflow: leave the affine */
    ahead[c] = t != 0 ? t / s : 0;
  }
  bool keep_shift = padded && shifted;
  if (keep_shift && !scaled)
    return FGSM_OK; /* already x + t */
  double alpha = is_conv ? 1 : node.attrs.matmul.alpha;
  for (int64_t o = 0; o < w.n_out; o++) {
    bias[o] = vector_at(g, w.bias, o, 0);
    for (int64_t i = 0; i < w.n_in; i++) {
      int64_t c = o / (w.n_out / w.groups) * w.n_in + i;
      double s = vector_at(g, inner.in[1], c, 1), t = vector_at(g, inner.in[2], c, 0);
      for (int64_t k = 0; k < w.area; k++) {
        int64_t j = weight_index(&w, o, i, k);
        double v = fg_constant_real(g, w.w, j);
        data[j] = v * s;
        bias[o] += keep_shift ? 0 : v * t * alpha;
      }
    }
  }
  fg_id x = inner.in[0];
  if (keep_shift) {
    fg_id in[3] = {x, FG_ABSENT, FG_ABSENT}, out[FG_MAX_OUT];
    union fg_attrs a = {.affine = {.axis = axis}};
    FG_TRY(vector(g, channels, ahead, &in[2]));
    FG_TRY(fg_graph_add(g, FG_OP_affine, inner.name, &a, 3, in, out));
    x = out[0];
  }
  bool has_bias = w.bias != FG_ABSENT || (shifted && !keep_shift);
  return put_product(rw, at, &node, x, data, has_bias ? bias : NULL, w.n_out);
}

/* The rules for node `at`, until one applies. */
static fgsm_status fold_node(struct fg_rewrite *rw, int64_t at) {
  switch (rw->g->nodes[at].op) {
  case FG_OP_batch_norm:
    return fold_batch_norm(rw, at);
  case FG_OP_binary:
    return fold_binary(rw, at);
  case FG_OP_reshape:
    return fold_flatten(rw, at);
  case FG_OP_affine:
    if (rw->g->nodes[at].attrs.affine.act.kind != FG_UNARY_identity)
      return FGSM_OK;
    FG_TRY(fold_affine_affine(rw, at));
    return fg_rewrite_fresh(rw, at) ? fold_after(rw, at) : FGSM_OK;
  case FG_OP_conv:
  case FG_OP_matmul:
    return fold_before(rw, at);
  default:
    return FGSM_OK;
  }
}

fgsm_status fg_fold(struct fg_graph *g) {
  double room = MOST_FOLDED + 2 * (double)g->given_bytes;
  for (bool changed = true; changed;) {
    struct fg_rewrite rw;
    fgsm_status status = fg_rewrite_begin(g, &rw);
    rw.room = room;
    for (int64_t i = 0; i < rw.n_nodes && status == FGSM_OK; i++)
      if (fg_rewrite_fresh(&rw, i)) {
        status = fold_node(&rw, i);
        fg_arena_free(&rw.scratch);
      }
    room = rw.room;
    changed = rw.changed;
    FG_TRY(fg_rewrite_end(&rw, status));
  }
  return FGSM_OK;
}
