/* ONNX RoiAlign; over regions that are known while loading: each of a region's places gathers the
 * four neighbours of its samples, weighs them, and takes their sum (avg) or their largest (max). */
#include <math.h>
#include <string.h>

#include "roi.h"

/* A region's start, the length of its places and its samples, rows first. */
struct bins {
  double start[2], length[2];
  int64_t samples[2];
};

static fgsm_status bins_of(const struct fg_graph *g, const struct roi *r, fg_id boxes, int64_t i,
                           struct bins *b) {
  for (int k = 0; k < 2; k++) {
    double start = fg_constant_real(g, boxes, 4 * i + 1 - k) * r->scale - r->offset;
    double length = fg_constant_real(g, boxes, 4 * i + 3 - k) * r->scale - r->offset - start;
    if (!(fabs(start) < 1e9) || !(fabs(length) < 1e9))
      return FG_FAIL(MODEL, "region %lld starts at %g and is %g long", (long long)i, start, length);
    length = !r->half_pixel && length < 1 ? 1 : length;
    b->start[k] = start;
    b->length[k] = length / (double)r->out[k];
    b->samples[k] = r->ratio > 0 ? r->ratio : (int64_t)ceil(b->length[k]);
  }
  return FGSM_OK;
}

/* The two neighbours of a place along an axis and their weights: none for a place well outside. */
static void neighbours(double u, int64_t size, int64_t at[2], double w[2]) {
  at[0] = at[1] = 0;
  w[0] = w[1] = 0;
  if (!(u >= -1 && u <= (double)size))
    return;
  u = fmin(fmax(u, 0), (double)(size - 1));
  at[0] = (int64_t)u;
  at[1] = at[0] < size - 1 ? at[0] + 1 : at[0];
  w[1] = u - (double)at[0];
  w[0] = 1 - w[1];
}

/* A region's part of `index` and `weight`, both [out, out, samples, samples, 4]. Where it has fewer
 * samples than there is room for, the rest weighs 0 in a sum and repeats the first in a maximum. */
static void fill_region(const struct roi *r, const struct bins *b, int64_t image, int64_t *index,
                        double *weight) {
  int64_t each = r->samples * r->samples, used = b->samples[0] * b->samples[1];
  double count = r->largest || used < 1 ? 1 : (double)used;
  for (int64_t i = 0; i < r->out[0] * r->out[1] * each; i++) {
    int64_t place[2] = {i / each / r->out[1], i / each % r->out[1]};
    int64_t s[2] = {i % each / r->samples, i % r->samples}, at[2][2];
    double w[2][2];
    bool spare = s[0] >= b->samples[0] || s[1] >= b->samples[1];
    for (int k = 0; k < 2; k++) {
      double within = ((double)(spare ? 0 : s[k]) + 0.5) / (double)b->samples[k];
      neighbours(b->start[k] + ((double)place[k] + within) * b->length[k], r->size[k], at[k], w[k]);
    }
    for (int j = 0; j < 4; j++) {
      index[4 * i + j] = (image * r->size[0] + at[0][j / 2]) * r->size[1] + at[1][j % 2];
      weight[4 * i + j] = spare && !r->largest ? 0 : w[0][j / 2] * w[1][j % 2] / count;
    }
  }
}

static fgsm_status fill(const struct fg_import *im, struct roi *r, fg_id boxes, fg_id images,
                        fg_id *index, fg_id *weight) {
  struct fg_graph *g = im->g;
  struct bins b;
  int64_t n = 4, places = r->out[0] * r->out[1];
  r->samples = 1;
  for (int64_t i = 0; i < r->regions; i++) {
    FG_TRY(bins_of(g, r, boxes, i, &b));
    for (int k = 0; k < 2; k++)
      r->samples = b.samples[k] > r->samples ? b.samples[k] : r->samples;
  }
  int64_t factor[] = {r->regions, places, r->samples, r->samples};
  for (int i = 0; i < 4; i++)
    if (!fg_mul_ok(n, factor[i], &n) || n > FG_ROI_MOST)
      return FG_FAIL(UNSUPPORTED, "%lld regions of %lld places with %lld samples a side",
                     (long long)r->regions, (long long)places, (long long)r->samples);
  int64_t *at = fg_arena_alloc(&g->arena, (size_t)n * sizeof *at);
  double *w = fg_arena_alloc(&g->arena, (size_t)n * sizeof *w);
  if (!at || !w)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < r->regions; i++) {
    int64_t image = fg_constant_int(g, images, i), from = n / r->regions * i;
    if (image < 0 || image >= r->batch)
      return FG_FAIL(MODEL, "region %lld is of image %lld of %lld", (long long)i, (long long)image,
                     (long long)r->batch);
    FG_TRY(bins_of(g, r, boxes, i, &b));
    fill_region(r, &b, image, at + from, w + from);
  }
  FG_TRY(fg_graph_constant(g, "", FG_I64, 1, &n, at, index));
  int64_t dim[] = {r->regions * places, 4 * r->samples * r->samples, 1};
  return fg_graph_constant(g, "", FG_F64, 3, dim, w, weight);
}

static fgsm_status read_roi(const struct fg_import *im, const fg_id in[3], struct roi *r) {
  const char *mode, *coordinates;
  const struct fg_value *x = fg_value(im->g, in[0]), *boxes = fg_value(im->g, in[1]);
  FG_TRY(fg_attr_text(im, "mode", "avg", &mode));
  FG_TRY(fg_attr_text(im, "coordinate_transformation_mode",
                      im->opset < 16 ? "output_half_pixel" : "half_pixel", &coordinates));
  FG_TRY(fg_attr_int(im, "output_height", 1, &r->out[0]));
  FG_TRY(fg_attr_int(im, "output_width", 1, &r->out[1]));
  FG_TRY(fg_attr_int(im, "sampling_ratio", 0, &r->ratio));
  FG_TRY(fg_attr_float(im, "spatial_scale", 1, &r->scale));
  if (x->rank != 4 || boxes->rank != 2 || boxes->dim[1] != 4 || boxes->dim[0] < 1 ||
      !fg_type_is_real(boxes->type) || fg_value_count(im->g, in[2]) != boxes->dim[0] ||
      fg_type_is_real(fg_value(im->g, in[2])->type))
    return FG_FAIL(MODEL, "regions of shape %s over x of shape %s", FG_SHAPE(boxes), FG_SHAPE(x));
  r->largest = !strcmp(mode, "max");
  r->half_pixel = !strcmp(coordinates, "half_pixel");
  r->offset = r->half_pixel ? 0.5 : 0;
  r->regions = boxes->dim[0];
  r->batch = x->dim[0];
  r->channels = x->dim[1];
  for (int k = 0; k < 2; k++) {
    r->size[k] = x->dim[2 + k];
    if (r->out[k] < 1 || r->out[k] > 1 << 15 || r->size[k] < 1)
      return FG_FAIL(MODEL, "axis %d has %lld places of %lld", k, (long long)r->out[k],
                     (long long)r->size[k]);
  }
  if (r->ratio < 0 || r->ratio > 1 << 10 || (!r->largest && strcmp(mode, "avg")) ||
      (!r->half_pixel && strcmp(coordinates, "output_half_pixel")))
    return FG_FAIL(UNSUPPORTED, "mode '%.40s', coordinates '%.40s', %lld samples", mode,
                   coordinates, (long long)r->ratio);
  return FGSM_OK;
}

fgsm_status fg_import_RoiAlign(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs rows = {.axis = {.axis = 0}};
  struct roi r = {0};
  fg_id in[3], index, weight, y;
  for (int i = 0; i < 3; i++)
    FG_TRY(fg_input(im, i, &in[i]));
  FG_TRY(read_roi(im, in, &r));
  if (!fg_value_is_constant(g, in[1]) || !fg_value_is_constant(g, in[2]))
    return fg_roi_by_grid(im, &r, in);
  FG_TRY(fill(im, &r, in[1], in[2], &index, &weight));
  FG_TRY(fg_transpose(g, in[0], (const int[]){0, 2, 3, 1}, &y));
  FG_TRY(fg_reshape(g, y, 2, (int64_t[]){r.batch * r.size[0] * r.size[1], r.channels}, &y));
  FG_TRY(fg_import_append(im, FG_OP_gather, &rows, 2, (fg_id[]){y, index}, &y));
  struct fg_value w = *fg_value(g, weight);
  FG_TRY(fg_reshape(g, y, 3, (int64_t[]){w.dim[0], w.dim[1], r.channels}, &y));
  FG_TRY(fg_binary(g, FG_BINARY_mul, y, weight, &y));
  FG_TRY(fg_reduce(g, r.largest ? FG_REDUCE_max : FG_REDUCE_sum, y, 1u << 1, false, &y));
  FG_TRY(fg_reshape(g, y, 4, (int64_t[]){r.regions, r.out[0], r.out[1], r.channels}, &y));
  return fg_transpose(g, y, (const int[]){0, 3, 1, 2}, &im->out[0]);
}
