/* mlp_fgsm: the whole attack of a dense network in one launch: forward, objective, backward, sign,
 * clip, as many steps as asked for, or the bisection for the least budget. Activations live in
 * shared memory (mlp_net.cuh), a block's tile of 4 to 64 samples at a time; x' is written once, at
 * the end.
 *
 *   resident  the whole network's weights stay in shared memory while the block takes tile after
 *             tile (ACAS Xu: 5-50x6-5, 13 305 weights, 54 KB with the rows padded)
 *   streamed  weights pass from L2 through shared memory, 8 columns or rows at a time: any width,
 * as long as the activations of 4 samples fit a block's shared memory What backward needs of a
 * layer is a byte a sample for relu and leaky_relu (which side of 0), a float (the slope) for
 * curved activations, nothing for none.
 *
 * Every sum has a fixed order, and a sample's does not depend on its place in the tile or on the
 * tile's size; there are no atomics. The step's arithmetic is that of linf.cuh, in double.
 *
 * Counts per sample, W weights, D features, float32, FGSM:
 *   bytes  12 D + 4 for the label, + 4 each for loss and prediction, + 12 for stats. Streamed, the
 *          weights are read from L2 twice a tile: 8 W / tile.
 *   FLOPs  4 W. A step more costs them again, and no bytes of device memory; a search of n halvings
 *          2 W (n + 4) in all.
 *   5-50x6-5: 64 bytes, 53 kFLOP: the floor is FFMA's.  784-1024-1024-10: 9.4 KB, 7.5 MFLOP, and
 * with 16 samples a tile 0.93 MB from L2: the floor is FFMA's, L2's close to it. */
#include "mlp_net.cuh"

#include <stdlib.h>

namespace fgsm {
namespace {

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
    t.samples()[s].broken = p.broken != 0;
    t.samples()[s].broken_parts += (int)p.broken;
    if (report && c.stats && n0 + s < c.samples) {
      float *to = c.stats + (n0 + s) * (c.search ? 4 : 3);
      to[0] = (float)p.sum;
      to[1] = p.free_places ? (float)((double)p.zeros / (double)p.free_places) : 1.0f;
      to[2] = (float)t.samples()[s].broken_parts;
    }
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
    if (owner && i >= 2)
      mine->t = (mine->lo + mine->hi) / 2;
    else if (owner)
      mine->t = i == 0 ? 1 : 0;
    __syncthreads();
    look<RESIDENT>(t, n0);
    if (owner && i == 0)
      mine->any = mine->reached;
    else if (owner && i == 1)
      mine->hi = mine->reached ? 0 : mine->hi;
    else if (owner && mine->any && mine->hi > 0)
      *(mine->reached ? &mine->hi : &mine->lo) = mine->t;
    __syncthreads();
  }
  if (owner) {
    mine->t = mine->hi;
    if (c.stats && n0 + threadIdx.x < c.samples)
      c.stats[(n0 + threadIdx.x) * 4 + 3] =
          mine->any || mine->hi == 0 ? (float)(mine->hi * c.step.params[FG_PARAM_eps]) : INFINITY;
  }
  __syncthreads();
  move_samples(t, n0, t.at(c.room.g), nullptr, nullptr);
}

/* ptxas budget: attack registers 96 shared 0 */
template <bool RESIDENT, bool SEARCH> __global__ void __launch_bounds__(THREADS, 1) attack(Call c) {
  FGSM_SHARED_DYN(unsigned char, shared);
  const Tile t = {shared, &c};
  if (RESIDENT) {
    float *to = t.at(c.room.weights);
    for (int l = 0; l < c.net.layers; l++) {
      const int n = c.net.width[l], n4 = padded(n);
      for (int e = threadIdx.x; e < c.net.width[l + 1] * n4; e += THREADS) {
        const int row = e / n4, i = e % n4;
        to[c.net.resident[l] + e] = i < n ? c.weights[c.net.weights[l] + row * n + i] : 0.0f;
      }
    }
  }
  for (int tile = blockIdx.x; tile < c.tiles; tile += gridDim.x) {
    if ((int)threadIdx.x < c.room.tile) {
      const Sample fresh = {1, 0, 1, -1, 0, 0, 0, 0};
      t.samples()[threadIdx.x] = fresh;
    }
    __syncthreads();
    const int64_t n0 = (int64_t)tile * c.room.tile;
    if (SEARCH)
      search<RESIDENT>(t, n0);
    else
      iterate<RESIDENT>(t, n0);
    __syncthreads();
  }
}

/* ---- host */

const void *kernel_of(bool resident, bool search) {
  return resident ? search ? reinterpret_cast<const void *>(&attack<true, true>)
                           : reinterpret_cast<const void *>(&attack<true, false>)
         : search ? reinterpret_cast<const void *>(&attack<false, true>)
                  : reinterpret_cast<const void *>(&attack<false, false>);
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
    const bool sided = net->kind[l] == FG_UNARY_relu || net->kind[l] == FG_UNARY_leaky_relu;
    const int64_t each = net->kind[l] == FG_UNARY_identity ? 0 : sided ? 1 : 4;
    net->kept[l] = take_room(&used, each * net->width[l + 1] * tile);
  }
  room->sample = take_room(&used, (int64_t)sizeof(Sample) * tile);
  const int64_t pass = 4 * (THREADS / (tile / 4)); /* results of a pass */
  room->weights = take_room(&used, 4 * (weight_floats ? weight_floats : pass * STAGE_LD));
  room->bytes = (int)(used > INT32_MAX ? INT32_MAX : used);
  return used;
}

/* Chooses the variant and the tile: resident where all weights and 16 samples fit, else streamed
 * with as many samples as fit. Fills net and room; false where not even four do. */
bool choose(const struct fg_mlp_attrs &a, int64_t samples, int64_t limit, Call *c, bool *resident) {
  const int64_t floats = net_of(a, &c->net);
  for (int both = 1; both >= 0; both--)
    for (int tile = 64; tile >= (both ? 16 : 4); tile /= 2) {
      *resident = both;
      /* No more than there is work for. */
      if (tile > 4 && tile / 2 >= samples && !(both && tile == 16))
        continue;
      if (lay_out(a, &c->net, both ? floats : 0, tile, &c->room) <= limit)
        return true;
    }
  return false;
}

struct State {
  Call call;
  bool resident;
  unsigned blocks;
};

fgsm_status check(const struct fg_call *call) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  const struct fg_tensor *in = call->in, *out = call->out, *x0 = &in[0];
  for (int i = 0; i < 6; i++) {
    const bool is_label = i == 3, optional = i > 3;
    if (in[i].type != (is_label ? FG_I32 : FG_F32) && !(optional && !present(&in[i])))
      return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: input %d is %s", i, fg_type_name(in[i].type));
    if (in[i].layout != FG_PLAIN)
      return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: a tensor in channel blocks");
  }
  int64_t weights = 0;
  if (a.layers < 1 || a.layers > FG_MLP_LAYERS || a.steps < 1 || a.step.norm != FG_NORM_linf)
    return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: layers, steps or norm out of range");
  for (int l = 0; l < a.layers; l++) {
    if (a.width[l] < 1 || a.width[l + 1] < 1 || a.width[l] > 65536 || a.width[l + 1] > 65536)
      return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: layers of %d and %d", a.width[l],
                     a.width[l + 1]);
    weights += ((int64_t)a.width[l] + 1) * a.width[l + 1];
  }
  if (weights > INT32_MAX || fg_count(&in[2]) != weights)
    return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: %lld weights", (long long)weights);
  if (x0->rank < 1 || fg_count(x0) != x0->dim[0] * a.width[0] || !fg_same_shape(x0, &in[1]) ||
      !fg_same_shape(x0, &out[0]) || fg_count(&in[3]) != x0->dim[0] || x0->dim[0] > INT32_MAX)
    return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: samples and labels do not fit the network");
  for (int i = 4; i < 6; i++)
    if (present(&in[i]) && fg_count(&in[i]) != a.width[0])
      return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: input %d has another shape than a sample", i);
  if (in[6].type != FG_F64 || fg_count(&in[6]) != FG_PARAM_COUNT)
    return FG_FAIL(UNSUPPORTED, "cuda: mlp_fgsm: params are not float64 [%d]", (int)FG_PARAM_COUNT);
  return FGSM_OK;
}

fgsm_status prepare(struct fg_call *call, struct fg_device *) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  int device, limit, processors;
  FG_TRY(check(call));
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess ||
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return FG_FAIL(DEVICE, "cuda: mlp_fgsm: the device does not say what it has");
  Call c = {};
  bool resident;
  if (!choose(a, call->in[0].dim[0], limit, &c, &resident))
    return FG_FAIL(UNSUPPORTED,
                   "cuda: mlp_fgsm: four samples' activations exceed %d bytes of "
                   "shared memory",
                   limit);
  if (cudaFuncSetAttribute(kernel_of(resident, a.search),
                           cudaFuncAttributeMaxDynamicSharedMemorySize,
                           c.room.bytes) != cudaSuccess)
    return FG_FAIL(DEVICE, "cuda: mlp_fgsm: no %d bytes of shared memory", c.room.bytes);
  State *state = static_cast<State *>(calloc(1, sizeof *state));
  if (!state)
    return FG_FAIL(MEMORY, "no memory for a kernel's state");
  c.samples = call->in[0].dim[0];
  c.tiles = (int)((c.samples + c.room.tile - 1) / c.room.tile);
  const int fit = limit / c.room.bytes, most = processors * (fit > 2 ? 2 : fit);
  state->call = c;
  state->resident = resident;
  state->blocks = (unsigned)(c.tiles < most ? c.tiles : most);
  call->state = state;
  return FGSM_OK;
}

fgsm_status run(const struct fg_call *call, void *, void *stream_) {
  const struct fg_mlp_attrs &a = call->attrs->mlp;
  const struct fg_tensor *in = call->in, *out = call->out;
  const State *state = static_cast<const State *>(call->state);
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  Call c = state->call;
  if (!c.samples)
    return FGSM_OK;
  c.step.x0 = floats(&in[0]);
  c.step.x = floats(&in[1]);
  c.step.eps_map = floats(&in[4]);
  c.step.mask = floats(&in[5]);
  c.step.params = static_cast<const double *>(in[6].data);
  c.step.next = static_cast<float *>(out[0].data);
  c.step.features = a.width[0];
  c.step.project = a.step.project;
  c.weights = floats(&in[2]);
  c.labels = static_cast<const int *>(in[3].data);
  c.loss = present(&out[1]) ? static_cast<float *>(out[1].data) : nullptr;
  c.prediction = present(&out[2]) ? static_cast<int *>(out[2].data) : nullptr;
  c.stats = present(&out[3]) ? static_cast<float *>(out[3].data) : nullptr;
  c.logits = present(&out[4]) ? static_cast<float *>(out[4].data) : nullptr;
  c.steps = a.steps;
  c.objective = a.loss.kind;
  c.targeted = a.loss.targeted;
  c.parity = a.loss.parity;
  c.search = a.search;
  const dim3 grid(state->blocks), block(THREADS);
  const size_t bytes = (size_t)c.room.bytes;
  return launched(state->resident
                      ? a.search ? FGSM_LAUNCH((attack<true, true>), grid, block, bytes, stream, c)
                                 : FGSM_LAUNCH((attack<true, false>), grid, block, bytes, stream, c)
                  : a.search ? FGSM_LAUNCH((attack<false, true>), grid, block, bytes, stream, c)
                             : FGSM_LAUNCH((attack<false, false>), grid, block, bytes, stream, c),
                  call->op);
}

void release(struct fg_call *call) {
  free(call->state);
  call->state = nullptr;
}

} // namespace
} // namespace fgsm

extern "C" const struct fg_kernel fg_cuda_mlp_fgsm = {fgsm::prepare, fgsm::run, fgsm::release};
