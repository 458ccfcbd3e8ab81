/* What this process's cgroups allow it (v2, v1 or both at once). A parent's limit holds for its
 * children, so the least from the process's own cgroup up to the root counts. Where the process sees
 * only a part of the tree, as in a container, what it sees is asked. `root` stands before /proc and
 * /sys: "" but in tests. */
#ifndef FG_CGROUP_H
#define FG_CGROUP_H

#include <stddef.h>

/* Processors that may be busy on the average, such as 1.5; infinite where nothing limits them. */
double fg_cgroup_cpus(const char *root);
/* Bytes; SIZE_MAX where nothing limits them. */
size_t fg_cgroup_memory(const char *root);

#endif
