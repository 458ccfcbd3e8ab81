/* Broadcasting as rows: a result of any rank is walked as rows of its innermost run, along which
 * each operand either moves with the result or stands still. Neighbouring axes along which every
 * operand does the same are merged first, so that most calls become one or two axes. */
#ifndef FG_CPU_BROADCAST_H
#define FG_CPU_BROADCAST_H

#include "cpu.h"

#define FG_CPU_OPERANDS 3

struct fg_cpu_broadcast {
  int rank;                 /* of the outer axes, innermost excluded */
  int64_t dim[FG_MAX_RANK]; /* outer axes, last fastest              */
  int64_t stride[FG_CPU_OPERANDS][FG_MAX_RANK];
  int64_t rows, row;           /* product of dim; elements a row        */
  int64_t chunks, chunk;       /* a row is cut into chunks              */
  bool moves[FG_CPU_OPERANDS]; /* along the row                        */
};

/* y's shape and n operands that broadcast to it. */
void fg_cpu_broadcast_plan(const struct fg_tensor *y, const struct fg_tensor *const *operand, int n,
                           struct fg_cpu_broadcast *out);

/* A walk over items [begin, rows * chunks); an item is one chunk of one row. */
struct fg_cpu_walk {
  int64_t index[FG_MAX_RANK], chunk;
  int64_t row_offset[FG_CPU_OPERANDS], row;
  /* of the current item: */
  int64_t y, n; /* offset in the result, elements */
  int64_t offset[FG_CPU_OPERANDS];
};
void fg_cpu_walk_start(const struct fg_cpu_broadcast *b, int64_t begin, struct fg_cpu_walk *walk);
void fg_cpu_walk_next(const struct fg_cpu_broadcast *b, struct fg_cpu_walk *walk);

#endif
