/* Calls for counting instructions: one of each kind that attacks spend their time in, small enough
 * for callgrind, which is some fifty times slower than the processor, and large enough that what a
 * call costs before it computes does not hide how it computes. */
#include "harness.h"

extern const struct fg_case_table bench_cases_small;

#define D(...) (__VA_ARGS__)
#define NONE                                                                                       \
  { 0 }
#define PARAMS FG_T(F64, FG_VALUES(8 / 255.0, 2 / 255.0, 1, 0, 1, 0, 0, 0), FG_PARAM_COUNT)
#define RELU                                                                                       \
  { FG_UNARY_relu, 0, 0 }
#define U4(dims) FG_TD(F32, FG_UNIT, 4, dims)
#define N4(dims) FG_TD(F32, FG_NORMAL, 4, dims)
#define CONV(groups, activation)                                                                   \
  {                                                                                                \
    .conv = {                                                                                      \
      .spatial = 2,                                                                                \
      .group = groups,                                                                             \
      .stride = {1, 1},                                                                            \
      .dilation = {1, 1},                                                                          \
      .pad_lo = {1, 1},                                                                            \
      .pad_hi = {1, 1},                                                                            \
      .act = activation                                                                            \
    }                                                                                              \
  }
#define POOL                                                                                       \
  {                                                                                                \
    .pool = {                                                                                      \
      .spatial = 2,                                                                                \
      .window = {3, 3},                                                                            \
      .stride = {2, 2},                                                                            \
      .dilation = {1, 1},                                                                          \
      .pad_lo = {1, 1},                                                                            \
      .pad_hi = {1, 1},                                                                            \
      .dim = {2, 32, 28, 28}                                                                       \
    }                                                                                              \
  }
#define WHOLE D(2, 32, 28, 28)
#define HALF D(2, 32, 14, 14)
#define HEADS D(2, 3, 50, 64)
#define IMAGES D(4, 3, 32, 32)

static const struct fg_case cases[] = {
    {.name = "conv+relu 3x3, 32 to 32 of 28 x 28",
     .op = FG_OP_conv,
     .attrs = CONV(1, RELU),
     .in = {N4(WHOLE), N4(D(32, 32, 3, 3)), FG_R(FG_NORMAL, 32)},
     .out = {N4(WHOLE)},
     .constant = 6},
    {.name = "conv_grad_input 3x3, 32 to 32 of 28 x 28",
     .op = FG_OP_conv_grad_input,
     .attrs = CONV(1, NONE),
     .in = {N4(WHOLE), N4(D(32, 32, 3, 3))},
     .out = {N4(WHOLE)},
     .constant = 2},
    {.name = "depthwise conv 3x3 of 32 x 28 x 28",
     .op = FG_OP_conv,
     .attrs = CONV(32, RELU),
     .in = {N4(WHOLE), N4(D(32, 1, 3, 3)), FG_R(FG_NORMAL, 32)},
     .out = {N4(WHOLE)},
     .constant = 6},
    {.name = "depthwise conv_grad_input 3x3 of 32 x 28 x 28",
     .op = FG_OP_conv_grad_input,
     .attrs = CONV(32, NONE),
     .in = {N4(WHOLE), N4(D(32, 1, 3, 3))},
     .out = {N4(WHOLE)},
     .constant = 2},
    {.name = "matmul+bias+relu, 64 x 192 x 768",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1, .act = RELU}},
     .in = {FG_R(FG_NORMAL, 64, 192), FG_R(FG_NORMAL, 192, 768), FG_R(FG_NORMAL, 768)},
     .out = {FG_Y(64, 768)},
     .constant = 6},
    {.name = "matmul transposed, 64 x 768 x 192",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.trans_b = true, .alpha = 1}},
     .in = {FG_R(FG_NORMAL, 64, 768), FG_R(FG_NORMAL, 192, 768)},
     .out = {FG_Y(64, 192)},
     .constant = 2},
    {.name = "matmul of one sample, 1 x 512 x 512",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1}},
     .in = {FG_R(FG_NORMAL, 1, 512), FG_R(FG_NORMAL, 512, 512)},
     .out = {FG_Y(1, 512)},
     .constant = 2},
    {.name = "attention of 3 heads, 50 x 64",
     .op = FG_OP_attention,
     .attrs = {.attention = {0.125}},
     .in = {N4(HEADS), N4(HEADS), N4(HEADS)},
     .out = {N4(HEADS), FG_Y(2, 3, 50)}},
    {.name = "attention_grad of 3 heads, 50 x 64",
     .op = FG_OP_attention_grad,
     .attrs = {.attention = {0.125}},
     .in = {N4(HEADS), N4(HEADS), N4(HEADS), N4(HEADS), N4(HEADS),
            FG_R(FG_UNIFORM(5, 6), 2, 3, 50)},
     .out = {N4(HEADS), N4(HEADS), N4(HEADS)}},
    {.name = "mlp_fgsm 5-50x6-5, 128 samples",
     .op = FG_OP_mlp_fgsm,
     .attrs = {.mlp = {.layers = 7,
                       .width = {5, 50, 50, 50, 50, 50, 50, 5},
                       .act = {RELU, RELU, RELU, RELU, RELU, RELU},
                       .step = {FG_NORM_linf, true},
                       .steps = 1}},
     .in = {FG_R(FG_UNIT, 128, 5), FG_R(FG_UNIT, 128, 5), FG_R(FG_UNIFORM(-0.2, 0.2), 13305),
            FG_T(I32, FG_INTEGER(0, 4), 128), NONE, NONE, PARAMS},
     .out = {FG_Y(128, 5), FG_Y(128), FG_T(I32, FG_NORMAL, 128), FG_Y(128, 3)},
     .constant = 4},
    {.name = "step of 4 x 3 x 32 x 32",
     .op = FG_OP_step,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {U4(IMAGES), U4(IMAGES), N4(IMAGES), NONE, NONE, NONE, PARAMS},
     .out = {U4(IMAGES), NONE, FG_Y(4, 3)}},
    {.name = "step in l2 of 4 x 3 x 32 x 32",
     .op = FG_OP_step,
     .attrs = {.step = {FG_NORM_l2, true}},
     .in = {U4(IMAGES), U4(IMAGES), N4(IMAGES), NONE, NONE, NONE, PARAMS},
     .out = {U4(IMAGES), NONE, FG_Y(4, 3)}},
    {.name = "bytes of 4 x 3 x 32 x 32",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {U4(IMAGES), U4(IMAGES), PARAMS},
     .out = {FG_TD(U8, FG_UNIT, 4, IMAGES), FG_Y(4, 2)}},
    {.name = "loss of 32 x 1000",
     .op = FG_OP_loss,
     .attrs = {.loss = {FG_LOSS_ce, false, false}},
     .in = {FG_R(FG_NORMAL, 32, 1000), FG_T(I32, FG_INTEGER(0, 999), 32)},
     .out = {FG_Y(32, 1000), FG_Y(32), FG_T(I32, FG_NORMAL, 32)}},
    {.name = "gelu of 32 x 28 x 28, 2 samples",
     .op = FG_OP_unary,
     .attrs = {.unary = {.kind = FG_UNARY_gelu}},
     .in = {N4(WHOLE)},
     .out = {N4(WHOLE)}},
    {.name = "slopes of a gelu of 32 x 28 x 28, 2 samples",
     .op = FG_OP_unary_grad,
     .attrs = {.unary = {.kind = FG_UNARY_gelu}},
     .in = {N4(WHOLE), NONE, N4(WHOLE)},
     .out = {N4(WHOLE)}},
    {.name = "slopes of a relu of 32 x 28 x 28, 2 samples",
     .op = FG_OP_unary_grad,
     .attrs = {.unary = RELU},
     .in = {NONE, N4(WHOLE), N4(WHOLE)},
     .out = {N4(WHOLE)}},
    {.name = "sum of two of 32 x 28 x 28, 2 samples",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_add}},
     .in = {N4(WHOLE), N4(WHOLE)},
     .out = {N4(WHOLE)}},
    {.name = "softmax of 197 rows of 197",
     .op = FG_OP_softmax,
     .attrs = {.softmax = {.axis = 1}},
     .in = {FG_R(FG_NORMAL, 197, 197)},
     .out = {FG_Y(197, 197)}},
    {.name = "softmax_grad of 197 rows of 197",
     .op = FG_OP_softmax_grad,
     .attrs = {.softmax = {.axis = 1}},
     .in = {FG_R(FG_UNIT, 197, 197), FG_R(FG_NORMAL, 197, 197)},
     .out = {FG_Y(197, 197)}},
    {.name = "layer_norm of 197 x 192",
     .op = FG_OP_layer_norm,
     .attrs = {.layer_norm = {1, 1e-6}},
     .in = {FG_R(FG_NORMAL, 197, 192), FG_R(FG_UNIT, 192), FG_R(FG_UNIT, 192)},
     .out = {FG_Y(197, 192), FG_Y(197, 1), FG_Y(197, 1)}},
    {.name = "layer_norm_grad of 197 x 192",
     .op = FG_OP_layer_norm_grad,
     .attrs = {.layer_norm = {1, 1e-6}},
     .in = {FG_R(FG_NORMAL, 197, 192), FG_R(FG_NORMAL, 197, 192), FG_R(FG_UNIT, 192),
            FG_R(FG_NORMAL, 197, 1), FG_R(FG_POSITIVE, 197, 1)},
     .out = {FG_Y(197, 192)}},
    {.name = "max_pool 3x3 of 32 x 28 x 28, 2 samples",
     .op = FG_OP_max_pool,
     .attrs = POOL,
     .in = {N4(WHOLE)},
     .out = {N4(HALF), FG_TD(U8, FG_UNIT, 4, HALF)}},
    {.name = "max_pool_grad 3x3 of 32 x 28 x 28, 2 samples",
     .op = FG_OP_max_pool_grad,
     .attrs = POOL,
     .in = {N4(HALF), FG_TD(U8, FG_INTEGER(4, 8), 4, HALF)},
     .out = {N4(WHOLE)}},
    {.name = "mean over places of 32 x 28 x 28, 2 samples",
     .op = FG_OP_reduce,
     .attrs = {.reduce = {.kind = FG_REDUCE_mean, .axes = 1 << 2 | 1 << 3}},
     .in = {N4(WHOLE)},
     .out = {FG_Y(2, 32)}},
    {.name = "transpose of 2 x 50 x 3 x 64",
     .op = FG_OP_transpose,
     .attrs = {.transpose = {.perm = {0, 2, 1, 3}}},
     .in = {N4(D(2, 50, 3, 64))},
     .out = {N4(HEADS)}},
};
const struct fg_case_table bench_cases_small = {"small", cases,
                                                (int)(sizeof cases / sizeof *cases)};
