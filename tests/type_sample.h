/* A model of one operator that can be written again with other types and for another operator set:
 * from a case of an importer's table (import_cases.h), or from one of ONNX's node tests. */
#ifndef TYPE_SAMPLE_H
#define TYPE_SAMPLE_H

#include "import_cases.h"
#include "node_samples.h"
#include "onnx_bytes.h"

enum { TYPE_ELEMENTS = 4096 };

struct type_input {
  char name[64]; /* "" where the node leaves it out */
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK], n;
  double *values;
};

struct type_sample {
  char op[64];
  int64_t opset;
  struct onnx_bytes node; /* a NodeProto */
  int n_in;
  struct type_input in[NODE_PORTS];
  char out[64]; /* the first output */
  int n_attrs;
  char attrs[NODE_PORTS][64]; /* their names */
};

/* What a case says; false where it cannot be said in a file. */
bool type_sample_of_case(const struct import_case *c, struct type_sample *s);
/* The node test's, if its model is one operator of ONNX's own; false else. */
bool type_sample_of_node(const char *name, struct type_sample *s);
void type_sample_free(struct type_sample *s);

/* TensorProto's number of a type that there is here; and back, FG_NONE for others. */
int type_number(enum fg_type type);
enum fg_type type_of_number(int number);

/* The sample as a node test: inputs in `mask` have their values rounded to `rounded` and the type
 * `type`; floats among the others are float32. To be closed with node_close. */
fgsm_status type_sample_write(const struct type_sample *s, int64_t opset, uint32_t mask,
                              enum fg_type rounded, enum fg_type type,
                              struct node_sample *out) FGSM_MUST_USE;

#endif
