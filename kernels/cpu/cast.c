/* cast: integers to integers keep their low bits; floats to integers truncate toward zero and
 * saturate, NaN giving 0; bytes to float may be divided by the divisor. Values pass through double
 * or int64, which hold every type exactly; bytes and floats have loops of their own. */
#include "cpu.h"

#include <string.h>

struct cast {
  const void *x;
  void *y;
  enum fg_type from, to;
  float byte[256]; /* U8 to F32 */
};

FG_CLONES static void bytes_to_float(const void *ctx, int64_t begin, int64_t end) {
  const struct cast *c = ctx;
  const uint8_t *x = c->x;
  float *y = c->y;
  for (int64_t i = begin; i < end; i++)
    y[i] = c->byte[x[i]];
}

static int64_t load_whole(const void *data, enum fg_type type, int64_t i) {
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

static double load_real(const void *data, enum fg_type type, int64_t i) {
  return type == FG_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static void store_whole(void *data, enum fg_type type, int64_t i, int64_t v) {
  switch (type) {
  case FG_F64:
    ((double *)data)[i] = (double)v;
    break;
  case FG_F32:
    ((float *)data)[i] = (float)v;
    break;
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
  case FG_BOOL:
    ((uint8_t *)data)[i] = v != 0;
    break;
  default:
    ((uint8_t *)data)[i] = (uint8_t)v;
  }
}

/* Truncated into [least, most]; the bounds are exact in double or saturate below it. */
static int64_t truncate_to(double v, double least, double most) {
  if (!(v == v))
    return 0;
  if (v <= least)
    return (int64_t)least;
  if (v >= most)
    return most >= 0x1p63 ? INT64_MAX : (int64_t)most;
  return (int64_t)v;
}

static void store_real(void *data, enum fg_type type, int64_t i, double v) {
  switch (type) {
  case FG_F64:
    ((double *)data)[i] = v;
    break;
  case FG_F32:
    ((float *)data)[i] = (float)v;
    break;
  case FG_I64:
    ((int64_t *)data)[i] = truncate_to(v, -0x1p63, 0x1p63);
    break;
  case FG_I32:
    ((int32_t *)data)[i] = (int32_t)truncate_to(v, INT32_MIN, INT32_MAX);
    break;
  case FG_I16:
    ((int16_t *)data)[i] = (int16_t)truncate_to(v, INT16_MIN, INT16_MAX);
    break;
  case FG_I8:
    ((int8_t *)data)[i] = (int8_t)truncate_to(v, INT8_MIN, INT8_MAX);
    break;
  case FG_BOOL:
    ((uint8_t *)data)[i] = v != 0;
    break;
  default:
    ((uint8_t *)data)[i] = (uint8_t)truncate_to(v, 0, UINT8_MAX);
  }
}

static bool is_real(enum fg_type type) {
  return type == FG_F32 || type == FG_F64;
}

static void general(const void *ctx, int64_t begin, int64_t end) {
  const struct cast *c = ctx;
  for (int64_t i = begin; i < end; i++)
    if (is_real(c->from))
      store_real(c->y, c->to, i, load_real(c->x, c->from, i));
    else
      store_whole(c->y, c->to, i, load_whole(c->x, c->from, i));
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_plain(call));
  for (int i = 0; i < 2; i++) {
    enum fg_type type = i ? call->out[0].type : call->in[0].type;
    if (type == FG_F16 || type == FG_BF16 || type == FG_NONE)
      return FG_FAIL(UNSUPPORTED, "cpu: cast of %s", fg_type_name(type));
  }
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t n = fg_count(x);
  double divisor = call->attrs->cast.divisor;
  struct cast c = {.x = x->data, .y = y->data, .from = x->type, .to = y->type};
  if (x->type == FG_U8 && y->type == FG_F32) {
    for (int i = 0; i < 256; i++)
      c.byte[i] = (float)(divisor != 0 ? i / divisor : i);
    fg_cpu_flat(n, 0.6, bytes_to_float, &c);
  } else if (x->type == FG_U8 && y->type == FG_F64 && divisor != 0) {
    for (int64_t i = 0; i < n; i++)
      ((double *)y->data)[i] = ((const uint8_t *)x->data)[i] / divisor;
  } else if (x->type == y->type) {
    if (n)
      memcpy(y->data, x->data, fg_bytes(x));
  } else {
    fg_cpu_flat(n, 3, general, &c);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_cast = {prepare, run, NULL};
