/* cuDNN graphs run on the host, in double, from nothing but what their descriptors say. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"
#include "fake_dnn.h"
#include "half.h"

enum { MOST_VALUES = 16 };

/* What virtual tensors hold, dense, in the order of their dims. */
struct values {
  int64_t n, uid[MOST_VALUES];
  double *data[MOST_VALUES];
};

struct run {
  struct values values;
  double *room; /* for more of them, all zero */
  int64_t n;
  const int64_t *uid;
  void *const *address;
  bool good;
};

static int64_t count_of(const struct fake_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    n *= t->dim[i];
  return n;
}

/* Where element i, in the order of dims, is stored. */
static int64_t place_of(const struct fake_tensor *t, int64_t i) {
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

static void *address_of(struct run *r, const struct fake_tensor *t) {
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

static double *room(struct run *r, const struct fake_tensor *t) {
  double *data = r->room;
  if (r->values.n == MOST_VALUES)
    abort();
  r->room += count_of(t);
  r->values.uid[r->values.n] = t->is_virtual ? t->uid : -1;
  r->values.data[r->values.n++] = data;
  return data;
}

/* A tensor's elements, dense: those of a virtual one must have been computed. */
static const double *load(struct run *r, const struct fake_tensor *t) {
  for (int64_t i = 0; t->is_virtual && i < r->values.n; i++)
    if (r->values.uid[i] == t->uid)
      return r->values.data[i];
  double *data = room(r, t);
  const void *from = t->is_virtual ? NULL : address_of(r, t);
  if (t->is_virtual) {
    fake_wrong("cuDNN: a virtual tensor is read before it is written");
    r->good = false;
  }
  for (int64_t i = 0; from && i < count_of(t); i++) {
    int64_t at = place_of(t, i);
    data[i] = type_of(t) == FG_F32    ? ((const float *)from)[at]
              : type_of(t) == FG_BOOL ? ((const unsigned char *)from)[at] != 0
                                      : fg_half_get(type_of(t), from, at);
  }
  return data;
}

static void store(struct run *r, const struct fake_tensor *t, const double *data) {
  void *to = t->is_virtual ? NULL : address_of(r, t);
  for (int64_t i = 0; to && i < count_of(t); i++) {
    int64_t at = place_of(t, i);
    if (type_of(t) == FG_F32)
      ((float *)to)[at] = (float)data[i];
    else if (type_of(t) == FG_BOOL)
      ((unsigned char *)to)[at] = data[i] != 0;
    else
      fg_half_put(type_of(t), to, at, (float)data[i]);
  }
}

/* ---- convolutions */

/* Dims of up to three axes, those that are missing being 1. */
static int64_t axis(const struct fake_op *op, const int64_t *values, int d, int64_t missing) {
  int skipped = 3 - op->spatial;
  return d < skipped ? missing : values[d - skipped];
}

/* Visits each product of the cross-correlation y[n, k, p] += x[n, c, p stride + r dilation - lo] w[k, c, r]. */
static void correlate(const struct fake_op *op, double *x, double *w, double *y) {
  const int64_t *of_x = op->x.dim, *of_w = op->b.dim, *of_y = op->y.dim;
  const int64_t group = of_x[1] / of_w[1], each = of_w[0] / group;
  int64_t in[3], window[3], out[3], places = 1, taps = 1;
  for (int d = 0; d < 3; d++) {
    in[d] = axis(op, of_x + 2, d, 1);
    window[d] = axis(op, of_w + 2, d, 1);
    out[d] = axis(op, of_y + 2, d, 1);
    places *= out[d];
    taps *= window[d];
  }
  for (int64_t i = 0; i < of_y[0] * of_y[1] * places; i++)
    for (int64_t j = 0; j < of_w[1] * taps; j++) {
      const int64_t n = i / places / of_y[1], k = i / places % of_y[1], c = j / taps;
      int64_t p = i % places, tap = j % taps, at = 0, step = 1;
      bool inside = true;
      for (int d = 2; d >= 0; d--) {
        int64_t from = p % out[d] * axis(op, op->stride, d, 1) +
                       tap % window[d] * axis(op, op->dilation, d, 1) - axis(op, op->lo, d, 0);
        inside = inside && from >= 0 && from < in[d];
        at += from * step;
        step *= in[d];
        p /= out[d];
        tap /= window[d];
      }
      if (!inside)
        continue;
      double *to_x = &x[(n * of_x[1] + k / each * of_w[1] + c) * step + at];
      double *to_w = &w[k * of_w[1] * taps + j], *to_y = &y[i];
      if (op->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
        *to_y += *to_x * *to_w;
      else if (op->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
        *to_x += *to_y * *to_w;
      else
        *to_w += *to_x * *to_y;
    }
}

static bool multiplies(const struct fake_op *op) {
  const struct fake_tensor *x = &op->x, *w = &op->b, *y = &op->y;
  bool good = x->rank == op->spatial + 2 && w->rank == x->rank && y->rank == x->rank &&
              x->dim[0] == y->dim[0] && y->dim[1] == w->dim[0] && x->dim[1] % w->dim[1] == 0;
  for (int d = 0; d < op->spatial && good; d++)
    good = (x->dim[d + 2] + op->lo[d] + op->hi[d] - op->dilation[d] * (w->dim[d + 2] - 1) - 1) /
                   op->stride[d] +
               1 ==
           y->dim[d + 2];
  if (!good)
    fake_wrong("cuDNN: x, w and y of a convolution do not fit");
  return good;
}

static void convolve(struct run *r, const struct fake_op *op) {
  const struct fake_tensor *made =
      op->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR         ? &op->y
      : op->kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? &op->x
                                                                                 : &op->b;
  double *part[3];
  const struct fake_tensor *of[3] = {&op->x, &op->b, &op->y};
  if (!multiplies(op)) {
    r->good = false;
    return;
  }
  for (int i = 0; i < 3; i++) /* what is read is not written: correlate writes to one of them */
    part[i] = of[i] == made ? room(r, of[i]) : (double *)(uintptr_t)load(r, of[i]);
  correlate(op, part[0], part[1], part[2]);
  for (int i = 0; i < 3; i++)
    if (of[i] == made)
      store(r, made, part[i]);
}

/* ---- place by place */

static double normal_below(double v) {
  return 0.5 * erfc(-v / sqrt(2));
}

static double tanh_of_gelu(double v) {
  return tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v));
}

/* b: the second operand; of an activation's gradient, what arrives. */
static double value_of(const struct fake_op *op, double v, double b) {
  double t = tanh_of_gelu(v);
  switch (op->mode) {
  case CUDNN_POINTWISE_ADD:
    return v + b;
  case CUDNN_POINTWISE_MUL:
    return v * b;
  case CUDNN_POINTWISE_CMP_GT:
    return v > b;
  case CUDNN_POINTWISE_RELU_FWD:
    return v < op->lower ? op->lower + op->slope * (v - op->lower) : fmin(v, op->upper);
  case CUDNN_POINTWISE_SIGMOID_FWD:
    return 1 / (1 + exp(-v));
  case CUDNN_POINTWISE_TANH_FWD:
    return tanh(v);
  case CUDNN_POINTWISE_GELU_FWD:
    return v * normal_below(v);
  case CUDNN_POINTWISE_GELU_APPROX_TANH_FWD:
    return v / 2 * (1 + t);
  case CUDNN_POINTWISE_RELU_BWD:
    return b * (v > op->lower && v < op->upper ? 1 : v <= op->lower ? op->slope : 0);
  case CUDNN_POINTWISE_GELU_BWD:
    return b * (normal_below(v) + v * exp(-v * v / 2) / sqrt(2 * M_PI));
  case CUDNN_POINTWISE_GELU_APPROX_TANH_BWD:
    return b * ((1 + t) / 2 + v / 2 * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * v * v));
  default:
    fake_wrong("cuDNN: operation %d is not known", op->mode);
    return 0;
  }
}

/* Where b has the element that belongs to element i of y: a dim of 1 is for all. */
static int64_t spread(const struct fake_tensor *y, const struct fake_tensor *b, int64_t i) {
  int64_t at = 0, step = 1;
  for (int d = y->rank - 1; d >= 0; d--) {
    at += (b->dim[d] == 1 ? 0 : i % y->dim[d]) * step;
    step *= b->dim[d];
    i /= y->dim[d];
  }
  return at;
}

static bool spreads(const struct fake_tensor *y, const struct fake_tensor *b) {
  bool good = b->rank == y->rank;
  for (int d = 0; d < y->rank && good; d++)
    good = b->dim[d] == y->dim[d] || b->dim[d] == 1;
  if (!good)
    fake_wrong("cuDNN: operands that do not fit");
  return good;
}

static void apply(struct run *r, const struct fake_op *op) {
  const struct fake_tensor *y = &op->y;
  if (!spreads(y, &op->x) || (op->has_b && !spreads(y, &op->b))) {
    r->good = false;
    return;
  }
  const double *x = load(r, &op->x), *b = op->has_b ? load(r, &op->b) : NULL;
  double *to = room(r, y);
  for (int64_t i = 0; i < count_of(y); i++)
    to[i] = value_of(op, x[spread(y, &op->x, i)], b ? b[spread(y, &op->b, i)] : 0);
  store(r, y, to);
}

bool fake_program_run(const struct fake_program *program, int64_t n, const int64_t *uid,
                      void *const *address) {
  int64_t most = 0;
  for (int i = 0; i < program->n_ops; i++) {
    const struct fake_op *op = &program->op[i];
    most += count_of(&op->x) + count_of(&op->b) + count_of(&op->y);
  }
  double *memory = calloc((size_t)most + 1, sizeof *memory);
  struct run r = {.room = memory, .n = n, .uid = uid, .address = address, .good = memory != NULL};
  for (int i = 0; i < program->n_ops && r.good; i++)
    if (program->op[i].kind == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
      apply(&r, &program->op[i]);
    else
      convolve(&r, &program->op[i]);
  free(memory);
  return r.good;
}
