/* unary, unary_grad: f(x), and f'(x or y) * (dy + dy2) in one pass. Any layout, as long as it is
 * the same for all. Formulas and their kinks are those of attrs.h; each is written once as an
 * inline function and expanded into a vectorised loop. The slope multiplies, it does not select, so
 * that a NaN or infinite gradient is still seen downstream. */
#include "unary.h"

#include <math.h>
#include <string.h>

#include "vmath.h"

/* ---- values */

#define VALUE(kind) FG_INLINE float value_##kind(float x, float a, float b)
#define UNUSED_AB (void)a, (void)b

VALUE(identity) {
  UNUSED_AB;
  return x;
}
VALUE(relu) {
  UNUSED_AB;
  return x <= 0 ? 0 : x;
}
VALUE(leaky_relu) {
  UNUSED_AB;
  return x > 0 ? x : a * x;
}
VALUE(relu6) {
  UNUSED_AB;
  x = x <= 0 ? 0 : x;
  return x > 6 ? 6 : x;
}
VALUE(sigmoid) {
  UNUSED_AB;
  return 1.0f / (1.0f + fg_vexpf(-x));
}
VALUE(tanh) {
  UNUSED_AB;
  return fg_vtanhf(x);
}
VALUE(exp) {
  UNUSED_AB;
  return fg_vexpf(x);
}
VALUE(sqrt) {
  UNUSED_AB;
  return sqrtf(x);
}
VALUE(clip) {
  x = x < a ? a : x;
  return x > b ? b : x;
}
#define INV_SQRT_2PI 0.398942280f
#define SQRT_2_OVER_PI 0.797884561f
#define TWO_OVER_SQRT_PI 1.128379167f
#define GELU_CUBIC 0.044715f
VALUE(gelu) {
  UNUSED_AB;
  float bell;
  return x * fg_vnormalf(x, &bell);
}
VALUE(gelu_tanh) {
  UNUSED_AB;
  return 0.5f * x * (1.0f + fg_vtanhf(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)));
}
VALUE(erf) {
  UNUSED_AB;
  return fg_verff(x);
}
VALUE(log) {
  UNUSED_AB;
  return logf(x);
}
VALUE(neg) {
  UNUSED_AB;
  return -x;
}
VALUE(abs) {
  UNUSED_AB;
  return fabsf(x);
}
VALUE(power) {
  UNUSED_AB;
  return powf(x, a);
}

/* e^t - 1 by tanh(t / 2), which loses nothing near 0; t is at most 0, NaN stays NaN. */
VALUE(elu) {
  float half = fg_vtanhf(0.5f * b * (x > 0 ? 0.0f : x));
  return x > 0 ? x : a * (2.0f * half / (1.0f - half));
}
VALUE(softplus) {
  UNUSED_AB;
  float e = fg_vexpf(-fabsf(x)), w = 1.0f + e; /* log(1 + e) = e log(w) / (w - 1) */
  return (x <= 0 ? 0 : x) + (w == 1.0f ? e : e * (logf(w) / (w - 1.0f)));
}
VALUE(silu) {
  (void)b;
  return x / (1.0f + fg_vexpf(-a * x));
}
/* With e = exp(x) and n = e (e + 2), tanh(log(1 + e)) is n / (n + 2); beyond 20 it is 1. */
VALUE(mish) {
  UNUSED_AB;
  float e = fg_vexpf(x > 20.0f ? 20.0f : x), n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}
VALUE(hard_sigmoid) {
  float v = a * x + b;
  v = v <= 0 ? 0.0f : v;
  return v > 1.0f ? 1.0f : v;
}
VALUE(hard_swish) {
  UNUSED_AB;
  float gate = x * (1.0f / 6.0f) + 0.5f;
  gate = gate > 1.0f ? 1.0f : gate;
  return x <= -3.0f ? 0.0f : x * gate;
}
VALUE(sign) {
  UNUSED_AB;
  return x > 0 ? 1.0f : x < 0 ? -1.0f : x;
}
VALUE(floor) {
  UNUSED_AB;
  return floorf(x);
}
VALUE(ceil) {
  UNUSED_AB;
  return ceilf(x);
}
VALUE(round) {
  UNUSED_AB;
  return rintf(x);
}
#define LIBM(kind)                                                                                 \
  VALUE(kind) {                                                                                    \
    UNUSED_AB;                                                                                     \
    return kind##f(x);                                                                             \
  }
LIBM(sin)
LIBM(cos)
LIBM(tan)
LIBM(asin)
LIBM(acos)
LIBM(atan)
LIBM(sinh)
LIBM(cosh)
LIBM(asinh)
LIBM(acosh)
LIBM(atanh)

/* ---- slopes; v is x or y, as FG_UNARY_MAP says */

#define SLOPE(kind) FG_INLINE float slope_##kind(float v, float a, float b)

SLOPE(identity) {
  UNUSED_AB;
  (void)v;
  return 1;
}
SLOPE(relu) {
  UNUSED_AB;
  return v <= 0 ? 0.0f : 1.0f;
}
SLOPE(leaky_relu) {
  UNUSED_AB;
  return v > 0 ? 1.0f : a;
}
SLOPE(relu6) {
  UNUSED_AB;
  return ((v <= 0) | (v >= 6)) ? 0.0f : 1.0f;
}
SLOPE(sigmoid) {
  UNUSED_AB;
  return v * (1.0f - v);
}
SLOPE(tanh) {
  UNUSED_AB;
  return 1.0f - v * v;
}
SLOPE(exp) {
  UNUSED_AB;
  return v;
}
SLOPE(sqrt) {
  UNUSED_AB;
  return 0.5f / v;
}
SLOPE(clip) {
  return ((v >= a) & (v <= b)) ? 1.0f : 0.0f;
}
SLOPE(gelu) {
  UNUSED_AB;
  float bell, below = fg_vnormalf(v, &bell);
  return below + v * INV_SQRT_2PI * bell;
}
SLOPE(gelu_tanh) {
  UNUSED_AB;
  float t = fg_vtanhf(SQRT_2_OVER_PI * (v + GELU_CUBIC * v * v * v));
  return 0.5f * (1.0f + t) +
         0.5f * v * (1.0f - t * t) * SQRT_2_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * v * v);
}
SLOPE(erf) {
  UNUSED_AB;
  return TWO_OVER_SQRT_PI * fg_vexpf(-v * v);
}
SLOPE(log) {
  UNUSED_AB;
  return 1.0f / v;
}
SLOPE(neg) {
  UNUSED_AB;
  (void)v;
  return -1;
}
SLOPE(abs) {
  UNUSED_AB;
  return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f;
}
SLOPE(power) {
  UNUSED_AB;
  return a == 0 ? 0.0f : a * powf(v, a - 1.0f);
}

SLOPE(elu) {
  return v > 0 ? 1.0f : a * b * fg_vexpf(b * v);
}
SLOPE(softplus) {
  UNUSED_AB;
  return 1.0f / (1.0f + fg_vexpf(-v));
}
SLOPE(silu) {
  (void)b;
  float s = 1.0f / (1.0f + fg_vexpf(-a * v));
  return s + a * v * s * (1.0f - s);
}
SLOPE(mish) {
  UNUSED_AB;
  float e = fg_vexpf(v > 20.0f ? 20.0f : v), n = e * (e + 2.0f), w = 1.0f / (n + 2.0f);
  return n * w + v * (4.0f * e * w) * ((e + 1.0f) * w);
}
SLOPE(hard_sigmoid) {
  (void)b;
  return ((v <= 0) | (v >= 1.0f)) ? 0.0f : a;
}
SLOPE(hard_swish) {
  UNUSED_AB;
  float inside = v * (1.0f / 3.0f) + 0.5f;
  inside = v >= 3.0f ? 1.0f : inside;
  return v <= -3.0f ? 0.0f : inside;
}
#define FLAT(kind)                                                                                 \
  SLOPE(kind) {                                                                                    \
    UNUSED_AB;                                                                                     \
    (void)v;                                                                                       \
    return 0;                                                                                      \
  }
FLAT(sign)
FLAT(floor)
FLAT(ceil)
SLOPE(round) {
  (void)v, (void)b;
  return a;
}
SLOPE(sin) {
  UNUSED_AB;
  return cosf(v);
}
SLOPE(cos) {
  UNUSED_AB;
  return -sinf(v);
}
SLOPE(tan) {
  UNUSED_AB;
  return 1.0f + v * v;
}
SLOPE(asin) {
  UNUSED_AB;
  return 1.0f / sqrtf((1.0f - v) * (1.0f + v));
}
SLOPE(acos) {
  UNUSED_AB;
  return -1.0f / sqrtf((1.0f - v) * (1.0f + v));
}
SLOPE(atan) {
  UNUSED_AB;
  return 1.0f / (1.0f + v * v);
}
SLOPE(sinh) {
  UNUSED_AB;
  return coshf(v);
}
SLOPE(cosh) {
  UNUSED_AB;
  return sinhf(v);
}
SLOPE(asinh) {
  UNUSED_AB;
  return 1.0f / hypotf(v, 1.0f);
}
SLOPE(acosh) {
  UNUSED_AB;
  return 1.0f / (sqrtf(v - 1.0f) * sqrtf(v + 1.0f));
}
SLOPE(atanh) {
  UNUSED_AB;
  return 1.0f / ((1.0f - v) * (1.0f + v));
}

/* ---- loops */

struct flat {
  const float *v, *dy, *dy2; /* v: x, or y where the slope is a function of it */
  float *out;                /* may be v */
  float a, b;
};

#define LOOPS(kind, hint)                                                                          \
  FG_CLONES static void map_##kind(const void *ctx, int64_t begin, int64_t end) {                  \
    const struct flat *c = ctx;                                                                    \
    const float *x = c->v, a = c->a, b = c->b;                                                     \
    float *y = c->out;                                                                             \
    hint for (int64_t i = begin; i < end; i++) y[i] = value_##kind(x[i], a, b);                    \
  }                                                                                                \
  FG_CLONES static void grad_##kind(const void *ctx, int64_t begin, int64_t end) {                 \
    const struct flat *c = ctx;                                                                    \
    const float *v = c->v, *dy = c->dy, *dy2 = c->dy2, a = c->a, b = c->b;                         \
    float *dx = c->out;                                                                            \
    if (dy2)                                                                                       \
      hint for (int64_t i = begin; i < end; i++) dx[i] =                                           \
          slope_##kind(v[i], a, b) * (dy[i] + dy2[i]);                                             \
    else                                                                                           \
      hint for (int64_t i = begin; i < end; i++) dx[i] = slope_##kind(v[i], a, b) * dy[i];         \
  }
#define X(kind, from) LOOPS(kind, _Pragma("omp simd"))
FG_UNARY_PLAIN_MAP(X)
#undef X
#define X(kind, from) LOOPS(kind, )
FG_UNARY_LIBM_MAP(X)
#undef X

/* The powers that models are full of, without pow. */
FG_CLONES static void map_square(const void *ctx, int64_t begin, int64_t end) {
  const struct flat *c = ctx;
  const float *x = c->v;
  float *y = c->out;
#pragma omp simd
  for (int64_t i = begin; i < end; i++)
    y[i] = x[i] * x[i];
}

FG_CLONES static void grad_square(const void *ctx, int64_t begin, int64_t end) {
  const struct flat *c = ctx;
  const float *x = c->v, *dy = c->dy, *dy2 = c->dy2;
  float *dx = c->out;
#pragma omp simd
  for (int64_t i = begin; i < end; i++)
    dx[i] = 2.0f * x[i] * (dy2 ? dy[i] + dy2[i] : dy[i]);
}

/* Nanoseconds an element, roughly. */
static double cost(const struct fg_unary_attrs *a) {
  switch (a->kind) {
  case FG_UNARY_log:
    return 4;
  case FG_UNARY_power:
    return a->alpha == 2 ? 0.2 : 15;
  case FG_UNARY_sigmoid:
  case FG_UNARY_tanh:
  case FG_UNARY_exp:
  case FG_UNARY_gelu:
  case FG_UNARY_gelu_tanh:
  case FG_UNARY_erf:
  case FG_UNARY_elu:
  case FG_UNARY_silu:
  case FG_UNARY_mish:
    return 0.8;
  case FG_UNARY_softplus:
    return 8;
  default:
    return a->kind >= FG_UNARY_sin ? 12 : 0.2;
  }
}

static fg_cpu_body map_body(const struct fg_unary_attrs *a) {
  static const fg_cpu_body body[FG_UNARY_COUNT] = {
#define X(kind, from) map_##kind,
    FG_UNARY_MAP(X)
#undef X
  };
  return a->kind == FG_UNARY_power && a->alpha == 2 ? map_square : body[a->kind];
}

static fg_cpu_body grad_body(const struct fg_unary_attrs *a) {
  static const fg_cpu_body body[FG_UNARY_COUNT] = {
#define X(kind, from) grad_##kind,
    FG_UNARY_MAP(X)
#undef X
  };
  return a->kind == FG_UNARY_power && a->alpha == 2 ? grad_square : body[a->kind];
}

void fg_cpu_act(const struct fg_unary_attrs *act, float *y, int64_t n) {
  if (act->kind == FG_UNARY_identity)
    return;
  struct flat c = {.v = y, .out = y, .a = (float)act->alpha, .b = (float)act->beta};
  map_body(act)(&c, 0, n);
}

void fg_cpu_act_grad(const struct fg_unary_attrs *act, const float *v, float *d, int64_t n) {
  if (act->kind == FG_UNARY_identity)
    return;
  struct flat c = {.v = v, .dy = d, .out = d, .a = (float)act->alpha, .b = (float)act->beta};
  grad_body(act)(&c, 0, n);
}

FG_CLONES static void add_to_row(float *restrict to, const float *restrict from, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    to[i] += from[i];
}

void fg_cpu_add(float *restrict to, const float *restrict from, int64_t n) {
  add_to_row(to, from, n);
}

/* ---- unary */

static bool is_whole(enum fg_unary_kind kind) {
  return kind == FG_UNARY_identity || kind == FG_UNARY_neg || kind == FG_UNARY_abs ||
         kind == FG_UNARY_relu;
}

static fgsm_status prepare_unary(struct fg_call *call, struct fg_device *device) {
  (void)device;
  enum fg_unary_kind kind = call->attrs->unary.kind;
  enum fg_type type = call->in[0].type;
  FG_TRY(fg_cpu_need_same_layout(call));
  bool whole = kind == FG_UNARY_identity || (is_whole(kind) && (type == FG_I64 || type == FG_I32));
  if (type != FG_F32 && !whole)
    return FG_FAIL(UNSUPPORTED, "cpu: %s of %s", fg_unary_name(kind), fg_type_name(type));
  return FGSM_OK;
}

#define WHOLE_LOOP(signed_type, unsigned_type)                                                     \
  static void whole_##signed_type(enum fg_unary_kind kind, signed_type *y, const signed_type *x,   \
                                  int64_t n) {                                                     \
    for (int64_t i = 0; i < n; i++) {                                                              \
      signed_type minus = (signed_type)(0 - (unsigned_type)x[i]);                                  \
      y[i] = kind == FG_UNARY_neg   ? minus                                                        \
             : kind == FG_UNARY_abs ? (x[i] < 0 ? minus : x[i])                                    \
                                    : (x[i] > 0 ? x[i] : 0);                                       \
    }                                                                                              \
  }
WHOLE_LOOP(int64_t, uint64_t)
WHOLE_LOOP(int32_t, uint32_t)

static fgsm_status run_unary(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_unary_attrs *a = &call->attrs->unary;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t n = fg_count(x);
  if (a->kind == FG_UNARY_identity) {
    if (n && x->data != y->data)
      memcpy(y->data, x->data, fg_bytes(x));
  } else if (x->type == FG_I64) {
    whole_int64_t(a->kind, y->data, x->data, n);
  } else if (x->type == FG_I32) {
    whole_int32_t(a->kind, y->data, x->data, n);
  } else {
    struct flat c = {.v = x->data, .out = y->data, .a = (float)a->alpha, .b = (float)a->beta};
    fg_cpu_flat(n, cost(a), map_body(a), &c);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_unary = {prepare_unary, run_unary, NULL};

/* ---- unary_grad */

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, call->n_in, 1));
  FG_TRY(fg_cpu_need_same_layout(call));
  int from = fg_unary_from_y(&call->attrs->unary) ? 1 : 0;
  if (!fg_cpu_present(&call->in[from]))
    return FG_FAIL(UNSUPPORTED, "cpu: the gradient of %s needs %s",
                   fg_unary_name(call->attrs->unary.kind), from ? "y" : "x");
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_unary_attrs *a = &call->attrs->unary;
  bool both = call->n_in > 3 && fg_cpu_present(&call->in[3]);
  struct flat c = {.v = call->in[fg_unary_from_y(a) ? 1 : 0].data,
                   .dy = call->in[2].data,
                   .dy2 = both ? call->in[3].data : NULL,
                   .out = call->out[0].data,
                   .a = (float)a->alpha,
                   .b = (float)a->beta};
  fg_cpu_flat(fg_count(&call->out[0]), cost(a), grad_body(a), &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_unary_grad = {prepare_grad, run_grad, NULL};
