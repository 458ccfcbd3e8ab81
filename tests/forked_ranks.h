/* Ranks that are processes forked by a test: their sums and broadcasts go through memory that they share. */
#ifndef FORKED_RANKS_H
#define FORKED_RANKS_H

#include "ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Runs `work` in `size` processes (at most 4), each with its rank. True if it returned 0 in all of them. */
bool forked_ranks(int size, int (*work)(struct fg_ranks *ranks));

#ifdef __cplusplus
}
#endif
#endif
