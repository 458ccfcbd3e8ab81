/* Half precision in the CUDA backend (halves.c): for the plugin's table and the harness's. */
#ifndef FG_CUDA_HALVES_H
#define FG_CUDA_HALVES_H

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

bool fg_cuda_takes_half(const struct fg_device *device, const struct fg_call *call);

#ifdef __cplusplus
}
#endif
#endif
