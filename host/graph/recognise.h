/* What the recognisers share: a match in the making. A recogniser starts at a node (the root, whose
 * result the operator will compute), walks up its operands, and notes every node that it passes: the
 * interior. The match stands if nobody outside reads what the interior computes, so that all of it
 * goes and nothing is computed twice. */
#ifndef FG_RECOGNISE_H
#define FG_RECOGNISE_H

#include "rewrite.h"

enum { FG_MATCH_NODES = 32 };

struct fg_match {
  struct fg_rewrite *rw;
  struct fg_graph *g;
  struct fg_device *device;
  int64_t at; /* the root */
  int n;
  int64_t node[FG_MATCH_NODES]; /* the interior; to go back on a way, `n` is put back */
};

/* The node that makes `value`, as part of the interior: NULL if it is of another operator, was
 * touched in this sweep, or is one too many. The pointer dies with the next fg_graph_add. */
struct fg_node *fg_match_node(struct fg_match *m, fg_id value, enum fg_op op);
struct fg_node *fg_match_unary(struct fg_match *m, fg_id value, enum fg_unary_kind kind);
struct fg_node *fg_match_binary(struct fg_match *m, fg_id value, enum fg_binary_kind kind);

/* Whether the value is a constant float whose elements are all one number. */
bool fg_match_number(const struct fg_graph *g, fg_id value, double *number);
/* As numbers that went through float32 are. */
bool fg_match_near(double a, double b);
bool fg_match_same_shape(const struct fg_graph *g, fg_id a, fg_id b);

/* Whether nobody outside the match reads a result of the interior. */
bool fg_match_closed(const struct fg_match *m);
/* Whether the device has a kernel that takes the call, and wants it fused. */
bool fg_match_accepts(const struct fg_match *m, struct fg_call *call);

/* The root's result is now `value`: the whole match goes. */
fgsm_status fg_match_replace(struct fg_match *m, const char *what, fg_id value) FGSM_MUST_USE;

/* The recognisers: each looks at one root and, where it sees its operator, puts it there. */
fgsm_status fg_recognise_activation(struct fg_match *m) FGSM_MUST_USE;
fgsm_status fg_recognise_softmax(struct fg_match *m) FGSM_MUST_USE;
fgsm_status fg_recognise_layer_norm(struct fg_match *m) FGSM_MUST_USE;
fgsm_status fg_recognise_attention(struct fg_match *m) FGSM_MUST_USE;

#endif
