/* ONNX Attention, taken apart: products, masks, softmax, products. Masks are values of the graph,
 * so that those which are known while loading fold. */
#include "attention.h"

#include <math.h>
#include <string.h>

fgsm_status fg_attention_split(struct fg_graph *g, fg_id x, int64_t heads, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  if (v.rank != 3 || heads < 1 || v.dim[2] % heads)
    return FG_FAIL(MODEL, "x of shape %s does not divide into %lld heads", FG_SHAPE(&v),
                   (long long)heads);
  FG_TRY(fg_reshape(g, x, 4, (int64_t[]){v.dim[0], v.dim[1], heads, v.dim[2] / heads}, out));
  return fg_transpose(g, *out, (const int[]){0, 2, 1, 3}, out);
}

fgsm_status fg_attention_merge(struct fg_graph *g, fg_id x, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  FG_TRY(fg_transpose(g, x, (const int[]){0, 2, 1, 3}, out));
  return fg_reshape(g, *out, 3, (int64_t[]){v.dim[0], v.dim[2], v.dim[1] * v.dim[3]}, out);
}

fgsm_status fg_attention_either(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  *out = a == FG_ABSENT ? b : a;
  return a == FG_ABSENT || b == FG_ABSENT ? FGSM_OK : fg_binary(g, FG_BINARY_bit_or, a, b, out);
}

static fgsm_status whole(struct fg_graph *g, int64_t v, fg_id *out) {
  return fg_graph_constant(g, "", FG_I64, 0, NULL, &v, out);
}

fgsm_status fg_attention_window(struct fg_graph *g, int64_t rows, int64_t columns, fg_id offset,
                                int64_t left, int64_t right, fg_id *out) {
  fg_id row, column, ahead, bound, past;
  *out = FG_ABSENT;
  FG_TRY(fg_import_steps(g, rows, 1, 4, 2, &row));
  FG_TRY(fg_import_steps(g, columns, 1, 4, 3, &column));
  FG_TRY(fg_binary(g, FG_BINARY_add, row, offset, &row));
  FG_TRY(fg_binary(g, FG_BINARY_sub, column, row, &ahead));
  if (right >= 0) {
    FG_TRY(whole(g, right, &bound));
    FG_TRY(fg_binary(g, FG_BINARY_greater, ahead, bound, out));
  }
  if (left < 0)
    return FGSM_OK;
  FG_TRY(whole(g, -left, &bound));
  FG_TRY(fg_binary(g, FG_BINARY_less, ahead, bound, &past));
  return fg_attention_either(g, *out, past, out);
}

/* Each head `times` times over. */
static fgsm_status repeat_heads(struct fg_graph *g, fg_id x, int64_t times, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  int64_t dim[] = {v.dim[0], v.dim[1], 1, v.dim[2], v.dim[3]};
  *out = x;
  if (times == 1)
    return FGSM_OK;
  FG_TRY(fg_reshape(g, x, 5, dim, out));
  dim[2] = times;
  FG_TRY(fg_expand(g, *out, 5, dim, out));
  return fg_reshape(g, *out, 4, (int64_t[]){v.dim[0], v.dim[1] * times, v.dim[2], v.dim[3]}, out);
}

/* The mask as a bias and as what it hides; *bias stays FG_ABSENT for a BOOL mask. */
static fgsm_status read_mask(struct fg_graph *g, fg_id mask, int64_t columns, fg_id *bias,
                             fg_id *hidden) {
  struct fg_value v = *fg_value(g, mask);
  fg_id truth;
  bool is_bool = v.type == FG_BOOL;
  if (v.rank < 1 || v.rank > 4 || v.dim[v.rank - 1] > columns ||
      (!is_bool && !fg_type_is_real(v.type)))
    return FG_FAIL(MODEL, "a mask of %s %s for %lld places", fg_type_name(v.type), FG_SHAPE(&v),
                   (long long)columns);
  if (v.dim[v.rank - 1] < columns) {
    union fg_attrs a = {.pad = {.value = is_bool ? 0 : -INFINITY}};
    a.pad.hi[v.rank - 1] = columns - v.dim[v.rank - 1];
    FG_TRY(fg_rule_append(g, FG_OP_pad, &a, 1, &mask, &mask));
  }
  if (!is_bool) {
    *bias = mask;
    return FGSM_OK;
  }
  bool yes = true;
  FG_TRY(fg_graph_constant(g, "", FG_BOOL, 0, NULL, &yes, &truth));
  FG_TRY(fg_binary(g, FG_BINARY_bit_xor, mask, truth, &mask));
  return fg_attention_either(g, *hidden, mask, hidden);
}

/* Bias and hidden places as one float bias; *dead: the rows that look at nothing, FG_ABSENT where
 * it is known that there are none. */
static fgsm_status whole_bias(struct fg_graph *g, fg_id bias, fg_id hidden, fg_id *out,
                              fg_id *dead) {
  fg_id zero, never;
  *out = bias;
  *dead = FG_ABSENT;
  if (bias == FG_ABSENT && hidden == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(fg_graph_scalar(g, -INFINITY, &never));
  if (hidden != FG_ABSENT) {
    FG_TRY(fg_graph_scalar(g, 0, &zero));
    FG_TRY(fg_rule_choose(g, hidden, never, bias == FG_ABSENT ? zero : bias, out));
  }
  FG_TRY(fg_reduce(g, FG_REDUCE_max, *out, 1u << (fg_value(g, *out)->rank - 1), true, dead));
  FG_TRY(fg_binary(g, FG_BINARY_equal, *dead, never, dead));
  if (!fg_value_is_constant(g, *dead))
    return FGSM_OK;
  for (int64_t i = 0; i < fg_value_count(g, *dead); i++)
    if (fg_constant_int(g, *dead, i))
      return FGSM_OK;
  *dead = FG_ABSENT;
  return FGSM_OK;
}

static fgsm_status cap(struct fg_graph *g, fg_id x, double at, fg_id *out) {
  fg_id c, inverse;
  FG_TRY(fg_graph_scalar(g, at, &c));
  FG_TRY(fg_graph_scalar(g, 1 / at, &inverse));
  FG_TRY(fg_binary(g, FG_BINARY_mul, x, inverse, out));
  FG_TRY(fg_unary(g, FG_UNARY_tanh, 0, 0, *out, out));
  return fg_binary(g, FG_BINARY_mul, *out, c, out);
}

static fgsm_status check(const struct fg_graph *g, const struct fg_attention *a, int64_t *times) {
  const struct fg_value *q = fg_value(g, a->q), *k = fg_value(g, a->k), *v = fg_value(g, a->v);
  bool fits = q->rank == 4 && k->rank == 4 && v->rank == 4 && q->dim[0] == k->dim[0] &&
              k->dim[0] == v->dim[0] && k->dim[1] == v->dim[1] && q->dim[3] == k->dim[3] &&
              k->dim[2] == v->dim[2] && k->dim[1] > 0 && q->dim[1] % k->dim[1] == 0;
  if (!fits)
    return FG_FAIL(MODEL, "queries, keys and values of shapes %s, %s, %s do not fit each other",
                   FG_SHAPE(q), FG_SHAPE(k), FG_SHAPE(v));
  *times = q->dim[1] / k->dim[1];
  return FGSM_OK;
}

fgsm_status fg_attend(struct fg_graph *g, const struct fg_attention *a, fg_id stages[4],
                      fg_id *out) {
  union fg_attrs soft = {.softmax = {.axis = 3}};
  fg_id k, v, y, bias = FG_ABSENT, hidden = a->hidden, dead, zero, all[4];
  int64_t times;
  FG_TRY(check(g, a, &times));
  FG_TRY(repeat_heads(g, a->k, times, &k));
  FG_TRY(repeat_heads(g, a->v, times, &v));
  if (a->mask != FG_ABSENT)
    FG_TRY(read_mask(g, a->mask, fg_value(g, k)->dim[2], &bias, &hidden));
  FG_TRY(whole_bias(g, bias, hidden, &bias, &dead));
  FG_TRY(fg_matmul(g, a->q, k, false, true, a->scale, &y));
  all[0] = y;
  if (a->softcap > 0)
    FG_TRY(cap(g, y, a->softcap, &y));
  all[1] = y;
  if (bias != FG_ABSENT)
    FG_TRY(fg_binary(g, FG_BINARY_add, y, bias, &y));
  all[2] = y;
  if (fg_value(g, y)->rank != 4 || fg_value(g, y)->dim[3] != fg_value(g, v)->dim[2])
    return FG_FAIL(MODEL, "the mask makes scores of shape %s", FG_SHAPE(fg_value(g, y)));
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  if (dead != FG_ABSENT)
    FG_TRY(fg_rule_choose(g, dead, zero, y, &y));
  FG_TRY(fg_rule_append(g, FG_OP_softmax, &soft, 1, &y, &y));
  if (dead != FG_ABSENT)
    FG_TRY(fg_rule_choose(g, dead, zero, y, &y));
  all[3] = y;
  if (stages)
    memcpy(stages, all, sizeof all);
  return fg_matmul(g, y, v, false, false, 1, out);
}

/* ---- ONNX */

struct onnx_attention {
  int64_t q_heads, kv_heads, causal, mode, left, right;
  double scale, softcap;
};

static fgsm_status read_attrs(const struct fg_import *im, struct onnx_attention *o) {
  FG_TRY(fg_attr_int(im, "q_num_heads", 0, &o->q_heads));
  FG_TRY(fg_attr_int(im, "kv_num_heads", 0, &o->kv_heads));
  FG_TRY(fg_attr_int(im, "is_causal", 0, &o->causal));
  FG_TRY(fg_attr_int(im, "qk_matmul_output_mode", 0, &o->mode));
  FG_TRY(fg_attr_int(im, "left_window_size", -1, &o->left));
  FG_TRY(fg_attr_int(im, "right_window_size", -1, &o->right));
  FG_TRY(fg_attr_float(im, "scale", 0, &o->scale));
  FG_TRY(fg_attr_float(im, "softcap", 0, &o->softcap));
  if (o->mode < 0 || o->mode > 3)
    return FG_FAIL(MODEL, "qk_matmul_output_mode = %lld", (long long)o->mode);
  if (o->left < -1 || o->right < -1 || o->left > INT32_MAX || o->right > INT32_MAX)
    return FG_FAIL(MODEL, "a window of (%lld, %lld)", (long long)o->left, (long long)o->right);
  return FGSM_OK;
}

/* Keys or values with those of the cache (input `slot`) before them. */
static fgsm_status with_past(const struct fg_import *im, int slot, fg_id *x) {
  union fg_attrs a = {.axis = {.axis = 2}};
  fg_id past = fg_import_optional(im, slot);
  if (past == FG_ABSENT)
    return FGSM_OK;
  return fg_rule_append(im->g, FG_OP_concat, &a, 2, (fg_id[]){past, *x}, x);
}

/* The places that are hidden by causality, window and padding. */
static fgsm_status find_hidden(const struct fg_import *im, const struct onnx_attention *o,
                               const struct fg_attention *a, fg_id *out) {
  struct fg_graph *g = im->g;
  const struct fg_value q = *fg_value(g, a->q), k = *fg_value(g, a->k);
  fg_id past = fg_import_optional(im, 4), valid = fg_import_optional(im, 6), offset, rows, column;
  *out = FG_ABSENT;
  if (valid != FG_ABSENT) {
    struct fg_value v = *fg_value(g, valid);
    if (v.rank != 1 || v.dim[0] != q.dim[0] || v.type != FG_I64)
      return FG_FAIL(MODEL, "nonpad_kv_seqlen is %s %s", fg_type_name(v.type), FG_SHAPE(&v));
    FG_TRY(fg_reshape(g, valid, 4, (int64_t[]){q.dim[0], 1, 1, 1}, &valid));
  }
  if (valid != FG_ABSENT && past == FG_ABSENT) {
    FG_TRY(whole(g, q.dim[2], &rows));
    FG_TRY(fg_binary(g, FG_BINARY_sub, valid, rows, &offset));
  } else {
    FG_TRY(whole(g, past == FG_ABSENT ? 0 : fg_value(g, past)->dim[2], &offset));
  }
  if (o->causal || o->left >= 0 || o->right >= 0)
    FG_TRY(
        fg_attention_window(g, q.dim[2], k.dim[2], offset, o->left, o->causal ? 0 : o->right, out));
  if (valid == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(fg_import_steps(g, k.dim[2], 1, 4, 3, &column));
  FG_TRY(whole(g, 1, &rows));
  FG_TRY(fg_binary(g, FG_BINARY_sub, valid, rows, &valid));
  FG_TRY(fg_binary(g, FG_BINARY_greater, column, valid, &column));
  return fg_attention_either(g, *out, column, out);
}

fgsm_status fg_import_Attention(struct fg_import *im) {
  struct fg_graph *g = im->g;
  struct fg_attention a = {.mask = fg_import_optional(im, 3), .hidden = FG_ABSENT};
  struct onnx_attention o;
  fg_id y, stages[4];
  FG_TRY(fg_input(im, 0, &a.q));
  FG_TRY(fg_input(im, 1, &a.k));
  FG_TRY(fg_input(im, 2, &a.v));
  FG_TRY(read_attrs(im, &o));
  bool flat = fg_value(g, a.q)->rank == 3;
  if (flat) {
    FG_TRY(fg_attention_split(g, a.q, o.q_heads, &a.q));
    FG_TRY(fg_attention_split(g, a.k, o.kv_heads, &a.k));
    FG_TRY(fg_attention_split(g, a.v, o.kv_heads, &a.v));
  }
  if (fg_value(g, a.q)->rank != 4 || fg_value(g, a.k)->rank != 4)
    return FG_FAIL(MODEL, "queries have shape %s", FG_SHAPE(fg_value(g, a.q)));
  FG_TRY(with_past(im, 4, &a.k));
  FG_TRY(with_past(im, 5, &a.v));
  FG_TRY(find_hidden(im, &o, &a, &a.hidden));
  a.scale = o.scale != 0 ? o.scale : 1 / sqrt((double)fg_value(g, a.q)->dim[3]);
  a.softcap = o.softcap;
  FG_TRY(fg_attend(g, &a, stages, &y));
  if (flat)
    FG_TRY(fg_attention_merge(g, y, &y));
  fg_id results[] = {y, a.k, a.v, stages[o.mode]};
  for (int i = 0; i < im->n_out && i < 4; i++)
    im->out[i] = results[i];
  return FGSM_OK;
}
