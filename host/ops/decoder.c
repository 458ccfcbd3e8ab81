/* What decoders of language put around attention: rotary embedding, a cache that is written in
 * place, the convolution over what came before, a gated unit. All are compositions. */
#include <string.h>

#include "attention.h"

/* Every second element of the last axis, from `from` on. */
static fgsm_status every_second(struct fg_graph *g, fg_id x, int64_t from, fg_id *out) {
  union fg_attrs a = {0};
  const struct fg_value *v = fg_value(g, x);
  for (int i = 0; i < v->rank; i++) {
    a.slice.step[i] = i == v->rank - 1 ? 2 : 1;
    a.slice.dim[i] = i == v->rank - 1 ? v->dim[i] / 2 : v->dim[i];
  }
  a.slice.start[v->rank - 1] = from;
  return fg_rule_append(g, FG_OP_slice, &a, 1, &x, out);
}

/* a[0] p - a[1] q, or a[0] p + a[1] q. */
static fgsm_status turn(struct fg_graph *g, enum fg_binary_kind kind, const fg_id a[2], fg_id p,
                        fg_id q, fg_id *out) {
  fg_id left, right;
  FG_TRY(fg_binary(g, FG_BINARY_mul, a[0], p, &left));
  FG_TRY(fg_binary(g, FG_BINARY_mul, a[1], q, &right));
  return fg_binary(g, kind, left, right, out);
}

/* x [batch, rows, heads, 2 n], turned in the planes of its halves or neighbours by angles whose
 * cosines and sines are angle[0] and angle[1] [batch, rows, 1, n]. */
static fgsm_status rotate(struct fg_graph *g, fg_id x, const fg_id angle[2], bool interleaved,
                          fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  int64_t n = v.dim[3] / 2;
  fg_id half[2], turned[2];
  for (int i = 0; i < 2; i++)
    FG_TRY(interleaved ? every_second(g, x, i, &half[i])
                       : fg_rule_cut(g, x, 3, i * n, n, &half[i]));
  FG_TRY(turn(g, FG_BINARY_sub, angle, half[0], half[1], &turned[0]));
  FG_TRY(turn(g, FG_BINARY_add, angle, half[1], half[0], &turned[1]));
  if (!interleaved)
    return fg_rule_join(g, "", 3, 2, turned, out);
  int64_t dim[] = {v.dim[0], v.dim[1], v.dim[2], n, 1};
  for (int i = 0; i < 2; i++)
    FG_TRY(fg_reshape(g, turned[i], 5, dim, &turned[i]));
  FG_TRY(fg_rule_join(g, "", 4, 2, turned, out));
  return fg_reshape(g, *out, 4, v.dim, out);
}

/* Cosines or sines of every place: a table's rows, or already one for each, as [batch, rows, 1, n].
 */
static fgsm_status angles(const struct fg_import *im, int slot, fg_id places,
                          const struct fg_value *x, int64_t n, fg_id *out) {
  union fg_attrs a = {0};
  FG_TRY(fg_input(im, slot, out));
  if (places != FG_ABSENT)
    FG_TRY(fg_rule_append(im->g, FG_OP_gather, &a, 2, (fg_id[]){*out, places}, out));
  struct fg_value v = *fg_value(im->g, *out);
  if (v.rank != 3 || v.dim[0] != x->dim[0] || v.dim[1] != x->dim[1] || v.dim[2] != n)
    return FG_FAIL(MODEL, "a table of angles of shape %s for %lld planes of x of shape %s",
                   FG_SHAPE(&v), (long long)n, FG_SHAPE(x));
  return fg_reshape(im->g, *out, 4, (int64_t[]){v.dim[0], v.dim[1], 1, n}, out);
}

fgsm_status fg_import_RotaryEmbedding(struct fg_import *im) {
  struct fg_graph *g = im->g;
  int64_t interleaved, heads, n;
  fg_id x, angle[2], part[2], places = fg_import_optional(im, 3);
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "interleaved", 0, &interleaved));
  FG_TRY(fg_attr_int(im, "num_heads", 0, &heads));
  FG_TRY(fg_attr_int(im, "rotary_embedding_dim", 0, &n));
  struct fg_value v = *fg_value(g, x);
  if (v.rank == 4)
    FG_TRY(fg_transpose(g, x, (const int[]){0, 2, 1, 3}, &x));
  else if (v.rank == 3 && heads > 0 && v.dim[2] % heads == 0)
    FG_TRY(fg_reshape(g, x, 4, (int64_t[]){v.dim[0], v.dim[1], heads, v.dim[2] / heads}, &x));
  else
    return FG_FAIL(MODEL, "x of shape %s for %lld heads", FG_SHAPE(&v), (long long)heads);
  struct fg_value w = *fg_value(g, x);
  n = n == 0 ? w.dim[3] : n;
  if (n < 2 || n % 2 || n > w.dim[3])
    return FG_FAIL(MODEL, "%lld of %lld numbers are turned", (long long)n, (long long)w.dim[3]);
  for (int i = 0; i < 2; i++)
    FG_TRY(angles(im, 1 + i, places, &w, n / 2, &angle[i]));
  FG_TRY(fg_rule_cut(g, x, 3, 0, n, &part[0]));
  if (n < w.dim[3])
    FG_TRY(fg_rule_cut(g, x, 3, n, w.dim[3] - n, &part[1]));
  FG_TRY(rotate(g, part[0], angle, interleaved != 0, &part[0]));
  FG_TRY(fg_rule_join(g, "", 3, n < w.dim[3] ? 2 : 1, part, &x));
  if (v.rank == 4)
    return fg_transpose(g, x, (const int[]){0, 2, 1, 3}, &im->out[0]);
  return fg_reshape(g, x, 3, v.dim, &im->out[0]);
}

/* The rows of the cache, all axes up to `axis` flattened, that the update's rows go to. */
static fgsm_status cache_rows(const struct fg_import *im, const struct fg_value *cache, int axis,
                              int64_t rows, bool circular, fg_id *out) {
  struct fg_graph *g = im->g;
  fg_id first = fg_import_optional(im, 2), step, size;
  int64_t each = 1, n = cache->dim[axis];
  for (int i = 1; i < axis; i++)
    each *= cache->dim[i];
  FG_TRY(fg_import_steps(g, rows, 1, 3, 2, out));
  if (first != FG_ABSENT) {
    if (fg_value_count(g, first) != cache->dim[0])
      return FG_FAIL(MODEL, "%lld places for a batch of %lld", (long long)fg_value_count(g, first),
                     (long long)cache->dim[0]);
    FG_TRY(fg_cast(g, first, FG_I64, 0, &first));
    FG_TRY(fg_reshape(g, first, 3, (int64_t[]){cache->dim[0], 1, 1}, &first));
    FG_TRY(fg_binary(g, FG_BINARY_add, *out, first, out));
  }
  if (circular) {
    FG_TRY(fg_graph_constant(g, "", FG_I64, 0, NULL, &n, &size));
    FG_TRY(fg_binary(g, FG_BINARY_mod, *out, size, out));
  }
  FG_TRY(fg_import_steps(g, cache->dim[0], each * n, 3, 0, &step));
  FG_TRY(fg_binary(g, FG_BINARY_add, *out, step, out));
  FG_TRY(fg_import_steps(g, each, n, 3, 1, &step));
  FG_TRY(fg_binary(g, FG_BINARY_add, *out, step, out));
  int64_t count = fg_value_count(g, *out);
  return fg_reshape(g, *out, 1, &count, out);
}

fgsm_status fg_import_TensorScatter(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs a = {0};
  const char *mode;
  int64_t axis, inner = 1, outer = 1;
  int at;
  fg_id cache, update, rows, y;
  FG_TRY(fg_input(im, 0, &cache));
  FG_TRY(fg_input(im, 1, &update));
  FG_TRY(fg_attr_text(im, "mode", "linear", &mode));
  FG_TRY(fg_attr_int(im, "axis", -2, &axis));
  struct fg_value v = *fg_value(g, cache), u = *fg_value(g, update);
  FG_TRY(fg_check_axis(v.rank, axis, &at));
  bool circular = !strcmp(mode, "circular"), fits = at > 0 && v.rank == u.rank;
  for (int i = 0; fits && i < v.rank; i++) {
    fits = i == at ? u.dim[i] <= v.dim[i] : u.dim[i] == v.dim[i];
    outer *= i < at ? v.dim[i] : 1;
    inner *= i > at ? v.dim[i] : 1;
  }
  if (!fits || (!circular && strcmp(mode, "linear")))
    return FG_FAIL(MODEL, "an update of shape %s for a cache of shape %s, mode '%.40s'",
                   FG_SHAPE(&u), FG_SHAPE(&v), mode);
  FG_TRY(cache_rows(im, &v, at, u.dim[at], circular, &rows));
  FG_TRY(fg_reshape(g, cache, 2, (int64_t[]){outer * v.dim[at], inner}, &cache));
  FG_TRY(fg_reshape(g, update, 2, (int64_t[]){outer * u.dim[at], inner}, &update));
  FG_TRY(fg_import_append(im, FG_OP_scatter, &a, 3, (fg_id[]){cache, rows, update}, &y));
  return fg_reshape(g, y, v.rank, v.dim, &im->out[0]);
}

fgsm_status fg_import_swish(struct fg_graph *g, double alpha, fg_id x, fg_id *out) {
  fg_id c;
  FG_TRY(fg_graph_scalar(g, alpha, &c));
  FG_TRY(fg_binary(g, FG_BINARY_mul, x, c, out));
  FG_TRY(fg_unary(g, FG_UNARY_sigmoid, 0, 0, *out, out));
  return fg_binary(g, FG_BINARY_mul, x, *out, out);
}

fgsm_status fg_import_SwiGLU(struct fg_import *im) {
  double alpha;
  fg_id a, b;
  FG_TRY(fg_input(im, 0, &a));
  FG_TRY(fg_input(im, 1, &b));
  FG_TRY(fg_attr_float(im, "alpha", 1, &alpha));
  FG_TRY(fg_rule_same_shape(fg_value(im->g, a), fg_value(im->g, b), "the second input"));
  FG_TRY(fg_import_swish(im->g, alpha, a, &a));
  return fg_binary(im->g, FG_BINARY_mul, a, b, &im->out[0]);
}

/* A convolution of each channel over what came before: the state, or zeros, then x. */
fgsm_status fg_import_CausalConvWithState(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs a = {.conv = {.spatial = 2, .stride = {1, 1}, .dilation = {1, 1}}}, pad = {0};
  const char *act;
  fg_id x, w, past = fg_import_optional(im, 3), in[3], y;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &w));
  FG_TRY(fg_attr_text(im, "activation", "none", &act));
  struct fg_value v = *fg_value(g, x), k = *fg_value(g, w);
  if (v.rank != 3 || k.rank != 3 || k.dim[0] != v.dim[1] || k.dim[1] != 1 || k.dim[2] < 1 ||
      v.dim[1] > INT32_MAX)
    return FG_FAIL(MODEL, "x of shape %s and a weight of shape %s do not convolve", FG_SHAPE(&v),
                   FG_SHAPE(&k));
  bool gated = !strcmp(act, "silu") || !strcmp(act, "swish");
  if (!gated && strcmp(act, "none"))
    return FG_FAIL(UNSUPPORTED, "activation '%.40s' is not known", act);
  int64_t before = k.dim[2] - 1;
  pad.pad.lo[2] = before;
  if (before && past != FG_ABSENT)
    FG_TRY(fg_rule_join(g, "", 2, 2, (fg_id[]){past, x}, &x));
  else if (before)
    FG_TRY(fg_rule_append(g, FG_OP_pad, &pad, 1, &x, &x));
  a.conv.group = (int)v.dim[1];
  FG_TRY(fg_import_to_2d(g, x, &in[0]));
  FG_TRY(fg_import_to_2d(g, w, &in[1]));
  in[2] = fg_import_optional(im, 2);
  FG_TRY(fg_import_append(im, FG_OP_conv, &a, 3, in, &y));
  FG_TRY(fg_import_to_1d(g, y, &y));
  if (gated)
    FG_TRY(fg_import_swish(g, 1, y, &y));
  im->out[0] = y;
  fg_import_omit(im, 1);
  if (im->n_out > 1 && im->out_used[1] && before)
    FG_TRY(fg_rule_cut(g, x, 2, v.dim[2], before, &im->out[1]));
  return FGSM_OK;
}
