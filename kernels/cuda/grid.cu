/* grid_sample, grid_sample_grad: x looked up at computed places.
 *
 * Places are turned into taps once, in double, and kept in scratch: for each axis up to four elements
 * of x (their offsets in a plane), weights and slopes. Two axes are three, the first with one tap.
 *
 * dx is a gather too, so that sums have the order of the grid and nothing is atomic: a block owns a
 * piece of a plane, goes over the places of its sample a chunk at a time, lists in order those that
 * touch the piece, and each thread adds up what the listed give its element. The weight of an element
 * is a product over the axes, so no combination of taps is walked.
 * Floor: 4 bytes per y and per element of x looked up, 144 per place for its taps, twice; dx reads
 * the taps of a sample once per 256 elements of its planes. */
#include "cuda.h"

namespace {
enum { THREADS = 256, WARPS = THREADS / 32 };

struct axis_taps {
  int32_t at[4]; /* offset in a plane, -1: outside of x */
  float weight[4], slope[4];
};
struct place {
  axis_taps axis[3];
};

struct geometry {
  int mode, outside, align, axes, taps;
  int32_t size[3];
  int64_t channels, plane, n, places; /* n: places of a sample; places: of all */
};

/* ---- places */

/* What is mirrored at lo and hi until it lies between; *turn: 1 or -1 as it then runs, 0 where there
 * is nothing in between. */
__device__ __forceinline__ double mirrored(double u, double lo, double hi, double *turn) {
  const double range = hi - lo;
  *turn = 0;
  if (!(range > 0))
    return lo;
  double w = fmod(u - lo, 2 * range);
  w += w < 0 ? 2 * range : 0;
  *turn = w <= range ? 1 : -1;
  return w <= range ? lo + w : hi - (w - range);
}

/* Where element i of an axis is found, -1 where it counts as 0. */
__device__ __forceinline__ int64_t found(const geometry &g, double i, int32_t size) {
  const double last = (double)size - 1, edge = g.align ? 0 : 0.5;
  double turn;
  if (i < 0 || i > last) {
    if (g.outside == FG_GRID_zeros)
      return -1;
    i = g.outside == FG_GRID_border ? fmin(fmax(i, 0.0), last)
                                    : mirrored(i, -edge, last + edge, &turn);
  }
  return (int64_t)i;
}

/* The coordinate in elements; *scale becomes its slope in `c`. */
__device__ __forceinline__ double locate(const geometry &g, double c, int32_t size, double *scale) {
  const double last = (double)size - 1, edge = g.align ? 0 : 0.5;
  double turn = 1;
  *scale = 0.5 * (g.align ? last : (double)size);
  double u = (c + 1) * *scale - edge;
  if (g.mode == FG_GRID_nearest)
    u = rint(u);
  const bool beyond = u < -edge || u > last + edge;
  if (beyond && g.outside == FG_GRID_border) {
    u = u < 0 ? 0 : last;
    turn = 0;
  } else if (beyond && g.outside == FG_GRID_reflection) {
    u = mirrored(u, -edge, last + edge, &turn);
  }
  if (g.mode == FG_GRID_linear && g.outside != FG_GRID_zeros && (u <= 0 || u >= last))
    turn = 0;
  *scale *= turn;
  return u;
}

/* Weights of the four elements around a place that is t behind the second, and their slopes. */
__device__ __forceinline__ void convolve_cubic(double t, double (&w)[4], double (&s)[4]) {
  const double a = -0.75, r = 1 - t, p = 1 + t, q = 2 - t;
  w[0] = a * (((p - 5) * p + 8) * p - 4);
  w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  w[2] = ((a + 2) * r - (a + 3)) * r * r + 1;
  w[3] = a * (((q - 5) * q + 8) * q - 4);
  s[0] = a * ((3 * p - 10) * p + 8);
  s[1] = (3 * (a + 2) * t - 2 * (a + 3)) * t;
  s[2] = -(3 * (a + 2) * r - 2 * (a + 3)) * r;
  s[3] = -a * ((3 * q - 10) * q + 8);
}

__device__ __forceinline__ void fill(const geometry &g, double c, int32_t size, int64_t stride,
                                     axis_taps *to) {
  double scale, w[4] = {1, 0, 0, 0}, s[4] = {0, 0, 0, 0};
  const double u = locate(g, c, size, &scale);
  double first = floor(u);
  if (!(u - u == 0)) { /* no number, or too far for one */
    const bool far = u == u && g.outside == FG_GRID_zeros;
    for (int i = 0; i < 4; i++) {
      to->at[i] = far ? -1 : 0;
      to->weight[i] = to->slope[i] = far ? 0 : NAN;
    }
    return;
  }
  if (g.mode == FG_GRID_linear) {
    w[0] = 1 - (u - first);
    w[1] = u - first;
    s[0] = -1;
    s[1] = 1;
  } else if (g.mode == FG_GRID_cubic) {
    convolve_cubic(u - first, w, s);
    first -= 1;
  }
  for (int i = 0; i < 4; i++) {
    const int64_t at = i < g.taps ? found(g, first + i, size) : -1;
    to->at[i] = at < 0 ? -1 : (int32_t)(at * stride);
    to->weight[i] = (float)w[i];
    to->slope[i] = (float)(s[i] * scale);
  }
}

/* One thread for each axis of each place.
 * ptxas budget: find_taps registers 48 shared 0 blocks 5 */
__global__ void __launch_bounds__(THREADS)
    find_taps(const float *grid, place *places, const geometry g) {
  const int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i = t / 3;
  const int k = (int)(t % 3);
  if (i >= g.places)
    return;
  axis_taps *to = &places[i].axis[k];
  if (k >= 3 - g.axes) {
    const int64_t stride = k == 2 ? 1 : k == 1 ? g.size[2] : (int64_t)g.size[1] * g.size[2];
    const int32_t size = k == 2 ? g.size[2] : k == 1 ? g.size[1] : g.size[0]; /* no copy of g */
    fill(g, grid[i * g.axes + 2 - k], size, stride, to);
    return;
  }
  for (int j = 0; j < 4; j++) {
    to->at[j] = j ? -1 : 0;
    to->weight[j] = j ? 0 : 1;
    to->slope[j] = 0;
  }
}

/* ---- y */

/* ptxas budget: sample_places registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(THREADS)
    sample_places(const float *x, const place *places, float *y, const geometry g, int64_t count) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= count)
    return;
  const int64_t row = e / g.n;
  const place *p = places + row / g.channels * g.n + e % g.n;
  const float *from = x + row * g.plane;
  float sum = 0;
  for (int a = 0; a < (g.axes == 3 ? g.taps : 1); a++) {
    for (int b = 0; b < g.taps; b++) {
      const int32_t at0 = p->axis[0].at[a], at1 = p->axis[1].at[b];
      const float w = p->axis[0].weight[a] * p->axis[1].weight[b];
      if (at0 < 0 || at1 < 0)
        continue;
      for (int c = 0; c < g.taps; c++)
        if (p->axis[2].at[c] >= 0)
          sum += w * p->axis[2].weight[c] * from[at0 + at1 + p->axis[2].at[c]];
    }
  }
  y[e] = sum;
}

/* ---- dx */

/* Whether the place may touch elements lo to hi of a plane. */
__device__ __forceinline__ bool touches(const place *p, int64_t lo, int64_t hi) {
  int64_t least = 0, most = 0;
  for (int k = 0; k < 3; k++) {
    int32_t low = INT32_MAX, high = -1;
    for (int i = 0; i < 4; i++) {
      const int32_t at = p->axis[k].at[i];
      low = at >= 0 && at < low ? at : low;
      high = at > high ? at : high;
    }
    if (high < 0)
      return false;
    least += low;
    most += high;
  }
  return least <= hi && most >= lo;
}

/* What the place gives of one axis to the element at offset `at` there; false: it looks elsewhere. */
__device__ __forceinline__ bool weigh(const axis_taps *t, int32_t at, float *weight) {
  bool looked = false;
  float sum = 0;
  for (int i = 0; i < 4; i++)
    if (t->at[i] == at) {
      sum += t->weight[i];
      looked = true;
    }
  *weight *= sum;
  return looked;
}

/* ptxas budget: add_places registers 40 shared 1056 blocks 6 */
__global__ void __launch_bounds__(THREADS)
    add_places(const float *dy, const place *places, float *dx, const geometry g, int64_t pieces) {
  FGSM_SHARED(int, list, [THREADS]);
  FGSM_SHARED(int, counts, [WARPS]);
  const int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
  const int64_t row = (int64_t)blockIdx.x / pieces, lo = (int64_t)blockIdx.x % pieces * THREADS;
  const int64_t hi = lo + THREADS < g.plane ? lo + THREADS - 1 : g.plane - 1, e = lo + t;
  const int32_t at2 = (int32_t)(e % g.size[2]), rest = (int32_t)(e / g.size[2]);
  const int32_t at1 = rest % g.size[1] * g.size[2], at0 = (int32_t)e - at2 - at1;
  const place *of = places + row / g.channels * g.n;
  double sum = 0;
  for (int64_t base = 0; base < g.n; base += THREADS) {
    const bool hit = base + t < g.n && touches(of + base + t, lo, hi);
    const unsigned votes = __ballot_sync(~0u, hit);
    if (lane == 0)
      counts[warp] = __popc(votes);
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < WARPS; w++) {
      before += w < warp ? counts[w] : 0;
      all += counts[w];
    }
    if (hit)
      list[before + __popc(votes & ((1u << lane) - 1))] = t;
    __syncthreads();
    for (int k = 0; k < all && e <= hi; k++) {
      const int64_t i = base + list[k];
      const place *p = of + i;
      float w = 1;
      if (weigh(&p->axis[0], at0, &w) && weigh(&p->axis[1], at1, &w) && weigh(&p->axis[2], at2, &w))
        sum += (double)(w * dy[row * g.n + i]);
    }
    __syncthreads();
  }
  if (e <= hi)
    dx[row * g.plane + e] = (float)sum;
}

/* ---- dgrid */

/* One thread for each place, through all channels.
 * ptxas budget: slope_places registers 40 shared 0 blocks 6 */
__global__ void __launch_bounds__(THREADS)
    slope_places(const float *dy, const float *x, const place *places, float *dgrid,
                 const geometry g) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= g.places)
    return;
  const place *p = places + i;
  float sum0 = 0, sum1 = 0, sum2 = 0;
  for (int64_t channel = 0; channel < g.channels; channel++) {
    const int64_t row = i / g.n * g.channels + channel;
    const float *from = x + row * g.plane;
    const float d = dy[row * g.n + i % g.n];
    for (int a = 0; a < (g.axes == 3 ? g.taps : 1); a++)
      for (int b = 0; b < g.taps; b++)
        for (int c = 0; c < g.taps; c++) {
          const axis_taps *t0 = &p->axis[0], *t1 = &p->axis[1], *t2 = &p->axis[2];
          if (t0->at[a] < 0 || t1->at[b] < 0 || t2->at[c] < 0)
            continue;
          const float v = d * from[t0->at[a] + t1->at[b] + t2->at[c]];
          sum0 += t0->slope[a] * t1->weight[b] * t2->weight[c] * v;
          sum1 += t0->weight[a] * t1->slope[b] * t2->weight[c] * v;
          sum2 += t0->weight[a] * t1->weight[b] * t2->slope[c] * v;
        }
  }
  float *to = dgrid + i * g.axes;
  to[0] = sum2;
  to[1] = sum1;
  if (g.axes == 3)
    to[2] = sum0;
}

/* ---- calls */

fgsm_status check(struct fg_call *call, const struct fg_tensor *grid, const struct fg_tensor *y,
                  const int64_t *x) {
  const struct fg_grid_attrs *a = &call->attrs->grid;
  int axes = y->rank - 2;
  int64_t plane = 1;
  FG_CUDA_NEED(call, axes == 2 || axes == 3, "%d spatial axes", axes);
  FG_CUDA_NEED(call, grid->rank == y->rank && grid->dim[grid->rank - 1] == axes,
               "the grid has rank %d", grid->rank);
  FG_CUDA_NEED(call, grid->dim[0] == x[0] && y->dim[0] == x[0] && y->dim[1] == x[1],
               "batch or channels differ");
  for (int i = 0; i < axes; i++) {
    FG_CUDA_NEED(call, x[2 + i] > 0 && y->dim[2 + i] == grid->dim[1 + i], "axis %d", 2 + i);
    plane *= x[2 + i];
    FG_CUDA_NEED(call, plane <= INT32_MAX, "planes of %lld elements", (long long)plane);
  }
  FG_CUDA_NEED(call,
               a->mode >= FG_GRID_nearest && a->mode <= FG_GRID_cubic &&
                   a->outside >= FG_GRID_zeros && a->outside <= FG_GRID_reflection,
               "mode %d, outside %d", (int)a->mode, (int)a->outside);
  call->scratch_bytes = (size_t)fg_cuda_span(grid, 0, grid->rank - 1) * sizeof(place);
  return FGSM_OK;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, 3, 1));
  FG_CUDA_NEED(call, call->in[0].rank == call->out[0].rank, "the result has rank %d",
               call->out[0].rank);
  return check(call, &call->in[1], &call->out[0], call->in[0].dim);
}

/* The geometry, with the places' taps on their way. */
fgsm_status start(const struct fg_call *call, const struct fg_tensor *grid, const int64_t *x,
                  place *places, cudaStream_t stream, geometry *g) {
  const struct fg_grid_attrs *a = &call->attrs->grid;
  int axes = grid->rank - 2;
  *g = {};
  g->mode = a->mode;
  g->outside = a->outside;
  g->align = a->align;
  g->axes = axes;
  g->taps = a->mode == FG_GRID_nearest ? 1 : a->mode == FG_GRID_linear ? 2 : 4;
  g->channels = x[1];
  g->plane = g->size[0] = 1;
  for (int i = 0; i < axes; i++) {
    g->size[3 - axes + i] = (int32_t)x[2 + i];
    g->plane *= x[2 + i];
  }
  g->n = fg_cuda_span(grid, 1, grid->rank - 1);
  g->places = x[0] * g->n;
  if (g->places == 0)
    return FGSM_OK;
  return fg_cuda_launched(call, FGSM_LAUNCH(find_taps, dim3(fg_cuda_blocks(3 * g->places, THREADS)),
                                            dim3(THREADS), 0, stream, (const float *)grid->data,
                                            places, *g));
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t count = fg_count(y);
  geometry g;
  if (count == 0)
    return FGSM_OK;
  FG_TRY(start(call, &call->in[1], x->dim, (place *)scratch, (cudaStream_t)stream, &g));
  return fg_cuda_launched(call, FGSM_LAUNCH(sample_places, dim3(fg_cuda_blocks(count, THREADS)),
                                            dim3(THREADS), 0, (cudaStream_t)stream,
                                            (const float *)x->data, (const place *)scratch,
                                            (float *)y->data, g, count));
}

fgsm_status prepare_grad(struct fg_call *call, struct fg_device *) {
  const struct fg_tensor *dy = &call->in[0], *x = fg_cuda_in(call, 1), *grid = &call->in[2];
  const struct fg_tensor *dx = fg_cuda_out(call, 0), *dgrid = fg_cuda_out(call, 1);
  const int64_t *dim = call->attrs->grid.dim;
  struct fg_tensor wide = *dy;
  FG_TRY(fg_cuda_check(call, 5, 0));
  FG_TRY(fg_cuda_check_real(call, 7, 3));
  FG_TRY(check(call, grid, dy, dim));
  for (int i = 0; i < dy->rank; i++)
    wide.dim[i] = dim[i];
  FG_CUDA_NEED(call, !x || fg_same_shape(x, &wide), "x has another shape");
  FG_CUDA_NEED(call, !dx || fg_same_shape(dx, &wide), "dx has another shape");
  FG_CUDA_NEED(call, !dgrid || (x && fg_same_shape(dgrid, grid)),
               "dgrid without x, or another shape");
  return FGSM_OK;
}

fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  const int64_t *x = call->attrs->grid.dim;
  const float *dy = (const float *)call->in[0].data;
  float *dx = fg_cuda_to<float>(call, 0), *dgrid = fg_cuda_to<float>(call, 1);
  cudaStream_t s = (cudaStream_t)stream;
  const place *places = (const place *)scratch;
  geometry g;
  FG_TRY(start(call, &call->in[2], x, (place *)scratch, s, &g));
  int64_t rows = x[0] * x[1], pieces = (g.plane + THREADS - 1) / THREADS;
  if (dx && rows > 0)
    FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(add_places, dim3((unsigned)(rows * pieces)),
                                              dim3(THREADS), 0, s, dy, places, dx, g, pieces)));
  if (!dgrid || g.places == 0)
    return FGSM_OK;
  return fg_cuda_launched(call, FGSM_LAUNCH(slope_places, dim3(fg_cuda_blocks(g.places, THREADS)),
                                            dim3(THREADS), 0, s, dy, fg_cuda_from<float>(call, 1),
                                            places, dgrid, g));
}
} // namespace

const struct fg_kernel fg_cuda_grid_sample = {prepare, run, NULL};
const struct fg_kernel fg_cuda_grid_sample_grad = {prepare_grad, run_grad, NULL};
