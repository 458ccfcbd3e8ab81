/* A dense network in bfloat16 on tensor cores: weights, activations and gradients between
 * layers are bfloat16, sums and what is done with them float32, the step that of linf.cuh.
 *
 * A block has 16 to 64 samples. Their activations lie in shared memory, [sample][width], two layers'
 * at a time: those of layers of even number in one buffer, of odd number in the other. Weights come
 * from L2 in chunks of 128 by 32, two to four of them in flight (cp.async): rows as they lie, which
 * forward reads by ldmatrix as columns of W^T, and backward by ldmatrix.trans as columns of W. A warp
 * makes 16 results of every sample. Of an activation backward needs a bit a sample where it has two
 * sides, a bfloat16 where it is curved; the last one's side is read off its values, which still lie
 * where the gradient goes.
 * For mlp_tensor.cuh, which attacks it. */
#ifndef FGSM_MLP_TENSOR_NET_CUH
#define FGSM_MLP_TENSOR_NET_CUH

#include "mlp_call.cuh"

namespace fgsm {
namespace {

constexpr int WARPS = THREADS / 32, CHUNK_K = 32, CHUNK_N = 16 * WARPS;
constexpr int ROWS_LD = CHUNK_K + 8, COLS_LD = CHUNK_N + 8; /* of a chunk, forward and backward */
constexpr int CHUNK = CHUNK_N * ROWS_LD;                    /* values: the larger of the two    */

__host__ __device__ constexpr int up32(int n) {
  return (n + 31) / 32 * 32;
}

/* Layer l's values; layer 0 is x. */
__device__ __forceinline__ uint16_t *values(const Tile &t, int l) {
  const Room &room = t.c->room;
  return reinterpret_cast<uint16_t *>(t.shared + (l % 2 ? room.b : room.a));
}
__device__ __forceinline__ int pitch_of(const Tile &t, int l) {
  return t.c->room.pitch[l % 2];
}
__device__ __forceinline__ const uint16_t *weights_of(const Tile &t, int l) {
  return static_cast<const uint16_t *>(t.c->weights) + t.c->net.weights[l];
}
/* Whether the side of layer l's activation is read off its values, h_(l + 1). */
__host__ __device__ __forceinline__ bool side_stays(const Net &net, int l) {
  return l == net.layers - 2 && is_sided(net.kind[l]) &&
         (net.kind[l] == FG_UNARY_relu || net.alpha[l] > 0);
}

/* ---- products */

/* Starts the copy of one chunk of layer l's weights: rows o0 on, columns i0 on; zero beyond them. */
template <bool FORWARD>
__device__ __forceinline__ void load_chunk(const Tile &t, int l, int o0, int i0, uint16_t *to) {
  const Net &net = t.c->net;
  const int n = net.width[l], m = net.width[l + 1];
  const uint16_t *w = weights_of(t, l);
  constexpr int WIDE = (FORWARD ? CHUNK_K : CHUNK_N) / 8, LD = FORWARD ? ROWS_LD : COLS_LD;
  const bool aligned = n % 8 == 0 && net.weights[l] % 8 == 0;
  for (int e = threadIdx.x; e < CHUNK_K * CHUNK_N / 8; e += THREADS) {
    const int row = e / WIDE, col = e % WIDE * 8, o = o0 + row, i = i0 + col;
    uint16_t *at = to + row * LD + col;
    if (aligned && o < m && i < n) {
      fgsm_cp_async16(at, w + o * n + i);
      continue;
    }
    unsigned v[4];
    FGSM_UNROLL
    for (int k = 0; k < 4; k++) {
      const int j = i + 2 * k;
      v[k] = o < m && j < n ? w[o * n + j] : 0u;
      v[k] |= o < m && j + 1 < n ? (unsigned)w[o * n + j + 1] << 16 : 0u;
    }
    fgsm_stv<uint4>(at, make_uint4(v[0], v[1], v[2], v[3]));
  }
}

__device__ __forceinline__ void await_chunk(int stages) {
  if (stages == 4)
    fgsm_cp_async_wait<2>();
  else if (stages == 3)
    fgsm_cp_async_wait<1>();
  else
    fgsm_cp_async_wait<0>();
  __syncthreads();
}

/* acc += the samples' values, `inner` from k on, times the chunk's 16 columns of this warp. */
template <int MT, bool FORWARD>
__device__ __forceinline__ void multiply(const uint16_t *in, int pitch, const uint16_t *chunk,
                                         float acc[MT * 8]) {
  const int lane = threadIdx.x % 32, mine = (int)threadIdx.x / 32 * 16;
  FGSM_UNROLL
  for (int k = 0; k < CHUNK_K; k += 16) {
    unsigned b[4];
    if (FORWARD)
      fgsm_ldmatrix_x4(b,
                       chunk + (mine + lane % 8 + lane / 16 * 8) * ROWS_LD + k + lane / 8 % 2 * 8);
    else
      fgsm_ldmatrix_x4_trans(b, chunk + (k + lane % 16) * COLS_LD + mine + lane / 16 * 8);
    FGSM_UNROLL
    for (int i = 0; i < MT; i++) {
      unsigned a[4];
      fgsm_ldmatrix_x4(a, in + (i * 16 + lane % 16) * pitch + k + lane / 16 * 8);
      fgsm_mma_m16n8k16_bf16(acc + i * 8, a, b, acc + i * 8);
      fgsm_mma_m16n8k16_bf16(acc + i * 8 + 4, a, b + 2, acc + i * 8 + 4);
    }
  }
}

/* Forward: layer l's products from h_l. Backward: from the gradient of h_(l + 1). Each warp gives
 * `finish` its 16 columns of all samples, when they are summed: first column, sums. Columns run to
 * the next multiple of 32, the sums of those that are not there are zero. */
template <int MT, bool FORWARD, class F>
__device__ __forceinline__ void product(const Tile &t, int l, const F &finish) {
  const Call &c = *t.c;
  const int from = FORWARD ? l : l + 1, inner = c.net.width[from];
  const int outer = c.net.width[FORWARD ? l + 1 : l], stages = c.room.stages;
  const int chunks = up32(inner) / CHUNK_K, all = (outer + CHUNK_N - 1) / CHUNK_N * chunks;
  const int mine = (int)threadIdx.x / 32 * 16;
  uint16_t *stage = reinterpret_cast<uint16_t *>(t.shared + c.room.weights);
  const uint16_t *in = values(t, from);
  const auto load = [&](int q) {
    const int k = q % chunks * CHUNK_K, col = q / chunks * CHUNK_N;
    if (q < all)
      load_chunk<FORWARD>(t, l, FORWARD ? col : k, FORWARD ? k : col, stage + q % stages * CHUNK);
    fgsm_cp_async_commit();
  };
  for (int q = 0; q < stages - 1; q++)
    load(q);
  float acc[MT * 8] = {};
  for (int q = 0; q < all; q++) {
    const int col = q / chunks * CHUNK_N + mine;
    await_chunk(stages);
    load(q + stages - 1);
    if (col < up32(outer)) {
      multiply<MT, FORWARD>(in + q % chunks * CHUNK_K, pitch_of(t, from),
                            stage + q % stages * CHUNK, acc);
      if (q % chunks == chunks - 1) {
        finish(col, acc);
        FGSM_UNROLL
        for (int e = 0; e < MT * 8; e++)
          acc[e] = 0;
      }
    }
  }
  __syncthreads();
}

/* ---- layers */

/* Where layer l's slopes of a sample are: bits by the word of 16 columns, or bfloat16. */
__device__ __forceinline__ uint16_t *slopes(const Tile &t, int l, int row) {
  const int n = up32(t.c->net.width[l + 1]);
  return reinterpret_cast<uint16_t *>(t.shared + t.c->net.kept[l]) +
         row * (is_sided(t.c->net.kind[l]) ? n / 16 : n);
}

/* A warp's sides of 16 columns, whose bits its lanes have two by two, as a word for each sample. */
template <int MT>
__device__ __forceinline__ void keep_sides(const Tile &t, int l, int col, const unsigned *bits) {
  const int lane = threadIdx.x % 32;
  FGSM_UNROLL
  for (int i = 0; i < MT * 2; i++) {
    unsigned word = bits[i];
    word |= __shfl_xor_sync(0xffffffffu, word, 1);
    word |= __shfl_xor_sync(0xffffffffu, word, 2);
    if (lane % 4 == 0)
      slopes(t, l, i * 8 + lane / 4)[col / 16] = (uint16_t)word;
  }
}

/* f(element, row, column) for every second of a warp's results: those of even column. */
template <int MT, class F> __device__ __forceinline__ void each_pair(int first, const F &f) {
  const int lane = threadIdx.x % 32;
  FGSM_UNROLL
  for (int e = 0; e < MT * 8; e += 2)
    f(e, e / 8 * 16 + e / 2 % 2 * 8 + lane / 4, first + e / 4 % 2 * 8 + lane % 4 * 2);
}

template <int MT> __device__ __forceinline__ void hidden_forward(const Tile &t, int l, bool keep) {
  const Net &net = t.c->net;
  const int m = net.width[l + 1], kind = net.kind[l], pitch = pitch_of(t, l + 1);
  const uint16_t *bias = weights_of(t, l) + net.width[l] * m;
  uint16_t *out = values(t, l + 1);
  const bool sides = keep && is_sided(kind) && !side_stays(net, l);
  const bool curve = keep && !is_sided(kind) && kind != FG_UNARY_identity;
  product<MT, true>(t, l, [&](int first, float v[MT * 8]) {
    float slope[MT * 8] = {};
    unsigned bits[MT * 2] = {};
    each_pair<MT>(first, [&](int e, int, int col) {
      v[e] += col < m ? fgsm_bf16_float(bias[col]) : 0.0f;
      v[e + 1] += col + 1 < m ? fgsm_bf16_float(bias[col + 1]) : 0.0f;
    });
    activate_all<MT * 8>(kind, net.alpha[l], v, slope);
    each_pair<MT>(first, [&](int e, int row, int col) {
      fgsm_stv<unsigned>(out + row * pitch + col,
                         fgsm_pack_bf16(col < m ? v[e] : 0.0f, col + 1 < m ? v[e + 1] : 0.0f));
      if (curve)
        fgsm_stv<unsigned>(slopes(t, l, row) + col, fgsm_pack_bf16(slope[e], slope[e + 1]));
      bits[e / 8 * 2 + e / 2 % 2] |=
          ((unsigned)(slope[e] == 1) | (unsigned)(slope[e + 1] == 1) << 1)
          << (e / 4 % 2 * 8 + (int)threadIdx.x % 4 * 2);
    });
    if (sides)
      keep_sides<MT>(t, l, first, bits);
  });
}

template <int MT> __device__ __forceinline__ void logits_forward(const Tile &t) {
  const Call &c = *t.c;
  const int l = c.net.layers - 1, m = c.net.classes;
  const uint16_t *bias = weights_of(t, l) + c.net.width[l] * m;
  float *z = t.at(c.room.logits);
  product<MT, true>(t, l, [&](int first, float v[MT * 8]) {
    each_pair<MT>(first, [&](int e, int row, int col) {
      if (col < m)
        z[col * c.room.ld + row] = v[e] + fgsm_bf16_float(bias[col]);
      if (col + 1 < m)
        z[(col + 1) * c.room.ld + row] = v[e + 1] + fgsm_bf16_float(bias[col + 1]);
    });
  });
}

/* From x to the logits; judged, and with the gradient `d` of the objective (or NULL). */
template <int MT>
__device__ __forceinline__ void forward_tensor(const Tile &t, int64_t n0, float *d, bool report) {
  for (int l = 0; l < t.c->net.layers - 1; l++)
    hidden_forward<MT>(t, l, d != nullptr);
  logits_forward<MT>(t);
  judge(t, n0, t.at(t.c->room.logits), d, report);
}

/* The slopes of layer l at two neighbouring columns; `here` is where its values may still be. */
__device__ __forceinline__ float2 slope_at(const Tile &t, int l, int row, int col,
                                           const uint16_t *here) {
  const Net &net = t.c->net;
  const int kind = net.kind[l];
  if (kind == FG_UNARY_identity)
    return make_float2(1, 1);
  if (!is_sided(kind)) {
    const unsigned v = fgsm_ldv<unsigned>(slopes(t, l, row) + col);
    return make_float2(fgsm_bf16_float(v & 0xffff), fgsm_bf16_float(v >> 16));
  }
  bool up0, up1;
  if (side_stays(net, l)) {
    const unsigned v = fgsm_ldv<unsigned>(here);
    up0 = !(fgsm_bf16_float(v & 0xffff) <= 0);
    up1 = !(fgsm_bf16_float(v >> 16) <= 0);
  } else {
    const unsigned v = (unsigned)slopes(t, l, row)[col / 16] >> col % 16;
    up0 = v & 1;
    up1 = v >> 1 & 1;
  }
  const float down = kind == FG_UNARY_relu ? 0.0f : net.alpha[l];
  return make_float2(up0 ? 1 : down, up1 ? 1 : down);
}

/* The gradient of h_l from that of layer l's sums, times layer l - 1's slopes: l > 0. */
template <int MT> __device__ __forceinline__ void hidden_backward(const Tile &t, int l) {
  const int pitch = pitch_of(t, l);
  uint16_t *out = values(t, l);
  product<MT, false>(t, l, [&](int first, float v[MT * 8]) {
    each_pair<MT>(first, [&](int e, int row, int col) {
      uint16_t *at = out + row * pitch + col;
      const float2 f = slope_at(t, l - 1, row, col, at);
      fgsm_stv<unsigned>(at,
                         col < t.c->net.width[l] ? fgsm_pack_bf16(v[e] * f.x, v[e + 1] * f.y) : 0u);
    });
  });
}

/* The objective's gradient, from floats [class][ld], as the logits' values. */
__device__ __forceinline__ void round_slopes(const Tile &t, const float *d) {
  const Call &c = *t.c;
  const int pitch = pitch_of(t, c.net.layers), wide = up32(c.net.classes);
  uint16_t *to = values(t, c.net.layers);
  for (int e = threadIdx.x; e < c.room.tile * wide / 2; e += THREADS) {
    const int row = e % c.room.tile, k = e / c.room.tile * 2;
    const float d0 = k < c.net.classes ? d[k * c.room.ld + row] : 0.0f;
    const float d1 = k + 1 < c.net.classes ? d[(k + 1) * c.room.ld + row] : 0.0f;
    fgsm_stv<unsigned>(to + row * pitch + k, fgsm_pack_bf16(d0, d1));
  }
  __syncthreads();
}

} // namespace
} // namespace fgsm
#endif
