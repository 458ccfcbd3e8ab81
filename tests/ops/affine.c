/* affine, batch_norm. */
#include "harness.h"

/* An activation is what fusion adds: there is no gradient through it. */
#define AFFINE(label, ax, scale, shift, act, flags_, ...)                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_affine, .attrs = {.affine = {ax, {FG_UNARY_##act, 0, 0}}},          \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), scale, shift}, .out = {FG_Y(__VA_ARGS__)},                \
    .flags = flags_                                                                                \
  }
#define C(n) FG_R(FG_AWAY, n)
#define NONE                                                                                       \
  { 0 }

static const struct fg_case cases[] = {
    AFFINE("affine", 1, C(16), C(16), identity, 0, 2, 16, 5, 3),
    AFFINE("affine with relu", 1, C(16), C(16), relu, FG_CASE_NO_GRADIENT, 2, 16, 5, 3),
    AFFINE("affine of 3 channels", 1, C(3), C(3), identity, 0, 2, 3, 7, 7),
    AFFINE("affine, scale alone", 1, C(8), NONE, identity, 0, 2, 8, 4, 4),
    AFFINE("affine, shift alone", 1, NONE, C(8), identity, 0, 2, 8, 4, 4),
    AFFINE("affine, neither", 1, NONE, NONE, sigmoid, FG_CASE_NO_GRADIENT, 2, 8, 4, 4),
    AFFINE("affine of a row", 1, C(13), C(13), identity, 0, 5, 13),
    AFFINE("affine of the last axis", 2, C(7), C(7), identity, 0, 2, 3, 7),
    AFFINE("affine of the first axis", 0, C(4), C(4), identity, 0, 4, 9),
    AFFINE("affine of an empty batch", 1, C(8), C(8), identity, 0, 0, 8, 4, 4),
    {.name = "affine with constant scale",
     .op = FG_OP_affine,
     .attrs = {.affine = {1, {FG_UNARY_identity, 0, 0}}},
     .in = {FG_R(FG_UNIT, 2, 3, 8, 8), C(3), C(3)},
     .out = {FG_Y(2, 3, 8, 8)},
     .constant = 6},
    {.name = "affine at points",
     .op = FG_OP_affine,
     .attrs = {.affine = {1, {FG_UNARY_relu, 0, 0}}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 2, 2), FG_R(FG_VALUES(2, -1), 2), FG_R(FG_VALUES(1, 3), 2)},
     .out = {FG_T(F32, FG_VALUES(3, 1, 7, 0), 2, 2)},
     .flags = FG_CASE_NO_GRADIENT},
#define NORM(label, eps, ch, ...)                                                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_batch_norm, .attrs = {.batch_norm = {.epsilon = eps}},              \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), C(ch), C(ch), C(ch), FG_R(FG_POSITIVE, ch)},              \
    .out = {FG_Y(__VA_ARGS__)}, .constant = 30                                                     \
  }
    NORM("batch_norm", 1e-5, 16, 2, 16, 5, 3),
    NORM("batch_norm of 5 channels", 1e-3, 5, 3, 5, 4, 4),
    NORM("batch_norm of a matrix", 1e-5, 9, 4, 9),
    NORM("batch_norm of an empty batch", 1e-5, 16, 0, 16, 5, 3),
    {.name = "batch_norm at points",
     .op = FG_OP_batch_norm,
     .attrs = {.batch_norm = {.epsilon = 0.25}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 2, 2), FG_R(FG_VALUES(2, 3), 2), FG_R(FG_VALUES(1, 0), 2),
            FG_R(FG_VALUES(1, 2), 2), FG_R(FG_VALUES(2, 3.75), 2)},
     .out = {FG_T(F32, FG_VALUES(1, 0, 3.66666667, 3), 2, 2)}},
};
FG_TABLE(affine);
