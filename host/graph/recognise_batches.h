/* The batches of matrices that products run over, where reshapes regroup them in between: one axis of
 * samples and heads together, or two, or three with the windows of a shifted window. `fg_batches` are
 * the axes that all of these groupings are merged from, samples first. */
#ifndef FG_RECOGNISE_BATCHES_H
#define FG_RECOGNISE_BATCHES_H

#include "graph.h"

struct fg_batches {
  int n;
  int64_t dim[FG_MAX_RANK];
};

/* The axes of v but its last two. */
void fg_batches_of(const struct fg_value *v, struct fg_batches *batches);

/* Parts axes until v's leading ones are merged from them too; false if there are no such axes. */
bool fg_batches_refine(struct fg_batches *batches, const struct fg_value *v);

/* The shape of `small`, which is broadcast to `large`, with large's leading axes parted as `batches`:
 * dim[batches->n + 2]. */
void fg_batches_part(const struct fg_batches *batches, const struct fg_value *large,
                     const struct fg_value *small, int64_t *dim);

/* Merges the axes into two, so that what has the shape `dim` (sizes, and 1 where it is broadcast) is
 * as large as each of them, or broadcast along it. False if that is impossible. */
bool fg_batches_merge(const struct fg_batches *batches, const int64_t *dim, int64_t two[2],
                      int64_t of_dim[2]);

#endif
