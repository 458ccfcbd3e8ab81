/* A dense network over a tile of samples in shared memory: what a block knows of it, the activations,
 * and the objective at its end. What the two forms of mlp_fgsm share: mlp_ffma.cuh multiplies
 * float32, mlp_tensor.cuh bfloat16 on tensor cores. */
#ifndef FGSM_MLP_CALL_CUH
#define FGSM_MLP_CALL_CUH

#include "linf.cuh"

namespace fgsm {
namespace {

constexpr int THREADS = 256;

struct Net {
  int layers, classes, widest; /* widest: of the input and every layer, padded to 4 */
  int width[FG_MLP_LAYERS + 1];
  int kind[FG_MLP_LAYERS];
  float alpha[FG_MLP_LAYERS];
  int weights[FG_MLP_LAYERS];  /* where each layer's begin, counted in weights           */
  int resident[FG_MLP_LAYERS]; /* the same in shared memory, rows padded to 4            */
  int kept[FG_MLP_LAYERS];     /* what backward needs of it: where, in bytes             */
};

/* Shared memory, in bytes from the start; rows of a tile are `ld` floats: its samples, and four
 * more against bank conflicts. */
struct Room {
  int tile, ld;
  int a, b;     /* two layers' values: floats [widest][ld], bfloat16 [tile][pitch]  */
  int pitch[2]; /* bfloat16's                                                       */
  int x, g;     /* where x is now, and the search's gradient, [D][ld]; or -1        */
  int logits;   /* of the bfloat16 form, floats [classes][ld]                       */
  int sample;   /* per-sample numbers                                               */
  int weights;  /* all of them, or those that pass                                  */
  int stages;   /* of the bfloat16 form: how many chunks of weights are under way   */
  int bytes;
};

struct Call {
  Net net;
  Room room;
  Step step;
  const void *weights;
  const float *functional; /* a linear objective's coefficients */
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

__host__ __device__ __forceinline__ bool is_sided(int kind) {
  return kind == FG_UNARY_relu || kind == FG_UNARY_leaky_relu;
}

/* f(z), and at *slope f'(z), where f is curved. */
__device__ __forceinline__ float curve(int kind, float z, float *slope) {
  float y = z, d = 1;
  switch (kind) {
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

/* N sums to values, and their slopes. What is curved is computed in one place, past which the sums are
 * rotated: once in line for each of them would be more code than a processor keeps. */
template <int N>
__device__ __forceinline__ void activate_all(int kind, float alpha, float v[N], float slope[N]) {
  if (is_sided(kind) || kind == FG_UNARY_identity) {
    const float below = kind == FG_UNARY_relu ? 0.0f : kind == FG_UNARY_identity ? 1.0f : alpha;
    FGSM_UNROLL
    for (int e = 0; e < N; e++) {
      const bool up = kind == FG_UNARY_relu ? !(v[e] <= 0) : v[e] > 0;
      slope[e] = up ? 1.0f : below;
      v[e] = up || kind == FG_UNARY_identity ? v[e] : kind == FG_UNARY_relu ? 0.0f : alpha * v[e];
    }
    return;
  }
  FGSM_NO_UNROLL
  for (int n = 0; n < N; n++) {
    float d;
    const float y = curve(kind, v[0], &d);
    FGSM_UNROLL
    for (int e = 0; e < N - 1; e++) {
      v[e] = v[e + 1];
      slope[e] = slope[e + 1];
    }
    v[N - 1] = y;
    slope[N - 1] = d;
  }
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

__device__ __forceinline__ void renew_samples(const Tile &t) {
  if ((int)threadIdx.x < t.c->room.tile) {
    const Sample fresh = {1, 0, 1, -1, 0, 0, 0, 0};
    t.samples()[threadIdx.x] = fresh;
  }
  __syncthreads();
}

/* ---- the search's looks: at 1, at 0, then at the middle of what is left */

__device__ __forceinline__ void begin_look(Sample *s, int i) {
  s->t = i == 0 ? 1 : i == 1 ? 0 : (s->lo + s->hi) / 2;
}
__device__ __forceinline__ void end_look(Sample *s, int i) {
  if (i == 0)
    s->any = s->reached;
  else if (i == 1)
    s->hi = s->reached ? 0 : s->hi;
  else if (s->any && s->hi > 0)
    *(s->reached ? &s->hi : &s->lo) = s->t;
}
/* After the last look; `s` is this thread's own. */
__device__ __forceinline__ void report_least(const Call &c, int64_t n0, Sample *s) {
  s->t = s->hi;
  if (c.stats && n0 + threadIdx.x < c.samples)
    c.stats[(n0 + threadIdx.x) * 4 + 3] =
        s->any || s->hi == 0 ? (float)(s->hi * c.step.params[FG_PARAM_eps]) : INFINITY;
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

__device__ double linear_functional(const float *z, int ld, int k, const float *c, float *d) {
  double sum = 0;
  for (int j = 0; j < k; j++) {
    sum += (double)c[j] * z[j * ld];
    if (d)
      d[j * ld] = c[j];
  }
  return sum;
}

/* Loss and prediction of the logits in `z`; the gradient to `d` unless it is NULL. */
__device__ void judge(const Tile &t, int64_t n0, const float *z, float *d, bool report) {
  const Call &c = *t.c;
  const int ld = c.room.ld, k = c.net.classes, s = threadIdx.x;
  const bool there = s < c.room.tile && n0 + s < c.samples;
  if (there) {
    const int y = c.labels[n0 + s];
    const bool labelled = y >= 0 && y < k, aimless = !labelled && c.objective != FG_LOSS_linear;
    bool broken = false;
    for (int j = 0; j < k; j++)
      broken = broken || z[j * ld + s] != z[j * ld + s];
    double loss = NAN;
    z += s;
    float *to = d ? d + s : nullptr;
    if (broken || aimless) {
      for (int j = 0; to && j < k; j++)
        to[j * ld] = aimless ? 0.0f : NAN;
    } else if (c.objective == FG_LOSS_linear) {
      loss = linear_functional(z, ld, k, c.functional, to);
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
    sample->reached = labelled && prediction >= 0 && (prediction == y) == c.targeted;
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

/* What was found of the gradient of the tile's sample s: sets `broken`, writes stats. */
__device__ __forceinline__ void settle_sample(const Tile &t, int64_t n0, int s, const Partial &p,
                                              bool report) {
  const Call &c = *t.c;
  Sample *sample = t.samples() + s;
  sample->broken = p.broken != 0;
  sample->broken_parts += (int)p.broken;
  if (report && c.stats && n0 + s < c.samples)
    write_stats(c.stats + (n0 + s) * (c.search ? 4 : 3), p.sum, p.zeros, p.free_places,
                sample->broken_parts);
}

} // namespace
} // namespace fgsm
#endif
