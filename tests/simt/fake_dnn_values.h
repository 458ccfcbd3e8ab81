/* What a graph that runs holds: its tensors as doubles. */
#ifndef FAKE_DNN_VALUES_H
#define FAKE_DNN_VALUES_H

#include "fake_dnn.h"

enum { FAKE_MOST_VALUES = 64 };

/* What virtual tensors hold, dense, in the order of their dims. */
struct values {
  int64_t n, uid[FAKE_MOST_VALUES];
  double *data[FAKE_MOST_VALUES];
};

struct fake_run {
  struct values values;
  double *room; /* for more of them, all zero */
  int64_t n;
  const int64_t *uid;
  void *const *address;
  bool good;
};

int64_t fake_count(const struct fake_tensor *t);
/* Where element i, in the order of dims, is stored. */
int64_t fake_place(const struct fake_tensor *t, int64_t i);
/* Zeros for a tensor that an operation computes. */
double *fake_room(struct fake_run *r, const struct fake_tensor *t);
/* A tensor's elements, dense: those of a virtual one must have been computed. */
const double *fake_load(struct fake_run *r, const struct fake_tensor *t);
void fake_store(struct fake_run *r, const struct fake_tensor *t, const double *data);

/* Each runs an operation by the oracle. */
void fake_multiply(struct fake_run *r, const struct fake_op *op);
void fake_normalise(struct fake_run *r, const struct fake_op *op);
void fake_normalise_grad(struct fake_run *r, const struct fake_op *op);
void fake_attend(struct fake_run *r, const struct fake_op *op);

#endif
