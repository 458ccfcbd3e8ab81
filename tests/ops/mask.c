/* Masks of ReLUs, made and read, of bytes and of bits; a product's slope from values too. Whole numbers, so that
 * some sums are exactly 0 in any arithmetic. */
#include "harness.h"

#define D(...) (__VA_ARGS__)
#define WHOLE FG_INTEGER(-2, 2)
#define W(...) FG_T(F32, WHOLE, __VA_ARGS__)
#define BYTES(...) FG_T(BOOL, FG_NORMAL, __VA_ARGS__)
#define BITS(n) FG_T(U8, FG_NORMAL, (n) / 8)
#define NONE                                                                                       \
  { 0 }
#define FLAGS FG_CASE_NO_GRADIENT | FG_CASE_SPARSE | FG_CASE_CPU_DECLINES

/* A ReLU behind a [.., 12] b' [128, 12]. */
#define MADE(label, rank, a, bias, residual, y, mask, flags_)                                      \
  {                                                                                                \
    .name = label, .op = FG_OP_matmul,                                                             \
    .attrs = {.matmul = {.trans_b = true, .alpha = 1, .act = {FG_UNARY_relu, 0, 0}}},              \
    .in = {FG_TD(F32, WHOLE, rank, a), W(128, 12), bias, residual},                                \
    .out = {FG_TD(F32, FG_NORMAL, rank, y), mask}, .constant = 2, .flags = flags_                  \
  }
/* The slope behind dy [5, 7] b [7, 128], of what is read, and another gradient. */
#define READ(label, k, residual, of)                                                               \
  {                                                                                                \
    .name = label, .op = FG_OP_matmul,                                                             \
    .attrs = {.matmul = {.alpha = 1, .act = {FG_UNARY_##k, 0, 0}}},                                \
    .in = {W(5, 7), W(7, 128), NONE, residual, of}, .out = {FG_Y(5, 128)}, .constant = 2,          \
    .flags = FLAGS                                                                                 \
  }
#define WINDOW(stride_, pad)                                                                       \
  .spatial = 2, .group = 1, .stride = {stride_, stride_}, .dilation = {1, 1},                      \
  .pad_lo = {pad, pad}, .pad_hi = {pad, pad}, .act = {FG_UNARY_relu, 0, 0}
#define CONV(label, stride_, pad, x, w, k, residual, y, mask, flags_)                              \
  {                                                                                                \
    .name = label, .op = FG_OP_conv, .attrs = {.conv = {WINDOW(stride_, pad)}},                    \
    .in = {FG_TD(F32, WHOLE, 4, x), FG_TD(F32, WHOLE, 4, w), W(k), residual},                      \
    .out = {FG_TD(F32, FG_NORMAL, 4, y), mask}, .constant = 6, .flags = flags_                     \
  }
#define BACK(label, stride_, pad, dy, w, of, second, dx, flags_)                                   \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input, .attrs = {.conv = {WINDOW(stride_, pad)}},         \
    .in = {FG_TD(F32, WHOLE, 4, dy), FG_TD(F32, WHOLE, 4, w), of, second},                         \
    .out = {FG_TD(F32, FG_NORMAL, 4, dx)}, .constant = 2, .flags = flags_                          \
  }
/* Bits of a convolution are made and read channels last alone. */
#define LAST FLAGS | FG_CASE_MAY_DECLINE

static const struct fg_case cases[] = {
    MADE("matmul with relu and bytes", 2, D(5, 12), NONE, NONE, D(5, 128), BYTES(5, 128), FLAGS),
    MADE("matmul with bias, residual, relu and bytes", 2, D(3, 12), W(128), W(3, 128), D(3, 128),
         BYTES(3, 128), FLAGS),
    MADE("matmul with relu and bits", 2, D(5, 12), NONE, NONE, D(5, 128), BITS(5 * 128), FLAGS),
    MADE("matmul with bias, relu and bits", 2, D(6, 12), W(128), NONE, D(6, 128), BITS(6 * 128),
         FLAGS),
    MADE("matmul with bias, residual, relu and bits", 3, D(2, 4, 12), W(128), W(2, 4, 128),
         D(2, 4, 128), BITS(8 * 128), FLAGS),
    READ("matmul, then a slope of values", relu, NONE, W(5, 128)),
    READ("matmul, then a slope of values behind a sum", relu, W(5, 128), W(5, 128)),
    READ("matmul, then gelu's slope", gelu, NONE, FG_R(FG_NORMAL, 5, 128)),
    READ("matmul, then gelu_tanh's slope behind a sum", gelu_tanh, W(5, 128),
         FG_R(FG_NORMAL, 5, 128)),
    READ("matmul, then a slope of bytes", relu, NONE, BYTES(5, 128)),
    READ("matmul, then a slope of bytes behind a sum", relu, W(5, 128), BYTES(5, 128)),
    READ("matmul, then a slope of bits", relu, NONE, BITS(5 * 128)),
    READ("matmul, then a slope of bits behind a sum", relu, W(5, 128), BITS(5 * 128)),
    {.name = "matmul with relu and bytes, odd columns",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1, .act = {FG_UNARY_relu, 0, 0}}},
     .in = {W(5, 6), W(6, 11), W(11)},
     .out = {FG_Y(5, 11), BYTES(5, 11)},
     .flags = FLAGS},
    {.name = "matmul of no rows with relu and bits",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1, .act = {FG_UNARY_relu, 0, 0}}},
     .in = {W(0, 6), W(6, 128)},
     .out = {FG_Y(0, 128), BITS(0)},
     .flags = FLAGS},
    {.name = "matmul with relu and a mask, at points",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1, .act = {FG_UNARY_relu, 0, 0}}},
     .in = {FG_R(FG_VALUES(1, -1), 1, 2), FG_R(FG_VALUES(1, 2, 1, 0, 1, 1, 2, 0), 2, 4)},
     .out = {FG_T(F32, FG_VALUES(0, 1, 0, 0), 1, 4), FG_T(BOOL, FG_VALUES(0, 1, 0, 0), 1, 4)},
     .flags = FLAGS},
    CONV("conv 3x3 with relu and bytes", 1, 1, D(2, 16, 6, 5), D(16, 16, 3, 3), 16, NONE,
         D(2, 16, 6, 5), BYTES(2, 16, 6, 5), FLAGS),
    CONV("conv 3x3 with residual, relu and bytes", 1, 1, D(2, 8, 7, 5), D(12, 8, 3, 3), 12,
         W(2, 12, 7, 5), D(2, 12, 7, 5), BYTES(2, 12, 7, 5), FLAGS),
    CONV("conv 3x3 stride 2 with relu and bytes", 2, 1, D(2, 8, 7, 7), D(5, 8, 3, 3), 5, NONE,
         D(2, 5, 4, 4), BYTES(2, 5, 4, 4), FLAGS),
    CONV("conv 1x1 with residual, relu and bytes", 1, 0, D(2, 6, 5, 3), D(24, 6, 1, 1), 24,
         W(2, 24, 5, 3), D(2, 24, 5, 3), BYTES(2, 24, 5, 3), FLAGS),
    CONV("conv 1x1 with relu and bits", 1, 0, D(2, 6, 4, 3), D(128, 6, 1, 1), 128, NONE,
         D(2, 128, 4, 3), BITS(2 * 128 * 4 * 3), LAST),
    CONV("conv 1x1 with residual, relu and bits", 1, 0, D(2, 6, 5, 3), D(128, 6, 1, 1), 128,
         W(2, 128, 5, 3), D(2, 128, 5, 3), BITS(2 * 128 * 5 * 3), LAST),
    BACK("conv 3x3 input gradient, then a slope of bytes", 1, 1, D(2, 16, 6, 5), D(16, 8, 3, 3),
         BYTES(2, 8, 6, 5), NONE, D(2, 8, 6, 5), FLAGS),
    BACK("conv 3x3 input gradient, then a slope of bytes behind a sum", 1, 1, D(2, 16, 7, 5),
         D(16, 9, 3, 3), BYTES(2, 9, 7, 5), W(2, 9, 7, 5), D(2, 9, 7, 5), FLAGS),
    BACK("conv 1x1 input gradient, then a slope of bytes behind a sum", 1, 0, D(2, 6, 5, 3),
         D(6, 16, 1, 1), BYTES(2, 16, 5, 3), W(2, 16, 5, 3), D(2, 16, 5, 3), FLAGS),
    BACK("conv 1x1 input gradient, then a slope of bits", 1, 0, D(2, 6, 4, 3), D(6, 128, 1, 1),
         BITS(2 * 128 * 4 * 3), NONE, D(2, 128, 4, 3), LAST),
    BACK("conv 1x1 input gradient, then a slope of bits behind a sum", 1, 0, D(2, 6, 5, 3),
         D(6, 128, 1, 1), BITS(2 * 128 * 5 * 3), W(2, 128, 5, 3), D(2, 128, 5, 3), LAST),
    {.name = "relu's slope of bytes",
     .op = FG_OP_unary_grad,
     .attrs = {.unary = {FG_UNARY_relu, 0, 0}},
     .in = {NONE, BYTES(2, 16, 5, 3), W(2, 16, 5, 3)},
     .out = {FG_Y(2, 16, 5, 3)},
     .flags = FLAGS},
    {.name = "relu's slope of bytes, of two gradients",
     .op = FG_OP_unary_grad,
     .attrs = {.unary = {FG_UNARY_relu, 0, 0}},
     .in = {NONE, BYTES(2, 7, 5, 3), W(2, 7, 5, 3), W(2, 7, 5, 3)},
     .out = {FG_Y(2, 7, 5, 3)},
     .flags = FLAGS},
};
FG_TABLE(mask);
