/* What is told of a run that computes with less than float32's digits, or by a way that rounds more
 * than plain sums: how far its gradients agree with the exact ones. An attack measures it on its own
 * first batch; a bench and an inspection have none, and generate one. */
#ifndef FG_AGREE_H
#define FG_AGREE_H

#include <jansson.h>

#include "agreement.h"
#include "device.h"

/* Samples that both ways take the gradient of. */
struct fg_agree_samples {
  struct fg_sample_shape shape;
  int64_t n;
  void *x;
  int64_t *labels, *targets, *index; /* targets NULL: none */
};

/* Whether gradients are compared with the exact ones: the options ask for less than float32, or the
 * gradient's plan has convolutions that round more than plain sums. */
bool fg_agree_wanted(const struct fgsm_options *options, const struct fg_plan_info *gradient);
/* How many samples at most are worth comparing: about a hundred thousand components of gradients together. */
int64_t fg_agree_most(const struct fg_sample_shape *shape);
/* Compares the first fg_agree_most of the samples on the choice's first device, in passes of a part of
 * `strip`, the attack's passes, or of what memory suffices for; convolutions go the way that they go in the
 * attack. Weights that are `lender`'s too are read there, and its arena serves (NULL: none). Where gradients
 * cannot be compared, out->why says why. */
fgsm_status fg_agree(const struct fg_onnx *onnx, const struct fgsm_options *options,
                     const struct fg_device_choice *choice, const struct fg_attack_arrays *arrays,
                     int64_t strip, const struct fg_agree_samples *samples,
                     const struct fg_attacker *lender, struct fg_agreement *out) FGSM_MUST_USE;
/* The same on generated samples (fg_measure_fill), at most `batch`, attacked at the classes that the model predicts. A
 * model that cannot be attacked is a reason why too. */
fgsm_status fg_agree_generated(const struct fg_onnx *onnx, const struct fgsm_options *options,
                               const struct fg_device_choice *choice,
                               const struct fg_attack_arrays *arrays, int64_t batch, int64_t strip,
                               struct fg_agreement *out) FGSM_MUST_USE;

/* The agreement as an object (NULL if memory ran out), and in words for people: without a line's end. */
json_t *fg_agree_json(const struct fg_agreement *agreement);
void fg_agree_add_text(const struct fg_agreement *agreement, struct fg_text *text);

#endif
