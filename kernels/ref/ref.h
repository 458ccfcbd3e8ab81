/* What the oracle's files share: elements as doubles or integers whatever their type, strided
 * copies that never look at the bits they move, checks that prepare makes before anything is read.
 *
 * Every kernel here works on FG_PLAIN tensors of host memory. Reals are computed in double and
 * rounded once, when they are put; integers stay integers. */
#ifndef FG_REF_H
#define FG_REF_H

#include <math.h>
#include <string.h>

#include "half.h"
#include "kernel.h"
#include "mask.h"

/* In prepare: declines with the operator's name in front. */
#define FG_REF_NEED(call, condition, ...)                                                          \
  do {                                                                                             \
    if (!(condition))                                                                              \
      return fg_ref_decline(call, __FILE__, __LINE__, __VA_ARGS__);                                \
  } while (0)
FGSM_MUST_USE fgsm_status fg_ref_decline(const struct fg_call *call, const char *file, int line,
                                         const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Input or output i, NULL where it is absent. */
static inline const struct fg_tensor *fg_ref_in(const struct fg_call *call, int i) {
  return i < call->n_in && call->in[i].type != FG_NONE ? &call->in[i] : NULL;
}
static inline const struct fg_tensor *fg_ref_out(const struct fg_call *call, int i) {
  return i < call->n_out && call->out[i].type != FG_NONE ? &call->out[i] : NULL;
}

/* The checks common to all: inputs and outputs in the bit masks `need_in`, `need_out` are present,
 * every tensor is plain, its rank in range and its dims not negative. */
FGSM_MUST_USE fgsm_status fg_ref_check(const struct fg_call *call, uint32_t need_in,
                                       uint32_t need_out);
/* That every present input in the mask, and every present output in the mask, is of one real type
 * that is computed with (F32 or F64), or of half precision where half.h lets it be beside F32. */
FGSM_MUST_USE fgsm_status fg_ref_check_real(const struct fg_call *call, uint32_t in, uint32_t out);

static inline bool fg_ref_is_real(enum fg_type type) {
  return type == FG_F32 || type == FG_F64 || fg_type_is_half(type);
}
static inline bool fg_ref_is_int(enum fg_type type) {
  return type >= FG_I64 && type <= FG_BOOL;
}

/* That mask (of `y`, made with `act`) is one, where it is there. */
FGSM_MUST_USE fgsm_status fg_ref_check_mask(const struct fg_call *call,
                                            const struct fg_tensor *mask, const struct fg_tensor *y,
                                            const struct fg_unary_attrs *act);
/* That v, if it is there, is what act's slope is of at y: such a mask, or a real of y's shape. */
FGSM_MUST_USE fgsm_status fg_ref_check_slope(const struct fg_call *call, int v,
                                             const struct fg_unary_attrs *act);

/* Element i as a double; put rounds to a real, truncates to an integer with saturation (NaN: 0) and
 * tests a BOOL against 0. */
double fg_ref_get(const struct fg_tensor *t, int64_t i);
void fg_ref_put(const struct fg_tensor *t, int64_t i, double value);
/* The same of integer types, exactly; put keeps the low bits. */
int64_t fg_ref_get_int(const struct fg_tensor *t, int64_t i);
void fg_ref_put_int(const struct fg_tensor *t, int64_t i, int64_t value);
/* n elements from `start` on, as doubles, into `to`; and back. */
void fg_ref_load(const struct fg_tensor *t, int64_t start, int64_t n, double *to);
void fg_ref_store(const struct fg_tensor *t, int64_t start, int64_t n, const double *from);

/* What a slope is computed from, element i of it; of a mask 0 or 1. The mask's bit. (attrs.h: masks) `y` is
 * the tensor that it is of, a result of the call. */
double fg_ref_get_slope_of(const struct fg_call *call, const struct fg_tensor *v,
                           const struct fg_tensor *y, int64_t i);
void fg_ref_put_mask(const struct fg_call *call, const struct fg_tensor *mask,
                     const struct fg_tensor *y, int64_t i, bool value);

/* bfloat16's bits as a double; v rounded to bfloat16 by way of float, ties to even. */
double fg_ref_from_bf16(uint16_t bits);
double fg_ref_round_bf16(double v);

/* Row-major strides, in elements, of a shape. */
void fg_ref_strides(int rank, const int64_t *dim, int64_t *stride);
/* Strides with which `t`, right-aligned, is read over a shape of `rank` dims: 0 where broadcast. */
void fg_ref_broadcast(const struct fg_tensor *t, int rank, int64_t *stride);
/* Whether `t` broadcasts to `to`'s shape; whether a and b broadcast to exactly y's shape. */
bool fg_ref_broadcasts(const struct fg_tensor *t, const struct fg_tensor *to);
bool fg_ref_broadcasts_to(const struct fg_tensor *const *t, int n, const struct fg_tensor *y);

/* Walks an index over `dim` in row-major order, moving up to three offsets by their strides. */
struct fg_ref_walk {
  int rank;
  const int64_t *dim;
  int64_t index[FG_MAX_RANK];
  int64_t offset[3];
  const int64_t *stride[3];
};
void fg_ref_step_walk(struct fg_ref_walk *walk);

/* Copies elements of `size` bytes between strided views of one shape. */
void fg_ref_copy(size_t size, int rank, const int64_t *dim, void *to, const int64_t *to_stride,
                 const void *from, const int64_t *from_stride);

/* f(x), and f' as a function of x or of y (fg_unary_from_y says which). */
double fg_ref_unary_value(const struct fg_unary_attrs *a, double x);
double fg_ref_unary_slope(const struct fg_unary_attrs *a, double x_or_y);

static inline int64_t fg_ref_min(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t fg_ref_max(int64_t a, int64_t b) {
  return a > b ? a : b;
}
/* Product of dims from..to-1. */
static inline int64_t fg_ref_span(const struct fg_tensor *t, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; i++)
    n *= t->dim[i];
  return n;
}

/* The window arithmetic of convolutions and pools, in three spatial dims: missing ones lead, with
 * size 1. x is the wide side, y the narrow one. */
struct fg_ref_window {
  int64_t x[3], y[3], size[3], stride[3], dilation[3], lo[3];
  int64_t x_count, y_count, places;
};
struct fg_ref_window_attrs {
  int spatial;
  const int *stride, *dilation, *pad_lo, *pad_hi;
};
/* Fills the window for tensors x [N, C, spatial...] and y, or declines where they do not fit. */
FGSM_MUST_USE fgsm_status fg_ref_window(const struct fg_call *call,
                                        const struct fg_ref_window_attrs *a, const int64_t *size,
                                        const struct fg_tensor *x, const struct fg_tensor *y,
                                        struct fg_ref_window *out);
/* The first and one past the last y whose place `tap` along dim d falls on x; *x_first is where the
 * first falls. */
static inline void fg_ref_tap(const struct fg_ref_window *w, int d, int64_t tap, int64_t *first,
                              int64_t *last, int64_t *x_first) {
  int64_t shift = tap * w->dilation[d] - w->lo[d], stride = w->stride[d];
  *first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  *last = w->x[d] - 1 - shift < 0 ? 0 : fg_ref_min(w->y[d], (w->x[d] - 1 - shift) / stride + 1);
  *x_first = *first * stride + shift;
}

/* Kernels that fused forms are composed of. */
extern const struct fg_kernel fg_ref_conv_grad_input, fg_ref_matmul, fg_ref_max_pool_grad;
extern const struct fg_kernel fg_ref_loss, fg_ref_step, fg_ref_quantize;

/* A step's or start's numbers for feature i of a sample. */
static inline double fg_ref_scale(double length, double eps, const struct fg_tensor *eps_map,
                                  int64_t i) {
  if (!eps_map)
    return length;
  return eps > 0 ? length * (fg_ref_get(eps_map, i) / eps) : 0;
}
/* The value nearest to v in t's type, moved inward where needed so that it keeps to [lo, hi]. */
double fg_ref_into_box(enum fg_type type, double v, double lo, double hi);
/* Features of one sample of x [N, ...]. */
static inline int64_t fg_ref_features(const struct fg_tensor *x) {
  return fg_ref_span(x, 1, x->rank);
}
/* Checks of the attack's operands: a per-feature tensor (NULL passes), the parameters. */
bool fg_ref_is_feature(const struct fg_tensor *t, const struct fg_tensor *x);
bool fg_ref_is_params(const struct fg_tensor *t);
/* The same, or such a row for each of n samples; and the row of sample s. */
bool fg_ref_are_params(const struct fg_tensor *t, int64_t n);
const double *fg_ref_params(const struct fg_tensor *t, int64_t s);

#endif
