/* conv_grad_input_step and gemm_grad_input_step: every way in which a first layer's gradient can
 * meet a step. Shapes are odd, so that tiles have rests; channels, windows and strides are those by
 * which a backend chooses its variant: stems of 3x3, 7x7 with a pool behind them, patches, the
 * rest.
 */
#include <math.h>

#include "harness.h"

#define D(...) (__VA_ARGS__)
#define NONE                                                                                       \
  { 0 }
#define PARAMS(...) FG_T(F64, FG_VALUES(__VA_ARGS__), FG_PARAM_COUNT)
#define PIXELS PARAMS(8 / 255.0, 8 / 255.0, 0, 0, 1, 0, 0, 0)
#define TENTH PARAMS(0.1, 0.03, 0, 0, 1, 0, 0, 0)
#define POINTS PARAMS(0.5, 0.25, 0, -INFINITY, INFINITY, 0, 0, 0)
#define IMAGE(dims) FG_TD(F32, FG_UNIT, 4, dims)
#define G4(dims) FG_TD(F32, FG_NORMAL, 4, dims)
#define MAP(dims) FG_TD(F32, FG_UNIFORM(0.01, 0.05), 3, dims)
#define MASK(dims) FG_TD(F32, FG_INTEGER(0, 1), 3, dims)
#define BYTES(dims) FG_TD(U8, FG_NORMAL, 4, dims)
#define WINDOW(g, sh, sw, dh, dw, lh, lw, hh, hw)                                                  \
  .spatial = 2, .group = g, .stride = {sh, sw}, .dilation = {dh, dw}, .pad_lo = {lh, lw},          \
  .pad_hi = {hh, hw}
#define SAME_3X3 WINDOW(1, 1, 1, 1, 1, 1, 1, 1, 1)
#define STEM_7X7 WINDOW(1, 2, 2, 1, 1, 3, 3, 3, 3)

/* The ball and the box, in real arithmetic; inputs lie alike in both operators. */
static const char *keeps_within(const struct fg_call *call) {
  const struct fg_tensor *x0 = &call->in[2], *y = &call->out[0], *map = &call->in[4];
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

/* dy, w, x and what is optional. */
#define CONV(label, conv_, dy, w, x, map, mask, params, grad, stats, bytes)                        \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input_step,                                               \
    .attrs = {.conv_step = {.conv = {conv_}, .step = {FG_NORM_linf, true}}},                       \
    .in = {G4(dy), G4(w), IMAGE(x), IMAGE(x), map, mask, params},                                  \
    .out = {G4(x), grad, stats, bytes}, .constant = 2, .check = keeps_within,                      \
    .flags = FG_CASE_CPU_DECLINES                                                                  \
  }
#define POOLED(label, conv_, dy, w, x, y, size, step_, pad, grad, stats, bytes)                    \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input_step,                                               \
    .attrs = {.conv_step = {.conv = {conv_},                                                       \
                            .step = {FG_NORM_linf, true},                                          \
                            .pool = {.spatial = 2,                                                 \
                                     .window = {size, size},                                       \
                                     .stride = {step_, step_},                                     \
                                     .dilation = {1, 1},                                           \
                                     .pad_lo = {pad, pad},                                         \
                                     .pad_hi = {pad, pad},                                         \
                                     .dim = FG_DIMS(y)}}},                                         \
    .in = {G4(dy), G4(w), IMAGE(x), IMAGE(x),                                                      \
           NONE,   NONE,  PIXELS,   FG_TD(U8, FG_INTEGER(0, (size) * (size)-1), 4, dy)},           \
    .out = {G4(x), grad, stats, bytes}, .constant = 2, .check = keeps_within,                      \
    .flags = FG_CASE_CPU_DECLINES                                                                  \
  }
/* The same in bfloat16; the gradient is always asked for. */
#define HALF_CONV(label, conv_, dy, w, x, map, mask, params, grad, stats, bytes)                   \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input_step,                                               \
    .attrs = {.conv_step = {.conv = {conv_}, .step = {FG_NORM_linf, true}}},                       \
    .in = {FG_TD(BF16, FG_NORMAL, 4, dy),                                                          \
           FG_TD(BF16, FG_NORMAL, 4, w),                                                           \
           IMAGE(x),                                                                               \
           IMAGE(x),                                                                               \
           map,                                                                                    \
           mask,                                                                                   \
           params},                                                                                \
    .out = {G4(x), grad, stats, bytes}, .constant = 2, .check = keeps_within,                      \
    .flags = FG_CASE_CPU_DECLINES                                                                  \
  }
#define HALF_POOLED(label, conv_, dy, w, x, y, size, step_, pad, type, most)                       \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input_step,                                               \
    .attrs = {.conv_step = {.conv = {conv_},                                                       \
                            .step = {FG_NORM_linf, true},                                          \
                            .pool = {.spatial = 2,                                                 \
                                     .window = {size, size},                                       \
                                     .stride = {step_, step_},                                     \
                                     .dilation = {1, 1},                                           \
                                     .pad_lo = {pad, pad},                                         \
                                     .pad_hi = {pad, pad},                                         \
                                     .dim = FG_DIMS(y)}}},                                         \
    .in = {FG_TD(BF16, FG_NORMAL, 4, dy),                                                          \
           FG_TD(BF16, FG_NORMAL, 4, w),                                                           \
           IMAGE(x),                                                                               \
           IMAGE(x),                                                                               \
           NONE,                                                                                   \
           NONE,                                                                                   \
           PIXELS,                                                                                 \
           FG_TD(type, FG_INTEGER(0, most), 4, dy)},                                               \
    .out = {G4(x), G4(x)}, .constant = 2, .check = keeps_within, .flags = FG_CASE_CPU_DECLINES     \
  }
#define GEMM(label, trans, scale, m, w, rank, x, map, mask, params, grad, stats)                   \
  {                                                                                                \
    .name = label, .op = FG_OP_gemm_grad_input_step,                                               \
    .attrs = {.gemm_step = {.matmul = {.trans_b = trans, .alpha = scale},                          \
                            .step = {FG_NORM_linf, true}}},                                        \
    .in = {FG_TD(F32, FG_NORMAL, 2, m),                                                            \
           FG_TD(F32, FG_NORMAL, 2, w),                                                            \
           FG_TD(F32, FG_UNIT, rank, x),                                                           \
           FG_TD(F32, FG_UNIT, rank, x),                                                           \
           map,                                                                                    \
           mask,                                                                                   \
           params},                                                                                \
    .out = {FG_TD(F32, FG_NORMAL, rank, x), grad, stats}, .flags = FG_CASE_SPARSE, .constant = 2,  \
    .check = keeps_within                                                                          \
  }

static const struct fg_case cases[] = {
    CONV("conv step 3x3 of 3 channels", SAME_3X3, D(2, 64, 19, 37), D(64, 3, 3, 3), D(2, 3, 19, 37),
         NONE, NONE, PIXELS, NONE, NONE, NONE),
    CONV("conv step 3x3, everything asked for", SAME_3X3, D(3, 20, 9, 18), D(20, 3, 3, 3),
         D(3, 3, 9, 18), MAP(D(3, 9, 18)), MASK(D(3, 9, 18)), TENTH, G4(D(3, 3, 9, 18)), FG_Y(3, 3),
         BYTES(D(3, 3, 9, 18))),
    CONV("conv step 3x3 of 1 channel", SAME_3X3, D(2, 5, 28, 28), D(5, 1, 3, 3), D(2, 1, 28, 28),
         NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step 5x5 of 1 channel, wide", WINDOW(1, 1, 1, 1, 1, 0, 0, 0, 0), D(2, 6, 12, 68),
         D(6, 1, 5, 5), D(2, 1, 16, 72), NONE, NONE, PIXELS,
         FG_TD(F32, FG_NORMAL, 4, D(2, 1, 16, 72)), FG_Y(2, 3), NONE),
    CONV("conv step 3x3 of 2 channels, dilated", WINDOW(1, 1, 1, 3, 2, 3, 2, 3, 2), D(2, 8, 19, 37),
         D(8, 2, 3, 3), D(2, 2, 19, 37), NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step 3x3 of 4 channels from 12", SAME_3X3, D(2, 12, 9, 17), D(12, 4, 3, 3),
         D(2, 4, 9, 17), MAP(D(4, 9, 17)), MASK(D(4, 9, 17)), TENTH, G4(D(2, 4, 9, 17)), FG_Y(2, 3),
         NONE),
    CONV("conv step 7x7 stride 2 from 16", STEM_7X7, D(2, 16, 17, 19), D(16, 3, 7, 7),
         D(2, 3, 33, 38), NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step 3x3 of 4 channels", SAME_3X3, D(1, 33, 8, 16), D(33, 4, 3, 3), D(1, 4, 8, 16),
         NONE, NONE, PIXELS, G4(D(1, 4, 8, 16)), NONE, NONE),
    CONV("conv step 3x3 to bytes", SAME_3X3, D(2, 16, 8, 7), D(16, 3, 3, 3), D(2, 3, 8, 7), NONE,
         NONE, PIXELS, NONE, NONE, BYTES(D(2, 3, 8, 7))),
    CONV("conv step of patches", WINDOW(1, 4, 4, 1, 1, 0, 0, 0, 0), D(2, 24, 4, 3), D(24, 3, 4, 4),
         D(2, 3, 16, 12), NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step of large patches", WINDOW(1, 16, 16, 1, 1, 0, 0, 0, 0), D(3, 40, 2, 2),
         D(40, 3, 16, 16), D(3, 3, 32, 32), NONE, NONE, PIXELS, G4(D(3, 3, 32, 32)), FG_Y(3, 3),
         BYTES(D(3, 3, 32, 32))),
    CONV("conv step of patches with a rest", WINDOW(1, 5, 3, 1, 1, 0, 0, 0, 0), D(2, 7, 2, 4),
         D(7, 2, 5, 3), D(2, 2, 13, 14), NONE, NONE, PIXELS, G4(D(2, 2, 13, 14)), FG_Y(2, 3), NONE),
    CONV("conv step 7x7 stride 2", STEM_7X7, D(2, 24, 17, 19), D(24, 3, 7, 7), D(2, 3, 33, 38),
         NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step 7x7 stride 2, all of it", STEM_7X7, D(1, 10, 20, 9), D(10, 1, 7, 7),
         D(1, 1, 40, 18), MAP(D(1, 40, 18)), MASK(D(1, 40, 18)), TENTH, G4(D(1, 1, 40, 18)),
         FG_Y(1, 3), BYTES(D(1, 1, 40, 18))),
    CONV("conv step 5x5 of 1 channel from 32", WINDOW(1, 1, 1, 1, 1, 2, 2, 2, 2), D(2, 32, 9, 28),
         D(32, 1, 5, 5), D(2, 1, 9, 28), NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step 3x3 of 2 channels from 16, dilated", WINDOW(1, 1, 1, 3, 2, 3, 2, 3, 2),
         D(2, 16, 19, 37), D(16, 2, 3, 3), D(2, 2, 19, 37), NONE, NONE, PIXELS, NONE, FG_Y(2, 3),
         NONE),
    CONV("conv step 3x3 of 4 channels from 48", WINDOW(1, 1, 1, 1, 1, 0, 0, 0, 0), D(1, 48, 6, 5),
         D(48, 4, 3, 3), D(1, 4, 8, 7), NONE, NONE, PIXELS, G4(D(1, 4, 8, 7)), NONE, NONE),
    CONV("conv step 7x7 stride 2 from 64", STEM_7X7, D(2, 64, 17, 19), D(64, 3, 7, 7),
         D(2, 3, 33, 38), NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step 4x5 from 16, strides and dilations", WINDOW(1, 2, 3, 2, 1, 1, 3, 2, 0),
         D(2, 16, 6, 7), D(16, 3, 4, 5), D(2, 3, 14, 20), NONE, NONE, PIXELS, G4(D(2, 3, 14, 20)),
         FG_Y(2, 3), NONE),
    CONV("conv step 3x3 of 4 channels from 48, wide", WINDOW(1, 1, 1, 1, 1, 0, 0, 0, 0),
         D(3, 48, 6, 37), D(48, 4, 3, 3), D(3, 4, 8, 39), NONE, NONE, PIXELS, G4(D(3, 4, 8, 39)),
         NONE, NONE),
    CONV("conv step 4x5 from 16, strides and dilations, wide", WINDOW(1, 2, 3, 2, 1, 1, 3, 2, 0),
         D(2, 16, 6, 18), D(16, 3, 4, 5), D(2, 3, 14, 53), NONE, NONE, PIXELS, G4(D(2, 3, 14, 53)),
         FG_Y(2, 3), NONE),
    POOLED("conv step 7x7 stride 2 behind a pool", STEM_7X7, D(2, 24, 9, 10), D(24, 3, 7, 7),
           D(2, 3, 34, 38), D(2, 24, 17, 19), 3, 2, 1, NONE, FG_Y(2, 3), NONE),
    POOLED("conv step 5x5 of 1 channel behind a pool of 2x2", WINDOW(1, 1, 1, 1, 1, 2, 2, 2, 2),
           D(2, 32, 6, 14), D(32, 1, 5, 5), D(2, 1, 13, 28), D(2, 32, 13, 28), 2, 2, 0,
           G4(D(2, 1, 13, 28)), FG_Y(2, 3), NONE),
    POOLED("conv step 3x3 behind a pool of 2x2 with a rest", SAME_3X3, D(1, 16, 4, 9),
           D(16, 3, 3, 3), D(1, 3, 9, 19), D(1, 16, 9, 19), 2, 2, 0, G4(D(1, 3, 9, 19)), NONE,
           NONE),
    CONV("conv step 5x5 of 1 channel from 8, rows dilated", WINDOW(1, 1, 1, 2, 1, 4, 2, 4, 2),
         D(1, 8, 11, 40), D(8, 1, 5, 5), D(1, 1, 11, 40), NONE, NONE, PIXELS, G4(D(1, 1, 11, 40)),
         NONE, NONE),
    CONV("conv step 3x3 of 4 channels from 8, wide", SAME_3X3, D(1, 8, 5, 61), D(8, 4, 3, 3),
         D(1, 4, 5, 61), NONE, NONE, PIXELS, G4(D(1, 4, 5, 61)), NONE, NONE),
    CONV("conv step 7x7 stride 2 of 1 channel from 8", STEM_7X7, D(1, 8, 17, 19), D(8, 1, 7, 7),
         D(1, 1, 33, 38), NONE, NONE, PIXELS, G4(D(1, 1, 33, 38)), NONE, NONE),
    POOLED("conv step 3x3 behind a pool", SAME_3X3, D(2, 6, 5, 4), D(6, 2, 3, 3), D(2, 2, 9, 8),
           D(2, 6, 9, 8), 3, 2, 1, G4(D(2, 2, 9, 8)), FG_Y(2, 3), BYTES(D(2, 2, 9, 8))),
    {.name = "conv step 3x3 behind a pool of its own kind",
     .op = FG_OP_conv_grad_input_step,
     .attrs = {.conv_step = {.conv = {SAME_3X3},
                             .step = {FG_NORM_linf, true},
                             .pool = {.spatial = 2,
                                      .window = {20, 13},
                                      .stride = {2, 3},
                                      .dilation = {1, 1},
                                      .pad_lo = {1, 0},
                                      .pad_hi = {0, 2},
                                      .dim = {2, 6, 21, 17}}}},
     .in = {G4(D(2, 6, 2, 3)), G4(D(6, 3, 3, 3)), IMAGE(D(2, 3, 21, 17)), IMAGE(D(2, 3, 21, 17)),
            NONE, NONE, PIXELS, FG_TD(I32, FG_INTEGER(0, 259), 4, D(2, 6, 2, 3))},
     .out = {G4(D(2, 3, 21, 17)), G4(D(2, 3, 21, 17)), FG_Y(2, 3)},
     .constant = 2,
     .flags = FG_CASE_SPARSE | FG_CASE_CPU_DECLINES,
     .check = keeps_within},
    CONV("conv step 5x3, strides and dilations", WINDOW(1, 2, 1, 1, 2, 2, 1, 1, 3), D(2, 6, 7, 8),
         D(6, 3, 5, 3), D(2, 3, 14, 8), NONE, NONE, PIXELS, G4(D(2, 3, 14, 8)), FG_Y(2, 3), NONE),
    CONV("conv step in groups", WINDOW(3, 1, 2, 1, 1, 0, 1, 1, 0), D(2, 9, 6, 4), D(9, 2, 2, 3),
         D(2, 6, 6, 8), NONE, NONE, PIXELS, G4(D(2, 6, 6, 8)), FG_Y(2, 3), BYTES(D(2, 6, 6, 8))),
    CONV("conv step of each channel alone", WINDOW(5, 1, 1, 1, 1, 1, 1, 1, 1), D(1, 5, 7, 9),
         D(5, 1, 3, 3), D(1, 5, 7, 9), NONE, NONE, PIXELS, NONE, FG_Y(1, 3), NONE),
    CONV("conv step 1x1", WINDOW(1, 1, 1, 1, 1, 0, 0, 0, 0), D(2, 11, 5, 7), D(11, 3, 1, 1),
         D(2, 3, 5, 7), NONE, NONE, PIXELS, NONE, FG_Y(2, 3), NONE),
    CONV("conv step of an empty batch", SAME_3X3, D(0, 4, 5, 5), D(4, 3, 3, 3), D(0, 3, 5, 5), NONE,
         NONE, PIXELS, G4(D(0, 3, 5, 5)), FG_Y(0, 3), BYTES(D(0, 3, 5, 5))),
    /* The second of three samples has a NaN, so it stays where x0 is. */
    {.name = "conv step, one sample not finite",
     .op = FG_OP_conv_grad_input_step,
     .attrs = {.conv_step = {.conv = {SAME_3X3}, .step = {FG_NORM_linf, true}}},
     .in = {FG_R(FG_VALUES(1, 2, -3, 4, NAN, 1, 1, 1, 1, -2, INFINITY, -2), 3, 1, 2, 2),
            FG_R(FG_VALUES(0, 0, 0, 0, 1, 0, 0, 0, 0), 1, 1, 3, 3),
            FG_R(FG_VALUES(1, 2, 3, 4), 3, 1, 2, 2), FG_R(FG_VALUES(1, 2, 3, 4.5), 3, 1, 2, 2),
            NONE, NONE, POINTS},
     .out = {FG_T(F32, FG_VALUES(1.25, 2.25, 2.75, 4.5, 1, 2, 3, 4, 1, 2, 3, 4), 3, 1, 2, 2), NONE,
             FG_Y(3, 3)},
     .flags = FG_CASE_NO_GRADIENT},
    GEMM("gemm step", true, 1, D(5, 37), D(70, 37), 2, D(5, 70), NONE, NONE, PIXELS, NONE,
         FG_Y(5, 3)),
    GEMM("gemm step, everything asked for", false, 0.5, D(3, 18), D(18, 45), 3, D(3, 5, 9),
         FG_R(FG_UNIFORM(0.01, 0.05), 5, 9), FG_R(FG_INTEGER(0, 1), 5, 9), TENTH, FG_Y(3, 5, 9),
         FG_Y(3, 3)),
    GEMM("gemm step of many features", true, 1, D(2, 16), D(1300, 16), 2, D(2, 1300), NONE, NONE,
         PIXELS, NONE, FG_Y(2, 3)),
    GEMM("gemm step of many samples", false, 1, D(67, 65), D(65, 33), 2, D(67, 33), NONE, NONE,
         PIXELS, FG_Y(67, 33), FG_Y(67, 3)),
    GEMM("gemm step of an empty batch", true, 1, D(0, 4), D(6, 4), 2, D(0, 6), NONE, NONE, PIXELS,
         NONE, FG_Y(0, 3)),
    {.name = "gemm step in bfloat16",
     .op = FG_OP_gemm_grad_input_step,
     .attrs = {.gemm_step = {.matmul = {.trans_b = true, .alpha = 1},
                             .step = {FG_NORM_linf, true}}},
     .in = {FG_T(BF16, FG_NORMAL, 70, 72), FG_T(BF16, FG_NORMAL, 135, 72), FG_R(FG_UNIT, 70, 135),
            FG_R(FG_UNIT, 70, 135), NONE, NONE, PIXELS},
     .out = {FG_Y(70, 135), FG_Y(70, 135), FG_Y(70, 3)},
     .constant = 2,
     .flags = FG_CASE_SPARSE,
     .check = keeps_within},
    {.name = "gemm step in bfloat16, odd",
     .op = FG_OP_gemm_grad_input_step,
     .attrs = {.gemm_step = {.matmul = {.alpha = 2}, .step = {FG_NORM_linf, true}}},
     .in = {FG_T(BF16, FG_NORMAL, 5, 37), FG_T(BF16, FG_NORMAL, 37, 66), FG_R(FG_UNIT, 5, 66),
            FG_R(FG_UNIT, 5, 66), FG_R(FG_UNIFORM(0.01, 0.05), 66), FG_R(FG_INTEGER(0, 1), 66),
            TENTH},
     .out = {FG_Y(5, 66), FG_Y(5, 66), FG_Y(5, 3)},
     .constant = 2,
     .flags = FG_CASE_SPARSE,
     .check = keeps_within},
    {.name = "conv step of patches in bfloat16",
     .op = FG_OP_conv_grad_input_step,
     .attrs = {.conv_step = {.conv = {WINDOW(1, 8, 8, 1, 1, 0, 0, 0, 0)},
                             .step = {FG_NORM_linf, true}}},
     .in = {FG_T(BF16, FG_NORMAL, 2, 40, 3, 5), FG_T(BF16, FG_NORMAL, 40, 3, 8, 8),
            IMAGE(D(2, 3, 24, 40)), IMAGE(D(2, 3, 24, 40)), NONE, NONE, PIXELS},
     .out = {G4(D(2, 3, 24, 40)), G4(D(2, 3, 24, 40)), FG_Y(2, 3), BYTES(D(2, 3, 24, 40))},
     .constant = 2,
     .flags = FG_CASE_CPU_DECLINES,
     .check = keeps_within},
    HALF_CONV("conv step 3x3 in bfloat16", SAME_3X3, D(2, 64, 19, 37), D(64, 3, 3, 3),
              D(2, 3, 19, 37), NONE, NONE, PIXELS, G4(D(2, 3, 19, 37)), FG_Y(2, 3), NONE),
    HALF_CONV("conv step 3x3 in bfloat16, everything asked for", SAME_3X3, D(3, 23, 17, 36),
              D(23, 4, 3, 3), D(3, 4, 17, 36), MAP(D(4, 17, 36)), MASK(D(4, 17, 36)), TENTH,
              G4(D(3, 4, 17, 36)), FG_Y(3, 3), BYTES(D(3, 4, 17, 36))),
    HALF_CONV("conv step 7x7 stride 2 in bfloat16", STEM_7X7, D(2, 40, 18, 35), D(40, 3, 7, 7),
              D(2, 3, 36, 70), NONE, NONE, PIXELS, G4(D(2, 3, 36, 70)), FG_Y(2, 3),
              BYTES(D(2, 3, 36, 70))),
    HALF_CONV("conv step 7x7 stride 2 in bfloat16, odd", STEM_7X7, D(1, 9, 17, 10), D(9, 1, 7, 7),
              D(1, 1, 33, 19), MAP(D(1, 33, 19)), MASK(D(1, 33, 19)), TENTH, G4(D(1, 1, 33, 19)),
              FG_Y(1, 3), NONE),
    HALF_POOLED("conv step 7x7 stride 2 in bfloat16 behind a pool", STEM_7X7, D(2, 24, 10, 18),
                D(24, 3, 7, 7), D(2, 3, 38, 70), D(2, 24, 19, 35), 3, 2, 1, U8, 8),
    HALF_POOLED("conv step 3x3 in bfloat16 behind a pool", SAME_3X3, D(2, 7, 10, 10), D(7, 2, 3, 3),
                D(2, 2, 19, 20), D(2, 7, 19, 20), 3, 2, 1, U8, 8),
    HALF_POOLED("conv step 7x7 in bfloat16 behind a pool of its own kind", STEM_7X7, D(1, 5, 7, 9),
                D(5, 3, 7, 7), D(1, 3, 28, 36), D(1, 5, 14, 18), 2, 2, 0, U8, 3),
    HALF_POOLED("conv step 5x3 in bfloat16 behind a pool", WINDOW(1, 2, 1, 1, 2, 2, 1, 1, 3),
                D(2, 6, 4, 4), D(6, 3, 5, 3), D(2, 3, 14, 8), D(2, 6, 7, 8), 3, 2, 1, U8, 8),
    HALF_CONV("conv step in groups in bfloat16", WINDOW(3, 1, 2, 1, 1, 0, 1, 1, 0), D(2, 9, 6, 4),
              D(9, 2, 2, 3), D(2, 6, 6, 8), NONE, NONE, PIXELS, G4(D(2, 6, 6, 8)), FG_Y(2, 3),
              NONE),
    HALF_CONV("conv step of an empty batch in bfloat16", STEM_7X7, D(0, 4, 3, 3), D(4, 3, 7, 7),
              D(0, 3, 6, 6), NONE, NONE, PIXELS, G4(D(0, 3, 6, 6)), FG_Y(0, 3), NONE),
    {.name = "gemm step, one sample not finite",
     .op = FG_OP_gemm_grad_input_step,
     .attrs = {.gemm_step = {.matmul = {.trans_b = true, .alpha = 1},
                             .step = {FG_NORM_linf, true}}},
     .in = {FG_R(FG_VALUES(1, -1, NAN, 1), 2, 2), FG_R(FG_VALUES(1, 0, 0, 1, 1, 1), 3, 2),
            FG_R(FG_VALUES(1, 2, 3), 2, 3), FG_R(FG_VALUES(1, 2, 3), 2, 3), NONE, NONE, POINTS},
     .out = {FG_T(F32, FG_VALUES(1.25, 1.75, 3, 1, 2, 3), 2, 3), NONE,
             FG_T(F32, FG_VALUES(2, 1.0 / 3, 0, NAN, 0, 3), 2, 3)}},
};
FG_TABLE(grad_step);
