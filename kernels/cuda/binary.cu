/* binary, where: operands of one shape, or one of them a single number, go by 16 bytes; any other
 * broadcast by offsets, its dims merged. Integers wrap; a division of integers by zero, which a
 * card cannot report, gives all ones.
 *
 * Floor: 12 bytes an element, less where an operand is broadcast (it stays in cache); 1 FLOP. */
#include "cuda.h"

namespace {
__device__ __forceinline__ float real_value(int kind, float a, float b) {
  switch (kind) {
  case FG_BINARY_add:
    return a + b;
  case FG_BINARY_sub:
    return a - b;
  case FG_BINARY_mul:
    return a * b;
  case FG_BINARY_div:
    return a / b;
  case FG_BINARY_pow:
    return powf(a, b);
  case FG_BINARY_fmod:
    return fmodf(a, b);
  case FG_BINARY_max:
    return isnan(a) || a > b ? a : b;
  case FG_BINARY_min:
    return isnan(a) || a < b ? a : b;
  case FG_BINARY_equal:
    return a == b;
  case FG_BINARY_greater:
    return a > b;
  default:
    return a < b;
  }
}

/* a^b in wrapping integers; a negative exponent truncates 1 / a^-b. */
__device__ int64_t whole_power(int64_t a, int64_t b) {
  if (b < 0)
    return a == 0 ? -1 : a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  uint64_t power = 1, base = (uint64_t)a;
  for (; b; b >>= 1, base *= base)
    if (b & 1)
      power *= base;
  return (int64_t)power;
}

__device__ int64_t whole_value(int kind, int64_t a, int64_t b) {
  switch (kind) {
  case FG_BINARY_add:
    return (int64_t)((uint64_t)a + (uint64_t)b);
  case FG_BINARY_sub:
    return (int64_t)((uint64_t)a - (uint64_t)b);
  case FG_BINARY_mul:
    return (int64_t)((uint64_t)a * (uint64_t)b);
  case FG_BINARY_div:
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : b ? a / b : -1;
  case FG_BINARY_pow:
    return whole_power(a, b);
  case FG_BINARY_fmod:
    return b == -1 ? 0 : b ? a % b : -1;
  case FG_BINARY_mod:
    return b == -1 ? 0 : b ? (a % b && (a % b < 0) != (b < 0) ? a % b + b : a % b) : -1;
  case FG_BINARY_bit_and:
    return a & b;
  case FG_BINARY_bit_or:
    return a | b;
  case FG_BINARY_bit_xor:
    return a ^ b;
  case FG_BINARY_shift_left:
    return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a << b);
  case FG_BINARY_shift_right:
    return b < 0 || b > 63 ? 0 : a >> b;
  case FG_BINARY_max:
    return a > b ? a : b;
  case FG_BINARY_min:
    return a < b ? a : b;
  case FG_BINARY_equal:
    return a == b;
  case FG_BINARY_greater:
    return a > b;
  default:
    return a < b;
  }
}

struct both {
  int kind;
  __device__ __forceinline__ float operator()(const float (&v)[2], int64_t) const {
    return real_value(kind, v[0], v[1]);
  }
};
struct with_number {
  int kind;
  struct fg_cuda_reals number;
  bool left;
  __device__ __forceinline__ float operator()(const float (&v)[1], int64_t) const {
    return left ? real_value(kind, number[0], v[0]) : real_value(kind, v[0], number[0]);
  }
};

/* ptxas budget: broadcast_reals registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(256)
    broadcast_reals(struct fg_cuda_reals a, struct fg_cuda_reals b, struct fg_cuda_reals y,
                    int kind, int64_t n, struct fg_cuda_walk walk) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  int64_t at[2];
  if (i >= n)
    return;
  fg_cuda_offsets(walk, i, at);
  const float v = real_value(kind, a[at[0]], b[at[1]]);
  if (kind >= FG_BINARY_equal)
    static_cast<uint8_t *>(y.data)[i] = v != 0;
  else
    y.put(i, v);
}

/* ptxas budget: broadcast_whole registers 40 shared 0 blocks 6 */
__global__ void __launch_bounds__(256)
    broadcast_whole(const void *a, const void *b, int type, void *y, int y_type, int kind,
                    int64_t n, struct fg_cuda_walk walk) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  int64_t at[2];
  if (i >= n)
    return;
  fg_cuda_offsets(walk, i, at);
  fg_cuda_put_int(
      y, y_type, i,
      whole_value(kind, fg_cuda_get_int(a, type, at[0]), fg_cuda_get_int(b, type, at[1])));
}

/* y is the broadcast of exactly these operands. */
bool makes(const struct fg_tensor *const *t, int n, const struct fg_tensor *y) {
  for (int k = 0; k < n; k++)
    if (!fg_cuda_broadcasts(t[k], y))
      return false;
  for (int i = 0; i < y->rank; i++) {
    bool given = false;
    for (int k = 0; k < n; k++) {
      int lead = y->rank - t[k]->rank;
      given |= i >= lead && (t[k]->dim[i - lead] == y->dim[i]);
    }
    if (!given)
      return false;
  }
  return true;
}

fgsm_status prepare_binary(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 3, 1));
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  const struct fg_tensor *operands[2] = {a, b};
  int kind = (int)call->attrs->binary.kind;
  bool compares = kind >= FG_BINARY_equal && kind <= FG_BINARY_less;
  bool bits = kind >= FG_BINARY_bit_and && kind <= FG_BINARY_bit_xor;
  FG_CUDA_NEED(call, (unsigned)kind < FG_BINARY_COUNT, "unknown kind %d", kind);
  FG_CUDA_NEED(call, a->type == b->type, "operands are %s and %s", fg_type_name(a->type),
               fg_type_name(b->type));
  FG_CUDA_NEED(call, fg_cuda_is_real(a->type) || fg_cuda_is_int(a->type), "%s operands",
               fg_type_name(a->type));
  FG_CUDA_NEED(call, y->type == (compares ? FG_BOOL : a->type), "the result is %s",
               fg_type_name(y->type));
  FG_CUDA_NEED(call, compares || bits || a->type != FG_BOOL, "arithmetic of bool");
  FG_CUDA_NEED(call, kind < FG_BINARY_mod || fg_cuda_is_int(a->type), "a kind for integers alone");
  FG_CUDA_NEED(call, makes(operands, 2, y), "operands do not broadcast to the result");
  return FGSM_OK;
}

fgsm_status run_binary(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  const struct fg_cuda_reals fa = fg_cuda_reals_of(a), fb = fg_cuda_reals_of(b);
  const struct fg_cuda_reals fy = fg_cuda_reals_of(y);
  int kind = (int)call->attrs->binary.kind;
  int64_t n = fg_count(y), stride[2][FG_MAX_RANK];
  struct fg_cuda_walk walk;
  if (n == 0)
    return FGSM_OK;
  const bool real = fg_cuda_is_real(y->type);
  if (real && fg_count(a) == n && fg_count(b) == n) {
    struct fg_cuda_streams<2> s = {
      {fa, fb}, fy, n
    };
    return fg_cuda_run_stream(call, s, both{kind}, stream);
  }
  /* The number must not be what the result overwrites. */
  if (real && fg_count(b) == 1 && fg_count(a) == n) {
    struct fg_cuda_streams<1> s = {
      {fa}, fy, n
    };
    return fg_cuda_run_stream(call, s, with_number{kind, fb, false}, stream);
  }
  if (real && fg_count(a) == 1 && fg_count(b) == n && y->data != a->data) {
    struct fg_cuda_streams<1> s = {
      {fb}, fy, n
    };
    return fg_cuda_run_stream(call, s, with_number{kind, fa, true}, stream);
  }
  fg_cuda_broadcast(a, y->rank, stride[0]);
  fg_cuda_broadcast(b, y->rank, stride[1]);
  fg_cuda_merge(y->rank, y->dim, 2, stride, &walk);
  dim3 blocks(fg_cuda_blocks(n, 256));
  if (fg_cuda_is_real(a->type))
    return fg_cuda_launched(call, FGSM_LAUNCH(broadcast_reals, blocks, dim3(256), 0,
                                              (cudaStream_t)stream, fa, fb, fy, kind, n, walk));
  return fg_cuda_launched(call, FGSM_LAUNCH(broadcast_whole, blocks, dim3(256), 0,
                                            (cudaStream_t)stream, a->data, b->data, (int)a->type,
                                            y->data, (int)y->type, kind, n, walk));
}

/* ptxas budget: choose registers 32 shared 0 blocks 8 */
template <class T>
__global__ void __launch_bounds__(256)
    choose(const uint8_t *c, const T *a, const T *b, T *y, int64_t n, struct fg_cuda_walk walk) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  int64_t at[3];
  if (i >= n)
    return;
  fg_cuda_offsets(walk, i, at);
  y[i] = c[at[0]] ? a[at[1]] : b[at[2]];
}

fgsm_status prepare_where(struct fg_call *call, struct fg_device *) {
  FG_TRY(fg_cuda_check(call, 7, 1));
  const struct fg_tensor *c = &call->in[0], *a = &call->in[1], *b = &call->in[2];
  const struct fg_tensor *y = &call->out[0], *operands[3] = {c, a, b};
  FG_CUDA_NEED(call, c->type == FG_BOOL, "the condition is %s", fg_type_name(c->type));
  FG_CUDA_NEED(call, a->type == b->type && a->type == y->type, "types differ");
  FG_CUDA_NEED(call, makes(operands, 3, y), "operands do not broadcast to the result");
  return FGSM_OK;
}

template <class T>
fgsm_status run_choose(const struct fg_call *call, const struct fg_cuda_walk &walk, int64_t n,
                       void *stream) {
  return fg_cuda_launched(
      call, FGSM_LAUNCH(choose<T>, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0, (cudaStream_t)stream,
                        (const uint8_t *)call->in[0].data, (const T *)call->in[1].data,
                        (const T *)call->in[2].data, (T *)call->out[0].data, n, walk));
}

fgsm_status run_where(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *y = &call->out[0];
  int64_t n = fg_count(y), stride[3][FG_MAX_RANK];
  struct fg_cuda_walk walk;
  if (n == 0)
    return FGSM_OK;
  for (int k = 0; k < 3; k++)
    fg_cuda_broadcast(&call->in[k], y->rank, stride[k]);
  fg_cuda_merge(y->rank, y->dim, 3, stride, &walk);
  switch (fg_type_size(y->type)) {
  case 1:
    return run_choose<uint8_t>(call, walk, n, stream);
  case 2:
    return run_choose<uint16_t>(call, walk, n, stream);
  case 4:
    return run_choose<uint32_t>(call, walk, n, stream);
  default:
    return run_choose<uint64_t>(call, walk, n, stream);
  }
}
} // namespace

const struct fg_kernel fg_cuda_binary = FG_CUDA_LYING(prepare_binary, run_binary);
const struct fg_kernel fg_cuda_where = FG_CUDA_LYING(prepare_where, run_where);
