/* The newer collection of ONNX's node tests, which comes as one .tar.gz among the test data. */
#ifndef ONNX_SUITE_H
#define ONNX_SUITE_H

#include <stdbool.h>
#include <stddef.h>

/* Unpacks the collection into a new folder under the system's temporary one; `folder` becomes the
 * place in it that holds the test_... folders. False, with a line on stderr that says why, where the
 * data is absent or cannot be unpacked. */
bool onnx_suite_unpack(char *folder, size_t size);

/* Removes what onnx_suite_unpack made. */
void onnx_suite_remove(const char *folder);

#endif
