/* Sizes that the CUDA kernels are cut by: a chunk is 4096 features, a row of more than 1024
 * elements is a block's, a fold takes 8192, as does a part of a normalised channel, a tile is 32 by 32.
 * Each is passed by a little, so that tails and second stages run. */
#include <math.h>

#include "harness.h"

extern const struct fg_case_table device_cases_sizes;

#define PARAMS(...) FG_T(F64, FG_VALUES(__VA_ARGS__), FG_PARAM_COUNT)
#define USUAL PARAMS(0.03125, 0.0078125, 0.9, 0, 1, 0.03125, 12345678901.0, 3)
#define ROUND PARAMS(2, 1.5, 0.9, 0, 1, 2, 7, 0)
#define NONE                                                                                       \
  { 0 }
#define WIDE(n) FG_R(FG_UNIT, 2, n)
#define STEP(label, nm, n, m, m_next, params)                                                      \
  {                                                                                                \
    .name = label, .op = FG_OP_step, .attrs = {.step = {FG_NORM_##nm, true}},                      \
    .in = {WIDE(n), WIDE(n), FG_R(FG_AWAY, 2, n), m, NONE, NONE, params},                          \
    .out = {FG_Y(2, n), m_next, FG_Y(2, 3)}, .tolerance = 1e-6                                     \
  }
#define LOSS_TO(label, k, n, slope)                                                                \
  {                                                                                                \
    .name = label, .op = FG_OP_loss, .attrs = {.loss = {FG_LOSS_##k, false, false}},               \
    .in = {FG_R(FG_NORMAL, 2, n), FG_T(I32, FG_INTEGER(0, n - 1), 2)}, .out = {                    \
      slope,                                                                                       \
      FG_Y(2),                                                                                     \
      FG_T(I32, FG_NORMAL, 2)                                                                      \
    }                                                                                              \
  }
#define LOSS(label, k, n) LOSS_TO(label, k, n, FG_Y(2, n))
/* Its slope has two to four places other than zero: too few for the harness to trust. */
#define FEW_LOSS(label, k, n) LOSS_TO(label, k, n, NONE)
#define SOFTMAX(label, o, y, x, lg, ax)                                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_##o, .attrs = {.softmax = {.axis = ax, .log = lg}}, .in = {x, x},   \
    .out = {                                                                                       \
      y                                                                                            \
    }                                                                                              \
  }
#define REDUCE(label, k, mask, x, y)                                                               \
  {                                                                                                \
    .name = label, .op = FG_OP_reduce, .attrs = {.reduce = {FG_REDUCE_##k, mask, true}},           \
    .in = {x}, .out = {y}, .tolerance = 1e-5                                                       \
  }

#define NORM(label, c, ...)                                                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_batch_norm_train, .attrs = {.batch_norm = {.epsilon = 1e-5}},       \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_POSITIVE, c), FG_R(FG_NORMAL, c)},                \
    .out = {FG_Y(__VA_ARGS__), FG_Y(c), FG_Y(c)}, .tolerance = 1e-5                                \
  }
#define NORM_GRAD(label, c, ...)                                                                   \
  {                                                                                                \
    .name = label, .op = FG_OP_batch_norm_train_grad, .attrs = {.batch_norm = {.epsilon = 1e-5}},  \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_POSITIVE, c),       \
           FG_R(FG_NORMAL, c), FG_R(FG_POSITIVE, c)},                                              \
    .out = {FG_Y(__VA_ARGS__), FG_Y(c), FG_Y(c)}, .tolerance = 1e-4                                \
  }
#define DESCEND(label, k, v, written_, n)                                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_descend, .attrs = {.descend = {FG_DESCEND_##k, false, true}},       \
    .in = {FG_R(FG_NORMAL, n), FG_R(FG_NORMAL, n), FG_R(FG_NORMAL, n), v,                          \
           FG_T(F64, FG_VALUES(0.01, 0.9, 0.999, 1e-8, 0.01, 300), FG_RATE_COUNT)},                \
    .written = written_, .tolerance = 1e-5                                                         \
  }
#define SCATTER(label, k, n, inner)                                                                \
  {                                                                                                \
    .name = label, .op = FG_OP_scatter, .attrs = {.scatter = {FG_SCATTER_##k}},                    \
    .in = {FG_R(FG_NORMAL, 5, inner), FG_T(I64, FG_INTEGER(-5, 4), n), FG_R(FG_NORMAL, n, inner)}, \
    .out = {FG_Y(5, inner)}, .tolerance = 1e-6                                                     \
  }
#define TOP(label, k, n, least)                                                                    \
  {                                                                                                \
    .name = label, .op = FG_OP_top, .attrs = {.top = {1, k, least, false}},                        \
    .in = {FG_R(FG_NORMAL, 2, n, 2)}, .out = {FG_T(I64, FG_NORMAL, 2, k, 2)},                      \
    .flags = FG_CASE_EXACT                                                                         \
  }
#define CUMSUM(label, type, n, exclusive_, reverse_)                                               \
  {                                                                                                \
    .name = label, .op = FG_OP_cumsum, .attrs = {.cumsum = {1, exclusive_, reverse_}},             \
    .in = {FG_T(type, FG_NORMAL, 9, n)}, .out = {                                                  \
      FG_T(type, FG_NORMAL, 9, n)                                                                  \
    }                                                                                              \
  }

/* 20-1024-1024-3: the widest layers that mlp_fgsm is made for. */
#define WIDE_MLP(label, type, x, weights, tolerance_)                                              \
  {                                                                                                \
    .name = label, .op = FG_OP_mlp_fgsm,                                                           \
    .attrs = {.mlp = {.layers = 3,                                                                 \
                      .width = {20, 1024, 1024, 3},                                                \
                      .act = {{FG_UNARY_relu, 0, 0}, {FG_UNARY_relu, 0, 0}},                       \
                      .loss = {FG_LOSS_margin, false, false},                                      \
                      .step = {FG_NORM_linf, true},                                                \
                      .steps = 1}},                                                                \
    .in = {FG_R(x, 2, 20),                                                                         \
           FG_R(x, 2, 20),                                                                         \
           FG_T(type, weights, 1074179),                                                           \
           FG_T(I32, FG_INTEGER(0, 2), 2),                                                         \
           NONE,                                                                                   \
           NONE,                                                                                   \
           FG_T(F64, FG_VALUES(0.5, 0.5, 0, -9, 9, 0, 0, 0), FG_PARAM_COUNT)},                     \
    .out = {FG_Y(2, 20), FG_Y(2), FG_T(I32, FG_NORMAL, 2), FG_Y(2, 3), FG_Y(2, 3)}, .constant = 4, \
    .tolerance = tolerance_, .flags = FG_CASE_SPARSE                                               \
  }

static const struct fg_case cases[] = {
    WIDE_MLP("mlp 20-1024-1024-3", F32, FG_UNIFORM(-2, 2), FG_UNIFORM(-0.05, 0.05), 1e-4),
    WIDE_MLP("mlp bf16 20-1024-1024-3 of whole numbers", BF16, FG_INTEGER(-2, 2), FG_INTEGER(-1, 1),
             1e-6),
    SCATTER("rows put by 16 bytes", none, 7, 12),
    SCATTER("rows added by 16 bytes", add, 7, 12),
    SCATTER("rows multiplied over blocks", mul, 11, 301),
    TOP("few of more than a block", 3, 301, false),
    TOP("many of more than a block", 40, 301, true),
    CUMSUM("sums of many rounds", F32, 301, false, false),
    CUMSUM("sums by 16 bytes, reverse", F32, 300, false, true),
    CUMSUM("sums by 16 bytes, exclusive", F32, 256, true, false),
    CUMSUM("sums of int64 over rounds", I64, 131, true, true),
    STEP("linf over chunks", linf, 4099, NONE, NONE, USUAL),
    STEP("linf over whole chunks", linf, 8192, NONE, NONE, USUAL),
    STEP("linf over chunks with momentum", linf, 4100, FG_R(FG_NORMAL, 2, 4100), FG_Y(2, 4100),
         USUAL),
    STEP("l2 over chunks", l2, 4099, NONE, NONE, ROUND),
    STEP("l2 over chunks with momentum", l2, 4099, FG_R(FG_NORMAL, 2, 4099), FG_Y(2, 4099), ROUND),
    STEP("l1 over chunks", l1, 4099, NONE, NONE, ROUND),
    STEP("l1 over chunks with momentum", l1, 4100, FG_R(FG_NORMAL, 2, 4100), FG_Y(2, 4100), ROUND),
    {.name = "l2 start over chunks",
     .op = FG_OP_perturb,
     .attrs = {.perturb = {FG_START_uniform, FG_NORM_l2, true}},
     .in = {WIDE(4099), FG_T(I64, FG_VALUES(3, 9), 2), NONE, NONE, ROUND},
     .out = {FG_Y(2, 4099)},
     .tolerance = 1e-6},
    {.name = "bytes over chunks",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {WIDE(4101), WIDE(4101), USUAL},
     .out = {FG_T(U8, FG_NORMAL, 2, 4101), FG_Y(2, 2)},
     .tolerance = 1e-6},
    LOSS("ce of a block's classes", ce, 1031),
    FEW_LOSS("margin of a block's classes", margin, 1031),
    FEW_LOSS("dlr of a block's classes", dlr, 1031),
    SOFTMAX("softmax of a block's row", softmax, FG_Y(2, 1037), FG_R(FG_NORMAL, 2, 1037), false, 1),
    SOFTMAX("log-softmax of a block's row", softmax, FG_Y(2, 1036), FG_R(FG_NORMAL, 2, 1036), true,
            1),
    SOFTMAX("softmax_grad of a block's row", softmax_grad, FG_Y(2, 1037), FG_R(FG_UNIT, 2, 1037),
            false, 1),
    SOFTMAX("softmax_grad of columns", softmax_grad, FG_Y(3, 5, 7), FG_R(FG_UNIT, 3, 5, 7), true,
            1),
    {.name = "layer_norm of a block's row",
     .op = FG_OP_layer_norm,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 2, 1042), FG_R(FG_NORMAL, 1042), FG_R(FG_NORMAL, 1042)},
     .out = {FG_Y(2, 1042), FG_Y(2, 1), FG_Y(2, 1)},
     .tolerance = 1e-4},
    {.name = "layer_norm_grad of a block's row",
     .op = FG_OP_layer_norm_grad,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 9, 1042), FG_R(FG_NORMAL, 9, 1042), FG_R(FG_NORMAL, 1042),
            FG_R(FG_NORMAL, 9, 1), FG_R(FG_POSITIVE, 9, 1)},
     .out = {FG_Y(9, 1042), FG_Y(1042), FG_Y(1042)},
     .tolerance = 1e-4},
    NORM("batch_norm_train over chunks by 16 bytes", 3, 2, 3, 65, 64),
    NORM("batch_norm_train over chunks", 2, 5, 2, 41, 41),
    NORM("batch_norm_train of three chunks", 2, 4, 2, 64, 65),
    NORM_GRAD("batch_norm_train_grad over chunks by 16 bytes", 3, 2, 3, 65, 64),
    NORM_GRAD("batch_norm_train_grad over chunks", 2, 5, 2, 41, 41),
    DESCEND("descend, sgd over chunks", sgd, NONE, 5, 4099),
    DESCEND("descend, adam over chunks by 16 bytes", adam, FG_R(FG_POSITIVE, 4100), 13, 4100),
    REDUCE("sum of chunks", sum, 2, FG_R(FG_UNIT, 2, 8195), FG_Y(2, 1)),
    REDUCE("mean of wide chunks", mean, 2, FG_R(FG_UNIT, 2, 8196), FG_Y(2, 1)),
    REDUCE("max of wide chunks", max, 2, FG_R(FG_NORMAL, 2, 16388), FG_Y(2, 1)),
    REDUCE("min down long columns", min, 1, FG_R(FG_NORMAL, 1030, 5), FG_Y(1, 5)),
    REDUCE("sum of whole numbers in chunks", sum, 1, FG_T(I64, FG_INTEGER(-9, 99), 8200),
           FG_T(I64, FG_NORMAL, 1)),
    {.name = "transpose of tiles",
     .op = FG_OP_transpose,
     .attrs = {.transpose = {{0, 2, 1}}},
     .in = {FG_R(FG_NORMAL, 2, 33, 70)},
     .out = {FG_Y(2, 70, 33)},
     .flags = FG_CASE_EXACT},
    {.name = "concat by 16 bytes",
     .op = FG_OP_concat,
     .attrs = {.axis = {1, 0}},
     .in = {FG_R(FG_NORMAL, 3, 8), FG_R(FG_NORMAL, 3, 12)},
     .out = {FG_Y(3, 20)},
     .flags = FG_CASE_EXACT},
    {.name = "a number minus a stream",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_sub}},
     .in = {FG_R(FG_NORMAL, 1), FG_R(FG_NORMAL, 7, 301)},
     .out = {FG_Y(7, 301)}},
};
const struct fg_case_table device_cases_sizes = {"sizes", cases,
                                                 (int)(sizeof cases / sizeof *cases)};
