/* How far a gradient computed with less than float32's digits, or by a faster way, agrees with the
 * exact way's: in its signs, which are all that an FGSM step takes from it, and in its signs weighted by
 * the exact |g|, because near zero a sign is worth little. Measured on samples of the run itself. */
#ifndef FG_AGREEMENT_H
#define FG_AGREEMENT_H

#include "attack.h"

struct fg_agreement {
  char why[256];   /* nothing was compared; "" otherwise */
  char with[32];   /* the exact way's name; "" where the attack takes no gradient */
  int64_t samples; /* whose gradients were compared */
  int64_t skipped; /* whose exact gradient is not finite or all zero: it has no signs */
  /* Shares, from 0 to 1. A zero's sign is 0 and agrees with a zero alone; what is not a number agrees
   * with nothing. Each sample's |g| sums to 1, so that none outweighs the others. */
  double signs, weighted;
};

/* Of n samples of `count` components each; `with` is left as it is. */
void fg_agreement_of(int64_t n, int64_t count, const double *gradient, const double *exact,
                     struct fg_agreement *out);

/* One of the two ways: options that say how to compute, and a device opened by them. */
struct fg_agreement_way {
  const struct fgsm_options *options;
  const struct fg_device_opener *opener;
  const char *name;                 /* what people call it; of the exact way alone */
  const struct fg_attacker *lender; /* of weights, which lives longer; NULL: none */
};

/* Gradients of the samples' losses at the samples themselves, both ways, one after the other, in passes
 * of `batch` samples; n, x, labels, targets and index as for fg_attacker_run. Predicted labels are the
 * exact way's. */
fgsm_status fg_agreement_measure(const struct fg_onnx *onnx, const struct fg_agreement_way *way,
                                 const struct fg_agreement_way *exact,
                                 const struct fg_sample_shape *shape,
                                 const struct fg_attack_arrays *arrays, int64_t batch, int64_t n,
                                 const void *x, const int64_t *labels, const int64_t *targets,
                                 const int64_t *index, struct fg_agreement *out) FGSM_MUST_USE;

#endif
