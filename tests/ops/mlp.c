/* mlp_fgsm: networks narrow enough for a warp and wide enough for a block, every activation, every
 * objective, one step and many, and the search for the least budget. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define NONE                                                                                       \
  { 0 }
#define PARAMS(...) FG_T(F64, FG_VALUES(__VA_ARGS__), FG_PARAM_COUNT)
#define USUAL PARAMS(8 / 255.0, 8 / 255.0, 0, -2, 2, 0, 0, 0)
#define SMALL_STEPS PARAMS(0.1, 0.025, 0, -2, 2, 0, 0, 0)
#define FREE PARAMS(0.5, 0.5, 0, -INFINITY, INFINITY, 0, 0, 0)
#define RELU                                                                                       \
  { FG_UNARY_relu, 0, 0 }
#define LAST                                                                                       \
  { FG_UNARY_identity, 0, 0 }
#define LEAKY                                                                                      \
  { FG_UNARY_leaky_relu, 0.1, 0 }
#define STEEP                                                                                      \
  { FG_UNARY_leaky_relu, -0.5, 0 }
#define SIGMOID                                                                                    \
  { FG_UNARY_sigmoid, 0, 0 }
#define TANH                                                                                       \
  { FG_UNARY_tanh, 0, 0 }
#define GELU                                                                                       \
  { FG_UNARY_gelu, 0, 0 }
#define GELU_TANH                                                                                  \
  { FG_UNARY_gelu_tanh, 0, 0 }
#define CE D(FG_LOSS_ce, false, false)
/* Params, and behind them a linear loss's factors. */
#define RAISING(params, factors) params, factors

/* The ball and the box, in real arithmetic. */
static const char *keeps_within(const struct fg_call *call) {
  const struct fg_tensor *x0 = &call->in[0], *y = &call->out[0], *map = &call->in[4];
  const double *p = call->in[6].data;
  int64_t n = fg_count(y), features = n && y->dim[0] ? n / y->dim[0] : 1;
  for (int64_t i = 0; i < n; i++) {
    long double from = fg_tensor_real(x0, 0, i), to = fg_tensor_real(y, 0, i);
    long double eps = map->type != FG_NONE ? fg_tensor_real(map, 0, i % features) : p[FG_PARAM_eps];
    if (!(to - from <= eps && from - to <= eps))
      return "x' leaves the ball";
    if (!(to >= p[FG_PARAM_lo] && to <= p[FG_PARAM_hi]))
      return "x' leaves the box";
  }
  return NULL;
}

/* A case is a network under an attack, and samples for it. */
#define NET_FOR(flags_, layers_, widths, acts, loss_, steps_, search_)                             \
  .op = FG_OP_mlp_fgsm, .flags = FG_CASE_SPARSE | (flags_), .constant = 4, .check = keeps_within,  \
  .attrs = {.mlp = {.layers = layers_,                                                             \
                    .width = FG_DIMS(widths),                                                      \
                    .act = FG_DIMS(acts),                                                          \
                    .loss = FG_DIMS(loss_),                                                        \
                    .step = {FG_NORM_linf, true},                                                  \
                    .steps = steps_,                                                               \
                    .search = search_}}
#define NET(...) NET_FOR(0, __VA_ARGS__)
#define ON(n, f, weights, classes, map, mask, params, figures)                                     \
  .in = {FG_R(FG_UNIFORM(-2, 2), n, f),                                                            \
         FG_R(FG_UNIFORM(-2, 2), n, f),                                                            \
         FG_R(FG_UNIFORM(-0.5, 0.5), weights),                                                     \
         FG_T(I32, FG_INTEGER(0, classes - 1), n),                                                 \
         map,                                                                                      \
         mask,                                                                                     \
         params},                                                                                  \
  .out = {FG_Y(n, f), FG_Y(n), FG_T(I32, FG_NORMAL, n), FG_Y(n, figures), FG_Y(n, classes)}
/* 5 - 50 x 6 - 5, the shape of the ACAS Xu networks: 300 + 5 * 2550 + 255 weights. */
#define ACAS(loss, steps, search)                                                                  \
  NET(7, D(5, 50, 50, 50, 50, 50, 50, 5), D(RELU, RELU, RELU, RELU, RELU, RELU, LAST), loss,       \
      steps, search)
#define ACT(act) NET(3, D(6, 9, 11, 4), D(act, act, LAST), CE, 1, false)
#define FEW ON(7, 6, 221, 4, NONE, NONE, USUAL, 3)
#define OBJECTIVE(loss) NET(2, D(6, 9, 4), D(TANH, LAST), loss, 1, false)
#define FEWER ON(7, 6, 103, 4, NONE, NONE, USUAL, 3)
#define WIDE(acts, loss, steps, search) NET(3, D(70, 130, 65, 10), acts, loss, steps, search)
/* More weights than a CPU's kernel takes. */
#define STREAMED(acts, loss, steps, search)                                                        \
  NET_FOR(FG_CASE_CPU_DECLINES, 3, D(130, 301, 203, 10), acts, loss, steps, search)

/* Weights in bfloat16. WHOLE: x is whole or half, weights are -1, 0 or 1. */
#define HALF_NET(...) NET_FOR(FG_CASE_CPU_DECLINES, __VA_ARGS__)
#define HALF_ACT(act) HALF_NET(3, D(6, 9, 11, 4), D(act, act, LAST), CE, 1, false)
#define HALVES(n, f, weights, classes, map, mask, params, figures)                                 \
  .in = {FG_R(FG_UNIFORM(-2, 2), n, f),                                                            \
         FG_R(FG_UNIFORM(-2, 2), n, f),                                                            \
         FG_T(BF16, FG_UNIFORM(-0.5, 0.5), weights),                                               \
         FG_T(I32, FG_INTEGER(0, classes - 1), n),                                                 \
         map,                                                                                      \
         mask,                                                                                     \
         params},                                                                                  \
  .out = {FG_Y(n, f), FG_Y(n), FG_T(I32, FG_NORMAL, n), FG_Y(n, figures), FG_Y(n, classes)},       \
  .tolerance = 4e-3
#define WHOLE(n, f, weights, classes, map, mask, params, figures)                                  \
  .in = {FG_R(FG_INTEGER(-2, 2), n, f),                                                            \
         FG_R(FG_INTEGER(-2, 2), n, f),                                                            \
         FG_T(BF16, FG_INTEGER(-1, 1), weights),                                                   \
         FG_T(I32, FG_INTEGER(0, classes - 1), n),                                                 \
         map,                                                                                      \
         mask,                                                                                     \
         params},                                                                                  \
  .out = {FG_Y(n, f), FG_Y(n), FG_T(I32, FG_NORMAL, n), FG_Y(n, figures), FG_Y(n, classes)},       \
  .tolerance = 1e-6
#define HALF_FEW HALVES(7, 6, 221, 4, NONE, NONE, FREE, 3)
#define MARGIN D(FG_LOSS_margin, false, false)
#define HALF_STEPS PARAMS(0.5, 0.25, 0, -INFINITY, INFINITY, 0, 0, 0)
#define ONE_SIDE FG_VALUES(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1)
#define MAP_OF(f) FG_R(FG_VALUES(0.5, 1, 0.25), f)
#define LEAKY_WHOLE                                                                                \
  { FG_UNARY_leaky_relu, 0.5, 0 }

static const struct fg_case cases[] = {
    {.name = "mlp relu", ACT(RELU), FEW},
    {.name = "mlp leaky_relu", ACT(LEAKY), FEW},
    {.name = "mlp leaky_relu below zero", ACT(STEEP), FEW},
    {.name = "mlp sigmoid", ACT(SIGMOID), FEW},
    {.name = "mlp of tanh", ACT(TANH), FEW},
    {.name = "mlp gelu", ACT(GELU), FEW},
    {.name = "mlp gelu_tanh", ACT(GELU_TANH), FEW},
    {.name = "mlp ce targeted", OBJECTIVE(D(FG_LOSS_ce, true, false)), FEWER},
    {.name = "mlp ce as PyTorch has it", OBJECTIVE(D(FG_LOSS_ce, false, true)), FEWER},
    {.name = "mlp margin", OBJECTIVE(D(FG_LOSS_margin, false, false)), FEWER},
    {.name = "mlp margin targeted", OBJECTIVE(D(FG_LOSS_margin, true, false)), FEWER},
    {.name = "mlp dlr", OBJECTIVE(D(FG_LOSS_dlr, false, false)), FEWER},
    {.name = "mlp linear",
     OBJECTIVE(D(FG_LOSS_linear, false, false)),
     ON(7, 6, 103, 4, NONE, NONE, RAISING(USUAL, FG_R(FG_NORMAL, 4)), 3)},
    {.name = "mlp linear targeted, 5-50x6-5, 3 steps",
     ACAS(D(FG_LOSS_linear, true, false), 3, false),
     ON(9, 5, 13305, 5, NONE, NONE, RAISING(SMALL_STEPS, FG_R(FG_VALUES(1, -1, 0, 0.5, 0), 5)), 3)},
    {.name = "mlp linear, 5-50x6-5, least budget",
     ACAS(D(FG_LOSS_linear, false, false), 9, true),
     ON(9, 5, 13305, 5, NONE, NONE, RAISING(FREE, FG_R(FG_VALUES(1, -1, 0, 0.5, 0), 5)), 4)},
    {.name = "mlp of one layer",
     NET(1, D(10, 3), D(LAST), CE, 1, false),
     ON(5, 10, 33, 3, NONE, NONE, USUAL, 3)},
    {.name = "mlp of 16 layers",
     NET(16, D(4, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 3),
         D(LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY, LEAKY,
           LEAKY, LEAKY, LEAKY, LAST),
         CE, 1, false),
     ON(3, 4, 636, 3, NONE, NONE, USUAL, 3)},
    {.name = "mlp as ACAS Xu", ACAS(CE, 1, false), ON(37, 5, 13305, 5, NONE, NONE, USUAL, 3)},
    {.name = "mlp 5-50x6-5 with map and mask",
     ACAS(D(FG_LOSS_margin, false, false), 1, false),
     ON(9, 5, 13305, 5, FG_R(FG_UNIFORM(0.01, 0.05), 5), FG_R(FG_VALUES(1, 1, 0, 1, 1), 5), USUAL,
        3)},
    {.name = "mlp 5-50x6-5, 7 steps",
     ACAS(CE, 7, false),
     ON(11, 5, 13305, 5, NONE, NONE, SMALL_STEPS, 3)},
    {.name = "mlp 5-50x6-5, least budget",
     ACAS(CE, 9, true),
     ON(33, 5, 13305, 5, NONE, NONE, FREE, 4)},
    {.name = "mlp 5-50x6-5, least budget to a target",
     ACAS(D(FG_LOSS_ce, true, false), 9, true),
     ON(8, 5, 13305, 5, FG_R(FG_UNIFORM(0.1, 0.9), 5), NONE, FREE, 4)},
    /* What ReLU makes zero may be left out: layers of several words of such, and of no multiple of 8; and neurons
     * that are zero in all samples of a tile, as inputs close together have them. */
    {.name = "mlp 5-130-70-3, 3 steps",
     NET(3, D(5, 130, 70, 3), D(RELU, RELU, LAST), CE, 3, false),
     ON(22, 5, 10163, 3, NONE, NONE, SMALL_STEPS, 3)},
    {.name = "mlp 3-64-129-9-2 of relu, least budget",
     NET(4, D(3, 64, 129, 9, 2), D(RELU, RELU, RELU, LAST), CE, 6, true),
     ON(18, 3, 9831, 2, NONE, NONE, FREE, 4)},
    {.name = "mlp 9-17-3-12-5 of relu and gelu",
     NET(4, D(9, 17, 3, 12, 5), D(RELU, GELU, RELU, LAST), CE, 2, false),
     ON(5, 9, 337, 5, NONE, NONE, SMALL_STEPS, 3)},
    {.name = "mlp 5-50x6-5 of samples close together, 2 steps",
     ACAS(CE, 2, false),
     .in = {FG_R(FG_UNIFORM(0, 1.5), 42, 5), FG_R(FG_UNIFORM(0, 1.5), 42, 5),
            FG_R(FG_UNIFORM(-0.5, 0.5), 13305), FG_T(I32, FG_INTEGER(0, 4), 42), NONE, NONE,
            PARAMS(0.002, 0.001, 0, -2, 2, 0, 0, 0)},
     .out = {FG_Y(42, 5), FG_Y(42), FG_T(I32, FG_NORMAL, 42), FG_Y(42, 3), FG_Y(42, 5)}},
    {.name = "mlp 3-10-10-10-2, some samples not numbers",
     .op = FG_OP_mlp_fgsm,
     .constant = 4,
     .attrs = {.mlp = {.layers = 4,
                       .width = {3, 10, 10, 10, 2},
                       .act = {RELU, RELU, RELU, LAST},
                       .loss = {FG_LOSS_ce, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 1}},
     .in = {FG_R(FG_VALUES(1, -2, 0.5, NAN, 1, 2, -1, INFINITY, 0.25), 18, 3),
            FG_R(FG_VALUES(1, -2, 0.5, NAN, 1, 2, -1, INFINITY, 0.25), 18, 3),
            FG_R(FG_UNIFORM(-0.5, 0.5), 282), FG_T(I32, FG_INTEGER(0, 1), 18), NONE, NONE, FREE},
     .out = {FG_Y(18, 3), FG_Y(18), FG_T(I32, FG_NORMAL, 18), FG_Y(18, 3), FG_Y(18, 2)}},
    {.name = "mlp 5-9-4, some labels no classes",
     NET(2, D(5, 9, 4), D(RELU, LAST), CE, 1, false),
     .in = {FG_R(FG_UNIFORM(-2, 2), 21, 5), FG_R(FG_UNIFORM(-2, 2), 21, 5),
            FG_R(FG_UNIFORM(-0.5, 0.5), 94), FG_T(I32, FG_VALUES(1, -1, 3, 4, 0, 1), 21), NONE,
            NONE, USUAL},
     .out = {FG_Y(21, 5), FG_Y(21), FG_T(I32, FG_NORMAL, 21), FG_Y(21, 3), FG_Y(21, 4)}},
    {.name = "mlp 1-3, a logit infinite",
     NET(1, D(1, 3), D(LAST), CE, 1, false),
     .in = {FG_R(FG_UNIFORM(-2, 2), 18, 1), FG_R(FG_UNIFORM(-2, 2), 18, 1),
            FG_R(FG_VALUES(1, -1, INFINITY, 0, 0, 0), 6), FG_T(I32, FG_VALUES(0, 1, 2), 18), NONE,
            NONE, USUAL},
     .out = {FG_Y(18, 1), FG_Y(18), FG_T(I32, FG_NORMAL, 18), FG_Y(18, 3), FG_Y(18, 3)}},
    /* h is 1 and 0, or 0 and 1; zero times infinity is no number, and no other sample's concern. In the first 16
     * samples, which a tile may be, the second number is zero everywhere. */
    {.name = "mlp with a weight that is not finite",
     .op = FG_OP_mlp_fgsm,
     .constant = 4,
     .attrs = {.mlp = {.layers = 2,
                       .width = {1, 2, 9},
                       .act = {RELU, LAST},
                       .loss = {FG_LOSS_margin, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 1}},
     .in = {FG_R(ONE_SIDE, 18, 1), FG_R(ONE_SIDE, 18, 1),
            FG_R(FG_VALUES(1, -1, 0, 0, 1, INFINITY, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                           15, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0),
                 31),
            FG_T(I32, FG_VALUES(0, 0), 18), NONE, NONE, FREE},
     .out = {FG_Y(18, 1), FG_Y(18), FG_T(I32, FG_NORMAL, 18), FG_Y(18, 3), FG_Y(18, 9)}},
    {.name = "mlp whose second layer is zero",
     .op = FG_OP_mlp_fgsm,
     .constant = 4,
     .attrs = {.mlp = {.layers = 3,
                       .width = {1, 2, 2, 2},
                       .act = {RELU, RELU, LAST},
                       .loss = {FG_LOSS_margin, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 1}},
     .in = {FG_R(FG_VALUES(1, -1), 2, 1), FG_R(FG_VALUES(1, -1), 2, 1),
            FG_R(FG_VALUES(1, -1, 0, 0, -1, -1, -1, -1, 0, 0, 1, 2, 3, 4, 0.5, -0.5), 16),
            FG_T(I32, FG_VALUES(0, 1), 2), NONE, NONE, FREE},
     .out = {FG_T(F32, FG_VALUES(1, -1), 2, 1), FG_T(F32, FG_VALUES(-1, 1), 2),
             FG_T(I32, FG_VALUES(0, 0), 2), FG_T(F32, FG_VALUES(0, 1, 0, 0, 1, 0), 2, 3),
             FG_R(FG_VALUES(0.5, -0.5, 0.5, -0.5), 2, 2)}},
    {.name = "mlp 70-130-65-10",
     WIDE(D(RELU, GELU, LAST), CE, 1, false),
     ON(19, 70, 18405, 10, NONE, NONE, USUAL, 3)},
    {.name = "mlp 70-130-65-10, 3 steps",
     WIDE(D(RELU, RELU, LAST), D(FG_LOSS_margin, false, false), 3, false),
     ON(18, 70, 18405, 10, FG_R(FG_UNIFORM(0.01, 0.05), 70), FG_R(FG_INTEGER(0, 1), 70),
        SMALL_STEPS, 3)},
    {.name = "mlp 70-130-65-10, least budget",
     WIDE(D(RELU, RELU, LAST), CE, 6, true),
     ON(17, 70, 18405, 10, NONE, NONE, FREE, 4)},
    /* more weights than shared memory holds */
    {.name = "mlp 130-301-203-10",
     STREAMED(D(RELU, GELU_TANH, LAST), CE, 1, false),
     ON(21, 130, 102777, 10, NONE, NONE, USUAL, 3)},
    {.name = "mlp 130-301-203-10, 2 steps",
     STREAMED(D(LEAKY, RELU, LAST), D(FG_LOSS_margin, false, false), 2, false),
     ON(5, 130, 102777, 10, FG_R(FG_UNIFORM(0.01, 0.05), 130), FG_R(FG_INTEGER(0, 1), 130),
        SMALL_STEPS, 3)},
    {.name = "mlp 130-301-203-10, least budget",
     STREAMED(D(RELU, RELU, LAST), CE, 4, true),
     ON(6, 130, 102777, 10, NONE, NONE, FREE, 4)},
    /* bfloat16. Whole numbers and halves: every sum is exact in any order, so signs must be too. */
    {.name = "mlp bf16 6-9-11-4 of whole numbers",
     HALF_NET(3, D(6, 9, 11, 4), D(RELU, RELU, LAST), MARGIN, 1, false),
     WHOLE(7, 6, 221, 4, NONE, NONE, HALF_STEPS, 3)},
    {.name = "mlp bf16 70-130-65-10 of whole numbers",
     HALF_NET(3, D(70, 130, 65, 10), D(LEAKY_WHOLE, RELU, LAST), MARGIN, 1, false),
     WHOLE(66, 70, 18405, 10, MAP_OF(70), FG_R(FG_INTEGER(0, 1), 70), HALF_STEPS, 3)},
    {.name = "mlp bf16 72-136-264-12 of whole numbers, 3 steps",
     HALF_NET(3, D(72, 136, 264, 12), D(RELU, RELU, LAST), MARGIN, 3, false),
     WHOLE(19, 72, 49276, 12, NONE, NONE, HALF_STEPS, 3)},
    {.name = "mlp bf16 72-136-264-12 of whole numbers, least budget",
     HALF_NET(3, D(72, 136, 264, 12), D(RELU, LEAKY_WHOLE, LAST), MARGIN, 4, true),
     WHOLE(17, 72, 49276, 12, NONE, NONE, HALF_STEPS, 4)},
    {.name = "mlp bf16 33-20-3 of whole numbers, 48 samples a tile",
     HALF_NET(2, D(33, 20, 3), D(STEEP, LAST), MARGIN, 2, false),
     WHOLE(135, 33, 743, 3, MAP_OF(33), NONE, HALF_STEPS, 3)},
    {.name = "mlp bf16 16-8-3 of whole numbers, 64 samples a tile",
     HALF_NET(2, D(16, 8, 3), D(RELU, LAST), D(FG_LOSS_margin, true, false), 3, true),
     WHOLE(197, 16, 163, 3, NONE, NONE, HALF_STEPS, 4)},
    {.name = "mlp bf16 33-20-3 of whole numbers, linear",
     HALF_NET(2, D(33, 20, 3), D(RELU, LAST), D(FG_LOSS_linear, false, false), 2, false),
     WHOLE(19, 33, 743, 3, NONE, NONE, RAISING(HALF_STEPS, FG_R(FG_VALUES(2, -1, 0.5), 3)), 3)},
    {.name = "mlp bf16 of 16 layers",
     HALF_NET(16, D(4, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 3),
              D(LEAKY_WHOLE, LEAKY_WHOLE, LEAKY_WHOLE, RELU, LEAKY_WHOLE, LEAKY_WHOLE, LEAKY_WHOLE,
                LEAKY_WHOLE, LEAKY_WHOLE, LEAKY_WHOLE, LEAKY_WHOLE, LEAKY_WHOLE, LEAKY_WHOLE,
                LEAKY_WHOLE, LEAKY_WHOLE, LAST),
              MARGIN, 1, false),
     WHOLE(5, 4, 636, 3, NONE, NONE, HALF_STEPS, 3)},
    {.name = "mlp bf16 of one layer",
     HALF_NET(1, D(40, 3), D(LAST), CE, 2, false),
     HALVES(5, 40, 123, 3, NONE, NONE, FREE, 3)},
    /* Any numbers: a sum that rounds the other way is 2^-9 of a term, 1e-3 of a result. */
    {.name = "mlp bf16 relu", HALF_ACT(RELU), HALF_FEW},
    {.name = "mlp bf16 of sigmoid", HALF_ACT(SIGMOID), HALF_FEW},
    {.name = "mlp bf16 tanh", HALF_ACT(TANH), HALF_FEW},
    {.name = "mlp bf16 gelu", HALF_ACT(GELU), HALF_FEW},
    {.name = "mlp bf16 gelu_tanh", HALF_ACT(GELU_TANH), HALF_FEW},
    {.name = "mlp bf16 40-48-36-5 of ce and dlr",
     HALF_NET(3, D(40, 48, 36, 5), D(TANH, GELU, LAST), D(FG_LOSS_dlr, false, false), 1, false),
     HALVES(18, 40, 3917, 5, NONE, NONE, FREE, 3)},
    {.name = "mlp bf16 of an empty batch",
     HALF_NET(2, D(6, 9, 4), D(TANH, LAST), CE, 1, false),
     HALVES(0, 6, 103, 4, NONE, NONE, USUAL, 3)},
    {.name = "mlp bf16, one sample not a number",
     .op = FG_OP_mlp_fgsm,
     .flags = FG_CASE_CPU_DECLINES,
     .attrs = {.mlp = {.layers = 1,
                       .width = {2, 2},
                       .act = {LAST},
                       .loss = {FG_LOSS_margin, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 2}},
     .in = {FG_R(FG_VALUES(1, 3, 4, 1, 1, 3, 1, 3, NAN, 1), 5, 2),
            FG_R(FG_VALUES(1, 3, 4, 1, 1, 3, 1, 3, NAN, 1), 5, 2),
            FG_T(BF16, FG_VALUES(1, 0, 2, -1, 0, 0), 6), FG_T(I32, FG_VALUES(0, 1, -1, 7, 0), 5),
            NONE, NONE, HALF_STEPS},
     .out = {FG_T(F32, FG_VALUES(1.5, 2.5, 3.5, 1.5, 1, 3, 1, 3, NAN, 1), 5, 2),
             FG_T(F32, FG_VALUES(-1.5, -2.5, NAN, NAN, NAN), 5),
             FG_T(I32, FG_VALUES(0, 1, 0, 0, -1), 5),
             FG_T(F32, FG_VALUES(2, 0, 0, 2, 0, 0, 0, 1, 0, 0, 1, 0, NAN, 0, 4), 5, 3)}},
    {.name = "mlp of an empty batch", OBJECTIVE(CE), ON(0, 6, 103, 4, NONE, NONE, USUAL, 3)},
    /* x, 2x - y over two features: labels 0, 1, none, 7; the last sample is not a number. */
    {.name = "mlp at points",
     .op = FG_OP_mlp_fgsm,
     .attrs = {.mlp = {.layers = 1,
                       .width = {2, 2},
                       .act = {LAST},
                       .loss = {FG_LOSS_margin, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 1}},
     .in = {FG_R(FG_VALUES(1, 3, 4, 1, 1, 3, 1, 3, NAN, 1), 5, 2),
            FG_R(FG_VALUES(1, 3, 4, 1, 1, 3, 1, 3, NAN, 1), 5, 2),
            FG_R(FG_VALUES(1, 0, 2, -1, 0, 0), 6), FG_T(I32, FG_VALUES(0, 1, -1, 7, 0), 5), NONE,
            NONE, FREE},
     .out = {FG_T(F32, FG_VALUES(1.5, 2.5, 3.5, 1.5, 1, 3, 1, 3, NAN, 1), 5, 2),
             FG_T(F32, FG_VALUES(-2, -3, NAN, NAN, NAN), 5),
             FG_T(I32, FG_VALUES(0, 1, 0, 0, -1), 5),
             FG_T(F32, FG_VALUES(2, 0, 0, 2, 0, 0, 0, 1, 0, 0, 1, 0, NAN, 0, 2), 5, 3),
             FG_R(FG_VALUES(1, -1, 4, 7, 1, -1, 1, -1, NAN, NAN), 5, 2)}},
    {.name = "mlp linear at points, without a label",
     .op = FG_OP_mlp_fgsm,
     .attrs = {.mlp = {.layers = 1,
                       .width = {2, 2},
                       .act = {LAST},
                       .loss = {FG_LOSS_linear, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 1}},
     .in = {FG_R(FG_VALUES(1, 3, NAN, 1), 2, 2), FG_R(FG_VALUES(1, 3, NAN, 1), 2, 2),
            FG_R(FG_VALUES(1, 0, 2, -1, 0, 0), 6), FG_T(I32, FG_VALUES(-1, -1), 2), NONE, NONE,
            FREE, FG_R(FG_VALUES(1, -1), 2)},
     .out = {FG_T(F32, FG_VALUES(0.5, 3.5, NAN, 1), 2, 2), FG_T(F32, FG_VALUES(2, NAN), 2),
             FG_T(I32, FG_VALUES(0, -1), 2), FG_T(F32, FG_VALUES(2, 0, 0, NAN, 0, 2), 2, 3),
             FG_R(FG_VALUES(1, -1, NAN, NAN), 2, 2)}},
    {.name = "mlp, one sample not a number, 2 steps",
     .op = FG_OP_mlp_fgsm,
     .attrs = {.mlp = {.layers = 1,
                       .width = {2, 2},
                       .act = {LAST},
                       .loss = {FG_LOSS_margin, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 2}},
     .in = {FG_R(FG_VALUES(1, 3, NAN, 1), 2, 2), FG_R(FG_VALUES(1, 3, NAN, 1), 2, 2),
            FG_R(FG_VALUES(1, 0, 2, -1, 0, 0), 6), FG_T(I32, FG_VALUES(0, 0), 2), NONE, NONE,
            HALF_STEPS},
     .out = {FG_T(F32, FG_VALUES(1.5, 2.5, NAN, 1), 2, 2), FG_T(F32, FG_VALUES(-1.5, NAN), 2),
             FG_T(I32, FG_VALUES(0, -1), 2), FG_T(F32, FG_VALUES(2, 0, 0, NAN, 0, 4), 2, 3),
             FG_R(FG_VALUES(1.25, -0.25, NAN, NAN), 2, 2)}},
    /* No step: what the network says, and nothing moves. */
    {.name = "mlp, a look",
     .op = FG_OP_mlp_fgsm,
     .flags = FG_CASE_MAY_DECLINE,
     .attrs = {.mlp = {.layers = 2,
                       .width = {6, 9, 4},
                       .act = {TANH, LAST},
                       .loss = {FG_LOSS_dlr, false, false},
                       .step = {FG_NORM_linf, true}}},
     .in = {NONE, FG_R(FG_UNIFORM(-2, 2), 7, 6), FG_R(FG_UNIFORM(-0.5, 0.5), 103),
            FG_T(I32, FG_INTEGER(0, 3), 7)},
     .out = {NONE, FG_Y(7), FG_T(I32, FG_NORMAL, 7), NONE, FG_Y(7, 4)}},
    /* f(x) = x - 1 against 0: label 1 at 1.25 falls at a budget of 1/4, at 3 not within 1/2, at 0.5
     * it has fallen already; no label, no fall. */
    {.name = "mlp least budget at points",
     .op = FG_OP_mlp_fgsm,
     .attrs = {.mlp = {.layers = 1,
                       .width = {1, 2},
                       .act = {LAST},
                       .loss = {FG_LOSS_ce, false, false},
                       .step = {FG_NORM_linf, true},
                       .steps = 3,
                       .search = true}},
     .in = {FG_R(FG_VALUES(1.25, 3, 0.5, 2), 4, 1), FG_R(FG_VALUES(1.25, 3, 0.5, 2), 4, 1),
            FG_R(FG_VALUES(0, 1, 0, -1), 4), FG_T(I32, FG_VALUES(1, 1, 1, -1), 4), NONE, NONE,
            FREE},
     .out = {FG_T(F32, FG_VALUES(1, 2.5, 0.5, 2), 4, 1), NONE, NONE,
             FG_T(F32, FG_VALUES(1, 0, 0, 0.25, 1, 0, 0, INFINITY, 1, 0, 0, 0, 0, 1, 0, INFINITY),
                  4, 4)}},
};
FG_TABLE(mlp);
