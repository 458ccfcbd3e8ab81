/* scatter, top, cumsum: kinds, repeated and negative indices, ties, NaN, integers. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define SCATTER(label, k, type, itype, xr, x, n, ur, u, last)                                      \
  {                                                                                                \
    .name = label, .op = FG_OP_scatter, .attrs = {.scatter = {FG_SCATTER_##k}},                    \
    .in = {FG_TD(type, FG_AWAY, xr, x), FG_T(itype, FG_INTEGER(-(last)-1, last), n),               \
           FG_TD(type, FG_AWAY, ur, u)},                                                           \
    .out = {                                                                                       \
      FG_TD(type, FG_NORMAL, xr, x)                                                                \
    }                                                                                              \
  }
#define SCATTER_AT(label, k, type, index, xs, us, ...)                                             \
  {                                                                                                \
    .name = label, .op = FG_OP_scatter, .attrs = {.scatter = {FG_SCATTER_##k}},                    \
    .in = {FG_T(type, xs, 4), FG_T(I64, index, 5), FG_T(type, us, 5)},                             \
    .out = {FG_T(type, FG_VALUES(__VA_ARGS__), 4)}, .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT   \
  }
#define LIST(...) FG_VALUES(__VA_ARGS__)
#define TOP(label, axis_, k_, least, last_, type, gen, xr, x, yr, y)                               \
  {                                                                                                \
    .name = label, .op = FG_OP_top, .attrs = {.top = {axis_, k_, least, last_}},                   \
    .in = {FG_TD(type, gen, xr, x)}, .out = {FG_TD(I64, FG_NORMAL, yr, y)}, .flags = FG_CASE_EXACT \
  }
#define TOP_AT(label, k_, least, last_, type, n, xs, ...)                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_top, .attrs = {.top = {0, k_, least, last_}},                       \
    .in = {FG_T(type, xs, n)}, .out = {FG_T(I64, FG_VALUES(__VA_ARGS__), k_)},                     \
    .flags = FG_CASE_EXACT | FG_CASE_SPARSE                                                        \
  }
#define CUMSUM(label, axis_, exclusive_, reverse_, type, ...)                                      \
  {                                                                                                \
    .name = label, .op = FG_OP_cumsum, .attrs = {.cumsum = {axis_, exclusive_, reverse_}},         \
    .in = {FG_T(type, FG_NORMAL, __VA_ARGS__)}, .out = {                                           \
      FG_T(type, FG_NORMAL, __VA_ARGS__)                                                           \
    }                                                                                              \
  }
#define CUMSUM_AT(label, exclusive_, reverse_, type, ...)                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_cumsum, .attrs = {.cumsum = {0, exclusive_, reverse_}},             \
    .in = {FG_T(type, LIST(1, 2, 3, 4), 4)}, .out = {FG_T(type, FG_VALUES(__VA_ARGS__), 4)},       \
    .flags = FG_CASE_EXACT                                                                         \
  }

static const struct fg_case cases[] = {
    {.name = "scatter rows",
     .op = FG_OP_scatter,
     .attrs = {.scatter = {FG_SCATTER_none}},
     .in = {FG_R(FG_NORMAL, 7, 5), FG_T(I64, LIST(3, -1, 0), 3), FG_R(FG_NORMAL, 3, 5)},
     .out = {FG_Y(7, 5)},
     .flags = FG_CASE_EXACT},
    {.name = "scatter nothing",
     .op = FG_OP_scatter,
     .attrs = {.scatter = {FG_SCATTER_add}},
     .in = {FG_R(FG_NORMAL, 7, 5), FG_T(I64, FG_NORMAL, 0), FG_R(FG_NORMAL, 0, 5)},
     .out = {FG_Y(7, 5)},
     .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT},
    SCATTER("scatter and add", add, F32, I64, 2, D(7, 5), 9, 2, D(9, 5), 6),
    SCATTER("scatter and add wide rows", add, F32, I32, 3, D(3, 33, 41), 5, 3, D(5, 33, 41), 2),
    SCATTER("scatter and add elements", add, F32, I64, 1, D(35), 41, 1, D(41), 34),
    SCATTER("scatter and multiply", mul, F32, I64, 2, D(7, 5), 9, 2, D(9, 5), 6),
    SCATTER("scatter and multiply int64", mul, I64, I64, 2, D(7, 5), 9, 2, D(9, 5), 6),
    SCATTER("scatter and add int32", add, I32, I64, 2, D(7, 5), 9, 2, D(9, 5), 6),
    {.name = "scatter the larger",
     .op = FG_OP_scatter,
     .attrs = {.scatter = {FG_SCATTER_max}},
     .in = {FG_R(FG_DISTINCT, 5, 7), FG_T(I64, LIST(0, 3, 3, -1), 4),
            FG_R(FG_UNIFORM(-1.003, -0.705), 4, 7)},
     .out = {FG_Y(5, 7)},
     .flags = FG_CASE_EXACT},
    {.name = "scatter the lesser",
     .op = FG_OP_scatter,
     .attrs = {.scatter = {FG_SCATTER_min}},
     .in = {FG_R(FG_DISTINCT, 5, 7), FG_T(I64, LIST(0, 3, 3, -1), 4),
            FG_R(FG_UNIFORM(-1.003, -0.705), 4, 7)},
     .out = {FG_Y(5, 7)},
     .flags = FG_CASE_EXACT},
    SCATTER_AT("scatter: the last of equals stays", none, F32, LIST(0, 2, 0, -1, 2),
               LIST(1, 2, 3, 4), LIST(10, 20, 30, 40, 50), 30, 2, 50, 40),
    SCATTER_AT("scatter bytes", none, U8, LIST(0, 2, 0, -1, 2), LIST(1, 2, 3, 4),
               LIST(10, 20, 30, 40, 50), 30, 2, 50, 40),
    SCATTER_AT("scatter: sums of equals", add, F32, LIST(0, 2, 0, -1, 2), LIST(1, 2, 3, 4),
               LIST(10, 20, 30, 40, 50), 41, 2, 73, 44),
    SCATTER_AT("scatter: products of equals", mul, I64, LIST(0, 2, 0, -1, 2), LIST(1, 2, 3, 4),
               LIST(10, 20, 30, 40, 50), 300, 2, 3000, 160),
    SCATTER_AT("scatter: the largest and NaN", max, F32, LIST(0, 2, 0, -1, 1), LIST(1, 2, NAN, 4),
               LIST(10, 20, 30, -40, NAN), 30, NAN, NAN, 4),
    SCATTER_AT("scatter: the least and NaN", min, F32, LIST(0, 2, 0, -1, 1), LIST(1, 2, NAN, 4),
               LIST(10, 20, -30, -40, NAN), -30, NAN, NAN, -40),
    TOP("top 3 of rows", 1, 3, false, false, F32, FG_NORMAL, 2, D(9, 37), 2, D(9, 3)),
    TOP("top 5 of columns", 0, 5, false, false, F32, FG_NORMAL, 3, D(13, 3, 2), 3, D(5, 3, 2)),
    TOP("the least 4", 1, 4, true, false, F32, FG_NORMAL, 3, D(2, 37, 3), 3, D(2, 4, 3)),
    TOP("all in order", 0, 101, false, false, F32, FG_NORMAL, 1, D(101), 1, D(101)),
    TOP("all in order, many equal", 0, 101, false, true, I64, FG_INTEGER(-3, 3), 1, D(101), 1,
        D(101)),
    TOP("top 2 of int32", 1, 2, false, false, I32, FG_INTEGER(-9, 9), 2, D(3, 17), 2, D(3, 2)),
    TOP("top of bytes", 1, 2, true, false, U8, FG_INTEGER(0, 9), 2, D(3, 17), 2, D(3, 2)),
    TOP("top none", 1, 0, false, false, F32, FG_NORMAL, 2, D(3, 17), 2, D(3, 0)),
    TOP_AT("top: the first of equals", 3, false, false, F32, 5, LIST(2, 7, 1, 7, 2), 1, 3, 0),
    TOP_AT("top: the last of equals", 3, false, true, F32, 5, LIST(2, 7, 1, 7, 2), 3, 1, 4),
    TOP_AT("least: the last of equals", 1, true, true, I64, 5, LIST(2, 1, 1, 7, 2), 2),
    TOP_AT("top and NaN", 3, false, false, F32, 5, LIST(2, NAN, INFINITY, NAN, 1), 1, 3, 2),
    TOP_AT("top: int64 that doubles confuse", 2, false, false, I64, 3, LIST(-0x1p62, 0x1p62, 5), 1,
           2),
    CUMSUM("running sums of rows", 1, false, false, F32, 9, 37),
    CUMSUM("running sums of columns", 0, false, false, F32, 9, 371),
    CUMSUM("running sums, exclusive", 1, true, false, F32, 2, 7, 3),
    CUMSUM("running sums, reverse", 1, false, true, F32, 2, 7, 3),
    CUMSUM("running sums, both", 2, true, true, F32, 2, 3, 7),
    CUMSUM("running sums of nothing", 1, false, false, F32, 0, 3),
    CUMSUM("running sums of int64", 1, false, false, I64, 4, 9),
    CUMSUM("running sums of int32", 0, false, true, I32, 4, 9),
    CUMSUM_AT("sums up to here", false, false, F32, 1, 3, 6, 10),
    CUMSUM_AT("sums before here", true, false, F32, 0, 1, 3, 6),
    CUMSUM_AT("sums from here", false, true, F32, 10, 9, 7, 4),
    CUMSUM_AT("sums behind here", true, true, I64, 9, 7, 4, 0),
};
FG_TABLE(scatter);
