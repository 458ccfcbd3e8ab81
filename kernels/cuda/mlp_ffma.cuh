/* mlp_fgsm in float32: layers forward and backward by FFMA, and the attacks that are made of them.
 *
 * Values of a layer are rows [width, padded to 4][ld]: a row holds one result of every sample of
 * the tile. Rows from the width up to the padding are zero, so that products may run over them. A
 * thread holds 4 samples by 4 results: 64 multiplications for 8 reads of 16 bytes forward, 16 for 2
 * backward. Weights are all in shared memory (RESIDENT), or pass through it. */
#ifndef FGSM_MLP_FFMA_CUH
#define FGSM_MLP_FFMA_CUH

#include "mlp_call.cuh"

namespace fgsm {
namespace {

constexpr int DEPTH = 8, STAGE_LD = DEPTH + 4;

__device__ __forceinline__ int padded(int n) {
  return (n + 3) / 4 * 4;
}

__device__ __forceinline__ const float *layer_weights(const Call &c, int l) {
  return static_cast<const float *>(c.weights) + c.net.weights[l];
}

/* Which samples and which results are this thread's, in a pass over `wide` results. */
struct Place {
  int s, first, wide; /* samples s .. s + 3; result `first` of `wide` groups */
};
__device__ __forceinline__ Place place_of(const Room &room) {
  const int groups = room.tile / 4;
  return {(int)threadIdx.x % groups * 4, (int)threadIdx.x / groups, THREADS / groups};
}

__device__ __forceinline__ void fma4(float to[4], float a, const float4 &v) {
  to[0] = __fmaf_rn(a, v.x, to[0]);
  to[1] = __fmaf_rn(a, v.y, to[1]);
  to[2] = __fmaf_rn(a, v.z, to[2]);
  to[3] = __fmaf_rn(a, v.w, to[3]);
}

/* acc[j][.] += sum over i in [0, 4 * quads) of w[j][i] h[i][.]; w rows `first + j wide` of pitch
 * w_ld, h rows of pitch ld. */
__device__ __forceinline__ void dot_rows(const float *w, int w_ld, const Place &p, int rows,
                                         const float *h, int ld, int quads, float acc[4][4]) {
  for (int q = 0; q < quads; q++) {
    float4 v[4];
    FGSM_UNROLL
    for (int i = 0; i < 4; i++)
      v[i] = fgsm_ldv<float4>(h + (q * 4 + i) * ld + p.s);
    FGSM_UNROLL
    for (int j = 0; j < 4; j++) {
      const int row = p.first + j * p.wide;
      if (row >= rows)
        break;
      const float4 u = fgsm_ldv<float4>(w + row * w_ld + q * 4);
      fma4(acc[j], u.x, v[0]);
      fma4(acc[j], u.y, v[1]);
      fma4(acc[j], u.z, v[2]);
      fma4(acc[j], u.w, v[3]);
    }
  }
}

/* Layer l forward, from `in` to `out`; slopes are kept where `keep`. */
template <bool RESIDENT>
__device__ __forceinline__ void forward_layer(const Tile &t, int l, const float *in, float *out,
                                              bool keep) {
  const Call &c = *t.c;
  const int n = c.net.width[l], m = c.net.width[l + 1], ld = c.room.ld, n4 = padded(n);
  const float *w = layer_weights(c, l), *bias = w + n * m;
  float *stage = t.at(c.room.weights);
  const Place p = place_of(c.room);
  for (int o0 = 0; o0 < padded(m); o0 += 4 * p.wide) {
    const int rows = min(m - o0, 4 * p.wide);
    float acc[4][4];
    FGSM_UNROLL
    for (int j = 0; j < 4; j++) {
      const int row = p.first + j * p.wide;
      const float b = row < rows ? bias[o0 + row] : 0.0f;
      FGSM_UNROLL
      for (int i = 0; i < 4; i++)
        acc[j][i] = b;
    }
    if (RESIDENT) {
      dot_rows(stage + c.net.resident[l] + o0 * n4, n4, p, rows, in, ld, n4 / 4, acc);
    } else {
      for (int i0 = 0; i0 < n4; i0 += DEPTH) {
        __syncthreads();
        for (int e = threadIdx.x; e < rows * DEPTH; e += THREADS) {
          const int row = e / DEPTH, i = e % DEPTH;
          stage[row * STAGE_LD + i] = i0 + i < n ? w[(o0 + row) * n + i0 + i] : 0.0f;
        }
        __syncthreads();
        dot_rows(stage, STAGE_LD, p, rows, in + i0 * ld, ld, min(DEPTH, n4 - i0) / 4, acc);
      }
    }
    FGSM_UNROLL
    for (int j = 0; j < 4; j++) {
      const int o = o0 + p.first + j * p.wide;
      if (o >= padded(m))
        break;
      float *y = acc[j], slope[4] = {0, 0, 0, 0};
      activate_all<4>(c.net.kind[l], c.net.alpha[l], y, slope);
      if (o >= m)
        y[0] = y[1] = y[2] = y[3] = 0;
      fgsm_stv<float4>(out + o * ld + p.s, make_float4(y[0], y[1], y[2], y[3]));
      if (!keep || o >= m || c.net.kind[l] == FG_UNARY_identity)
        continue;
      if (is_sided(c.net.kind[l]))
        fgsm_stv<uchar4>(t.shared + c.net.kept[l] + o * c.room.tile + p.s,
                         make_uchar4(slope[0] == 1, slope[1] == 1, slope[2] == 1, slope[3] == 1));
      else
        fgsm_stv<float4>(t.at(c.net.kept[l]) + o * c.room.tile + p.s,
                         make_float4(slope[0], slope[1], slope[2], slope[3]));
    }
  }
  __syncthreads();
}

/* d[o] times layer l's slope. */
__device__ __forceinline__ float4 sloped(const Tile &t, int l, int o, const Place &p, float4 d) {
  const Call &c = *t.c;
  const int kind = c.net.kind[l], at = o * c.room.tile + p.s;
  if (kind == FG_UNARY_identity)
    return d;
  float4 f;
  if (is_sided(kind)) {
    const uchar4 side = fgsm_ldv<uchar4>(t.shared + c.net.kept[l] + at);
    const float below = kind == FG_UNARY_relu ? 0.0f : c.net.alpha[l];
    f = make_float4(side.x ? 1 : below, side.y ? 1 : below, side.z ? 1 : below, side.w ? 1 : below);
  } else {
    f = fgsm_ldv<float4>(t.at(c.net.kept[l]) + at);
  }
  return make_float4(d.x * f.x, d.y * f.y, d.z * f.z, d.w * f.w);
}

/* Layer l backward: `d`, the gradient of its values, is multiplied by the slopes in place, then
 * out[i] = sum over o of d[o] w[o][i]. */
template <bool RESIDENT>
__device__ __forceinline__ void backward_layer(const Tile &t, int l, float *d, float *out) {
  const Call &c = *t.c;
  const int n = c.net.width[l], m = c.net.width[l + 1], ld = c.room.ld, n4 = padded(n);
  const float *w = layer_weights(c, l);
  float *stage = t.at(c.room.weights);
  const Place p = place_of(c.room);
  const int columns = 4 * p.wide; /* of a pass */
  for (int o = p.first; o < m; o += p.wide)
    fgsm_stv<float4>(d + o * ld + p.s, sloped(t, l, o, p, fgsm_ldv<float4>(d + o * ld + p.s)));
  __syncthreads();
  for (int i0 = 0; i0 < n4; i0 += columns) {
    const int i = i0 + p.first * 4;
    float acc[4][4] = {}; /* [column][sample] */
    for (int o0 = 0; o0 < m; o0 += RESIDENT ? m : DEPTH) {
      const int rows = RESIDENT ? m : min(DEPTH, m - o0);
      if (!RESIDENT) {
        __syncthreads();
        const int wide = min(columns, n4 - i0);
        for (int e = threadIdx.x; e < rows * wide; e += THREADS) {
          const int row = e / wide, col = e % wide;
          stage[row * columns + col] = i0 + col < n ? w[(o0 + row) * n + i0 + col] : 0.0f;
        }
        __syncthreads();
      }
      const float *from = RESIDENT ? stage + c.net.resident[l] + i : stage + p.first * 4;
      const int pitch = RESIDENT ? n4 : columns;
      for (int o = 0; o < rows && i < n4; o++) {
        const float4 v = fgsm_ldv<float4>(d + (o0 + o) * ld + p.s);
        const float4 u = fgsm_ldv<float4>(from + o * pitch);
        fma4(acc[0], u.x, v);
        fma4(acc[1], u.y, v);
        fma4(acc[2], u.z, v);
        fma4(acc[3], u.w, v);
      }
    }
    FGSM_UNROLL
    for (int j = 0; j < 4; j++)
      if (i < n4)
        fgsm_stv<float4>(out + (i + j) * ld + p.s,
                         make_float4(acc[j][0], acc[j][1], acc[j][2], acc[j][3]));
  }
  __syncthreads();
}
/* ---- the network */

/* From x in `in` (overwritten) to the logits; returns where they lie: `in` or `out`. */
template <bool RESIDENT>
__device__ __forceinline__ float *forward(const Tile &t, float *in, float *out, bool keep) {
  for (int l = 0; l < t.c->net.layers; l++) {
    forward_layer<RESIDENT>(t, l, in, out, keep);
    float *swap = in;
    in = out;
    out = swap;
  }
  return in;
}

/* From dlogits in `d` to the gradient; returns where it lies. */
template <bool RESIDENT>
__device__ __forceinline__ float *backward(const Tile &t, float *d, float *out) {
  for (int l = t.c->net.layers - 1; l >= 0; l--) {
    backward_layer<RESIDENT>(t, l, d, out);
    float *swap = d;
    d = out;
    out = swap;
  }
  return d;
}

/* ---- samples: a group of 1 to 32 lanes has one at a time, and walks its features */

struct Lanes {
  int wide, lane, first,
      step; /* a group's lanes; which this is; its first sample; between samples */
};
__device__ __forceinline__ Lanes lanes_of(int features) {
  int wide = 1;
  while (wide < 32 && wide < features)
    wide *= 2;
  return {wide, (int)threadIdx.x % wide, (int)threadIdx.x / wide, THREADS / wide};
}

/* x, or x0, of the tile to `to` [D, padded][ld], zero where there is none. */
__device__ __forceinline__ void load_samples(const Tile &t, int64_t n0, const float *x, float *to) {
  const Call &c = *t.c;
  const int features = c.net.width[0];
  const Lanes g = lanes_of(padded(features));
  for (int s = g.first; s < c.room.tile; s += g.step)
    for (int f = g.lane; f < padded(features); f += g.wide)
      to[f * c.room.ld + s] =
          f < features && n0 + s < c.samples ? x[(n0 + s) * features + f] : 0.0f;
  __syncthreads();
}

__device__ __forceinline__ void copy_rows(const Tile &t, const float *from, float *to) {
  for (int e = threadIdx.x; e < padded(t.c->net.width[0]) * t.c->room.tile; e += THREADS) {
    const int at = e / t.c->room.tile * t.c->room.ld + e % t.c->room.tile;
    to[at] = from[at];
  }
  __syncthreads();
}

/* Masks g in place, counts it, and says per sample whether it is finite. */
__device__ __forceinline__ void measure(const Tile &t, int64_t n0, float *g, bool report) {
  const Call &c = *t.c;
  const int features = c.net.width[0];
  const Lanes group = lanes_of(features);
  /* Every lane goes round as often as any: shuffles need all of a warp. */
  for (int s0 = 0; s0 < c.room.tile; s0 += group.step) {
    const int s = s0 + group.first;
    Partial p = {0, 0, 0, 0, 0};
    for (int f = group.lane; s < c.room.tile && f < features; f += group.wide) {
      const bool open = !c.step.mask || c.step.mask[f] != 0;
      const float v = open ? g[f * c.room.ld + s] : 0.0f;
      g[f * c.room.ld + s] = v;
      count(&p, v, open);
    }
    p = lane_sum(p, group.wide);
    if (s >= c.room.tile || group.lane)
      continue;
    settle_sample(t, n0, s, p, report);
  }
  __syncthreads();
}

/* The step along g from x, with the budget times each sample's t, to shared memory or (NULL) to x'.
 * x: NULL stands for the x that came in. */
__device__ __forceinline__ void move_samples(const Tile &t, int64_t n0, const float *g,
                                             const float *x, float *to) {
  const Call &c = *t.c;
  const int features = c.net.width[0];
  const Lanes group = lanes_of(features);
  const Budget b = load_budget(c.step.params);
  for (int s = group.first; s < c.room.tile && n0 + s < c.samples; s += group.step) {
    const Sample &sample = t.samples()[s];
    for (int f = group.lane; f < features; f += group.wide) {
      const int64_t at = (n0 + s) * features + f;
      const float x0 = c.step.x0[at], from = x ? x[f * c.room.ld + s] : c.step.x[at];
      double eps = b.eps * sample.t, alpha = b.alpha * sample.t;
      if (c.step.eps_map) {
        eps = c.step.eps_map[f] * sample.t;
        alpha = eps * b.scale;
      }
      const float y = sample.broken || sample.t == 0
                          ? x0
                          : move(x0, from, g[f * c.room.ld + s], b, eps, alpha, c.step.project);
      if (to)
        to[f * c.room.ld + s] = y;
      else
        c.step.next[at] = y;
    }
  }
  __syncthreads();
}

/* ---- the attacks, for the tile of samples from n0 on */

template <bool RESIDENT> __device__ __forceinline__ void iterate(const Tile &t, int64_t n0) {
  const Call &c = *t.c;
  float *a = t.at(c.room.a), *b = t.at(c.room.b), *x = c.room.x < 0 ? nullptr : t.at(c.room.x);
  load_samples(t, n0, c.step.x, x ? x : a);
  for (int i = 0; i < c.steps; i++) {
    const bool last = i == c.steps - 1;
    if (x)
      copy_rows(t, x, a);
    float *z = forward<RESIDENT>(t, a, b, true), *d = z == a ? b : a;
    judge(t, n0, z, d, last);
    float *g = backward<RESIDENT>(t, d, z);
    measure(t, n0, g, last);
    move_samples(t, n0, g, x, last ? nullptr : x);
  }
}

/* One look of the search: x(t) of each sample, and whether the aim is reached there. */
template <bool RESIDENT> __device__ __forceinline__ void look(const Tile &t, int64_t n0) {
  const Call &c = *t.c;
  float *a = t.at(c.room.a), *b = t.at(c.room.b);
  load_samples(t, n0, c.step.x0, a); /* zeros where there is no sample or feature */
  move_samples(t, n0, t.at(c.room.g), nullptr, a);
  judge(t, n0, forward<RESIDENT>(t, a, b, false), nullptr, false);
}

template <bool RESIDENT> __device__ __forceinline__ void search(const Tile &t, int64_t n0) {
  const Call &c = *t.c;
  float *a = t.at(c.room.a), *b = t.at(c.room.b);
  Sample *mine = t.samples() + threadIdx.x;
  const bool owner = (int)threadIdx.x < c.room.tile;
  load_samples(t, n0, c.step.x, a);
  float *z = forward<RESIDENT>(t, a, b, true), *d = z == a ? b : a;
  judge(t, n0, z, d, true);
  float *g = backward<RESIDENT>(t, d, z);
  measure(t, n0, g, true);
  copy_rows(t, g, t.at(c.room.g));
  for (int i = 0; i < c.steps + 2; i++) {
    if (owner)
      begin_look(mine, i);
    __syncthreads();
    look<RESIDENT>(t, n0);
    if (owner)
      end_look(mine, i);
    __syncthreads();
  }
  if (owner)
    report_least(c, n0, mine);
  __syncthreads();
  move_samples(t, n0, t.at(c.room.g), nullptr, nullptr);
}

/* ptxas budget: attack registers 96 shared 0 dynamic 232448 shared16 */
template <bool RESIDENT, bool SEARCH> __global__ void __launch_bounds__(THREADS, 1) attack(Call c) {
  FGSM_SHARED_DYN(unsigned char, shared);
  const Tile t = {shared, &c};
  if (RESIDENT) {
    float *to = t.at(c.room.weights);
    for (int l = 0; l < c.net.layers; l++) {
      const int n = c.net.width[l], n4 = padded(n);
      for (int e = threadIdx.x; e < c.net.width[l + 1] * n4; e += THREADS) {
        const int row = e / n4, i = e % n4;
        to[c.net.resident[l] + e] = i < n ? layer_weights(c, l)[row * n + i] : 0.0f;
      }
    }
  }
  for (int tile = blockIdx.x; tile < c.tiles; tile += gridDim.x) {
    renew_samples(t);
    const int64_t n0 = (int64_t)tile * c.room.tile;
    if (SEARCH)
      search<RESIDENT>(t, n0);
    else
      iterate<RESIDENT>(t, n0);
    __syncthreads();
  }
}

} // namespace
} // namespace fgsm
#endif
