/* max_pool, avg_pool and their gradients; ties, NaN, padding. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define POOL(kh, kw, sh, sw, t, l, b, r, ...)                                                      \
  {                                                                                                \
    .pool = {                                                                                      \
      .spatial = 2,                                                                                \
      .window = {kh, kw},                                                                          \
      .stride = {sh, sw},                                                                          \
      .dilation = {1, 1},                                                                          \
      .pad_lo = {t, l},                                                                            \
      .pad_hi = {b, r},                                                                            \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }
#define X(d) FG_TD(F32, FG_DISTINCT, 4, d)
#define G(d) FG_TD(F32, FG_NORMAL, 4, d)
#define U8(d, last) FG_TD(U8, FG_INTEGER(0, last), 4, d)
#define MAX(label, attrs_, x, y, last)                                                             \
  {.name = label,                                                                                  \
   .op = FG_OP_max_pool,                                                                           \
   .attrs = attrs_,                                                                                \
   .in = {X(x)},                                                                                   \
   .out = {G(y), U8(y, last)}},                                                                    \
      {.name = label " without index",                                                             \
       .op = FG_OP_max_pool,                                                                       \
       .attrs = attrs_,                                                                            \
       .in = {X(x)},                                                                               \
       .out = {G(y)}},                                                                             \
  {                                                                                                \
    .name = label ", gradient", .op = FG_OP_max_pool_grad, .attrs = attrs_,                        \
    .in = {G(y), U8(y, last)}, .out = {G(x)}, .flags = FG_CASE_SPARSE                              \
  }
#define AVG(label, attrs_, x, y)                                                                   \
  {.name = label, .op = FG_OP_avg_pool, .attrs = attrs_, .in = {G(x)}, .out = {G(y)}}, {           \
    .name = label ", gradient", .op = FG_OP_avg_pool_grad, .attrs = attrs_, .in = {G(y)},          \
    .out = {G(x)}, .flags = FG_CASE_SPARSE                                                         \
  }

static const struct fg_case cases[] = {
    MAX("max_pool 2x2", POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false), D(2, 16, 8, 8),
        D(2, 16, 4, 4), 3),
    MAX("max_pool 2x2 of 5 channels with a rest",
        POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false), D(2, 5, 7, 9), D(2, 5, 3, 4), 3),
    MAX("max_pool 2x2 of a rest in both directions",
        POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false), D(2, 16, 5, 15), D(2, 16, 2, 7), 3),
    {.name = "max_pool 2x2 of equals",
     .op = FG_OP_max_pool,
     .attrs = POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false),
     .in = {FG_TD(F32, FG_INTEGER(-1, 1), 4, D(2, 16, 6, 12))},
     .out = {G(D(2, 16, 3, 6)), U8(D(2, 16, 3, 6), 3)},
     .flags = FG_CASE_NO_GRADIENT},
    MAX("max_pool 3x3 stride 2", POOL(3, 3, 2, 2, 1, 1, 1, 1, .include_pad = false), D(2, 16, 9, 9),
        D(2, 16, 5, 5), 8),
    MAX("max_pool 3x3 overlapping", POOL(3, 3, 1, 1, 1, 1, 1, 1, .include_pad = false),
        D(1, 8, 5, 6), D(1, 8, 5, 6), 8),
    MAX("max_pool asymmetric", POOL(2, 3, 1, 2, 0, 1, 1, 0, .include_pad = false), D(2, 3, 5, 8),
        D(2, 3, 5, 4), 5),
    {.name = "max_pool of an empty batch",
     .op = FG_OP_max_pool,
     .attrs = POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false),
     .in = {X(D(0, 8, 4, 4))},
     .out = {G(D(0, 8, 2, 2)), U8(D(0, 8, 2, 2), 3)}},
    {.name = "max_pool dilated",
     .op = FG_OP_max_pool,
     .attrs = {.pool = {.spatial = 2, .window = {2, 3}, .stride = {1, 1}, .dilation = {2, 2}}},
     .in = {X(D(2, 3, 6, 7))},
     .out = {G(D(2, 3, 4, 3)), U8(D(2, 3, 4, 3), 5)}},
    {.name = "max_pool of a window above 255 places",
     .op = FG_OP_max_pool,
     .attrs = POOL(16, 17, 16, 17, 0, 0, 0, 0, .include_pad = false),
     .in = {X(D(1, 2, 32, 34))},
     .out = {G(D(1, 2, 2, 2)), FG_TD(I32, FG_NORMAL, 4, D(1, 2, 2, 2))}},
    {.name = "max_pool takes the first of equals, and NaN",
     .op = FG_OP_max_pool,
     .attrs = POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false),
     .in = {FG_R(FG_VALUES(1, 1, 5, NAN, 1, 1, NAN, 2), 1, 1, 2, 4)},
     .out = {FG_T(F32, FG_VALUES(1, NAN), 1, 1, 1, 2), FG_T(U8, FG_VALUES(0, 1), 1, 1, 1, 2)},
     .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT},
    {.name = "max_pool of values below zero beside padding",
     .op = FG_OP_max_pool,
     .attrs = POOL(2, 2, 2, 2, 1, 1, 0, 0, .include_pad = false),
     .in = {FG_R(FG_VALUES(-1, -2, -3, -4, -5, -6, -7, -8, -9), 1, 1, 3, 3)},
     .out = {FG_T(F32, FG_VALUES(-1, -2, -4, -5), 1, 1, 2, 2),
             FG_T(U8, FG_VALUES(3, 2, 1, 0), 1, 1, 2, 2)},
     .flags = FG_CASE_EXACT},
    {.name = "max_pool_grad sums where windows overlap",
     .op = FG_OP_max_pool_grad,
     .attrs = POOL(1, 2, 1, 1, 0, 0, 0, 0, .include_pad = false),
     .in = {FG_R(FG_VALUES(1, 2, 4), 1, 1, 1, 3), FG_T(U8, FG_VALUES(1, 0, 1), 1, 1, 1, 3)},
     .out = {FG_T(F32, FG_VALUES(0, 3, 0, 4), 1, 1, 1, 4)},
     .flags = FG_CASE_EXACT},
    AVG("avg_pool 2x2", POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false), D(2, 16, 8, 8),
        D(2, 16, 4, 4)),
    AVG("avg_pool 3x3 padded, counted", POOL(3, 3, 2, 2, 1, 1, 1, 1, .include_pad = true),
        D(2, 16, 7, 7), D(2, 16, 4, 4)),
    AVG("avg_pool 3x3 padded, not counted", POOL(3, 3, 2, 2, 1, 1, 1, 1, .include_pad = false),
        D(2, 16, 7, 7), D(2, 16, 4, 4)),
    AVG("avg_pool asymmetric, odd channels", POOL(2, 3, 1, 2, 0, 1, 1, 0, .include_pad = false),
        D(2, 5, 5, 8), D(2, 5, 5, 4)),
    AVG("avg_pool of all", POOL(7, 7, 1, 1, 0, 0, 0, 0, .include_pad = false), D(2, 24, 7, 7),
        D(2, 24, 1, 1)),
    AVG("avg_pool with a rest", POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false), D(2, 3, 7, 5),
        D(2, 3, 3, 2)),
    {.name = "avg_pool of an empty batch",
     .op = FG_OP_avg_pool,
     .attrs = POOL(2, 2, 2, 2, 0, 0, 0, 0, .include_pad = false),
     .in = {G(D(0, 8, 4, 4))},
     .out = {G(D(0, 8, 2, 2))}},
    {.name = "avg_pool at points",
     .op = FG_OP_avg_pool,
     .attrs = POOL(2, 2, 1, 1, 1, 0, 0, 0, .include_pad = true),
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 1, 1, 2, 2)},
     .out = {FG_T(F32, FG_VALUES(0.75, 2.5), 1, 1, 2, 1)}},
};
FG_TABLE(pool);
