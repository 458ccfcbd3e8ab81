/* Calls that would read or write out of bounds, or mean nothing: the oracle's prepare declines
 * each. */
#include "harness.h"

#define D(...) (__VA_ARGS__)
#define T(d) FG_TD(F32, FG_NORMAL, 4, d)
#define CONV(label, g, s, d, p, x, w, y)                                                           \
  {                                                                                                \
    .name = label, .op = FG_OP_conv,                                                               \
    .attrs = {.conv = {.spatial = 2,                                                               \
                       .group = g,                                                                 \
                       .stride = {s, s},                                                           \
                       .dilation = {d, d},                                                         \
                       .pad_lo = {p, p},                                                           \
                       .pad_hi = {p, p}}},                                                         \
    .in = {T(x), T(w)}, .out = {                                                                   \
      T(y)                                                                                         \
    }                                                                                              \
  }
#define ONE(label, op_, attrs_, xr, x, yr, y)                                                      \
  {                                                                                                \
    .name = label, .op = FG_OP_##op_, .attrs = FG_DIMS(attrs_),                                    \
    .in = {FG_TD(F32, FG_NORMAL, xr, x)}, .out = {                                                 \
      FG_TD(F32, FG_NORMAL, yr, y)                                                                 \
    }                                                                                              \
  }
#define TWO(label, op_, attrs_, a, b, y)                                                           \
  {                                                                                                \
    .name = label, .op = FG_OP_##op_, .attrs = FG_DIMS(attrs_), .in = {a, b}, .out = { y }         \
  }

static const struct fg_case cases[] = {
    CONV("conv: result too large", 1, 1, 1, 1, D(1, 4, 5, 5), D(4, 4, 3, 3), D(1, 4, 6, 5)),
    CONV("conv: window beyond the image", 1, 1, 1, 0, D(1, 4, 2, 2), D(4, 4, 3, 3), D(1, 4, 1, 1)),
    CONV("conv: stride 0", 1, 0, 1, 1, D(1, 4, 5, 5), D(4, 4, 3, 3), D(1, 4, 5, 5)),
    CONV("conv: dilation 0", 1, 1, 0, 1, D(1, 4, 5, 5), D(4, 4, 3, 3), D(1, 4, 5, 5)),
    CONV("conv: negative padding", 1, 1, 1, -1, D(1, 4, 5, 5), D(4, 4, 3, 3), D(1, 4, 1, 1)),
    CONV("conv: group 0", 0, 1, 1, 1, D(1, 4, 5, 5), D(4, 4, 3, 3), D(1, 4, 5, 5)),
    CONV("conv: groups that do not divide", 3, 1, 1, 1, D(1, 4, 5, 5), D(3, 4, 3, 3),
         D(1, 3, 5, 5)),
    CONV("conv: weights for other channels", 1, 1, 1, 1, D(1, 4, 5, 5), D(4, 5, 3, 3),
         D(1, 4, 5, 5)),
    CONV("conv: another batch", 1, 1, 1, 1, D(1, 4, 5, 5), D(4, 4, 3, 3), D(2, 4, 5, 5)),
    {.name = "conv: bias of another length",
     .op = FG_OP_conv,
     .attrs = {.conv = {.spatial = 2, .group = 1, .stride = {1, 1}, .dilation = {1, 1}}},
     .in = {T(D(1, 4, 5, 5)), T(D(4, 4, 1, 1)), FG_R(FG_NORMAL, 3)},
     .out = {T(D(1, 4, 5, 5))}},
    {.name = "conv: no weights",
     .op = FG_OP_conv,
     .attrs = {.conv = {.spatial = 2, .group = 1, .stride = {1, 1}, .dilation = {1, 1}}},
     .in = {T(D(1, 4, 5, 5))},
     .out = {T(D(1, 4, 5, 5))}},
    {.name = "conv: bytes",
     .op = FG_OP_conv,
     .attrs = {.conv = {.spatial = 2, .group = 1, .stride = {1, 1}, .dilation = {1, 1}}},
     .in = {FG_T(U8, FG_NORMAL, 1, 4, 5, 5), FG_T(U8, FG_NORMAL, 4, 4, 1, 1)},
     .out = {FG_T(U8, FG_NORMAL, 1, 4, 5, 5)}},
    {.name = "max_pool: index of the wrong type",
     .op = FG_OP_max_pool,
     .attrs = {.pool = {.spatial = 2, .window = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}}},
     .in = {T(D(1, 2, 4, 4))},
     .out = {T(D(1, 2, 2, 2)), FG_T(I32, FG_NORMAL, 1, 2, 2, 2)}},
    {.name = "avg_pool: a window of 2^62 places",
     .op = FG_OP_avg_pool,
     .attrs = {.pool = {.spatial = 2,
                        .window = {INT32_MAX, INT32_MAX},
                        .stride = {1, 1},
                        .dilation = {1, 1},
                        .pad_lo = {INT32_MAX - 1, INT32_MAX - 1}}},
     .in = {T(D(1, 2, 1, 1))},
     .out = {T(D(1, 2, 1, 1))}},
    {.name = "max_pool: a window of no places",
     .op = FG_OP_max_pool,
     .attrs = {.pool = {.spatial = 2, .window = {0, 2}, .stride = {2, 2}, .dilation = {1, 1}}},
     .in = {T(D(1, 2, 4, 4))},
     .out = {T(D(1, 2, 2, 2))}},
    ONE("unary: another shape", unary, (.unary = {0}), 2, D(3, 4), 2, D(4, 3)),
    ONE("unary: unknown kind", unary, (.unary = {.kind = FG_UNARY_COUNT}), 1, D(3), 1, D(3)),
    ONE("softmax: axis beyond the rank", softmax, (.softmax = {.axis = 2}), 2, D(3, 4), 2, D(3, 4)),
    ONE("transpose: no permutation", transpose, (.transpose = {.perm = FG_DIMS(D(0, 0))}), 2,
        D(3, 3), 2, D(3, 3)),
    ONE("slice: beyond the end", slice, (.slice = {.start = FG_DIMS(D(2)), .step = FG_DIMS(D(2))}),
        1, D(5), 1, D(3)),
    ONE("slice: start below 0", slice, (.slice = {.start = FG_DIMS(D(-1)), .step = FG_DIMS(D(1))}),
        1, D(5), 1, D(3)),
    ONE("slice: a step that overflows", slice,
        (.slice = {.start = FG_DIMS(D(0)), .step = FG_DIMS(D(INT64_MAX))}), 1, D(5), 1, D(4)),
    ONE("slice_grad: beyond the end", slice_grad,
        (.slice = {.start = FG_DIMS(D(2)), .step = FG_DIMS(D(2))}), 1, D(3), 1, D(5)),
    ONE("pad: another size", pad, (.pad = {.lo = FG_DIMS(D(1)), .hi = FG_DIMS(D(1))}), 1, D(5), 1,
        D(6)),
    ONE("expand: sizes that differ", expand, (.shape = {0}), 1, D(3), 1, D(4)),
    ONE("reduce: axes beyond the rank", reduce, (.reduce = {.axes = 4, .keep = true}), 2, D(3, 4),
        2, D(3, 4)),
    ONE("reduce: max over nothing", reduce, (.reduce = {.kind = FG_REDUCE_max, .axes = 1}), 2,
        D(0, 4), 1, D(4)),
    TWO("binary: shapes that do not broadcast", binary, (.binary = {0}), FG_R(FG_NORMAL, 3, 4),
        FG_R(FG_NORMAL, 3), FG_Y(3, 4)),
    TWO("binary: a result larger than both", binary, (.binary = {0}), FG_R(FG_NORMAL, 1, 4),
        FG_R(FG_NORMAL, 4), FG_Y(3, 4)),
    TWO("binary: types that differ", binary, (.binary = {0}), FG_R(FG_NORMAL, 4),
        FG_T(I64, FG_NORMAL, 4), FG_Y(4)),
    TWO("matmul: inner sizes differ", matmul, (.matmul = {.alpha = 1}), FG_R(FG_NORMAL, 3, 4),
        FG_R(FG_NORMAL, 5, 2), FG_Y(3, 2)),
    TWO("matmul: a vector", matmul, (.matmul = {.alpha = 1}), FG_R(FG_NORMAL, 4),
        FG_R(FG_NORMAL, 4, 2), FG_Y(2)),
    {.name = "attention: keys of another width",
     .op = FG_OP_attention,
     .attrs = {.attention = {1}},
     .in = {T(D(1, 2, 3, 4)), T(D(1, 2, 5, 6)), T(D(1, 2, 5, 4))},
     .out = {T(D(1, 2, 3, 4)), FG_Y(1, 2, 3)}},
    {.name = "attention: as many values as keys",
     .op = FG_OP_attention,
     .attrs = {.attention = {1}},
     .in = {T(D(1, 2, 3, 4)), T(D(1, 2, 5, 4)), T(D(1, 2, 6, 4))},
     .out = {T(D(1, 2, 3, 4)), FG_Y(1, 2, 3)}},
    {.name = "attention: a bias that does not broadcast",
     .op = FG_OP_attention,
     .attrs = {.attention = {1}},
     .in = {T(D(1, 2, 3, 4)), T(D(1, 2, 5, 4)), T(D(1, 2, 5, 4)), FG_R(FG_NORMAL, 3, 4)},
     .out = {T(D(1, 2, 3, 4)), FG_Y(1, 2, 3)}},
    {.name = "attention_grad: no lse",
     .op = FG_OP_attention_grad,
     .attrs = {.attention = {1}},
     .in = {T(D(1, 2, 3, 4)), T(D(1, 2, 3, 4)), T(D(1, 2, 5, 4)), T(D(1, 2, 5, 4)),
            T(D(1, 2, 3, 4))},
     .out = {T(D(1, 2, 3, 4))}},
    TWO("concat: too little", concat, (.axis = {.axis = 0}), FG_R(FG_NORMAL, 3), FG_R(FG_NORMAL, 2),
        FG_Y(6)),
    TWO("gather: a real index", gather, (.axis = {.axis = 0}), FG_R(FG_NORMAL, 3),
        FG_R(FG_NORMAL, 2), FG_Y(2)),
    TWO("gather: another shape", gather, (.axis = {.axis = 0}), FG_R(FG_NORMAL, 3),
        FG_T(I64, FG_NORMAL, 2), FG_Y(3)),
    {.name = "scatter: rows for other indices",
     .op = FG_OP_scatter,
     .in = {FG_R(FG_NORMAL, 3, 2), FG_T(I64, FG_NORMAL, 2), FG_R(FG_NORMAL, 3, 2)},
     .out = {FG_Y(3, 2)}},
    {.name = "scatter: a sum of truths",
     .op = FG_OP_scatter,
     .attrs = {.scatter = {FG_SCATTER_add}},
     .in = {FG_T(BOOL, FG_NORMAL, 3), FG_T(I64, FG_NORMAL, 3), FG_T(BOOL, FG_NORMAL, 3)},
     .out = {FG_T(BOOL, FG_NORMAL, 3)}},
    {.name = "top: more than there are",
     .op = FG_OP_top,
     .attrs = {.top = {0, 4, false, false}},
     .in = {FG_R(FG_NORMAL, 3)},
     .out = {FG_T(I64, FG_NORMAL, 4)}},
    {.name = "cumsum: axis beyond the rank",
     .op = FG_OP_cumsum,
     .attrs = {.cumsum = {1, false, false}},
     .in = {FG_R(FG_NORMAL, 3)},
     .out = {FG_Y(3)}},
    {.name = "binary: bits of floats",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_bit_and}},
     .in = {FG_R(FG_NORMAL, 3), FG_R(FG_NORMAL, 3)},
     .out = {FG_Y(3)}},
    TWO("loss: labels of another length", loss, (.loss = {0}), FG_R(FG_NORMAL, 3, 4),
        FG_T(I32, FG_NORMAL, 2), FG_Y(3, 4)),
    TWO("loss: dlr of two classes", loss, (.loss = {.kind = FG_LOSS_dlr}), FG_R(FG_NORMAL, 3, 2),
        FG_T(I32, FG_NORMAL, 3), FG_Y(3, 2)),
};
FG_TABLE(refused);
