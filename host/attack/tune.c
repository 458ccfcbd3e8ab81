/* A batch size by measuring: option batch = auto. Sizes are doubled for as long as that brings
 * something, and the smallest that is as good as the best is taken: what comes after it costs memory
 * and the wait for the first result. */
#include "measure.h"

enum { SMALLEST = 8, LARGEST = 4096, MOST_SIZES = 10, TIMINGS = 3, PATIENCE = 2 };
static const double AS_GOOD = 0.97, WORTH_DOUBLING = 1.03;

struct size {
  int64_t batch;
  double rate; /* samples a second, the best of several timings: noise only takes away */
};

static fgsm_status measure(const struct fg_onnx *onnx, const struct fgsm_options *options,
                           const struct fg_device_opener *opener,
                           const struct fg_sample_shape *shape,
                           const struct fg_attack_arrays *arrays, int64_t batch, struct size *out) {
  struct fg_device *device;
  struct fg_measure *m;
  double stage[FG_STAGES];
  *out = (struct size){batch, 0};
  FG_TRY(opener->open(opener->user, &device));
  FG_TRY(fg_measure_create(onnx, options, device, shape, arrays, batch, &m));
  fgsm_status status = FGSM_OK;
  out->batch = fg_measure_info(m)->batch;
  for (int i = 0; i < TIMINGS && status == FGSM_OK; i++) {
    double seconds;
    status = fg_measure_attack(m, &seconds, stage);
    if (status == FGSM_OK && seconds > 0 && (double)out->batch / seconds > out->rate)
      out->rate = (double)out->batch / seconds;
  }
  fg_measure_destroy(m);
  return status;
}

fgsm_status fg_attack_tune_batch(const struct fg_onnx *onnx, const struct fgsm_options *options,
                                 const struct fg_device_opener *opener,
                                 const struct fg_sample_shape *shape,
                                 const struct fg_attack_arrays *arrays, int64_t most,
                                 int64_t *batch) {
  struct size sizes[MOST_SIZES];
  int n = 0, idle = 0;
  double best = 0;
  for (int64_t asked = SMALLEST; n < MOST_SIZES && asked <= LARGEST && idle < PATIENCE;
       asked *= 2) {
    int64_t size = asked < most ? asked : most;
    fgsm_status status = measure(onnx, options, opener, shape, arrays, size, &sizes[n]);
    if (n > 0 && (status == FGSM_MEMORY || status == FGSM_UNSUPPORTED))
      break; /* more than memory allows for: what was found so far stands */
    FG_TRY(status);
    idle = sizes[n].rate > WORTH_DOUBLING * best ? 0 : idle + 1;
    best = sizes[n].rate > best ? sizes[n].rate : best;
    if (sizes[n++].batch != size || size == most)
      break; /* the model's own batch, or all samples at once: there is no other */
  }
  int chosen = 0;
  while (sizes[chosen].rate < AS_GOOD * best)
    chosen++;
  *batch = sizes[chosen].batch;
  fg_log(FGSM_LOG_INFO, "batch %lld: %.4g samples/s; sizes from %lld to %lld were measured",
         (long long)*batch, sizes[chosen].rate, (long long)sizes[0].batch,
         (long long)sizes[n - 1].batch);
  return FGSM_OK;
}
