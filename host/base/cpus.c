/* How many processors this process may use. More threads than that would not run but wait for each
 * other, so every limit counts: affinity (taskset, cpusets), the quotas of its cgroups, and what the
 * user told OpenMP programs. */
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base.h"
#include "cgroup.h"

int fg_cpu_limit(double cpus, const char *variable) {
  /* A quota of 2.5 keeps two threads running; a third would stop them all, half of the time. */
  double most = cpus >= 1 ? floor(cpus) : 1;
  char *end;
  long asked = variable ? strtol(variable, &end, 10) : 0;
  /* OMP_NUM_THREADS may be a list, a number for each level of nesting. */
  bool is_number = asked > 0 && (!*end || *end == ',');
  if (is_number && (double)asked < most)
    most = (double)asked;
  return most < INT32_MAX ? (int)most : INT32_MAX;
}

/* Of a machine with more processors than a cpu_set_t holds, the kernel tells only as many as fit a
 * larger set. */
static int affinity(void) {
  for (int most = CPU_SETSIZE; most <= 1 << 20; most *= 2) {
    cpu_set_t *set = CPU_ALLOC((size_t)most);
    size_t bytes = CPU_ALLOC_SIZE((size_t)most);
    int n = set && sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (n > 0)
      return n;
  }
  return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

int fg_cpu_count(void) {
  int n = affinity();
  int omp = fg_cpu_limit(fg_cgroup_cpus(""), getenv("OMP_NUM_THREADS"));
  int most = fg_cpu_limit(INFINITY, getenv("OMP_THREAD_LIMIT"));
  n = omp < n ? omp : n;
  n = most < n ? most : n;
  return n > 0 ? n : 1;
}
