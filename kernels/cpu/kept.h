/* Constants in a kernel's own order: reordered once however many kernels want them so, for a file of
 * few weights may use them in thousands of convolutions. Of the whole process: plans on several
 * devices may read one constant. One thread prepares them all, and the constant lives longer than the
 * kernels that keep it. */
#ifndef FG_CPU_KEPT_H
#define FG_CPU_KEPT_H

#include "dnnl_shim.h"

/* *memory for `constant` in the format `wanted`; *fresh: it is new, and to be filled. To be given
 * back. */
fgsm_status fg_cpu_kept_take(const void *constant, fg_dnnl_md wanted, void **memory,
                             bool *fresh) FGSM_MUST_USE;
void fg_cpu_kept_give_back(void *memory); /* or NULL */

/* Room for weights, in whole huge pages where they are to be had; to be freed. NULL: no memory. */
void *fg_cpu_kept_room(size_t bytes);

#endif
