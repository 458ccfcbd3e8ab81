/* Products of a few rows with constant weights, which a backend may put in an order of its own: rows, columns
 * and terms that no tile divides, terms so many that they are summed up in parts; with every tail. */
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

static const struct fg_case cases[] = {
    BARE(16, 32, 32),
    BARE(17, 33, 33),
    BARE(29, 40, 48),
    BARE(64, 100, 257),
    BARE(33, 1030, 35),
    BARE(111, 1024, 40),
    BARE(50, 400, 130),
    TAILS(19, 37, 71),
    TAILS(43, 2100, 34),
    TAILS(101, 48, 64),
    {.name = "packed, of a batch of 3",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.trans_b = true, .alpha = 1, .act = ACT(relu)}},
     .in = {N2(3, 19, 40), N2(50, 40), N2(50)},
     .out = {N2(3, 19, 50)},
     .constant = 6,
     .flags = FG_CASE_NO_GRADIENT},
};
FG_TABLE(packed);
