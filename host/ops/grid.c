/* grid_sample and its gradient; ONNX GridSample and AffineGrid, which makes grids. */
#include <string.h>

#include "rules.h"

/* x's shape, the grid and a result of its own shape (dy) or to be found fit each other. */
static fgsm_status check(const struct fg_grid_attrs *a, int rank, const int64_t *x,
                         const struct fg_value *grid, int64_t *y) {
  if (rank != 4 && rank != 5)
    return FG_FAIL(UNSUPPORTED, "x has rank %d: a grid over two or three axes is supported", rank);
  if (grid->rank != rank || grid->dim[0] != x[0] || grid->dim[rank - 1] != rank - 2)
    return FG_FAIL(MODEL, "a grid of shape %s does not fit x of shape %s", FG_SHAPE(grid),
                   fg_shape_text(rank, x, (char[160]){0}, 160));
  if ((int)a->mode < 0 || a->mode > FG_GRID_cubic || (int)a->outside < 0 ||
      a->outside > FG_GRID_reflection)
    return FG_FAIL(INTERNAL, "there is no mode %d or padding %d", (int)a->mode, (int)a->outside);
  y[0] = x[0];
  y[1] = x[1];
  for (int i = 2; i < rank; i++) {
    if (x[i] < 1 || x[i] > INT32_MAX)
      return FG_FAIL(UNSUPPORTED, "axis %d of x is %lld", i, (long long)x[i]);
    y[i] = grid->dim[i - 1];
  }
  return FGSM_OK;
}

static fgsm_status infer(const struct fg_graph *g, struct fg_node *node, struct fg_value *out) {
  int64_t y[FG_MAX_RANK];
  FG_TRY(fg_rule_inputs(g, node, 2, 2));
  FG_TRY(fg_rule_reals(g, node, 3));
  const struct fg_value *x = fg_rule_input(g, node, 0);
  FG_TRY(check(&node->attrs.grid, x->rank, x->dim, fg_rule_input(g, node, 1), y));
  return fg_rule_output(out, x->type, x->rank, y);
}

static fgsm_status grad(struct fg_grad_ctx *ctx) {
  const struct fg_node *node = ctx->node;
  union fg_attrs a = node->attrs;
  fg_id in[3] = {ctx->out_grad[0], ctx->wanted[1] ? node->in[0] : FG_ABSENT, node->in[1]};
  fg_id out[FG_MAX_OUT];
  memcpy(a.grid.dim, fg_value(ctx->g, node->in[0])->dim, sizeof a.grid.dim);
  FG_TRY(fg_graph_add(ctx->g, FG_OP_grid_sample_grad, "", &a, 3, in, out));
  ctx->in_grad[0] = ctx->wanted[0] ? out[0] : FG_ABSENT;
  ctx->in_grad[1] = out[1];
  return FGSM_OK;
}

/* Elements that one result is made of. */
static double taps(const struct fg_grid_attrs *a, int axes) {
  double each = a->mode == FG_GRID_nearest ? 1 : a->mode == FG_GRID_linear ? 2 : 4;
  return axes == 2 ? each * each : each * each * each;
}

static double flops(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_value *y = fg_value(g, node->out[0]);
  return 4 * taps(&node->attrs.grid, y->rank - 2) * (double)fg_value_count(g, node->out[0]);
}

const struct fg_op_def fg_def_grid_sample = {infer, grad, flops};

static fgsm_status infer_grad(const struct fg_graph *g, struct fg_node *node,
                              struct fg_value *out) {
  int64_t y[FG_MAX_RANK];
  const int64_t *dim = node->attrs.grid.dim;
  FG_TRY(fg_rule_inputs(g, node, 1, 3));
  FG_TRY(fg_rule_reals(g, node, 7));
  const struct fg_value *dy = fg_rule_input(g, node, 0), *x = fg_rule_input(g, node, 1),
                        *grid = fg_rule_input(g, node, 2);
  if (!grid)
    return FG_FAIL(INTERNAL, "the grid is missing");
  FG_TRY(check(&node->attrs.grid, dy->rank, dim, grid, y));
  struct fg_value narrow = {.rank = dy->rank}, wide = {.rank = dy->rank};
  memcpy(narrow.dim, y, (size_t)dy->rank * sizeof *y);
  memcpy(wide.dim, dim, (size_t)dy->rank * sizeof *dim);
  FG_TRY(fg_rule_same_shape(dy, &narrow, "dy"));
  FG_TRY(fg_rule_output(&out[0], dy->type, dy->rank, dim));
  if (!x)
    return FGSM_OK;
  FG_TRY(fg_rule_same_shape(x, &wide, "x"));
  return fg_rule_output(&out[1], dy->type, grid->rank, grid->dim);
}

static double flops_grad(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_value *dy = fg_value(g, node->in[0]);
  int axes = dy->rank - 2;
  double each = node->in[1] == FG_ABSENT ? 4 : 4 + 4 * axes;
  return each * taps(&node->attrs.grid, axes) * (double)fg_value_count(g, node->in[0]);
}

const struct fg_op_def fg_def_grid_sample_grad = {infer_grad, NULL, flops_grad};

/* ---- ONNX */

/* The place of `text` among n words; `what` names them. */
static fgsm_status choice(const char *what, const char *text, int n, const char *const *words,
                          int *out) {
  for (*out = 0; *out < n; ++*out)
    if (!strcmp(text, words[*out]))
      return FGSM_OK;
  return FG_FAIL(UNSUPPORTED, "%s '%.40s' is not known", what, text);
}

/* Opset 16 says bilinear and bicubic where later ones say linear and cubic. */
fgsm_status fg_import_GridSample(struct fg_import *im) {
  static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear", "bicubic"};
  static const char *const paddings[] = {"zeros", "border", "reflection"};
  union fg_attrs a = {0};
  const char *mode, *padding;
  int64_t align;
  int m, p;
  fg_id in[2];
  FG_TRY(fg_input(im, 0, &in[0]));
  FG_TRY(fg_input(im, 1, &in[1]));
  FG_TRY(fg_attr_text(im, "mode", "linear", &mode));
  FG_TRY(fg_attr_text(im, "padding_mode", "zeros", &padding));
  FG_TRY(fg_attr_int(im, "align_corners", 0, &align));
  FG_TRY(choice("mode", mode, 5, modes, &m));
  FG_TRY(choice("padding_mode", padding, 3, paddings, &p));
  a.grid.mode = (enum fg_grid_mode)(m < 3 ? m : m - 2);
  a.grid.outside = (enum fg_grid_outside)p;
  a.grid.align = align != 0;
  return fg_import_append(im, FG_OP_grid_sample, &a, 2, in, &im->out[0]);
}

/* The places of an output's elements before they are moved, as [places, axes + 1] homogeneous
 * coordinates, the last axis first. */
static fgsm_status base_places(struct fg_graph *g, int axes, const int64_t *size, bool align,
                               fg_id *out) {
  int64_t n = 1;
  for (int i = 0; i < axes; i++)
    if (size[i] < 1 || !fg_mul_ok(n, size[i], &n) || n > 1 << 26)
      return FG_FAIL(UNSUPPORTED, "a grid of %lld places on axis %d", (long long)size[i], i);
  double *place = fg_arena_alloc(&g->arena, (size_t)(n * (axes + 1)) * sizeof *place);
  if (!place)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    double *p = place + i * (axes + 1);
    int64_t rest = i;
    for (int k = axes - 1; k >= 0; k--) {
      double s = (double)size[k], at = (double)(rest % size[k]);
      rest /= size[k];
      p[axes - 1 - k] = align ? (s > 1 ? 2 * at / (s - 1) - 1 : -1) : (2 * at + 1) / s - 1;
    }
    p[axes] = 1;
  }
  return fg_graph_constant(g, "", FG_F64, 2, (int64_t[]){n, axes + 1}, place, out);
}

fgsm_status fg_import_AffineGrid(struct fg_import *im) {
  int64_t size[FG_MAX_RANK], align, dim[FG_MAX_RANK];
  fg_id theta, base, y;
  int n;
  FG_TRY(fg_input(im, 0, &theta));
  FG_TRY(fg_input_ints(im, 1, FG_MAX_RANK, size, &n));
  FG_TRY(fg_attr_int(im, "align_corners", 0, &align));
  int axes = n - 2;
  struct fg_value v = *fg_value(im->g, theta);
  if (axes < 2 || axes > 3 || v.rank != 3 || v.dim[0] != size[0] || v.dim[1] != axes ||
      v.dim[2] != axes + 1)
    return FG_FAIL(MODEL, "theta of shape %s does not fit a size of %d numbers", FG_SHAPE(&v), n);
  FG_TRY(base_places(im->g, axes, size + 2, align != 0, &base));
  FG_TRY(fg_matmul(im->g, base, theta, false, true, 1, &y));
  dim[0] = size[0];
  memcpy(dim + 1, size + 2, (size_t)axes * sizeof *dim);
  dim[1 + axes] = axes;
  return fg_reshape(im->g, y, axes + 2, dim, &im->out[0]);
}
