/* augment: samples of a dataset that lies on the card, moved and mirrored. A thread moves one place (all
 * values that lie together behind width), so that neighbours read neighbours, but for a mirror's turn. An
 * index out of range gives zeros: a card cannot report it.
 *
 * Floor: an element's bytes twice; ten rounds of Philox a thread, about 60 integer operations. */
#include "cuda.h"
#include "philox.h"

namespace {
enum { DATA, INDEX, PARAMS };

struct job {
  const int64_t *index;
  const double *params;
  struct fg_augment_attrs attrs;
  int64_t samples, outer, height, width, inner, places; /* places of x */
};

/* ptxas budget: move_places registers 32 shared 0 blocks 8 */
template <class T>
__global__ void __launch_bounds__(256) move_places(const T *data, T *x, struct job job) {
  int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= job.places)
    return;
  x += at * job.inner;
  const int64_t w = at % job.width, h = at / job.width % job.height;
  const int64_t o = at / (job.width * job.height) % job.outer;
  const int64_t sample = job.index[at / (job.width * job.height * job.outer)];
  const struct fg_philox_move v = fg_philox_move((uint64_t)job.params[FG_PARAM_seed], sample,
                                                 (uint32_t)(uint64_t)job.params[FG_PARAM_stream],
                                                 job.attrs.pad, job.attrs.flip);
  const int64_t sh = h + v.dy, sw = (v.mirrored ? job.width - 1 - w : w) + v.dx;
  const bool there = sample >= 0 && sample < job.samples && sh >= 0 && sh < job.height && sw >= 0 &&
                     sw < job.width;
  data += (((sample * job.outer + o) * job.height + sh) * job.width + sw) * job.inner;
  for (int64_t k = 0; k < job.inner; k++)
    x[k] = there ? data[k] : (T)0;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 1 << DATA | 1 << INDEX | 1 << PARAMS, 1));
  const struct fg_augment_attrs *a = &call->attrs->augment;
  const struct fg_tensor *data = &call->in[DATA], *index = &call->in[INDEX], *x = &call->out[0];
  FG_CUDA_NEED(call, data->type == FG_U8 || data->type == FG_F32, "%s samples",
               fg_type_name(data->type));
  FG_CUDA_NEED(call, data->type == x->type && data->rank == x->rank && x->rank >= 1,
               "types or ranks differ");
  for (int i = 1; i < x->rank; i++)
    FG_CUDA_NEED(call, data->dim[i] == x->dim[i], "a sample's shape differs");
  FG_CUDA_NEED(call, index->type == FG_I64 && index->rank == 1 && index->dim[0] == x->dim[0],
               "index is not int64 [N]");
  FG_CUDA_NEED(call, fg_cuda_is_params(&call->in[PARAMS]), "params are not float64 [%d]",
               (int)FG_PARAM_COUNT);
  FG_CUDA_NEED(call,
               a->pad >= 0 && ((!a->pad && !a->flip) || (a->axis >= 1 && a->axis + 2 <= x->rank)),
               "no image at axis %d", a->axis);
  FG_CUDA_NEED(call, fg_count(x) <= (int64_t)256 * INT32_MAX, "too many values");
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->out[0];
  struct job job = {};
  job.index = (const int64_t *)call->in[INDEX].data;
  job.params = (const double *)call->in[PARAMS].data;
  job.attrs = call->attrs->augment;
  job.samples = call->in[DATA].dim[0];
  const bool moves = job.attrs.pad || job.attrs.flip;
  job.outer = moves ? fg_cuda_span(x, 1, job.attrs.axis) : 1;
  job.height = moves ? x->dim[job.attrs.axis] : 1;
  job.width = moves ? x->dim[job.attrs.axis + 1] : fg_cuda_span(x, 1, x->rank);
  job.inner = moves ? fg_cuda_span(x, job.attrs.axis + 2, x->rank) : 1;
  job.places = x->dim[0] * job.outer * job.height * job.width;
  if (job.places == 0 || job.inner == 0)
    return FGSM_OK;
  const dim3 grid(fg_cuda_blocks(job.places, 256)), block(256);
  cudaStream_t s = (cudaStream_t)stream;
  const void *data = call->in[DATA].data;
  return fg_cuda_launched(call, x->type == FG_U8
                                    ? FGSM_LAUNCH(move_places<uint8_t>, grid, block, 0, s,
                                                  (const uint8_t *)data, (uint8_t *)x->data, job)
                                    : FGSM_LAUNCH(move_places<float>, grid, block, 0, s,
                                                  (const float *)data, (float *)x->data, job));
}
} // namespace

const struct fg_kernel fg_cuda_augment = {prepare, run, NULL};
