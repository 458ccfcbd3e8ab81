/* Attention: a product whose first operand is a softmax along the last axis of a product, scaled, with
 * or without something added. The scale may stand at q, at k, at the product, in parts; k may come
 * transposed. What is left of a transposition is a transposition of k, which the exporter had there
 * anyway. Between the products batches may be regrouped by reshapes (recognise_batches.h). */
#include <math.h>
#include <string.h>

#include "recognise.h"
#include "recognise_batches.h"

enum { MOST_BIASES = 2 };

struct found {
  fg_id q, k, v, gain; /* gain: a constant factor a head, or FG_ABSENT */
  int perm[FG_MAX_RANK];
  double scale;
  int n_biases;
  fg_id bias[MOST_BIASES], sum[MOST_BIASES]; /* sum: what it is broadcast to */
  double factor[MOST_BIASES];                /* of the bias */
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

/* value = other * gain, gain a constant for each matrix: true, and value becomes other. */
static bool peel_gain(struct fg_match *m, fg_id *value, fg_id *gain) {
  int before = m->n;
  const struct fg_node *node = fg_match_binary(m, *value, FG_BINARY_mul);
  for (int k = 0; node && *gain == FG_ABSENT && k < 2; k++) {
    const struct fg_value *v = fg_value(m->g, node->in[k]);
    bool a_matrix = v->rank > 2 && v->dim[v->rank - 1] == 1 && v->dim[v->rank - 2] == 1;
    if (!a_matrix || !fg_value_is_constant(m->g, node->in[k]) ||
        !fg_match_same_shape(m->g, node->in[!k], *value))
      continue;
    *gain = node->in[k];
    *value = node->in[!k];
    return true;
  }
  m->n = before;
  return false;
}

/* Peels reshapes that leave the last two axes as they are: the same matrices, in other batches. One
 * alone need not do so: a unit axis may come and go. */
static void peel_regrouping(struct fg_match *m, fg_id *value) {
  const struct fg_node *node;
  int n = m->n;
  fg_id at = *value;
  while ((node = fg_match_node(m, at, FG_OP_reshape))) {
    at = node->in[0];
    struct fg_value *from = fg_value(m->g, at), *to = fg_value(m->g, *value);
    if (from->rank >= 2 && to->rank >= 2 && from->dim[from->rank - 1] == to->dim[to->rank - 1] &&
        from->dim[from->rank - 2] == to->dim[to->rank - 2]) {
      *value = at;
      n = m->n;
    }
  }
  m->n = n;
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
  fg_id gain = FG_ABSENT, gained = FG_ABSENT; /* gained: what the gain multiplies */
  for (bool more = true; more;) {
    peel_regrouping(m, &value);
    more = peel_number(m, &value, &factor);
    if (!more && (more = peel_gain(m, &value, &gain)))
      gained = value;
  }
  const struct fg_node *node = fg_match_node(m, value, FG_OP_matmul);
  if (node) {
    int rank = fg_value(m->g, node->in[1])->rank;
    if (!is_plain(node) || fg_value(m->g, node->in[0])->rank != rank ||
        (gain != FG_ABSENT && !fg_match_same_shape(m->g, gained, value)))
      return false;
    f->gain = gain;
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
  if (!node || f->n_biases == MOST_BIASES || gain != FG_ABSENT)
    return false;
  fg_id in[2] = {node->in[0], node->in[1]};
  for (int k = 0, kept = m->n; k < 2; k++) {
    m->n = kept;
    f->n_biases = biases;
    if (!fg_match_same_shape(m->g, in[k], value))
      continue;
    f->bias[f->n_biases] = in[!k];
    f->sum[f->n_biases] = value;
    f->factor[f->n_biases++] = factor;
    if (match_scores(m, in[k], factor, f))
      return true;
  }
  m->n = before;
  return false;
}

/* How the operator sees it: batches in two axes, and the shape of all that is added. */
struct form {
  struct fg_batches batches;
  int64_t two[2], s, t, d, e;
  int64_t bias[FG_MAX_RANK], bias4[4]; /* batches apart, and in two */
};

/* Leading axes are the same for the operands of a product, and those of both have a form. */
static bool fits(const struct fg_graph *g, const struct found *f, fg_id share, struct form *form) {
  const struct fg_value *q = fg_value(g, f->q), *k = fg_value(g, f->k), *v = fg_value(g, f->v);
  const struct fg_value *p = fg_value(g, share);
  int rank = q->rank, axes;
  if (rank < 2 || v->rank < 2 || v->rank != p->rank)
    return false;
  for (int i = 0; i < rank - 2; i++)
    if (q->dim[i] != k->dim[f->perm[i]])
      return false;
  for (int i = 0; i < v->rank - 2; i++)
    if (v->dim[i] != p->dim[i])
      return false;
  if (k->dim[f->perm[rank - 2]] != v->dim[v->rank - 2])
    return false;
  *form = (struct form){.s = q->dim[rank - 2],
                        .t = v->dim[v->rank - 2],
                        .d = q->dim[rank - 1],
                        .e = v->dim[v->rank - 1]};
  fg_batches_of(q, &form->batches);
  for (int i = 0; i < f->n_biases; i++)
    if (!fg_batches_refine(&form->batches, fg_value(g, f->sum[i])))
      return false;
  axes = form->batches.n + 2;
  for (int i = 0; i < axes; i++)
    form->bias[i] = 1;
  for (int i = 0; i < f->n_biases; i++) {
    int64_t dim[FG_MAX_RANK];
    fg_batches_part(&form->batches, fg_value(g, f->sum[i]), fg_value(g, f->bias[i]), dim);
    for (int a = 0; a < axes; a++)
      form->bias[a] = dim[a] > form->bias[a] ? dim[a] : form->bias[a];
  }
  memcpy(form->bias4 + 2, form->bias + axes - 2, 2 * sizeof *form->bias);
  return fg_batches_merge(&form->batches, form->bias, form->two, form->bias4);
}

/* Asks for attention and for its gradient, which is sure to follow in an attack. A bias that is
 * computed may want a gradient too. */
static bool accepts(const struct fg_match *m, const struct found *f, const struct form *form) {
  union fg_attrs a = {.attention = {f->scale}};
  enum fg_type type = fg_value(m->g, f->v)->type;
  int64_t b = form->two[0], h = form->two[1];
  struct fg_tensor q = {.type = type, .rank = 4, .dim = {b, h, form->s, form->d}}, k = q, y = q;
  struct fg_tensor rows = q, v, bias = q, none = {0};
  k.dim[2] = form->t;
  v = k;
  y.dim[3] = v.dim[3] = form->e;
  rows.rank = 3;
  memcpy(bias.dim, form->bias4, sizeof form->bias4);
  bool computed = false;
  for (int i = 0; i < f->n_biases; i++)
    computed |= !fg_value_is_constant(m->g, f->bias[i]);
  struct fg_call call = {.op = FG_OP_attention,
                         .n_in = 4,
                         .n_out = 2,
                         .in = {q, k, v, f->n_biases ? bias : none},
                         .out = {y, rows},
                         .attrs = &a};
  struct fg_call grad = {.op = FG_OP_attention_grad,
                         .n_in = 7,
                         .n_out = 4,
                         .in = {y, q, k, v, y, rows, f->n_biases ? bias : none},
                         .out = {q, k, v, computed ? bias : none},
                         .attrs = &a};
  return fg_match_accepts(m, &call) && fg_match_accepts(m, &grad);
}

static fgsm_status reshape4(struct fg_graph *g, const struct form *form, fg_id *v) {
  struct fg_value from = *fg_value(g, *v);
  int64_t dim[4] = {form->two[0], form->two[1], from.dim[from.rank - 2], from.dim[from.rank - 1]};
  if (from.rank == 4 && memcmp(from.dim, dim, sizeof dim) == 0)
    return FGSM_OK;
  return fg_reshape(g, *v, 4, dim, v);
}

/* The sum of what is added to the scores, against [B, H, S, T]. */
static fgsm_status make_bias(struct fg_graph *g, const struct found *f, const struct form *form,
                             fg_id *bias) {
  *bias = FG_ABSENT;
  for (int i = 0; i < f->n_biases; i++) {
    fg_id one = f->bias[i], factor;
    int64_t dim[FG_MAX_RANK];
    if (f->factor[i] != 1) {
      FG_TRY(fg_graph_scalar(g, f->factor[i], &factor));
      FG_TRY(fg_binary(g, FG_BINARY_mul, one, factor, &one));
    }
    fg_batches_part(&form->batches, fg_value(g, f->sum[i]), fg_value(g, f->bias[i]), dim);
    FG_TRY(fg_reshape(g, one, form->batches.n + 2, dim, &one));
    if (*bias == FG_ABSENT)
      *bias = one;
    else
      FG_TRY(fg_binary(g, FG_BINARY_add, *bias, one, bias));
  }
  return *bias == FG_ABSENT ? FGSM_OK : fg_reshape(g, *bias, 4, form->bias4, bias);
}

static fgsm_status put(struct fg_match *m, struct found *f, const struct form *form) {
  struct fg_graph *g = m->g;
  const char *name = g->nodes[m->at].name;
  struct fg_value y = *fg_value(g, g->nodes[m->at].out[0]);
  union fg_attrs a = {.attention = {f->scale}};
  fg_id in[4], out[FG_MAX_OUT];
  bool turned = false;
  for (int i = 0; i < fg_value(g, f->q)->rank; i++)
    turned |= f->perm[i] != i;
  if (turned)
    FG_TRY(fg_transpose(g, f->k, f->perm, &f->k));
  if (f->gain != FG_ABSENT)
    FG_TRY(fg_binary(g, FG_BINARY_mul, f->q, f->gain, &f->q));
  memcpy(in, (fg_id[]){f->q, f->k, f->v}, 3 * sizeof *in);
  for (int i = 0; i < 3; i++)
    FG_TRY(reshape4(g, form, &in[i]));
  FG_TRY(make_bias(g, f, form, &in[3]));
  FG_TRY(fg_graph_add(g, FG_OP_attention, name, &a, 4, in, out));
  struct fg_value four = *fg_value(g, out[0]);
  if (y.rank != 4 || memcmp(y.dim, four.dim, 4 * sizeof *y.dim) != 0)
    FG_TRY(fg_reshape(g, out[0], y.rank, y.dim, &out[0]));
  return fg_match_replace(m, "attention", out[0]);
}

fgsm_status fg_recognise_attention(struct fg_match *m) {
  const struct fg_node *root = &m->g->nodes[m->at];
  if (root->op != FG_OP_matmul || !is_plain(root) || root->attrs.matmul.trans_b ||
      root->attrs.matmul.alpha != 1)
    return FGSM_OK;
  struct found f = {.v = root->in[1]};
  struct form form;
  fg_id share = root->in[0], p = share;
  peel_regrouping(m, &p);
  const struct fg_node *softmax = fg_match_node(m, p, FG_OP_softmax);
  if (!softmax || softmax->attrs.softmax.log ||
      softmax->attrs.softmax.axis != fg_value(m->g, p)->rank - 1)
    return FGSM_OK;
  if (!match_scores(m, softmax->in[0], 1, &f) || !fits(m->g, &f, share, &form) ||
      !fg_match_closed(m) || !accepts(m, &f, &form))
    return FGSM_OK;
  return put(m, &f, &form);
}
