/* Opening NVIDIA's libraries at run time, wherever a machine has them. */
#ifndef FG_CUDA_OPEN_H
#define FG_CUDA_OPEN_H

#include <stdbool.h>

/* The library `file`: from where the system looks, from one of the folders `wheels` (NULL ends them) of
 * $FGSM_NV_SITE, a Python site-packages folder, or from `built`, where it was for the build (NULL:
 * nowhere). NULL if it is in none of them. */
void *fg_nv_library(const char *file, const char *const *wheels, const char *built);
/* Writes the library's function of that name to *function, a pointer to a function. */
bool fg_nv_function(void *library, const char *name, void *function);

#endif
