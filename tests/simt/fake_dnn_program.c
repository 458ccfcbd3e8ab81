/* cuDNN graphs run on the host, in double, from nothing but what their descriptors say. */
#include <math.h>
#include <stdlib.h>

#include "fake_card.h"
#include "fake_dnn_values.h"

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

static void convolve(struct fake_run *r, const struct fake_op *op) {
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
    part[i] = of[i] == made ? fake_room(r, of[i]) : (double *)(uintptr_t)fake_load(r, of[i]);
  correlate(op, part[0], part[1], part[2]);
  for (int i = 0; i < 3; i++)
    if (of[i] == made)
      fake_store(r, made, part[i]);
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
  case CUDNN_POINTWISE_SUB:
    return v - b;
  case CUDNN_POINTWISE_MUL:
    return v * b;
  case CUDNN_POINTWISE_EXP:
    return exp(v);
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

static void apply(struct fake_run *r, const struct fake_op *op) {
  const struct fake_tensor *y = &op->y;
  if (!spreads(y, &op->x) || (op->has_b && !spreads(y, &op->b))) {
    r->good = false;
    return;
  }
  const double *x = fake_load(r, &op->x), *b = op->has_b ? fake_load(r, &op->b) : NULL;
  double *to = fake_room(r, y);
  for (int64_t i = 0; i < fake_count(y); i++)
    to[i] = value_of(op, x[spread(y, &op->x, i)], b ? b[spread(y, &op->b, i)] : 0);
  fake_store(r, y, to);
}

static void add_up(struct fake_run *r, const struct fake_op *op) {
  if (!spreads(&op->x, &op->y)) {
    r->good = false;
    return;
  }
  const double *x = fake_load(r, &op->x);
  double *to = fake_room(r, &op->y);
  for (int64_t i = 0; i < fake_count(&op->x); i++)
    to[spread(&op->x, &op->y, i)] += x[i];
  fake_store(r, &op->y, to);
}

/* What lies as x says, read as y says. */
static void read_again(struct fake_run *r, const struct fake_op *op) {
  const int64_t n = fake_count(&op->x);
  const double *x = fake_load(r, &op->x);
  double *lying = fake_room(r, &op->x), *to = fake_room(r, &op->y);
  bool good = fake_count(&op->y) == n;
  for (int64_t i = 0; i < n && good; i++)
    good = fake_place(&op->x, i) < n && fake_place(&op->y, i) < n;
  if (!good || !op->x.is_virtual || !op->y.is_virtual) {
    fake_wrong("cuDNN: a tensor is read again as what it is not");
    r->good = false;
    return;
  }
  for (int64_t i = 0; i < n; i++)
    lying[fake_place(&op->x, i)] = x[i];
  for (int64_t i = 0; i < n; i++)
    to[i] = lying[fake_place(&op->y, i)];
  fake_store(r, &op->y, to);
}

/* ---- all of it */

static void run_op(struct fake_run *r, const struct fake_op *op) {
  switch (op->kind) {
  case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
    apply(r, op);
    break;
  case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
    add_up(r, op);
    break;
  case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
    read_again(r, op);
    break;
  case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
    fake_multiply(r, op);
    break;
  case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
    fake_normalise(r, op);
    break;
  case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
    fake_normalise_grad(r, op);
    break;
  case CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR:
    fake_attend(r, op);
    break;
  default:
    convolve(r, op);
  }
}

bool fake_program_run(const struct fake_program *program, int64_t n, const int64_t *uid,
                      void *const *address) {
  int64_t most = 0;
  for (int i = 0; i < program->n_ops; i++) {
    const struct fake_op *op = &program->op[i];
    most += 2 * fake_count(&op->x) + fake_count(&op->b) + fake_count(&op->y);
    for (int p = 0; p < FAKE_MOST_PARTS; p++)
      most += fake_count(&op->part[p]);
  }
  double *memory = calloc((size_t)most + 1, sizeof *memory);
  struct fake_run r = {
      .room = memory, .n = n, .uid = uid, .address = address, .good = memory != NULL};
  for (int i = 0; i < program->n_ops && r.good; i++)
    run_op(&r, &program->op[i]);
  free(memory);
  return r.good;
}
