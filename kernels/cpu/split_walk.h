/* What split.c asks of split_cut.c: how large a chunk is. */
#ifndef FG_CPU_SPLIT_WALK_H
#define FG_CPU_SPLIT_WALK_H

#include "split.h"

/* Places of a plane of a chunk. */
int64_t fg_split_places_of(const struct fg_split *plan);

#endif
