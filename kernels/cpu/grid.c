/* grid_sample and its gradient. Places are turned into taps once, in double, and kept in scratch:
 * for each axis up to four elements of x (their offsets in a plane), weights and slopes. Then each
 * plane of x walks all places of its sample, and where the grid's gradient is asked for, each place
 * walks all planes. Two axes are three, the first with one tap. Sums run in the order of the grid
 * and of the channels, however the work is cut. */
#include "cpu.h"

#include <math.h>
#include <string.h>

struct axis_taps {
  int32_t at[4]; /* offset in a plane, -1: outside of x */
  float weight[4], slope[4];
};

struct place {
  struct axis_taps axis[3];
};

struct grid {
  const struct fg_grid_attrs *attrs;
  const float *x, *grid, *dy;
  float *y, *dx, *dgrid;
  struct place *places;
  int axes, taps;
  int64_t size[3];
  int64_t channels, plane, n; /* n: places of a sample */
};

FG_INLINE double mirrored(double u, double lo, double hi, double *turn) {
  double range = hi - lo;
  *turn = 0;
  if (!(range > 0))
    return lo;
  /* Once there and back is two ranges. */
  double w = fmod(u - lo, 2 * range);
  w += w < 0 ? 2 * range : 0;
  *turn = w <= range ? 1 : -1;
  return w <= range ? lo + w : hi - (w - range);
}

/* Where element i of an axis is found, -1 where it counts as 0. */
FG_INLINE int64_t found(const struct fg_grid_attrs *a, double i, int64_t size) {
  double last = (double)size - 1, edge = a->align ? 0 : 0.5, turn;
  if (i < 0 || i > last) {
    if (a->outside == FG_GRID_zeros)
      return -1;
    i = a->outside == FG_GRID_border ? fmin(fmax(i, 0), last)
                                     : mirrored(i, -edge, last + edge, &turn);
  }
  return (int64_t)i;
}

/* The coordinate in elements; *scale becomes its slope in g. */
static double locate(const struct fg_grid_attrs *a, double g, int64_t size, double *scale) {
  double last = (double)size - 1, edge = a->align ? 0 : 0.5, turn = 1;
  *scale = 0.5 * (a->align ? last : (double)size);
  double u = (g + 1) * *scale - edge;
  if (a->mode == FG_GRID_nearest)
    u = nearbyint(u);
  bool beyond = u < -edge || u > last + edge;
  if (beyond && a->outside == FG_GRID_border) {
    u = u < 0 ? 0 : last;
    turn = 0;
  } else if (beyond && a->outside == FG_GRID_reflection) {
    u = mirrored(u, -edge, last + edge, &turn);
  }
  if (a->mode == FG_GRID_linear && a->outside != FG_GRID_zeros && (u <= 0 || u >= last))
    turn = 0;
  *scale *= turn;
  return u;
}

/* Weights of the four elements around a place that is t behind the second, and their slopes. */
static void convolve_cubic(double t, double *w, double *s) {
  const double a = -0.75;
  double r = 1 - t, p = 1 + t, q = 2 - t;
  w[0] = a * (((p - 5) * p + 8) * p - 4);
  w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  w[2] = ((a + 2) * r - (a + 3)) * r * r + 1;
  w[3] = a * (((q - 5) * q + 8) * q - 4);
  s[0] = a * ((3 * p - 10) * p + 8);
  s[1] = (3 * (a + 2) * t - 2 * (a + 3)) * t;
  s[2] = -(3 * (a + 2) * r - 2 * (a + 3)) * r;
  s[3] = -a * ((3 * q - 10) * q + 8);
}

static void fill(const struct fg_grid_attrs *a, double g, int64_t size, int64_t stride, int taps,
                 struct axis_taps *to) {
  double scale, w[4] = {1}, s[4] = {0}, u = locate(a, g, size, &scale), first = floor(u);
  memset(to, 0, sizeof *to);
  if (!isfinite(u)) {
    bool far = isinf(u) && a->outside == FG_GRID_zeros;
    for (int i = 0; i < taps; i++) {
      to->at[i] = far ? -1 : 0;
      to->weight[i] = to->slope[i] = far ? 0 : NAN;
    }
    return;
  }
  if (a->mode == FG_GRID_linear) {
    w[0] = 1 - (u - first);
    w[1] = u - first;
    s[0] = -1;
    s[1] = 1;
  } else if (a->mode == FG_GRID_cubic) {
    convolve_cubic(u - first, w, s);
    first -= 1;
  }
  for (int i = 0; i < taps; i++) {
    int64_t at = found(a, first + i, size);
    to->at[i] = at < 0 ? -1 : (int32_t)(at * stride);
    to->weight[i] = (float)w[i];
    to->slope[i] = (float)(s[i] * scale);
  }
}

/* Items: places of all samples. */
static void prepare_places(const void *ctx, int64_t begin, int64_t end) {
  const struct grid *c = ctx;
  int missing = 3 - c->axes;
  for (int64_t i = begin; i < end; i++) {
    int64_t stride = 1;
    memset(&c->places[i].axis[0], 0, sizeof c->places[i].axis[0]);
    c->places[i].axis[0].weight[0] = 1;
    for (int k = 2; k >= missing; k--) {
      fill(c->attrs, c->grid[i * c->axes + 2 - k], c->size[k], stride, c->taps,
           &c->places[i].axis[k]);
      stride *= c->size[k];
    }
  }
}

/* Walks the taps of a place: `at` in a plane, the weights' product so far in w. */
#define FOR_TAPS(c, p, body)                                                                       \
  for (int i0 = 0; i0 < ((c)->axes == 3 ? (c)->taps : 1); i0++)                                    \
    for (int i1 = 0; i1 < (c)->taps; i1++)                                                         \
      for (int i2 = 0; i2 < (c)->taps; i2++)                                                       \
        if ((p)->axis[0].at[i0] >= 0 && (p)->axis[1].at[i1] >= 0 && (p)->axis[2].at[i2] >= 0) {    \
          int64_t at = (int64_t)(p)->axis[0].at[i0] + (p)->axis[1].at[i1] + (p)->axis[2].at[i2];   \
          float w0 = (p)->axis[0].weight[i0], w1 = (p)->axis[1].weight[i1],                        \
                w2 = (p)->axis[2].weight[i2];                                                      \
          body                                                                                     \
        }

/* Items: planes of y. */
static void sample_planes(const void *ctx, int64_t begin, int64_t end) {
  const struct grid *c = ctx;
  for (int64_t row = begin; row < end; row++) {
    const struct place *p = c->places + row / c->channels * c->n;
    const float *x = c->x + row * c->plane;
    float *y = c->y + row * c->n;
    for (int64_t i = 0; i < c->n; i++, p++) {
      float sum = 0;
      FOR_TAPS(c, p, sum += w0 * w1 * w2 * x[at];)
      y[i] = sum;
    }
  }
}

/* Items: planes of dx. */
static void scatter_planes(const void *ctx, int64_t begin, int64_t end) {
  const struct grid *c = ctx;
  for (int64_t row = begin; row < end; row++) {
    const struct place *p = c->places + row / c->channels * c->n;
    const float *dy = c->dy + row * c->n;
    float *dx = c->dx + row * c->plane;
    memset(dx, 0, (size_t)c->plane * sizeof *dx);
    for (int64_t i = 0; i < c->n; i++, p++)
      FOR_TAPS(c, p, dx[at] += w0 * w1 * w2 * dy[i];)
  }
}

/* Items: places of all samples. */
static void slope_places(const void *ctx, int64_t begin, int64_t end) {
  const struct grid *c = ctx;
  for (int64_t i = begin; i < end; i++) {
    const struct place *p = c->places + i;
    float sum[3] = {0, 0, 0};
    for (int64_t ch = 0; ch < c->channels; ch++) {
      int64_t row = i / c->n * c->channels + ch;
      const float *x = c->x + row * c->plane;
      float d = c->dy[row * c->n + i % c->n];
      FOR_TAPS(c, p, {
        float v = d * x[at];
        sum[0] += p->axis[0].slope[i0] * w1 * w2 * v;
        sum[1] += w0 * p->axis[1].slope[i1] * w2 * v;
        sum[2] += w0 * w1 * p->axis[2].slope[i2] * v;
      })
    }
    for (int k = 0; k < c->axes; k++)
      c->dgrid[i * c->axes + k] = sum[2 - k];
  }
}

static fgsm_status need(struct fg_call *call, const struct fg_tensor *grid, const int64_t *x) {
  int axes = grid->rank - 2;
  int64_t plane = 1;
  FG_TRY(fg_cpu_need_plain(call));
  for (int i = 0; i < axes; i++)
    plane *= x[2 + i];
  if (axes < 2 || axes > 3 || plane > INT32_MAX)
    return FG_FAIL(UNSUPPORTED, "cpu: %s over %d axes of %lld elements", fg_op_name(call->op), axes,
                   (long long)plane);
  call->scratch_bytes = (size_t)fg_cpu_span(grid, 0, grid->rank - 1) * sizeof(struct place);
  return FGSM_OK;
}

static struct grid start(const struct fg_call *call, const struct fg_tensor *grid, const int64_t *x,
                         void *scratch) {
  const struct fg_grid_attrs *a = &call->attrs->grid;
  struct grid c = {.attrs = a,
                   .grid = grid->data,
                   .places = scratch,
                   .axes = grid->rank - 2,
                   .taps = a->mode == FG_GRID_nearest  ? 1
                           : a->mode == FG_GRID_linear ? 2
                                                       : 4,
                   .size = {1, 1, 1},
                   .channels = x[1],
                   .plane = 1,
                   .n = fg_cpu_span(grid, 1, grid->rank - 1)};
  for (int i = 0; i < c.axes; i++) {
    c.size[3 - c.axes + i] = x[2 + i];
    c.plane *= x[2 + i];
  }
  fg_cpu_parallel(x[0] * c.n, 1, 60 * c.axes, prepare_places, &c);
  return c;
}

/* What a place costs in one plane. */
static double cost(const struct grid *c) {
  return 2 * pow(c->taps, c->axes);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, 2, 1));
  return need(call, &call->in[1], call->in[0].dim);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *x = &call->in[0];
  if (fg_count(&call->out[0]) == 0)
    return FGSM_OK;
  struct grid c = start(call, &call->in[1], x->dim, scratch);
  c.x = x->data;
  c.y = call->out[0].data;
  fg_cpu_parallel(x->dim[0] * c.channels, 1, cost(&c) * (double)c.n, sample_planes, &c);
  return FGSM_OK;
}

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, 3, 2));
  return need(call, &call->in[2], call->attrs->grid.dim);
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const int64_t *x = call->attrs->grid.dim;
  if (x[0] == 0)
    return FGSM_OK;
  struct grid c = start(call, &call->in[2], x, scratch);
  c.dy = call->in[0].data;
  if (fg_cpu_present(&call->out[0])) {
    c.dx = call->out[0].data;
    fg_cpu_parallel(x[0] * c.channels, 1, cost(&c) * (double)c.n + 0.1 * (double)c.plane,
                    scatter_planes, &c);
  }
  if (call->n_out > 1 && fg_cpu_present(&call->out[1])) {
    c.x = call->in[1].data;
    c.dgrid = call->out[1].data;
    fg_cpu_parallel(x[0] * c.n, 1, 3 * cost(&c) * (double)c.channels, slope_places, &c);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_grid_sample = {prepare, run, NULL};
const struct fg_kernel fg_cpu_grid_sample_grad = {prepare_grad, run_grad, NULL};
