/* A convolution's call in the words of winograd.h: forward, the operands are as they are called; for
 * the input gradient, dy takes the part of x, dx that of y, and the window is turned. */
#include "conv_winograd.h"

#include <stdlib.h>

#include "conv.h"
#include "feature.h"
#include "kept.h"

enum { BIAS = 2, RESIDUAL = 3 };

struct fg_conv_winograd {
  struct fg_cpu_device *device;
  struct fg_winograd plan;
  float *weights;
};

static bool has_shape(const struct fg_conv_attrs *a, const struct fg_tensor *w) {
  if (a->spatial != 2 || a->group != 1 || w->rank != 4 || w->dim[2] != w->dim[3] ||
      (w->dim[2] != 3 && w->dim[2] != 5))
    return false;
  int stride = a->stride[0];
  if (stride != 1 && (stride != 2 || w->dim[2] != 3 || fg_cpu_block() != 8))
    return false;
  for (int i = 0; i < 2; i++)
    if (a->stride[i] != stride || a->dilation[i] != 1 || a->pad_lo[i] < 0 ||
        a->pad_lo[i] >= w->dim[2] || a->pad_hi[i] < 0)
      return false;
  return true;
}

bool fg_conv_winograd_fits(const struct fg_call *call) {
  return fg_winograd_runs() && !call->attrs->conv.plain_sums && fg_conv_may_be_fast(call) &&
         has_shape(&call->attrs->conv, &call->in[1]);
}

/* 3 x 3 of stride 2 as windows of 2 x 2 of stride 1 (winograd.h). */
static void use_kinds(struct fg_winograd_shape *shape, const int pad[2], bool gradient) {
  shape->r = 2;
  *(gradient ? &shape->y_step : &shape->x_step) = 2;
  for (int i = 0; i < 2; i++) {
    shape->stride_pad[i] = (uint8_t)pad[i];
    shape->pad[i] = gradient ? pad[i] == 0 : (pad[i] + 1) / 2;
  }
}

void fg_conv_winograd_cut(const struct fg_call *call, int m, int threads,
                          struct fg_winograd *plan) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  const int *pad = call->attrs->conv.pad_lo;
  int r = (int)call->in[1].dim[2], last = r - 1;
  bool gradient = fg_conv_is_gradient(call);
  struct fg_winograd_shape shape = {
      .m = m,
      .r = r,
      .samples = x->dim[0],
      .c = x->dim[1],
      .h = x->dim[2],
      .w = x->dim[3],
      .k = y->dim[1],
      .p = y->dim[2],
      .q = y->dim[3],
      .pad = {gradient ? last - pad[0] : pad[0], gradient ? last - pad[1] : pad[1]},
      .x_blocked = x->layout == FG_BLOCKED,
      .y_blocked = y->layout == FG_BLOCKED,
      .gradient = gradient,
      .x_step = 1,
      .y_step = 1};
  if (call->attrs->conv.stride[0] == 2)
    use_kinds(&shape, pad, gradient);
  fg_winograd_cut(plan, &shape, threads);
}

/* Kept under a shape that tells the transforms apart: those of a convolution are [1, n], of its gradient alone
 * [n, 1]. */
static fgsm_status take_weights(struct fg_conv_winograd *w, const struct fg_call *call,
                                size_t *kept_bytes) {
  bool fresh, turned = w->plan.shape.gradient && !w->plan.lent;
  size_t bytes = fg_winograd_weight_bytes(&w->plan);
  int64_t n = (int64_t)(bytes / sizeof(float));
  fg_dnnl_md like = NULL;
  void *memory = NULL;
  FG_TRY(fg_dnnl_md_create(2, turned ? (const int64_t[]){n, 1} : (const int64_t[]){1, n}, dnnl_ab,
                           &like));
  fgsm_status status = fg_cpu_kept_take(call->in[1].data, like, &memory, &fresh);
  fg_dnnl_md_destroy(like);
  if (status != FGSM_OK)
    return status;
  w->weights = memory;
  *kept_bytes = fresh ? bytes : 0;
  if (fresh)
    fg_winograd_weights(&w->plan, call->in[1].data, w->weights);
  return FGSM_OK;
}

fgsm_status fg_conv_winograd_create(struct fg_cpu_device *device, const struct fg_call *call, int m,
                                    struct fg_conv_winograd **out, size_t *kept_bytes) {
  struct fg_conv_winograd *w = calloc(1, sizeof *w);
  if (!w)
    return FG_FAIL(MEMORY, "no memory for a convolution's state");
  w->device = device;
  fg_conv_winograd_cut(call, m, device->base.threads, &w->plan);
  fgsm_status status = take_weights(w, call, kept_bytes);
  if (status != FGSM_OK) {
    fg_conv_winograd_destroy(w);
    return status;
  }
  *out = w;
  return FGSM_OK;
}

size_t fg_conv_winograd_scratch_bytes(const struct fg_conv_winograd *w) {
  return fg_winograd_scratch_bytes(&w->plan);
}

void fg_conv_winograd_run(const struct fg_conv_winograd *w, const struct fg_call *call,
                          void *scratch) {
  bool gradient = fg_conv_is_gradient(call);
  const struct fg_tensor *third = fg_cpu_optional(call, BIAS),
                         *residual = fg_cpu_optional(call, RESIDUAL);
  struct fg_winograd_operands o = {
      .x = call->in[0].data, .y = call->out[0].data, .residual = residual ? residual->data : NULL};
  if (third && gradient)
    o.mask = third->data;
  else if (third)
    o.bias = third->data;
  o.act = o.mask                                        ? FG_WINOGRAD_SLOPE
          : call->attrs->conv.act.kind == FG_UNARY_relu ? FG_WINOGRAD_RELU
                                                        : FG_WINOGRAD_AS_IT_IS;
  fg_winograd_run(&w->plan, w->weights, &o, scratch);
}

void fg_conv_winograd_destroy(struct fg_conv_winograd *w) {
  if (!w)
    return;
  fg_cpu_kept_give_back(w->weights);
  free(w);
}
