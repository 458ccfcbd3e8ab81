/* What device_training.c and device_training_half.c share: small engines on any backend, their data and
 * steps, and the count of what was looked at. */
#ifndef FG_DEVICE_TRAINING_H
#define FG_DEVICE_TRAINING_H

#include "device.h"
#include "train.h"

enum { TRAINING_SAMPLES = 40, TRAINING_BATCH = 8, TRAINING_COUNT = 36, TRAINING_STEPS = 6 };

/* The samples [40, 1, 6, 6] and labels of the golden training. */
struct training_data {
  float *x;
  int64_t *y;
};
struct training_data training_data(void);
void training_data_free(struct training_data *data);

/* An engine of the options in `words` on the backend's first device, in that precision. */
fgsm_status training_create(const struct fg_onnx *onnx, const char *words,
                            const struct fg_backend *backend, enum fg_precision precision,
                            const struct fg_sample_shape *shape, int64_t batch,
                            struct fg_engine **out) FGSM_MUST_USE;
/* The same of a golden model, on the golden samples. */
fgsm_status training_open(const char *model, const char *words, const struct fg_backend *backend,
                          enum fg_precision precision, struct fg_engine **out) FGSM_MUST_USE;
/* Step k of TRAINING_STEPS, two passes over the data but for a few samples. */
fgsm_status training_step(struct fg_engine *e, int k,
                          const struct training_data *data) FGSM_MUST_USE;

/* A line that says what came of a comparison, and its count; of one that could not be made. */
void training_judge(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
void training_fail(const char *what, const char *words);

/* ---- half precision */

/* Trains on a device that has the precision, in the list's options or in `words`. */
void training_check_half(const struct fg_backend *tested, enum fg_precision half,
                         const char *words);

#endif
