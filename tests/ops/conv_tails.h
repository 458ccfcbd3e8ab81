/* Convolutions of stride 1 with every tail that a kernel of one's own computes itself, forward and for the input
 * gradient, for tables. */
#ifndef OPS_CONV_TAILS_H
#define OPS_CONV_TAILS_H

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define T(d) FG_TD(F32, FG_NORMAL, 4, d)
#define NONE                                                                                       \
  { 0 }
#define ATTRS(pad, act_)                                                                           \
  {                                                                                                \
    .conv = {                                                                                      \
      .spatial = 2,                                                                                \
      .group = 1,                                                                                  \
      .stride = {1, 1},                                                                            \
      .dilation = {1, 1},                                                                          \
      .pad_lo = {pad, pad},                                                                        \
      .pad_hi = {pad, pad},                                                                        \
      .act = {act_, 0, 0}                                                                          \
    }                                                                                              \
  }
#define BOTH(label, pad, x, w, y, k)                                                               \
  {.name = label,                                                                                  \
   .op = FG_OP_conv,                                                                               \
   .attrs = ATTRS(pad, FG_UNARY_identity),                                                         \
   .in = {T(x), T(w), FG_R(FG_NORMAL, k)},                                                         \
   .out = {T(y)},                                                                                  \
   .constant = 6,                                                                                  \
   .flags = FG_CASE_NO_GRADIENT},                                                                  \
      {.name = label ", with residual and relu",                                                   \
       .op = FG_OP_conv,                                                                           \
       .attrs = ATTRS(pad, FG_UNARY_relu),                                                         \
       .in = {T(x), T(w), FG_R(FG_NORMAL, k), T(y)},                                               \
       .out = {T(y)},                                                                              \
       .constant = 6,                                                                              \
       .flags = FG_CASE_NO_GRADIENT},                                                              \
      {.name = label ", input gradient",                                                           \
       .op = FG_OP_conv_grad_input,                                                                \
       .attrs = ATTRS(pad, FG_UNARY_identity),                                                     \
       .in = {T(y), T(w)},                                                                         \
       .out = {T(x)},                                                                              \
       .constant = 2,                                                                              \
       .flags = FG_CASE_NO_GRADIENT},                                                              \
      {.name = label ", input gradient behind relu",                                               \
       .op = FG_OP_conv_grad_input,                                                                \
       .attrs = ATTRS(pad, FG_UNARY_relu),                                                         \
       .in = {T(y), T(w), T(x)},                                                                   \
       .out = {T(x)},                                                                              \
       .constant = 2,                                                                              \
       .flags = FG_CASE_NO_GRADIENT | FG_CASE_MAY_DECLINE},                                        \
  {                                                                                                \
    .name = label ", input gradient with another behind relu", .op = FG_OP_conv_grad_input,        \
    .attrs = ATTRS(pad, FG_UNARY_relu), .in = {T(y), T(w), T(x), T(x)}, .out = {T(x)},             \
    .constant = 2, .flags = FG_CASE_NO_GRADIENT | FG_CASE_MAY_DECLINE                              \
  }

#endif
