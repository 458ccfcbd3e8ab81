/* What the graph must know of an operator beyond its kernels: one table row per line of ops.def,
 * defined in host/ops/<op>.c as `fg_def_<op>`. */
#ifndef FG_OP_H
#define FG_OP_H

#include "graph.h"

/* The gradient under construction, seen from one node. */
struct fg_grad_ctx {
  struct fg_graph *g;
  const struct fg_node *node; /* a copy: rules may append nodes */
  const fg_id *out_grad;      /* FG_MAX_OUT: gradient of each output, FG_ABSENT where none */
  const bool *wanted;         /* FG_MAX_IN: whether the gradient of each input is needed     */
  fg_id in_grad[FG_MAX_IN];   /* the rule's answer; FG_ABSENT: no gradient flows             */
};

struct fg_op_def {
  /* Checks node->in and attrs against attrs.h and fills shape and type (dim, rank, type only) of
   * out[0..n_out-1]; an output left FG_NONE is absent. May normalise node->attrs. Errors name the
   * shapes (fg_graph_add puts the node's name in front). */
  fgsm_status (*infer)(const struct fg_graph *g, struct fg_node *node, struct fg_value *out);
  /* Appends the gradient's nodes and fills in_grad for the inputs that are wanted. NULL: not
   * differentiable, an error where a gradient must pass through; use fg_no_grad for operators
   * whose result does not depend smoothly on any input (comparisons): gradient zero. */
  fgsm_status (*grad)(struct fg_grad_ctx *ctx);
  /* Floating-point operations of one run; NULL: one per output element. */
  double (*flops)(const struct fg_graph *g, const struct fg_node *node);
};

extern const struct fg_op_def *const fg_op_defs[FG_OP_COUNT];

/* Where `depends` (one per value) marks some values, marks the floats computed from them too. */
void fg_mark_dependents(const struct fg_graph *g, bool *depends);

fgsm_status fg_no_grad(struct fg_grad_ctx *ctx) FGSM_MUST_USE;

/* ---- helpers for infer rules */
fgsm_status fg_broadcast_shape(const struct fg_value *a, const struct fg_value *b,
                               struct fg_value *out) FGSM_MUST_USE;
/* 1 if the axis (negative counts from the end) is in range of rank; *axis normalised. */
fgsm_status fg_check_axis(int rank, int64_t axis, int *out) FGSM_MUST_USE;
/* "[2,3,4]" of a shape, in a buffer of the caller. */
const char *fg_shape_text(int rank, const int64_t *dim, char *text, size_t size);

/* Bytes that are wanted between two calls, both included; fg_place_all finds their offset. */
struct fg_place {
  size_t bytes, offset;
  int64_t born, dies;
};
/* Gives each item the lowest offset that no other overlaps during its life, the largest first;
 * *bytes is where the last ends. Sorts `items`. */
fgsm_status fg_place_all(struct fg_place **items, int64_t n, size_t *bytes) FGSM_MUST_USE;

#endif
