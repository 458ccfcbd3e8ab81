/* Whether this process is one of several, and how they meet. Every starter leaves its own variables in
 * the environment. */
#include <stdlib.h>

#include "device.h"
#include "plugin.h"
#include "tcp.h"

static const struct {
  const char *starter, *size;
  bool mpi; /* its processes know each other by MPI; others meet by TCP */
} starters[] = {{"mpirun (Open MPI)", "OMPI_COMM_WORLD_SIZE", true},
                {"mpiexec (PMI)", "PMI_SIZE", true},
                {"srun", "SLURM_STEP_NUM_TASKS", true},
                {"torchrun", "WORLD_SIZE", false}};

/* The starter of more than one process, -1 if there is none; *size: how many it started. */
static int find_starter(int *size) {
  for (size_t i = 0; i < sizeof starters / sizeof *starters; i++) {
    const char *text = getenv(starters[i].size);
    *size = text ? atoi(text) : 1;
    if (*size > 1)
      return (int)i;
  }
  return -1;
}

fgsm_status fg_ranks_open(struct fg_ranks **ranks) {
  const struct fg_plugin *plugin;
  int size, i = find_starter(&size);
  *ranks = NULL;
  if (i < 0)
    return FGSM_OK;
  if (!starters[i].mpi)
    return fg_ranks_tcp.open(ranks);
  FG_TRY(fg_plugin_load("mpi", &plugin));
  FG_TRY(plugin->ranks->open(ranks));
  if ((*ranks)->size == size)
    return FGSM_OK;
  int met = (*ranks)->size;
  fg_ranks_close(*ranks);
  *ranks = NULL;
  return FG_FAIL(USAGE,
                 "%s says that %s started %d processes, and by MPI there %s %d: libfgsm_mpi.so "
                 "was built for another MPI than the one that started them",
                 starters[i].size, starters[i].starter, size, met == 1 ? "is" : "are", met);
}

void fg_ranks_close(struct fg_ranks *ranks) {
  if (ranks)
    ranks->kind->close(ranks);
}
