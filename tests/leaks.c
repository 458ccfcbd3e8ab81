/* Leaks as failures, in builds with AddressSanitizer. An assertion that fails here would be printed and
 * not counted (Criterion 2.4.1 has settled the test's result by now); a crash makes the run fail. */
#include <stdio.h>
#include <stdlib.h>

#include "leaks.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

void expect_no_leaks(void) {
  if (__lsan_do_recoverable_leak_check() == 0)
    return;
  fputs("the test leaks memory; see above\n", stderr);
  abort();
}
#else
void expect_no_leaks(void) {
}
#endif
