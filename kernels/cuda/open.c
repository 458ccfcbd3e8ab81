/* Opening NVIDIA's libraries. */
#include "open.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

/* A file in one of `folders` below `root`; NULL if root is not set or nothing there opens. */
static void *open_below(const char *root, const char *const *folders, const char *file) {
  char path[PATH_SIZE];
  void *library = NULL;
  for (; root && *root && *folders && !library; folders++)
    if ((size_t)snprintf(path, sizeof path, "%s/%s%s", root, *folders, file) < sizeof path)
      library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  return library;
}

void *fg_nv_library(const char *file, const char *const *wheels, const char *built) {
  static const char *const here[] = {"", NULL};
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    library = open_below(secure_getenv("FGSM_NV_SITE"), wheels, file);
  return library ? library : open_below(built, here, file);
}

/* Through memory: C has no cast from an object pointer to that of a function. */
bool fg_nv_function(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}
