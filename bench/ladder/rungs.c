/* Which calls are compared, and on which kernels. */
#include "rungs.h"

#include <stdlib.h>
#include <string.h>

extern const struct fg_case_table bench_sizes;
extern const struct fg_kernel fg_cuda_step, fg_cuda_loss, fg_cuda_conv_grad_input_step,
    fg_cuda_mlp_fgsm;

static struct {
  const char *ladder, *name;
  struct rung rung;
} rungs[] = {
    {"step", "step of 32 ImageNet samples", {.kernel = &fg_cuda_step, .x0 = 0}},
    {"step", "step in l2 of 32 ImageNet samples", {.kernel = &fg_cuda_step, .x0 = -1}},
    {"loss", "loss of 4096 x 1000", {.kernel = &fg_cuda_loss, .x0 = -1}},
    {"CIFAR stem", "CIFAR stem, 1024 samples", {.kernel = &fg_cuda_conv_grad_input_step, .x0 = 2}},
    {"CIFAR stem",
     "CIFAR stem in bfloat16, 1024 samples",
     {.kernel = &fg_cuda_conv_grad_input_step, .on_tensor_cores = true, .x0 = 2}},
    {"ResNet stem",
     "ResNet stem behind its pool, 32 samples",
     {.kernel = &fg_cuda_conv_grad_input_step, .long_on_cpu = true, .x0 = 2}},
    {"ResNet stem",
     "ResNet stem behind its pool in bfloat16, 32 samples",
     {.kernel = &fg_cuda_conv_grad_input_step,
      .on_tensor_cores = true,
      .long_on_cpu = true,
      .x0 = 2}},
    {"narrow network", "5-50x6-5, 65536 samples", {.kernel = &fg_cuda_mlp_fgsm, .x0 = 0}},
    {"narrow network", "5-50x6-5, 65536 samples, 10 steps", {.kernel = &fg_cuda_mlp_fgsm, .x0 = 0}},
    {"narrow network",
     "5-50x6-5, 65536 samples, least budget",
     {.kernel = &fg_cuda_mlp_fgsm, .x0 = -1}},
    {"wide network", "784-1024-1024-10, 8192 samples", {.kernel = &fg_cuda_mlp_fgsm, .x0 = 0}},
    {"wide network",
     "784-1024-1024-10 in bfloat16, 8192 samples",
     {.kernel = &fg_cuda_mlp_fgsm, .on_tensor_cores = true, .x0 = 0}},
    {"wide network",
     "784-1024-1024-10 in bfloat16, 8192 samples, 10 steps",
     {.kernel = &fg_cuda_mlp_fgsm, .on_tensor_cores = true, .long_on_cpu = true, .x0 = 0}},
    {"wide network",
     "784-1024-1024-10 in bfloat16, 8192 samples, least budget",
     {.kernel = &fg_cuda_mlp_fgsm, .on_tensor_cores = true, .long_on_cpu = true, .x0 = -1}},
};

int rung_count(void) {
  return (int)(sizeof rungs / sizeof *rungs);
}

const struct rung *rung_at(int i) {
  struct rung *r = &rungs[i].rung;
  r->ladder = rungs[i].ladder;
  for (int c = 0; c < bench_sizes.n; c++)
    if (strcmp(bench_sizes.cases[c].name, rungs[i].name) == 0)
      r->of = &bench_sizes.cases[c];
  if (!r->of)
    abort(); /* a name above that sizes.c does not have */
  return r;
}

/* Every tensor whose first dim is the batch's has it as x0's or the logits' first; the parameters
 * and weights do not. */
void rung_resize(struct fg_case *c, int64_t samples) {
  int64_t all = c->out[0].dim[0];
  if (samples <= 0 || samples > all)
    return;
  for (int i = 0; i < FG_MAX_IN; i++) {
    bool weights = (c->op == FG_OP_mlp_fgsm && i == 2) ||
                   (c->op == FG_OP_conv_grad_input_step && i == 1) || c->in[i].type == FG_F64;
    if (c->in[i].type != FG_NONE && !weights && c->in[i].dim[0] == all)
      c->in[i].dim[0] = samples;
  }
  for (int i = 0; i < FG_MAX_OUT; i++)
    if (c->out[i].type != FG_NONE)
      c->out[i].dim[0] = samples;
  if (c->op == FG_OP_conv_grad_input_step)
    c->attrs.conv_step.pool.dim[0] = samples;
}
