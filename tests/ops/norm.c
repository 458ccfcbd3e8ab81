/* layer_norm, layer_norm_grad. */
#include "harness.h"

#define NORM(label, ax, row, stat, ...)                                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_layer_norm, .attrs = {.layer_norm = {ax, 1e-5}},                    \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), row, row}, .out = {                                       \
      FG_Y(__VA_ARGS__),                                                                           \
      stat,                                                                                        \
      stat                                                                                         \
    }                                                                                              \
  }
#define GRAD(label, ax, row, stat, ...)                                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_layer_norm_grad, .attrs = {.layer_norm = {ax, 1e-5}},               \
    .in = {FG_R(FG_NORMAL, __VA_ARGS__), FG_R(FG_NORMAL, __VA_ARGS__), row, stat, stat},           \
    .out = {FG_Y(__VA_ARGS__), row, row}, .tolerance = 1e-4                                        \
  }
#define P(...) FG_R(FG_POSITIVE, __VA_ARGS__)
#define NONE                                                                                       \
  { 0 }

static const struct fg_case cases[] = {
    NORM("layer_norm", 2, P(33), P(2, 5, 1), 2, 5, 33),
    NORM("layer_norm of two axes", 1, P(5, 7), P(3, 1, 1), 3, 5, 7),
    NORM("layer_norm of all", 0, P(3, 9), P(1, 1), 3, 9),
    NORM("layer_norm of an empty batch", 1, P(8), P(0, 1), 0, 8),
    {.name = "layer_norm without scale, bias or statistics",
     .op = FG_OP_layer_norm,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 24)},
     .out = {FG_Y(4, 24)}},
    {.name = "layer_norm with scale alone",
     .op = FG_OP_layer_norm,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 24), P(24)},
     .out = {FG_Y(4, 24), P(4, 1), P(4, 1)}},
    {.name = "layer_norm at points",
     .op = FG_OP_layer_norm,
     .attrs = {.layer_norm = {1, 0.75}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4), 1, 4), FG_R(FG_VALUES(1, 1, 2, 2), 4),
            FG_R(FG_VALUES(0, 1, 0, 0), 4)},
     .out = {FG_T(F32, FG_VALUES(-1.06066017, 0.64644661, 0.70710678, 2.12132034), 1, 4),
             FG_T(F32, FG_VALUES(2.5), 1, 1), FG_T(F32, FG_VALUES(0.70710678), 1, 1)}},
    GRAD("layer_norm_grad", 2, P(33), P(2, 5, 1), 2, 5, 33),
    GRAD("layer_norm_grad of two axes", 1, P(5, 7), P(3, 1, 1), 3, 5, 7),
    {.name = "layer_norm_grad of an empty batch",
     .op = FG_OP_layer_norm_grad,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 0, 8), FG_R(FG_NORMAL, 0, 8), P(8), P(0, 1), P(0, 1)},
     .out = {FG_Y(0, 8), FG_T(F32, FG_VALUES(0), 8), FG_T(F32, FG_VALUES(0), 8)}},
    {.name = "layer_norm_grad, dx alone",
     .op = FG_OP_layer_norm_grad,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 24), FG_R(FG_NORMAL, 4, 24), P(24), FG_R(FG_NORMAL, 4, 1), P(4, 1)},
     .out = {FG_Y(4, 24)},
     .tolerance = 1e-4},
    {.name = "layer_norm_grad, dx alone, no scale",
     .op = FG_OP_layer_norm_grad,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 24), FG_R(FG_NORMAL, 4, 24), NONE, FG_R(FG_NORMAL, 4, 1), P(4, 1)},
     .out = {FG_Y(4, 24)},
     .tolerance = 1e-4},
    {.name = "layer_norm_grad, parameters alone",
     .op = FG_OP_layer_norm_grad,
     .attrs = {.layer_norm = {1, 1e-5}},
     .in = {FG_R(FG_NORMAL, 4, 24), FG_R(FG_NORMAL, 4, 24), P(24), FG_R(FG_NORMAL, 4, 1), P(4, 1)},
     .out = {NONE, P(24), P(24)},
     .tolerance = 1e-4},
};
FG_TABLE(norm);
