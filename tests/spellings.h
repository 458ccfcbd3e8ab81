/* What exporters make of an operator, as functions that build one of several forms. The tables and
 * forms stand in spellings.c; test_recognise.c runs them. */
#ifndef SPELLINGS_H
#define SPELLINGS_H

#include "op.h"

enum { SPELLING_MOST_X = 3 };

struct spelling {
  const char *name;
  fg_id (*build)(struct fg_graph *g, const fg_id *x, int form); /* x: n_x inputs */
  int first, last;                                              /* forms; below 0: near misses */
  enum fg_op op;
  int kind; /* of unary; else -1 */
  int n_x, rank;
  int64_t dim[4];
};

/* The i-th spelling, NULL past the end. */
const struct spelling *spelling_at(int i);

/* Attention whose scores take 16 MiB, apart from the table because it takes its time. */
extern const struct spelling spelling_large_attention;

/* A repeatable number in -1..1. */
double spelling_number(uint64_t i);

#endif
