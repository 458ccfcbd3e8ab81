/* matmul: transpositions, batches, broadcasting, fused tails. */
#include "harness.h"

#define D(...) (__VA_ARGS__)
#define MM(label, ta, tb, al, r, a, b, y)                                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_matmul,                                                             \
    .attrs = {.matmul = {.trans_a = ta, .trans_b = tb, .alpha = al}},                              \
    .in = {FG_TD(F32, FG_NORMAL, r, a), FG_TD(F32, FG_NORMAL, r, b)}, .out = {                     \
      FG_TD(F32, FG_NORMAL, r, y)                                                                  \
    }                                                                                              \
  }
#define TAIL(label, k, bias, residual, ...)                                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_matmul,                                                             \
    .attrs = {.matmul = {.trans_b = true, .alpha = 1, .act = {FG_UNARY_##k, 0, 0}}},               \
    .in = {FG_R(FG_NORMAL, 5, 19), FG_R(FG_NORMAL, 11, 19), bias, residual}, .out = {FG_Y(5, 11)}, \
    .constant = 2, __VA_ARGS__                                                                     \
  }
#define NONE                                                                                       \
  { 0 }

static const struct fg_case cases[] = {
    MM("matmul", false, false, 1, 2, D(7, 13), D(13, 5), D(7, 5)),
    MM("matmul a transposed", true, false, 1, 2, D(13, 7), D(13, 5), D(7, 5)),
    MM("matmul b transposed", false, true, 1, 2, D(7, 13), D(5, 13), D(7, 5)),
    MM("matmul both transposed", true, true, 1, 2, D(13, 7), D(5, 13), D(7, 5)),
    MM("matmul scaled", false, true, 0.125, 2, D(16, 32), D(16, 32), D(16, 16)),
    MM("matmul of one row", false, true, 1, 2, D(1, 64), D(10, 64), D(1, 10)),
    MM("matmul of one column", false, false, 1, 2, D(9, 17), D(17, 1), D(9, 1)),
    MM("matmul, inner 1", false, false, 1, 2, D(9, 1), D(1, 6), D(9, 6)),
    MM("matmul, empty batch", false, true, 1, 2, D(0, 8), D(4, 8), D(0, 4)),
    MM("matmul large", false, true, 1, 2, D(33, 257), D(65, 257), D(33, 65)),
    MM("matmul tall", false, false, 1, 2, D(1171, 9), D(9, 5), D(1171, 5)),
    MM("matmul tall, both transposed", true, true, 2, 2, D(9, 1171), D(5, 9), D(1171, 5)),
    {.name = "matmul tall with bias, residual and relu",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1, .act = {FG_UNARY_relu, 0, 0}}},
     .in = {FG_R(FG_NORMAL, 3, 400, 7), FG_R(FG_NORMAL, 7, 6), FG_R(FG_NORMAL, 6),
            FG_R(FG_NORMAL, 3, 400, 6)},
     .out = {FG_Y(3, 400, 6)},
     .constant = 2,
     .flags = FG_CASE_NO_GRADIENT},
    MM("matmul batched", false, false, 1, 3, D(3, 7, 5), D(3, 5, 9), D(3, 7, 9)),
    MM("matmul of heads", false, true, 0.35355339, 4, D(2, 3, 7, 8), D(2, 3, 7, 8), D(2, 3, 7, 7)),
    MM("matmul batched, a transposed", true, false, 1, 3, D(3, 5, 7), D(3, 5, 9), D(3, 7, 9)),
    MM("matmul, b broadcast", false, false, 1, 3, D(3, 7, 5), D(1, 5, 9), D(3, 7, 9)),
    MM("matmul, a broadcast", false, false, 1, 3, D(1, 7, 5), D(3, 5, 9), D(3, 7, 9)),
    MM("matmul, both broadcast", false, false, 1, 4, D(2, 1, 4, 5), D(1, 3, 5, 6), D(2, 3, 4, 6)),
    {.name = "matmul of a batch by a matrix",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1}},
     .in = {FG_R(FG_NORMAL, 2, 7, 5), FG_R(FG_NORMAL, 5, 9)},
     .out = {FG_Y(2, 7, 9)},
     .constant = 2},
    {.name = "matmul of a matrix by a batch",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1}},
     .in = {FG_R(FG_NORMAL, 7, 5), FG_R(FG_NORMAL, 2, 5, 9)},
     .out = {FG_Y(2, 7, 9)}},
    TAIL("matmul with bias", identity, FG_R(FG_NORMAL, 11), NONE, .flags = 0),
    TAIL("matmul with bias and relu", relu, FG_R(FG_NORMAL, 11), NONE,
         .flags = FG_CASE_NO_GRADIENT),
    TAIL("matmul with residual", identity, NONE, FG_R(FG_NORMAL, 5, 11), .flags = 0),
    TAIL("matmul with bias, residual and gelu", gelu, FG_R(FG_NORMAL, 11), FG_R(FG_NORMAL, 5, 11),
         .flags = FG_CASE_NO_GRADIENT),
    {.name = "matmul batched with bias",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 0.5, .trans_b = true}},
     .in = {FG_R(FG_NORMAL, 2, 7, 16), FG_R(FG_NORMAL, 24, 16), FG_R(FG_NORMAL, 24)},
     .out = {FG_Y(2, 7, 24)},
     .constant = 6},
    {.name = "matmul of many rows by large weights",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1}},
     .in = {FG_R(FG_NORMAL, 361, 760), FG_R(FG_NORMAL, 760, 700)},
     .out = {FG_Y(361, 700)},
     .constant = 2,
     .flags = FG_CASE_NO_GRADIENT | FG_CASE_OF_CPU},
    {.name = "matmul at points",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 2, .trans_b = true, .act = {FG_UNARY_relu, 0, 0}}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 2, 2), FG_R(FG_VALUES(1, -1, 2, 1), 2, 2),
            FG_R(FG_VALUES(0.5, 1), 2), FG_R(FG_VALUES(1, 1, 4, 1), 2, 2)},
     .out = {FG_T(F32, FG_VALUES(0, 10, 2.5, 22), 2, 2)},
     .flags = FG_CASE_NO_GRADIENT},
};
FG_TABLE(matmul);
