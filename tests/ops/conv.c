/* conv, conv_grad_input, conv_grad_weight. Each geometry is written once and gives all three. */
#include "harness.h"

#define D(...) (__VA_ARGS__)
#define ATTRS(g, sh, sw, dh, dw, t, l, b, r)                                                       \
  .spatial = 2, .group = g, .stride = {sh, sw}, .dilation = {dh, dw}, .pad_lo = {t, l},            \
  .pad_hi = {b, r}
#define PLAIN_ATTRS(...)                                                                           \
  {                                                                                                \
    .conv = { ATTRS(__VA_ARGS__) }                                                                 \
  }
#define T(d) FG_TD(F32, FG_NORMAL, 4, d)
#define ALL(label, attrs_, x, w, y, k)                                                             \
  {.name = label,                                                                                  \
   .op = FG_OP_conv,                                                                               \
   .attrs = attrs_,                                                                                \
   .in = {T(x), T(w), FG_R(FG_NORMAL, k)},                                                         \
   .out = {T(y)},                                                                                  \
   .constant = 6},                                                                                 \
      {.name = label ", input gradient",                                                           \
       .op = FG_OP_conv_grad_input,                                                                \
       .attrs = attrs_,                                                                            \
       .in = {T(y), T(w)},                                                                         \
       .out = {T(x)},                                                                              \
       .constant = 2,                                                                              \
       .flags = FG_CASE_SPARSE},                                                                   \
  {                                                                                                \
    .name = label ", weight gradient", .op = FG_OP_conv_grad_weight, .attrs = attrs_,              \
    .in = {T(x), T(y)}, .out = {T(w)}, .tolerance = 1e-4, .flags = FG_CASE_SPARSE                  \
  }
#define TAIL(label, act_, bias, residual, flags_)                                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_conv,                                                               \
    .attrs = {.conv = {ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1), .act = act_}},                            \
    .in = {T(D(2, 16, 6, 5)), T(D(16, 16, 3, 3)), bias, residual}, .out = {T(D(2, 16, 6, 5))},     \
    .constant = 6, .flags = flags_                                                                 \
  }
#define ACT(k, a, b)                                                                               \
  { FG_UNARY_##k, a, b }
#define NONE                                                                                       \
  { 0 }

#define EVEN                                                                                       \
  {                                                                                                \
    .conv = {                                                                                      \
      .spatial = 3,                                                                                \
      .group = 1,                                                                                  \
      .stride = {1, 1, 1},                                                                         \
      .dilation = {1, 1, 1},                                                                       \
      .pad_lo = {1, 1, 1},                                                                         \
      .pad_hi = {1, 1, 1}                                                                          \
    }                                                                                              \
  }
#define UNEVEN                                                                                     \
  {                                                                                                \
    .conv = {                                                                                      \
      .spatial = 3,                                                                                \
      .group = 2,                                                                                  \
      .stride = {2, 1, 3},                                                                         \
      .dilation = {1, 2, 1},                                                                       \
      .pad_lo = {1, 0, 2},                                                                         \
      .pad_hi = {0, 1, 1}                                                                          \
    }                                                                                              \
  }

/* An input gradient, the slope of what lies before it, and another gradient. */
#define BEHIND(label, group, act_, other, x, w, y, flags_)                                         \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input,                                                    \
    .attrs = {.conv = {ATTRS(group, 1, 1, 1, 1, 0, 0, 0, 0), .act = act_}},                        \
    .in = {T(y), T(w), T(x), other}, .out = {T(x)}, .constant = 2,                                 \
    .flags = FG_CASE_NO_GRADIENT | FG_CASE_MAY_DECLINE | (flags_)                                  \
  }

static const struct fg_case cases[] = {
    ALL("conv 3x3", PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1), D(2, 16, 8, 8), D(16, 16, 3, 3),
        D(2, 16, 8, 8), 16),
    ALL("conv 3x3 of an image", PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1), D(2, 3, 9, 7),
        D(16, 3, 3, 3), D(2, 16, 9, 7), 16),
    ALL("conv 3x3 stride 2", PLAIN_ATTRS(1, 2, 2, 1, 1, 1, 1, 1, 1), D(2, 16, 9, 9),
        D(32, 16, 3, 3), D(2, 32, 5, 5), 32),
    ALL("conv 3x3 stride 2, even", PLAIN_ATTRS(1, 2, 2, 1, 1, 1, 1, 1, 1), D(1, 8, 8, 8),
        D(24, 8, 3, 3), D(1, 24, 4, 4), 24),
    ALL("conv 1x1", PLAIN_ATTRS(1, 1, 1, 1, 1, 0, 0, 0, 0), D(3, 16, 5, 5), D(8, 16, 1, 1),
        D(3, 8, 5, 5), 8),
    ALL("conv 1x1 into channels without blocks", PLAIN_ATTRS(1, 1, 1, 1, 1, 0, 0, 0, 0),
        D(2, 48, 5, 6), D(20, 48, 1, 1), D(2, 20, 5, 6), 20),
    ALL("conv 3x3 from channels without blocks", PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1),
        D(2, 20, 5, 6), D(48, 20, 3, 3), D(2, 48, 5, 6), 48),
    ALL("conv 1x1 stride 2", PLAIN_ATTRS(1, 2, 2, 1, 1, 0, 0, 0, 0), D(2, 16, 7, 7),
        D(32, 16, 1, 1), D(2, 32, 4, 4), 32),
    ALL("conv 7x7 stride 2", PLAIN_ATTRS(1, 2, 2, 1, 1, 3, 3, 3, 3), D(1, 3, 17, 17), D(8, 3, 7, 7),
        D(1, 8, 9, 9), 8),
    ALL("conv odd channels", PLAIN_ATTRS(1, 1, 1, 1, 1, 0, 0, 0, 0), D(2, 5, 7, 6), D(7, 5, 3, 2),
        D(2, 7, 5, 5), 7),
    ALL("conv of one channel", PLAIN_ATTRS(1, 1, 1, 1, 1, 2, 2, 2, 2), D(2, 1, 11, 11),
        D(6, 1, 5, 5), D(2, 6, 11, 11), 6),
    ALL("conv asymmetric padding", PLAIN_ATTRS(1, 1, 1, 1, 1, 0, 1, 2, 3), D(2, 4, 6, 5),
        D(8, 4, 3, 3), D(2, 8, 6, 7), 8),
    ALL("conv asymmetric stride", PLAIN_ATTRS(1, 2, 3, 1, 1, 1, 0, 0, 1), D(2, 4, 8, 9),
        D(8, 4, 3, 3), D(2, 8, 4, 3), 8),
    ALL("conv dilated", PLAIN_ATTRS(1, 1, 1, 2, 3, 2, 3, 2, 3), D(2, 8, 9, 9), D(8, 8, 3, 3),
        D(2, 8, 9, 9), 8),
    ALL("conv dilated with stride", PLAIN_ATTRS(1, 2, 1, 2, 1, 1, 0, 1, 0), D(1, 3, 11, 8),
        D(5, 3, 3, 3), D(1, 5, 5, 6), 5),
    ALL("conv in groups", PLAIN_ATTRS(2, 1, 1, 1, 1, 1, 1, 1, 1), D(2, 16, 5, 5), D(32, 8, 3, 3),
        D(2, 32, 5, 5), 32),
    ALL("conv in odd groups", PLAIN_ATTRS(3, 1, 1, 1, 1, 1, 1, 1, 1), D(2, 6, 5, 5), D(9, 2, 3, 3),
        D(2, 9, 5, 5), 9),
    ALL("conv depthwise", PLAIN_ATTRS(16, 1, 1, 1, 1, 1, 1, 1, 1), D(2, 16, 7, 7), D(16, 1, 3, 3),
        D(2, 16, 7, 7), 16),
    ALL("conv depthwise stride 2", PLAIN_ATTRS(24, 2, 2, 1, 1, 1, 1, 1, 1), D(1, 24, 9, 9),
        D(24, 1, 3, 3), D(1, 24, 5, 5), 24),
    ALL("conv depthwise 5x5 odd", PLAIN_ATTRS(7, 1, 1, 1, 1, 2, 2, 2, 2), D(2, 7, 6, 6),
        D(7, 1, 5, 5), D(2, 7, 6, 6), 7),
    ALL("conv depthwise multiplied", PLAIN_ATTRS(4, 1, 1, 1, 1, 0, 0, 0, 0), D(2, 4, 5, 5),
        D(8, 1, 3, 3), D(2, 8, 3, 3), 8),
    ALL("conv patches", PLAIN_ATTRS(1, 4, 4, 1, 1, 0, 0, 0, 0), D(2, 3, 16, 16), D(24, 3, 4, 4),
        D(2, 24, 4, 4), 24),
    ALL("conv patches with a rest", PLAIN_ATTRS(1, 4, 4, 1, 1, 0, 0, 0, 0), D(1, 3, 18, 19),
        D(8, 3, 4, 4), D(1, 8, 4, 4), 8),
    ALL("conv window as large as the image", PLAIN_ATTRS(1, 1, 1, 1, 1, 0, 0, 0, 0), D(2, 8, 4, 4),
        D(8, 8, 4, 4), D(2, 8, 1, 1), 8),
    ALL("conv 1xN", PLAIN_ATTRS(1, 1, 1, 1, 1, 0, 1, 0, 1), D(2, 4, 1, 12), D(4, 4, 1, 3),
        D(2, 4, 1, 12), 4),
    ALL("conv of one pixel", PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1), D(2, 8, 1, 1), D(8, 8, 3, 3),
        D(2, 8, 1, 1), 8),
    {.name = "conv of an empty batch",
     .op = FG_OP_conv,
     .attrs = PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1),
     .in = {T(D(0, 16, 5, 5)), T(D(8, 16, 3, 3)), FG_R(FG_NORMAL, 8)},
     .out = {T(D(0, 8, 5, 5))},
     .constant = 6},
    {.name = "conv input gradient of an empty batch",
     .op = FG_OP_conv_grad_input,
     .attrs = PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1),
     .in = {T(D(0, 8, 5, 5)), T(D(8, 16, 3, 3))},
     .out = {T(D(0, 16, 5, 5))},
     .constant = 2},
    {.name = "conv with weights that are computed",
     .op = FG_OP_conv,
     .attrs = PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1),
     .in = {T(D(2, 8, 5, 5)), T(D(8, 8, 3, 3)), FG_R(FG_NORMAL, 8)},
     .out = {T(D(2, 8, 5, 5))}},
    {.name = "conv input gradient with weights that are computed",
     .op = FG_OP_conv_grad_input,
     .attrs = PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1),
     .in = {T(D(2, 8, 5, 5)), T(D(8, 8, 3, 3))},
     .out = {T(D(2, 8, 5, 5))}},
    TAIL("conv without bias", ACT(identity, 0, 0), NONE, NONE, 0),
    TAIL("conv with relu", ACT(relu, 0, 0), FG_R(FG_NORMAL, 16), NONE, FG_CASE_NO_GRADIENT),
    TAIL("conv with relu6", ACT(relu6, 0, 0), FG_R(FG_NORMAL, 16), NONE, FG_CASE_NO_GRADIENT),
    TAIL("conv with clip", ACT(clip, -1, 2), FG_R(FG_NORMAL, 16), NONE, FG_CASE_NO_GRADIENT),
    TAIL("conv with leaky_relu", ACT(leaky_relu, 0.1, 0), FG_R(FG_NORMAL, 16), NONE,
         FG_CASE_NO_GRADIENT),
    TAIL("conv with sigmoid", ACT(sigmoid, 0, 0), FG_R(FG_NORMAL, 16), NONE, FG_CASE_NO_GRADIENT),
    TAIL("conv with silu", ACT(silu, 1, 0), FG_R(FG_NORMAL, 16), NONE, FG_CASE_NO_GRADIENT),
    TAIL("conv with hard_swish", ACT(hard_swish, 0, 0), FG_R(FG_NORMAL, 16), NONE,
         FG_CASE_NO_GRADIENT),
    TAIL("conv with residual", ACT(identity, 0, 0), FG_R(FG_NORMAL, 16), T(D(2, 16, 6, 5)),
         FG_CASE_NO_GRADIENT),
    TAIL("conv with residual and relu", ACT(relu, 0, 0), FG_R(FG_NORMAL, 16), T(D(2, 16, 6, 5)),
         FG_CASE_NO_GRADIENT),
    TAIL("conv with residual, relu, no bias", ACT(relu, 0, 0), NONE, T(D(2, 16, 6, 5)),
         FG_CASE_NO_GRADIENT),
    {.name = "conv with residual and relu, odd channels",
     .op = FG_OP_conv,
     .attrs = {.conv = {ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1), .act = ACT(relu, 0, 0)}},
     .in = {T(D(2, 5, 6, 5)), T(D(7, 5, 3, 3)), FG_R(FG_NORMAL, 7), T(D(2, 7, 6, 5))},
     .out = {T(D(2, 7, 6, 5))},
     .constant = 6,
     .flags = FG_CASE_NO_GRADIENT},
    {.name = "conv with residual into channels without blocks",
     .op = FG_OP_conv,
     .attrs = PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 1, 1, 1),
     .in = {T(D(2, 16, 6, 5)), T(D(20, 16, 3, 3)), FG_R(FG_NORMAL, 20), T(D(2, 20, 6, 5))},
     .out = {T(D(2, 20, 6, 5))},
     .constant = 6,
     .flags = FG_CASE_NO_GRADIENT | FG_CASE_CPU_DECLINES},
    BEHIND("conv input gradient behind relu6", 1, ACT(relu6, 0, 0), NONE, D(2, 16, 6, 5),
           D(24, 16, 3, 3), D(2, 24, 4, 3), 0),
    BEHIND("conv input gradient behind silu, plainly", 1, ACT(silu, 1, 0), T(D(2, 5, 6, 5)),
           D(2, 5, 6, 5), D(7, 5, 3, 3), D(2, 7, 4, 3), 0),
    BEHIND("conv depthwise, input gradient with another behind relu6", 16, ACT(relu6, 0, 0),
           T(D(2, 16, 9, 7)), D(2, 16, 9, 7), D(16, 1, 3, 3), D(2, 16, 7, 5), 0),
    BEHIND("conv 1x1, input gradient behind relu", 1, ACT(relu, 0, 0), NONE, D(3, 16, 6, 5),
           D(8, 16, 1, 1), D(3, 8, 6, 5), 0),
    BEHIND("conv 1x1, input gradient with another behind relu", 1, ACT(relu, 0, 0),
           T(D(3, 16, 6, 5)), D(3, 16, 6, 5), D(8, 16, 1, 1), D(3, 8, 6, 5), 0),
    BEHIND("conv 1x1, input gradient behind relu, a sample at a time", 1, ACT(relu, 0, 0), NONE,
           D(3, 16, 150, 160), D(8, 16, 1, 1), D(3, 8, 150, 160), FG_CASE_OF_CPU),
    BEHIND("conv 1x1, input gradient with another behind relu, two samples at a time", 1,
           ACT(relu, 0, 0), T(D(4, 16, 150, 160)), D(4, 16, 150, 160), D(8, 16, 1, 1),
           D(4, 8, 150, 160), FG_CASE_OF_CPU),
    {.name = "conv at points",
     .op = FG_OP_conv,
     .attrs = PLAIN_ATTRS(1, 1, 1, 1, 1, 1, 0, 0, 0),
     .in = {FG_R(FG_VALUES(1, 2, 3, 4, 5, 6), 1, 1, 2, 3), FG_R(FG_VALUES(1, 2, 3, 4), 1, 1, 2, 2),
            FG_R(FG_VALUES(0.5), 1)},
     .out = {FG_T(F32, FG_VALUES(11.5, 18.5, 37.5, 47.5), 1, 1, 2, 2)},
     .constant = 6},
/* The same over three axes. */
#undef T
#define T(d) FG_TD(F32, FG_NORMAL, 5, d)
    ALL("conv 3x3x3", EVEN, D(2, 3, 5, 6, 4), D(8, 3, 3, 3, 3), D(2, 8, 5, 6, 4), 8),
    ALL("conv in space, uneven, in groups", UNEVEN, D(2, 4, 6, 5, 7), D(6, 2, 2, 2, 3),
        D(2, 6, 3, 4, 3), 6),
};
FG_TABLE(conv);
