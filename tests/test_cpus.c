/* How many threads and how much memory a process may use: the limits of cgroups, read from folders
 * made here that look like /proc and /sys, and those of OpenMP's variables. */
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "base.h"
#include "cgroup.h"
#include "leaks.h"

static char root[64];

static void make_root(void) {
  snprintf(root, sizeof root, "/tmp/fgsm-cpus-XXXXXX");
  cr_assert(mkdtemp(root), "no folder for the test's files");
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *where) {
  (void)s, (void)type, (void)where;
  return remove(path);
}

static void remove_root(void) {
  nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  expect_no_leaks();
}

TestSuite(cpus, .init = make_root, .fini = remove_root);

/* Writes a file of the fake machine, and the folders above it; `path` begins with a slash. */
static void put_file(const char *path, const char *text) {
  char name[512];
  snprintf(name, sizeof name, "%s%s", root, path);
  for (char *slash = name + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
    *slash = 0;
    mkdir(name, 0700);
  }
  FILE *f = fopen(name, "w");
  cr_assert(f, "%s", name);
  fputs(text, f);
  fclose(f);
}

static double cpus(void) {
  return fg_cgroup_cpus(root);
}

static size_t memory(void) {
  return fg_cgroup_memory(root);
}

Test(cpus, no_cgroup_limits_nothing) {
  cr_expect(isinf(cpus()) && memory() == SIZE_MAX);
  put_file("/proc/self/cgroup", "0::/user.slice\n");
  cr_expect(isinf(cpus()) && memory() == SIZE_MAX);
}

Test(cpus, v2_quota_of_the_cgroup) {
  put_file("/proc/self/cgroup", "0::/a/b\n");
  put_file("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
  put_file("/sys/fs/cgroup/a/b/memory.max", "1000000\n");
  cr_expect(cpus() == 1.5);
  cr_expect(memory() == 1000000);
}

Test(cpus, v2_quota_of_a_parent) {
  put_file("/proc/self/cgroup", "0::/a/b\n");
  put_file("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  put_file("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  put_file("/sys/fs/cgroup/a/b/memory.max", "max\n");
  put_file("/sys/fs/cgroup/a/memory.max", "77\n");
  cr_expect(cpus() == 0.5);
  cr_expect(memory() == 77);
}

Test(cpus, a_container_sees_its_own_limits_at_the_root) {
  put_file("/proc/self/cgroup", "0::/docker/0123\n");
  put_file("/sys/fs/cgroup/cpu.max", "400000 100000\n");
  put_file("/sys/fs/cgroup/memory.max", "4096\n");
  cr_expect(cpus() == 4);
  cr_expect(memory() == 4096);
}

Test(cpus, v1_quota_among_controllers) {
  put_file("/proc/self/cgroup", "4:memory:/box\n3:cpuset:/\n2:cpu,cpuacct:/box\n");
  put_file("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n");
  put_file("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  put_file("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
  put_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "123456\n");
  cr_expect(cpus() == 2.5);
  cr_expect(memory() == 123456);
}

Test(cpus, v1_without_a_quota) {
  put_file("/proc/self/cgroup", "2:cpu:/box\n");
  put_file("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
  put_file("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  cr_expect(isinf(cpus()));
}

/* cpuset and cpuacct are not cpu. */
Test(cpus, v1_of_other_controllers_is_not_read) {
  put_file("/proc/self/cgroup", "3:cpuset:/box\n2:cpuacct:/box\n");
  put_file("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n");
  put_file("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  cr_expect(isinf(cpus()));
}

Test(cpus, both_at_once_take_the_least) {
  put_file("/proc/self/cgroup", "1:cpu:/one\n0::/two\n");
  put_file("/sys/fs/cgroup/cpu/one/cpu.cfs_quota_us", "300000\n");
  put_file("/sys/fs/cgroup/cpu/one/cpu.cfs_period_us", "100000\n");
  put_file("/sys/fs/cgroup/unified/two/cpu.max", "200000 100000\n");
  cr_expect(cpus() == 2);
}

Test(cpus, nonsense_limits_nothing) {
  static const char *const texts[] = {"",           "\n",    "100000\n", "0 100000\n",
                                      "100000 0\n", "x y\n", "-5 7\n"};
  put_file("/proc/self/cgroup", "nothing\n:\n::\n0::/a\n");
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    put_file("/sys/fs/cgroup/a/cpu.max", texts[i]);
    cr_expect(isinf(cpus()), "'%s': %g", texts[i], cpus());
  }
}

Test(cpus, threads_are_whole_and_at_least_one) {
  static const struct {
    double cpus;
    const char *omp;
    int threads;
  } cases[] = {{INFINITY, NULL, INT_MAX},
               {0.5, NULL, 1},
               {1, NULL, 1},
               {2.9, NULL, 2},
               {4, "3", 3},
               {4, "8", 4},
               {4, "2,1", 2},
               {4, "", 4},
               {4, "two", 4},
               {4, "0", 4},
               {4, "-1", 4},
               {4, "2x", 4},
               {INFINITY, "16", 16},
               {0.25, "4,4,4", 1},
               {4, " 2", 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_expect(fg_cpu_limit(cases[i].cpus, cases[i].omp) == cases[i].threads, "%g, %s: %d",
              cases[i].cpus, cases[i].omp ? cases[i].omp : "unset",
              fg_cpu_limit(cases[i].cpus, cases[i].omp));
}

Test(cpus, this_process_obeys_openmp_and_affinity) {
  unsetenv("OMP_NUM_THREADS");
  unsetenv("OMP_THREAD_LIMIT");
  int all = fg_cpu_count();
  cr_assert(all >= 1);
  setenv("OMP_NUM_THREADS", "1", 1);
  cr_expect(fg_cpu_count() == 1);
  setenv("OMP_NUM_THREADS", "100000", 1);
  cr_expect(fg_cpu_count() == all);
  setenv("OMP_THREAD_LIMIT", "1", 1);
  cr_expect(fg_cpu_count() == 1);
  unsetenv("OMP_THREAD_LIMIT");
  cpu_set_t set;
  cr_assert(sched_getaffinity(0, sizeof set, &set) == 0);
  int first = 0;
  while (!CPU_ISSET(first, &set))
    first++;
  CPU_ZERO(&set);
  CPU_SET(first, &set);
  cr_assert(sched_setaffinity(0, sizeof set, &set) == 0);
  cr_expect(fg_cpu_count() == 1);
}
