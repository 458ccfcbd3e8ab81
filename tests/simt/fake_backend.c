/* The fake card as a backend that tests may fill with kernels. FAKE_PRECISION: the precision's name, else fp32. */
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"
#include "halves.h"
#include "layouts.h"
#include "synchronous.h"
#include "tested.h"

static struct fg_backend backend;
static enum fg_layout lies;
static const struct fg_kernel no_kernel;

static fgsm_status open_device(int index, int threads, struct fg_device **out) {
  const char *name = getenv("FAKE_PRECISION");
  enum fg_precision precision = FG_PRECISION_fp32;
  (void)index, (void)threads;
  for (int p = 0; name && p < FG_PRECISION_COUNT; p++)
    if (strcmp(name, fg_precision_name((enum fg_precision)p)) == 0)
      precision = (enum fg_precision)p;
  *out = fake_card_open(&backend, lies, precision);
  return FGSM_OK;
}
static void close_device(struct fg_device *device) {
  (void)device;
}
static fgsm_status enter(struct fg_device *device) {
  (void)device;
  return FGSM_OK;
}
static bool takes_layout(struct fg_device *device, const struct fg_call *call) {
  (void)device;
  return fg_cuda_takes_nhwc(call);
}

struct fg_backend *fake_backend(enum fg_layout layout) {
  lies = layout;
  backend = (struct fg_backend){.name = "the plugin",
                                .real = FG_F32,
                                .open = open_device,
                                .close = close_device,
                                .enter = enter,
                                .takes_half = fg_cuda_takes_half,
                                .takes_layout = takes_layout,
                                FG_SYNCHRONOUS};
  backend.alloc = backend.host_alloc = fg_cuda_alloc;
  backend.free = backend.host_free = fg_cuda_free;
  for (int op = 0; op < FG_OP_COUNT; op++)
    backend.kernels[op] = &no_kernel;
  return &backend;
}

unsigned long tested_errors(void) {
  return fake_errors;
}
