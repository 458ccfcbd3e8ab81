/* What scikit-learn's pipelines bring from the domain ai.onnx.ml: scalers and normalisers in front of
 * a net, and the choice of a label behind it. All are compositions. ZipMap is refused with the way
 * out; trees and the like, which have no useful gradient, have no importer at all. */
#include <string.h>

#include "rules.h"

/* Input 0 as floats: features may be integers. */
static fgsm_status features(struct fg_import *im, fg_id *x, struct fg_value *v) {
  FG_TRY(fg_input(im, 0, x));
  FG_TRY(fg_cast(im->g, *x, im->g->real, 0, x));
  *v = *fg_value(im->g, *x);
  if (v->rank < 1 || v->rank > 2)
    return FG_FAIL(MODEL, "features are [N,C] or [C], not %s", FG_SHAPE(v));
  return FGSM_OK;
}

/* y = x (kind) the attribute's floats: one for all of n features, or one for each. */
static fgsm_status with_floats(struct fg_import *im, const char *name, enum fg_binary_kind kind,
                               int64_t n, fg_id *y) {
  const struct fg_onnx_attr *a = fg_attr_find(im, name);
  fg_id values;
  if (!a)
    return FGSM_OK;
  if (a->kind != FG_ATTR_FLOATS || (a->n != 1 && a->n != n))
    return FG_FAIL(MODEL, "attribute %s is not one number, or one for each of %lld features", name,
                   (long long)n);
  FG_TRY(fg_graph_constant(im->g, name, FG_F32, 1, &a->n, a->floats, &values));
  return fg_binary(im->g, kind, *y, values, y);
}

fgsm_status fg_import_Scaler(struct fg_import *im) {
  struct fg_value v;
  fg_id y;
  FG_TRY(features(im, &y, &v));
  FG_TRY(with_floats(im, "offset", FG_BINARY_sub, v.dim[v.rank - 1], &y));
  FG_TRY(with_floats(im, "scale", FG_BINARY_mul, v.dim[v.rank - 1], &y));
  im->out[0] = y;
  return FGSM_OK;
}

/* Each row over its norm, a row of zeros as it is. The largest is that of |x|, as scikit-learn means
 * it. */
fgsm_status fg_import_Normalizer(struct fg_import *im) {
  struct fg_value v;
  const char *kind;
  fg_id x, size, zero, one, none;
  FG_TRY(features(im, &x, &v));
  FG_TRY(fg_attr_text(im, "norm", "MAX", &kind));
  bool l2 = strcmp(kind, "L2") == 0, l1 = strcmp(kind, "L1") == 0;
  if (!l1 && !l2 && strcmp(kind, "MAX") != 0)
    return FG_FAIL(MODEL, "norm '%.40s': ONNX has MAX, L1 and L2", kind);
  if (l2)
    FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, x, &size));
  else
    FG_TRY(fg_unary(im->g, FG_UNARY_abs, 0, 0, x, &size));
  FG_TRY(fg_reduce(im->g, l1 || l2 ? FG_REDUCE_sum : FG_REDUCE_max, size, 1u << (v.rank - 1), true,
                   &size));
  FG_TRY(fg_graph_scalar(im->g, 0, &zero));
  FG_TRY(fg_graph_scalar(im->g, 1, &one));
  FG_TRY(fg_binary(im->g, FG_BINARY_equal, size, zero, &none));
  FG_TRY(fg_rule_append(im->g, FG_OP_where, NULL, 3, (fg_id[]){none, one, size}, &size));
  if (l2)
    FG_TRY(fg_unary(im->g, FG_UNARY_sqrt, 0, 0, size, &size));
  return fg_binary(im->g, FG_BINARY_div, x, size, &im->out[0]);
}

/* Columns of x, or the elements of a vector as one row. */
fgsm_status fg_import_ArrayFeatureExtractor(struct fg_import *im) {
  union fg_attrs a = {0};
  fg_id in[2];
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  struct fg_value x = *fg_value(im->g, in[0]);
  int64_t n = fg_value_count(im->g, in[1]);
  if (x.rank < 1)
    return FG_FAIL(MODEL, "there are no columns in %s", FG_SHAPE(&x));
  a.axis.axis = x.rank - 1;
  FG_TRY(fg_rule_index(im->g, in[1], x.dim[x.rank - 1]));
  FG_TRY(fg_reshape(im->g, in[1], 1, &n, &in[1]));
  FG_TRY(fg_import_append(im, FG_OP_gather, &a, 2, in, &im->out[0]));
  return x.rank > 1 ? FGSM_OK : fg_reshape(im->g, im->out[0], 2, (int64_t[]){1, n}, &im->out[0]);
}

fgsm_status fg_import_ZipMap(struct fg_import *im) {
  (void)im;
  return FG_FAIL(UNSUPPORTED,
                 "its result is a list of dictionaries, which have no gradient: export with "
                 "options={'zipmap': False}, and name the probabilities with --output");
}
