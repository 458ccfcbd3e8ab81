/* binary, where: two or three operands broadcast over one shape. Integers are computed in integers:
 * overflow wraps, the least value divided by -1 is itself, a division by zero is refused. */
#include "ref.h"

static fgsm_status prepare_binary(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 1));
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  enum fg_binary_kind kind = call->attrs->binary.kind;
  FG_REF_NEED(call, (unsigned)kind < FG_BINARY_COUNT, "unknown kind %d", (int)kind);
  FG_REF_NEED(call, a->type == b->type, "operands are %s and %s", fg_type_name(a->type),
              fg_type_name(b->type));
  FG_REF_NEED(call, fg_ref_is_real(a->type) || fg_ref_is_int(a->type), "%s operands",
              fg_type_name(a->type));
  bool compares = fg_binary_compares(kind);
  bool bits = kind == FG_BINARY_bit_and || kind == FG_BINARY_bit_or || kind == FG_BINARY_bit_xor;
  FG_REF_NEED(call, y->type == (compares ? FG_BOOL : a->type), "the result is %s",
              fg_type_name(y->type));
  FG_REF_NEED(call, compares || bits || a->type != FG_BOOL, "arithmetic of bool");
  FG_REF_NEED(call, fg_ref_is_int(a->type) || !fg_binary_is_whole(kind), "%s operands",
              fg_type_name(a->type));
  FG_REF_NEED(call, fg_ref_broadcasts_to((const struct fg_tensor *const[]){a, b}, 2, y),
              "operands do not broadcast to the result");
  return FGSM_OK;
}

static double real_value(enum fg_binary_kind kind, double a, double b) {
  switch (kind) {
  case FG_BINARY_add:
    return a + b;
  case FG_BINARY_sub:
    return a - b;
  case FG_BINARY_mul:
    return a * b;
  case FG_BINARY_div:
    return a / b;
  case FG_BINARY_pow:
    return pow(a, b);
  case FG_BINARY_max:
    return isnan(a) || a > b ? a : b;
  case FG_BINARY_min:
    return isnan(a) || a < b ? a : b;
  case FG_BINARY_fmod:
    return fmod(a, b);
  case FG_BINARY_equal:
    return a == b;
  case FG_BINARY_greater:
    return a > b;
  default:
    return a < b;
  }
}

/* a^b in wrapping integers; a negative exponent truncates 1 / a^-b. False where that divides by 0.
 */
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
    *out = b == -1 ? (int64_t) - (uint64_t)a : b ? a / b : 0;
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

static fgsm_status run_binary(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  enum fg_binary_kind kind = call->attrs->binary.kind;
  int64_t stride[2][FG_MAX_RANK], n = fg_count(y), v;
  bool real = fg_ref_is_real(a->type);
  fg_ref_broadcast(a, y->rank, stride[0]);
  fg_ref_broadcast(b, y->rank, stride[1]);
  struct fg_ref_walk w = {.rank = y->rank, .dim = y->dim, .stride = {stride[0], stride[1], NULL}};
  for (int64_t i = 0; i < n; i++, fg_ref_step_walk(&w)) {
    if (real) {
      fg_ref_put(y, i, real_value(kind, fg_ref_get(a, w.offset[0]), fg_ref_get(b, w.offset[1])));
      continue;
    }
    if (!whole_value(kind, fg_ref_get_int(a, w.offset[0]), fg_ref_get_int(b, w.offset[1]), &v))
      return FG_FAIL(DATA, "ref: binary: integer division by zero at element %lld", (long long)i);
    fg_ref_put_int(y, i, v);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_binary = {prepare_binary, run_binary, NULL};

static fgsm_status prepare_where(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 7, 1));
  const struct fg_tensor *c = &call->in[0], *a = &call->in[1], *b = &call->in[2];
  const struct fg_tensor *y = &call->out[0];
  FG_REF_NEED(call, c->type == FG_BOOL, "the condition is %s", fg_type_name(c->type));
  FG_REF_NEED(call, a->type == b->type && a->type == y->type, "types differ");
  FG_REF_NEED(call, fg_ref_broadcasts_to((const struct fg_tensor *const[]){c, a, b}, 3, y),
              "operands do not broadcast to the result");
  return FGSM_OK;
}

static fgsm_status run_where(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->out[0];
  int64_t stride[3][FG_MAX_RANK], n = fg_count(y), size = (int64_t)fg_type_size(y->type);
  for (int k = 0; k < 3; k++)
    fg_ref_broadcast(&call->in[k], y->rank, stride[k]);
  struct fg_ref_walk w = {
      .rank = y->rank, .dim = y->dim, .stride = {stride[0], stride[1], stride[2]}};
  for (int64_t i = 0; i < n; i++, fg_ref_step_walk(&w)) {
    int from = fg_ref_get_int(&call->in[0], w.offset[0]) ? 1 : 2;
    memcpy((char *)y->data + i * size, (const char *)call->in[from].data + w.offset[from] * size,
           (size_t)size);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_where = {prepare_where, run_where, NULL};
