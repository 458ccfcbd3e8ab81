/* Operators of com.microsoft as ONNX Runtime's optimiser writes them, in their plain forms: fusions
 * of standard ones, taken apart again. What a form adds beyond that (caches, packed operands, relative
 * positions) is refused by name. */
#include <math.h>
#include <string.h>

#include "attention.h"

static fgsm_status add(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) {
  return fg_binary(g, FG_BINARY_add, a, b, out);
}

/* Refuses a node that gives input i, which is `what`. */
static fgsm_status without(const struct fg_import *im, int i, const char *what) {
  return fg_import_optional(im, i) == FG_ABSENT
             ? FGSM_OK
             : FG_FAIL(UNSUPPORTED, "with %s (input %d): export or optimise the model without it",
                       what, i);
}

/* A standard operator of one output on other inputs, with the node's name and given attributes. */
static fgsm_status run(const struct fg_import *im, fg_import_fn importer, int64_t opset, int n_in,
                       const fg_id *in, int n_attrs, const struct fg_onnx_attr *attrs, fg_id *out) {
  bool used = true;
  struct fg_import other = *im;
  other.opset = opset;
  other.n_in = n_in;
  other.in = in;
  other.n_out = 1;
  other.out_used = &used;
  other.out = out;
  other.n_attrs = n_attrs;
  other.attrs = attrs;
  return importer(&other);
}

/* The activation named `kind`, whose parameters are two numbers at most. */
static fgsm_status activate(const struct fg_import *im, const char *kind, const double p[2],
                            fg_id x, fg_id *out) {
  static const struct {
    const char *kind, *parameter[2];
    fg_import_fn import;
  } known[] = {{"Relu", {0}, fg_import_Relu},
               {"Tanh", {0}, fg_import_Tanh},
               {"Sigmoid", {0}, fg_import_Sigmoid},
               {"LeakyRelu", {"alpha", NULL}, fg_import_LeakyRelu},
               {"HardSigmoid", {"alpha", "beta"}, fg_import_HardSigmoid},
               {"Clip", {"min", "max"}, fg_import_Clip}};
  *out = x;
  if (!*kind)
    return FGSM_OK;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    struct fg_onnx_attr attrs[2];
    int n = 0;
    if (strcmp(known[i].kind, kind))
      continue;
    for (; n < 2 && known[i].parameter[n]; n++)
      attrs[n] = (struct fg_onnx_attr){
          .name = known[i].parameter[n], .kind = FG_ATTR_FLOAT, .f = (float)p[n]};
    return run(im, known[i].import, 10, 1, &x, n, attrs, out); /* 10: Clip's bounds as attributes */
  }
  return FG_FAIL(UNSUPPORTED, "activation '%.60s' is not known", kind);
}

/* ---- products */

fgsm_status fg_import_contrib_FusedConv(struct fg_import *im) {
  const struct fg_onnx_attr *list = fg_attr_find(im, "activation_params");
  const char *kind;
  double p[2] = {0, 0};
  fg_id in[3], residual = fg_import_optional(im, 3), y;
  FG_TRY(fg_attr_text(im, "activation", "", &kind));
  if (list && (list->kind != FG_ATTR_FLOATS || list->n > 2))
    return FG_FAIL(MODEL, "activation_params are not one or two floats");
  for (int64_t i = 0; list && i < list->n; i++)
    p[i] = (double)list->floats[i];
  for (int i = 0; i < 3; i++)
    in[i] = fg_import_optional(im, i);
  FG_TRY(run(im, fg_import_Conv, 11, 3, in, im->n_attrs, im->attrs, &y));
  if (residual != FG_ABSENT)
    FG_TRY(add(im->g, y, residual, &y));
  return activate(im, kind, p, y, &im->out[0]);
}

fgsm_status fg_import_contrib_FusedGemm(struct fg_import *im) {
  const char *kind;
  double p[2];
  fg_id in[3], y;
  FG_TRY(fg_attr_text(im, "activation", "", &kind));
  FG_TRY(fg_attr_float(im, "activation_alpha", 0, &p[0]));
  FG_TRY(fg_attr_float(im, "activation_beta", 0, &p[1]));
  for (int i = 0; i < 3; i++)
    in[i] = fg_import_optional(im, i);
  FG_TRY(run(im, fg_import_Gemm, 13, 3, in, im->n_attrs, im->attrs, &y));
  return activate(im, kind, p, y, &im->out[0]);
}

/* A vector is a matrix of one row or column, as in MatMul, and is never transposed. */
fgsm_status fg_import_contrib_FusedMatMul(struct fg_import *im) {
  int64_t trans[2], batch[2];
  double alpha;
  fg_id in[2];
  FG_TRY(fg_attr_int(im, "transA", 0, &trans[0]));
  FG_TRY(fg_attr_int(im, "transB", 0, &trans[1]));
  FG_TRY(fg_attr_int(im, "transBatchA", 0, &batch[0]));
  FG_TRY(fg_attr_int(im, "transBatchB", 0, &batch[1]));
  FG_TRY(fg_attr_float(im, "alpha", 1, &alpha));
  if (batch[0] || batch[1])
    return FG_FAIL(UNSUPPORTED, "transBatchA and transBatchB are not supported");
  for (int i = 0; i < 2; i++) {
    FG_TRY(fg_input(im, i, &in[i]));
    if (fg_value(im->g, in[i])->rank < 2)
      return FG_FAIL(UNSUPPORTED, "an operand of shape %s: matrices are supported",
                     FG_SHAPE(fg_value(im->g, in[i])));
  }
  return fg_matmul(im->g, in[0], in[1], trans[0] != 0, trans[1] != 0, alpha, &im->out[0]);
}

/* ---- activations */

static fgsm_status gelu(struct fg_import *im, enum fg_unary_kind kind) {
  fg_id x, bias = fg_import_optional(im, 1);
  FG_TRY(fg_input(im, 0, &x));
  if (bias != FG_ABSENT)
    FG_TRY(add(im->g, x, bias, &x));
  return fg_unary(im->g, kind, 0, 0, x, &im->out[0]);
}

fgsm_status fg_import_contrib_Gelu(struct fg_import *im) {
  return gelu(im, FG_UNARY_gelu);
}
fgsm_status fg_import_contrib_BiasGelu(struct fg_import *im) {
  return gelu(im, FG_UNARY_gelu);
}
fgsm_status fg_import_contrib_FastGelu(struct fg_import *im) {
  return gelu(im, FG_UNARY_gelu_tanh);
}

fgsm_status fg_import_contrib_QuickGelu(struct fg_import *im) {
  double alpha;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_float(im, "alpha", 1.702f, &alpha));
  return fg_import_swish(im->g, alpha, x, &im->out[0]);
}

/* ---- normalisation */

fgsm_status fg_import_contrib_LayerNormalization(struct fg_import *im) {
  return fg_import_LayerNormalization(im);
}
fgsm_status fg_import_contrib_SimplifiedLayerNormalization(struct fg_import *im) {
  return fg_import_RMSNormalization(im);
}

/* The sum of input, skip and bias; it is also the node's fourth output. */
static fgsm_status skip_sum(struct fg_import *im, int bias_slot, fg_id *out) {
  fg_id x, skip, bias = fg_import_optional(im, bias_slot);
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &skip));
  FG_TRY(add(im->g, x, skip, out));
  if (bias != FG_ABSENT)
    FG_TRY(add(im->g, *out, bias, out));
  if (fg_value(im->g, *out)->rank != fg_value(im->g, x)->rank)
    return FG_FAIL(MODEL, "x of shape %s and a skip of shape %s", FG_SHAPE(fg_value(im->g, x)),
                   FG_SHAPE(fg_value(im->g, skip)));
  fg_import_omit(im, 1);
  if (im->n_out > 3)
    im->out[3] = *out;
  return FGSM_OK;
}

/* The norm's epsilon is the node's, 1e-12 unless it says another. */
static fgsm_status epsilon_of(const struct fg_import *im, struct fg_onnx_attr *attr) {
  double epsilon;
  FG_TRY(fg_attr_float(im, "epsilon", 1e-12, &epsilon));
  *attr = (struct fg_onnx_attr){.name = "epsilon", .kind = FG_ATTR_FLOAT, .f = (float)epsilon};
  return FGSM_OK;
}

fgsm_status fg_import_contrib_SkipLayerNormalization(struct fg_import *im) {
  struct fg_onnx_attr epsilon;
  fg_id in[3];
  FG_TRY(skip_sum(im, 4, &in[0]));
  FG_TRY(epsilon_of(im, &epsilon));
  in[1] = fg_import_optional(im, 2);
  in[2] = fg_import_optional(im, 3);
  return run(im, fg_import_LayerNormalization, 17, 3, in, 1, &epsilon, &im->out[0]);
}

fgsm_status fg_import_contrib_SkipSimplifiedLayerNormalization(struct fg_import *im) {
  struct fg_onnx_attr epsilon;
  fg_id in[2];
  FG_TRY(skip_sum(im, 3, &in[0]));
  FG_TRY(epsilon_of(im, &epsilon));
  in[1] = fg_import_optional(im, 2);
  return run(im, fg_import_RMSNormalization, 23, 2, in, 1, &epsilon, &im->out[0]);
}

/* ---- attention */

/* Places that a key mask of whole numbers leaves out, as a bias of `filter` there: [batch] holds how
 * many places count, [batch, columns] 1 where one does. */
static fgsm_status key_bias(struct fg_graph *g, fg_id mask, int64_t batch, int64_t columns,
                            double filter, fg_id *out) {
  struct fg_value v = *fg_value(g, mask);
  fg_id column, zero, c, none, kept;
  int64_t nothing = 0;
  if (fg_type_is_real(v.type) || v.rank < 1 || v.rank > 2 || v.dim[0] != batch ||
      (v.rank == 2 && v.dim[1] != columns))
    return FG_FAIL(UNSUPPORTED,
                   "a key mask of %s %s: [batch] and [batch, keys] of integers are "
                   "supported",
                   fg_type_name(v.type), FG_SHAPE(&v));
  FG_TRY(fg_cast(g, mask, FG_I64, 0, &mask));
  FG_TRY(fg_reshape(g, mask, 4, (int64_t[]){batch, 1, 1, v.rank == 2 ? columns : 1}, &mask));
  FG_TRY(fg_graph_constant(g, "", FG_I64, 0, NULL, &nothing, &zero));
  if (v.rank == 1) {
    FG_TRY(fg_import_steps(g, columns, 1, 4, 3, &column));
    FG_TRY(fg_binary(g, FG_BINARY_less, column, mask, &kept));
  } else {
    FG_TRY(fg_binary(g, FG_BINARY_greater, mask, zero, &kept));
  }
  FG_TRY(fg_graph_scalar(g, filter, &c));
  FG_TRY(fg_graph_scalar(g, 0, &none));
  return fg_rule_choose(g, kept, none, c, out);
}

struct contrib_attention {
  int64_t heads, causal;
  double filter, scale;
};

static fgsm_status read_attrs(const struct fg_import *im, struct contrib_attention *o) {
  int64_t rotary;
  FG_TRY(fg_attr_int(im, "num_heads", 0, &o->heads));
  FG_TRY(fg_attr_int(im, "unidirectional", 0, &o->causal));
  FG_TRY(fg_attr_int(im, "do_rotary", 0, &rotary));
  FG_TRY(fg_attr_float(im, "mask_filter_value", -10000, &o->filter));
  FG_TRY(fg_attr_float(im, "scale", 0, &o->scale));
  return rotary ? FG_FAIL(UNSUPPORTED, "do_rotary is not supported") : FGSM_OK;
}

/* The attention of q, k, v [batch, places, heads * size] under a key mask and a bias. */
static fgsm_status attend(struct fg_import *im, const struct contrib_attention *o,
                          const fg_id qkv[3], fg_id keys, fg_id bias) {
  struct fg_graph *g = im->g;
  struct fg_attention a = {.mask = bias, .hidden = FG_ABSENT};
  fg_id *split[] = {&a.q, &a.k, &a.v}, mask, offset, y;
  int64_t nothing = 0;
  for (int i = 0; i < 3; i++)
    FG_TRY(fg_attention_split(g, qkv[i], o->heads, split[i]));
  struct fg_value q = *fg_value(g, a.q), k = *fg_value(g, a.k);
  if (keys != FG_ABSENT) {
    FG_TRY(key_bias(g, keys, q.dim[0], k.dim[2], o->filter, &mask));
    if (bias != FG_ABSENT)
      FG_TRY(add(g, bias, mask, &mask));
    a.mask = mask;
  }
  if (o->causal) {
    FG_TRY(fg_graph_constant(g, "", FG_I64, 0, NULL, &nothing, &offset));
    FG_TRY(fg_attention_window(g, q.dim[2], k.dim[2], offset, -1, 0, &a.hidden));
  }
  a.scale = o->scale != 0 ? o->scale : 1 / sqrt((double)q.dim[3]);
  FG_TRY(fg_attend(g, &a, NULL, &y));
  fg_import_omit(im, 1);
  return fg_attention_merge(g, y, &im->out[0]);
}

/* One product for queries, keys and values. */
fgsm_status fg_import_contrib_Attention(struct fg_import *im) {
  struct fg_graph *g = im->g;
  struct contrib_attention o;
  int64_t size[3];
  int n;
  fg_id x, w, y, qkv[3], bias = fg_import_optional(im, 2);
  FG_TRY(read_attrs(im, &o));
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &w));
  FG_TRY(without(im, 4, "a cache"));
  FG_TRY(fg_attr_ints(im, "qkv_hidden_sizes", 3, size, &n));
  struct fg_value v = *fg_value(g, w);
  if (fg_value(g, x)->rank != 3 || v.rank != 2 || (n != 3 && n >= 0))
    return FG_FAIL(MODEL, "x of shape %s and weights of shape %s", FG_SHAPE(fg_value(g, x)),
                   FG_SHAPE(&v));
  for (int i = 0; n < 0 && i < 3; i++)
    size[i] = v.dim[1] / 3;
  for (int i = 0; i < 3; i++)
    if (size[i] < 1 || size[i] > v.dim[1])
      return FG_FAIL(MODEL, "part %d of the weights has %lld columns", i, (long long)size[i]);
  if (size[0] + size[1] + size[2] != v.dim[1])
    return FG_FAIL(MODEL, "weights of shape %s do not divide into three", FG_SHAPE(&v));
  FG_TRY(fg_matmul(g, x, w, false, false, 1, &y));
  if (bias != FG_ABSENT)
    FG_TRY(add(g, y, bias, &y));
  for (int64_t i = 0, at = 0; i < 3; at += size[i++])
    FG_TRY(fg_rule_cut(g, y, 2, at, size[i], &qkv[i]));
  return attend(im, &o, qkv, fg_import_optional(im, 3), fg_import_optional(im, 5));
}

fgsm_status fg_import_contrib_MultiHeadAttention(struct fg_import *im) {
  struct fg_graph *g = im->g;
  struct contrib_attention o;
  fg_id qkv[3], bias = fg_import_optional(im, 3), part;
  int64_t at = 0;
  FG_TRY(read_attrs(im, &o));
  FG_TRY(without(im, 6, "a cache"));
  FG_TRY(without(im, 7, "a cache"));
  for (int i = 0; i < 3; i++) {
    if (fg_import_optional(im, i) == FG_ABSENT || fg_value(g, im->in[i])->rank != 3)
      return FG_FAIL(UNSUPPORTED, "queries, keys and values are supported as three tensors [batch, "
                                  "places, heads * size] only");
    qkv[i] = im->in[i];
  }
  for (int i = 0; i < 3 && bias != FG_ABSENT; i++) {
    int64_t n = fg_value(g, qkv[i])->dim[2];
    if (fg_value(g, bias)->rank != 1 || fg_value(g, bias)->dim[0] - at < n)
      return FG_FAIL(MODEL, "a bias of shape %s", FG_SHAPE(fg_value(g, bias)));
    FG_TRY(fg_rule_cut(g, bias, 0, at, n, &part));
    FG_TRY(add(g, qkv[i], part, &qkv[i]));
    at += n;
  }
  return attend(im, &o, qkv, fg_import_optional(im, 4), fg_import_optional(im, 5));
}
