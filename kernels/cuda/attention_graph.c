/* Writing attention down for cuDNN: an operation of its own.
 *
 * cuDNN has the gradient too, as a pattern of products and exponentials, but in its fast form dq is gathered
 * from many blocks, in an order that is promised nowhere. Runs must repeat bit for bit: attention.cu's own
 * kernels compute it. */
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
  const struct fg_tensor *q = &call->in[0], *v = &call->in[2];
  struct sizes n = sizes_of(q, v);
  return fg_type_is_half(q->type) && !fg_cuda_in(call, 3) && n.of[D] % 8 == 0 && n.of[E] % 8 == 0 &&
         n.of[D] <= 128 && n.of[E] <= 128 && fg_count(q) && fg_count(v);
}

/* ---- tensors */

static fg_cudnn describe(struct fg_cudnn_graph *g, enum fg_type of, const int64_t *dim,
                         const int64_t *stride, int64_t uid, bool by_value) {
  fg_cudnn t = fg_cudnn_object(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  cudnnDataType_t type = of == FG_F16    ? CUDNN_DATA_HALF
                         : of == FG_BF16 ? CUDNN_DATA_BFLOAT16
                                         : CUDNN_DATA_FLOAT;
  int64_t alignment = by_value ? 4 : 16;
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  fg_cudnn_set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
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

/* A float of the host's. */
static fg_cudnn number(struct fg_cudnn_graph *g, int64_t uid) {
  const int64_t one[4] = {1, 1, 1, 1};
  return describe(g, FG_F32, one, one, uid, true);
}

static void link(struct fg_cudnn_graph *g, fg_cudnn op, cudnnBackendAttributeName_t name,
                 fg_cudnn value) {
  fg_cudnn_set(g, op, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

/* ---- the operation */

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

fgsm_status fg_cuda_sdpa_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) {
  fg_cudnn_begin(g);
  attend(g, call);
  fgsm_status status = fg_cudnn_finish(g, target);
  if (status != FGSM_OK)
    fg_cudnn_graph_destroy(g);
  return status;
}
