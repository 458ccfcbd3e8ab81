/* Leaks as failures, in builds with AddressSanitizer. */
#include "leaks.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

void expect_no_leaks(void) {
  cr_expect(__lsan_do_recoverable_leak_check() == 0, "the test leaks memory; see above");
}
#else
void expect_no_leaks(void) {
}
#endif
