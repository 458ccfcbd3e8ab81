/* Cards of several processes by kernels/cuda/nccl.c and a libnccl that is fake (tools/fake_nccl.c): ranks
 * join, sum floats and doubles, in place and not, and part; where one cannot join, it says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forked_ranks.h"
#include "nccl.h"

enum { N = 10007, RANKS = 3 };

/* Element i of rank r: quarters, whose sums are exact in any order. */
static double value(int rank, int i) {
  return (double)(i % 97 - 40) / 4 + rank * 3;
}

static double total(int i) {
  double sum = 0;
  for (int r = 0; r < RANKS; r++)
    sum += value(r, i);
  return sum;
}

static int sums(struct fg_ranks *ranks) {
  static float x[N], y[N];
  static double z[N];
  fg_nccl comm = NULL;
  int wrong = 0;
  for (int i = 0; i < N; i++) {
    x[i] = (float)value(ranks->rank, i);
    z[i] = value(ranks->rank, i);
  }
  if (fg_nccl_join(ranks, &comm) != FGSM_OK ||
      fg_nccl_sum(comm, FG_F32, N, x, y, NULL) != FGSM_OK ||
      fg_nccl_sum(comm, FG_F32, 3, x, x, NULL) != FGSM_OK ||
      fg_nccl_sum(comm, FG_F64, N, z, z, NULL) != FGSM_OK) {
    printf("FAIL rank %d: %s\n", ranks->rank, fgsm_last_error());
    return 1;
  }
  fg_nccl_part(comm);
  for (int i = 0; i < N; i++)
    wrong += y[i] != (float)total(i) || z[i] != total(i) ||
             x[i] != (float)(i < 3 ? total(i) : value(ranks->rank, i));
  if (wrong)
    printf("FAIL rank %d: %d of %d sums are wrong\n", ranks->rank, wrong, N);
  return wrong != 0;
}

/* Rank 0 alone: with others, they would wait for it, as ranks do until one ends them. */
static int refused(struct fg_ranks *ranks) {
  fg_nccl comm = NULL;
  setenv("FAKE_NCCL_FAIL", "0", 1);
  if (fg_nccl_join(ranks, &comm) != FGSM_DEVICE ||
      !strstr(fgsm_last_error(), "NCCL: joining: refused, on purpose")) {
    printf("FAIL a rank that is refused: '%s'\n", fgsm_last_error());
    return 1;
  }
  fg_nccl_part(comm);
  return 0;
}

int main(void) {
  setenv("FAKE_NCCL_SIZE", "3", 1);
  bool good = forked_ranks(RANKS, sums);
  setenv("FAKE_NCCL_SIZE", "1", 1);
  good = forked_ranks(1, refused) && good;
  if (good)
    printf("%d ranks sum by NCCL, and one that is refused says so\n", RANKS);
  return !good;
}
