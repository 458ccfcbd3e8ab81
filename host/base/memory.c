/* How much memory this process should take at most, and amounts of it as text. What the machine has,
 * what its cgroup allows (v2, then v1) and what its own limit allows are asked for, not what happens
 * to be free: so that the same command decides the same way each time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base.h"

/* The number in a file of one line; SIZE_MAX where there is none ("max"). */
static size_t read_limit(const char *path) {
  unsigned long long n = 0;
  FILE *f = fopen(path, "re");
  bool found = f && fscanf(f, "%llu", &n) == 1;
  if (f)
    fclose(f);
  return found && n < SIZE_MAX ? (size_t)n : SIZE_MAX;
}

/* The least limit from a cgroup up to the root: a parent's holds for its children. */
static size_t least_limit(const char *root, char *path, const char *name) {
  size_t least = SIZE_MAX;
  for (;;) {
    char file[4400];
    snprintf(file, sizeof file, "%s%s/%s", root, path, name);
    size_t limit = read_limit(file);
    least = limit < least ? limit : least;
    char *last = strrchr(path, '/');
    if (!last)
      return least;
    *last = 0;
  }
}

static size_t cgroup_limit(void) {
  char line[4096];
  size_t least = SIZE_MAX;
  FILE *f = fopen("/proc/self/cgroup", "re");
  while (f && fgets(line, sizeof line, f)) {
    char *controllers = strchr(line, ':'),
         *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
      continue;
    *path++ = 0;
    path[strcspn(path, "\n")] = 0;
    size_t limit = SIZE_MAX;
    if (!controllers[1])
      limit = least_limit("/sys/fs/cgroup", path, "memory.max");
    else if (strstr(controllers, "memory"))
      limit = least_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
    least = limit < least ? limit : least;
  }
  if (f)
    fclose(f);
  return least;
}

size_t fg_memory_share(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  size_t most = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : (size_t)4 << 30;
  struct rlimit own;
  size_t cgroup = cgroup_limit();
  most = cgroup < most ? cgroup : most;
  if (getrlimit(RLIMIT_AS, &own) == 0 && own.rlim_cur != RLIM_INFINITY && own.rlim_cur < most)
    most = own.rlim_cur;
  return most / 4 * 3;
}
