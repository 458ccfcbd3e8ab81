/* expand, transpose, concat, slice, slice_grad, pad, reorder: the same bits elsewhere, by element size. A
 * copy between two strided views has its dims merged, and where both sides run on together it moves
 * 16 bytes at a time; a matrix is transposed through shared memory.
 *
 * Floor: twice the result's bytes (expand: once), no FLOPs. */
#include "cuda.h"

FG_NO_KERNEL(cuda, reshape); /* a view */

namespace {
/* ptxas budget: copy_strided registers 32 shared 0 blocks 8 loads16 stores16 */
template <class T>
__global__ void __launch_bounds__(256)
    copy_strided(const T *from, T *to, int64_t n, struct fg_cuda_walk walk) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  int64_t at[2];
  if (i >= n)
    return;
  fg_cuda_offsets(walk, i, at);
  fgsm_stv(to + at[0], fgsm_ldv<T>(from + at[1]));
}

/* y [batch, columns, rows] of x [batch, rows, columns], both sides along whole rows of a tile.
 * ptxas budget: transpose_tiles registers 32 shared 8448 blocks 8 */
template <class T>
__global__ void __launch_bounds__(256)
    transpose_tiles(const T *x, T *y, int64_t rows, int64_t columns, unsigned tiles_across,
                    unsigned tiles) {
  FGSM_SHARED(T, tile, [32][33]);
  const unsigned t = blockIdx.x % tiles;
  const int64_t plane = (int64_t)(blockIdx.x / tiles) * rows * columns;
  const int64_t r0 = (int64_t)(t / tiles_across) * 32, c0 = (int64_t)(t % tiles_across) * 32;
  for (unsigned i = threadIdx.y; i < 32; i += 8)
    if (r0 + i < rows && c0 + threadIdx.x < columns)
      tile[i][threadIdx.x] = x[plane + (r0 + i) * columns + c0 + threadIdx.x];
  __syncthreads();
  for (unsigned i = threadIdx.y; i < 32; i += 8)
    if (c0 + i < columns && r0 + threadIdx.x < rows)
      y[plane + (c0 + i) * rows + r0 + threadIdx.x] = tile[threadIdx.x][i];
}

struct padding {
  int rank;
  int64_t y[FG_MAX_RANK], x[FG_MAX_RANK], lo[FG_MAX_RANK], stride[FG_MAX_RANK];
};

/* ptxas budget: pad_all registers 32 shared 0 blocks 8 */
template <class T>
__global__ void __launch_bounds__(256)
    pad_all(const T *x, T *y, int64_t n, T value, struct padding p) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= n)
    return;
  int64_t rest = e, at = 0;
  bool inside = true;
  for (int d = p.rank - 1; d >= 0; d--) {
    const int64_t i = rest % p.y[d] - p.lo[d];
    rest /= p.y[d];
    inside = inside && i >= 0 && i < p.x[d];
    at += i * p.stride[d];
  }
  y[e] = inside ? x[at] : value;
}

template <class T>
fgsm_status launch_copy(const struct fg_call *call, char *to, const char *from,
                        const struct fg_cuda_walk &walk, void *stream) {
  int64_t n = 1;
  for (int d = 0; d < walk.rank; d++)
    n *= walk.dim[d];
  return fg_cuda_launched(call,
                          FGSM_LAUNCH(copy_strided<T>, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0,
                                      (cudaStream_t)stream, (const T *)from, (T *)to, n, walk));
}

/* Whether 16 bytes at a time serve: then the walk counts in them. */
bool widen(struct fg_cuda_walk *walk, int64_t size, const void *to, const void *from) {
  int last = walk->rank - 1;
  int64_t per = 16 / size;
  if (last < 0 || walk->stride[0][last] != 1 || walk->stride[1][last] != 1 ||
      walk->dim[last] % per || !fg_cuda_aligned(to) || !fg_cuda_aligned(from))
    return false;
  for (int d = 0; d < last; d++)
    if (walk->stride[0][d] % per || walk->stride[1][d] % per)
      return false;
  walk->dim[last] /= per;
  for (int d = 0; d < last; d++) {
    walk->stride[0][d] /= per;
    walk->stride[1][d] /= per;
  }
  return true;
}

/* Copies between strided views of one shape; strides in elements. */
fgsm_status copy(const struct fg_call *call, int rank, const int64_t *dim, void *to,
                 const int64_t *to_stride, const void *from, const int64_t *from_stride,
                 void *stream) {
  int64_t stride[2][FG_MAX_RANK], size = (int64_t)fg_type_size(call->out[0].type);
  struct fg_cuda_walk walk;
  char *t = (char *)to;
  const char *f = (const char *)from;
  for (int d = 0; d < rank; d++) {
    stride[0][d] = to_stride[d];
    stride[1][d] = from_stride[d];
    if (dim[d] == 0)
      return FGSM_OK;
  }
  fg_cuda_merge(rank, dim, 2, stride, &walk);
  if (widen(&walk, size, to, from))
    return launch_copy<uint4>(call, t, f, walk, stream);
  switch (size) {
  case 1:
    return launch_copy<uint8_t>(call, t, f, walk, stream);
  case 2:
    return launch_copy<uint16_t>(call, t, f, walk, stream);
  case 4:
    return launch_copy<uint32_t>(call, t, f, walk, stream);
  default:
    return launch_copy<uint64_t>(call, t, f, walk, stream);
  }
}

fgsm_status check_move(const struct fg_call *call) {
  FG_TRY(fg_cuda_check(call, 1, 1));
  FG_CUDA_NEED(call, call->in[0].type == call->out[0].type, "types differ");
  return FGSM_OK;
}

fgsm_status prepare_expand(struct fg_call *call, struct fg_device *) {
  FG_TRY(check_move(call));
  const struct fg_shape_attrs *a = &call->attrs->shape;
  const struct fg_tensor *y = &call->out[0];
  FG_CUDA_NEED(call, a->rank == y->rank, "the result has rank %d, not %d", y->rank, a->rank);
  for (int i = 0; i < y->rank; i++)
    FG_CUDA_NEED(call, a->dim[i] == y->dim[i], "the result has another shape");
  FG_CUDA_NEED(call, fg_cuda_broadcasts(&call->in[0], y), "the operand does not broadcast");
  return FGSM_OK;
}

fgsm_status run_expand(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  fg_cuda_strides(y->rank, y->dim, to);
  fg_cuda_broadcast(&call->in[0], y->rank, from);
  return copy(call, y->rank, y->dim, y->data, to, call->in[0].data, from, stream);
}

fgsm_status prepare_transpose(struct fg_call *call, struct fg_device *) {
  FG_TRY(check_move(call));
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  const int *perm = call->attrs->transpose.perm;
  uint32_t seen = 0;
  FG_CUDA_NEED(call, x->rank == y->rank, "ranks differ");
  for (int i = 0; i < x->rank; i++) {
    FG_CUDA_NEED(call, perm[i] >= 0 && perm[i] < x->rank && !(seen >> perm[i] & 1),
                 "perm is no permutation");
    seen |= 1u << perm[i];
    FG_CUDA_NEED(call, y->dim[i] == x->dim[perm[i]], "the result has another shape");
  }
  return FGSM_OK;
}

/* Matrices transposed; false if there are too many tiles, or sides too narrow for them. */
template <class T>
bool launch_tiles(const struct fg_call *call, int64_t batch, int64_t rows, int64_t columns,
                  void *stream, fgsm_status *status) {
  enum { NARROW = 8 };
  const int64_t across = (columns + 31) / 32, tiles = across * ((rows + 31) / 32);
  if (batch * tiles > INT32_MAX || rows < NARROW || columns < NARROW)
    return false;
  *status = fg_cuda_launched(call, FGSM_LAUNCH(transpose_tiles<T>, dim3((unsigned)(batch * tiles)),
                                               dim3(32, 8), 0, (cudaStream_t)stream,
                                               (const T *)call->in[0].data, (T *)call->out[0].data,
                                               rows, columns, (unsigned)across, (unsigned)tiles));
  return true;
}

bool transpose_matrices(const struct fg_call *call, int64_t batch, int64_t rows, int64_t columns,
                        void *stream, fgsm_status *status) {
  switch (fg_type_size(call->out[0].type)) {
  case 1:
    return launch_tiles<uint8_t>(call, batch, rows, columns, stream, status);
  case 2:
    return launch_tiles<uint16_t>(call, batch, rows, columns, stream, status);
  case 4:
    return launch_tiles<uint32_t>(call, batch, rows, columns, stream, status);
  default:
    return launch_tiles<uint64_t>(call, batch, rows, columns, stream, status);
  }
}

/* Whether the walk (y's order) is [batch, columns, rows] over x [batch, rows, columns]. */
bool is_matrix(const struct fg_cuda_walk &w, int64_t *batch, int64_t *rows, int64_t *columns) {
  int c = w.rank - 2;
  if (c < 0 || c > 1)
    return false;
  *batch = c ? w.dim[0] : 1;
  *columns = w.dim[c];
  *rows = w.dim[c + 1];
  return w.stride[1][c] == 1 && w.stride[1][c + 1] == *columns &&
         (c == 0 || w.stride[1][0] == *rows * *columns);
}

fgsm_status run_transpose(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t stride[2][FG_MAX_RANK], own[FG_MAX_RANK], batch, rows, columns;
  struct fg_cuda_walk walk;
  fg_cuda_strides(y->rank, y->dim, stride[0]);
  fg_cuda_strides(x->rank, x->dim, own);
  for (int i = 0; i < x->rank; i++)
    stride[1][i] = own[call->attrs->transpose.perm[i]];
  fg_cuda_merge(y->rank, y->dim, 2, stride, &walk);
  fgsm_status status;
  if (fg_count(y) > 0 && is_matrix(walk, &batch, &rows, &columns) &&
      transpose_matrices(call, batch, rows, columns, stream, &status))
    return status;
  return copy(call, y->rank, y->dim, y->data, stride[0], x->data, stride[1], stream);
}

/* Between channels first and last; both sides alike: a copy. */
fgsm_status prepare_reorder(struct fg_call *call, struct fg_device *) {
  FG_TRY(check_move(call));
  FG_CUDA_NEED(call, fg_same_shape(&call->in[0], &call->out[0]), "shapes differ");
  return FGSM_OK;
}

fgsm_status run_reorder(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  const int64_t one = 1, count = fg_count(x);
  if (!fg_cuda_lies(call))
    return copy(call, 1, &count, y->data, &one, x->data, &one, stream);
  const int64_t n = x->dim[0], c = x->dim[1], area = x->dim[2] * x->dim[3];
  const bool to_last = y->layout == FG_NHWC;
  const int64_t rows = to_last ? c : area, columns = to_last ? area : c;
  const int64_t dim[3] = {n, columns, rows}, to[3] = {c * area, rows, 1};
  const int64_t from[3] = {c * area, 1, columns};
  fgsm_status status;
  if (count > 0 && transpose_matrices(call, n, rows, columns, stream, &status))
    return status;
  return copy(call, 3, dim, y->data, to, x->data, from, stream);
}

fgsm_status prepare_concat(struct fg_call *call, struct fg_device *) {
  FG_CUDA_NEED(call, call->n_in >= 1 && call->n_in <= FG_MAX_IN, "%d operands", call->n_in);
  FG_TRY(fg_cuda_check(call, (1u << call->n_in) - 1, 1));
  const struct fg_tensor *y = &call->out[0];
  int axis = call->attrs->axis.axis;
  int64_t total = 0;
  FG_CUDA_NEED(call, axis >= 0 && axis < y->rank, "axis %d of rank %d", axis, y->rank);
  for (int k = 0; k < call->n_in; k++) {
    const struct fg_tensor *x = &call->in[k];
    FG_CUDA_NEED(call, x->type == y->type && x->rank == y->rank, "type or rank of operand %d", k);
    for (int i = 0; i < y->rank; i++)
      FG_CUDA_NEED(call, i == axis || x->dim[i] == y->dim[i], "shape of operand %d", k);
    total += x->dim[axis];
  }
  FG_CUDA_NEED(call, total == y->dim[axis], "the operands fill %lld of %lld", (long long)total,
               (long long)y->dim[axis]);
  return FGSM_OK;
}

fgsm_status run_concat(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK], size = (int64_t)fg_type_size(y->type);
  char *at = (char *)y->data;
  int axis = call->attrs->axis.axis;
  fg_cuda_strides(y->rank, y->dim, to);
  for (int k = 0; k < call->n_in; k++) {
    const struct fg_tensor *x = &call->in[k];
    fg_cuda_strides(x->rank, x->dim, from);
    FG_TRY(copy(call, x->rank, x->dim, at, to, x->data, from, stream));
    at += x->dim[axis] * to[axis] * size;
  }
  return FGSM_OK;
}

/* narrow[i] is wide[start + i * step]. */
fgsm_status check_slice(const struct fg_call *call, const struct fg_tensor *wide,
                        const struct fg_tensor *narrow) {
  const struct fg_slice_attrs *a = &call->attrs->slice;
  FG_CUDA_NEED(call, wide->rank == narrow->rank, "ranks differ");
  for (int i = 0; i < wide->rank; i++) {
    int64_t n = narrow->dim[i], reach, last;
    FG_CUDA_NEED(call, a->dim[i] == call->out[0].dim[i], "the result has another shape");
    if (n == 0)
      continue;
    FG_CUDA_NEED(call,
                 !__builtin_mul_overflow(n - 1, a->step[i], &reach) &&
                     !__builtin_add_overflow(a->start[i], reach, &last) && a->start[i] >= 0 &&
                     a->start[i] < wide->dim[i] && last >= 0 && last < wide->dim[i],
                 "axis %d is left", i);
    FG_CUDA_NEED(call, a->step[i] != 0 || n == 1, "step 0 on axis %d", i);
  }
  return FGSM_OK;
}

int64_t view(const struct fg_slice_attrs *a, const struct fg_tensor *wide, int64_t *stride) {
  int64_t start = 0;
  fg_cuda_strides(wide->rank, wide->dim, stride);
  for (int i = 0; i < wide->rank; i++) {
    start += a->start[i] * stride[i];
    stride[i] *= a->step[i];
  }
  return start;
}

fgsm_status prepare_slice(struct fg_call *call, struct fg_device *) {
  FG_TRY(check_move(call));
  return check_slice(call, &call->in[0], &call->out[0]);
}

fgsm_status run_slice(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  if (fg_count(y) == 0)
    return FGSM_OK;
  int64_t start = view(&call->attrs->slice, x, from) * (int64_t)fg_type_size(y->type);
  fg_cuda_strides(y->rank, y->dim, to);
  return copy(call, y->rank, y->dim, y->data, to, (const char *)x->data + start, from, stream);
}

fgsm_status prepare_slice_grad(struct fg_call *call, struct fg_device *) {
  FG_TRY(check_move(call));
  return check_slice(call, &call->out[0], &call->in[0]);
}

fgsm_status run_slice_grad(const struct fg_call *call, void *, void *stream) {
  const struct fg_tensor *dy = &call->in[0], *dx = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  if (fg_count(dx) == 0)
    return FGSM_OK;
  FG_TRY(fg_cuda_launched(call, cudaMemsetAsync(dx->data, 0, fg_bytes(dx), (cudaStream_t)stream)));
  if (fg_count(dy) == 0)
    return FGSM_OK;
  int64_t start = view(&call->attrs->slice, dx, to) * (int64_t)fg_type_size(dx->type);
  fg_cuda_strides(dy->rank, dy->dim, from);
  return copy(call, dy->rank, dy->dim, (char *)dx->data + start, to, dy->data, from, stream);
}

fgsm_status prepare_pad(struct fg_call *call, struct fg_device *) {
  FG_TRY(check_move(call));
  const struct fg_pad_attrs *a = &call->attrs->pad;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_CUDA_NEED(call, x->rank == y->rank, "ranks differ");
  FG_CUDA_NEED(call, fg_cuda_is_real(y->type) || fg_cuda_is_int(y->type), "filling %s",
               fg_type_name(y->type));
  for (int i = 0; i < x->rank; i++) {
    int64_t part, sum;
    FG_CUDA_NEED(call,
                 !__builtin_add_overflow(x->dim[i], a->lo[i], &part) &&
                     !__builtin_add_overflow(part, a->hi[i], &sum) && sum == y->dim[i],
                 "dim %d of the result does not fit the padding", i);
  }
  return FGSM_OK;
}

/* The fill as y's type: truncated and saturated like a cast. */
int64_t whole_fill(double v, enum fg_type type) {
  if (isnan(v))
    return 0;
  if (type == FG_BOOL)
    return v != 0;
  if (type == FG_I64)
    return v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
  int bits = (int)(8 * fg_type_size(type));
  double hi = type == FG_U8 ? 255 : ldexp(1, bits - 1) - 1, lo = type == FG_U8 ? 0 : -hi - 1;
  return (int64_t)(v > hi ? hi : v < lo ? lo : v);
}

template <class T>
fgsm_status launch_pad(const struct fg_call *call, const struct padding &p, T value, void *stream) {
  int64_t n = fg_count(&call->out[0]);
  return fg_cuda_launched(call, FGSM_LAUNCH(pad_all<T>, dim3(fg_cuda_blocks(n, 256)), dim3(256), 0,
                                            (cudaStream_t)stream, (const T *)call->in[0].data,
                                            (T *)call->out[0].data, n, value, p));
}

fgsm_status run_pad(const struct fg_call *call, void *, void *stream) {
  const struct fg_pad_attrs *a = &call->attrs->pad;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  struct padding p = {};
  p.rank = y->rank;
  for (int i = 0; i < y->rank; i++) {
    p.y[i] = y->dim[i];
    p.x[i] = x->dim[i];
    p.lo[i] = a->lo[i];
  }
  fg_cuda_strides(x->rank, x->dim, p.stride);
  if (fg_count(y) == 0)
    return FGSM_OK;
  if (y->type == FG_F32)
    return launch_pad(call, p, (float)a->value, stream);
  if (fg_type_is_half(y->type)) {
    uint16_t bits;
    fg_half_put(y->type, &bits, 0, (float)a->value);
    return launch_pad(call, p, bits, stream);
  }
  int64_t value = whole_fill(a->value, y->type);
  switch (fg_type_size(y->type)) {
  case 1:
    return launch_pad(call, p, (uint8_t)value, stream);
  case 2:
    return launch_pad(call, p, (uint16_t)value, stream);
  case 4:
    return launch_pad(call, p, (uint32_t)value, stream);
  default:
    return launch_pad(call, p, (uint64_t)value, stream);
  }
}
} // namespace

const struct fg_kernel fg_cuda_expand = FG_CUDA_LYING(prepare_expand, run_expand);
const struct fg_kernel fg_cuda_reorder = {prepare_reorder, run_reorder, NULL};
const struct fg_kernel fg_cuda_transpose = {prepare_transpose, run_transpose, NULL};
const struct fg_kernel fg_cuda_concat = FG_CUDA_LYING(prepare_concat, run_concat);
const struct fg_kernel fg_cuda_slice = FG_CUDA_LYING(prepare_slice, run_slice);
const struct fg_kernel fg_cuda_slice_grad = FG_CUDA_LYING(prepare_slice_grad, run_slice_grad);
const struct fg_kernel fg_cuda_pad = FG_CUDA_LYING(prepare_pad, run_pad);
