/* Small kernels in which one defect can be switched on: the harness's own test. Without it each
 * computes the right result on every schedule, without a word from the harness. */
#include "fgsm_cuda.h"

#include "faults.h"

#include <cmath>
#include <vector>

namespace {

/* y = 2 x by vectors with a scalar tail. */
__global__ void double_it(const float *x, float *y, int n, int fault) {
  const int t = (int)(blockIdx.x * blockDim.x + threadIdx.x),
            stride = (int)(gridDim.x * blockDim.x);
  const int shift = fault == FAULT_misaligned_vector;
  for (int i = t; i < n / 4 - shift; i += stride) {
    float4 v = fgsm_ldv<float4>(x + 4 * i + shift);
    fgsm_stv(y + 4 * i, make_float4(2 * v.x, 2 * v.y, 2 * v.z, 2 * v.w));
  }
  const int end = fault == FAULT_global_write_past_end ? n + 1 : n;
  for (int i = n / 4 * 4 + t; i < end; i += stride)
    y[i] = 2 * (fault == FAULT_global_read_past_end ? x[i + 1] : i < n ? x[i] : 0.0f);
}

__device__ __forceinline__ float warp_sum(float v) {
  for (int d = 16; d; d >>= 1)
    v += __shfl_xor_sync(0xFFFFFFFFu, v, d);
  return v;
}

/* *sum += all of x, 256 threads a block. */
__global__ void add_up(const float *x, float *sum, int n, int fault) {
  FGSM_SHARED(float, part, [8]);
  const unsigned t = threadIdx.x, lane = t & 31, warp = t >> 5;
  float v = 0;
  for (unsigned i = blockIdx.x * blockDim.x + t; i < (unsigned)n; i += gridDim.x * blockDim.x)
    v += x[i];
  if (fault != FAULT_partial_warp_shuffle || t < 40)
    v = warp_sum(v);
  if (lane == 0)
    part[warp + (fault == FAULT_static_shared_past_end)] = v;
  if (fault == FAULT_divergent_barrier) {
    if (t < 128)
      __syncthreads();
    else
      __syncthreads();
  } else if (fault != FAULT_reduction_without_barrier) {
    __syncthreads();
  }
  if (warp != 0)
    return;
  v = warp_sum(lane < 8 ? part[lane] : 0.0f);
  if (lane == 0 && fault == FAULT_race_between_blocks)
    *sum += v;
  else if (lane == 0)
    atomicAdd(sum, v);
}

/* Reverses each 64 elements through dynamic shared memory, twice over the same memory. */
__global__ void reverse(const float *x, float *y, int fault) {
  FGSM_SHARED_DYN(float, tile);
  const unsigned t = threadIdx.x, n = blockDim.x;
  if (fault == FAULT_exit_before_barrier && t >= 40)
    return;
  for (int round = 0; round < 2; round++) {
    if (fault != FAULT_shared_read_unwritten || t < 32)
      tile[t + (fault == FAULT_dynamic_shared_past_end)] = x[2 * round * n + blockIdx.x * n + t];
    if (fault != FAULT_missing_barrier_before_read)
      __syncthreads();
    y[2 * round * n + blockIdx.x * n + t] = tile[n - 1 - t];
    if (fault != FAULT_missing_barrier_before_write)
      __syncthreads();
  }
}

/* One warp: d [16, 8] = a [16, k] b [8, k]^T. */
__global__ void multiply(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *d, int k,
                         int fault) {
  FGSM_SHARED(__nv_bfloat16, tile, [16][24]);
  const int lane = (int)threadIdx.x, g = lane >> 2, t = lane & 3;
  float sum[4] = {0, 0, 0, 0};
  for (int k0 = 0; k0 < k; k0 += 16) {
    fgsm_cp_async16(&tile[lane >> 1][(lane & 1) * 8], a + (lane >> 1) * k + k0 + (lane & 1) * 8);
    fgsm_cp_async_commit();
    if (fault != FAULT_async_copy_not_awaited)
      fgsm_cp_async_wait<0>();
    if (fault != FAULT_async_copy_without_syncwarp)
      __syncwarp();
    unsigned fa[4], fb[2];
    fgsm_ldmatrix_x4(fa, &tile[lane & 15][(lane >> 4) * 8]);
    const int swap = fault == FAULT_fragment_swapped;
    fb[swap] = fgsm_ldv<unsigned>(b + g * k + k0 + t * 2);
    fb[1 - swap] = fgsm_ldv<unsigned>(b + g * k + k0 + t * 2 + 8);
    fgsm_mma_m16n8k16_bf16(sum, fa, fb, sum);
    __syncwarp();
  }
  for (int i = 0; i < 4; i++)
    d[(g + (i >> 1) * 8) * 8 + t * 2 + (i & 1)] = sum[i];
}

/* One warp: d [16, 16] = a [16, 16] b [16, 16], both row-major bfloat16: b's columns are read across
 * its rows. */
__global__ void multiply_across(const uint16_t *a, const uint16_t *b, float *d, int fault) {
  FGSM_SHARED(uint16_t, rows, [16 * 24 + 8]);
  FGSM_SHARED(uint16_t, cols, [16 * 24]);
  const int lane = (int)threadIdx.x, row = lane % 16, col = lane / 16 * 8;
  const int skew = fault == FAULT_matrix_misaligned;
  for (int i = lane; i < 256; i += 32)
    rows[i / 16 * 24 + i % 16 + skew] = a[i];
  fgsm_cp_async16(cols + row * 24 + col,
                  b + row * 16 + col + (fault == FAULT_async_copy_misaligned));
  fgsm_cp_async_commit();
  fgsm_cp_async_wait<0>();
  __syncwarp();
  float sum[2][4] = {};
  unsigned fa[4] = {}, fb[4];
  if (fault != FAULT_matrix_by_half_a_warp || lane < 16)
    fgsm_ldmatrix_x4(fa, rows + row * 24 + col + skew);
  if (fault == FAULT_fragment_not_transposed)
    fgsm_ldmatrix_x4(fb, cols + row * 24 + col);
  else
    fgsm_ldmatrix_x4_trans(fb, cols + row * 24 + col);
  for (int half = 0; half < 2; half++)
    if (fault != FAULT_product_by_half_a_warp || lane < 16)
      fgsm_mma_m16n8k16_bf16(sum[half], fa, fb + 2 * half, sum[half]);
  for (int i = 0; i < 8; i++)
    d[(lane / 4 + i / 2 % 2 * 8) * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2] = sum[i / 4][i % 4];
}

/* y = 3 x of bfloat16, by pairs, moved on by one place within 128 of them: each word of the tile has its
 * halves from two threads. */
__global__ void triple_halves(const uint16_t *x, uint16_t *y, int fault) {
  FGSM_SHARED(uint16_t, tile, [128]);
  const unsigned t = threadIdx.x, at = blockIdx.x * 128 + 2 * t;
  unsigned pair = fgsm_ldv<unsigned>(x + at + (fault == FAULT_pair_misaligned));
  if (fault == FAULT_half_read_past_end)
    pair = x[at + 1] | (unsigned)x[at + 2] << 16;
  const float low = 3 * fgsm_bf16_float(pair & 0xFFFF), high = 3 * fgsm_bf16_float(pair >> 16);
  unsigned both =
      fault == FAULT_pair_swapped ? fgsm_pack_bf16(high, low) : fgsm_pack_bf16(low, high);
  if (fault == FAULT_half_truncated)
    both = __float_as_uint(low) >> 16 | (__float_as_uint(high) & 0xFFFF0000u);
  tile[2 * t + 1] = (uint16_t)both;
  if (fault != FAULT_half_word_unwritten || t % 2)
    tile[fault == FAULT_half_shared_past_end ? 2 * t + 2 : (2 * t + 2) % 128] =
        (uint16_t)(both >> 16);
  if (fault != FAULT_half_word_without_barrier)
    __syncthreads();
  fgsm_stv(y + at, fgsm_ldv<unsigned>(tile + 2 * t));
}

__global__ void half_warp_shuffle(int *y, int fault) {
  const unsigned mask = threadIdx.x < 16 ? 0xFFFFu : 0xFFFF0000u;
  const int from = fault == FAULT_shuffle_from_inactive_lane ? 20 : threadIdx.x < 16 ? 3 : 20;
  y[threadIdx.x] = __shfl_sync(mask, (int)threadIdx.x, from);
}

__global__ void neighbour(float *y, int fault) {
  FGSM_SHARED(float, s, [32]);
  const unsigned t = threadIdx.x;
  s[t] = (float)t;
  if (fault != FAULT_warp_lockstep_assumed)
    __syncwarp();
  const float v = s[t ^ 1];
  y[t] = v;
}

std::vector<float> numbers(int n) {
  std::vector<float> v((size_t)n);
  for (int i = 0; i < n; i++)
    v[(size_t)i] = (float)((i * 37) % 64 - 31) / 8; /* sums of these are exact */
  return v;
}

/* Device memory that goes with the scope. */
template <class T> struct Device {
  T *p = nullptr;
  size_t n;
  explicit Device(size_t count) : n(count) {
    cudaMalloc(&p, n * sizeof(T));
  }
  explicit Device(const std::vector<T> &v) : Device(v.size()) {
    cudaMemcpy(p, v.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  Device(const Device &) = delete;
  ~Device() {
    cudaFree(p);
  }
  std::vector<T> get() const {
    std::vector<T> v(n);
    cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost);
    return v;
  }
};

bool doubles(int fault) {
  std::vector<float> x = numbers(1003), want(x);
  Device<float> dx(x), dy(x.size());
  for (float &v : want)
    v *= 2;
  const float *from = fault == FAULT_host_pointer_in_kernel ? x.data() : dx.p;
  FGSM_LAUNCH(double_it, dim3(2), dim3(64), 0, 0, from, dy.p, 1003, fault);
  return (fault == FAULT_device_pointer_on_host ? dx.p[3] == x[3] : true) && dy.get() == want;
}

bool adds(int fault) {
  std::vector<float> x = numbers(4001);
  Device<float> dx(x), sum(std::vector<float>(1));
  float want = 0;
  for (float v : x)
    want += v;
  FGSM_LAUNCH(add_up, dim3(3), dim3(256), 0, 0, dx.p, sum.p, 4001, fault);
  return sum.get()[0] == want;
}

bool reverses(int fault) {
  std::vector<float> x = numbers(256), want(x);
  for (size_t i = 0; i < x.size(); i++)
    want[i] = x[i / 64 * 64 + 63 - i % 64];
  Device<float> dx(x), dy(x.size());
  size_t bytes = fault == FAULT_shared_beyond_limit ? 60000 : 64 * sizeof(float);
  cudaError_t e = FGSM_LAUNCH(reverse, dim3(2), dim3(64), bytes, 0, dx.p, dy.p, fault);
  return e == cudaSuccess && dy.get() == want;
}

bool multiplies(int fault) {
  const int k = 32;
  std::vector<float> fa = numbers(16 * k), fb = numbers(8 * k), want(128);
  std::vector<__nv_bfloat16> a, b;
  for (float v : fa)
    a.push_back(__float2bfloat16_rn(v));
  for (float v : fb)
    b.push_back(__float2bfloat16_rn(v));
  for (int r = 0; r < 16; r++)
    for (int c = 0; c < 8; c++)
      for (int i = 0; i < k; i++)
        want[(size_t)(r * 8 + c)] += fa[(size_t)(r * k + i)] * fb[(size_t)(c * k + i)];
  Device<__nv_bfloat16> da(a), db(b);
  Device<float> d(128);
  FGSM_LAUNCH(multiply, dim3(1), dim3(32), 0, 0, da.p, db.p, d.p, k, fault);
  return d.get() == want;
}

uint16_t bf16_of(float v) {
  return (uint16_t)fgsm_pack_bf16(v, 0);
}

bool multiplies_across(int fault) {
  std::vector<float> fa = numbers(256), fb = numbers(264), want(256);
  std::vector<uint16_t> a, b;
  for (float v : fa)
    a.push_back(bf16_of(v));
  for (float v : fb)
    b.push_back(bf16_of(v));
  for (size_t i = 0; i < 256; i++)
    for (size_t k = 0; k < 16; k++)
      want[i] += fa[i / 16 * 16 + k] * fb[k * 16 + i % 16];
  Device<uint16_t> da(a), db(b);
  Device<float> d(256);
  FGSM_LAUNCH(multiply_across, dim3(1), dim3(32), 0, 0, da.p, db.p, d.p, fault);
  return d.get() == want;
}

/* Values of eight bits, three times which has up to ten. */
bool triples_halves(int fault) {
  std::vector<uint16_t> x(256), want(256);
  for (size_t i = 0; i < 256; i++)
    x[i] = bf16_of((float)(128 + i * 37 % 128) * (i % 3 ? 1.0f : -1.0f));
  for (size_t i = 0; i < 256; i++)
    want[i / 128 * 128 + (i + 1) % 128] = bf16_of(3 * fgsm_bf16_float(x[i]));
  Device<uint16_t> dx(x), dy(256);
  FGSM_LAUNCH(triple_halves, dim3(2), dim3(64), 0, 0, dx.p, dy.p, fault);
  return dy.get() == want;
}

bool shuffles(int fault) {
  Device<int> y(32);
  FGSM_LAUNCH(half_warp_shuffle, dim3(1), dim3(32), 0, 0, y.p, fault);
  std::vector<int> got = y.get();
  bool right = true;
  for (int i = 0; i < 32; i++)
    right = right && got[(size_t)i] == (i < 16 ? 3 : 20);
  return right;
}

bool meets_neighbour(int fault) {
  Device<float> y(32);
  FGSM_LAUNCH(neighbour, dim3(1), dim3(32), 0, 0, y.p, fault);
  std::vector<float> got = y.get();
  bool right = true;
  for (int i = 0; i < 32; i++)
    right = right && got[(size_t)i] == (float)(i ^ 1);
  return right;
}
} // namespace

bool run_with_fault(enum fault fault) {
  switch (fault) {
  case FAULT_none:
    return doubles(fault) && adds(fault) && reverses(fault) && multiplies(fault) &&
           multiplies_across(fault) && triples_halves(fault) && shuffles(fault) &&
           meets_neighbour(fault);
  case FAULT_misaligned_vector:
  case FAULT_global_write_past_end:
  case FAULT_global_read_past_end:
  case FAULT_host_pointer_in_kernel:
  case FAULT_device_pointer_on_host:
    return doubles(fault);
  case FAULT_partial_warp_shuffle:
  case FAULT_static_shared_past_end:
  case FAULT_divergent_barrier:
  case FAULT_reduction_without_barrier:
  case FAULT_race_between_blocks:
    return adds(fault);
  case FAULT_async_copy_not_awaited:
  case FAULT_async_copy_without_syncwarp:
  case FAULT_fragment_swapped:
    return multiplies(fault);
  case FAULT_fragment_not_transposed:
  case FAULT_matrix_misaligned:
  case FAULT_matrix_by_half_a_warp:
  case FAULT_product_by_half_a_warp:
  case FAULT_async_copy_misaligned:
    return multiplies_across(fault);
  case FAULT_pair_misaligned:
  case FAULT_pair_swapped:
  case FAULT_half_truncated:
  case FAULT_half_read_past_end:
  case FAULT_half_shared_past_end:
  case FAULT_half_word_without_barrier:
  case FAULT_half_word_unwritten:
    return triples_halves(fault);
  case FAULT_shuffle_from_inactive_lane:
    return shuffles(fault);
  case FAULT_warp_lockstep_assumed:
    return meets_neighbour(fault);
  default:
    return reverses(fault);
  }
}
