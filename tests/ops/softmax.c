/* softmax, softmax_grad. */
#include "harness.h"

#define SOFT(label, ax, lg, gen, ...)                                                              \
  {                                                                                                \
    .name = label, .op = FG_OP_softmax, .attrs = {.softmax = {ax, lg}},                            \
    .in = {FG_R(gen, __VA_ARGS__)}, .out = {                                                       \
      FG_Y(__VA_ARGS__)                                                                            \
    }                                                                                              \
  }
#define GRAD(label, ax, lg, gen, ...)                                                              \
  {                                                                                                \
    .name = label, .op = FG_OP_softmax_grad, .attrs = {.softmax = {ax, lg}},                       \
    .in = {FG_R(gen, __VA_ARGS__), FG_R(FG_NORMAL, __VA_ARGS__)}, .out = {                         \
      FG_Y(__VA_ARGS__)                                                                            \
    }                                                                                              \
  }

static const struct fg_case cases[] = {
    SOFT("softmax", 1, false, FG_NORMAL, 5, 13),
    SOFT("softmax of 1000", 1, false, FG_NORMAL, 2, 1000),
    SOFT("softmax of attention", 3, false, FG_NORMAL, 2, 3, 7, 7),
    SOFT("softmax of a middle axis", 1, false, FG_NORMAL, 2, 8, 3, 3),
    SOFT("softmax of the first axis", 0, false, FG_NORMAL, 6, 5),
    SOFT("softmax of an empty batch", 1, false, FG_NORMAL, 0, 5),
    SOFT("softmax far out", 1, false, FG_UNIFORM(990, 999), 3, 9),
    SOFT("log_softmax", 1, true, FG_NORMAL, 5, 13),
    SOFT("log_softmax of a middle axis", 1, true, FG_NORMAL, 2, 8, 3, 3),
    SOFT("log_softmax far out", 1, true, FG_UNIFORM(-999, 999), 3, 9),
    {.name = "softmax at points",
     .op = FG_OP_softmax,
     .attrs = {.softmax = {1, false}},
     .in = {FG_R(FG_VALUES(0, 1, 2), 1, 3)},
     .out = {FG_T(F32, FG_VALUES(0.09003057, 0.24472847, 0.66524096), 1, 3)}},
    {.name = "log_softmax at points",
     .op = FG_OP_softmax,
     .attrs = {.softmax = {1, true}},
     .in = {FG_R(FG_VALUES(0, 1, 2), 1, 3)},
     .out = {FG_T(F32, FG_VALUES(-2.40760596, -1.40760596, -0.40760596), 1, 3)}},
    GRAD("softmax_grad", 1, false, FG_UNIT, 5, 13),
    GRAD("softmax_grad of attention", 3, false, FG_UNIT, 2, 3, 7, 7),
    GRAD("softmax_grad of a middle axis", 1, false, FG_UNIT, 2, 8, 3, 3),
    GRAD("softmax_grad of an empty batch", 1, false, FG_UNIT, 0, 5),
    GRAD("log_softmax_grad", 1, true, FG_UNIFORM(-5, -1), 5, 13),
    GRAD("log_softmax_grad of the first axis", 0, true, FG_UNIFORM(-5, -1), 5, 13),
};
FG_TABLE(softmax);
