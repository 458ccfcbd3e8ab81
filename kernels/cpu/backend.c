/* The CPU backend: oneDNN for contractions, our own vectorised loops for the rest, float32 on host
 * memory. A deliberate gap has its line here; a forgotten kernel does not link. */
#include "dnnl_shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "synchronous.h"

/* It would spare a pass over the gradient, which lies in the cache when the step reads it; the
 * product is oneDNN's either way. */
FG_NO_KERNEL(cpu, gemm_grad_input_step);
FG_NO_KERNEL(cpu, augment); /* the dataset lies in the host's memory: host/train/feed.c does it */

#define OP(name, max_in, n_out, trait) extern const struct fg_kernel fg_cpu_##name;
#include "ops.def"
#undef OP

static void close_device(struct fg_device *base) {
  struct fg_cpu_device *device = (struct fg_cpu_device *)base;
  if (!device)
    return;
  dnnl_engine_destroy(device->engine);
  free(device);
}

static fgsm_status open_device(int index, int threads, struct fg_device **out) {
  if (index > 0)
    return FG_FAIL(DEVICE, "cpu: there is only device 0, not %d", index);
  struct fg_cpu_device *device = calloc(1, sizeof *device);
  if (!device)
    return FG_FAIL(MEMORY, "no memory for a device");
  device->base.backend = &fg_cpu;
  device->base.channel_block = fg_cpu_block();
  device->base.layout = fg_cpu_block() ? FG_BLOCKED : FG_PLAIN;
  device->base.lanes = 1;
#ifdef _OPENMP
  device->base.threads = threads > 0 ? threads : omp_get_max_threads();
#else
  device->base.threads = 1;
  (void)threads;
#endif
  fgsm_status status = fg_dnnl_status(dnnl_engine_create(&device->engine, dnnl_cpu, 0), "engine");
  if (status != FGSM_OK) {
    close_device(&device->base);
    return status;
  }
  *out = &device->base;
  return FGSM_OK;
}

static fgsm_status enter(struct fg_device *device) {
  fg_cpu_set_threads(device->threads);
  return FGSM_OK;
}

static fgsm_status describe(const struct fg_device *device, char *text, size_t size) {
  const dnnl_version_t *v = dnnl_version();
  const char *isa = device->channel_block == 16  ? "AVX-512"
                    : device->channel_block == 8 ? "AVX2"
                                                 : "baseline";
  snprintf(text, size, "oneDNN %d.%d.%d, %s, %d thread%s", v->major, v->minor, v->patch, isa,
           device->threads, device->threads == 1 ? "" : "s");
  return FGSM_OK;
}

/* ---- which calls may see channel blocks */

static bool all_divide(const struct fg_call *call, int block) {
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
    if (t->type != FG_NONE && t->layout == FG_BLOCKED && (t->rank != 4 || t->dim[1] % block != 0))
      return false;
  }
  return true;
}

/* A forward convolution may take the image plainly. A plain result oneDNN reorders behind our back, and
 * cannot add a residual on the way: that is worth it where the result's channels have no blocks. */
static bool forward_takes(const struct fg_call *call, int block) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0], *residual = &call->in[3];
  bool adds = call->n_in > 3 && residual->type != FG_NONE;
  if (y->layout != FG_BLOCKED)
    return !adds && y->rank == 4 && y->dim[1] % block && x->layout == FG_BLOCKED;
  if (adds && residual->layout != FG_BLOCKED)
    return false;
  return x->layout == FG_BLOCKED || !adds || (x->dim[1] <= 3 && call->attrs->conv.group == 1);
}

/* What an input gradient is fused with lies as it does. */
static bool gradient_takes(const struct fg_call *call) {
  for (int i = 2; i < call->n_in; i++)
    if (call->in[i].type != FG_NONE && call->in[i].layout != call->out[0].layout)
      return false;
  return true;
}

/* Channels of a group must divide, or every channel be its own group. */
static bool conv_takes(const struct fg_call *call, int block) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const struct fg_tensor *w = call->op == FG_OP_conv_grad_weight ? &call->out[0] : &call->in[1];
  if (call->op != FG_OP_conv_grad_weight && w->layout == FG_BLOCKED)
    return false;
  if (a->spatial != 2 || w->rank != 4 || w->layout == FG_BLOCKED)
    return false;
  if (call->op == FG_OP_conv && !forward_takes(call, block))
    return false;
  if (call->op == FG_OP_conv_grad_input && !gradient_takes(call))
    return false;
  if (a->group == 1)
    return true;
  int64_t per_group_in = w->dim[1], per_group_out = w->dim[0] / a->group;
  return (per_group_in == 1 && per_group_out == 1) ||
         (per_group_in % block == 0 && per_group_out % block == 0);
}

/* All present 4-D tensors blocked (the per-channel vectors of affine aside). */
static bool all_blocked(const struct fg_call *call, int n_in) {
  for (int i = 0; i < n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < n_in ? &call->in[i] : &call->out[i - n_in];
    if (t->type != FG_NONE && t->layout != FG_BLOCKED)
      return false;
  }
  return true;
}

static bool takes_blocked(struct fg_device *device, const struct fg_call *call) {
  int block = device->channel_block;
  if (block == 0 || !all_divide(call, block))
    return false;
  switch (call->op) {
  case FG_OP_conv:
  case FG_OP_conv_grad_input:
  case FG_OP_conv_grad_weight:
    return conv_takes(call, block);
  case FG_OP_conv_grad_input_step: /* dy alone */
    return call->in[0].layout == FG_BLOCKED;
  case FG_OP_max_pool:
  case FG_OP_max_pool_grad:
  case FG_OP_avg_pool:
  case FG_OP_avg_pool_grad:
    return call->attrs->pool.spatial == 2 && all_blocked(call, call->n_in);
  case FG_OP_unary:
  case FG_OP_unary_grad:
    return all_blocked(call, call->n_in);
  case FG_OP_binary:
    return all_blocked(call, 2) && fg_same_shape(&call->in[0], &call->in[1]);
  case FG_OP_affine:
    return call->attrs->affine.axis == 1 && all_blocked(call, 1);
  case FG_OP_concat:
    return call->attrs->axis.axis == 1 && all_blocked(call, call->n_in);
  case FG_OP_batch_norm_train:
    return call->in[0].layout == FG_BLOCKED && call->out[0].layout == FG_BLOCKED;
  case FG_OP_batch_norm_train_grad:
    return call->in[0].layout == FG_BLOCKED && call->in[1].layout == FG_BLOCKED &&
           call->out[0].layout == FG_BLOCKED;
  case FG_OP_reorder:
    return true;
  default:
    return false;
  }
}

/* Fused, attention's forward pass takes about as long as its parts, and its gradient longer, because
 * it computes the scores again (bench-ops times both). What it saves is memory: a gradient keeps the
 * scores of every layer. So it is fused where those are large; under AVX2, which computes them again in less time than
 * such a machine's caches take to hand them back, from a mebibyte on. */
static double attention_bytes(void) {
  return fg_cpu_block() == 8 ? 1 << 20 : 16 << 20;
}

static bool prefers(const struct fg_device *device, const struct fg_call *call) {
  (void)device;
  if (call->op != FG_OP_attention)
    return true;
  const struct fg_tensor *q = &call->in[0], *k = &call->in[1];
  return (double)fg_cpu_span(q, 0, 3) * (double)k->dim[2] * sizeof(float) >= attention_bytes();
}

const struct fg_backend fg_cpu = {.name = "cpu",
                                  FG_SYNCHRONOUS,
                                  .real = FG_F32,
                                  .precisions = 1u << FG_PRECISION_fp32,
                                  .open = open_device,
                                  .close = close_device,
                                  .enter = enter,
                                  .describe = describe,
                                  .takes_layout = takes_blocked,
                                  .prefers = prefers,
                                  .burst = fg_cpu_burst,
                                  .kernels = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = &fg_cpu_##name,
#include "ops.def"
#undef OP
                                  }};
