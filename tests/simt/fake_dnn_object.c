/* cuDNN's descriptors: attributes as they were set. */
#include "fake_dnn_object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"

static long n_objects;

static size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
  case CUDNN_TYPE_CHAR:
    return 1;
  case CUDNN_TYPE_BOOLEAN:
    return sizeof(bool);
  case CUDNN_TYPE_INT64:
  case CUDNN_TYPE_DOUBLE:
  case CUDNN_TYPE_HANDLE:
  case CUDNN_TYPE_VOID_PTR:
  case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    return 8;
  default:
    return sizeof(int); /* enumerations */
  }
}

cudnnStatus_t fake_create(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out) {
  struct object *o = calloc(1, sizeof *o);
  o->type = type;
  *out = o;
  n_objects++;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t fake_destroy(cudnnBackendDescriptor_t object) {
  struct object *o = object;
  for (int i = 0; i < o->n_attributes; i++)
    free(o->attribute[i].values);
  free(o);
  n_objects--;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t fake_set(cudnnBackendDescriptor_t object, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t n, const void *values) {
  struct object *o = object;
  size_t bytes = (size_t)n * size_of(type);
  if (!o || o->ready || o->n_attributes == FAKE_MOST_ATTRIBUTES || n < 1)
    return CUDNN_STATUS_BAD_PARAM;
  for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < n; i++) {
    const struct object *part = ((struct object *const *)values)[i];
    if (!part || !part->ready)
      fake_wrong("cuDNN: an attribute that is not final");
  }
  void *copy = malloc(bytes);
  memcpy(copy, values, bytes);
  o->attribute[o->n_attributes++] = (struct attribute){name, type, n, copy};
  return CUDNN_STATUS_SUCCESS;
}

const struct attribute *fake_find(const struct object *o, cudnnBackendAttributeName_t name) {
  for (int i = 0; i < o->n_attributes; i++)
    if (o->attribute[i].name == name)
      return &o->attribute[i];
  return NULL;
}

bool fake_take(const struct object *o, cudnnBackendAttributeName_t name, int64_t n, void *to,
               bool optional) {
  const struct attribute *a = fake_find(o, name);
  if (!a || a->n != n) {
    if (a || !optional)
      fake_wrong("cuDNN: attribute %d of a descriptor %d is missing or has %lld values", (int)name,
                 (int)o->type, a ? (long long)a->n : 0);
    return false;
  }
  memcpy(to, a->values, (size_t)n * size_of(a->type));
  return true;
}

const struct object *fake_part(const struct object *o, cudnnBackendAttributeName_t name) {
  const struct object *part = NULL;
  fake_take(o, name, 1, &part, true);
  return part;
}

void fake_nothing_left(void) {
  if (n_objects == 0)
    return;
  printf("fake card: cuDNN: %ld objects are left\n", n_objects);
  fflush(stdout);
  _Exit(1);
}
