/* unary, unary_grad: one function of one number, and its slope. Reals in double; identity, neg, abs
 * and relu of integers stay in integers. NaN stays NaN; slopes at kinks are PyTorch's (attrs.h). */
#include "ref.h"

#define SQRT_HALF 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794
#define SQRT_2_OVER_PI 0.79788456080286535588
#define TWO_OVER_SQRT_PI 1.12837916709551257390
#define GELU_CUBIC 0.044715

/* The trigonometric and hyperbolic functions, and identity. */
static double circular_value(enum fg_unary_kind kind, double x) {
  switch (kind) {
  case FG_UNARY_sin:
    return sin(x);
  case FG_UNARY_cos:
    return cos(x);
  case FG_UNARY_tan:
    return tan(x);
  case FG_UNARY_asin:
    return asin(x);
  case FG_UNARY_acos:
    return acos(x);
  case FG_UNARY_atan:
    return atan(x);
  case FG_UNARY_sinh:
    return sinh(x);
  case FG_UNARY_cosh:
    return cosh(x);
  case FG_UNARY_asinh:
    return asinh(x);
  case FG_UNARY_acosh:
    return acosh(x);
  case FG_UNARY_atanh:
    return atanh(x);
  default:
    return x;
  }
}

static double circular_slope(enum fg_unary_kind kind, double v) {
  switch (kind) {
  case FG_UNARY_sin:
    return cos(v);
  case FG_UNARY_cos:
    return -sin(v);
  case FG_UNARY_tan:
    return 1 + v * v;
  case FG_UNARY_asin:
    return 1 / sqrt((1 - v) * (1 + v));
  case FG_UNARY_acos:
    return -1 / sqrt((1 - v) * (1 + v));
  case FG_UNARY_atan:
    return 1 / (1 + v * v);
  case FG_UNARY_sinh:
    return cosh(v);
  case FG_UNARY_cosh:
    return sinh(v);
  case FG_UNARY_asinh:
    return 1 / sqrt(v * v + 1);
  case FG_UNARY_acosh:
    return 1 / sqrt((v - 1) * (v + 1));
  case FG_UNARY_atanh:
    return 1 / ((1 - v) * (1 + v));
  default:
    return 1;
  }
}

static double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* log(1 + exp(x)) */
static double softplus(double x) {
  return (x > 0 || isnan(x) ? x : 0) + log1p(exp(-fabs(x)));
}

static double within(double x, double lo, double hi) {
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

double fg_ref_unary_value(const struct fg_unary_attrs *a, double x) {
  switch (a->kind) {
  case FG_UNARY_relu:
    return x > 0 ? x : isnan(x) ? x : 0;
  case FG_UNARY_leaky_relu:
    return x > 0 ? x : a->alpha * x;
  case FG_UNARY_relu6:
    return x < 0 ? 0 : x > 6 ? 6 : x;
  case FG_UNARY_sigmoid:
    return sigmoid(x);
  case FG_UNARY_tanh:
    return tanh(x);
  case FG_UNARY_exp:
    return exp(x);
  case FG_UNARY_sqrt:
    return sqrt(x);
  case FG_UNARY_clip:
    return within(x, a->alpha, a->beta);
  case FG_UNARY_gelu:
    return x * 0.5 * erfc(-x * SQRT_HALF);
  case FG_UNARY_gelu_tanh:
    return 0.5 * x * (1 + tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)));
  case FG_UNARY_erf:
    return erf(x);
  case FG_UNARY_log:
    return log(x);
  case FG_UNARY_neg:
    return -x;
  case FG_UNARY_abs:
    return fabs(x);
  case FG_UNARY_power:
    return pow(x, a->alpha);
  case FG_UNARY_elu:
    return x > 0 ? x : a->alpha * expm1(a->beta * x);
  case FG_UNARY_softplus:
    return softplus(x);
  case FG_UNARY_silu:
    return x * sigmoid(a->alpha * x);
  case FG_UNARY_mish:
    return x * tanh(softplus(x));
  case FG_UNARY_hard_sigmoid:
    return within(a->alpha * x + a->beta, 0, 1);
  case FG_UNARY_hard_swish:
    return x <= -3 ? 0 : x * within(x / 6 + 0.5, 0, 1);
  case FG_UNARY_sign:
    return x > 0 ? 1 : x < 0 ? -1 : x;
  case FG_UNARY_floor:
    return floor(x);
  case FG_UNARY_ceil:
    return ceil(x);
  case FG_UNARY_round:
    return rint(x);
  default:
    return circular_value(a->kind, x);
  }
}

static double gelu_tanh_slope(double x) {
  double t = tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SQRT_2_OVER_PI * (1 + 3 * GELU_CUBIC * x * x);
}

static double silu_slope(double alpha, double x) {
  double s = sigmoid(alpha * x);
  return s + alpha * x * s * (1 - s);
}

static double mish_slope(double x) {
  double t = tanh(softplus(x));
  return t + x * (1 - t * t) * sigmoid(x);
}

double fg_ref_unary_slope(const struct fg_unary_attrs *a, double v) {
  switch (a->kind) {
  case FG_UNARY_relu:
    return v <= 0 ? 0 : 1;
  case FG_UNARY_leaky_relu:
    return v > 0 ? 1 : a->alpha;
  case FG_UNARY_relu6:
    return v <= 0 || v >= 6 ? 0 : 1;
  case FG_UNARY_sigmoid:
    return v * (1 - v);
  case FG_UNARY_tanh:
    return 1 - v * v;
  case FG_UNARY_exp:
    return v;
  case FG_UNARY_sqrt:
    return 0.5 / v;
  case FG_UNARY_clip:
    return v >= a->alpha && v <= a->beta ? 1 : 0;
  case FG_UNARY_gelu:
    return 0.5 * erfc(-v * SQRT_HALF) + v * INV_SQRT_2PI * exp(-0.5 * v * v);
  case FG_UNARY_gelu_tanh:
    return gelu_tanh_slope(v);
  case FG_UNARY_erf:
    return TWO_OVER_SQRT_PI * exp(-v * v);
  case FG_UNARY_log:
    return 1 / v;
  case FG_UNARY_neg:
    return -1;
  case FG_UNARY_abs:
    return v > 0 ? 1 : v < 0 ? -1 : 0;
  case FG_UNARY_power:
    return a->alpha == 0 ? 0 : a->alpha * pow(v, a->alpha - 1);
  case FG_UNARY_elu:
    return v > 0 ? 1 : a->alpha * a->beta * exp(a->beta * v);
  case FG_UNARY_softplus:
    return sigmoid(v);
  case FG_UNARY_silu:
    return silu_slope(a->alpha, v);
  case FG_UNARY_mish:
    return mish_slope(v);
  case FG_UNARY_hard_sigmoid:
    return v <= 0 || v >= 1 ? 0 : a->alpha;
  case FG_UNARY_hard_swish:
    return v <= -3 ? 0 : v >= 3 ? 1 : v / 3 + 0.5;
  case FG_UNARY_sign:
  case FG_UNARY_floor:
  case FG_UNARY_ceil:
    return 0;
  case FG_UNARY_round:
    return a->alpha;
  default:
    return circular_slope(a->kind, v);
  }
}

static fgsm_status prepare_unary(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1, 1));
  enum fg_unary_kind kind = call->attrs->unary.kind;
  FG_REF_NEED(call, (unsigned)kind < FG_UNARY_COUNT, "unknown kind %d", (int)kind);
  FG_REF_NEED(call, fg_same_shape(&call->in[0], &call->out[0]), "shapes differ");
  FG_REF_NEED(call, call->in[0].type == call->out[0].type, "types differ");
  bool whole = kind == FG_UNARY_identity || kind == FG_UNARY_neg || kind == FG_UNARY_abs ||
               kind == FG_UNARY_relu;
  FG_REF_NEED(call, fg_ref_is_real(call->in[0].type) || (whole && fg_ref_is_int(call->in[0].type)),
              "%s of %s", fg_unary_name(kind), fg_type_name(call->in[0].type));
  return FGSM_OK;
}

static int64_t whole_value(enum fg_unary_kind kind, int64_t x) {
  int64_t minus = (int64_t) - (uint64_t)x;
  switch (kind) {
  case FG_UNARY_neg:
    return minus;
  case FG_UNARY_abs:
    return x < 0 ? minus : x;
  case FG_UNARY_relu:
    return x > 0 ? x : 0;
  default:
    return x;
  }
}

static fgsm_status run_unary(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t n = fg_count(x);
  if (fg_ref_is_int(x->type))
    for (int64_t i = 0; i < n; i++)
      fg_ref_put_int(y, i, whole_value(call->attrs->unary.kind, fg_ref_get_int(x, i)));
  else
    for (int64_t i = 0; i < n; i++)
      fg_ref_put(y, i, fg_ref_unary_value(&call->attrs->unary, fg_ref_get(x, i)));
  return FGSM_OK;
}

const struct fg_kernel fg_ref_unary = {prepare_unary, run_unary, NULL};

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 4, 1));
  const struct fg_unary_attrs *a = &call->attrs->unary;
  FG_REF_NEED(call, (unsigned)a->kind < FG_UNARY_COUNT, "unknown kind %d", (int)a->kind);
  int from = fg_unary_from_y(a);
  FG_REF_NEED(call, fg_ref_in(call, from), "%s needs %s", fg_unary_name(a->kind), from ? "y" : "x");
  FG_TRY(fg_ref_check_real(call, 15 & ~(1u << from), 1));
  FG_REF_NEED(call, call->in[from].type != FG_U8, "a mask of bits");
  FG_TRY(fg_ref_check_slope(call, from, a));
  for (int i = 0; i < 4; i++)
    FG_REF_NEED(call, !fg_ref_in(call, i) || fg_same_shape(&call->in[i], &call->out[0]),
                "the shape of input %d differs", i);
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_unary_attrs *a = &call->attrs->unary;
  const struct fg_tensor *v = &call->in[fg_unary_from_y(a)], *dy2 = fg_ref_in(call, 3);
  int64_t n = fg_count(v);
  for (int64_t i = 0; i < n; i++) {
    double dy = fg_ref_get(&call->in[2], i) + (dy2 ? fg_ref_get(dy2, i) : 0);
    double slope = fg_ref_unary_slope(a, fg_ref_get(v, i));
    fg_ref_put(&call->out[0], i, slope * dy);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_unary_grad = {prepare_grad, run_grad, NULL};
