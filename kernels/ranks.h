/* Processes that train together, one device each: the same weights, each with its share of a batch.
 * One process is a rank; this is all that ranks ask of each other.
 *
 * MPI's is a library of its own (libfgsm_mpi.so; plugin.h), so that fgsm needs none; TCP's is built in.
 * sum and broadcast are made by all ranks, in the same order and of the same sizes; they wait for the
 * slowest, and leave the same bits on every rank. A rank that dies or aborts ends the others. */
#ifndef FG_RANKS_H
#define FG_RANKS_H

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fg_ranks {
  const struct fg_ranks_kind *kind;
  int rank, size; /* this process, of how many */
  int local;      /* this one of those on its machine: the number of its card */
};

struct fg_ranks_kind {
  const char *name;
  /* Meets the others: once in a process, unless it met them by itself before. */
  fgsm_status (*open)(struct fg_ranks **out);
  /* Parts from them; NULL is nothing. */
  void (*close)(struct fg_ranks *ranks);
  /* x, n numbers of type FG_F32, FG_F64 or FG_I64 in the host's memory, becomes their sum over ranks. */
  fgsm_status (*sum)(struct fg_ranks *ranks, enum fg_type type, int64_t n, void *x);
  /* x, in the host's memory, becomes what it is on rank `from`. */
  fgsm_status (*broadcast)(struct fg_ranks *ranks, int from, void *x, size_t bytes);
  /* Ends every process, this one too, with that exit code: for a rank that others would wait for in
   * vain. Does not return. */
  void (*abort)(struct fg_ranks *ranks, int code);
};

/* A process alone is ranks NULL. */
static inline int fg_ranks_size(const struct fg_ranks *ranks) {
  return ranks ? ranks->size : 1;
}

static inline int fg_ranks_rank(const struct fg_ranks *ranks) {
  return ranks ? ranks->rank : 0;
}

static inline fgsm_status fg_ranks_sum(struct fg_ranks *ranks, enum fg_type type, int64_t n,
                                       void *x) {
  return ranks ? ranks->kind->sum(ranks, type, n, x) : FGSM_OK;
}

static inline fgsm_status fg_ranks_broadcast(struct fg_ranks *ranks, int from, void *x,
                                             size_t bytes) {
  return ranks ? ranks->kind->broadcast(ranks, from, x, bytes) : FGSM_OK;
}

#ifdef __cplusplus
}
#endif
#endif
