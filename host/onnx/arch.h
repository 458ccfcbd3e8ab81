/* Architectures that fgsm has built in, as ONNX. */
#ifndef FG_ARCH_H
#define FG_ARCH_H

#include "onnx.h"

/* "mnist-cnn", "lenet5", "resnet18", "preact-resnet18", "wrn-16-4" for samples [C, H, W], or
 * "mlp:W,W,..." with hidden layers of those widths, for any sample. The weights are to be given
 * values. FGSM_USAGE for an unknown name, or samples that do not suit it. */
fgsm_status fg_arch_create(const char *name, int rank, const int64_t *dim, int64_t classes,
                           struct fg_onnx **out) FGSM_MUST_USE;

#endif
