/* Which way a convolution is computed: what conv.c and conv_choice.c ask of each other. */
#ifndef FG_CPU_CONV_H
#define FG_CPU_CONV_H

#include "dnnl_shim.h"

/* oneDNN's plain sums for the call; FGSM_UNSUPPORTED where it has none. */
fgsm_status fg_conv_direct(struct fg_cpu_device *device, struct fg_call *call,
                           struct fg_dnnl_primitive *p) FGSM_MUST_USE;

/* Winograd's tile, 2 or 4, or 0 for plain sums. */
int fg_conv_choose(struct fg_cpu_device *device, const struct fg_call *call);

/* What a choice (of `what`) depends on: direction, processor, shapes, layouts; and the choices, as
 * small numbers. recall: -1 where there is none. */
enum { FG_CONV_KEY_SIZE = 512 };
void fg_conv_key(const char *what, const struct fg_call *call, char key[FG_CONV_KEY_SIZE]);
int fg_conv_recall(const char *key);
void fg_conv_remember(const char *key, int choice);

/* For trials: zeros, 64-byte aligned, or NULL. */
void *fg_conv_zeros(size_t bytes);

#endif
