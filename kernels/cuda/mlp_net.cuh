/* A dense network over a tile of samples in shared memory: what a block knows of it, a layer
 * forward and backward, and the objective at the end. For mlp_fgsm.cu, which attacks it.
 *
 * Values of a layer are rows [width, padded to 4][ld]: a row holds one result of every sample of
 * the tile. Rows from the width up to the padding are zero, so that products may run over them. A
 * thread holds 4 samples by 4 results: 64 multiplications for 8 reads of 16 bytes forward, 16 for 2
 * backward. Weights are all in shared memory (RESIDENT), or pass through it. */
#ifndef FGSM_MLP_NET_CUH
#define FGSM_MLP_NET_CUH

#include "linf.cuh"

namespace fgsm {
namespace {

constexpr int THREADS = 256, DEPTH = 8, STAGE_LD = DEPTH + 4;

struct Net {
  int layers, classes, widest; /* widest: of the input and every layer, padded to 4 */
  int width[FG_MLP_LAYERS + 1];
  int kind[FG_MLP_LAYERS];
  float alpha[FG_MLP_LAYERS];
  int weights[FG_MLP_LAYERS];  /* where each layer's begin, in floats                    */
  int resident[FG_MLP_LAYERS]; /* the same in shared memory, rows padded to 4            */
  int kept[FG_MLP_LAYERS];     /* what backward needs of it: where, in bytes             */
};

/* Shared memory, in bytes from the start; rows of a tile are `ld` floats: its samples, and four
 * more against bank conflicts. */
struct Room {
  int tile, ld;
  int a, b;         /* two layers' values [widest][ld]                             */
  int x, g;         /* where x is now, and the search's gradient, [D][ld]; or -1   */
  int kept, sample; /* slopes; per-sample numbers                                  */
  int weights, bytes;
};

struct Call {
  Net net;
  Room room;
  Step step;
  const float *weights;
  const int *labels;
  float *loss, *stats, *logits;
  int *prediction;
  int64_t samples;
  int tiles, steps;
  int objective;
  bool targeted, parity, search;
};

/* What is known of a sample of the tile. */
struct Sample {
  double t, lo, hi; /* the search's */
  int prediction, reached, any, broken;
  int broken_parts; /* components not finite, in all steps */
};

__device__ __forceinline__ bool is_sided(int kind) {
  return kind == FG_UNARY_relu || kind == FG_UNARY_leaky_relu;
}

/* f(z), and at *slope f'(z). */
__device__ __forceinline__ float activate(int kind, float alpha, float z, float *slope) {
  float y = z, d = 1;
  switch (kind) {
  case FG_UNARY_relu:
    d = z <= 0 ? 0.0f : 1.0f;
    y = z <= 0 ? 0.0f : z;
    break;
  case FG_UNARY_leaky_relu:
    d = z > 0 ? 1.0f : alpha;
    y = z > 0 ? z : alpha * z;
    break;
  case FG_UNARY_sigmoid: {
    const float e = expf(-fabsf(z));
    y = z >= 0 ? 1 / (1 + e) : z != z ? z : e / (1 + e);
    d = y * (1 - y);
    break;
  }
  case FG_UNARY_tanh:
    y = tanhf(z);
    d = 1 - y * y;
    break;
  case FG_UNARY_gelu: {
    const float half = 0.5f * erfcf(-z * 0.70710678118654752440f);
    y = z * half;
    d = half + z * 0.39894228040143267794f * expf(-0.5f * z * z);
    break;
  }
  case FG_UNARY_gelu_tanh: {
    const float c = 0.79788456080286535588f, t = tanhf(c * (z + 0.044715f * z * z * z));
    y = 0.5f * z * (1 + t);
    d = 0.5f * (1 + t) + 0.5f * z * (1 - t * t) * c * (1 + 3 * 0.044715f * z * z);
    break;
  }
  default:
    break;
  }
  *slope = d;
  return y;
}

/* A block's view of its shared memory. */
struct Tile {
  unsigned char *shared;
  const Call *c;
  __device__ float *at(int offset) const {
    return reinterpret_cast<float *>(shared + offset);
  }
  __device__ Sample *samples() const {
    return reinterpret_cast<Sample *>(shared + c->room.sample);
  }
};

__device__ __forceinline__ int padded(int n) {
  return (n + 3) / 4 * 4;
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
  const float *w = c.weights + c.net.weights[l], *bias = w + n * m;
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
      float y[4] = {0, 0, 0, 0}, slope[4] = {0, 0, 0, 0};
      if (o < m) {
        FGSM_UNROLL
        for (int i = 0; i < 4; i++)
          y[i] = activate(c.net.kind[l], c.net.alpha[l], acc[j][i], &slope[i]);
      }
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
  const float *w = c.weights + c.net.weights[l];
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

/* ---- the objective, one thread a sample; z and d have pitch ld */

__device__ __forceinline__ int largest(const float *z, int ld, int k, int a, int b) {
  int top = -1;
  for (int j = 0; j < k; j++)
    if (j != a && j != b && (top < 0 || z[j * ld] > z[top * ld]))
      top = j;
  return top;
}

__device__ double cross_entropy(const float *z, int ld, int k, int y, bool parity, float *d) {
  const int first = largest(z, ld, k, -1, -1), other = largest(z, ld, k, y, -1);
  double sum = 0, others = 0;
  for (int j = 0; j < k; j++)
    sum += expf(z[j * ld] - z[first * ld]);
  const float log_sum = (float)log(sum);
  for (int j = 0; d && j < k; j++) {
    const float e =
        parity ? expf(z[j * ld] - z[first * ld] - log_sum) : expf(z[j * ld] - z[other * ld]);
    others += j == y ? 0 : e;
    d[j * ld] = j == y && parity ? e - 1 : e;
  }
  if (d && !parity)
    d[y * ld] = (float)-others;
  return log(sum) + ((double)z[first * ld] - z[y * ld]);
}

/* -u / v with u = z_y - z_other, v = z_(1) - z_(3) + 1e-12; terms that meet are added in double. */
__device__ double logits_ratio(const float *z, int ld, int k, int y, float *d) {
  const int other = largest(z, ld, k, y, -1), first = largest(z, ld, k, -1, -1);
  const int third = largest(z, ld, k, first, largest(z, ld, k, first, -1));
  const double u = (double)z[y * ld] - z[other * ld];
  const double v = (double)z[first * ld] - z[third * ld] + 1e-12;
  for (int j = 0; d && j < k; j++)
    d[j * ld] = (float)((j == y ? -1 / v : 0) + (j == other ? 1 / v : 0) +
                        (j == first ? u / v / v : 0) - (j == third ? u / v / v : 0));
  return -u / v;
}

/* Loss and prediction of the logits in `z`; the gradient to `d` unless it is NULL. */
__device__ void judge(const Tile &t, int64_t n0, const float *z, float *d, bool report) {
  const Call &c = *t.c;
  const int ld = c.room.ld, k = c.net.classes, s = threadIdx.x;
  const bool there = s < c.room.tile && n0 + s < c.samples;
  if (there) {
    const int y = c.labels[n0 + s];
    bool broken = false;
    for (int j = 0; j < k; j++)
      broken = broken || z[j * ld + s] != z[j * ld + s];
    double loss = NAN;
    z += s;
    float *to = d ? d + s : nullptr;
    if (broken || y < 0 || y >= k) {
      for (int j = 0; to && j < k; j++)
        to[j * ld] = y < 0 || y >= k ? 0.0f : NAN;
    } else if (c.objective == FG_LOSS_ce) {
      loss = cross_entropy(z, ld, k, y, c.parity, to);
    } else if (c.objective == FG_LOSS_margin) {
      const int other = largest(z, ld, k, y, -1);
      for (int j = 0; to && j < k; j++)
        to[j * ld] = j == other ? 1.0f : j == y ? -1.0f : 0.0f;
      loss = (double)z[other * ld] - z[y * ld];
    } else {
      loss = logits_ratio(z, ld, k, y, to);
    }
    for (int j = 0; to && c.targeted && j < k; j++)
      to[j * ld] = -to[j * ld];
    const int prediction = broken ? -1 : largest(z, ld, k, -1, -1);
    Sample *sample = t.samples() + s;
    sample->prediction = prediction;
    sample->reached = y >= 0 && y < k && prediction >= 0 && (prediction == y) == c.targeted;
    if (report && c.loss)
      c.loss[n0 + s] = (float)loss;
    if (report && c.prediction)
      c.prediction[n0 + s] = prediction;
    for (int j = 0; report && c.logits && j < k; j++)
      c.logits[(n0 + s) * k + j] = z[j * ld];
  } else if (d && s < c.room.tile) {
    for (int j = 0; j < k; j++)
      d[j * ld + s] = 0;
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

} // namespace
} // namespace fgsm
#endif
