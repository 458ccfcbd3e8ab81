/* The loss of one sample, for kernels that have its logits at hand. */
#ifndef FG_CPU_LOSS_H
#define FG_CPU_LOSS_H

#include "cpu.h"

/* z [k] -> the loss, and *prediction and the gradient d [k] unless they are NULL. c [k]: a linear loss's. */
double fg_cpu_loss_sample(const struct fg_loss_attrs *a, const float *c, const float *z, int64_t k,
                          int64_t label, float *d, int32_t *prediction);

/* FGSM_UNSUPPORTED unless input i is there for a linear loss alone, float32 [classes]. */
fgsm_status fg_cpu_check_functional(const struct fg_call *call, const struct fg_loss_attrs *a,
                                    int i, int64_t classes) FGSM_MUST_USE;

/* Classes that the kind of loss needs. */
int64_t fg_cpu_loss_classes(enum fg_loss_kind kind);

#endif
