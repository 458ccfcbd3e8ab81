/* Access, broadcasting, strided copies and checks for the oracle's kernels. The one place that
 * switches on element types. */
#include "ref.h"

#include <stdarg.h>
#include <stdio.h>

fgsm_status fg_ref_decline(const struct fg_call *call, const char *file, int line,
                           const char *format, ...) {
  char reason[256];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  return fg_fail(FGSM_UNSUPPORTED, file, line, "ref: %s: %s", fg_op_name(call->op), reason);
}

static fgsm_status check_tensor(const struct fg_call *call, const struct fg_tensor *t,
                                const char *side, int i) {
  FG_REF_NEED(call, t->type > FG_NONE && t->type < FG_TYPE_COUNT, "%s %d has no known type", side,
              i);
  FG_REF_NEED(call, t->layout == FG_PLAIN, "%s %d lies in channel blocks", side, i);
  FG_REF_NEED(call, t->rank >= 0 && t->rank <= FG_MAX_RANK, "%s %d has rank %d", side, i, t->rank);
  for (int d = 0; d < t->rank; d++)
    FG_REF_NEED(call, t->dim[d] >= 0, "%s %d has a negative dim", side, i);
  return FGSM_OK;
}

fgsm_status fg_ref_check(const struct fg_call *call, uint32_t need_in, uint32_t need_out) {
  FG_REF_NEED(call, call->n_in <= FG_MAX_IN && call->n_out <= FG_MAX_OUT, "too many tensors");
  for (int i = 0; i < FG_MAX_IN; i++) {
    FG_REF_NEED(call, !(need_in >> i & 1) || fg_ref_in(call, i), "input %d is missing", i);
    if (fg_ref_in(call, i))
      FG_TRY(check_tensor(call, &call->in[i], "input", i));
  }
  for (int i = 0; i < FG_MAX_OUT; i++) {
    FG_REF_NEED(call, !(need_out >> i & 1) || fg_ref_out(call, i), "output %d is missing", i);
    if (fg_ref_out(call, i))
      FG_TRY(check_tensor(call, &call->out[i], "output", i));
  }
  return FGSM_OK;
}

fgsm_status fg_ref_check_real(const struct fg_call *call, uint32_t in, uint32_t out) {
  const struct fg_half_slots slots = fg_half_slots(call->op);
  enum fg_type type = FG_NONE;
  for (int i = 0; i < FG_MAX_IN + FG_MAX_OUT; i++) {
    int o = i - FG_MAX_IN;
    const struct fg_tensor *t = o < 0 ? fg_ref_in(call, i) : fg_ref_out(call, o);
    if (!t || !(o < 0 ? in >> i & 1 : out >> o & 1))
      continue;
    bool half = fg_type_is_half(t->type) && (o < 0 ? slots.in >> i & 1 : slots.out >> o & 1);
    enum fg_type as = half ? FG_F32 : t->type;
    FG_REF_NEED(call, as == FG_F32 || as == FG_F64, "%s %d is %s, not float32 or float64",
                o < 0 ? "input" : "output", o < 0 ? i : o, fg_type_name(t->type));
    FG_REF_NEED(call, type == FG_NONE || type == as, "float32 and float64 are mixed");
    type = as;
  }
  return FGSM_OK;
}

fgsm_status fg_ref_check_mask(const struct fg_call *call, const struct fg_tensor *mask,
                              const struct fg_tensor *y, const struct fg_unary_attrs *act) {
  FG_REF_NEED(call, !mask || (fg_mask_fits(call->op, mask, y) && act->kind == FG_UNARY_relu),
              "a mask of another shape, or of no relu");
  return FGSM_OK;
}

fgsm_status fg_ref_check_slope(const struct fg_call *call, int v,
                               const struct fg_unary_attrs *act) {
  const struct fg_tensor *of = fg_ref_in(call, v), *y = &call->out[0];
  if (of && fg_is_mask(of))
    return fg_ref_check_mask(call, of, y, act);
  FG_TRY(fg_ref_check_real(call, 1u << v, 1));
  FG_REF_NEED(call, !of || fg_same_shape(of, y), "input %d and the result differ in shape", v);
  return FGSM_OK;
}

double fg_ref_get(const struct fg_tensor *t, int64_t i) {
  switch (t->type) {
  case FG_F32:
    return ((const float *)t->data)[i];
  case FG_F64:
    return ((const double *)t->data)[i];
  case FG_F16:
  case FG_BF16:
    return fg_half_get(t->type, t->data, i);
  default:
    return (double)fg_ref_get_int(t, i);
  }
}

/* Truncates v toward zero into [lo, hi], whose ends are exact doubles or, for int64, one off. */
static int64_t saturate(double v, double lo, double hi, int64_t lowest, int64_t highest) {
  if (isnan(v))
    return 0;
  return v <= lo ? lowest : v >= hi ? highest : (int64_t)v;
}

void fg_ref_put(const struct fg_tensor *t, int64_t i, double value) {
  switch (t->type) {
  case FG_F32:
    ((float *)t->data)[i] = (float)value;
    break;
  case FG_F64:
    ((double *)t->data)[i] = value;
    break;
  case FG_F16:
  case FG_BF16:
    fg_half_put(t->type, t->data, i, (float)value);
    break;
  case FG_BOOL:
    ((uint8_t *)t->data)[i] = value != 0;
    break;
  case FG_I64:
    fg_ref_put_int(t, i, saturate(value, -0x1p63, 0x1p63, INT64_MIN, INT64_MAX));
    break;
  case FG_I32:
    fg_ref_put_int(t, i, saturate(value, INT32_MIN, INT32_MAX, INT32_MIN, INT32_MAX));
    break;
  case FG_I16:
    fg_ref_put_int(t, i, saturate(value, INT16_MIN, INT16_MAX, INT16_MIN, INT16_MAX));
    break;
  case FG_I8:
    fg_ref_put_int(t, i, saturate(value, INT8_MIN, INT8_MAX, INT8_MIN, INT8_MAX));
    break;
  default:
    fg_ref_put_int(t, i, saturate(value, 0, UINT8_MAX, 0, UINT8_MAX));
    break;
  }
}

int64_t fg_ref_get_int(const struct fg_tensor *t, int64_t i) {
  switch (t->type) {
  case FG_I64:
    return ((const int64_t *)t->data)[i];
  case FG_I32:
    return ((const int32_t *)t->data)[i];
  case FG_I16:
    return ((const int16_t *)t->data)[i];
  case FG_I8:
    return ((const int8_t *)t->data)[i];
  case FG_BOOL:
    return ((const uint8_t *)t->data)[i] != 0;
  default:
    return ((const uint8_t *)t->data)[i];
  }
}

void fg_ref_put_int(const struct fg_tensor *t, int64_t i, int64_t value) {
  switch (t->type) {
  case FG_I64:
    ((int64_t *)t->data)[i] = value;
    break;
  case FG_I32:
    ((int32_t *)t->data)[i] = (int32_t)value;
    break;
  case FG_I16:
    ((int16_t *)t->data)[i] = (int16_t)value;
    break;
  case FG_I8:
    ((int8_t *)t->data)[i] = (int8_t)value;
    break;
  case FG_BOOL:
    ((uint8_t *)t->data)[i] = value != 0;
    break;
  default:
    ((uint8_t *)t->data)[i] = (uint8_t)value;
    break;
  }
}

void fg_ref_load(const struct fg_tensor *t, int64_t start, int64_t n, double *to) {
  if (t->type == FG_F32) {
    const float *from = (const float *)t->data + start;
    for (int64_t i = 0; i < n; i++)
      to[i] = from[i];
  } else {
    for (int64_t i = 0; i < n; i++)
      to[i] = fg_ref_get(t, start + i);
  }
}

void fg_ref_store(const struct fg_tensor *t, int64_t start, int64_t n, const double *from) {
  for (int64_t i = 0; i < n; i++)
    fg_ref_put(t, start + i, from[i]);
}

/* Where element i of a plain y is among the bits of its mask. */
static int64_t place_of_bit(const struct fg_call *call, const struct fg_tensor *y, int64_t i) {
  int axis = fg_mask_axis(call->op, y);
  int64_t channels = y->dim[axis], inner = 1;
  for (int d = axis + 1; d < y->rank; d++)
    inner *= y->dim[d];
  return (i / (channels * inner) * inner + i % inner) * channels + i / inner % channels;
}

double fg_ref_get_slope_of(const struct fg_call *call, const struct fg_tensor *v,
                           const struct fg_tensor *y, int64_t i) {
  if (v->type != FG_U8)
    return fg_ref_get(v, i);
  int64_t at = place_of_bit(call, y, i);
  return ((const uint8_t *)v->data)[at / 8] >> at % 8 & 1;
}

void fg_ref_put_mask(const struct fg_call *call, const struct fg_tensor *mask,
                     const struct fg_tensor *y, int64_t i, bool value) {
  if (mask->type != FG_U8) {
    fg_ref_put(mask, i, value);
    return;
  }
  int64_t at = place_of_bit(call, y, i);
  uint8_t *byte = (uint8_t *)mask->data + at / 8, bit = (uint8_t)(1u << at % 8);
  *byte = (uint8_t)(value ? *byte | bit : *byte & ~bit);
}

double fg_ref_from_bf16(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float v;
  memcpy(&v, &wide, sizeof v);
  return (double)v;
}

double fg_ref_round_bf16(double v) {
  float f = (float)v;
  uint32_t bits;
  if (isnan(v))
    return v;
  memcpy(&bits, &f, sizeof bits);
  return fg_ref_from_bf16((uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16));
}

void fg_ref_strides(int rank, const int64_t *dim, int64_t *stride) {
  int64_t n = 1;
  for (int i = rank - 1; i >= 0; i--) {
    stride[i] = n;
    n *= dim[i];
  }
}

void fg_ref_broadcast(const struct fg_tensor *t, int rank, int64_t *stride) {
  int64_t own[FG_MAX_RANK];
  int lead = rank - t->rank;
  fg_ref_strides(t->rank, t->dim, own);
  for (int i = 0; i < rank; i++)
    stride[i] = i < lead || t->dim[i - lead] == 1 ? 0 : own[i - lead];
}

bool fg_ref_broadcasts(const struct fg_tensor *t, const struct fg_tensor *to) {
  int lead = to->rank - t->rank;
  if (lead < 0)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != 1 && t->dim[i] != to->dim[i + lead])
      return false;
  return true;
}

bool fg_ref_broadcasts_to(const struct fg_tensor *const *t, int n, const struct fg_tensor *y) {
  int rank = 0;
  for (int k = 0; k < n; k++) {
    if (!fg_ref_broadcasts(t[k], y))
      return false;
    rank = t[k]->rank > rank ? t[k]->rank : rank;
  }
  if (rank != y->rank)
    return false;
  for (int i = 0; i < rank; i++) { /* some operand gives each dim that is not 1 */
    bool given = y->dim[i] == 1;
    for (int k = 0; k < n; k++) {
      int lead = rank - t[k]->rank;
      given |= i >= lead && t[k]->dim[i - lead] == y->dim[i];
    }
    if (!given)
      return false;
  }
  return true;
}

void fg_ref_step_walk(struct fg_ref_walk *walk) {
  for (int d = walk->rank - 1; d >= 0; d--) {
    walk->index[d]++;
    for (int k = 0; k < 3; k++)
      if (walk->stride[k])
        walk->offset[k] += walk->stride[k][d];
    if (walk->index[d] < walk->dim[d])
      return;
    for (int k = 0; k < 3; k++)
      if (walk->stride[k])
        walk->offset[k] -= walk->stride[k][d] * walk->dim[d];
    walk->index[d] = 0;
  }
}

void fg_ref_copy(size_t size, int rank, const int64_t *dim, void *to, const int64_t *to_stride,
                 const void *from, const int64_t *from_stride) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    n *= dim[i];
  struct fg_ref_walk walk = {.rank = rank, .dim = dim, .stride = {to_stride, from_stride, NULL}};
  for (int64_t i = 0; i < n; i++, fg_ref_step_walk(&walk))
    memcpy((char *)to + walk.offset[0] * (int64_t)size,
           (const char *)from + walk.offset[1] * (int64_t)size, size);
}

fgsm_status fg_ref_window(const struct fg_call *call, const struct fg_ref_window_attrs *a,
                          const int64_t *size, const struct fg_tensor *x, const struct fg_tensor *y,
                          struct fg_ref_window *out) {
  int s = a->spatial, lead = 3 - s;
  FG_REF_NEED(call, s >= 1 && s <= 3, "%d spatial dims", s);
  FG_REF_NEED(call, x->rank == s + 2 && y->rank == s + 2, "ranks %d and %d, not %d", x->rank,
              y->rank, s + 2);
  *out = (struct fg_ref_window){.x = {1, 1, 1},
                                .y = {1, 1, 1},
                                .size = {1, 1, 1},
                                .stride = {1, 1, 1},
                                .dilation = {1, 1, 1},
                                .x_count = 1,
                                .y_count = 1,
                                .places = 1};
  for (int i = 0; i < s; i++) {
    int d = lead + i;
    FG_REF_NEED(call,
                size[i] >= 1 && size[i] <= INT32_MAX && a->stride[i] >= 1 && a->dilation[i] >= 1 &&
                    a->pad_lo[i] >= 0 && a->pad_hi[i] >= 0,
                "window, stride, dilation or padding out of range");
    int64_t reach = (size[i] - 1) * a->dilation[i];
    int64_t room = x->dim[2 + i] + a->pad_lo[i] + a->pad_hi[i] - reach - 1;
    FG_REF_NEED(call, room >= 0, "the window is larger than the padded image");
    FG_REF_NEED(call, y->dim[2 + i] == room / a->stride[i] + 1, "spatial dim %d is %lld, not %lld",
                i, (long long)y->dim[2 + i], (long long)(room / a->stride[i] + 1));
    out->x[d] = x->dim[2 + i];
    out->y[d] = y->dim[2 + i];
    out->size[d] = size[i];
    out->stride[d] = a->stride[i];
    out->dilation[d] = a->dilation[i];
    out->lo[d] = a->pad_lo[i];
    out->x_count *= out->x[d];
    out->y_count *= out->y[d];
    out->places *= size[i];
    FG_REF_NEED(call, out->places <= INT32_MAX, "a window of more places than an index can count");
  }
  return FGSM_OK;
}

double fg_ref_into_box(enum fg_type type, double v, double lo, double hi) {
  v = v > hi ? hi : v < lo ? lo : v;
  if (type == FG_F64)
    return v;
  float y = (float)v;
  if ((double)y > hi)
    y = nextafterf(y, -INFINITY);
  if ((double)y < lo)
    y = nextafterf(y, INFINITY);
  return y;
}

bool fg_ref_is_feature(const struct fg_tensor *t, const struct fg_tensor *x) {
  if (!t)
    return true;
  if (t->rank != x->rank - 1 || !(fg_ref_is_real(t->type) || fg_ref_is_int(t->type)))
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != x->dim[i + 1])
      return false;
  return true;
}

bool fg_ref_is_params(const struct fg_tensor *t) {
  return t && t->type == FG_F64 && fg_count(t) == FG_PARAM_COUNT;
}

bool fg_ref_are_params(const struct fg_tensor *t, int64_t n) {
  return t && t->type == FG_F64 &&
         ((t->rank == 1 && t->dim[0] == FG_PARAM_COUNT) ||
          (t->rank == 2 && t->dim[0] == n && t->dim[1] == FG_PARAM_COUNT));
}

const double *fg_ref_params(const struct fg_tensor *t, int64_t s) {
  return (const double *)t->data + (t->rank == 2 ? s * FG_PARAM_COUNT : 0);
}
