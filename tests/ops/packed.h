/* Matmuls by constant weights, with every tail, for tables. */
#ifndef OPS_PACKED_H
#define OPS_PACKED_H

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define NONE                                                                                       \
  { 0 }
#define N2(...) FG_R(FG_NORMAL, __VA_ARGS__)
#define ACT(kind)                                                                                  \
  { FG_UNARY_##kind, 0, 0 }
#define MATMUL(label, tb, al, act_, a, b, bias, residual, y)                                       \
  {                                                                                                \
    .name = label, .op = FG_OP_matmul,                                                             \
    .attrs = {.matmul = {.trans_b = tb, .alpha = al, .act = ACT(act_)}},                           \
    .in = {a, b, bias, residual}, .out = {y}, .constant = 6, .flags = FG_CASE_NO_GRADIENT          \
  }
#define BARE(m, k, n)                                                                              \
  MATMUL("packed " #m " x " #k " x " #n, false, 1, identity, N2(m, k), N2(k, n), NONE, NONE,       \
         N2(m, n)),                                                                                \
      MATMUL("packed " #m " x " #k " x " #n ", turned", true, 1, identity, N2(m, k), N2(n, k),     \
             NONE, NONE, N2(m, n))
#define TAILS(m, k, n)                                                                             \
  MATMUL("packed " #m " x " #k " x " #n " with bias", true, 0.5, identity, N2(m, k), N2(n, k),     \
         N2(n), NONE, N2(m, n)),                                                                   \
      MATMUL("packed " #m " x " #k " x " #n " with residual", false, 2, identity, N2(m, k),        \
             N2(k, n), NONE, N2(m, n), N2(m, n)),                                                  \
      MATMUL("packed " #m " x " #k " x " #n " with bias, residual and relu", true, 1, relu,        \
             N2(m, k), N2(n, k), N2(n), N2(m, n), N2(m, n)),                                       \
      MATMUL("packed " #m " x " #k " x " #n " with bias, residual and gelu", false, 1, gelu,       \
             N2(m, k), N2(k, n), N2(n), N2(m, n), N2(m, n))

/* Of a, nearly a half and more than two thirds are zeros, and no two rows are alike. */
#define HALVES(...)                                                                                \
  FG_R(FG_VALUES(0, 0.75, -1.25, 0, 0, 2.5, 0.375, 0, -0.625, 0, 1.875), __VA_ARGS__)
#define THIRDS(...) FG_R(FG_VALUES(0, 0, 0.875, 0, -1.5, 0, 0), __VA_ARGS__)
#define ZEROS(m, k, n)                                                                             \
  MATMUL("packed " #m " x " #k " x " #n " with zeros", false, 1, identity, HALVES(m, k), N2(k, n), \
         NONE, NONE, N2(m, n)),                                                                    \
      MATMUL("packed " #m " x " #k " x " #n " with zeros, bias and relu", true, 0.5, relu,         \
             THIRDS(m, k), N2(n, k), N2(n), NONE, N2(m, n)),                                       \
      MATMUL("packed " #m " x " #k " x " #n " with zeros, bias, residual and gelu", true, 2, gelu, \
             HALVES(m, k), N2(n, k), N2(n), N2(m, n), N2(m, n))

#endif
