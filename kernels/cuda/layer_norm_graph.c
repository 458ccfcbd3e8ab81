/* Writing layer normalisation down for cuDNN: x is [rows, n, 1, 1], channels last, its n channels are
 * normalised; scale and bias [1, n, 1, 1]; mean and inverse variance [rows, 1, 1, 1]. That cuDNN's inverse
 * variance is our rstd, 1 / sqrt(variance + epsilon), is taken from its name and from PyTorch, which hands its
 * own rstd to cuDNN's gradient (aten/src/ATen/native/cudnn/LayerNorm_v8.cpp); no card has shown it. A
 * gradient with scale but without dscale cuDNN takes for a bad parameter. */
#include "layer_norm_graph.h"

enum { DY, X, SCALE, MEAN, RSTD };

static bool is_grad(const struct fg_call *call) {
  return call->op == FG_OP_layer_norm_grad;
}

bool fg_cuda_norm_can(const struct fg_call *call) {
  bool grad = is_grad(call);
  bool whole = grad ? fg_cuda_in(call, SCALE) && fg_cuda_out(call, 0)
                    : fg_cuda_in(call, 1) && fg_cuda_in(call, 2) &&
                          !fg_cuda_out(call, 1) == !fg_cuda_out(call, 2);
  return whole && fg_count(&call->in[grad ? X : 0]) > 0;
}

static fg_cudnn tensor(struct fg_cudnn_graph *g, enum fg_type of, int64_t rows, int64_t n,
                       int64_t uid) {
  const struct fg_tensor t = {.type = of, .layout = FG_NHWC, .rank = 4, .dim = {rows, n, 1, 1}};
  return fg_cudnn_tensor_of(g, &t, uid);
}

static void link(struct fg_cudnn_graph *g, fg_cudnn op, cudnnBackendAttributeName_t name,
                 fg_cudnn value) {
  fg_cudnn_set(g, op, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void normalise(struct fg_cudnn_graph *g, const struct fg_call *call, int64_t rows,
                      int64_t n) {
  const cudnnBackendNormMode_t mode = CUDNN_LAYER_NORM;
  const bool saves = fg_cuda_out(call, 1);
  const cudnnBackendNormFwdPhase_t phase =
      saves ? CUDNN_NORM_FWD_TRAINING : CUDNN_NORM_FWD_INFERENCE;
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
  fg_cudnn_set(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &mode);
  fg_cudnn_set(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, &phase);
  link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_XDESC,
       tensor(g, call->in[0].type, rows, n, FG_NORM_IN));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, tensor(g, FG_F32, 1, n, FG_NORM_IN + 1));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, tensor(g, FG_F32, 1, n, FG_NORM_IN + 2));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, fg_cudnn_number(g, 4, FG_NORM_EPSILON));
  if (saves) {
    link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC,
         tensor(g, FG_F32, rows, 1, FG_NORM_OUT + 1));
    link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC,
         tensor(g, FG_F32, rows, 1, FG_NORM_OUT + 2));
  }
  link(g, op, CUDNN_ATTR_OPERATION_NORM_FWD_YDESC,
       tensor(g, call->out[0].type, rows, n, FG_NORM_OUT));
  fg_cudnn_operation(g, op);
}

static void gradient(struct fg_cudnn_graph *g, const struct fg_call *call, int64_t rows,
                     int64_t n) {
  const cudnnBackendNormMode_t mode = CUDNN_LAYER_NORM;
  fg_cudnn op = fg_cudnn_object(g, CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
  fg_cudnn_set(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &mode);
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC,
       tensor(g, call->in[DY].type, rows, n, FG_NORM_IN + DY));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_XDESC,
       tensor(g, call->in[X].type, rows, n, FG_NORM_IN + X));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC,
       tensor(g, FG_F32, 1, n, FG_NORM_IN + SCALE));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC,
       tensor(g, FG_F32, rows, 1, FG_NORM_IN + MEAN));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC,
       tensor(g, FG_F32, rows, 1, FG_NORM_IN + RSTD));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC,
       tensor(g, call->out[0].type, rows, n, FG_NORM_OUT));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, tensor(g, FG_F32, 1, n, FG_NORM_OUT + 1));
  link(g, op, CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, tensor(g, FG_F32, 1, n, FG_NORM_OUT + 2));
  fg_cudnn_operation(g, op);
}

fgsm_status fg_cuda_norm_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g) {
  const bool grad = is_grad(call);
  int64_t n = fg_count(&call->in[grad ? SCALE : 1]), rows = fg_count(&call->in[grad ? X : 0]) / n;
  fg_cudnn_begin(g);
  if (grad)
    gradient(g, call, rows, n);
  else
    normalise(g, call, rows, n);
  fgsm_status status = fg_cudnn_finish(g, target);
  if (status != FGSM_OK)
    fg_cudnn_graph_destroy(g);
  return status;
}
