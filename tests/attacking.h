/* One attack on arrays in memory, from options as text: what the attack's tests share. */
#ifndef TEST_ATTACKING_H
#define TEST_ATTACKING_H

#include "attack.h"
#include "io.h"

/* Options from words "name=value" or "switch", split at spaces. The caller destroys them. */
fgsm_options *options_from(const char *words);

/* A model of tests/golden by its name ("conv"). The caller closes it. */
struct fg_onnx *golden_model(const char *name);

/* An array of tests/golden: file.npz, member, as `type`; free(). dims multiplied in *n. */
void *golden_array(const char *file, const char *member, enum fg_type type, int64_t *n);

/* What is attacked, and with what. */
struct setting {
  const struct fg_onnx *onnx;
  const char *device, *words; /* words hold eps too */
  struct fg_sample_shape shape;
  int64_t batch, n;
  const void *x;
  const int64_t *labels, *targets;
  const int64_t *index; /* NULL: 0, 1, ... */
  const struct fg_attack_arrays *arrays;
};

/* Creates the attacker; the error is the caller's to look at. */
fgsm_status try_create(const struct setting *s, struct fg_attacker **out);

/* Attacks; x_adv[k] and results[k] for each eps are malloc'ed here. Asserts success. */
struct outcome {
  int n_eps;
  enum fg_type type;
  int64_t count; /* elements of a sample */
  size_t bytes;  /* of one x_adv         */
  void *x_adv[FG_MAX_EPS];
  fgsm_result *results[FG_MAX_EPS];
  struct fg_attacker_info info;
  int64_t climbs; /* as fg_attacker_climbs tells */
};
struct outcome attack(const struct setting *s);
fgsm_status try_attack(const struct setting *s, struct outcome *out);
void outcome_free(struct outcome *o);

/* Deterministic data: bytes, and floats in [0, 1) off the lattice of bytes; labels below classes.
 */
void fill_bytes(uint8_t *x, int64_t n, uint64_t seed);
void fill_floats(float *x, int64_t n, uint64_t seed);
void fill_labels(int64_t *labels, int64_t n, int64_t classes, uint64_t seed);

#endif
