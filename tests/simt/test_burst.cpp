/* The bursts' work, thread by thread on the CPU: what they say was done is what was. */
#include <cstdio>

#include "burst.h"
#include "fgsm_cuda.h"
#include "simt.h"

extern "C" unsigned long simt_error_count(void);

namespace {
int failures;

void expect(bool good, const char *what, double got, double want) {
  if (good)
    return;
  std::printf("FAIL %s: %.9g, not %.9g\n", what, got, want);
  failures++;
}

enum { N = 4096, ROUNDS = 3 };
const double threads = 4 * 8 * 256; /* the harness's card has four processors */

void check_copy(struct fg_device *device, float *memory) {
  double amount;
  for (int i = 0; i < N; i++)
    memory[i] = (float)i;
  fgsm_status status =
      fg_cuda_burst(device, FG_BURST_copy, memory, (N - 8) * sizeof(float), ROUNDS, NULL, &amount);
  cudaDeviceSynchronize();
  expect(status == FGSM_OK, "copy", status, FGSM_OK);
  expect(amount == (N - 8) * 4.0 * ROUNDS, "bytes", amount, (N - 8) * 4.0 * ROUNDS);
  for (int i = 0; i < N; i++) {
    const int half = (N - 8) / 2;
    const float want = (float)(i < half || i >= 2 * half ? i : i - half);
    expect(memory[i] == want, "copied", memory[i], want);
  }
}

/* Every chain is its start and what was added to it so often. */
void check_fma(struct fg_device *device, float *memory, enum fg_precision precision, int chains,
               double starts, double each, int64_t round, double flops) {
  double amount;
  device->precision = precision;
  for (int i = 0; i < N; i++)
    memory[i] = -1;
  fgsm_status status =
      fg_cuda_burst(device, FG_BURST_fma, memory, N / 2 * sizeof(float), ROUNDS, NULL, &amount);
  cudaDeviceSynchronize();
  expect(status == FGSM_OK, fg_precision_name(precision), status, FGSM_OK);
  expect(amount == flops, "FLOPs", amount, flops);
  const double sum = starts + chains * each * (double)round * ROUNDS;
  for (int i = 0; i < N; i++)
    expect(memory[i] == (i < N / 2 ? (float)sum : -1), "summed", memory[i], sum);
}
} // namespace

int main() {
  struct fg_device device = {};
  float *memory = NULL;
  if (cudaMallocManaged((void **)&memory, N * sizeof(float), cudaMemAttachGlobal) != cudaSuccess)
    return 1;
  check_copy(&device, memory);
  check_fma(&device, memory, FG_PRECISION_fp32, 8, 28, 0x1p-10, 64,
            2.0 * 8 * 64 * threads * ROUNDS);
  check_fma(&device, memory, FG_PRECISION_tf32, 16, 24, 0.5, 32,
            2.0 * 16 * 8 * 8 * 4 * 32 * (threads / 32) * ROUNDS);
  check_fma(&device, memory, FG_PRECISION_bf16, 16, 24, 1, 32,
            2.0 * 16 * 8 * 16 * 4 * 32 * (threads / 32) * ROUNDS);
  cudaFree(memory);
  if (simt_error_count())
    std::printf("FAIL the harness found %lu errors\n", simt_error_count());
  std::printf("bursts: %d wrong\n", failures);
  return failures != 0 || simt_error_count() != 0;
}
