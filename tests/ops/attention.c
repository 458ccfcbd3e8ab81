/* attention, attention_grad. */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define X(dims) FG_TD(F32, FG_NORMAL, 4, dims)
#define NONE                                                                                       \
  { 0 }
#define ATTEND(label, factor, q, k, v, bias, y, lse)                                               \
  {                                                                                                \
    .name = label, .op = FG_OP_attention, .attrs = {.attention = {factor}},                        \
    .in =                                                                                          \
    { X(q),                                                                                        \
      X(k),                                                                                        \
      X(v),                                                                                        \
      bias },                                                                                      \
    .out = {                                                                                       \
      X(y),                                                                                        \
      lse                                                                                          \
    }                                                                                              \
  }
/* lse large enough that p stays below 1, as it would be. */
#define GRAD(label, factor, q, k, v, bias, y, lse, ...)                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_attention_grad, .attrs = {.attention = {factor}},                   \
    .in =                                                                                          \
    { X(y),                                                                                        \
      X(q),                                                                                        \
      X(k),                                                                                        \
      X(v),                                                                                        \
      X(y),                                                                                        \
      FG_R(FG_UNIFORM(2, 4), FG_OPEN lse),                                                         \
      bias },                                                                                      \
    .out = {__VA_ARGS__}, .tolerance = 1e-4                                                        \
  }
#define LSE(...) FG_Y(__VA_ARGS__)
#define BIAS(...) FG_R(FG_NORMAL, __VA_ARGS__)

static const struct fg_case cases[] = {
    ATTEND("attention", 0.25, D(2, 3, 7, 16), D(2, 3, 7, 16), D(2, 3, 7, 16), NONE, D(2, 3, 7, 16),
           LSE(2, 3, 7)),
    ATTEND("attention without lse", 0.125, D(1, 2, 5, 8), D(1, 2, 5, 8), D(1, 2, 5, 8), NONE,
           D(1, 2, 5, 8), NONE),
    ATTEND("attention across, other width", 0.5, D(2, 2, 5, 8), D(2, 2, 37, 8), D(2, 2, 37, 12),
           NONE, D(2, 2, 5, 12), LSE(2, 2, 5)),
    ATTEND("attention beyond one tile", 0.125, D(1, 1, 77, 24), D(1, 1, 69, 24), D(1, 1, 69, 40),
           NONE, D(1, 1, 77, 40), LSE(1, 1, 77)),
    ATTEND("attention of wide heads", 0.1, D(1, 1, 19, 72), D(1, 1, 35, 72), D(1, 1, 35, 100), NONE,
           D(1, 1, 19, 100), LSE(1, 1, 19)),
    ATTEND("attention with a bias", 0.25, D(2, 3, 6, 16), D(2, 3, 9, 16), D(2, 3, 9, 16),
           BIAS(2, 3, 6, 9), D(2, 3, 6, 16), LSE(2, 3, 6)),
    ATTEND("attention with a bias a head", 0.25, D(2, 3, 6, 16), D(2, 3, 9, 16), D(2, 3, 9, 16),
           BIAS(3, 6, 9), D(2, 3, 6, 16), LSE(2, 3, 6)),
    ATTEND("attention with a bias a sample and key", 0.25, D(2, 3, 6, 16), D(2, 3, 9, 16),
           D(2, 3, 9, 16), BIAS(2, 1, 1, 9), D(2, 3, 6, 16), LSE(2, 3, 6)),
    ATTEND("attention with a bias a query", 0.25, D(2, 3, 6, 16), D(2, 3, 9, 16), D(2, 3, 9, 16),
           BIAS(6, 1), D(2, 3, 6, 16), LSE(2, 3, 6)),
    ATTEND("attention behind a causal mask", 1, D(1, 2, 4, 8), D(1, 2, 4, 8), D(1, 2, 4, 8),
           FG_R(FG_VALUES(0, -INFINITY, -INFINITY, -INFINITY, 0, 0, -INFINITY, -INFINITY, 0, 0, 0,
                          -INFINITY, 0, 0, 0, 0),
                4, 4),
           D(1, 2, 4, 8), LSE(1, 2, 4)),
    ATTEND("attention far out", 30, D(1, 1, 9, 16), D(1, 1, 9, 16), D(1, 1, 9, 16), NONE,
           D(1, 1, 9, 16), LSE(1, 1, 9)),
    ATTEND("attention to one", 1, D(2, 1, 3, 4), D(2, 1, 1, 4), D(2, 1, 1, 4), NONE, D(2, 1, 3, 4),
           LSE(2, 1, 3)),
    ATTEND("attention of an empty batch", 1, D(0, 2, 3, 4), D(0, 2, 5, 4), D(0, 2, 5, 4), NONE,
           D(0, 2, 3, 4), LSE(0, 2, 3)),
    {.name = "attention at points",
     .op = FG_OP_attention,
     .attrs = {.attention = {0.5}},
     .in = {FG_R(FG_VALUES(2), 1, 1, 1, 1), FG_R(FG_VALUES(0, 1, 2), 1, 1, 3, 1),
            FG_R(FG_VALUES(1, 0, 0, 1, 2, -2), 1, 1, 3, 2)},
     .out = {FG_T(F32, FG_VALUES(1.42051195, -1.08575320), 1, 1, 1, 2),
             FG_T(F32, FG_VALUES(2.40760596), 1, 1, 1)}},
    GRAD("attention_grad", 0.25, D(2, 3, 7, 16), D(2, 3, 7, 16), D(2, 3, 7, 16), NONE,
         D(2, 3, 7, 16), (2, 3, 7), X(D(2, 3, 7, 16)), X(D(2, 3, 7, 16)), X(D(2, 3, 7, 16))),
    GRAD("attention_grad across, other width", 0.5, D(2, 2, 5, 8), D(2, 2, 37, 8), D(2, 2, 37, 12),
         NONE, D(2, 2, 5, 12), (2, 2, 5), X(D(2, 2, 5, 8)), X(D(2, 2, 37, 8)), X(D(2, 2, 37, 12))),
    GRAD("attention_grad beyond one tile", 0.125, D(1, 1, 77, 24), D(1, 1, 69, 24), D(1, 1, 69, 40),
         NONE, D(1, 1, 77, 40), (1, 1, 77), X(D(1, 1, 77, 24)), X(D(1, 1, 69, 24)),
         X(D(1, 1, 69, 40))),
    GRAD("attention_grad of wide heads", 0.1, D(1, 1, 19, 72), D(1, 1, 35, 72), D(1, 1, 35, 100),
         NONE, D(1, 1, 19, 100), (1, 1, 19), X(D(1, 1, 19, 72)), X(D(1, 1, 35, 72)),
         X(D(1, 1, 35, 100))),
    GRAD("attention_grad behind a bias", 0.25, D(2, 3, 6, 16), D(2, 3, 9, 16), D(2, 3, 9, 16),
         BIAS(2, 1, 1, 9), D(2, 3, 6, 16), (2, 3, 6), X(D(2, 3, 6, 16)), X(D(2, 3, 9, 16)),
         X(D(2, 3, 9, 16))),
    GRAD("attention_grad, dq alone", 0.25, D(2, 3, 7, 16), D(2, 3, 7, 16), D(2, 3, 7, 16), NONE,
         D(2, 3, 7, 16), (2, 3, 7), X(D(2, 3, 7, 16))),
    GRAD("attention_grad, dk and dv", 0.25, D(2, 3, 7, 16), D(2, 3, 7, 16), D(2, 3, 7, 16), NONE,
         D(2, 3, 7, 16), (2, 3, 7), NONE, X(D(2, 3, 7, 16)), X(D(2, 3, 7, 16))),
    GRAD("attention_grad of an empty batch", 1, D(0, 2, 3, 4), D(0, 2, 5, 4), D(0, 2, 5, 4), NONE,
         D(0, 2, 3, 4), (0, 2, 3), X(D(0, 2, 3, 4)), X(D(0, 2, 5, 4)), X(D(0, 2, 5, 4))),
#define WITH_DBIAS(label, ...)                                                                     \
  {                                                                                                \
    .name = label, .op = FG_OP_attention_grad, .attrs = {.attention = {0.25}},                     \
    .in =                                                                                          \
    { X(D(2, 3, 6, 16)),                                                                           \
      X(D(2, 3, 6, 16)),                                                                           \
      X(D(2, 3, 9, 16)),                                                                           \
      X(D(2, 3, 9, 16)),                                                                           \
      X(D(2, 3, 6, 16)),                                                                           \
      FG_R(FG_UNIFORM(2, 4), 2, 3, 6),                                                             \
      BIAS(__VA_ARGS__) },                                                                         \
    .out =                                                                                         \
    { X(D(2, 3, 6, 16)),                                                                           \
      X(D(2, 3, 9, 16)),                                                                           \
      X(D(2, 3, 9, 16)),                                                                           \
      BIAS(__VA_ARGS__) },                                                                         \
    .tolerance = 1e-4, .flags = FG_CASE_MAY_DECLINE                                                \
  }
    WITH_DBIAS("attention_grad of a bias", 2, 3, 6, 9),
    WITH_DBIAS("attention_grad of a bias a head", 3, 6, 9),
    WITH_DBIAS("attention_grad of a bias a sample and key", 2, 1, 1, 9),
    WITH_DBIAS("attention_grad of a bias a query", 6, 1),
};
FG_TABLE(attention);
