/* The step in the largest norm, for kernels that end in one: a feature's move, its byte, what is
 * known of a sample's gradient, and the small pass that settles a sample.
 *
 * A block of a first kernel sees a part of one sample and cannot know whether another part's
 * gradient is finite. So each block leaves a `Partial` in scratch, and settle_samples, one block
 * per sample, adds them up in a fixed order, writes the statistics, and puts a sample whose
 * gradient is not finite back to x0. No atomics: the same bits every time.
 *
 * What is promised of x' (attrs.h) is kept by keep.cuh: about 20 double-precision operations a feature. */
#ifndef FGSM_LINF_CUH
#define FGSM_LINF_CUH

#include "keep.cuh"

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

/* x' of one feature, its eps and alpha given. */
__device__ __forceinline__ float move(float x0, float x, float g, const Budget &b, double eps,
                                      double alpha, bool project) {
  double v = (double)x + (g > 0 ? alpha : g < 0 ? -alpha : 0.0);
  if (project)
    v = hold(v, x0, eps);
  return into_box(v, b.lo, b.hi);
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
  if (stats && threadIdx.x == 0)
    write_stats(stats + n * 3, all.sum, all.zeros, all.free_places, all.broken);
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

/* What a fused step needs of its operands: x0 in in[2], x, eps_map, mask and params behind it; x',
 * gradient, stats and (where the operator has them) bytes. */
static inline fgsm_status check_step(const struct fg_call *call, const struct fg_step_attrs *a) {
  const struct fg_tensor *in = call->in, *x0 = &in[2], *stats = fg_cuda_out(call, 2);
  FG_CUDA_NEED(call, a->norm == FG_NORM_linf, "only the step in linf is fused");
  FG_TRY(fg_cuda_check(call, 0x4f, 1));
  FG_TRY(fg_cuda_check_real(call, 0x3c, 7));
  FG_CUDA_NEED(call, in[0].type == in[1].type && (in[0].type == FG_F32 || in[0].type == FG_BF16),
               "dy is %s, w %s", fg_type_name(in[0].type), fg_type_name(in[1].type));
  FG_CUDA_NEED(call, x0->rank >= 1, "x0 has no batch axis");
  FG_CUDA_NEED(call,
               fg_cuda_is_feature(fg_cuda_in(call, 4), x0) &&
                   fg_cuda_is_feature(fg_cuda_in(call, 5), x0),
               "eps_map or mask is not of a sample's shape");
  FG_CUDA_NEED(call, fg_cuda_is_params(&in[6]), "params are not float64 [%d]", (int)FG_PARAM_COUNT);
  for (int i = 0; i < 4; i++)
    FG_CUDA_NEED(call, i == 2 || !fg_cuda_out(call, i) || fg_same_shape(x0, &call->out[i]),
                 "output %d has another shape than x0", i);
  FG_CUDA_NEED(call, fg_same_shape(x0, &in[3]), "x and x0 differ in shape");
  FG_CUDA_NEED(call,
               !stats || (stats->rank == 2 && stats->dim[0] == x0->dim[0] && stats->dim[1] == 3),
               "stats are not [N, 3]");
  FG_CUDA_NEED(call, fg_cuda_span(x0, 1, x0->rank) <= INT32_MAX / 2,
               "samples of more than 2^30 features");
  return FGSM_OK;
}

/* Vector accesses and asynchronous copies trust what the seam promises of buffers; a card would be
 * lost to every later call if one of them were elsewhere. */
static inline fgsm_status check_aligned(const struct fg_call *call) {
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
    if (t->type != FG_NONE && !fg_cuda_aligned(t->data))
      return FG_FAIL(INTERNAL, "cuda: %s: operand %d does not lie on 16 bytes",
                     fg_op_name(call->op), i);
  }
  return FGSM_OK;
}

static inline Step step_of(const struct fg_call *call, const struct fg_step_attrs *a) {
  const struct fg_tensor *x0 = &call->in[2];
  Step s = {};
  s.x0 = fg_cuda_from<float>(call, 2);
  s.x = fg_cuda_from<float>(call, 3);
  s.eps_map = fg_cuda_from<float>(call, 4);
  s.mask = fg_cuda_from<float>(call, 5);
  s.params = fg_cuda_from<double>(call, 6);
  s.next = fg_cuda_to<float>(call, 0);
  s.gradient = fg_cuda_to<float>(call, 1);
  s.bytes = fg_cuda_to<uint8_t>(call, 3);
  s.features = fg_cuda_span(x0, 1, x0->rank);
  s.project = a->project;
  return s;
}

} // namespace fgsm
#endif
