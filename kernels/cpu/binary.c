/* binary, where: operands broadcast over one shape, row by row (broadcast.h). Floats in vectorised
 * loops for each pattern of a row; integers in 64-bit integers, where overflow wraps and a division
 * by zero is an error. */
#include "broadcast.h"

#include <math.h>
#include <string.h>

/* ---- floats */

#define ARITHMETIC(kind, expression)                                                               \
  FG_INLINE float value_##kind(float a, float b) {                                                 \
    return expression;                                                                             \
  }
ARITHMETIC(add, a + b)
ARITHMETIC(sub, a - b)
ARITHMETIC(mul, a *b)
ARITHMETIC(div, a / b)
ARITHMETIC(pow, powf(a, b))
ARITHMETIC(max, ((a > b) | (a != a)) ? a : b)
ARITHMETIC(min, ((a < b) | (a != a)) ? a : b)

ARITHMETIC(fmod, fmodf(a, b))

#define COMPARISON(kind, operator)                                                                 \
  FG_INLINE uint8_t value_##kind(float a, float b) {                                               \
    return a operator b;                                                                           \
  }
COMPARISON(equal, ==)
COMPARISON(greater, >)
COMPARISON(less, <)

#define RESULT_add float
#define RESULT_sub float
#define RESULT_mul float
#define RESULT_div float
#define RESULT_pow float
#define RESULT_max float
#define RESULT_min float
#define RESULT_fmod float
#define RESULT_equal uint8_t
#define RESULT_greater uint8_t
#define RESULT_less uint8_t

struct rows {
  struct fg_cpu_broadcast shape;
  const void *operand[FG_CPU_OPERANDS];
  void *y;
};

/* One row: both operands move, or one of them stands still, or both. y may be a. */
#define X(kind)                                                                                    \
  FG_CLONES static void row_##kind(const float *a, bool a_moves, const float *b, bool b_moves,     \
                                   void *to, int64_t n) {                                          \
    RESULT_##kind *y = to;                                                                         \
    if (a_moves && b_moves) {                                                                      \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = value_##kind(a[i], b[i]);         \
    } else if (a_moves) {                                                                          \
      const float fixed = n ? b[0] : 0;                                                            \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = value_##kind(a[i], fixed);        \
    } else {                                                                                       \
      const float fixed = n ? a[0] : 0;                                                            \
      int64_t step = b_moves;                                                                      \
      if (step)                                                                                    \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = value_##kind(fixed, b[i]);      \
      else                                                                                         \
        for (int64_t i = 0; i < n; i++)                                                            \
          y[i] = value_##kind(fixed, b[0]);                                                        \
    }                                                                                              \
  }                                                                                                \
  static void body_##kind(const void *ctx, int64_t begin, int64_t end) {                           \
    const struct rows *c = ctx;                                                                    \
    const float *a = c->operand[0], *b = c->operand[1];                                            \
    RESULT_##kind *y = c->y;                                                                       \
    struct fg_cpu_walk w;                                                                          \
    fg_cpu_walk_start(&c->shape, begin, &w);                                                       \
    for (int64_t i = begin; i < end; i++, fg_cpu_walk_next(&c->shape, &w))                         \
      row_##kind(a + w.offset[0], c->shape.moves[0], b + w.offset[1], c->shape.moves[1], y + w.y,  \
                 w.n);                                                                             \
  }
FG_BINARY_REAL_MAP(X)
#undef X

static const fg_cpu_body float_body[FG_BINARY_COUNT] = {
#define X(kind) [FG_BINARY_##kind] = body_##kind,
    FG_BINARY_REAL_MAP(X)
#undef X
};

/* ---- integers */

FG_INLINE int64_t load_whole(const void *data, enum fg_type type, int64_t i) {
  switch (type) {
  case FG_I64:
    return ((const int64_t *)data)[i];
  case FG_I32:
    return ((const int32_t *)data)[i];
  case FG_I16:
    return ((const int16_t *)data)[i];
  case FG_I8:
    return ((const int8_t *)data)[i];
  default:
    return ((const uint8_t *)data)[i];
  }
}

FG_INLINE void store_whole(void *data, enum fg_type type, int64_t i, int64_t v) {
  switch (type) {
  case FG_I64:
    ((int64_t *)data)[i] = v;
    break;
  case FG_I32:
    ((int32_t *)data)[i] = (int32_t)v;
    break;
  case FG_I16:
    ((int16_t *)data)[i] = (int16_t)v;
    break;
  case FG_I8:
    ((int8_t *)data)[i] = (int8_t)v;
    break;
  default:
    ((uint8_t *)data)[i] = (uint8_t)v;
  }
}

/* a^b, wrapping; a negative exponent truncates 1 / a^-b. False where that divides by 0. */
static bool whole_power(int64_t a, int64_t b, int64_t *out) {
  if (b < 0) {
    *out = a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    return a != 0;
  }
  uint64_t power = 1, base = (uint64_t)a;
  for (; b; b >>= 1, base *= base)
    if (b & 1)
      power *= base;
  *out = (int64_t)power;
  return true;
}

static int64_t bit_value(enum fg_binary_kind kind, int64_t a, int64_t b) {
  bool held = b >= 0 && b < 64;
  switch (kind) {
  case FG_BINARY_bit_and:
    return a & b;
  case FG_BINARY_bit_or:
    return a | b;
  case FG_BINARY_bit_xor:
    return a ^ b;
  case FG_BINARY_shift_left:
    return held ? (int64_t)((uint64_t)a << b) : 0;
  default:
    return held ? a >> b : 0;
  }
}

static bool whole_value(enum fg_binary_kind kind, int64_t a, int64_t b, int64_t *out) {
  switch (kind) {
  case FG_BINARY_add:
    *out = (int64_t)((uint64_t)a + (uint64_t)b);
    return true;
  case FG_BINARY_sub:
    *out = (int64_t)((uint64_t)a - (uint64_t)b);
    return true;
  case FG_BINARY_mul:
    *out = (int64_t)((uint64_t)a * (uint64_t)b);
    return true;
  case FG_BINARY_div:
    *out = b == -1 ? (int64_t)(0 - (uint64_t)a) : b ? a / b : 0;
    return b != 0;
  case FG_BINARY_pow:
    return whole_power(a, b, out);
  case FG_BINARY_max:
    *out = a > b ? a : b;
    return true;
  case FG_BINARY_min:
    *out = a < b ? a : b;
    return true;
  case FG_BINARY_equal:
    *out = a == b;
    return true;
  case FG_BINARY_greater:
    *out = a > b;
    return true;
  case FG_BINARY_less:
    *out = a < b;
    return true;
  case FG_BINARY_fmod:
    *out = b == -1 || b == 0 ? 0 : a % b;
    return b != 0;
  case FG_BINARY_mod:
    *out = b == -1 || b == 0 ? 0 : a % b;
    *out += *out != 0 && (*out < 0) != (b < 0) ? b : 0;
    return b != 0;
  default:
    *out = bit_value(kind, a, b);
    return true;
  }
}

static fgsm_status run_whole(const struct fg_call *call, const struct rows *c) {
  enum fg_type type = call->in[0].type, to = call->out[0].type;
  int64_t items = c->shape.rows * c->shape.chunks;
  struct fg_cpu_walk w;
  fg_cpu_walk_start(&c->shape, 0, &w);
  for (int64_t i = 0; i < items; i++, fg_cpu_walk_next(&c->shape, &w))
    for (int64_t j = 0; j < w.n; j++) {
      int64_t a = load_whole(c->operand[0], type, w.offset[0] + (c->shape.moves[0] ? j : 0));
      int64_t b = load_whole(c->operand[1], type, w.offset[1] + (c->shape.moves[1] ? j : 0)), v;
      if (!whole_value(call->attrs->binary.kind, a, b, &v))
        return FG_FAIL(DATA, "cpu: binary: integer division by zero at element %lld",
                       (long long)(w.y + j));
      store_whole(c->y, to, w.y + j, v);
    }
  return FGSM_OK;
}

/* ---- binary */

static bool is_whole(enum fg_type type) {
  return type >= FG_I64 && type <= FG_BOOL;
}

static fgsm_status prepare_binary(struct fg_call *call, struct fg_device *device) {
  (void)device;
  enum fg_type type = call->in[0].type;
  if ((type != FG_F32 || fg_binary_is_whole(call->attrs->binary.kind)) && !is_whole(type))
    return FG_FAIL(UNSUPPORTED, "cpu: binary of %s", fg_type_name(type));
  if (call->in[0].layout == FG_BLOCKED && fg_same_shape(&call->in[0], &call->in[1]))
    return fg_cpu_need_same_layout(call);
  return fg_cpu_need_plain(call);
}

static fgsm_status run_binary(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->out[0];
  enum fg_binary_kind kind = call->attrs->binary.kind;
  if (fg_count(y) == 0)
    return FGSM_OK;
  struct rows c = {.operand = {call->in[0].data, call->in[1].data}, .y = y->data};
  fg_cpu_broadcast_plan(y, (const struct fg_tensor *const[]){&call->in[0], &call->in[1]}, 2,
                        &c.shape);
  if (call->in[0].type != FG_F32)
    return run_whole(call, &c);
  double each = kind == FG_BINARY_pow || kind == FG_BINARY_fmod ? 15 : 0.25;
  fg_cpu_parallel(c.shape.rows * c.shape.chunks, 1, 5 + each * (double)c.shape.chunk,
                  float_body[kind], &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_binary = {prepare_binary, run_binary, NULL};

/* ---- where: a choice of bits, whatever they mean */

#define CHOOSE(type)                                                                               \
  FG_CLONES static void choose_##type(const uint8_t *c, bool c_moves, const type *a, bool a_moves, \
                                      const type *b, bool b_moves, type *restrict y, int64_t n) {  \
    if (c_moves && a_moves && b_moves)                                                             \
      for (int64_t i = 0; i < n; i++) {                                                            \
        type p = a[i], q = b[i];                                                                   \
        y[i] = c[i] ? p : q;                                                                       \
      }                                                                                            \
    else if (c_moves && (a_moves || b_moves)) {                                                    \
      const type *from = a_moves ? a : b, fixed = a_moves ? b[0] : a[0];                           \
      uint8_t wanted = a_moves ? 0xff : 0;                                                         \
      for (int64_t i = 0; i < n; i++) {                                                            \
        type p = from[i];                                                                          \
        y[i] = (c[i] ? 0xff : 0) == wanted ? p : fixed;                                            \
      }                                                                                            \
    } else                                                                                         \
      for (int64_t i = 0; i < n; i++)                                                              \
        y[i] = c[c_moves ? i : 0] ? a[a_moves ? i : 0] : b[b_moves ? i : 0];                       \
  }                                                                                                \
  static void where_##type(const void *ctx, int64_t begin, int64_t end) {                          \
    const struct rows *r = ctx;                                                                    \
    const bool *moves = r->shape.moves;                                                            \
    const type *a = r->operand[1], *b = r->operand[2];                                             \
    struct fg_cpu_walk w;                                                                          \
    fg_cpu_walk_start(&r->shape, begin, &w);                                                       \
    for (int64_t i = begin; i < end; i++, fg_cpu_walk_next(&r->shape, &w))                         \
      choose_##type((const uint8_t *)r->operand[0] + w.offset[0], moves[0], a + w.offset[1],       \
                    moves[1], b + w.offset[2], moves[2], (type *)r->y + w.y, w.n);                 \
  }
CHOOSE(uint8_t)
CHOOSE(uint16_t)
CHOOSE(uint32_t)
CHOOSE(uint64_t)

static fgsm_status prepare_where(struct fg_call *call, struct fg_device *device) {
  (void)device;
  if (call->in[0].type != FG_BOOL)
    return FG_FAIL(UNSUPPORTED, "cpu: where's condition is %s", fg_type_name(call->in[0].type));
  return fg_cpu_need_plain(call);
}

static fgsm_status run_where(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->out[0];
  if (fg_count(y) == 0)
    return FGSM_OK;
  struct rows c = {.operand = {call->in[0].data, call->in[1].data, call->in[2].data}, .y = y->data};
  fg_cpu_broadcast_plan(
      y, (const struct fg_tensor *const[]){&call->in[0], &call->in[1], &call->in[2]}, 3, &c.shape);
  size_t size = fg_type_size(y->type);
  fg_cpu_body body = size == 1   ? where_uint8_t
                     : size == 2 ? where_uint16_t
                     : size == 4 ? where_uint32_t
                                 : where_uint64_t;
  fg_cpu_parallel(c.shape.rows * c.shape.chunks, 1, 5 + 0.4 * (double)c.shape.chunk, body, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_where = {prepare_where, run_where, NULL};
