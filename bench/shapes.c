/* Cases that are too large to test and worth timing: attention as vision transformers have it, at
 * batch 4, each beside what it is composed of where it stays unfused. */
#include "harness.h"

extern const struct fg_case_table bench_cases_shapes;

#define D(...) (__VA_ARGS__)
#define X(dims) FG_TD(F32, FG_NORMAL, 4, dims)
#define PRODUCT(label, ta, tb, a, b, y)                                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_matmul,                                                             \
    .attrs = {.matmul = {ta, tb, 0.125, {FG_UNARY_identity, 0, 0}}},                               \
    .in =                                                                                          \
    { X(a),                                                                                        \
      X(b) },                                                                                      \
    .out = {                                                                                       \
      X(y)                                                                                         \
    }                                                                                              \
  }
/* h heads, s places, d numbers: the whole, then its parts, forward and backward. */
#define ATTENTION(net, h, s, d)                                                                    \
  {.name = "attention of " net,                                                                    \
   .op = FG_OP_attention,                                                                          \
   .attrs = {.attention = {0.125}},                                                                \
   .in = {X(D(4, h, s, d)), X(D(4, h, s, d)), X(D(4, h, s, d))},                                   \
   .out = {X(D(4, h, s, d)), FG_Y(4, h, s)}},                                                      \
      PRODUCT("scores of " net, 0, 1, D(4, h, s, d), D(4, h, s, d), D(4, h, s, s)),                \
      {.name = "softmax of " net,                                                                  \
       .op = FG_OP_softmax,                                                                        \
       .attrs = {.softmax = {.axis = 3}},                                                          \
       .in = {X(D(4, h, s, s))},                                                                   \
       .out = {X(D(4, h, s, s))}},                                                                 \
      PRODUCT("values of " net, 0, 0, D(4, h, s, s), D(4, h, s, d), D(4, h, s, d)),                \
      {.name = "attention_grad of " net,                                                           \
       .op = FG_OP_attention_grad,                                                                 \
       .attrs = {.attention = {0.125}},                                                            \
       .in = {X(D(4, h, s, d)), X(D(4, h, s, d)), X(D(4, h, s, d)), X(D(4, h, s, d)),              \
              X(D(4, h, s, d)), FG_R(FG_UNIFORM(5, 6), 4, h, s)},                                  \
       .out = {X(D(4, h, s, d)), X(D(4, h, s, d)), X(D(4, h, s, d))}},                             \
      PRODUCT("gradient of p of " net, 0, 1, D(4, h, s, d), D(4, h, s, d), D(4, h, s, s)),         \
      PRODUCT("gradient of v of " net, 1, 0, D(4, h, s, s), D(4, h, s, d), D(4, h, s, d)),         \
      {.name = "softmax_grad of " net,                                                             \
       .op = FG_OP_softmax_grad,                                                                   \
       .attrs = {.softmax = {.axis = 3}},                                                          \
       .in = {FG_TD(F32, FG_UNIT, 4, D(4, h, s, s)), X(D(4, h, s, s))},                            \
       .out = {X(D(4, h, s, s))}},                                                                 \
      PRODUCT("gradient of q of " net, 0, 0, D(4, h, s, s), D(4, h, s, d), D(4, h, s, d)),         \
      PRODUCT("gradient of k of " net, 1, 0, D(4, h, s, s), D(4, h, s, d), D(4, h, s, d))

static const struct fg_case cases[] = {
    ATTENTION("ViT-Tiny/16", 3, 197, 64),      ATTENTION("ViT-B/16", 12, 197, 64),
    ATTENTION("ViT-B/16 at 384", 12, 577, 64), ATTENTION("ViT-B/32", 12, 50, 64),
    ATTENTION("a small ViT", 4, 17, 16),
};
const struct fg_case_table bench_cases_shapes = {"shapes", cases,
                                                 (int)(sizeof cases / sizeof *cases)};
