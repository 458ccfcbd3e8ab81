/* What the attack's kernels share: a sample's features in tiles, per-feature operands (mask,
 * eps_map) as floats whatever their type, numbers of run time, and moves to neighbouring floats.
 *
 * A sample is computed by one thread, in one order, from its own numbers only: the result is the
 * same for any thread count and any place in the batch. */
#ifndef FG_CPU_FEATURE_H
#define FG_CPU_FEATURE_H

#include "cpu.h"
#include "vmath.h"

#define FG_CPU_TILE 1024

/* Features of one sample of x [N, ...]. */
static inline int64_t fg_cpu_features(const struct fg_tensor *x) {
  return fg_cpu_span(x, 1, x->rank);
}

/* Input i as a per-feature operand, NULL where it is absent. */
static inline const struct fg_tensor *fg_cpu_optional(const struct fg_call *call, int i) {
  return i < call->n_in && fg_cpu_present(&call->in[i]) ? &call->in[i] : NULL;
}

/* Output i's memory, NULL where it is not wanted. */
static inline void *fg_cpu_output(const struct fg_call *call, int i) {
  return i < call->n_out && fg_cpu_present(&call->out[i]) ? call->out[i].data : NULL;
}

/* FGSM_UNSUPPORTED unless eps_map is float32, mask float32, uint8 or bool (or absent), both of a
 * sample's shape. */
fgsm_status fg_cpu_check_features(const struct fg_call *call, const struct fg_tensor *x,
                                  int eps_map, int mask) FGSM_MUST_USE;

/* FGSM_UNSUPPORTED unless input i are params; with `rows`, or a row of them for so many samples. */
fgsm_status fg_cpu_check_params(const struct fg_call *call, int i, int64_t rows) FGSM_MUST_USE;

/* to[j] = 1 where the mask lets feature from + j go, else 0; 1 without a mask. */
void fg_cpu_load_mask(const struct fg_tensor *mask, int64_t from, int64_t n, float *to);

/* to[j] = eps of feature from + j; `eps` without a map. */
void fg_cpu_load_eps(const struct fg_tensor *map, double eps, int64_t from, int64_t n, double *to);

/* to[j] = t times eps of feature j. */
void fg_cpu_load_scaled(const struct fg_tensor *map, double t, int64_t n, float *to);

/* The float beside y: above it for step 1, below it for step -1. y is no NaN. Floats' bits, those
 * of negative ones turned over, are integers in the same order; -0 (there -1) is stepped over. */
FG_INLINE float fg_cpu_beside(float y, int32_t step) {
  int32_t bits = fg_float_to_bits(y + 0.0f);
  int32_t key = (bits ^ ((bits >> 31) & 0x7fffffff)) + step;
  key = key == -1 ? key + (step - 1) / 2 : key;
  return fg_bits_to_float(key ^ ((key >> 31) & 0x7fffffff));
}

/* v rounded to a float within [lo, hi]; lo <= hi, bounds that no float lies between aside. */
FG_INLINE float fg_cpu_into_box(double v, double lo, double hi) {
  v = v > hi ? hi : v < lo ? lo : v;
  float y = (float)v;
  y = (double)y > hi ? fg_cpu_beside(y, -1) : y;
  y = (double)y < lo ? fg_cpu_beside(y, 1) : y;
  return y;
}

#endif
