/* Resize and its older form Upsample. Every mode is separable and linear in x, so each axis that
 * changes is either a gather (nearest) or a product with a small constant matrix (linear, cubic,
 * antialiased): the gradient comes from those operators. A row of the matrix says where one place
 * of the result comes from. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

static const int64_t MOST_MATRIX = 1 << 24;

enum mode { NEAREST, LINEAR, CUBIC };

struct resize {
  enum mode mode;
  const char *coordinates, *nearest;
  bool antialias, exclude_outside;
  double cubic, fill;
  int rank;
  int64_t in[FG_MAX_RANK], out[FG_MAX_RANK];
  double scale[FG_MAX_RANK], start[FG_MAX_RANK], end[FG_MAX_RANK];
};

/* Where place i of axis `axis` lies in x. */
static double source(const struct resize *r, int axis, int64_t i) {
  const char *c = r->coordinates;
  double in = (double)r->in[axis], out = (double)r->out[axis], x = (double)i,
         scale = r->scale[axis];
  if (!strcmp(c, "align_corners")) /* the length before it was rounded down, as ONNX has it */
    return out > 1 ? x * (in - 1) / (in * scale - 1) : 0;
  if (!strcmp(c, "asymmetric"))
    return x / scale;
  if (!strcmp(c, "tf_half_pixel_for_nn"))
    return (x + 0.5) / scale;
  if (!strcmp(c, "tf_crop_and_resize")) {
    double from = r->start[axis], to = r->end[axis];
    return out > 1 ? from * (in - 1) + x * (to - from) * (in - 1) / (out - 1)
                   : 0.5 * (from + to) * (in - 1);
  }
  if (!strcmp(c, "pytorch_half_pixel") && out <= 1)
    return 0;
  double shift = 0;
  if (!strcmp(c, "half_pixel_symmetric"))
    shift = in / 2 * (1 - out / (in * scale));
  return shift + (x + 0.5) / scale - 0.5;
}

static bool is_outside(const struct resize *r, int axis, double x) {
  return !strcmp(r->coordinates, "tf_crop_and_resize") && (x < 0 || x > (double)(r->in[axis] - 1));
}

static int64_t nearest(const struct resize *r, int axis, double x) {
  const char *n = r->nearest;
  double at = !strcmp(n, "floor")               ? floor(x)
              : !strcmp(n, "ceil")              ? ceil(x)
              : !strcmp(n, "round_prefer_ceil") ? floor(x + 0.5)
                                                : ceil(x - 0.5);
  double last = (double)(r->in[axis] - 1);
  return (int64_t)(at < 0 ? 0 : at > last ? last : at);
}

static double kernel(const struct resize *r, double d) {
  double a = r->cubic;
  d = fabs(d);
  if (r->mode == LINEAR)
    return d < 1 ? 1 - d : 0;
  if (d < 1)
    return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* Adds place i's weights to its row. */
static void fill_row(const struct resize *r, int axis, double x, double *row) {
  double squeeze = r->antialias && r->scale[axis] < 1 ? r->scale[axis] : 1;
  double reach = (r->mode == LINEAR ? 1 : 2) / squeeze, sum = 0;
  int64_t last = r->in[axis] - 1;
  for (int64_t at = (int64_t)floor(x - reach); at <= (int64_t)ceil(x + reach); at++) {
    double weight = kernel(r, ((double)at - x) * squeeze);
    if (weight == 0 || (r->exclude_outside && (at < 0 || at > last)))
      continue;
    sum += weight;
    row[at < 0 ? 0 : at > last ? last : at] += weight;
  }
  for (int64_t k = 0; k <= last && sum != 0; k++)
    row[k] /= sum;
}

static fgsm_status by_gather(struct fg_graph *g, const struct resize *r, int axis, fg_id *x) {
  union fg_attrs a = {.axis = {.axis = axis}};
  int64_t n = r->out[axis];
  fg_id index;
  int64_t *at = fg_arena_alloc(&g->arena, (size_t)n * sizeof *at);
  if (!at)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++)
    at[i] = nearest(r, axis, source(r, axis, i));
  FG_TRY(fg_graph_constant(g, "", FG_I64, 1, &n, at, &index));
  return fg_rule_append(g, FG_OP_gather, &a, 2, (fg_id[]){*x, index}, x);
}

/* x [outer, in, inner] times the matrix [out, in]. */
static fgsm_status by_matrix(struct fg_graph *g, const struct resize *r, int axis, fg_id *x) {
  struct fg_value v = *fg_value(g, *x);
  int64_t n = r->out[axis], k = r->in[axis], outer = 1, inner = 1;
  fg_id m;
  if (n > MOST_MATRIX / k)
    return FG_FAIL(UNSUPPORTED, "axis %d grows from %lld to %lld: too long for its matrix", axis,
                   (long long)k, (long long)n);
  double *matrix = calloc((size_t)(n * k), sizeof *matrix);
  if (!matrix)
    return FG_FAIL(MEMORY, "no memory for a matrix of %lld by %lld", (long long)n, (long long)k);
  for (int64_t i = 0; i < n; i++) {
    double at = source(r, axis, i);
    if (isfinite(at) && fabs(at) < 1e9)
      fill_row(r, axis, at, matrix + i * k);
  }
  fgsm_status status = fg_graph_constant(g, "", FG_F64, 2, (int64_t[]){n, k}, matrix, &m);
  free(matrix);
  if (status != FGSM_OK)
    return status;
  for (int i = 0; i < v.rank; i++) {
    outer *= i < axis ? v.dim[i] : 1;
    inner *= i > axis ? v.dim[i] : 1;
  }
  v.dim[axis] = n;
  if (inner == 1) {
    FG_TRY(fg_reshape(g, *x, 2, (int64_t[]){outer, k}, x));
    FG_TRY(fg_matmul(g, *x, m, false, true, 1, x));
  } else {
    FG_TRY(fg_reshape(g, *x, 3, (int64_t[]){outer, k, inner}, x));
    FG_TRY(fg_matmul(g, m, *x, false, false, 1, x));
  }
  return fg_reshape(g, *x, v.rank, v.dim, x);
}

/* Places that lie outside of x become the fill value. */
static fgsm_status fill_outside(struct fg_graph *g, const struct resize *r, int axis, fg_id *x) {
  int64_t n = r->out[axis], dim[FG_MAX_RANK];
  bool any = false;
  uint8_t *outside = fg_arena_alloc(&g->arena, (size_t)n);
  fg_id mask, fill;
  if (!outside)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    outside[i] = is_outside(r, axis, source(r, axis, i));
    any |= outside[i];
  }
  if (!any)
    return FGSM_OK;
  for (int i = 0; i < r->rank; i++)
    dim[i] = i == axis ? n : 1;
  FG_TRY(fg_graph_constant(g, "", FG_BOOL, r->rank, dim, outside, &mask));
  FG_TRY(fg_graph_scalar(g, r->fill, &fill));
  return fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){mask, fill, *x}, x);
}

static fgsm_status apply(struct fg_import *im, const struct resize *r, fg_id x) {
  for (int i = 0; i < r->rank; i++) {
    bool crop =
        !strcmp(r->coordinates, "tf_crop_and_resize") && (r->start[i] != 0 || r->end[i] != 1);
    if (r->out[i] == r->in[i] && r->scale[i] == 1 && !crop)
      continue;
    if (r->mode == NEAREST)
      FG_TRY(by_gather(im->g, r, i, &x));
    else
      FG_TRY(by_matrix(im->g, r, i, &x));
  }
  for (int i = 0; i < r->rank; i++)
    FG_TRY(fill_outside(im->g, r, i, &x));
  im->out[0] = x;
  return FGSM_OK;
}

/* ---- attributes and inputs */

/* The numbers of a constant float input; *n is -1 where it is absent or empty. */
static fgsm_status reals(const struct fg_import *im, int slot, int most, double *out, int *n) {
  fg_id id = fg_import_optional(im, slot);
  *n = -1;
  if (id == FG_ABSENT || fg_value_count(im->g, id) == 0)
    return FGSM_OK;
  const struct fg_value *v = fg_value(im->g, id);
  if (!fg_value_is_constant(im->g, id))
    return FG_FAIL(UNSUPPORTED, "its sizes depend on the data: export the model with fixed shapes");
  if (!fg_type_is_real(v->type) || v->rank > 1 || fg_value_count(im->g, id) > most)
    return FG_FAIL(MODEL, "input %d is %s of shape %s, not at most %d floats", slot,
                   fg_type_name(v->type), FG_SHAPE(v), most);
  *n = (int)fg_value_count(im->g, id);
  for (int i = 0; i < *n; i++)
    out[i] = fg_constant_real(im->g, id, i);
  return FGSM_OK;
}

static fgsm_status is_one_of(const char *what, const char *value, const char *const *list) {
  for (; *list; list++)
    if (!strcmp(*list, value))
      return FGSM_OK;
  return FG_FAIL(UNSUPPORTED, "%s '%.40s' is not known", what, value);
}

static fgsm_status read_modes(const struct fg_import *im, struct resize *r) {
  static const char *const coordinates[] = {
      "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
      "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
  static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                          "ceil", NULL};
  bool old = im->opset < 11;
  const char *mode;
  int64_t antialias, outside;
  FG_TRY(fg_attr_text(im, "mode", "nearest", &mode));
  FG_TRY(fg_attr_text(im, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel",
                      &r->coordinates));
  FG_TRY(fg_attr_text(im, "nearest_mode", old ? "floor" : "round_prefer_floor", &r->nearest));
  FG_TRY(fg_attr_int(im, "antialias", 0, &antialias));
  FG_TRY(fg_attr_int(im, "exclude_outside", 0, &outside));
  FG_TRY(fg_attr_float(im, "cubic_coeff_a", -0.75, &r->cubic));
  FG_TRY(fg_attr_float(im, "extrapolation_value", 0, &r->fill));
  FG_TRY(is_one_of("coordinate_transformation_mode", r->coordinates, coordinates));
  FG_TRY(is_one_of("nearest_mode", r->nearest, roundings));
  r->antialias = antialias;
  r->exclude_outside = outside;
  r->mode = !strcmp(mode, "nearest") ? NEAREST : !strcmp(mode, "cubic") ? CUBIC : LINEAR;
  if (r->mode == LINEAR && strcmp(mode, "linear") && strcmp(mode, "bilinear"))
    return FG_FAIL(UNSUPPORTED, "mode '%.40s' is not known", mode);
  return FGSM_OK;
}

/* The axes that sizes, scales and roi speak of. */
static fgsm_status read_axes(const struct fg_import *im, int rank, int *axes, int *n) {
  int64_t raw[FG_MAX_RANK];
  FG_TRY(fg_attr_ints(im, "axes", FG_MAX_RANK, raw, n));
  for (int i = 0; i < *n; i++)
    FG_TRY(fg_check_axis(rank, raw[i], &axes[i]));
  for (int i = 0; *n < 0 && i < rank; i++)
    axes[i] = i;
  *n = *n < 0 ? rank : *n;
  return FGSM_OK;
}

static fgsm_status from_sizes(const struct fg_import *im, struct resize *r, int n, const int *axes,
                              const int64_t *size) {
  const char *policy;
  FG_TRY(fg_attr_text(im, "keep_aspect_ratio_policy", "stretch", &policy));
  bool stretch = !strcmp(policy, "stretch"), larger = !strcmp(policy, "not_smaller");
  if (!stretch && !larger && strcmp(policy, "not_larger"))
    return FG_FAIL(UNSUPPORTED, "keep_aspect_ratio_policy '%.40s' is not known", policy);
  double common = larger ? 0 : INFINITY;
  for (int i = 0; i < n; i++) {
    double scale = (double)size[i] / (double)r->in[axes[i]];
    common = larger ? fmax(common, scale) : fmin(common, scale);
    r->scale[axes[i]] = scale;
    r->out[axes[i]] = size[i];
  }
  for (int i = 0; i < n && !stretch; i++) {
    r->scale[axes[i]] = common;
    r->out[axes[i]] = (int64_t)floor(common * (double)r->in[axes[i]] + 0.5);
  }
  return FGSM_OK;
}

static fgsm_status check_sizes(const struct resize *r) {
  for (int i = 0; i < r->rank; i++)
    if (!(r->scale[i] > 0) || r->scale[i] > 1e6 || r->out[i] < 1 || r->out[i] > INT32_MAX)
      return FG_FAIL(MODEL, "axis %d of %lld becomes %lld, scaled by %g", i, (long long)r->in[i],
                     (long long)r->out[i], r->scale[i]);
  return FGSM_OK;
}

/* Scales in `scale_slot`, sizes behind them (slot -1: there are none). */
static fgsm_status resize(struct fg_import *im, int roi_slot, int scale_slot, int size_slot) {
  struct resize r = {0};
  int axes[FG_MAX_RANK], n, n_roi, n_scales, n_sizes = -1;
  double roi[2 * FG_MAX_RANK], scales[FG_MAX_RANK];
  int64_t sizes[FG_MAX_RANK];
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  const struct fg_value *v = fg_value(im->g, x);
  r.rank = v->rank;
  FG_TRY(read_modes(im, &r));
  FG_TRY(read_axes(im, r.rank, axes, &n));
  for (int i = 0; i < r.rank; i++) {
    r.in[i] = r.out[i] = v->dim[i];
    r.scale[i] = r.end[i] = 1;
    if (v->dim[i] < 1)
      return FG_FAIL(UNSUPPORTED, "x has shape %s", FG_SHAPE(v));
  }
  FG_TRY(reals(im, scale_slot, FG_MAX_RANK, scales, &n_scales));
  if (size_slot >= 0)
    FG_TRY(fg_input_ints(im, size_slot, FG_MAX_RANK, sizes, &n_sizes));
  if (n_scales > 0 && n_sizes <= 0) {
    n_sizes = n_scales;
    for (int i = 0; i < n && i < n_scales; i++) {
      double out = floor((double)r.in[axes[i]] * scales[i]);
      r.scale[axes[i]] = scales[i];
      r.out[axes[i]] = out >= 1 && out < INT32_MAX ? (int64_t)out : -1;
    }
  } else if (n_sizes == n) {
    FG_TRY(from_sizes(im, &r, n, axes, sizes));
  }
  if (n_sizes != n)
    return FG_FAIL(MODEL, "%d scales or sizes for %d axes", n_sizes < 0 ? 0 : n_sizes, n);
  FG_TRY(check_sizes(&r));
  if (!strcmp(r.coordinates, "tf_crop_and_resize") && roi_slot >= 0) {
    FG_TRY(reals(im, roi_slot, 2 * FG_MAX_RANK, roi, &n_roi));
    if (n_roi != 2 * n)
      return FG_FAIL(MODEL, "a region of %d numbers for %d axes", n_roi < 0 ? 0 : n_roi, n);
    for (int i = 0; i < n; i++) {
      r.start[axes[i]] = roi[i];
      r.end[axes[i]] = roi[n + i];
    }
  }
  return apply(im, &r, x);
}

fgsm_status fg_import_Resize(struct fg_import *im) {
  return im->opset < 11 ? resize(im, -1, 1, -1) : resize(im, 1, 2, 3);
}

/* Opset 7 has the scales as an attribute. */
fgsm_status fg_import_Upsample(struct fg_import *im) {
  struct fg_import copy = *im;
  copy.opset = 10;
  if (im->opset >= 9 || !fg_attr_find(im, "scales"))
    return resize(&copy, -1, 1, -1);
  const struct fg_onnx_attr *a = fg_attr_find(im, "scales");
  fg_id in[2];
  if (a->kind != FG_ATTR_FLOATS || a->n < 1 || a->n > FG_MAX_RANK)
    return FG_FAIL(MODEL, "attribute scales is no list of floats");
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_graph_constant(im->g, "", FG_F32, 1, &a->n, a->floats, &in[1]));
  copy.in = in;
  copy.n_in = 2;
  return resize(&copy, -1, 1, -1);
}
