/* Importers of ONNX operators, in every form that opsets 7 to 21 give them. Inputs are constants,
 * so the graph computes each form while it is built, and the numbers show what was understood. */
#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "import.h"

enum { MOST_IN = 6, MOST_ATTRS = 6, MOST_ELEMENTS = 128 };

struct tensor {
  enum fg_type type; /* FG_NONE: absent */
  int rank;
  int64_t dim[FG_MAX_RANK];
  const double *values; /* NULL: 1, 2, 3, ... */
};

struct import_case {
  const char *name, *op;
  int64_t opset;
  struct tensor in[MOST_IN];
  int n_in;
  struct fg_onnx_attr attrs[MOST_ATTRS];
  fgsm_status want;
  struct tensor out; /* where want is FGSM_OK */
};

#define D(...) ((const double[]){__VA_ARGS__})
#define T(type, values, ...)                                                                       \
  { FG_##type, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}, values }
#define F(values, ...) T(F64, values, __VA_ARGS__)
#define COUNT(...) F(NULL, __VA_ARGS__)
#define I(...)                                                                                     \
  { FG_I64, 1, {sizeof(D(__VA_ARGS__)) / sizeof(double)}, D(__VA_ARGS__) }
#define EMPTY                                                                                      \
  { FG_I64, 1, {0}, NULL }
#define SCALAR(type, value)                                                                        \
  { FG_##type, 0, {0}, D(value) }
#define NONE                                                                                       \
  { FG_NONE, 0, {0}, NULL }
#define INT(key, value)                                                                            \
  { .name = key, .kind = FG_ATTR_INT, .i = value }
#define FLOAT(key, value)                                                                          \
  { .name = key, .kind = FG_ATTR_FLOAT, .f = value }
#define TEXT(key, value)                                                                           \
  { .name = key, .kind = FG_ATTR_STRING, .s = value }
#define INTS(key, ...)                                                                             \
  {                                                                                                \
    .name = key, .kind = FG_ATTR_INTS, .n = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),    \
    .ints = (const int64_t[]) {                                                                    \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }
#define FLOATS(key, ...)                                                                           \
  {                                                                                                \
    .name = key, .kind = FG_ATTR_FLOATS, .n = sizeof((float[]){__VA_ARGS__}) / sizeof(float),      \
    .floats = (const float[]) {                                                                    \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }
#define IN(...) {__VA_ARGS__}, (int)(sizeof((struct tensor[]){__VA_ARGS__}) / sizeof(struct tensor))
#define REFUSED(status) FGSM_##status, NONE

static const struct import_case cases[] = {
    /* elementwise */
    {"relu", "Relu", 14, IN(F(D(-1, 0, 2), 3)), {{0}}, FGSM_OK, F(D(0, 0, 2), 3)},
    {"leaky",
     "LeakyRelu",
     16,
     IN(F(D(-4, 2), 2)),
     {FLOAT("alpha", 0.25f)},
     FGSM_OK,
     F(D(-1, 2), 2)},
    {"clip 6",
     "Clip",
     6,
     IN(F(D(-9, 1, 9), 3)),
     {FLOAT("min", -2), FLOAT("max", 3)},
     FGSM_OK,
     F(D(-2, 1, 3), 3)},
    {"clip 6 open",
     "Clip",
     6,
     IN(F(D(-9, 1, 9), 3)),
     {FLOAT("min", -2)},
     FGSM_OK,
     F(D(-2, 1, 9), 3)},
    {"clip 11",
     "Clip",
     11,
     IN(F(D(-9, 1, 9), 3), NONE, SCALAR(F64, 3)),
     {{0}},
     FGSM_OK,
     F(D(-9, 1, 3), 3)},
    {"clip to 0..6",
     "Clip",
     13,
     IN(F(D(-9, 1, 9), 3), SCALAR(F64, 0), SCALAR(F64, 6)),
     {{0}},
     FGSM_OK,
     F(D(0, 1, 6), 3)},
    {"clip of nothing", "Clip", 13, IN(F(D(-9, 1, 9), 3)), {{0}}, FGSM_OK, F(D(-9, 1, 9), 3)},
    {"clip of integers",
     "Clip",
     12,
     IN(I(-9, 1, 9), SCALAR(I64, -2), SCALAR(I64, 3)),
     {{0}},
     FGSM_OK,
     I(-2, 1, 3)},
    {"clip by a vector", "Clip", 13, IN(COUNT(3), COUNT(2)), {{0}}, REFUSED(MODEL)},
    {"gelu",
     "Gelu",
     20,
     IN(F(D(0, 1), 2)),
     {TEXT("approximate", "none")},
     FGSM_OK,
     F(D(0, 0.8413447460685429), 2)},
    {"gelu tanh",
     "Gelu",
     20,
     IN(F(D(0, 1), 2)),
     {TEXT("approximate", "tanh")},
     FGSM_OK,
     F(D(0, 0.8411919906082768), 2)},
    {"gelu otherwise",
     "Gelu",
     20,
     IN(COUNT(2)),
     {TEXT("approximate", "fast")},
     REFUSED(UNSUPPORTED)},
    {"neg of integers", "Neg", 13, IN(I(3, -4)), {{0}}, FGSM_OK, I(-3, 4)},
    {"abs of integers", "Abs", 13, IN(I(3, -4)), {{0}}, FGSM_OK, I(3, 4)},
    {"reciprocal", "Reciprocal", 13, IN(F(D(2, -4), 2)), {{0}}, FGSM_OK, F(D(0.5, -0.25), 2)},
    {"hard sigmoid",
     "HardSigmoid",
     6,
     IN(F(D(-3, 0, 1, 9), 4)),
     {{0}},
     FGSM_OK,
     F(D(0, 0.5, 0.7, 1), 4)},
    {"hard swish",
     "HardSwish",
     14,
     IN(F(D(-4, 0, 3, 1), 4)),
     {{0}},
     FGSM_OK,
     F(D(0, 0, 3, 2.0 / 3), 4)},
    {"prelu",
     "PRelu",
     16,
     IN(F(D(-4, 2, -6, 8), 2, 2), F(D(0.5, 0.25), 2)),
     {{0}},
     FGSM_OK,
     F(D(-2, 2, -3, 8), 2, 2)},
    {"elu", "Elu", 6, IN(F(D(0, 2000), 2)), {FLOAT("alpha", 2)}, FGSM_OK, F(D(0, 2000), 2)},
    {"softplus",
     "Softplus",
     1,
     IN(F(D(0, 1000, -1000), 3)),
     {{0}},
     FGSM_OK,
     F(D(0.6931471805599453, 1000, 0), 3)},
    {"add",
     "Add",
     14,
     IN(COUNT(2, 2), F(D(10, 20), 2)),
     {{0}},
     FGSM_OK,
     F(D(11, 22, 13, 24), 2, 2)},
    {"add as before 7",
     "Add",
     6,
     IN(COUNT(2), COUNT(2)),
     {INT("broadcast", 1)},
     REFUSED(UNSUPPORTED)},
    {"add lacking b", "Add", 14, IN(COUNT(2)), {{0}}, REFUSED(MODEL)},
    {"integer division", "Div", 14, IN(I(7, -7), I(2)), {{0}}, FGSM_OK, I(3, -3)},
    {"power", "Pow", 13, IN(F(D(2, 3), 2), SCALAR(F64, 3)), {{0}}, FGSM_OK, F(D(8, 27), 2)},
    {"integer exponent", "Pow", 13, IN(F(D(2, 3), 2), I(3, 2)), {{0}}, FGSM_OK, F(D(8, 9), 2)},
    {"power of more axes",
     "Pow",
     13,
     IN(F(D(2, 3), 2), F(D(2), 1, 1)),
     {{0}},
     FGSM_OK,
     F(D(4, 9), 1, 2)},
    {"maximum of three",
     "Max",
     13,
     IN(F(D(1, 5), 2), F(D(3), 1), F(D(2, 6), 2)),
     {{0}},
     FGSM_OK,
     F(D(3, 6), 2)},
    {"mean of two", "Mean", 13, IN(F(D(1, 5), 2), F(D(3, 7), 2)), {{0}}, FGSM_OK, F(D(2, 6), 2)},
    {"sum of one", "Sum", 13, IN(F(D(1, 5), 2)), {{0}}, FGSM_OK, F(D(1, 5), 2)},
    {"equal", "Equal", 13, IN(I(1, 2), I(1, 3)), {{0}}, FGSM_OK, T(BOOL, D(1, 0), 2)},
    {"equal truths",
     "Equal",
     13,
     IN(T(BOOL, D(1, 0), 2), T(BOOL, D(1, 1), 2)),
     {{0}},
     FGSM_OK,
     T(BOOL, D(1, 0), 2)},
    {"not less",
     "GreaterOrEqual",
     16,
     IN(F(D(1, 2, NAN), 3), F(D(1), 1)),
     {{0}},
     FGSM_OK,
     T(BOOL, D(1, 1, 0), 3)},
    {"not", "Not", 1, IN(T(BOOL, D(1, 0), 2)), {{0}}, FGSM_OK, T(BOOL, D(0, 1), 2)},
    {"or", "Or", 7, IN(T(BOOL, D(1, 0), 2), T(BOOL, D(0), 1)), {{0}}, FGSM_OK, T(BOOL, D(1, 0), 2)},
    {"and of floats", "And", 7, IN(COUNT(2), COUNT(2)), {{0}}, REFUSED(MODEL)},
    {"where", "Where", 16, IN(T(BOOL, D(1, 0), 2), I(1, 2), I(8)), {{0}}, FGSM_OK, I(1, 8)},
    /* normalisation */
    {"batch norm",
     "BatchNormalization",
     15,
     IN(F(D(1, 3), 1, 2), F(D(2, 4), 2), F(D(0, 1), 2), F(D(1, 1), 2), F(D(3, 0), 2)),
     {FLOAT("epsilon", 1)},
     FGSM_OK,
     F(D(0, 9), 1, 2)},
    {"batch norm in training",
     "BatchNormalization",
     15,
     IN(COUNT(1, 1), COUNT(1), COUNT(1), COUNT(1), COUNT(1)),
     {INT("training_mode", 1)},
     REFUSED(UNSUPPORTED)},
    {"batch norm per place",
     "BatchNormalization",
     7,
     IN(COUNT(1, 1), COUNT(1), COUNT(1), COUNT(1), COUNT(1)),
     {INT("spatial", 0)},
     REFUSED(UNSUPPORTED)},
    {"layer norm",
     "LayerNormalization",
     17,
     IN(F(D(1, 3), 1, 2), F(D(2), 1), F(D(0, 5), 1, 2)),
     {FLOAT("epsilon", 0)},
     FGSM_OK,
     F(D(-2, 7), 1, 2)},
    {"softmax 11",
     "Softmax",
     11,
     IN(F(D(0, 0, 0, 0), 1, 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(0.25, 0.25, 0.25, 0.25), 1, 2, 2)},
    {"softmax 13",
     "Softmax",
     13,
     IN(F(D(0, 0, 0, 0), 1, 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(0.5, 0.5, 0.5, 0.5), 1, 2, 2)},
    {"log-softmax",
     "LogSoftmax",
     13,
     IN(F(D(0, 0), 1, 2)),
     {INT("axis", 1)},
     FGSM_OK,
     F(D(-0.6931471805599453, -0.6931471805599453), 1, 2)},
    /* contraction */
    {"gemm",
     "Gemm",
     13,
     IN(COUNT(2, 2), COUNT(2, 2), F(D(1, 2), 2)),
     {FLOAT("alpha", 2), FLOAT("beta", 3), INT("transB", 1)},
     FGSM_OK,
     F(D(13, 28, 25, 56), 2, 2)},
    {"gemm without C",
     "Gemm",
     11,
     IN(COUNT(2, 2), COUNT(2, 2)),
     {INT("transA", 1)},
     FGSM_OK,
     F(D(10, 14, 14, 20), 2, 2)},
    {"gemm with a column",
     "Gemm",
     13,
     IN(COUNT(2, 2), COUNT(2, 2), F(D(10, 20), 2, 1)),
     {{0}},
     FGSM_OK,
     F(D(17, 20, 35, 42), 2, 2)},
    {"gemm with a scalar",
     "Gemm",
     13,
     IN(COUNT(2, 2), COUNT(2, 2), SCALAR(F64, 10)),
     {{0}},
     FGSM_OK,
     F(D(17, 20, 25, 32), 2, 2)},
    {"gemm with a row",
     "Gemm",
     9,
     IN(COUNT(1, 2), COUNT(2, 2), F(D(10, 20), 1, 2)),
     {{0}},
     FGSM_OK,
     F(D(17, 30), 1, 2)},
    {"gemm with too large a C",
     "Gemm",
     13,
     IN(COUNT(1, 2), COUNT(2, 2), COUNT(3, 2)),
     {{0}},
     REFUSED(MODEL)},
    {"matmul of a row",
     "MatMul",
     13,
     IN(COUNT(2), COUNT(2, 3)),
     {{0}},
     FGSM_OK,
     F(D(9, 12, 15), 3)},
    {"matmul of a column",
     "MatMul",
     13,
     IN(COUNT(2, 2, 2), COUNT(2)),
     {{0}},
     FGSM_OK,
     F(D(5, 11, 17, 23), 2, 2)},
    {"matmul of vectors",
     "MatMul",
     13,
     IN(COUNT(3), COUNT(3)),
     {{0}},
     FGSM_OK,
     {FG_F64, 0, {0}, D(14)}},
    {"conv",
     "Conv",
     11,
     IN(COUNT(1, 1, 3, 3), F(D(1, 1, 1, 1), 1, 1, 2, 2), F(D(100), 1)),
     {{0}},
     FGSM_OK,
     F(D(112, 116, 124, 128), 1, 1, 2, 2)},
    {"conv of one axis",
     "Conv",
     11,
     IN(COUNT(1, 1, 4), F(D(1, 10), 1, 1, 2)),
     {INTS("pads", 1, 0), INTS("strides", 2), INTS("dilations", 1), INT("group", 1)},
     FGSM_OK,
     F(D(10, 32), 1, 1, 2)},
    {"conv same upper",
     "Conv",
     11,
     IN(COUNT(1, 1, 1, 3), F(D(1, 10), 1, 1, 1, 2)),
     {TEXT("auto_pad", "SAME_UPPER")},
     FGSM_OK,
     F(D(21, 32, 3), 1, 1, 1, 3)},
    {"conv same lower",
     "Conv",
     11,
     IN(COUNT(1, 1, 1, 3), F(D(1, 10), 1, 1, 1, 2)),
     {TEXT("auto_pad", "SAME_LOWER")},
     FGSM_OK,
     F(D(10, 21, 32), 1, 1, 1, 3)},
    {"conv valid",
     "Conv",
     11,
     IN(COUNT(1, 1, 1, 3), F(D(1, 10), 1, 1, 1, 2)),
     {TEXT("auto_pad", "VALID")},
     FGSM_OK,
     F(D(21, 32), 1, 1, 1, 2)},
    {"conv otherwise",
     "Conv",
     11,
     IN(COUNT(1, 1, 1, 3), COUNT(1, 1, 1, 2)),
     {TEXT("auto_pad", "SAME")},
     REFUSED(MODEL)},
    {"einsum of a product, transposed",
     "Einsum",
     12,
     IN(COUNT(2, 3), COUNT(3, 2)),
     {TEXT("equation", "ij, jk -> ki")},
     FGSM_OK,
     F(D(22, 49, 28, 64), 2, 2)},
    {"einsum of a batch of products",
     "Einsum",
     12,
     IN(COUNT(2, 1, 2), COUNT(2, 2, 1)),
     {TEXT("equation", "bij,bjk->bik")},
     FGSM_OK,
     F(D(5, 25), 2, 1, 1)},
    {"einsum with an ellipsis",
     "Einsum",
     12,
     IN(COUNT(2, 3), COUNT(3)),
     {TEXT("equation", "...i,i->...")},
     FGSM_OK,
     F(D(14, 32), 2)},
    {"einsum of three",
     "Einsum",
     12,
     IN(COUNT(2), COUNT(3), COUNT(2, 3)),
     {TEXT("equation", "i,j,ij->")},
     FGSM_OK,
     SCALAR(F64, 78)},
    {"einsum with the result left to it",
     "Einsum",
     12,
     IN(COUNT(2, 3)),
     {TEXT("equation", "ba")},
     FGSM_OK,
     F(D(1, 4, 2, 5, 3, 6), 3, 2)},
    {"einsum of an outer product",
     "Einsum",
     12,
     IN(COUNT(2), COUNT(2)),
     {TEXT("equation", "i,j->ji")},
     FGSM_OK,
     F(D(1, 2, 2, 4), 2, 2)},
    {"einsum of a diagonal",
     "Einsum",
     12,
     IN(COUNT(2, 2)),
     {TEXT("equation", "ii->i")},
     REFUSED(UNSUPPORTED)},
    {"einsum with a label from nowhere",
     "Einsum",
     12,
     IN(COUNT(2, 2)),
     {TEXT("equation", "ij->ik")},
     REFUSED(MODEL)},
    {"einsum with too few terms",
     "Einsum",
     12,
     IN(COUNT(2), COUNT(2)),
     {TEXT("equation", "i->i")},
     REFUSED(MODEL)},
    {"einsum of other ranks",
     "Einsum",
     12,
     IN(COUNT(2), COUNT(2)),
     {TEXT("equation", "ij,j->i")},
     REFUSED(MODEL)},
    {"einsum of axes that differ",
     "Einsum",
     12,
     IN(COUNT(2), COUNT(3)),
     {TEXT("equation", "i,i->")},
     REFUSED(UNSUPPORTED)},
    {"group normalisation, a scale per channel",
     "GroupNormalization",
     21,
     IN(F(D(1, 3, 5, 9), 1, 4, 1), F(D(1, 2, 3, 4), 4), F(D(0, 0, 1, 1), 4)),
     {INT("num_groups", 2), FLOAT("epsilon", 0)},
     FGSM_OK,
     F(D(-1, 2, -2, 5), 1, 4, 1)},
    {"group normalisation, a scale per group",
     "GroupNormalization",
     18,
     IN(F(D(1, 3, 5, 9), 1, 4, 1), F(D(1, 2), 2), F(D(0, 1), 2)),
     {INT("num_groups", 2), FLOAT("epsilon", 0)},
     FGSM_OK,
     F(D(-1, 1, -1, 3), 1, 4, 1)},
    {"group normalisation of uneven groups",
     "GroupNormalization",
     18,
     IN(COUNT(1, 4, 1), COUNT(3), COUNT(3)),
     {INT("num_groups", 3)},
     REFUSED(MODEL)},
    {"instance normalisation",
     "InstanceNormalization",
     9,
     IN(F(D(1, 3, 5, 9), 1, 2, 2), F(D(1, 2), 2), F(D(0, 1), 2)),
     {FLOAT("epsilon", 0)},
     FGSM_OK,
     F(D(-1, 1, -1, 3), 1, 2, 2)},
    {"l2 normalisation",
     "LpNormalization",
     11,
     IN(F(D(3, 4), 1, 2)),
     {{0}},
     FGSM_OK,
     F(D(0.6, 0.8), 1, 2)},
    {"l1 normalisation",
     "LpNormalization",
     11,
     IN(F(D(1, -3), 2, 1)),
     {INT("p", 1), INT("axis", 0)},
     FGSM_OK,
     F(D(0.25, -0.75), 2, 1)},
    {"l2 pool over all",
     "GlobalLpPool",
     11,
     IN(F(D(3, 4), 1, 1, 2)),
     {{0}},
     FGSM_OK,
     F(D(5), 1, 1, 1)},
    {"l1 pool",
     "LpPool",
     11,
     IN(F(D(3, -4, 1), 1, 1, 3)),
     {INT("p", 1), INTS("kernel_shape", 2)},
     FGSM_OK,
     F(D(7, 5), 1, 1, 2)},
    {"maxima of a cube",
     "MaxPool",
     11,
     IN(COUNT(1, 1, 2, 2, 3)),
     {INTS("kernel_shape", 2, 2, 2)},
     FGSM_OK,
     F(D(11, 12), 1, 1, 1, 1, 2)},
    {"conv of three axes",
     "Conv",
     11,
     IN(COUNT(1, 1, 2, 2, 2), COUNT(1, 1, 1, 1, 2)),
     {{0}},
     FGSM_OK,
     F(D(5, 11, 17, 23), 1, 1, 2, 2, 1)},
    {"conv of four axes",
     "Conv",
     11,
     IN(COUNT(1, 1, 2, 2, 2, 2), COUNT(1, 1, 1, 1, 1, 1)),
     {{0}},
     REFUSED(UNSUPPORTED)},
    {"transposed conv",
     "ConvTranspose",
     11,
     IN(COUNT(1, 1, 1, 2), COUNT(1, 1, 1, 3), F(D(10), 1)),
     {INTS("strides", 1, 2), INTS("output_padding", 0, 1)},
     FGSM_OK,
     F(D(11, 12, 15, 14, 16, 10), 1, 1, 1, 6)},
    {"transposed conv of an odd shape",
     "ConvTranspose",
     11,
     IN(COUNT(1, 1, 2), COUNT(1, 1, 2)),
     {INTS("output_shape", 2)},
     FGSM_OK,
     F(D(4, 4), 1, 1, 2)},
    {"transposed conv with too much output padding",
     "ConvTranspose",
     11,
     IN(COUNT(1, 1, 2), COUNT(1, 1, 2)),
     {INTS("output_padding", 1)},
     REFUSED(MODEL)},
    {"conv with another kernel_shape",
     "Conv",
     11,
     IN(COUNT(1, 1, 3, 3), COUNT(1, 1, 2, 2)),
     {INTS("kernel_shape", 3, 3)},
     REFUSED(MODEL)},
    {"conv with three strides",
     "Conv",
     11,
     IN(COUNT(1, 1, 3, 3), COUNT(1, 1, 2, 2)),
     {INTS("strides", 1, 1, 1)},
     REFUSED(MODEL)},
    {"conv with a huge stride",
     "Conv",
     11,
     IN(COUNT(1, 1, 3, 3), COUNT(1, 1, 2, 2)),
     {INTS("strides", INT64_MAX, 1)},
     REFUSED(UNSUPPORTED)},
    {"conv with huge pads",
     "Conv",
     11,
     IN(COUNT(1, 1, 3, 3), COUNT(1, 1, 2, 2)),
     {INTS("pads", INT64_MAX, 1, INT64_MAX, 1)},
     REFUSED(UNSUPPORTED)},
    {"conv with a huge group",
     "Conv",
     11,
     IN(COUNT(1, 1, 3, 3), COUNT(1, 1, 2, 2)),
     {INT("group", INT64_MAX)},
     REFUSED(MODEL)},
    /* pooling and reduction */
    {"max pool",
     "MaxPool",
     12,
     IN(COUNT(1, 1, 3, 3)),
     {INTS("kernel_shape", 2, 2), INTS("strides", 2, 2), INT("ceil_mode", 1)},
     FGSM_OK,
     F(D(5, 6, 8, 9), 1, 1, 2, 2)},
    {"max pool of one axis",
     "MaxPool",
     12,
     IN(COUNT(1, 1, 4)),
     {INTS("kernel_shape", 3)},
     FGSM_OK,
     F(D(3, 4), 1, 1, 2)},
    {"max pool without a window", "MaxPool", 12, IN(COUNT(1, 1, 4)), {{0}}, REFUSED(MODEL)},
    {"max pool of a zero window",
     "MaxPool",
     12,
     IN(COUNT(1, 1, 4)),
     {INTS("kernel_shape", 0)},
     REFUSED(MODEL)},
    {"a last window past the data",
     "MaxPool",
     12,
     IN(COUNT(1, 1, 1, 2)),
     {INTS("kernel_shape", 1, 1), INTS("strides", 1, 2), INT("ceil_mode", 1)},
     FGSM_OK,
     F(D(1), 1, 1, 1, 1)},
    {"average pool",
     "AveragePool",
     11,
     IN(COUNT(1, 1, 1, 3)),
     {INTS("kernel_shape", 1, 2), INTS("pads", 0, 1, 0, 0)},
     FGSM_OK,
     F(D(1, 1.5, 2.5), 1, 1, 1, 3)},
    {"average pool with padding",
     "AveragePool",
     11,
     IN(COUNT(1, 1, 1, 3)),
     {INTS("kernel_shape", 1, 2), INTS("pads", 0, 1, 0, 0), INT("count_include_pad", 1)},
     FGSM_OK,
     F(D(0.5, 1.5, 2.5), 1, 1, 1, 3)},
    /* the padding at -1 counts, what hangs over the end does not */
    {"average pool hanging over",
     "AveragePool",
     19,
     IN(COUNT(1, 1, 1, 4)),
     {INTS("kernel_shape", 1, 3), INTS("strides", 1, 3), INTS("pads", 0, 1, 0, 0),
      INT("count_include_pad", 1), INT("ceil_mode", 1)},
     FGSM_OK,
     F(D(1, 3.5), 1, 1, 1, 2)},
    {"global average",
     "GlobalAveragePool",
     1,
     IN(COUNT(1, 2, 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(2.5, 6.5), 1, 2, 1, 1)},
    {"global average of one axis",
     "GlobalAveragePool",
     1,
     IN(COUNT(1, 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(1.5, 3.5), 1, 2, 1)},
    {"global average of three axes",
     "GlobalAveragePool",
     1,
     IN(COUNT(1, 1, 2, 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(4.5), 1, 1, 1, 1, 1)},
    {"global maximum",
     "GlobalMaxPool",
     1,
     IN(COUNT(1, 2, 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(4, 8), 1, 2, 1, 1)},
    {"mean 11",
     "ReduceMean",
     11,
     IN(COUNT(2, 2)),
     {INTS("axes", -1), INT("keepdims", 0)},
     FGSM_OK,
     F(D(1.5, 3.5), 2)},
    {"mean 18", "ReduceMean", 18, IN(COUNT(2, 2), I(0)), {{0}}, FGSM_OK, F(D(2, 3), 1, 2)},
    {"mean of all",
     "ReduceMean",
     18,
     IN(COUNT(2, 2)),
     {INT("keepdims", 0)},
     FGSM_OK,
     {FG_F64, 0, {0}, D(2.5)}},
    {"mean of none",
     "ReduceMean",
     18,
     IN(COUNT(2, 2), EMPTY),
     {INT("noop_with_empty_axes", 1)},
     FGSM_OK,
     COUNT(2, 2)},
    {"mean of images",
     "ReduceMean",
     18,
     IN(COUNT(1, 2, 2, 2), I(2, 3)),
     {INT("keepdims", 0)},
     FGSM_OK,
     F(D(2.5, 6.5), 1, 2)},
    {"sum 13",
     "ReduceSum",
     13,
     IN(COUNT(2, 2), I(1)),
     {INT("keepdims", 0)},
     FGSM_OK,
     F(D(3, 7), 2)},
    {"sum twice over an axis", "ReduceSum", 13, IN(COUNT(2, 2), I(1, -1)), {{0}}, REFUSED(MODEL)},
    {"sum past the rank", "ReduceSum", 13, IN(COUNT(2, 2), I(2)), {{0}}, REFUSED(MODEL)},
    /* shapes */
    {"reshape", "Reshape", 13, IN(COUNT(2, 3), I(0, -1, 1)), {{0}}, FGSM_OK, COUNT(2, 3, 1)},
    {"reshape to a scalar",
     "Reshape",
     13,
     IN(COUNT(1, 1), EMPTY),
     {{0}},
     FGSM_OK,
     {FG_F64, 0, {0}, D(1)}},
    {"reshape with two open", "Reshape", 13, IN(COUNT(2, 3), I(-1, -1)), {{0}}, REFUSED(MODEL)},
    {"reshape that leaves a rest", "Reshape", 13, IN(COUNT(2, 3), I(4, -1)), {{0}}, REFUSED(MODEL)},
    {"reshape copying too far", "Reshape", 13, IN(COUNT(2, 3), I(2, 3, 0)), {{0}}, REFUSED(MODEL)},
    {"reshape to zero",
     "Reshape",
     14,
     IN(COUNT(2, 3), I(0, -1)),
     {INT("allowzero", 1)},
     REFUSED(MODEL)},
    {"reshape that overflows",
     "Reshape",
     14,
     IN(COUNT(2, 3), I(4e18, 4e18, -1)),
     {{0}},
     REFUSED(MODEL)},
    {"flatten", "Flatten", 13, IN(COUNT(2, 3, 1)), {{0}}, FGSM_OK, COUNT(2, 3)},
    {"flatten all", "Flatten", 13, IN(COUNT(2, 3)), {INT("axis", 0)}, FGSM_OK, COUNT(1, 6)},
    {"flatten from the end",
     "Flatten",
     13,
     IN(COUNT(2, 3, 2)),
     {INT("axis", -1)},
     FGSM_OK,
     COUNT(6, 2)},
    {"squeeze 11", "Squeeze", 11, IN(COUNT(1, 2, 1)), {INTS("axes", -1)}, FGSM_OK, COUNT(1, 2)},
    {"squeeze 13", "Squeeze", 13, IN(COUNT(1, 2, 1), I(0)), {{0}}, FGSM_OK, COUNT(2, 1)},
    {"squeeze all", "Squeeze", 13, IN(COUNT(1, 2, 1)), {{0}}, FGSM_OK, COUNT(2)},
    {"squeeze of more than 1", "Squeeze", 13, IN(COUNT(1, 2, 1), I(1)), {{0}}, REFUSED(MODEL)},
    {"unsqueeze 11",
     "Unsqueeze",
     11,
     IN(COUNT(2, 3)),
     {INTS("axes", 0, 3)},
     FGSM_OK,
     COUNT(1, 2, 3, 1)},
    {"unsqueeze 13", "Unsqueeze", 13, IN(COUNT(2, 3), I(-1)), {{0}}, FGSM_OK, COUNT(2, 3, 1)},
    {"unsqueeze past the rank", "Unsqueeze", 13, IN(COUNT(2, 3), I(3)), {{0}}, REFUSED(MODEL)},
    {"transpose", "Transpose", 13, IN(COUNT(2, 2)), {{0}}, FGSM_OK, F(D(1, 3, 2, 4), 2, 2)},
    {"transpose by perm",
     "Transpose",
     13,
     IN(COUNT(1, 2, 2)),
     {INTS("perm", 2, 0, 1)},
     FGSM_OK,
     F(D(1, 3, 2, 4), 2, 1, 2)},
    {"transpose by a short perm",
     "Transpose",
     13,
     IN(COUNT(2, 2)),
     {INTS("perm", 0)},
     REFUSED(MODEL)},
    {"expand",
     "Expand",
     13,
     IN(F(D(1, 2), 2, 1), I(1, 3)),
     {{0}},
     FGSM_OK,
     F(D(1, 1, 1, 2, 2, 2), 2, 3)},
    {"concat",
     "Concat",
     13,
     IN(COUNT(2, 1), F(D(8, 9), 2, 1)),
     {INT("axis", -1)},
     FGSM_OK,
     F(D(1, 8, 2, 9), 2, 2)},
    {"concat without axis", "Concat", 13, IN(COUNT(2)), {{0}}, REFUSED(MODEL)},
    {"slice 9",
     "Slice",
     9,
     IN(COUNT(2, 3)),
     {INTS("starts", 1), INTS("ends", INT64_MAX), INTS("axes", 1)},
     FGSM_OK,
     F(D(2, 3, 5, 6), 2, 2)},
    {"slice 13",
     "Slice",
     13,
     IN(COUNT(6), I(-2), I(-100), I(0), I(-2)),
     {{0}},
     FGSM_OK,
     F(D(5, 3, 1), 3)},
    {"slice without axes",
     "Slice",
     10,
     IN(COUNT(2, 3), I(1, 0), I(9, 2)),
     {{0}},
     FGSM_OK,
     F(D(4, 5), 1, 2)},
    {"slice of integers to nothing", "Slice", 13, IN(I(1, 2), I(5), I(9)), {{0}}, FGSM_OK, EMPTY},
    {"slice standing still",
     "Slice",
     13,
     IN(COUNT(6), I(0), I(2), I(0), I(0)),
     {{0}},
     REFUSED(MODEL)},
    {"slice of lists that differ", "Slice", 13, IN(COUNT(6), I(0), I(2, 3)), {{0}}, REFUSED(MODEL)},
    {"gather",
     "Gather",
     13,
     IN(COUNT(2, 3), I(2, -3)),
     {INT("axis", 1)},
     FGSM_OK,
     F(D(3, 1, 6, 4), 2, 2)},
    {"gather of one",
     "Gather",
     13,
     IN(COUNT(2, 3), SCALAR(I64, -1)),
     {INT("axis", 1)},
     FGSM_OK,
     F(D(3, 6), 2)},
    {"gather out of range",
     "Gather",
     13,
     IN(COUNT(2, 3), SCALAR(I64, 3)),
     {INT("axis", 1)},
     REFUSED(MODEL)},
    {"pad 2",
     "Pad",
     10,
     IN(COUNT(1, 2)),
     {INTS("pads", 0, 1, 0, -1), FLOAT("value", 7)},
     FGSM_OK,
     F(D(7, 1), 1, 2)},
    {"pad 11",
     "Pad",
     11,
     IN(COUNT(1, 2), I(1, 0, 0, 1), SCALAR(F64, 7)),
     {{0}},
     FGSM_OK,
     F(D(7, 7, 7, 1, 2, 7), 2, 3)},
    {"pad 18",
     "Pad",
     18,
     IN(COUNT(1, 2), I(1, 1), NONE, I(-1)),
     {{0}},
     FGSM_OK,
     F(D(0, 1, 2, 0), 1, 4)},
    {"pad by reflection",
     "Pad",
     18,
     IN(COUNT(1, 3), I(0, 2, 0, 5)),
     {TEXT("mode", "reflect")},
     FGSM_OK,
     F(D(3, 2, 1, 2, 3, 2, 1, 2, 3, 2), 1, 10)},
    {"pad with the edge, and cut",
     "Pad",
     18,
     IN(COUNT(1, 3), I(0, 2, 0, -1)),
     {TEXT("mode", "edge")},
     FGSM_OK,
     F(D(1, 1, 1, 2), 1, 4)},
    {"pad around",
     "Pad",
     19,
     IN(COUNT(1, 3), I(0, 4, 0, 1)),
     {TEXT("mode", "wrap")},
     FGSM_OK,
     F(D(3, 1, 2, 3, 1, 2, 3, 1), 1, 8)},
    {"pad in an unknown way",
     "Pad",
     18,
     IN(COUNT(1, 3), I(0, 2, 0, 1)),
     {TEXT("mode", "mirror")},
     REFUSED(UNSUPPORTED)},
    {"pad by reflection without end",
     "Pad",
     18,
     IN(COUNT(1, 3), I(0, 1LL << 40, 0, 1)),
     {TEXT("mode", "reflect")},
     REFUSED(UNSUPPORTED)},
    {"pad with few numbers", "Pad", 13, IN(COUNT(1, 2), I(0, 1)), {{0}}, REFUSED(MODEL)},
    {"identity", "Identity", 16, IN(COUNT(2)), {{0}}, FGSM_OK, COUNT(2)},
    {"dropout 7", "Dropout", 7, IN(COUNT(2)), {FLOAT("ratio", 0.5f)}, FGSM_OK, COUNT(2)},
    {"dropout 13",
     "Dropout",
     13,
     IN(COUNT(2), SCALAR(F64, 0.5), SCALAR(BOOL, 0)),
     {{0}},
     FGSM_OK,
     COUNT(2)},
    {"dropout in training",
     "Dropout",
     13,
     IN(COUNT(2), SCALAR(F64, 0.5), SCALAR(BOOL, 1)),
     {{0}},
     REFUSED(UNSUPPORTED)},
    /* types and constants */
    {"cast to int64", "Cast", 21, IN(F(D(-1.5, 2.5), 2)), {INT("to", 7)}, FGSM_OK, I(-1, 2)},
    {"cast to bool", "Cast", 9, IN(F(D(0, 2.5), 2)), {INT("to", 9)}, FGSM_OK, T(BOOL, D(0, 1), 2)},
    {"cast to half", "Cast", 13, IN(I(1, 2)), {INT("to", 10)}, FGSM_OK, COUNT(2)},
    {"cast to text", "Cast", 13, IN(COUNT(2)), {INT("to", 8)}, REFUSED(UNSUPPORTED)},
    {"cast to nothing", "Cast", 13, IN(COUNT(2)), {{0}}, REFUSED(UNSUPPORTED)},
    {"cast by a float", "Cast", 13, IN(COUNT(2)), {FLOAT("to", 1)}, REFUSED(MODEL)},
    {"shape", "Shape", 13, IN(COUNT(2, 3, 4)), {{0}}, FGSM_OK, I(2, 3, 4)},
    {"part of a shape",
     "Shape",
     15,
     IN(COUNT(2, 3, 4)),
     {INT("start", -2), INT("end", -1)},
     FGSM_OK,
     I(3)},
    {"shape from past the end", "Shape", 15, IN(COUNT(2, 3, 4)), {INT("start", 9)}, FGSM_OK, EMPTY},
    {"size", "Size", 13, IN(COUNT(2, 3, 4)), {{0}}, FGSM_OK, SCALAR(I64, 24)},
    {"constant of shape",
     "ConstantOfShape",
     9,
     IN(I(2, 2)),
     {{0}},
     FGSM_OK,
     F(D(0, 0, 0, 0), 2, 2)},
    {"constant of a huge shape",
     "ConstantOfShape",
     9,
     IN(I(1e9, 1e9)),
     {{0}},
     REFUSED(UNSUPPORTED)},
    {"constant of a negative shape", "ConstantOfShape", 9, IN(I(2, -1)), {{0}}, REFUSED(MODEL)},
    {"constant int", "Constant", 12, IN(NONE), {INT("value_int", 7)}, FGSM_OK, SCALAR(I64, 7)},
    {"constant ints", "Constant", 12, IN(NONE), {INTS("value_ints", 7, 8)}, FGSM_OK, I(7, 8)},
    {"constant float",
     "Constant",
     12,
     IN(NONE),
     {FLOAT("value_float", 0.5f)},
     FGSM_OK,
     SCALAR(F64, 0.5)},
    {"constant text", "Constant", 12, IN(NONE), {TEXT("value_string", "x")}, REFUSED(UNSUPPORTED)},
    {"range",
     "Range",
     11,
     IN(SCALAR(I64, 10), SCALAR(I64, 4), SCALAR(I64, -3)),
     {{0}},
     FGSM_OK,
     I(10, 7)},
    {"range of floats",
     "Range",
     11,
     IN(SCALAR(F64, 1), SCALAR(F64, 2), SCALAR(F64, 0.5)),
     {{0}},
     FGSM_OK,
     F(D(1, 1.5), 2)},
    {"range without end",
     "Range",
     11,
     IN(SCALAR(I64, 0), SCALAR(I64, 4), SCALAR(I64, 0)),
     {{0}},
     REFUSED(UNSUPPORTED)},
    {"range too long",
     "Range",
     11,
     IN(SCALAR(I64, 0), SCALAR(I64, 1e12), SCALAR(I64, 1)),
     {{0}},
     REFUSED(UNSUPPORTED)},

    {"constant fill",
     "ConstantFill",
     7,
     IN(I(2, 1)),
     {INT("input_as_shape", 1), FLOAT("value", 3)},
     FGSM_OK,
     F(D(3, 3), 2, 1)},
    {"constant fill like",
     "ConstantFill",
     7,
     IN(COUNT(1, 2)),
     {INT("dtype", 7), INTS("extra_shape", 2)},
     FGSM_OK,
     T(I64, D(0, 0, 0, 0), 1, 2, 2)},
    {"constant fill by attribute",
     "ConstantFill",
     7,
     IN(NONE),
     {INTS("shape", 2), FLOAT("value", -1)},
     FGSM_OK,
     F(D(-1, -1), 2)},
    {"constant fill of no shape", "ConstantFill", 7, IN(NONE), {{0}}, REFUSED(MODEL)},
    {"constant fill of much",
     "ConstantFill",
     7,
     IN(COUNT(1)),
     {INTS("extra_shape", 1, 1, 1, 1, 1, 1, 1, 1)},
     REFUSED(MODEL)},
    /* ai.onnx.ml */
    {"scaler",
     "Scaler",
     1,
     IN(F(D(1, 2, 3, 4), 2, 2)),
     {FLOATS("offset", 1, 0), FLOATS("scale", 2, 0.5f)},
     FGSM_OK,
     F(D(0, 1, 4, 2), 2, 2)},
    {"scaler of integers",
     "Scaler",
     1,
     IN(I(3, 5)),
     {FLOATS("offset", 1), FLOATS("scale", 0.5f)},
     FGSM_OK,
     F(D(1, 2), 2)},
    {"scaler of nothing", "Scaler", 1, IN(F(D(1, 2), 1, 2)), {{0}}, FGSM_OK, F(D(1, 2), 1, 2)},
    {"scaler of other features",
     "Scaler",
     1,
     IN(COUNT(2, 3)),
     {FLOATS("offset", 1, 2)},
     REFUSED(MODEL)},
    {"scaler of images", "Scaler", 1, IN(COUNT(1, 2, 2)), {FLOATS("offset", 1)}, REFUSED(MODEL)},
    {"normalizer",
     "Normalizer",
     1,
     IN(F(D(1, -4, 0, 0), 2, 2)),
     {{0}},
     FGSM_OK,
     F(D(0.25, -1, 0, 0), 2, 2)},
    {"normalizer L1",
     "Normalizer",
     1,
     IN(F(D(1, -4, 0, 0), 2, 2)),
     {TEXT("norm", "L1")},
     FGSM_OK,
     F(D(0.2, -0.8, 0, 0), 2, 2)},
    {"normalizer L2",
     "Normalizer",
     1,
     IN(F(D(3, -4, 0, 0), 2, 2)),
     {TEXT("norm", "L2")},
     FGSM_OK,
     F(D(0.6, -0.8, 0, 0), 2, 2)},
    {"normalizer L3", "Normalizer", 1, IN(COUNT(2, 2)), {TEXT("norm", "L3")}, REFUSED(MODEL)},
    {"array feature extractor",
     "ArrayFeatureExtractor",
     1,
     IN(COUNT(2, 3), I(2, 0)),
     {{0}},
     FGSM_OK,
     F(D(3, 1, 6, 4), 2, 2)},
    {"array feature extractor of labels",
     "ArrayFeatureExtractor",
     1,
     IN(I(7, 8, 9), I(2, 2, 0, 1)),
     {{0}},
     FGSM_OK,
     T(I64, D(9, 9, 7, 8), 1, 4)},
    {"array feature extractor beyond",
     "ArrayFeatureExtractor",
     1,
     IN(COUNT(2, 3), I(3)),
     {{0}},
     REFUSED(MODEL)},
    {"zip map", "ZipMap", 1, IN(COUNT(2, 3)), {{0}}, REFUSED(UNSUPPORTED)},
};

static int64_t count(const struct tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    n *= t->dim[i];
  return n;
}

static double at(const struct tensor *t, int64_t i) {
  return t->values ? t->values[i] : (double)i + 1;
}

static fg_id constant(struct fg_graph *g, const struct tensor *t) {
  double real[MOST_ELEMENTS];
  int64_t whole[MOST_ELEMENTS];
  fg_id x = FG_ABSENT;
  if (t->type == FG_NONE)
    return x;
  for (int64_t i = 0; i < count(t); i++) {
    real[i] = at(t, i);
    whole[i] = t->type == FG_F64 ? 0 : (int64_t)real[i];
  }
  cr_assert_eq(fg_graph_constant(g, "", t->type == FG_F64 ? FG_F64 : FG_I64, t->rank, t->dim,
                                 t->type == FG_F64 ? (void *)real : whole, &x),
               FGSM_OK);
  cr_assert_eq(fg_cast(g, x, t->type, 0, &x), FGSM_OK);
  return x;
}

static fgsm_status run(struct fg_graph *g, const char *op, int64_t opset, int n_in, const fg_id *in,
                       const struct fg_onnx_attr *attrs, int n_attrs, int n_out, fg_id *out) {
  static const bool used[8] = {true, true, true, true, true, true, true, true};
  struct fg_import im = {.g = g,
                         .op_type = op,
                         .name = "node",
                         .opset = opset,
                         .n_in = n_in,
                         .in = in,
                         .n_out = n_out,
                         .out_used = used,
                         .out = out,
                         .n_attrs = n_attrs,
                         .attrs = attrs};
  fg_import_fn import = fg_find_importer("", op);
  if (!import)
    import = fg_find_importer("ai.onnx.ml", op);
  cr_assert_not_null(import, "no importer %s", op);
  return import(&im);
}

static void check_result(const struct import_case *c, const struct fg_graph *g, fg_id out) {
  const struct tensor *want = &c->out;
  cr_assert_neq(out, FG_ABSENT, "%s: no result", c->name);
  const struct fg_value *v = fg_value(g, out);
  cr_expect_eq(v->type, want->type, "%s: the result is %s", c->name, fg_type_name(v->type));
  cr_assert_eq(v->rank, want->rank, "%s: the result has rank %d", c->name, v->rank);
  for (int i = 0; i < v->rank; i++)
    cr_assert_eq(v->dim[i], want->dim[i], "%s: dimension %d is %lld", c->name, i,
                 (long long)v->dim[i]);
  cr_assert(fg_value_is_constant(g, out), "%s: the result was not computed", c->name);
  for (int64_t i = 0; i < count(want); i++)
    cr_expect(fabs(fg_constant_real(g, out, i) - at(want, i)) <= 1e-7 * (1 + fabs(at(want, i))),
              "%s: element %lld is %g, not %g", c->name, (long long)i, fg_constant_real(g, out, i),
              at(want, i));
}

Test(ops_import, understands_every_form) {
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    const struct import_case *c = &cases[k];
    struct fg_graph *g;
    fg_id in[MOST_IN], out[3] = {FG_ABSENT, FG_ABSENT, FG_ABSENT};
    int n_attrs = 0;
    cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
    for (int i = 0; i < c->n_in; i++)
      in[i] = constant(g, &c->in[i]);
    while (n_attrs < MOST_ATTRS && c->attrs[n_attrs].name)
      n_attrs++;
    fgsm_status status = run(g, c->op, c->opset, c->n_in, in, c->attrs, n_attrs, 1, out);
    cr_expect_eq(status, c->want, "%s: %s (%s)", c->name, fgsm_status_name(status),
                 status == FGSM_OK ? "" : fgsm_last_error());
    if (status == FGSM_OK && c->want == FGSM_OK)
      check_result(c, g, out[0]);
    fg_graph_destroy(g);
  }
}

static struct fg_graph *graph(void) {
  struct fg_graph *g;
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  return g;
}

static fg_id input(struct fg_graph *g, enum fg_type type, int rank, const int64_t *dim) {
  fg_id x;
  cr_assert_eq(fg_graph_input(g, "x", type, rank, dim, &x), FGSM_OK);
  return x;
}

static const struct fg_node *producer(const struct fg_graph *g, fg_id x) {
  cr_assert_neq(fg_value(g, x)->producer, FG_ABSENT);
  return &g->nodes[fg_value(g, x)->producer];
}

static fg_id ints(struct fg_graph *g, int64_t n, const int64_t *data) {
  fg_id x;
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 1, &n, data, &x), FGSM_OK);
  return x;
}

/* Splits [7] or [6] and gives the parts' sizes, 0 for a part that is not there. */
static fgsm_status split(int64_t opset, int64_t whole, const int64_t *sizes, int n_sizes,
                         int64_t parts, int n_out, int64_t *got) {
  struct fg_graph *g = graph();
  fg_id in[2] = {input(g, FG_F32, 1, &whole), FG_ABSENT}, out[8];
  struct fg_onnx_attr attrs[2] = {INT("num_outputs", parts)};
  int n_attrs = parts > 0;
  if (n_sizes && opset >= 13)
    in[1] = ints(g, n_sizes, sizes);
  else if (n_sizes)
    attrs[n_attrs++] =
        (struct fg_onnx_attr){.name = "split", .kind = FG_ATTR_INTS, .n = n_sizes, .ints = sizes};
  for (int i = 0; i < n_out; i++)
    out[i] = FG_ABSENT;
  fgsm_status status = run(g, "Split", opset, 2, in, attrs, n_attrs, n_out, out);
  for (int i = 0; i < n_out && status == FGSM_OK; i++)
    got[i] = out[i] == FG_ABSENT ? 0 : fg_value(g, out[i])->dim[0];
  fg_graph_destroy(g);
  return status;
}

Test(ops_import, splits) {
  int64_t got[4] = {0};
  const int64_t two[] = {2, 4}, long_one[] = {2, 5}, negative[] = {-2, 8};
  cr_assert_eq(split(11, 6, two, 2, 0, 2, got), FGSM_OK);
  cr_expect(got[0] == 2 && got[1] == 4);
  cr_assert_eq(split(13, 6, two, 2, 0, 2, got), FGSM_OK);
  cr_expect(got[0] == 2 && got[1] == 4);
  cr_assert_eq(split(13, 6, NULL, 0, 0, 3, got), FGSM_OK);
  cr_expect(got[0] == 2 && got[1] == 2 && got[2] == 2);
  cr_assert_eq(split(18, 7, NULL, 0, 3, 3, got), FGSM_OK);
  cr_expect(got[0] == 3 && got[1] == 3 && got[2] == 1);
  cr_expect_eq(split(13, 7, NULL, 0, 0, 3, got), FGSM_MODEL);
  cr_expect_eq(split(13, 6, long_one, 2, 0, 2, got), FGSM_MODEL);
  cr_expect_eq(split(13, 6, negative, 2, 0, 2, got), FGSM_MODEL);
  cr_expect_eq(split(13, 6, two, 2, 0, 3, got), FGSM_MODEL);
  cr_expect_eq(split(18, 6, NULL, 0, 2, 3, got), FGSM_MODEL);
}

Test(ops_import, joins_more_inputs_than_a_node_takes) {
  struct fg_graph *g = graph();
  fg_id in[40], out;
  struct fg_onnx_attr axis = INT("axis", 0);
  for (int i = 0; i < 40; i++)
    in[i] = input(g, FG_F32, 1, (int64_t[]){i + 1});
  cr_assert_eq(run(g, "Concat", 13, 40, in, &axis, 1, 1, &out), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(fg_value(g, out)->dim[0], 40 * 41 / 2);
  cr_expect_eq(g->n_nodes, 4);
  fg_graph_destroy(g);
}

/* Forms that later passes look for, or that save work. */
Test(ops_import, chooses_the_cheap_form) {
  struct fg_graph *g = graph();
  fg_id x = input(g, FG_F32, 4, (int64_t[]){2, 3, 4, 4}), out, bound[3] = {x, 0, 0};
  fg_id w = input(g, FG_F32, 2, (int64_t[]){3, 5}), in[3] = {x, FG_ABSENT, FG_ABSENT};
  struct fg_onnx_attr axes = INTS("axes", 2, 3);
  cr_assert_eq(run(g, "ReduceMean", 13, 1, &x, &axes, 1, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->op, FG_OP_avg_pool);
  cr_assert_eq(fg_graph_scalar(g, 0, &bound[1]), FGSM_OK);
  cr_assert_eq(fg_graph_scalar(g, 6, &bound[2]), FGSM_OK);
  cr_assert_eq(run(g, "Clip", 13, 3, bound, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->attrs.unary.kind, FG_UNARY_relu6);
  struct fg_onnx_attr scalar = INT("axis", 1);
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 0, NULL, &(int64_t){-1}, &in[1]), FGSM_OK);
  cr_assert_eq(run(g, "Gather", 13, 2, in, &scalar, 1, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->op, FG_OP_reshape);
  cr_expect_eq(producer(g, producer(g, out)->in[0])->op, FG_OP_slice);
  cr_assert_eq(run(g, "Identity", 13, 1, &x, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(out, x);
  fg_id a = input(g, FG_F32, 2, (int64_t[]){2, 3}), c;
  cr_assert_eq(fg_graph_constant(g, "", FG_F32, 1, (int64_t[]){1}, (float[]){4}, &c), FGSM_OK);
  cr_assert_eq(run(g, "Gemm", 13, 3, (fg_id[]){a, w, c}, NULL, 0, 1, &out), FGSM_OK);
  cr_expect_eq(producer(g, out)->n_in, 3);
  cr_expect_eq(fg_value(g, producer(g, out)->in[2])->dim[0], 5);
  fg_graph_destroy(g);
}

Test(ops_import, refuses_what_is_computed_from_the_data) {
  struct fg_graph *g = graph();
  fg_id x = input(g, FG_F32, 2, (int64_t[]){2, 3}), shape = input(g, FG_I64, 1, (int64_t[]){2}),
        out;
  fg_id in[3] = {x, shape, FG_ABSENT};
  const char *const ops[] = {"Reshape", "Expand", "Gather", "Squeeze", "ReduceSum", "Pad"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    cr_expect_eq(run(g, ops[i], 18, 2, in, NULL, 0, 1, &out), FGSM_UNSUPPORTED, "%s", ops[i]);
    cr_expect_not_null(strstr(fgsm_last_error(), "computed from the data"), "%s: %s", ops[i],
                       fgsm_last_error());
  }
  in[1] = x;
  in[2] = x;
  cr_expect_eq(run(g, "Pad", 13, 2, in, NULL, 0, 1, &out), FGSM_MODEL);
  fg_graph_destroy(g);
}

/* Clip with bounds that are computed, and of shape [1]: no constant, and no change of rank. */
Test(ops_import, clips_by_computed_bounds) {
  struct fg_graph *g = graph();
  fg_id in[3] = {input(g, FG_F32, 0, NULL), input(g, FG_F32, 1, (int64_t[]){1}), FG_ABSENT}, out;
  cr_assert_eq(run(g, "Clip", 13, 3, in, NULL, 0, 1, &out), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(producer(g, out)->attrs.binary.kind, FG_BINARY_max);
  cr_expect_eq(fg_value(g, out)->rank, 0);
  fg_graph_destroy(g);
}

Test(ops_import, leaves_unneeded_outputs_to_the_reader) {
  struct fg_graph *g = graph();
  fg_id x = input(g, FG_F32, 4, (int64_t[]){1, 1, 4, 4}), out[2] = {0, 0};
  struct fg_onnx_attr window = INTS("kernel_shape", 2, 2);
  cr_assert_eq(run(g, "MaxPool", 12, 1, &x, &window, 1, 2, out), FGSM_OK);
  cr_expect_eq(out[1], FG_ABSENT);
  cr_assert_eq(run(g, "Dropout", 12, 1, &x, NULL, 0, 2, out), FGSM_OK);
  cr_expect_eq(out[1], FG_ABSENT);
  fg_graph_destroy(g);
}

Test(ops_import, are_found_by_domain_and_name) {
  cr_expect_not_null(fg_find_importer("", "Conv"));
  cr_expect_eq(fg_find_importer("ai.onnx", "Conv"), fg_find_importer("", "Conv"));
  cr_expect_null(fg_find_importer("com.example", "Conv"));
  cr_expect_null(fg_find_importer("", "conv"));
  cr_expect_null(fg_find_importer("", "Scaler"));
  cr_expect_null(fg_find_importer("ai.onnx.ml", "Conv"));
  int n = 0;
  const char *domain, *name;
  for (; (name = fg_importer_name(n, &domain)); n++)
    cr_expect_not_null(fg_find_importer(domain, name), "%s", name);
  cr_expect_gt(n, 60);
  cr_expect_null(fg_importer_name(-1, &domain));
}
