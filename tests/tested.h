/* The backend that device_cases.c, device_nets.c and device_training.c test: one that is found by name (tested_named.c),
 * or the CUDA kernels on the CPU (simt/tested_simt.c). */
#ifndef TESTED_H
#define TESTED_H

#include "kernel.h"

/* name NULL: the usual one. NULL, with the reason on standard error, if there is none of that name. */
const struct fg_backend *tested_backend(const char *name);
/* How often it has found something wrong by itself, so far. */
unsigned long tested_errors(void);

#endif
