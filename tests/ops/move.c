/* expand, transpose, concat, slice, slice_grad, pad, reorder: the same bits elsewhere. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define ONE(label, op_, attrs_, type, xr, x, yr, y, flags_)                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_##op_, .attrs = attrs_, .in = {FG_TD(type, FG_NORMAL, xr, x)},      \
    .out = {FG_TD(type, FG_NORMAL, yr, y)}, .flags = FG_CASE_EXACT | (flags_)                      \
  }
#define NO_ATTRS                                                                                   \
  {                                                                                                \
    .shape = { 0 }                                                                                 \
  }
#define PERM(...)                                                                                  \
  {                                                                                                \
    .transpose = { {__VA_ARGS__} }                                                                 \
  }
#define SLICE(start_, step_)                                                                       \
  {                                                                                                \
    .slice = {.start = FG_DIMS(start_), .step = FG_DIMS(step_) }                                   \
  }
#define PAD(lo_, hi_, v)                                                                           \
  {                                                                                                \
    .pad = { FG_DIMS(lo_), FG_DIMS(hi_), v }                                                       \
  }

static const struct fg_case cases[] = {
    ONE("expand a column", expand, NO_ATTRS, F32, 2, D(5, 1), 2, D(5, 7), 0),
    ONE("expand a row to more axes", expand, NO_ATTRS, F32, 1, D(7), 3, D(2, 5, 7), 0),
    ONE("expand means to planes", expand, NO_ATTRS, F32, 4, D(2, 16, 1, 1), 4, D(2, 16, 5, 5), 0),
    ONE("expand a scalar", expand, NO_ATTRS, F32, 0, D(0), 2, D(1, 1), 0),
    ONE("expand int64", expand, NO_ATTRS, I64, 2, D(1, 3), 2, D(4, 3), 0),
    ONE("expand to nothing", expand, NO_ATTRS, F32, 2, D(1, 3), 2, D(0, 3), 0),
    ONE("transpose a matrix", transpose, PERM(1, 0), F32, 2, D(7, 13), 2, D(13, 7), 0),
    ONE("transpose NCHW to NHWC", transpose, PERM(0, 2, 3, 1), F32, 4, D(2, 5, 3, 4), 4,
        D(2, 3, 4, 5), 0),
    ONE("transpose heads", transpose, PERM(0, 2, 1, 3), F32, 4, D(2, 7, 3, 8), 4, D(2, 3, 7, 8), 0),
    ONE("transpose by nothing", transpose, PERM(0, 1, 2), F32, 3, D(2, 3, 4), 3, D(2, 3, 4), 0),
    ONE("transpose int64", transpose, PERM(2, 0, 1), I64, 3, D(2, 3, 5), 3, D(5, 2, 3), 0),
    ONE("transpose an empty batch", transpose, PERM(0, 2, 1), F32, 3, D(0, 3, 5), 3, D(0, 5, 3), 0),
    ONE("transpose rank 8", transpose, PERM(7, 6, 5, 4, 3, 2, 1, 0), F32, 8,
        D(1, 2, 3, 1, 2, 1, 2, 3), 8, D(3, 2, 1, 2, 1, 3, 2, 1), 0),
    {.name = "concat channels",
     .op = FG_OP_concat,
     .attrs = {.axis = {1, 0}},
     .in = {FG_R(FG_NORMAL, 2, 16, 3, 5), FG_R(FG_NORMAL, 2, 8, 3, 5), FG_R(FG_NORMAL, 2, 8, 3, 5)},
     .out = {FG_Y(2, 32, 3, 5)},
     .flags = FG_CASE_EXACT},
    {.name = "concat odd channels",
     .op = FG_OP_concat,
     .attrs = {.axis = {1, 0}},
     .in = {FG_R(FG_NORMAL, 2, 3, 3, 5), FG_R(FG_NORMAL, 2, 5, 3, 5), FG_R(FG_NORMAL, 2, 0, 3, 5)},
     .out = {FG_Y(2, 8, 3, 5)},
     .flags = FG_CASE_EXACT},
    {.name = "concat rows of int64",
     .op = FG_OP_concat,
     .attrs = {.axis = {0, 0}},
     .in = {FG_T(I64, FG_NORMAL, 2, 3), FG_T(I64, FG_NORMAL, 1, 3)},
     .out = {FG_T(I64, FG_NORMAL, 3, 3)},
     .flags = FG_CASE_EXACT},
    {.name = "concat along the last axis",
     .op = FG_OP_concat,
     .attrs = {.axis = {2, 0}},
     .in = {FG_R(FG_NORMAL, 2, 3, 4), FG_R(FG_NORMAL, 2, 3, 1), FG_R(FG_NORMAL, 2, 3, 7)},
     .out = {FG_Y(2, 3, 12)},
     .flags = FG_CASE_EXACT},
    {.name = "concat of one",
     .op = FG_OP_concat,
     .attrs = {.axis = {0, 0}},
     .in = {FG_R(FG_NORMAL, 3, 4)},
     .out = {FG_Y(3, 4)},
     .flags = FG_CASE_EXACT},
    ONE("slice the middle", slice, SLICE(D(1, 2), D(1, 1)), F32, 2, D(5, 9), 2, D(3, 4), 0),
    ONE("slice every third", slice, SLICE(D(0, 1), D(2, 3)), F32, 2, D(5, 11), 2, D(3, 4), 0),
    ONE("slice backward", slice, SLICE(D(4, 8), D(-1, -2)), F32, 2, D(5, 9), 2, D(5, 4), 0),
    ONE("slice channels", slice, SLICE(D(0, 3, 0, 0), D(1, 1, 1, 1)), F32, 4, D(2, 8, 3, 3), 4,
        D(2, 4, 3, 3), 0),
    ONE("slice int64", slice, SLICE(D(3), D(-2)), I64, 1, D(5), 1, D(2), 0),
    ONE("slice to nothing", slice, SLICE(D(2, 0), D(1, 1)), F32, 2, D(5, 9), 2, D(0, 9), 0),
    ONE("slice bytes", slice, SLICE(D(1, 1), D(1, 2)), U8, 2, D(5, 9), 2, D(4, 4), 0),
    ONE("slice gradient", slice_grad, SLICE(D(1, 2), D(1, 1)), F32, 2, D(3, 4), 2, D(5, 9),
        FG_CASE_SPARSE),
    ONE("slice gradient of every third", slice_grad, SLICE(D(0, 1), D(2, 3)), F32, 2, D(3, 4), 2,
        D(5, 11), FG_CASE_SPARSE),
    ONE("slice gradient backward", slice_grad, SLICE(D(4, 8), D(-1, -2)), F32, 2, D(5, 4), 2,
        D(5, 9), FG_CASE_SPARSE),
    ONE("slice of an image", slice, SLICE(D(1, 2, 0, 4), D(1, 1, 2, -1)), F32, 4, D(3, 6, 5, 5), 4,
        D(2, 3, 3, 5), 0),
    ONE("slice gradient of an image", slice_grad, SLICE(D(1, 2, 0, 4), D(1, 1, 2, -1)), F32, 4,
        D(2, 3, 3, 5), 4, D(3, 6, 5, 5), FG_CASE_SPARSE),
    {.name = "slice gradient of nothing",
     .op = FG_OP_slice_grad,
     .attrs = SLICE(D(2, 0), D(1, 1)),
     .in = {FG_R(FG_NORMAL, 0, 3)},
     .out = {FG_T(F32, FG_VALUES(0), 4, 3)},
     .flags = FG_CASE_EXACT},
    ONE("pad planes", pad, PAD(D(0, 0, 1, 2), D(0, 0, 3, 0), 0), F32, 4, D(2, 3, 4, 5), 4,
        D(2, 3, 8, 7), FG_CASE_SPARSE),
    ONE("pad channels and planes", pad, PAD(D(0, 1, 0, 2), D(0, 2, 1, -1), 0.5), F32, 4,
        D(2, 3, 4, 5), 4, D(2, 6, 5, 6), 0),
    ONE("pad with a value", pad, PAD(D(1, 0), D(0, 2), -0.5), F32, 2, D(3, 4), 2, D(4, 6), 0),
    ONE("pad with minus infinity", pad, PAD(D(1, 0), D(0, 2), -INFINITY), F32, 2, D(3, 4), 2,
        D(4, 6), FG_CASE_NO_GRADIENT),
    ONE("pad and cut", pad, PAD(D(-1, 2), D(1, -3), 2), F32, 2, D(4, 7), 2, D(4, 6), 0),
    ONE("pad int64", pad, PAD(D(2), D(1), 7), I64, 1, D(3), 1, D(6), 0),
    ONE("pad channels", pad, PAD(D(0, 4, 0, 0), D(0, 4, 0, 0), 0), F32, 4, D(2, 8, 3, 3), 4,
        D(2, 16, 3, 3), FG_CASE_SPARSE),
    {.name = "pad at points",
     .op = FG_OP_pad,
     .attrs = PAD(D(1, -1), D(0, 1), 9),
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 2, 2)},
     .out = {FG_T(F32, FG_VALUES(9, 9, 2, 9, 4, 9), 3, 2)},
     .flags = FG_CASE_EXACT},
    {.name = "slice at points",
     .op = FG_OP_slice,
     .attrs = SLICE(D(1, 2), D(-1, -2)),
     .in = {FG_R(FG_VALUES(1, 2, 3, 4, 5, 6), 2, 3)},
     .out = {FG_T(F32, FG_VALUES(6, 4, 3, 1), 2, 2)},
     .flags = FG_CASE_EXACT},
    {.name = "transpose at points",
     .op = FG_OP_transpose,
     .attrs = PERM(1, 0),
     .in = {FG_R(FG_VALUES(1, 2, 3, 4, 5, 6), 2, 3)},
     .out = {FG_T(F32, FG_VALUES(1, 4, 2, 5, 3, 6), 3, 2)},
     .flags = FG_CASE_EXACT},
    ONE("reorder", reorder, NO_ATTRS, F32, 4, D(2, 16, 5, 3), 4, D(2, 16, 5, 3), 0),
    ONE("reorder 32 channels", reorder, NO_ATTRS, F32, 4, D(1, 32, 7, 9), 4, D(1, 32, 7, 9), 0),
};
FG_TABLE(move);
