/* NCCL: sums between cards, of which each process has one. Opened when ranks join; no card and no CUDA
 * header is needed here, so that a test can stand in for both. */
#ifndef FG_CUDA_NCCL_H
#define FG_CUDA_NCCL_H

#include "ranks.h"

typedef struct ncclComm *fg_nccl;

/* A communicator of the ranks, for the card that is current: made by all of them, or by none. What it is
 * made by travels through the ranks themselves. */
fgsm_status fg_nccl_join(struct fg_ranks *ranks, fg_nccl *out) FGSM_MUST_USE;
/* to = the sum over ranks of `from`, n numbers of type F32 or F64 in the card's memory, on the CUDA
 * stream; the same bits on each rank. from may be to. May be recorded. */
fgsm_status fg_nccl_sum(fg_nccl comm, enum fg_type type, int64_t n, const void *from, void *to,
                        void *stream) FGSM_MUST_USE;
/* NULL is nothing. */
void fg_nccl_part(fg_nccl comm);

#endif
