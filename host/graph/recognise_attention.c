/* Attention: a product whose first operand is a softmax along the last axis of a product, scaled, with
 * or without something added. The scale may stand at q, at k, at the product, in parts; k may come
 * transposed. What is left of a transposition is a transposition of k, which the exporter had there
 * anyway. */
#include <math.h>
#include <string.h>

#include "recognise.h"

enum { MOST_BIASES = 2 };

struct found {
  fg_id q, k, v, z; /* z: the scores, as they go into the softmax */
  int perm[FG_MAX_RANK];
  double scale;
  int n_biases;
  fg_id bias[MOST_BIASES];
  double factor[MOST_BIASES]; /* of the bias */
};

/* value = other * number or other / number: true, and value becomes other. */
static bool peel_number(struct fg_match *m, fg_id *value, double *factor) {
  int before = m->n;
  double number;
  const struct fg_node *node = fg_match_node(m, *value, FG_OP_binary);
  enum fg_binary_kind kind = node ? node->attrs.binary.kind : FG_BINARY_add;
  if (node && (kind == FG_BINARY_mul || kind == FG_BINARY_div))
    for (int k = kind == FG_BINARY_div; k < 2; k++)
      if (fg_match_number(m->g, node->in[k], &number) && number != 0 &&
          fg_match_same_shape(m->g, node->in[!k], *value)) {
        *factor *= kind == FG_BINARY_mul ? number : 1 / number;
        *value = node->in[!k];
        return true;
      }
  m->n = before;
  return false;
}

/* Peels numbers and transpositions that nobody else reads off k. */
static void peel_keys(struct fg_match *m, struct found *f) {
  int rank = fg_value(m->g, f->k)->rank;
  for (int i = 0; i < rank; i++)
    f->perm[i] = i;
  while (f->k < m->rw->n_values && m->rw->uses[f->k] == 1) {
    if (peel_number(m, &f->k, &f->scale))
      continue;
    const struct fg_node *node = fg_match_node(m, f->k, FG_OP_transpose);
    if (!node)
      return;
    for (int i = 0; i < rank; i++)
      f->perm[i] = node->attrs.transpose.perm[f->perm[i]];
    f->k = node->in[0];
  }
}

static bool is_plain(const struct fg_node *node) {
  for (int i = 2; i < node->n_in; i++)
    if (node->in[i] != FG_ABSENT)
      return false;
  return node->attrs.matmul.act.kind == FG_UNARY_identity && !node->attrs.matmul.trans_a;
}

/* The scores' chain, from `value` (which is multiplied by `factor`) to the product of q and k. */
static bool match_scores(struct fg_match *m, fg_id value, double factor, struct found *f) {
  int before = m->n, biases = f->n_biases;
  if (!fg_match_same_shape(m->g, value, f->z))
    return false;
  while (peel_number(m, &value, &factor))
    ;
  const struct fg_node *node = fg_match_node(m, value, FG_OP_matmul);
  if (node) {
    int rank = fg_value(m->g, node->in[1])->rank;
    if (!is_plain(node) || fg_value(m->g, node->in[0])->rank != rank)
      return false;
    f->q = node->in[0];
    f->k = node->in[1];
    f->scale = factor * node->attrs.matmul.alpha;
    bool trans_b = node->attrs.matmul.trans_b;
    while (m->rw->uses[f->q] == 1 && peel_number(m, &f->q, &f->scale))
      ;
    peel_keys(m, f);
    if (!trans_b) { /* the product wants [.., D, T], attention [.., T, D] */
      int last = f->perm[rank - 1];
      f->perm[rank - 1] = f->perm[rank - 2];
      f->perm[rank - 2] = last;
    }
    return true;
  }
  node = fg_match_binary(m, value, FG_BINARY_add);
  if (!node || f->n_biases == MOST_BIASES)
    return false;
  fg_id in[2] = {node->in[0], node->in[1]};
  for (int k = 0, kept = m->n; k < 2; k++) {
    m->n = kept;
    f->n_biases = biases;
    f->bias[f->n_biases] = in[!k];
    f->factor[f->n_biases++] = factor;
    if (match_scores(m, in[k], factor, f))
      return true;
  }
  m->n = before;
  return false;
}

/* Leading axes are the same for all, and there are one or two of them, or none. */
static bool fits(const struct fg_graph *g, const struct found *f) {
  const struct fg_value *q = fg_value(g, f->q), *k = fg_value(g, f->k), *v = fg_value(g, f->v);
  int rank = q->rank;
  if (rank < 2 || rank > 4 || v->rank != rank || k->rank != rank)
    return false;
  for (int i = 0; i < rank - 2; i++)
    if (q->dim[i] != k->dim[f->perm[i]] || q->dim[i] != v->dim[i])
      return false;
  return k->dim[f->perm[rank - 2]] == v->dim[rank - 2];
}

/* Dims as [B, H, length, width]. */
static void to_four(int rank, const int64_t *dim, int64_t *four) {
  four[0] = rank > 2 ? dim[0] : 1;
  four[1] = rank > 3 ? dim[1] : 1;
  four[2] = dim[rank - 2];
  four[3] = dim[rank - 1];
}

static struct fg_tensor tensor4(enum fg_type type, int64_t b, int64_t h, int64_t n, int64_t d) {
  return (struct fg_tensor){.type = type, .rank = 4, .dim = {b, h, n, d}};
}

/* Asks for attention and for its gradient, which is sure to follow in an attack. A bias that is
 * computed may want a gradient too. */
static bool accepts(const struct fg_match *m, const struct found *f) {
  union fg_attrs a = {.attention = {f->scale}};
  const struct fg_value *v = fg_value(m->g, f->v);
  int64_t n[4], w[4];
  to_four(v->rank, v->dim, w);
  to_four(v->rank, fg_value(m->g, f->q)->dim, n);
  struct fg_tensor q = tensor4(v->type, n[0], n[1], n[2], n[3]), rows = q;
  struct fg_tensor k = tensor4(v->type, n[0], n[1], w[2], n[3]);
  struct fg_tensor values = tensor4(v->type, n[0], n[1], w[2], w[3]);
  struct fg_tensor y = tensor4(v->type, n[0], n[1], n[2], w[3]);
  struct fg_tensor bias = tensor4(v->type, n[0], n[1], n[2], w[2]), none = {0};
  bool computed = false;
  for (int i = 0; i < f->n_biases; i++)
    computed |= !fg_value_is_constant(m->g, f->bias[i]);
  rows.rank = 3;
  struct fg_call call = {.op = FG_OP_attention,
                         .n_in = 4,
                         .n_out = 2,
                         .in = {q, k, values, f->n_biases ? bias : none},
                         .out = {y, rows},
                         .attrs = &a};
  struct fg_call grad = {.op = FG_OP_attention_grad,
                         .n_in = 7,
                         .n_out = 4,
                         .in = {y, q, k, values, y, rows, f->n_biases ? bias : none},
                         .out = {q, k, values, computed ? bias : none},
                         .attrs = &a};
  return fg_match_accepts(m, &call) && fg_match_accepts(m, &grad);
}

static fgsm_status reshape4(struct fg_graph *g, fg_id *v) {
  struct fg_value from = *fg_value(g, *v);
  int64_t dim[4];
  if (from.rank == 4)
    return FGSM_OK;
  to_four(from.rank, from.dim, dim);
  return fg_reshape(g, *v, 4, dim, v);
}

/* The sum of what is added to the scores, against [B, H, S, T]. */
static fgsm_status make_bias(struct fg_graph *g, const struct found *f, int rank, fg_id *bias) {
  *bias = FG_ABSENT;
  for (int i = 0; i < f->n_biases; i++) {
    fg_id one = f->bias[i], factor;
    if (f->factor[i] != 1) {
      FG_TRY(fg_graph_scalar(g, f->factor[i], &factor));
      FG_TRY(fg_binary(g, FG_BINARY_mul, one, factor, &one));
    }
    struct fg_value v = *fg_value(g, one);
    if (rank == 3 && v.rank == 3) /* its first axis is the batch, not the heads */
      FG_TRY(fg_reshape(g, one, 4, (int64_t[]){v.dim[0], 1, v.dim[1], v.dim[2]}, &one));
    if (*bias == FG_ABSENT)
      *bias = one;
    else
      FG_TRY(fg_binary(g, FG_BINARY_add, *bias, one, bias));
  }
  return FGSM_OK;
}

static fgsm_status put(struct fg_match *m, struct found *f) {
  struct fg_graph *g = m->g;
  const char *name = g->nodes[m->at].name;
  struct fg_value y = *fg_value(g, g->nodes[m->at].out[0]);
  union fg_attrs a = {.attention = {f->scale}};
  fg_id in[4], out[FG_MAX_OUT];
  bool turned = false;
  for (int i = 0; i < y.rank; i++)
    turned |= f->perm[i] != i;
  if (turned)
    FG_TRY(fg_transpose(g, f->k, f->perm, &f->k));
  memcpy(in, (fg_id[]){f->q, f->k, f->v}, 3 * sizeof *in);
  for (int i = 0; i < 3; i++)
    FG_TRY(reshape4(g, &in[i]));
  FG_TRY(make_bias(g, f, y.rank, &in[3]));
  FG_TRY(fg_graph_add(g, FG_OP_attention, name, &a, 4, in, out));
  if (y.rank != 4)
    FG_TRY(fg_reshape(g, out[0], y.rank, y.dim, &out[0]));
  return fg_match_replace(m, "attention", out[0]);
}

fgsm_status fg_recognise_attention(struct fg_match *m) {
  const struct fg_node *root = &m->g->nodes[m->at];
  if (root->op != FG_OP_matmul || !is_plain(root) || root->attrs.matmul.trans_b ||
      root->attrs.matmul.alpha != 1)
    return FGSM_OK;
  struct found f = {.v = root->in[1]};
  const struct fg_node *softmax = fg_match_node(m, root->in[0], FG_OP_softmax);
  if (!softmax || softmax->attrs.softmax.log ||
      softmax->attrs.softmax.axis != fg_value(m->g, root->in[0])->rank - 1)
    return FGSM_OK;
  f.z = softmax->in[0];
  if (!match_scores(m, f.z, 1, &f) || !fits(m->g, &f) || !fg_match_closed(m) || !accepts(m, &f))
    return FGSM_OK;
  return put(m, &f);
}
