/* Writing cuDNN graphs down. */
#include "dnn_graph.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

static void refuse(struct fg_cudnn_graph *g, cudnnStatus_t status, const char *what) {
  char why[640] = "";
  if (g->status != FGSM_OK)
    return;
  fg_nv.cudnnGetLastErrorString(why, sizeof why);
  g->status = FG_FAIL(UNSUPPORTED, "cuDNN takes no such %s: %s%s%s", what,
                      fg_nv.cudnnGetErrorString(status), *why ? ": " : "", why);
}

static fg_cudnn make(struct fg_cudnn_graph *g, cudnnBackendDescriptorType_t type,
                     const char *what) {
  fg_cudnn object = NULL;
  if (g->status != FGSM_OK)
    return NULL;
  if (g->n_made == FG_CUDNN_OBJECTS) {
    g->status = FG_FAIL(INTERNAL, "a cuDNN graph of more than %d objects", FG_CUDNN_OBJECTS);
    return NULL;
  }
  cudnnStatus_t status = fg_nv.cudnnBackendCreateDescriptor(type, &object);
  if (status != CUDNN_STATUS_SUCCESS) {
    refuse(g, status, what);
    return NULL;
  }
  g->made[g->n_made++] = object;
  return object;
}

static void set(struct fg_cudnn_graph *g, fg_cudnn object, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *values) {
  if (g->status != FGSM_OK)
    return;
  cudnnStatus_t status = fg_nv.cudnnBackendSetAttribute(object, name, type, n, values);
  if (status != CUDNN_STATUS_SUCCESS)
    refuse(g, status, "attribute");
}

static void set_object(struct fg_cudnn_graph *g, fg_cudnn object, cudnnBackendAttributeName_t name,
                       fg_cudnn value) {
  set(g, object, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finalise(struct fg_cudnn_graph *g, fg_cudnn object, const char *what) {
  if (g->status != FGSM_OK)
    return;
  cudnnStatus_t status = fg_nv.cudnnBackendFinalize(object);
  if (status != CUDNN_STATUS_SUCCESS)
    refuse(g, status, what);
}

static void append(struct fg_cudnn_graph *g, fg_cudnn op, const char *what) {
  finalise(g, op, what);
  if (g->status != FGSM_OK)
    return;
  if (g->n_ops == FG_CUDNN_OPS)
    g->status = FG_FAIL(INTERNAL, "a cuDNN graph of more than %d operations", FG_CUDNN_OPS);
  else
    g->ops[g->n_ops++] = op;
}

void fg_cudnn_destroy(fg_cudnn object) {
  if (object)
    (void)fg_nv.cudnnBackendDestroyDescriptor(object);
}

fgsm_status fg_cudnn_properties(const char *json, fg_cudnn *out) {
  struct fg_cudnn_graph g;
  fg_cudnn_begin(&g);
  fg_cudnn object = make(&g, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "card");
  set(&g, object, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json),
      json);
  finalise(&g, object, "card");
  if (g.status == FGSM_OK)
    *out = object;
  else
    fg_cudnn_destroy(object);
  return g.status;
}

void fg_cudnn_begin(struct fg_cudnn_graph *g) {
  memset(g, 0, sizeof *g);
}

static fg_cudnn strided(struct fg_cudnn_graph *g, enum fg_type of, int rank, const int64_t *dim,
                        const int64_t *stride, int64_t uid) {
  static int64_t virtual_uid = 1000; /* a number is wanted all the same */
  fg_cudnn t = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "tensor");
  cudnnDataType_t type = of == FG_F16    ? CUDNN_DATA_HALF
                         : of == FG_BF16 ? CUDNN_DATA_BFLOAT16
                         : of == FG_BOOL ? CUDNN_DATA_BOOLEAN
                                         : CUDNN_DATA_FLOAT;
  int64_t alignment = 16;
  bool is_virtual = uid == FG_VIRTUAL;
  if (is_virtual)
    uid = virtual_uid + g->n_made;
  set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, rank, dim);
  set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, rank, stride);
  set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (is_virtual)
    set(g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  finalise(g, t, "tensor");
  return g->status == FGSM_OK ? t : NULL;
}

/* Strides of dims that follow one another in the order of `axes`, the last one next to each other. */
static void strides_in(int rank, const int64_t *dim, const int *axes, int64_t *stride) {
  int64_t n = 1;
  for (int i = rank - 1; i >= 0; i--) {
    stride[axes[i]] = n;
    n *= dim[axes[i]];
  }
}

fg_cudnn fg_cudnn_tensor(struct fg_cudnn_graph *g, enum fg_type of, int rank, const int64_t *dim,
                         int64_t uid) {
  static const int axes[FG_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
  int64_t stride[FG_MAX_RANK];
  strides_in(rank, dim, axes, stride);
  return strided(g, of, rank, dim, stride, uid);
}

fg_cudnn fg_cudnn_tensor_of(struct fg_cudnn_graph *g, const struct fg_tensor *t, int64_t uid) {
  static const int axes[4] = {0, 2, 3, 1};
  int64_t stride[FG_MAX_RANK];
  if (t->layout == FG_PLAIN)
    return fg_cudnn_tensor(g, t->type, t->rank, t->dim, uid);
  strides_in(4, t->dim, axes, stride);
  return strided(g, t->type, 4, t->dim, stride, uid);
}

fg_cudnn fg_cudnn_number(struct fg_cudnn_graph *g, int rank, int64_t uid) {
  const int64_t one[FG_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1}, alignment = sizeof(float);
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  const bool by_value = true;
  fg_cudnn t = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "number");
  set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, rank, one);
  set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, rank, one);
  set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  set(g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
  finalise(g, t, "number");
  return t;
}

/* ---- convolutions */

/* Paddings may differ at the two ends. */
static fg_cudnn convolution(struct fg_cudnn_graph *g, const struct fg_conv_attrs *a) {
  fg_cudnn c = make(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "convolution");
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  int64_t spatial = a->spatial, lo[3], hi[3], dilation[3], stride[3];
  for (int i = 0; i < a->spatial; i++) {
    lo[i] = a->pad_lo[i];
    hi[i] = a->pad_hi[i];
    dilation[i] = a->dilation[i];
    stride[i] = a->stride[i];
  }
  set(g, c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set(g, c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  set(g, c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
  set(g, c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, spatial, lo);
  set(g, c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, spatial, hi);
  set(g, c, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, spatial, dilation);
  set(g, c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, spatial, stride);
  finalise(g, c, "convolution");
  return c;
}

void fg_cudnn_conv(struct fg_cudnn_graph *g, enum fg_cudnn_conv kind,
                   const struct fg_conv_attrs *attrs, fg_cudnn x, fg_cudnn w, fg_cudnn y) {
  static const struct {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
  } names[] = {
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
  const double one = 1, zero = 0;
  fg_cudnn described = convolution(g, attrs);
  fg_cudnn op = make(g, names[kind].type, "convolution");
  set_object(g, op, names[kind].x, x);
  set_object(g, op, names[kind].w, w);
  set_object(g, op, names[kind].y, y);
  set_object(g, op, names[kind].convolution, described);
  set(g, op, names[kind].alpha, CUDNN_TYPE_DOUBLE, 1, &one);
  set(g, op, names[kind].beta, CUDNN_TYPE_DOUBLE, 1, &zero);
  append(g, op, "convolution");
}

/* ---- place by place */

static fg_cudnn pointwise(struct fg_cudnn_graph *g, cudnnPointwiseMode_t mode) {
  fg_cudnn p = make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "operation");
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  set(g, p, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set(g, p, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
  return p;
}

static fg_cudnn operation(struct fg_cudnn_graph *g, fg_cudnn described) {
  finalise(g, described, "operation");
  fg_cudnn op = make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, "operation");
  set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, described);
  return op;
}

static void apply(struct fg_cudnn_graph *g, fg_cudnn described, fg_cudnn x, fg_cudnn b,
                  fg_cudnn y) {
  fg_cudnn op = operation(g, described);
  set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b)
    set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  append(g, op, "operation");
}

void fg_cudnn_add(struct fg_cudnn_graph *g, fg_cudnn a, fg_cudnn b, fg_cudnn y) {
  if (g->status == FGSM_OK)
    apply(g, pointwise(g, CUDNN_POINTWISE_ADD), a, b, y);
}

void fg_cudnn_mul(struct fg_cudnn_graph *g, fg_cudnn a, fg_cudnn b, fg_cudnn y) {
  if (g->status == FGSM_OK)
    apply(g, pointwise(g, CUDNN_POINTWISE_MUL), a, b, y);
}

void fg_cudnn_exceeds(struct fg_cudnn_graph *g, fg_cudnn x, int rank, int64_t than_uid,
                      fg_cudnn y) {
  fg_cudnn than = fg_cudnn_number(g, rank, than_uid);
  if (g->status == FGSM_OK)
    apply(g, pointwise(g, CUDNN_POINTWISE_CMP_GT), x, than, y);
}

/* lo, hi and slope: of the activations that are cuDNN's relu with bounds. */
static bool describe_activation(const struct fg_unary_attrs *act, cudnnPointwiseMode_t *mode,
                                double *lo, double *hi, double *slope) {
  *mode = CUDNN_POINTWISE_RELU_FWD;
  *lo = *slope = 0;
  *hi = FLT_MAX;
  switch (act->kind) {
  case FG_UNARY_relu:
    return true;
  case FG_UNARY_leaky_relu:
    *slope = act->alpha;
    return true;
  case FG_UNARY_relu6:
    *hi = 6;
    return true;
  case FG_UNARY_sigmoid:
    *mode = CUDNN_POINTWISE_SIGMOID_FWD;
    return true;
  case FG_UNARY_tanh:
    *mode = CUDNN_POINTWISE_TANH_FWD;
    return true;
  case FG_UNARY_gelu:
    *mode = CUDNN_POINTWISE_GELU_FWD;
    return true;
  case FG_UNARY_gelu_tanh:
    *mode = CUDNN_POINTWISE_GELU_APPROX_TANH_FWD;
    return true;
  default:
    return false;
  }
}

bool fg_cudnn_has_activation(const struct fg_unary_attrs *act) {
  cudnnPointwiseMode_t mode;
  double lo, hi, slope;
  return act->kind == FG_UNARY_identity || describe_activation(act, &mode, &lo, &hi, &slope);
}

static void bound(struct fg_cudnn_graph *g, fg_cudnn p, double lo, double hi, double slope) {
  set(g, p, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 1, &lo);
  set(g, p, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, &hi);
  set(g, p, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, 1, &slope);
}

void fg_cudnn_activation(struct fg_cudnn_graph *g, const struct fg_unary_attrs *act, fg_cudnn x,
                         fg_cudnn y) {
  cudnnPointwiseMode_t mode;
  double lo, hi, slope;
  if (g->status != FGSM_OK)
    return;
  if (!describe_activation(act, &mode, &lo, &hi, &slope)) {
    g->status = FG_FAIL(UNSUPPORTED, "cuDNN has no %s to fuse", fg_unary_name(act->kind));
    return;
  }
  fg_cudnn p = pointwise(g, mode);
  if (mode == CUDNN_POINTWISE_RELU_FWD)
    bound(g, p, lo, hi, slope);
  apply(g, p, x, NULL, y);
}

/* ReLU's kin have the same sign before and after; of a bound above, cuDNN does not say on which side
 * its kink is. GELU's gradient is of its argument here and there. */
static bool describe_slope(const struct fg_unary_attrs *act, cudnnPointwiseMode_t *mode,
                           double *slope) {
  *mode = CUDNN_POINTWISE_RELU_BWD;
  *slope = 0;
  switch (act->kind) {
  case FG_UNARY_relu:
    return true;
  case FG_UNARY_leaky_relu:
    *slope = act->alpha;
    return true;
  case FG_UNARY_gelu:
    *mode = CUDNN_POINTWISE_GELU_BWD;
    return !fg_unary_from_y(act);
  case FG_UNARY_gelu_tanh:
    *mode = CUDNN_POINTWISE_GELU_APPROX_TANH_BWD;
    return !fg_unary_from_y(act);
  default:
    return false;
  }
}

bool fg_cudnn_has_slope(const struct fg_unary_attrs *act) {
  cudnnPointwiseMode_t mode;
  double slope;
  return describe_slope(act, &mode, &slope);
}

void fg_cudnn_slope(struct fg_cudnn_graph *g, const struct fg_unary_attrs *act, fg_cudnn v,
                    fg_cudnn dy, fg_cudnn dx) {
  cudnnPointwiseMode_t mode;
  double slope;
  if (g->status != FGSM_OK)
    return;
  if (!describe_slope(act, &mode, &slope)) {
    g->status = FG_FAIL(UNSUPPORTED, "cuDNN has no %s to fuse backward", fg_unary_name(act->kind));
    return;
  }
  fg_cudnn p = pointwise(g, mode);
  if (mode == CUDNN_POINTWISE_RELU_BWD)
    bound(g, p, 0, FLT_MAX, slope);
  fg_cudnn op = operation(g, p);
  set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, v);
  set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy);
  set_object(g, op, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx);
  append(g, op, "operation");
}

/* ---- for graphs that are written elsewhere */

fg_cudnn fg_cudnn_object(struct fg_cudnn_graph *g, cudnnBackendDescriptorType_t type) {
  return make(g, type, "object");
}

void fg_cudnn_set(struct fg_cudnn_graph *g, fg_cudnn object, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t n, const void *values) {
  set(g, object, name, type, n, values);
}

void fg_cudnn_ready(struct fg_cudnn_graph *g, fg_cudnn object) {
  finalise(g, object, "object");
}

void fg_cudnn_operation(struct fg_cudnn_graph *g, fg_cudnn op) {
  append(g, op, "operation");
}

fgsm_status fg_cudnn_finish(struct fg_cudnn_graph *g, const struct fg_cudnn_target *target) {
  fg_cudnn graph = make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "graph");
  set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_ops, g->ops);
  if (target->handle)
    set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target->handle);
  finalise(g, graph, "graph");
  g->graph = g->status == FGSM_OK ? graph : NULL;
  return g->status;
}

void fg_cudnn_graph_destroy(struct fg_cudnn_graph *g) {
  for (int i = g->n_made; i-- > 0;)
    fg_cudnn_destroy(g->made[i]);
  memset(g, 0, sizeof *g);
}
