/* From ONNX to the graph: what an importer of one ONNX operator sees. The reader (host/onnx) turns a
 * NodeProto into an fg_onnx_node, whatever its origin, and calls the row of the table that bears the
 * operator's name; the importer appends one or a few graph nodes. One row per ONNX operator in
 * onnx_ops.def; its function `fg_import_<Name>` stands in the file of the operator's family. */
#ifndef FG_IMPORT_H
#define FG_IMPORT_H

#include "graph.h"

enum fg_onnx_attr_kind {
  FG_ATTR_FLOAT,
  FG_ATTR_INT,
  FG_ATTR_STRING,
  FG_ATTR_TENSOR,
  FG_ATTR_FLOATS,
  FG_ATTR_INTS,
  FG_ATTR_STRINGS,
  FG_ATTR_OTHER /* graphs and what else no operator here reads */
};

/* A tensor as read: `type` FG_NONE where ONNX's type has no counterpart here. */
struct fg_onnx_tensor {
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK];
  const void *data;
};

struct fg_onnx_attr {
  const char *name;
  enum fg_onnx_attr_kind kind;
  int64_t i;
  float f;
  const char *s;
  int64_t n; /* of ints, floats */
  const int64_t *ints;
  const float *floats;
  const char *const *strings;
  struct fg_onnx_tensor tensor;
};

struct fg_import {
  struct fg_graph *g;
  const char *op_type, *name;
  int64_t opset; /* of the operator's domain */
  int n_in;
  const fg_id *in;      /* FG_ABSENT where the model leaves an optional input out */
  int n_out;            /* that the model names */
  const bool *out_used; /* n_out: false where the name is empty */
  fg_id *out;           /* n_out, filled by the importer */
  int n_attrs;
  const struct fg_onnx_attr *attrs;
};

typedef fgsm_status (*fg_import_fn)(struct fg_import *im);

/* NULL if no importer has that name; "ai.onnx" is "". */
fg_import_fn fg_find_importer(const char *domain, const char *op_type);

/* Runs an importer; operators of floats on whole numbers by way of floats. */
fgsm_status fg_import_run(struct fg_import *im, fg_import_fn importer) FGSM_MUST_USE;

/* The i-th name of the table and its domain, "" for ONNX's own; NULL past the end. */
const char *fg_importer_name(int i, const char **domain);

/* Attributes by name; the default where absent. A wrong kind is FGSM_MODEL. */
fgsm_status fg_attr_int(const struct fg_import *im, const char *name, int64_t initial,
                        int64_t *out) FGSM_MUST_USE;
fgsm_status fg_attr_float(const struct fg_import *im, const char *name, double initial,
                          double *out) FGSM_MUST_USE;
fgsm_status fg_attr_text(const struct fg_import *im, const char *name, const char *initial,
                         const char **out) FGSM_MUST_USE;
/* At most `most` ints; *n is -1 where the attribute is absent. */
fgsm_status fg_attr_ints(const struct fg_import *im, const char *name, int most, int64_t *out,
                         int *n) FGSM_MUST_USE;
const struct fg_onnx_attr *fg_attr_find(const struct fg_import *im, const char *name);

/* The present input i; FGSM_MODEL if the node lacks it. */
fgsm_status fg_input(const struct fg_import *im, int i, fg_id *out) FGSM_MUST_USE;
/* The integers of a constant input (axes, shapes, ...); *n is -1 where the input is absent.
 * FGSM_UNSUPPORTED where it is computed from the data. */
fgsm_status fg_input_ints(const struct fg_import *im, int i, int most, int64_t *out,
                          int *n) FGSM_MUST_USE;

#endif
