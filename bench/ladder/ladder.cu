/* A ladder of the attack's kernels on one card: what each form of the same work should bring by what
 * it moves and computes, and what it brings.
 *
 * First the card's own rates, in this run: bytes by a copy between two halves of device memory, FLOPs
 * by kernels that only multiply (FFMA, and bfloat16 mma.sync). Then each rung, with L2 flushed before
 * every call, cudaEvents around it, the median of ROUNDS calls. `expected` is the rung's floor at
 * those rates (bench/cost.c), and how many times shorter that is than the first rung's of its ladder;
 * `measured` is the call, how many times shorter that is, and the floor's share of it.
 *
 *   ladder [--json FILE] [--samples N]      N: fewer samples, to see that it runs
 *
 * Compiled as C++ against tests/simt it runs the same calls on the CPU, checks them, and shows no
 * times. */
#include "fgsm_cuda.h"

extern "C" {
#include "cost.h"
#include "harness.h"
#include "rungs.h"
}

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr int ROUNDS = 15;
constexpr size_t FLUSH_BYTES = (size_t)256 << 20; /* more than any L2 holds */

#if defined(__CUDACC__)
constexpr bool ON_CARD = true;
#else
constexpr bool ON_CARD = false;
#endif

void must(cudaError_t error, const char *what) {
  if (error == cudaSuccess)
    return;
  std::fprintf(stderr, "ladder: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(4);
}

/* Milliseconds of one call of f, after `before`. */
template <class Before, class F> float one_call(const Before &before, const F &f) {
  before();
#if defined(__CUDACC__)
  cudaEvent_t start, stop;
  float ms = 0;
  must(cudaEventCreate(&start), "event");
  must(cudaEventCreate(&stop), "event");
  must(cudaEventRecord(start, 0), "event");
  f();
  must(cudaEventRecord(stop, 0), "event");
  must(cudaEventSynchronize(stop), "a call");
  must(cudaEventElapsedTime(&ms, start, stop), "event");
  must(cudaEventDestroy(start), "event");
  must(cudaEventDestroy(stop), "event");
  return ms;
#else
  f();
  return 0;
#endif
}

/* Seconds, the median; the first call is not counted. In the harness one call. */
template <class Before, class F> double median_seconds(const Before &before, const F &f) {
  std::vector<float> ms;
  for (int i = 0; i < (ON_CARD ? ROUNDS + 1 : 1); i++)
    ms.push_back(one_call(before, f));
  if (ON_CARD)
    ms.erase(ms.begin());
  std::sort(ms.begin(), ms.end());
  return ms[ms.size() / 2] * 1e-3;
}

/* ---- the card's rates */

constexpr int SPIN = 4096, CHAINS = 8;

/* 2 SPIN CHAINS FLOPs a thread.
 * ptxas budget: spin_ffma registers 32 shared 0 blocks 8 */
__global__ void __launch_bounds__(256) spin_ffma(float *out, float by) {
  float v[CHAINS];
  for (int i = 0; i < CHAINS; i++)
    v[i] = (float)threadIdx.x + i;
  for (int n = 0; n < SPIN; n++)
    for (int i = 0; i < CHAINS; i++)
      v[i] = __fmaf_rn(v[i], by, 1.0f);
  float sum = 0;
  for (int i = 0; i < CHAINS; i++)
    sum += v[i];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

/* 4096 SPIN CHAINS / 8 FLOPs a warp.
 * ptxas budget: spin_mma registers 64 shared 0 blocks 4 mma */
__global__ void __launch_bounds__(256) spin_mma(float *out, int spin) {
  float d[CHAINS][4] = {};
  const unsigned a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {threadIdx.x, 5};
  for (int n = 0; n < spin; n++)
    for (int i = 0; i < CHAINS; i++)
      fgsm_mma_m16n8k16_bf16(d[i], a, b, d[i]);
  float sum = 0;
  for (int i = 0; i < CHAINS; i++)
    for (int e = 0; e < 4; e++)
      sum += d[i][e];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

struct Rates {
  double copy, ffma, mma; /* bytes and FLOPs a second */
};

Rates measure_rates() {
  const unsigned blocks = ON_CARD ? 132 * 16 : 1;
  const int spin = ON_CARD ? SPIN / 8 : 2;
  const size_t half = ON_CARD ? FLUSH_BYTES : 4096;
  char *memory;
  must(cudaMalloc(&memory, 2 * half), "device memory");
  float *out = reinterpret_cast<float *>(memory);
  const auto nothing = [] {};
  Rates r = {};
  const double copy = median_seconds(nothing, [&] {
    must(cudaMemcpyAsync(memory + half, memory, half, cudaMemcpyDeviceToDevice, 0), "a copy");
  });
  const double ffma = median_seconds(nothing, [&] {
    must(FGSM_LAUNCH(spin_ffma, dim3(blocks), dim3(256), 0, 0, out, 0.5f), "a launch");
  });
  const double mma = median_seconds(nothing, [&] {
    must(FGSM_LAUNCH(spin_mma, dim3(blocks), dim3(256), 0, 0, out, spin), "a launch");
  });
  must(cudaDeviceSynchronize(), "the rates");
  must(cudaFree(memory), "device memory");
  if (ON_CARD) {
    r.copy = 2.0 * (double)half / copy;
    r.ffma = 2.0 * SPIN * CHAINS * 256 * blocks / ffma;
    r.mma = 4096.0 * spin * CHAINS * 8 * blocks / mma;
  }
  return r;
}

/* ---- one rung */

struct Call {
  struct fg_call call;
  union fg_attrs attrs;
  std::vector<void *> memory;
  void *scratch;
};

void *device_memory(Call *c, size_t bytes) {
  void *p;
  must(cudaMalloc(&p, bytes ? bytes : 1), "device memory");
  c->memory.push_back(p);
  return p;
}

/* Draws the inputs and prepares. False where the kernel declines. */
bool begin(const struct rung *rung, int64_t samples, Call *c) {
  const struct fg_kernel *kernel = rung->kernel;
  struct fg_case shape = *rung->of;
  rung_resize(&shape, samples);
  fg_case_call(&shape, FG_F32, &c->attrs, &c->call);
  for (int i = 0; i < c->call.n_in; i++) {
    struct fg_tensor *t = &c->call.in[i];
    if (t->type == FG_NONE)
      continue;
    std::vector<char> drawn(fg_bytes(t));
    t->data = drawn.data();
    fg_case_fill(&shape, i, t);
    t->data = device_memory(c, drawn.size());
    must(cudaMemcpy(t->data, drawn.data(), drawn.size(), cudaMemcpyHostToDevice), "upload");
  }
  for (int i = 0; i < c->call.n_out; i++)
    if (c->call.out[i].type != FG_NONE)
      c->call.out[i].data = device_memory(c, fg_bytes(&c->call.out[i]));
  if (kernel->prepare && kernel->prepare(&c->call, NULL) != FGSM_OK)
    return false;
  c->scratch = device_memory(c, c->call.scratch_bytes);
  return true;
}

void end(const struct rung *rung, Call *c) {
  if (rung->kernel->release)
    rung->kernel->release(&c->call);
  for (void *p : c->memory)
    must(cudaFree(p), "device memory");
}

/* Whether x' moved, and nowhere by more than eps. */
bool is_sound(const struct rung *rung, const Call &c) {
  if (rung->x0 < 0)
    return true;
  const size_t n = (size_t)fg_count(&c.call.out[0]);
  std::vector<float> x0(n), x(n);
  std::vector<double> params(FG_PARAM_COUNT);
  must(cudaMemcpy(x0.data(), c.call.in[rung->x0].data, n * 4, cudaMemcpyDeviceToHost), "x0");
  must(cudaMemcpy(x.data(), c.call.out[0].data, n * 4, cudaMemcpyDeviceToHost), "x'");
  must(cudaMemcpy(params.data(), c.call.in[6].data, params.size() * 8, cudaMemcpyDeviceToHost),
       "params");
  size_t moved = 0;
  for (size_t i = 0; i < n; i++) {
    if (!(std::abs((double)x[i] - x0[i]) <= params[FG_PARAM_eps]))
      return false;
    moved += x[i] != x0[i];
  }
  return moved > n / 2;
}

struct Result {
  double least, seconds;
};

bool climb(const struct rung *rung, int64_t samples, const Rates &rates, char *flush, Result *r) {
  Call c = {};
  if (!begin(rung, samples, &c)) {
    std::fprintf(stderr, "ladder: %s: %s\n", rung->of->name, fgsm_last_error());
    end(rung, &c);
    return false;
  }
  bool whole = true;
  r->seconds = median_seconds(
      [&] {
        if (flush)
          must(cudaMemsetAsync(flush, 0, FLUSH_BYTES, 0), "a flush");
      },
      [&] { whole = rung->kernel->run(&c.call, c.scratch, NULL) == FGSM_OK && whole; });
  must(cudaDeviceSynchronize(), rung->of->name);
  if (ON_CARD) {
    const double moved = bench_bytes(&c.call) / rates.copy;
    const double computed =
        bench_is_product(c.call.op)
            ? bench_flops(&c.call) / (rung->on_tensor_cores ? rates.mma : rates.ffma)
            : 0;
    r->least = std::max(moved, computed);
  }
  if (!whole)
    std::fprintf(stderr, "ladder: %s: %s\n", rung->of->name, fgsm_last_error());
  else if (!(whole = is_sound(rung, c)))
    std::fprintf(stderr, "ladder: %s: x' is not where it should be\n", rung->of->name);
  end(rung, &c);
  return whole;
}

void show(const struct rung *rung, const Result &first, const Result &r, FILE *json, bool comma) {
  if (!ON_CARD) {
    std::printf("%-14s %-60s sound\n", rung->ladder, rung->of->name);
    return;
  }
  std::printf("%-14s %-60s expected %10.1f us %6.2fx   measured %10.1f us %6.2fx %6.1f %%\n",
              rung->ladder, rung->of->name, r.least * 1e6, first.least / r.least, r.seconds * 1e6,
              first.seconds / r.seconds, 100 * r.least / r.seconds);
  if (json)
    std::fprintf(json,
                 "%s\n  {\"ladder\": \"%s\", \"rung\": \"%s\", \"expected_seconds\": %.9g, "
                 "\"measured_seconds\": %.9g}",
                 comma ? "," : "", rung->ladder, rung->of->name, r.least, r.seconds);
}

} // namespace

int main(int argc, char **argv) {
  FILE *json = nullptr;
  int64_t samples = 0;
  for (int i = 1; i + 1 < argc; i += 2)
    if (!std::strcmp(argv[i], "--json"))
      json = std::fopen(argv[i + 1], "w");
    else if (!std::strcmp(argv[i], "--samples"))
      samples = std::atoll(argv[i + 1]);
  const Rates rates = measure_rates();
  char *flush = nullptr;
  if (ON_CARD) {
    must(cudaMalloc(&flush, FLUSH_BYTES), "device memory");
    std::printf("copy %.1f GB/s, FFMA %.1f TFLOP/s, bfloat16 mma.sync %.1f TFLOP/s\n",
                rates.copy * 1e-9, rates.ffma * 1e-12, rates.mma * 1e-12);
  }
  if (json)
    std::fprintf(json, "[");
  bool whole = true;
  Result first = {};
  for (int i = 0; i < rung_count(); i++) {
    const struct rung *rung = rung_at(i);
    if (!ON_CARD && rung->long_on_cpu)
      continue;
    Result r = {};
    if (!climb(rung, samples, rates, flush, &r)) {
      whole = false;
      continue;
    }
    if (i == 0 || std::strcmp(rung->ladder, rung_at(i - 1)->ladder))
      first = r;
    show(rung, first, r, json, i > 0);
  }
  if (json) {
    std::fprintf(json, "\n]\n");
    whole = std::fclose(json) == 0 && whole;
  }
  if (flush)
    must(cudaFree(flush), "device memory");
  return whole ? 0 : 6;
}
