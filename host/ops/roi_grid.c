/* RoiAlign over computed regions, averages of a fixed number of samples: a grid of places in floats,
 * looked up by grid_sample, which clamps as RoiAlign does; what lies more than an element outside
 * becomes 0. So there is a gradient to the regions too. */
#include "roi.h"

/* y = x * factor + shift */
static fgsm_status affine(struct fg_graph *g, fg_id x, double factor, double shift, fg_id *y) {
  fg_id a, b;
  FG_TRY(fg_graph_scalar(g, factor, &a));
  FG_TRY(fg_graph_scalar(g, shift, &b));
  FG_TRY(fg_binary(g, FG_BINARY_mul, x, a, y));
  return fg_binary(g, FG_BINARY_add, *y, b, y);
}

/* Where the samples of axis k (0: rows) lie, in elements: [regions, samples]. */
static fgsm_status places(struct fg_graph *g, const struct roi *r, fg_id boxes, int k, fg_id *out) {
  int64_t n = r->out[k] * r->ratio, dim[] = {1, n};
  fg_id start, length, share, one;
  FG_TRY(fg_rule_cut(g, boxes, 1, 1 - k, 1, &start));
  FG_TRY(fg_rule_cut(g, boxes, 1, 3 - k, 1, &length));
  FG_TRY(affine(g, start, r->scale, -r->offset, &start));
  FG_TRY(affine(g, length, r->scale, -r->offset, &length));
  FG_TRY(fg_binary(g, FG_BINARY_sub, length, start, &length));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  if (!r->half_pixel)
    FG_TRY(fg_binary(g, FG_BINARY_max, length, one, &length));
  double *shares = fg_arena_alloc(&g->arena, (size_t)n * sizeof *shares);
  if (!shares)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++)
    shares[i] = ((double)i + 0.5) / (double)n;
  FG_TRY(fg_graph_constant(g, "", FG_F64, 2, dim, shares, &share));
  FG_TRY(fg_binary(g, FG_BINARY_mul, length, share, out));
  return fg_binary(g, FG_BINARY_add, *out, start, out);
}

/* 0 where a sample lies more than an element outside; `at`: axis k's places, as they broadcast. */
static fgsm_status cut_off(struct fg_graph *g, const struct roi *r, int k, fg_id at, fg_id *y) {
  double half = ((double)r->size[k] - 1) / 2;
  fg_id far, most, none;
  FG_TRY(affine(g, at, 1, -half, &far));
  FG_TRY(fg_unary(g, FG_UNARY_abs, 0, 0, far, &far));
  FG_TRY(fg_graph_scalar(g, half + 1, &most));
  FG_TRY(fg_graph_scalar(g, 0, &none));
  FG_TRY(fg_binary(g, FG_BINARY_greater, far, most, &far));
  return fg_rule_choose(g, far, none, *y, y);
}

fgsm_status fg_roi_by_grid(struct fg_import *im, const struct roi *r, const fg_id in[3]) {
  struct fg_graph *g = im->g;
  union fg_attrs rows = {.axis = {.axis = 0}};
  union fg_attrs look = {.grid = {.mode = FG_GRID_linear, .outside = FG_GRID_border}};
  int64_t n[2] = {r->out[0] * r->ratio, r->out[1] * r->ratio}, all = r->regions;
  fg_id x, at[2], part[2], grid, y;
  if (r->largest || r->ratio < 1)
    return FG_FAIL(UNSUPPORTED,
                   "the regions depend on the data: only averages of a fixed number of "
                   "samples (sampling_ratio) are supported then");
  for (int k = 0; k < 2; k++)
    if (!fg_mul_ok(all, n[k], &all) || all > FG_ROI_MOST)
      return FG_FAIL(UNSUPPORTED, "%lld regions of %lld x %lld samples", (long long)r->regions,
                     (long long)n[0], (long long)n[1]);
  for (int k = 0; k < 2; k++) {
    double size = (double)r->size[k];
    int64_t dim[] = {r->regions, k ? 1 : n[0], k ? n[1] : 1, 1};
    FG_TRY(places(g, r, in[1], k, &at[k]));
    FG_TRY(fg_reshape(g, at[k], 4, dim, &at[k]));
    FG_TRY(affine(g, at[k], 2 / size, 1 / size - 1, &part[1 - k]));
    FG_TRY(fg_expand(g, part[1 - k], 4, (int64_t[]){r->regions, n[0], n[1], 1}, &part[1 - k]));
    dim[1] = 1;
    dim[2] = k ? 1 : n[0];
    dim[3] = k ? n[1] : 1;
    FG_TRY(fg_reshape(g, at[k], 4, dim, &at[k]));
  }
  FG_TRY(fg_rule_join(g, "", 3, 2, part, &grid));
  FG_TRY(fg_rule_append(g, FG_OP_gather, &rows, 2, (fg_id[]){in[0], in[2]}, &x));
  FG_TRY(fg_import_append(im, FG_OP_grid_sample, &look, 2, (fg_id[]){x, grid}, &y));
  for (int k = 0; k < 2; k++)
    FG_TRY(cut_off(g, r, k, at[k], &y));
  int64_t dim[] = {r->regions, r->channels, r->out[0], r->ratio, r->out[1], r->ratio};
  FG_TRY(fg_reshape(g, y, 6, dim, &y));
  return fg_reduce(g, FG_REDUCE_mean, y, 1u << 3 | 1u << 5, false, &im->out[0]);
}
