/* One sweep of a rewriting pass. Who uses what is counted once, at the sweep's beginning; a rewrite
 * marks everything that it touched, and what is marked is left alone until the next sweep. So a sweep
 * is linear in the graph however much it changes, and never acts on a count that is no longer true.
 * Ids that a caller may hold (outputs) survive. What a node came from goes to whatever does its work
 * in the end, without a word from the rules (provenance.h). */
#ifndef FG_REWRITE_H
#define FG_REWRITE_H

#include "provenance.h"

struct fg_rewrite {
  struct fg_graph *g;
  int64_t n_nodes, n_values; /* when the sweep began */
  int *uses;                 /* per value: by nodes, and as an output of the graph */
  fg_id *user;               /* per value: a node that uses it                     */
  fg_id *alias;              /* per value: what stands for it from now on          */
  bool *output;              /* per value: the caller knows it                     */
  bool *touched;             /* per value */
  bool changed;
  struct fg_lineage lineage; /* the end settles where nodes come from: rules need not think of it */
  struct fg_arena scratch;   /* of one rule: freed with the sweep, or earlier by the pass */
  double room;               /* elements that the pass may still compute */
};

/* Compacts the graph and counts. fg_rewrite_end must follow, also after a failure in between. */
fgsm_status fg_rewrite_begin(struct fg_graph *g, struct fg_rewrite *rw) FGSM_MUST_USE;
/* Puts the changes into effect (unless `status` is a failure, which is handed on). */
fgsm_status fg_rewrite_end(struct fg_rewrite *rw, fgsm_status status) FGSM_MUST_USE;

/* Whether node `at` is as it was when the sweep began: a rule may look at it. */
bool fg_rewrite_fresh(const struct fg_rewrite *rw, int64_t at);

/* The node that makes the value, if it is of that operator, fresh, and nothing else reads it. */
struct fg_node *fg_rewrite_only_feeds(const struct fg_rewrite *rw, fg_id value, enum fg_op op);

/* The only node that reads the value (in one slot, and it is no output), if fresh; or NULL. */
struct fg_node *fg_rewrite_only_user(const struct fg_rewrite *rw, fg_id value);

/* Marks what the node reads and writes, before it is changed in place. */
void fg_rewrite_touch(struct fg_rewrite *rw, const struct fg_node *node);

/* Node `at`'s result `old` is now computed as `new`: the node dies. An output of the graph keeps its
 * id: the new producer is made to write `old` itself. */
void fg_rewrite_result(struct fg_rewrite *rw, int64_t at, fg_id old, fg_id new);

/* The node dies; another has taken its result over. */
void fg_rewrite_kill(struct fg_rewrite *rw, struct fg_node *node);

#endif
