/* Tensors of a graph that runs: read and written where their descriptors say. */
#include "fake_dnn_values.h"

#include <stdlib.h>

#include "fake_card.h"
#include "half.h"

int64_t fake_count(const struct fake_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    n *= t->dim[i];
  return n;
}

int64_t fake_place(const struct fake_tensor *t, int64_t i) {
  int64_t at = 0;
  for (int d = t->rank - 1; d >= 0; d--) {
    at += i % t->dim[d] * t->stride[d];
    i /= t->dim[d];
  }
  return at;
}

static enum fg_type type_of(const struct fake_tensor *t) {
  return t->type == CUDNN_DATA_HALF       ? FG_F16
         : t->type == CUDNN_DATA_BFLOAT16 ? FG_BF16
         : t->type == CUDNN_DATA_BOOLEAN  ? FG_BOOL
                                          : FG_F32;
}

static void *address_of(struct fake_run *r, const struct fake_tensor *t) {
  for (int64_t i = 0; i < r->n; i++)
    if (r->uid[i] == t->uid && r->address[i]) {
      if (!t->by_value && (uintptr_t)r->address[i] % 16)
        fake_wrong("cuDNN: an address that is less aligned than was promised");
      return r->address[i];
    }
  fake_wrong("cuDNN: no address for tensor %lld", (long long)t->uid);
  r->good = false;
  return NULL;
}

double *fake_room(struct fake_run *r, const struct fake_tensor *t) {
  double *data = r->room;
  if (r->values.n == FAKE_MOST_VALUES)
    abort();
  r->room += fake_count(t);
  r->values.uid[r->values.n] = t->is_virtual ? t->uid : -1;
  r->values.data[r->values.n++] = data;
  return data;
}

const double *fake_load(struct fake_run *r, const struct fake_tensor *t) {
  for (int64_t i = 0; t->is_virtual && i < r->values.n; i++)
    if (r->values.uid[i] == t->uid)
      return r->values.data[i];
  double *data = fake_room(r, t);
  const void *from = t->is_virtual ? NULL : address_of(r, t);
  if (t->is_virtual) {
    fake_wrong("cuDNN: a virtual tensor is read before it is written");
    r->good = false;
  }
  for (int64_t i = 0; from && i < fake_count(t); i++) {
    int64_t at = fake_place(t, i);
    data[i] = type_of(t) == FG_F32    ? ((const float *)from)[at]
              : type_of(t) == FG_BOOL ? ((const unsigned char *)from)[at] != 0
                                      : fg_half_get(type_of(t), from, at);
  }
  return data;
}

void fake_store(struct fake_run *r, const struct fake_tensor *t, const double *data) {
  void *to = t->is_virtual ? NULL : address_of(r, t);
  for (int64_t i = 0; to && i < fake_count(t); i++) {
    int64_t at = fake_place(t, i);
    if (type_of(t) == FG_F32)
      ((float *)to)[at] = (float)data[i];
    else if (type_of(t) == FG_BOOL)
      ((unsigned char *)to)[at] = data[i] != 0;
    else
      fg_half_put(type_of(t), to, at, (float)data[i]);
  }
}
