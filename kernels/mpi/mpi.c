/* The plugin libfgsm_mpi.so: ranks that meet by MPI. Sums are reduced on rank 0 and sent out from there,
 * so that every rank has the same bits whatever algorithm MPI picks. MPI's own answer to an error is
 * kept: it says what happened, and ends all ranks. */
#include <limits.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin.h"

static fgsm_status check(int code, const char *what) {
  char words[MPI_MAX_ERROR_STRING];
  int length;
  if (code == MPI_SUCCESS)
    return FGSM_OK;
  MPI_Error_string(code, words, &length);
  return FG_FAIL(DEVICE, "MPI: %s: %s", what, words);
}

/* How many ranks of lower number are on this machine. */
static fgsm_status find_local(int *local) {
  MPI_Comm machine;
  FG_TRY(
      check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine),
            "the ranks of this machine"));
  FG_TRY(check(MPI_Comm_rank(machine, local), "the rank on this machine"));
  return check(MPI_Comm_free(&machine), "the ranks of this machine");
}

struct mpi_ranks {
  struct fg_ranks base;
  bool ours; /* MPI was begun here, and ends here */
};

static const struct fg_ranks_kind mpi;

static fgsm_status begin_mpi(bool *ours) {
  int given, begun, over;
  FG_TRY(check(MPI_Initialized(&begun), "the state"));
  FG_TRY(check(MPI_Finalized(&over), "the state"));
  *ours = !begun;
  if (over)
    return FG_FAIL(DEVICE, "MPI: a process can meet the others once, and this one has parted");
  if (begun)
    FG_TRY(check(MPI_Query_thread(&given), "threads"));
  else
    FG_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given), "init"));
  return given >= MPI_THREAD_FUNNELED
             ? FGSM_OK
             : FG_FAIL(DEVICE, "MPI: this one does not work in a process with threads");
}

static fgsm_status open_ranks(struct fg_ranks **out) {
  struct mpi_ranks *ranks = calloc(1, sizeof *ranks);
  if (!ranks)
    return FG_FAIL(MEMORY, "no memory for ranks");
  ranks->base.kind = &mpi;
  fgsm_status status = begin_mpi(&ranks->ours);
  if (status == FGSM_OK)
    status = check(MPI_Comm_rank(MPI_COMM_WORLD, &ranks->base.rank), "the rank");
  if (status == FGSM_OK)
    status = check(MPI_Comm_size(MPI_COMM_WORLD, &ranks->base.size), "the number of ranks");
  if (status == FGSM_OK)
    status = find_local(&ranks->base.local);
  if (status != FGSM_OK)
    free(ranks);
  else
    *out = &ranks->base;
  return status;
}

static void close_ranks(struct fg_ranks *base) {
  struct mpi_ranks *ranks = (struct mpi_ranks *)base;
  if (ranks && ranks->ours)
    MPI_Finalize();
  free(ranks);
}

static fgsm_status sum(struct fg_ranks *ranks, enum fg_type type, int64_t n, void *x) {
  MPI_Datatype kind = type == FG_F32 ? MPI_FLOAT : type == FG_F64 ? MPI_DOUBLE : MPI_INT64_T;
  for (int64_t at = 0; at < n; at += INT_MAX) {
    int part = n - at < INT_MAX ? (int)(n - at) : INT_MAX;
    char *from = (char *)x + (size_t)at * fg_type_size(type);
    FG_TRY(check(MPI_Reduce(ranks->rank == 0 ? MPI_IN_PLACE : from, from, part, kind, MPI_SUM, 0,
                            MPI_COMM_WORLD),
                 "reduce"));
    FG_TRY(check(MPI_Bcast(from, part, kind, 0, MPI_COMM_WORLD), "broadcast"));
  }
  return FGSM_OK;
}

static fgsm_status broadcast(struct fg_ranks *ranks, int from, void *x, size_t bytes) {
  (void)ranks;
  for (size_t at = 0; at < bytes; at += INT_MAX) {
    int part = bytes - at < INT_MAX ? (int)(bytes - at) : INT_MAX;
    FG_TRY(check(MPI_Bcast((char *)x + at, part, MPI_BYTE, from, MPI_COMM_WORLD), "broadcast"));
  }
  return FGSM_OK;
}

static void abort_ranks(struct fg_ranks *ranks, int code) {
  (void)ranks;
  MPI_Abort(MPI_COMM_WORLD, code);
}

static const struct fg_ranks_kind mpi = {"mpi", open_ranks, close_ranks,
                                         sum,   broadcast,  abort_ranks};

FG_PLUGIN_DEFINE(NULL, &mpi)
