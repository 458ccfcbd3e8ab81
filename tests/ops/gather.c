/* gather, gather_grad: indices of both types, negative ones, repeated ones. */
#include "harness.h"

#define D(...) (__VA_ARGS__)
#define GATHER(label, ax, type, itype, xr, x, ir, i, yr, y, last)                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_gather, .attrs = {.axis = {ax, 0}},                                 \
    .in = {FG_TD(type, FG_NORMAL, xr, x), FG_TD(itype, FG_INTEGER(-(last)-1, last), ir, i)},       \
    .out = {FG_TD(type, FG_NORMAL, yr, y)}, .flags = FG_CASE_EXACT                                 \
  }
#define GRAD(label, ax, itype, xr, x, ir, i, yr, y, last)                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_gather_grad, .attrs = {.axis = {ax, 0}},                            \
    .in = {FG_TD(F32, FG_NORMAL, yr, y), FG_TD(itype, FG_INTEGER(-(last)-1, last), ir, i)},        \
    .out = {FG_TD(F32, FG_NORMAL, xr, x)}, .flags = FG_CASE_SPARSE                                 \
  }

static const struct fg_case cases[] = {
    GATHER("gather rows", 0, F32, I64, 2, D(7, 5), 1, D(4), 2, D(4, 5), 6),
    GATHER("gather columns", 1, F32, I32, 2, D(5, 9), 1, D(13), 2, D(5, 13), 8),
    GATHER("gather by a matrix", 1, F32, I64, 3, D(2, 7, 3), 2, D(4, 2), 4, D(2, 4, 2, 3), 6),
    GATHER("gather one and drop the axis", 1, F32, I64, 3, D(2, 7, 24), 0, D(0), 2, D(2, 24), 6),
    GATHER("gather int64", 0, I64, I64, 1, D(5), 1, D(3), 1, D(3), 4),
    GATHER("gather of an empty batch", 1, F32, I64, 2, D(0, 5), 1, D(3), 2, D(0, 3), 4),
    GATHER("gather by nothing", 0, F32, I64, 2, D(5, 3), 1, D(0), 2, D(0, 3), 4),
    GRAD("gather gradient of rows", 0, I64, 2, D(7, 5), 1, D(4), 2, D(4, 5), 6),
    GRAD("gather gradient of columns", 1, I32, 2, D(5, 9), 1, D(13), 2, D(5, 13), 8),
    GRAD("gather gradient by a matrix", 1, I64, 3, D(2, 7, 3), 2, D(4, 2), 4, D(2, 4, 2, 3), 6),
    GRAD("gather gradient of one", 1, I64, 3, D(2, 7, 24), 0, D(0), 2, D(2, 24), 6),
    {.name = "gather at points",
     .op = FG_OP_gather,
     .attrs = {.axis = {0, 0}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4, 5, 6), 3, 2), FG_T(I64, FG_VALUES(-1, 0, -3), 3)},
     .out = {FG_T(F32, FG_VALUES(5, 6, 1, 2, 1, 2), 3, 2)},
     .flags = FG_CASE_EXACT},
    {.name = "gather gradient sums repeats",
     .op = FG_OP_gather_grad,
     .attrs = {.axis = {0, 0}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4, 5, 6), 3, 2), FG_T(I64, FG_VALUES(-1, 0, 2), 3)},
     .out = {FG_T(F32, FG_VALUES(3, 4, 0, 0, 6, 8), 3, 2)},
     .flags = FG_CASE_EXACT},
};
FG_TABLE(gather);
