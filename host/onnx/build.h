/* A graph under construction: shared by scope.c (names), build.c (nodes) and body.c (graphs within
 * the graph: bodies of functions, branches). */
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
  int n_in, n_out;
  const char *const *in_names, *const *out_names;
  /* within the model's graph */
  struct fg_build *parent; /* whose names a branch sees; NULL in the model's graph and in
                              a function */
  const Onnx__FunctionProto *function; /* NULL outside of any */
  size_t n_args;                       /* the call's attributes */
  const Onnx__AttributeProto *const *args;
  int depth;
  int64_t *taken;        /* nodes so far, those of bodies as often as they are used */
  int64_t *looked_at;    /* names so far, likewise */
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

/* Counts names that are about to be looked at, so that a small file which calls a large function again
 * and again is refused: FGSM_UNSUPPORTED. */
fgsm_status fg_build_look_at(struct fg_build *b, size_t n) FGSM_MUST_USE;

/* NULL if nothing has that name. The pointer is good until the scope grows. */
struct fg_entry *fg_build_find(const struct fg_build *b, const char *name);

/* The value behind a name. *failed: it depends on a node that was reported. `node` and `slot` say
 * who uses it as what; NULL where nobody does. */
fgsm_status fg_build_resolve(struct fg_build *b, const Onnx__NodeProto *node, int slot,
                             const char *name, fg_id *out, bool *failed) FGSM_MUST_USE;

/* Appends the graph of `b`, which stands within another, and frees b's memory. in: n_in values,
 * FG_ABSENT for what is left out; out: n_out values. */
fgsm_status fg_build_body(struct fg_build *b, const fg_id *in, fg_id *out) FGSM_MUST_USE;

/* Whether the node calls a function that the model defines. FGSM_MODEL if there are two. */
fgsm_status fg_body_find(const struct fg_build *b, const Onnx__NodeProto *node,
                         const Onnx__FunctionProto **out) FGSM_MUST_USE;
/* Appends the body of the function that the node calls; `in` and `out` are the node's. */
fgsm_status fg_body_call(struct fg_build *b, const Onnx__NodeProto *node,
                         const Onnx__FunctionProto *function, const fg_id *in,
                         fg_id *out) FGSM_MUST_USE;
/* Appends the branch of an If that its condition chooses; where that is not known while loading,
 * both, and a choice between their results. */
fgsm_status fg_body_if(struct fg_build *b, const Onnx__NodeProto *node, fg_id condition,
                       fg_id *out) FGSM_MUST_USE;
/* Appends the body of a Loop or Scan as often as it runs, which must be known. `in` and `out` are
 * the node's. */
fgsm_status fg_body_loop(struct fg_build *b, const Onnx__NodeProto *node, const fg_id *in,
                         fg_id *out) FGSM_MUST_USE;
fgsm_status fg_body_scan(struct fg_build *b, const Onnx__NodeProto *node, int64_t opset,
                         const fg_id *in, fg_id *out) FGSM_MUST_USE;
/* A build within `b`: what every body shares with its surroundings. */
struct fg_build fg_body_inner(struct fg_build *b, const Onnx__GraphProto *graph);
/* The graph that is the node's attribute `name`. FGSM_MODEL if it has none. */
fgsm_status fg_body_graph(struct fg_build *b, const Onnx__NodeProto *node, const char *name,
                          const Onnx__GraphProto **out) FGSM_MUST_USE;
/* The node's attributes, those that it takes from the function's call put in place. */
fgsm_status fg_body_attrs(struct fg_build *b, const Onnx__NodeProto *node, size_t *n,
                          const Onnx__AttributeProto *const **out) FGSM_MUST_USE;

/* Declares every name, checks that each is given once and before it is used, and marks the nodes
 * that are needed. FGSM_MODEL with the node. */
fgsm_status fg_build_scope(struct fg_build *b) FGSM_MUST_USE;

#endif
