/* The step in the largest norm, for kernels that end in one: a feature's move, its byte, what is
 * known of a sample's gradient, and the small pass that settles a sample.
 *
 * A block of a first kernel sees a part of one sample and cannot know whether another part's
 * gradient is finite. So each block leaves a `Partial` in scratch, and settle_samples, one block
 * per sample, adds them up in a fixed order, writes the statistics, and puts a sample whose
 * gradient is not finite back to x0. No atomics: the same bits every time.
 *
 * What is promised of x' (attrs.h) is kept in double, by moving to a neighbouring float, never by a
 * tolerance: about 20 double-precision operations a feature. */
#ifndef FGSM_LINF_CUH
#define FGSM_LINF_CUH

#include "fgsm_cuda.h"
#include "kernel.h"

/* In front of a loop whose arrays must lie in registers, and of one that would be too much code. */
#if defined(__CUDACC__)
#define FGSM_UNROLL _Pragma("unroll")
#define FGSM_NO_UNROLL _Pragma("unroll 1")
#else
#define FGSM_UNROLL
#define FGSM_NO_UNROLL
#endif

namespace fgsm {

/* What a step reads and writes beside the gradient; pointers are to the device, absent: NULL. */
struct Step {
  const float *x0, *x, *eps_map, *mask;
  const double *params;
  float *next, *gradient;
  uint8_t *bytes;
  int64_t features;
  bool project;
};

struct Budget {
  double eps, alpha, scale, lo, hi; /* scale: what an eps of its own is multiplied by for alpha */
};

/* A block's share of a sample's statistics. */
struct Partial {
  double sum;
  unsigned zeros, free_places, broken, unused;
};

__device__ __forceinline__ Budget load_budget(const double *params) {
  const double eps = params[FG_PARAM_eps], alpha = params[FG_PARAM_alpha];
  return {eps, alpha, eps > 0 ? alpha / eps : 0, params[FG_PARAM_lo], params[FG_PARAM_hi]};
}

/* The float beside y: above it for 1, below it for -1. Bits of floats, those of negative ones
 * turned over, are integers in the same order; -0 (there -1) is stepped over. */
__device__ __forceinline__ float beside(float y, int step) {
  int bits = __float_as_int(y + 0.0f);
  int key = (int)((unsigned)(bits ^ ((bits >> 31) & 0x7fffffff)) + (unsigned)step);
  key = key == -1 ? key + (step - 1) / 2 : key;
  return __int_as_float(key ^ ((key >> 31) & 0x7fffffff));
}

/* By how much |y - x0| exceeds eps; its sign is that of real arithmetic (Knuth's two-sum). */
__device__ __forceinline__ double excess(double y, double x0, double eps) {
  double d = y - x0, t = d - y, rest = (y - (d - t)) - (x0 + t);
  double above = (d - eps) + rest, below = -((d + eps) + rest);
  return above > below ? above : below;
}

/* The float nearest to v within eps of x0; x0 where neither it nor the next two toward x0 are. */
__device__ __forceinline__ double hold(double v, float x0, double eps) {
  double from = x0, most = from + eps, least = from - eps;
  v = v > most ? most : v;
  v = v < least ? least : v;
  float y = (float)v;
  const int step = y < x0 ? 1 : -1;
  for (int i = 0; i < 3; i++) {
    if (excess(y, from, eps) <= 0)
      return y;
    y = beside(y, step);
  }
  return from;
}

__device__ __forceinline__ float into_box(double v, double lo, double hi) {
  v = v > hi ? hi : v < lo ? lo : v;
  float y = (float)v;
  y = (double)y > hi ? beside(y, -1) : y;
  return (double)y < lo ? beside(y, 1) : y;
}

/* x' of one feature, its eps and alpha given. */
__device__ __forceinline__ float move(float x0, float x, float g, const Budget &b, double eps,
                                      double alpha, bool project) {
  double v = (double)x + (g > 0 ? alpha : g < 0 ? -alpha : 0.0);
  if (project)
    v = hold(v, x0, eps);
  return into_box(v, b.lo, b.hi);
}

/* quantize's byte; 2e-5 levels of slack let an x0 that was a byte stay one. */
__device__ __forceinline__ uint8_t byte_of(float x, float x0, double eps, bool project) {
  double lo = 0, hi = 255, v = 255.0 * (double)x;
  if (project) {
    const double least = ceil(255 * ((double)x0 - eps) - 2e-5);
    const double most = floor(255 * ((double)x0 + eps) + 2e-5);
    lo = least > lo ? least : lo;
    hi = most < hi ? most : hi;
  }
  if (!(lo <= hi) || x != x) {
    v = 255.0 * (double)x0;
    lo = 0;
    hi = 255;
  }
  v = floor(v + 0.5);
  return (uint8_t)(v >= hi ? hi : v > lo ? v : lo);
}

__device__ __forceinline__ void count(Partial *p, float g, bool free_place) {
  const float size = fabsf(g);
  p->sum += size;
  p->free_places += free_place;
  p->zeros += free_place && g == 0;
  p->broken += !(size <= 3.402823466e38f);
}

/* Feature `i` of sample `n`, whose gradient is g: masked, counted, moved, written. */
__device__ __forceinline__ void take(const Step &s, const Budget &b, int64_t n, int64_t i, float g,
                                     Partial *p) {
  const int64_t at = n * s.features + i;
  const bool free_place = !s.mask || s.mask[i] != 0;
  if (s.gradient)
    s.gradient[at] = g;
  g = free_place ? g : 0.0f;
  count(p, g, free_place);
  double eps = b.eps, alpha = b.alpha;
  if (s.eps_map) {
    eps = s.eps_map[i];
    alpha = eps * b.scale;
  }
  const float x0 = s.x0[at], y = move(x0, s.x[at], g, b, eps, alpha, s.project);
  s.next[at] = y;
  if (s.bytes)
    s.bytes[at] = byte_of(y, x0, b.eps, s.project);
}

/* Four features from `i` on, i a multiple of four and all pointers aligned to 16 bytes. */
__device__ __forceinline__ void take4(const Step &s, const Budget &b, int64_t n, int64_t i,
                                      const float *gradient, Partial *p) {
  const int64_t at = n * s.features + i;
  const float4 from = fgsm_ldv<float4>(s.x0 + at), here = fgsm_ldv<float4>(s.x + at);
  float4 free4 = make_float4(1, 1, 1, 1), map4 = make_float4(0, 0, 0, 0);
  if (s.mask)
    free4 = fgsm_ldv<float4>(s.mask + i);
  if (s.eps_map)
    map4 = fgsm_ldv<float4>(s.eps_map + i);
  const float x0[4] = {from.x, from.y, from.z, from.w}, x[4] = {here.x, here.y, here.z, here.w};
  const float open[4] = {free4.x, free4.y, free4.z, free4.w};
  const float map[4] = {map4.x, map4.y, map4.z, map4.w};
  float y[4];
  FGSM_UNROLL
  for (int j = 0; j < 4; j++) {
    const float g = open[j] != 0 ? gradient[j] : 0.0f;
    const double eps = s.eps_map ? (double)map[j] : b.eps;
    const double alpha = s.eps_map ? eps * b.scale : b.alpha;
    count(p, g, open[j] != 0);
    y[j] = move(x0[j], x[j], g, b, eps, alpha, s.project);
  }
  fgsm_stv<float4>(s.next + at, make_float4(y[0], y[1], y[2], y[3]));
  if (s.gradient)
    fgsm_stv<float4>(s.gradient + at,
                     make_float4(gradient[0], gradient[1], gradient[2], gradient[3]));
  if (s.bytes)
    fgsm_stv<uchar4>(s.bytes + at, make_uchar4(byte_of(y[0], x0[0], b.eps, s.project),
                                               byte_of(y[1], x0[1], b.eps, s.project),
                                               byte_of(y[2], x0[2], b.eps, s.project),
                                               byte_of(y[3], x0[3], b.eps, s.project)));
}

/* The sum over groups of `lanes` (a power of two) neighbouring lanes; all get it. */
__device__ __forceinline__ Partial lane_sum(Partial p, int lanes) {
  for (int o = lanes / 2; o; o /= 2) {
    p.sum += __shfl_xor_sync(0xffffffffu, p.sum, o);
    p.zeros += __shfl_xor_sync(0xffffffffu, p.zeros, o);
    p.free_places += __shfl_xor_sync(0xffffffffu, p.free_places, o);
    p.broken += __shfl_xor_sync(0xffffffffu, p.broken, o);
  }
  return p;
}

/* The sum over a block of whole warps, at most 8; every thread must call, and all get it. */
__device__ __forceinline__ Partial block_sum(Partial p) {
  FGSM_SHARED(Partial, part, [8]);
  p = lane_sum(p, 32);
  __syncthreads();
  if (threadIdx.x % 32 == 0)
    part[threadIdx.x / 32] = p;
  __syncthreads();
  Partial sum = part[0];
  for (unsigned w = 1; w < blockDim.x / 32; w++) {
    sum.sum += part[w].sum;
    sum.zeros += part[w].zeros;
    sum.free_places += part[w].free_places;
    sum.broken += part[w].broken;
  }
  return sum;
}

/* Block n: sample n's partials [parts] become stats [3]; x' and bytes are put right where the
 * gradient was not finite. Traffic: 24 bytes a part, and nothing else for a sound sample.
 * ptxas budget: settle_samples registers 32 shared 192 blocks 16 */
[[maybe_unused]] static __global__ void __launch_bounds__(128)
    settle_samples(Step s, const Partial *__restrict__ partial, int parts, float *stats) {
  const int64_t n = blockIdx.x;
  Partial mine = {0, 0, 0, 0, 0};
  for (int i = threadIdx.x; i < parts; i += blockDim.x) {
    const Partial *p = partial + n * parts + i;
    mine.sum += p->sum;
    mine.zeros += p->zeros;
    mine.free_places += p->free_places;
    mine.broken += p->broken;
  }
  const Partial all = block_sum(mine);
  if (stats && threadIdx.x == 0) {
    stats[n * 3] = (float)all.sum;
    stats[n * 3 + 1] =
        all.free_places ? (float)((double)all.zeros / (double)all.free_places) : 1.0f;
    stats[n * 3 + 2] = (float)all.broken;
  }
  if (!all.broken)
    return;
  const double eps = s.params[FG_PARAM_eps];
  for (int64_t i = threadIdx.x; i < s.features; i += blockDim.x) {
    const int64_t at = n * s.features + i;
    s.next[at] = s.x0[at];
    if (s.bytes)
      s.bytes[at] = byte_of(s.x0[at], s.x0[at], eps, s.project);
  }
}

/* ---- host */

static inline bool present(const struct fg_tensor *t) {
  return t->type != FG_NONE;
}

static inline const float *floats(const struct fg_tensor *t) {
  return present(t) ? static_cast<const float *>(t->data) : nullptr;
}

static inline fgsm_status launched(cudaError_t error, enum fg_op op) {
  if (error == cudaSuccess)
    return FGSM_OK;
  return FG_FAIL(DEVICE, "cuda: %s did not launch: %s", fg_op_name(op), cudaGetErrorString(error));
}

/* What a fused step needs of its operands: x0 in in[2], x, eps_map, mask and params behind it; x',
 * gradient, stats and (where the operator has them) bytes. */
static inline fgsm_status check_step(const struct fg_call *call, const struct fg_step_attrs *a) {
  const struct fg_tensor *in = call->in, *x0 = &in[2];
  const char *name = fg_op_name(call->op);
  if (a->norm != FG_NORM_linf)
    return FG_FAIL(UNSUPPORTED, "cuda: %s: only the step in linf is fused", name);
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &in[i] : &call->out[i - call->n_in];
    if (t->layout != FG_PLAIN)
      return FG_FAIL(UNSUPPORTED, "cuda: %s: a tensor in channel blocks", name);
  }
  if (in[0].type != in[1].type || (in[0].type != FG_F32 && in[0].type != FG_BF16))
    return FG_FAIL(UNSUPPORTED, "cuda: %s: dy is %s, w %s", name, fg_type_name(in[0].type),
                   fg_type_name(in[1].type));
  for (int i = 2; i < 6; i++)
    if (i < 4 ? in[i].type != FG_F32 : present(&in[i]) && in[i].type != FG_F32)
      return FG_FAIL(UNSUPPORTED, "cuda: %s: input %d is %s", name, i, fg_type_name(in[i].type));
  for (int i = 4; i < 6; i++) {
    bool same = in[i].rank == x0->rank - 1;
    for (int d = 0; same && d < in[i].rank; d++)
      same = in[i].dim[d] == x0->dim[d + 1];
    if (present(&in[i]) && !same)
      return FG_FAIL(UNSUPPORTED, "cuda: %s: input %d has another shape than a sample", name, i);
  }
  if (in[6].type != FG_F64 || fg_count(&in[6]) != FG_PARAM_COUNT)
    return FG_FAIL(UNSUPPORTED, "cuda: %s: params are not float64 [%d]", name, (int)FG_PARAM_COUNT);
  if (x0->rank < 1 || !fg_same_shape(x0, &in[3]) || !fg_same_shape(x0, &call->out[0]) ||
      (call->n_out > 1 && present(&call->out[1]) && !fg_same_shape(x0, &call->out[1])) ||
      (call->n_out > 3 && present(&call->out[3]) && !fg_same_shape(x0, &call->out[3])))
    return FG_FAIL(UNSUPPORTED, "cuda: %s: x0, x and the results differ in shape", name);
  if (fg_count(x0) / (x0->dim[0] > 0 ? x0->dim[0] : 1) > INT32_MAX / 2)
    return FG_FAIL(UNSUPPORTED, "cuda: %s: samples of more than 2^30 features", name);
  return FGSM_OK;
}

/* Vector accesses and asynchronous copies trust what the seam promises of buffers; a card would be
 * lost to every later call if one of them were elsewhere. */
static inline fgsm_status check_aligned(const struct fg_call *call) {
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
    if (present(t) && (reinterpret_cast<uintptr_t>(t->data) & 15))
      return FG_FAIL(INTERNAL, "cuda: %s: operand %d does not lie on 16 bytes",
                     fg_op_name(call->op), i);
  }
  return FGSM_OK;
}

static inline Step step_of(const struct fg_call *call, const struct fg_step_attrs *a) {
  const struct fg_tensor *in = call->in, *out = call->out;
  Step s = {};
  s.x0 = floats(&in[2]);
  s.x = floats(&in[3]);
  s.eps_map = floats(&in[4]);
  s.mask = floats(&in[5]);
  s.params = static_cast<const double *>(in[6].data);
  s.next = static_cast<float *>(out[0].data);
  s.gradient = present(&out[1]) ? static_cast<float *>(out[1].data) : nullptr;
  s.bytes = present(&out[3]) ? static_cast<uint8_t *>(out[3].data) : nullptr;
  s.features = in[2].dim[0] > 0 ? fg_count(&in[2]) / in[2].dim[0] : 0;
  s.project = a->project;
  return s;
}

static inline float *stats_of(const struct fg_call *call) {
  return present(&call->out[2]) ? static_cast<float *>(call->out[2].data) : nullptr;
}

} // namespace fgsm
#endif
