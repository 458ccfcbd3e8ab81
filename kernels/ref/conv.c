/* conv, conv_grad_input, conv_grad_weight: cross-correlation and what follows
 * from it, in up to three spatial dims. One walk over (window place, row of y) serves all three;
 * only what is done with a row differs. An image and the weights are loaded into doubles first. */
#include "ref.h"

struct geometry {
  int64_t n, c, k;       /* batch, channels of x, channels of y */
  int64_t group, cg, kg; /* channels of x and y in a group */
  struct fg_ref_window w;
};

/* x is the wide side, y the narrow one, whichever of them is computed. */
static fgsm_status measure(const struct fg_call *call, const struct fg_conv_attrs *a,
                           const struct fg_tensor *x, const struct fg_tensor *w,
                           const struct fg_tensor *y, struct geometry *out) {
  struct fg_ref_window_attrs wa = {a->spatial, a->stride, a->dilation, a->pad_lo, a->pad_hi};
  FG_REF_NEED(call, a->spatial >= 1 && a->spatial <= 3 && w->rank == a->spatial + 2,
              "%d spatial dims, weights of rank %d", a->spatial, w->rank);
  FG_REF_NEED(call, (unsigned)a->act.kind < FG_UNARY_COUNT, "unknown activation");
  FG_TRY(fg_ref_window(call, &wa, w->dim + 2, x, y, &out->w));
  out->n = x->dim[0], out->c = x->dim[1], out->k = w->dim[0], out->group = a->group;
  FG_REF_NEED(call, a->group >= 1 && out->c % a->group == 0 && out->k % a->group == 0,
              "%lld and %lld channels in %d groups", (long long)out->c, (long long)out->k,
              a->group);
  out->cg = out->c / a->group, out->kg = out->k / a->group;
  FG_REF_NEED(call, w->dim[1] == out->cg, "weights for %lld channels a group, not %lld",
              (long long)w->dim[1], (long long)out->cg);
  FG_REF_NEED(call, y->dim[0] == out->n && y->dim[1] == out->k, "batch or channels differ");
  return FGSM_OK;
}

enum role { FORWARD, INPUT, WEIGHT };

/* Along one row: y += v x, x += v y, or the sum of x y. */
static inline double along(enum role role, double *restrict x, double *restrict y, double v,
                           int64_t n, int64_t stride) {
  double sum = 0;
  if (role == FORWARD)
    for (int64_t i = 0; i < n; i++)
      y[i] += v * x[i * stride];
  else if (role == INPUT)
    for (int64_t i = 0; i < n; i++)
      x[i * stride] += v * y[i];
  else
    for (int64_t i = 0; i < n; i++)
      sum += x[i * stride] * y[i];
  return sum;
}

/* One channel of x, one of y and the window between them. */
static inline void correlate(enum role role, const struct fg_ref_window *w, double *x, double *y,
                             double *v) {
  int64_t first[3], last[3], at[3], tap[3];
  for (tap[0] = 0; tap[0] < w->size[0]; tap[0]++) {
    fg_ref_tap(w, 0, tap[0], &first[0], &last[0], &at[0]);
    for (tap[1] = 0; tap[1] < w->size[1]; tap[1]++) {
      fg_ref_tap(w, 1, tap[1], &first[1], &last[1], &at[1]);
      for (tap[2] = 0; tap[2] < w->size[2]; tap[2]++, v++) {
        fg_ref_tap(w, 2, tap[2], &first[2], &last[2], &at[2]);
        for (int64_t d = first[0]; d < last[0]; d++)
          for (int64_t h = first[1]; h < last[1]; h++) {
            int64_t xd = at[0] + (d - first[0]) * w->stride[0];
            int64_t xh = at[1] + (h - first[1]) * w->stride[1];
            double sum = along(role, x + (xd * w->x[1] + xh) * w->x[2] + at[2],
                               y + (d * w->y[1] + h) * w->y[2] + first[2], *v, last[2] - first[2],
                               w->stride[2]);
            if (role == WEIGHT)
              *v += sum;
          }
      }
    }
  }
}

static void clear(double *to, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    to[i] = 0;
}

static size_t bytes_of(int64_t n) {
  return (size_t)n * sizeof(double);
}

static fgsm_status prepare_forward(struct fg_call *call, struct fg_device *device) {
  (void)device;
  struct geometry g;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 15, 1));
  FG_TRY(measure(call, &call->attrs->conv, &call->in[0], &call->in[1], &call->out[0], &g));
  FG_TRY(fg_ref_check_mask(call, fg_ref_out(call, 1), &call->out[0], &call->attrs->conv.act));
  const struct fg_tensor *bias = fg_ref_in(call, 2), *residual = fg_ref_in(call, 3);
  FG_REF_NEED(call, !bias || (bias->rank == 1 && bias->dim[0] == g.k), "bias is not [%lld]",
              (long long)g.k);
  FG_REF_NEED(call, !residual || fg_same_shape(residual, &call->out[0]),
              "residual and result differ in shape");
  call->scratch_bytes = bytes_of(g.c * g.w.x_count + g.w.y_count + fg_count(&call->in[1]));
  return FGSM_OK;
}

static fgsm_status run_forward(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct geometry g;
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const struct fg_tensor *bias = fg_ref_in(call, 2), *residual = fg_ref_in(call, 3),
                         *mask = fg_ref_out(call, 1);
  FG_TRY(measure(call, a, &call->in[0], &call->in[1], &call->out[0], &g));
  int64_t x_count = g.w.x_count, y_count = g.w.y_count;
  double *x = scratch, *y = x + g.c * x_count, *w = y + y_count;
  fg_ref_load(&call->in[1], 0, fg_count(&call->in[1]), w);
  for (int64_t n = 0; n < g.n; n++) {
    fg_ref_load(&call->in[0], n * g.c * x_count, g.c * x_count, x);
    for (int64_t k = 0; k < g.k; k++) {
      clear(y, y_count);
      for (int64_t c = 0; c < g.cg; c++)
        correlate(FORWARD, &g.w, x + (k / g.kg * g.cg + c) * x_count, y,
                  w + (k * g.cg + c) * g.w.places);
      int64_t at = (n * g.k + k) * y_count;
      for (int64_t i = 0; i < y_count; i++) {
        double v = bias ? y[i] + fg_ref_get(bias, k) : y[i];
        v = residual ? v + fg_ref_get(residual, at + i) : v;
        fg_ref_put(&call->out[0], at + i, fg_ref_unary_value(&a->act, v));
        if (mask)
          fg_ref_put_mask(call, mask, &call->out[0], at + i, v > 0);
      }
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_conv = {prepare_forward, run_forward, NULL};

static fgsm_status prepare_input(struct fg_call *call, struct fg_device *device) {
  (void)device;
  struct geometry g;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 11, 1));
  FG_TRY(measure(call, &call->attrs->conv, &call->out[0], &call->in[1], &call->in[0], &g));
  FG_TRY(fg_ref_check_slope(call, 2, &call->attrs->conv.act));
  FG_REF_NEED(call, !fg_ref_in(call, 3) || fg_same_shape(fg_ref_in(call, 3), &call->out[0]),
              "input 3 and the result differ in shape");
  FG_REF_NEED(call, fg_ref_in(call, 2) || call->attrs->conv.act.kind == FG_UNARY_identity,
              "an activation's gradient without what it is computed from");
  call->scratch_bytes = bytes_of(g.k * g.w.y_count + g.w.x_count + fg_count(&call->in[1]));
  return FGSM_OK;
}

/* dx = act'(v) (dx + dx2), from element `at` on. */
static void finish_input(const struct fg_call *call, int64_t at, int64_t n, double *dx) {
  const struct fg_tensor *v = fg_ref_in(call, 2), *dx2 = fg_ref_in(call, 3);
  for (int64_t i = 0; i < n; i++) {
    dx[i] += dx2 ? fg_ref_get(dx2, at + i) : 0;
    dx[i] *= v ? fg_ref_unary_slope(&call->attrs->conv.act,
                                    fg_ref_get_slope_of(call, v, &call->out[0], at + i))
               : 1;
  }
}

static fgsm_status run_input(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct geometry g;
  FG_TRY(measure(call, &call->attrs->conv, &call->out[0], &call->in[1], &call->in[0], &g));
  int64_t x_count = g.w.x_count, y_count = g.w.y_count;
  double *dy = scratch, *dx = dy + g.k * y_count, *w = dx + x_count;
  fg_ref_load(&call->in[1], 0, fg_count(&call->in[1]), w);
  for (int64_t n = 0; n < g.n; n++) {
    fg_ref_load(&call->in[0], n * g.k * y_count, g.k * y_count, dy);
    for (int64_t c = 0; c < g.c; c++) {
      clear(dx, x_count);
      for (int64_t i = 0; i < g.kg; i++) {
        int64_t k = c / g.cg * g.kg + i;
        correlate(INPUT, &g.w, dx, dy + k * y_count, w + (k * g.cg + c % g.cg) * g.w.places);
      }
      finish_input(call, (n * g.c + c) * x_count, x_count, dx);
      fg_ref_store(&call->out[0], (n * g.c + c) * x_count, x_count, dx);
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_conv_grad_input = {prepare_input, run_input, NULL};

static fgsm_status prepare_weight(struct fg_call *call, struct fg_device *device) {
  (void)device;
  struct geometry g;
  FG_TRY(fg_ref_check(call, 3, 1));
  FG_TRY(fg_ref_check_real(call, 3, 1));
  FG_TRY(measure(call, &call->attrs->conv, &call->in[0], &call->out[0], &call->in[1], &g));
  call->scratch_bytes = bytes_of(g.c * g.w.x_count + g.k * g.w.y_count + fg_count(&call->out[0]));
  return FGSM_OK;
}

static fgsm_status run_weight(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct geometry g;
  FG_TRY(measure(call, &call->attrs->conv, &call->in[0], &call->out[0], &call->in[1], &g));
  int64_t x_count = g.w.x_count, y_count = g.w.y_count, w_count = fg_count(&call->out[0]);
  double *x = scratch, *dy = x + g.c * x_count, *dw = dy + g.k * y_count;
  clear(dw, w_count);
  for (int64_t n = 0; n < g.n; n++) {
    fg_ref_load(&call->in[0], n * g.c * x_count, g.c * x_count, x);
    fg_ref_load(&call->in[1], n * g.k * y_count, g.k * y_count, dy);
    for (int64_t k = 0; k < g.k; k++)
      for (int64_t c = 0; c < g.cg; c++)
        correlate(WEIGHT, &g.w, x + (k / g.kg * g.cg + c) * x_count, dy + k * y_count,
                  dw + (k * g.cg + c) * g.w.places);
  }
  fg_ref_store(&call->out[0], 0, w_count, dw);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_conv_grad_weight = {prepare_weight, run_weight, NULL};
