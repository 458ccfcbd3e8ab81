/* The fake cuDNN's descriptors. */
#ifndef FAKE_DNN_OBJECT_H
#define FAKE_DNN_OBJECT_H

#include "fake_dnn.h"

enum { FAKE_MOST_ATTRIBUTES = 24 };

struct attribute {
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  int64_t n;
  void *values;
};

struct object {
  cudnnBackendDescriptorType_t type;
  bool ready;
  int n_attributes;
  struct attribute attribute[FAKE_MOST_ATTRIBUTES];
  struct fake_program program;      /* of a graph and of what is made of one */
  const struct fake_engine *engine; /* of an engine, a configuration, a plan */
};

/* As cuDNN's functions of those names. */
cudnnStatus_t fake_create(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out);
cudnnStatus_t fake_destroy(cudnnBackendDescriptor_t object);
cudnnStatus_t fake_set(cudnnBackendDescriptor_t object, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t n, const void *values);
/* Ends the program in failure where objects are left. */
void fake_nothing_left(void);

/* NULL where it was not set. */
const struct attribute *fake_find(const struct object *o, cudnnBackendAttributeName_t name);
const struct object *fake_part(const struct object *o, cudnnBackendAttributeName_t name);
/* So many values, which must be there, unless they are optional: then nothing is written. */
bool fake_take(const struct object *o, cudnnBackendAttributeName_t name, int64_t n, void *to,
               bool optional);

/* Reads an operation. */
void fake_read_op(const struct object *o, struct fake_op *op);

#endif
