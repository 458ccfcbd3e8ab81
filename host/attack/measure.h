/* How fast an attack is: timings of one attacker on generated samples, one at a time, so that a
 * caller can interleave them with others' and judge medians. Whoever chooses by time (a bench, a
 * batch size) measures here. */
#ifndef FG_MEASURE_H
#define FG_MEASURE_H

#include "attack.h"

/* Of repeated timings, in seconds. */
struct fg_spread {
  double median, q1, q3;
  int n;
};
/* Sorts the values. */
struct fg_spread fg_spread_of(double *values, int n);

/* The passes of an attacker that have a plan. */
enum { FG_STAGES = 9 };
const char *fg_stage_name(int stage);

struct fg_measure;

/* An attacker for samples of that shape. The attack and its budget are the options'; the device is
 * the attacker's from here on, also when this fails. */
fgsm_status fg_measure_create(const struct fg_onnx *onnx, const struct fgsm_options *options,
                              struct fg_device *device, const struct fg_sample_shape *shape,
                              const struct fg_attack_arrays *arrays, int64_t batch,
                              struct fg_measure **out) FGSM_MUST_USE;
void fg_measure_destroy(struct fg_measure *m);
/* Runs everything once, so that pages are touched and caches made, and again, to know how often the
 * short measurements are to be repeated. Before any but fg_measure_attack. */
fgsm_status fg_measure_warm_up(struct fg_measure *m) FGSM_MUST_USE;

const struct fg_attacker_info *fg_measure_info(const struct fg_measure *m);
struct fg_device *fg_measure_device(const struct fg_measure *m);
/* The plan whose calls are timed: the gradient's, or for an attack without one that which looks. */
const struct fg_plan *fg_measure_plan(const struct fg_measure *m);
/* Bytes of the buffers between passes. */
size_t fg_measure_buffer_bytes(const struct fg_measure *m);

/* Each runs once. One batch attacked from host memory to host memory; stage[FG_STAGES] receives what
 * its passes took, negative for those that this attack has no use for. */
fgsm_status fg_measure_attack(struct fg_measure *m, double *seconds, double *stage) FGSM_MUST_USE;
/* Batches that lie on the device already, one after another for a while, the first of them not timed; seconds
 * of one. How many there are. */
fgsm_status fg_measure_climb(struct fg_measure *m, double *seconds) FGSM_MUST_USE;
int fg_measure_climb_repeats(const struct fg_measure *m);
/* The plan, as a whole (seconds of one run, which is of a strip), and call by call. */
fgsm_status fg_measure_whole(struct fg_measure *m, double *seconds) FGSM_MUST_USE;
fgsm_status fg_measure_calls(struct fg_measure *m, double *call) FGSM_MUST_USE;

/* The samples that the attacked input takes: bytes where they look like images, else floats. Refuses
 * an input whose shape is not in the file. */
fgsm_status fg_measure_shape(const struct fg_onnx *onnx, const struct fgsm_options *options,
                             struct fg_sample_shape *shape) FGSM_MUST_USE;

/* n generated samples that look like noise, the same for the same `first`, within the options' clip
 * range. */
void fg_measure_fill(const struct fg_sample_shape *shape, const struct fgsm_options *options,
                     int64_t n, int64_t first, void *x);

/* The batch size of at most `most` samples that attacks fastest, or almost and is smaller (tune.c).
 * Devices are opened for it one after the other. */
fgsm_status fg_attack_tune_batch(const struct fg_onnx *onnx, const struct fgsm_options *options,
                                 const struct fg_device_opener *opener,
                                 const struct fg_sample_shape *shape,
                                 const struct fg_attack_arrays *arrays, int64_t most,
                                 int64_t *batch) FGSM_MUST_USE;

#endif
