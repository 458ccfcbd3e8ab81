/* Small steps that the rewriting passes share. */
#ifndef FG_REWRITE_H
#define FG_REWRITE_H

#include "graph.h"

/* Uses of a value by live nodes and as an output of the graph. */
int fg_rewrite_uses(const struct fg_graph *g, fg_id value);

/* The only live node that uses the value (in one input slot), or NULL if there are several, none,
 * or the value is an output. */
struct fg_node *fg_rewrite_only_user(struct fg_graph *g, fg_id value);

/* Node `at`'s result `old` is now computed as `new`: users are moved and the node dies. An output
 * of the graph keeps its id: the new producer is made to write `old` itself. */
void fg_rewrite_result(struct fg_graph *g, int64_t at, fg_id old, fg_id new);

#endif
