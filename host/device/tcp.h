/* Ranks that meet by TCP alone, as torchrun's processes do, which share no MPI. */
#ifndef FG_TCP_H
#define FG_TCP_H

#include "kernel.h"
#include "ranks.h"

/* Told who they are by RANK, WORLD_SIZE, LOCAL_RANK, and where rank 0 is by MASTER_ADDR; it listens at
 * FGSM_PORT, or at MASTER_PORT + 1 (torchrun itself answers at MASTER_PORT). open: FGSM_USAGE for
 * variables that are missing or make no sense, FGSM_DEVICE where ranks do not meet. */
extern const struct fg_ranks_kind fg_ranks_tcp;

#endif
