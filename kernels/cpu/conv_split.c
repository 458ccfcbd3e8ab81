/* A convolution of 1 x 1 windows is a product: places of all images are rows of channels. The weights, [k, c],
 * are turned for the forward pass, and as they lie for the gradient of the input. */
#include "conv_split.h"

#include <stdlib.h>

#include "conv.h"
#include "feature.h"
#include "kept.h"

enum { BIAS = 2, RESIDUAL = 3, BLOCK = 16 };

struct fg_conv_split {
  struct fg_split plan;
  void *weights;
};

static bool has_shape(const struct fg_conv_attrs *a, const struct fg_tensor *w) {
  if (a->spatial != 2 || a->group != 1 || w->rank != 4 || w->dim[2] != 1 || w->dim[3] != 1)
    return false;
  for (int i = 0; i < 2; i++)
    if (a->stride[i] != 1 || a->pad_lo[i] || a->pad_hi[i])
      return false;
  return true;
}

static bool in_blocks(const struct fg_tensor *t) {
  return t->layout == FG_BLOCKED && t->dim[1] % BLOCK == 0;
}

bool fg_conv_split_fits(const struct fg_call *call) {
  return fg_conv_may_be_fast(call) && has_shape(&call->attrs->conv, &call->in[1]) &&
         in_blocks(&call->in[0]) && in_blocks(&call->out[0]) && fg_split_runs();
}

static void cut(const struct fg_call *call, int threads, struct fg_split *plan) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t area = fg_cpu_span(x, 2, 4);
  struct fg_product_shape shape = {.rows = x->dim[0] * area, .k = x->dim[1], .n = y->dim[1]};
  fg_split_cut(plan, &shape, area, threads);
}

fgsm_status fg_conv_split_create(struct fg_cpu_device *device, const struct fg_call *call,
                                 struct fg_conv_split **out, size_t *kept_bytes) {
  const struct fg_tensor *w = &call->in[1];
  struct fg_conv_split *s = calloc(1, sizeof *s);
  if (!s)
    return FG_FAIL(MEMORY, "no memory for a convolution's state");
  cut(call, device->base.threads, &s->plan);
  fgsm_status status = fg_split_take(&s->plan, w->data, w->dim[1], !fg_conv_is_gradient(call),
                                     &s->weights, kept_bytes);
  if (status != FGSM_OK) {
    fg_conv_split_destroy(s);
    return status;
  }
  *out = s;
  return FGSM_OK;
}

size_t fg_conv_split_scratch_bytes(const struct fg_conv_split *s) {
  return fg_split_scratch_bytes(&s->plan);
}

void fg_conv_split_run(const struct fg_conv_split *s, const struct fg_call *call, void *scratch) {
  const struct fg_tensor *third = fg_cpu_optional(call, BIAS),
                         *residual = fg_cpu_optional(call, RESIDUAL);
  struct fg_product_operands o = {.a = call->in[0].data,
                                  .add = residual ? residual->data : NULL,
                                  .alpha = 1,
                                  .y = call->out[0].data,
                                  .act = &call->attrs->conv.act};
  const float *mask = NULL;
  if (third && fg_conv_is_gradient(call))
    mask = third->data;
  else if (third)
    o.bias = third->data;
  fg_split_run(&s->plan, s->weights, &o, mask, scratch);
}

void fg_conv_split_destroy(struct fg_conv_split *s) {
  if (!s)
    return;
  fg_cpu_kept_give_back(s->weights);
  free(s);
}
