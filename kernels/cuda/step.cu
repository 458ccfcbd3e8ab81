/* step: one step of the attack and back into what is allowed (attrs.h has the formulas).
 *
 * Each pass over a sample makes its numbers anew from x0, x, g and m, and nothing but surveys lies
 * between passes: GRADIENT (finite? stats, mean), MOMENTUM (the direction's length or peak), MOVE
 * (how far outside of the ball). linf needs the first and the last launch alone. An l1 ball's
 * threshold is found by Michelot's iteration (1986), which ends at the very theta of Duchi et al.
 *
 * Promised as by the oracle: x' in the box, and for linf |x' - x0| <= eps in real arithmetic.
 * Floor for linf: 16 bytes a feature (x0, x, g once; x'), 4 more for the second reading of g where
 * a batch exceeds the L2 cache, 8 more with momentum; about 25 FLOPs in double. */
#include "feature.h"

namespace {
enum { X0, X, G, M, EPS_MAP, MASK, PARAMS };
enum { NEXT, M_NEXT, STATS };
enum pass { GRADIENT, MOMENTUM, MOVE, PASS_COUNT };

struct job {
  const float *x0, *x, *g, *m;
  struct fg_cuda_feature map, mask;
  const double *params;
  int param_step; /* from a sample's params to the next one's: 0, where they are everyone's */
  float *next, *m_next, *stats;
  struct fg_cuda_chunks chunks;
  struct fg_cuda_survey *parts, *surveys[PASS_COUNT]; /* of each sample */
  double *theta;                                      /* of each sample: the l1 threshold */
  int norm;
  bool project, wide;
};

/* What a pass knows of its sample. */
struct sample {
  double inverse_mean;   /* 0: no gradient              */
  double inverse_length; /* of an l2 direction, or 0    */
  int64_t peak;          /* of an l1 direction, or -1   */
  double shrink, theta;  /* back onto the l2 or l1 ball */
};

__device__ __forceinline__ const double *params_of(const struct job &job, int64_t sample) {
  return job.params + sample * job.param_step;
}

/* Loads features i..i + 3 of the sample's g, masked. */
__device__ __forceinline__ void load_gradient(const struct job &job, int64_t sample, int64_t i,
                                              int64_t last, float (&g)[4]) {
  fg_cuda_load4(job.g + sample * job.chunks.features, i, last, job.wide, g, 0.0f);
  for (int k = 0; k < 4; k++)
    if (job.mask.data && i + k < last && job.mask.at(i + k) == 0)
      g[k] = 0;
}

/* g as the direction is taken of it: itself, or the new momentum. */
__device__ __forceinline__ void load_ascent(const struct job &job, const struct sample &known,
                                            int64_t sample, int64_t i, int64_t last,
                                            double (&v)[4]) {
  float g[4], m[4];
  load_gradient(job, sample, i, last, g);
  if (job.m)
    fg_cuda_load4(job.m + sample * job.chunks.features, i, last, job.wide, m, 0.0f);
  for (int k = 0; k < 4; k++)
    v[k] = job.m ? params_of(job, sample)[FG_PARAM_decay] * m[k] + g[k] * known.inverse_mean : g[k];
}

__device__ __forceinline__ double direction_of(const struct job &job, const struct sample &known,
                                               double v, int64_t i) {
  const double sign = v > 0 ? 1 : v < 0 ? -1 : 0;
  if (job.norm == FG_NORM_linf)
    return sign;
  if (job.norm == FG_NORM_l2)
    return v * known.inverse_length;
  return i == known.peak ? sign : 0;
}

/* Where the step leads: from zero, or from x0 where it is projected onto a round ball. */
__device__ __forceinline__ void load_moved(const struct job &job, const struct sample &known,
                                           int64_t sample, int64_t i, int64_t last, double (&d)[4],
                                           float (&x0)[4]) {
  const double *p = params_of(job, sample);
  double v[4];
  float x[4];
  load_ascent(job, known, sample, i, last, v);
  fg_cuda_load4(job.x + sample * job.chunks.features, i, last, job.wide, x, 0.0f);
  fg_cuda_load4(job.x0 + sample * job.chunks.features, i, last, job.wide, x0, 0.0f);
  for (int k = 0; k < 4; k++) {
    if (i + k >= last)
      continue;
    const double alpha = fg_cuda_scale(p[FG_PARAM_alpha], p[FG_PARAM_eps], job.map, i + k);
    const double direction = direction_of(job, known, v[k], i + k);
    d[k] = x[k] + (direction == 0 ? 0 : alpha * direction);
    if (job.project && job.norm != FG_NORM_linf)
      d[k] -= x0[k];
  }
}

/* What is known of the sample once the passes before `pass` are done. */
__device__ __forceinline__ struct sample know(const struct job &job, int64_t sample, int pass) {
  struct sample known = {0, 0, -1, 1, 0};
  const struct fg_cuda_survey *first = &job.surveys[GRADIENT][sample];
  const double mean = first->sum / (double)job.chunks.features;
  known.inverse_mean = mean > 0 ? 1 / mean : 0;
  if (pass <= MOMENTUM || job.norm == FG_NORM_linf)
    return known;
  const struct fg_cuda_survey *ascent = job.m ? &job.surveys[MOMENTUM][sample] : first;
  if (ascent->top > 0) {
    known.inverse_length = 1 / sqrt(ascent->squares);
    known.peak = ascent->place;
  }
  if (pass <= MOVE || !job.project)
    return known;
  const double length = sqrt(job.surveys[MOVE][sample].squares),
               eps = params_of(job, sample)[FG_PARAM_eps];
  known.shrink = job.norm == FG_NORM_l2 && length > eps ? eps / length : 1;
  known.theta = job.norm == FG_NORM_l1 ? job.theta[sample] : 0;
  return known;
}

/* ptxas budget: survey_step registers 80 shared 256 blocks 3 loads16 */
template <int PASS>
__global__ void __launch_bounds__(FG_CHUNK_THREADS) survey_step(struct job job) {
  const struct fg_cuda_place p = fg_cuda_chunk(job.chunks);
  struct fg_cuda_survey s = fg_cuda_survey_none();
  struct sample known = {0, 0, -1, 1, 0};
  if (PASS > GRADIENT)
    known = know(job, p.sample, PASS);
  for (int64_t i = p.first + 4 * threadIdx.x; i < p.last; i += 4 * FG_CHUNK_THREADS) {
    double v[4];
    float x0[4];
    if (PASS == GRADIENT) {
      load_gradient(job, p.sample, i, p.last, x0);
      for (int k = 0; k < 4; k++)
        v[k] = x0[k];
    } else if (PASS == MOMENTUM) {
      load_ascent(job, known, p.sample, i, p.last, v);
    } else {
      load_moved(job, known, p.sample, i, p.last, v, x0);
    }
    for (int k = 0; k < 4; k++) {
      if (i + k >= p.last)
        continue;
      fg_cuda_survey_add(&s, v[k], i + k);
      if (PASS == GRADIENT) {
        const bool kept = job.mask.data && job.mask.at(i + k) == 0;
        s.free += !kept;
        s.zeros += !kept && v[k] == 0;
        s.broken += !isfinite(v[k]);
      }
    }
  }
  s = fg_cuda_survey_group(s);
  if (threadIdx.x == 0)
    job.parts[blockIdx.x] = s;
}

/* The theta by which |d| shrinks so that its sum is eps; 0 inside the ball. Each round drops what
 * lies below the theta of the round before, until nothing does. A block to a sample.
 * ptxas budget: find_theta registers 72 shared 128 blocks 3 loads16 */
__global__ void __launch_bounds__(FG_CHUNK_THREADS) find_theta(struct job job) {
  const int64_t sample = blockIdx.x, n = job.chunks.features;
  const double eps = params_of(job, sample)[FG_PARAM_eps], sum = job.surveys[MOVE][sample].sum;
  const struct sample known = know(job, sample, MOVE);
  double theta = 0;
  int64_t count = n;
  if (sum > eps) {
    theta = (sum - eps) / (double)n;
    for (;;) {
      double above = 0;
      int64_t left = 0;
      for (int64_t i = 4 * threadIdx.x; i < n; i += 4 * FG_CHUNK_THREADS) {
        double d[4];
        float x0[4];
        load_moved(job, known, sample, i, n, d, x0);
        for (int k = 0; k < 4; k++) {
          const bool is = i + k < n && fabs(d[k]) > theta;
          above += is ? fabs(d[k]) : 0;
          left += is;
        }
      }
      above = fg_cuda_group<FG_CHUNK_WARPS>(above, fg_cuda_sum());
      left = fg_cuda_group<FG_CHUNK_WARPS>(left, fg_cuda_sum());
      if (left == 0 || left >= count)
        break;
      count = left;
      theta = (above - eps) / (double)left;
    }
  }
  if (threadIdx.x == 0)
    job.theta[sample] = theta;
}

/* ptxas budget: finish_step registers 104 shared 0 blocks 2 loads16 stores16 */
__global__ void __launch_bounds__(FG_CHUNK_THREADS) finish_step(struct job job) {
  const struct fg_cuda_place p = fg_cuda_chunk(job.chunks);
  const struct fg_cuda_survey *survey = &job.surveys[GRADIENT][p.sample];
  const struct sample known = know(job, p.sample, PASS_COUNT);
  const bool broken = survey->broken != 0, linf = job.norm == FG_NORM_linf;
  const double *param = params_of(job, p.sample), eps = param[FG_PARAM_eps];
  const int64_t base = p.sample * job.chunks.features;
  if (p.first == 0 && threadIdx.x == 0 && job.stats) {
    fgsm::write_stats(job.stats + 3 * p.sample, survey->sum, survey->zeros, survey->free,
                      survey->broken);
  }
  for (int64_t i = p.first + 4 * threadIdx.x; i < p.last; i += 4 * FG_CHUNK_THREADS) {
    double d[4], m[4];
    float x0[4], y[4];
    load_moved(job, known, p.sample, i, p.last, d, x0);
    for (int k = 0; k < 4; k++) {
      y[k] = x0[k];
      if (broken || i + k >= p.last)
        continue;
      double v = d[k];
      if (job.project && linf) {
        v = fgsm::hold(v, x0[k], job.map.data ? job.map.at(i + k) : eps);
      } else if (job.project) {
        v = job.norm == FG_NORM_l2 ? v * known.shrink
            : known.theta > 0      ? copysign(fmax(fabs(v) - known.theta, 0.0), v)
                                   : v;
        v = x0[k] + v;
      }
      y[k] = fgsm::into_box(v, param[FG_PARAM_lo], param[FG_PARAM_hi]);
    }
    fg_cuda_store4(job.next + base, i, p.last, job.wide, y);
    if (!job.m_next)
      continue;
    load_ascent(job, known, p.sample, i, p.last, m);
    for (int k = 0; k < 4; k++)
      y[k] = broken ? 0.0f : (float)m[k];
    fg_cuda_store4(job.m_next + base, i, p.last, job.wide, y);
  }
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1 << X0 | 1 << X | 1 << G | 1 << PARAMS, 1 << NEXT));
  FG_TRY(fg_cuda_check_real(call, 1 << X0 | 1 << X | 1 << G | 1 << M,
                            1 << NEXT | 1 << M_NEXT | 1 << STATS));
  const struct fg_step_attrs *a = &call->attrs->step;
  const struct fg_tensor *x0 = &call->in[X0], *stats = fg_cuda_out(call, STATS);
  FG_CUDA_NEED(call, x0->rank >= 1, "x0 has no batch axis");
  for (int i = X; i <= M; i++)
    FG_CUDA_NEED(call, !fg_cuda_in(call, i) || fg_same_shape(x0, &call->in[i]),
                 "input %d has another shape than x0", i);
  for (int i = NEXT; i <= M_NEXT; i++)
    FG_CUDA_NEED(call, !fg_cuda_out(call, i) || fg_same_shape(x0, &call->out[i]),
                 "output %d has another shape than x0", i);
  FG_CUDA_NEED(call, fg_cuda_in(call, M) || !fg_cuda_out(call, M_NEXT), "no momentum to continue");
  FG_CUDA_NEED(call,
               !stats || (stats->rank == 2 && stats->dim[0] == x0->dim[0] && stats->dim[1] == 3),
               "stats are not [N, 3]");
  FG_CUDA_NEED(call,
               fg_cuda_is_feature(fg_cuda_in(call, EPS_MAP), x0) &&
                   fg_cuda_is_feature(fg_cuda_in(call, MASK), x0),
               "eps_map or mask is not a float32, uint8 or bool of a sample's shape");
  FG_CUDA_NEED(call, fg_cuda_are_params(&call->in[PARAMS], x0->dim[0]),
               "params are not float64 [%d]", (int)FG_PARAM_COUNT);
  FG_CUDA_NEED(call, (unsigned)a->norm <= FG_NORM_l1, "unknown norm");
  struct fg_cuda_chunks c = fg_cuda_chunks_of(x0);
  FG_CUDA_NEED(call, c.samples * c.chunks <= INT32_MAX, "too many samples");
  call->scratch_bytes = fg_cuda_survey_bytes(c, PASS_COUNT) + (size_t)c.samples * sizeof(double);
  return FGSM_OK;
}

struct job job_of(const struct fg_call *call, void *scratch) {
  const struct fg_step_attrs *a = &call->attrs->step;
  struct job job = {};
  job.x0 = fg_cuda_from<float>(call, X0);
  job.x = fg_cuda_from<float>(call, X);
  job.g = fg_cuda_from<float>(call, G);
  job.m = fg_cuda_from<float>(call, M);
  job.map = fg_cuda_feature_of(call, EPS_MAP);
  job.mask = fg_cuda_feature_of(call, MASK);
  job.params = fg_cuda_from<double>(call, PARAMS);
  job.param_step = call->in[PARAMS].rank == 2 ? FG_PARAM_COUNT : 0;
  job.next = fg_cuda_to<float>(call, NEXT);
  job.m_next = fg_cuda_to<float>(call, M_NEXT);
  job.stats = fg_cuda_to<float>(call, STATS);
  job.chunks = fg_cuda_chunks_of(&call->in[X0]);
  job.parts = (struct fg_cuda_survey *)scratch;
  job.surveys[0] = job.parts + job.chunks.samples * job.chunks.chunks;
  for (int i = 1; i < PASS_COUNT; i++)
    job.surveys[i] = job.surveys[i - 1] + job.chunks.samples;
  job.theta = (double *)(job.surveys[PASS_COUNT - 1] + job.chunks.samples);
  job.norm = (int)a->norm;
  job.project = a->project;
  job.wide = job.chunks.features % 4 == 0 && fg_cuda_aligned(job.x0) && fg_cuda_aligned(job.x) &&
             fg_cuda_aligned(job.g) && fg_cuda_aligned(job.m) && fg_cuda_aligned(job.next) &&
             fg_cuda_aligned(job.m_next);
  return job;
}

template <int PASS>
fgsm_status survey(const struct fg_call *call, const struct job &job, cudaStream_t s) {
  FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(survey_step<PASS>, fg_cuda_chunk_grid(job.chunks),
                                            dim3(FG_CHUNK_THREADS), 0, s, job)));
  return run_fold(call, job.chunks, job.parts, job.surveys[PASS], s);
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct job job = job_of(call, scratch);
  cudaStream_t s = (cudaStream_t)stream;
  bool round = job.norm != FG_NORM_linf;
  if (job.chunks.samples == 0)
    return FGSM_OK;
  FG_TRY(survey<GRADIENT>(call, job, s));
  if (job.m && round)
    FG_TRY(survey<MOMENTUM>(call, job, s));
  if (job.project && round)
    FG_TRY(survey<MOVE>(call, job, s));
  if (job.project && job.norm == FG_NORM_l1)
    FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(find_theta, dim3((unsigned)job.chunks.samples),
                                              dim3(FG_CHUNK_THREADS), 0, s, job)));
  return fg_cuda_launched(call, FGSM_LAUNCH(finish_step, fg_cuda_chunk_grid(job.chunks),
                                            dim3(FG_CHUNK_THREADS), 0, s, job));
}
} // namespace

const struct fg_kernel fg_cuda_step = {prepare, run, NULL};
