/* reduce: axes, kinds, integers, NaN. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define RED(label, k, mask, keep_, gen, xr, x, yr, y)                                              \
  {                                                                                                \
    .name = label, .op = FG_OP_reduce, .attrs = {.reduce = {FG_REDUCE_##k, mask, keep_}},          \
    .in = {FG_TD(F32, gen, xr, x)}, .out = {                                                       \
      FG_TD(F32, FG_NORMAL, yr, y)                                                                 \
    }                                                                                              \
  }

static const struct fg_case cases[] = {
    RED("mean of planes", mean, 12, true, FG_NORMAL, 4, D(2, 16, 7, 7), 4, D(2, 16, 1, 1)),
    RED("mean of planes, dropped", mean, 12, false, FG_NORMAL, 4, D(2, 16, 7, 7), 2, D(2, 16)),
    RED("mean of 5 planes", mean, 12, true, FG_NORMAL, 4, D(3, 5, 3, 9), 4, D(3, 5, 1, 1)),
    RED("sum of rows", sum, 1, false, FG_NORMAL, 2, D(9, 13), 1, D(13)),
    RED("sum of columns", sum, 2, true, FG_NORMAL, 2, D(9, 13), 2, D(9, 1)),
    RED("sum of all", sum, 7, false, FG_UNIT, 3, D(3, 5, 7), 0, D(0)),
    RED("sum of batch and planes", sum, 13, false, FG_NORMAL, 4, D(3, 16, 5, 5), 1, D(16)),
    RED("sum of the middle", sum, 2, false, FG_NORMAL, 3, D(3, 5, 7), 2, D(3, 7)),
    RED("sum of two apart", sum, 5, true, FG_NORMAL, 3, D(3, 5, 7), 3, D(1, 5, 1)),
    RED("sum of no axis", sum, 0, true, FG_NORMAL, 2, D(3, 5), 2, D(3, 5)),
    RED("sum of axes of size 1", sum, 2, false, FG_NORMAL, 3, D(3, 1, 7), 2, D(3, 7)),
    RED("mean of tokens", mean, 2, false, FG_NORMAL, 3, D(2, 17, 24), 2, D(2, 24)),
    RED("max of rows", max, 2, false, FG_DISTINCT, 2, D(9, 13), 1, D(9)),
    RED("max of planes", max, 12, true, FG_DISTINCT, 4, D(2, 8, 5, 5), 4, D(2, 8, 1, 1)),
    RED("min of the first axis", min, 1, true, FG_DISTINCT, 2, D(9, 13), 2, D(1, 13)),
    RED("mean of an empty batch", mean, 12, true, FG_NORMAL, 4, D(0, 8, 5, 5), 4, D(0, 8, 1, 1)),
    {.name = "sum over nothing is zero",
     .op = FG_OP_reduce,
     .attrs = {.reduce = {FG_REDUCE_sum, 1, false}},
     .in = {FG_R(FG_NORMAL, 0, 3)},
     .out = {FG_T(F32, FG_VALUES(0), 3)},
     .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT},
    {.name = "sum of int64",
     .op = FG_OP_reduce,
     .attrs = {.reduce = {FG_REDUCE_sum, 2, false}},
     .in = {FG_T(I64, FG_NORMAL, 3, 5)},
     .out = {FG_T(I64, FG_NORMAL, 3)},
     .flags = FG_CASE_EXACT},
    {.name = "max of int32",
     .op = FG_OP_reduce,
     .attrs = {.reduce = {FG_REDUCE_max, 2, true}},
     .in = {FG_T(I32, FG_NORMAL, 3, 5)},
     .out = {FG_T(I32, FG_NORMAL, 3, 1)},
     .flags = FG_CASE_EXACT},
    {.name = "max and NaN",
     .op = FG_OP_reduce,
     .attrs = {.reduce = {FG_REDUCE_max, 2, false}},
     .in = {FG_R(FG_VALUES(1, NAN, 3, 4, 2, -1, -5, -6, -7), 3, 3)},
     .out = {FG_T(F32, FG_VALUES(NAN, 4, -5), 3)},
     .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT},
    {.name = "min and NaN",
     .op = FG_OP_reduce,
     .attrs = {.reduce = {FG_REDUCE_min, 2, false}},
     .in = {FG_R(FG_VALUES(1, NAN, 3, 4, 2, -1, 5, 6, 7), 3, 3)},
     .out = {FG_T(F32, FG_VALUES(NAN, -1, 5), 3)},
     .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT},
};
FG_TABLE(reduce);
