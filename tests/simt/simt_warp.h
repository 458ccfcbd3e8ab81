/* Collectives of one warp: shuffles, votes, matrix multiply. Part of simt.h.
 *
 * Each lane hands a record to simt::warp_exchange and sleeps; when all lanes of the mask have come,
 * one function reads all records and writes all results. */
#ifndef SIMT_WARP_H
#define SIMT_WARP_H

namespace simt {
template <class T> struct Shuffle {
  T value;
  int arg, width;
  T out;
};
enum ShuffleKind { IDX, UP, DOWN, XOR };

template <class T, ShuffleKind KIND> SIMT_UNSEEN void shuffle_resolve(void **lanes, unsigned mask) {
  for (int i = 0; i < 32; i++) {
    auto *me = static_cast<Shuffle<T> *>(lanes[i]);
    if (!(mask >> i & 1) || !me)
      continue;
    int first = i & ~(me->width - 1), last = first + me->width - 1, from = i;
    if (KIND == IDX)
      from = first + (me->arg & (me->width - 1));
    if (KIND == UP)
      from = i - me->arg < first ? i : i - me->arg;
    if (KIND == DOWN)
      from = i + me->arg > last ? i : i + me->arg;
    if (KIND == XOR)
      from = (i ^ me->arg) > last ? i : i ^ me->arg;
    if (mask >> from & 1 && lanes[from]) {
      me->out = static_cast<Shuffle<T> *>(lanes[from])->value;
    } else {
      error("shuffle: lane %d reads lane %d, which is not active in mask %08x", i, from, mask);
      __builtin_memset((void *)&me->out, 0xFF, sizeof(T));
    }
  }
}
template <ShuffleKind KIND, class T>
SIMT_INTRINSIC T shuffle(unsigned mask, T v, int arg, int width, Loc loc) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
  Shuffle<T> record{v, arg, width, v};
  warp_exchange(mask, &record, &shuffle_resolve<T, KIND>, loc);
  return record.out;
}

struct Ballot {
  int predicate;
  unsigned out;
};
SIMT_UNSEEN inline void ballot_resolve(void **lanes, unsigned mask) {
  unsigned votes = 0;
  for (int i = 0; i < 32; i++)
    if ((mask >> i & 1) && lanes[i] && static_cast<Ballot *>(lanes[i])->predicate)
      votes |= 1u << i;
  for (int i = 0; i < 32; i++)
    if ((mask >> i & 1) && lanes[i])
      static_cast<Ballot *>(lanes[i])->out = votes;
}
/* __syncwarp's: the only collective that orders memory. */
void order_memory(void **lanes, unsigned mask);

struct Mma {
  float *d;
  const unsigned *a, *b;
  const float *c;
};
SIMT_UNSEEN inline float half_of(unsigned pair, int high) {
  return float_of((high ? pair >> 16 : pair & 0xFFFFu) << 16);
}
/* Whether every lane of the warp has come: one that ended before holds up no other collective. */
SIMT_UNSEEN inline bool is_whole_warp(const char *what, void **lanes, unsigned mask) {
  unsigned there = 0;
  for (int i = 0; i < 32; i++)
    there |= lanes[i] ? 1u << i : 0;
  if ((mask & there) == 0xFFFFFFFFu)
    return true;
  error("%s needs all 32 lanes, these have come: %08x", what, mask & there);
  return false;
}
/* Fragments as PTX lays them out. Sums are in double: order and rounding differ from a card's. */
SIMT_UNSEEN inline void mma_m16n8k16_bf16_resolve(void **lanes, unsigned mask) {
  float a[16][16], b[16][8], d[16][8];
  if (!is_whole_warp("mma.sync", lanes, mask))
    return;
  for (int l = 0; l < 32; l++) {
    auto *m = static_cast<Mma *>(lanes[l]);
    int g = l >> 2, t = l & 3;
    for (int i = 0; i < 8; i++)
      a[g + (i >> 1 & 1) * 8][t * 2 + (i & 1) + (i >> 2) * 8] = half_of(m->a[i >> 1], i & 1);
    for (int i = 0; i < 4; i++)
      b[t * 2 + (i & 1) + (i >> 1) * 8][g] = half_of(m->b[i >> 1], i & 1);
    for (int i = 0; i < 4; i++)
      d[g + (i >> 1) * 8][t * 2 + (i & 1)] = m->c[i];
  }
  for (int r = 0; r < 16; r++)
    for (int c = 0; c < 8; c++) {
      double sum = d[r][c];
      for (int k = 0; k < 16; k++)
        sum += (double)a[r][k] * b[k][c];
      d[r][c] = (float)sum;
    }
  for (int l = 0; l < 32; l++)
    for (int i = 0; i < 4; i++)
      static_cast<Mma *>(lanes[l])->d[i] = d[(l >> 2) + (i >> 1) * 8][(l & 3) * 2 + (i & 1)];
}

SIMT_UNSEEN inline float tf32_of(unsigned bits) {
  return float_of((bits + 0x1000) & 0xFFFFE000u);
}
SIMT_UNSEEN inline void mma_m16n8k8_tf32_resolve(void **lanes, unsigned mask) {
  float a[16][8], b[8][8];
  if (!is_whole_warp("mma.sync", lanes, mask))
    return;
  for (int l = 0; l < 32; l++) {
    auto *m = static_cast<Mma *>(lanes[l]);
    int g = l >> 2, t = l & 3;
    for (int i = 0; i < 4; i++)
      a[g + (i & 1) * 8][t + (i >> 1) * 4] = tf32_of(m->a[i]);
    for (int i = 0; i < 2; i++)
      b[t + i * 4][g] = tf32_of(m->b[i]);
  }
  for (int l = 0; l < 32; l++)
    for (int i = 0; i < 4; i++) {
      auto *m = static_cast<Mma *>(lanes[l]);
      double sum = m->c[i];
      for (int k = 0; k < 8; k++)
        sum += (double)a[(l >> 2) + (i >> 1) * 8][k] * b[k][(l & 3) * 2 + (i & 1)];
      m->d[i] = (float)sum;
    }
}

struct Ldmatrix {
  uint4 row;
  unsigned out[4];
};
SIMT_UNSEEN inline void ldmatrix_x4_resolve(void **lanes, unsigned mask) {
  if (!is_whole_warp("ldmatrix", lanes, mask))
    return;
  for (int l = 0; l < 32; l++)
    for (int q = 0; q < 4; q++) {
      auto *from = static_cast<Ldmatrix *>(lanes[q * 8 + (l >> 2)]);
      const unsigned *word = &from->row.x;
      static_cast<Ldmatrix *>(lanes[l])->out[q] = word[l & 3];
    }
}
SIMT_UNSEEN inline void ldmatrix_x4_trans_resolve(void **lanes, unsigned mask) {
  if (!is_whole_warp("ldmatrix", lanes, mask))
    return;
  for (int l = 0; l < 32; l++)
    for (int q = 0; q < 4; q++) {
      unsigned pair = 0;
      for (int i = 0; i < 2; i++) {
        const unsigned *row = &static_cast<Ldmatrix *>(lanes[q * 8 + (l & 3) * 2 + i])->row.x;
        pair |= (row[l >> 3] >> (l >> 2 & 1) * 16 & 0xFFFFu) << i * 16;
      }
      static_cast<Ldmatrix *>(lanes[l])->out[q] = pair;
    }
}
} // namespace simt

SIMT_INTRINSIC void __syncwarp(unsigned mask = 0xFFFFFFFFu, SIMT_LOC) {
  char record;
  simt::warp_exchange(mask, &record, &simt::order_memory, loc_);
}
template <class T>
SIMT_INTRINSIC T __shfl_sync(unsigned mask, T v, int lane, int width = 32, SIMT_LOC) {
  return simt::shuffle<simt::IDX>(mask, v, lane, width, loc_);
}
template <class T>
SIMT_INTRINSIC T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, SIMT_LOC) {
  return simt::shuffle<simt::UP>(mask, v, (int)delta, width, loc_);
}
template <class T>
SIMT_INTRINSIC T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, SIMT_LOC) {
  return simt::shuffle<simt::DOWN>(mask, v, (int)delta, width, loc_);
}
template <class T>
SIMT_INTRINSIC T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, SIMT_LOC) {
  return simt::shuffle<simt::XOR>(mask, v, bits, width, loc_);
}
SIMT_INTRINSIC unsigned __ballot_sync(unsigned mask, int predicate, SIMT_LOC) {
  simt::Ballot record{predicate, 0};
  simt::warp_exchange(mask, &record, &simt::ballot_resolve, loc_);
  return record.out;
}
SIMT_INTRINSIC int __any_sync(unsigned mask, int predicate, SIMT_LOC) {
  return __ballot_sync(mask, predicate, loc_) != 0;
}
SIMT_INTRINSIC int __all_sync(unsigned mask, int predicate, SIMT_LOC) {
  return __ballot_sync(mask, !predicate, loc_) == 0;
}
SIMT_INTRINSIC void fgsm_mma_m16n8k16_bf16(float d[4], const unsigned a[4], const unsigned b[2],
                                           const float c[4], SIMT_LOC) {
  simt::Mma record{d, a, b, c};
  simt::warp_exchange(0xFFFFFFFFu, &record, &simt::mma_m16n8k16_bf16_resolve, loc_);
}
SIMT_INTRINSIC void fgsm_mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2],
                                          const float c[4], SIMT_LOC) {
  simt::Mma record{d, a, b, c};
  simt::warp_exchange(0xFFFFFFFFu, &record, &simt::mma_m16n8k8_tf32_resolve, loc_);
}
SIMT_INTRINSIC void fgsm_ldmatrix_x4(unsigned r[4], const void *shared_row, SIMT_LOC) {
  simt::Ldmatrix record;
  record.row = fgsm_ldv<uint4>(shared_row, loc_);
  simt::warp_exchange(0xFFFFFFFFu, &record, &simt::ldmatrix_x4_resolve, loc_);
  for (int i = 0; i < 4; i++)
    r[i] = record.out[i];
}
SIMT_INTRINSIC void fgsm_ldmatrix_x4_trans(unsigned r[4], const void *shared_row, SIMT_LOC) {
  simt::Ldmatrix record;
  record.row = fgsm_ldv<uint4>(shared_row, loc_);
  simt::warp_exchange(0xFFFFFFFFu, &record, &simt::ldmatrix_x4_trans_resolve, loc_);
  for (int i = 0; i < 4; i++)
    r[i] = record.out[i];
}
SIMT_INTRINSIC unsigned fgsm_pack_bf16(float low, float high) {
  return __float2bfloat16_rn(low).bits | (unsigned)__float2bfloat16_rn(high).bits << 16;
}
SIMT_INTRINSIC float fgsm_bf16_float(unsigned bits) {
  return simt::float_of(bits << 16);
}
SIMT_INTRINSIC unsigned fgsm_pack_half(float low, float high) {
  return (unsigned)__float2half_rn(low).bits | (unsigned)__float2half_rn(high).bits << 16;
}
SIMT_INTRINSIC float fgsm_half_float(unsigned bits) {
  return __half2float(__half{(uint16_t)bits});
}

#endif
