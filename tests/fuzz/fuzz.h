/* Fuzz targets: each hands a stranger's bytes to one reader and all that follows it, and holds what
 * comes back against what is promised of hostile input. The same functions serve libFuzzer
 * (driver.c, built where FGSM_FUZZ is on) and the ordinary tests, which replay tests/fuzz/regressions.
 *
 * What is promised: a status, never a crash; words with every refusal; never FGSM_INTERNAL, which
 * means a fault of ours; and, watched from outside, bounded time and memory. */
#ifndef FG_FUZZ_H
#define FG_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fgsm.h"

struct fuzz_target {
  const char *name; /* of the binary fuzz-NAME, the corpus and the folder of regressions */
  /* Aborts where a promise is broken; else whether the bytes were accepted. `thorough`: in every way
   * there is; otherwise in one that the bytes choose, so that many more can be tried. */
  bool (*run)(const uint8_t *data, size_t n, bool thorough);
};

extern const struct fuzz_target fuzz_model, fuzz_idx, fuzz_cifar, fuzz_npy, fuzz_npz, fuzz_labels,
    fuzz_options;

/* All of them; NULL past the end. */
const struct fuzz_target *fuzz_target_at(int i);

/* Writes the bytes to a file of that name in a folder of this process's own, in memory where there
 * is such a thing, and removed at exit. The text is valid until the next call. */
const char *fuzz_file(const char *name, const uint8_t *data, size_t n);

/* Holds a status against the promises; true for FGSM_OK. */
bool fuzz_check(fgsm_status status);

/* A number that the bytes choose. */
uint32_t fuzz_hash(const uint8_t *data, size_t n);

/* What libFuzzer's mutation is given up for in a target; NULL: bytes are good enough. Only where
 * FGSM_FUZZ is on. */
typedef size_t fuzz_mutate_fn(uint8_t *data, size_t n, size_t most, uint32_t seed);
fuzz_mutate_fn fuzz_mutate_model, fuzz_mutate_gz, fuzz_mutate_zip;

#endif
