/* How much memory this process should take at most, and amounts of it as text. What the machine has,
 * what its cgroups allow and what its own limit allows are asked for, not what happens
 * to be free: so that the same command decides the same way each time. */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base.h"
#include "cgroup.h"

size_t fg_memory_share(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  size_t most = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : (size_t)4 << 30;
  struct rlimit own;
  size_t cgroup = fg_cgroup_memory("");
  most = cgroup < most ? cgroup : most;
  if (getrlimit(RLIMIT_AS, &own) == 0 && own.rlim_cur != RLIM_INFINITY && own.rlim_cur < most)
    most = own.rlim_cur;
  return most / 4 * 3;
}

void fg_memory_trim(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
