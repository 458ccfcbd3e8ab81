/* The oracle: naive loops in double on host memory. Never the fast path; it defines what the other
 * backends must compute, folds constants, and may stand in for a missing kernel when asked to. */
#include "synchronous.h"

#include <stdio.h>
#include <stdlib.h>

#define OP(name, max_in, n_out, trait) extern const struct fg_kernel fg_ref_##name;
#include "ops.def"
#undef OP

static fgsm_status open_device(int index, int threads, struct fg_device **out) {
  (void)threads;
  if (index > 0)
    return FG_FAIL(DEVICE, "ref: there is only device 0, not %d", index);
  struct fg_device *device = malloc(sizeof *device);
  if (!device)
    return FG_FAIL(MEMORY, "no memory for a device");
  *device = (struct fg_device){.backend = &fg_ref, .threads = 1, .lanes = 1};
  *out = device;
  return FGSM_OK;
}

static void close_device(struct fg_device *device) {
  free(device);
}

static fgsm_status enter(struct fg_device *device) {
  (void)device;
  return FGSM_OK;
}

static fgsm_status describe(const struct fg_device *device, char *text, size_t size) {
  (void)device;
  snprintf(text, size, "naive loops in double precision, one thread (the oracle)");
  return FGSM_OK;
}

const struct fg_backend fg_ref = {.name = "ref",
                                  FG_SYNCHRONOUS,
                                  .real = FG_F64,
                                  .precisions = 1u << FG_PRECISION_fp32,
                                  .open = open_device,
                                  .close = close_device,
                                  .enter = enter,
                                  .describe = describe,
                                  .kernels = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = &fg_ref_##name,
#include "ops.def"
#undef OP
                                  }};
