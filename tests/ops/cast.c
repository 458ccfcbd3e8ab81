/* cast: truncation, saturation, NaN, bytes over a divisor. */
#include <math.h>

#include "harness.h"

#define CAST(label, from, to, div, gen, ...)                                                       \
  {                                                                                                \
    .name = label, .op = FG_OP_cast, .attrs = {.cast = {.divisor = div}},                          \
    .in = {FG_T(from, gen, __VA_ARGS__)}, .out = {FG_T(to, FG_NORMAL, __VA_ARGS__)},               \
    .flags = FG_CASE_EXACT                                                                         \
  }
#define POINTS(label, from, to, n, at, ...)                                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_cast, .in = {FG_T(from, at, n)},                                    \
    .out = {FG_T(to, FG_VALUES(__VA_ARGS__), n)}, .flags = FG_CASE_EXACT                           \
  }
#define LIST(...) FG_VALUES(__VA_ARGS__)

static const struct fg_case cases[] = {
    {.name = "bytes over 255",
     .op = FG_OP_cast,
     .attrs = {.cast = {.divisor = 255}},
     .in = {FG_T(U8, FG_NORMAL, 2, 3, 9, 9)},
     .out = {FG_Y(2, 3, 9, 9)},
     .tolerance = 6e-8},
    CAST("bytes to float", U8, F32, 0, FG_NORMAL, 77),
    CAST("bytes of an empty batch", U8, F32, 255, FG_NORMAL, 0, 3, 9, 9),
    CAST("int64 to float", I64, F32, 0, FG_INTEGER(-1000, 1000), 33),
    CAST("int64 to int32", I64, I32, 0, FG_INTEGER(-1000, 1000), 33),
    CAST("int32 to int64", I32, I64, 0, FG_NORMAL, 33),
    CAST("int64 keeps its bits", I64, I64, 0, FG_NORMAL, 33),
    CAST("bool to float", BOOL, F32, 0, FG_NORMAL, 33),
    CAST("bool to int64", BOOL, I64, 0, FG_NORMAL, 33),
    CAST("float to float", F32, F32, 0, FG_NORMAL, 33),
    CAST("float to bool", F32, BOOL, 0, FG_INTEGER(-1, 1), 33),
    CAST("float to int64", F32, I64, 0, FG_UNIFORM(-99, 99), 33),
    POINTS("float to int32 saturates", F32, I32, 7, LIST(1.9, -1.9, 0.5, NAN, 3e9, -3e9, INFINITY),
           1, -1, 0, 0, 2147483647.0, -2147483648.0, 2147483647.0),
    POINTS("float to bytes saturates", F32, U8, 5, LIST(-1, 255.9, 256, 3.7, NAN), 0, 255, 255, 3,
           0),
    POINTS("float to int8 saturates", F32, I8, 4, LIST(-200, 127.5, 200, -3.7), -128, 127, 127, -3),
    POINTS("float to bool of NaN", F32, BOOL, 4, LIST(0, -0.0, NAN, 0.25), 0, 0, 1, 1),
    POINTS("int64 to bool", I64, BOOL, 3, LIST(0, 256, -1), 0, 1, 1),
};
FG_TABLE(cast);
