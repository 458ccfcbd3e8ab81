/* descend, average: what writes weights in place. Everything that changes from step to step is read from
 * device memory, so that a recorded step can be replayed; where the factor is not finite nothing is
 * written. An element is computed from its own numbers alone.
 *
 * Floor: sgd 12 bytes an element, with momentum 20, adam 28; 4 to 14 FLOPs. average 12 bytes, 3 FLOPs. */
#include "cuda.h"

namespace {
enum { W, G, M, V, RATES, FACTOR };
enum { THREADS = 256, CHUNK = 4096 };

struct descent {
  float *w, *m, *v;
  const float *g, *factor;
  const double *rates;
  int64_t n;
  bool decays, apart, nesterov, wide; /* apart: the decay is the weight's alone, as adamw's */
};

/* What every element is computed with. */
enum { BY, RATE, MOMENTUM, DECAY, KEEP, TO_M, TO_V, EPSILON, OF_M, OF_V, FIRST, NUMBERS };

/* b^n by squaring: powers of doubles would cost a block more than its elements. */
__device__ double power(double b, double n) {
  double y = 1;
  for (uint64_t k = (uint64_t)n; k; k >>= 1, b *= b)
    y = k & 1 ? y * b : y;
  return y;
}

template <bool ADAM> __device__ void find_numbers(const struct descent &d, float factor, float *s) {
  const double *r = d.rates, step = r[FG_RATE_step];
  const double decay = d.decays ? r[FG_RATE_decay] : 0;
  s[BY] = factor;
  s[RATE] = (float)r[FG_RATE_rate];
  s[FIRST] = step <= 1;
  s[MOMENTUM] = (float)r[FG_RATE_momentum];
  s[DECAY] = d.apart ? 0.0f : (float)decay;
  s[KEEP] = d.apart ? (float)(1 - r[FG_RATE_rate] * decay) : 1.0f;
  s[TO_M] = 1 - (float)r[FG_RATE_momentum];
  s[TO_V] = 1 - (float)r[FG_RATE_beta2];
  s[EPSILON] = (float)r[FG_RATE_epsilon];
  s[OF_M] = ADAM ? (float)(1 / (1 - power(r[FG_RATE_momentum], step))) : 1.0f;
  s[OF_V] = ADAM ? (float)(1 / (1 - power(r[FG_RATE_beta2], step))) : 1.0f;
}

/* ptxas budget: descend_chunk registers 48 shared 116 blocks 5 loads16 stores16 */
template <bool ADAM> __global__ void __launch_bounds__(THREADS) descend_chunk(struct descent d) {
  FGSM_SHARED(float, s, [NUMBERS]);
  const float factor = d.factor ? *d.factor : 1.0f;
  if (!isfinite(factor))
    return;
  if (threadIdx.x == 0)
    find_numbers<ADAM>(d, factor, s);
  __syncthreads();
  const int64_t begin = (int64_t)blockIdx.x * CHUNK, end = min(begin + CHUNK, d.n);
  for (int64_t i = begin + 4 * threadIdx.x; i < end; i += 4 * THREADS) {
    float w[4], g[4], m[4], v[4];
    fg_cuda_load4(d.w, i, end, d.wide, w, 0.0f);
    fg_cuda_load4(d.g, i, end, d.wide, g, 0.0f);
    if (d.m)
      fg_cuda_load4(d.m, i, end, d.wide, m, 0.0f);
    if (ADAM)
      fg_cuda_load4(d.v, i, end, d.wide, v, 0.0f);
    for (int k = 0; k < 4; k++) {
      const float along = g[k] * s[BY] + s[DECAY] * w[k];
      if (ADAM) {
        m[k] += s[TO_M] * (along - m[k]);
        v[k] += s[TO_V] * (along * along - v[k]);
        w[k] = w[k] * s[KEEP] - s[RATE] * (m[k] * s[OF_M]) / (sqrtf(v[k] * s[OF_V]) + s[EPSILON]);
      } else if (d.m) {
        m[k] = s[FIRST] != 0 ? along : s[MOMENTUM] * m[k] + along;
        w[k] -= s[RATE] * (d.nesterov ? along + s[MOMENTUM] * m[k] : m[k]);
      } else {
        w[k] -= s[RATE] * along;
      }
    }
    fg_cuda_store4(d.w, i, end, d.wide, w);
    if (d.m)
      fg_cuda_store4(d.m, i, end, d.wide, m);
    if (ADAM)
      fg_cuda_store4(d.v, i, end, d.wide, v);
  }
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1 << W | 1 << G | 1 << RATES, 0));
  FG_TRY(fg_cuda_check_real(call, 1 << W | 1 << G | 1 << M | 1 << V | 1 << FACTOR, 0));
  const struct fg_tensor *w = &call->in[W], *rates = &call->in[RATES];
  const struct fg_tensor *factor = fg_cuda_in(call, FACTOR);
  bool adam = call->attrs->descend.kind != FG_DESCEND_sgd;
  FG_CUDA_NEED(call, (unsigned)call->attrs->descend.kind < FG_DESCEND_COUNT, "unknown kind");
  for (int i = G; i <= V; i++)
    FG_CUDA_NEED(call, !fg_cuda_in(call, i) || fg_same_shape(w, &call->in[i]), "shapes differ");
  FG_CUDA_NEED(call, !adam || (fg_cuda_in(call, M) && fg_cuda_in(call, V)), "a moment is missing");
  FG_CUDA_NEED(call, rates->type == FG_F64 && fg_count(rates) == FG_RATE_COUNT,
               "the rates are %d doubles", (int)FG_RATE_COUNT);
  FG_CUDA_NEED(call, !factor || fg_count(factor) == 1, "the factor is one number");
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_descend_attrs *a = &call->attrs->descend;
  const bool adam = a->kind != FG_DESCEND_sgd;
  struct descent d = {};
  d.w = (float *)call->in[W].data;
  d.g = (const float *)call->in[G].data;
  d.m = fg_cuda_in(call, M) ? (float *)call->in[M].data : NULL;
  d.v = adam ? (float *)call->in[V].data : NULL;
  d.factor = fg_cuda_from<float>(call, FACTOR);
  d.rates = (const double *)call->in[RATES].data;
  d.n = fg_count(&call->in[W]);
  d.decays = a->decays;
  d.apart = a->kind == FG_DESCEND_adamw;
  d.nesterov = a->nesterov;
  d.wide =
      fg_cuda_aligned(d.w) && fg_cuda_aligned(d.g) && fg_cuda_aligned(d.m) && fg_cuda_aligned(d.v);
  if (d.n == 0)
    return FGSM_OK;
  const dim3 grid(fg_cuda_blocks(d.n, CHUNK)), block(THREADS);
  cudaStream_t s = (cudaStream_t)stream;
  return fg_cuda_launched(call, adam ? FGSM_LAUNCH(descend_chunk<true>, grid, block, 0, s, d)
                                     : FGSM_LAUNCH(descend_chunk<false>, grid, block, 0, s, d));
}

struct follow {
  float rate, gain;
  __device__ float operator()(const float (&v)[2], int64_t) const {
    return v[0] + rate * (gain * v[1] - v[0]);
  }
};

fgsm_status prepare_average(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 3, 0));
  FG_TRY(fg_cuda_check_real(call, 3, 0));
  FG_CUDA_NEED(call, fg_same_shape(&call->in[0], &call->in[1]), "shapes differ");
  return FGSM_OK;
}

fgsm_status run_average(const struct fg_call *call, void *, void *stream) {
  const struct fg_average_attrs *a = &call->attrs->average;
  const struct fg_cuda_reals to = fg_cuda_reals_in(call, 0);
  struct fg_cuda_streams<2> s = {
    {to, fg_cuda_reals_in(call, 1)}, to, fg_count(&call->in[0])
  };
  return fg_cuda_run_stream(call, s, follow{(float)a->rate, (float)a->gain}, stream);
}
} // namespace

const struct fg_kernel fg_cuda_descend = {prepare, run, NULL};
const struct fg_kernel fg_cuda_average = {prepare_average, run_average, NULL};
