/* Writing attention down for cuDNN. Forward it is an operation of its own; backward it is the products,
 * differences and exponentials that cuDNN knows by their pattern as flash attention's gradient:
 *
 *   sums = sum along E of dy y
 *   p = exp(scale q kT - lse)                dv = pT dy
 *   dz = scale p (dy vT - sums)              dk = dzT q       dq = dz k
 *
 * dq stands for itself. With a float tensor of the caller's in front of it, cuDNN would gather it there from
 * many blocks by atomics; without, it keeps dz in its workspace and runs repeat bit for bit (what
 * cudnn-frontend's set_deterministic_algorithm chooses). k and v are read as [D, T] and [E, T]: what is
 * turned is only said to be. */
#include "attention_graph.h"

#include "half.h"

enum { B, H, S, T, D, E };

struct sizes {
  int64_t of[6];
};

static struct sizes sizes_of(const struct fg_tensor *q, const struct fg_tensor *v) {
  return (struct sizes){{q->dim[0], q->dim[1], q->dim[2], v->dim[2], q->dim[3], v->dim[3]}};
}

bool fg_cuda_sdpa_can(const struct fg_call *call) {
  bool grad = call->op == FG_OP_attention_grad;
  const struct fg_tensor *q = &call->in[grad ? 1 : 0], *v = &call->in[grad ? 3 : 2];
  struct sizes n = sizes_of(q, v);
  bool whole = !grad || (fg_cuda_out(call, 0) && fg_cuda_out(call, 1) && fg_cuda_out(call, 2));
  return fg_type_is_half(q->type) && whole && !fg_cuda_in(call, grad ? 6 : 3) && n.of[D] % 8 == 0 &&
         n.of[E] % 8 == 0 && n.of[D] <= 128 && n.of[E] <= 128 && fg_count(q) && fg_count(v);
}

/* ---- tensors */

static fg_cudnn describe(struct fg_cudnn_graph *g, enum fg_type of, const int64_t *dim,
                         const int64_t *stride, int64_t uid, bool by_value) {
  fg_cudnn t = fg_cudnn_object(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  cudnnDataType_t type = of == FG_F16    ? CUDNN_DATA_HALF
                         : of == FG_BF16 ? CUDNN_DATA_BFLOAT16
                                         : CUDNN_DATA_FLOAT;
  int64_t alignment = by_value ? 4 : 16;
  bool is_virtual = uid == FG_VIRTUAL;
  if (is_virtual)
    uid = 1000 + g->n_made; /* a number is wanted all the same */
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (is_virtual)
    fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  if (by_value)
    fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
  fg_cudnn_ready(g, t);
  return t;
}

/* [B, H, rows, columns] */
static fg_cudnn tensor(struct fg_cudnn_graph *g, const struct sizes *n, enum fg_type type,
                       int64_t rows, int64_t columns, int64_t uid) {
  const int64_t dim[4] = {n->of[B], n->of[H], rows, columns};
  const int64_t stride[4] = {n->of[H] * rows * columns, rows * columns, columns, 1};
  return describe(g, type, dim, stride, uid, false);
}

/* The same of what lies as [B, H, columns, rows]. */
static fg_cudnn turned(struct fg_cudnn_graph *g, const struct sizes *n, enum fg_type type,
                       int64_t rows, int64_t columns, int64_t uid) {
  const int64_t dim[4] = {n->of[B], n->of[H], rows, columns};
  const int64_t stride[4] = {n->of[H] * rows * columns, rows * columns, 1, rows};
  return describe(g, type, dim, stride, uid, false);
}

/* A float of the host's. */
static fg_cudnn number(struct fg_cudnn_graph *g, int64_t uid) {
  const int64_t one[4] = {1, 1, 1, 1};
  return describe(g, FG_F32, one, one, uid, true);
}

static void link(struct fg_cudnn_graph *g, fg_cudnn op, cudnnBackendAttributeName_t name,
                 fg_cudnn value) {
  fg_cudnn_set(g, op, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

/* ---- forward */

static void attend(struct fg_cudnn_graph *g, const struct fg_call *call) {
  struct sizes n = sizes_of(&call->in[0], &call->in[2]);
  const enum fg_type half = call->in[0].type;
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  link(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC,
       tensor(g, &n, half, n.of[S], n.of[D], FG_SDPA_IN));
  link(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC,
       tensor(g, &n, half, n.of[T], n.of[D], FG_SDPA_IN + 1));
  link(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC,
       tensor(g, &n, half, n.of[T], n.of[E], FG_SDPA_IN + 2));
  link(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC,
       tensor(g, &n, half, n.of[S], n.of[E], FG_SDPA_OUT));
  if (fg_cuda_out(call, 1))
    link(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC,
         tensor(g, &n, FG_F32, n.of[S], 1, FG_SDPA_OUT + 1));
  link(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, number(g, FG_SDPA_SCALE));
  fg_cudnn_operation(g, op);
}

/* ---- backward */

static void pointwise(struct fg_cudnn_graph *g, cudnnPointwiseMode_t mode, fg_cudnn x, fg_cudnn b,
                      fg_cudnn y) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  fg_cudnn p = fg_cudnn_object(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  fg_cudnn_set(g, p, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  fg_cudnn_set(g, p, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
  fg_cudnn_ready(g, p);
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  link(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, p);
  link(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b)
    link(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  link(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  fg_cudnn_operation(g, op);
}

static void product(struct fg_cudnn_graph *g, fg_cudnn a, fg_cudnn b, fg_cudnn c) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  fg_cudnn m = fg_cudnn_object(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  fg_cudnn_set(g, m, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  fg_cudnn_ready(g, m);
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  link(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
  link(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
  link(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
  link(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, m);
  fg_cudnn_operation(g, op);
}

static void sum_of_rows(struct fg_cudnn_graph *g, fg_cudnn x, fg_cudnn y) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  const cudnnReduceTensorOp_t add = CUDNN_REDUCE_TENSOR_ADD;
  fg_cudnn r = fg_cudnn_object(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  fg_cudnn_set(g, r, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &add);
  fg_cudnn_set(g, r, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  fg_cudnn_ready(g, r);
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  link(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
  link(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
  link(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, r);
  fg_cudnn_operation(g, op);
}

static fg_cudnn transpose(struct fg_cudnn_graph *g, const struct sizes *n, enum fg_type type,
                          fg_cudnn x) {
  fg_cudnn y = turned(g, n, type, n->of[T], n->of[S], FG_VIRTUAL);
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  link(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
  link(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
  fg_cudnn_operation(g, op);
  return y;
}

static void gradient(struct fg_cudnn_graph *g, const struct fg_call *call) {
  enum { DY, Q, K, V, Y, LSE };
  struct sizes n = sizes_of(&call->in[Q], &call->in[V]);
  const enum fg_type half = call->in[Q].type;
  const int64_t s = n.of[S], t = n.of[T], d = n.of[D], e = n.of[E];
  fg_cudnn dy = tensor(g, &n, half, s, e, FG_SDPA_IN + DY);
  fg_cudnn y = tensor(g, &n, half, s, e, FG_SDPA_IN + Y);
  fg_cudnn q = tensor(g, &n, half, s, d, FG_SDPA_IN + Q);
  fg_cudnn k = tensor(g, &n, half, t, d, FG_SDPA_IN + K);
  fg_cudnn k_turned = turned(g, &n, half, d, t, FG_SDPA_IN + K);
  fg_cudnn v_turned = turned(g, &n, half, e, t, FG_SDPA_IN + V);
  fg_cudnn lse = tensor(g, &n, FG_F32, s, 1, FG_SDPA_IN + LSE);
  fg_cudnn scale = number(g, FG_SDPA_SCALE), one = number(g, FG_SDPA_ONE);
  fg_cudnn sums = tensor(g, &n, FG_F32, s, 1, FG_SDPA_SUMS);
  fg_cudnn each = tensor(g, &n, FG_F32, s, e, FG_VIRTUAL);
  fg_cudnn row = tensor(g, &n, FG_F32, s, 1, FG_VIRTUAL);
  pointwise(g, CUDNN_POINTWISE_MUL, dy, y, each);
  sum_of_rows(g, each, row);
  pointwise(g, CUDNN_POINTWISE_MUL, row, one, sums);
  fg_cudnn z[3], p = tensor(g, &n, FG_F32, s, t, FG_VIRTUAL), dz[4];
  for (int i = 0; i < 3; i++)
    z[i] = tensor(g, &n, FG_F32, s, t, FG_VIRTUAL);
  for (int i = 0; i < 4; i++)
    dz[i] = tensor(g, &n, FG_F32, s, t, FG_VIRTUAL);
  product(g, q, k_turned, z[0]);
  pointwise(g, CUDNN_POINTWISE_MUL, z[0], scale, z[1]);
  pointwise(g, CUDNN_POINTWISE_SUB, z[1], lse, z[2]);
  pointwise(g, CUDNN_POINTWISE_EXP, z[2], NULL, p);
  product(g, transpose(g, &n, half, p), dy, tensor(g, &n, half, t, e, FG_SDPA_OUT + 2));
  product(g, dy, v_turned, dz[0]);
  pointwise(g, CUDNN_POINTWISE_SUB, dz[0], sums, dz[1]);
  pointwise(g, CUDNN_POINTWISE_MUL, dz[1], p, dz[2]);
  pointwise(g, CUDNN_POINTWISE_MUL, dz[2], scale, dz[3]);
  product(g, transpose(g, &n, half, dz[3]), q, tensor(g, &n, half, t, d, FG_SDPA_OUT + 1));
  product(g, dz[3], k, tensor(g, &n, half, s, d, FG_SDPA_OUT));
}

fgsm_status fg_cuda_sdpa_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) {
  fg_cudnn_begin(g);
  if (call->op == FG_OP_attention)
    attend(g, call);
  else
    gradient(g, call);
  fgsm_status status = fg_cudnn_finish(g, target);
  if (status != FGSM_OK)
    fg_cudnn_graph_destroy(g);
  return status;
}
