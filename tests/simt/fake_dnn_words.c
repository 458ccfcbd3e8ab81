/* What operations of cuDNN's graphs say, read from their descriptors. */
#include "fake_card.h"
#include "fake_dnn_object.h"

static struct fake_tensor tensor_of(const struct object *o, cudnnBackendAttributeName_t name) {
  struct fake_tensor t = {.rank = 1, .dim = {1}, .stride = {1}};
  const struct object *of = fake_part(o, name);
  bool flag = false;
  const struct attribute *dims = of ? fake_find(of, CUDNN_ATTR_TENSOR_DIMENSIONS) : NULL;
  if (!dims || dims->n > FAKE_MOST_RANK) {
    fake_wrong("cuDNN: an operation without tensor %d", (int)name);
    return t;
  }
  t.rank = (int32_t)dims->n;
  fake_take(of, CUDNN_ATTR_TENSOR_DIMENSIONS, t.rank, t.dim, false);
  fake_take(of, CUDNN_ATTR_TENSOR_STRIDES, t.rank, t.stride, false);
  fake_take(of, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &t.uid, false);
  fake_take(of, CUDNN_ATTR_TENSOR_DATA_TYPE, 1, &t.type, false);
  t.is_virtual = fake_take(of, CUDNN_ATTR_TENSOR_IS_VIRTUAL, 1, &flag, true) && flag;
  t.by_value = fake_take(of, CUDNN_ATTR_TENSOR_IS_BY_VALUE, 1, &flag, true) && flag;
  return t;
}

static void convolution_of(const struct object *o, cudnnBackendAttributeName_t x,
                           cudnnBackendAttributeName_t w, cudnnBackendAttributeName_t y,
                           cudnnBackendAttributeName_t described, struct fake_op *op) {
  const struct object *c = fake_part(o, described);
  int64_t spatial = 0;
  op->x = tensor_of(o, x);
  op->b = tensor_of(o, w);
  op->y = tensor_of(o, y);
  if (!c || !fake_take(c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &spatial, false))
    return;
  op->spatial = (int32_t)spatial;
  fake_take(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, spatial, op->lo, false);
  fake_take(c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, spatial, op->hi, false);
  fake_take(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, spatial, op->stride, false);
  fake_take(c, CUDNN_ATTR_CONVOLUTION_DILATIONS, spatial, op->dilation, false);
}

static void pointwise_of(const struct object *o, struct fake_op *op) {
  const struct object *p = fake_part(o, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  if (!p || !fake_take(p, CUDNN_ATTR_POINTWISE_MODE, 1, &op->mode, false))
    return;
  bool slope = fake_find(o, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC) != NULL;
  op->has_b = slope || fake_find(o, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
  op->x = tensor_of(o, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
  op->y = tensor_of(o, slope ? CUDNN_ATTR_OPERATION_POINTWISE_DXDESC
                             : CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
  if (op->has_b)
    op->b = tensor_of(o, slope ? CUDNN_ATTR_OPERATION_POINTWISE_DYDESC
                               : CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
  fake_take(p, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 1, &op->lower, true);
  fake_take(p, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, 1, &op->upper, true);
  fake_take(p, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 1, &op->slope, true);
}

static void pair_of(const struct object *o, cudnnBackendAttributeName_t x,
                    cudnnBackendAttributeName_t y, struct fake_op *op) {
  op->x = tensor_of(o, x);
  op->y = tensor_of(o, y);
}

static void product_of(const struct object *o, struct fake_op *op) {
  pair_of(o, CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_CDESC, op);
  op->b = tensor_of(o, CUDNN_ATTR_OPERATION_MATMUL_BDESC);
  if (!fake_part(o, CUDNN_ATTR_OPERATION_MATMUL_DESC))
    fake_wrong("cuDNN: a product without its description");
}

static void reduction_of(const struct object *o, struct fake_op *op) {
  const struct object *r = fake_part(o, CUDNN_ATTR_OPERATION_REDUCTION_DESC);
  pair_of(o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, op);
  if (!r || !fake_take(r, CUDNN_ATTR_REDUCTION_OPERATOR, 1, &op->mode, false) ||
      op->mode != CUDNN_REDUCE_TENSOR_ADD)
    fake_wrong("cuDNN: a reduction that is not known");
}

/* Those of the tensors that are there. */
static void parts_of(const struct object *o, const cudnnBackendAttributeName_t *names, int n,
                     struct fake_op *op) {
  for (int i = 0; i < n; i++)
    if (fake_find(o, names[i])) {
      op->part[i] = tensor_of(o, names[i]);
      op->parts |= (int64_t)1 << i;
    }
}

static void normalisation_of(const struct object *o, bool backward, struct fake_op *op) {
#define FWD(name) CUDNN_ATTR_OPERATION_NORM_FWD_##name
#define BWD(name) CUDNN_ATTR_OPERATION_NORM_BWD_##name
  static const cudnnBackendAttributeName_t names[2][FAKE_NORM_PARTS] = {
      {FWD(XDESC), FWD(SCALE_DESC), FWD(MEAN_DESC), FWD(INV_VARIANCE_DESC), FWD(BIAS_DESC),
       FWD(EPSILON_DESC), FWD(EXP_AVG_FACTOR_DESC), FWD(YDESC)},
      {BWD(XDESC), BWD(SCALE_DESC), BWD(MEAN_DESC), BWD(INV_VARIANCE_DESC), BWD(DYDESC),
       BWD(DSCALE_DESC), BWD(DBIAS_DESC), BWD(DXDESC)}};
  int32_t mode = -1;
  parts_of(o, names[backward], FAKE_NORM_PARTS, op);
  if (!fake_take(o, backward ? BWD(MODE) : FWD(MODE), 1, &mode, false) || mode != CUDNN_LAYER_NORM)
    fake_wrong("cuDNN: normalisation %d is not known", mode);
  if (!backward)
    fake_take(o, FWD(PHASE), 1, &op->mode, false);
#undef FWD
#undef BWD
}

static void attention_of(const struct object *o, struct fake_op *op) {
#define SDPA(name) CUDNN_ATTR_OPERATION_SDPA_FWD_##name##DESC
  static const cudnnBackendAttributeName_t names[FAKE_SDPA_PARTS] = {
      SDPA(Q), SDPA(K), SDPA(V), SDPA(SCALE), SDPA(O), SDPA(STATS)};
#undef SDPA
  parts_of(o, names, FAKE_SDPA_PARTS, op);
}

void fake_read_op(const struct object *o, struct fake_op *op) {
  op->kind = (int32_t)o->type;
  switch (o->type) {
#define CONVOLUTION(KIND, NAME, X, W, Y)                                                           \
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_##KIND##_DESCRIPTOR:                                    \
    convolution_of(o, CUDNN_ATTR_OPERATION_CONVOLUTION_##NAME##_##X,                               \
                   CUDNN_ATTR_OPERATION_CONVOLUTION_##NAME##_##W,                                  \
                   CUDNN_ATTR_OPERATION_CONVOLUTION_##NAME##_##Y,                                  \
                   CUDNN_ATTR_OPERATION_CONVOLUTION_##NAME##_CONV_DESC, op);                       \
    break
    CONVOLUTION(FORWARD, FORWARD, X, W, Y);
    CONVOLUTION(BACKWARD_DATA, BWD_DATA, DX, W, DY);
    CONVOLUTION(BACKWARD_FILTER, BWD_FILTER, X, DW, DY);
#undef CONVOLUTION
  case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
    pointwise_of(o, op);
    break;
  case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
    product_of(o, op);
    break;
  case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
    reduction_of(o, op);
    break;
  case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
    pair_of(o, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, op);
    break;
  case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
  case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
    normalisation_of(o, o->type == CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR, op);
    break;
  case CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR:
    attention_of(o, op);
    break;
  default:
    fake_wrong("cuDNN: an operation %d that is not known", (int)o->type);
  }
}
