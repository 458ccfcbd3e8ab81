/* mlp_fgsm: the whole attack of a dense network in one launch: forward, objective, backward, sign,
 * clip, as many steps as asked for, or the bisection for the least budget. Activations live in
 * shared memory, a block's tile of 4 to 64 samples at a time.
 *
 *   resident  (mlp_ffma.cuh) the whole network's weights stay in shared memory while the block takes
 *             tile after tile (ACAS Xu: 5-50x6-5, 13 305 weights, 54 KB with the rows padded)
 *   streamed  (mlp_ffma.cuh) weights pass from L2 through shared memory, 8 columns or rows at a
 *             time: any width, as long as the activations of 4 samples fit a block's shared memory
 *   tensor    (mlp_tensor.cuh) bfloat16 weights, on tensor cores, streamed too: 16 samples' values
 *             of two layers must fit
 *
 * Every sum has a fixed order, and a sample's does not depend on its place in the tile or, in
 * float32, on the tile's size; there are no atomics. The step's arithmetic is that of linf.cuh, in
 * double.
 *
 * Counts per sample, W weights, D features, FGSM:
 *   bytes  12 D + 4 for the label, + 4 each for loss and prediction, + 12 for stats. Streamed, the
 *          weights are read from L2 twice a tile: 8 W / tile, in bfloat16 4 W / tile. In bfloat16 a
 *          step more writes x' and reads it twice, a search writes the gradient and reads it, x0 and
 *          x in each look: both stay in L2 while the tile is small beside it.
 *   FLOPs  4 W. A step more costs them again; a search of n halvings 2 W (n + 4) in all.
 *   5-50x6-5: 64 bytes, 53 kFLOP: the floor is FFMA's.
 *   784-1024-1024-10: 9.4 KB, 7.5 MFLOP. float32: with 16 samples a tile 0.93 MB from L2, the floor
 *   is FFMA's, L2's close to it. bfloat16: tensor cores' floor is 7.5 MFLOP over their rate; with 48
 *   samples a tile, as many as 227 KB hold, 156 KB come from L2 for each, and a product's 48 by 128 by
 *   32 takes 1.3 times as many cycles of shared memory as sm_80's tensor cores take for it. A card
 *   whose L2 gives less than 21 bytes for 1000 FLOPs of its tensor cores is bound by L2. */
#include "mlp_ffma.cuh"
#include "mlp_tensor.cuh"

#include <stdlib.h>

namespace fgsm {
namespace {

/* ---- host */

enum Form { RESIDENT, STREAMED, TENSOR_16, TENSOR_32, TENSOR_48, TENSOR_64 };

using Kernel = void (*)(Call);
template <bool SEARCH> Kernel kernel_of(Form form) {
  static constexpr Kernel kernels[] = {attack<true, SEARCH>, attack<false, SEARCH>,
                                       attack_tensor<1>,     attack_tensor<2>,
                                       attack_tensor<3>,     attack_tensor<4>};
  return kernels[form];
}

int up4(int n) {
  return (n + 3) / 4 * 4;
}

/* Takes `bytes` of shared memory, on 16 bytes. False where the counter overflows. */
int take_room(int64_t *used, int64_t bytes) {
  const int64_t at = *used;
  *used += (bytes + 15) / 16 * 16;
  return (int)(at > INT32_MAX ? INT32_MAX : at);
}

/* The network's widths and offsets; returns the floats that its weights take when resident. */
int64_t net_of(const struct fg_mlp_attrs &a, Net *net) {
  int64_t weights = 0, resident = 0;
  net->layers = a.layers;
  net->classes = a.width[a.layers];
  for (int l = 0; l <= a.layers; l++) {
    net->width[l] = a.width[l];
    net->widest = up4(a.width[l]) > net->widest ? up4(a.width[l]) : net->widest;
  }
  for (int l = 0; l < a.layers; l++) {
    net->kind[l] = a.act[l].kind;
    net->alpha[l] = (float)a.act[l].alpha;
    net->weights[l] = (int)weights;
    net->resident[l] = (int)resident;
    weights += ((int64_t)a.width[l] + 1) * a.width[l + 1];
    resident += (int64_t)up4(a.width[l]) * a.width[l + 1];
  }
  return resident;
}

/* Lays out shared memory for a tile of so many samples. Returns the bytes. */
int64_t lay_out(const struct fg_mlp_attrs &a, Net *net, int64_t weight_floats, int tile,
                Room *room) {
  int64_t used = 0;
  room->tile = tile;
  room->ld = tile + 4;
  const int64_t layer = 4 * (int64_t)net->widest * room->ld;
  const int64_t features = 4 * (int64_t)up4(net->width[0]) * room->ld;
  room->a = take_room(&used, layer);
  room->b = take_room(&used, layer);
  room->x = !a.search && a.steps > 1 ? take_room(&used, features) : -1;
  room->g = a.search ? take_room(&used, features) : -1;
  for (int l = 0; l < net->layers; l++) {
    const int64_t each = net->kind[l] == FG_UNARY_identity ? 0 : is_sided(net->kind[l]) ? 1 : 4;
    net->kept[l] = take_room(&used, each * net->width[l + 1] * tile);
  }
  room->sample = take_room(&used, (int64_t)sizeof(Sample) * tile);
  const int64_t pass = 4 * (THREADS / (tile / 4)); /* results of a pass */
  room->weights = take_room(&used, 4 * (weight_floats ? weight_floats : pass * STAGE_LD));
  room->bytes = (int)(used > INT32_MAX ? INT32_MAX : used);
  return used;
}

/* The same in bfloat16, with as many chunks of weights under way. */
int64_t lay_out_tensor(Net *net, int tile, int stages, Room *room) {
  int64_t used = 0;
  const int64_t d_bytes = 4 * (int64_t)net->classes * (tile + 4); /* where chunks lie later */
  room->tile = tile;
  room->ld = tile + 4;
  room->stages = stages;
  for (int side = 0; side < 2; side++) {
    room->pitch[side] = 0;
    for (int l = side; l <= net->layers; l += 2) {
      const int own = up32(net->width[l]) + 8; /* rows 16 bytes apart, modulo 128 */
      room->pitch[side] = own > room->pitch[side] ? own : room->pitch[side];
    }
  }
  const int64_t a = 2ll * tile * room->pitch[0];
  const int64_t pass = (int64_t)tile * (4 * PASS_LD + WARPS * (int)sizeof(Partial));
  room->a = take_room(&used, a > pass ? a : pass);
  room->b = take_room(&used, 2ll * tile * room->pitch[1]);
  room->logits = take_room(&used, d_bytes);
  for (int l = 0; l < net->layers - 1; l++) {
    const bool sided = is_sided(net->kind[l]);
    const bool none = net->kind[l] == FG_UNARY_identity || side_stays(*net, l);
    const int64_t each = up32(net->width[l + 1]) / (sided ? 8 : 1) * (sided ? 1 : 2);
    net->kept[l] = take_room(&used, none ? 0 : each * tile);
  }
  room->sample = take_room(&used, (int64_t)sizeof(Sample) * tile);
  const int64_t chunks = (int64_t)sizeof(uint16_t) * CHUNK * stages;
  room->weights = take_room(&used, chunks > d_bytes ? chunks : d_bytes);
  room->bytes = (int)(used > INT32_MAX ? INT32_MAX : used);
  return used;
}

struct Card {
  int shared_bytes, processors;
};

/* The largest tile that fits and leaves no processor without work; then the most chunks under way.
 */
bool choose_tensor(int64_t samples, const Card &card, Call *c, Form *form) {
  for (int tile = 64; tile >= 16; tile -= 16) {
    const int64_t tiles = tile > 16 ? (samples + tile - 17) / (tile - 16) : INT64_MAX;
    for (int stages = 4; tiles > card.processors && stages >= 2; stages--)
      if (lay_out_tensor(&c->net, tile, stages, &c->room) <= card.shared_bytes) {
        *form = (Form)(TENSOR_16 + tile / 16 - 1);
        return true;
      }
  }
  return false;
}

/* Chooses the form and the tile: resident where all weights and 16 samples fit, else streamed with
 * as many samples as fit; bfloat16 weights take the tensor form. Fills net and room; false where
 * not even the smallest tile fits. */
bool choose(const struct fg_mlp_attrs &a, bool halves, int64_t samples, const Card &card, Call *c,
            Form *form) {
  const int64_t floats = net_of(a, &c->net);
  if (halves)
    return choose_tensor(samples, card, c, form);
  for (int both = 1; both >= 0; both--)
    for (int tile = 64; tile >= (both ? 16 : 4); tile /= 2) {
      *form = both ? RESIDENT : STREAMED;
      /* No more than there is work for. */
      if (tile > 4 && tile / 2 >= samples && !(both && tile == 16))
        continue;
      if (lay_out(a, &c->net, both ? floats : 0, tile, &c->room) <= card.shared_bytes)
        return true;
    }
  return false;
}

struct State {
  Call call;
  Kernel kernel;
  unsigned blocks;
};

enum { X0, X, WEIGHTS, LABELS, EPS_MAP, MASK, PARAMS, FUNCTIONAL };
enum { NEXT, LOSS, PREDICTION, STATS, LOGITS };

fgsm_status check_net(const struct fg_call *call) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  const struct fg_tensor &w = call->in[WEIGHTS];
  int64_t weights = 0;
  FG_CUDA_NEED(call, a.layers >= 1 && a.layers <= FG_MLP_LAYERS, "%d layers", a.layers);
  for (int l = 0; l < a.layers; l++) {
    FG_CUDA_NEED(call,
                 a.width[l] >= 1 && a.width[l + 1] >= 1 && a.width[l] <= 65536 &&
                     a.width[l + 1] <= 65536,
                 "layers of %d and %d", a.width[l], a.width[l + 1]);
    weights += ((int64_t)a.width[l] + 1) * a.width[l + 1];
  }
  FG_CUDA_NEED(call, w.type == FG_F32 || w.type == FG_BF16, "weights are %s", fg_type_name(w.type));
  FG_CUDA_NEED(call, weights <= INT32_MAX && fg_count(&w) == weights, "%lld weights",
               (long long)weights);
  return FGSM_OK;
}

fgsm_status check(const struct fg_call *call) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  const struct fg_tensor *in = call->in, *x0 = &in[X0];
  FG_CUDA_NEED(call, a.steps >= 1, "a look without steps");
  FG_CUDA_NEED(call, a.step.norm == FG_NORM_linf, "only the step in linf is fused");
  FG_TRY(
      fg_cuda_check(call, 1 << X0 | 1 << X | 1 << WEIGHTS | 1 << LABELS | 1 << PARAMS, 1 << NEXT));
  FG_TRY(fg_cuda_check_real(call, 1 << X0 | 1 << X | 1 << EPS_MAP | 1 << MASK,
                            1 << NEXT | 1 << LOSS | 1 << STATS | 1 << LOGITS));
  FG_TRY(check_net(call));
  FG_TRY(fg_cuda_check_functional(call, &a.loss, FUNCTIONAL, a.width[a.layers]));
  FG_CUDA_NEED(call,
               x0->rank >= 1 && x0->dim[0] <= INT32_MAX &&
                   fg_cuda_span(x0, 1, x0->rank) == a.width[0] && fg_same_shape(x0, &in[X]) &&
                   fg_same_shape(x0, &call->out[NEXT]) && in[LABELS].type == FG_I32 &&
                   fg_count(&in[LABELS]) == x0->dim[0],
               "samples and labels do not fit the network");
  FG_CUDA_NEED(call,
               fg_cuda_is_feature(fg_cuda_in(call, EPS_MAP), x0) &&
                   fg_cuda_is_feature(fg_cuda_in(call, MASK), x0),
               "eps_map or mask is not of a sample's shape");
  FG_CUDA_NEED(call, fg_cuda_is_params(&in[PARAMS]), "params are not float64 [%d]",
               (int)FG_PARAM_COUNT);
  return FGSM_OK;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  int device;
  Card card;
  FG_TRY(check(call));
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&card.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess ||
      cudaDeviceGetAttribute(&card.processors, cudaDevAttrMultiProcessorCount, device) !=
          cudaSuccess)
    return FG_FAIL(DEVICE, "cuda: mlp_fgsm: the device does not say what it has");
  Call c = {};
  Form form;
  FG_CUDA_NEED(call,
               choose(a, call->in[WEIGHTS].type == FG_BF16, call->in[X0].dim[0], card, &c, &form),
               "the activations of the smallest tile of samples exceed %d bytes of shared memory",
               card.shared_bytes);
  const Kernel kernel = a.search ? kernel_of<true>(form) : kernel_of<false>(form);
  if (cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                           cudaFuncAttributeMaxDynamicSharedMemorySize,
                           card.shared_bytes) != cudaSuccess)
    return FG_FAIL(DEVICE, "cuda: mlp_fgsm: no %d bytes of shared memory", card.shared_bytes);
  State *state = static_cast<State *>(calloc(1, sizeof *state));
  if (!state)
    return FG_FAIL(MEMORY, "no memory for a kernel's state");
  c.samples = call->in[X0].dim[0];
  c.tiles = (int)((c.samples + c.room.tile - 1) / c.room.tile);
  const int fit = form >= TENSOR_16 ? 1 : card.shared_bytes / c.room.bytes;
  const int most = card.processors * (fit > 2 ? 2 : fit);
  state->call = c;
  state->kernel = kernel;
  state->blocks = (unsigned)(c.tiles < most ? c.tiles : most);
  call->state = state;
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream_) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  const State *state = static_cast<const State *>(call->state);
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  Call c = state->call;
  if (!c.samples)
    return FGSM_OK;
  FG_TRY(check_aligned(call));
  c.step.x0 = fg_cuda_from<float>(call, X0);
  c.step.x = fg_cuda_from<float>(call, X);
  c.step.eps_map = fg_cuda_from<float>(call, EPS_MAP);
  c.step.mask = fg_cuda_from<float>(call, MASK);
  c.step.params = fg_cuda_from<double>(call, PARAMS);
  c.step.next = fg_cuda_to<float>(call, NEXT);
  c.step.features = a.width[0];
  c.step.project = a.step.project;
  c.weights = fg_cuda_from<void>(call, WEIGHTS);
  c.functional = fg_cuda_from<float>(call, FUNCTIONAL);
  c.labels = fg_cuda_from<int>(call, LABELS);
  c.loss = fg_cuda_to<float>(call, LOSS);
  c.prediction = fg_cuda_to<int>(call, PREDICTION);
  c.stats = fg_cuda_to<float>(call, STATS);
  c.logits = fg_cuda_to<float>(call, LOGITS);
  c.steps = a.steps;
  c.objective = a.loss.kind;
  c.targeted = a.loss.targeted;
  c.parity = a.loss.parity;
  c.search = a.search;
  return fg_cuda_launched(call, FGSM_LAUNCH(state->kernel, dim3(state->blocks), dim3(THREADS),
                                            (size_t)c.room.bytes, stream, c));
}

void release(struct fg_call *call) {
  free(call->state);
  call->state = nullptr;
}

} // namespace
} // namespace fgsm

extern "C" const struct fg_kernel fg_cuda_mlp_fgsm = {fgsm::prepare, fgsm::run, fgsm::release};
