/* A first convolution's gradient with a step behind it: what its kernels are told, dy straight or
 * through the max-pool behind it, and the step of four pixels. For conv_grad_input_step.cu. */
#ifndef FGSM_CONV_STEP_CUH
#define FGSM_CONV_STEP_CUH

#include "linf.cuh"

namespace fgsm {
namespace {

/* dy as the convolution's gradient sees it, straight or through the max-pool behind it. */
struct Source {
  const void *dy;    /* floats, or bfloat16 */
  const void *index; /* NULL: no pool */
  bool wide_index;   /* int32; else bytes */
  bool last;         /* dy and index lie channels last */
  int filters, p, q; /* the convolution's result */
  int pool_p, pool_q, window[2], stride[2], dilation[2], lo[2];
};

struct Shape {
  int channels, h, w, filters, p, q;
  int r, s, stride[2], dilation[2], lo[2], group;
};

struct Call {
  Source source;
  Shape shape;
  Step step;
  const void *weights; /* [K, C/group, R, S], of dy's type */
  Partial *partial;
  int tiles, tiles_x; /* blocks of one image, and of one row of them */
  bool bf16;          /* dy and weights */
};

/* Whether there is a pool: none, ResNet's (3x3, stride 2, padding 1, bytes of index), any.
 * Constants spare the divisions. */
enum Pool { NO_POOL, POOL_3X3, ANY_POOL };

/* A value of dy or of the weights, T float or uint16_t (bfloat16). */
template <class T> __device__ __forceinline__ float value_at(const void *values, int64_t i) {
  if constexpr (sizeof(T) == sizeof(float))
    return static_cast<const float *>(values)[i];
  else
    return fgsm_bf16_float(static_cast<const uint16_t *>(values)[i]);
}

/* Where filter k of image n has its place `i`, of `area`. */
__device__ __forceinline__ int64_t place_at(const Source &s, int64_t n, int k, int area, int i) {
  return s.last ? (n * area + i) * s.filters + k : (n * s.filters + k) * area + i;
}

template <class T, Pool POOL>
__device__ __forceinline__ float gather(const Source &s, int64_t n, int k, int y, int x) {
  if (POOL == NO_POOL)
    return value_at<T>(s.dy, place_at(s, n, k, s.p * s.q, y * s.q + x));
  constexpr bool known = POOL == POOL_3X3;
  const int rows = known ? 3 : s.window[0], cols = known ? 3 : s.window[1];
  const int stride_y = known ? 2 : s.stride[0], stride_x = known ? 2 : s.stride[1];
  const int step_y = known ? 1 : s.dilation[0], step_x = known ? 1 : s.dilation[1];
  const int64_t base = place_at(s, n, k, s.pool_p * s.pool_q, 0);
  float sum = 0;
  for (int r = 0; r < rows; r++) {
    const int py = fg_cuda_result_at(y + (known ? 1 : s.lo[0]) - r * step_y, stride_y, s.pool_p);
    if (py < 0)
      continue;
    for (int c = 0; c < cols; c++) {
      const int px = fg_cuda_result_at(x + (known ? 1 : s.lo[1]) - c * step_x, stride_x, s.pool_q);
      if (px < 0)
        continue;
      const int64_t at = base + (py * s.pool_q + px) * (s.last ? s.filters : 1);
      const int place = !known && s.wide_index ? static_cast<const int *>(s.index)[at]
                                               : static_cast<const unsigned char *>(s.index)[at];
      if (place == r * cols + c)
        sum += value_at<T>(s.dy, at);
    }
  }
  if constexpr (sizeof(T) == sizeof(uint16_t))
    sum = fgsm_bf16_float(fgsm_pack_bf16(sum, 0) & 0xffff); /* what is multiplied is bfloat16 */
  return sum;
}

/* Four pixels of a row, g[pixel][channel]. A step is long (linf.cuh): all channels go by one copy of it, past
 * which they are rotated. */
template <bool VEC>
__device__ __forceinline__ void take_row(const Call &c, const Budget &b, int64_t n, int y, int x,
                                         float g[4][4], Partial *p) {
  const Shape &s = c.shape;
  if (y >= s.h || x >= s.w)
    return;
  FGSM_NO_UNROLL
  for (int ch = 0; ch < s.channels; ch++) {
    const int64_t i = ((int64_t)ch * s.h + y) * s.w + x;
    const float four[4] = {g[0][0], g[1][0], g[2][0], g[3][0]};
    if (VEC) {
      take4(c.step, b, n, i, four, p);
    } else {
      FGSM_UNROLL
      for (int j = 0; j < 4; j++)
        if (x + j < s.w)
          take(c.step, b, n, i + j, four[j], p);
    }
    FGSM_UNROLL
    for (int j = 0; j < 4; j++) {
      FGSM_UNROLL
      for (int k = 0; k < 3; k++)
        g[j][k] = g[j][k + 1];
    }
  }
}

__device__ __forceinline__ void leave(const Call &c, const Partial &mine) {
  const Partial all = block_sum(mine);
  if (threadIdx.x == 0)
    c.partial[blockIdx.x] = all;
}

} // namespace
} // namespace fgsm
#endif
