/* Activations of one value. Whatever the order of its factors and terms, such an expression is a
 * polynomial in x and in one function t of x (the gate): GELU is x / 2 + x t / 2 with t = erf(x /
 * sqrt 2). So the expression is multiplied out, and the coefficients are compared. */
#include "recognise.h"

enum { X_DEGREE = 3, DEPTH = 8, CANDIDATES = 16, GATES = 4 };
#define SQRT_HALF 0.70710678118654752440
#define SQRT_2_OVER_PI 0.79788456080286535588
#define GELU_CUBIC 0.044715

/* The sum of c[i][j] x^i t^j. */
struct polynomial {
  double c[X_DEGREE + 1][2];
};

static bool multiply(const struct polynomial *a, const struct polynomial *b,
                     struct polynomial *out) {
  *out = (struct polynomial){0};
  for (int i = 0; i <= X_DEGREE; i++)
    for (int j = 0; j < 2; j++)
      for (int k = 0; k <= X_DEGREE; k++)
        for (int l = 0; l < 2; l++) {
          double term = a->c[i][j] * b->c[k][l];
          if (term == 0)
            continue;
          if (i + k > X_DEGREE || j + l > 1)
            return false;
          out->c[i + k][j + l] += term;
        }
  return true;
}

/* out = a + factor b */
static void add(const struct polynomial *a, double factor, const struct polynomial *b,
                struct polynomial *out) {
  for (int i = 0; i <= X_DEGREE; i++)
    for (int j = 0; j < 2; j++)
      out->c[i][j] = a->c[i][j] + factor * b->c[i][j];
}

static bool is_number(const struct polynomial *p, double *number) {
  struct polynomial rest = *p;
  *number = p->c[0][0];
  rest.c[0][0] = 0;
  for (int i = 0; i <= X_DEGREE; i++)
    if (rest.c[i][0] != 0 || rest.c[i][1] != 0)
      return false;
  return true;
}

static bool expand(struct fg_match *m, fg_id value, fg_id x, fg_id t, int depth,
                   struct polynomial *out);

static bool expand_binary(struct fg_match *m, const struct fg_node *node, fg_id x, fg_id t,
                          int depth, struct polynomial *out) {
  enum fg_binary_kind kind = node->attrs.binary.kind;
  struct polynomial a, b;
  double divisor;
  fg_id in[2] = {node->in[0], node->in[1]};
  if (!expand(m, in[0], x, t, depth, &a) || !expand(m, in[1], x, t, depth, &b))
    return false;
  switch (kind) {
  case FG_BINARY_add:
  case FG_BINARY_sub:
    add(&a, kind == FG_BINARY_add ? 1 : -1, &b, out);
    return true;
  case FG_BINARY_mul:
    return multiply(&a, &b, out);
  case FG_BINARY_div:
    if (!is_number(&b, &divisor) || divisor == 0)
      return false;
    add(&(struct polynomial){0}, 1 / divisor, &a, out);
    return true;
  default:
    return false;
  }
}

static bool expand_unary(struct fg_match *m, const struct fg_node *node, fg_id x, fg_id t,
                         int depth, struct polynomial *out) {
  const struct fg_unary_attrs u = node->attrs.unary;
  struct polynomial a, square;
  if (u.kind != FG_UNARY_neg && (u.kind != FG_UNARY_power || (u.alpha != 2 && u.alpha != 3)))
    return false;
  if (!expand(m, node->in[0], x, t, depth, &a))
    return false;
  if (u.kind == FG_UNARY_neg) {
    add(&(struct polynomial){0}, -1, &a, out);
    return true;
  }
  if (u.alpha == 2)
    return multiply(&a, &a, out);
  return multiply(&a, &a, &square) && multiply(&square, &a, out);
}

/* The value as a polynomial in x and t (FG_ABSENT: in x alone). */
static bool expand(struct fg_match *m, fg_id value, fg_id x, fg_id t, int depth,
                   struct polynomial *out) {
  struct fg_node *node;
  double number;
  *out = (struct polynomial){0};
  if (value == x || value == t) {
    out->c[value == x][value != x] = 1;
    return true;
  }
  if (fg_match_number(m->g, value, &number)) {
    out->c[0][0] = number;
    return true;
  }
  if (depth == 0)
    return false;
  if ((node = fg_match_node(m, value, FG_OP_binary)))
    return expand_binary(m, node, x, t, depth - 1, out);
  if ((node = fg_match_node(m, value, FG_OP_unary)))
    return expand_unary(m, node, x, t, depth - 1, out);
  return false;
}

/* p is `first` x + `third` x^3 and nothing else. */
static bool is_odd(const struct polynomial *p, double first, double third) {
  return fg_match_near(p->c[1][0], first) && fg_match_near(p->c[3][0], third) && p->c[0][0] == 0 &&
         p->c[2][0] == 0;
}

/* p is plain x + gated x t and nothing else. */
static bool is_gated(const struct polynomial *p, double plain, double gated) {
  struct polynomial rest = *p;
  bool is = fg_match_near(p->c[1][0], plain) && fg_match_near(p->c[1][1], gated);
  double number;
  rest.c[1][0] = rest.c[1][1] = 0;
  return is && is_number(&rest, &number) && number == 0;
}

/* A gate r t, t = min(max(a x + b, 0), top), without x: hard_sigmoid, whose top is 1. */
static bool is_ramp(const struct polynomial *p, double top, double *r) {
  struct polynomial rest = *p;
  double number;
  *r = p->c[0][1];
  rest.c[0][1] = 0;
  return fg_match_near(*r * top, 1) && is_number(&rest, &number) && number == 0;
}

/* What root and the gate's argument, as polynomials in x, are together. relu6's gradient on its
 * bounds is hard_sigmoid's; clip's is not, so a clip is taken for a gate only. */
static bool name_activation(const struct fg_unary_attrs *gate, const struct polynomial *root,
                            const struct polynomial *of, struct fg_unary_attrs *out) {
  double s = SQRT_2_OVER_PI, r, top = gate->kind == FG_UNARY_relu6 ? 6 : gate->beta;
  bool is_line = of->c[2][0] == 0 && of->c[3][0] == 0;
  *out = (struct fg_unary_attrs){0};
  switch (gate->kind) {
  case FG_UNARY_erf:
    out->kind = FG_UNARY_gelu;
    return is_odd(of, SQRT_HALF, 0) && is_gated(root, 0.5, 0.5);
  case FG_UNARY_tanh:
    out->kind = FG_UNARY_gelu_tanh;
    return is_odd(of, s, s * GELU_CUBIC) && is_gated(root, 0.5, 0.5);
  case FG_UNARY_sigmoid:
    out->kind = FG_UNARY_gelu_tanh; /* (1 + tanh u) / 2 is sigmoid(2 u) */
    if (is_gated(root, 0, 1) && is_odd(of, 2 * s, 2 * s * GELU_CUBIC))
      return true;
    *out = (struct fg_unary_attrs){.kind = FG_UNARY_silu, .alpha = of->c[1][0]};
    return is_gated(root, 0, 1) && is_line && of->c[0][0] == 0 && of->c[1][0] != 0;
  case FG_UNARY_relu6:
    if (is_line && is_ramp(root, top, &r)) {
      *out = (struct fg_unary_attrs){FG_UNARY_hard_sigmoid, of->c[1][0] * r, of->c[0][0] * r};
      return of->c[1][0] != 0;
    }
    /* fall through */
  case FG_UNARY_clip:
    r = root->c[1][1];
    out->kind = FG_UNARY_hard_swish;
    return is_line && is_gated(root, 0, 1 / top) && fg_match_near(of->c[1][0] * r, 1.0 / 6) &&
           fg_match_near(of->c[0][0] * r, 0.5) &&
           (gate->kind == FG_UNARY_relu6 || gate->alpha == 0);
  case FG_UNARY_hard_sigmoid:
    out->kind = FG_UNARY_hard_swish;
    return is_odd(of, 1, 0) && is_gated(root, 0, 1) && fg_match_near(gate->alpha, 1.0 / 6) &&
           fg_match_near(gate->beta, 0.5);
  default:
    return false;
  }
}

static bool is_gate(enum fg_unary_kind kind) {
  return kind == FG_UNARY_erf || kind == FG_UNARY_tanh || kind == FG_UNARY_sigmoid ||
         kind == FG_UNARY_relu6 || kind == FG_UNARY_clip || kind == FG_UNARY_hard_sigmoid;
}

/* The gates among what the value is computed of in a few steps; `n` of them are known. */
static int find_gates(const struct fg_match *m, fg_id value, int depth, int n, fg_id *gates) {
  fg_id producer = value < m->rw->n_values ? fg_value(m->g, value)->producer : FG_ABSENT;
  if (producer == FG_ABSENT || depth == 0 || n == GATES || !fg_rewrite_fresh(m->rw, producer))
    return n;
  const struct fg_node *node = &m->g->nodes[producer];
  if (node->op == FG_OP_unary && is_gate(node->attrs.unary.kind)) {
    gates[n] = value;
    return n + 1;
  }
  if (node->op != FG_OP_binary &&
      (node->op != FG_OP_unary || node->attrs.unary.kind != FG_UNARY_neg))
    return n;
  for (int k = 0; k < node->n_in; k++)
    n = find_gates(m, node->in[k], depth - 1, n, gates);
  return n;
}

/* Everything that the gate's argument is computed of in a few steps: one of it may be x. */
static int candidates(const struct fg_graph *g, fg_id argument, fg_id *out) {
  int n = 0;
  out[n++] = argument;
  for (int i = 0; i < n; i++) {
    fg_id producer = fg_value(g, out[i])->producer;
    const struct fg_node *node = producer == FG_ABSENT ? NULL : &g->nodes[producer];
    if (!node || (node->op != FG_OP_binary && node->op != FG_OP_unary))
      continue;
    for (int k = 0; k < node->n_in && n < CANDIDATES; k++) {
      bool known = fg_value_is_constant(g, node->in[k]);
      for (int j = 0; j < n; j++)
        known |= out[j] == node->in[k];
      if (!known)
        out[n++] = node->in[k];
    }
  }
  return n;
}

/* x tanh(log(1 + exp(x))): its gate is no polynomial's function. */
static bool is_mish(struct fg_match *m, const struct fg_node *gate, const struct polynomial *root,
                    fg_id x) {
  fg_id argument = gate->in[0];
  if (gate->attrs.unary.kind != FG_UNARY_tanh || !is_gated(root, 0, 1))
    return false;
  struct fg_node *inner = fg_match_unary(m, argument, FG_UNARY_softplus);
  return inner && inner->in[0] == x;
}

static bool match(struct fg_match *m, fg_id t, fg_id x, struct fg_unary_attrs *out) {
  struct polynomial root, of;
  const struct fg_node *at = &m->g->nodes[m->at];
  m->n = 0;
  const struct fg_node *gate = fg_match_node(m, t, FG_OP_unary);
  if (!gate || !expand_binary(m, at, x, t, DEPTH, &root) ||
      !fg_match_same_shape(m->g, x, at->out[0]))
    return false;
  if (is_mish(m, gate, &root, x)) {
    *out = (struct fg_unary_attrs){.kind = FG_UNARY_mish};
    return fg_match_closed(m);
  }
  return expand(m, gate->in[0], x, FG_ABSENT, DEPTH, &of) &&
         name_activation(&gate->attrs.unary, &root, &of, out) && fg_match_closed(m);
}

static fgsm_status put(struct fg_match *m, const struct fg_unary_attrs *attrs, fg_id x) {
  union fg_attrs a = {.unary = *attrs};
  struct fg_tensor t = fg_value_tensor(m->g, x);
  struct fg_call call = {
      .op = FG_OP_unary, .n_in = 1, .n_out = 1, .in = {t}, .out = {t}, .attrs = &a};
  fg_id out[FG_MAX_OUT];
  if (!fg_match_accepts(m, &call))
    return FGSM_OK;
  FG_TRY(fg_graph_add(m->g, FG_OP_unary, m->g->nodes[m->at].name, &a, 1, &x, out));
  return fg_match_replace(m, fg_unary_name(attrs->kind), out[0]);
}

fgsm_status fg_recognise_activation(struct fg_match *m) {
  const struct fg_node *root = &m->g->nodes[m->at];
  struct fg_unary_attrs found;
  fg_id gates[GATES], x[CANDIDATES];
  if (root->op != FG_OP_binary || !fg_type_is_real(fg_value(m->g, root->out[0])->type))
    return FGSM_OK;
  int n_gates = find_gates(m, root->out[0], DEPTH, 0, gates);
  for (int i = 0; i < n_gates; i++) {
    const struct fg_node *gate = &m->g->nodes[fg_value(m->g, gates[i])->producer];
    int n = candidates(m->g, gate->in[0], x);
    for (int k = n; k-- > 0;) /* the farthest first, so that a ramp takes its offset in */
      if (match(m, gates[i], x[k], &found))
        return put(m, &found, x[k]);
  }
  return FGSM_OK;
}
