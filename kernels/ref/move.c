/* expand, transpose, concat, slice, slice_grad, pad: the same bits elsewhere. Elements are copied
 * by size, whatever their type. reshape is a view and reorder has nothing to do where no layout but
 * the plain one exists. */
#include "ref.h"

FG_NO_KERNEL(ref, reshape);
FG_NO_KERNEL(ref, reorder);

static size_t size_of(const struct fg_call *call) {
  return fg_type_size(call->out[0].type);
}

static fgsm_status check_move(const struct fg_call *call) {
  FG_TRY(fg_ref_check(call, 1, 1));
  FG_REF_NEED(call, call->in[0].type == call->out[0].type, "types differ");
  return FGSM_OK;
}

static fgsm_status prepare_expand(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(check_move(call));
  const struct fg_shape_attrs *a = &call->attrs->shape;
  const struct fg_tensor *y = &call->out[0];
  FG_REF_NEED(call, a->rank == y->rank, "the result has rank %d, not %d", y->rank, a->rank);
  for (int i = 0; i < y->rank; i++)
    FG_REF_NEED(call, a->dim[i] == y->dim[i], "the result has another shape");
  FG_REF_NEED(call, fg_ref_broadcasts(&call->in[0], y), "the operand does not broadcast");
  return FGSM_OK;
}

static fgsm_status run_expand(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  fg_ref_strides(y->rank, y->dim, to);
  fg_ref_broadcast(&call->in[0], y->rank, from);
  fg_ref_copy(size_of(call), y->rank, y->dim, y->data, to, call->in[0].data, from);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_expand = {prepare_expand, run_expand, NULL};

static fgsm_status prepare_transpose(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(check_move(call));
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  const int *perm = call->attrs->transpose.perm;
  uint32_t seen = 0;
  FG_REF_NEED(call, x->rank == y->rank, "ranks differ");
  for (int i = 0; i < x->rank; i++) {
    FG_REF_NEED(call, perm[i] >= 0 && perm[i] < x->rank && !(seen >> perm[i] & 1),
                "perm is no permutation");
    seen |= 1u << perm[i];
    FG_REF_NEED(call, y->dim[i] == x->dim[perm[i]], "the result has another shape");
  }
  return FGSM_OK;
}

static fgsm_status run_transpose(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], own[FG_MAX_RANK], from[FG_MAX_RANK];
  fg_ref_strides(y->rank, y->dim, to);
  fg_ref_strides(x->rank, x->dim, own);
  for (int i = 0; i < x->rank; i++)
    from[i] = own[call->attrs->transpose.perm[i]];
  fg_ref_copy(size_of(call), y->rank, y->dim, y->data, to, x->data, from);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_transpose = {prepare_transpose, run_transpose, NULL};

static fgsm_status prepare_concat(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_REF_NEED(call, call->n_in >= 1 && call->n_in <= FG_MAX_IN, "%d operands", call->n_in);
  FG_TRY(fg_ref_check(call, (1u << call->n_in) - 1, 1));
  const struct fg_tensor *y = &call->out[0];
  int axis = call->attrs->axis.axis;
  int64_t total = 0;
  FG_REF_NEED(call, axis >= 0 && axis < y->rank, "axis %d of rank %d", axis, y->rank);
  for (int k = 0; k < call->n_in; k++) {
    const struct fg_tensor *x = &call->in[k];
    FG_REF_NEED(call, x->type == y->type && x->rank == y->rank, "type or rank of operand %d", k);
    for (int i = 0; i < y->rank; i++)
      FG_REF_NEED(call, i == axis || x->dim[i] == y->dim[i], "shape of operand %d", k);
    total += x->dim[axis];
  }
  FG_REF_NEED(call, total == y->dim[axis], "the operands fill %lld of %lld", (long long)total,
              (long long)y->dim[axis]);
  return FGSM_OK;
}

static fgsm_status run_concat(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  char *at = y->data;
  int axis = call->attrs->axis.axis;
  fg_ref_strides(y->rank, y->dim, to);
  for (int k = 0; k < call->n_in; k++) {
    const struct fg_tensor *x = &call->in[k];
    fg_ref_strides(x->rank, x->dim, from);
    fg_ref_copy(size_of(call), x->rank, x->dim, at, to, x->data, from);
    at += (size_t)(x->dim[axis] * to[axis]) * size_of(call);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_concat = {prepare_concat, run_concat, NULL};

/* narrow[i] is wide[start + i * step]. */
static fgsm_status check_slice(const struct fg_call *call, const struct fg_tensor *wide,
                               const struct fg_tensor *narrow) {
  const struct fg_slice_attrs *a = &call->attrs->slice;
  FG_REF_NEED(call, wide->rank == narrow->rank, "ranks differ");
  for (int i = 0; i < wide->rank; i++) {
    int64_t n = narrow->dim[i], reach, last;
    FG_REF_NEED(call, a->dim[i] == call->out[0].dim[i], "the result has another shape");
    if (n == 0)
      continue;
    FG_REF_NEED(call,
                !__builtin_mul_overflow(n - 1, a->step[i], &reach) &&
                    !__builtin_add_overflow(a->start[i], reach, &last) && a->start[i] >= 0 &&
                    a->start[i] < wide->dim[i] && last >= 0 && last < wide->dim[i],
                "axis %d is left", i);
    FG_REF_NEED(call, a->step[i] != 0 || n == 1, "step 0 on axis %d", i);
  }
  return FGSM_OK;
}

/* Strides of the slice within `wide`, and where it starts. */
static int64_t view(const struct fg_slice_attrs *a, const struct fg_tensor *wide, int64_t *stride) {
  int64_t start = 0;
  fg_ref_strides(wide->rank, wide->dim, stride);
  for (int i = 0; i < wide->rank; i++) {
    start += a->start[i] * stride[i];
    stride[i] *= a->step[i];
  }
  return start;
}

static fgsm_status prepare_slice(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(check_move(call));
  return check_slice(call, &call->in[0], &call->out[0]);
}

static fgsm_status run_slice(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  if (fg_count(y) == 0)
    return FGSM_OK;
  int64_t start = view(&call->attrs->slice, x, from);
  fg_ref_strides(y->rank, y->dim, to);
  fg_ref_copy(size_of(call), y->rank, y->dim, y->data, to,
              (const char *)x->data + start * (int64_t)size_of(call), from);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_slice = {prepare_slice, run_slice, NULL};

static fgsm_status prepare_slice_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(check_move(call));
  return check_slice(call, &call->out[0], &call->in[0]);
}

static fgsm_status run_slice_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *dy = &call->in[0], *dx = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK];
  if (fg_bytes(dx))
    memset(dx->data, 0, fg_bytes(dx));
  if (fg_count(dy) == 0)
    return FGSM_OK;
  int64_t start = view(&call->attrs->slice, dx, to);
  fg_ref_strides(dy->rank, dy->dim, from);
  fg_ref_copy(size_of(call), dy->rank, dy->dim, (char *)dx->data + start * (int64_t)size_of(call),
              to, dy->data, from);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_slice_grad = {prepare_slice_grad, run_slice_grad, NULL};

static fgsm_status prepare_pad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(check_move(call));
  const struct fg_pad_attrs *a = &call->attrs->pad;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_REF_NEED(call, x->rank == y->rank, "ranks differ");
  FG_REF_NEED(call, fg_ref_is_real(y->type) || fg_ref_is_int(y->type), "filling %s",
              fg_type_name(y->type));
  for (int i = 0; i < x->rank; i++) {
    int64_t part, sum;
    FG_REF_NEED(call,
                !__builtin_add_overflow(x->dim[i], a->lo[i], &part) &&
                    !__builtin_add_overflow(part, a->hi[i], &sum) && sum == y->dim[i],
                "dim %d of the result does not fit the padding", i);
  }
  return FGSM_OK;
}

static fgsm_status run_pad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_pad_attrs *a = &call->attrs->pad;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t to[FG_MAX_RANK], from[FG_MAX_RANK], kept[FG_MAX_RANK], to_at = 0, from_at = 0;
  int64_t size = (int64_t)size_of(call), n = fg_count(y);
  for (int64_t i = 0; i < n; i++)
    fg_ref_put(y, i, a->value);
  fg_ref_strides(y->rank, y->dim, to);
  fg_ref_strides(x->rank, x->dim, from);
  for (int i = 0; i < x->rank; i++) {
    int64_t cut_lo = fg_ref_max(-a->lo[i], 0), cut_hi = fg_ref_max(-a->hi[i], 0);
    kept[i] = fg_ref_max(x->dim[i] - cut_lo - cut_hi, 0);
    if (kept[i] == 0)
      return FGSM_OK;
    to_at += fg_ref_max(a->lo[i], 0) * to[i];
    from_at += cut_lo * from[i];
  }
  fg_ref_copy((size_t)size, y->rank, kept, (char *)y->data + to_at * size, to,
              (const char *)x->data + from_at * size, from);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_pad = {prepare_pad, run_pad, NULL};
