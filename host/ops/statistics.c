/* ONNX's normalisations by statistics of the sample itself: InstanceNormalization and
 * GroupNormalization (layer_norm over another view), MeanVarianceNormalization, LpNormalization and
 * LRN (a mean over neighbouring channels). All are built of operators that are there, so their
 * gradients are too. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* x [N, C, ...] seen as [N, groups, rest], each row normalised to mean 0 and variance 1. */
static fgsm_status normalise(struct fg_import *im, fg_id x, int64_t groups, fg_id *out) {
  union fg_attrs a = {.layer_norm = {.axis = 2}};
  const struct fg_value *v = fg_value(im->g, x);
  fg_id all[FG_MAX_OUT];
  if (v->rank < 2 || groups < 1 || v->dim[1] % groups)
    return FG_FAIL(MODEL, "x of shape %s in %lld groups of channels", FG_SHAPE(v),
                   (long long)groups);
  int64_t row = 1;
  for (int i = 1; i < v->rank; i++)
    row *= v->dim[i];
  FG_TRY(fg_attr_float(im, "epsilon", 1e-5f, &a.layer_norm.epsilon));
  FG_TRY(fg_reshape(im->g, x, 3, (int64_t[]){v->dim[0], groups, row / groups}, &x));
  FG_TRY(fg_graph_add(im->g, FG_OP_layer_norm, im->name, &a, 1, &x, all));
  *out = all[0];
  return FGSM_OK;
}

/* x * scale + shift along axis 1. */
static fgsm_status scale_rows(struct fg_graph *g, fg_id x, fg_id scale, fg_id shift, fg_id *out) {
  union fg_attrs a = {.affine = {.axis = 1}};
  return fg_rule_append(g, FG_OP_affine, &a, 3, (fg_id[]){x, scale, shift}, out);
}

fgsm_status fg_import_InstanceNormalization(struct fg_import *im) {
  fg_id in[3], y;
  for (int i = 0; i < 3; i++)
    FG_TRY(fg_input(im, i, &in[i]));
  struct fg_value v = *fg_value(im->g, in[0]);
  FG_TRY(normalise(im, in[0], v.rank > 1 ? v.dim[1] : 0, &y));
  FG_TRY(scale_rows(im->g, y, in[1], in[2], &y));
  return fg_reshape(im->g, y, v.rank, v.dim, &im->out[0]);
}

/* Until opset 20 scale and bias are one number per group, since then one per channel. */
fgsm_status fg_import_GroupNormalization(struct fg_import *im) {
  int64_t groups;
  fg_id in[3], y;
  for (int i = 0; i < 3; i++)
    FG_TRY(fg_input(im, i, &in[i]));
  struct fg_value v = *fg_value(im->g, in[0]);
  FG_TRY(fg_attr_int(im, "num_groups", 0, &groups));
  FG_TRY(normalise(im, in[0], groups, &y));
  if (im->opset < 21) {
    FG_TRY(scale_rows(im->g, y, in[1], in[2], &y));
    return fg_reshape(im->g, y, v.rank, v.dim, &im->out[0]);
  }
  FG_TRY(fg_reshape(im->g, y, v.rank, v.dim, &y));
  return scale_rows(im->g, y, in[1], in[2], &im->out[0]);
}

/* (x - mean) / (standard deviation + 1e-9) over axes. */
fgsm_status fg_import_MeanVarianceNormalization(struct fg_import *im) {
  int64_t axes[FG_MAX_RANK] = {0, 2, 3};
  int n, axis;
  uint32_t mask = 0;
  fg_id x, mean, var, tiny;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_ints(im, "axes", FG_MAX_RANK, axes, &n));
  for (int i = 0; i < (n < 0 ? 3 : n); i++) {
    FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axes[i], &axis));
    mask |= 1u << axis;
  }
  FG_TRY(fg_reduce(im->g, FG_REDUCE_mean, x, mask, true, &mean));
  FG_TRY(fg_binary(im->g, FG_BINARY_sub, x, mean, &x));
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, x, &var));
  FG_TRY(fg_reduce(im->g, FG_REDUCE_mean, var, mask, true, &var));
  FG_TRY(fg_unary(im->g, FG_UNARY_sqrt, 0, 0, var, &var));
  FG_TRY(fg_graph_scalar(im->g, 1e-9, &tiny));
  FG_TRY(fg_binary(im->g, FG_BINARY_add, var, tiny, &var));
  return fg_binary(im->g, FG_BINARY_div, x, var, &im->out[0]);
}

/* Where the norm is 0 so is x, and so is the result. */
fgsm_status fg_import_LpNormalization(struct fg_import *im) {
  int64_t p, axis;
  int at;
  fg_id x, norm, zero, one, none;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "p", 2, &p));
  FG_TRY(fg_attr_int(im, "axis", -1, &axis));
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &at));
  if (p != 1 && p != 2)
    return FG_FAIL(MODEL, "p = %lld: ONNX has 1 and 2", (long long)p);
  if (p == 1)
    FG_TRY(fg_unary(im->g, FG_UNARY_abs, 0, 0, x, &norm));
  else
    FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, x, &norm));
  FG_TRY(fg_reduce(im->g, FG_REDUCE_sum, norm, 1u << at, true, &norm));
  FG_TRY(fg_graph_scalar(im->g, 0, &zero));
  FG_TRY(fg_graph_scalar(im->g, 1, &one));
  FG_TRY(fg_binary(im->g, FG_BINARY_equal, norm, zero, &none));
  FG_TRY(fg_rule_append(im->g, FG_OP_where, NULL, 3, (fg_id[]){none, one, norm}, &norm));
  if (p == 2)
    FG_TRY(fg_unary(im->g, FG_UNARY_sqrt, 0, 0, norm, &norm));
  return fg_binary(im->g, FG_BINARY_div, x, norm, &im->out[0]);
}

/* x / (bias + alpha / size * sum of the squares of `size` channels around)^beta: with zeros beside
 * the channels that sum over size is a mean, which the pool gives. */
fgsm_status fg_import_LRN(struct fg_import *im) {
  union fg_attrs a = {.pool = {.spatial = 2,
                               .window = {1, 1},
                               .stride = {1, 1},
                               .dilation = {1, 1},
                               .include_pad = true}};
  int64_t size;
  double alpha, beta, bias;
  fg_id x, y, c;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "size", 0, &size));
  FG_TRY(fg_attr_float(im, "alpha", 1e-4f, &alpha));
  FG_TRY(fg_attr_float(im, "beta", 0.75, &beta));
  FG_TRY(fg_attr_float(im, "bias", 1, &bias));
  struct fg_value v = *fg_value(im->g, x);
  if (v.rank < 2 || size < 1 || size > INT16_MAX)
    return FG_FAIL(MODEL, "size %lld over the channels of x of shape %s", (long long)size,
                   FG_SHAPE(&v));
  int64_t rest = 1;
  for (int i = 2; i < v.rank; i++)
    rest *= v.dim[i];
  a.pool.window[0] = (int)size;
  a.pool.pad_lo[0] = (int)((size - 1) / 2);
  a.pool.pad_hi[0] = (int)(size - 1 - (size - 1) / 2);
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, x, &y));
  FG_TRY(fg_reshape(im->g, y, 4, (int64_t[]){v.dim[0], 1, v.dim[1], rest}, &y));
  FG_TRY(fg_import_append(im, FG_OP_avg_pool, &a, 1, &y, &y));
  FG_TRY(fg_reshape(im->g, y, v.rank, v.dim, &y));
  FG_TRY(fg_graph_scalar(im->g, alpha, &c));
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, y, c, &y));
  FG_TRY(fg_graph_scalar(im->g, bias, &c));
  FG_TRY(fg_binary(im->g, FG_BINARY_add, y, c, &y));
  FG_TRY(fg_unary(im->g, FG_UNARY_power, -beta, 0, y, &y));
  return fg_binary(im->g, FG_BINARY_mul, x, y, &im->out[0]);
}

/* ONNX Runtime's name for the same, before ONNX had one. */
fgsm_status fg_import_SimplifiedLayerNormalization(struct fg_import *im) {
  return fg_import_RMSNormalization(im);
}

/* x / sqrt(mean of its squares over the axes from `axis` on + epsilon) * scale */
fgsm_status fg_import_RMSNormalization(struct fg_import *im) {
  int64_t axis;
  int from;
  double epsilon;
  fg_id x, scale, y, c;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &scale));
  FG_TRY(fg_attr_int(im, "axis", -1, &axis));
  FG_TRY(fg_attr_float(im, "epsilon", 1e-5f, &epsilon));
  int rank = fg_value(im->g, x)->rank;
  FG_TRY(fg_check_axis(rank, axis, &from));
  uint32_t axes = ((1u << rank) - 1) & ~((1u << from) - 1);
  FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, x, &y));
  FG_TRY(fg_reduce(im->g, FG_REDUCE_mean, y, axes, true, &y));
  FG_TRY(fg_graph_scalar(im->g, epsilon, &c));
  FG_TRY(fg_binary(im->g, FG_BINARY_add, y, c, &y));
  FG_TRY(fg_unary(im->g, FG_UNARY_sqrt, 0, 0, y, &y));
  FG_TRY(fg_binary(im->g, FG_BINARY_div, x, y, &y));
  return fg_binary(im->g, FG_BINARY_mul, y, scale, &im->out[0]);
}
