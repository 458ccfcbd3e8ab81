/* A libcudnn.so.9 that is too old: it says 9.1, and is asked for nothing else. */
#include <stddef.h>

__attribute__((visibility("default"))) size_t cudnnGetVersion(void);
size_t cudnnGetVersion(void) {
  return 90100;
}
