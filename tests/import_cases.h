/* Cases of importers as data: an operator on constants, so that the graph computes it while it is
 * built, and what it must give. The tables stand in test_ops_import*.c. */
#ifndef IMPORT_CASES_H
#define IMPORT_CASES_H

#include "import.h"

enum { IMPORT_IN = 7, IMPORT_ATTRS = 6, IMPORT_ELEMENTS = 128 };

struct import_tensor {
  enum fg_type type; /* FG_NONE: absent */
  int rank;
  int64_t dim[FG_MAX_RANK];
  const double *values; /* NULL: 1, 2, 3, ... */
};

struct import_case {
  const char *name, *op;
  int64_t opset;
  struct import_tensor in[IMPORT_IN];
  int n_in;
  struct fg_onnx_attr attrs[IMPORT_ATTRS];
  fgsm_status want;
  struct import_tensor out; /* where want is FGSM_OK */
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
#define IN(...)                                                                                    \
  {__VA_ARGS__}, (int)(sizeof((struct import_tensor[]){__VA_ARGS__}) / sizeof(struct import_tensor))
#define REFUSED(status) FGSM_##status, NONE

/* Each case gives its result, or is refused as it says. */
void import_check(const char *domain, const struct import_case *cases, size_t n);

/* Runs the importer of `op`, all of whose outputs are used. */
fgsm_status import_run(struct fg_graph *g, const char *domain, const char *op, int64_t opset,
                       int n_in, const fg_id *in, const struct fg_onnx_attr *attrs, int n_attrs,
                       int n_out, fg_id *out) FGSM_MUST_USE;

/* The i-th case of the tables of ONNX's own operators, NULL past the last. */
const struct import_case *import_case_of_values(int i);
const struct import_case *import_case_of_shapes(int i);

/* The constant that a case's tensor is, FG_ABSENT for NONE. */
fg_id import_constant(struct fg_graph *g, const struct import_tensor *t);

#endif
