/* Calls of the sizes that attacks have: batches of ImageNet and CIFAR samples, stems, wide networks.
 * The two that rates are taken from come first. */
#include "harness.h"

#define D(...) (__VA_ARGS__)
#define NONE                                                                                       \
  { 0 }
#define PARAMS FG_T(F64, FG_VALUES(8 / 255.0, 2 / 255.0, 1, 0, 1, 0, 0, 0), FG_PARAM_COUNT)
#define U4(dims) FG_TD(F32, FG_UNIT, 4, dims)
#define T4(type, dims) FG_TD(type, FG_UNIT, 4, dims)
#define IMAGES D(32, 3, 224, 224)
#define STEP(label, nm)                                                                            \
  {                                                                                                \
    .name = label, .op = FG_OP_step, .attrs = {.step = {FG_NORM_##nm, true}},                      \
    .in = {U4(IMAGES), U4(IMAGES), U4(IMAGES), NONE, NONE, NONE, PARAMS}, .out = {                 \
      U4(IMAGES),                                                                                  \
      NONE,                                                                                        \
      FG_Y(32, 3)                                                                                  \
    }                                                                                              \
  }
#define STEM(label, type, k, size, half, index, pool_, dy, n, side)                                \
  {                                                                                                \
    .name = label, .op = FG_OP_conv_grad_input_step,                                               \
    .attrs = {.conv_step = {.conv = {.spatial = 2,                                                 \
                                     .group = 1,                                                   \
                                     .stride = {half, half},                                       \
                                     .dilation = {1, 1},                                           \
                                     .pad_lo = {size / 2, size / 2},                               \
                                     .pad_hi = {size / 2, size / 2}},                              \
                            .step = {FG_NORM_linf, true},                                          \
                            .pool = FG_DIMS(pool_)}},                                              \
    .in = {T4(type, dy),                                                                           \
           T4(type, D(k, 3, size, size)),                                                          \
           U4(D(n, 3, side, side)),                                                                \
           U4(D(n, 3, side, side)),                                                                \
           NONE,                                                                                   \
           NONE,                                                                                   \
           PARAMS,                                                                                 \
           index},                                                                                 \
    .out = {U4(D(n, 3, side, side)), NONE, FG_Y(n, 3)}, .constant = 2                              \
  }
#define POOL                                                                                       \
  D(.spatial = 2, .window = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .pad_lo = {1, 1},        \
    .pad_hi = {1, 1}, .dim = {32, 64, 112, 112})
#define POOLED D(32, 64, 56, 56)
#define PLACES FG_TD(U8, FG_INTEGER(0, 8), 4, POOLED)
#define RELU                                                                                       \
  { FG_UNARY_relu, 0, 0 }
#define DENSE(label, type, widths, acts, n, features, weights, classes, steps_, search_, figures)  \
  {                                                                                                \
    .name = label, .op = FG_OP_mlp_fgsm,                                                           \
    .attrs = {.mlp = {.layers = sizeof(int[]) FG_DIMS(widths) / sizeof(int) - 1,                   \
                      .width = FG_DIMS(widths),                                                    \
                      .act = FG_DIMS(acts),                                                        \
                      .step = {FG_NORM_linf, true},                                                \
                      .steps = steps_,                                                             \
                      .search = search_}},                                                         \
    .in = {FG_R(FG_UNIT, n, features),                                                             \
           FG_R(FG_UNIT, n, features),                                                             \
           FG_T(type, FG_UNIFORM(-0.05, 0.05), weights),                                           \
           FG_T(I32, FG_INTEGER(0, classes - 1), n),                                               \
           NONE,                                                                                   \
           NONE,                                                                                   \
           PARAMS},                                                                                \
    .out = {FG_Y(n, features), FG_Y(n), FG_T(I32, FG_NORMAL, n), FG_Y(n, figures)}, .constant = 4  \
  }
#define WIDE(label, type, steps_, search_, figures)                                                \
  DENSE(label, type, D(784, 1024, 1024, 10), D(RELU, RELU), 8192, 784, 1863690, 10, steps_,        \
        search_, figures)
#define ACAS(label, steps_, search_, figures)                                                      \
  DENSE(label, F32, D(5, 50, 50, 50, 50, 50, 50, 5), D(RELU, RELU, RELU, RELU, RELU, RELU), 65536, \
        5, 13305, 5, steps_, search_, figures)

static const struct fg_case cases[] = {
    {.name = "copy of 64 MiB",
     .op = FG_OP_unary,
     .attrs = {.unary = {.kind = FG_UNARY_identity}},
     .in = {FG_R(FG_UNIT, 16, 1048576)},
     .out = {FG_Y(16, 1048576)}},
    {.name = "product of 1024 x 1024 x 1024",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.alpha = 1}},
     .in = {FG_R(FG_UNIT, 1024, 1024), FG_R(FG_UNIT, 1024, 1024)},
     .out = {FG_Y(1024, 1024)},
     .constant = 2},
    STEP("step of 32 ImageNet samples", linf),
    STEP("step in l2 of 32 ImageNet samples", l2),
    {.name = "bytes of 32 ImageNet samples",
     .op = FG_OP_quantize,
     .attrs = {.step = {FG_NORM_linf, true}},
     .in = {U4(IMAGES), U4(IMAGES), PARAMS},
     .out = {T4(U8, IMAGES), FG_Y(32, 2)}},
    {.name = "loss of 4096 x 1000",
     .op = FG_OP_loss,
     .attrs = {.loss = {FG_LOSS_ce, false, false}},
     .in = {FG_R(FG_UNIT, 4096, 1000), FG_T(I32, FG_INTEGER(0, 999), 4096)},
     .out = {FG_Y(4096, 1000), FG_Y(4096), FG_T(I32, FG_NORMAL, 4096)}},
    {.name = "relu of 64 x 56 x 56, 32 samples",
     .op = FG_OP_unary,
     .attrs = {.unary = {.kind = FG_UNARY_relu}},
     .in = {U4(POOLED)},
     .out = {U4(POOLED)}},
    {.name = "slopes of a relu of 64 x 56 x 56, 32 samples",
     .op = FG_OP_unary_grad,
     .attrs = {.unary = {.kind = FG_UNARY_relu}},
     .in = {NONE, U4(POOLED), U4(POOLED)},
     .out = {U4(POOLED)}},
    {.name = "sum of two of 64 x 56 x 56, 32 samples",
     .op = FG_OP_binary,
     .attrs = {.binary = {FG_BINARY_add}},
     .in = {U4(POOLED), U4(POOLED)},
     .out = {U4(POOLED)}},
    {.name = "softmax of 12 x 197 x 197, 16 samples",
     .op = FG_OP_softmax,
     .attrs = {.softmax = {.axis = 3}},
     .in = {U4(D(16, 12, 197, 197))},
     .out = {U4(D(16, 12, 197, 197))}},
    {.name = "layer_norm of 197 x 768, 32 samples",
     .op = FG_OP_layer_norm,
     .attrs = {.layer_norm = {2, 1e-6}},
     .in = {FG_R(FG_UNIT, 32, 197, 768), FG_R(FG_UNIT, 768), FG_R(FG_UNIT, 768)},
     .out = {FG_Y(32, 197, 768), FG_Y(32, 197, 1), FG_Y(32, 197, 1)}},
    {.name = "ResNet's pool, 32 samples",
     .op = FG_OP_max_pool,
     .attrs = {.pool = FG_DIMS(POOL)},
     .in = {U4(D(32, 64, 112, 112))},
     .out = {U4(POOLED), T4(U8, POOLED)}},
    {.name = "backward of ResNet's pool, 32 samples",
     .op = FG_OP_max_pool_grad,
     .attrs = {.pool = FG_DIMS(POOL)},
     .in = {U4(POOLED), PLACES},
     .out = {U4(D(32, 64, 112, 112))}},
    STEM("CIFAR stem, 1024 samples", F32, 64, 3, 1, NONE, D(0), D(1024, 64, 32, 32), 1024, 32),
    STEM("CIFAR stem in bfloat16, 1024 samples", BF16, 64, 3, 1, NONE, D(0), D(1024, 64, 32, 32),
         1024, 32),
    STEM("ResNet stem behind its pool, 32 samples", F32, 64, 7, 2, PLACES, POOL, POOLED, 32, 224),
    STEM("ResNet stem behind its pool in bfloat16, 32 samples", BF16, 64, 7, 2, PLACES, POOL,
         POOLED, 32, 224),
    {.name = "patches of ViT-B/16, 32 samples",
     .op = FG_OP_conv_grad_input_step,
     .attrs =
         {.conv_step = {.conv = {.spatial = 2, .group = 1, .stride = {16, 16}, .dilation = {1, 1}},
                        .step = {FG_NORM_linf, true}}},
     .in = {U4(D(32, 768, 14, 14)), U4(D(768, 3, 16, 16)), U4(IMAGES), U4(IMAGES), NONE, NONE,
            PARAMS},
     .out = {U4(IMAGES), NONE, FG_Y(32, 3)},
     .constant = 2},
    ACAS("5-50x6-5, 65536 samples", 1, false, 3),
    ACAS("5-50x6-5, 65536 samples, 10 steps", 10, false, 3),
    ACAS("5-50x6-5, 65536 samples, least budget", 10, true, 4),
    WIDE("784-1024-1024-10, 8192 samples", F32, 1, false, 3),
    WIDE("784-1024-1024-10 in bfloat16, 8192 samples", BF16, 1, false, 3),
    WIDE("784-1024-1024-10 in bfloat16, 8192 samples, 10 steps", BF16, 10, false, 3),
    WIDE("784-1024-1024-10 in bfloat16, 8192 samples, least budget", BF16, 10, true, 4),
};
const struct fg_case_table bench_sizes = {"sizes", cases, (int)(sizeof cases / sizeof *cases)};
