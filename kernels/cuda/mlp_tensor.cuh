/* mlp_fgsm in bfloat16 on tensor cores, for wide networks (mlp_tensor_net.cuh): what becomes of samples,
 * and the attacks.
 *
 * The gradient with respect to x goes from the accumulators into the step, of which the arithmetic is
 * linf.cuh's. An iterated attack keeps x in the result's memory, and a search keeps the gradient
 * there. */
#ifndef FGSM_MLP_TENSOR_CUH
#define FGSM_MLP_TENSOR_CUH

#include "mlp_tensor_net.cuh"

namespace fgsm {
namespace {

/* ---- samples */

/* at(sample, feature), rounded, as the input of the first layer; zero where there is none. */
template <class F>
__device__ __forceinline__ void load_inputs(const Tile &t, int64_t n0, const F &at) {
  const Call &c = *t.c;
  const int features = c.net.width[0], wide = up32(features), pitch = pitch_of(t, 0);
  for (int e = threadIdx.x; e < c.room.tile * wide; e += THREADS) {
    const int s = e / wide, f = e % wide;
    const float v = f < features && n0 + s < c.samples ? at(s, f) : 0.0f;
    values(t, 0)[s * pitch + f] = (uint16_t)fgsm_pack_bf16(v, 0);
  }
  __syncthreads();
}

/* x(t) of feature f of sample s, with gradient g: the step from `x`, budgets times the sample's t. */
__device__ __forceinline__ float moved(const Tile &t, int64_t n0, int s, int f, float g,
                                       const float *x, const Budget &b) {
  const Call &c = *t.c;
  const Sample &sample = t.samples()[s];
  const int64_t at = (n0 + s) * c.net.width[0] + f;
  double eps = b.eps * sample.t, alpha = b.alpha * sample.t;
  if (c.step.eps_map) {
    eps = c.step.eps_map[f] * sample.t;
    alpha = eps * b.scale;
  }
  return sample.broken || sample.t == 0
             ? c.step.x0[at]
             : move(c.step.x0[at], x[at], g, b, eps, alpha, c.step.project);
}

/* Where the gradient with respect to x passes through, in the place of x's values, which are done
 * with: a float for each sample and column of a pass, then each warp's part of the samples'
 * statistics. */
constexpr int PASS_LD = CHUNK_N + 4;
__device__ __forceinline__ float *passing(const Tile &t) {
  return t.at(t.c->room.a);
}
__device__ __forceinline__ Partial *parts_of(const Tile &t, int warp) {
  return reinterpret_cast<Partial *>(passing(t) + t.c->room.tile * PASS_LD) + warp * t.c->room.tile;
}

__device__ __forceinline__ void add_partial(Partial *to, const Partial &p) {
  to->sum += p.sum;
  to->zeros += p.zeros;
  to->free_places += p.free_places;
  to->broken += p.broken;
}

/* What the warps found of each sample, added up in their order; sets `broken`, writes stats. */
__device__ __forceinline__ void settle_tile(const Tile &t, int64_t n0, bool report) {
  const Call &c = *t.c;
  const int s = threadIdx.x;
  if (s < c.room.tile) {
    Partial p = {0, 0, 0, 0, 0};
    for (int w = 0; w < WARPS; w++)
      add_partial(&p, parts_of(t, w)[s]);
    settle_sample(t, n0, s, p, report);
  }
  __syncthreads();
}

/* Four features of sample n from f on, of which so many are there: masked, counted, and the step
 * from `x` (or, in a search, the gradient) to the result. */
__device__ __forceinline__ void take_four(const Call &c, const Budget &b, int64_t n, int f,
                                          int there, const float *x, const float *gradient,
                                          Partial *p) {
  const int64_t at = n * c.net.width[0] + f;
  const bool wide = c.net.width[0] % 4 == 0;
  float from[4] = {}, here[4] = {}, y[4];
  if (wide && !c.search) {
    const float4 v = fgsm_ldv<float4>(c.step.x0 + at), w = fgsm_ldv<float4>(x + at);
    from[0] = v.x, from[1] = v.y, from[2] = v.z, from[3] = v.w;
    here[0] = w.x, here[1] = w.y, here[2] = w.z, here[3] = w.w;
  }
  FGSM_UNROLL
  for (int j = 0; j < 4; j++) {
    if (j >= there)
      break;
    if (!wide && !c.search) {
      from[j] = c.step.x0[at + j];
      here[j] = x[at + j];
    }
    const bool open = !c.step.mask || c.step.mask[f + j] != 0;
    const float g = open ? gradient[j] : 0.0f;
    const double eps = c.step.eps_map ? (double)c.step.eps_map[f + j] : b.eps;
    const double alpha = c.step.eps_map ? eps * b.scale : b.alpha;
    count(p, g, open);
    y[j] = c.search ? g : move(from[j], here[j], g, b, eps, alpha, c.step.project);
    if (!wide)
      c.step.next[at + j] = y[j];
  }
  if (wide)
    fgsm_st4_global(c.step.next + at, make_float4(y[0], y[1], y[2], y[3]));
}

/* The gradient with respect to x, and the step; x' is x0 where a sample's gradient is not finite. */
template <int MT>
__device__ __forceinline__ void first_backward(const Tile &t, int64_t n0, const float *x,
                                               bool report) {
  const Call &c = *t.c;
  const int features = c.net.width[0], lane = threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  float *pass = passing(t) + warp * 16;
  Partial *own = parts_of(t, warp);
  const Budget b = load_budget(c.step.params);
  for (int s = lane; s < c.room.tile; s += 32)
    own[s] = {0, 0, 0, 0, 0};
  product<MT, false>(t, 0, [&](int first, float v[MT * 8]) {
    each_pair<MT>(first, [&](int e, int row, int col) {
      fgsm_stv<float2>(pass + row * PASS_LD + col - first, make_float2(v[e], v[e + 1]));
    });
    __syncwarp();
    FGSM_NO_UNROLL
    for (int row = lane / 4; row < MT * 16; row += 8) {
      const int f = first + lane % 4 * 4, there = min(4, features - f);
      const float4 g = fgsm_ldv<float4>(pass + row * PASS_LD + lane % 4 * 4);
      const float four[4] = {g.x, g.y, g.z, g.w};
      Partial p = {0, 0, 0, 0, 0};
      if (there > 0 && n0 + row < c.samples)
        take_four(c, b, n0 + row, f, there, x, four, &p);
      p = lane_sum(p, 4);
      if (lane % 4 == 0)
        add_partial(own + row, p);
    }
    __syncwarp();
  });
  settle_tile(t, n0, report);
  for (int s = 0; !c.search && s < c.room.tile; s++)
    for (int f = threadIdx.x; t.samples()[s].broken && n0 + s < c.samples && f < features;
         f += THREADS)
      c.step.next[(n0 + s) * features + f] = c.step.x0[(n0 + s) * features + f];
  __syncthreads();
}

/* ---- the attack of the tile of samples from n0 on */

/* From what lies in the first layer's place: backward, and the step or, in a search, the gradient. */
template <int MT>
__device__ __forceinline__ void backward_tensor(const Tile &t, int64_t n0, const float *x,
                                                const float *d, bool report) {
  round_slopes(t, d);
  for (int l = t.c->net.layers - 1; l > 0; l--)
    hidden_backward<MT>(t, l);
  first_backward<MT>(t, n0, x, report);
}

/* Each sample's result: x(t) of its own t, along the gradient that lies in its place. */
__device__ __forceinline__ void move_results(const Tile &t, int64_t n0, const Budget &b) {
  const Call &c = *t.c;
  const int features = c.net.width[0];
  for (int64_t e = threadIdx.x; e < (int64_t)c.room.tile * features; e += THREADS) {
    const int s = (int)(e / features), f = (int)(e % features);
    float *at = c.step.next + (n0 + s) * features + f;
    if (n0 + s < c.samples)
      *at = moved(t, n0, s, f, *at, c.step.x, b);
  }
}

/* Steps, each forward and backward; or a search's gradient and its looks, which go forward alone. Both
 * are one loop: a kernel with a copy of the products for each would be twice as long. */
template <int MT> __device__ __forceinline__ void attack_tile(const Tile &t, int64_t n0) {
  const Call &c = *t.c;
  const int features = c.net.width[0], passes = c.search ? c.steps + 3 : c.steps;
  Sample *mine = t.samples() + threadIdx.x;
  const bool owner = (int)threadIdx.x < c.room.tile;
  const Budget b = load_budget(c.step.params);
  for (int i = 0; i < passes; i++) {
    const bool look = c.search && i > 0, report = c.search ? i == 0 : i == c.steps - 1;
    const float *x = i > 0 && !look ? c.step.next : c.step.x;
    if (look && owner)
      begin_look(mine, i - 1);
    __syncthreads();
    load_inputs(t, n0, [&](int s, int f) {
      const int64_t at = (n0 + s) * features + f;
      return look ? moved(t, n0, s, f, c.step.next[at], x, b) : x[at];
    });
    float *d = look ? nullptr : t.at(c.room.weights);
    forward_tensor<MT>(t, n0, d, report);
    if (!look)
      backward_tensor<MT>(t, n0, x, d, report);
    else if (owner)
      end_look(mine, i - 1);
    __syncthreads();
  }
  if (!c.search)
    return;
  if (owner)
    report_least(c, n0, mine);
  __syncthreads();
  move_results(t, n0, b);
}

/* ptxas budget: attack_tensor registers 176 shared 0 dynamic 232448 loads16 stores16 shared16 mma async */
template <int MT> __global__ void __launch_bounds__(THREADS, 1) attack_tensor(Call c) {
  FGSM_SHARED_DYN(unsigned char, shared);
  const Tile t = {shared, &c};
  for (int tile = blockIdx.x; tile < c.tiles; tile += gridDim.x) {
    const int64_t n0 = (int64_t)tile * c.room.tile;
    renew_samples(t);
    attack_tile<MT>(t, n0);
    __syncthreads();
  }
}

} // namespace
} // namespace fgsm
#endif
