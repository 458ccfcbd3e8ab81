/* What the machine can do: bursts of the backend's, at most by the best of several, and now by one. */
#include "bench.h"

static double larger(double a, double b) {
  return a > b ? a : b;
}

/* Short, so that a burst is soon one that nobody disturbed. */
static const double BURST_SECONDS = 1e-3;
enum { LOOKS = 10, SMALLEST = 32 << 10 };

/* The best rate of LOOKS bursts of about BURST_SECONDS, or of what was known. */
static fgsm_status best_rate(struct fg_device *device, enum fg_burst kind, void *memory,
                             size_t bytes, double *rate) {
  const struct fg_backend *backend = device->backend;
  int64_t rounds = 1;
  for (int look = 0; look < LOOKS;) {
    double amount, began = fg_now();
    FG_TRY(backend->burst(device, kind, memory, bytes, rounds, NULL, &amount));
    FG_TRY(backend->sync(device, NULL));
    double seconds = fg_now() - began;
    if (seconds < BURST_SECONDS / 2 && rounds < (int64_t)1 << 40)
      rounds *= 2; /* too short to tell */
    else
      look++;
    if (seconds > 0 && amount / seconds > *rate)
      *rate = amount / seconds;
    FG_TRY(fg_check_interrupt());
  }
  return FGSM_OK;
}

static fgsm_status measure(struct fg_device *device, void *memory, double most,
                           struct fg_ceilings *c) {
  FG_TRY(device->backend->enter(device));
  FG_TRY(best_rate(device, FG_BURST_fma, memory, SMALLEST, &c->flops_per_second));
  c->n_sizes = 0;
  for (double bytes = SMALLEST; c->n_sizes < FG_CEILING_SIZES && bytes <= most; bytes *= 2) {
    int i = c->n_sizes++;
    c->bytes[i] = bytes;
    FG_TRY(best_rate(device, FG_BURST_copy, memory, (size_t)bytes, &c->bytes_per_second[i]));
  }
  return FGSM_OK;
}

/* Fewer threads: 1, 2, 4, ... where the device has threads of the host's. More of them can do what
 * fewer can, so a number that is larger for fewer stands for more too. */
static fgsm_status measure_threads(struct fg_device *device, void *memory, size_t bytes,
                                   struct fg_ceilings *c) {
  int n = 0, own = device->backend->host_memory ? device->threads : 1;
  double *copy = &c->bytes_per_second[c->n_sizes - 1];
  for (int threads = 1; threads < own && n + 1 < FG_CEILING_THREADS; threads *= 2) {
    struct fg_device *fewer;
    struct fg_thread_ceiling *t = &c->threads[n++];
    t->threads = threads;
    FG_TRY(device->backend->open(0, threads, &fewer));
    fgsm_status status = fewer->backend->enter(fewer);
    if (status == FGSM_OK)
      status = best_rate(fewer, FG_BURST_fma, memory, SMALLEST, &t->flops_per_second);
    if (status == FGSM_OK)
      status = best_rate(fewer, FG_BURST_copy, memory, bytes, &t->bytes_per_second);
    fewer->backend->close(fewer);
    FG_TRY(status);
    c->flops_per_second = larger(c->flops_per_second, t->flops_per_second);
    *copy = larger(*copy, t->bytes_per_second);
  }
  for (int i = c->n_sizes - 1; i > 0; i--) /* what is fast in bulk is so in parts */
    c->bytes_per_second[i - 1] = larger(c->bytes_per_second[i - 1], c->bytes_per_second[i]);
  c->threads[n++] = (struct fg_thread_ceiling){own, c->flops_per_second, *copy};
  c->n_threads = n;
  return device->backend->enter(device);
}

fgsm_status fg_ceilings_multiply_adds(struct fg_device *device, double seconds, double *rate) {
  void *memory;
  double took = 0, amount = 0;
  FG_TRY(device->backend->alloc(device, SMALLEST, &memory));
  fgsm_status status = device->backend->enter(device);
  for (int64_t rounds = 1; status == FGSM_OK && took < seconds; rounds *= 2) {
    double began = fg_now();
    status = device->backend->burst(device, FG_BURST_fma, memory, SMALLEST, rounds, NULL, &amount);
    if (status == FGSM_OK)
      status = device->backend->sync(device, NULL);
    took = fg_now() - began;
  }
  if (status == FGSM_OK)
    *rate = amount / took;
  device->backend->free(device, memory);
  return status;
}

fgsm_status fg_ceilings_measure(struct fg_device *device, double most, struct fg_ceilings *c) {
  void *memory;
  double bytes = SMALLEST;
  if (!device->backend->burst)
    return FGSM_OK;
  for (int i = 1; i < FG_CEILING_SIZES && bytes < most; i++)
    bytes *= 2;
  FG_TRY(device->backend->alloc(device, (size_t)bytes, &memory));
  fgsm_status status = measure(device, memory, bytes, c);
  if (status == FGSM_OK)
    status = measure_threads(device, memory, (size_t)bytes, c);
  device->backend->free(device, memory);
  c->known = status == FGSM_OK;
  return status;
}

double fg_ceilings_floor(const struct fg_ceilings *c, double flops, double bytes) {
  if (!c->known)
    return 0;
  int i = 0;
  while (i + 1 < c->n_sizes && c->bytes[i + 1] <= bytes)
    i++;
  double compute = flops / c->flops_per_second, memory = bytes / c->bytes_per_second[i];
  return compute > memory ? compute : memory;
}
