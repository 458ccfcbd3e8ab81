/* The positions of MaxPool's maxima, as ONNX counts them, and MaxUnpool, which puts values there. */
#include <string.h>

#include "rules.h"

static fgsm_status i64(struct fg_graph *g, int64_t v, fg_id *out) {
  return fg_graph_constant(g, "", FG_I64, 0, NULL, &v, out);
}

/* sum += factor * v */
static fgsm_status gain(struct fg_graph *g, fg_id *sum, fg_id v, int64_t factor) {
  fg_id c;
  FG_TRY(i64(g, factor, &c));
  FG_TRY(fg_binary(g, FG_BINARY_mul, v, c, &v));
  return fg_binary(g, FG_BINARY_add, *sum, v, sum);
}

fgsm_status fg_import_pool_positions(struct fg_graph *g, const struct fg_pool_attrs *a,
                                     const int64_t *x, bool columns_first, fg_id index,
                                     fg_id *out) {
  struct fg_value y = *fg_value(g, index);
  fg_id width, place[2], steps;
  int64_t stride[4] = {x[1] * x[2] * x[3], x[2] * x[3], columns_first ? 1 : x[3],
                       columns_first ? x[2] : 1};
  FG_TRY(fg_cast(g, index, FG_I64, 0, &index));
  FG_TRY(i64(g, a->window[1], &width));
  FG_TRY(fg_binary(g, FG_BINARY_div, index, width, &place[0]));
  FG_TRY(fg_binary(g, FG_BINARY_mod, index, width, &place[1]));
  FG_TRY(i64(g, -(a->pad_lo[0] * stride[2] + a->pad_lo[1] * stride[3]), out));
  for (int k = 0; k < 2; k++)
    FG_TRY(gain(g, out, place[k], a->dilation[k] * stride[2 + k]));
  for (int k = 0; k < 4; k++) {
    int64_t step = stride[k] * (k < 2 ? 1 : a->stride[k - 2]);
    FG_TRY(fg_import_steps(g, y.dim[k], step, 4, k, &steps));
    FG_TRY(fg_binary(g, FG_BINARY_add, *out, steps, out));
  }
  return FGSM_OK;
}

/* The result's shape as the window says it. */
static fgsm_status inferred(const struct fg_import *im, const struct fg_value *x, int64_t *dim) {
  struct fg_window win;
  FG_TRY(fg_import_strides(im, x->rank - 2, NULL, x->dim + 2, &win));
  dim[0] = x->dim[0];
  dim[1] = x->dim[1];
  for (int i = 0; i < x->rank - 2; i++) {
    int64_t n;
    if (!fg_mul_ok(x->dim[2 + i] - 1, win.stride[i], &n))
      return FG_FAIL(MODEL, "axis %d is too long", 2 + i);
    dim[2 + i] = n - win.lo[i] - win.hi[i] + win.window[i];
    if (dim[2 + i] < 1)
      return FG_FAIL(MODEL, "axis %d comes to %lld places", 2 + i, (long long)dim[2 + i]);
  }
  return FGSM_OK;
}

fgsm_status fg_import_MaxUnpool(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs a = {0}, grow = {0};
  int64_t dim[FG_MAX_RANK], size[FG_MAX_RANK], n, total = 1;
  int n_size;
  fg_id x, index, zero, y;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &index));
  FG_TRY(fg_input_ints(im, 2, FG_MAX_RANK, size, &n_size));
  struct fg_value v = *fg_value(g, x);
  if (v.rank < 3 || v.rank > 5 || (n_size >= 0 && n_size != v.rank))
    return FG_FAIL(UNSUPPORTED, "x has shape %s, the result %d axes", FG_SHAPE(&v), n_size);
  FG_TRY(fg_rule_same_shape(fg_value(g, index), &v, "the positions"));
  FG_TRY(inferred(im, &v, dim));
  for (int i = 0; i < v.rank; i++) {
    if (!fg_mul_ok(total, dim[i], &total))
      return FG_FAIL(MODEL, "the result is too large");
    grow.pad.hi[i] = n_size < 0 ? 0 : size[i] - dim[i];
  }
  n = fg_value_count(g, x);
  FG_TRY(fg_reshape(g, x, 1, &n, &x));
  FG_TRY(fg_reshape(g, index, 1, &n, &index));
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_expand(g, zero, 1, &total, &zero));
  FG_TRY(fg_import_append(im, FG_OP_scatter, &a, 3, (fg_id[]){zero, index, x}, &y));
  FG_TRY(fg_reshape(g, y, v.rank, dim, &y));
  return fg_import_append(im, FG_OP_pad, &grow, 1, &y, &im->out[0]);
}
