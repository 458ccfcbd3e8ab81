/* A plan from inside: shared by plan.c (lays the graph out, and runs it) and plan_calls.c (looks at
 * what it came to, and times it). */
#ifndef FG_PLAN_H
#define FG_PLAN_H

#include "op.h"

/* Bytes that one or more values share: a temporary with its views, or something bound. */
struct fg_storage {
  size_t bytes, offset;
  int64_t born, dies; /* nodes between which it is in the arena */
  bool placed;        /* in the arena, rather than bound or constant */
  void *data;
};

struct fg_step {
  const struct fg_kernel *kernel;
  struct fg_call call;
  fg_id node;
};

struct fg_plan {
  struct fg_graph *g;
  struct fg_device *device;
  struct fg_step *steps;
  int64_t n_steps;
  fg_id *root;                 /* per value: the value whose storage it shares */
  struct fg_storage *storages; /* per value; only roots' count */
  size_t scratch_offset;
  void *arena;
  bool owns_arena;
  struct fg_plan_info info;
};

#endif
