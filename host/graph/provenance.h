/* Where nodes come from, kept through every pass without the passes' help.
 *
 * A node that is appended gets the graph's current origin (fg_source_begin, fg_grad). A sweep of
 * rewrites (rewrite.h) notes before it begins who made which value and who read it; afterwards every
 * node of before is looked up: its origin goes to the node that now makes its result or, where
 * nothing makes that any more, to the heirs of those that read it, because they do its work now. So
 * no rule names an origin, and none can lose one. A node of the sweep's own making that inherits
 * nothing belongs to what reads it. */
#ifndef FG_PROVENANCE_H
#define FG_PROVENANCE_H

#include "graph.h"

/* Adds a list of `n` items, which the caller has put in order. */
fgsm_status fg_lists_add(struct fg_lists *lists, int64_t n, const fg_id *items,
                         fg_id *out) FGSM_MUST_USE;
void fg_lists_free(struct fg_lists *lists);

/* Sources and lists for a graph that is being copied. */
fgsm_status fg_sources_copy(const struct fg_graph *from, struct fg_graph *to) FGSM_MUST_USE;

/* Who made and who read what, before a sweep. */
struct fg_lineage {
  int64_t n_nodes, n_values;
  struct fg_provenance *origin; /* per node */
  fg_id (*out)[FG_MAX_OUT];     /* per node */
  int64_t *first_user;          /* per value: its readers are user[first_user[v]] ... */
  fg_id *user;
};
/* fg_lineage_free must follow, also after a failure. */
fgsm_status fg_lineage_begin(const struct fg_graph *g, struct fg_lineage *l) FGSM_MUST_USE;
/* After the sweep, the graph compacted. now[v]: the value that stands for v. */
fgsm_status fg_lineage_settle(struct fg_graph *g, const struct fg_lineage *l,
                              const fg_id *now) FGSM_MUST_USE;
void fg_lineage_free(struct fg_lineage *l);

#endif
