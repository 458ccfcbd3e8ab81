/* ONNX operators of vision that are compositions here: CenterCropPad pads and cuts; Col2Im is the
 * input gradient of a convolution with unit weights; DeformConv looks columns up with grid_sample
 * and multiplies. */
#include <string.h>

#include "rules.h"

fgsm_status fg_import_CenterCropPad(struct fg_import *im) {
  union fg_attrs a = {0};
  int64_t size[FG_MAX_RANK], axes[FG_MAX_RANK];
  int n, n_axes;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input_ints(im, 1, FG_MAX_RANK, size, &n));
  FG_TRY(fg_attr_ints(im, "axes", FG_MAX_RANK, axes, &n_axes));
  const struct fg_value *v = fg_value(im->g, x);
  if (n < 0 || n != (n_axes < 0 ? v->rank : n_axes))
    return FG_FAIL(MODEL, "%d sizes for %d axes", n, n_axes < 0 ? v->rank : n_axes);
  for (int i = 0; i < n; i++) {
    int axis;
    FG_TRY(fg_check_axis(v->rank, n_axes < 0 ? i : axes[i], &axis));
    if (size[i] < 1 || size[i] > INT32_MAX || a.pad.lo[axis] || a.pad.hi[axis])
      return FG_FAIL(MODEL, "axis %d becomes %lld, or is named twice", axis, (long long)size[i]);
    int64_t more = size[i] - v->dim[axis]; /* division truncates: the odd one goes to the end */
    a.pad.lo[axis] = more / 2;
    a.pad.hi[axis] = more - more / 2;
  }
  return fg_import_append(im, FG_OP_pad, &a, 1, &x, &im->out[0]);
}

/* Weights [channels * places, 1, window...] that put each column where it came from. */
static fgsm_status unit_weights(struct fg_graph *g, int64_t channels, int spatial,
                                const int64_t *window, int64_t places, fg_id *out) {
  enum { MOST = 1 << 24 };
  int64_t dim[FG_MAX_RANK] = {channels * places, 1}, n;
  if (!fg_mul_ok(places, places, &n) || !fg_mul_ok(n, channels, &n) || n > MOST)
    return FG_FAIL(UNSUPPORTED, "%lld channels of windows of %lld places", (long long)channels,
                   (long long)places);
  double *w = fg_arena_alloc(&g->arena, (size_t)n * sizeof *w);
  if (!w)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < channels * places; i++)
    w[i * places + i % places] = 1;
  memcpy(dim + 2, window, (size_t)spatial * sizeof *dim);
  return fg_graph_constant(g, "", FG_F64, spatial + 2, dim, w, out);
}

fgsm_status fg_import_Col2Im(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs a = {0};
  struct fg_window win;
  int64_t image[3], block[3], dim[FG_MAX_RANK], places = 1, rows = 1;
  int spatial, n_block;
  fg_id x, w;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input_ints(im, 1, 3, image, &spatial));
  FG_TRY(fg_input_ints(im, 2, 3, block, &n_block));
  struct fg_value v = *fg_value(g, x);
  if (v.rank != 3 || spatial < 2 || n_block != spatial)
    return FG_FAIL(UNSUPPORTED, "columns of shape %s for an image of %d axes", FG_SHAPE(&v),
                   spatial);
  FG_TRY(fg_import_window(im, spatial, block, image, &win));
  for (int i = 0; i < spatial; i++) {
    FG_TRY(fg_window_places(image[i], block[i], win.stride[i], win.dilation[i], win.lo[i],
                            win.hi[i], &dim[2 + i]));
    a.conv.stride[i] = (int)win.stride[i];
    a.conv.dilation[i] = (int)win.dilation[i];
    a.conv.pad_lo[i] = (int)win.lo[i];
    a.conv.pad_hi[i] = (int)win.hi[i];
    a.conv.dim[2 + i] = image[i];
    if (!fg_mul_ok(places, block[i], &places) || !fg_mul_ok(rows, dim[2 + i], &rows))
      return FG_FAIL(MODEL, "the image is too large");
  }
  if (v.dim[1] % places || v.dim[1] > INT32_MAX || v.dim[2] != rows)
    return FG_FAIL(MODEL, "columns of shape %s for windows of %lld places, %lld of them",
                   FG_SHAPE(&v), (long long)places, (long long)rows);
  a.conv.spatial = spatial;
  a.conv.group = (int)(v.dim[1] / places);
  a.conv.dim[0] = dim[0] = v.dim[0];
  a.conv.dim[1] = a.conv.group;
  dim[1] = v.dim[1];
  FG_TRY(unit_weights(g, a.conv.group, spatial, block, places, &w));
  FG_TRY(fg_reshape(g, x, spatial + 2, dim, &x));
  return fg_import_append(im, FG_OP_conv_grad_input, &a, 2, (fg_id[]){x, w}, &im->out[0]);
}

/* ---- DeformConv */

struct deform {
  int64_t n, c, size[2], out_c, out[2], window[2], groups, offset_groups;
  struct fg_window win;
};

/* Where each tap lies before it is moved, in grid_sample's coordinates: [1, taps, rows, columns,
 * 2], columns first; and how far an offset of 1 moves it. */
static fgsm_status tap_places(struct fg_graph *g, const struct deform *d, fg_id *base,
                              fg_id *scale) {
  enum { MOST = 1 << 24 };
  int64_t dim[] = {1, d->window[0] * d->window[1], d->out[0], d->out[1], 2}, n = 1;
  for (int i = 0; i < 5; i++)
    if (!fg_mul_ok(n, dim[i], &n) || n > MOST)
      return FG_FAIL(UNSUPPORTED, "too many taps");
  double *at = fg_arena_alloc(&g->arena, (size_t)n * sizeof *at);
  if (!at)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    int k = i % 2 == 0; /* the axis: columns first */
    int64_t place[2] = {i / 2 / d->out[1] % d->out[0], i / 2 % d->out[1]};
    int64_t tap = i / 2 / (d->out[0] * d->out[1]);
    int64_t taps[2] = {tap / d->window[1], tap % d->window[1]};
    double u = (double)(place[k] * d->win.stride[k] - d->win.lo[k] + taps[k] * d->win.dilation[k]);
    at[i] = (2 * u + 1) / (double)d->size[k] - 1;
  }
  FG_TRY(fg_graph_constant(g, "", FG_F64, 5, dim, at, base));
  double by[] = {2.0 / (double)d->size[1], 2.0 / (double)d->size[0]};
  return fg_graph_constant(g, "", FG_F64, 1, (int64_t[]){2}, by, scale);
}

/* The grid [n * offset groups, taps * rows, columns, 2] of an offset [n, 2 * groups * taps, ..]. */
static fgsm_status deform_grid(struct fg_graph *g, const struct deform *d, fg_id offset,
                               fg_id *out) {
  int64_t taps = d->window[0] * d->window[1], n = d->n * d->offset_groups;
  fg_id part[2], base, scale;
  FG_TRY(fg_reshape(g, offset, 5, (int64_t[]){n, taps, 2, d->out[0], d->out[1]}, out));
  FG_TRY(fg_transpose(g, *out, (const int[]){0, 1, 3, 4, 2}, out));
  for (int i = 0; i < 2; i++)
    FG_TRY(fg_rule_cut(g, *out, 4, 1 - i, 1, &part[i]));
  FG_TRY(fg_rule_join(g, "", 4, 2, part, out));
  FG_TRY(tap_places(g, d, &base, &scale));
  FG_TRY(fg_binary(g, FG_BINARY_mul, *out, scale, out));
  FG_TRY(fg_binary(g, FG_BINARY_add, *out, base, out));
  return fg_reshape(g, *out, 4, (int64_t[]){n, taps * d->out[0], d->out[1], 2}, out);
}

static fgsm_status read_deform(const struct fg_import *im, const fg_id in[3], struct deform *d) {
  FG_TRY(fg_attr_int(im, "group", 1, &d->groups));
  FG_TRY(fg_attr_int(im, "offset_group", 1, &d->offset_groups));
  const struct fg_value *x = fg_value(im->g, in[0]), *w = fg_value(im->g, in[1]),
                        *offset = fg_value(im->g, in[2]);
  if (x->rank != 4 || w->rank != 4 || offset->rank != 4)
    return FG_FAIL(UNSUPPORTED, "x has shape %s: only two spatial axes are supported", FG_SHAPE(x));
  FG_TRY(fg_import_window(im, 2, w->dim + 2, x->dim + 2, &d->win));
  d->n = x->dim[0];
  d->c = x->dim[1];
  d->out_c = w->dim[0];
  for (int i = 0; i < 2; i++) {
    d->size[i] = x->dim[2 + i];
    d->window[i] = w->dim[2 + i];
    FG_TRY(fg_window_places(d->size[i], d->window[i], d->win.stride[i], d->win.dilation[i],
                            d->win.lo[i], d->win.hi[i], &d->out[i]));
  }
  int64_t channels;
  bool fits = d->groups > 0 && d->offset_groups > 0 && d->out_c % d->groups == 0 &&
              d->c % d->offset_groups == 0 && fg_mul_ok(w->dim[1], d->groups, &channels) &&
              channels == d->c && offset->dim[0] == d->n && offset->dim[2] == d->out[0] &&
              offset->dim[3] == d->out[1] &&
              offset->dim[1] % (2 * d->window[0] * d->window[1]) == 0 &&
              offset->dim[1] / (2 * d->window[0] * d->window[1]) == d->offset_groups;
  return fits ? FGSM_OK
              : FG_FAIL(MODEL,
                        "x of shape %s, weights of shape %s and offsets of shape %s do not "
                        "fit each other",
                        FG_SHAPE(x), FG_SHAPE(w), FG_SHAPE(offset));
}

fgsm_status fg_import_DeformConv(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs look = {.grid = {.mode = FG_GRID_linear}};
  struct deform d = {0};
  fg_id in[3], y, grid, bias = fg_import_optional(im, 3), mask = fg_import_optional(im, 4);
  for (int i = 0; i < 3; i++)
    FG_TRY(fg_input(im, i, &in[i]));
  FG_TRY(read_deform(im, in, &d));
  int64_t taps = d.window[0] * d.window[1], n = d.n * d.offset_groups, c = d.c / d.offset_groups;
  int64_t places = d.out[0] * d.out[1];
  FG_TRY(deform_grid(g, &d, in[2], &grid));
  FG_TRY(fg_reshape(g, in[0], 4, (int64_t[]){n, c, d.size[0], d.size[1]}, &y));
  FG_TRY(fg_rule_append(g, FG_OP_grid_sample, &look, 2, (fg_id[]){y, grid}, &y));
  if (mask != FG_ABSENT) {
    FG_TRY(fg_reshape(g, mask, 4, (int64_t[]){n, 1, taps * d.out[0], d.out[1]}, &mask));
    FG_TRY(fg_binary(g, FG_BINARY_mul, y, mask, &y));
  }
  int64_t depth = d.c / d.groups * taps;
  FG_TRY(fg_reshape(g, y, 4, (int64_t[]){d.n, d.groups, depth, places}, &y));
  FG_TRY(fg_reshape(g, in[1], 3, (int64_t[]){d.groups, d.out_c / d.groups, depth}, &in[1]));
  FG_TRY(fg_matmul(g, in[1], y, false, false, 1, &y));
  FG_TRY(fg_reshape(g, y, 4, (int64_t[]){d.n, d.out_c, d.out[0], d.out[1]}, &im->out[0]));
  if (bias == FG_ABSENT)
    return FGSM_OK;
  FG_TRY(fg_reshape(g, bias, 3, (int64_t[]){d.out_c, 1, 1}, &bias));
  return fg_binary(g, FG_BINARY_add, im->out[0], bias, &im->out[0]);
}
