/* perturb: the random start. A thread draws one Philox block, four features, which depend on seed,
 * sample number, stream and place alone. An L2 start needs its direction's length first: a survey
 * of the same draws, which are made again and never stored.
 *
 * A card cannot refuse: that seed and stream are in range is the host's to check. Floor: 8 bytes a
 * feature; ten rounds of Philox for four features, about 60 integer operations. */
#include "feature.h"
#include "philox.h"

namespace {
enum { X0, INDEX, EPS_MAP, MASK, PARAMS };

struct job {
  const float *x0;
  const int64_t *index;
  struct fg_cuda_feature map, mask;
  const double *params;
  float *y;
  struct fg_cuda_chunks chunks;
  int kind;
  bool round, box, wide; /* round: an L2 start */
};

__device__ __forceinline__ struct fg_philox words(const struct job &job, int64_t sample,
                                                  uint32_t block) {
  return fg_philox_sample((uint64_t)job.params[FG_PARAM_seed], job.index[sample],
                          (uint32_t)(uint64_t)job.params[FG_PARAM_stream], block);
}

/* Features i..i + 3's noise for a radius of 1; 0 where the mask keeps the feature. */
__device__ __forceinline__ void draw(const struct job &job, int64_t sample, int64_t i,
                                     double (&unit)[4]) {
  const struct fg_philox r = words(job, sample, (uint32_t)(i / 4));
  if (job.round) {
    fg_philox_normal(r.word[0], r.word[1], &unit[0], &unit[1]);
    fg_philox_normal(r.word[2], r.word[3], &unit[2], &unit[3]);
  }
  for (int k = 0; k < 4; k++) {
    if (!job.round)
      unit[k] = job.kind == FG_START_none   ? 0
                : job.kind == FG_START_sign ? fg_philox_sign(r.word[k])
                                            : fg_philox_symmetric(r.word[k]);
    if (job.mask.data && i + k < job.chunks.features && job.mask.at(i + k) == 0)
      unit[k] = 0;
  }
}

/* ptxas budget: survey_noise registers 80 shared 256 blocks 3 local */
__global__ void __launch_bounds__(FG_CHUNK_THREADS)
    survey_noise(struct job job, struct fg_cuda_survey *parts) {
  const struct fg_cuda_place p = fg_cuda_chunk(job.chunks);
  struct fg_cuda_survey s = fg_cuda_survey_none();
  for (int64_t i = p.first + 4 * threadIdx.x; i < p.last; i += 4 * FG_CHUNK_THREADS) {
    double unit[4];
    draw(job, p.sample, i, unit);
    for (int k = 0; k < 4; k++)
      if (i + k < p.last)
        fg_cuda_survey_add(&s, unit[k], i + k);
  }
  s = fg_cuda_survey_group(s);
  if (threadIdx.x == 0)
    parts[blockIdx.x] = s;
}

/* ptxas budget: add_noise registers 64 shared 0 blocks 4 loads16 stores16 local */
__global__ void __launch_bounds__(FG_CHUNK_THREADS)
    add_noise(struct job job, const struct fg_cuda_survey *samples) {
  const struct fg_cuda_place p = fg_cuda_chunk(job.chunks);
  const double *param = job.params;
  const double lo = job.box ? param[FG_PARAM_lo] : -INFINITY;
  const double hi = job.box ? param[FG_PARAM_hi] : INFINITY;
  double length = 1;
  if (job.round) {
    const double squares = samples[p.sample].squares;
    const float u = fg_philox_unit(words(job, p.sample, FG_PHILOX_LENGTH_BLOCK).word[0]);
    length = squares == 0 ? 1 : u / sqrt(squares);
  }
  const float *x0 = job.x0 + p.sample * job.chunks.features;
  float *y = job.y + p.sample * job.chunks.features;
  for (int64_t i = p.first + 4 * threadIdx.x; i < p.last; i += 4 * FG_CHUNK_THREADS) {
    float x[4];
    double unit[4];
    fg_cuda_load4(x0, i, p.last, job.wide, x, 0.0f);
    draw(job, p.sample, i, unit);
    for (int k = 0; k < 4; k++) {
      if (i + k >= p.last || (job.mask.data && job.mask.at(i + k) == 0))
        continue;
      const double radius =
          fg_cuda_scale(param[FG_PARAM_radius], param[FG_PARAM_eps], job.map, i + k);
      const double noise = unit[k] * length;
      x[k] = fgsm::into_box(noise == 0 ? x[k] : x[k] + radius * noise, lo, hi);
    }
    fg_cuda_store4(y, i, p.last, job.wide, x);
  }
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1 << X0 | 1 << INDEX | 1 << PARAMS, 1));
  FG_TRY(fg_cuda_check_real(call, 1 << X0, 1));
  const struct fg_perturb_attrs *a = &call->attrs->perturb;
  const struct fg_tensor *x0 = &call->in[X0], *index = &call->in[INDEX];
  FG_CUDA_NEED(call, x0->rank >= 1, "x0 has no batch axis");
  FG_CUDA_NEED(call, index->type == FG_I64 && index->rank == 1 && index->dim[0] == x0->dim[0],
               "index is not int64 [N]");
  FG_CUDA_NEED(call, fg_same_shape(x0, &call->out[0]), "shapes differ");
  FG_CUDA_NEED(call,
               fg_cuda_is_feature(fg_cuda_in(call, EPS_MAP), x0) &&
                   fg_cuda_is_feature(fg_cuda_in(call, MASK), x0),
               "eps_map or mask is not a float32, uint8 or bool of a sample's shape");
  FG_CUDA_NEED(call, fg_cuda_is_params(&call->in[PARAMS]), "params are not float64 [%d]",
               (int)FG_PARAM_COUNT);
  FG_CUDA_NEED(call, (unsigned)a->kind <= FG_START_sign, "unknown kind");
  struct fg_cuda_chunks c = fg_cuda_chunks_of(x0);
  FG_CUDA_NEED(call, c.features / 4 < FG_PHILOX_LENGTH_BLOCK, "too many features");
  FG_CUDA_NEED(call, c.samples * c.chunks <= INT32_MAX, "too many samples");
  call->scratch_bytes = fg_cuda_survey_bytes(c, 1);
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  const struct fg_perturb_attrs *a = &call->attrs->perturb;
  const struct fg_tensor *x0 = &call->in[X0];
  struct job job = {(const float *)x0->data,
                    (const int64_t *)call->in[INDEX].data,
                    fg_cuda_feature_of(call, EPS_MAP),
                    fg_cuda_feature_of(call, MASK),
                    (const double *)call->in[PARAMS].data,
                    (float *)call->out[0].data,
                    fg_cuda_chunks_of(x0),
                    (int)a->kind,
                    a->kind == FG_START_uniform && a->norm == FG_NORM_l2,
                    a->box,
                    false};
  struct fg_cuda_survey *parts = (struct fg_cuda_survey *)scratch;
  struct fg_cuda_survey *samples = parts + job.chunks.samples * job.chunks.chunks;
  cudaStream_t s = (cudaStream_t)stream;
  dim3 grid = fg_cuda_chunk_grid(job.chunks), threads(FG_CHUNK_THREADS);
  job.wide = job.chunks.features % 4 == 0 && fg_cuda_aligned(job.x0) && fg_cuda_aligned(job.y);
  if (fg_count(x0) == 0)
    return FGSM_OK;
  if (job.round) {
    FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(survey_noise, grid, threads, 0, s, job, parts)));
    FG_TRY(run_fold(call, job.chunks, parts, samples, s));
  }
  return fg_cuda_launched(call, FGSM_LAUNCH(add_noise, grid, threads, 0, s, job,
                                            (const struct fg_cuda_survey *)samples));
}
} // namespace

const struct fg_kernel fg_cuda_perturb = {prepare, run, NULL};
