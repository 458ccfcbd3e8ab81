/* batch_norm_train, batch_norm_train_grad, descend, average, all_reduce, augment. */
#include <math.h>

#include "harness.h"

#define NORM(label, c, ...)                                                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_batch_norm_train, .attrs = {.batch_norm = {.epsilon = 1e-5}},       \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_POSITIVE, c), FG_R(FG_NORMAL, c)}, .out = {       \
      FG_Y(__VA_ARGS__),                                                                           \
      FG_Y(c),                                                                                     \
      FG_Y(c)                                                                                      \
    }                                                                                              \
  }
#define GRAD(label, c, ...)                                                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_batch_norm_train_grad, .attrs = {.batch_norm = {.epsilon = 1e-5}},  \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_POSITIVE, c),       \
           FG_R(FG_NORMAL, c), FG_R(FG_POSITIVE, c)},                                              \
    .out = {FG_Y(__VA_ARGS__), FG_Y(c), FG_Y(c)}, .tolerance = 1e-4                                \
  }
#define NONE                                                                                       \
  { 0 }
/* rate, momentum or beta1, beta2, epsilon, decay, step */
#define RATES(...) FG_T(F64, FG_VALUES(__VA_ARGS__), FG_RATE_COUNT)
#define DESCEND(label, k, nesterov, decays, m, v, rates, factor)                                   \
  {                                                                                                \
    .name = label, .op = FG_OP_descend, .attrs = {.descend = {FG_DESCEND_##k, nesterov, decays}},  \
    .in = {FG_R(FG_NORMAL, 7, 9, 3), FG_R(FG_NORMAL, 7, 9, 3), m, v, rates, factor},               \
    .written = 1 | (k##_M) | (k##_V), .tolerance = 1e-5                                            \
  }
/* seed and stream */
#define PARAMS FG_T(F64, FG_VALUES(0, 0, 0, 0, 0, 0, 12345678901.0, 3), FG_PARAM_COUNT)
#define M FG_R(FG_NORMAL, 7, 9, 3)
#define V FG_R(FG_POSITIVE, 7, 9, 3)
#define sgd_M 4
#define sgd_V 0
#define adam_M 4
#define adam_V 8
#define adamw_M 4
#define adamw_V 8

static const struct fg_case cases[] = {
    NORM("batch_norm_train", 16, 4, 16, 5, 7),
    NORM("batch_norm_train, odd channels", 5, 3, 5, 4, 3),
    NORM("batch_norm_train, long planes", 32, 2, 32, 33, 31),
    NORM("batch_norm_train of rows", 13, 9, 13),
    NORM("batch_norm_train over three axes", 3, 2, 3, 2, 3, 4),
    {.name = "batch_norm_train alone",
     .op = FG_OP_batch_norm_train,
     .attrs = {.batch_norm = {.epsilon = 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 6, 3, 3)},
     .out = {FG_Y(4, 6, 3, 3)}},
    {.name = "batch_norm_train at points",
     .op = FG_OP_batch_norm_train,
     .attrs = {.batch_norm = {.epsilon = 0.75}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 4, 1), FG_R(FG_VALUES(2), 1), FG_R(FG_VALUES(1), 1)},
     .out = {FG_T(F32, FG_VALUES(-1.12132034, 0.29289322, 1.70710678, 3.12132034), 4, 1),
             FG_T(F32, FG_VALUES(2.5), 1), FG_T(F32, FG_VALUES(1.25), 1)}},
    GRAD("batch_norm_train_grad", 16, 4, 16, 5, 7),
    GRAD("batch_norm_train_grad, odd channels", 5, 3, 5, 4, 3),
    GRAD("batch_norm_train_grad, long planes", 32, 2, 32, 33, 31),
    GRAD("batch_norm_train_grad of rows", 13, 9, 13),
    {.name = "batch_norm_train_grad, dx alone, no scale",
     .op = FG_OP_batch_norm_train_grad,
     .attrs = {.batch_norm = {.epsilon = 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 6, 3, 3), FG_R(FG_NORMAL, 4, 6, 3, 3), NONE, FG_R(FG_NORMAL, 6),
            FG_R(FG_POSITIVE, 6)},
     .out = {FG_Y(4, 6, 3, 3)},
     .tolerance = 1e-4},
    {.name = "batch_norm_train_grad, parameters alone",
     .op = FG_OP_batch_norm_train_grad,
     .attrs = {.batch_norm = {.epsilon = 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 6, 3, 3), FG_R(FG_NORMAL, 4, 6, 3, 3), FG_R(FG_POSITIVE, 6),
            FG_R(FG_NORMAL, 6), FG_R(FG_POSITIVE, 6)},
     .out = {NONE, FG_Y(6), FG_Y(6)},
     .tolerance = 1e-4},
    {.name = "descend, sgd alone",
     .op = FG_OP_descend,
     .attrs = {.descend = {FG_DESCEND_sgd, false, true}},
     .in = {M, M, NONE, NONE, RATES(0.1, 0.9, 0, 0, 0.01, 3)},
     .written = 1},
    DESCEND("descend, sgd, the first step", sgd, false, true, M, NONE,
            RATES(0.1, 0.9, 0, 0, 0.01, 1), NONE),
    DESCEND("descend, sgd with momentum", sgd, false, true, M, NONE, RATES(0.1, 0.9, 0, 0, 0.01, 2),
            NONE),
    DESCEND("descend, sgd of Nesterov, clipped", sgd, true, false, M, NONE,
            RATES(0.1, 0.9, 0, 0, 0.01, 7), FG_R(FG_VALUES(0.25), 1)),
    DESCEND("descend, adam, the first step", adam, false, true, M, V,
            RATES(0.01, 0.9, 0.999, 1e-8, 0.1, 1), NONE),
    DESCEND("descend, adam", adam, false, false, M, V, RATES(0.01, 0.9, 0.999, 1e-8, 0.1, 9),
            FG_R(FG_VALUES(0.5), 1)),
    DESCEND("descend, adamw", adamw, false, true, M, V, RATES(0.01, 0.9, 0.999, 1e-8, 0.1, 4),
            NONE),
    DESCEND("descend, nothing where the factor is infinite", sgd, false, true, M, NONE,
            RATES(0.1, 0.9, 0, 0, 0.01, 2), FG_R(FG_VALUES(INFINITY), 1)),
    {.name = "descend, adam at points",
     .op = FG_OP_descend,
     .attrs = {.descend = {FG_DESCEND_adam, false, false}},
     /* The first step of Adam is the learning rate long, whatever the gradient. */
     .in = {FG_R(FG_VALUES(1, 1), 2), FG_R(FG_VALUES(1e-3, -50), 2), FG_R(FG_VALUES(0), 2),
            FG_R(FG_VALUES(0), 2), RATES(0.5, 0.9, 0.999, 0, 0, 1)},
     .written = 13},
    {.name = "average",
     .op = FG_OP_average,
     .attrs = {.average = {0.1, 1.25}},
     .in = {FG_R(FG_NORMAL, 5, 13), FG_R(FG_NORMAL, 5, 13)},
     .written = 1},
    {.name = "augment, images moved and mirrored",
     .op = FG_OP_augment,
     .attrs = {.augment = {2, 2, true}},
     .in = {FG_T(U8, FG_INTEGER(1, 255), 7, 3, 9, 11), FG_T(I64, FG_VALUES(6, 0, 3, 3, 5), 5),
            PARAMS},
     .out = {FG_T(U8, FG_NORMAL, 5, 3, 9, 11)},
     .flags = FG_CASE_EXACT},
    {.name = "augment, channels last, moved",
     .op = FG_OP_augment,
     .attrs = {.augment = {1, 4, false}},
     .in = {FG_R(FG_NORMAL, 7, 9, 11, 3), FG_T(I64, FG_VALUES(6, 0, 3, 3, 5), 5), PARAMS},
     .out = {FG_Y(5, 9, 11, 3)},
     .flags = FG_CASE_EXACT},
    {.name = "augment, samples as they are",
     .op = FG_OP_augment,
     .in = {FG_R(FG_NORMAL, 7, 301), FG_T(I64, FG_VALUES(6, 0, 3, 3, 5), 5), PARAMS},
     .out = {FG_Y(5, 301)},
     .flags = FG_CASE_EXACT},
    {.name = "all_reduce of one rank",
     .op = FG_OP_all_reduce,
     .in = {FG_R(FG_NORMAL, 5, 13)},
     .out = {FG_Y(5, 13)}},
};
FG_TABLE(train);
