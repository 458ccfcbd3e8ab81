/* grid_sample, grid_sample_grad: x looked up at computed places. Per axis a place becomes at most
 * four taps: an element, its weight and the weight's slope in the grid's coordinate. A tap that
 * counts as 0 names element -1. */
#include "ref.h"

struct taps {
  int n;
  int64_t at[4];
  double weight[4], slope[4];
};

/* What is mirrored at lo and hi until it lies between; *sign turns with each mirror. */
static double mirror(double u, double lo, double hi, double *sign) {
  double range = hi - lo, past = u < lo ? lo - u : u - hi;
  if (!(range > 0)) {
    *sign = 0;
    return lo;
  }
  double rest = fmod(past, range);
  bool odd = fmod(nearbyint((past - rest) / range), 2) != 0, below = u < lo;
  *sign *= odd ? 1 : -1;
  return below == odd ? hi - rest : lo + rest;
}

/* The element that stands at place i of an axis of `size`, -1 for none. */
static int64_t element_at(const struct fg_grid_attrs *a, double i, int64_t size) {
  double last = (double)size - 1, sign = 1;
  if (i >= 0 && i <= last)
    return (int64_t)i;
  if (a->outside == FG_GRID_zeros)
    return -1;
  if (a->outside == FG_GRID_border)
    return i < 0 ? 0 : size - 1;
  double edge = a->align ? 0 : 0.5;
  return (int64_t)mirror(i, -edge, last + edge, &sign);
}

/* The cubic convolution's weight of an element at distance t, and its slope. */
static void cubic(double t, double *weight, double *slope) {
  const double a = -0.75;
  double s = fabs(t), sign = t < 0 ? -1 : 1;
  if (s <= 1) {
    *weight = ((a + 2) * s - (a + 3)) * s * s + 1;
    *slope = sign * (3 * (a + 2) * s - 2 * (a + 3)) * s;
  } else {
    *weight = ((a * s - 5 * a) * s + 8 * a) * s - 4 * a;
    *slope = sign * ((3 * a * s - 10 * a) * s + 8 * a);
  }
}

static struct taps taps_of(const struct fg_grid_attrs *a, double g, int64_t size) {
  struct taps t = {.n = a->mode == FG_GRID_nearest ? 1 : a->mode == FG_GRID_linear ? 2 : 4};
  double last = (double)size - 1, edge = a->align ? 0 : 0.5;
  double scale = (a->align ? last : (double)size) / 2;
  double u = (g + 1) * scale - edge;
  u = a->mode == FG_GRID_nearest ? nearbyint(u) : u;
  if (u < -edge || u > last + edge) {
    if (a->outside == FG_GRID_border) {
      u = u < 0 ? 0 : last;
      scale = 0;
    } else if (a->outside == FG_GRID_reflection) {
      u = mirror(u, -edge, last + edge, &scale);
    }
  }
  if (!isfinite(u)) {
    bool far = isinf(u) && a->outside == FG_GRID_zeros;
    t.n = 1;
    t.at[0] = far ? -1 : 0;
    t.weight[0] = t.slope[0] = far ? 0 : NAN;
    return t;
  }
  if (a->mode == FG_GRID_linear && a->outside != FG_GRID_zeros && (u <= 0 || u >= last))
    scale = 0;
  double first = a->mode == FG_GRID_nearest ? u : floor(u) - (a->mode == FG_GRID_cubic);
  for (int i = 0; i < t.n; i++) {
    double d = u - (first + i);
    t.at[i] = element_at(a, first + i, size);
    if (a->mode == FG_GRID_nearest) {
      t.weight[i] = 1;
    } else if (a->mode == FG_GRID_linear) {
      t.weight[i] = 1 - fabs(d);
      t.slope[i] = i ? 1 : -1;
    } else {
      cubic(d, &t.weight[i], &t.slope[i]);
    }
    t.slope[i] *= scale;
  }
  return t;
}

/* The taps of one place, x's first spatial axis first, and a walk over their combinations. */
struct place {
  int axes;
  struct taps taps[3];
  int64_t stride[3];
};

static struct place place_of(const struct fg_call *call, const struct fg_tensor *grid, int64_t i,
                             const int64_t *dim) {
  int axes = (int)grid->dim[grid->rank - 1];
  struct place p = {.axes = axes};
  int64_t stride = 1;
  for (int k = axes - 1; k >= 0; k--) {
    double g = fg_ref_get(grid, i * axes + (axes - 1 - k));
    p.taps[k] = taps_of(&call->attrs->grid, g, dim[k]);
    p.stride[k] = stride;
    stride *= dim[k];
  }
  return p;
}

static int combinations(const struct place *p) {
  int n = 1;
  for (int k = 0; k < p->axes; k++)
    n *= p->taps[k].n;
  return n;
}

/* Combination c: where it lies in a plane (-1: outside), its weight, and the weight's slope in the
 * coordinate of each axis. */
static int64_t combine(const struct place *p, int c, double *weight, double *slope) {
  int64_t at = 0;
  *weight = 1;
  for (int k = 0; k < p->axes; k++)
    slope[k] = 1;
  for (int k = p->axes - 1; k >= 0; k--) {
    const struct taps *t = &p->taps[k];
    int i = c % t->n;
    c /= t->n;
    at = at < 0 || t->at[i] < 0 ? -1 : at + t->at[i] * p->stride[k];
    *weight *= t->weight[i];
    for (int j = 0; j < p->axes; j++)
      slope[j] *= j == k ? t->slope[i] : t->weight[i];
  }
  return at;
}

static fgsm_status check(const struct fg_call *call, const struct fg_tensor *grid,
                         const struct fg_tensor *y, const int64_t *x, int x_rank) {
  const struct fg_grid_attrs *a = &call->attrs->grid;
  int axes = x_rank - 2;
  FG_REF_NEED(call, axes == 2 || axes == 3, "%d spatial axes", axes);
  FG_REF_NEED(call, grid->rank == x_rank && grid->dim[grid->rank - 1] == axes,
              "the grid has rank %d", grid->rank);
  FG_REF_NEED(call, y->rank == x_rank, "the result has rank %d", y->rank);
  FG_REF_NEED(call, grid->dim[0] == x[0] && y->dim[0] == x[0] && y->dim[1] == x[1],
              "batch or channels differ");
  for (int i = 0; i < axes; i++)
    FG_REF_NEED(call, x[2 + i] > 0 && y->dim[2 + i] == grid->dim[1 + i], "axis %d", 2 + i);
  FG_REF_NEED(call,
              a->mode >= FG_GRID_nearest && a->mode <= FG_GRID_cubic &&
                  a->outside >= FG_GRID_zeros && a->outside <= FG_GRID_reflection,
              "mode %d, outside %d", (int)a->mode, (int)a->outside);
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 3, 1));
  return check(call, &call->in[1], &call->out[0], call->in[0].dim, call->in[0].rank);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *grid = &call->in[1], *y = &call->out[0];
  int64_t channels = x->dim[1], plane = fg_ref_span(x, 2, x->rank);
  int64_t places = fg_ref_span(y, 2, y->rank);
  for (int64_t i = 0; i < x->dim[0] * places; i++) {
    struct place p = place_of(call, grid, i, x->dim + 2);
    int n = combinations(&p);
    for (int64_t c = 0; c < channels; c++) {
      int64_t row = i / places * channels + c;
      double sum = 0, weight, slope[3];
      for (int k = 0; k < n; k++) {
        int64_t at = combine(&p, k, &weight, slope);
        sum += at < 0 ? 0 : weight * fg_ref_get(x, row * plane + at);
      }
      fg_ref_put(y, row * places + i % places, sum);
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_grid_sample = {prepare, run, NULL};

static bool is_wide(const struct fg_tensor *t, int rank, const int64_t *dim) {
  bool same = t->rank == rank;
  for (int i = 0; same && i < rank; i++)
    same = t->dim[i] == dim[i];
  return same;
}

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *dy = &call->in[0], *x = fg_ref_in(call, 1), *grid = &call->in[2];
  const struct fg_tensor *dx = fg_ref_out(call, 0), *dgrid = fg_ref_out(call, 1);
  const int64_t *dim = call->attrs->grid.dim;
  FG_TRY(fg_ref_check(call, 5, 0));
  FG_TRY(fg_ref_check_real(call, 7, 3));
  FG_TRY(check(call, grid, dy, dim, dy->rank));
  FG_REF_NEED(call, !x || is_wide(x, dy->rank, dim), "x has another shape");
  FG_REF_NEED(call, !dx || is_wide(dx, dy->rank, dim), "dx has another shape");
  FG_REF_NEED(call, !dgrid || (x && fg_same_shape(dgrid, grid)),
              "dgrid without x, or another shape");
  call->scratch_bytes = dx ? (size_t)fg_count(dx) * sizeof(double) : 0;
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *dy = &call->in[0], *x = fg_ref_in(call, 1), *grid = &call->in[2];
  const struct fg_tensor *dx = fg_ref_out(call, 0), *dgrid = fg_ref_out(call, 1);
  const int64_t *dim = call->attrs->grid.dim;
  int axes = dy->rank - 2;
  int64_t channels = dim[1], plane = 1, places = fg_ref_span(dy, 2, dy->rank);
  double *sum = scratch;
  for (int i = 0; i < axes; i++)
    plane *= dim[2 + i];
  for (int64_t i = 0; dx && i < fg_count(dx); i++)
    sum[i] = 0;
  for (int64_t i = 0; i < dim[0] * places; i++) {
    struct place p = place_of(call, grid, i, dim + 2);
    double weight, slope[3], total[3] = {0};
    int n = combinations(&p);
    for (int64_t c = 0; c < channels; c++) {
      int64_t row = i / places * channels + c;
      double d = fg_ref_get(dy, row * places + i % places);
      for (int k = 0; k < n; k++) {
        int64_t at = combine(&p, k, &weight, slope);
        if (at < 0)
          continue;
        if (dx)
          sum[row * plane + at] += d * weight;
        for (int j = 0; dgrid && j < axes; j++)
          total[j] += d * slope[j] * fg_ref_get(x, row * plane + at);
      }
    }
    for (int j = 0; dgrid && j < axes; j++)
      fg_ref_put(dgrid, i * axes + (axes - 1 - j), total[j]);
  }
  if (dx)
    fg_ref_store(dx, 0, fg_count(dx), sum);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_grid_sample_grad = {prepare_grad, run_grad, NULL};
