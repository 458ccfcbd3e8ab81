/* A graph under construction: shared by scope.c (names) and build.c (nodes). */
#ifndef FG_ONNX_BUILD_H
#define FG_ONNX_BUILD_H

#include "model.h"

enum fg_origin { FG_FROM_INPUT, FG_FROM_INITIALIZER, FG_FROM_SPARSE, FG_FROM_NODE };

struct fg_entry {
  const char *name;
  enum fg_origin origin;
  int64_t index; /* within its origin */
  fg_id id;
  bool made, failed;
};

struct fg_build {
  const struct fg_onnx *onnx;
  const Onnx__GraphProto *graph;
  struct fg_graph *g;
  bool trainable;
  struct fg_names names; /* -> entries */
  struct fg_entry *entries;
  int64_t n_entries, capacity;
  bool *needed;            /* per node: an output depends on it */
  struct fg_arena scratch; /* of one node */
  struct fg_onnx_problems *problems;
  int64_t n_problems; /* listed here */
  fgsm_status worst;
};

/* "Conv 'conv1' (opset 13)", without the opset where it is 0; a node without a name goes by its
 * first output. */
const char *fg_build_label(const Onnx__NodeProto *node, int64_t opset, char text[256]);

/* NULL if nothing has that name. The pointer is good until the scope grows. */
struct fg_entry *fg_build_find(const struct fg_build *b, const char *name);

/* Declares every name, checks that each is given once and before it is used, and marks the nodes
 * that are needed. FGSM_MODEL with the node. */
fgsm_status fg_build_scope(struct fg_build *b) FGSM_MUST_USE;

#endif
