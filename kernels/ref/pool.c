/* max_pool, avg_pool and their gradients, in up to three spatial dims. A place of the window that
 * falls on padding is never a maximum; a window with no real place has the maximum -inf at index 0
 * (no gradient) and the mean 0. */
#include "ref.h"

static fgsm_status measure(const struct fg_call *call, const struct fg_tensor *x,
                           const struct fg_tensor *y, struct fg_ref_window *w) {
  const struct fg_pool_attrs *a = &call->attrs->pool;
  struct fg_ref_window_attrs wa = {a->spatial, a->stride, a->dilation, a->pad_lo, a->pad_hi};
  int64_t size[3] = {a->window[0], a->window[1], a->window[2]};
  FG_TRY(fg_ref_window(call, &wa, size, x, y, w));
  FG_REF_NEED(call, x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1], "batch or channels differ");
  return FGSM_OK;
}

static fgsm_status check_index(const struct fg_call *call, const struct fg_tensor *index,
                               const struct fg_tensor *y, const struct fg_ref_window *w) {
  FG_REF_NEED(call, index->type == (w->places <= 255 ? FG_U8 : FG_I32), "the index is %s",
              fg_type_name(index->type));
  FG_REF_NEED(call, fg_same_shape(index, y), "index and result differ in shape");
  return FGSM_OK;
}

/* Where place `place` of the window at y's position `at` falls in x's plane; -1 on padding. */
static int64_t place_in_x(const struct fg_ref_window *w, int64_t at, int64_t place) {
  int64_t y[3] = {at / w->y[2] / w->y[1], at / w->y[2] % w->y[1], at % w->y[2]};
  int64_t tap[3] = {place / w->size[2] / w->size[1], place / w->size[2] % w->size[1],
                    place % w->size[2]};
  int64_t offset = 0;
  for (int d = 0; d < 3; d++) {
    int64_t x = y[d] * w->stride[d] + tap[d] * w->dilation[d] - w->lo[d];
    if (tap[d] >= w->size[d] || x < 0 || x >= w->x[d])
      return -1;
    offset = offset * w->x[d] + x;
  }
  return offset;
}

static fgsm_status prepare_max(struct fg_call *call, struct fg_device *device) {
  (void)device;
  struct fg_ref_window w;
  FG_TRY(fg_ref_check(call, 1, 1));
  FG_TRY(fg_ref_check_real(call, 1, 1));
  FG_TRY(measure(call, &call->in[0], &call->out[0], &w));
  if (fg_ref_out(call, 1))
    FG_TRY(check_index(call, &call->out[1], &call->out[0], &w));
  return FGSM_OK;
}

static fgsm_status run_max(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  struct fg_ref_window w;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_TRY(measure(call, x, y, &w));
  int64_t n = fg_count(y);
  for (int64_t i = 0; i < n; i++) {
    int64_t plane = i / w.y_count * w.x_count, index = 0;
    double top = -INFINITY;
    bool found = false;
    for (int64_t p = 0; p < w.places; p++) {
      int64_t at = place_in_x(&w, i % w.y_count, p);
      if (at < 0)
        continue;
      double v = fg_ref_get(x, plane + at);
      if (!found || v > top || (isnan(v) && !isnan(top))) {
        top = v;
        index = p;
        found = true;
      }
    }
    fg_ref_put(y, i, top);
    if (fg_ref_out(call, 1))
      fg_ref_put_int(&call->out[1], i, index);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_max_pool = {prepare_max, run_max, NULL};

static fgsm_status prepare_max_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  struct fg_ref_window w;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 1, 1));
  FG_TRY(measure(call, &call->out[0], &call->in[0], &w));
  FG_TRY(check_index(call, &call->in[1], &call->in[0], &w));
  call->scratch_bytes = (size_t)w.x_count * sizeof(double);
  return FGSM_OK;
}

static fgsm_status run_max_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct fg_ref_window w;
  const struct fg_tensor *dx = &call->out[0], *dy = &call->in[0], *index = &call->in[1];
  FG_TRY(measure(call, dx, dy, &w));
  int64_t planes = dx->dim[0] * dx->dim[1];
  double *sum = scratch;
  for (int64_t p = 0; p < planes; p++) {
    for (int64_t i = 0; i < w.x_count; i++)
      sum[i] = 0;
    for (int64_t i = 0; i < w.y_count; i++) {
      int64_t place = fg_ref_get_int(index, p * w.y_count + i);
      int64_t at = place < 0 || place >= w.places ? -1 : place_in_x(&w, i, place);
      if (at >= 0)
        sum[at] += fg_ref_get(dy, p * w.y_count + i);
    }
    fg_ref_store(dx, p * w.x_count, w.x_count, sum);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_max_pool_grad = {prepare_max_grad, run_max_grad, NULL};

/* What the mean at y's position `at` divides by; at least 1. */
static int64_t divisor(const struct fg_call *call, const struct fg_ref_window *w, int64_t at) {
  if (call->attrs->pool.include_pad)
    return w->places;
  int64_t n = 0;
  for (int64_t p = 0; p < w->places; p++)
    n += place_in_x(w, at, p) >= 0;
  return n ? n : 1;
}

static fgsm_status prepare_avg(struct fg_call *call, struct fg_device *device) {
  (void)device;
  struct fg_ref_window w;
  bool forward = call->op == FG_OP_avg_pool;
  FG_TRY(fg_ref_check(call, 1, 1));
  FG_TRY(fg_ref_check_real(call, 1, 1));
  FG_TRY(measure(call, forward ? &call->in[0] : &call->out[0],
                 forward ? &call->out[0] : &call->in[0], &w));
  if (!forward)
    call->scratch_bytes = (size_t)w.x_count * sizeof(double);
  return FGSM_OK;
}

static fgsm_status run_avg(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  struct fg_ref_window w;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  FG_TRY(measure(call, x, y, &w));
  int64_t n = fg_count(y);
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    for (int64_t p = 0; p < w.places; p++) {
      int64_t at = place_in_x(&w, i % w.y_count, p);
      sum += at < 0 ? 0 : fg_ref_get(x, i / w.y_count * w.x_count + at);
    }
    fg_ref_put(y, i, sum / (double)divisor(call, &w, i % w.y_count));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_avg_pool = {prepare_avg, run_avg, NULL};

static fgsm_status run_avg_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct fg_ref_window w;
  const struct fg_tensor *dx = &call->out[0], *dy = &call->in[0];
  FG_TRY(measure(call, dx, dy, &w));
  int64_t planes = dx->dim[0] * dx->dim[1];
  double *sum = scratch;
  for (int64_t p = 0; p < planes; p++) {
    for (int64_t i = 0; i < w.x_count; i++)
      sum[i] = 0;
    for (int64_t i = 0; i < w.y_count; i++) {
      double share = fg_ref_get(dy, p * w.y_count + i) / (double)divisor(call, &w, i);
      for (int64_t place = 0; place < w.places; place++) {
        int64_t at = place_in_x(&w, i, place);
        if (at >= 0)
          sum[at] += share;
      }
    }
    fg_ref_store(dx, p * w.x_count, w.x_count, sum);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_avg_pool_grad = {prepare_avg, run_avg_grad, NULL};
