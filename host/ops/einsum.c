/* Einsum as what it reduces to: diagonals of labels that one operand bears twice, sums over labels that
 * only one operand has, then a batched product of two operands at a time, then a transposition. Labels
 * are small numbers: letters, then the axes that an ellipsis stands for, counted from the right so that
 * they broadcast. */
#include <ctype.h>
#include <string.h>

#include "rules.h"

enum { LETTERS = 52 }; /* with the ellipsis' axes behind them, below 64: sets of labels are masks */

struct term {
  fg_id x;
  int n, label[FG_MAX_RANK];
};

static int label_of(char c) {
  return islower((unsigned char)c) ? c - 'a' : c - 'A' + 26;
}

static bool has(const struct term *t, int label) {
  for (int i = 0; i < t->n; i++)
    if (t->label[i] == label)
      return true;
  return false;
}

static int64_t mask_of(const struct term *t) {
  int64_t mask = 0;
  for (int i = 0; i < t->n; i++)
    mask |= (int64_t)1 << t->label[i];
  return mask;
}

/* Reads one term up to ',' or '-' or the end. `rank` is its operand's, or -1 for the result, whose
 * ellipsis stands for `wide` axes. */
static fgsm_status read_term(const char **at, int rank, int wide, struct term *t) {
  int letters = 0, dots = 0;
  const char *p = *at;
  for (; *p && *p != ',' && *p != '-'; p++) {
    letters += isalpha((unsigned char)*p) != 0;
    dots += *p == '.';
    if (!isalpha((unsigned char)*p) && *p != '.' && *p != ' ')
      return FG_FAIL(MODEL, "equation: '%c' is no label", *p);
  }
  int spread = dots == 0 ? 0 : rank < 0 ? wide : rank - letters;
  if ((dots != 0 && dots != 3) || spread < 0 || letters + spread > FG_MAX_RANK ||
      (rank >= 0 && letters + spread != rank))
    return FG_FAIL(MODEL, "equation: a term of %d labels%s for %d axes", letters,
                   dots ? " and an ellipsis" : "", rank);
  t->n = 0;
  for (; *at < p; ++*at) {
    if (isalpha((unsigned char)**at))
      t->label[t->n++] = label_of(**at);
    for (int i = 0; **at == '.' && (*at)[1] != '.' && i < spread; i++)
      t->label[t->n++] = LETTERS + spread - 1 - i;
  }
  return FGSM_OK;
}

/* Two axes of one label, twins, become one behind the others: every n + 1st of their n n elements. */
static fgsm_status take_diagonal(struct fg_graph *g, struct term *t, int first, int second) {
  struct fg_value v = *fg_value(g, t->x);
  int64_t n = v.dim[first];
  int perm[FG_MAX_RANK], label = t->label[first], at = 0, rank = t->n - 1;
  union fg_attrs a = {0};
  if (v.dim[second] != n)
    return FG_FAIL(MODEL, "equation: one label for axes of %lld and %lld", (long long)n,
                   (long long)v.dim[second]);
  for (int i = 0; i < t->n; i++)
    if (i != first && i != second) {
      perm[at] = i;
      t->label[at] = t->label[i];
      a.slice.dim[at] = v.dim[i];
      a.slice.step[at++] = 1;
    }
  perm[at] = first;
  perm[at + 1] = second;
  t->label[at] = label;
  t->n = rank;
  a.slice.dim[at] = n * n;
  a.slice.step[at] = n + 1;
  FG_TRY(fg_transpose(g, t->x, perm, &t->x));
  FG_TRY(fg_reshape(g, t->x, rank, a.slice.dim, &t->x));
  a.slice.dim[at] = n;
  return fg_rule_append(g, FG_OP_slice, &a, 1, &t->x, &t->x);
}

static fgsm_status take_diagonals(struct fg_graph *g, struct term *t) {
  for (int i = 0; i < t->n; i++)
    for (int k = i + 1; k < t->n; k++)
      if (t->label[i] == t->label[k]) {
        FG_TRY(take_diagonal(g, t, i, k));
        i = -1; /* the axes have moved */
        break;
      }
  return FGSM_OK;
}

/* Sums over the labels that are not in `keep`. */
static fgsm_status sum_out(struct fg_graph *g, struct term *t, int64_t keep) {
  uint32_t axes = 0;
  int n = 0;
  for (int i = 0; i < t->n; i++) {
    if (keep >> t->label[i] & 1)
      t->label[n++] = t->label[i];
    else
      axes |= 1u << i;
  }
  t->n = n;
  return axes ? fg_reduce(g, FG_REDUCE_sum, t->x, axes, false, &t->x) : FGSM_OK;
}

/* Puts the axes into the order of n labels, all of which the term has. */
static fgsm_status arrange(struct fg_graph *g, struct term *t, int n, const int *labels) {
  int perm[FG_MAX_RANK] = {0};
  bool same = true;
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < t->n; k++)
      if (t->label[k] == labels[i])
        perm[i] = k;
    same &= perm[i] == i;
  }
  memcpy(t->label, labels, (size_t)n * sizeof *labels);
  return same ? FGSM_OK : fg_transpose(g, t->x, perm, &t->x);
}

/* Which part of a product each label of a term is: shared and kept, its own, or summed. */
struct parts {
  int n, label[FG_MAX_RANK], shared, own, summed; /* in the order shared, own, summed */
};

static struct parts split(const struct term *t, int64_t other, int64_t keep) {
  struct parts p = {0};
  for (int want = 0; want < 3; want++)
    for (int i = 0; i < t->n; i++) {
      bool both = other >> t->label[i] & 1, kept = keep >> t->label[i] & 1;
      int what = !both ? 1 : kept ? 0 : 2;
      if (what != want)
        continue;
      p.label[p.n++] = t->label[i];
      *(want == 0 ? &p.shared : want == 1 ? &p.own : &p.summed) += 1;
    }
  return p;
}

/* [shared..., own, summed] with the last two groups each as one axis. */
static fgsm_status to_matrix(struct fg_graph *g, struct term *t, const struct parts *p) {
  FG_TRY(arrange(g, t, p->n, p->label));
  struct fg_value v = *fg_value(g, t->x);
  int64_t dim[FG_MAX_RANK + 2];
  if (p->shared + 2 > FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "equation: %d shared labels are too many", p->shared);
  memcpy(dim, v.dim, (size_t)p->shared * sizeof *dim);
  int64_t own = 1, summed = 1;
  for (int i = 0; i < p->own; i++)
    own *= v.dim[p->shared + i];
  for (int i = 0; i < p->summed; i++)
    summed *= v.dim[p->shared + p->own + i];
  dim[p->shared] = own;
  dim[p->shared + 1] = summed;
  return fg_reshape(g, t->x, p->shared + 2, dim, &t->x);
}

/* b's shared and summed labels in a's order. */
static void align(struct parts *b, const struct parts *a) {
  memcpy(b->label, a->label, (size_t)a->shared * sizeof *b->label);
  memcpy(b->label + b->shared + b->own, a->label + a->shared + a->own,
         (size_t)a->summed * sizeof *b->label);
}

/* Labels that both terms have must stand for equally long axes; one of length 1 is not spread. */
static fgsm_status check_lengths(const struct fg_graph *g, const struct term *a,
                                 const struct term *b) {
  const int64_t *da = fg_value(g, a->x)->dim, *db = fg_value(g, b->x)->dim;
  for (int i = 0; i < a->n; i++)
    for (int k = 0; k < b->n; k++)
      if (a->label[i] == b->label[k] && da[i] != db[k])
        return FG_FAIL(UNSUPPORTED, "equation: one label for axes of %lld and %lld",
                       (long long)da[i], (long long)db[k]);
  return FGSM_OK;
}

/* a becomes the product of both, of which the labels in `keep` are needed later. */
static fgsm_status multiply(struct fg_graph *g, struct term *a, struct term *b, int64_t keep) {
  FG_TRY(check_lengths(g, a, b));
  FG_TRY(sum_out(g, a, keep | mask_of(b)));
  FG_TRY(sum_out(g, b, keep | mask_of(a)));
  struct parts pa = split(a, mask_of(b), keep), pb = split(b, mask_of(a), keep);
  align(&pb, &pa);
  int n = pa.shared + pa.own + pb.own, at = 0;
  if (n > FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "equation: a product of more than %d axes", FG_MAX_RANK);
  FG_TRY(arrange(g, a, pa.n, pa.label));
  FG_TRY(arrange(g, b, pb.n, pb.label));
  int64_t dim[FG_MAX_RANK];
  const int64_t *da = fg_value(g, a->x)->dim, *db = fg_value(g, b->x)->dim;
  for (int i = 0; i < pa.shared + pa.own; i++)
    dim[at++] = da[i];
  for (int i = 0; i < pb.own; i++)
    dim[at++] = db[pb.shared + i];
  FG_TRY(to_matrix(g, a, &pa));
  FG_TRY(to_matrix(g, b, &pb));
  FG_TRY(fg_matmul(g, a->x, b->x, false, true, 1, &a->x));
  a->n = n;
  memcpy(a->label + pa.shared + pa.own, pb.label + pb.shared, (size_t)pb.own * sizeof *a->label);
  return fg_reshape(g, a->x, n, dim, &a->x);
}

/* Without "->" the result has, in alphabetical order, the labels that occur once. */
static void implied(int n, const struct term *in, int wide, struct term *out) {
  out->n = 0;
  for (int i = 0; i < wide && out->n < FG_MAX_RANK; i++)
    out->label[out->n++] = LETTERS + wide - 1 - i;
  for (int k = 0; k < LETTERS && out->n < FG_MAX_RANK; k++) {
    int label = (k + 26) % LETTERS, times = 0; /* upper case first */
    for (int i = 0; i < n; i++)
      for (int a = 0; a < in[i].n; a++)
        times += in[i].label[a] == label;
    if (times == 1)
      out->label[out->n++] = label;
  }
}

static fgsm_status read_equation(const struct fg_import *im, struct term *in, struct term *out) {
  const char *at;
  int wide = 0;
  FG_TRY(fg_attr_text(im, "equation", "", &at));
  for (int i = 0; i < im->n_in; i++) {
    FG_TRY(fg_input(im, i, &in[i].x));
    if (i > 0 && *at++ != ',')
      return FG_FAIL(MODEL, "equation: fewer terms than inputs");
    FG_TRY(read_term(&at, fg_value(im->g, in[i].x)->rank, 0, &in[i]));
    for (int k = 0; k < in[i].n; k++)
      if (in[i].label[k] >= LETTERS && in[i].label[k] - LETTERS >= wide)
        wide = in[i].label[k] - LETTERS + 1;
  }
  if (!*at) {
    implied(im->n_in, in, wide, out);
    return FGSM_OK;
  }
  if (at[0] != '-' || at[1] != '>')
    return FG_FAIL(MODEL, "equation: more terms than inputs, or no '->'");
  at += 2;
  FG_TRY(read_term(&at, -1, wide, out));
  if (*at)
    return FG_FAIL(MODEL, "equation: more than one result");
  for (int i = 0; i < out->n; i++) {
    bool found = false;
    for (int k = 0; k < i; k++)
      if (out->label[i] == out->label[k])
        return FG_FAIL(MODEL, "equation: a label twice in the result");
    for (int k = 0; k < im->n_in; k++)
      found |= has(&in[k], out->label[i]);
    if (!found)
      return FG_FAIL(MODEL, "equation: the result has a label that no term has");
  }
  return FGSM_OK;
}

fgsm_status fg_import_Einsum(struct fg_import *im) {
  struct term in[FG_MAX_IN], out;
  if (im->n_in < 1 || im->n_in > FG_MAX_IN)
    return FG_FAIL(UNSUPPORTED, "%d inputs: 1 to %d are supported", im->n_in, FG_MAX_IN);
  FG_TRY(read_equation(im, in, &out));
  for (int i = 0; i < im->n_in; i++)
    FG_TRY(take_diagonals(im->g, &in[i]));
  for (int i = 1; i < im->n_in; i++) {
    int64_t keep = mask_of(&out);
    for (int k = i + 1; k < im->n_in; k++)
      keep |= mask_of(&in[k]);
    FG_TRY(multiply(im->g, &in[0], &in[i], keep));
  }
  FG_TRY(sum_out(im->g, &in[0], mask_of(&out)));
  FG_TRY(arrange(im->g, &in[0], out.n, out.label));
  im->out[0] = in[0].x;
  return FGSM_OK;
}
