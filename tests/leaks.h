/* The end of every suite's tests. Criterion reports a test as passed before LeakSanitizer looks, so
 * a leak would be printed and the run stay green; asked here, it fails the test. */
#ifndef FG_TESTS_LEAKS_H
#define FG_TESTS_LEAKS_H

#include <criterion/criterion.h>

void expect_no_leaks(void);

#endif
