/* quantize: bytes that keep to the ball, and what they cost. Bounds are found in double, as in the
 * oracle; stats are surveys of q / 255 - x0, folded in order.
 *
 * Floor: 9 bytes a feature, about 12 FLOPs in double. */
#include "feature.h"

namespace {
enum { X, X0, PARAMS };
enum { Q, STATS };

struct job {
  const float *x, *x0;
  const double *params;
  int param_step; /* from a sample's params to the next one's, or 0 */
  uint8_t *q;
  float *stats;
  struct fg_cuda_chunks chunks;
  struct fg_cuda_survey *parts, *samples;
  bool project, wide;
};

/* ptxas budget: to_bytes registers 64 shared 256 blocks 4 loads16 */
__global__ void __launch_bounds__(FG_CHUNK_THREADS) to_bytes(struct job job) {
  const struct fg_cuda_place p = fg_cuda_chunk(job.chunks);
  const int64_t base = p.sample * job.chunks.features;
  const double eps = job.params[p.sample * job.param_step + FG_PARAM_eps];
  struct fg_cuda_survey s = fg_cuda_survey_none();
  for (int64_t i = p.first + 4 * threadIdx.x; i < p.last; i += 4 * FG_CHUNK_THREADS) {
    float x[4], x0[4];
    uint8_t q[4];
    fg_cuda_load4(job.x + base, i, p.last, job.wide, x, 0.0f);
    fg_cuda_load4(job.x0 + base, i, p.last, job.wide, x0, 0.0f);
    for (int k = 0; k < 4; k++) {
      q[k] = fgsm::byte_of(x[k], x0[k], eps, job.project);
      if (i + k < p.last)
        fg_cuda_survey_add(&s, q[k] / 255.0 - x0[k], i + k);
    }
    if (job.wide && i + 4 <= p.last) {
      fgsm_stv(job.q + base + i, make_uchar4(q[0], q[1], q[2], q[3]));
    } else {
      for (int k = 0; k < 4; k++)
        if (i + k < p.last)
          job.q[base + i + k] = q[k];
    }
  }
  if (!job.stats)
    return;
  s = fg_cuda_survey_group(s);
  if (threadIdx.x == 0)
    job.parts[blockIdx.x] = s;
}

/* ptxas budget: put_stats registers 24 shared 0 blocks 8 */
__global__ void __launch_bounds__(256) put_stats(struct job job) {
  const int64_t s = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (s >= job.chunks.samples)
    return;
  job.stats[2 * s] = (float)job.samples[s].top;
  job.stats[2 * s + 1] = (float)sqrt(job.samples[s].squares);
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 7, 1));
  FG_TRY(fg_cuda_check_real(call, 3, 1 << STATS));
  const struct fg_tensor *x = &call->in[X], *stats = fg_cuda_out(call, STATS);
  FG_CUDA_NEED(call, x->rank >= 1, "x has no batch axis");
  FG_CUDA_NEED(call, fg_same_shape(x, &call->in[X0]) && fg_same_shape(x, &call->out[Q]),
               "shapes differ");
  FG_CUDA_NEED(call, call->out[Q].type == FG_U8, "q is %s", fg_type_name(call->out[Q].type));
  FG_CUDA_NEED(call,
               !stats || (stats->rank == 2 && stats->dim[0] == x->dim[0] && stats->dim[1] == 2),
               "stats are not [N, 2]");
  FG_CUDA_NEED(call, fg_cuda_are_params(&call->in[PARAMS], x->dim[0]),
               "params are not float64 [%d]", (int)FG_PARAM_COUNT);
  struct fg_cuda_chunks c = fg_cuda_chunks_of(x);
  FG_CUDA_NEED(call, c.samples * c.chunks <= INT32_MAX, "too many samples");
  call->scratch_bytes = fg_cuda_survey_bytes(c, 1);
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  const struct fg_step_attrs *a = &call->attrs->step;
  const struct fg_tensor *x = &call->in[X];
  struct job job = {(const float *)x->data,
                    (const float *)call->in[X0].data,
                    (const double *)call->in[PARAMS].data,
                    call->in[PARAMS].rank == 2 ? FG_PARAM_COUNT : 0,
                    (uint8_t *)call->out[Q].data,
                    fg_cuda_to<float>(call, STATS),
                    fg_cuda_chunks_of(x),
                    (struct fg_cuda_survey *)scratch,
                    NULL,
                    a->project && a->norm == FG_NORM_linf,
                    false};
  cudaStream_t s = (cudaStream_t)stream;
  job.samples = job.parts + job.chunks.samples * job.chunks.chunks;
  job.wide = job.chunks.features % 4 == 0 && fg_cuda_aligned(job.x) && fg_cuda_aligned(job.x0) &&
             fg_cuda_aligned(job.q);
  if (job.chunks.samples == 0)
    return FGSM_OK;
  FG_TRY(fg_cuda_launched(call, FGSM_LAUNCH(to_bytes, fg_cuda_chunk_grid(job.chunks),
                                            dim3(FG_CHUNK_THREADS), 0, s, job)));
  if (!job.stats)
    return FGSM_OK;
  FG_TRY(run_fold(call, job.chunks, job.parts, job.samples, s));
  return fg_cuda_launched(
      call,
      FGSM_LAUNCH(put_stats, dim3(fg_cuda_blocks(job.chunks.samples, 256)), dim3(256), 0, s, job));
}
} // namespace

const struct fg_kernel fg_cuda_quantize = {prepare, run, NULL};
