/* reshape, expand, transpose, concat, slice, slice_grad, pad, reorder: the same bits elsewhere,
 * copied by size whatever their type. */
#include "copy.h"

#include <string.h>

static fgsm_status prepare_plain(struct fg_call *call, struct fg_device *device) {
  (void)device;
  if (call->in[0].type != call->out[0].type)
    return FG_FAIL(UNSUPPORTED, "cpu: %s from %s to %s", fg_op_name(call->op),
                   fg_type_name(call->in[0].type), fg_type_name(call->out[0].type));
  return fg_cpu_need_plain(call);
}

static size_t size_of(const struct fg_call *call) {
  return fg_type_size(call->out[0].type);
}

/* A view needs no kernel; where the planner could not make one, it is a copy. */
static fgsm_status run_reshape(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  int64_t n = fg_count(&call->out[0]), one = 1;
  if (call->in[0].data != call->out[0].data)
    fg_cpu_copy(size_of(call), 1, &n, call->out[0].data, &one, call->in[0].data, &one);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_reshape = {prepare_plain, run_reshape, NULL};

static fgsm_status run_expand(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], own[FG_MAX_RANK], from[FG_MAX_RANK];
  fg_cpu_strides(y->rank, y->dim, to);
  fg_cpu_strides(x->rank, x->dim, own);
  for (int i = 0; i < y->rank; i++) {
    int axis = i - (y->rank - x->rank);
    from[i] = axis < 0 || x->dim[axis] == 1 ? 0 : own[axis];
  }
  fg_cpu_copy(size_of(call), y->rank, y->dim, y->data, to, x->data, from);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_expand = {prepare_plain, run_expand, NULL};

static fgsm_status run_transpose(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], own[FG_MAX_RANK], from[FG_MAX_RANK];
  fg_cpu_strides(y->rank, y->dim, to);
  fg_cpu_strides(x->rank, x->dim, own);
  for (int i = 0; i < x->rank; i++)
    from[i] = own[call->attrs->transpose.perm[i]];
  fg_cpu_copy(size_of(call), y->rank, y->dim, y->data, to, x->data, from);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_transpose = {prepare_plain, run_transpose, NULL};

/* ---- concat */

static fgsm_status prepare_concat(struct fg_call *call, struct fg_device *device) {
  (void)device;
  for (int i = 0; i < call->n_in; i++)
    if (call->in[i].type != call->out[0].type)
      return FG_FAIL(UNSUPPORTED, "cpu: concat of %s and %s", fg_type_name(call->in[i].type),
                     fg_type_name(call->out[0].type));
  if (call->out[0].layout == FG_BLOCKED && call->attrs->axis.axis != 1)
    return FG_FAIL(UNSUPPORTED, "cpu: concat of channel blocks is along axis 1");
  return fg_cpu_need_same_layout(call);
}

/* Each operand is, per outer index, one run of memory; so it is in channel blocks along axis 1. */
static fgsm_status run_concat(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->out[0];
  int axis = call->attrs->axis.axis;
  int64_t inner = fg_cpu_span(y, axis + 1, y->rank), outer = fg_cpu_span(y, 0, axis);
  char *at = y->data;
  for (int k = 0; k < call->n_in; k++) {
    int64_t run = call->in[k].dim[axis] * inner;
    const int64_t dim[2] = {outer, run}, to[2] = {y->dim[axis] * inner, 1}, from[2] = {run, 1};
    fg_cpu_copy(size_of(call), 2, dim, at, to, call->in[k].data, from);
    at += (size_t)run * size_of(call);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_concat = {prepare_concat, run_concat, NULL};

/* ---- slices */

/* Strides of the slice within `wide`; returns where it starts. */
static int64_t view(const struct fg_slice_attrs *a, const struct fg_tensor *wide, int64_t *stride) {
  int64_t start = 0;
  fg_cpu_strides(wide->rank, wide->dim, stride);
  for (int i = 0; i < wide->rank; i++) {
    start += a->start[i] * stride[i];
    stride[i] *= a->step[i];
  }
  return start;
}

static fgsm_status prepare_slice(struct fg_call *call, struct fg_device *device) {
  FG_TRY(prepare_plain(call, device));
  bool forward = call->op == FG_OP_slice;
  const struct fg_tensor *wide = forward ? &call->in[0] : &call->out[0];
  const struct fg_tensor *narrow = forward ? &call->out[0] : &call->in[0];
  const struct fg_slice_attrs *a = &call->attrs->slice;
  if (wide->rank != narrow->rank)
    return FG_FAIL(UNSUPPORTED, "cpu: %s between ranks", fg_op_name(call->op));
  for (int i = 0; i < wide->rank; i++) {
    int64_t reach, last;
    if (narrow->dim[i] > 0 &&
        (__builtin_mul_overflow(narrow->dim[i] - 1, a->step[i], &reach) ||
         __builtin_add_overflow(a->start[i], reach, &last) || a->start[i] < 0 || last < 0 ||
         a->start[i] >= wide->dim[i] || last >= wide->dim[i]))
      return FG_FAIL(UNSUPPORTED, "cpu: %s leaves axis %d", fg_op_name(call->op), i);
  }
  return FGSM_OK;
}

static fgsm_status run_slice(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  if (fg_count(y) == 0)
    return FGSM_OK;
  int64_t start = view(&call->attrs->slice, x, from);
  fg_cpu_strides(y->rank, y->dim, to);
  fg_cpu_copy(size_of(call), y->rank, y->dim, y->data, to,
              (const char *)x->data + start * (int64_t)size_of(call), from);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_slice = {prepare_slice, run_slice, NULL};

static fgsm_status run_slice_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  static const uint64_t zero = 0;
  const struct fg_tensor *dy = &call->in[0], *dx = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  fg_cpu_fill(size_of(call), dx->data, &zero, fg_count(dx));
  if (fg_count(dy) == 0)
    return FGSM_OK;
  int64_t start = view(&call->attrs->slice, dx, to);
  fg_cpu_strides(dy->rank, dy->dim, from);
  fg_cpu_copy(size_of(call), dy->rank, dy->dim, (char *)dx->data + start * (int64_t)size_of(call),
              to, dy->data, from);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_slice_grad = {prepare_slice, run_slice_grad, NULL};

/* ---- pad */

static fgsm_status prepare_pad(struct fg_call *call, struct fg_device *device) {
  enum fg_type type = call->out[0].type;
  FG_TRY(prepare_plain(call, device));
  if (type != FG_F32 && (type < FG_I64 || type > FG_BOOL))
    return FG_FAIL(UNSUPPORTED, "cpu: pad of %s", fg_type_name(type));
  return FGSM_OK;
}

static uint64_t value_bits(enum fg_type type, double value) {
  uint64_t bits = 0;
  float f = (float)value;
  int64_t whole = value == value && value > -0x1p63 && value < 0x1p63 ? (int64_t)value : 0;
  if (type == FG_F32)
    memcpy(&bits, &f, sizeof f);
  else if (type == FG_BOOL)
    bits = value != 0;
  else
    memcpy(&bits, &whole, fg_type_size(type)); /* little-endian: the low bytes */
  return bits;
}

static fgsm_status run_pad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_pad_attrs *a = &call->attrs->pad;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK], kept[FG_MAX_RANK], to_at = 0, from_at = 0;
  int64_t size = (int64_t)size_of(call);
  uint64_t bits = value_bits(y->type, a->value);
  fg_cpu_fill((size_t)size, y->data, &bits, fg_count(y));
  fg_cpu_strides(y->rank, y->dim, to);
  fg_cpu_strides(x->rank, x->dim, from);
  for (int i = 0; i < x->rank; i++) {
    int64_t cut_lo = a->lo[i] < 0 ? -a->lo[i] : 0, cut_hi = a->hi[i] < 0 ? -a->hi[i] : 0;
    kept[i] = x->dim[i] - cut_lo - cut_hi;
    if (kept[i] <= 0)
      return FGSM_OK;
    to_at += (a->lo[i] > 0 ? a->lo[i] : 0) * to[i];
    from_at += cut_lo * from[i];
  }
  fg_cpu_copy((size_t)size, y->rank, kept, (char *)y->data + to_at * size, to,
              (const char *)x->data + from_at * size, from);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_pad = {prepare_pad, run_pad, NULL};

/* ---- reorder: [N, C, S] to [N, C / b, S, b] and back, as views of four axes */

static fgsm_status prepare_reorder(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  if (x->type != y->type || !fg_same_shape(x, y))
    return FG_FAIL(UNSUPPORTED, "cpu: reorder keeps type and shape");
  for (int i = 0; i < 2; i++) {
    const struct fg_tensor *t = i ? y : x;
    if (t->layout == FG_BLOCKED &&
        (fg_cpu_block() == 0 || t->rank != 4 || t->dim[1] % fg_cpu_block() != 0))
      return FG_FAIL(UNSUPPORTED, "cpu: reorder of channels that do not divide into blocks");
  }
  return FGSM_OK;
}

static fgsm_status run_reorder(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  if (x->layout == y->layout)
    return run_reshape(call, scratch, stream);
  int64_t b = fg_cpu_block(), s = fg_cpu_span(x, 2, 4), c = x->dim[1];
  if (y->layout == FG_BLOCKED) {
    const int64_t dim[4] = {x->dim[0], c / b, s, b};
    const int64_t to[4] = {c * s, b * s, b, 1}, from[4] = {c * s, b * s, 1, s};
    fg_cpu_copy(size_of(call), 4, dim, y->data, to, x->data, from);
  } else {
    const int64_t dim[4] = {x->dim[0], c / b, b, s};
    const int64_t to[4] = {c * s, b * s, s, 1}, from[4] = {c * s, b * s, 1, b};
    fg_cpu_copy(size_of(call), 4, dim, y->data, to, x->data, from);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_reorder = {prepare_reorder, run_reorder, NULL};
