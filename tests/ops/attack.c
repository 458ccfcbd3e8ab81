/* perturb, step, quantize, conv_grad_input_step. Besides agreement with the oracle, what
 * a step promises exactly (the ball in real arithmetic, the box) is checked on every backend. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
/* eps, alpha, decay, lo, hi, radius, seed, stream */
#define PARAMS(...) FG_T(F64, FG_VALUES(__VA_ARGS__), FG_PARAM_COUNT)
#define USUAL PARAMS(0.03125, 0.0078125, 0.9, 0, 1, 0.03125, 12345678901.0, 3)
#define TENTH PARAMS(0.1, 0.1, 1, 0.05, 0.9, 0.1, 7, 0)
#define ROUND PARAMS(0.1, 0.1, 1, 0, 1, 0.1, 7, 0)
#define ROWS                                                                                       \
  FG_T(F64,                                                                                        \
       FG_VALUES(0.1, 0.1, 0.5, 0, 1, 0.1, 7, 0, 0.02, 0.01, 0.9, 0, 1, 0.1, 7, 0, 0.3, 0.2, 0.1,  \
                 0.2, 0.8, 0.1, 7, 0),                                                             \
       3, FG_PARAM_COUNT)
#define X0 FG_R(FG_UNIT, 3, 5, 4, 3)
#define NEAR FG_R(FG_UNIT, 3, 5, 4, 3)
#define GRADIENT FG_R(FG_AWAY, 3, 5, 4, 3)
#define MAP FG_R(FG_UNIFORM(0.01, 0.05), 5, 4, 3)
#define MASK FG_R(FG_INTEGER(0, 1), 5, 4, 3)
#define Y FG_Y(3, 5, 4, 3)
#define STATS FG_Y(3, 3)
#define NONE                                                                                       \
  { 0 }

enum { STEP_X0, STEP_X, STEP_G, STEP_M, STEP_MAP, STEP_MASK, STEP_PARAMS };

/* a - b is at most c in real arithmetic: long double holds the difference of two floats of like
 * size, and of two doubles within the box. */
static const char *keeps_to_ball_and_box(const struct fg_call *call) {
  bool fused = call->op == FG_OP_conv_grad_input_step;
  const struct fg_tensor *x0 = &call->in[fused ? 2 : STEP_X0], *y = &call->out[0];
  const struct fg_tensor *map = &call->in[fused ? 4 : STEP_MAP];
  const double *p = call->in[STEP_PARAMS].data;
  bool project = fused ? call->attrs->conv_step.step.project : call->attrs->step.project;
  int64_t n = fg_count(y), features = n && y->dim[0] ? n / y->dim[0] : 1;
  for (int64_t i = 0; i < n; i++) {
    long double from = fg_tensor_real(x0, 0, i), to = fg_tensor_real(y, 0, i);
    long double eps = map->type != FG_NONE ? fg_tensor_real(map, 0, i % features) : p[FG_PARAM_eps];
    if (project && !(to - from <= eps && from - to <= eps))
      return "x' leaves the ball";
    if (!(to >= p[FG_PARAM_lo] && to <= p[FG_PARAM_hi]))
      return "x' leaves the box";
  }
  return NULL;
}

/* Each sample keeps to its own eps and box. */
static const char *rows_are_used(const struct fg_call *call) {
  const struct fg_tensor *x0 = &call->in[STEP_X0], *y = &call->out[0];
  int64_t features = fg_count(y) / y->dim[0];
  for (int64_t i = 0; i < fg_count(y); i++) {
    const double *p = (const double *)call->in[STEP_PARAMS].data + i / features * FG_PARAM_COUNT;
    double from = fg_tensor_real(x0, 0, i), to = fg_tensor_real(y, 0, i);
    if (!(to >= p[FG_PARAM_lo] && to <= p[FG_PARAM_hi]))
      return "x' leaves its box";
    if (from >= p[FG_PARAM_lo] && from <= p[FG_PARAM_hi] && !(fabs(to - from) <= p[FG_PARAM_eps]))
      return "x' leaves its ball";
  }
  return NULL;
}

/* The lengths that project promises, to rounding; the box exactly. */
static const char *keeps_to_round_ball(const struct fg_call *call) {
  const struct fg_tensor *x0 = &call->in[STEP_X0], *y = &call->out[0];
  const double *p = call->in[STEP_PARAMS].data;
  int64_t features = fg_count(y) / y->dim[0];
  for (int64_t s = 0; s < y->dim[0]; s++) {
    double sum = 0, squares = 0;
    for (int64_t i = s * features; i < (s + 1) * features; i++) {
      double to = fg_tensor_real(y, 0, i), d = to - fg_tensor_real(x0, 0, i);
      sum += fabs(d);
      squares += d * d;
      if (!(to >= p[FG_PARAM_lo] && to <= p[FG_PARAM_hi]))
        return "x' leaves the box";
    }
    double length = call->attrs->step.norm == FG_NORM_l2 ? sqrt(squares) : sum;
    if (!(length <= p[FG_PARAM_eps] * (1 + 1e-5)))
      return "x' leaves the ball";
  }
  return NULL;
}

/* Every byte is within eps of x0 up to the slack, where the case's x0 allows one. */
static const char *bytes_keep_to_ball(const struct fg_call *call) {
  double eps = ((const double *)call->in[2].data)[FG_PARAM_eps];
  for (int64_t i = 0; i < fg_count(&call->out[0]); i++) {
    double q = (double)fg_tensor_int(&call->out[0], 0, i);
    if (fabs(q / 255 - fg_tensor_real(&call->in[1], 0, i)) > eps + 2e-5 / 255)
      return "a byte leaves the ball";
  }
  return NULL;
}

#define START(label, k, nm, bx, map, mask, params, tol)                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_perturb, .attrs = {.perturb = {FG_START_##k, FG_NORM_##nm, bx}},    \
    .in = {X0, FG_T(I64, FG_VALUES(0, 7, 5000000000.0), 3), map, mask, params}, .out = {Y},        \
    .tolerance = tol                                                                               \
  }
#define STEP(label, nm, pr, m, map, mask, params, m_next, stats, checked)                          \
  {                                                                                                \
    .name = label, .op = FG_OP_step, .attrs = {.step = {FG_NORM_##nm, pr}},                        \
    .in = {X0, NEAR, GRADIENT, m, map, mask, params}, .out = {Y, m_next, stats},                   \
    .tolerance = 1e-6, .check = checked                                                            \
  }
#define SMALL(label, nm, x0, x, g, m, map, mask, params, next, m_next, stats)                      \
  {                                                                                                \
    .name = label, .op = FG_OP_step, .attrs = {.step = {FG_NORM_##nm, true}},                      \
    .in = {FG_R(x0, 1, 4), FG_R(x, 1, 4), FG_R(g, 1, 4), m, map, mask, params},                    \
    .out = {FG_T(F32, next, 1, 4), m_next, stats}, .tolerance = 1e-6                               \
  }
#define LIST(...) FG_VALUES(__VA_ARGS__)
#define WIDE(e, a, d) PARAMS(e, a, d, -INFINITY, INFINITY, 0, 0, 0)
#define CONV_STEP(label, nm, pr, map, mask, grad, stats, checked)                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input_step,                                               \
    .attrs = {.conv_step = {.conv = {.spatial = 2,                                                 \
                                     .group = 1,                                                   \
                                     .stride = {1, 1},                                             \
                                     .dilation = {1, 1},                                           \
                                     .pad_lo = {1, 1},                                             \
                                     .pad_hi = {1, 1}},                                            \
                            .step = {FG_NORM_##nm, pr}}},                                          \
    .in = {FG_R(FG_NORMAL, 2, 16, 8, 7),                                                           \
           FG_R(FG_NORMAL, 16, 3, 3, 3),                                                           \
           FG_R(FG_UNIT, 2, 3, 8, 7),                                                              \
           FG_R(FG_UNIT, 2, 3, 8, 7),                                                              \
           map,                                                                                    \
           mask,                                                                                   \
           ROUND},                                                                                 \
    .out = {FG_Y(2, 3, 8, 7), grad, stats}, .constant = 2, .check = checked,                       \
    .flags = FG_NORM_##nm == FG_NORM_linf ? 0 : FG_CASE_MAY_DECLINE                                \
  }

static const struct fg_case cases[] = {
    START("start uniform", uniform, linf, true, NONE, NONE, USUAL, 1e-6),
    START("start uniform, no box", uniform, linf, false, NONE, NONE, USUAL, 1e-6),
    START("start uniform with map and mask", uniform, linf, true, MAP, MASK, USUAL, 1e-6),
    START("start in L2", uniform, l2, true, NONE, NONE, USUAL, 1e-6),
    START("start in L2 with map and mask", uniform, l2, false, MAP, MASK, USUAL, 1e-6),
    START("start sign", sign, linf, true, NONE, NONE, TENTH, 1e-6),
    START("start sign with map", sign, linf, false, MAP, NONE, TENTH, 1e-6),
    START("start nowhere", none, linf, true, NONE, NONE, TENTH, 1e-6),
    {.name = "start of an empty batch",
     .op = FG_OP_perturb,
     .attrs = {.perturb = {FG_START_uniform, FG_NORM_linf, true}},
     .in = {FG_R(FG_UNIT, 0, 5), FG_T(I64, FG_NORMAL, 0), NONE, NONE, USUAL},
     .out = {FG_Y(0, 5)}},
    {.name = "start, Philox's own vector",
     .op = FG_OP_perturb,
     .attrs = {.perturb = {FG_START_uniform, FG_NORM_linf, false}},
     .in = {FG_R(FG_VALUES(0), 1, 4), FG_T(I64, FG_VALUES(0), 1), NONE, NONE,
            PARAMS(1, 1, 0, 0, 1, 1, 0, 0)},
     /* words 6627e8d5 e169c58d bc57ac4c 9b00dbd8, of key 0 and counter 0 (Random123's kat_vectors),
      * as int32 >> 8 over 2^23 */
     .out = {FG_T(F32, FG_VALUES(0.79809284, -0.23895967, -0.52857447, -0.78903639), 1, 4)}},
    STEP("step", linf, true, NONE, NONE, NONE, USUAL, NONE, STATS, keeps_to_ball_and_box),
    STEP("step, eps that is no float", linf, true, NONE, NONE, NONE, TENTH, NONE, STATS,
         keeps_to_ball_and_box),
    STEP("step, tiny eps", linf, true, NONE, NONE, NONE, PARAMS(1e-9, 1, 0, 0, 1, 0, 0, 0), NONE,
         NONE, keeps_to_ball_and_box),
    STEP("step with map and mask", linf, true, NONE, MAP, MASK, USUAL, NONE, STATS,
         keeps_to_ball_and_box),
    STEP("step with momentum", linf, true, FG_R(FG_NORMAL, 3, 5, 4, 3), NONE, NONE, USUAL, Y, STATS,
         keeps_to_ball_and_box),
    STEP("step with momentum, map and mask", linf, true, FG_R(FG_NORMAL, 3, 5, 4, 3), MAP, MASK,
         USUAL, Y, STATS, keeps_to_ball_and_box),
    {.name = "step, a row of params for each sample",
     .op = FG_OP_step,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {X0, NEAR, GRADIENT, NONE, NONE, NONE, ROWS},
     .out = {Y, NONE, STATS},
     .check = rows_are_used},
    {.name = "step in L2, a row of params for each sample",
     .op = FG_OP_step,
     .attrs = {.step = {FG_NORM_l2, true}},
     .in = {X0, NEAR, GRADIENT, FG_R(FG_NORMAL, 3, 5, 4, 3), NONE, NONE, ROWS},
     .out = {Y, Y, STATS}},
    STEP("step without projection", linf, false, NONE, NONE, NONE, TENTH, NONE, STATS,
         keeps_to_ball_and_box),
    STEP("step in L2", l2, true, NONE, NONE, NONE, ROUND, NONE, STATS, keeps_to_round_ball),
    STEP("step in L2 with momentum", l2, true, FG_R(FG_NORMAL, 3, 5, 4, 3), NONE, NONE, ROUND, Y,
         NONE, keeps_to_round_ball),
    STEP("step in L2 without projection", l2, false, NONE, NONE, NONE, TENTH, NONE, NONE, NULL),
    STEP("step in L1", l1, true, NONE, NONE, NONE, PARAMS(9, 3, 0, 0, 1, 0, 0, 0), NONE, STATS,
         keeps_to_round_ball),
    STEP("step in L1 without projection", l1, false, NONE, NONE, MASK, TENTH, NONE, NONE, NULL),
    {.name = "step of an empty batch",
     .op = FG_OP_step,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {FG_R(FG_UNIT, 0, 4), FG_R(FG_UNIT, 0, 4), FG_R(FG_UNIT, 0, 4), NONE, NONE, NONE, USUAL},
     .out = {FG_Y(0, 4), NONE, FG_Y(0, 3)}},
    SMALL("step at points", linf, LIST(0, 0, 0, 0), LIST(0, 0.5, -1, 0.25), LIST(3, -2, -1, 0),
          NONE, NONE, NONE, WIDE(0.5, 0.25, 0), LIST(0.25, 0.25, -0.5, 0.25), NONE,
          FG_T(F32, FG_VALUES(6, 0.25, 0), 1, 3)),
    SMALL("step, one component not finite", linf, LIST(1, 2, 3, 4), LIST(1.5, 2, 3, 4.5),
          LIST(3, NAN, -1, INFINITY), FG_R(LIST(1, 2, 3, 4), 1, 4), NONE, NONE, WIDE(0.5, 0.25, 1),
          LIST(1, 2, 3, 4), FG_T(F32, LIST(0), 1, 4), FG_T(F32, FG_VALUES(NAN, 0, 2), 1, 3)),
    SMALL("step, masked NaN and zeros", linf, LIST(1, 2, 3, 4), LIST(1, 2, 3, 4),
          LIST(NAN, 0, 0, 5), NONE, NONE, FG_R(LIST(0, 1, 1, 1), 4), WIDE(0.5, 0.25, 0),
          LIST(1, 2, 3, 4.25), NONE, FG_T(F32, FG_VALUES(5, 0.66666667, 0), 1, 3)),
    SMALL("step with momentum at points", linf, LIST(0, 0, 0, 0), LIST(0, 0, 0, 0),
          LIST(2, -2, 4, 0), FG_R(LIST(-2, 1, 1, -1), 1, 4), NONE, NONE, WIDE(1, 0.25, 0.5),
          LIST(0, -0.25, 0.25, -0.25), FG_T(F32, LIST(0, -0.5, 2.5, -0.5), 1, 4), NONE),
    SMALL("step with momentum and no gradient", linf, LIST(0, 0, 0, 0), LIST(0, 0, 0, 0),
          LIST(0, 0, 0, 0), FG_R(LIST(-2, 1, 0, -1), 1, 4), NONE, NONE, WIDE(1, 0.25, 0.5),
          LIST(-0.25, 0.25, 0, -0.25), FG_T(F32, LIST(-1, 0.5, 0, -0.5), 1, 4), NONE),
    SMALL("step with a map at points", linf, LIST(0, 0, 0, 0), LIST(0, 0, 0, 0), LIST(1, 1, -1, 1),
          NONE, FG_R(LIST(1, 0.5, 0.25, 0), 4), NONE, WIDE(1, 0.5, 0), LIST(0.5, 0.25, -0.125, 0),
          NONE, NONE),
    SMALL("step in L2 at points", l2, LIST(0, 0, 0, 0), LIST(0, 0, 0, 0), LIST(3, 0, -4, 0), NONE,
          NONE, NONE, WIDE(1, 2, 0), LIST(0.6, 0, -0.8, 0), NONE, NONE),
    SMALL("step in L2, no gradient", l2, LIST(0, 0, 0, 0), LIST(0.5, 0, 0, 0), LIST(0, 0, 0, 0),
          NONE, NONE, NONE, WIDE(1, 2, 0), LIST(0.5, 0, 0, 0), NONE,
          FG_T(F32, FG_VALUES(0, 1, 0), 1, 3)),
    /* d = (3, -2, 0.5, 0.5) onto the ball of 3: theta = 1, so (2, -1, 0, 0) */
    SMALL("step in L1 at points", l1, LIST(0, 0, 0, 0), LIST(2, -2, 0.5, 0.5), LIST(5, -5, 1, 0),
          NONE, NONE, NONE, WIDE(3, 1, 0), LIST(2, -1, 0, 0), NONE, NONE),
    {.name = "quantize",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {FG_R(FG_UNIT, 3, 5, 7), FG_R(FG_UNIT, 3, 5, 7), USUAL},
     .out = {FG_T(U8, FG_NORMAL, 3, 5, 7), FG_Y(3, 2)},
     .check = bytes_keep_to_ball},
    {.name = "quantize, a row of params for each sample",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {FG_R(FG_UNIT, 3, 5, 7), FG_R(FG_UNIT, 3, 5, 7), ROWS},
     .out = {FG_T(U8, FG_NORMAL, 3, 5, 7), FG_Y(3, 2)}},
    {.name = "quantize without projection",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_l2, true}},
     .in = {FG_R(FG_UNIFORM(-0.2, 1.2), 3, 5, 7), FG_R(FG_UNIT, 3, 5, 7), USUAL},
     .out = {FG_T(U8, FG_NORMAL, 3, 5, 7), FG_Y(3, 2)}},
    {.name = "quantize of an empty batch",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {FG_R(FG_UNIT, 0, 5), FG_R(FG_UNIT, 0, 5), USUAL},
     .out = {FG_T(U8, FG_NORMAL, 0, 5), FG_Y(0, 2)}},
    {.name = "quantize on the lattice",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {FG_R(LIST(0.9, 0.0, 0.2, 1.0), 1, 4),
            FG_R(LIST(100 / 255.0, 100 / 255.0, 51 / 255.0, 250 / 255.0), 1, 4),
            PARAMS(8 / 255.0, 1, 0, 0, 1, 0, 0, 0)},
     .out = {FG_T(U8, LIST(108, 92, 51, 255), 1, 4),
             FG_T(F32, LIST(0.03137255, 0.04850712), 1, 2)}},
    /* 0.5 of a level off the lattice with eps of a quarter level: no byte is near enough */
    {.name = "quantize where no byte fits",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {FG_R(LIST(0.9, 0.1, 0.5, NAN), 1, 4),
            FG_R(LIST(100.4 / 255, 100.6 / 255, 2, 7 / 255.0), 1, 4),
            PARAMS(0.25 / 255, 1, 0, 0, 1, 0, 0, 0)},
     .out = {FG_T(U8, LIST(100, 101, 255, 7), 1, 4)}},
    CONV_STEP("conv step", linf, true, NONE, NONE, NONE, NONE, keeps_to_ball_and_box),
    CONV_STEP("conv step with gradient and stats", linf, true, NONE, NONE, FG_Y(2, 3, 8, 7),
              FG_Y(2, 3), keeps_to_ball_and_box),
    CONV_STEP("conv step with map and mask", linf, true, FG_R(FG_UNIFORM(0.01, 0.05), 3, 8, 7),
              FG_R(FG_INTEGER(0, 1), 3, 8, 7), NONE, FG_Y(2, 3), keeps_to_ball_and_box),
    CONV_STEP("conv step in L2", l2, true, NONE, NONE, FG_Y(2, 3, 8, 7), FG_Y(2, 3), NULL),
    CONV_STEP("conv step without projection", linf, false, NONE, NONE, NONE, FG_Y(2, 3),
              keeps_to_ball_and_box),
};
FG_TABLE(attack);
