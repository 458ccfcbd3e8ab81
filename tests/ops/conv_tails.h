/* Convolutions with every tail that a kernel of one's own computes itself, forward and for the input gradient, for
 * tables; BOTH: of stride 1, padded alike on all sides. */
#ifndef OPS_CONV_TAILS_H
#define OPS_CONV_TAILS_H

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define T(d) FG_TD(F32, FG_NORMAL, 4, d)
#define NONE                                                                                       \
  { 0 }
#define ATTRS_OF(sh, sw, dh, dw, t, l, b, r, act_)                                                 \
  {                                                                                                \
    .conv = {                                                                                      \
      .spatial = 2,                                                                                \
      .group = 1,                                                                                  \
      .stride = {sh, sw},                                                                          \
      .dilation = {dh, dw},                                                                        \
      .pad_lo = {t, l},                                                                            \
      .pad_hi = {b, r},                                                                            \
      .act = {act_, 0, 0}                                                                          \
    }                                                                                              \
  }
#define ATTRS(pad, act_) ATTRS_OF(1, 1, 1, 1, pad, pad, pad, pad, act_)
#define CONV_TAILS(label, bare, relu, x, w, y, k, sparse)                                          \
  {.name = label,                                                                                  \
   .op = FG_OP_conv,                                                                               \
   .attrs = bare,                                                                                  \
   .in = {T(x), T(w), FG_R(FG_NORMAL, k)},                                                         \
   .out = {T(y)},                                                                                  \
   .constant = 6,                                                                                  \
   .flags = FG_CASE_NO_GRADIENT},                                                                  \
      {.name = label ", with residual and relu",                                                   \
       .op = FG_OP_conv,                                                                           \
       .attrs = relu,                                                                              \
       .in = {T(x), T(w), FG_R(FG_NORMAL, k), T(y)},                                               \
       .out = {T(y)},                                                                              \
       .constant = 6,                                                                              \
       .flags = FG_CASE_NO_GRADIENT},                                                              \
      {.name = label ", input gradient",                                                           \
       .op = FG_OP_conv_grad_input,                                                                \
       .attrs = bare,                                                                              \
       .in = {T(y), T(w)},                                                                         \
       .out = {T(x)},                                                                              \
       .constant = 2,                                                                              \
       .flags = FG_CASE_NO_GRADIENT | sparse},                                                     \
      {.name = label ", input gradient behind relu",                                               \
       .op = FG_OP_conv_grad_input,                                                                \
       .attrs = relu,                                                                              \
       .in = {T(y), T(w), T(x)},                                                                   \
       .out = {T(x)},                                                                              \
       .constant = 2,                                                                              \
       .flags = FG_CASE_NO_GRADIENT | FG_CASE_MAY_DECLINE | sparse},                               \
  {                                                                                                \
    .name = label ", input gradient with another behind relu", .op = FG_OP_conv_grad_input,        \
    .attrs = relu, .in = {T(y), T(w), T(x), T(x)}, .out = {T(x)}, .constant = 2,                   \
    .flags = FG_CASE_NO_GRADIENT | FG_CASE_MAY_DECLINE | sparse                                    \
  }
#define BOTH(label, pad, x, w, y, k)                                                               \
  CONV_TAILS(label, ATTRS(pad, FG_UNARY_identity), ATTRS(pad, FG_UNARY_relu), x, w, y, k, 0)

#endif
