/* libFuzzer's entry points around one target, which the build names: FUZZ_TARGET, FUZZ_MUTATE. */
#include <stdlib.h>

#include <sanitizer/lsan_interface.h>

#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  /* What the library under ours keeps from call to call would look like memory that inputs take. */
  return setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0", 1) | setenv("OMP_NUM_THREADS", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  (void)FUZZ_TARGET.run(data, n, false);
  return 0;
}

#ifdef FUZZ_MUTATE
/* What a library leaks while inputs are made is not what the target did. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed) {
  __lsan_disable();
  n = FUZZ_MUTATE(data, n, most, seed);
  __lsan_enable();
  return n;
}
#endif
