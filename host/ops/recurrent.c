/* RNN, GRU and LSTM, unrolled: each step is a product with the recurrent weights and the gates, as
 * graph nodes, so that the gradient through time is the graph's own. What the input contributes is
 * one product for all steps. The number of steps is bounded, because each becomes nodes. */
#include <math.h>
#include <string.h>

#include "rules.h"

enum { MOST_STEPS = 1024, MOST_ACTS = 3 };

enum kind { RNN, GRU, LSTM };

struct layer {
  struct fg_import *im;
  struct fg_graph *g;
  enum kind kind;
  int64_t gates, steps, batch, features, hidden, directions;
  bool batch_first, reset_after, coupled;
  double clip; /* 0: none */
  const char *direction;
  fg_id x, w, r, b, h0, c0, p; /* x: [steps, batch, features]; FG_ABSENT where left out */
};

/* One direction of it. */
struct cell {
  const struct layer *l;
  enum fg_unary_kind act[MOST_ACTS];
  fg_id input;           /* [steps, batch, gates * hidden]: what x and the biases contribute */
  fg_id r, r_hidden, bh; /* GRU with the reset after the product: its weights, and its bias */
  fg_id peep[3];         /* [hidden], or FG_ABSENT */
  fg_id h, c;
};

/* x[at] along axis 0, that axis gone. */
static fgsm_status pick(struct fg_graph *g, fg_id x, int64_t at, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  FG_TRY(fg_rule_cut(g, x, 0, at, 1, out));
  return fg_reshape(g, *out, v.rank - 1, v.dim + 1, out);
}

static fgsm_status add(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  return fg_binary(g, FG_BINARY_add, a, b, out);
}

static fgsm_status mul(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  return fg_binary(g, FG_BINARY_mul, a, b, out);
}

/* Gate k's argument among all gates' [batch, gates * hidden], with peephole and clip, through f. */
static fgsm_status gate(const struct cell *c, fg_id all, int k, fg_id peep, fg_id state,
                        enum fg_unary_kind f, fg_id *out) {
  struct fg_graph *g = c->l->g;
  FG_TRY(fg_rule_cut(g, all, 1, k * c->l->hidden, c->l->hidden, out));
  if (peep != FG_ABSENT) {
    fg_id seen;
    FG_TRY(mul(g, state, peep, &seen));
    FG_TRY(add(g, *out, seen, out));
  }
  if (c->l->clip > 0)
    FG_TRY(fg_unary(g, FG_UNARY_clip, -c->l->clip, c->l->clip, *out, out));
  return fg_unary(g, f, 0, 0, *out, out);
}

/* a + u (b - a) */
static fgsm_status mix(struct fg_graph *g, fg_id u, fg_id a, fg_id b, fg_id *out) {
  FG_TRY(fg_binary(g, FG_BINARY_sub, b, a, out));
  FG_TRY(mul(g, u, *out, out));
  return add(g, a, *out, out);
}

static fgsm_status step_lstm(struct cell *c, fg_id all) {
  struct fg_graph *g = c->l->g;
  fg_id in, out, keep, fresh, one;
  FG_TRY(gate(c, all, 0, c->peep[0], c->c, c->act[0], &in));
  if (c->l->coupled) {
    FG_TRY(fg_graph_scalar(g, 1, &one));
    FG_TRY(fg_binary(g, FG_BINARY_sub, one, in, &keep));
  } else {
    FG_TRY(gate(c, all, 2, c->peep[2], c->c, c->act[0], &keep));
  }
  FG_TRY(gate(c, all, 3, FG_ABSENT, FG_ABSENT, c->act[1], &fresh));
  FG_TRY(mul(g, in, fresh, &fresh));
  FG_TRY(mul(g, keep, c->c, &keep));
  FG_TRY(add(g, keep, fresh, &c->c));
  FG_TRY(gate(c, all, 1, c->peep[1], c->c, c->act[0], &out));
  FG_TRY(fg_unary(g, c->act[2], 0, 0, c->c, &fresh));
  return mul(g, out, fresh, &c->h);
}

/* `x` is the input's share alone, `all` that of the hidden state too, for the first two gates. */
static fgsm_status step_gru(struct cell *c, fg_id x, fg_id all) {
  const struct layer *l = c->l;
  struct fg_graph *g = l->g;
  fg_id update, reset, fresh, past;
  FG_TRY(gate(c, all, 0, FG_ABSENT, FG_ABSENT, c->act[0], &update));
  FG_TRY(gate(c, all, 1, FG_ABSENT, FG_ABSENT, c->act[0], &reset));
  if (l->reset_after) {
    FG_TRY(fg_matmul(g, c->h, c->r_hidden, false, true, 1, &past));
    if (c->bh != FG_ABSENT)
      FG_TRY(add(g, past, c->bh, &past));
    FG_TRY(mul(g, reset, past, &past));
  } else {
    FG_TRY(mul(g, reset, c->h, &past));
    FG_TRY(fg_matmul(g, past, c->r_hidden, false, true, 1, &past));
  }
  FG_TRY(fg_rule_cut(g, x, 1, 2 * l->hidden, l->hidden, &fresh));
  FG_TRY(add(g, fresh, past, &fresh));
  if (l->clip > 0)
    FG_TRY(fg_unary(g, FG_UNARY_clip, -l->clip, l->clip, fresh, &fresh));
  FG_TRY(fg_unary(g, c->act[1], 0, 0, fresh, &fresh));
  return mix(g, update, fresh, c->h, &c->h);
}

/* r is GRU's first two gates' recurrent weights, the others' all. */
static fgsm_status step(struct cell *c, int64_t t) {
  const struct layer *l = c->l;
  fg_id x, all;
  FG_TRY(pick(l->g, c->input, t, &x));
  FG_TRY(fg_matmul(l->g, c->h, c->r, false, true, 1, &all));
  if (l->kind == GRU) {
    fg_id two;
    FG_TRY(fg_rule_cut(l->g, x, 1, 0, 2 * l->hidden, &two));
    FG_TRY(add(l->g, all, two, &all));
    return step_gru(c, x, all);
  }
  FG_TRY(add(l->g, all, x, &all));
  if (l->kind == LSTM)
    return step_lstm(c, all);
  return gate(c, all, 0, FG_ABSENT, FG_ABSENT, c->act[0], &c->h);
}

/* ---- operands */

static fgsm_status zeros(const struct layer *l, fg_id *out) {
  int64_t dim[2] = {l->batch, l->hidden}, n;
  if (!fg_mul_ok(dim[0], dim[1], &n) || n > INT32_MAX)
    return FG_FAIL(MODEL, "a state of %lld by %lld", (long long)dim[0], (long long)dim[1]);
  double *data = fg_arena_alloc(&l->g->arena, (size_t)n * sizeof *data + 1);
  return data ? fg_graph_constant(l->g, "", FG_F64, 2, dim, data, out) : FGSM_MEMORY;
}

/* Direction d of a state [directions, batch, hidden], or zeros. */
static fgsm_status start(const struct layer *l, fg_id state, int64_t d, fg_id *out) {
  if (state == FG_ABSENT)
    return zeros(l, out);
  return pick(l->g, state, d, out);
}

/* The input's share of all gates in all steps. */
static fgsm_status project(struct cell *c, int64_t d) {
  const struct layer *l = c->l;
  struct fg_graph *g = l->g;
  int64_t wide = l->gates * l->hidden;
  fg_id w, b, bx, bh;
  union fg_attrs a = {.matmul = {.alpha = 1, .trans_b = true}};
  FG_TRY(pick(g, l->w, d, &w));
  fg_id in[3] = {FG_ABSENT, w, FG_ABSENT};
  FG_TRY(fg_reshape(g, l->x, 2, (int64_t[]){l->steps * l->batch, l->features}, &in[0]));
  if (l->b != FG_ABSENT) {
    FG_TRY(pick(g, l->b, d, &b));
    FG_TRY(fg_rule_cut(g, b, 0, 0, wide, &bx));
    FG_TRY(fg_rule_cut(g, b, 0, wide, wide, &bh));
    if (l->reset_after) { /* the hidden gate's own bias is under the reset */
      fg_id part[2];
      FG_TRY(fg_rule_cut(g, bh, 0, 2 * l->hidden, l->hidden, &c->bh));
      FG_TRY(fg_rule_cut(g, bh, 0, 0, 2 * l->hidden, &part[0]));
      FG_TRY(fg_binary(g, FG_BINARY_sub, c->bh, c->bh, &part[1]));
      FG_TRY(fg_rule_join(g, "", 0, 2, part, &bh));
    }
    FG_TRY(add(g, bx, bh, &in[2]));
  }
  FG_TRY(fg_rule_append(g, FG_OP_matmul, &a, 3, in, &c->input));
  return fg_reshape(g, c->input, 3, (int64_t[]){l->steps, l->batch, wide}, &c->input);
}

static fgsm_status open_cell(struct cell *c, int64_t d) {
  const struct layer *l = c->l;
  fg_id p;
  FG_TRY(project(c, d));
  FG_TRY(pick(l->g, l->r, d, &c->r));
  if (l->kind == GRU) {
    FG_TRY(fg_rule_cut(l->g, c->r, 0, 2 * l->hidden, l->hidden, &c->r_hidden));
    FG_TRY(fg_rule_cut(l->g, c->r, 0, 0, 2 * l->hidden, &c->r));
  }
  FG_TRY(start(l, l->h0, d, &c->h));
  if (l->kind == LSTM)
    FG_TRY(start(l, l->c0, d, &c->c));
  if (l->p == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(pick(l->g, l->p, d, &p));
  for (int k = 0; k < 3; k++)
    FG_TRY(fg_rule_cut(l->g, p, 0, k * l->hidden, l->hidden, &c->peep[k]));
  return FGSM_OK;
}

/* ---- attributes */

static fgsm_status read_acts(const struct fg_import *im, const struct layer *l, int64_t d,
                             enum fg_unary_kind *act) {
  static const int counts[] = {[RNN] = 1, [GRU] = 2, [LSTM] = 3};
  static const struct {
    const char *name;
    enum fg_unary_kind kind;
  } known[] = {{"Sigmoid", FG_UNARY_sigmoid}, {"Tanh", FG_UNARY_tanh}, {"Relu", FG_UNARY_relu}};
  const struct fg_onnx_attr *a = fg_attr_find(im, "activations");
  int n = counts[l->kind];
  act[0] = l->kind == RNN ? FG_UNARY_tanh : FG_UNARY_sigmoid;
  act[1] = act[2] = FG_UNARY_tanh;
  if (!a)
    return FGSM_OK;
  if (a->kind != FG_ATTR_STRINGS || a->n != n * l->directions)
    return FG_FAIL(MODEL, "activations has not %d names for each direction", n);
  for (int i = 0; i < n; i++) {
    const char *name = a->strings[d * n + i];
    size_t k = 0;
    while (k < sizeof known / sizeof *known && strcmp(known[k].name, name))
      k++;
    if (k == sizeof known / sizeof *known)
      return FG_FAIL(UNSUPPORTED, "activation '%.40s': Sigmoid, Tanh and Relu are supported", name);
    act[i] = known[k].kind;
  }
  return FGSM_OK;
}

static fgsm_status read_attrs(struct layer *l) {
  struct fg_import *im = l->im;
  int64_t batch_first, reset_after, coupled, hidden;
  FG_TRY(fg_attr_text(im, "direction", "forward", &l->direction));
  FG_TRY(fg_attr_int(im, "layout", 0, &batch_first));
  FG_TRY(fg_attr_int(im, "linear_before_reset", 0, &reset_after));
  FG_TRY(fg_attr_int(im, "input_forget", 0, &coupled));
  FG_TRY(fg_attr_int(im, "hidden_size", -1, &hidden));
  FG_TRY(fg_attr_float(im, "clip", 0, &l->clip));
  l->batch_first = batch_first;
  l->reset_after = l->kind == GRU && reset_after;
  l->coupled = coupled;
  bool both = !strcmp(l->direction, "bidirectional");
  if (!both && strcmp(l->direction, "forward") && strcmp(l->direction, "reverse"))
    return FG_FAIL(MODEL, "there is no direction '%.40s'", l->direction);
  l->directions = both ? 2 : 1;
  const struct fg_value *r = fg_value(im->g, l->r);
  l->hidden = r->rank == 3 ? r->dim[2] : -1;
  if (l->hidden < 1 || (hidden >= 0 && hidden != l->hidden))
    return FG_FAIL(MODEL, "hidden_size %lld and recurrent weights %s", (long long)hidden,
                   FG_SHAPE(r));
  return FGSM_OK;
}

static fgsm_status check_shape(const struct layer *l, fg_id id, const char *what, int rank,
                               const int64_t *dim) {
  if (id == FG_ABSENT)
    return FGSM_OK;
  struct fg_value want = {.rank = rank};
  memcpy(want.dim, dim, (size_t)rank * sizeof *dim);
  return fg_rule_same_shape(fg_value(l->g, id), &want, what);
}

/* [batch, directions, hidden] <-> [directions, batch, hidden], and x likewise. */
static fgsm_status swap(const struct layer *l, fg_id *id) {
  static const int perm[] = {1, 0, 2};
  if (*id == FG_ABSENT || !l->batch_first)
    return FGSM_OK;
  if (fg_value(l->g, *id)->rank != 3)
    return FG_FAIL(MODEL, "shape %s where rank 3 is expected", FG_SHAPE(fg_value(l->g, *id)));
  return fg_transpose(l->g, *id, perm, id);
}

/* Sequences that end early are not taken: every length must be that of x. */
static fgsm_status check_lengths(const struct layer *l) {
  fg_id id = fg_import_optional(l->im, 4);
  if (id == FG_ABSENT)
    return FGSM_OK;
  bool full = fg_value_is_constant(l->g, id);
  for (int64_t i = 0; full && i < fg_value_count(l->g, id); i++)
    full = fg_constant_int(l->g, id, i) == l->steps;
  return full ? FGSM_OK
              : FG_FAIL(UNSUPPORTED, "sequences of different lengths (sequence_lens): pad and cut "
                                     "them outside of the model");
}

static fgsm_status open_layer(struct layer *l) {
  struct fg_import *im = l->im;
  FG_TRY(fg_input(im, 0, &l->x));
  FG_TRY(fg_input(im, 1, &l->w));
  FG_TRY(fg_input(im, 2, &l->r));
  l->b = fg_import_optional(im, 3);
  l->h0 = fg_import_optional(im, 5);
  l->c0 = l->kind == LSTM ? fg_import_optional(im, 6) : FG_ABSENT;
  l->p = l->kind == LSTM ? fg_import_optional(im, 7) : FG_ABSENT;
  FG_TRY(read_attrs(l));
  FG_TRY(swap(l, &l->x));
  FG_TRY(swap(l, &l->h0));
  FG_TRY(swap(l, &l->c0));
  const struct fg_value *x = fg_value(l->g, l->x);
  if (x->rank != 3)
    return FG_FAIL(MODEL, "x has shape %s, not [steps, batch, features]", FG_SHAPE(x));
  l->steps = x->dim[0], l->batch = x->dim[1], l->features = x->dim[2];
  if (l->steps < 1 || l->steps * l->directions > MOST_STEPS)
    return FG_FAIL(UNSUPPORTED, "%lld steps in %lld directions: at most %d together are unrolled",
                   (long long)l->steps, (long long)l->directions, MOST_STEPS);
  int64_t d = l->directions, h = l->hidden, wide = l->gates * h;
  FG_TRY(check_shape(l, l->w, "W", 3, (int64_t[]){d, wide, l->features}));
  FG_TRY(check_shape(l, l->r, "R", 3, (int64_t[]){d, wide, h}));
  FG_TRY(check_shape(l, l->b, "B", 2, (int64_t[]){d, 2 * wide}));
  FG_TRY(check_shape(l, l->h0, "initial_h", 3, (int64_t[]){d, l->batch, h}));
  FG_TRY(check_shape(l, l->c0, "initial_c", 3, (int64_t[]){d, l->batch, h}));
  FG_TRY(check_shape(l, l->p, "P", 2, (int64_t[]){d, 3 * h}));
  return check_lengths(l);
}

/* ---- running over time */

/* y: each step's state [steps, 1, batch, hidden]; h and c: the last, [1, batch, hidden]. */
static fgsm_status run_direction(struct layer *l, int64_t d, fg_id *y, fg_id *h, fg_id *c) {
  struct cell cell = {.l = l, .bh = FG_ABSENT, .peep = {FG_ABSENT, FG_ABSENT, FG_ABSENT}};
  bool back = d == 1 || !strcmp(l->direction, "reverse");
  fg_id state[MOST_STEPS];
  FG_TRY(read_acts(l->im, l, d, cell.act));
  FG_TRY(open_cell(&cell, d));
  for (int64_t i = 0; i < l->steps; i++) {
    int64_t t = back ? l->steps - 1 - i : i;
    FG_TRY(step(&cell, t));
    FG_TRY(fg_reshape(l->g, cell.h, 4, (int64_t[]){1, 1, l->batch, l->hidden}, &state[t]));
  }
  FG_TRY(fg_reshape(l->g, cell.h, 3, (int64_t[]){1, l->batch, l->hidden}, h));
  if (l->kind == LSTM)
    FG_TRY(fg_reshape(l->g, cell.c, 3, (int64_t[]){1, l->batch, l->hidden}, c));
  return fg_rule_join(l->g, "", 0, l->steps, state, y);
}

static fgsm_status recur(struct fg_import *im, enum kind kind) {
  static const int64_t gates[] = {[RNN] = 1, [GRU] = 3, [LSTM] = 4};
  static const int batch_first[] = {2, 0, 1, 3};
  struct layer l = {.im = im, .g = im->g, .kind = kind, .gates = gates[kind]};
  fg_id part[3][2], out[3];
  FG_TRY(open_layer(&l));
  for (int64_t d = 0; d < l.directions; d++)
    FG_TRY(run_direction(&l, d, &part[0][d], &part[1][d], &part[2][d]));
  int n = kind == LSTM ? 3 : 2;
  for (int k = 0; k < n; k++)
    FG_TRY(fg_rule_join(im->g, "", k == 0, l.directions, part[k], &out[k]));
  if (l.batch_first) /* [steps, directions, batch, hidden] -> [batch, steps, directions, hidden] */
    FG_TRY(fg_transpose(im->g, out[0], batch_first, &out[0]));
  for (int k = 1; k < n; k++)
    FG_TRY(swap(&l, &out[k]));
  for (int k = 0; k < im->n_out && k < n; k++)
    im->out[k] = out[k];
  return FGSM_OK;
}

fgsm_status fg_import_RNN(struct fg_import *im) {
  return recur(im, RNN);
}
fgsm_status fg_import_GRU(struct fg_import *im) {
  return recur(im, GRU);
}
fgsm_status fg_import_LSTM(struct fg_import *im) {
  return recur(im, LSTM);
}
