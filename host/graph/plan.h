/* A plan from inside: shared by plan.c (lays the graph out, and runs it) and plan_calls.c (looks at
 * what it came to, and times it) and plan_limits.c (refuses what would take too long). */
#ifndef FG_PLAN_H
#define FG_PLAN_H

#include "op.h"

/* Bytes that one or more values share: a temporary with its views, or something bound. */
struct fg_storage {
  struct fg_place at;
  bool placed; /* in the arena, rather than bound or constant */
  void *data;
};

struct fg_step {
  const struct fg_kernel *kernel;
  struct fg_call call;
  fg_id node;
};

/* A run as the backend recorded it, with the addresses that it was recorded for. */
struct fg_recording {
  void *handle; /* NULL: free */
  void **bound; /* n_bindable addresses */
};
/* Alternating buffers give a plan a few sets of addresses: a ring of two iterates, momentum's two. */
enum { FG_RECORDINGS = 6 };

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
  fg_id *bindable; /* what fg_plan_bind takes */
  int64_t n_bindable;
  struct fg_recording recordings[FG_RECORDINGS];
  int next_recording; /* the one to be overwritten next */
  bool has_run, records;
  struct fg_plan_info info;
};

/* FGSM_UNSUPPORTED where too many kernels would have to be compiled. */
fgsm_status fg_plan_check_convolutions(const struct fg_graph *g) FGSM_MUST_USE;

#endif
