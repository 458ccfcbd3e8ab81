/* unary, unary_grad. Kinks stand as cases of their own, with PyTorch's values. */
#include <math.h>

#include "harness.h"

#define KIND(k, al, be)                                                                            \
  {                                                                                                \
    .unary = { FG_UNARY_##k, al, be }                                                              \
  }
#define VALUE(label, k, al, be, gen, ...)                                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_unary, .attrs = KIND(k, al, be), .in = {FG_R(gen, __VA_ARGS__)},    \
    .out = {                                                                                       \
      FG_Y(__VA_ARGS__)                                                                            \
    }                                                                                              \
  }
/* from: 0 the slope is a function of x, 1 of y */
#define SLOPE(label, k, al, be, from, gen, ...)                                                    \
  {                                                                                                \
    .name = label, .op = FG_OP_unary_grad, .attrs = KIND(k, al, be),                               \
    .in = {[from] = FG_R(gen, __VA_ARGS__), [2] = FG_R(FG_NORMAL, __VA_ARGS__)}, .out = {          \
      FG_Y(__VA_ARGS__)                                                                            \
    }                                                                                              \
  }
#define SUM_SLOPE(label, k, al, be, from, gen, ...)                                                \
  {                                                                                                \
    .name = label, .op = FG_OP_unary_grad, .attrs = KIND(k, al, be),                               \
    .in = {[from] = FG_R(gen, __VA_ARGS__),                                                        \
           [2] = FG_R(FG_NORMAL, __VA_ARGS__),                                                     \
           [3] = FG_R(FG_NORMAL, __VA_ARGS__)},                                                    \
    .out = {                                                                                       \
      FG_Y(__VA_ARGS__)                                                                            \
    }                                                                                              \
  }
/* f or f' at stated points */
#define POINTS(label, k, al, be, n, at, ...)                                                       \
  {                                                                                                \
    .name = label, .op = FG_OP_unary, .attrs = KIND(k, al, be), .in = {FG_R(at, n)},               \
    .out = {FG_T(F32, FG_VALUES(__VA_ARGS__), n)}, .flags = FG_CASE_NO_GRADIENT                    \
  }
#define KINKS(label, k, al, be, from, n, at, ...)                                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_unary_grad, .attrs = KIND(k, al, be),                               \
    .in = {[from] = FG_R(at, n), [2] = FG_R(FG_VALUES(2), n)}, .out = {                            \
      FG_T(F32, FG_VALUES(__VA_ARGS__), n)                                                         \
    }                                                                                              \
  }
#define LIST(...) FG_VALUES(__VA_ARGS__)
#define WHOLE(label, k, type, gen)                                                                 \
  {                                                                                                \
    .name = label, .op = FG_OP_unary, .attrs = KIND(k, 0, 0), .in = {FG_T(type, gen, 9)},          \
    .out = {FG_T(type, FG_NORMAL, 9)}, .flags = FG_CASE_EXACT                                      \
  }

static const struct fg_case cases[] = {
    VALUE("identity", identity, 0, 0, FG_NORMAL, 2, 16, 3, 5),
    VALUE("relu", relu, 0, 0, FG_AWAY, 2, 16, 5, 3),
    VALUE("relu odd channels", relu, 0, 0, FG_AWAY, 3, 7, 5, 5),
    VALUE("relu long", relu, 0, 0, FG_AWAY, 4, 16, 33, 31),
    VALUE("relu empty batch", relu, 0, 0, FG_AWAY, 0, 8, 3, 3),
    VALUE("leaky_relu", leaky_relu, 0.125, 0, FG_AWAY, 2, 8, 4, 4),
    VALUE("leaky_relu negative alpha", leaky_relu, -0.25, 0, FG_AWAY, 37),
    VALUE("relu6", relu6, 0, 0, FG_UNIFORM(-3, 9), 2, 8, 3, 7),
    VALUE("sigmoid", sigmoid, 0, 0, FG_NORMAL, 5, 13),
    VALUE("tanh", tanh, 0, 0, FG_NORMAL, 5, 13),
    VALUE("exp", exp, 0, 0, FG_NORMAL, 1, 1, 1, 19),
    VALUE("sqrt", sqrt, 0, 0, FG_POSITIVE, 31),
    VALUE("clip", clip, -0.5, 0.75, FG_AWAY, 2, 8, 5, 5),
    VALUE("gelu", gelu, 0, 0, FG_NORMAL, 3, 129),
    VALUE("gelu wide", gelu, 0, 0, FG_UNIFORM(-9, 9), 257),
    VALUE("gelu_tanh", gelu_tanh, 0, 0, FG_NORMAL, 3, 129),
    VALUE("erf", erf, 0, 0, FG_NORMAL, 65),
    VALUE("log", log, 0, 0, FG_POSITIVE, 65),
    VALUE("neg", neg, 0, 0, FG_NORMAL, 17),
    VALUE("abs", abs, 0, 0, FG_AWAY, 2, 8, 2, 2),
    VALUE("power 3", power, 3, 0, FG_AWAY, 33),
    VALUE("power half", power, 0.5, 0, FG_POSITIVE, 33),
    VALUE("power 2", power, 2, 0, FG_AWAY, 33),
    VALUE("sin", sin, 0, 0, FG_NORMAL, 5, 13),
    VALUE("cos", cos, 0, 0, FG_NORMAL, 5, 13),
    VALUE("tan", tan, 0, 0, FG_UNIFORM(-1.2, 1.2), 5, 13),
    VALUE("asin", asin, 0, 0, FG_UNIFORM(-0.9, 0.9), 5, 13),
    VALUE("acos", acos, 0, 0, FG_UNIFORM(-0.9, 0.9), 5, 13),
    VALUE("atan", atan, 0, 0, FG_NORMAL, 5, 13),
    VALUE("sinh", sinh, 0, 0, FG_NORMAL, 5, 13),
    VALUE("cosh", cosh, 0, 0, FG_NORMAL, 5, 13),
    VALUE("asinh", asinh, 0, 0, FG_NORMAL, 5, 13),
    VALUE("acosh", acosh, 0, 0, FG_UNIFORM(1.1, 5), 5, 13),
    VALUE("atanh", atanh, 0, 0, FG_UNIFORM(-0.9, 0.9), 5, 13),
    VALUE("elu", elu, 0.75, 1, FG_AWAY, 2, 16, 5, 3),
    VALUE("elu of a scaled argument", elu, 2, 0.5, FG_AWAY, 65),
    VALUE("elu near 0", elu, 1, 1, FG_UNIFORM(-0.001, -0.0001), 65),
    VALUE("softplus", softplus, 0, 0, FG_NORMAL, 2, 16, 5, 3),
    VALUE("softplus wide", softplus, 0, 0, FG_UNIFORM(-30, 90), 65),
    VALUE("silu", silu, 1, 0, FG_NORMAL, 2, 16, 5, 3),
    VALUE("silu wide", silu, 1, 0, FG_UNIFORM(-60, 60), 257),
    VALUE("silu, sharper", silu, 1.702, 0, FG_NORMAL, 65),
    VALUE("mish", mish, 0, 0, FG_NORMAL, 2, 16, 5, 3),
    VALUE("mish wide", mish, 0, 0, FG_UNIFORM(-30, 60), 257),
    VALUE("hard_sigmoid", hard_sigmoid, 0.2, 0.5, FG_UNIFORM(-4, 9), 2, 8, 3, 7),
    VALUE("hard_sigmoid falling", hard_sigmoid, -0.25, 0.5, FG_UNIFORM(-6, 1.5), 65),
    VALUE("hard_swish", hard_swish, 0, 0, FG_UNIFORM(-4, 9), 2, 8, 3, 7),
    {.name = "relu of a scalar",
     .op = FG_OP_unary,
     .attrs = KIND(relu, 0, 0),
     .in = {FG_SCALAR(F32, FG_POSITIVE)},
     .out = {FG_SCALAR(F32, FG_NORMAL)}},
    WHOLE("neg of int64", neg, I64, FG_NORMAL),
    WHOLE("identity of bytes", identity, U8, FG_NORMAL),
    WHOLE("abs of int32", abs, I32, FG_NORMAL),
    WHOLE("relu of int64", relu, I64, FG_INTEGER(-5, 50)),
    POINTS("relu at its kink and NaN", relu, 0, 0, 5, LIST(-1, 0, 2, NAN, INFINITY), 0, 0, 2, NAN,
           INFINITY),
    POINTS("relu6 at its kinks", relu6, 0, 0, 5, LIST(-1, 0, 3, 6, 7), 0, 0, 3, 6, 6),
    POINTS("clip at its kinks and NaN", clip, -1, 2, 5, LIST(-2, -1, 0.5, 2, NAN), -1, -1, 0.5, 2,
           NAN),
    POINTS("sigmoid far out", sigmoid, 0, 0, 4, LIST(-200, 0, 200, -INFINITY), 0, 0.5, 1, 0),
    POINTS("gelu at points", gelu, 0, 0, 4, LIST(-1, 0, 1, 2), -0.15865525, 0, 0.84134475,
           1.95449974),
    POINTS("gelu_tanh at points", gelu_tanh, 0, 0, 4, LIST(-1, 0, 1, 2), -0.15880801, 0, 0.84119199,
           1.95459769),
    POINTS("sign at points", sign, 0, 0, 5, LIST(-3, 0, 0.25, NAN, -INFINITY), -1, 0, 1, NAN, -1),
    POINTS("floor at points", floor, 0, 0, 5, LIST(-1.5, -1, 0.75, 2, NAN), -2, -1, 0, 2, NAN),
    POINTS("ceil at points", ceil, 0, 0, 5, LIST(-1.5, -1, 0.25, 2, NAN), -1, -1, 1, 2, NAN),
    POINTS("round is half to even", round, 0, 0, 8,
           LIST(-2.5, -1.5, -0.4, 0.5, 1.5, 2.5, 2.51, NAN), -2, -2, 0, 0, 2, 2, 3, NAN),
    POINTS("elu at points", elu, 2, 1, 4, LIST(0, 3, NAN, -INFINITY), 0, 3, NAN, -2),
    POINTS("softplus far out", softplus, 0, 0, 4, LIST(-200, 0, 200, NAN), 0, 0.69314718, 200, NAN),
    POINTS("silu at points", silu, 1, 0, 4, LIST(-200, 0, 1, NAN), 0, 0, 0.73105858, NAN),
    POINTS("mish at points", mish, 0, 0, 5, LIST(-200, 0, 1, 200, NAN), 0, 0, 0.86509839, 200, NAN),
    POINTS("hard_sigmoid at its kinks and NaN", hard_sigmoid, 0.5, 0.5, 6,
           LIST(-2, -1, 0, 1, 2, NAN), 0, 0, 0.5, 1, 1, NAN),
    POINTS("hard_swish at its kinks and NaN", hard_swish, 0, 0, 6,
           LIST(-INFINITY, -3, 1.5, 3, 4, NAN), 0, 0, 1.125, 3, 4, NAN),
    SLOPE("relu slope", relu, 0, 0, 1, FG_AWAY, 2, 16, 5, 3),
    SUM_SLOPE("relu slope of two gradients", relu, 0, 0, 1, FG_AWAY, 3, 7, 5, 5),
    SUM_SLOPE("relu slope of two, blocks", relu, 0, 0, 1, FG_AWAY, 2, 16, 5, 5),
    SLOPE("relu slope empty batch", relu, 0, 0, 1, FG_AWAY, 0, 16, 5, 3),
    SLOPE("leaky_relu slope", leaky_relu, 0.125, 0, 1, FG_AWAY, 37),
    SLOPE("leaky_relu slope negative alpha", leaky_relu, -0.25, 0, 0, FG_AWAY, 37),
    SLOPE("relu6 slope", relu6, 0, 0, 1, FG_UNIFORM(0.5, 5.5), 2, 8, 3, 3),
    SLOPE("sigmoid slope", sigmoid, 0, 0, 1, FG_UNIFORM(0.1, 0.9), 5, 13),
    SLOPE("tanh slope", tanh, 0, 0, 1, FG_UNIFORM(-0.9, 0.9), 5, 13),
    SLOPE("exp slope", exp, 0, 0, 1, FG_POSITIVE, 21),
    SLOPE("sqrt slope", sqrt, 0, 0, 1, FG_POSITIVE, 21),
    SLOPE("clip slope", clip, -1, 1.2, 0, FG_AWAY, 33),
    SLOPE("gelu slope", gelu, 0, 0, 0, FG_NORMAL, 3, 129),
    SLOPE("gelu_tanh slope", gelu_tanh, 0, 0, 0, FG_NORMAL, 3, 129),
    SUM_SLOPE("gelu slope of two gradients", gelu, 0, 0, 0, FG_NORMAL, 3, 43),
    SLOPE("erf slope", erf, 0, 0, 0, FG_NORMAL, 65),
    SLOPE("log slope", log, 0, 0, 0, FG_POSITIVE, 65),
    SLOPE("neg slope", neg, 0, 0, 0, FG_NORMAL, 17),
    SLOPE("abs slope", abs, 0, 0, 0, FG_AWAY, 17),
    SLOPE("power 3 slope", power, 3, 0, 0, FG_AWAY, 33),
    SLOPE("power half slope", power, 0.5, 0, 0, FG_POSITIVE, 33),
    SLOPE("sin slope", sin, 0, 0, 0, FG_NORMAL, 5, 13),
    SLOPE("cos slope", cos, 0, 0, 0, FG_NORMAL, 5, 13),
    SLOPE("tan slope", tan, 0, 0, 1, FG_UNIFORM(-1.2, 1.2), 5, 13),
    SLOPE("asin slope", asin, 0, 0, 0, FG_UNIFORM(-0.9, 0.9), 5, 13),
    SLOPE("acos slope", acos, 0, 0, 0, FG_UNIFORM(-0.9, 0.9), 5, 13),
    SLOPE("atan slope", atan, 0, 0, 0, FG_NORMAL, 5, 13),
    SLOPE("sinh slope", sinh, 0, 0, 0, FG_NORMAL, 5, 13),
    SLOPE("cosh slope", cosh, 0, 0, 0, FG_NORMAL, 5, 13),
    SLOPE("asinh slope", asinh, 0, 0, 0, FG_NORMAL, 5, 13),
    SLOPE("acosh slope", acosh, 0, 0, 0, FG_UNIFORM(1.1, 5), 5, 13),
    SLOPE("atanh slope", atanh, 0, 0, 0, FG_UNIFORM(-0.9, 0.9), 5, 13),
    SLOPE("elu slope", elu, 0.75, 1, 0, FG_AWAY, 2, 16, 5, 3),
    SUM_SLOPE("elu slope of two gradients", elu, 2, 0.5, 0, FG_AWAY, 65),
    SLOPE("softplus slope", softplus, 0, 0, 0, FG_UNIFORM(-9, 40), 65),
    SLOPE("silu slope", silu, 1, 0, 0, FG_UNIFORM(-9, 40), 2, 16, 5, 3),
    SLOPE("silu slope, sharper", silu, 1.702, 0, 0, FG_NORMAL, 65),
    SUM_SLOPE("silu slope of two gradients", silu, 1, 0, 0, FG_NORMAL, 65),
    SLOPE("mish slope", mish, 0, 0, 0, FG_UNIFORM(-9, 40), 2, 16, 5, 3),
    SLOPE("hard_sigmoid slope", hard_sigmoid, 0.2, 0.5, 1, FG_UNIFORM(0.1, 0.9), 65),
    SLOPE("hard_swish slope", hard_swish, 0, 0, 0, FG_UNIFORM(-4, 9), 2, 8, 3, 7),
    KINKS("silu slope at points", silu, 1, 0, 0, 4, LIST(-200, 0, 1, 200), 0, 1, 1.85534102, 2),
    KINKS("mish slope at points", mish, 0, 0, 0, 4, LIST(-200, 0, 1, 200), 0, 1.2, 2.09807213, 2),
    KINKS("hard_sigmoid slope on its bounds", hard_sigmoid, 0.5, 0.5, 1, 3, LIST(0, 0.5, 1), 0, 1,
          0),
    KINKS("hard_swish slope at its kinks", hard_swish, 0, 0, 0, 5, LIST(-4, -3, 0, 3, 4), 0, 0, 1,
          2, 2),
    KINKS("elu slope at 0", elu, 0.5, 0.5, 0, 3, LIST(0, 1, -0.0), 0.5, 2, 0.5),
    KINKS("softplus slope at points", softplus, 0, 0, 0, 3, LIST(0, 200, -200), 1, 2, 0),
    KINKS("slope of sign", sign, 0, 0, 0, 2, LIST(0, 1), 0, 0),
    KINKS("slope of floor", floor, 0, 0, 0, 2, LIST(0.5, 1), 0, 0),
    KINKS("slope of ceil", ceil, 0, 0, 0, 2, LIST(0.5, 1), 0, 0),
    KINKS("slope of round", round, 0, 0, 0, 2, LIST(0.5, 1), 0, 0),
    KINKS("slope of round, straight through", round, 1, 0, 0, 2, LIST(0.5, 1), 2, 2),
    KINKS("relu slope at 0", relu, 0, 0, 1, 3, LIST(0, 1, 0), 0, 2, 0),
    KINKS("leaky_relu slope at 0", leaky_relu, 0.125, 0, 1, 3, LIST(0, 1, -1), 0.25, 2, 0.25),
    KINKS("relu6 slope at its bounds", relu6, 0, 0, 1, 3, LIST(0, 3, 6), 0, 2, 0),
    KINKS("clip slope at its bounds", clip, -1, 2, 0, 5, LIST(-2, -1, 0, 2, 3), 0, 2, 2, 2, 0),
    KINKS("abs slope at 0", abs, 0, 0, 0, 3, LIST(-1, 0, 1), -2, 0, 2),
    KINKS("power 0 slope at 0", power, 0, 0, 0, 2, LIST(0, 1), 0, 0),
    KINKS("gelu slope at points", gelu, 0, 0, 0, 3, LIST(-1, 0, 1), -0.16663094, 1, 2.16663094),
};
FG_TABLE(unary);
