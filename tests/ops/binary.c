/* binary, where: broadcast forms, integers, NaN. */
#include <stdint.h>

#include <math.h>

#include "harness.h"

#define LIST(...) FG_VALUES(__VA_ARGS__)
#define BOTH(label, k, gen, gen_b, ...)                                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_binary, .attrs = {.binary = {FG_BINARY_##k}},                       \
    .in = {FG_R(gen, __VA_ARGS__), FG_R(gen_b, __VA_ARGS__)}, .out = {                             \
      FG_Y(__VA_ARGS__)                                                                            \
    }                                                                                              \
  }
#define CAST(label, k, ar, ad, br, bd, yr, yd)                                                     \
  {                                                                                                \
    .name = label, .op = FG_OP_binary, .attrs = {.binary = {FG_BINARY_##k}},                       \
    .in = {FG_TD(F32, FG_AWAY, ar, ad), FG_TD(F32, FG_AWAY, br, bd)}, .out = {                     \
      FG_TD(F32, FG_NORMAL, yr, yd)                                                                \
    }                                                                                              \
  }
#define D(...) (__VA_ARGS__)
#define POINTS(label, k, type, to, n, a, b, ...)                                                   \
  {                                                                                                \
    .name = label, .op = FG_OP_binary, .attrs = {.binary = {FG_BINARY_##k}},                       \
    .in = {FG_T(type, a, n), FG_T(type, b, n)}, .out = {FG_T(to, FG_VALUES(__VA_ARGS__), n)},      \
    .flags = FG_CASE_EXACT | FG_CASE_NO_GRADIENT                                                   \
  }
#define BITS(label, k, type, ...)                                                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_binary, .attrs = {.binary = {FG_BINARY_##k}},                       \
    .in = {FG_T(type, FG_NORMAL, __VA_ARGS__), FG_T(type, FG_NORMAL, __VA_ARGS__)},                \
    .out = {FG_T(type, FG_NORMAL, __VA_ARGS__)}, .flags = FG_CASE_EXACT                            \
  }

static const struct fg_case cases[] = {
    BOTH("add", add, FG_NORMAL, FG_NORMAL, 2, 16, 5, 3),
    BOTH("add odd channels", add, FG_NORMAL, FG_NORMAL, 3, 7, 5, 5),
    BOTH("add empty batch", add, FG_NORMAL, FG_NORMAL, 0, 16, 5, 3),
    BOTH("sub", sub, FG_NORMAL, FG_NORMAL, 2, 8, 5, 3),
    BOTH("mul", mul, FG_AWAY, FG_AWAY, 2, 8, 5, 3),
    BOTH("div", div, FG_NORMAL, FG_AWAY, 2, 3, 17),
    BOTH("pow", pow, FG_POSITIVE, FG_NORMAL, 33),
    {.name = "max",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_max}},
     .in = {FG_R(FG_DISTINCT, 5, 13), FG_R(FG_UNIFORM(-1.003, -0.505), 5, 13)},
     .out = {FG_Y(5, 13)}},
    {.name = "min",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_min}},
     .in = {FG_R(FG_DISTINCT, 5, 13), FG_R(FG_UNIFORM(-1.003, -0.505), 5, 13)},
     .out = {FG_Y(5, 13)}},
    CAST("add a row", add, 2, D(5, 13), 1, D(13), 2, D(5, 13)),
    CAST("add a channel", add, 4, D(2, 16, 3, 3), 3, D(16, 1, 1), 4, D(2, 16, 3, 3)),
    CAST("mul a channel of odd count", mul, 4, D(2, 5, 3, 3), 4, D(1, 5, 1, 1), 4, D(2, 5, 3, 3)),
    CAST("mul by a scalar", mul, 3, D(2, 5, 7), 0, D(0), 3, D(2, 5, 7)),
    CAST("a scalar less a tensor", sub, 0, D(0), 2, D(3, 7), 2, D(3, 7)),
    CAST("both ways at once", add, 3, D(4, 1, 5), 3, D(1, 3, 1), 3, D(4, 3, 5)),
    CAST("lower rank first", div, 1, D(7), 3, D(2, 3, 7), 3, D(2, 3, 7)),
    CAST("a gate of squeeze and excite", mul, 4, D(2, 8, 5, 5), 4, D(2, 8, 1, 1), 4, D(2, 8, 5, 5)),
    CAST("broadcast over an empty axis", mul, 2, D(0, 4), 1, D(4), 2, D(0, 4)),
    CAST("rank 8", add, 8, D(1, 2, 1, 2, 1, 2, 1, 3), 8, D(2, 1, 2, 1, 2, 1, 2, 1), 8,
         D(2, 2, 2, 2, 2, 2, 2, 3)),
    BITS("add int64", add, I64, 17),
    BITS("mul int64", mul, I64, 17),
    BITS("sub int32", sub, I32, 17),
    BITS("max int64", max, I64, 3, 5),
    BITS("min int32", min, I32, 3, 5),
    POINTS("int64 division truncates", div, I64, I64, 6, LIST(7, -7, 7, -7, 0, -0x1p63),
           LIST(2, 2, -2, -2, 3, 1), 3, -3, -3, 3, 0, -0x1p63),
    POINTS("int32 division truncates", div, I32, I32, 4, LIST(7, -7, 7, -2147483647.0),
           LIST(2, 2, -2, 2), 3, -3, -3, -1073741823.0),
    POINTS("least int64 over -1", div, I64, I64, 2, LIST(-0x1p63, 5), LIST(-1, -1), -0x1p63, -5),
    POINTS("int64 power", pow, I64, I64, 6, LIST(2, -3, 5, -1, 1, 2), LIST(10, 3, 0, -3, -5, -1),
           1024, -27, 1, -1, 1, 0),
    POINTS("int64 remainder with a's sign", fmod, I64, I64, 6, LIST(7, -7, 7, -7, -0x1p63, 6),
           LIST(3, 3, -3, -3, -1, 3), 1, -1, 1, -1, 0, 0),
    POINTS("int64 remainder with b's sign", mod, I64, I64, 6, LIST(7, -7, 7, -7, -0x1p63, 6),
           LIST(3, 3, -3, -3, -1, 3), 1, 2, -2, -1, 0, 0),
    POINTS("remainder of floats", fmod, F32, F32, 6, LIST(5.5, -5.5, 5.5, 1, NAN, -4),
           LIST(2, 2, -2, 0, 1, 2), 1.5, -1.5, 1.5, NAN, NAN, -0.0),
    POINTS("bytes wrap", add, U8, U8, 3, LIST(250, 1, 255), LIST(10, 2, 1), 4, 3, 0),
    POINTS("sub int8", sub, I8, I8, 3, LIST(-100, 1, 5), LIST(100, 2, -1), 56, -1, 6),
    POINTS("max int16", max, I16, I16, 3, LIST(-100, 1, 5), LIST(100, -2, -1), 100, 1, 5),
    POINTS("bits and", bit_and, I64, I64, 4, LIST(12, -1, 7, 0), LIST(10, 77, 8, 5), 8, 77, 0, 0),
    POINTS("bits or", bit_or, I32, I32, 4, LIST(12, -1, 7, 0), LIST(10, 77, 8, 5), 14, -1, 15, 5),
    POINTS("bits xor", bit_xor, U8, U8, 4, LIST(12, 255, 7, 0), LIST(10, 77, 8, 5), 6, 178, 15, 5),
    POINTS("logical and", bit_and, BOOL, BOOL, 4, LIST(0, 0, 1, 1), LIST(0, 1, 0, 1), 0, 0, 0, 1),
    POINTS("logical or", bit_or, BOOL, BOOL, 4, LIST(0, 0, 1, 1), LIST(0, 1, 0, 1), 0, 1, 1, 1),
    POINTS("logical xor", bit_xor, BOOL, BOOL, 4, LIST(0, 0, 1, 1), LIST(0, 1, 0, 1), 0, 1, 1, 0),
    POINTS("equal of truths", equal, BOOL, BOOL, 4, LIST(0, 0, 1, 1), LIST(0, 1, 0, 1), 1, 0, 0, 1),
    POINTS("shift left", shift_left, U8, U8, 4, LIST(16, 4, 255, 1), LIST(1, 2, 4, 8), 32, 16, 240,
           0),
    POINTS("shift right", shift_right, U8, U8, 4, LIST(16, 4, 255, 1), LIST(1, 2, 4, 8), 8, 1, 15,
           0),
    POINTS("shift int64 far and back", shift_left, I64, I64, 4, LIST(1, 1, 1, 3),
           LIST(40, 64, -1, 1), 0x1p40, 0, 0, 6),
    POINTS("shift right repeats the sign", shift_right, I64, I64, 2, LIST(-8, 8), LIST(1, 1), -4,
           4),
    BOTH("fmod", fmod, FG_UNIFORM(3.1, 3.9), FG_UNIFORM(1.1, 1.5), 3, 17),
    POINTS("max propagates NaN", max, F32, F32, 4, LIST(NAN, 1, NAN, 2), LIST(1, NAN, NAN, 1), NAN,
           NAN, NAN, 2),
    POINTS("min propagates NaN", min, F32, F32, 4, LIST(NAN, 1, NAN, 2), LIST(1, NAN, NAN, 1), NAN,
           NAN, NAN, 1),
    POINTS("equal", equal, F32, BOOL, 4, LIST(1, 2, NAN, 0), LIST(1, 3, NAN, -0.0), 1, 0, 0, 1),
    POINTS("greater", greater, F32, BOOL, 4, LIST(1, 2, NAN, 3), LIST(1, 1, 0, 4), 0, 1, 0, 0),
    POINTS("less", less, F32, BOOL, 4, LIST(1, 2, NAN, 3), LIST(1, 1, 0, 4), 0, 0, 0, 1),
    POINTS("equal int64", equal, I64, BOOL, 3, LIST(1, 2, -3), LIST(1, 3, -3), 1, 0, 1),
    POINTS("less int32", less, I32, BOOL, 3, LIST(1, 2, -3), LIST(1, 3, -4), 0, 1, 0),
    {.name = "greater over a broadcast",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_greater}},
     .in = {FG_R(FG_NORMAL, 5, 13), FG_R(FG_NORMAL, 13)},
     .out = {FG_T(BOOL, FG_NORMAL, 5, 13)},
     .flags = FG_CASE_EXACT},
    {.name = "where",
     .op = FG_OP_where,
     .in = {FG_T(BOOL, FG_NORMAL, 5, 13), FG_R(FG_NORMAL, 5, 13), FG_R(FG_NORMAL, 5, 13)},
     .out = {FG_Y(5, 13)},
     .flags = FG_CASE_EXACT},
    {.name = "where broadcasts all three",
     .op = FG_OP_where,
     .in = {FG_T(BOOL, FG_NORMAL, 3, 1, 1), FG_R(FG_NORMAL, 4, 1), FG_SCALAR(F32, FG_AWAY)},
     .out = {FG_Y(3, 4, 1)},
     .flags = FG_CASE_EXACT},
    {.name = "where of int64",
     .op = FG_OP_where,
     .in = {FG_T(BOOL, FG_NORMAL, 13), FG_T(I64, FG_NORMAL, 13), FG_T(I64, FG_NORMAL, 13)},
     .out = {FG_T(I64, FG_NORMAL, 13)},
     .flags = FG_CASE_EXACT},
    {.name = "where of nothing",
     .op = FG_OP_where,
     .in = {FG_T(BOOL, FG_NORMAL, 0, 3), FG_R(FG_NORMAL, 0, 3), FG_R(FG_NORMAL, 1, 3)},
     .out = {FG_Y(0, 3)},
     .flags = FG_CASE_EXACT},
};
FG_TABLE(binary);
