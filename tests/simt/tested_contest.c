/* The plugin's own attention.c and layer_norm.c over a cuDNN that is fake and faster than any kernel, as what
 * device_cases.c tests: what cuDNN has words for it must compute, and nothing else. */
#include "attention_graph.h"
#include "dnn_contest.h"
#include "fake_card.h"
#include "fake_dnn.h"
#include "layer_norm_graph.h"
#include "tested.h"

static fgsm_status run_by(const struct fg_kernel *kernel, bool can, const struct fg_call *call,
                          void *scratch, void *stream) {
  const int before = fake_dnn.runs;
  fgsm_status status = kernel->run(call, scratch, stream);
  if (status == FGSM_OK && fake_dnn.runs != before + can)
    fake_wrong("%s: cuDNN %s", fg_op_name(call->op),
               can ? "is the fastest and does not run" : "runs what it has no words for");
  return status;
}

#define WATCHED(name, can)                                                                         \
  static fgsm_status prepare_##name(struct fg_call *call, struct fg_device *device) {              \
    return fg_cuda_##name.prepare(call, device);                                                   \
  }                                                                                                \
  static fgsm_status run_##name(const struct fg_call *call, void *scratch, void *stream) {         \
    return run_by(&fg_cuda_##name, can(call), call, scratch, stream);                              \
  }                                                                                                \
  static const struct fg_kernel name = {prepare_##name, run_##name, fg_dnn_contest_release}
WATCHED(layer_norm, fg_cuda_norm_can);
WATCHED(layer_norm_grad, fg_cuda_norm_can);
WATCHED(attention, fg_cuda_sdpa_can);
WATCHED(attention_grad, fg_cuda_sdpa_can);

static double fast(const struct fake_program *program) {
  (void)program;
  return .001;
}
static bool refuse_none(const struct fake_program *program) {
  (void)program;
  return false;
}

const struct fg_backend *tested_backend(const char *of) {
  struct fg_backend *backend = fake_backend(FG_PLAIN);
  (void)of;
  backend->kernels[FG_OP_layer_norm] = &layer_norm;
  backend->kernels[FG_OP_layer_norm_grad] = &layer_norm_grad;
  backend->kernels[FG_OP_attention] = &attention;
  backend->kernels[FG_OP_attention_grad] = &attention_grad;
  fake_dnn.time_of = fast;
  fake_dnn.refuses = refuse_none;
  fake_cudnn();
  return backend;
}
