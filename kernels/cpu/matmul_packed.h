/* A matmul whose b is a constant: of a few rows by product.h, of more, where the processor has tiles, by split.h; for matmul.c. */
#ifndef FG_CPU_MATMUL_PACKED_H
#define FG_CPU_MATMUL_PACKED_H

#include "dnnl_shim.h"

struct fg_matmul_packed;

/* Whether the call is one product of as many rows, with enough columns and terms, b a constant, a as it lies. */
bool fg_matmul_packed_fits(const struct fg_cpu_device *device, const struct fg_call *call);

/* Sets the call's scratch_bytes and state_bytes; and fast, where split.h does it. */
fgsm_status fg_matmul_packed_create(struct fg_cpu_device *device, struct fg_call *call,
                                    struct fg_matmul_packed **out) FGSM_MUST_USE;
void fg_matmul_packed_run(const struct fg_matmul_packed *p, const struct fg_call *call,
                          void *scratch);
void fg_matmul_packed_destroy(struct fg_matmul_packed *p); /* or NULL */

#endif
