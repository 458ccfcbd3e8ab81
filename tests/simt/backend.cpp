/* The CUDA launchers as a backend whose card is the harness: "cuda-simt". Memory is managed, so
 * that the case harness can lay its guards around it; there is no stream and nothing to wait for.
 * What a library computes on a card is in products.cpp. */
#include <cstdio>

#include "cuda.h"
#include "gaps.h"
#include "halves.h"
#include "simt.h"
#include "synchronous.h"

extern "C" {
extern const struct fg_backend fg_cuda_simt;
}

namespace {
struct fg_device the_device;

fgsm_status open_device(int index, int, struct fg_device **out) {
  if (index > 0)
    return FG_FAIL(DEVICE, "cuda-simt: there is only device 0, not %d", index);
  the_device.backend = &fg_cuda_simt;
  the_device.threads = the_device.lanes = 1;
  the_device.layout = FG_NHWC;
  *out = &the_device;
  return FGSM_OK;
}

void close_device(struct fg_device *) {
}

fgsm_status enter(struct fg_device *) {
  return FGSM_OK;
}

fgsm_status describe(const struct fg_device *, char *text, size_t size) {
  std::snprintf(text, size, "CUDA kernels run thread by thread on the CPU");
  return FGSM_OK;
}

fgsm_status allocate(struct fg_device *, size_t bytes, void **out) {
  return cudaMallocManaged(out, bytes, cudaMemAttachGlobal) == cudaSuccess
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for %zu bytes", bytes);
}

void release(struct fg_device *, void *memory) {
  cudaFree(memory);
}

bool takes_layout(struct fg_device *, const struct fg_call *call) {
  return fg_cuda_takes_nhwc(call);
}

/* All that prepare takes, so that masks are made and read. */
bool takes_mask(struct fg_device *, const struct fg_call *, const struct fg_call *, int) {
  return true;
}

struct fg_backend make() {
  struct fg_backend b = {};
  b.name = "cuda-simt";
  b.host_memory = true;
  b.real = FG_F32;
  b.precisions = 1u << FG_PRECISION_fp32 | 1u << FG_PRECISION_bf16 | 1u << FG_PRECISION_fp16;
  b.takes_half = fg_cuda_takes_half;
  b.takes_layout = takes_layout;
  b.takes_mask = takes_mask;
  b.count = fg_synchronous_count;
  b.open = open_device;
  b.close = close_device;
  b.enter = enter;
  b.describe = describe;
  b.join = fg_synchronous_join;
  b.alloc = allocate;
  b.free = release;
  b.host_alloc = allocate;
  b.host_free = release;
  b.memory = fg_synchronous_memory;
  b.upload = b.download = fg_synchronous_copy;
  b.sync = b.event_sync = fg_synchronous_sync;
  b.stream_create = b.event_create = fg_synchronous_create;
  b.stream_destroy = b.event_destroy = fg_synchronous_destroy;
  b.event_record = b.event_wait = fg_synchronous_order;
  b.event_query = fg_synchronous_query;
#define OP(name, max_in, n_out, trait) b.kernels[FG_OP_##name] = &fg_cuda_##name;
#include "ops.def"
#undef OP
  return b;
}
} // namespace

const struct fg_backend fg_cuda_simt = make();
