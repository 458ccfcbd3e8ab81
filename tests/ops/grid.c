/* grid_sample, grid_sample_grad: modes, what lies outside, corners aligned or not, two and three
 * axes, places that are no numbers. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define LIST(...) FG_VALUES(__VA_ARGS__)
#define SAMPLE(label, m, o, align_, rank, x, gr, y)                                                \
  {                                                                                                \
    .name = label, .op = FG_OP_grid_sample,                                                        \
    .attrs = {.grid = {FG_GRID_##m, FG_GRID_##o, align_, {0}}},                                    \
    .in = {FG_TD(F32, FG_NORMAL, rank, x), FG_TD(F32, FG_UNIFORM(-1.2, 1.2), rank, gr)}, .out = {  \
      FG_TD(F32, FG_NORMAL, rank, y)                                                               \
    }                                                                                              \
  }
#define GRAD(label, m, o, align_, rank, x, gr, y)                                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_grid_sample_grad,                                                   \
    .attrs = {.grid = {FG_GRID_##m, FG_GRID_##o, align_, {0}}},                                    \
    .in = {FG_TD(F32, FG_NORMAL, rank, y), FG_TD(F32, FG_NORMAL, rank, x),                         \
           FG_TD(F32, FG_UNIFORM(-1.2, 1.2), rank, gr)},                                           \
    .out = {FG_TD(F32, FG_NORMAL, rank, x), FG_TD(F32, FG_NORMAL, rank, gr)}, .tolerance = 1e-4,   \
    .flags = FG_CASE_SPARSE                                                                        \
  }
/* One row of four, at three places of the row's middle line. */
#define AT(label, m, o, align_, places, ...)                                                       \
  {                                                                                                \
    .name = label, .op = FG_OP_grid_sample,                                                        \
    .attrs = {.grid = {FG_GRID_##m, FG_GRID_##o, align_, {0}}},                                    \
    .in = {FG_R(LIST(1, 2, 4, 8), 1, 1, 1, 4), FG_R(places, 1, 1, 3, 2)},                          \
    .out = {FG_T(F32, FG_VALUES(__VA_ARGS__), 1, 1, 1, 3)},                                        \
    .flags = FG_CASE_NO_GRADIENT | FG_CASE_SPARSE                                                  \
  }
#define SLOPE_AT(label, m, o, align_, places, dx, dgrid)                                           \
  {                                                                                                \
    .name = label, .op = FG_OP_grid_sample_grad,                                                   \
    .attrs = {.grid = {FG_GRID_##m, FG_GRID_##o, align_, {0}}},                                    \
    .in = {FG_R(LIST(1, 1, 1), 1, 1, 1, 3), FG_R(LIST(1, 2, 4, 8), 1, 1, 1, 4),                    \
           FG_R(places, 1, 1, 3, 2)},                                                              \
    .out = {FG_T(F32, dx, 1, 1, 1, 4), FG_T(F32, dgrid, 1, 1, 3, 2)}, .flags = FG_CASE_SPARSE      \
  }

static const struct fg_case cases[] = {
    SAMPLE("grid linear, zeros", linear, zeros, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid linear, zeros, aligned", linear, zeros, true, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid linear, border", linear, border, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid linear, border, aligned", linear, border, true, 4, D(1, 3, 5, 7), D(1, 4, 6, 2),
           D(1, 3, 4, 6)),
    SAMPLE("grid linear, reflection", linear, reflection, false, 4, D(2, 3, 2, 3), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid linear, reflection, aligned", linear, reflection, true, 4, D(2, 3, 2, 3),
           D(2, 4, 6, 2), D(2, 3, 4, 6)),
    SAMPLE("grid nearest, zeros", nearest, zeros, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid nearest, border, aligned", nearest, border, true, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid nearest, reflection", nearest, reflection, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid cubic, zeros", cubic, zeros, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid cubic, border", cubic, border, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
           D(2, 3, 4, 6)),
    SAMPLE("grid cubic, reflection, aligned", cubic, reflection, true, 4, D(2, 3, 5, 7),
           D(2, 4, 6, 2), D(2, 3, 4, 6)),
    SAMPLE("grid over three axes", linear, zeros, false, 5, D(2, 2, 3, 4, 5), D(2, 2, 3, 4, 3),
           D(2, 2, 2, 3, 4)),
    SAMPLE("grid over three axes, reflection", linear, reflection, true, 5, D(1, 2, 3, 4, 5),
           D(1, 2, 3, 4, 3), D(1, 2, 2, 3, 4)),
    SAMPLE("grid nearest over three axes", nearest, border, false, 5, D(2, 2, 3, 4, 5),
           D(2, 2, 3, 4, 3), D(2, 2, 2, 3, 4)),
    SAMPLE("grid cubic over three axes", cubic, border, false, 5, D(1, 2, 3, 4, 5),
           D(1, 2, 3, 2, 3), D(1, 2, 2, 3, 2)),
    SAMPLE("grid of many channels and places", linear, border, false, 4, D(1, 19, 33, 41),
           D(1, 29, 31, 2), D(1, 19, 29, 31)),
    SAMPLE("grid of an empty batch", linear, zeros, false, 4, D(0, 3, 5, 7), D(0, 4, 6, 2),
           D(0, 3, 4, 6)),
    GRAD("grid gradient, linear, zeros", linear, zeros, false, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
         D(2, 3, 4, 6)),
    GRAD("grid gradient, linear, reflection", linear, reflection, true, 4, D(2, 3, 5, 7),
         D(2, 4, 6, 2), D(2, 3, 4, 6)),
    GRAD("grid gradient, cubic, border", cubic, border, true, 4, D(2, 3, 5, 7), D(2, 4, 6, 2),
         D(2, 3, 4, 6)),
    GRAD("grid gradient over three axes", linear, border, false, 5, D(2, 2, 3, 4, 5),
         D(2, 2, 3, 4, 3), D(2, 2, 2, 3, 4)),
    GRAD("grid gradient of many places", linear, zeros, false, 4, D(1, 19, 13, 21), D(1, 29, 31, 2),
         D(1, 19, 29, 31)),
    {.name = "grid gradient to x alone",
     .op = FG_OP_grid_sample_grad,
     .attrs = {.grid = {FG_GRID_linear, FG_GRID_zeros, false, {0}}},
     .in = {FG_R(FG_NORMAL, 2, 3, 4, 6), {.type = FG_NONE}, FG_R(FG_UNIFORM(-1, 1), 2, 4, 6, 2)},
     .out = {FG_Y(2, 3, 5, 7)},
     .flags = FG_CASE_SPARSE},
    {.name = "grid gradient, nearest, border",
     .op = FG_OP_grid_sample_grad,
     .attrs = {.grid = {FG_GRID_nearest, FG_GRID_border, false, {0}}},
     .in = {FG_R(FG_NORMAL, 2, 3, 4, 6), {.type = FG_NONE}, FG_R(FG_UNIFORM(-2, 2), 2, 4, 6, 2)},
     .out = {FG_Y(2, 3, 5, 7)},
     .flags = FG_CASE_SPARSE},
    AT("grid linear at points", linear, zeros, true, LIST(-1, 0, 0, 0, 1, 0), 1, 3, 8),
    AT("grid linear beyond", linear, zeros, false, LIST(-1, 0, -2, 0, 1, 0), 0.5, 0, 4),
    AT("grid border beyond", linear, border, false, LIST(-1, 0, -9, 0, 5, 3), 1, 1, 8),
    AT("grid mirrored, aligned", linear, reflection, true, LIST(-2, 0, 3, 0, 1.5, 0), 3, 1, 5),
    AT("grid mirrored", linear, reflection, false, LIST(-1.5, 0, 3, 0, 1.5, 0), 1.5, 1, 6),
    AT("grid nearest, half to even", nearest, zeros, false, LIST(-0.5, 0, 0, 0, 0.5, 0), 1, 4, 4),
    AT("grid at no number", linear, zeros, false, LIST(NAN, 0, INFINITY, 0, 0.25, 0), NAN, 0, 4),
    AT("grid mirrored at no number", linear, reflection, false, LIST(NAN, 0, INFINITY, 0, 0.25, 0),
       NAN, NAN, 4),
    SLOPE_AT("grid slope to the right of an element", linear, zeros, true, LIST(-1, 0, 0, 0, 1, 0),
             LIST(1, 0.5, 0.5, 1), LIST(1.5, 0, 3, 0, -12, 0)),
    SLOPE_AT("grid slope at the border is 0", linear, border, true, LIST(-1, 0, 0, 0, 1, 0),
             LIST(1, 0.5, 0.5, 1), LIST(0, 0, 3, 0, 0, 0)),
    SLOPE_AT("grid slope turns where mirrored", linear, reflection, false,
             LIST(-1.5, 0, 0.5, 0, 1.5, 0), LIST(0.5, 0.5, 1, 1), LIST(-2, 0, 8, 0, -8, 0)),
};
FG_TABLE(grid);
