/* Constants in a kernel's own order: reordered once however many kernels want them so, for a file of
 * few weights may use them in thousands of convolutions. Owned by the device. A constant belongs to
 * one plan or several, which one thread prepares, and lives longer than the kernels that keep it. */
#ifndef FG_CPU_KEPT_H
#define FG_CPU_KEPT_H

#include "dnnl_shim.h"

struct fg_cpu_kept *fg_cpu_kept_create(void); /* NULL: no memory */
void fg_cpu_kept_destroy(struct fg_cpu_kept *kept);

/* *memory for `constant` in the format `wanted`; *fresh: it is new, and to be filled. To be given
 * back. */
fgsm_status fg_cpu_kept_take(struct fg_cpu_kept *kept, const void *constant, fg_dnnl_md wanted,
                             void **memory, bool *fresh) FGSM_MUST_USE;
void fg_cpu_kept_give_back(struct fg_cpu_kept *kept, void *memory); /* or NULL */

#endif
